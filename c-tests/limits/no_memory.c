// SPDX-License-Identifier: MIT
/*
 * Memory runs out at each allocation in turn: the call returns -ENOMEM, writes no output, keeps
 * nothing and breaks nothing, and succeeds when there is memory again. Calls that promise not to
 * allocate work without any.
 */
#include "notifier.h"
#include "process.h"
#include "sleeper.h"
#include "watch.h"

#include "fail_alloc.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>

#ifndef PR_GET_AUXV_NUMBER
#define PR_GET_AUXV_NUMBER 0x41555856
#endif

/* So many of each that tables have to grow more than once. */
#define ENOUGH 70

static struct umf_page *page, *theirs, *written_by_a_device;
static int their_fds[ENOUGH];
static uint32_t their_indices[ENOUGH];
static struct umf_page *pages[ENOUGH];
static struct umf_fence *fences[ENOUGH];
static struct umf_fence *devices[ENOUGH];
static struct umf_notifier *notifiers[ENOUGH], *one_notifier;
static struct umf_fence *watched[ENOUGH];
static struct umf_loop *loops[ENOUGH], *running_loop;
static struct umf_watch *watches[ENOUGH];
static struct told told[ENOUGH];
static int event, null;

static int
wait_for_interrupt(void *data, uint64_t abs_timeout_ns)
{
    (void)data;
    (void)abs_timeout_ns;
    return 0;
}

static const struct umf_interrupt callback = { .size = sizeof(callback), .fd = -1,
                                               .wait = wait_for_interrupt };

/* One call each, with its own output. */
static int create_page(int i) { return umf_page_create(1, 0, &pages[i]); }
static int import_page(int i) { return umf_page_import(their_fds[i], 0, &pages[i]); }
static int create_fence(int i) { return umf_fence_create(page, 7, 0, &fences[i]); }
static int open_fence(int i) { return umf_fence_open(theirs, their_indices[i], 0, &fences[i]); }

static uint64_t device_value = 7;
static int released;
static void count_release(void *data) { ++*(int *)data; }
static const struct umf_mapping device_memory = { .size = sizeof(device_memory),
                                                  .value = &device_value,
                                                  .data = &released,
                                                  .release = count_release };

static int
create_fence_in(int i)
{
    return umf_fence_create_in(page, &device_memory, 0, &fences[i]);
}

static int
notifier_of_a_function(int i)
{
    return umf_notifier_create(&callback, 0, &notifiers[i]);
}

static int
notifier_of_a_descriptor(int i)
{
    const struct umf_interrupt interrupt = { .size = sizeof(interrupt), .fd = event };
    return umf_notifier_create(&interrupt, 0, &notifiers[i]);
}

static int
set_notifier(int i)
{
    return umf_fence_set_notifier(devices[i], one_notifier);
}

static int
write_graph(int i)
{
    return umf_graph_write(null, i % 2 ? UMF_GRAPH_DOT : 0, NULL);
}

static int create_a_loop(int i) { return umf_loop_create(UMF_LOOP_THREAD, &loops[i]); }

static int
watch_fence(int i)
{
    struct umf_condition wait = { watched[i], 1, UMF_OP_GE, 0, i % 2 ? UINT64_MAX : 0 };
    struct umf_callback to_call = callback_to(&told[i]);
    return umf_loop_watch(running_loop, &wait, 0, &to_call, &watches[i]);
}

/* All watches of one fence. */
static int
watch_one_fence(int i)
{
    struct umf_condition wait = { watched[0], (uint64_t)i + 1, UMF_OP_GE, 0, 0 };
    struct umf_callback to_call = callback_to(&told[i]);
    return umf_loop_watch(running_loop, &wait, UMF_WAIT_PENDING, &to_call, &watches[i]);
}

static int
export_eventfd(int i)
{
    struct umf_condition wait = { watched[i], 1, UMF_OP_GE, 0, 0 };
    struct umf_callback to_call = callback_to(&told[i]);
    return umf_loop_export_eventfd(running_loop, &wait, 0, event, &to_call, &watches[i]);
}

