// SPDX-License-Identifier: MIT
/*
 * File descriptors, address space, mappings or threads run out: the call returns -EMFILE or -ENOMEM
 * and keeps nothing, and succeeds once there is enough again. (each_call.c does this for each
 * descriptor of each function.) The standard descriptors stay free.
 */
#include "process.h"
#include "sandbox.h"
#include "sleeper.h"
#include "watch.h"

#include <sys/resource.h>

static struct umf_page *page;
static int page_fd;

static int
create_page(void)
{
    struct umf_page *more;
    int answer = umf_page_create(1, 0, &more);
    if (answer == 0)
        umf_page_unref(more);
    return answer;
}

static int
import_page(void)
{
    struct umf_page *again;
    int answer = umf_page_import(page_fd, 0, &again);
    if (answer == 0)
        umf_page_unref(again);
    return answer;
}

static int
export_page(void)
{
    int fd, answer = umf_page_export(page, 0, &fd);
    if (answer == 0)
        close(fd);
    return answer;
}

static void
without_descriptors(void)
{
    static int (*const calls[])(void) = { create_page, import_page, export_page };
    struct rlimit limit;
    int spare[64], count = 0;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = 64;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    while ((spare[count] = dup(STDIN_FILENO)) >= 0)
        count++;
    CHECK(errno == EMFILE && count > 20);
    for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
        int given = 0;
        while (calls[i]() != 0) {
            EXPECT(-EMFILE, calls[i]());
            CHECK(given < 4);
            close(spare[--count]);
            given++;
        }
        CHECK(given > 0);
        OK(calls[i]());
        /* Resources of the failed call are free again after it. */
        while (given-- > 0)
            CHECK((spare[count] = dup(STDIN_FILENO)) >= 0 && ++count);
        CHECK(dup(STDIN_FILENO) < 0);
    }
    /* Calls that need none work. */
    struct umf_caps caps = { .size = sizeof(caps) };
    struct umf_fence *fence;
    OK(umf_query_caps(&caps));
    OK(umf_fence_create(page, 0, 0, &fence));
    OK(umf_fence_signal(fence, 1));
    OK(umf_fence_wait(fence, 1, FOREVER));
    umf_fence_unref(fence);
}

/* The number in the first line of a file that begins so. -1 without one. */
static long
number_in(const char *path, const char *begins)
{
    char line[256];
    long number = -1;
    FILE *file = fopen(path, "re");
    while (file && number < 0 && fgets(line, sizeof(line), file))
        if (strncmp(line, begins, strlen(begins)) == 0)
            number = strtol(line + strlen(begins), NULL, 10);
    if (file)
        fclose(file);
    return number;
}

static void
share_read_only(int sock)
{
    struct umf_page *own;
    struct umf_fence *fence;
    OK(umf_page_create(1, UMF_PAGE_SINGLE_WRITER, &own));
    OK(umf_fence_create(own, 0, 0, &fence));
    send_page(sock, own);
    tell(sock, umf_fence_index(fence));
    hear(sock);
}

/* It takes a descriptor to find out whether futex_waitv can be used without harm. A lack of
 * descriptors is not taken for a filter: the next wait asks again. */
static void
without_descriptors_for_a_time(void)
{
    if (syscall(FUTEX_WAITV, NULL, 0, 0, NULL, 0) != -1 || errno != EINVAL ||
        number_in("/proc/thread-self/status", "Seccomp:") != 0) {
        printf("not available: futex_waitv without a filter of system calls\n");
        return;
    }
    struct peer peer = start_peer(share_read_only);
    struct umf_page *read_only = recv_page(peer.sock); /* such a page needs futex_waitv */
    struct sleeper sleeper = { .fence = recv_fence(peer.sock, read_only), .value = 1 };
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = 0;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    EXPECT(-ETIME, umf_fence_wait(sleeper.fence, 1, in_ns(MS)));
    limit.rlim_cur = before;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    fall_asleep(&sleeper);
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", (int)sleeper.tid);
    EXPECT(FUTEX_WAITV, number_in(path, ""));
    /* The peer and the thread end with this process. */
}

static void
allow_address_space(uint64_t more)
{
    unsigned long pages;
    FILE *statm = fopen("/proc/self/statm", "re");
    CHECK(statm && fscanf(statm, "%lu", &pages) == 1);
    fclose(statm);
    uint64_t now = (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_AS, &limit) == 0);
    limit.rlim_cur = now + more;
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
}

