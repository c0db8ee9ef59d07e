// SPDX-License-Identifier: MIT
/*
 * A page that only its creator can signal. Every other process can wait, asleep, and nothing else.
 * Calls that would write to the page are refused and do not try.
 */
#include "process.h"
#include "raw_page.h"
#include "sandbox.h"
#include "sleeper.h"

#include <fcntl.h>
#include <sys/mman.h>

#define ROUNDS 2000

static bool in_sandbox; /* a sandbox that forbids futex_waitv */

static int
never_runs(void *data)
{
    (void)data;
    CHECK(!"a job that nobody accepted runs");
    return UMF_JOB_DONE;
}

/* Every call that would write to the page. */
static void
all_is_refused(struct umf_page *page, struct umf_fence *fence)
{
    struct umf_fence *made;
    EXPECT(-EACCES, umf_fence_create(page, 0, 0, &made));
    EXPECT(-EACCES, umf_fence_signal(fence, 1));
    EXPECT(-EACCES, umf_fence_signal(fence, 0));
    EXPECT(-EACCES, umf_fence_notify(fence));
    EXPECT(-EACCES, umf_fence_submit(fence, 1));
    EXPECT(-EACCES, umf_fence_set_error(fence, -EIO));
    EXPECT(-EACCES, umf_fence_import_sync_file(fence, 1, -1, 0, 0));
    struct umf_loop *loop;
    struct umf_queue *queue;
    OK(umf_loop_create(UMF_LOOP_THREAD, &loop));
    EXPECT(-EACCES, umf_loop_import_sync_file(loop, fence, 1, -1, 0, NULL, NULL));
    EXPECT(-EACCES, umf_loop_export_fence(loop, fence, 1, fence, 2, 0, NULL, NULL));
    OK(umf_queue_create(loop, 0, &queue));
    struct umf_signal mark = { fence, 1 };
    struct umf_job job = {
        .size = sizeof(job), .signal_count = 1, .signals = &mark, .run = never_runs
    };
    EXPECT(-EACCES, umf_queue_submit(queue, &job, 0));
    umf_queue_unref(queue);
    umf_loop_unref(loop);
    CHECK(umf_fence_value(fence) == 0 && umf_fence_pending_value(fence) == 0);
}

/* What the seal refuses to a process that bypasses the library. */
static void
the_kernel_refuses_too(int fd)
{
    char path[64];
    CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
    CHECK(write(fd, path, 1) < 0 && errno == EPERM);
    CHECK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) < 0);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int again = open(path, O_RDWR | O_CLOEXEC);
    CHECK(again < 0 ||
          mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, again, 0) == MAP_FAILED);
    close(again);
}

static void
on_call(void *data, int result)
{
    EXPECT(0, result);
    atomic_fetch_add((atomic_int *)data, 1);
}

/* The only watch of a page is canceled before it is due. */
static void
watch_and_cancel(struct umf_loop *loop, struct umf_fence *fence)
{
    atomic_int called = 0;
    struct umf_condition wait = { .fence = fence, .value = UINT64_MAX };
    struct umf_callback callback = { on_call, NULL, &called };
    struct umf_watch *watch;
    OK(umf_loop_watch(loop, &wait, 0, &callback, &watch));
    OK(umf_watch_cancel(watch));
    umf_watch_unref(watch);
    CHECK(called == 0);
}

static void
on_end(void *data, int result)
{
    EXPECT(-EOWNERDEAD, result);
    atomic_fetch_add((atomic_int *)data, 1);
}

/* A page is tied to its creator, whose end comes while threads fall asleep on its fence: no wait
 * may sleep on. The page is read-only, so only the handles of this process learn of the end, and
 * new handles are opened afresh. */
