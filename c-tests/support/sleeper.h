/* SPDX-License-Identifier: MIT */
/*
 * Threads that sleep in the library, and how a test knows without guessing at times that one
 * sleeps. The watchdog ends a test that misses a wake-up.
 */
#ifndef SLEEPER_H
#define SLEEPER_H

#include "check.h"

/* The descriptor that failures are printed to. */
static int complaints = STDERR_FILENO;

static inline void
overdue(int signal)
{
    static const char text[] = "still waiting: a wake-up was lost, or the machine is too slow\n";
    (void)signal;
    if (write(complaints, text, sizeof(text) - 1) < 0)
        _exit(2);
    _exit(1);
}

/* Fails the test if it has not ended by then. Waits can then be FOREVER: a wait that ends at a
 * deadline could hide a lost wake-up, because it finds its value there. */
static inline void
watchdog(unsigned seconds)
{
    CHECK(signal(SIGALRM, overdue) != SIG_ERR);
    alarm(RUNNING_ON_VALGRIND || is_emulated() || SANITIZES_THREADS ? seconds * 6 : seconds);
}

/* Whether a thread is blocked in a futex call. */
static inline bool
is_asleep(pid_t pid, pid_t tid)
{
    char path[64], text[32] = "";
    snprintf(path, sizeof(path), "/proc/%d/task/%d/syscall", (int)pid, (int)tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        /* the number of the blocking call, or "running" */
        if (read(fd, text, sizeof(text) - 1) < 0)
            text[0] = '\0';
        close(fd);
        char *end;
        long number = strtol(text, &end, 10);
        if (end == text)
            return false;
#ifdef SYS_futex_time64
        if (number == SYS_futex_time64)
            return true;
#endif
#ifdef SYS_nanosleep
        if (SANITIZES_THREADS && (number == SYS_nanosleep || number == SYS_clock_nanosleep))
            return true;
#endif
#ifdef __aarch64__
        if (number == 202) /* x86-64's number: the host's kernel says what QEMU is blocked in */
            return true;
#endif
        return number == SYS_futex || number == 449 /* futex_waitv */;
    }
    /* The machine hides system calls of other threads. It still shows their state. */
    char state = 0;
    snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", (int)pid, (int)tid);
    FILE *stat = fopen(path, "re");
    if (!stat)
        return false;
    if (fscanf(stat, "%*d (%*[^)]) %c", &state) != 1)
        state = 0;
    fclose(stat);
    return state == 'S';
}

/* Returns once the thread is blocked in a futex call. */
static inline void
until_asleep(pid_t pid, pid_t tid)
{
    uint64_t give_up = in_ns(20 * SECOND);
    while (!is_asleep(pid, tid)) {
        CHECK(now_ns() < give_up);
        nanosleep(&(struct timespec){ .tv_nsec = 20000 }, NULL);
    }
}

/* How often a process, or a thread of one, has slept. */
static inline long
sleeps_of(pid_t pid)
{
    char path[64], line[128];
    long sleeps = -1;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    FILE *status = fopen(path, "re");
    CHECK(status);
    while (sleeps < 0 && fgets(line, sizeof(line), status))
        sscanf(line, "voluntary_ctxt_switches: %ld", &sleeps);
    fclose(status);
    CHECK(sleeps >= 0);
    return sleeps;
}

/* A thread that waits for one fence or, if there is a list, for many. */
struct sleeper {
    struct umf_fence *fence;
    uint64_t value;
    const struct umf_condition *waits;
    uint32_t count;
    uint64_t flags;
    uint32_t index;
    int result;
    atomic_bool done;
    _Atomic pid_t tid;
    pthread_t thread;
};

static inline void *
sleep_on_fences(void *argument)
{
    struct sleeper *s = argument;
    atomic_store(&s->tid, gettid());
    if (s->waits)
        s->result = umf_wait(s->waits, s->count, s->flags, FOREVER, &s->index);
    else
        s->result = umf_fence_wait(s->fence, s->value, FOREVER);
    if (s->result == 0 && !s->waits)
        CHECK(umf_fence_value(s->fence) >= s->value);
    atomic_store(&s->done, true);
    return NULL;
}

static inline void
start_sleeper(struct sleeper *s)
{
    atomic_init(&s->done, false);
    atomic_init(&s->tid, 0);
    s->index = UINT32_MAX;
    CHECK(pthread_create(&s->thread, NULL, sleep_on_fences, s) == 0);
    while (atomic_load(&s->tid) == 0)
        sched_yield();
}

/* Starts the thread, and returns once it sleeps. */
static inline void
fall_asleep(struct sleeper *s)
{
    start_sleeper(s);
    uint64_t give_up = in_ns(20 * SECOND);
    while (!is_asleep(getpid(), s->tid)) {
        if (atomic_load(&s->done))
            EXPECT(-ETIME, s->result); /* it should sleep, and has returned this */
        CHECK(now_ns() < give_up);
        nanosleep(&(struct timespec){ .tv_nsec = 20000 }, NULL);
    }
}

/* Whether the thread still sleeps, or sleeps again. To be asked when it has no reason to end. */
static inline bool
sleeps_on(struct sleeper *s)
{
    uint64_t give_up = in_ns(20 * SECOND);
    while (!atomic_load(&s->done) && !is_asleep(getpid(), s->tid))
        CHECK(now_ns() < give_up);
    return !atomic_load(&s->done);
}

/* The result of the wait. */
static inline int
end_of(struct sleeper *s)
{
    CHECK(pthread_join(s->thread, NULL) == 0);
    return s->result;
}

/* A thread that waits for a set. */
struct set_sleeper {
    struct umf_wait_set *set;
    struct umf_wait_set_result results[4];
    uint32_t count;
    int result;
    _Atomic pid_t tid;
    pthread_t thread;
};

static inline void *
sleep_on_set(void *argument)
{
    struct set_sleeper *s = argument;
    atomic_store(&s->tid, gettid());
    s->result = umf_wait_set_wait(s->set, s->results, 4, FOREVER, &s->count);
    return NULL;
}

/* Starts the thread, and returns once it sleeps. */
static inline void
fall_asleep_for_set(struct set_sleeper *s, struct umf_wait_set *set)
{
    *s = (struct set_sleeper){ .set = set };
    CHECK(pthread_create(&s->thread, NULL, sleep_on_set, s) == 0);
    while (atomic_load(&s->tid) == 0)
        sched_yield();
    until_asleep(getpid(), s->tid);
}

/* Has one entry reported. */
static inline void
ends_by_entry(struct set_sleeper *s, uint64_t data, int result)
{
    CHECK(pthread_join(s->thread, NULL) == 0);
    OK(s->result);
    CHECK(s->count == 1 && s->results[0].user_data == data);
    EXPECT(result, s->results[0].result);
}

#endif
