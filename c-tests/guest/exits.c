// SPDX-License-Identifier: MIT
/*
 * A process ends while the library's threads are at work and others wait, signal and create. It
 * ends with the given status, whichever thread calls exit(), and from where. Code that runs then
 * (atexit, destructors, thread destructors) may call the library as usual.
 */
#include "sleeper.h"
#include "watch.h"

#define STATUS 7

static struct umf_page *page;
static struct umf_fence *fence, *never;
static struct umf_loop *loop, *other_loop;
static struct umf_queue *queue;
static struct umf_watch *watch;
static struct told told, other_told;
static atomic_int busy, calls;

/* Every watch arms the next, as fast as the loop runs. */
static void arm_next(void);

static void
go_on(void *data, int result)
{
    (void)data;
    if (result == 0) {
        atomic_fetch_add(&calls, 1);
        arm_next();
    }
}

static void
arm_next(void)
{
    struct umf_callback callback = { .call = go_on };
    struct umf_condition wait = { fence, 0, UMF_OP_GE, 0, 0 };
    OK(umf_loop_watch(loop, &wait, 0, &callback, NULL));
}

static int
run_nothing(void *data)
{
    (void)data;
    return UMF_JOB_DONE;
}

static int
submit(uint64_t value)
{
    struct umf_condition wait = { value ? never : fence, value, UMF_OP_GE, 0, 0 };
    struct umf_job job = {
        .size = sizeof(job), .wait_count = 1, .waits = &wait, .run = run_nothing
    };
    return umf_queue_submit(queue, &job, 0);
}

static void *
wait_for_ever(void *unused)
{
    (void)unused;
    atomic_fetch_add(&busy, 1);
    umf_fence_wait(never, 1, FOREVER);
    return NULL;
}

static void *
wait_for_many(void *unused)
{
    struct umf_condition waits[2] = { { never, 1, UMF_OP_GE, 0, 0 },
                                      { never, 2, UMF_OP_GE, 0, 0 } };
    (void)unused;
    atomic_fetch_add(&busy, 1);
    umf_wait(waits, 2, UMF_WAIT_ANY, FOREVER, NULL);
    return NULL;
}

static void *
drain(void *unused)
{
    (void)unused;
    atomic_fetch_add(&busy, 1);
    umf_queue_drain(queue, FOREVER);
    return NULL;
}

static void *
come_and_go(void *unused)
{
    (void)unused;
    atomic_fetch_add(&busy, 1);
    for (;;) {
        struct told made;
        struct umf_fence *more;
        struct umf_page *small;
        struct umf_loop *brief = create_loop(UMF_LOOP_THREAD);
        OK(umf_page_create(1, 0, &small));
        OK(umf_fence_create(small, 0, 0, &more));
        umf_watch_unref(watch_value(brief, more, 1, &made));
        OK(umf_fence_signal(more, 1));
        umf_fence_unref(more);
        umf_page_unref(small);
        umf_loop_unref(brief);
    }
    return NULL;
}

/* All of that, at the same time. */
static void
be_busy(void)
{
    static void *(*const jobs[])(void *) = { wait_for_ever, wait_for_many, drain, come_and_go };
    const int count = (int)ARRAY_SIZE(jobs);
    OK(umf_page_create(4, 0, &page));
    OK(umf_fence_create(page, 0, 0, &fence));
    OK(umf_fence_create(page, 0, 0, &never));
    loop = create_loop(UMF_LOOP_THREAD);
    other_loop = create_loop(UMF_LOOP_THREAD);
    OK(umf_queue_create(loop, 0, &queue));
    watch = watch_value(loop, never, 1, &told);
    umf_watch_unref(watch_value(other_loop, never, 2, &other_told));
    OK(submit(1));
    arm_next();
    for (int i = 0; i < count; i++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, jobs[i], NULL) == 0);
    }
    while (atomic_load(&busy) < count || atomic_load(&calls) < 10)
        sched_yield();
}

/* What a program might clean up at its end. */
static bool cleans_up, has_cleaned_up;

static void
clean_up(void)
{
    struct umf_page *late;
    struct umf_fence *late_fence;
    if (!cleans_up)
        return;
    OK(umf_page_create(1, 0, &late));
    OK(umf_fence_create(late, 0, 0, &late_fence));
    OK(umf_fence_signal(late_fence, 1));
    OK(umf_fence_wait(late_fence, 1, FOREVER));
    umf_fence_unref(late_fence);
    umf_page_unref(late);
    EXPECT(-ETIME, umf_watch_result(watch));
    OK(umf_watch_cancel(watch));
    umf_watch_unref(watch);
    OK(umf_queue_cancel(queue));
    umf_loop_unref(other_loop);
    CHECK(other_told.releases == 1);
    umf_loop_unref(loop);
    CHECK(told.releases == 1 && told.calls == 0);
    umf_fence_unref(umf_fence_ref(fence));
    has_cleaned_up = true;
}

