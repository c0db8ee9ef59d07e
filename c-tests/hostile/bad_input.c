// SPDX-License-Identifier: MIT
/*
 * Every function, given each argument that a user could get wrong, returns the documented errno. It
 * writes no output, changes no fence, leaves errno alone and keeps no descriptor. In each row one
 * thing is wrong and everything else is right.
 */
#include "sleeper.h"
#include "watch.h"

#include <limits.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

/* The arguments of a row that are right: a fence at 10, with work submitted for 12. */
static struct umf_page *page;
static struct umf_fence *fence;
static uint32_t free_index;
static int null_fd;
/* One object of each kind, and the callback that must never be called: nothing here makes a
 * watch. */
static struct umf_loop *loop, *threaded;
static struct told told;
static struct umf_callback callback;

/* All outputs. */
static struct outputs {
    struct umf_page *page;
    struct umf_fence *fence;
    struct umf_device *device;
    struct umf_loop *loop;
    struct umf_watch *watch;
    void *memory;
    int fd, error;
    uint32_t index;
    uint64_t time;
} out, untouched;

static void
row(int line, const char *call, int64_t expected, int64_t got)
{
    const char *wrong = NULL;
    int error = 1;
    if (errno != SENTINEL)
        wrong = "changed errno";
    else if (got != expected)
        wrong = "returned something else";
    else if (memcmp(&out, &untouched, sizeof(out)) != 0)
        wrong = "wrote an output";
    else if (umf_fence_value(fence) != 10 || umf_fence_pending_value(fence) != 12)
        wrong = "changed the fence";
    else if (umf_fence_error(fence, &error) != 0 || error != 0)
        wrong = "failed the fence";
    else if (told.calls != 0 || told.releases != 0)
        wrong = "used the callback";
    check_row(__FILE__, line, call, wrong, expected, got);
}

#define ROW(expected, call) (errno = SENTINEL, row(__LINE__, #call, expected, call))

