/* SPDX-License-Identifier: MIT */
/* Counts the system calls that a child makes between two points of its program. */
#ifndef SYSTEM_CALLS_H
#define SYSTEM_CALLS_H

#include "check.h"

#include <sys/ptrace.h>

struct system_calls {
    unsigned all, ioctls;
};

/* 0 in a new child, which prepares, and then calls begin_trace() and end_trace(). */
static inline pid_t
start_traced(void)
{
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
        CHECK(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
    }
    return child;
}

static inline void
begin_trace(void)
{
    kill(getpid(), SIGSTOP);
}

static inline void
end_trace(void)
{
    kill(0, 0); /* sends nothing; its number ends the count */
}

/* What the child calls between the two. */
static inline struct system_calls
trace(pid_t child)
{
    struct system_calls counted = { 0 };
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFSTOPPED(status));
    EXPECT(SIGSTOP, WSTOPSIG(status));
    CHECK(ptrace(PTRACE_SETOPTIONS, child, NULL, PTRACE_O_TRACESYSGOOD) == 0);
    for (;;) {
        struct __ptrace_syscall_info info;
        CHECK(ptrace(PTRACE_SYSCALL, child, NULL, 0) == 0);
        CHECK(waitpid(child, &status, 0) == child && WIFSTOPPED(status));
        EXPECT(SIGTRAP | 0x80, WSTOPSIG(status));
        CHECK(ptrace(PTRACE_GET_SYSCALL_INFO, child, sizeof(info), &info) > 0);
        if (info.op != PTRACE_SYSCALL_INFO_ENTRY)
            continue;
        if (info.entry.nr == SYS_kill)
            break;
        counted.all++;
        counted.ioctls += info.entry.nr == SYS_ioctl;
    }
    CHECK(ptrace(PTRACE_DETACH, child, NULL, 0) == 0);
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
    EXPECT(0, WEXITSTATUS(status));
    return counted;
}

/* Prints what the child calls between the two, and fails the test if that is another number. */
static inline void
expect_calls(pid_t child, const char *name, unsigned ioctls, unsigned calls)
{
    struct system_calls counted = trace(child);
    printf("    %s: %u calls, %u of them ioctls\n", name, counted.all, counted.ioctls);
    EXPECT(ioctls, counted.ioctls);
    EXPECT(calls, counted.all);
}

#endif
