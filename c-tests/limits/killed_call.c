// SPDX-License-Identifier: MIT
/*
 * A sandbox that kills, as that of Chromium's GPU process does: futex_waitv, fstatfs, signals to
 * other processes, AIO, and unusual uses of prctl, fcntl, mmap and clocks end the process. Waits
 * for fences of one page, also by a wait set, signals, watches of one page, queues and conversions
 * need none of them.
 *
 * The filter follows the policy that Chromium publishes (sandbox/linux/seccomp-bpf-helpers and
 * sandbox/policy/linux), as far as a call of the library could meet it. Files may be opened, as
 * through its broker.
 */
#include "inputs.h"
#include "sandbox.h"
#include "sleeper.h"

#include <linux/futex.h>

enum { KILL = SECCOMP_RET_KILL_PROCESS, ALLOW = SECCOMP_RET_ALLOW };

#define LOAD(field)                                                                                \
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offsetof(struct seccomp_data, field))
#define RETURN(answer) BPF_STMT(BPF_RET | BPF_K, (answer))
/* Skips so many steps unless the loaded word is the value. */
#define UNLESS(value, steps) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(value), 0, (steps))
#define ANSWER(number, answer) UNLESS(number, 1), RETURN(answer)

/* From here on, in all threads. `statx` is the answer to that call. */
static void
kill_as_chromium(uint32_t statx_answer)
{
    const uint32_t self = (uint32_t)getpid();
    const uint32_t seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW;
    struct sock_filter steps[] = {
        LOAD(nr),
        ANSWER(FUTEX_WAITV, KILL),
        ANSWER(SYS_fstatfs, KILL),
        ANSWER(SYS_statfs, KILL),
        ANSWER(SYS_tkill, KILL),
        ANSWER(SYS_io_setup, KILL),
        ANSWER(SYS_io_submit, KILL),
        ANSWER(SYS_ptrace, KILL),
        ANSWER(SYS_seccomp, KILL),
        ANSWER(SYS_statx, statx_answer),
        /* kill and tgkill: this process alone. */
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_kill, 1, 0),
        UNLESS(SYS_tgkill, 4),
        LOAD(args[0]),
        UNLESS(self, 1),
        RETURN(ALLOW),
        RETURN(KILL),
        /* The priority of this process, its limits and its processors alone. */
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sched_getaffinity, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sched_setaffinity, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sched_getscheduler, 1, 0),
        UNLESS(SYS_prlimit64, 5),
        LOAD(args[0]),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0),
        UNLESS(self, 1),
        RETURN(ALLOW),
        RETURN(KILL),
        UNLESS(SYS_futex, 11),
        LOAD(args[1]),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K,
                 ~(uint32_t)(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME)),
        ANSWER(FUTEX_WAIT, ALLOW),
        ANSWER(FUTEX_WAKE, ALLOW),
        ANSWER(FUTEX_WAIT_BITSET, ALLOW),
        ANSWER(FUTEX_WAKE_BITSET, ALLOW),
        RETURN(KILL),
        UNLESS(SYS_prctl, 6),
        LOAD(args[0]),
        ANSWER(PR_SET_NAME, ALLOW),
        ANSWER(PR_GET_NAME, ALLOW),
        RETURN(KILL),
        UNLESS(SYS_clock_gettime, 8),
        LOAD(args[0]),
        ANSWER(CLOCK_MONOTONIC, ALLOW),
        ANSWER(CLOCK_PROCESS_CPUTIME_ID, ALLOW),
        ANSWER(CLOCK_THREAD_CPUTIME_ID, ALLOW),
        RETURN(KILL),
        UNLESS(SYS_madvise, 4),
        LOAD(args[2]),
        ANSWER(MADV_DONTNEED, ALLOW),
        RETURN(SECCOMP_RET_ERRNO | EPERM),
        UNLESS(SYS_mmap, 4),
        LOAD(args[3]),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K,
                 ~(uint32_t)(MAP_SHARED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE |
                             MAP_FIXED | MAP_DENYWRITE | MAP_LOCKED),
                 0, 1),
        RETURN(KILL),
        RETURN(ALLOW),
        UNLESS(SYS_fcntl, 16),
        LOAD(args[1]),
        ANSWER(F_GETFL, ALLOW),
        ANSWER(F_GETFD, ALLOW),
        ANSWER(F_SETFD, ALLOW),
        ANSWER(F_GET_SEALS, ALLOW),
        ANSWER(F_DUPFD_CLOEXEC, ALLOW),
        UNLESS(F_ADD_SEALS, 3),
        LOAD(args[2]),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, ~seals, 1, 0),
        RETURN(ALLOW),
        RETURN(KILL),
        RETURN(ALLOW),
    };
    install_filter(steps, ARRAY_SIZE(steps));
}