static void
null_arguments(void)
{
    struct umf_condition no_fence = { NULL, 10, UMF_OP_GE, 0, 0 };
    int fd = null_fd;

    ROW(-EINVAL, umf_query_caps(NULL));
    ROW(-EINVAL, umf_trace_start(NULL, 0));
    ROW(-EINVAL, umf_set_log_handler(&(struct umf_log_handler){ .data = out.page }, 0));
    ROW(-EINVAL, umf_set_log_handler(NULL, 1));
    ROW(-EINVAL, umf_page_record_waits(NULL, 1, 0));
    ROW(-EINVAL, umf_page_record_waits(page, 2, 0));
    ROW(-EINVAL, umf_page_create(1, 0, NULL));
    ROW(-EINVAL, umf_page_import(fd, 0, NULL));
    ROW(-EINVAL, umf_page_import_limited(fd, 0, &(struct umf_page_limits){ .size = 8 }, NULL));
    ROW(-EINVAL, umf_page_import_limited(fd, 0, NULL, &out.page));
    ROW(-EINVAL, umf_page_export(NULL, 0, &out.fd));
    ROW(-EINVAL, umf_page_export(page, 0, NULL));
    ROW(-EINVAL, umf_page_export_dma_buf(NULL, 0, &out.fd));
    ROW(-EINVAL, umf_page_export_dma_buf(page, 0, NULL));
    ROW(-EINVAL, umf_page_get_memory(NULL, 0, &out.memory, NULL));
    ROW(-EINVAL, umf_page_get_memory(page, 0, NULL, NULL));
    ROW(-EINVAL, umf_page_set_error(NULL, -EIO));
    ROW(-EINVAL, umf_page_reclaim(NULL, 0, &out.index));
    ROW(0, umf_page_reclaim(page, 0, NULL));
    struct umf_fence_info info = { .size = sizeof(info) };
    struct umf_fence_info small = { .size = sizeof(small) - 1 }, unset = { .size = 0 };
    ROW(-EINVAL, umf_page_query_fence(NULL, 0, 0, &info));
    ROW(-EINVAL, umf_page_query_fence(page, umf_fence_index(fence), 0, NULL));
    ROW(-EINVAL, umf_page_query_fence(page, umf_fence_index(fence), 0, &small));
    ROW(-EINVAL, umf_page_query_fence(page, umf_fence_index(fence), 0, &unset));
    ROW(-ENOENT, umf_page_query_fence(page, UINT32_MAX, 0, &info));
    char name[UMF_NAME_SIZE];
    ROW(-EINVAL, umf_page_set_name(NULL, "x"));
    ROW(-EINVAL, umf_fence_set_name(NULL, "x"));
    ROW(-EINVAL, umf_page_query_name(NULL, UMF_NAME_OF_PAGE, 0, name));
    ROW(-EINVAL, umf_page_query_name(page, UMF_NAME_OF_PAGE, 0, NULL));
    ROW(-ENOENT, umf_page_query_name(page, UMF_PAGE_MAX_FENCES, 0, name));
    ROW(-EINVAL, umf_fence_create_in(page, NULL, 0, &out.fence));
    ROW(-EINVAL, umf_fence_open_in(page, umf_fence_index(fence), NULL, 0, &out.fence));
    ROW(-EINVAL, umf_fence_create(NULL, 0, 0, &out.fence));
    ROW(-EINVAL, umf_fence_create(page, 0, 0, NULL));
    ROW(-EINVAL, umf_fence_open(NULL, 0, 0, &out.fence));
    ROW(-EINVAL, umf_fence_open(page, umf_fence_index(fence), 0, NULL));
    ROW(-EINVAL, umf_fence_end(NULL));
    ROW(-EINVAL, umf_fence_signal(NULL, 10));
    ROW(-EINVAL, umf_fence_notify(NULL));
    ROW(-EINVAL, umf_fence_submit(NULL, 10));
    ROW(-EINVAL, umf_fence_update(NULL, UMF_UPDATE_ADD, 1, 0, NULL));
    ROW(-EINVAL, umf_fence_timestamp(NULL, 10, &out.time));
    ROW(-EINVAL, umf_fence_timestamp(fence, 10, NULL));
    ROW(-ENOENT, umf_fence_timestamp(fence, 10, &out.time));
    ROW(-EINVAL, umf_fence_set_error(NULL, -EIO));
    ROW(-EINVAL, umf_fence_error(NULL, &out.error));
    ROW(-EINVAL, umf_fence_error(fence, NULL));
    ROW(-EINVAL, umf_fence_wait(NULL, 0, 0));
    ROW(-EINVAL, umf_wait(NULL, 1, 0, 0, &out.index));
    ROW(-EINVAL, umf_wait(&no_fence, 1, 0, 0, &out.index));
    ROW(-EINVAL, umf_device_create(fd, 0, NULL));
    ROW(-EINVAL, umf_device_query_caps(NULL, &(struct umf_device_caps){ .size = 16 }));
    ROW(-EINVAL, umf_fence_export_sync_file(NULL, 10, NULL, 0, 0, &out.fd));
    ROW(-EINVAL, umf_fence_export_sync_file(fence, 10, NULL, 0, 0, NULL));
    ROW(-EINVAL, umf_fence_import_sync_file(NULL, 10, -1, 0, 0));
    ROW(-EINVAL, umf_fence_export_syncobj(NULL, 10, NULL, 1, 1, 0, 0));
    ROW(-EINVAL, umf_fence_export_syncobj(fence, 10, NULL, 1, 1, 0, 0));
    ROW(-EINVAL, umf_fence_import_syncobj(NULL, 10, NULL, 1, 1, 0, 0));
    ROW(-EINVAL, umf_fence_import_syncobj(fence, 10, NULL, 1, 1, 0, 0));
    ROW(-EINVAL, umf_fence_export_dma_buf(NULL, 10, NULL, fd, UMF_DMA_BUF_READ, 0));
    ROW(-EINVAL, umf_fence_attach_sync_file(NULL, 10, fd, 0));
    ROW(-EINVAL, umf_fence_set_deadline(NULL, 10, 1, 0));
    ROW(0, umf_fence_set_deadline(fence, 10, 1, 0));
    ROW(-ENOENT, umf_fence_set_deadline(fence, 11, 1, 0)); /* no kernel fence is attached */
    ROW(-EINVAL, umf_fence_attach_syncobj(NULL, 10, NULL, 1, 1, 0));
    ROW(-EINVAL, umf_fence_attach_syncobj(fence, 10, NULL, 1, 1, 0));
    ROW(-EINVAL, umf_fence_import_dma_buf(NULL, 10, fd, UMF_DMA_BUF_READ, 0));

    /* A function without an error code returns what no valid handle gives. */
    ROW(0, umf_page_fence_count(NULL));
    ROW(0, umf_fence_page(NULL) != NULL);
    ROW(UINT32_MAX, umf_fence_index(NULL));
    ROW(-1, (int64_t)umf_fence_offset(NULL));
    ROW(-1, (int64_t)umf_fence_monitored_offset(NULL));
    ROW(0, (int64_t)umf_fence_value(NULL));
    ROW(0, (int64_t)umf_fence_pending_value(NULL));
    ROW(0, umf_page_ref(NULL) != NULL);
    ROW(0, umf_fence_ref(NULL) != NULL);
    ROW(0, umf_device_ref(NULL) != NULL);
    ROW(0, (umf_page_unref(NULL), umf_fence_unref(NULL), umf_device_unref(NULL), 0));
}

/* Sockets that never report the end of a peer, or that report one which never was. */
static void
sockets_that_tell_nothing(void)
{
    struct umf_loop *event_loop;
    int datagram[2], stream[2], lone = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int bound = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    int internet = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr address = { .sa_family = AF_UNIX };
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, datagram) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream) == 0);
    CHECK(bind(bound, &address, sizeof(address.sa_family)) == 0 && listen(bound, 1) == 0);
    OK(umf_loop_create(0, &event_loop));
    const int none[] = { datagram[0], lone, bound, internet };
    for (size_t i = 0; i < ARRAY_SIZE(none); i++) {
        if (none[i] < 0)
            continue; /* no network */
        ROW(-EINVAL, umf_loop_tie_fence(event_loop, fence, none[i], 0, NULL, NULL));
        ROW(-EINVAL, umf_loop_tie_page(event_loop, page, none[i], 0, NULL, NULL));
        close(none[i]);
    }
    /* A connection whose other end is closed already reports that. */
    close(stream[1]);
    struct umf_watch *watch;
    struct umf_fence *lost;
    OK(umf_fence_create(page, 0, 0, &lost));
    ROW(0, umf_loop_tie_fence(event_loop, lost, stream[0], 0, NULL, &watch));
    ROW(0, umf_loop_dispatch(event_loop, 0));
    CHECK(umf_watch_result(watch) == 0 && error_of(lost) == -EOWNERDEAD);
    umf_watch_unref(watch);
    umf_loop_unref(event_loop);
    umf_fence_unref(lost);
    close(stream[0]);
    close(datagram[1]);
}