/* Runs after the atexit() functions: the program's last code. */
__attribute__((destructor)) static void
clean_up_last(void)
{
    if (cleans_up && !has_cleaned_up)
        clean_up();
}

static void
leave_in_callback(void *data, int result)
{
    (void)data;
    (void)result;
    exit(STATUS);
}

static void
leave_on_the_loops_thread(void)
{
    struct umf_callback callback = { .call = leave_in_callback };
    struct umf_condition wait = { fence, 0, UMF_OP_GE, 0, 0 };
    OK(umf_loop_watch(loop, &wait, 0, &callback, NULL));
    for (;;)
        pause();
}

static void *
leave_from_here(void *unused)
{
    (void)unused;
    exit(STATUS);
}

static void
leave_from_another_thread(void)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, leave_from_here, NULL) == 0);
    umf_fence_wait(never, 1, FOREVER);
}

static void
leave_from_main(void)
{
    exit(STATUS);
}

/* The process continues without its first thread, until a callback ends it. */
static void
leave_behind(void)
{
    struct umf_callback callback = { .call = leave_in_callback };
    struct umf_condition wait = { fence, 0, UMF_OP_GE, 0, 0 };
    OK(umf_loop_watch(loop, &wait, 0, &callback, NULL));
    pthread_exit(NULL);
}

static void
leave_quickly(void)
{
    at_quick_exit(clean_up);
    quick_exit(STATUS);
}

static void
the_process_just_ends(void)
{
    static void (*const ways[])(void) = {
        leave_from_main, leave_from_another_thread, leave_on_the_loops_thread, leave_behind,
        leave_quickly,
    };
    for (size_t way = 0; way < ARRAY_SIZE(ways); way++) {
        for (int cleaning = 0; cleaning < 3; cleaning++) {
            for (unsigned i = 0; i < rounds(3, 1); i++) {
                pid_t pid;
                int status;
                IN_CHILD(pid, {
                    watchdog(20);
                    be_busy();
                    cleans_up = cleaning > 0;
                    if (cleaning == 1)
                        CHECK(atexit(clean_up) == 0);
                    ways[way]();
                });
                CHECK(waitpid(pid, &status, 0) == pid);
                if (!WIFEXITED(status) || WEXITSTATUS(status) != STATUS) {
                    fprintf(stderr, "way %zu, cleaning %d: %s %d\n", way, cleaning,
                            WIFEXITED(status) ? "status" : "signal",
                            WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
                    exit(1);
                }
            }
        }
    }
}

/* Thread destructors: of the program's thread, and of a loop's thread in whose callback the
 * value was set. */
static pthread_key_t key;
static atomic_int ended;

static void
at_the_end_of_a_thread(void *data)
{
    struct told made;
    struct umf_fence *late;
    struct umf_loop *mine = data, *brief = create_loop(UMF_LOOP_THREAD);
    OK(umf_fence_create(page, 0, 0, &late));
    umf_watch_unref(watch_value(brief, late, 1, &made));
    EXPECT(-ETIME, umf_fence_wait(late, 1, in_ns(100000)));
    OK(umf_fence_signal(late, 1));
    umf_fence_unref(late);
    umf_loop_unref(brief);
    umf_loop_unref(mine);
    atomic_fetch_add(&ended, 1);
}

static void *
begin_something(void *unused)
{
    (void)unused;
    CHECK(pthread_setspecific(key, create_loop(UMF_LOOP_THREAD)) == 0);
    return NULL;
}

static void
begin_in_callback(void *data, int result)
{
    OK(result);
    begin_something(NULL);
    atomic_store((atomic_bool *)data, true);
}

static void
threads_have_ends_too(void)
{
    pthread_t thread;
    atomic_bool has_begun = false;
    struct umf_callback callback = { .call = begin_in_callback, .data = &has_begun };
    CHECK(pthread_key_create(&key, at_the_end_of_a_thread) == 0);
    OK(umf_page_create(4, 0, &page));
    OK(umf_fence_create(page, 0, 0, &fence));
    CHECK(pthread_create(&thread, NULL, begin_something, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0 && ended == 1);

    loop = create_loop(UMF_LOOP_THREAD);
    struct umf_condition wait = { fence, 1, UMF_OP_GE, 0, 0 };
    OK(umf_loop_watch(loop, &wait, 0, &callback, NULL));
    OK(umf_fence_signal(fence, 1));
    UNTIL(loop, atomic_load(&has_begun)); /* the end of the loop would cancel the watch */
    umf_loop_unref(loop);
    CHECK(ended == 2);
    umf_fence_unref(fence);
    umf_page_unref(page);
}

int
main(void)
{
    pid_t pid;
    /* Valgrind would look for leaks in the middle of the work. */
    if (!RUNNING_ON_VALGRIND)
        the_process_just_ends();
    IN_CHILD(pid, (watchdog(20), threads_have_ends_too()));
    join_child(pid);
    return 0;
}
