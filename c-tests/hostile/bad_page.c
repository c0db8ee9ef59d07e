// SPDX-License-Identifier: MIT
/*
 * An imported descriptor is accepted as a page only if its size is sealed and its header is right.
 * Everything else is refused and leaves nothing behind. The test makes the files by hand, as an
 * attacker would. The first rows show that such files are accepted if nothing is wrong.
 */
#include "raw_page.h"
#include "sleeper.h"

#define HUGE_PAGE (2 << 20)

#define SIZE (F_SEAL_SHRINK | F_SEAL_GROW)
#define MOST UMF_PAGE_MAX_FENCES

static const struct {
    const char *what;
    uint64_t magic;
    uint32_t version, fence_count;
    int64_t length;
    int seals;
    unsigned flags;
    int expected;
} files[] = {
    { "as the library makes it", PAGE_MAGIC, PAGE_VERSION, 4, 8192, SIZE | F_SEAL_SEAL, 0, 0 },
    { "seals that can still be added to", PAGE_MAGIC, PAGE_VERSION, 4, 8192, SIZE, 0, 0 },
    { "cannot be written", PAGE_MAGIC, PAGE_VERSION, 4, 8192, SIZE | F_SEAL_WRITE, 0, 0 },
    { "cannot be written any more", PAGE_MAGIC, PAGE_VERSION, 4, 8192, SIZE | F_SEAL_FUTURE_WRITE,
      0, 0 },
    { "just long enough for one", PAGE_MAGIC, PAGE_VERSION, 1, 4160, SIZE, 0, 0 },
    { "just long enough for four", PAGE_MAGIC, PAGE_VERSION, 4, 4352, SIZE, 0, 0 },
    { "the most fences of all", PAGE_MAGIC, PAGE_VERSION, MOST, SLOTS_AT + INT64_C(64) * MOST, SIZE,
      0, 0 },

    { "no seals", PAGE_MAGIC, PAGE_VERSION, 4, 8192, 0, 0, -EINVAL },
    { "may shrink", PAGE_MAGIC, PAGE_VERSION, 4, 8192, F_SEAL_GROW | F_SEAL_SEAL, 0, -EINVAL },
    { "may grow", PAGE_MAGIC, PAGE_VERSION, 4, 8192, F_SEAL_SHRINK | F_SEAL_SEAL, 0, -EINVAL },
    { "only the seals sealed", PAGE_MAGIC, PAGE_VERSION, 4, 8192, F_SEAL_SEAL, 0, -EINVAL },
    { "huge pages", PAGE_MAGIC, PAGE_VERSION, 4, HUGE_PAGE, SIZE, MFD_HUGETLB, -EINVAL },

    { "empty", 0, 0, 0, 0, SIZE, 0, -EINVAL },
    { "one byte", 0, 0, 0, 1, SIZE, 0, -EINVAL },
    { "a header and nothing else", PAGE_MAGIC, PAGE_VERSION, 1, 64, SIZE, 0, -EINVAL },
    { "no room for one", PAGE_MAGIC, PAGE_VERSION, 1, 4159, SIZE, 0, -EINVAL },
    { "no room for four", PAGE_MAGIC, PAGE_VERSION, 4, 4351, SIZE, 0, -EINVAL },
    { "one more than there is room for", PAGE_MAGIC, PAGE_VERSION, 65, 8192, SIZE, 0, -EINVAL },
    { "no fence", PAGE_MAGIC, PAGE_VERSION, 0, 8192, SIZE, 0, -EINVAL },
    { "one more than the most", PAGE_MAGIC, PAGE_VERSION, MOST + 1,
      SLOTS_AT + INT64_C(64) * (MOST + 1), SIZE, 0, -EINVAL },
    { "2^26 fences, which are 2^32 bytes", PAGE_MAGIC, PAGE_VERSION, UINT32_C(1) << 26, 8192, SIZE,
      0, -EINVAL },
    { "UINT32_MAX fences", PAGE_MAGIC, PAGE_VERSION, UINT32_MAX, 8192, SIZE, 0, -EINVAL },
    { "another magic", PAGE_MAGIC + 1, PAGE_VERSION, 4, 8192, SIZE, 0, -EINVAL },
    { "no magic", 0, PAGE_VERSION, 4, 8192, SIZE, 0, -EINVAL },
    { "layout version 0", PAGE_MAGIC, 0, 4, 8192, SIZE, 0, -EINVAL },
    { "the layout before", PAGE_MAGIC, PAGE_VERSION - 1, 4, 8192, SIZE, 0, -EINVAL },
    { "the layout after", PAGE_MAGIC, PAGE_VERSION + 1, 4, 8192, SIZE, 0, -EINVAL },
    { "layout version UINT32_MAX", PAGE_MAGIC, UINT32_MAX, 4, 8192, SIZE, 0, -EINVAL },
};

/* -1 where the machine cannot make such files. */
static int
make(size_t i)
{
    struct page_header header = { files[i].magic, files[i].version, files[i].fence_count };
    int fd = memfd_create("umf-test", MFD_CLOEXEC | MFD_ALLOW_SEALING | files[i].flags);
    if (fd < 0)
        return -1;
    CHECK(ftruncate(fd, (off_t)files[i].length) == 0);
    /* A file of huge pages cannot be written by write(). Its contents do not matter: it must be
     * refused unread. */
    if (files[i].length >= (int64_t)sizeof(header) && !(files[i].flags & MFD_HUGETLB))
        CHECK(pwrite(fd, &header, sizeof(header), 0) == sizeof(header));
    CHECK(fcntl(fd, F_ADD_SEALS, files[i].seals) == 0);
    return fd;
}