static void
where_the_graph_cannot_be_written_to(void)
{
    int none[2], read_only = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC), fd = null_fd;
    uint32_t deadlocks = SENTINEL;
    CHECK(read_only >= 0 && full >= 0 && pipe2(none, O_CLOEXEC) == 0);
    close(none[0]);
    signal(SIGPIPE, SIG_IGN);

    ROW(-EINVAL, umf_graph_write(fd, UMF_GRAPH_JSON << 1, &deadlocks));
    ROW(-EINVAL, umf_graph_write(fd, UINT64_MAX, &deadlocks));
    ROW(-EINVAL, umf_graph_write(fd, UMF_GRAPH_DOT | UMF_GRAPH_JSON, &deadlocks));
    ROW(-EBADF, umf_graph_write(-1, 0, &deadlocks));
    ROW(-EBADF, umf_graph_write(INT_MIN, 0, &deadlocks));
    ROW(-EBADF, umf_graph_write(1 << 20, 0, &deadlocks));
    ROW(-EBADF, umf_graph_write(read_only, 0, &deadlocks));
    ROW(-ENOMEM, umf_graph_write(full, UMF_GRAPH_DOT, &deadlocks));
    ROW(-EIO, umf_graph_write(none[1], 0, &deadlocks));
    CHECK(deadlocks == SENTINEL);
    ROW(0, umf_graph_write(fd, 0, NULL));
    ROW(0, umf_graph_write(fd, UMF_GRAPH_DOT, &deadlocks));
    ROW(0, umf_graph_write(fd, UMF_GRAPH_JSON, &deadlocks));
    CHECK(deadlocks == 0);

    signal(SIGPIPE, SIG_DFL);
    close(none[1]);
    close(read_only);
    close(full);
}

static void
numbers_out_of_range(void)
{
    struct umf_condition met = { fence, 10, UMF_OP_GE, 0, 0 };
    uint64_t past = now_ns() - SECOND;
    int fd = null_fd;

    ROW(-EINVAL, umf_page_create(0, 0, &out.page));
    ROW(-EINVAL, umf_page_create(UMF_PAGE_MAX_FENCES + 1, 0, &out.page));
    ROW(-EINVAL, umf_page_create(UINT32_MAX, 0, &out.page));
    ROW(-EINVAL, umf_fence_create(page, UINT64_C(1) << 32, UMF_FENCE_32BIT, &out.fence));
    ROW(-EINVAL, umf_fence_create(page, UINT64_MAX, UMF_FENCE_32BIT, &out.fence));
    ROW(-EINVAL, umf_set_spin(1001, 50000, 0));
    ROW(-EINVAL, umf_set_spin(UINT32_MAX, 50000, 0));
    ROW(-EINVAL, umf_set_spin(10, 1000001, 0));
    ROW(-EINVAL, umf_set_spin(10, UINT32_MAX, 0));
    ROW(-ENOENT, umf_fence_open(page, free_index, 0, &out.fence));
    ROW(-ENOENT, umf_fence_open(page, umf_page_fence_count(page), 0, &out.fence));
    ROW(-ENOENT, umf_fence_open(page, UINT32_MAX, 0, &out.fence));
    ROW(-EINVAL, umf_fence_signal(fence, 9));
    ROW(-EINVAL, umf_fence_signal(fence, 0));
    ROW(0, umf_fence_signal(fence, 10));
    ROW(0, umf_fence_submit(fence, 11));
    ROW(0, umf_fence_submit(fence, 0));
    ROW(-EINVAL, umf_fence_update(fence, UMF_UPDATE_EXCHANGE, 11, 0, NULL));
    ROW(-EINVAL, umf_fence_update(fence, UINT32_MAX, 11, 0, NULL));
    ROW(-EINVAL, umf_fence_create(page, 0, UMF_FENCE_UNORDERED | UMF_FENCE_32BIT, &out.fence));
    ROW(-EINVAL, umf_fence_set_error(fence, 0));
    ROW(-EINVAL, umf_fence_set_error(fence, 1));
    ROW(-EINVAL, umf_fence_set_error(fence, EIO));
    ROW(-EINVAL, umf_fence_set_error(fence, INT_MAX));
    ROW(-EINVAL, umf_fence_set_error(fence, -4096));
    ROW(-EINVAL, umf_fence_set_error(fence, INT_MIN));
    ROW(-ETIME, umf_fence_wait(fence, 11, 0));
    ROW(-ETIME, umf_fence_wait(fence, 11, 1));
    ROW(-ETIME, umf_fence_wait(fence, 11, past));
    ROW(-ETIME, umf_fence_wait(fence, UINT64_MAX, past));
    ROW(-EINVAL, umf_wait(&met, 0, 0, 0, &out.index));
    ROW(-EINVAL, umf_wait(&met, UMF_WAIT_MAX + 1, 0, 0, &out.index));
    ROW(-EINVAL, umf_wait(&met, UINT32_MAX, 0, 0, &out.index));
    ROW(-EINVAL, umf_fence_import_sync_file(fence, 9, -1, 0, 0));
    ROW(-EINVAL, umf_fence_import_dma_buf(fence, 9, fd, UMF_DMA_BUF_READ, 0));
    ROW(-EINVAL, umf_fence_export_dma_buf(fence, 10, NULL, fd, 0, 0));
    ROW(-EINVAL, umf_fence_import_dma_buf(fence, 10, fd, 0, 0));
}

