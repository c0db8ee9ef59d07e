// SPDX-License-Identifier: MIT
/*
 * A process whose loops and queues react to another's signals: callbacks, eventfds, other fences,
 * jobs.
 */
#include "process.h"
#include "soak.h"

#include <poll.h>
#include <sys/eventfd.h>

/* watches, and jobs, of one round */
#define CROWD 32

struct hall {
    struct process *process;
    struct umf_loop *loop;
    struct umf_queue *queue;
    /* The peer's fence, whose values are watched; and this process's fences: how far the peer
     * may go, copies, jobs' signals, and the number of releases. */
    struct umf_fence *theirs, *ready, *copy, *done, *released;
    uint64_t calls, jobs, releases;
    int eventfd;
};

/* A loop's callbacks run one at a time: a waiter for the signal of the last one sees all counts. */
static void
on_call(void *data, int result)
{
    OK(result);
    ((struct hall *)data)->calls++;
}

static int
on_job(void *data)
{
    ((struct hall *)data)->jobs++;
    return UMF_JOB_DONE;
}

static void
on_release(void *data)
{
    struct hall *hall = data;
    OK(umf_fence_signal(hall->released, ++hall->releases));
}

static void
on_job_release(void *data, int result)
{
    OK(result);
    on_release(data);
}

/* Sleeps for a fence of this process; if the loop has no thread, dispatches it. */
static void
wait_in(struct hall *hall, struct umf_fence *fence, uint64_t value)
{
    struct pollfd due = { .fd = umf_loop_fd(hall->loop), .events = POLLIN };
    while (due.fd >= 0 && umf_fence_value(fence) < value) {
        CHECK(poll(&due, 1, -1) == 1);
        OK(umf_loop_dispatch(hall->loop, 0));
    }
    OK(umf_fence_wait(fence, value, FOREVER));
}

static void
arm(struct hall *hall, uint64_t value)
{
    const struct umf_condition wait = { .fence = hall->theirs, .value = value };
    const struct umf_callback callback = { on_call, on_release, hall };
    struct umf_watch *watch;
    switch (value % 4) {
    case 0:
        OK(umf_loop_export_eventfd(hall->loop, &wait, 0, hall->eventfd, &callback, NULL));
        break;
    case 1:
        OK(umf_loop_export_fence(hall->loop, hall->theirs, value, hall->copy, value, 0, &callback,
                                 NULL));
        break;
    case 2: OK(umf_loop_watch(hall->loop, &wait, 0, &callback, NULL)); break;
    case 3:
        /* The peer may not signal this yet, so it can still be canceled. */
        OK(umf_loop_watch(hall->loop, &wait, 0, &callback, &watch));
        OK(umf_watch_cancel(watch));
        umf_watch_unref(watch);
        count(hall->process, CANCELED, 1);
    }
    count(hall->process, ARMED, 1);
}

static void
submit(struct hall *hall, uint64_t value)
{
    const struct umf_condition wait = { .fence = hall->theirs, .value = value };
    const struct umf_signal signal = { hall->done, value };
    const struct umf_job job = { .size = sizeof(job),
                                 .wait_count = 1,
                                 .signal_count = 1,
                                 .waits = &wait,
                                 .signals = &signal,
                                 .run = on_job,
                                 .release = on_job_release,
                                 .data = hall };
    OK(umf_queue_submit(hall->queue, &job, 0));
}

/* Watches the next values first, and then lets the peer signal them. */
static void
attend(struct hall *hall, uint64_t from)
{
    const uint64_t calls = hall->calls, jobs = hall->jobs, releases = hall->releases;
    uint64_t events;
    for (uint64_t value = from + 1; value <= from + CROWD; value++) {
        arm(hall, value);
        submit(hall, value);
    }
    OK(umf_fence_signal(hall->ready, from + CROWD));
    wait_in(hall, hall->released, releases + 2 * CROWD);
    CHECK(hall->calls == calls + CROWD - CROWD / 4 && hall->jobs == jobs + CROWD);
    CHECK(hall->releases == releases + 2 * CROWD);
    CHECK(umf_fence_value(hall->done) == from + CROWD &&
          umf_fence_value(hall->copy) == from + CROWD - 3);
    CHECK(read(hall->eventfd, &events, sizeof(events)) == sizeof(events) && events == CROWD / 4);
    CHECK(read(hall->eventfd, &events, sizeof(events)) < 0 && errno == EAGAIN);
    count(hall->process, CALLED, hall->calls - calls);
    count(hall->process, EVENTS, CROWD / 4);
    count(hall->process, JOBS, CROWD);
    count(hall->process, RELEASED, 2 * CROWD);
    count(hall->process, ROUNDS, CROWD);
}

void
watch_many(struct pair *pair, struct process *process, int sock)
{
    struct hall hall = { .process = process, .eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
    struct umf_page *own, *others = recv_page(sock);
    uint64_t value = 0;
    CHECK(hall.eventfd >= 0);
    hall.theirs = recv_fence(sock, others);
    OK(umf_page_create(4, 0, &own));
    OK(umf_fence_create(own, 0, 0, &hall.ready));
    OK(umf_fence_create(own, 0, 0, &hall.copy));
    OK(umf_fence_create(own, 0, 0, &hall.done));
    OK(umf_fence_create(own, 0, 0, &hall.released));
    send_page(sock, own);
    tell(sock, umf_fence_index(hall.ready));
    for (unsigned shift = 0; shift < 4 || !is_last(process); shift++) {
        bool has_thread = shift % 2;
        OK(umf_loop_create(has_thread ? UMF_LOOP_THREAD : 0, &hall.loop));
        OK(umf_queue_create(hall.loop, shift % 4 < 2 ? 0 : UMF_QUEUE_INLINE, &hall.queue));
        for (int round = 0; round < 16; round++, value += CROWD)
            attend(&hall, value);
        if (has_thread && shift >= 3)
            at_rest(process);
        umf_queue_unref(hall.queue);
        umf_loop_unref(hall.loop);
    }
    atomic_store(&pair->last, value);
    OK(umf_fence_signal(hall.ready, value + CROWD));
    until_leave(process);
    umf_fence_unref(hall.theirs);
    umf_fence_unref(hall.ready);
    umf_fence_unref(hall.copy);
    umf_fence_unref(hall.done);
    umf_fence_unref(hall.released);
    umf_page_unref(own);
    umf_page_unref(others);
    close(hall.eventfd);
}

/* Signals the values that it is asked for. */
void
signal_many(struct pair *pair, struct process *process, int sock)
{
    struct umf_page *own, *others;
    struct umf_fence *mine, *ready;
    OK(umf_page_create(1, 0, &own));
    OK(umf_fence_create(own, 0, 0, &mine));
    send_page(sock, own);
    tell(sock, umf_fence_index(mine));
    others = recv_page(sock);
    ready = recv_fence(sock, others);
    for (uint64_t value = 1;; value++) {
        if (value % CROWD == 1) {
            at_rest(process);
            OK(umf_fence_wait(ready, value + CROWD - 1, FOREVER));
            if (atomic_load(&pair->last) == value - 1)
                break;
        }
        OK(umf_fence_signal(mine, value));
        count(process, ROUNDS, 1);
    }
    until_leave(process);
    umf_fence_unref(mine);
    umf_fence_unref(ready);
    umf_page_unref(own);
    umf_page_unref(others);
}
