// SPDX-License-Identifier: MIT
/*
 * A process forks while its threads, and those of the library, are in the middle of anything. The
 * child may call every function that the header marks async-signal-safe (this test calls all of
 * them), and then execute a program or exit. Meanwhile the parent continues.
 */
#include "marked_safe.h"
#include "sleeper.h"
#include "watch.h"

static struct umf_page *page;
static struct umf_fence *fence, *busy_fence, *never, *device;
static struct umf_loop *loop, *dispatched;
static struct umf_queue *queue;
static struct umf_watch *watch;
static struct told told;
static atomic_bool over;
static atomic_int begun;

static void
call_nothing(void *data, int result)
{
    (void)data;
    (void)result;
}

/* Threads that now and then hold every lock of the library. */
static void *
come_and_go(void *unused)
{
    (void)unused;
    atomic_fetch_add(&begun, 1);
    while (!atomic_load(&over)) {
        struct umf_callback callback = { .call = call_nothing };
        struct umf_page *small;
        struct umf_fence *more;
        struct umf_loop *brief = create_loop(UMF_LOOP_THREAD);
        OK(umf_page_create(1, 0, &small));
        OK(umf_fence_create(small, 0, 0, &more));
        struct umf_condition wait = { more, 1, UMF_OP_GE, 0, 0 };
        OK(umf_loop_watch(brief, &wait, 0, &callback, NULL));
        OK(umf_fence_signal(more, 1));
        umf_fence_unref(more);
        umf_page_unref(small);
        umf_loop_unref(brief);
        free(malloc(100));
    }
    return NULL;
}

static int
run_nothing(void *data)
{
    (void)data;
    return UMF_JOB_DONE;
}

static void *
submit_and_signal(void *unused)
{
    (void)unused;
    atomic_fetch_add(&begun, 1);
    while (!atomic_load(&over)) {
        uint64_t next = umf_fence_value(busy_fence) + 1;
        struct umf_condition wait = { busy_fence, next, UMF_OP_GE, 0, 0 };
        struct umf_job job = {
            .size = sizeof(job), .wait_count = 1, .waits = &wait, .run = run_nothing
        };
        OK(umf_queue_submit(queue, &job, 0));
        umf_fence_signal(busy_fence, next);
        OK(umf_queue_drain(queue, FOREVER));
    }
    return NULL;
}

static void *
arm_and_cancel(void *unused)
{
    (void)unused;
    atomic_fetch_add(&begun, 1);
    while (!atomic_load(&over)) {
        static struct told canceled;
        struct umf_watch *brief = watch_value(loop, never, 2, &canceled);
        struct umf_fence *more;
        OK(umf_watch_cancel(brief));
        umf_watch_unref(brief);
        OK(umf_fence_create(page, 0, 0, &more));
        umf_fence_unref(more);
        OK(umf_loop_dispatch(dispatched, 0));
    }
    return NULL;
}

/* In the child: no printf, no malloc, nothing that takes a lock. */
#define RIGHT(condition)                                                                           \
    do {                                                                                           \
        static const char text_[] = "in the child, does not hold: " #condition "\n";               \
        if (!(condition)) {                                                                        \
            if (write(STDERR_FILENO, text_, sizeof(text_) - 1) < 0)                                \
                _exit(3);                                                                          \
            _exit(2);                                                                              \
        }                                                                                          \
    } while (0)

