// SPDX-License-Identifier: MIT
/*
 * A 32-bit fence beside 64-bit ones in the same page: it wraps around, refuses values that are
 * behind, is written by a device at its own offset, and disturbs no neighbor.
 */
#include "check.h"

#include <sys/mman.h>
#include <sys/stat.h>

int
main(void)
{
    struct umf_page *page;
    struct umf_fence *before, *fence, *after;
    int fd;

    OK(umf_page_create(3, 0, &page));
    OK(umf_fence_create(page, UINT64_MAX - 1, 0, &before));
    OK(umf_fence_create(page, UINT32_MAX - 2, UMF_FENCE_32BIT, &fence));
    OK(umf_fence_create(page, 0, 0, &after));

    /* Across the wrap, by signal. */
    CHECK(umf_fence_value(fence) == UINT32_MAX - 2);
    OK(umf_fence_signal(fence, UINT32_MAX));
    OK(umf_fence_signal(fence, 4));
    CHECK(umf_fence_value(fence) == 4);
    OK(umf_fence_wait(fence, UINT32_MAX, 0));
    OK(umf_fence_wait(fence, 4, 0));
    EXPECT(-ETIME, umf_fence_wait(fence, 5, 0));
    EXPECT(-EINVAL, umf_fence_signal(fence, UINT32_MAX));
    EXPECT(-EINVAL, umf_fence_signal(fence, 3));
    OK(umf_fence_signal(fence, 4));
    EXPECT(-EINVAL, umf_fence_signal(fence, UINT64_C(1) << 32));
    EXPECT(-EINVAL, umf_fence_wait(fence, UINT64_C(1) << 32, 0));
    EXPECT(-EINVAL, umf_fence_submit(fence, UINT64_C(1) << 32));
    EXPECT(-EINVAL, umf_fence_import_sync_file(fence, UINT64_C(1) << 32, -1, 0, 0));
    CHECK(umf_fence_value(fence) == 4);

    /* The pending value wraps around as well. */
    OK(umf_fence_submit(fence, 9));
    CHECK(umf_fence_pending_value(fence) == 9);
    OK(umf_fence_submit(fence, UINT32_MAX));
    CHECK(umf_fence_pending_value(fence) == 9);

    /* A conversion from a kernel fence signals it too. */
    OK(umf_fence_import_sync_file(fence, 6, -1, 0, 0));
    CHECK(umf_fence_value(fence) == 6);
    EXPECT(-EINVAL, umf_fence_import_sync_file(fence, 5, -1, 0, 0));

    /* A device writes four bytes at the fence's offset. */
    struct stat stat;
    OK(umf_page_export(page, 0, &fd));
    CHECK(fstat(fd, &stat) == 0);
    uint8_t *memory = mmap(NULL, (size_t)stat.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(memory != MAP_FAILED);
    CHECK(umf_fence_offset(fence) % 4 == 0);
    uint32_t *value = (uint32_t *)(memory + umf_fence_offset(fence));
    CHECK(__atomic_load_n(value, __ATOMIC_ACQUIRE) == 6);

    pid_t waiter;
    IN_CHILD(waiter, OK(umf_fence_wait(fence, 0x10000, in_ns(20 * SECOND))));
    __atomic_store_n(value, 0x10000, __ATOMIC_RELEASE);
    OK(umf_fence_notify(fence));
    join_child(waiter);

    /* A process that opens it sees its width. A large value is not taken for one that is behind. */
    struct umf_fence *opened;
    uint32_t index = umf_fence_index(fence);
    struct umf_page *again;
    OK(umf_fence_signal(fence, 0x70000000));
    OK(umf_fence_signal(fence, 0xe0000000));
    pid_t other;
    IN_CHILD(other, {
        umf_fence_unref(fence);
        OK(umf_page_import(fd, 0, &again));
        OK(umf_fence_open(again, index, 0, &opened));
        CHECK(umf_fence_value(opened) == 0xe0000000);
        OK(umf_fence_signal(opened, 5));
        EXPECT(-EINVAL, umf_fence_signal(opened, 0xffffffff));
    });
    join_child(other);
    CHECK(umf_fence_value(fence) == 5);

    CHECK(umf_fence_value(before) == UINT64_MAX - 1 && umf_fence_value(after) == 0);
    EXPECT(-EINVAL, umf_fence_create(page, UINT64_C(1) << 32, UMF_FENCE_32BIT, &opened));

    munmap(memory, (size_t)stat.st_size);
    close(fd);
    umf_fence_unref(before);
    umf_fence_unref(fence);
    umf_fence_unref(after);
    umf_page_unref(page);
    return 0;
}
