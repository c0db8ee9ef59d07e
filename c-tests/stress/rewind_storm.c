// SPDX-License-Identifier: MIT
/*
 * Random rewinds, by two threads at once, while watches of two other processes wait for random
 * values: none is missed within what UMF_FENCE_UNORDERED remembers, and none is met by a value
 * that was not there.
 *
 *     rewind_storm [REWINDS]     how many, 200,000 unless given
 */
#include "process.h"
#include "watch.h"

enum { PROCESSES = 2, WATCHES = 8, SIGNALERS = 2, A_ROUND = 1000, LARGEST = 1 << 20 };

/* xorshift, so that a failure comes again with the same seed. */
static uint64_t
next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static struct umf_fence *
open_first(struct umf_page *page)
{
    struct umf_fence *fence;
    OK(umf_fence_open(page, 0, 0, &fence));
    return fence;
}

/* Begins watches each time that it is told, then is told which value was the highest: the watches
 * up to that are met, and no others. The last watch begins between two rewinds. */
static void
watches(int sock)
{
    struct umf_page *page = recv_page(sock);
    struct umf_fence *fence = open_first(page);
    struct umf_loop *loop = create_loop(UMF_LOOP_THREAD);
    uint64_t seed = hear(sock);
    static struct told told[WATCHES];
    struct umf_watch *watch[WATCHES];
    uint64_t values[WATCHES];
    watchdog(3600);
    while (hear(sock)) {
        for (int i = 0; i < WATCHES; i++) {
            if (i == WATCHES - 1) {
                tell(sock, 1);
                hear(sock);
            }
            values[i] = next(&seed) % LARGEST + 1;
            watch[i] = watch_value(loop, fence, values[i], &told[i]);
        }
        tell(sock, 1);
        uint64_t first = hear(sock), second = hear(sock);
        for (int i = 0; i < WATCHES; i++) {
            uint64_t highest = i == WATCHES - 1 || second > first ? second : first;
            if (values[i] <= highest) {
                until_called(loop, &told[i], 0);
            } else {
                OK(umf_watch_cancel(watch[i]));
                until_complete(loop, &told[i]);
                CHECK(told[i].calls == 0 || told[i].result == -ECANCELED);
            }
            umf_watch_unref(watch[i]);
        }
        tell(sock, 1);
    }
    umf_loop_unref(loop);
    umf_fence_unref(fence);
    umf_page_unref(page);
}

struct signaler {
    struct umf_fence *fence;
    uint64_t seed, highest;
    unsigned count;
};

static void *
rewinds(void *data)
{
    struct signaler *s = data;
    s->highest = 0;
    for (unsigned i = 0; i < s->count; i++) {
        uint64_t value = next(&s->seed) % (LARGEST - LARGEST / 16) + 1;
        OK(umf_fence_signal(s->fence, value));
        OK(umf_fence_signal(s->fence, 0));
        if (value > s->highest)
            s->highest = value;
    }
    return NULL;
}

/* Both signalers rewind at once, as often as a watch may have to remember. Returns the highest
 * value. */
static uint64_t
storm(struct signaler *signalers, unsigned count)
{
    pthread_t threads[SIGNALERS];
    uint64_t highest = 0;
    for (int i = 0; i < SIGNALERS; i++) {
        signalers[i].count = count;
        CHECK(pthread_create(&threads[i], NULL, rewinds, &signalers[i]) == 0);
    }
    for (int i = 0; i < SIGNALERS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        if (signalers[i].highest > highest)
            highest = signalers[i].highest;
    }
    return highest;
}

int
main(int argc, char **argv)
{
    unsigned long wanted = argc > 1 ? strtoul(argv[1], NULL, 10) : rounds(200000, 4000), done = 0;
    struct peer peers[PROCESSES];
    struct umf_page *page;
    struct signaler signalers[SIGNALERS];
    for (int p = 0; p < PROCESSES; p++)
        peers[p] = start_peer(watches);
    watchdog(argc > 1 ? 3600 : 100);
    OK(umf_page_create(1, 0, &page));
    OK(umf_fence_create(page, 0, UMF_FENCE_UNORDERED, &signalers[0].fence));
    for (int i = 0; i < SIGNALERS; i++)
        signalers[i] = (struct signaler){ .fence = signalers[0].fence, .seed = 77 + (unsigned)i };
    for (int p = 0; p < PROCESSES; p++) {
        send_page(peers[p].sock, page);
        tell(peers[p].sock, 1234 + (unsigned)p);
    }
    while (done < wanted) {
        uint64_t highest[2];
        for (int half = 0; half < 2; half++) {
            for (int p = 0; p < PROCESSES; p++)
                tell(peers[p].sock, 1);
            for (int p = 0; p < PROCESSES; p++)
                hear(peers[p].sock);
            unsigned count = (unsigned)(next(&signalers[0].seed) % A_ROUND) / 2 + 1;
            highest[half] = storm(signalers, count);
            done += SIGNALERS * count;
        }
        for (int p = 0; p < PROCESSES; p++) {
            tell(peers[p].sock, highest[0]);
            tell(peers[p].sock, highest[1]);
        }
        for (int p = 0; p < PROCESSES; p++)
            hear(peers[p].sock);
    }
    for (int p = 0; p < PROCESSES; p++) {
        tell(peers[p].sock, 0);
        end_peer(&peers[p]);
    }
    printf("%lu rewinds: none missed\n", done);
    umf_fence_unref(signalers[0].fence);
    umf_page_unref(page);
    return 0;
}
