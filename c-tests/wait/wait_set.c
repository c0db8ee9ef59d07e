// SPDX-License-Identifier: MIT
/*
 * Wait sets: which entries a wait reports, and when, for every kind of fence; entries that change
 * while threads wait; wrong arguments, forks, and the end of a set during a wait. The same where
 * futex_waitv is forbidden.
 */
#include "notifier.h"
#include "process.h"
#include "sandbox.h"
#include "sleeper.h"

#include <sys/eventfd.h>

#define MANY 1000

static struct umf_wait_set *
new_set(void)
{
    struct umf_wait_set *set;
    OK(umf_wait_set_create(0, &set));
    return set;
}

static struct umf_page *
new_page(uint32_t fences, uint64_t flags)
{
    struct umf_page *page;
    OK(umf_page_create(fences, flags, &page));
    return page;
}

static struct umf_fence *
new_fence(struct umf_page *page, uint64_t flags)
{
    struct umf_fence *fence;
    OK(umf_fence_create(page, 0, flags, &fence));
    return fence;
}

static struct umf_condition
reaches(struct umf_fence *fence, uint64_t value)
{
    return (struct umf_condition){ fence, value, UMF_OP_GE, 0, 0 };
}

static uint64_t
add(struct umf_wait_set *set, struct umf_fence *fence, uint64_t value, uint64_t data)
{
    uint64_t id = 0;
    struct umf_condition wait = reaches(fence, value);
    OK(umf_wait_set_add(set, &wait, 0, data, &id));
    CHECK(id != 0);
    return id;
}

static void
modify(struct umf_wait_set *set, uint64_t id, struct umf_fence *fence, uint64_t value)
{
    struct umf_condition wait = reaches(fence, value);
    OK(umf_wait_set_modify(set, id, &wait, 0));
}

/* Nothing is ready. */
static void
idle(struct umf_wait_set *set)
{
    struct umf_wait_set_result results[4];
    uint32_t count = 99;
    EXPECT(-ETIME, umf_wait_set_wait(set, results, 4, 0, &count));
    CHECK(count == 99);
}

/* One entry is ready. */
static struct umf_wait_set_result
only(struct umf_wait_set *set)
{
    struct umf_wait_set_result results[4];
    uint32_t count = 0;
    OK(umf_wait_set_wait(set, results, 4, FOREVER, &count));
    CHECK(count == 1 && results[0].reserved == 0);
    return results[0];
}

static void
expect_only(struct umf_wait_set *set, uint64_t data, int result)
{
    struct umf_wait_set_result got = only(set);
    CHECK(got.user_data == data);
    EXPECT(result, got.result);
}

static void
a_wait_reports_what_is_met_until_it_is_modified(void)
{
    struct umf_page *page = new_page(MANY, 0);
    struct umf_fence *fences[MANY];
    struct umf_wait_set *set = new_set();
    uint64_t ids[MANY];
    for (uint32_t i = 0; i < MANY; i++) {
        fences[i] = new_fence(page, 0);
        ids[i] = add(set, fences[i], 1, i);
    }
    idle(set);
    OK(umf_fence_signal(fences[700], 1));
    for (int again = 0; again < 3; again++) {
        struct umf_wait_set_result got = only(set);
        CHECK(got.id == ids[700] && got.user_data == 700 && got.result == 0);
    }
    modify(set, ids[700], fences[700], 2);
    idle(set);
    struct set_sleeper w;
    fall_asleep_for_set(&w, set);
    OK(umf_fence_signal(fences[700], 2));
    ends_by_entry(&w, 700, 0);

    /* Backwards too. */
    modify(set, ids[700], fences[700], 3);
    idle(set);
    modify(set, ids[700], fences[700], 1);
    expect_only(set, 700, 0);
    OK(umf_wait_set_remove(set, ids[700]));
    idle(set);
    for (uint32_t i = 0; i < MANY; i++)
        umf_fence_unref(fences[i]);
    umf_wait_set_unref(set);
    umf_page_unref(page);
}

