// SPDX-License-Identifier: MIT
/*
 * umf_page_record_waits(): waits that sleep already leave a record and sleep on, later ones leave
 * one as long as it is turned on, and a wait that is woken by its signal ends as ever.
 */
#include "raw_page.h"
#include "sleeper.h"

/* A word of the page's header, which a peer may write too. */
#define HEADER_RECORD_WAITS 60

static struct umf_page *page;
static struct umf_fence *fences[3];

/* How many waits the report names. */
static int
recorded(void)
{
    static char text[8192];
    int count = 0, fd = memfd_create("report", MFD_CLOEXEC);
    CHECK(fd >= 0);
    OK(umf_graph_write(fd, 0, NULL));
    ssize_t length = pread(fd, text, sizeof(text) - 1, 0);
    CHECK(length > 0);
    text[length] = '\0';
    close(fd);
    for (const char *at = text; (at = strstr(at, " waits for ")); at++)
        count++;
    return count;
}

static void
until_recorded(int count)
{
    uint64_t give_up = in_ns(20 * SECOND);
    while (recorded() != count)
        CHECK(now_ns() < give_up);
}

static void
a_wait_that_sleeps_leaves_a_record(struct sleeper sleeper, int records)
{
    fall_asleep(&sleeper);
    EXPECT(0, recorded());
    OK(umf_page_record_waits(page, 1, 0));
    until_recorded(records);
    CHECK(sleeps_on(&sleeper));
    EXPECT(records, recorded());
    OK(umf_page_record_waits(page, 0, 0));
    EXPECT(records, recorded());
    for (size_t i = 0; i < ARRAY_SIZE(fences); i++)
        OK(umf_fence_signal(fences[i], umf_fence_value(fences[i]) + 1));
    OK(end_of(&sleeper));
    EXPECT(0, recorded());
}

static struct umf_condition
next_of(int i)
{
    return (struct umf_condition){ .fence = fences[i], .value = umf_fence_value(fences[i]) + 1 };
}

static void
the_kinds_of_waits(void)
{
    for (int round = 0; round < 3; round++) {
        a_wait_that_sleeps_leaves_a_record(
            (struct sleeper){ .fence = fences[0], .value = umf_fence_value(fences[0]) + 1 }, 1);
        struct umf_condition list[] = { next_of(0), next_of(1), next_of(2) };
        a_wait_that_sleeps_leaves_a_record(
            (struct sleeper){ .waits = list, .count = 3, .flags = UMF_WAIT_ANY }, 3);
        struct umf_condition all[] = { next_of(0), next_of(1), next_of(2) };
        a_wait_that_sleeps_leaves_a_record((struct sleeper){ .waits = all, .count = 3 }, 1);
    }
}

static void
later_waits_leave_a_record_as_long_as_it_is_on(void)
{
    struct sleeper sleeper = { .fence = fences[0], .value = umf_fence_value(fences[0]) + 1 };
    OK(umf_page_record_waits(page, 1, 0));
    fall_asleep(&sleeper);
    EXPECT(1, recorded());
    OK(umf_fence_signal(fences[0], sleeper.value));
    OK(end_of(&sleeper));
    OK(umf_page_record_waits(page, 0, 0));
    sleeper.value++;
    fall_asleep(&sleeper);
    EXPECT(0, recorded());
    OK(umf_fence_signal(fences[0], sleeper.value));
    OK(end_of(&sleeper));
}

/* What a peer can do: waits end as ever, whatever the word is. */
static void
a_peer_sets_the_word(void)
{
    struct raw raw = map_raw(page);
    uint32_t word = 0xffffffff;
    memcpy(raw.bytes + HEADER_RECORD_WAITS, &word, sizeof(word));
    EXPECT(-ETIME, umf_fence_wait(fences[0], UINT64_MAX, in_ns(MS)));
    EXPECT(0, recorded());
    word = 0;
    memcpy(raw.bytes + HEADER_RECORD_WAITS, &word, sizeof(word));
    unmap_raw(&raw);
}

static void
what_is_refused(void)
{
    struct umf_page *seen, *own;
    int fd;
    EXPECT(-EINVAL, umf_page_record_waits(NULL, 1, 0));
    EXPECT(-EINVAL, umf_page_record_waits(page, 2, 0));
    EXPECT(-EINVAL, umf_page_record_waits(page, -1, 0));
    EXPECT(-EINVAL, umf_page_record_waits(page, 1, 1));
    OK(umf_page_export(page, 0, &fd));
    OK(umf_page_import(fd, UMF_PAGE_READ_ONLY, &seen));
    close(fd);
    EXPECT(-EACCES, umf_page_record_waits(seen, 1, 0));
    umf_page_unref(seen);
    OK(umf_page_create(1, UMF_PAGE_SINGLE_WRITER, &own));
    OK(umf_page_record_waits(own, 1, 0));
    umf_page_unref(own);
}

int
main(void)
{
    watchdog(50);
    OK(umf_set_spin(0, 0, 0));
    OK(umf_page_create(ARRAY_SIZE(fences), 0, &page));
    for (size_t i = 0; i < ARRAY_SIZE(fences); i++)
        OK(umf_fence_create(page, 0, 0, &fences[i]));
    the_kinds_of_waits();
    later_waits_leave_a_record_as_long_as_it_is_on();
    a_peer_sets_the_word();
    what_is_refused();
    for (size_t i = 0; i < ARRAY_SIZE(fences); i++)
        umf_fence_unref(fences[i]);
    umf_page_unref(page);
    return 0;
}