static int
export_fence(int i)
{
    struct umf_callback to_call = callback_to(&told[i]);
    struct umf_fence *target = watched[(i + 1) % ENOUGH];
    return umf_loop_export_fence(running_loop, watched[i], 1, target, 1, 0, &to_call, &watches[i]);
}

static int
import_signaled(int i)
{
    struct umf_callback to_call = callback_to(&told[i]);
    return umf_loop_import_sync_file(running_loop, watched[i], 0, -1, 0, &to_call, &watches[i]);
}

/* The first call of a process, which detects features, on a kernel before 6.4, which has no
 * PR_GET_AUXV. */
static void
the_first_call_has_no_memory(void)
{
    struct sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_prctl, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PR_GET_AUXV_NUMBER, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = { ARRAY_SIZE(steps), steps };
    pid_t pid;
    IN_CHILD(pid, {
        CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
            printf("not available: seccomp filters, so no kernel without PR_GET_AUXV\n");
        fflush(stdout);
        allocations_left = 0;
        EXPECT(-ENOMEM, umf_page_create(1, 0, &page));
    });
    join_child(pid);
}

static void
unref_page(int i)
{
    CHECK(umf_page_fence_count(pages[i]) == 1);
    umf_page_unref(pages[i]);
    pages[i] = NULL;
}

static void
unref_fence(int i)
{
    CHECK(umf_fence_value(fences[i]) == 7);
    umf_fence_unref(fences[i]);
    fences[i] = NULL;
}

/* A call that succeeds releases it once; a call that fails does not. */
static void
unref_fence_in(int i)
{
    CHECK(released == i);
    unref_fence(i);
    CHECK(released == i + 1);
}

static void
unref_loop(int i)
{
    umf_loop_unref(loops[i]);
    loops[i] = NULL;
}

static void
cancel(int i)
{
    OK(umf_watch_cancel(watches[i]));
    CHECK(told[i].calls == 0 && told[i].releases == 1);
    umf_watch_unref(watches[i]);
    watches[i] = NULL;
}

static void
until_done(int i)
{
    until_called(running_loop, &told[i], 0);
    umf_watch_unref(watches[i]);
    watches[i] = NULL;
}

static void
unref_notifier(int i)
{
    umf_notifier_unref(notifiers[i]);
    notifiers[i] = NULL;
}

static void
device_without_notifier(int i)
{
    umf_fence_unref(devices[i]);
    OK(umf_fence_create(written_by_a_device, 0, UMF_FENCE_DEVICE, &devices[i]));
}

static void
nothing(int i)
{
    (void)i;
}

static const struct {
    const char *what;
    int (*call)(int i);
    void (*undo)(int i);
} calls[] = {
    { "umf_page_create", create_page, unref_page },
    { "umf_page_import", import_page, unref_page },
    { "umf_fence_create", create_fence, unref_fence },
    { "umf_fence_create_in", create_fence_in, unref_fence_in },
    { "umf_fence_open", open_fence, unref_fence },
    { "umf_notifier_create, wait", notifier_of_a_function, unref_notifier },
    { "umf_notifier_create, fd", notifier_of_a_descriptor, unref_notifier },
    { "umf_fence_set_notifier", set_notifier, device_without_notifier },
    { "umf_graph_write", write_graph, nothing },
    { "umf_loop_create", create_a_loop, unref_loop },
    { "umf_loop_watch", watch_fence, cancel },
    { "umf_loop_watch, one fence", watch_one_fence, cancel },
    { "umf_loop_export_eventfd", export_eventfd, cancel },
    { "umf_loop_export_fence", export_fence, cancel },
    { "umf_loop_import_sync_file", import_signaled, until_done },
};

static void
every_allocation_may_fail(size_t c)
{
    unsigned failures = 0;
    for (int i = 0; i < ENOUGH; i++) {
        for (long may_succeed = 0;; may_succeed++) {
            int fds = open_fds(), maps = mappings();
            allocations_left = may_succeed;
            errno = SENTINEL;
            int answer = calls[c].call(i), after = errno;
            allocations_left = LONG_MAX;
            /* malloc sets errno */
            CHECK(after == SENTINEL);
            if (answer == 0)
                break;
            EXPECT(-ENOMEM, answer);
            CHECK(!pages[i] && !fences[i] && !loops[i] && !watches[i] && told[i].releases == 0);
            CHECK(open_fds() == fds && mappings() == maps);
            CHECK(may_succeed < 100);
            failures++;
        }
    }
    /* At least the object itself is allocated each time. */
    CHECK(failures >= ENOUGH);
    for (int i = 0; i < ENOUGH; i++)
        calls[c].undo(i);
}