static void
its_end_is_heard(struct umf_page *page, uint32_t index, struct umf_fence *idle)
{
    struct umf_loop *loop, *other;
    uint64_t longest = 0;
    unsigned seed = 1;
    OK(umf_loop_create(UMF_LOOP_THREAD, &loop));
    OK(umf_loop_create(UMF_LOOP_THREAD, &other));
    for (unsigned i = 0; i < (in_sandbox ? 30 : rounds(1000, 10)); i++) {
        struct umf_fence *fence;
        int sock[2], error;
        atomic_int called = 0;
        OK(umf_fence_open(page, index, 0, &fence));
        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock) == 0);
        OK(umf_loop_tie_fence(loop, fence, sock[0], 0, NULL, NULL));
        struct umf_condition list[2] = { { .fence = idle, .value = 1 },
                                         { .fence = fence, .value = 1 } };
        struct sleeper sleepers[3] = { { .fence = fence, .value = 1 },
                                       { .waits = list, .count = 2, .flags = UMF_WAIT_ANY },
                                       { .waits = list, .count = 2 } };
        struct umf_callback callback = { on_end, NULL, &called };
        for (int k = 0; k < 3; k++)
            start_sleeper(&sleepers[k]);
        OK(umf_loop_watch(loop, &list[1], 0, &callback, NULL));
        OK(umf_loop_watch(other, &list[1], 0, &callback, NULL));
        uint64_t began = now_ns(), at = began + (uint64_t)rand_r(&seed) % (100 * 1000);
        while ((began = now_ns()) < at)
            ;
        close(sock[1]);
        for (int k = 0; k < 3; k++)
            EXPECT(-EOWNERDEAD, end_of(&sleepers[k]));
        while (atomic_load(&called) < 2)
            sched_yield();
        longest = now_ns() - began > longest ? now_ns() - began : longest;
        OK(umf_fence_error(fence, &error));
        CHECK(error == -EOWNERDEAD);
        OK(umf_fence_wait(fence, 0, 0)); /* reached values stay reached */
        umf_fence_unref(fence);
        close(sock[0]);
    }
    printf("its end: every waiter learns of it after %" PRIu64 " us at most\n", longest / 1000);
    fflush(stdout);
    umf_loop_unref(loop);
    umf_loop_unref(other);
}

/* All ways to wait; each sleeps when the signal comes. */
static void
receiver(int sock)
{
    if (in_sandbox)
        forbid_futex_waitv(ENOSYS);
    int fd = recv_fd(sock);
    struct umf_page *page, *own;
    struct umf_fence *fence, *idle;
    OK(umf_page_import(fd, 0, &page));
    CHECK(umf_page_flags(page) == UMF_PAGE_SINGLE_WRITER);
    OK(umf_set_spin(0, 0, 0));
    OK(umf_page_create(1, 0, &own));
    OK(umf_fence_create(own, 0, 0, &idle));
    uint32_t index = (uint32_t)hear(sock);
    its_end_is_heard(page, index, idle);
    OK(umf_fence_open(page, index, 0, &fence));
    all_is_refused(page, fence);
    the_kernel_refuses_too(fd);
    close(fd);
    struct umf_loop *loop;
    atomic_int called = 0;
    OK(umf_loop_create(UMF_LOOP_THREAD, &loop));
    for (uint64_t value = 1; value <= ROUNDS; value++) {
        struct umf_condition list[2] = { { .fence = fence, .value = value },
                                         { .fence = idle, .value = 1 } };
        struct umf_callback callback = { on_call, NULL, &called };
        tell(sock, value);
        switch (value % 4) {
        case 0: OK(umf_fence_wait(fence, value, FOREVER)); break;
        case 1: OK(umf_wait(list, 1, 0, FOREVER, NULL)); break;
        case 2: OK(umf_wait(list, 2, UMF_WAIT_ANY, FOREVER, NULL)); break;
        case 3:
            OK(umf_loop_watch(loop, list, 0, &callback, NULL));
            while (atomic_load(&called) < (int)(value / 4 + 1))
                sched_yield();
            watch_and_cancel(loop, fence);
        }
    }
    /* The end of the fence, and its failure, wake waiters as everywhere. */
    tell(sock, ROUNDS + 1);
    EXPECT(-EIO, umf_fence_wait(fence, UINT64_MAX, FOREVER));
    umf_loop_unref(loop);
    umf_fence_unref(idle);
    umf_page_unref(own);
    umf_fence_unref(fence);
    umf_page_unref(page);
}