/* One fence, asleep until another thread signals. Also one of a page that others can only read. */
static void
wait_for_one(struct umf_page *page, struct umf_page *theirs)
{
    struct umf_fence *fence;
    OK(umf_fence_create(page, 0, 0, &fence));
    for (uint64_t value = 1; value <= 20; value++) {
        struct sleeper sleeper = { .fence = fence, .value = value };
        fall_asleep(&sleeper);
        OK(umf_fence_submit(fence, value));
        OK(umf_fence_signal(fence, value));
        OK(end_of(&sleeper));
    }
    umf_fence_unref(fence);
    OK(umf_fence_open(theirs, 0, 0, &fence));
    EXPECT(-ETIME, umf_fence_wait(fence, 1, in_ns(5 * MS)));
    umf_fence_unref(fence);
}

/* Any and all of several fences of a page, which others wake for nothing. */
static void
wait_for_many(struct umf_page *page)
{
    struct umf_fence *fences[3];
    struct umf_condition waits[2];
    for (int i = 0; i < 3; i++)
        OK(umf_fence_create(page, 0, 0, &fences[i]));
    for (uint64_t value = 1; value <= 10; value++) {
        for (int i = 0; i < 2; i++)
            waits[i] = (struct umf_condition){ .fence = fences[i], .value = value };
        struct sleeper any = { .waits = waits, .count = 2, .flags = UMF_WAIT_ANY };
        struct sleeper all = { .waits = waits, .count = 2 };
        fall_asleep(&any);
        fall_asleep(&all);
        for (int i = 0; i < 10; i++) {
            OK(umf_fence_notify(fences[0]));
            CHECK(sleeps_on(&any) && sleeps_on(&all));
        }
        OK(umf_fence_signal(fences[1], value));
        OK(end_of(&any));
        CHECK(any.index == 1);
        OK(umf_fence_signal(fences[0], value));
        OK(end_of(&all));
    }
    for (int i = 0; i < 3; i++)
        umf_fence_unref(fences[i]);
}

/* A wait set of one page: an entry that is signaled, and one that is added, both while a thread
 * sleeps. */
static void
wait_for_a_set(struct umf_page *page)
{
    struct umf_fence *fences[2];
    struct set_sleeper sleeper;
    struct umf_wait_set *set;
    uint64_t ids[2];
    OK(umf_wait_set_create(0, &set));
    for (int i = 0; i < 2; i++)
        OK(umf_fence_create(page, 0, 0, &fences[i]));
    OK(umf_fence_signal(fences[1], 1));
    struct umf_condition waits[] = { { .fence = fences[0], .value = 1 },
                                     { .fence = fences[1], .value = 1 } };
    OK(umf_wait_set_add(set, &waits[0], 0, 7, &ids[0]));
    for (; waits[0].value <= 10; waits[0].value++) {
        OK(umf_wait_set_modify(set, ids[0], &waits[0], 0));
        fall_asleep_for_set(&sleeper, set);
        OK(umf_fence_signal(fences[0], waits[0].value));
        ends_by_entry(&sleeper, 7, 0);
    }
    OK(umf_wait_set_modify(set, ids[0], &waits[0], 0));
    fall_asleep_for_set(&sleeper, set);
    OK(umf_wait_set_add(set, &waits[1], 0, 8, &ids[1]));
    ends_by_entry(&sleeper, 8, 0);
    umf_wait_set_unref(set);
    for (int i = 0; i < 2; i++)
        umf_fence_unref(fences[i]);
}

static int
run_job(void *data)
{
    atomic_fetch_add((atomic_int *)data, 1);
    return UMF_JOB_DONE;
}

