// SPDX-License-Identifier: MIT
/*
 * Pages: every slot holds a fence of its own, a page means the same to every process that has it, a
 * device can write the values in it, and nothing of it stays behind.
 */
#include "process.h"
#include "raw_page.h"
#include "sleeper.h"

static int
compare_offsets(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static void
every_slot_is_a_fence_of_its_own_and_then_the_page_is_full(uint32_t count)
{
    struct umf_page *page;
    struct umf_fence **fences = calloc(count, sizeof(*fences)), *more;
    uint64_t *offsets = calloc(count, sizeof(*offsets));
    unsigned char *used = calloc(count, 1);
    CHECK(fences && offsets && used);
    OK(umf_page_create(count, 0, &page));
    CHECK(umf_page_fence_count(page) == count);
    struct raw raw = map_raw(page);

    for (uint32_t i = 0; i < count; i++) {
        OK(umf_fence_create(page, i, 0, &fences[i]));
        uint32_t index = umf_fence_index(fences[i]);
        CHECK(index < count && !used[index]++);
        offsets[i] = umf_fence_offset(fences[i]);
        CHECK(offsets[i] % 64 == 0 && offsets[i] + 64 <= raw.length);
    }
    EXPECT(-ENOSPC, umf_fence_create(page, 0, 0, &more));
    /* Checked only now, so that a write to one fence would have been seen in another. */
    for (uint32_t i = 0; i < count; i++) {
        CHECK(umf_fence_value(fences[i]) == i);
        CHECK(memcmp(raw.bytes + offsets[i], &(uint64_t){ i }, 8) == 0);
    }
    qsort(offsets, count, sizeof(*offsets), compare_offsets);
    for (uint32_t i = 1; i < count; i++)
        CHECK(offsets[i] - offsets[i - 1] >= 64);

    /* One slot becomes free: exactly one more fence can be created, in that slot. */
    uint32_t freed = umf_fence_index(fences[count / 2]);
    umf_fence_unref(fences[count / 2]);
    OK(umf_fence_create(page, 7, 0, &fences[count / 2]));
    CHECK(umf_fence_index(fences[count / 2]) == freed && umf_fence_value(fences[count / 2]) == 7);
    EXPECT(-ENOSPC, umf_fence_create(page, 0, 0, &more));

    for (uint32_t i = 0; i < count; i++)
        umf_fence_unref(fences[i]);
    unmap_raw(&raw);
    umf_page_unref(page);
    free(fences);
    free(offsets);
    free(used);
}

static void
open_what_is_sent(int sock)
{
    int fd = recv_fd(sock);
    struct umf_page *page, *again;
    OK(umf_page_import(fd, 0, &page));
    OK(umf_page_import(fd, 0, &again));
    CHECK(page == again);
    close(fd);
    umf_page_unref(again);
    CHECK(umf_page_fence_count(page) == 5);

    struct umf_fence *theirs = recv_fence(sock, page), *mine;
    CHECK(umf_fence_value(theirs) == 3);
    OK(umf_fence_create(page, 100, 0, &mine));
    CHECK(umf_fence_index(mine) != umf_fence_index(theirs));
    tell(sock, umf_fence_index(mine));
    tell(sock, umf_fence_offset(theirs));
    OK(umf_fence_wait(theirs, 4, FOREVER));
    OK(umf_fence_signal(mine, 101));
    OK(umf_fence_wait(theirs, 5, FOREVER));
    umf_fence_unref(theirs);
    umf_fence_unref(mine);
    umf_page_unref(page);
}

static void
a_page_and_an_index_are_the_same_fence_in_another_process(void)
{
    struct umf_page *page;
    struct umf_fence *mine;
    struct peer peer = start_peer(open_what_is_sent);
    OK(umf_page_create(5, 0, &page));
    OK(umf_fence_create(page, 3, 0, &mine));
    send_page(peer.sock, page);
    tell(peer.sock, umf_fence_index(mine));
    struct umf_fence *theirs = recv_fence(peer.sock, page);
    CHECK(hear(peer.sock) == umf_fence_offset(mine));
    CHECK(umf_fence_value(theirs) == 100);
    OK(umf_fence_signal(mine, 4));
    OK(umf_fence_wait(theirs, 101, FOREVER));
    OK(umf_fence_signal(mine, 5));
    end_peer(&peer);
    umf_fence_unref(theirs);
    umf_fence_unref(mine);
    umf_page_unref(page);
}

static void
a_page_that_comes_back_to_its_process_is_the_same_object(void)
{
    struct umf_page *page, *again;
    struct umf_fence *fence, *opened;
    int fd;
    OK(umf_page_create(2, 0, &page));
    OK(umf_page_export(page, 0, &fd));
    OK(umf_page_import(fd, 0, &again));
    CHECK(page == again);
    OK(umf_fence_create(page, 0, 0, &fence));
    OK(umf_fence_open(again, umf_fence_index(fence), 0, &opened));
    CHECK(opened == fence);
    umf_fence_unref(opened);
    umf_fence_unref(fence);
    umf_page_unref(again);
    CHECK(umf_page_ref(page) == page);
    umf_page_unref(page);
    CHECK(umf_page_fence_count(page) == 2);
    umf_page_unref(page);
    close(fd);
}

/* A program keeps the fence alone, and shares it all the same. */
static void
a_fence_leads_to_its_page(void)
{
    struct umf_page *page, *again;
    struct umf_fence *fence, *opened;
    int fd;
    OK(umf_page_create(2, 0, &page));
    OK(umf_fence_create(page, 7, 0, &fence));
    CHECK(umf_fence_page(fence) == page);
    umf_page_unref(page);
    OK(umf_page_export(umf_fence_page(fence), 0, &fd));
    OK(umf_page_import(fd, 0, &again));
    CHECK(umf_fence_page(fence) == again);
    OK(umf_fence_open(again, umf_fence_index(fence), 0, &opened));
    umf_fence_unref(fence);
    umf_page_unref(again);
    page = umf_page_ref(umf_fence_page(opened));
    umf_fence_unref(opened);
    CHECK(umf_page_fence_count(page) == 2);
    umf_page_unref(page);
    close(fd);
}

static void
descriptors_that_come_out_are_closed_on_exec(void)
{
    struct umf_page *page;
    int fd;
    OK(umf_page_create(1, 0, &page));
    OK(umf_page_export(page, 0, &fd));
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    close(fd);
    umf_page_unref(page);
}

static void
a_page_stays_while_a_fence_of_it_does(void)
{
    struct umf_page *page;
    struct umf_fence *fence;
    int fds = open_fds(), maps = mappings();
    OK(umf_page_create(1, 0, &page));
    OK(umf_fence_create(page, 1, 0, &fence));
    umf_page_unref(page);
    OK(umf_fence_signal(fence, 2));
    OK(umf_fence_wait(fence, 2, 0));
    CHECK(umf_fence_value(fence) == 2);
    umf_fence_unref(fence);
    CHECK(open_fds() == fds && mappings() == maps);
}

static void
pages_that_come_and_go_leave_nothing(unsigned cycles)
{
    int fds = 0, maps = 0;
    for (unsigned i = 0; i <= cycles; i++) {
        /* The first rounds may grow the heap for good. */
        if (i == cycles / 10) {
            fds = open_fds();
            maps = mappings();
        }
        struct umf_page *page, *again;
        struct umf_fence *fence, *opened;
        int fd;
        OK(umf_page_create(1 + i % 200, 0, &page));
        OK(umf_page_export(page, 0, &fd));
        OK(umf_fence_create(page, i, 0, &fence));
        OK(umf_page_import(fd, 0, &again));
        close(fd);
        OK(umf_fence_open(again, umf_fence_index(fence), 0, &opened));
        umf_fence_unref(fence);
        umf_page_unref(page);
        CHECK(umf_fence_value(opened) == i);
        umf_page_unref(again);
        umf_fence_unref(opened);
    }
    CHECK(open_fds() == fds && mappings() == maps);
}

static void
the_other_process_gone_the_page_is_still_ours(void)
{
    struct umf_page *page;
    struct umf_fence *fence;
    int fds = open_fds(), maps = mappings();
    OK(umf_page_create(4, 0, &page));
    OK(umf_fence_create(page, 0, 0, &fence));
    for (unsigned i = 1; i <= rounds(200, 10); i++) {
        pid_t pid;
        IN_CHILD(pid, {
            OK(umf_fence_signal(fence, i));
            umf_fence_unref(fence);
            umf_page_unref(page);
        });
        OK(umf_fence_wait(fence, i, FOREVER));
        join_child(pid);
        CHECK(umf_fence_value(fence) == i);
    }
    umf_fence_unref(fence);
    umf_page_unref(page);
    CHECK(open_fds() == fds && mappings() == maps);
}

static void
what_a_device_writes_is_waited_for(void)
{
    struct umf_page *page;
    struct umf_fence *fence, *beside;
    OK(umf_page_create(3, 0, &page));
    OK(umf_fence_create(page, 0, 0, &beside));
    OK(umf_fence_create(page, 0, 0, &fence));
    struct raw raw = map_raw(page);
    struct sleeper sleeper = { .fence = fence, .value = 40 };
    fall_asleep(&sleeper);
    write_raw(&raw, fence, 39);
    OK(umf_fence_notify(fence));
    CHECK(sleeps_on(&sleeper));
    write_raw(&raw, fence, UINT64_C(40) << 32);
    OK(umf_fence_notify(fence));
    EXPECT(0, end_of(&sleeper));
    CHECK(umf_fence_value(fence) == UINT64_C(40) << 32 && umf_fence_value(beside) == 0);
    /* A later wait needs no interrupt. */
    write_raw(&raw, fence, UINT64_MAX);
    OK(umf_fence_wait(fence, UINT64_MAX, FOREVER));
    unmap_raw(&raw);
    umf_fence_unref(fence);
    umf_fence_unref(beside);
    umf_page_unref(page);
}

/* The mapping of the library is the page, at the same offsets, for as long as a fence lives. */
static void
the_memory_of_a_page(void)
{
    struct umf_page *page, *small;
    struct umf_fence *fence;
    void *bytes = NULL, *again = NULL;
    uint64_t size = 0;
    OK(umf_page_create(100, 0, &page));
    OK(umf_fence_create(page, 3, UMF_FENCE_DEVICE, &fence));
    OK(umf_page_get_memory(page, UMF_PAGE_MEMORY_WRITE, &bytes, &size));
    OK(umf_page_get_memory(page, 0, &again, NULL));
    const uint64_t memory_page = (uint64_t)sysconf(_SC_PAGESIZE), offset = umf_fence_offset(fence);
    CHECK(again == bytes && (uintptr_t)bytes % memory_page == 0);
    CHECK(size % memory_page == 0 && size >= 4096 + 100 * 64);
    umf_page_unref(page);
    _Atomic uint64_t *value = (_Atomic uint64_t *)(void *)((char *)bytes + offset);
    CHECK(atomic_load(value) == 3);
    atomic_store(value, 9);
    OK(umf_fence_wait(fence, 9, FOREVER));
    umf_fence_unref(fence);
    OK(umf_page_create(1, 0, &small));
    OK(umf_page_get_memory(small, 0, &bytes, &size));
    /* All of it can be read. */
    for (uint64_t i = 0; i < size; i += 64)
        (void)*(volatile char *)((char *)bytes + i);
    umf_page_unref(small);
}

/* A page that is only looked at has a mapping that cannot be written. */
static void
the_memory_of_an_inspected_page(void)
{
    struct umf_page *page, *inspected;
    struct umf_fence *fence;
    void *bytes = NULL;
    uint64_t size = 7;
    int fd;
    OK(umf_page_create(4, 0, &page));
    OK(umf_fence_create(page, 5, 0, &fence));
    OK(umf_page_export(page, 0, &fd));
    OK(umf_page_import(fd, UMF_PAGE_READ_ONLY, &inspected));
    close(fd);
    EXPECT(-EACCES, umf_page_get_memory(inspected, UMF_PAGE_MEMORY_WRITE, &bytes, &size));
    CHECK(bytes == NULL && size == 7);
    OK(umf_page_get_memory(inspected, 0, &bytes, &size));
    CHECK(*(uint64_t *)(void *)((char *)bytes + umf_fence_offset(fence)) == 5);
    umf_page_unref(inspected);
    umf_fence_unref(fence);
    umf_page_unref(page);
}

int
main(void)
{
    watchdog(30);
    the_memory_of_a_page();
    the_memory_of_an_inspected_page();
    a_page_and_an_index_are_the_same_fence_in_another_process();
    every_slot_is_a_fence_of_its_own_and_then_the_page_is_full(1);
    every_slot_is_a_fence_of_its_own_and_then_the_page_is_full(63);
    every_slot_is_a_fence_of_its_own_and_then_the_page_is_full(65536);
    a_page_that_comes_back_to_its_process_is_the_same_object();
    a_fence_leads_to_its_page();
    descriptors_that_come_out_are_closed_on_exec();
    a_page_stays_while_a_fence_of_it_does();
    pages_that_come_and_go_leave_nothing(rounds(10000, 500));
    the_other_process_gone_the_page_is_still_ours();
    what_a_device_writes_is_waited_for();
    return 0;
}
