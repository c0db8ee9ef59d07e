// SPDX-License-Identifier: MIT
/*
 * The table of docs/errnos.md, and calls that get one of its errors.
 *
 * A thread without a filter answers the calls of the other threads (SECCOMP_RET_USER_NOTIF). So it
 * can count them, and let them pass from some moment on.
 */
#ifndef ERRNO_TABLE_H
#define ERRNO_TABLE_H

#include "errnos_md.h" /* the text of docs/errnos.md, by the build */
#include "sandbox.h"
#include "sleeper.h"

#include <sys/ioctl.h>

/* The C library opens files by either. */
#ifdef SYS_open
#define OPEN SYS_open
#define OPEN_FLAGS 1
#else
#define OPEN SYS_openat
#define OPEN_FLAGS 2
#endif

static const struct {
    const char *name;
    int value;
} errno_names[] = {
#define NAMED(name) { #name, name }
    NAMED(EACCES),   NAMED(EAGAIN),   NAMED(EALREADY), NAMED(EBADF),     NAMED(EBADFD),
    NAMED(EBUSY),    NAMED(ECANCELED), NAMED(ECHILD),  NAMED(ECONNRESET), NAMED(EDESTADDRREQ),
    NAMED(ECONNREFUSED), NAMED(EISDIR), NAMED(ENAMETOOLONG), NAMED(EROFS), NAMED(ETXTBSY),
    NAMED(EDQUOT),   NAMED(EFAULT),   NAMED(EFBIG),    NAMED(EHOSTDOWN), NAMED(EINPROGRESS),
    NAMED(EINTR),    NAMED(EINVAL),   NAMED(EIO),      NAMED(ELOOP),     NAMED(EMFILE),
    NAMED(ENFILE),   NAMED(ENOBUFS),  NAMED(ENODATA),  NAMED(ENODEV),    NAMED(ENOENT),
    NAMED(ENOMEM),   NAMED(ENOPROTOOPT), NAMED(ENOSPC), NAMED(ENOSYS),   NAMED(ENOTCONN),
    NAMED(ENOTDIR),  NAMED(ENOTSOCK), NAMED(ENOTTY),   NAMED(ENXIO),     NAMED(EOPNOTSUPP),
    NAMED(EOVERFLOW), NAMED(EPERM),   NAMED(EPIPE),    NAMED(EPROTO),    NAMED(EREMOTEIO),
    NAMED(ESHUTDOWN), NAMED(ESRCH),   NAMED(ESTALE),   NAMED(ETIME),     NAMED(ETIMEDOUT),
#undef NAMED
};

static inline int
errno_named(const char *name, size_t length)
{
    for (size_t i = 0; i < ARRAY_SIZE(errno_names); i++)
        if (strlen(errno_names[i].name) == length && !strncmp(errno_names[i].name, name, length))
            return errno_names[i].value;
    fprintf(stderr, "docs/errnos.md: an unknown error: %.*s\n", (int)length, name);
    exit(1);
}

/* A row: the cells without the spaces and quotes around them. */
struct errno_row {
    char call[48], by[48], errors[160], result[24];
};

static inline const char *
read_cell(const char *at, char *cell, size_t size)
{
    at += strspn(at, "| `");
    size_t length = strcspn(at, "|\n"), used = length;
    while (used > 0 && strchr(" `", at[used - 1]))
        used--;
    CHECK(used < size);
    memcpy(cell, at, used);
    cell[used] = '\0';
    return at + length;
}

/* Where the rows begin that need a DRM device. */
#define DEVICE_ROWS strstr(errnos_md, "\n## Devices\n")

/* Reads the next row from *at on. False at the end. */
static inline bool
next_errno_row(const char **at, const char *end, struct errno_row *row)
{
    const char *line = strstr(*at, "\n| `");
    if (!line || line >= end)
        return false;
    const char *cell = read_cell(line + 1, row->call, sizeof(row->call));
    cell = read_cell(cell, row->by, sizeof(row->by));
    cell = read_cell(cell, row->errors, sizeof(row->errors));
    *at = read_cell(cell, row->result, sizeof(row->result));
    return true;
}

/* The number of a call that the library does not make here. */
#define NEVER_MADE (-1)

/* The calls with this number, and with these bits in one argument. */
struct matched_call {
    const char *name;
    long number;
    int argument; /* or -1 */
    uint32_t mask, value;
};

/* Another call, which gets an answer of its own in all rounds. The preparation of a maker sets it:
 * it lets a device look as one that lacks something. 0 is success, and PASS lets the call pass. */
#define PASS (-1)
static const struct matched_call *other_call;
static int (*answer_other)(const struct seccomp_data *data);

static inline bool
is_call(const struct matched_call *call, const struct seccomp_data *data)
{
    if (data->nr != call->number || call->argument < 0)
        return data->nr == call->number;
    return ((uint32_t)data->args[call->argument] & call->mask) == call->value;
}

/* What the calls get: the error, or nothing once no more are left. */
static atomic_int error_to_answer, answers_left, answers_given;
static atomic_int notifications = -1;

static void *
answer(void *unused)
{
    (void)unused;
    while (atomic_load(&notifications) < 0)
        sched_yield();
    for (;;) {
        struct seccomp_notif call = { 0 };
        struct seccomp_notif_resp response = { 0 };
        if (ioctl(notifications, SECCOMP_IOCTL_NOTIF_RECV, &call) != 0)
            continue; /* the thread was interrupted meanwhile */
        response.id = call.id;
        if (other_call && is_call(other_call, &call.data)) {
            int other = answer_other(&call.data);
            response.error = other == PASS ? 0 : -other;
            response.flags = other == PASS ? SECCOMP_USER_NOTIF_FLAG_CONTINUE : 0;
        } else if (atomic_load(&answers_left) > 0) {
            atomic_fetch_sub(&answers_left, 1);
            atomic_fetch_add(&answers_given, 1);
            response.error = -atomic_load(&error_to_answer);
        } else {
            response.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
        }
        ioctl(notifications, SECCOMP_IOCTL_NOTIF_SEND, &response);
    }
    return NULL;
}