#define FENCE_FLAGS                                                                                \
    (UMF_FENCE_32BIT | UMF_FENCE_DEVICE | UMF_FENCE_LASTING | UMF_FENCE_UNORDERED)

static void
every_unknown_flag(void)
{
    struct umf_fence_info fence_info = { .size = sizeof(fence_info) };
    struct umf_condition met = { fence, 10, UMF_OP_GE, 0, 0 };
    int page_fd;
    OK(umf_page_export(page, 0, &page_fd));
    for (int bit = 0; bit < 64; bit++) {
        uint64_t flag = UINT64_C(1) << bit;
        if (!(flag & (UMF_PAGE_SINGLE_WRITER | UMF_PAGE_TIMESTAMPS)))
            ROW(-EINVAL, umf_page_create(1, flag, &out.page));
        if (flag != UMF_PAGE_READ_ONLY) {
            const struct umf_page_limits limits = { .size = sizeof(limits) };
            ROW(-EINVAL, umf_page_import(page_fd, flag, &out.page));
            ROW(-EINVAL, umf_page_import_limited(page_fd, flag, &limits, &out.page));
        }
        ROW(-EINVAL, umf_page_query_fence(page, 0, flag, &fence_info));
        ROW(-EINVAL, umf_page_export(page, flag, &out.fd));
        ROW(-EINVAL, umf_fence_attach_sync_file(fence, 10, -1, flag));
        ROW(-EINVAL, umf_fence_set_deadline(fence, 10, 1, flag));
        ROW(-EINVAL, umf_fence_attach_syncobj(fence, 10, NULL, 1, 1, flag));
        if (flag != UMF_PAGE_MEMORY_WRITE)
            ROW(-EINVAL, umf_page_get_memory(page, flag, &out.memory, NULL));
        ROW(-EINVAL, umf_page_reclaim(page, flag, &out.index));
        if (!(flag & FENCE_FLAGS))
            ROW(-EINVAL, umf_fence_create(page, 0, flag, &out.fence));
        ROW(-EINVAL, umf_set_spin(10, 50000, flag));
        ROW(-EINVAL, umf_fence_open(page, umf_fence_index(fence), flag, &out.fence));
        ROW(-EINVAL, umf_fence_export_sync_file(fence, 10, NULL, flag, 0, &out.fd));
        ROW(-EINVAL, umf_fence_import_sync_file(fence, 10, -1, flag, 0));
        if (!(flag & (UMF_WAIT_ANY | UMF_WAIT_PENDING))) {
            ROW(-EINVAL, umf_wait(&met, 1, flag, 0, &out.index));
            ROW(-EINVAL, umf_wait(&met, 1, flag | UMF_WAIT_ANY, 0, &out.index));
        }
        if (!(flag & (UMF_DMA_BUF_READ | UMF_DMA_BUF_WRITE))) {
            uint64_t both = flag | UMF_DMA_BUF_READ;
            ROW(-EINVAL, umf_fence_export_dma_buf(fence, 10, NULL, null_fd, flag, 0));
            ROW(-EINVAL, umf_fence_export_dma_buf(fence, 10, NULL, null_fd, both, 0));
            ROW(-EINVAL, umf_fence_import_dma_buf(fence, 10, null_fd, flag, 0));
            ROW(-EINVAL, umf_fence_import_dma_buf(fence, 10, null_fd, both, 0));
        }
    }
    close(page_fd);
}

/* Wrong entries of umf_wait(): each first, in the middle and last among entries that are met. */
static void
entries_of_a_wait(void)
{
    const struct umf_condition met = { fence, 10, UMF_OP_GE, 0, 0 };
    const struct umf_condition wrong[] = {
        { NULL, 10, UMF_OP_GE, 0, 0 },
        { fence, 10, UMF_OP_LE + 1, 0, 0 },
        { fence, 10, UINT32_MAX, 0, 0 },
        { fence, 10, UMF_OP_GE, 1, 0 },
        { fence, 10, UMF_OP_GE, UINT32_C(1) << 31, 0 },
        { fence, UINT64_MAX, UMF_OP_GT, 0, 0 },
        { fence, 10, UMF_OP_GE | UMF_OP_SIGNED, 0, 0 },
    };
    const uint64_t kinds[] = { 0, UMF_WAIT_ANY, UMF_WAIT_PENDING, UMF_WAIT_ANY | UMF_WAIT_PENDING };
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
            for (int at = 0; at < 3; at++) {
                struct umf_condition list[3] = { met, met, met };
                list[at] = wrong[i];
                ROW(-EINVAL, umf_wait(list, 3, kinds[k], FOREVER, &out.index));
            }
        }
    }
    /* Pending values can only be compared with >= and >. */
    for (uint32_t op = UMF_OP_EQ; op <= UMF_OP_LE; op++) {
        struct umf_condition entry = { fence, 10, op, 0, 0 };
        ROW(-EINVAL, umf_wait(&entry, 1, UMF_WAIT_PENDING, FOREVER, &out.index));
    }
    struct umf_condition masked = { fence, 10, UMF_OP_GE, 0, 0xff };
    ROW(-EINVAL, umf_wait(&masked, 1, UMF_WAIT_PENDING, FOREVER, &out.index));
}

