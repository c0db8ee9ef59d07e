// SPDX-License-Identifier: MIT
/*
 * O_NONBLOCK belongs to the open file. Another process that has an eventfd can clear the flag after
 * the eventfd was armed, fill the counter, or read it first. The loop serves its other watches and
 * ends, and a wait with a notifier ends at its deadline.
 */
#include "notifier.h"
#include "process.h"
#include "sandbox.h"
#include "watch.h"

#include <sys/uio.h>

#define FULL (UINT64_MAX - 1)

static struct umf_page *page;

static struct umf_condition
reaches_one(struct umf_fence *fence)
{
    return (struct umf_condition){ .fence = fence, .value = 1 };
}

static struct umf_fence *
create_fence(uint64_t flags)
{
    struct umf_fence *fence;
    OK(umf_fence_create(page, 0, flags, &fence));
    return fence;
}

static void
clear_and_fill(int event)
{
    uint64_t full = FULL;
    CHECK(fcntl(event, F_SETFL, 0) == 0 && write(event, &full, sizeof(full)) == sizeof(full));
}

/* The client is gone when the fence is signaled: nothing empties the counter again. */
static void
filled_for_good(uint64_t flags)
{
    struct umf_fence *fence = create_fence(0), *other = create_fence(0);
    struct umf_condition wait = reaches_one(fence), more = reaches_one(other);
    struct umf_loop *loop = create_loop(flags);
    struct umf_watch *watch;
    struct told told;
    struct umf_callback callback = callback_to(&told);
    int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    pid_t client;
    CHECK(event >= 0);
    OK(umf_loop_export_eventfd(loop, &wait, 0, event, NULL, &watch));
    OK(umf_loop_watch(loop, &more, 0, &callback, NULL));
    IN_CHILD(client, clear_and_fill(event));
    join_child(client);
    OK(umf_fence_signal(fence, 1));
    OK(umf_fence_signal(other, 1));
    until_called(loop, &told, 0);
    OK(umf_watch_result(watch));
    umf_watch_unref(watch);
    umf_loop_unref(loop);
    umf_fence_unref(fence);
    umf_fence_unref(other);
    close(event);
}

/* Clears and sets the flag, fills and empties the counter. */
static void
change_without_end(int event)
{
    uint64_t word;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
        word = FULL;
        fcntl(event, F_SETFL, O_NONBLOCK);
        if (read(event, &word, sizeof(word)) == 0 || write(event, &word, sizeof(word)) == 0)
            return;
        fcntl(event, F_SETFL, 0);
    }
}

static void
changed_meanwhile(uint64_t flags)
{
    struct umf_loop *loop = create_loop(flags);
    int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    pid_t client;
    CHECK(event >= 0);
    IN_CHILD(client, change_without_end(event));
    for (unsigned round = 0; round < rounds(2000, 50); round++) {
        struct umf_fence *fence = create_fence(0);
        struct umf_condition wait = reaches_one(fence);
        struct told told;
        struct umf_callback callback = callback_to(&told);
        int answer;
        /* The client may just have cleared the flag. */
        do
            answer = ONE_OF(umf_loop_export_eventfd(loop, &wait, 0, event, &callback, NULL), 0,
                            -EINVAL);
        while (answer != 0);
        OK(umf_fence_signal(fence, 1));
        until_called(loop, &told, 0);
        umf_fence_unref(fence);
    }
    CHECK(kill(client, SIGKILL) == 0 && waitpid(client, NULL, 0) == client);
    umf_loop_unref(loop);
    close(event);
}

struct turns {
    atomic_uint begun, done;
};

/* Makes the notifier readable once a turn, and reads it first if it can. */
static void
read_first(int event, struct turns *shared, unsigned count)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (unsigned turn = 1; turn <= count; turn++) {
        uint64_t word = 1;
        struct iovec part = { &word, sizeof(word) };
        while (atomic_load(&shared->begun) < turn)
            ;
        for (volatile unsigned spin = 0; spin < turn % 97 * 40; spin++)
            ;
        CHECK(write(event, &word, sizeof(word)) == sizeof(word));
        for (volatile unsigned spin = 0; spin < turn % 89 * 20; spin++)
            ;
        CHECK(preadv2(event, &part, 1, -1, RWF_NOWAIT) >= -1);
        atomic_store(&shared->done, turn);
    }
}

static void
read_meanwhile(void)
{
    unsigned count = rounds(3000, 30);
    struct turns *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
                                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct umf_fence *fence = create_fence(UMF_FENCE_DEVICE);
    int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    pid_t client;
    CHECK(shared != MAP_FAILED && event >= 0);
    notify_by(fence, event);
    CHECK(fcntl(event, F_SETFL, 0) == 0);
    IN_CHILD(client, read_first(event, shared, count));
    for (unsigned turn = 1; turn <= count; turn++) {
        atomic_store(&shared->begun, turn);
        EXPECT(-ETIME, umf_fence_wait(fence, 1, in_ns(MS / 4)));
        while (atomic_load(&shared->done) < turn)
            sched_yield();
    }
    join_child(client);
    umf_fence_unref(fence);
    close(event);
    munmap(shared, sizeof(*shared));
}

/* With any argument: AIO is forbidden. Then a client has to hit the moment of a write. */
int
main(int argc, char **argv)
{
    (void)argv;
    watchdog(50);
    OK(umf_page_create(4, 0, &page));
    if (argc > 1) {
        struct sock_filter steps[] = {
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_setup, 0, 1),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        if (cannot_be_refused_calls())
            return SKIPPED;
        install_filter(steps, ARRAY_SIZE(steps));
    }
    filled_for_good(0);
    filled_for_good(UMF_LOOP_THREAD);
    if (argc == 1) {
        changed_meanwhile(0);
        changed_meanwhile(UMF_LOOP_THREAD);
    }
    read_meanwhile();
    umf_page_unref(page);
    return 0;
}
