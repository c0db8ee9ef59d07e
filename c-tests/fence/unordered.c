// SPDX-License-Identifier: MIT
/*
 * Fences without order: each update and each comparison, what they refuse, and rewinds that take a
 * value away before its waiter runs.
 */
#include "device_memory.h"
#include "process.h"
#include "queue.h"

static struct umf_page *page;

static struct umf_fence *
new_fence(uint64_t flags, uint64_t value)
{
    struct umf_fence *fence;
    OK(umf_fence_create(page, value, UMF_FENCE_UNORDERED | flags, &fence));
    return fence;
}

/* The value before the update. */
static uint64_t
update(struct umf_fence *fence, uint32_t operation, uint64_t operand, uint64_t expected)
{
    uint64_t previous = 12345;
    OK(umf_fence_update(fence, operation, operand, expected, &previous));
    return previous;
}

static void
updates(void)
{
    struct umf_fence *fence = new_fence(0, 7);
    CHECK(update(fence, UMF_UPDATE_EXCHANGE, 3, 0) == 7 && umf_fence_value(fence) == 3);
    CHECK(update(fence, UMF_UPDATE_ADD, 5, 0) == 3 && umf_fence_value(fence) == 8);
    CHECK(update(fence, UMF_UPDATE_SUBTRACT, 9, 0) == 8 && umf_fence_value(fence) == UINT64_MAX);
    CHECK(update(fence, UMF_UPDATE_ADD, 1, 0) == UINT64_MAX && umf_fence_value(fence) == 0);
    CHECK(update(fence, UMF_UPDATE_OR, 0xf0, 0) == 0 && umf_fence_value(fence) == 0xf0);
    CHECK(update(fence, UMF_UPDATE_AND, 0x3c, 0) == 0xf0 && umf_fence_value(fence) == 0x30);
    CHECK(update(fence, UMF_UPDATE_XOR, 0x11, 0) == 0x30 && umf_fence_value(fence) == 0x21);
    CHECK(update(fence, UMF_UPDATE_COMPARE_EXCHANGE, 5, 0x20) == 0x21);
    CHECK(umf_fence_value(fence) == 0x21);
    CHECK(update(fence, UMF_UPDATE_COMPARE_EXCHANGE, 5, 0x21) == 0x21);
    CHECK(umf_fence_value(fence) == 5);
    OK(umf_fence_update(fence, UMF_UPDATE_ADD, 1, 0, NULL));
    OK(umf_fence_signal(fence, 2));
    OK(umf_fence_signal(fence, UINT64_MAX));
    OK(umf_fence_signal(fence, 0));
    CHECK(umf_fence_value(fence) == 0 && umf_fence_pending_value(fence) == 0);
    umf_fence_unref(fence);
}

/* 0 or -ETIME for >=, >, ==, !=, <, <=. */
#define NOT -ETIME
static const struct row {
    uint64_t fence, value, mask;
    uint32_t sign;
    int expected[6];
} rows[] = {
    { 5, 7, 0, 0, { NOT, NOT, NOT, 0, 0, 0 } },
    { 7, 7, 0, 0, { 0, NOT, 0, NOT, NOT, 0 } },
    { 9, 7, 0, 0, { 0, 0, NOT, 0, NOT, NOT } },
    { 0, 0, 0, 0, { 0, NOT, 0, NOT, NOT, 0 } },
    { UINT64_MAX, UINT64_MAX, 0, 0, { 0, NOT, 0, NOT, NOT, 0 } },
    { UINT64_MAX, 0, 0, 0, { 0, 0, NOT, 0, NOT, NOT } },
    { UINT64_MAX, 0, 0, UMF_OP_SIGNED, { NOT, NOT, NOT, 0, 0, 0 } },
    { 0, UINT64_MAX, 0, UMF_OP_SIGNED, { 0, 0, NOT, 0, NOT, NOT } },
    { INT64_MAX, (uint64_t)INT64_MIN, 0, UMF_OP_SIGNED, { 0, 0, NOT, 0, NOT, NOT } },
    { 0x1f5, 0x205, 0xff, 0, { 0, 0, NOT, 0, NOT, NOT } },
};

