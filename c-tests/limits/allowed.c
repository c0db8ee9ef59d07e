// SPDX-License-Identifier: MIT
/*
 * The system calls that a sandbox must allow: a job that uses all of the library makes these and no
 * others. None is io_uring's, which many sandboxes forbid. Under Flatpak's filter the job works as
 * outside.
 */
#include "inputs.h"
#include "notifier.h"
#include "sandbox.h"
#include "sleeper.h"

#include <linux/memfd.h>

/* Made by the library. docs/reliability.md has the same list. */
static const long by_the_library[] = {
    SYS_futex,        FUTEX_WAITV,                                 /* to wait and to wake */
    SYS_memfd_create, SYS_ftruncate,     SYS_fallocate, SYS_fcntl, /* pages */
    SYS_mmap,         SYS_munmap,        SYS_close,     SYS_prlimit64,
    SYS_pread64,      SYS_pwrite64, /* names */
#ifdef SYS_fstat
    SYS_fstat,
#endif
#ifdef SYS_newfstatat
    SYS_newfstatat,
#endif
    SYS_statx,        SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait,
    SYS_eventfd2, /* loops */
    SYS_waitid,   SYS_getsockopt, SYS_getpeername, /* ties to processes */
    SYS_ppoll,
#ifdef SYS_poll
    SYS_poll,
#endif
    SYS_io_setup,     SYS_io_submit,     SYS_io_getevents, SYS_io_destroy, /* eventfds */
    SYS_preadv2,      SYS_read,          SYS_write,        SYS_writev,
    SYS_ioctl, /* the caller's descriptors */
#ifdef SYS_open
    SYS_open, /* /dev/udmabuf, /proc/PID/stat */
#endif
    SYS_openat,       SYS_getpid,        SYS_gettid,    SYS_kill,     SYS_pidfd_open,
    SYS_prctl,        /* wait records; PR_SET_NAME */
    SYS_madvise,      /* to notice a fork */
    SYS_sched_getscheduler, SYS_sched_getaffinity, /* a loop's thread */
};

/* Made by the C library for threads and memory, and by this test. */
static const long by_others[] = {
    SYS_clone,
    435 /* clone3 */,
    SYS_exit,
    SYS_exit_group,
    SYS_rt_sigprocmask,
    SYS_rt_sigaction,
    SYS_rt_sigreturn,
    SYS_set_robust_list,
    SYS_brk,
    SYS_mprotect,
    SYS_mremap,
    SYS_sched_yield,
    SYS_nanosleep,
    SYS_clock_nanosleep,
    SYS_clock_gettime,
    SYS_getrandom,
    SYS_getdents64,
#ifdef SYS_rseq
    SYS_rseq,
#endif
};

static const long io_uring[] = { 425, 426, 427 }; /* setup, enter, register; the same everywhere */

/* What Flatpak refuses, by the errno. (It refuses clone(), ioctl() and socket() only in part.) */
static const long not_permitted[] = {
    SYS_syslog,        SYS_acct,       SYS_quotactl,        SYS_add_key,       SYS_keyctl,
    SYS_request_key,   SYS_move_pages, SYS_mbind,           SYS_get_mempolicy, SYS_set_mempolicy,
    SYS_migrate_pages, SYS_unshare,    SYS_setns,           SYS_mount,         SYS_umount2,
    SYS_pivot_root,    SYS_chroot,     SYS_perf_event_open, SYS_personality,   SYS_ptrace,
};
static const long as_if_unknown[] = {
    435 /* clone3 */,   428 /* open_tree */, 429 /* move_mount */, 430 /* fsopen */,
    431 /* fsconfig */, 432 /* fsmount */,   433 /* fspick */,     442 /* mount_setattr */,
};

static void
complain(int signal, siginfo_t *info, void *context)
{
    char text[] = "system call 0000 is not on the list\n";
    (void)signal;
    (void)context;
    for (int at = 15, number = info->si_syscall; at > 11; at--, number /= 10)
        text[at] = (char)('0' + number % 10);
    if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
        _exit(4);
    _exit(3);
}