static void
every_file(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        int fd = make(i);
        if (fd < 0) {
            printf("not available: %s\n", files[i].what);
            continue;
        }
        struct umf_page *const untouched = (struct umf_page *)(uintptr_t)0x5a5a5a5a;
        struct umf_page *page = untouched;
        int fds = open_fds(), maps = mappings();
        int got = umf_page_import(fd, 0, &page);
        if (got != files[i].expected) {
            fprintf(stderr, "%s: %d, expected was %d\n", files[i].what, got, files[i].expected);
            exit(1);
        }
        if (got == 0) {
            CHECK(umf_page_fence_count(page) == files[i].fence_count);
            umf_page_unref(page);
        } else {
            CHECK(page == untouched);
        }
        CHECK(open_fds() == fds && mappings() == maps);
        close(fd);
    }
}

/* The times of 4 fences are in the fourth memory page, behind the slots and the names. */
static void
times_must_be_in_the_file(void)
{
    const struct page_header header = { PAGE_MAGIC, PAGE_VERSION, 4 };
    const uint32_t marks[] = { 0, 1, UINT32_MAX };
    for (size_t i = 0; i < ARRAY_SIZE(marks); i++) {
        for (off_t length = 4 * 4096 - 1; length <= 4 * 4096; length++) {
            bool fits = marks[i] == 0 || length == 4 * 4096;
            struct umf_page *page;
            int fd = memfd_create("umf-test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
            CHECK(fd >= 0 && ftruncate(fd, length) == 0);
            CHECK(pwrite(fd, &header, sizeof(header), 0) == sizeof(header));
            CHECK(pwrite(fd, &marks[i], 4, HAS_TIMESTAMPS_AT) == 4);
            CHECK(fcntl(fd, F_ADD_SEALS, SIZE) == 0);
            EXPECT(fits ? 0 : -EINVAL, umf_page_import(fd, 0, &page));
            if (fits) {
                struct umf_fence *fences[4];
                uint64_t time;
                CHECK(umf_page_flags(page) == (marks[i] ? UMF_PAGE_TIMESTAMPS : 0));
                for (int k = 0; k < 4; k++)
                    OK(umf_fence_create(page, 0, 0, &fences[k]));
                OK(umf_fence_signal(fences[3], 1));
                EXPECT(marks[i] ? 0 : -ENOENT, umf_fence_timestamp(fences[3], 1, &time));
                for (int k = 0; k < 4; k++)
                    umf_fence_unref(fences[k]);
                umf_page_unref(page);
            }
            close(fd);
        }
    }
}

/* The sender writes a right header first and a wrong one later: the library reads it once. */
static void
a_header_that_changes_after_the_import_changes_nothing(void)
{
    const struct page_header lie = { PAGE_MAGIC, PAGE_VERSION, UINT32_MAX };
    struct umf_page *page;
    struct umf_fence *fences[4], *fence;
    int fd = make(0);
    OK(umf_page_import(fd, 0, &page));
    CHECK(pwrite(fd, &lie, sizeof(lie), 0) == sizeof(lie));
    CHECK(umf_page_fence_count(page) == files[0].fence_count);
    EXPECT(-ENOENT, umf_fence_open(page, files[0].fence_count, 0, &fence));
    EXPECT(-ENOENT, umf_fence_open(page, UINT32_MAX - 1, 0, &fence));
    for (int i = 0; i < 4; i++)
        OK(umf_fence_create(page, 0, 0, &fences[i]));
    EXPECT(-ENOSPC, umf_fence_create(page, 0, 0, &fence));
    for (int i = 0; i < 4; i++)
        umf_fence_unref(fences[i]);
    umf_page_unref(page);
    close(fd);
}

static void
a_page_that_is_open_for_reading_only_is_refused(void)
{
    struct umf_page *page, *again;
    char path[64];
    int fd;
    OK(umf_page_create(1, 0, &page));
    OK(umf_page_export(page, 0, &fd));
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int read_only = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(read_only >= 0);
    EXPECT(-EACCES, umf_page_import(read_only, 0, &again));
    close(read_only);
    close(fd);
    umf_page_unref(page);
}

/* The limit holds for a page that is open already too, whatever its header says by then. */
static void
a_page_larger_than_allowed(void)
{
    struct umf_page *page = NULL, *again = NULL;
    struct {
        struct umf_page_limits known;
        uint32_t later[4];
    } limits = { .known = { .size = sizeof(limits) }, .later = { 1, 2, 3, 4 } };
    int fd = make(0);
    for (uint32_t most = 0; most <= 5; most++) {
        limits.known.max_fences = most;
        int expected = most == 0 || most >= 4 ? 0 : -EFBIG;
        EXPECT(expected, umf_page_import_limited(fd, 0, &limits.known, &page));
        CHECK(!page == (expected != 0));
        umf_page_unref(page);
        page = NULL;
    }
    OK(umf_page_import(fd, 0, &page));
    struct raw raw = map_raw(page);
    ((struct page_header *)(void *)raw.bytes)->fence_count = 1;
    limits.known.max_fences = 3;
    EXPECT(-EFBIG, umf_page_import_limited(fd, 0, &limits.known, &again));
    limits.known.max_fences = 4;
    OK(umf_page_import_limited(fd, 0, &limits.known, &again));
    CHECK(again == page);
    umf_page_unref(again);
    umf_page_unref(page);
    unmap_raw(&raw);
    close(fd);
}

int
main(void)
{
    watchdog(30);
    every_file();
    a_page_larger_than_allowed();
    times_must_be_in_the_file();
    a_header_that_changes_after_the_import_changes_nothing();
    a_page_that_is_open_for_reading_only_is_refused();
    return 0;
}
