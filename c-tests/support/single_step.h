/* SPDX-License-Identifier: MIT */
/*
 * Stops a child process before any machine instruction of a call, so that a test can do something
 * between any two of them. This finds every time what random timing finds once in a million runs.
 * For x86 only, whose breakpoints are known here.
 */
#ifndef STEPS_H
#define STEPS_H

#include "sleeper.h"

#include <limits.h>
#include <link.h>
#include <stddef.h>
#include <sys/auxv.h>
#include <sys/ptrace.h>
#include <sys/user.h>

#if defined(__x86_64__)
#define PC offsetof(struct user, regs.rip)
#define CAN_STEP (!RUNNING_ON_VALGRIND)
#elif defined(__i386__)
#define PC offsetof(struct user, regs.eip)
#define CAN_STEP (!RUNNING_ON_VALGRIND)
#else
#define PC 0
#define CAN_STEP 0
#endif

/* Puts both processes on one core: a stop then costs two switches, not two wake-ups of a halted
 * core. */
static inline void
stay_on_this_core(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(sched_getcpu(), &set);
    (void)sched_setaffinity(0, sizeof(set), &set);
}

/* What a child does before it stops, if not NULL. */
static void (*prepare_child)(void);

/* A stopped child that will run the function next, and exit with its result. -1 where that is
 * not allowed. Not inlined: all children must run the same instructions. */
static __attribute__((noinline)) pid_t
start_stopped(int (*run)(void))
{
    pid_t pid;
    int status;
    syscall(SYS_gettid); /* binds the symbol */
    IN_CHILD(pid, {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
            _exit(255);
        if (prepare_child)
            prepare_child();
        raise(SIGSTOP);
        /* Not _exit(): the dynamic linker would run first, and the child would stop in it. */
        syscall(SYS_exit_group, run());
    });
    CHECK(waitpid(pid, &status, 0) == pid);
    return WIFSTOPPED(status) ? pid : -1;
}

/* Makes each run of a call go the same way. False, with the reason printed, where no call can be
 * stepped through. */
static inline bool
prepare_to_step(void)
{
    if (!CAN_STEP) {
        printf("not available: breakpoints in the library\n");
        return false;
    }
    OK(umf_set_spin(0, 0, 0)); /* a spin takes as long as it takes */
    stay_on_this_core();
    return true;
}

enum progress {
    STOPPED,
    ASLEEP,
    ENDED,
};

/* Waits until the child stopped, sleeps in a futex call, or ended with *code. */
static inline enum progress
watch_child(pid_t pid, int *code)
{
    uint64_t give_up = in_ns(20 * SECOND);
    for (unsigned tries = 1;; tries++) {
        int status;
        pid_t got = waitpid(pid, &status, WNOHANG);
        CHECK(got >= 0);
        if (got == pid && WIFSTOPPED(status))
            return STOPPED;
        if (got == pid) {
            CHECK(WIFEXITED(status));
            *code = WEXITSTATUS(status);
            return ENDED;
        }
        sched_yield();
        if (tries % 8 == 0 && is_asleep(pid, pid))
            return ASLEEP;
        CHECK(now_ns() < give_up);
    }
}

/* Continues a stopped child until it sleeps or ends. */
static inline enum progress
run_on(pid_t pid, int *code)
{
    enum progress progress;
    do {
        CHECK(ptrace(PTRACE_CONT, pid, NULL, NULL) == 0);
        progress = watch_child(pid, code);
    } while (progress == STOPPED);
    return progress;
}

/* Waits for a sleeping child that should end. ASLEEP if it does not. */
static inline enum progress
until_ended(pid_t pid, int *code)
{
    uint64_t give_up = in_ns(5 * SECOND);
    enum progress progress = ASLEEP;
    while (progress == ASLEEP && now_ns() < give_up)
        progress = watch_child(pid, code);
    return progress;
}

static inline void
end_child(pid_t pid)
{
    int status;
    kill(pid, SIGKILL);
    CHECK(waitpid(pid, &status, 0) == pid);
}

/* Whether a child that runs the function can be stopped here; says so where not. */
static inline bool
can_be_stopped(int (*run)(void))
{
    pid_t pid = start_stopped(run);
    if (pid > 0)
        end_child(pid);
    else
        printf("not available: ptrace\n");
    return pid > 0;
}

/* Whether an instruction is in the kernel's vDSO. Its code path depends on the time. */
static inline bool
is_in_vdso(uintptr_t pc)
{
    uintptr_t start = getauxval(AT_SYSINFO_EHDR);
    const ElfW(Ehdr) *header = (const ElfW(Ehdr) *)start;
    return header && pc - start < header->e_shoff + (size_t)header->e_shnum * header->e_shentsize;
}

/* The addresses of all instructions that the function runs until it sleeps or ends, each once. A
 * child that the same process forks later has its code at the same addresses. Without those of
 * the vDSO, which knows nothing of the library: a stop there is the same as a stop before it. */
struct points {
    uintptr_t at[8000];
    unsigned count;
};

static inline void
find_points(struct points *points, int (*run)(void))
{
    pid_t pid = start_stopped(run);
    enum progress progress;
    int code;
    CHECK(pid > 0);
    points->count = 0;
    do {
        errno = 0;
        uintptr_t pc = (uintptr_t)ptrace(PTRACE_PEEKUSER, pid, PC, NULL);
        CHECK(errno == 0);
        unsigned i = points->count;
        while (i-- > 0 && points->at[i] != pc)
            ;
        if (i == UINT_MAX && !is_in_vdso(pc)) {
            CHECK(points->count < ARRAY_SIZE(points->at));
            points->at[points->count++] = pc;
        }
        CHECK(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == 0);
        progress = watch_child(pid, &code);
    } while (progress == STOPPED);
    if (progress == ASLEEP)
        end_child(pid);
}

/* Continues a stopped child until it is before the instruction at pc. False if it ended or fell
 * asleep without getting there; then it is waited for. */
static inline bool
continue_to(pid_t pid, uintptr_t pc)
{
    const long breakpoint = 0xcc; /* int3 */
    int exit_code;
    errno = 0;
    if ((uintptr_t)ptrace(PTRACE_PEEKUSER, pid, PC, NULL) == pc)
        return true;
    long code = ptrace(PTRACE_PEEKTEXT, pid, (void *)pc, NULL);
    CHECK(errno == 0);
    CHECK(ptrace(PTRACE_POKETEXT, pid, (void *)pc, (void *)((code & ~0xffL) | breakpoint)) == 0);
    CHECK(ptrace(PTRACE_CONT, pid, NULL, NULL) == 0);
    enum progress progress = watch_child(pid, &exit_code);
    if (progress == ASLEEP)
        end_child(pid);
    if (progress != STOPPED)
        return false;
    CHECK(ptrace(PTRACE_POKETEXT, pid, (void *)pc, (void *)code) == 0);
    CHECK(ptrace(PTRACE_POKEUSER, pid, PC, (void *)pc) == 0);
    return true;
}

/* A child that runs the function and is stopped before the instruction at pc when it first gets
 * there. 0 if it ended or fell asleep without getting there. */
static inline pid_t
try_to_stop_at(int (*run)(void), uintptr_t pc)
{
    pid_t pid = start_stopped(run);
    CHECK(pid > 0);
    return continue_to(pid, pc) ? pid : 0;
}

/* For functions whose code path is always the same. */
static inline pid_t
start_stopped_at(int (*run)(void), uintptr_t pc)
{
    pid_t pid = try_to_stop_at(run, pc);
    CHECK(pid > 0);
    return pid;
}

#endif
