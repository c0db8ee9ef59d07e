// SPDX-License-Identifier: MIT
/*
 * When values were signaled: of the last seven values, in every process, by every way to signal.
 * No time is that of another value or of another fence, whatever a peer writes. A fence of a page
 * without UMF_PAGE_TIMESTAMPS has none.
 */
#include "device_memory.h"
#include "process.h"
#include "queue.h"
#include "raw_page.h"

#define KEPT 7

static struct umf_page *page;
static struct umf_fence *fence;

static void
create(uint64_t page_flags, uint64_t fence_flags, uint64_t value)
{
    OK(umf_page_create(2, page_flags, &page));
    OK(umf_fence_create(page, value, fence_flags, &fence));
}

static void
destroy(void)
{
    umf_fence_unref(fence);
    umf_page_unref(page);
}

static uint64_t
time_of(uint64_t value)
{
    uint64_t time = 0;
    OK(umf_fence_timestamp(fence, value, &time));
    return time;
}

static void
has_none(uint64_t value)
{
    uint64_t time = 12345;
    EXPECT(-ENOENT, umf_fence_timestamp(fence, value, &time));
    CHECK(time == 12345);
}

/* Signals, and checks the time. */
static void
signal_timed(uint64_t value)
{
    uint64_t before = now_ns();
    OK(umf_fence_signal(fence, value));
    uint64_t after = now_ns(), time = time_of(value);
    CHECK(before <= time && time <= after);
}

static void
the_last_seven_values_have_times(void)
{
    create(UMF_PAGE_TIMESTAMPS, 0, 3);
    has_none(3);
    has_none(4);
    uint64_t times[20];
    for (unsigned i = 0; i < ARRAY_SIZE(times); i++) {
        signal_timed(10 * (i + 1));
        times[i] = time_of(10 * (i + 1));
        for (unsigned k = 0; k <= i; k++) {
            if (i - k < KEPT)
                CHECK(time_of(10 * (k + 1)) == times[k]);
            else
                has_none(10 * (k + 1));
        }
        /* What was passed, and what is to come. */
        has_none(10 * (i + 1) - 1);
        has_none(10 * (i + 1) + 1);
        has_none(10 * (i + 2));
    }
    destroy();
}

static void
what_changes_nothing_changes_no_time(void)
{
    create(UMF_PAGE_TIMESTAMPS, 0, 0);
    signal_timed(5);
    uint64_t time = time_of(5);
    for (int i = 0; i < 2 * KEPT; i++) {
        OK(umf_fence_signal(fence, 5));
        EXPECT(-EINVAL, umf_fence_signal(fence, 4));
    }
    OK(umf_fence_submit(fence, 9));
    OK(umf_fence_notify(fence));
    OK(umf_fence_set_error(fence, -EIO));
    EXPECT(-EIO, umf_fence_signal(fence, 6));
    CHECK(time_of(5) == time);
    has_none(4);
    has_none(6);
    has_none(9);
    destroy();
}

static void
fences_of_32_bits_wrap_around(void)
{
    create(UMF_PAGE_TIMESTAMPS, UMF_FENCE_32BIT, UINT32_MAX - 1);
    signal_timed(UINT32_MAX);
    signal_timed(0);
    signal_timed(1);
    CHECK(time_of(UINT32_MAX) <= time_of(0) && time_of(0) <= time_of(1));
    has_none(2);
    uint64_t time;
    EXPECT(-EINVAL, umf_fence_timestamp(fence, UINT64_C(1) << 32, &time));
    destroy();
}

static void
the_greatest_values_have_times(void)
{
    create(UMF_PAGE_TIMESTAMPS, 0, 0);
    signal_timed(UINT64_MAX - 1);
    signal_timed(UINT64_MAX);
    CHECK(time_of(UINT64_MAX - 1) <= time_of(UINT64_MAX));
    destroy();
}

