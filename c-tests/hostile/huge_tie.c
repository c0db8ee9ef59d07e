// SPDX-License-Identifier: MIT
/*
 * A peer makes a page of a million forged fences, which costs it milliseconds, and dies. The loop
 * that tied the page fails them in parts, and serves other pages in between.
 */
#include "process.h"
#include "raw_page.h"
#include "sleeper.h"
#include "watch.h"

/* What the header says. */
#define PART 1024
/* How much the loop may do before it serves another page, in processor time. Before, it failed all
 * fences first, for a second. */
#define SOON (50 * MS)

static uint32_t
slots(void)
{
    return rounds(UMF_PAGE_MAX_FENCES, 4 * PART);
}

/* A page that was never allocated, with a live fence in each slot. */
static int
forge(void)
{
    int fd = memfd_create("umf-test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    size_t length = SLOTS_AT + (size_t)SLOT_SIZE * slots();
    CHECK(fd >= 0 && ftruncate(fd, (off_t)length) == 0);
    char *bytes = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(bytes != MAP_FAILED);
    *(struct page_header *)(void *)bytes =
        (struct page_header){ PAGE_MAGIC, PAGE_VERSION, slots() };
    for (size_t at = SLOTS_AT + SLOT_STATE; at < length; at += SLOT_SIZE)
        *(uint32_t *)(void *)(bytes + at) = 2; /* live */
    CHECK(munmap(bytes, length) == 0);
    CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0);
    return fd;
}

static void
rest(int sock)
{
    hear(sock);
}

static bool
has_failed(const struct raw *raw, uint32_t slot)
{
    const char *at = raw->bytes + SLOTS_AT + (size_t)SLOT_SIZE * slot + SLOT_ERROR;
    return __atomic_load_n((const uint32_t *)(const void *)at, __ATOMIC_RELAXED) == EOWNERDEAD;
}

struct scene {
    struct peer peer;
    struct umf_page *page, *other;
    struct umf_fence *fence;
    struct umf_loop *loop;
    struct umf_watch *tie;
    struct told tied;
    struct raw raw;
};

static void
set_up(struct scene *s, uint64_t mode)
{
    int fd = forge();
    s->peer = start_peer(rest);
    OK(umf_page_import(fd, 0, &s->page));
    close(fd);
    OK(umf_page_create(1, 0, &s->other));
    OK(umf_fence_create(s->other, 0, 0, &s->fence));
    s->loop = create_loop(mode);
    s->raw = map_raw(s->page);
    struct umf_callback callback = callback_to(&s->tied);
    OK(umf_loop_tie_page(s->loop, s->page, s->peer.sock, 0, &callback, &s->tie));
}

static void
tear_down(struct scene *s)
{
    close(s->peer.sock);
    umf_watch_unref(s->tie);
    unmap_raw(&s->raw);
    umf_fence_unref(s->fence);
    umf_page_unref(s->other);
    umf_page_unref(s->page);
}

/* Returns the first slot from `from` on that has not failed. */
static uint32_t
failed_until(const struct raw *raw, uint32_t from)
{
    while (from < slots() && has_failed(raw, from))
        from++;
    return from;
}

static void
a_dispatch_fails_a_part(void)
{
    struct scene s;
    uint32_t done = 0, dispatches = 0;
    set_up(&s, 0);
    kill_child(s.peer.pid);
    while (done < slots()) {
        struct told told;
        bool is_served = done > 0 && dispatches % 64 == 1;
        if (is_served) /* It is met, and so due behind the tie. */
            umf_watch_unref(watch_value(s.loop, s.fence, 0, &told));
        until_due(s.loop);
        OK(umf_loop_dispatch(s.loop, 0));
        if (is_served)
            CHECK(atomic_load(&told.calls) == 1);
        uint32_t until = failed_until(&s.raw, done);
        CHECK(until - done <= PART);
        if (until > 0 && until < slots())
            EXPECT(-EALREADY, umf_watch_cancel(s.tie));
        done = until;
        dispatches++;
    }
    until_called(s.loop, &s.tied, 0);
    printf("%u fences in %u dispatches\n", done, dispatches);
    umf_loop_unref(s.loop);
    tear_down(&s);
}

static void
another_page_is_served(void)
{
    struct scene s;
    int64_t most = 0;
    uint64_t slowest = 0;
    set_up(&s, UMF_LOOP_THREAD);
    kill_child(s.peer.pid);
    for (uint64_t value = 1; atomic_load(&s.tied.calls) == 0; value++) {
        struct told told;
        umf_watch_unref(watch_value(s.loop, s.fence, value, &told));
        const int64_t before = time_of_others();
        uint64_t start = now_ns();
        OK(umf_fence_signal(s.fence, value));
        until_called(s.loop, &told, 0);
        uint64_t took = now_ns() - start;
        const int64_t used = time_of_others() - before;
        most = used > most ? used : most;
        slowest = took > slowest ? took : slowest;
    }
    printf("another page's watch: at most %.1f ms, %.1f ms of processor time\n",
           (double)slowest / 1e6, (double)most / 1e6);
    CHECK(most < (int64_t)SOON || RUNNING_ON_VALGRIND || SANITIZES_THREADS);
    CHECK(failed_until(&s.raw, 0) == slots());
    umf_loop_unref(s.loop);
    tear_down(&s);
}

/* The rest is done, and the callback's data released. */
static void
the_loop_ends_meanwhile(void)
{
    struct scene s;
    set_up(&s, 0);
    kill_child(s.peer.pid);
    while (!has_failed(&s.raw, 0))
        OK(umf_loop_dispatch(s.loop, 0));
    CHECK(failed_until(&s.raw, 0) == PART);
    umf_loop_unref(s.loop);
    CHECK(failed_until(&s.raw, 0) == slots());
    CHECK(atomic_load(&s.tied.calls) == 0 && atomic_load(&s.tied.releases) == 1);
    OK(umf_watch_result(s.tie));
    tear_down(&s);
}

int
main(void)
{
    watchdog(50);
    a_dispatch_fails_a_part();
    another_page_is_served();
    the_loop_ends_meanwhile();
    return 0;
}
