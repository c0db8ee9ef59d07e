// SPDX-License-Identifier: MIT
/*
 * Fences whose value is in a driver's memory, which the library may read and must not write. A
 * process that plays the device writes the value through its own mapping and wakes nobody.
 */
#include "device_memory.h"
#include "process.h"
#include "raw_page.h"
#include "sleeper.h"

#include "watch.h"

#define AT 24 /* the value's offset in the memory */

static struct umf_page *page;
static struct umf_fence *fence;
static struct device_memory memory;

static void
start(uint64_t flags)
{
    create_device_memory(&memory);
    struct umf_mapping mapping = device_memory_at(&memory, AT);
    OK(umf_page_create(4, 0, &page));
    OK(umf_fence_create_in(page, &mapping, flags, &fence));
}

static void
finish(void)
{
    CHECK(memory.releases == 0);
    umf_fence_unref(fence);
    CHECK(memory.releases == 1);
    umf_page_unref(page);
    unmap_device_memory(&memory);
}

static uint64_t
monitored(void)
{
    struct raw raw = map_raw(page);
    uint64_t value = __atomic_load_n(
        (uint64_t *)(void *)(raw.bytes + umf_fence_monitored_offset(fence)), __ATOMIC_SEQ_CST);
    unmap_raw(&raw);
    return value;
}

static void
until_monitored(uint64_t below)
{
    uint64_t end = in_ns(20 * SECOND);
    while (monitored() != below)
        CHECK(now_ns() < end);
}

static void
the_device_writes_and_the_wait_ends(void)
{
    pid_t device;
    start(0);
    CHECK(umf_fence_offset(fence) == UINT64_MAX && umf_fence_value(fence) == 0);
    IN_CHILD(device, for (uint64_t v = 1; v <= 100; v++) {
        until_monitored(v - 1);
        device_writes_at(&memory, AT, v);
    });
    for (uint64_t v = 1; v <= 100; v++)
        OK(umf_fence_wait(fence, v, FOREVER));
    join_child(device);
    CHECK(umf_fence_value(fence) == 100);
    EXPECT(-ETIME, umf_fence_wait(fence, 101, in_ns(3 * MS)));
    finish();
}

static void
it_begins_with_what_is_there(void)
{
    struct umf_fence *other;
    start(0);
    device_writes_at(&memory, 64, 41);
    struct umf_mapping mapping = device_memory_at(&memory, 64);
    OK(umf_fence_create_in(page, &mapping, 0, &other));
    CHECK(umf_fence_value(other) == 41 && umf_fence_pending_value(other) == 41 &&
          umf_fence_value(fence) == 0);
    OK(umf_fence_wait(other, 41, 0));
    umf_fence_unref(other);
    CHECK(memory.releases == 1);
    memory.releases = 0;
    finish();
}

static void
what_was_seen_stays(void)
{
    start(0);
    device_writes_at(&memory, AT, 9);
    OK(umf_fence_wait(fence, 9, 0));
    device_writes_at(&memory, AT, 3); /* a device that was reset */
    OK(umf_fence_wait(fence, 9, 0));
    CHECK(umf_fence_value(fence) == 9);
    finish();
}

static int
does_nothing(void *data)
{
    (void)data;
    return 0;
}

/* The memory may be write-combined or read-only, so the CPU does not signal through the library. */
static void
nobody_else_signals(void)
{
    struct umf_fence *plain;
    struct umf_loop *loop = create_loop(UMF_LOOP_THREAD);
    struct umf_queue *queue;
    struct umf_watch *watch;
    struct told told;
    struct umf_callback callback = callback_to(&told);
    start(0);
    OK(umf_fence_create(page, 0, 0, &plain));
    OK(umf_queue_create(loop, 0, &queue));
    EXPECT(-EACCES, umf_fence_signal(fence, 1));
    EXPECT(-EACCES, umf_fence_import_sync_file(fence, 1, -1, 0, 0));
    EXPECT(-EACCES, umf_loop_export_fence(loop, plain, 1, fence, 1, 0, &callback, &watch));
    EXPECT(-EACCES, umf_loop_import_sync_file(loop, fence, 1, -1, 0, &callback, &watch));
    struct umf_signal signal = { fence, 1 };
    struct umf_job job = {
        .size = sizeof(job), .signal_count = 1, .signals = &signal, .run = does_nothing
    };
    EXPECT(-EACCES, umf_queue_submit(queue, &job, 0));
    CHECK(umf_fence_value(fence) == 0 && umf_fence_pending_value(fence) == 0);
    umf_queue_unref(queue);
    umf_loop_unref(loop);
    umf_fence_unref(plain);
    finish();
}

