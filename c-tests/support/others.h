/*
 * Other threads and other processes: how a test gets a process that shares nothing with it but what
 * it is sent, and how it knows, without guessing at times, that somebody fell asleep inside of the
 * library.
 */
#ifndef OTHERS_H
#define OTHERS_H

#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#endif

/* How often to do something: less where every instruction costs ten (emulated, sanitized) or fifty. */
static inline unsigned
rounds(unsigned native, unsigned on_valgrind)
{
    if (RUNNING_ON_VALGRIND)
        return on_valgrind;
    if (is_emulated() || SANITIZES_THREADS)
        return native / 10 > on_valgrind ? native / 10 : on_valgrind;
    return native;
}

/* The answer must be one of these. The list ends with 1. */
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

/* Where a test says what went wrong. */
static int complaints = STDERR_FILENO;

static inline void
overdue(int signal)
{
    static const char text[] = "still waiting: something was slept through\n";
    (void)signal;
    if (write(complaints, text, sizeof(text) - 1) < 0)
        _exit(2);
    _exit(1);
}

/* Fails the test if it has not ended by then. Waits are then FOREVER: one that ends at a
 * deadline could hide a wake-up that was lost, because it finds its value there all the same. */
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
        /* The number of the call that blocks, or "running". */
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
        if (number == 202) /* x86-64's: its kernel tells what QEMU, which emulates us, is blocked in */
            return true;
#endif
        return number == SYS_futex || number == 449 /* futex_waitv */;
    }
    /* A machine that hides what others' threads do. It still tells whether they do anything. */
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

/* A thread that waits, for one fence or, where there is a list, for many. */
struct sleeper {
    struct umf_fence *fence;
    uint64_t value;
    const struct umf_wait *waits;
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

/* Returns once the thread that this starts is asleep. */
static inline void
fall_asleep(struct sleeper *s)
{
    start_sleeper(s);
    uint64_t give_up = in_ns(20 * SECOND);
    while (!is_asleep(getpid(), s->tid)) {
        if (atomic_load(&s->done))
            EXPECT(-ETIME, s->result); /* it should be asleep, and has returned this */
        CHECK(now_ns() < give_up);
        nanosleep(&(struct timespec){ .tv_nsec = 20000 }, NULL);
    }
}

/* Whether the thread sleeps still, or again. To be asked when it has no reason to end. */
static inline bool
sleeps_on(struct sleeper *s)
{
    uint64_t give_up = in_ns(20 * SECOND);
    while (!atomic_load(&s->done) && !is_asleep(getpid(), s->tid))
        CHECK(now_ns() < give_up);
    return !atomic_load(&s->done);
}

/* How the wait ended. */
static inline int
end_of(struct sleeper *s)
{
    CHECK(pthread_join(s->thread, NULL) == 0);
    return s->result;
}

/* A process that shares with this one what it is sent through the socket. One that is started
 * before the test touches the library has a library of its own, as a program would that was
 * started by itself. */
struct peer {
    pid_t pid;
    int sock;
};

/* Starts a peer, which ends when run returns. It does not outlive us. */
static inline struct peer
start_peer(void (*run)(int sock))
{
    int ends[2];
    struct peer peer;
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
    IN_CHILD(peer.pid, {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(ends[0]);
        run(ends[1]);
    });
    close(ends[1]);
    peer.sock = ends[0];
    return peer;
}

/* All of the peer's checks must have held. */
static inline void
end_peer(struct peer *peer)
{
    join_child(peer->pid);
    close(peer->sock);
}

static inline void
tell(int sock, uint64_t word)
{
    CHECK(send(sock, &word, sizeof(word), MSG_NOSIGNAL) == sizeof(word));
}

static inline uint64_t
hear(int sock)
{
    uint64_t word;
    CHECK(recv(sock, &word, sizeof(word), 0) == sizeof(word));
    return word;
}

/* Room for one descriptor beside a message. */
union fd_room {
    char bytes[CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
};

static inline void
send_fd(int sock, int fd)
{
    char byte = 0;
    union fd_room room = { { 0 } };
    struct iovec data = { &byte, 1 };
    struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = room.bytes,
                              .msg_controllen = sizeof(room.bytes) };
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &fd, sizeof(fd));
    CHECK(sendmsg(sock, &message, MSG_NOSIGNAL) == 1);
}

static inline int
recv_fd(int sock)
{
    char byte;
    int fd;
    union fd_room room = { { 0 } };
    struct iovec data = { &byte, 1 };
    struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = room.bytes,
                              .msg_controllen = sizeof(room.bytes) };
    CHECK(recvmsg(sock, &message, MSG_CMSG_CLOEXEC) == 1);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    CHECK(header && header->cmsg_type == SCM_RIGHTS);
    memcpy(&fd, CMSG_DATA(header), sizeof(fd));
    return fd;
}

static inline void
send_page(int sock, struct umf_page *page)
{
    int fd;
    OK(umf_page_export(page, 0, &fd));
    send_fd(sock, fd);
    close(fd);
}

static inline struct umf_page *
recv_page(int sock)
{
    struct umf_page *page;
    int fd = recv_fd(sock);
    OK(umf_page_import(fd, 0, &page));
    close(fd);
    return page;
}

static inline struct umf_fence *
recv_fence(int sock, struct umf_page *page)
{
    struct umf_fence *fence;
    OK(umf_fence_open(page, (uint32_t)hear(sock), 0, &fence));
    return fence;
}

/* The page as whoever was given its descriptor sees it: bytes. */
struct raw {
    char *bytes;
    size_t length;
    int fd;
};

static inline struct raw
map_raw(struct umf_page *page)
{
    struct raw raw;
    struct stat stat;
    OK(umf_page_export(page, 0, &raw.fd));
    CHECK(fstat(raw.fd, &stat) == 0);
    raw.length = (size_t)stat.st_size;
    raw.bytes = mmap(NULL, raw.length, PROT_READ | PROT_WRITE, MAP_SHARED, raw.fd, 0);
    CHECK(raw.bytes != MAP_FAILED);
    return raw;
}

static inline void
unmap_raw(struct raw *raw)
{
    CHECK(munmap(raw->bytes, raw->length) == 0);
    close(raw->fd);
}

/* Writes a fence's value in one access, as a device would. */
static inline void
write_raw(const struct raw *raw, const struct umf_fence *fence, uint64_t value)
{
    uint64_t offset = umf_fence_offset(fence);
    CHECK(offset % 64 == 0 && offset + sizeof(value) <= raw->length);
    __atomic_store_n((uint64_t *)(void *)(raw->bytes + offset), value, __ATOMIC_RELEASE);
}

/* How many mappings this process has. */
static inline int
mappings(void)
{
    int lines = 0, c;
    FILE *maps = fopen("/proc/self/maps", "re");
    CHECK(maps);
    while ((c = getc(maps)) != EOF)
        lines += c == '\n';
    fclose(maps);
    return lines;
}

#endif