/* Watches, jobs and conversions of one page. */
static void
watch(struct umf_page *page, uint64_t mode)
{
    struct umf_loop *loop = create_loop(mode);
    struct umf_fence *fence, *follower, *imported;
    struct umf_queue *queue;
    struct told told, tied;
    atomic_int jobs = 0;
    OK(umf_fence_create(page, 0, 0, &fence));
    OK(umf_fence_create(page, 0, 0, &follower));
    OK(umf_fence_create(page, 0, 0, &imported));
    OK(umf_queue_create(loop, 0, &queue));
    for (uint64_t value = 1; value <= 10; value++) {
        struct umf_condition wait = { .fence = fence, .value = value };
        struct umf_job job = {
            .size = sizeof(job), .wait_count = 1, .waits = &wait, .run = run_job, .data = &jobs
        };
        OK(umf_queue_submit(queue, &job, 0));
        umf_watch_unref(watch_value(loop, fence, value, &told));
        OK(umf_loop_export_fence(loop, fence, value, follower, value, 0, NULL, NULL));
        OK(umf_fence_signal(fence, value));
        until_called(loop, &told, 0);
        UNTIL(loop, atomic_load(&jobs) == (int)value);
        UNTIL(loop, umf_fence_value(follower) == value);
        struct umf_callback callback = callback_to(&told);
        OK(umf_loop_import_sync_file(loop, imported, value, -1, 0, &callback, NULL));
        until_called(loop, &told, 0);
        OK(umf_fence_import_sync_file(follower, value, -1, 0, 0));
    }
    /* Needless wake-ups without end. */
    umf_watch_unref(watch_value(loop, fence, 11, &told));
    for (int i = 0; i < 200; i++)
        OK(umf_fence_notify(follower));
    OK(umf_fence_signal(fence, 11));
    until_called(loop, &told, 0);
    struct umf_callback callback = callback_to(&tied);
    OK(umf_loop_tie_page(loop, page, pidfd, 0, &callback, NULL));
    umf_watch_unref(watch_value(loop, fence, 12, &told));
    umf_queue_unref(queue);
    umf_loop_unref(loop);
    umf_fence_unref(imported);
    umf_fence_unref(follower);
    umf_fence_unref(fence);
}

static void
live_under(uint32_t statx_answer)
{
    struct umf_page *page, *theirs;
    int fd;
    watchdog(30);
    kill_as_chromium(statx_answer);
    OK(umf_page_create(100, 0, &page));
    OK(umf_page_export(page, 0, &fd));
    close(fd);
    OK(umf_page_import(their_page, 0, &theirs));
    wait_for_one(page, theirs);
    wait_for_many(page);
    wait_for_a_set(page);
    for (uint64_t mode = 0; mode <= UMF_LOOP_THREAD; mode++)
        watch(page, mode);
    umf_page_unref(theirs);
    umf_page_unref(page);
}

/* The filter does kill. */
static void
needs_several_words(void)
{
    struct umf_caps caps = { .size = sizeof(caps) };
    kill_as_chromium(ALLOW);
    OK(umf_query_caps(&caps));
}

static void
make_a_page_of_one_writer(int sock)
{
    struct umf_page *page;
    struct umf_fence *fence;
    OK(umf_page_create(1, UMF_PAGE_SINGLE_WRITER, &page));
    OK(umf_fence_create(page, 0, 0, &fence));
    send_page(sock, page);
    hear(sock);
    umf_fence_unref(fence);
    umf_page_unref(page);
}

int
main(void)
{
    const uint32_t answers[] = { ALLOW, SECCOMP_RET_ERRNO | EPERM, SECCOMP_RET_ERRNO | ENOSYS };
    pid_t pid;
    int status;
    watchdog(50);
    if (cannot_be_refused_calls())
        return SKIPPED;
    if (!can_have_a_sandbox())
        return SKIPPED;
    page_owner = start_peer(make_a_page_of_one_writer);
    their_page = recv_fd(page_owner.sock);
    pidfd = (int)syscall(434 /* pidfd_open */, getpid(), 0);
    CHECK(pidfd >= 0);
    for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
        IN_CHILD(pid, live_under(answers[i]));
        CHECK(waitpid(pid, &status, 0) == pid);
        if (status != 0) {
            fprintf(stderr, "statx answers %#x: %s %d\n", answers[i],
                    WIFEXITED(status) ? "exited with" : "killed by",
                    WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
            return 1;
        }
    }
    IN_CHILD(pid, needs_several_words());
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
    end_page_owner();
    return 0;
}