/* Calls with these numbers get one result, all others the other. */
static void
filter(const long *calls[], const size_t *counts, const uint32_t *answers, size_t lists,
       uint32_t others)
{
    static struct sock_filter steps[200];
    unsigned short used = 0;
    steps[used++] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t list = 0; list < lists; list++) {
        for (size_t i = 0; i < counts[list]; i++) {
            CHECK(used + 3u < ARRAY_SIZE(steps));
            steps[used++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
                                                         (uint32_t)calls[list][i], 0, 1);
            steps[used++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, answers[list]);
        }
    }
    steps[used++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, others);
    install_filter(steps, used);
}

static void
nothing_but_the_list(void)
{
    const long *lists[] = { by_the_library, by_others };
    const size_t counts[] = { ARRAY_SIZE(by_the_library), ARRAY_SIZE(by_others) };
    const uint32_t answers[] = { SECCOMP_RET_ALLOW, SECCOMP_RET_ALLOW };
    struct sigaction action = { .sa_sigaction = complain, .sa_flags = SA_SIGINFO };
    CHECK(sigaction(SIGSYS, &action, NULL) == 0);
    filter(lists, counts, answers, 2, SECCOMP_RET_TRAP);
}

static void
io_uring_kills(void)
{
    const long *lists[] = { io_uring };
    const size_t counts[] = { ARRAY_SIZE(io_uring) };
    const uint32_t answers[] = { SECCOMP_RET_KILL_PROCESS };
    filter(lists, counts, answers, 1, SECCOMP_RET_ALLOW);
}

static void
as_flatpak(void)
{
    const long *lists[] = { not_permitted, as_if_unknown };
    const size_t counts[] = { ARRAY_SIZE(not_permitted), ARRAY_SIZE(as_if_unknown) };
    const uint32_t answers[] = { SECCOMP_RET_ERRNO | EPERM, SECCOMP_RET_ERRNO | ENOSYS };
    filter(lists, counts, answers, 2, SECCOMP_RET_ALLOW);
}

/* The job */

static int
run_job(void *data)
{
    atomic_fetch_add((atomic_int *)data, 1);
    return UMF_JOB_DONE;
}

static void
wait_and_signal(struct umf_page *page, struct umf_page *other_page)
{
    struct umf_fence *fence, *other, *narrow;
    struct umf_caps caps = { .size = sizeof(caps) };
    int error;
    OK(umf_query_caps(&caps));
    OK(umf_set_spin(0, 0, 0));
    OK(umf_fence_create(page, 0, 0, &fence));
    OK(umf_fence_create(other_page, 0, 0, &other));
    OK(umf_fence_create(page, 0, UMF_FENCE_32BIT, &narrow));
    for (uint64_t i = 1; i <= 20; i++) {
        struct sleeper sleepers[3] = { { .fence = fence, .value = i } };
        struct umf_condition waits[2] = { { fence, i, UMF_OP_GE, 0, 0 },
                                          { other, i, UMF_OP_GE, 0, 0 } };
        sleepers[1].waits = sleepers[2].waits = waits;
        sleepers[1].count = sleepers[2].count = 2;
        sleepers[2].flags = UMF_WAIT_ANY;
        for (int s = 0; s < 3; s++)
            start_sleeper(&sleepers[s]);
        EXPECT(-ETIME, umf_fence_wait(narrow, (uint32_t)i, in_ns(100000)));
        OK(umf_fence_submit(fence, i));
        OK(umf_fence_signal(fence, i));
        OK(umf_fence_signal(other, i));
        OK(umf_fence_signal(narrow, i));
        for (int s = 0; s < 3; s++)
            OK(end_of(&sleepers[s]));
    }
    OK(umf_fence_set_error(narrow, -EIO));
    OK(umf_fence_error(narrow, &error));
    umf_fence_unref(fence);
    umf_fence_unref(other);
    umf_fence_unref(narrow);
}

static void
wait_for_a_device(struct umf_page *page)
{
    struct umf_fence *device;
    uint64_t one = 1;
    OK(umf_fence_create(page, 0, UMF_FENCE_DEVICE, &device));
    notify_by(device, event);
    CHECK(write(event, &one, sizeof(one)) == sizeof(one));
    EXPECT(-ETIME, umf_fence_wait(device, 1, in_ns(MS)));
    OK(umf_fence_notify(device));
    umf_fence_unref(device);
}