static void
on_many(void *data, int result, uint32_t index)
{
    (void)index;
    on_call(data, result);
}

/* The arguments that all calls that make a watch have in common. */
static void
watches(void)
{
    struct umf_condition good = { fence, 11, UMF_OP_GE, 0, 0 };
    struct umf_condition no_fence = { NULL, 11, UMF_OP_GE, 0, 0 };
    const struct umf_condition wrong[] = {
        { fence, 10, UMF_OP_LE + 1, 0, 0 },
        { fence, 10, UMF_OP_GE, 1, 0 },
        { fence, UINT64_MAX, UMF_OP_GT, 0, 0 },
    };
    struct umf_callback no_call = { NULL, on_release, &told };
    struct umf_many_callback many = { on_many, on_release, &told };
    struct umf_many_callback no_many = { NULL, on_release, &told };
    int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), blocks = eventfd(0, EFD_CLOEXEC), ends[2];
    struct umf_fence *small;
    OK(umf_fence_create(page, 0, UMF_FENCE_32BIT, &small));
    CHECK(event >= 0 && blocks >= 0 && pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    /* Other anonymous kernel objects, which differ from an eventfd only in what they can do. */
    sigset_t none;
    sigemptyset(&none);
    const int nameless[] = {
        epoll_create1(EPOLL_CLOEXEC),
        timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK),
        signalfd(-1, &none, SFD_CLOEXEC | SFD_NONBLOCK),
        inotify_init1(IN_CLOEXEC | IN_NONBLOCK),
        (int)syscall(434 /* pidfd_open, Linux 5.3 */, getpid(), 0),
    };
    const size_t nameless_count = ARRAY_SIZE(nameless);

    ROW(-EINVAL, umf_loop_create(0, NULL));
    ROW(-EINVAL, umf_loop_fd(NULL));
    ROW(-EINVAL, umf_loop_fd(threaded));
    ROW(-EINVAL, umf_loop_dispatch(NULL, 0));
    ROW(-EINVAL, umf_loop_dispatch(threaded, 0));
    ROW(0, umf_loop_dispatch(loop, 0));
    ROW(-EINVAL, umf_watch_cancel(NULL));
    ROW(-EINVAL, umf_watch_result(NULL));
    ROW(0,
        umf_loop_ref(NULL) != NULL || umf_watch_ref(NULL) != NULL || umf_syncobj_ref(NULL) != NULL);
    ROW(0, (umf_loop_unref(NULL), umf_watch_unref(NULL), umf_syncobj_unref(NULL), 0));
    ROW(-EINVAL, umf_syncobj_open(NULL, 1, 0, NULL));
    ROW(-EINVAL, umf_syncobj_create(NULL, 0, NULL));
    ROW(-EINVAL, umf_syncobj_export(NULL, 0, NULL));
    ROW(-EINVAL, umf_syncobj_signal(NULL, 1, 0));

    for (int kind = 0; kind < 2; kind++) {
        struct umf_loop *l = kind ? threaded : loop;
        ROW(-EINVAL, umf_loop_watch(NULL, &good, 0, &callback, &out.watch));
        ROW(-EINVAL, umf_loop_watch(l, NULL, 0, &callback, &out.watch));
        ROW(-EINVAL, umf_loop_watch(l, &no_fence, 0, &callback, &out.watch));
        ROW(-EINVAL, umf_loop_watch(l, &good, 0, NULL, &out.watch));
        ROW(-EINVAL, umf_loop_watch(l, &good, 0, &no_call, &out.watch));
        ROW(-EINVAL, umf_loop_watch_many(NULL, &good, 1, 0, &many, &out.watch));
        ROW(-EINVAL, umf_loop_watch_many(l, NULL, 1, 0, &many, &out.watch));
        ROW(-EINVAL, umf_loop_watch_many(l, &good, 0, 0, &many, &out.watch));
        ROW(-EINVAL, umf_loop_watch_many(l, &good, UMF_WAIT_MAX + 1, 0, &many, &out.watch));
        ROW(-EINVAL, umf_loop_watch_many(l, &no_fence, 1, UMF_WAIT_ANY, &many, &out.watch));
        ROW(-EINVAL, umf_loop_watch_many(l, &good, 1, 0, NULL, &out.watch));
        ROW(-EINVAL, umf_loop_watch_many(l, &good, 1, 0, &no_many, &out.watch));
        ROW(-EINVAL, umf_loop_export_eventfd(NULL, &good, 0, event, &callback, &out.watch));
        ROW(-EINVAL, umf_loop_export_eventfd(l, NULL, 0, event, &callback, &out.watch));
        ROW(-EINVAL, umf_loop_export_eventfd(l, &no_fence, 0, event, &callback, &out.watch));
        ROW(-EINVAL, umf_loop_export_eventfd(l, &good, 0, event, &no_call, &out.watch));
        ROW(-EINVAL, umf_loop_export_eventfd(l, &good, 0, blocks, &callback, &out.watch));
        ROW(-EINVAL, umf_loop_export_eventfd(l, &good, 0, ends[1], &callback, &out.watch));
        ROW(-EINVAL, umf_loop_export_eventfd(l, &good, 0, null_fd, &callback, &out.watch));
        for (size_t i = 0; i < nameless_count; i++) {
            if (nameless[i] < 0)
                continue; /* a kernel before it */
            CHECK(fcntl(nameless[i], F_SETFL, O_NONBLOCK) == 0);
            ROW(-EINVAL, umf_loop_export_eventfd(l, &good, 0, nameless[i], &callback, &out.watch));
        }
        ROW(-EBADF, umf_loop_export_eventfd(l, &good, 0, -1, &callback, &out.watch));
        ROW(-EBADF, umf_loop_export_eventfd(l, &good, 0, INT_MIN, &callback, &out.watch));
        ROW(-EBADF, umf_loop_export_eventfd(l, &good, 0, INT_MAX, &callback, &out.watch));
        ROW(-EINVAL, umf_loop_export_fence(NULL, fence, 11, fence, 11, 0, &callback, &out.watch));
        ROW(-EINVAL, umf_loop_export_fence(l, NULL, 11, fence, 11, 0, &callback, &out.watch));
        ROW(-EINVAL, umf_loop_export_fence(l, fence, 11, NULL, 11, 0, &callback, &out.watch));
        ROW(-EINVAL, umf_loop_export_fence(l, fence, 11, fence, 11, 0, &no_call, &out.watch));
        ROW(-EINVAL, umf_loop_export_fence(l, fence, 11, small, UINT64_C(1) << 32, 0, &callback,
                                           &out.watch));
        ROW(-EINVAL, umf_loop_export_fence(l, small, UINT64_C(1) << 32, fence, 11, 0, &callback,
                                           &out.watch));
        ROW(-EINVAL, umf_loop_export_syncobj(l, fence, 11, NULL, 1, 0, &callback, &out.watch));
        ROW(-EINVAL, umf_loop_import_syncobj(l, fence, 11, NULL, 1, 0, &callback, &out.watch));
        ROW(-EINVAL, umf_loop_import_sync_file(NULL, fence, 11, -1, 0, &callback, &out.watch));
        ROW(-EINVAL, umf_loop_import_sync_file(l, NULL, 11, -1, 0, &callback, &out.watch));
        ROW(-EINVAL, umf_loop_import_sync_file(l, fence, 9, -1, 0, &callback, &out.watch));
        ROW(-EINVAL, umf_loop_import_sync_file(l, fence, 11, -1, 0, &no_call, &out.watch));
        ROW(-EINVAL,
            umf_loop_import_sync_file(l, small, UINT64_C(1) << 32, -1, 0, &callback, &out.watch));
        ROW(-EINVAL, umf_loop_import_sync_file(l, fence, 11, null_fd, 0, &callback, &out.watch));
        ROW(-EBADF, umf_loop_import_sync_file(l, fence, 11, -2, 0, &callback, &out.watch));
        ROW(-EBADF, umf_loop_import_sync_file(l, fence, 11, INT_MAX, 0, &callback, &out.watch));
        for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
            ROW(-EINVAL, umf_loop_watch(l, &wrong[i], 0, &callback, &out.watch));
            ROW(-EINVAL, umf_loop_watch_many(l, &wrong[i], 1, 0, &many, &out.watch));
            ROW(-EINVAL, umf_loop_watch(l, &wrong[i], UMF_WAIT_PENDING, &callback, &out.watch));
            ROW(-EINVAL, umf_loop_export_eventfd(l, &wrong[i], 0, event, &callback, &out.watch));
        }
        for (uint32_t op = UMF_OP_EQ; op <= UMF_OP_LE; op++) {
            struct umf_condition entry = { fence, 10, op, 0, 0 };
            ROW(-EINVAL, umf_loop_watch(l, &entry, UMF_WAIT_PENDING, &callback, &out.watch));
        }
        for (int bit = 0; bit < 64; bit++) {
            uint64_t flag = UINT64_C(1) << bit;
            if (flag != UMF_LOOP_THREAD)
                ROW(-EINVAL, umf_loop_create(flag, &out.loop));
            ROW(-EINVAL, umf_loop_dispatch(loop, flag));
            if (flag != UMF_WAIT_PENDING) {
                ROW(-EINVAL, umf_loop_watch(l, &good, flag, &callback, &out.watch));
                if (flag != UMF_WAIT_ANY)
                    ROW(-EINVAL, umf_loop_watch_many(l, &good, 1, flag, &many, &out.watch));
                ROW(-EINVAL, umf_loop_export_eventfd(l, &good, flag, event, &callback, &out.watch));
            }
            ROW(-EINVAL,
                umf_loop_export_fence(l, fence, 11, fence, 11, flag, &callback, &out.watch));
            ROW(-EINVAL, umf_loop_import_sync_file(l, fence, 11, -1, flag, &callback, &out.watch));
            if (flag != UMF_TIE_PROCESS)
                ROW(-EINVAL, umf_loop_tie_page(l, page, ends[0], flag, &callback, &out.watch));
        }
    }
    CHECK(threads() == 1); /* none of it started a thread */
    umf_fence_unref(small);
    for (size_t i = 0; i < nameless_count; i++)
        close(nameless[i]);
    close(event);
    close(blocks);
    close(ends[0]);
    close(ends[1]);
}