/* A page of one fence: the slot that the failed call had claimed is free again. */
static void
a_slot_is_not_lost(void)
{
    struct umf_page *small;
    struct umf_fence *fence, *more;
    OK(umf_page_create(1, 0, &small));
    for (int i = 0; i < 3; i++) {
        allocations_left = 0;
        EXPECT(-ENOMEM, umf_fence_create(small, 1, 0, &fence));
        allocations_left = LONG_MAX;
        EXPECT(-ENOENT, umf_fence_open(small, 0, 0, &fence));
    }
    OK(umf_fence_create(small, 2, 0, &fence));
    EXPECT(-ENOSPC, umf_fence_create(small, 2, 0, &more));
    CHECK(umf_fence_value(fence) == 2);
    umf_fence_unref(fence);
    umf_page_unref(small);
}

static void
the_rest_needs_no_memory(void)
{
    struct umf_caps caps = { .size = sizeof(caps) };
    struct umf_fence *fence, *opened;
    struct umf_page *again;
    int fd, error;
    OK(umf_fence_create(page, 0, 0, &fence));
    struct umf_condition entry = { fence, 2, UMF_OP_GE, 0, 0 };
    struct sleeper sleeper = { .fence = fence, .value = 2 };
    fall_asleep(&sleeper);

    allocations_left = 0;
    OK(umf_query_caps(&caps));
    OK(umf_page_export(page, 0, &fd));
    OK(umf_page_import(fd, 0, &again)); /* known already */
    OK(umf_fence_open(page, umf_fence_index(fence), 0, &opened));
    OK(umf_fence_submit(fence, 2));
    OK(umf_fence_signal(fence, 2));
    OK(umf_fence_notify(fence));
    OK(umf_fence_wait(fence, 2, FOREVER));
    EXPECT(-ETIME, umf_fence_wait(fence, 3, in_ns(1000)));
    OK(umf_wait(&entry, 1, 0, FOREVER, NULL));
    OK(umf_fence_import_sync_file(fence, 3, -1, 0, 0));
    OK(umf_fence_set_error(fence, -EIO));
    OK(umf_fence_error(fence, &error));
    umf_fence_unref(umf_fence_ref(opened));
    umf_fence_unref(opened);
    umf_page_unref(umf_page_ref(again));
    umf_page_unref(again);
    allocations_left = LONG_MAX;

    EXPECT(0, end_of(&sleeper));
    umf_fence_unref(fence);
    close(fd);
}

/* The first watch of a page, with each allocation failing: the fence is not kept, and the next
 * watch of that page works. */
static void
a_watch_that_failed_leaves_nothing(uint64_t flags)
{
    struct umf_loop *loop = create_loop(flags);
    struct told begun, heard;
    int failures = 0;
    OK(umf_fence_create(page, 0, 0, &watched[0]));
    umf_watch_unref(watch_value(loop, watched[0], 1, &begun));
    for (int device = 0; device < 2; device++) {
        for (long may_succeed = 0, answer = -ENOMEM; answer == -ENOMEM; may_succeed++) {
            struct umf_page *small;
            struct umf_fence *fence, *again;
            struct umf_watch *watch;
            OK(umf_page_create(1, 0, &small));
            OK(umf_fence_create(small, 0, device ? UMF_FENCE_DEVICE : 0, &fence));
            struct umf_condition wait = { fence, 1, UMF_OP_GE, 0, 0 };
            struct umf_callback to_call = callback_to(&heard);
            until_loop_sleeps();
            allocations_left = may_succeed;
            answer = umf_loop_watch(loop, &wait, 0, &to_call, &watch);
            allocations_left = LONG_MAX;
            if (answer == -ENOMEM) {
                failures++;
                CHECK(heard.releases == 0);
                umf_fence_unref(fence);
                OK(umf_fence_create(small, 0, 0, &again));
                watch = watch_value(loop, again, 1, &heard);
                fence = again;
            } else {
                EXPECT(0, answer);
            }
            if (device == 0)
                until_loop_sleeps();
            OK(umf_fence_signal(fence, 1));
            until_called(loop, &heard, 0);
            umf_watch_unref(watch);
            umf_fence_unref(fence);
            umf_page_unref(small);
        }
    }
    CHECK(failures > 6);
    umf_fence_unref(watched[0]);
    umf_loop_unref(loop);
    CHECK(begun.calls == 0 && begun.releases == 1);
}

