/* SPDX-License-Identifier: MIT */
/*
 * What every C test starts from: checks that print what they found, and small helpers for time,
 * processes and descriptors. A test is a main() that returns 0. The first check that fails ends it.
 * It returns SKIPPED only where the machine lacks the subject of the whole test, and prints what is
 * missing.
 */
#ifndef CHECK_H
#define CHECK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <libumf.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SKIPPED 77

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

#define FOREVER UINT64_MAX
#define MS UINT64_C(1000000)
#define SECOND UINT64_C(1000000000)

/* An errno that no call sets: a test sets it before a call and finds it unchanged afterwards. */
#define SENTINEL 12345

#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#endif

/* Ends the test unless the condition holds. */
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s: does not hold: %s\n", __FILE__, __LINE__, __func__,        \
                    #condition);                                                                   \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* Ends the test unless the call returns what is expected: 0 or a negative errno. */
#define EXPECT(expected, call)                                                                     \
    do {                                                                                           \
        int64_t expected_ = (expected), got_ = (call);                                             \
        if (got_ != expected_) {                                                                   \
            fprintf(stderr, "%s:%d: %s: %s returned %" PRId64 " (%s), not %" PRId64 " (%s)\n",     \
                    __FILE__, __LINE__, __func__, #call, got_,                                     \
                    strerror(got_ < 0 ? -(int)got_ : 0), expected_,                                \
                    strerror(expected_ < 0 ? -(int)expected_ : 0));                                \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

#define OK(call) EXPECT(0, call)

/* Ends the test unless the call returns what is expected and leaves errno alone. */
#define KEEPS_ERRNO(expected, call)                                                                \
    do {                                                                                           \
        errno = SENTINEL;                                                                          \
        int64_t result_ = (int64_t)(call);                                                         \
        int after_ = errno;                                                                        \
        EXPECT(expected, result_);                                                                 \
        if (after_ != SENTINEL) {                                                                  \
            fprintf(stderr, "%s:%d: %s left errno at %d\n", __FILE__, __LINE__, #call, after_);    \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* Ends the test where a call of a table did something wrong. */
static inline void
check_row(const char *file, int line, const char *call, const char *wrong, int64_t expected,
          int64_t got)
{
    if (!wrong)
        return;
    fprintf(stderr, "%s:%d: %s %s: %" PRId64 ", not %" PRId64 "\n", file, line, call, wrong, got,
            expected);
    exit(1);
}

static inline uint64_t
clock_ns(clockid_t clock)
{
    struct timespec t;
    CHECK(clock_gettime(clock, &t) == 0);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

/* The processor time of all threads but this one. This one may run between the two clocks. */
static inline int64_t
time_of_others(void)
{
    return (int64_t)clock_ns(CLOCK_PROCESS_CPUTIME_ID) - (int64_t)clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

static inline uint64_t
now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

/* A deadline. */
static inline uint64_t
in_ns(uint64_t ns)
{
    return now_ns() + ns;
}

/* The error that the fence carries: 0, or a negative errno. */
static inline int
error_of(const struct umf_fence *fence)
{
    int error = 1;
    OK(umf_fence_error(fence, &error));
    return error;
}

/* Whether another program emulates the processor. */
static inline int
is_emulated(void)
{
    return getenv("LIBUMF_TEST_EMULATED") != NULL;
}

static inline int
entries(const char *path)
{
    int count = -2; /* . and .. */
    DIR *dir = opendir(path);
    CHECK(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

/* How many file descriptors this process has open, including the one that counts them. */
static inline int
open_fds(void)
{
    return entries("/proc/self/fd");
}

/* How many mappings this process has. Valgrind's heap is in the same process, and grows when it
 * likes: it is what has no file and may be both written and executed. */
static inline int
mappings(void)
{
    int count = 0;
    char line[PATH_MAX + 256];
    FILE *maps = fopen("/proc/self/maps", "re");
    CHECK(maps);
    while (fgets(line, sizeof(line), maps))
        count += !RUNNING_ON_VALGRIND || !strstr(line, " rwxp 00000000 00:00 0 ");
    fclose(maps);
    return count;
}

/* ThreadSanitizer has a thread of its own, which starts with the first other thread and sleeps
 * briefly over and over. */
#ifdef __SANITIZE_THREAD__
#include <pthread.h>
#define SANITIZES_THREADS 1

static void *
end_at_once(void *data)
{
    return data;
}

__attribute__((constructor)) static void
have_the_sanitizer_start_its_thread(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, end_at_once, NULL) != 0 || pthread_join(thread, NULL) != 0)
        abort();
}
#else
#define SANITIZES_THREADS 0
#endif

/* How often to do something: less under valgrind, an emulator or a sanitizer. */
static inline unsigned
rounds(unsigned native, unsigned on_valgrind)
{
    if (RUNNING_ON_VALGRIND)
        return on_valgrind;
    if (is_emulated() || SANITIZES_THREADS)
        return native / 10 > on_valgrind ? native / 10 : on_valgrind;
    return native;
}

/* Ends the test unless the answer is one of these. The list ends with 1. */
static inline int
one_of(const char *file, int line, int answer, ...)
{
    va_list list;
    int code;
    va_start(list, answer);
    while ((code = va_arg(list, int)) != answer) {
        if (code == 1) {
            fprintf(stderr, "%s:%d: returned %d\n", file, line, answer);
            exit(1);
        }
    }
    va_end(list);
    return answer;
}

#define ONE_OF(call, ...) one_of(__FILE__, __LINE__, call, __VA_ARGS__, 1)

/* The next of a sequence of random numbers, the same in each run. */
static inline uint64_t
random_word(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state ^ (*state >> 29);
}

/* How many threads this process has, without the one of an emulator or a sanitizer. */
static inline int
threads(void)
{
    return entries("/proc/self/task") - is_emulated() - SANITIZES_THREADS;
}

/* How many bytes are allocated. Only a difference means something. */
static inline size_t
allocated(void)
{
    return mallinfo2().uordblks;
}

/* Runs code in a child, which must not return. */
#define IN_CHILD(pid, ...)                                                                         \
    do {                                                                                           \
        fflush(NULL);                                                                              \
        (pid) = fork();                                                                            \
        CHECK((pid) >= 0);                                                                         \
        if ((pid) == 0) {                                                                          \
            __VA_ARGS__;                                                                           \
            _exit(0);                                                                              \
        }                                                                                          \
    } while (0)

/* Waits for a child whose checks must all have held. */
static inline void
join_child(pid_t pid)
{
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* The same for a child that may skip, and prints why. Then this is false. */
static inline int
join_child_unless_skipped(pid_t pid)
{
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == SKIPPED));
    return WEXITSTATUS(status) == 0;
}

#endif