static int
never_waits(void *data, uint64_t abs_timeout_ns)
{
    (void)data;
    (void)abs_timeout_ns;
    return 0;
}

static void
notifiers(void)
{
    const uint32_t size = sizeof(struct umf_interrupt);
    const struct {
        struct umf_interrupt interrupt;
        int expected;
    } rows[] = {
        { { 0, null_fd, NULL, NULL, NULL }, -EINVAL },
        { { 4, null_fd, NULL, NULL, NULL }, -EINVAL },
        { { size - 1, null_fd, NULL, NULL, NULL }, -EINVAL },
        { { size, -1, NULL, NULL, NULL }, -EINVAL },
        { { size, null_fd, never_waits, NULL, NULL }, -EINVAL },
        { { size, -2, NULL, NULL, NULL }, -EBADF },
        { { size, INT_MAX, NULL, NULL, NULL }, -EBADF },
    };
    const struct umf_interrupt good = { size, null_fd, NULL, NULL, NULL };
    struct umf_notifier *notifier = NULL, *other = NULL;
    struct umf_fence *device;
    OK(umf_fence_create(page, 0, UMF_FENCE_DEVICE, &device));
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        ROW(rows[i].expected, umf_notifier_create(&rows[i].interrupt, 0, &notifier));
    ROW(-EINVAL, umf_notifier_create(NULL, 0, &notifier));
    ROW(-EINVAL, umf_notifier_create(&good, 0, NULL));
    ROW(-EINVAL, umf_notifier_create(&good, 1, &notifier));
    CHECK(!notifier);
    OK(umf_notifier_create(&good, 0, &notifier));
    OK(umf_notifier_create(&good, 0, &other));
    ROW(-EINVAL, umf_fence_set_notifier(NULL, notifier));
    ROW(-EINVAL, umf_fence_set_notifier(device, NULL));
    ROW(-EINVAL, umf_fence_set_notifier(fence, notifier)); /* a fence that no device writes */
    ROW(-EINVAL, umf_page_set_notifier(NULL, notifier));
    ROW(-EINVAL, umf_page_set_notifier(page, NULL));
    ROW(-EINVAL, umf_page_notify(NULL));
    ROW(0, umf_fence_set_notifier(device, notifier));
    ROW(0, umf_fence_set_notifier(device, notifier));
    ROW(-EALREADY, umf_fence_set_notifier(device, other));
    ROW(0, umf_page_set_notifier(page, other)); /* the fence keeps its own */
    ROW(0, umf_page_set_notifier(page, other));
    ROW(-EALREADY, umf_page_set_notifier(page, notifier));
    ROW(-EALREADY, umf_fence_set_notifier(device, other));
    ROW(0, umf_page_notify(page));
    umf_notifier_unref(NULL);
    CHECK(!umf_notifier_ref(NULL));
    umf_notifier_unref(notifier);
    umf_notifier_unref(other);
    umf_fence_unref(device);
}