static void
notify_submit_and_errors_work(void)
{
    struct sleeper sleeper = { .value = 2 };
    int error;
    start(0);
    OK(umf_fence_submit(fence, 5));
    CHECK(umf_fence_pending_value(fence) == 5);
    sleeper.fence = fence;
    fall_asleep(&sleeper);
    device_writes_at(&memory, AT, 2);
    OK(umf_fence_notify(fence));
    OK(end_of(&sleeper));
    sleeper.value = 3;
    fall_asleep(&sleeper);
    OK(umf_fence_set_error(fence, -ENODEV)); /* the device is lost */
    EXPECT(-EIO, end_of(&sleeper));
    OK(umf_fence_error(fence, &error));
    EXPECT(-ENODEV, error);
    OK(umf_fence_wait(fence, 2, 0));
    device_writes_at(&memory, AT, 3);
    OK(umf_fence_wait(fence, 3, 0)); /* a device may still write after the error */
    finish();
}

/* A device's 32-bit sequence numbers wrap around. */
static void
thirty_two_bits_go_round(void)
{
    create_device_memory(&memory);
    uint32_t *value = (uint32_t *)(void *)(memory.device + 12);
    *value = UINT32_MAX - 1;
    value[1] = 0xdeadbeef; /* a neighboring word that must not matter */
    struct umf_mapping mapping = device_memory_at(&memory, 12); /* aligned to 4, not to 8 */
    OK(umf_page_create(4, 0, &page));
    OK(umf_fence_create_in(page, &mapping, UMF_FENCE_32BIT, &fence));
    CHECK(umf_fence_value(fence) == UINT32_MAX - 1);
    EXPECT(-ETIME, umf_fence_wait(fence, 2, 0));
    pid_t device;
    IN_CHILD(device, {
        until_monitored(1);
        __atomic_store_n(value, 2, __ATOMIC_RELEASE);
    });
    OK(umf_fence_wait(fence, 2, FOREVER));
    join_child(device);
    CHECK(umf_fence_value(fence) == 2);
    OK(umf_fence_wait(fence, UINT32_MAX, 0));
    EXPECT(-EINVAL, umf_fence_wait(fence, UINT64_C(1) << 32, 0));
    finish();
}

static void
any_all_and_watches(void)
{
    struct umf_fence *plain;
    struct told told;
    uint32_t index;
    pid_t device;
    start(0);
    OK(umf_fence_create(page, 0, 0, &plain));
    struct umf_condition waits[2] = { { .fence = plain, .value = 1 },
                                      { .fence = fence, .value = 5 } };
    IN_CHILD(device, {
        until_monitored(4);
        device_writes_at(&memory, AT, 5);
    });
    OK(umf_wait(waits, 2, UMF_WAIT_ANY, FOREVER, &index));
    CHECK(index == 1);
    join_child(device);
    OK(umf_fence_signal(plain, 1));
    OK(umf_wait(waits, 2, 0, 0, NULL));
    struct umf_loop *loop = create_loop(UMF_LOOP_THREAD); /* after the fork */
    struct umf_watch *watch = watch_value(loop, fence, 8, &told);
    device_writes_at(&memory, AT, 8);
    until_called(loop, &told, 0);
    umf_watch_unref(watch);
    umf_loop_unref(loop);
    umf_fence_unref(plain);
    finish();
}