static void
without_address_space(void)
{
    struct umf_page *big, *again;
    struct umf_fence *fence;
    int big_fd, fds, maps;
    OK(umf_page_create(UMF_PAGE_MAX_FENCES, 0, &big));
    OK(umf_page_export(big, 0, &big_fd));
    umf_page_unref(big);
    fds = open_fds();
    maps = mappings();

    /* Enough for a small page, not for 64 MiB. */
    allow_address_space(UINT64_C(8) << 20);
    EXPECT(-ENOMEM, umf_page_create(UMF_PAGE_MAX_FENCES, 0, &again));
    EXPECT(-ENOMEM, umf_page_import(big_fd, 0, &again));
    OK(create_page());
    CHECK(open_fds() == fds && mappings() == maps);

    /* Not enough for anything. */
    allow_address_space(0);
    EXPECT(-ENOMEM, umf_page_create(100, 0, &again));
    EXPECT(-ENOMEM, umf_page_import(big_fd, 0, &again));
    OK(export_page());
    OK(umf_fence_create(page, 0, 0, &fence));
    OK(umf_fence_signal(fence, 1));
    OK(umf_fence_wait(fence, 1, FOREVER));
    umf_fence_unref(fence);

    allow_address_space(UINT64_C(1) << 30);
    OK(umf_page_import(big_fd, 0, &again));
    CHECK(umf_page_fence_count(again) == UMF_PAGE_MAX_FENCES);
    umf_page_unref(again);
    CHECK(open_fds() == fds && mappings() == maps);
    close(big_fd);
}

/* A loop whose thread cannot start can be used as if it were new. */
static struct umf_loop *loop;
static struct umf_fence *watched;
static struct told told;

static int
watch(void)
{
    struct umf_condition wait = { watched, 1, UMF_OP_GE, 0, 0 };
    struct umf_callback callback = callback_to(&told);
    return umf_loop_watch(loop, &wait, 0, &callback, NULL);
}

static void
begin_loop(void)
{
    OK(umf_fence_create(page, 0, 0, &watched));
    loop = create_loop(UMF_LOOP_THREAD);
}

static void
refuse_threads(void)
{
    struct umf_queue *queue;
    for (int i = 0; i < 3; i++) {
        EXPECT(-ENOMEM, watch());
        EXPECT(-ENOMEM, umf_queue_create(loop, 0, &queue));
        EXPECT(-ENOMEM, umf_loop_import_sync_file(loop, watched, 0, -1, 0, NULL, NULL));
    }
    CHECK(told.releases == 0);
    until_threads(1);
}

static void
end_loop(void)
{
    OK(watch());
    OK(umf_fence_signal(watched, 1));
    until_called(loop, &told, 0);
    umf_loop_unref(loop);
    umf_fence_unref(watched);
}

/* Existing objects work without any. */
static void
go_on(struct umf_fence *fence, uint64_t value)
{
    OK(umf_fence_signal(fence, value));
    OK(umf_fence_wait(fence, value, FOREVER));
    EXPECT(-ETIME, umf_fence_wait(fence, value + 1, in_ns(MS)));
}

/* Address space for a page of fences, but not for a thread's stack. */
static void
without_stacks(void)
{
    begin_loop();
    int fds = open_fds(), maps = mappings();
    allow_address_space(UINT64_C(1) << 20);
    OK(create_page());
    refuse_threads();
    CHECK(open_fds() == fds && mappings() == maps);
    allow_address_space(UINT64_C(1) << 30);
    end_loop();
}