static void
comparisons(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct umf_fence *fence = new_fence(0, rows[i].fence);
        for (uint32_t op = UMF_OP_GE; op <= UMF_OP_LE; op++) {
            const struct row *row = &rows[i];
            struct umf_condition wait = { fence, row->value, op | row->sign, 0, row->mask };
            uint32_t index = 7;
            EXPECT(rows[i].expected[op], umf_wait(&wait, 1, 0, 0, NULL));
            EXPECT(rows[i].expected[op], umf_wait(&wait, 1, UMF_WAIT_ANY, 0, &index));
        }
        umf_fence_unref(fence);
    }
}

static void
refusals(void)
{
    struct umf_fence *fence = new_fence(0, 7), *ordered, *narrow, *none = NULL;
    struct umf_condition wait = { fence, 9, UMF_OP_GE, 0, 0 };
    uint64_t previous = 12345;
    OK(umf_fence_create(page, 7, 0, &ordered));
    OK(umf_fence_create(page, 7, UMF_FENCE_32BIT, &narrow));
    EXPECT(-EINVAL, umf_fence_create(page, 0, UMF_FENCE_32BIT | UMF_FENCE_UNORDERED, &none));

    /* Ordered operations. */
    EXPECT(-EINVAL, umf_fence_submit(fence, 9));
    EXPECT(-EINVAL, umf_wait(&wait, 1, UMF_WAIT_PENDING, 0, NULL));
    CHECK(umf_fence_pending_value(fence) == 7);

    /* Unordered ones. */
    for (uint32_t op = 0; op <= UMF_UPDATE_XOR + 1; op++) {
        EXPECT(-EINVAL, umf_fence_update(ordered, op, 9, 7, &previous));
        EXPECT(-EINVAL, umf_fence_update(narrow, op, 9, 7, &previous));
    }
    EXPECT(-EINVAL, umf_fence_update(fence, UMF_UPDATE_XOR + 1, 9, 7, &previous));
    EXPECT(-EINVAL, umf_fence_update(NULL, UMF_UPDATE_ADD, 9, 7, &previous));
    wait.op |= UMF_OP_SIGNED;
    wait.mask = 1;
    EXPECT(-EINVAL, umf_wait(&wait, 1, 0, 0, NULL));
    wait = (struct umf_condition){ ordered, 7, UMF_OP_GE | UMF_OP_SIGNED, 0, 0 };
    EXPECT(-EINVAL, umf_wait(&wait, 1, 0, 0, NULL));
    wait.fence = narrow;
    EXPECT(-EINVAL, umf_wait(&wait, 1, 0, 0, NULL));
    CHECK(umf_fence_value(ordered) == 7 && umf_fence_value(narrow) == 7);
    CHECK(umf_fence_value(fence) == 7);

    /* Failed, then ended. */
    OK(umf_fence_set_error(fence, -ENODATA));
    EXPECT(-EIO, umf_fence_update(fence, UMF_UPDATE_ADD, 1, 0, &previous));
    EXPECT(-EIO, umf_fence_signal(fence, 0));
    EXPECT(-EIO, umf_fence_wait(fence, 9, FOREVER));
    OK(umf_fence_wait(fence, 7, 0));
    CHECK(previous == 12345);
    umf_fence_unref(fence);
    umf_fence_unref(ordered);
    umf_fence_unref(narrow);
}

static void
is_never_called(void *data, int result)
{
    (void)data;
    (void)result;
    CHECK(!"called");
}

/* What a watch and a job refuse, as a wait does. */
static void
refusals_without_blocking(void)
{
    struct umf_fence *fence = new_fence(0, 7), *ordered;
    struct umf_condition signed_wait, pending = { fence, 9, UMF_OP_GE, 0, 0 };
    struct umf_signal signal = { fence, 1 };
    struct umf_job job = { .size = sizeof(job), .run = run };
    struct umf_callback callback = { is_never_called, NULL, NULL };
    struct umf_loop *loop;
    struct umf_queue *queue;
    OK(umf_fence_create(page, 7, 0, &ordered));
    OK(umf_loop_create(0, &loop));
    OK(umf_queue_create(loop, 0, &queue));
    signed_wait = (struct umf_condition){ ordered, 7, UMF_OP_GE | UMF_OP_SIGNED, 0, 0 };
    EXPECT(-EINVAL, umf_loop_watch(loop, &pending, UMF_WAIT_PENDING, &callback, NULL));
    EXPECT(-EINVAL, umf_loop_watch(loop, &signed_wait, 0, &callback, NULL));
    EXPECT(-EINVAL, umf_loop_export_eventfd(loop, &signed_wait, 0, -1, NULL, NULL));
    job.waits = &signed_wait;
    job.wait_count = 1;
    EXPECT(-EINVAL, umf_queue_submit(queue, &job, 0));
    /* A job cannot announce the value of an unordered fence, but signal it; not a failed one. */
    job.wait_count = 0;
    job.signals = &signal;
    job.signal_count = 1;
    OK(umf_fence_set_error(fence, -ENODATA));
    EXPECT(-EIO, umf_queue_submit(queue, &job, 0));
    CHECK(umf_fence_value(fence) == 7);
    umf_queue_unref(queue);
    umf_loop_unref(loop);
    umf_fence_unref(fence);
    umf_fence_unref(ordered);
}