static void
sizes_of_caps(void)
{
    const uint32_t known = sizeof(struct umf_caps);
    const struct {
        uint32_t size;
        int expected;
    } sizes[] = {
        { 0, -EINVAL },     { 4, -EINVAL },      { known - 1, -EINVAL },
        { known, 0 },       { known + 1, 0 },    { known + 100, 0 },
        { 256, 0 },         { 257, -EINVAL },    { UINT32_MAX, -EINVAL }, /* never set */
    };
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        union {
            struct umf_caps caps;
            unsigned char bytes[256];
        } room;
        memset(room.bytes, 0x5a, sizeof(room.bytes));
        room.caps.size = sizes[i].size;
        ROW(sizes[i].expected, umf_query_caps(&room.caps));
        uint32_t touched = sizes[i].expected == 0 ? sizes[i].size : sizeof(room.caps.size);
        for (uint32_t at = sizes[i].expected == 0 ? known : touched; at < sizeof(room.bytes); at++)
            CHECK(room.bytes[at] == (at < touched ? 0 : 0x5a));
        if (sizes[i].expected == 0) {
            CHECK(room.caps.size == known && room.caps.version == umf_version());
            CHECK(room.caps.max_fences == UMF_PAGE_MAX_FENCES);
            CHECK(room.caps.max_waits == UMF_WAIT_MAX);
        }
    }
    ROW((UMF_VERSION_MAJOR << 16) | (UMF_VERSION_MINOR << 8) | UMF_VERSION_PATCH, umf_version());
}

/* Descriptors that are unrelated to fences. */
static int closed_fd(void) { int fd = dup(null_fd); close(fd); return fd; }
static int minus_two(void) { return -2; }
static int lowest(void) { return INT_MIN; }
static int highest(void) { return INT_MAX; }
static int
pipe_end(void)
{
    int ends[2];
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    close(ends[1]);
    return ends[0];
}
static int dev_null(void) { return open("/dev/null", O_RDWR | O_CLOEXEC); }
static int dev_zero(void) { return open("/dev/zero", O_RDWR | O_CLOEXEC); }
static int event(void) { return eventfd(0, EFD_CLOEXEC); }
static int poll_set(void) { return epoll_create1(EPOLL_CLOEXEC); }
static int timer(void) { return timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC); }
static int unix_socket(void) { return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0); }
static int directory(void) { return open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC); }
static int program(void) { return open("/proc/self/exe", O_RDONLY | O_CLOEXEC); }
static int name_only(void) { return open("/dev/null", O_PATH | O_CLOEXEC); }
static int page_fd(void) { int fd; OK(umf_page_export(page, 0, &fd)); return fd; }
static int
temporary(void)
{
    char path[] = "/tmp/umf-test-XXXXXX";
    int fd = mkostemp(path, O_CLOEXEC);
    CHECK(fd >= 0 && unlink(path) == 0 && ftruncate(fd, 4096) == 0);
    return fd;
}