static void
more_results_than_room_are_reported_in_turn(void)
{
    struct umf_page *page = new_page(10, 0);
    struct umf_fence *fences[10];
    struct umf_wait_set *set = new_set();
    unsigned reported[10] = { 0 };
    for (uint32_t i = 0; i < 10; i++) {
        fences[i] = new_fence(page, 0);
        add(set, fences[i], 1, i);
        OK(umf_fence_signal(fences[i], 1));
    }
    for (int round = 0; round < 5; round++) {
        struct umf_wait_set_result results[4];
        uint32_t count;
        OK(umf_wait_set_wait(set, results, 4, 0, &count));
        CHECK(count == 4);
        for (uint32_t i = 0; i < count; i++)
            reported[results[i].user_data]++;
    }
    for (uint32_t i = 0; i < 10; i++) {
        CHECK(reported[i] == 2);
        umf_fence_unref(fences[i]);
    }
    umf_wait_set_unref(set);
    umf_page_unref(page);
}

static void
several_entries_of_a_fence_are_each_reported(void)
{
    struct umf_page *page = new_page(1, 0);
    struct umf_fence *fence = new_fence(page, 0);
    struct umf_wait_set *set = new_set();
    uint64_t first = add(set, fence, 1, 1), second = add(set, fence, 2, 2);
    uint64_t third = add(set, fence, 2, 3);
    OK(umf_fence_signal(fence, 1));
    expect_only(set, 1, 0);
    OK(umf_wait_set_remove(set, first));
    OK(umf_fence_signal(fence, 2));
    struct umf_wait_set_result results[4];
    uint32_t count;
    OK(umf_wait_set_wait(set, results, 4, FOREVER, &count));
    CHECK(count == 2 && results[0].user_data + results[1].user_data == 5);
    OK(umf_wait_set_remove(set, second));
    expect_only(set, 3, 0);
    OK(umf_wait_set_remove(set, third));
    idle(set);
    /* An id is not used again. */
    CHECK(add(set, fence, 9, 0) != third);
    EXPECT(-ENOENT, umf_wait_set_remove(set, third));
    umf_fence_unref(fence);
    umf_wait_set_unref(set);
    umf_page_unref(page);
}

static void
each_kind_of_condition_is_met(void)
{
    struct umf_page *page = new_page(8, 0);
    struct umf_fence *fence = new_fence(page, 0), *narrow = new_fence(page, UMF_FENCE_32BIT);
    struct umf_wait_set *set = new_set();
    struct set_sleeper w;
    uint64_t id;
    struct umf_condition masked = { fence, 4, UMF_OP_NE, 0, 4 };
    OK(umf_fence_signal(fence, 4));
    OK(umf_wait_set_add(set, &masked, 0, 1, &id));
    fall_asleep_for_set(&w, set);
    OK(umf_fence_signal(fence, 8));
    ends_by_entry(&w, 1, 0);
    OK(umf_wait_set_remove(set, id));

    struct umf_condition past = { fence, 7, UMF_OP_EQ, 0, 0 };
    OK(umf_wait_set_add(set, &past, 0, 2, &id));
    expect_only(set, 2, -ERANGE);
    OK(umf_wait_set_remove(set, id));

    struct umf_condition pending = reaches(fence, 20);
    OK(umf_wait_set_add(set, &pending, UMF_WAIT_PENDING, 3, &id));
    fall_asleep_for_set(&w, set);
    OK(umf_fence_submit(fence, 20));
    ends_by_entry(&w, 3, 0);
    OK(umf_wait_set_modify(set, id, &pending, 0));
    idle(set);
    OK(umf_wait_set_remove(set, id));

    id = add(set, narrow, 5, 4);
    fall_asleep_for_set(&w, set);
    OK(umf_fence_signal(narrow, 5));
    ends_by_entry(&w, 4, 0);
    umf_wait_set_unref(set);
    umf_fence_unref(narrow);
    umf_fence_unref(fence);
    umf_page_unref(page);
}

static void
a_fence_without_order_is_reported_once_for_values_that_are_gone(void)
{
    struct umf_page *page = new_page(1, 0);
    struct umf_fence *signal = new_fence(page, UMF_FENCE_UNORDERED);
    struct umf_wait_set *set = new_set();
    struct set_sleeper w;
    uint64_t id = add(set, signal, 5, 1);
    OK(umf_fence_signal(signal, 5));
    expect_only(set, 1, 0);
    expect_only(set, 1, 0);
    /* It held after the last report. */
    OK(umf_fence_signal(signal, 0));
    expect_only(set, 1, 0);
    idle(set);
    /* What was before the entry was modified does not count. */
    OK(umf_fence_signal(signal, 5));
    expect_only(set, 1, 0);
    OK(umf_fence_signal(signal, 0));
    modify(set, id, signal, 5);
    idle(set);
    /* Met between two waits, and not any more. */
    OK(umf_fence_signal(signal, 7));
    OK(umf_fence_signal(signal, 0));
    expect_only(set, 1, 0);
    idle(set);
    fall_asleep_for_set(&w, set);
    OK(umf_fence_signal(signal, 5));
    OK(umf_fence_signal(signal, 0));
    ends_by_entry(&w, 1, 0);
    umf_wait_set_unref(set);
    umf_fence_unref(signal);
    umf_page_unref(page);
}