/* Fences that have no times: each with its reason. */
static void
other_fences_have_none(void)
{
    create(0, 0, 0);
    CHECK(umf_page_flags(page) == 0);
    OK(umf_fence_signal(fence, 1));
    has_none(1);
    destroy();

    create(UMF_PAGE_TIMESTAMPS, UMF_FENCE_UNORDERED, 0);
    CHECK(umf_page_flags(page) == UMF_PAGE_TIMESTAMPS);
    OK(umf_fence_signal(fence, 1));
    has_none(1);
    destroy();

    /* A device writes no times. Programs that signal the same fence do. */
    create(UMF_PAGE_TIMESTAMPS, UMF_FENCE_DEVICE, 0);
    struct raw device = map_raw(page);
    write_raw(&device, fence, 1);
    CHECK(umf_fence_value(fence) == 1);
    has_none(1);
    signal_timed(2);
    unmap_raw(&device);
    destroy();

    OK(umf_page_create(1, UMF_PAGE_TIMESTAMPS, &page));
    struct device_memory m;
    create_device_memory(&m);
    struct umf_mapping mapping = device_memory_at(&m, 0);
    OK(umf_fence_create_in(page, &mapping, 0, &fence));
    __atomic_store_n((uint64_t *)(void *)m.device, 1, __ATOMIC_RELEASE);
    CHECK(umf_fence_value(fence) == 1);
    has_none(1);
    destroy();
    unmap_device_memory(&m);
}

static void
bad_input(void)
{
    uint64_t time;
    struct umf_page *none = NULL;
    create(UMF_PAGE_TIMESTAMPS, 0, 0);
    OK(umf_fence_signal(fence, 1));
    KEEPS_ERRNO(-EINVAL, umf_fence_timestamp(NULL, 1, &time));
    KEEPS_ERRNO(-EINVAL, umf_fence_timestamp(fence, 1, NULL));
    EXPECT(-EINVAL, umf_page_create(1, UMF_PAGE_TIMESTAMPS | 1 << 3, &none));
    CHECK(!none);
    destroy();
}

static void
the_next_fence_of_a_slot_has_no_time_of_the_last(void)
{
    OK(umf_page_create(1, UMF_PAGE_TIMESTAMPS, &page));
    for (int i = 0; i < 3; i++) {
        OK(umf_fence_create(page, 0, 0, &fence));
        has_none(1);
        OK(umf_fence_signal(fence, 2));
        has_none(1);
        umf_fence_unref(fence);
        OK(umf_fence_create(page, 0, 0, &fence));
        signal_timed(1);
        OK(umf_fence_signal(fence, 3));
        has_none(2);
        CHECK(time_of(1) <= time_of(3));
        umf_fence_unref(fence);
    }
    umf_page_unref(page);
}

/* A fence that ended keeps its times as long as its value. */
static void
an_ended_fence_has_its_times_until_the_slot_is_used_again(void)
{
    create(UMF_PAGE_TIMESTAMPS, 0, 0);
    signal_timed(1);
    uint64_t time = time_of(1);
    OK(umf_fence_end(fence));
    CHECK(time_of(1) == time);
    destroy();
}

/* The peer signals 1, and asks for the time of 2. */
static void
run_peer(int sock)
{
    page = recv_page(sock);
    CHECK(umf_page_flags(page) == (uint64_t)hear(sock));
    fence = recv_fence(sock, page);
    if (hear(sock))
        OK(umf_fence_signal(fence, 1));
    tell(sock, 0);
    hear(sock);
    tell(sock, time_of(2));
    destroy();
}

static void
every_process_knows_the_times(void)
{
    for (int i = 0; i < 2; i++) {
        uint64_t flags = UMF_PAGE_TIMESTAMPS | (i ? UMF_PAGE_SINGLE_WRITER : 0);
        struct peer peer = start_peer(run_peer);
        if (umf_page_create(2, flags, &page) == -EOPNOTSUPP) {
            printf("not run: pages for one writer\n");
            kill_peer(&peer);
            continue;
        }
        OK(umf_fence_create(page, 0, 0, &fence));
        send_page(peer.sock, page);
        tell(peer.sock, flags);
        tell(peer.sock, umf_fence_index(fence));
        uint64_t before = now_ns();
        tell(peer.sock, i == 0);
        hear(peer.sock);
        if (i == 0)
            CHECK(before <= time_of(1) && time_of(1) <= now_ns());
        signal_timed(2);
        tell(peer.sock, 0);
        CHECK(hear(peer.sock) == time_of(2));
        end_peer(&peer);
        destroy();
    }
}

