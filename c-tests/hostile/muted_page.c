// SPDX-License-Identifier: MIT
/*
 * A process that can only read a page mutes its wake-ups. It parks a thread in
 * FUTEX_WAIT_REQUEUE_PI on the words of the page, where each FUTEX_WAKE of the creator then stops
 * with EINVAL; or it moves the threads that sleep there to a word of its own (FUTEX_REQUEUE). The
 * kernel asks for no right to write for either. Every wait on such a page ends within BOUND of the
 * signal nevertheless.
 */
#include "process.h"
#include "raw_page.h"
#include "sleeper.h"
#include "watch.h"

#include <limits.h>
#include <linux/futex.h>

/* The header says a second. The rest is for a busy machine. */
#define BOUND (3 * SECOND)

enum attack { PARK, MOVE };
enum way { ONE, ANY, ALL, SET, WATCH, WAYS };

static char *
map_to_read(int fd)
{
    char *bytes = mmap(NULL, SLOTS_AT + SLOT_SIZE, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(bytes != MAP_FAILED);
    return bytes;
}

static uint32_t words_of_the_attacker[2];
static char *muted;

static uint32_t *
muted_word(int number)
{
    return (uint32_t *)(void *)(muted + (number == 0 ? EVENT_COUNT : SLOTS_AT + SLOT_FUTEX));
}

static void *
park(void *argument)
{
    int number = (int)(intptr_t)argument;
    for (;;) {
        uint32_t *word = muted_word(number);
        long result = syscall(SYS_futex, word, FUTEX_WAIT_REQUEUE_PI,
                              __atomic_load_n(word, __ATOMIC_RELAXED), NULL,
                              &words_of_the_attacker[number], 0);
        CHECK(result == 0 || errno == EAGAIN || errno == EINTR);
    }
    return NULL;
}

static void
mute(int sock)
{
    int fd = recv_fd(sock);
    muted = map_to_read(fd);
    if (hear(sock) == PARK) {
        pthread_t thread;
        for (intptr_t number = 0; number < 2; number++)
            CHECK(pthread_create(&thread, NULL, park, (void *)number) == 0);
    } else {
        long moved = 0;
        while (moved == 0) {
            for (int number = 0; number < 2; number++) {
                long more = syscall(SYS_futex, muted_word(number), FUTEX_REQUEUE, 0,
                                    (long)INT_MAX, &words_of_the_attacker[number], 0);
                CHECK(more >= 0);
                moved += more;
            }
        }
        tell(sock, (uint64_t)moved);
    }
    hear(sock); /* the end */
}

static void
await(enum way way, struct umf_fence *fence, struct umf_fence *other)
{
    struct umf_condition waits[] = { { .fence = fence, .value = 1 },
                                     { .fence = other, .value = 1 } };
    switch (way) {
    case ONE:
        OK(umf_fence_wait(fence, 1, FOREVER));
        break;
    case ANY:
        OK(umf_wait(waits, 2, UMF_WAIT_ANY, FOREVER, NULL));
        break;
    case ALL:
        OK(umf_wait(waits, 1, 0, FOREVER, NULL));
        break;
    case SET: {
        struct umf_wait_set *set;
        struct umf_wait_set_result result;
        uint64_t id;
        uint32_t count;
        OK(umf_wait_set_create(0, &set));
        for (int i = 0; i < 2; i++)
            OK(umf_wait_set_add(set, &waits[i], 0, 0, &id));
        OK(umf_wait_set_wait(set, &result, 1, FOREVER, &count));
        umf_wait_set_unref(set);
        break;
    }
    default:
        CHECK(!"such a way");
    }
}

static void
on_due(void *data, int result)
{
    EXPECT(0, result);
    tell(*(int *)data, now_ns());
}

static void
wait_there(int sock)
{
    enum way way = (enum way)hear(sock);
    struct umf_page *page = recv_page(sock);
    struct umf_fence *fence = recv_fence(sock, page), *other = recv_fence(sock, page);
    if (way == WATCH) {
        struct umf_loop *loop;
        struct umf_callback callback = { .call = on_due, .data = &sock };
        struct umf_condition wait = { .fence = fence, .value = 1 };
        OK(umf_loop_create(UMF_LOOP_THREAD, &loop));
        OK(umf_loop_watch(loop, &wait, 0, &callback, NULL));
        tell(sock, 0);
        hear(sock); /* the end */
        umf_loop_unref(loop);
    } else {
        tell(sock, 0);
        await(way, fence, other);
        tell(sock, now_ns());
    }
    umf_fence_unref(other);
    umf_fence_unref(fence);
    umf_page_unref(page);
}

/* Returns once a thread of the process sleeps on a word: its only one, or one that is not its
 * first. */
static void
until_one_sleeps(pid_t pid, bool not_the_first)
{
    uint64_t give_up = in_ns(20 * SECOND);
    for (bool found = false; !found;) {
        char path[64];
        snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
        DIR *dir = opendir(path);
        CHECK(dir && now_ns() < give_up);
        for (struct dirent *entry; !found && (entry = readdir(dir));) {
            pid_t tid = atoi(entry->d_name);
            found = tid > 0 && (tid != pid || !not_the_first) && is_asleep(pid, tid);
        }
        closedir(dir);
        nanosleep(&(struct timespec){ .tv_nsec = 200000 }, NULL);
    }
}

static void
one_case(enum attack attack, enum way way)
{
    watchdog(50);
    struct peer attacker = start_peer(mute), victim = start_peer(wait_there);
    struct umf_page *page;
    struct umf_fence *fence, *other;
    OK(umf_page_create(2, UMF_PAGE_SINGLE_WRITER, &page));
    OK(umf_fence_create(page, 0, 0, &fence));
    OK(umf_fence_create(page, 0, 0, &other));
    send_page(attacker.sock, page);
    if (attack == PARK) {
        tell(attacker.sock, attack);
        until_one_sleeps(attacker.pid, true);
    }
    tell(victim.sock, way);
    send_page(victim.sock, page);
    tell(victim.sock, umf_fence_index(fence));
    tell(victim.sock, umf_fence_index(other));
    CHECK(hear(victim.sock) == 0);
    until_one_sleeps(victim.pid, way == WATCH);
    /* The creator may wait too. */
    struct sleeper own = { .fence = fence, .value = 1 };
    fall_asleep(&own);
    if (attack == MOVE) {
        tell(attacker.sock, attack);
        CHECK(hear(attacker.sock) > 0);
    }
    uint64_t signaled = now_ns();
    OK(umf_fence_signal(fence, 1));
    uint64_t ended = hear(victim.sock);
    OK(end_of(&own));
    CHECK(now_ns() - signaled < BOUND);
    CHECK(ended - signaled < BOUND);
    if (way == WATCH)
        tell(victim.sock, 0);
    tell(attacker.sock, 0);
    end_peer(&victim);
    end_peer(&attacker);
    umf_fence_unref(other);
    umf_fence_unref(fence);
    umf_page_unref(page);
}

int
main(void)
{
    pid_t cases[2 * WAYS];
    for (int i = 0; i < 2 * WAYS; i++)
        IN_CHILD(cases[i], one_case((enum attack)(i / WAYS), (enum way)(i % WAYS)));
    for (int i = 0; i < 2 * WAYS; i++)
        join_child(cases[i]);
    return 0;
}