static void
failures_and_ends_are_reported(void)
{
    struct umf_page *page = new_page(4, 0);
    struct umf_fence *fence = new_fence(page, 0), *other = new_fence(page, 0);
    struct umf_wait_set *set = new_set();
    struct set_sleeper w;
    uint64_t id = add(set, fence, 1, 1), ended;
    fall_asleep_for_set(&w, set);
    OK(umf_fence_set_error(fence, -ENODEV));
    ends_by_entry(&w, 1, -EIO);
    expect_only(set, 1, -EIO);
    OK(umf_wait_set_remove(set, id));

    ended = add(set, other, 1, 2);
    fall_asleep_for_set(&w, set);
    OK(umf_fence_end(other));
    ends_by_entry(&w, 2, -ESTALE);
    OK(umf_wait_set_remove(set, ended));

    /* The set keeps a fence whose creator has no handle any more. */
    struct umf_fence *kept = new_fence(page, 0);
    uint32_t slot = umf_fence_index(kept);
    id = add(set, kept, 1, 3);
    umf_fence_unref(kept);
    idle(set);
    OK(umf_fence_open(page, slot, 0, &kept));
    OK(umf_fence_signal(kept, 1));
    umf_fence_unref(kept);
    expect_only(set, 3, 0);
    OK(umf_wait_set_remove(set, id));
    EXPECT(-ENOENT, umf_fence_open(page, slot, 0, &kept));
    umf_wait_set_unref(set);
    umf_fence_unref(other);
    umf_fence_unref(fence);
    umf_page_unref(page);
}

static void
many_pages_are_waited_for(uint32_t count)
{
    struct umf_page **pages = calloc(count, sizeof(*pages));
    struct umf_fence **fences = calloc(count, sizeof(*fences));
    struct umf_wait_set *set = new_set();
    struct set_sleeper w;
    CHECK(pages && fences);
    for (uint32_t i = 0; i < count; i++) {
        pages[i] = new_page(1, 0);
        fences[i] = new_fence(pages[i], 0);
        add(set, fences[i], 1, i);
    }
    fall_asleep_for_set(&w, set);
    OK(umf_fence_signal(fences[count - 1], 1));
    ends_by_entry(&w, count - 1, 0);
    OK(umf_wait_set_remove(set, w.results[0].id));
    idle(set);
    fall_asleep_for_set(&w, set);
    OK(umf_fence_signal(fences[0], 1));
    ends_by_entry(&w, 0, 0);
    for (uint32_t i = 0; i < count; i++) {
        umf_fence_unref(fences[i]);
        umf_page_unref(pages[i]);
    }
    umf_wait_set_unref(set);
    free(pages);
    free(fences);
}

static void
entries_change_while_threads_wait(void)
{
    struct umf_page *pages[2] = { new_page(4, 0), new_page(4, 0) };
    struct umf_fence *a = new_fence(pages[0], 0), *b = new_fence(pages[1], 0);
    struct umf_fence *met = new_fence(pages[0], 0);
    struct umf_wait_set *set = new_set();
    struct set_sleeper w, second;
    OK(umf_fence_signal(met, 1));
    /* The first entry of an empty set, met already. */
    fall_asleep_for_set(&w, set);
    uint64_t id = add(set, met, 1, 1);
    ends_by_entry(&w, 1, 0);
    OK(umf_wait_set_remove(set, id));
    /* The same in a set with a page. */
    uint64_t first = add(set, a, 1, 2);
    fall_asleep_for_set(&w, set);
    id = add(set, met, 1, 3);
    ends_by_entry(&w, 3, 0);
    OK(umf_wait_set_remove(set, id));
    /* Another page. */
    fall_asleep_for_set(&w, set);
    fall_asleep_for_set(&second, set);
    id = add(set, b, 1, 4);
    OK(umf_fence_signal(b, 1));
    ends_by_entry(&w, 4, 0);
    ends_by_entry(&second, 4, 0);
    /* The last entry of a page is removed beneath a thread that sleeps there. */
    modify(set, id, b, 2);
    fall_asleep_for_set(&w, set);
    OK(umf_wait_set_remove(set, id));
    umf_fence_unref(b);
    umf_page_unref(pages[1]);
    modify(set, first, a, 5);
    OK(umf_fence_signal(a, 5));
    ends_by_entry(&w, 2, 0);
    umf_wait_set_unref(set);
    umf_fence_unref(met);
    umf_fence_unref(a);
    umf_page_unref(pages[0]);
}