static void
watch_and_queue(struct umf_page *pages[2], uint64_t mode)
{
    struct umf_loop *loop = create_loop(mode);
    struct umf_queue *queue;
    struct umf_fence *fences[2];
    struct told told[2], tied[2];
    atomic_int jobs = 0;
    for (int i = 0; i < 2; i++)
        OK(umf_fence_create(pages[i], 0, 0, &fences[i]));
    OK(umf_queue_create(loop, 0, &queue));
    for (uint64_t v = 1; v <= 10; v++) {
        struct umf_condition wait = { fences[0], v, UMF_OP_GE, 0, 0 };
        struct umf_job job = {
            .size = sizeof(job), .wait_count = 1, .waits = &wait, .run = run_job, .data = &jobs
        };
        OK(umf_queue_submit(queue, &job, 0));
        for (int i = 0; i < 2; i++)
            umf_watch_unref(watch_value(loop, fences[i], v, &told[i]));
        OK(umf_loop_export_eventfd(loop, &wait, 0, event, NULL, NULL));
        OK(umf_loop_export_fence(loop, fences[0], v, fences[1], v, 0, NULL, NULL));
        OK(umf_fence_signal(fences[0], v));
        for (int i = 0; i < 2; i++)
            until_called(loop, &told[i], 0);
        UNTIL(loop, atomic_load(&jobs) == (int)v);
        OK(umf_queue_drain(queue, mode ? FOREVER : 0));
    }
    struct umf_callback callback = callback_to(&told[0]);
    OK(umf_loop_import_sync_file(loop, fences[1], 10, -1, 0, &callback, NULL));
    until_called(loop, &told[0], 0);
    callback = callback_to(&tied[0]);
    OK(umf_loop_tie_fence(loop, fences[1], pidfd, 0, &callback, NULL));
    callback = callback_to(&tied[1]);
    OK(umf_loop_tie_page(loop, pages[1], ends[0], 0, &callback, NULL));
    umf_watch_unref(watch_value(loop, fences[0], 11, &told[0]));
    OK(umf_graph_write(null, 0, NULL));
    umf_queue_unref(queue);
    umf_loop_unref(loop);
    for (int i = 0; i < 2; i++)
        umf_fence_unref(fences[i]);
}

static void
do_everything(void)
{
    struct umf_page *pages[3], *imported;
    int fd;
    OK(umf_page_create(100, 0, &pages[0]));
    OK(umf_page_create(100, 0, &pages[1]));
    OK(umf_page_create(100, UMF_PAGE_SINGLE_WRITER, &pages[2]));
    OK(umf_page_export(pages[0], 0, &fd));
    OK(umf_page_import(their_page, 0, &imported));
    OK(umf_page_reclaim(imported, 0, NULL));
    wait_and_signal(pages[0], pages[1]);
    wait_and_signal(pages[2], pages[1]);
    wait_for_a_device(pages[0]);
    for (uint64_t mode = 0; mode <= UMF_LOOP_THREAD; mode++)
        watch_and_queue(pages, mode);
    umf_page_unref(imported);
    for (int i = 0; i < 3; i++)
        umf_page_unref(pages[i]);
    close(fd);
}

int
main(void)
{
    void (*const sandboxes[])(void) = { nothing_but_the_list, io_uring_kills, as_flatpak };
    watchdog(50);
    if (cannot_be_refused_calls())
        return SKIPPED;
    if (!open_inputs())
        return SKIPPED;
    for (size_t i = 0; i < ARRAY_SIZE(sandboxes); i++) {
        pid_t pid;
        int status;
        IN_CHILD(pid, (watchdog(20), sandboxes[i](), do_everything()));
        CHECK(waitpid(pid, &status, 0) == pid);
        if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED)
            return SKIPPED; /* the child has said why */
        if (status != 0) {
            fprintf(stderr, "in sandbox %zu: %s %d\n", i,
                    WIFEXITED(status) ? "exited with" : "killed by",
                    WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
            return 1;
        }
    }
    end_page_owner();
    return 0;
}