/* The creator ends the fence, and has a handle still. */
static void
ended_by_its_creator(void)
{
    struct umf_fence *fence = new_fence(0, 7);
    uint64_t previous = 12345;
    OK(umf_fence_end(fence));
    EXPECT(-ESTALE, umf_fence_signal(fence, 3));
    for (uint32_t op = 0; op <= UMF_UPDATE_XOR; op++)
        EXPECT(-ESTALE, umf_fence_update(fence, op, 9, 7, &previous));
    EXPECT(-EINVAL, umf_fence_update(fence, UMF_UPDATE_XOR + 1, 9, 7, &previous));
    EXPECT(-EINVAL, umf_fence_submit(fence, 9));
    CHECK(previous == 12345 && umf_fence_value(fence) == 7);
    umf_fence_unref(fence);
}

/* Another process has the fence when it ends, and one that it must not signal. */
static void
has_a_fence_that_ends(int sock)
{
    uint64_t previous = 12345;
    struct umf_page *theirs = recv_page(sock), *single = recv_page(sock);
    struct umf_fence *watched = recv_fence(sock, single);
    EXPECT(-EACCES, umf_fence_update(watched, UMF_UPDATE_ADD, 1, 0, &previous));
    EXPECT(-EACCES, umf_fence_signal(watched, 1));
    CHECK(umf_fence_value(watched) == 9 && previous == 12345);
    umf_fence_unref(watched);
    umf_page_unref(single);
    struct umf_fence *opened = recv_fence(sock, theirs);
    CHECK(update(opened, UMF_UPDATE_SUBTRACT, 4, 0) == 7);
    tell(sock, 1);
    hear(sock);
    EXPECT(-ESTALE, umf_fence_update(opened, UMF_UPDATE_ADD, 1, 0, &previous));
    EXPECT(-ESTALE, umf_fence_signal(opened, 4));
    EXPECT(-ESTALE, umf_fence_wait(opened, 9, FOREVER));
    OK(umf_fence_wait(opened, 3, 0));
    CHECK(previous == 12345);
    umf_fence_unref(opened);
    umf_page_unref(theirs);
}

static void
ended(struct peer peer)
{
    struct umf_fence *fence = new_fence(0, 7), *watched;
    struct umf_page *single;
    OK(umf_page_create(1, UMF_PAGE_SINGLE_WRITER, &single));
    OK(umf_fence_create(single, 9, UMF_FENCE_UNORDERED, &watched));
    send_page(peer.sock, page);
    send_page(peer.sock, single);
    tell(peer.sock, umf_fence_index(watched));
    tell(peer.sock, umf_fence_index(fence));
    hear(peer.sock);
    umf_fence_unref(watched);
    umf_page_unref(single);
    CHECK(umf_fence_value(fence) == 3);
    umf_fence_unref(fence);
    tell(peer.sock, 1);
    end_peer(&peer);
}

/* The condition holds only at the last step. */
static void
wakes(uint64_t from, const uint64_t *steps, int count, uint32_t op, uint64_t value)
{
    for (uint64_t flags = 0; flags <= UMF_WAIT_ANY; flags += UMF_WAIT_ANY) {
        struct umf_fence *fence = new_fence(0, from);
        struct umf_condition wait = { fence, value, op, 0, 0 };
        struct sleeper sleeper = { .waits = &wait, .count = 1, .flags = flags };
        fall_asleep(&sleeper);
        for (int i = 0; i < count; i++) {
            CHECK(sleeps_on(&sleeper));
            OK(umf_fence_signal(fence, steps[i]));
        }
        OK(end_of(&sleeper));
        umf_fence_unref(fence);
    }
}