static void
more_events_than_the_log_holds(void)
{
    struct umf_page *page = new_page(400, 0);
    struct umf_fence *fences[400];
    struct umf_wait_set *set = new_set();
    for (uint32_t i = 0; i < 400; i++) {
        fences[i] = new_fence(page, 0);
        add(set, fences[i], i < 300 ? 2 : 1, i);
    }
    for (uint32_t i = 0; i < 301; i++) {
        OK(umf_fence_notify(fences[i]));
        OK(umf_fence_signal(fences[i], 1));
    }
    expect_only(set, 300, 0);
    for (uint32_t i = 0; i < 400; i++)
        umf_fence_unref(fences[i]);
    umf_wait_set_unref(set);
    umf_page_unref(page);
}

/* More checks than there are entries end in one check of all. */
static void
one_fence_with_many_events_hides_no_other(void)
{
    struct umf_page *page = new_page(2, 0);
    struct umf_fence *named = new_fence(page, 0), *other = new_fence(page, 0);
    struct umf_wait_set *set = new_set();
    for (uint64_t i = 0; i < 10; i++)
        add(set, named, 1, i);
    add(set, other, 1, 10);
    for (int i = 0; i < 10; i++)
        OK(umf_fence_notify(named));
    OK(umf_fence_signal(other, 1));
    expect_only(set, 10, 0);
    umf_wait_set_unref(set);
    umf_fence_unref(other);
    umf_fence_unref(named);
    umf_page_unref(page);
}

/* A thread that sleeps for one page does not poll. */
static void
a_thread_sleeps_for_one_page(void)
{
    struct umf_page *page = new_page(1, 0);
    struct umf_fence *fence = new_fence(page, 0);
    struct umf_wait_set *set = new_set();
    struct set_sleeper w;
    add(set, fence, 1, 1);
    fall_asleep_for_set(&w, set);
    long before = sleeps_of(w.tid);
    nanosleep(&(struct timespec){ .tv_nsec = 200 * MS }, NULL);
    long slept = sleeps_of(w.tid) - before;
    OK(umf_fence_signal(fence, 1));
    ends_by_entry(&w, 1, 0);
    if (slept > 3) {
        fprintf(stderr, "a thread that had nothing to do slept %ld times\n", slept);
        exit(1);
    }
    umf_wait_set_unref(set);
    umf_fence_unref(fence);
    umf_page_unref(page);
}

/* A device that wakes nobody: a mapping of the page. */
static void
a_fence_that_a_device_writes_is_polled(void)
{
    struct umf_page *page = new_page(2, 0);
    struct umf_fence *device = new_fence(page, UMF_FENCE_DEVICE), *other = new_fence(page, 0);
    struct umf_wait_set *set = new_set();
    struct set_sleeper w;
    void *memory;
    OK(umf_page_get_memory(page, 0, &memory, NULL));
    _Atomic uint64_t *value =
        (_Atomic uint64_t *)((char *)memory + umf_fence_offset(device));
    uint64_t id = add(set, device, 1, 1);
    add(set, other, 1, 2);
    fall_asleep_for_set(&w, set);
    atomic_store(value, 1);
    ends_by_entry(&w, 1, 0);
    /* Announced by its driver. */
    modify(set, id, device, 2);
    idle(set);
    atomic_store(value, 2);
    OK(umf_fence_notify(device));
    expect_only(set, 1, 0);
    modify(set, id, device, 3);
    fall_asleep_for_set(&w, set);
    OK(umf_fence_signal(other, 1));
    ends_by_entry(&w, 2, 0);
    umf_wait_set_unref(set);
    umf_fence_unref(other);
    umf_fence_unref(device);
    umf_page_unref(page);
}

