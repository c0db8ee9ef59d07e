/* SPDX-License-Identifier: MIT */
/*
 * A page as bytes, as every holder of its descriptor sees it. The layout is written here once more,
 * by hand, for tests that play a hostile peer, a device, or a process that writes wait records.
 */
#ifndef RAW_PAGE_H
#define RAW_PAGE_H

#include "check.h"

/* Layout version 6: the header, the event count with its log, the wait table, the slots. */
#define PAGE_MAGIC UINT64_C(0x6567617020666d75) /* "umf page" */
#define PAGE_VERSION 6
#define EVENT_COUNT 64
#define EVENT_LOG 128
#define EVENT_LOG_LENGTH 256
#define WAIT_TABLE 2176
#define WAIT_RECORDS_AT (WAIT_TABLE + 32)
#define WAIT_RECORDS 59
#define SLOTS_AT 4096
#define SLOT_SIZE 64

/* The words of a slot: the value is first. */
#define SLOT_PENDING 8
#define SLOT_WAITER_BITS 16
#define SLOT_FUTEX 24
#define SLOT_ERROR 32
#define SLOT_STATE 48
#define SLOT_CREATOR 56

/* A state word, of 64 bits: the counter of the slot's fences, 5 bits kind, 2 bits life. A wait
 * record holds the low half. */
#define STATE_FREE 0
#define STATE_LIVE 2
#define STATE_COUNT(count) ((uint64_t)(count) << 7)

struct page_header {
    uint64_t magic;
    uint32_t version, fence_count;
};

/* Not 0 in the header of a page with timestamps. */
#define HAS_TIMESTAMPS_AT 56

/* What is behind the slots of a page with timestamps: names, then the times of each fence, both
 * from the next memory page on. A fence's: a count, and pairs of words. */
#define TIMES_SIZE 128
#define TIMES_ENTRIES 8

/* A mapping of a page. */
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

#endif