#define WAKES(from, op, value, ...)                                                                \
    wakes(from, (const uint64_t[]){ __VA_ARGS__ },                                                 \
          sizeof((uint64_t[]){ __VA_ARGS__ }) / sizeof(uint64_t), op, value)

static void
every_operator_wakes_from_either_side(void)
{
    const uint64_t least = UINT64_C(1) << 63;
    WAKES(0, UMF_OP_GE, 40, 1, 39, 8, 100);
    WAKES(0, UMF_OP_GT, 40, 40, 0, 41);
    WAKES(0, UMF_OP_EQ, 9, 10, 8, 9);
    WAKES(100, UMF_OP_EQ, 9, 10, 9);
    WAKES(9, UMF_OP_NE, 9, 9, 10);
    WAKES(9, UMF_OP_NE, 9, 8);
    WAKES(0, UMF_OP_NE, 0, UINT64_MAX);
    WAKES(1000, UMF_OP_LT, 1, 32, 64, 1, 0);
    WAKES(9, UMF_OP_LE, 7, 8, UINT64_MAX, 7);
    WAKES(1, UMF_OP_LT | UMF_OP_SIGNED, 0, 2, 0, UINT64_MAX);
    WAKES(least, UMF_OP_GE | UMF_OP_SIGNED, 0, UINT64_MAX, 3);
    WAKES(least - 1, UMF_OP_LT | UMF_OP_SIGNED, 0, least);
    WAKES(UINT64_MAX, UMF_OP_GE | UMF_OP_SIGNED, 0, 0);
    WAKES(UINT64_MAX, UMF_OP_LT, 1, 0);
}

enum { COUNTERS = 4, COUNTS = 1000 };

static void *
counts_down(void *fence)
{
    for (int i = 0; i < COUNTS; i++)
        OK(umf_fence_update(fence, UMF_UPDATE_SUBTRACT, 1, 0, NULL));
    return NULL;
}