/* A device whose interrupt is readable as an eventfd. */
static void
a_fence_with_a_notifier_is_waited_for(void)
{
    struct umf_page *page = new_page(2, 0);
    struct umf_fence *device = new_fence(page, UMF_FENCE_DEVICE);
    struct umf_wait_set *set = new_set();
    struct set_sleeper w;
    void *memory;
    int interrupt = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    CHECK(interrupt >= 0);
    notify_by(device, interrupt);
    OK(umf_page_get_memory(page, 0, &memory, NULL));
    _Atomic uint64_t *value =
        (_Atomic uint64_t *)((char *)memory + umf_fence_offset(device));
    uint64_t id = add(set, device, 1, 1);
    for (uint64_t next = 1; next <= 3; next++) {
        modify(set, id, device, next);
        fall_asleep_for_set(&w, set);
        atomic_store(value, next);
        CHECK(eventfd_write(interrupt, 1) == 0);
        ends_by_entry(&w, 1, 0);
    }
    OK(umf_wait_set_remove(set, id));
    umf_wait_set_unref(set);
    umf_fence_unref(device);
    umf_page_unref(page);
    close(interrupt);
}

/* The page of another process that alone may write it, and dies. */
static void
a_creator_dies(void)
{
    int fds[2], tie[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, tie) == 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        struct umf_page *mine = new_page(1, UMF_PAGE_SINGLE_WRITER);
        struct umf_fence *fence = new_fence(mine, 0);
        int fd;
        char byte;
        close(tie[0]);
        OK(umf_page_export(mine, 0, &fd));
        send_fd(fds[1], fd);
        CHECK(read(fds[1], &byte, 1) == 1);
        OK(umf_fence_signal(fence, 1));
        CHECK(read(fds[1], &byte, 1) == 1);
        _exit(0);
    }
    close(tie[1]);
    struct umf_page *page;
    struct umf_fence *fence;
    struct umf_loop *loop;
    struct umf_wait_set *set = new_set();
    struct set_sleeper w;
    int fd = recv_fd(fds[0]);
    OK(umf_page_import(fd, 0, &page));
    close(fd);
    OK(umf_fence_open(page, 0, 0, &fence));
    OK(umf_loop_create(UMF_LOOP_THREAD, &loop));
    OK(umf_loop_tie_page(loop, page, tie[0], 0, NULL, NULL));
    uint64_t id = add(set, fence, 1, 1);
    fall_asleep_for_set(&w, set);
    CHECK(write(fds[0], "s", 1) == 1);
    ends_by_entry(&w, 1, 0);
    modify(set, id, fence, 2);
    fall_asleep_for_set(&w, set);
    CHECK(write(fds[0], "d", 1) == 1);
    ends_by_entry(&w, 1, -EOWNERDEAD);
    join_child(pid);
    umf_loop_unref(loop);
    umf_wait_set_unref(set);
    umf_fence_unref(fence);
    umf_page_unref(page);
    close(fds[0]);
    close(fds[1]);
    close(tie[0]);
}

/* Ends a child that has what it cannot free: valgrind would take that for leaks. */
static void
end_child(void)
{
    execl("/bin/true", "true", NULL);
    _exit(1);
}

static void
a_set_of_the_parent_is_stale_in_the_child(void)
{
    struct umf_page *page = new_page(1, 0);
    struct umf_fence *fence = new_fence(page, 0);
    struct umf_wait_set *set = new_set();
    struct umf_condition wait = reaches(fence, 1);
    uint64_t id = add(set, fence, 1, 1), another;
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        struct umf_wait_set_result result;
        uint32_t count;
        EXPECT(-ESTALE, umf_wait_set_add(set, &wait, 0, 0, &another));
        EXPECT(-ESTALE, umf_wait_set_modify(set, id, &wait, 0));
        EXPECT(-ESTALE, umf_wait_set_remove(set, id));
        EXPECT(-ESTALE, umf_wait_set_wait(set, &result, 1, 0, &count));
        umf_wait_set_unref(set);
        /* It can have one of its own. */
        struct umf_wait_set *mine = new_set();
        add(mine, fence, 1, 5);
        OK(umf_fence_signal(fence, 1));
        expect_only(mine, 5, 0);
        umf_wait_set_unref(mine);
        end_child();
    }
    join_child(pid);
    expect_only(set, 1, 0);
    umf_wait_set_unref(set);
    umf_fence_unref(fence);
    umf_page_unref(page);
}

