// SPDX-License-Identifier: MIT
/*
 * No release function runs under a queue's lock. A release function that needs the queue, or a lock
 * whose holder needs the queue, hangs there.
 *
 * A fence whose value is in a device's memory is released once its last watch is over. The loop's
 * thread does that, one fence after the other, and no other call does it for the thread: the test
 * holds the thread up in the first release function, and submits and cancels meanwhile.
 */
#include "queue.h"

enum { FENCES = 8 };

static _Atomic uint64_t cell[FENCES];
static atomic_int begun, released, called;
static atomic_bool may_go_on;
static struct umf_page *page;
static struct umf_queue *queue;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static bool with_mutex;

/* What a program may do in a release function. */
static void
use_the_queue(void *data)
{
    (void)data;
    if (atomic_fetch_add(&begun, 1) == 0) {
        while (!atomic_load(&may_go_on))
            sched_yield();
    } else if (with_mutex) {
        CHECK(pthread_mutex_lock(&mutex) == 0);
        CHECK(pthread_mutex_unlock(&mutex) == 0);
    } else {
        OK(umf_queue_cancel(queue));
    }
    atomic_fetch_add(&released, 1);
}

static void
count_call(void *data, int result)
{
    (void)data;
    EXPECT(0, result);
    called++;
}

/* Ends the watches of all fences, and returns once the first release function runs. */
static void
begin_releases(struct rig *rig)
{
    OK(umf_page_create(FENCES, 0, &page));
    begun = released = called = 0;
    may_go_on = false;
    for (int i = 0; i < FENCES; i++) {
        struct umf_mapping mapping = { .size = sizeof(mapping), .value = (uint64_t *)&cell[i],
                                       .release = use_the_queue };
        struct umf_callback callback = { .call = count_call };
        struct umf_fence *fence;
        atomic_store(&cell[i], 0);
        OK(umf_fence_create_in(page, &mapping, 0, &fence));
        struct umf_condition wait = { .fence = fence, .value = 1 };
        OK(umf_loop_watch(rig->loop, &wait, 0, &callback, NULL));
        umf_fence_unref(fence); /* the watch keeps it */
    }
    for (int i = 0; i < FENCES; i++)
        atomic_store(&cell[i], 1);
    while (atomic_load(&begun) == 0)
        sched_yield();
}

static void
until_released(struct rig *rig)
{
    while (atomic_load(&released) < FENCES || atomic_load(&called) < FENCES)
        sched_yield();
    umf_page_unref(page);
    tear_down(rig);
}

/* The other release functions have not run yet. */
static void
end(struct rig *rig)
{
    EXPECT(1, begun);
    atomic_store(&may_go_on, true);
    until_released(rig);
}

static struct work blocked;

/* Submits a job that has to wait: the queue adds its watch to the page. */
static void
in_submit(const struct rig *kind)
{
    struct rig rig = set_up(kind);
    queue = rig.queue;
    begin_releases(&rig);
    blocked = (struct work){ 0 };
    OK(submit(rig.queue, &blocked, rig.fence[0], 1, NULL, 0));
    end(&rig);
}

/* Cancels such a job: the queue withdraws its watch. */
static void
in_cancel(const struct rig *kind)
{
    struct rig rig = set_up(kind);
    queue = rig.queue;
    blocked = (struct work){ 0 };
    OK(submit(rig.queue, &blocked, rig.fence[0], 1, NULL, 0));
    begin_releases(&rig);
    OK(umf_queue_cancel(rig.queue));
    CHECK(blocked.released == 1 && blocked.result == -ECANCELED);
    end(&rig);
}

static void *
submit_under_mutex(void *data)
{
    static struct work other;
    struct rig *rig = data;
    CHECK(pthread_mutex_lock(&mutex) == 0);
    /* The loop's thread is about to take the mutex. */
    atomic_store(&may_go_on, true);
    while (atomic_load(&begun) < 2)
        sched_yield();
    other = (struct work){ 0 };
    OK(submit(rig->queue, &other, NULL, 0, NULL, 0));
    CHECK(pthread_mutex_unlock(&mutex) == 0);
    return NULL;
}

/* The release function takes a mutex of the program; its holder submits to the queue. */
static void
beside_a_submitter(const struct rig *kind)
{
    struct rig rig = set_up(kind);
    pthread_t submitter;
    queue = rig.queue;
    with_mutex = true;
    begin_releases(&rig);
    CHECK(pthread_create(&submitter, NULL, submit_under_mutex, &rig) == 0);
    blocked = (struct work){ 0 };
    OK(submit(rig.queue, &blocked, rig.fence[0], 1, NULL, 0));
    CHECK(pthread_join(submitter, NULL) == 0);
    OK(umf_queue_cancel(rig.queue));
    until_released(&rig);
    with_mutex = false;
}

int
main(void)
{
    watchdog(20);
    for (size_t kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
        if (is_dispatched(&kinds[kind]) || !(kinds[kind].queue_flags & UMF_QUEUE_INLINE))
            continue;
        in_submit(&kinds[kind]);
        in_cancel(&kinds[kind]);
        beside_a_submitter(&kinds[kind]);
    }
    printf("%d release functions used the queue\n", 3 * (FENCES - 1));
    return 0;
}