static void
threads_count_down_to_zero(void)
{
    struct umf_fence *fence = new_fence(0, (uint64_t)COUNTERS * COUNTS);
    struct umf_condition wait = { fence, 0, UMF_OP_LE, 0, 0 };
    struct sleeper sleeper = { .waits = &wait, .count = 1 };
    pthread_t threads[COUNTERS];
    fall_asleep(&sleeper);
    for (int i = 0; i < COUNTERS; i++)
        CHECK(pthread_create(&threads[i], NULL, counts_down, fence) == 0);
    OK(end_of(&sleeper));
    CHECK(umf_fence_value(fence) == 0);
    for (int i = 0; i < COUNTERS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    umf_fence_unref(fence);
}

/* A job waits for one and stores a lower value to another. */
static void
jobs(void)
{
    struct umf_loop *loop;
    struct umf_queue *queue;
    struct umf_fence *start = new_fence(0, 0), *end = new_fence(0, 9);
    struct work work = { 0 };
    OK(umf_loop_create(UMF_LOOP_THREAD, &loop));
    OK(umf_queue_create(loop, 0, &queue));
    OK(submit(queue, &work, start, 5, end, 4));
    CHECK(umf_fence_value(end) == 9 && work.ran == 0);
    OK(umf_fence_signal(start, 6));
    OK(umf_queue_drain(queue, FOREVER));
    CHECK(work.ran == 1 && umf_fence_value(end) == 4);
    umf_queue_unref(queue);
    umf_loop_unref(loop);
    umf_fence_unref(start);
    umf_fence_unref(end);
}

/* A value that comes while the job is behind another one counts, although it is gone when the job's
 * turn comes. */
static void
a_job_remembers_what_came_before_its_turn(void)
{
    struct umf_loop *loop;
    struct umf_queue *queue;
    struct umf_fence *before = new_fence(0, 0), *start = new_fence(0, 0), *end = new_fence(0, 0);
    struct work first = { 0 }, second = { 0 }, third = { 0 };
    OK(umf_loop_create(UMF_LOOP_THREAD, &loop));
    OK(umf_queue_create(loop, 0, &queue));
    OK(umf_fence_signal(start, 5));
    OK(umf_fence_signal(start, 0));
    OK(submit(queue, &first, before, 1, end, 1));
    OK(submit(queue, &second, start, 5, end, 2));
    OK(umf_fence_signal(start, 7));
    OK(umf_fence_signal(start, 0));
    OK(umf_fence_signal(before, 1));
    OK(umf_queue_drain(queue, FOREVER));
    CHECK(first.ran == 1 && second.ran == 1 && umf_fence_value(end) == 2);
    /* What came before the job was submitted does not count. */
    OK(submit(queue, &third, start, 5, end, 3));
    EXPECT(-ETIME, umf_queue_drain(queue, 0));
    OK(umf_fence_signal(start, 5));
    OK(umf_queue_drain(queue, FOREVER));
    CHECK(third.ran == 1 && umf_fence_value(end) == 3);
    umf_queue_unref(queue);
    umf_loop_unref(loop);
    umf_fence_unref(before);
    umf_fence_unref(start);
    umf_fence_unref(end);
}

static void
a_tool_sees_the_kind(void)
{
    struct umf_fence_info info = { .size = sizeof(info) };
    struct umf_fence *fence = new_fence(UMF_FENCE_LASTING, 9);
    OK(umf_fence_wait(fence, 9, 0));
    OK(umf_page_query_fence(page, umf_fence_index(fence), 0, &info));
    CHECK(info.flags == (UMF_FENCE_UNORDERED | UMF_FENCE_LASTING));
    CHECK(info.value == 9 && info.pending == 9);
    umf_fence_unref(fence);
}

/* What a device writes, up or down, counts once somebody notifies. */
static void
device_writes(uint64_t flags)
{
    struct umf_fence *fence;
    struct device_memory memory;
    create_device_memory(&memory);
    struct umf_mapping mapping = { .size = sizeof(mapping), .value = memory.cpu };
    if (flags)
        fence = new_fence(UMF_FENCE_DEVICE, 9);
    else
        OK(umf_fence_create_in(page, &mapping, UMF_FENCE_UNORDERED, &fence));
    int fd;
    OK(umf_page_export(page, 0, &fd));
    uint8_t *bytes = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(bytes != MAP_FAILED);
    uint64_t *value = (uint64_t *)(void *)(flags ? bytes + umf_fence_offset(fence) : memory.device);
    uint64_t *monitored = (uint64_t *)(void *)(bytes + umf_fence_monitored_offset(fence));
    __atomic_store_n(value, 9, __ATOMIC_SEQ_CST);
    CHECK(umf_fence_value(fence) == 9);

    struct umf_condition wait = { fence, 3, UMF_OP_LT, 0, 0 };
    for (int step = 0; step < 2; step++) {
        struct sleeper sleeper = { .waits = &wait, .count = 1 };
        __atomic_store_n(value, 9, __ATOMIC_SEQ_CST);
        start_sleeper(&sleeper);
        while (__atomic_load_n(monitored, __ATOMIC_SEQ_CST) != 0)
            sched_yield();
        __atomic_store_n(value, 5, __ATOMIC_SEQ_CST);
        OK(umf_page_notify(page));
        __atomic_store_n(value, 2, __ATOMIC_SEQ_CST);
        OK(step == 0 ? umf_page_notify(page) : umf_fence_notify(fence));
        OK(end_of(&sleeper));
    }
    if (flags) {
        OK(umf_fence_signal(fence, 1));
        CHECK(update(fence, UMF_UPDATE_ADD, 1, 0) == 1 && umf_fence_value(fence) == 2);
    } else {
        EXPECT(-EACCES, umf_fence_signal(fence, 1));
        EXPECT(-EACCES, umf_fence_update(fence, UMF_UPDATE_ADD, 1, 0, NULL));
        struct umf_fence *none;
        for (uint64_t other = UMF_FENCE_32BIT; other; other <<= 1) {
            if (other != UMF_FENCE_UNORDERED)
                EXPECT(-EINVAL,
                       umf_fence_create_in(page, &mapping, UMF_FENCE_UNORDERED | other, &none));
        }
    }
    umf_fence_unref(fence);
    CHECK(munmap(bytes, 8192) == 0);
    close(fd);
    unmap_device_memory(&memory);
}

int
main(void)
{
    struct peer peer = start_peer(has_a_fence_that_ends);
    watchdog(50);
    OK(umf_page_create(8, 0, &page));
    updates();
    comparisons();
    refusals();
    refusals_without_blocking();
    ended_by_its_creator();
    ended(peer);
    every_operator_wakes_from_either_side();
    threads_count_down_to_zero();
    jobs();
    a_job_remembers_what_came_before_its_turn();
    device_writes(UMF_FENCE_DEVICE);
    device_writes(0);
    a_tool_sees_the_kind();
    umf_page_unref(page);
    return 0;
}