static void
the_last_reference_ends_during_a_wait(void)
{
    struct umf_page *page = new_page(1, 0);
    struct umf_fence *fence = new_fence(page, 0);
    struct umf_wait_set *set = new_set();
    struct set_sleeper w;
    uint32_t slot = umf_fence_index(fence);
    add(set, fence, 1, 1);
    CHECK(umf_wait_set_ref(set) == set);
    umf_wait_set_unref(set);
    fall_asleep_for_set(&w, set);
    umf_wait_set_unref(set);
    OK(umf_fence_signal(fence, 1));
    ends_by_entry(&w, 1, 0);
    umf_fence_unref(fence);
    /* The set, and its reference to the fence, are gone. */
    EXPECT(-ENOENT, umf_fence_open(page, slot, 0, &fence));
    umf_page_unref(page);
    CHECK(umf_wait_set_ref(NULL) == NULL);
    umf_wait_set_unref(NULL);
}

static void
wrong_arguments_change_nothing(void)
{
    struct umf_page *page = new_page(2, 0);
    struct umf_fence *fence = new_fence(page, UMF_FENCE_32BIT), *other = new_fence(page, 0);
    struct umf_wait_set *set = new_set(), *none = NULL;
    struct umf_condition good = reaches(fence, 1), of_other = reaches(other, 1);
    struct umf_condition wrong[] = {
        { NULL, 1, UMF_OP_GE, 0, 0 }, { fence, 1, 6, 0, 0 },
        { fence, 1, UMF_OP_GE, 1, 0 }, { fence, UINT64_C(1) << 32, UMF_OP_GE, 0, 0 },
        { fence, 1, UMF_OP_GE | UMF_OP_SIGNED, 0, 0 },
    };
    struct umf_wait_set_result result = { 7, 7, 7, 7 };
    uint64_t id = add(set, fence, 1, 1), out = 9;
    uint32_t count = 9;
    size_t before = allocated();
    KEEPS_ERRNO(-EINVAL, umf_wait_set_create(1, &none));
    KEEPS_ERRNO(-EINVAL, umf_wait_set_create(0, NULL));
    KEEPS_ERRNO(-EINVAL, umf_wait_set_add(NULL, &good, 0, 0, &out));
    KEEPS_ERRNO(-EINVAL, umf_wait_set_add(set, NULL, 0, 0, &out));
    KEEPS_ERRNO(-EINVAL, umf_wait_set_add(set, &good, 0, 0, NULL));
    KEEPS_ERRNO(-EINVAL, umf_wait_set_add(set, &good, UMF_WAIT_ANY, 0, &out));
    KEEPS_ERRNO(-EINVAL, umf_wait_set_modify(NULL, id, &good, 0));
    KEEPS_ERRNO(-EINVAL, umf_wait_set_modify(set, id, NULL, 0));
    KEEPS_ERRNO(-EINVAL, umf_wait_set_modify(set, id, &good, UMF_WAIT_ANY));
    KEEPS_ERRNO(-EINVAL, umf_wait_set_modify(set, id, &of_other, 0));
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        KEEPS_ERRNO(-EINVAL, umf_wait_set_add(set, &wrong[i], 0, 0, &out));
        KEEPS_ERRNO(-EINVAL, umf_wait_set_modify(set, id, &wrong[i], 0));
    }
    const uint64_t no_ids[] = { 0, id + 1, id + (UINT64_C(1) << 32), UINT64_MAX };
    for (size_t i = 0; i < ARRAY_SIZE(no_ids); i++) {
        KEEPS_ERRNO(-ENOENT, umf_wait_set_modify(set, no_ids[i], &good, 0));
        KEEPS_ERRNO(-ENOENT, umf_wait_set_remove(set, no_ids[i]));
    }
    KEEPS_ERRNO(-EINVAL, umf_wait_set_remove(NULL, id));
    KEEPS_ERRNO(-EINVAL, umf_wait_set_wait(NULL, &result, 1, 0, &count));
    KEEPS_ERRNO(-EINVAL, umf_wait_set_wait(set, NULL, 1, 0, &count));
    KEEPS_ERRNO(-EINVAL, umf_wait_set_wait(set, &result, 0, 0, &count));
    KEEPS_ERRNO(-EINVAL, umf_wait_set_wait(set, &result, 1, 0, NULL));
    KEEPS_ERRNO(-ETIME, umf_wait_set_wait(set, &result, 1, 0, &count));
    KEEPS_ERRNO(-ETIME, umf_wait_set_wait(set, &result, 1, in_ns(1000), &count));
    CHECK(!none && out == 9 && count == 9 && result.id == 7 && result.result == 7);
    CHECK(RUNNING_ON_VALGRIND || allocated() <= before + 200); /* the list of pages */
    OK(umf_fence_signal(fence, 1));
    expect_only(set, 1, 0);
    umf_wait_set_unref(set);
    umf_fence_unref(other);
    umf_fence_unref(fence);
    umf_page_unref(page);
}

