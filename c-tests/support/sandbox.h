/* SPDX-License-Identifier: MIT */
/* Sandboxes that forbid system calls. */
#ifndef SANDBOX_H
#define SANDBOX_H

#include "check.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>

#define FUTEX_WAITV 449
#define PR_GET_AUXV_NUMBER 0x41555856

static inline void
install_filter(struct sock_filter *steps, unsigned short count)
{
    struct sock_fprog filter = { count, steps };
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) {
        printf("not available: seccomp filters\n");
        fflush(stdout);
        _exit(SKIPPED);
    }
}

/* Whether system calls cannot be refused by their numbers here. Prints why. */
static inline bool
cannot_be_refused_calls(void)
{
    if (RUNNING_ON_VALGRIND || is_emulated())
        printf("what the emulator needs is refused too\n");
    else if (sizeof(void *) < 8)
        printf("32-bit processes have other system calls for the same\n");
    else
        return false;
    return true;
}

/* From here on this thread, and the threads that it starts, get an error from futex_waitv. With
 * ENOSYS, as before Linux 5.16, PR_GET_AUXV (6.4) fails as well. */
static inline void
forbid_futex_waitv(uint32_t error)
{
    struct sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FUTEX_WAITV, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_prctl, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PR_GET_AUXV_NUMBER, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    install_filter(steps, ARRAY_SIZE(steps));
    CHECK(syscall(FUTEX_WAITV, NULL, 0, 0, NULL, 0) == -1 && errno == (int)error);
}

/* Whether a child can be put into one. Says so if not. */
static inline bool
can_have_a_sandbox(void)
{
    pid_t pid;
    IN_CHILD(pid, forbid_futex_waitv(ENOSYS));
    return join_child_unless_skipped(pid);
}

/* From here on this thread can neither start threads nor fork. */
static inline void
forbid_threads(void)
{
    struct sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 435 /* clone3 */, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAGAIN),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    install_filter(steps, ARRAY_SIZE(steps));
}

/* From here on, any system call but the exit kills this process. */
static inline void
forbid_system_calls(void)
{
    struct sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    install_filter(steps, ARRAY_SIZE(steps));
}

#endif