/* The same for each allocation of the thread that starts. */
static void
a_loop_whose_thread_did_not_start(void)
{
    struct umf_fence *fence;
    OK(umf_fence_create(page, 0, 0, &fence));
    int answer = -ENOMEM;
    for (long may_succeed = 0; answer == -ENOMEM; may_succeed++) {
        struct umf_loop *loop = create_loop(UMF_LOOP_THREAD);
        struct told first, second;
        struct umf_condition wait = { fence, 1, UMF_OP_GE, 0, 0 };
        struct umf_callback to_call = callback_to(&first);
        struct umf_watch *watch = NULL;
        allocations_left = may_succeed;
        answer = umf_loop_watch(loop, &wait, 0, &to_call, &watch);
        allocations_left = LONG_MAX;
        CHECK((answer == 0) == (watch != NULL));
        umf_watch_unref(watch);
        /* The loop is as good as new: a thread serves the next request. */
        to_call = callback_to(&second);
        OK(umf_loop_import_sync_file(loop, fence, 0, -1, 0, &to_call, NULL));
        until_called(loop, &second, 0);
        umf_watch_unref(watch_value(loop, fence, 0, &second));
        until_called(loop, &second, 0);
        umf_loop_unref(loop);
        CHECK(first.calls == 0 && first.releases == (answer == 0));
        CHECK(may_succeed < 100);
    }
    EXPECT(0, answer);
    umf_fence_unref(fence);
}

/* Armed watches complete without any memory. */
static void
what_is_armed_needs_no_memory(uint64_t flags)
{
    struct umf_loop *loop = create_loop(flags);
    struct umf_fence *targets[ENOUGH];
    for (int i = 0; i < ENOUGH; i++) {
        struct umf_condition wait = { watched[i], 1, UMF_OP_GE, 0, i % 3 ? 0 : UINT64_MAX };
        struct umf_callback to_call = callback_to(&told[i]);
        OK(umf_fence_create(written_by_a_device, 0, 0, &targets[i]));
        OK(umf_loop_export_fence(loop, watched[i], 1, targets[i], 2, 0, NULL, NULL));
        OK(umf_loop_export_eventfd(loop, &wait, 0, event, NULL, NULL));
        OK(umf_loop_watch(loop, &wait, 0, &to_call, &watches[i]));
    }
    struct told failed, canceled;
    OK(umf_fence_set_error(targets[0], -EIO));
    umf_watch_unref(watch_value(loop, targets[1], 3, &failed));
    struct umf_watch *cancel_me = watch_value(loop, targets[1], 4, &canceled);
    until_loop_sleeps();

    __atomic_store_n(&memory_is_out, 1, __ATOMIC_SEQ_CST);
    for (int i = 0; i < ENOUGH; i++)
        OK(umf_fence_signal(watched[i], 1));
    for (int i = 0; i < ENOUGH; i++) {
        until_called(loop, &told[i], 0);
        UNTIL(loop, i == 0 || umf_fence_value(targets[i]) == 2);
        EXPECT(0, umf_watch_result(watches[i]));
        umf_watch_unref(watches[i]);
    }
    OK(umf_watch_cancel(cancel_me));
    umf_watch_unref(cancel_me);
    OK(umf_fence_set_error(targets[1], -EIO));
    until_called(loop, &failed, -EIO);
    umf_loop_unref(loop);
    __atomic_store_n(&memory_is_out, 0, __ATOMIC_SEQ_CST);

    uint64_t count;
    CHECK(read(event, &count, sizeof(count)) == sizeof(count) && count == ENOUGH);
    for (int i = 0; i < ENOUGH; i++) {
        umf_fence_unref(targets[i]);
        watches[i] = NULL;
    }
}