/* A write-sealed page with a fence whose state claims that waiters register. A library that
 * believed it would write to the page and crash. */
static void
the_creator_of_the_page_lies(void)
{
    static const struct page_header header = { PAGE_MAGIC, PAGE_VERSION, 4 };
    uint64_t live = STATE_LIVE;
    struct umf_page *page;
    struct umf_fence *fence;
    struct umf_loop *loop;
    int fd = memfd_create("lies", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CHECK(fd >= 0 && ftruncate(fd, 8192) == 0);
    CHECK(pwrite(fd, &header, sizeof(header), 0) == sizeof(header));
    CHECK(pwrite(fd, &live, sizeof(live), SLOTS_AT + SLOT_STATE) == sizeof(live));
    live |= 8; /* and the next fence, of a device */
    CHECK(pwrite(fd, &live, sizeof(live), SLOTS_AT + SLOT_SIZE + SLOT_STATE) == sizeof(live));
    CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0);
    OK(umf_page_import(fd, 0, &page));
    close(fd);
    OK(umf_loop_create(UMF_LOOP_THREAD, &loop));
    for (uint32_t i = 0; i < 2; i++) {
        OK(umf_fence_open(page, i, 0, &fence));
        struct umf_condition list[2] = { { .fence = fence, .value = 1 },
                                         { .fence = fence, .value = 2 } };
        EXPECT(-ETIME, umf_fence_wait(fence, 1, in_ns(MS)));
        EXPECT(-ETIME, umf_wait(list, 2, 0, in_ns(MS), NULL));
        EXPECT(-ETIME, umf_wait(list, 2, UMF_WAIT_ANY, in_ns(MS), NULL));
        EXPECT(-ETIME, umf_wait(list, 2, UMF_WAIT_PENDING, in_ns(MS), NULL));
        atomic_int called = 0;
        struct umf_callback callback = { on_call, NULL, &called };
        OK(umf_loop_watch(loop, list, 0, &callback, NULL));
        umf_fence_unref(fence);
    }
    umf_loop_unref(loop);
    umf_page_unref(page);
}

int
main(int argc, char **argv)
{
    (void)argv;
    in_sandbox = argc > 1;
    if (in_sandbox && !can_have_a_sandbox())
        return SKIPPED;
    struct umf_page *page;
    struct umf_fence *fence;
    struct peer peer = start_peer(receiver);
    watchdog(50);
    int made = umf_page_create(4, UMF_PAGE_SINGLE_WRITER, &page);
    if (made == -EOPNOTSUPP) {
        printf("not available: a kernel without F_SEAL_FUTURE_WRITE\n");
        return SKIPPED;
    }
    OK(made);
    the_creator_of_the_page_lies();
    EXPECT(-EINVAL, umf_page_create(4, UMF_PAGE_SINGLE_WRITER << 1, &page));
    OK(umf_fence_create(page, 0, 0, &fence));
    send_page(peer.sock, page);
    tell(peer.sock, umf_fence_index(fence));
    /* The creator that imports its own page gets the page that it has. */
    int fd;
    struct umf_page *again;
    OK(umf_page_export(page, 0, &fd));
    OK(umf_page_import(fd, 0, &again));
    CHECK(again == page);
    umf_page_unref(again);
    close(fd);
    for (uint64_t value = 1; value <= ROUNDS; value++) {
        CHECK(hear(peer.sock) == value);
        OK(umf_fence_signal(fence, value));
    }
    hear(peer.sock);
    OK(umf_fence_set_error(fence, -ENODEV));
    end_peer(&peer);
    umf_fence_unref(fence);
    umf_page_unref(page);
    return 0;
}