/* A process may have a limited number of mappings (vm.max_map_count), whatever their size. */
static void
without_mappings(void)
{
    const size_t size = (size_t)sysconf(_SC_PAGESIZE);
    size_t most = 0, taken = 0;
    struct umf_fence *fence;
    FILE *file = fopen("/proc/sys/vm/max_map_count", "re");
    if (!file || fscanf(file, "%zu", &most) != 1 || most > 300000) {
        printf("not available: a limit of mappings that can be reached\n");
        return;
    }
    fclose(file);
    OK(umf_fence_create(page, 0, 0, &fence));
    begin_loop();
    int fds = open_fds();
    /* Every second page of one mapping gets other rights, which splits it into many. */
    char *many = mmap(NULL, (2 * most + 2) * size, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(many != MAP_FAILED);
    while (mprotect(many + (2 * taken + 1) * size, size, PROT_READ) == 0)
        CHECK(taken++ < most);
    CHECK(errno == ENOMEM && taken > most / 4);
    /* Two more may be left, as one split makes two. */
    while (mmap(NULL, size, taken++ % 2 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                0) != MAP_FAILED)
        ;
    CHECK(errno == ENOMEM);
    EXPECT(-ENOMEM, create_page());
    refuse_threads();
    OK(export_page());
    EXPECT(-ENOMEM, import_page());
    go_on(fence, 1);
    CHECK(open_fds() == fds);
    CHECK(munmap(many, (2 * most + 2) * size) == 0);
    OK(create_page());
    OK(import_page());
    end_loop();
    umf_fence_unref(fence);
}

/* RLIMIT_NPROC limits the threads of a user. It does not limit root, so the test runs as another
 * user. */
static void
without_threads(void)
{
    const uid_t nobody = 65534;
    struct rlimit limit;
    begin_loop();
    CHECK(getrlimit(RLIMIT_NPROC, &limit) == 0);
    limit.rlim_cur = 1;
    CHECK(setrlimit(RLIMIT_NPROC, &limit) == 0);
    if (geteuid() == 0 && setresuid(nobody, nobody, 0) != 0) {
        printf("not available: to be another user\n");
        return;
    }
    refuse_threads();
    OK(create_page());
    go_on(watched, 0);
    /* As the original user again, or where the limit allows it. */
    if (setresuid(0, 0, 0) != 0) {
        limit.rlim_cur = limit.rlim_max;
        CHECK(setrlimit(RLIMIT_NPROC, &limit) == 0);
    }
    end_loop();
}

/* The process may lock hardly any memory, and locks each new mapping: mmap returns EAGAIN. */
static void
without_lockable_memory(void)
{
    struct rlimit limit = { 65536, 65536 };
    struct umf_page *more;
    /* Root may lock beyond the limit. */
    if (geteuid() == 0)
        CHECK(setresuid(1000, 1000, 1000) == 0);
    CHECK(setrlimit(RLIMIT_MEMLOCK, &limit) == 0 && mlockall(MCL_FUTURE) == 0);
    EXPECT(-ENOMEM, umf_page_create(4096, 0, &more));
    EXPECT(-ENOMEM, umf_page_create(4096, UMF_PAGE_SINGLE_WRITER, &more));
    CHECK(munlockall() == 0);
    OK(umf_page_create(4096, 0, &more));
    umf_page_unref(more);
}

/* Beyond RLIMIT_FSIZE, ftruncate would raise SIGXFSZ, which ends a process. */
static void
without_long_files(void)
{
    struct rlimit limit, before;
    struct umf_page *more;
    CHECK(getrlimit(RLIMIT_FSIZE, &before) == 0);
    limit = before;
    limit.rlim_cur = 65536;
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    EXPECT(-ENOMEM, umf_page_create(4096, 0, &more));
    EXPECT(-ENOMEM, umf_page_create(4096, UMF_PAGE_SINGLE_WRITER, &more));
    OK(umf_page_create(64, 0, &more));
    umf_page_unref(more);
    CHECK(setrlimit(RLIMIT_FSIZE, &before) == 0);
    OK(umf_page_create(4096, 0, &more));
    umf_page_unref(more);
}

/* A program that closed its standard descriptors gets none of the library's in their place. */
static void
without_standard_descriptors(void)
{
    struct umf_page *own, *again;
    struct umf_fence *fence;
    struct umf_loop *caller, *thread;
    int sock[2], event, exported;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock) == 0);
    event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    CHECK(event > 2 && sock[0] > 2);
    for (int fd = 0; fd < 3; fd++)
        close(fd);
    int ok = umf_page_create(4, 0, &own) == 0 && umf_fence_create(own, 0, 0, &fence) == 0 &&
             umf_page_export(own, 0, &exported) == 0 && exported > 2 &&
             umf_page_import(exported, 0, &again) == 0 && umf_loop_create(0, &caller) == 0 &&
             umf_loop_fd(caller) > 2 && umf_loop_create(UMF_LOOP_THREAD, &thread) == 0;
    struct umf_condition wait = { .fence = fence, .value = 1 };
    ok = ok && umf_loop_export_eventfd(thread, &wait, 0, event, NULL, NULL) == 0 &&
         umf_loop_tie_fence(thread, fence, sock[0], 0, NULL, NULL) == 0;
    for (int fd = 0; fd < 3; fd++)
        ok = ok && fcntl(fd, F_GETFD) < 0 && errno == EBADF;
    _exit(ok ? 0 : 1);
}

int
main(void)
{
    pid_t pid;
    watchdog(30);
    if (RUNNING_ON_VALGRIND) {
        printf("valgrind needs descriptors and memory of its own\n");
        return SKIPPED;
    }
    OK(umf_page_create(4, 0, &page));
    OK(umf_page_export(page, 0, &page_fd));
    IN_CHILD(pid, without_descriptors());
    join_child(pid);
    IN_CHILD(pid, without_address_space());
    join_child(pid);
    void (*const more[])(void) = {
        without_stacks,     without_mappings,
        without_threads,    without_standard_descriptors,
        without_long_files, without_lockable_memory,
        without_descriptors_for_a_time,
    };
    for (size_t i = 0; i < ARRAY_SIZE(more); i++) {
        IN_CHILD(pid, (watchdog(20), more[i](), fflush(stdout)));
        join_child(pid);
    }
    close(page_fd);
    umf_page_unref(page);
    return 0;
}
