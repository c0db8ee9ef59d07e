/*
 * Queues whose jobs do not run as was hoped: cancelled, failed, left alone; and what jobs do to
 * their own queue. Each job is released exactly once.
 */
#include "queue.h"

static void
ignore(void *data, int result)
{
    (void)data;
    (void)result;
}

/* A queue that is held up has to go on, and is cancelled before it does. The next job waits in a
 * place where others wait too. Nothing of the first wait may be left there. */
static void
what_was_due_when_it_was_cancelled_is_armed_once(const struct rig *kind)
{
    struct rig rig = set_up(kind);
    struct umf_fence *f = rig.fence[0], *g = rig.fence[1], *h = rig.fence[2];
    struct work first = { 0 }, second = { 0 };
    struct umf_callback callback = { .call = ignore };
    struct umf_wait before = { .fence = g, .value = 5 };
    if (is_dispatched(&rig)) {
        OK(umf_loop_watch(rig.loop, &before, 0, &callback, NULL));
        OK(submit(rig.queue, &first, f, 1, NULL, 0));
        settle(&rig);
        OK(umf_fence_signal(f, 1));
        until_due(&rig);
        OK(umf_queue_cancel(rig.queue));
        CHECK(first.released == 1 && first.ran == 0 && first.result == -ECANCELED);
        OK(submit(rig.queue, &second, g, 9, h, 1));
        settle(&rig);
        CHECK(second.ran == 0);
        OK(umf_fence_signal(g, 9));
        until(&rig, &second.released, 1);
        CHECK(second.ran == 1 && second.result == 0);
        /* Nobody watches g any more, so that it ends with our reference. */
        umf_fence_unref(g);
        while (umf_fence_create(rig.page, 0, 0, &rig.fence[1]) == -ENOSPC)
            sched_yield();
    }
    tear_down(&rig);
}

int
main(void)
{
    watchdog(50);
    for (size_t i = 0; i < COUNT(kinds); i++) {
        what_was_due_when_it_was_cancelled_is_armed_once(&kinds[i]);
    }
    return 0;
}