static void
be_a_child(uint64_t mine)
{
    int error = 1;
    uint64_t busy;
    alarm(20);
    RIGHT(umf_version() != 0 && umf_set_spin(10, 50000, 0) == 0);
    RIGHT(umf_page_flags(page) == 0 && umf_page_fence_count(page) == 100);
    RIGHT(umf_page_ref(page) == page && umf_fence_ref(fence) == fence &&
          umf_loop_ref(loop) == loop);
    RIGHT(umf_queue_ref(queue) == queue && umf_watch_ref(watch) == watch);
    RIGHT(umf_wait_set_ref(NULL) == NULL);
    RIGHT(umf_device_ref(NULL) == NULL && umf_syncobj_ref(NULL) == NULL);
    RIGHT(umf_loop_fd(loop) == -EINVAL || umf_loop_fd(loop) == -ESTALE);
    RIGHT(umf_loop_fd(dispatched) == -ESTALE);
    RIGHT(umf_fence_page(fence) == page && umf_fence_page(NULL) == NULL);
    RIGHT(umf_fence_index(fence) < 100 && umf_fence_offset(fence) % 64 == 0);
    RIGHT(umf_fence_monitored_offset(device) > umf_fence_offset(device));
    RIGHT(umf_fence_submit(fence, mine) == 0 && umf_fence_pending_value(fence) == mine);
    RIGHT(umf_fence_update(fence, UMF_UPDATE_ADD, 1, 0, NULL) == -EINVAL);
    RIGHT(umf_fence_signal(fence, mine) == 0 && umf_fence_value(fence) == mine);
    RIGHT(umf_fence_wait(fence, mine, FOREVER) == 0);
    RIGHT(umf_fence_notify(device) == 0 && umf_fence_error(fence, &error) == 0 && error == 0);
    RIGHT(umf_fence_wait(never, 1, in_ns(1000)) == -ETIME);
    RIGHT(umf_fence_wait(device, 1, in_ns(1000)) == -ETIME);
    /* The parent's threads signal this fence all the time. */
    busy = umf_fence_value(busy_fence);
    struct umf_condition waits[2] = { { never, 1, UMF_OP_GE, 0, 0 },
                                      { busy_fence, busy + 2, UMF_OP_GE, 0, 0 } };
    RIGHT(umf_fence_wait(busy_fence, busy + 1, FOREVER) == 0);
    RIGHT(umf_wait(waits, 2, UMF_WAIT_ANY, FOREVER, NULL) == 0);
    RIGHT(umf_wait(waits + 1, 1, 0, FOREVER, NULL) == 0);
    RIGHT(umf_fence_set_error(device, -ENODEV) == 0 && umf_fence_error(device, &error) == 0 &&
          error == -ENODEV);
}

int
main(int argc, char **argv)
{
    pthread_t workers[4];
    void *(*const work[4])(void *) = { come_and_go, come_and_go, submit_and_signal,
                                       arm_and_cancel };
    const unsigned forks = rounds(200, 20);
    (void)argc;
    watchdog(50);
    if (RUNNING_ON_VALGRIND || is_emulated()) {
        printf("valgrind looks for leaks in each child, QEMU has locks of its own\n");
        return SKIPPED;
    }
    the_header_marks_these_and_no_others();
    OK(umf_page_create(100, 0, &page));
    OK(umf_fence_create(page, 0, 0, &fence));
    OK(umf_fence_create(page, 0, 0, &busy_fence));
    OK(umf_fence_create(page, 0, 0, &never));
    loop = create_loop(UMF_LOOP_THREAD);
    dispatched = create_loop(0);
    OK(umf_queue_create(loop, 0, &queue));
    watch = watch_value(loop, never, 1, &told);
    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&workers[i], NULL, work[i], NULL) == 0);
    while (atomic_load(&begun) < 4)
        sched_yield();

    for (unsigned i = 1; i <= forks; i++) {
        OK(umf_fence_create(page, 0, UMF_FENCE_DEVICE, &device));
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            be_a_child(i);
            if (i % 2)
                execl("/bin/true", "true", NULL);
            _exit(0);
        }
        join_child(pid);
        CHECK(umf_fence_value(fence) == i);
        int error;
        OK(umf_fence_error(device, &error));
        CHECK(error == -ENODEV);
        umf_fence_unref(device);
    }

    atomic_store(&over, true);
    for (int i = 0; i < 4; i++)
        CHECK(pthread_join(workers[i], NULL) == 0);
    OK(umf_fence_signal(never, 1));
    until_called(loop, &told, 0);
    umf_watch_unref(watch);
    umf_queue_unref(queue);
    umf_loop_unref(dispatched);
    umf_loop_unref(loop);
    umf_fence_unref(never);
    umf_fence_unref(busy_fence);
    umf_fence_unref(fence);
    umf_page_unref(page);
    printf("%u forks of %s\n", forks, argv[0]);
    return 0;
}