/* The graph shows for a fence what the process that opened it knows. */
static void
a_queue_waits_for_it(void)
{
    struct umf_loop *loop = create_loop(UMF_LOOP_THREAD);
    struct umf_queue *queue;
    struct umf_fence *done;
    start(0);
    OK(umf_fence_create(page, 0, 0, &done));
    OK(umf_queue_create(loop, 0, &queue));
    struct umf_condition wait = { .fence = fence, .value = 1 };
    struct umf_signal signal = { done, 1 };
    struct umf_job job = { .size = sizeof(job),
                           .wait_count = 1,
                           .waits = &wait,
                           .signal_count = 1,
                           .signals = &signal,
                           .run = does_nothing };
    OK(umf_queue_submit(queue, &job, 0));
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    uint32_t deadlocks = 7;
    OK(umf_graph_write(null, 0, &deadlocks));
    CHECK(deadlocks == 0);
    close(null);
    EXPECT(-ETIME, umf_fence_wait(done, 1, 0));
    device_writes_at(&memory, AT, 1);
    OK(umf_fence_wait(done, 1, FOREVER));
    umf_queue_unref(queue);
    umf_loop_unref(loop);
    umf_fence_unref(done);
    finish();
}

/* Another process is sent the page and the memory. */
static void
opens_it_elsewhere(int sock)
{
    struct umf_page *theirs = recv_page(sock);
    struct umf_fence *opened, *again;
    uint32_t at = (uint32_t)hear(sock);
    struct device_memory own, more;
    map_device_memory(&own, recv_fd(sock));
    create_device_memory(&more);
    struct umf_mapping mapping = device_memory_at(&own, AT), other = device_memory_at(&more, AT);

    EXPECT(-EOPNOTSUPP, umf_fence_open(theirs, at, 0, &opened));
    OK(umf_fence_open_in(theirs, at, &mapping, 0, &opened));
    CHECK(umf_fence_value(opened) == 1);
    /* The fence is open now, with the memory that it was opened in. */
    OK(umf_fence_open(theirs, at, 0, &again));
    CHECK(again == opened);
    umf_fence_unref(again);
    OK(umf_fence_open_in(theirs, at, &other, 0, &again));
    CHECK(again == opened && more.releases == 1 && own.releases == 0);
    umf_fence_unref(again);

    EXPECT(-EACCES, umf_fence_signal(opened, 9));
    tell(sock, 0);
    OK(umf_fence_wait(opened, 2, FOREVER));
    tell(sock, 0);
    hear(sock);
    /* The fence has ended, and the memory belongs to somebody else. */
    EXPECT(-ESTALE, umf_fence_wait(opened, 3, FOREVER));
    CHECK(umf_fence_value(opened) == 2);
    OK(umf_fence_wait(opened, 2, 0));
    EXPECT(-ENOENT, umf_fence_open_in(theirs, at, &mapping, 0, &again));
    CHECK(own.releases == 0);
    umf_fence_unref(opened);
    CHECK(own.releases == 1);
    umf_page_unref(theirs);
    unmap_device_memory(&own);
    unmap_device_memory(&more);
}

static void
another_process_that_has_the_memory(void)
{
    struct peer peer = start_peer(opens_it_elsewhere);
    start(0);
    device_writes_at(&memory, AT, 1);
    send_page(peer.sock, page);
    tell(peer.sock, umf_fence_index(fence));
    send_fd(peer.sock, memory.fd);
    hear(peer.sock);
    until_monitored(1);
    device_writes_at(&memory, AT, 2);
    hear(peer.sock);
    int fds = open_fds();
    umf_fence_unref(fence);
    CHECK(memory.releases == 1 && open_fds() == fds);
    device_writes_at(&memory, AT, 1000);
    tell(peer.sock, 0);
    end_peer(&peer);
    umf_page_unref(page);
    unmap_device_memory(&memory);
}

