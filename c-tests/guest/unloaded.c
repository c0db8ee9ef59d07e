// SPDX-License-Identifier: MIT
/*
 * A program unloads the library (dlclose) while threads of the library are still at work: in a loop
 * that nobody ended, and in a loop that was ended in its own callback, whose thread nobody can
 * join. Both run to their end, so the code that they return to must stay mapped.
 */
#include "process.h"
#include "sleeper.h"

#include <dlfcn.h>

#define FUNCTIONS(F)                                                                               \
    F(umf_page_create) F(umf_page_import) F(umf_page_unref) F(umf_fence_create) F(umf_fence_open)  \
    F(umf_fence_signal) F(umf_fence_unref) F(umf_loop_create) F(umf_loop_unref) F(umf_loop_watch)  \
    F(umf_queue_create) F(umf_queue_submit) F(umf_queue_unref) F(umf_page_export) F(umf_fence_value)

static struct library {
    void *handle;
#define POINTER(name) __typeof__(name) *name;
    FUNCTIONS(POINTER)
} l;

static void
load(void)
{
    l.handle = dlopen(LIBUMF_SO, RTLD_NOW | RTLD_LOCAL);
    if (!l.handle)
        fprintf(stderr, "%s\n", dlerror());
    CHECK(l.handle);
#define LOOK_UP(name) CHECK((l.name = (__typeof__(l.name))dlsym(l.handle, #name)));
    FUNCTIONS(LOOK_UP)
}

static struct umf_loop *loop;
static struct umf_queue *queue;
static struct umf_page *page;
static struct umf_fence *fence;
static atomic_int called, may_return, released;

static void
count_call(void *data, int result)
{
    (void)data;
    OK(result);
    atomic_fetch_add(&called, 1);
}

/* Ends the loop on its own thread, and returns only after the library was unloaded. */
static void
end_loop(void *data, int result)
{
    count_call(data, result);
    l.umf_loop_unref(loop);
}

static void
return_when_unloaded(void *data)
{
    (void)data;
    atomic_store(&released, 1);
    while (!atomic_load(&may_return))
        sched_yield();
}

static int
run_nothing(void *data)
{
    (void)data;
    return UMF_JOB_DONE;
}

static void
end_queue_and_loop(void *data, int result)
{
    l.umf_queue_unref(queue);
    end_loop(data, result);
    return_when_unloaded(data);
}

static void
let_go_and_wait_for_the_thread(void)
{
    while (!atomic_load(&released))
        sched_yield();
    CHECK(dlclose(l.handle) == 0);
    atomic_store(&may_return, 1);
    while (threads() > 1)
        sched_yield(); /* the watchdog's */
    CHECK(called == 1);
}

/* Nothing can be due before the call that asks for it returns: it needs the loop. */
static void
begin(void)
{
    OK(l.umf_page_create(1, 0, &page));
    OK(l.umf_fence_create(page, 0, 0, &fence));
    OK(l.umf_loop_create(UMF_LOOP_THREAD, &loop));
}

static void
signal_and_let_go(void)
{
    OK(l.umf_fence_signal(fence, 1));
    l.umf_fence_unref(fence);
    l.umf_page_unref(page);
    let_go_and_wait_for_the_thread();
}

static void
a_loop_that_ended_in_its_callback(void)
{
    struct umf_callback callback = { end_loop, return_when_unloaded, NULL };
    begin();
    struct umf_condition wait = { fence, 1, UMF_OP_GE, 0, 0 };
    OK(l.umf_loop_watch(loop, &wait, 0, &callback, NULL));
    signal_and_let_go();
}

/* As a driver might do when its device is removed. */
static void
a_queue_that_had_the_last_reference(void)
{
    begin();
    struct umf_condition wait = { fence, 1, UMF_OP_GE, 0, 0 };
    struct umf_job job = { .size = sizeof(job), .wait_count = 1, .waits = &wait, .run = run_nothing,
                           .release = end_queue_and_loop };
    OK(l.umf_queue_create(loop, 0, &queue));
    OK(l.umf_queue_submit(queue, &job, 0));
    signal_and_let_go();
}

/* Nobody ended this loop: it works as long as the program lives. Another process, with its own
 * library, gives it work. */
static void
signal_for_us(int sock)
{
    struct umf_page *mine;
    struct umf_fence *signaled;
    int fd;
    load();
    OK(l.umf_page_create(1, 0, &mine));
    OK(l.umf_fence_create(mine, 0, 0, &signaled));
    OK(l.umf_page_export(mine, 0, &fd));
    send_fd(sock, fd);
    hear(sock);
    OK(l.umf_fence_signal(signaled, 1));
    hear(sock);
}

static void
a_loop_that_nobody_ended(void)
{
    struct peer peer = start_peer(signal_for_us);
    struct umf_callback callback = { .call = count_call };
    int fd = recv_fd(peer.sock);
    load();
    OK(l.umf_page_import(fd, 0, &page));
    OK(l.umf_fence_open(page, 0, 0, &fence));
    OK(l.umf_loop_create(UMF_LOOP_THREAD, &loop));
    struct umf_condition wait = { fence, 1, UMF_OP_GE, 0, 0 };
    OK(l.umf_loop_watch(loop, &wait, 0, &callback, NULL));
    CHECK(dlclose(l.handle) == 0);
    tell(peer.sock, 1);
    while (!atomic_load(&called))
        sched_yield();
    tell(peer.sock, 2);
    end_peer(&peer);

    /* A program that loads the library again finds its state. */
    load();
    CHECK(l.umf_fence_value(fence) == 1);
    l.umf_loop_unref(loop);
    l.umf_fence_unref(fence);
    l.umf_page_unref(page);
    CHECK(dlclose(l.handle) == 0);
}

int
main(void)
{
    pid_t pid;
    for (int i = 0; i < 10; i++) {
        IN_CHILD(pid, (watchdog(20), load(), a_loop_that_ended_in_its_callback()));
        join_child(pid);
        IN_CHILD(pid, (watchdog(20), load(), a_queue_that_had_the_last_reference()));
        join_child(pid);
    }
    IN_CHILD(pid, (watchdog(20), a_loop_that_nobody_ended()));
    join_child(pid);
    return 0;
}