/* Threads of a set that take turns, as the workers of a pool. */
static struct umf_wait_set *shared;
static struct umf_fence *work[8];
static uint64_t ids[8];
static _Atomic uint64_t taken[8];
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool is_over;

static void *
take_work(void *unused)
{
    (void)unused;
    while (!atomic_load(&is_over)) {
        struct umf_wait_set_result results[3];
        uint32_t count;
        OK(umf_wait_set_wait(shared, results, 3, FOREVER, &count));
        CHECK(count >= 1 && count <= 3);
        for (uint32_t i = 0; i < count; i++) {
            uint64_t which = results[i].user_data;
            OK(results[i].result);
            if (which == 8)
                return NULL;
            /* Several threads may have it. */
            CHECK(pthread_mutex_lock(&turn) == 0);
            uint64_t next = taken[which] + 1;
            if (umf_fence_value(work[which]) >= next) {
                taken[which] = next;
                modify(shared, ids[which], work[which], next + 1);
            }
            CHECK(pthread_mutex_unlock(&turn) == 0);
        }
    }
    return NULL;
}

static void
threads_of_a_pool_lose_no_signal(void)
{
    struct umf_page *pages[2] = { new_page(5, 0), new_page(5, 0) };
    pthread_t threads[3];
    const uint64_t last = rounds(2000, 50);
    shared = new_set();
    for (uint32_t i = 0; i < 8; i++) {
        work[i] = new_fence(pages[i % 2], 0);
        ids[i] = add(shared, work[i], 1, i);
    }
    struct umf_fence *over = new_fence(pages[0], 0);
    add(shared, over, 1, 8);
    for (int i = 0; i < 3; i++)
        CHECK(pthread_create(&threads[i], NULL, take_work, NULL) == 0);
    for (uint64_t value = 1; value <= last; value++) {
        for (uint32_t i = 0; i < 8; i++)
            OK(umf_fence_signal(work[i], value));
        if (value % 8 == 0) {
            while (atomic_load(&taken[value / 8 % 8]) < value)
                sched_yield();
        }
    }
    for (uint32_t i = 0; i < 8; i++) {
        while (atomic_load(&taken[i]) < last)
            sched_yield();
    }
    OK(umf_fence_signal(over, 1));
    for (int i = 0; i < 3; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    for (uint32_t i = 0; i < 8; i++)
        umf_fence_unref(work[i]);
    umf_fence_unref(over);
    umf_wait_set_unref(shared);
    umf_page_unref(pages[0]);
    umf_page_unref(pages[1]);
}

int
main(int argc, char **argv)
{
    watchdog(50);
    if (argc > 1) {
        if (cannot_be_refused_calls())
            return SKIPPED;
        CHECK(strcmp(argv[1], "sandbox") == 0);
        forbid_futex_waitv(EPERM);
    }
    a_wait_reports_what_is_met_until_it_is_modified();
    more_results_than_room_are_reported_in_turn();
    several_entries_of_a_fence_are_each_reported();
    each_kind_of_condition_is_met();
    a_fence_without_order_is_reported_once_for_values_that_are_gone();
    failures_and_ends_are_reported();
    many_pages_are_waited_for(3);
    many_pages_are_waited_for(140);
    entries_change_while_threads_wait();
    more_events_than_the_log_holds();
    one_fence_with_many_events_hides_no_other();
    a_thread_sleeps_for_one_page();
    a_fence_that_a_device_writes_is_polled();
    a_fence_with_a_notifier_is_waited_for();
    a_creator_dies();
    a_set_of_the_parent_is_stale_in_the_child();
    the_last_reference_ends_during_a_wait();
    wrong_arguments_change_nothing();
    threads_of_a_pool_lose_no_signal();
    return 0;
}