/* The memory of a lost device reads all ones. That is no value that was reached. */
static void
a_lost_device_has_reached_nothing(void)
{
    start(UMF_FENCE_ONES_LOST);
    struct sleeper sleeper = { .fence = fence, .value = 3 };
    struct umf_fence *out = (void *)&page;
    struct umf_mapping mapping = device_memory_at(&memory, AT);
    device_writes_at(&memory, AT, 2);
    CHECK(umf_fence_value(fence) == 2);
    start_sleeper(&sleeper);
    device_writes_at(&memory, AT, UINT64_MAX);
    EXPECT(-ETIME, umf_fence_wait(fence, 3, in_ns(20 * MS)));
    EXPECT(-ETIME, umf_fence_wait(fence, UINT64_MAX, 0));
    OK(umf_fence_wait(fence, 2, 0));
    CHECK(umf_fence_value(fence) == 2 && !sleeper.done);
    /* No fence starts there. */
    EXPECT(-EINVAL, umf_fence_create_in(page, &mapping, UMF_FENCE_ONES_LOST, &out));
    EXPECT(-EINVAL, umf_fence_open_in(page, umf_fence_index(fence), &mapping, UMF_FENCE_ONES_LOST,
                                      &out));
    OK(umf_fence_set_error(fence, -ENODEV));
    EXPECT(-EIO, end_of(&sleeper));
    EXPECT(-EIO, umf_fence_wait(fence, 3, FOREVER));
    CHECK(umf_fence_value(fence) == 2);
    finish();

    /* Without the flag it is a value like any other. */
    start(0);
    device_writes_at(&memory, AT, UINT64_MAX);
    OK(umf_fence_wait(fence, UINT64_MAX, 0));
    finish();
    /* A 32-bit value wraps. */
    create_device_memory(&memory);
    mapping = device_memory_at(&memory, AT);
    OK(umf_page_create(2, 0, &page));
    EXPECT(-EINVAL, umf_fence_create_in(page, &mapping, UMF_FENCE_32BIT | UMF_FENCE_ONES_LOST,
                                        &out));
    OK(umf_fence_create_in(page, &mapping, UMF_FENCE_32BIT, &fence));
    EXPECT(-EINVAL, umf_fence_open_in(page, umf_fence_index(fence), &mapping, UMF_FENCE_ONES_LOST,
                                      &out));
    CHECK(out == (void *)&page);
    finish();
}

static void
bad_arguments(void)
{
    struct umf_fence *plain, *out = (void *)&page;
    start(0);
    OK(umf_fence_create(page, 0, 0, &plain));
    struct umf_mapping good = device_memory_at(&memory, 64), bad = good;
    const uint32_t at = umf_fence_index(fence), there = umf_fence_index(plain);
    EXPECT(-EINVAL, umf_fence_create_in(NULL, &good, 0, &out));
    EXPECT(-EINVAL, umf_fence_create_in(page, NULL, 0, &out));
    EXPECT(-EINVAL, umf_fence_create_in(page, &good, 0, NULL));
    EXPECT(-EINVAL, umf_fence_create_in(page, &good, UMF_FENCE_DEVICE, &out));
    EXPECT(-EINVAL, umf_fence_create_in(page, &good, UINT64_MAX, &out));
    EXPECT(-EINVAL, umf_fence_open_in(NULL, at, &good, 0, &out));
    EXPECT(-EINVAL, umf_fence_open_in(page, at, NULL, 0, &out));
    EXPECT(-EINVAL, umf_fence_open_in(page, at, &good, 0, NULL));
    EXPECT(-EINVAL, umf_fence_open_in(page, at, &good, UMF_FENCE_32BIT, &out));
    EXPECT(-EINVAL, umf_fence_open_in(page, there, &good, 0, &out));
    EXPECT(-ENOENT, umf_fence_open_in(page, 3, &good, 0, &out));
    EXPECT(-ENOENT, umf_fence_open_in(page, UINT32_MAX, &good, 0, &out));
    for (int i = 0; i < 6; i++) {
        bad = good;
        switch (i) {
        case 0: bad.size = sizeof(bad) - 1; break;
        case 1: bad.size = 0; break;
        case 2: bad.reserved = 1; break;
        case 3: bad.value = NULL; break;
        case 4: bad.value = memory.cpu + 4; break; /* a 32-bit fence accepts that alignment */
        case 5: bad.value = memory.cpu + 1; break;
        }
        EXPECT(-EINVAL, umf_fence_create_in(page, &bad, 0, &out));
        EXPECT(-EINVAL, umf_fence_open_in(page, at, &bad, 0, &out));
        if (i != 4)
            EXPECT(-EINVAL, umf_fence_create_in(page, &bad, UMF_FENCE_32BIT, &out));
    }
    CHECK(out == (void *)&page && memory.releases == 0);
    umf_fence_unref(plain);

    /* A page that is full. */
    struct umf_fence *all[3];
    for (int i = 0; i < 3; i++)
        OK(umf_fence_create(page, 0, 0, &all[i]));
    EXPECT(-ENOSPC, umf_fence_create_in(page, &good, 0, &out));
    CHECK(out == (void *)&page && memory.releases == 0);
    for (int i = 0; i < 3; i++)
        umf_fence_unref(all[i]);
    finish();
}

