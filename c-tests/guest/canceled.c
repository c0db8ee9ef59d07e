// SPDX-License-Identifier: MIT
/*
 * pthread_cancel() of a thread in the library. No call is a cancellation point, also where the
 * program's function that it calls passes one: the request stays pending until the thread is back
 * in the program's own code.
 */
#include "sleeper.h"
#include "watch.h"

#include <setjmp.h>

static struct umf_page *page;
static struct umf_fence *fence, *device;
static struct umf_loop *loop;
static struct umf_queue *queue;
static struct umf_watch *watch;
static atomic_bool in_function, was_canceled, function_returned;
static atomic_int call_returned;

/* A function of the program's that passes cancellation points until the request is there. */
static void
pass_cancellation_points(void)
{
    atomic_store(&in_function, true);
    while (!atomic_load(&was_canceled))
        nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
    pthread_testcancel();
    atomic_store(&function_returned, true);
}

static void
callback(void *data, int result)
{
    (void)data;
    (void)result;
    pass_cancellation_points();
}

static void
release_data(void *data)
{
    (void)data;
    pass_cancellation_points();
}

static int
job(void *data)
{
    (void)data;
    pass_cancellation_points();
    return UMF_JOB_DONE;
}

static int
interrupt(void *data, uint64_t abs_timeout_ns)
{
    (void)data;
    (void)abs_timeout_ns;
    if (!atomic_load(&function_returned))
        pass_cancellation_points();
    return 0;
}

static void
end_the_loop(void)
{
    umf_loop_unref(loop);
}

static void
dispatch(void)
{
    OK(umf_loop_dispatch(loop, 0));
}

static void
cancel_watch(void)
{
    OK(umf_watch_cancel(watch));
}

static void
submit(void)
{
    struct umf_job inline_job = { .size = sizeof(inline_job), .run = job };
    OK(umf_queue_submit(queue, &inline_job, 0));
}

static void
wait_for_the_device(void)
{
    EXPECT(-ETIME, umf_fence_wait(device, 1, in_ns(200 * MS)));
}

static void
wait_forever(void)
{
    atomic_store(&in_function, true);
    OK(umf_fence_wait(fence, umf_fence_value(fence) + 1, FOREVER));
    atomic_store(&function_returned, true);
}

static void
wait_for_a_set_forever(void)
{
    struct umf_wait_set *set;
    struct umf_wait_set_result ready;
    struct umf_condition wait = { fence, umf_fence_value(fence) + 1, UMF_OP_GE, 0, 0 };
    uint32_t count;
    uint64_t id;
    OK(umf_wait_set_create(0, &set));
    OK(umf_wait_set_add(set, &wait, 0, 0, &id));
    atomic_store(&in_function, true);
    OK(umf_wait_set_wait(set, &ready, 1, FOREVER, &count));
    umf_wait_set_unref(set);
    atomic_store(&function_returned, true);
}

static bool
waits_forever(void (*call)(void))
{
    return call == wait_forever || call == wait_for_a_set_forever;
}

static void (*to_call)(void);

static void *
call_and_be_canceled(void *unused)
{
    (void)unused;
    to_call();
    atomic_store(&call_returned, 1);
    pthread_testcancel();
    atomic_store(&call_returned, 2);
    return NULL;
}

static void
canceled_in(void (*call)(void))
{
    pthread_t thread;
    void *result;
    to_call = call;
    was_canceled = function_returned = false;
    call_returned = 0;
    /* The end of a loop waits for a callback that runs already. */
    if (call != end_the_loop)
        in_function = false;
    CHECK(pthread_create(&thread, NULL, call_and_be_canceled, NULL) == 0);
    while (!atomic_load(&in_function))
        sched_yield();
    if (call == end_the_loop || waits_forever(call)) /* asleep in it, most likely */
        nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
    CHECK(pthread_cancel(thread) == 0);
    atomic_store(&was_canceled, true);
    if (waits_forever(call))
        OK(umf_fence_signal(fence, umf_fence_value(fence) + 1));
    CHECK(pthread_join(thread, &result) == 0);
    CHECK(result == PTHREAD_CANCELED && call_returned == 1 && function_returned);
}

static void
watch_next(void)
{
    struct umf_condition wait = { fence, umf_fence_value(fence) + 1, UMF_OP_GE, 0, 0 };
    struct umf_callback functions = { callback, NULL, NULL };
    OK(umf_loop_watch(loop, &wait, 0, &functions, &watch));
    OK(umf_fence_signal(fence, wait.value));
}

static void
in_each_call(void)
{
    canceled_in(wait_forever);
    canceled_in(wait_for_a_set_forever);

    loop = create_loop(UMF_LOOP_THREAD);
    in_function = was_canceled = false;
    watch_next();
    while (!atomic_load(&in_function))
        sched_yield();
    canceled_in(end_the_loop);
    umf_watch_unref(watch);

    loop = create_loop(0);
    watch_next();
    until_due(loop);
    canceled_in(dispatch);
    umf_watch_unref(watch);

    struct umf_condition wait = { fence, umf_fence_value(fence) + 1, UMF_OP_GE, 0, 0 };
    struct umf_callback functions = { callback, release_data, NULL };
    OK(umf_loop_watch(loop, &wait, 0, &functions, &watch));
    canceled_in(cancel_watch);
    umf_watch_unref(watch);

    OK(umf_queue_create(loop, UMF_QUEUE_INLINE, &queue));
    canceled_in(submit);
    umf_queue_unref(queue);
    umf_loop_unref(loop);

    const struct umf_interrupt source = { .size = sizeof(source), .fd = -1, .wait = interrupt };
    struct umf_notifier *notifier;
    OK(umf_notifier_create(&source, 0, &notifier));
    OK(umf_fence_set_notifier(device, notifier));
    umf_notifier_unref(notifier);
    canceled_in(wait_for_the_device);
}

int
main(void)
{
    watchdog(40);
    if (RUNNING_ON_VALGRIND) {
        printf("valgrind reports what canceled threads leave behind as leaks\n");
        return SKIPPED;
    }
    OK(umf_page_create(4, 0, &page));
    OK(umf_fence_create(page, 0, 0, &fence));
    OK(umf_fence_create(page, 0, UMF_FENCE_DEVICE, &device));
    in_each_call();
    umf_fence_unref(device);
    umf_fence_unref(fence);
    umf_page_unref(page);
    return 0;
}