static void
other_kinds_of_files(void)
{
    static const struct {
        const char *what;
        int (*make)(void);
        int expected;
        int is_page;
    } kinds[] = {
        { "a closed one", closed_fd, -EBADF, 0 },
        { "-2", minus_two, -EBADF, 0 },
        { "INT_MIN", lowest, -EBADF, 0 },
        { "INT_MAX", highest, -EBADF, 0 },
        { "O_PATH, which is open for nothing", name_only, -EBADF, 0 },
        { "a pipe", pipe_end, -EINVAL, 0 },
        { "/dev/null", dev_null, -EINVAL, 0 },
        { "/dev/zero", dev_zero, -EINVAL, 0 },
        { "an eventfd", event, -EINVAL, 0 },
        { "an epoll set", poll_set, -EINVAL, 0 },
        { "a timerfd", timer, -EINVAL, 0 },
        { "a socket", unix_socket, -EINVAL, 0 },
        { "a directory", directory, -EINVAL, 0 },
        { "a program", program, -EINVAL, 0 },
        { "a temporary file", temporary, -EINVAL, 0 },
        { "a page of fences", page_fd, -EINVAL, 1 },
    };
    struct umf_caps caps = { .size = sizeof(caps) };
    OK(umf_query_caps(&caps));

    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        int fd = kinds[i].make(), expected = kinds[i].expected;
        /* A machine that cannot export to any dma-buf says that first. */
        int exported = caps.flags & UMF_CAP_UDMABUF || fd < 0 ? expected : -EOPNOTSUPP;
        uint64_t reader = UMF_DMA_BUF_READ, writer = UMF_DMA_BUF_WRITE;
        if (!kinds[i].is_page)
            ROW(expected, umf_page_import(fd, 0, &out.page));
        ROW(expected, umf_device_create(fd, 0, &out.device));
        ROW(expected, umf_fence_import_sync_file(fence, 11, fd, 0, 0));
        ROW(expected, umf_fence_import_sync_file(fence, 11, fd, 0, FOREVER));
        ROW(expected, umf_fence_attach_sync_file(fence, 11, fd, 0));
        ROW(expected, umf_fence_attach_sync_file(fence, 10, fd, 0));
        ROW(expected, umf_fence_import_dma_buf(fence, 11, fd, reader, 0));
        ROW(expected, umf_fence_import_dma_buf(fence, 11, fd, reader | writer, FOREVER));
        ROW(exported, umf_fence_export_dma_buf(fence, 10, NULL, fd, writer, 0));
        /* Not even after a wait: the fence never reaches 11. */
        ROW(exported, umf_fence_export_dma_buf(fence, 11, NULL, fd, writer, FOREVER));
        if (kinds[i].expected != -EBADF || kinds[i].make == name_only)
            close(fd);
    }
    /* -1 is no descriptor, but has a meaning for one function. */
    ROW(-EBADF, umf_page_import(-1, 0, &out.page));
    ROW(-EBADF, umf_page_import_limited(-1, 0, &(struct umf_page_limits){ .size = 8 }, &out.page));
    ROW(-EINVAL, umf_page_import_limited(null_fd, 0, &(struct umf_page_limits){ .size = 7 },
                                         &out.page));
    ROW(-EBADF, umf_device_create(-1, 0, &out.device));
    ROW(-EBADF, umf_fence_import_dma_buf(fence, 11, -1, UMF_DMA_BUF_READ, 0));
    ROW(-EBADF, umf_fence_export_dma_buf(fence, 10, NULL, -1, UMF_DMA_BUF_READ, 0));
    ROW(-EBADF, umf_fence_attach_sync_file(fence, 11, -1, 0));
    ROW(0, umf_fence_import_sync_file(fence, 10, -1, 0, 0));
    if (!(caps.flags & UMF_CAP_UDMABUF))
        ROW(-EOPNOTSUPP, umf_fence_export_sync_file(fence, 11, NULL, 0, FOREVER, &out.fd));
}

int
main(void)
{
    struct umf_fence *ended;
    watchdog(30);
    null_fd = open("/dev/null", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    int fds_before = open_fds();
    memset(&untouched, 0x5a, sizeof(untouched));
    memcpy(&out, &untouched, sizeof(out));
    OK(umf_page_create(3, 0, &page));
    OK(umf_fence_create(page, 10, 0, &fence));
    OK(umf_fence_submit(fence, 12));
    OK(umf_fence_create(page, 0, 0, &ended));
    free_index = umf_fence_index(ended);
    umf_fence_unref(ended);

    callback = callback_to(&told);
    loop = create_loop(0);
    threaded = create_loop(UMF_LOOP_THREAD);

    null_arguments();
    sockets_that_tell_nothing();
    where_the_graph_cannot_be_written_to();
    watches();
    numbers_out_of_range();
    every_unknown_flag();
    entries_of_a_wait();
    notifiers();
    umf_loop_unref(loop);
    umf_loop_unref(threaded);
    sizes_of_caps();
    other_kinds_of_files();

    umf_fence_unref(fence);
    umf_page_unref(page);
    CHECK(open_fds() == fds_before);
    return 0;
}