/* Another process makes pages and fences that this one imports and opens. */
static void
create_for_us(int sock)
{
    struct umf_page *single[ENOUGH], *full;
    struct umf_fence *fence[ENOUGH];
    OK(umf_page_create(ENOUGH, 0, &full));
    send_page(sock, full);
    for (int i = 0; i < ENOUGH; i++) {
        OK(umf_page_create(1, 0, &single[i]));
        send_page(sock, single[i]);
        OK(umf_fence_create(full, 7, 0, &fence[i]));
        tell(sock, umf_fence_index(fence[i]));
    }
    hear(sock);
    for (int i = 0; i < ENOUGH; i++) {
        umf_page_unref(single[i]);
        umf_fence_unref(fence[i]);
    }
    umf_page_unref(full);
}

int
main(void)
{
    watchdog(30);
    if (RUNNING_ON_VALGRIND) {
        printf("valgrind has a malloc of its own\n");
        return SKIPPED;
    }
    /* Waits write records, which takes no memory either. */
    CHECK(setenv("LIBUMF_DEBUG", "1", 1) == 0);
    the_first_call_has_no_memory();
    struct peer peer = start_peer(create_for_us);
    OK(umf_page_create(ENOUGH + 1, 0, &page));
    theirs = recv_page(peer.sock);
    for (int i = 0; i < ENOUGH; i++) {
        their_fds[i] = recv_fd(peer.sock);
        their_indices[i] = (uint32_t)hear(peer.sock);
    }

    event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    CHECK(event >= 0);
    OK(umf_page_create(3 * ENOUGH, 0, &written_by_a_device));
    one_notifier = notifier_of(event);
    for (int i = 0; i < ENOUGH; i++)
        OK(umf_fence_create(written_by_a_device, 0, UMF_FENCE_DEVICE, &devices[i]));

    /* A waiter, so that the graph is not empty. */
    null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    CHECK(null >= 0);
    struct umf_fence *waited_for;
    OK(umf_fence_create(page, 0, 0, &waited_for));
    struct sleeper sleeper = { .fence = waited_for, .value = 1 };
    fall_asleep(&sleeper);
    struct told begun;
    running_loop = create_loop(UMF_LOOP_THREAD);
    for (int i = 0; i < ENOUGH; i++)
        OK(umf_fence_create(written_by_a_device, 0, 0, &watched[i]));
    umf_watch_unref(watch_value(running_loop, watched[0], 0, &begun));
    until_called(running_loop, &begun, 0);
    struct umf_callback to_call = callback_to(&begun);
    OK(umf_loop_import_sync_file(running_loop, watched[0], 0, -1, 0, &to_call, NULL));
    until_called(running_loop, &begun, 0);

    for (size_t c = 0; c < ARRAY_SIZE(calls); c++)
        every_allocation_may_fail(c);
    umf_loop_unref(running_loop);
    for (uint64_t flags = 0; flags <= UMF_LOOP_THREAD; flags++) {
        what_is_armed_needs_no_memory(flags);
        for (int i = 0; i < ENOUGH; i++) {
            umf_fence_unref(watched[i]);
            OK(umf_fence_create(written_by_a_device, 0, 0, &watched[i]));
        }
    }
    for (int i = 0; i < ENOUGH; i++)
        umf_fence_unref(watched[i]);
    for (uint64_t flags = 0; flags <= UMF_LOOP_THREAD; flags++)
        a_watch_that_failed_leaves_nothing(flags);
    a_loop_whose_thread_did_not_start();
    a_slot_is_not_lost();
    the_rest_needs_no_memory();

    OK(umf_fence_signal(waited_for, 1));
    OK(end_of(&sleeper));
    umf_fence_unref(waited_for);
    tell(peer.sock, 1);
    end_peer(&peer);
    close(null);
    for (int i = 0; i < ENOUGH; i++)
        close(their_fds[i]);
    umf_notifier_unref(one_notifier);
    for (int i = 0; i < ENOUGH; i++)
        umf_fence_unref(devices[i]);
    close(event);
    umf_page_unref(written_by_a_device);
    umf_page_unref(theirs);
    umf_page_unref(page);
    return 0;
}
