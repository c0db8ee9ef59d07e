// SPDX-License-Identifier: MIT
/* How the cost of one call grows with the number of fences, and what each takes of memory. */
#include "bench.h"

#include <malloc.h>

#define CALLS 1000 /* of a sample */

static struct umf_page *page;
static struct umf_fence **fences;
static struct umf_condition *waits;
static uint64_t *ids;
static struct umf_wait_set *set;
static struct umf_loop *loop;
static unsigned count;
static uint32_t random_state = 1;

static unsigned
any(void)
{
    random_state = random_state * 1664525 + 1013904223;
    return (unsigned)((uint64_t)random_state * count >> 32);
}

static size_t
heap_in_use(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

static void
not_called(void *data, int result)
{
    (void)data;
    (void)result;
}

/* Calls that a sample makes often. Each returns nanoseconds a call. */

static double
signal_one(void *state)
{
    (void)state;
    uint64_t begin = now_ns();
    for (unsigned i = 0; i < CALLS; i++) {
        unsigned which = any();
        OK(umf_fence_signal(fences[which], umf_fence_value(fences[which]) + 1));
    }
    return (double)(now_ns() - begin) / CALLS;
}

static double
check_any(void *state)
{
    (void)state;
    unsigned calls = count < CALLS ? CALLS / count + 1 : 1;
    uint64_t begin = now_ns();
    for (unsigned i = 0; i < calls; i++)
        EXPECT(-ETIME, umf_wait(waits, count, UMF_WAIT_ANY, 0, NULL));
    return (double)(now_ns() - begin) / calls;
}

/* A signal, the wait that reports it, and the next value. */
static double
wait_for_set(void *state)
{
    (void)state;
    uint64_t begin = now_ns();
    for (unsigned i = 0; i < CALLS; i++) {
        struct umf_wait_set_result result;
        uint32_t reported;
        unsigned which = any();
        OK(umf_fence_signal(fences[which], waits[which].value));
        OK(umf_wait_set_wait(set, &result, 1, 0, &reported));
        CHECK(result.user_data == which);
        waits[which].value++;
        OK(umf_wait_set_modify(set, ids[which], &waits[which], 0));
    }
    return (double)(now_ns() - begin) / CALLS;
}

static double
import_page(void *state)
{
    /* Another page than the one that is open: an import of that finds it. */
    int fd = *(int *)state;
    struct umf_page *imported;
    uint64_t begin = now_ns();
    OK(umf_page_import(fd, 0, &imported));
    double taken = (double)(now_ns() - begin);
    umf_page_unref(imported);
    return taken;
}

/* The name of a row, which the report keeps. */
static const char *
row_name(const char *what)
{
    static char names[100][64];
    static unsigned used;
    char *name = names[used++];
    CHECK(used <= ARRAY_SIZE(names));
    snprintf(name, sizeof(names[0]), "%s, %u fences", what, count);
    return name;
}

/* What is reported: nanoseconds of one call, or bytes. */
static void
row(const char *what, const char *unit, double value)
{
    report_count(row_name(what), unit, value, "", 0);
}

static void
median_of(const char *what, double (*sample)(void *state), void *state)
{
    const struct contender contender = {"libumf", sample, state, NULL};
    compare(row_name(what), "ns", (struct rounds){5, 51}, &contender, 1);
}

/* The page is this process's, so that it can be imported once it is closed here. */
static int
other_page(void)
{
    struct umf_page *other;
    int fd;
    OK(umf_page_create(count, 0, &other));
    OK(umf_page_export(other, 0, &fd));
    umf_page_unref(other);
    return fd;
}

static void
with(unsigned fences_of_page)
{
    const struct umf_callback callback = {.call = not_called};
    count = fences_of_page;
    fences = calloc(count, sizeof(*fences));
    waits = calloc(count, sizeof(*waits));
    ids = calloc(count, sizeof(*ids));
    CHECK(fences && waits && ids);
    page = new_page(count);
    size_t heap = heap_in_use();
    uint64_t begin = now_ns();
    for (unsigned i = 0; i < count; i++)
        OK(umf_fence_create(page, 0, 0, &fences[i]));
    row("create", "ns", (double)(now_ns() - begin) / count);
    row("heap of a handle", "bytes", (double)(heap_in_use() - heap) / count);
    median_of("signal", signal_one, NULL);
    for (unsigned i = 0; i < count; i++)
        waits[i] = (struct umf_condition){
            .fence = fences[i], .value = umf_fence_value(fences[i]) + 1};
    median_of("check any", check_any, NULL);

    OK(umf_wait_set_create(0, &set));
    heap = heap_in_use();
    for (unsigned i = 0; i < count; i++)
        OK(umf_wait_set_add(set, &waits[i], 0, i, &ids[i]));
    row("heap of an entry", "bytes", (double)(heap_in_use() - heap) / count);
    median_of("signal, set", wait_for_set, NULL);
    umf_wait_set_unref(set);

    OK(umf_loop_create(0, &loop));
    heap = heap_in_use();
    begin = now_ns();
    for (unsigned i = 0; i < count; i++)
        OK(umf_loop_watch(loop, &waits[i], 0, &callback, NULL));
    row("watch", "ns", (double)(now_ns() - begin) / count);
    row("heap of a watch", "bytes", (double)(heap_in_use() - heap) / count);
    umf_loop_unref(loop);

    int fd = other_page();
    median_of("import", import_page, &fd);
    close(fd);
    for (unsigned i = 0; i < count; i++)
        umf_fence_unref(fences[i]);
    umf_page_unref(page);
    free(fences);
    free(waits);
    free(ids);
}

void
bench_growth(void)
{
    section("How cost grows");
    /* What the first call of a process does. */
    page = new_page(1);
    umf_fence_unref(new_fence(page));
    umf_page_unref(page);
    for (unsigned fences_of_page = 1; fences_of_page <= (quick ? 1000 : 1000000);
         fences_of_page *= 10)
        with(fences_of_page);
}