/* From here on, the calls of this thread and of those that it starts are answered. */
static inline void
answer_calls(const struct matched_call matched[2])
{
    struct sock_filter steps[24];
    const struct matched_call calls[] = { matched[0], matched[1],
                                          other_call ? *other_call : matched[0] };
    unsigned short used = 0;
    for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
        uint32_t argument = calls[i].argument < 0
                                ? offsetof(struct seccomp_data, nr)
                                : offsetof(struct seccomp_data, args) +
                                      (uint32_t)calls[i].argument * 8;
        const struct sock_filter of_call[] = {
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)calls[i].number, 0, 4),
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, argument),
            BPF_STMT(BPF_ALU | BPF_AND | BPF_K, calls[i].mask),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i].value, 0, 1),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        };
        memcpy(steps + used, of_call, sizeof(of_call));
        used += ARRAY_SIZE(of_call);
    }
    steps[used++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog filter = { used, steps };
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, answer, NULL) == 0); /* it has no filter */
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    int fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
                          &filter);
    if (fd < 0) {
        printf("not available: filters that ask a thread\n");
        fflush(stdout);
        _exit(SKIPPED);
    }
    atomic_store(&notifications, fd);
}

/* A call of a public function, its result where nothing fails, and what comes before the errors. */
struct maker {
    const char *name;
    int (*make)(void);
    int works;
    void (*prepare)(void);
};

/* Returns the result of a call that makes a handle, `made`, which is not kept. A call that failed
 * has not written it. */
#define MAKE_AND_UNREF(type, call)                                                                 \
    do {                                                                                           \
        struct umf_##type *const none_ = (void *)&error_to_answer, *made = none_;                  \
        int result_ = (call);                                                                      \
        if (result_ == 0)                                                                          \
            umf_##type##_unref(made);                                                              \
        else                                                                                       \
            CHECK(made == none_);                                                                  \
        return result_;                                                                            \
    } while (0)

/* The same for a descriptor, which was SENTINEL before. */
static inline void
close_made(int fd, int result)
{
    if (result == 0)
        close(fd);
    else
        CHECK(fd == SENTINEL);
}

static inline int
expected_result(const struct errno_row *row, int error, const struct maker *maker)
{
    if (strcmp(row->result, "the same") == 0)
        return -error;
    if (row->result[0] == '-')
        return -errno_named(row->result + 1, strlen(row->result + 1));
    CHECK(strcmp(row->result, "works") == 0 || strcmp(row->result, "again") == 0);
    return maker->works;
}

/* One row with one error, in a child. */
static inline void
check_error(const struct errno_row *row, int error, const struct matched_call calls[2],
            const struct maker *maker)
{
    const int expected = expected_result(row, error, maker);
    int fds = 0, maps = 0;
    if (maker->prepare)
        maker->prepare();
    answer_calls(calls);
    atomic_store(&error_to_answer, error);
    for (int round = 0; round < 2; round++) {
        atomic_store(&answers_left, strcmp(row->result, "again") == 0 ? 1 : INT_MAX);
        int result = maker->make();
        atomic_store(&answers_left, 0);
        int given = atomic_load(&answers_given);
        if (result != expected || given == 0) {
            fprintf(stderr, "%s of %s gets %s %d times: %d, not %d\n", row->call, row->by,
                    strerrorname_np(error), given, result, expected);
            exit(1);
        }
        EXPECT(maker->works, maker->make());
        /* From the second round on, nothing is made once for the whole process. */
        if (round == 0) {
            fds = open_fds();
            maps = mappings();
        }
    }
    CHECK(open_fds() == fds);
    if (strcmp(row->call, "munmap") != 0)
        CHECK(mappings() <= maps);
}

/* Checks every row from one place to another. Returns whether all held. */
static inline bool
check_rows(const char *at, const char *end, const struct matched_call *calls, size_t call_count,
           const struct maker *makers, size_t maker_count)
{
    struct errno_row row;
    int checked = 0, failed = 0;
    while (next_errno_row(&at, end, &row)) {
        struct matched_call matched[2];
        const struct maker *maker = NULL;
        int found = 0;
        for (size_t i = 0; i < call_count; i++)
            if (strcmp(calls[i].name, row.call) == 0 && found < 2)
                matched[found++] = calls[i];
        for (size_t i = 0; i < maker_count && !maker; i++)
            if (strcmp(makers[i].name, row.by) == 0)
                maker = &makers[i];
        if (!found || !maker) {
            fprintf(stderr, "docs/errnos.md: no test makes %s by %s\n", row.call, row.by);
            return false;
        }
        if (matched[0].number == NEVER_MADE) {
            printf("not available: %s, which is not needed here\n", row.call);
            continue;
        }
        if (found == 1)
            matched[1] = matched[0];
        for (const char *name = row.errors; *name;) {
            size_t length = strcspn(name, ", ");
            int status, error = errno_named(name, length);
            pid_t pid;
            IN_CHILD(pid, (watchdog(20), check_error(&row, error, matched, maker)));
            CHECK(waitpid(pid, &status, 0) == pid);
            if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED)
                exit(SKIPPED);
            failed += status != 0;
            checked++;
            name += length + strspn(name + length, ", ");
        }
    }
    printf("%d errors\n", checked);
    return checked > 0 && failed == 0;
}

#endif