/* A job, a watch, an import and an export of another fence signal. */
static void
every_way_to_signal_leaves_a_time(void)
{
    create(UMF_PAGE_TIMESTAMPS, 0, 0);
    uint64_t before = now_ns();

    struct umf_loop *loop;
    struct umf_queue *queue;
    struct work work = { 0 };
    OK(umf_loop_create(UMF_LOOP_THREAD, &loop));
    OK(umf_queue_create(loop, 0, &queue));
    OK(submit(queue, &work, NULL, 0, fence, 1));
    OK(umf_queue_drain(queue, FOREVER));
    umf_queue_unref(queue);
    CHECK(before <= time_of(1) && time_of(1) <= now_ns());

    OK(umf_fence_import_sync_file(fence, 2, -1, 0, 0));
    CHECK(time_of(1) <= time_of(2) && time_of(2) <= now_ns());

    struct umf_watch *watch;
    OK(umf_loop_import_sync_file(loop, fence, 3, -1, 0, NULL, &watch));
    OK(umf_fence_wait(fence, 3, FOREVER));
    CHECK(time_of(2) <= time_of(3) && time_of(3) <= now_ns());
    umf_watch_unref(watch);
    umf_loop_unref(loop);
    destroy();
}

static void
traced_signals_leave_times(void)
{
    create(UMF_PAGE_TIMESTAMPS, 0, 0);
    signal_timed(1);
    char path[] = "/tmp/umf-timestamp-XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    OK(umf_trace_start(path, 0));
    signal_timed(2);
    struct umf_fence *untimed;
    struct umf_page *other;
    OK(umf_page_create(1, 0, &other));
    OK(umf_fence_create(other, 0, 0, &untimed));
    OK(umf_fence_signal(untimed, 1));
    umf_trace_stop();
    signal_timed(3);
    OK(umf_fence_signal(untimed, 2));
    umf_fence_unref(untimed);
    umf_page_unref(other);
    close(fd);
    unlink(path);
    destroy();
}

static atomic_bool stopped;

static void *
scribble(void *data)
{
    struct raw *peer = data;
    uint64_t seed = 88172645463325252u;
    size_t words = peer->length / 8;
    /* What is behind the slots: names and times. */
    for (size_t i = 0; !atomic_load(&stopped); i++) {
        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        size_t at = SLOTS_AT / 8 + 2 * SLOT_SIZE / 8 + seed % (words - SLOTS_AT / 8 - 16);
        uint64_t word = i % 3 ? seed : i % 2 ? 0 : UINT64_MAX;
        __atomic_store_n((uint64_t *)(void *)peer->bytes + at, word, __ATOMIC_RELAXED);
    }
    return NULL;
}

/* A peer may write any number: the calls return one that is not in the future, or none. */
static void
a_peer_writes_anything(void)
{
    pthread_t thread;
    create(UMF_PAGE_TIMESTAMPS, 0, 0);
    struct raw peer = map_raw(page);
    CHECK(pthread_create(&thread, NULL, scribble, &peer) == 0);
    for (uint64_t value = 1; value <= rounds(200000, 500); value++) {
        OK(umf_fence_signal(fence, value));
        CHECK(umf_fence_value(fence) == value);
        uint64_t time, asked = value - value % 3;
        int result = umf_fence_timestamp(fence, asked, &time);
        CHECK(result == -ENOENT || (result == 0 && time <= now_ns()));
    }
    atomic_store(&stopped, true);
    CHECK(pthread_join(thread, NULL) == 0);

    /* The times are the last thing in the file. */
    size_t at = peer.length - 4096;
    memset(peer.bytes + at, 0, 4096);
    OK(umf_fence_signal(fence, 1000000));
    CHECK(time_of(1000000) <= now_ns());
    uint64_t future = now_ns() + 1000 * SECOND, check = future ^ 1000000;
    for (size_t i = at + TIMES_ENTRIES; i < at + TIMES_SIZE - 8; i += 16) {
        memcpy(peer.bytes + i, &future, 8);
        memcpy(peer.bytes + i + 8, &check, 8);
    }
    has_none(1000000);
    CHECK(fallocate(peer.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at, 4096) == 0);
    has_none(1000000);
    signal_timed(1000001);
    unmap_raw(&peer);
    destroy();
}

int
main(void)
{
    the_last_seven_values_have_times();
    what_changes_nothing_changes_no_time();
    fences_of_32_bits_wrap_around();
    the_greatest_values_have_times();
    other_fences_have_none();
    bad_input();
    the_next_fence_of_a_slot_has_no_time_of_the_last();
    an_ended_fence_has_its_times_until_the_slot_is_used_again();
    every_process_knows_the_times();
    every_way_to_signal_leaves_a_time();
    traced_signals_leave_times();
    a_peer_writes_anything();
    return 0;
}