/* A dma-buf of the page would be writable. */
static void
a_page_for_one_writer_has_no_dma_buf(void)
{
    struct umf_page *single;
    int fd = 1234;
    int answer = umf_page_create(2, UMF_PAGE_SINGLE_WRITER, &single);
    if (answer == -EOPNOTSUPP) {
        printf("not available: a kernel before 5.1 makes no page for one writer\n");
    } else {
        OK(answer);
        EXPECT(-EACCES, umf_page_export_dma_buf(single, 0, &fd));
        CHECK(fd == 1234);
        umf_page_unref(single);
    }
}

static void
a_page_as_a_dma_buf(void)
{
    int fd = 1234, before;
    OK(umf_page_create(4, 0, &page));
    before = open_fds();
    EXPECT(-EINVAL, umf_page_export_dma_buf(NULL, 0, &fd));
    EXPECT(-EINVAL, umf_page_export_dma_buf(page, 1, &fd));
    EXPECT(-EINVAL, umf_page_export_dma_buf(page, 0, NULL));
    if (access("/dev/udmabuf", R_OK | W_OK) == 0) {
        OK(umf_page_export_dma_buf(page, 0, &fd));
        CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC && open_fds() == before + 1);
        close(fd);
    } else {
        EXPECT(-EOPNOTSUPP, umf_page_export_dma_buf(page, 0, &fd));
        CHECK(fd == 1234);
        printf("not available: /dev/udmabuf. kernel_device_memory has it\n");
    }
    CHECK(open_fds() == before);
    umf_page_unref(page);
}

/* A peer clears the slot of a live fence, so that it looks free. No second handle may come of
 * it, and no memory in use may be released. */
static void
a_peer_clears_the_slot(void)
{
    struct device_memory first, second;
    struct umf_fence *living, *next = NULL;
    create_device_memory(&first);
    create_device_memory(&second);
    OK(umf_page_create(1, 0, &page));
    struct umf_mapping in_first = device_memory_at(&first, 0),
                       in_second = device_memory_at(&second, 0);
    OK(umf_fence_create_in(page, &in_first, 0, &living));
    struct raw raw = map_raw(page);
    memset(raw.bytes + 4096, 0, 64);
    EXPECT(-ENOSPC, umf_fence_create_in(page, &in_second, 0, &next));
    CHECK(!next && second.releases == 0);
    umf_fence_unref(living);
    CHECK(first.releases == 1);
    unmap_raw(&raw);
    umf_page_unref(page);
    unmap_device_memory(&first);
    unmap_device_memory(&second);
}

int
main(void)
{
    int fds = open_fds();
    watchdog(50);
    another_process_that_has_the_memory();
    the_device_writes_and_the_wait_ends();
    it_begins_with_what_is_there();
    what_was_seen_stays();
    nobody_else_signals();
    notify_submit_and_errors_work();
    thirty_two_bits_go_round();
    any_all_and_watches();
    a_queue_waits_for_it();
    a_lost_device_has_reached_nothing();
    bad_arguments();
    a_page_for_one_writer_has_no_dma_buf();
    a_page_as_a_dma_buf();
    a_peer_clears_the_slot();
    CHECK(open_fds() == fds);
    return 0;
}
