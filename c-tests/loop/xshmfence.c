// SPDX-License-Identifier: MIT
/*
 * Fences that X11 clients and the X server share, against the real libxshmfence: both directions,
 * in one process and in two, many on one thread, and what ends a conversion early. The same in a
 * sandbox that forbids futex_waitv.
 */
#include "process.h"
#include "sandbox.h"
#include "sleeper.h"
#include "watch.h"

#ifdef HAVE_XSHMFENCE
#include <X11/xshmfence.h>

static uint64_t mode;
static struct umf_page *page;

/* An xshmfence, as X11 maps it, and its file. */
struct shared {
    int fd;
    struct xshmfence *x;
};

static struct shared
new_shared(void)
{
    struct shared s = { .fd = xshmfence_alloc_shm() };
    CHECK(s.fd >= 0 && (s.x = xshmfence_map_shm(s.fd)));
    return s;
}

static void
end_shared(struct shared *s)
{
    xshmfence_unmap_shm(s->x);
    close(s->fd);
}

static struct umf_fence *
fence_at(uint64_t value)
{
    struct umf_fence *fence;
    OK(umf_fence_create(page, value, 0, &fence));
    return fence;
}

static struct umf_watch *
import(struct umf_loop *loop, struct umf_fence *fence, uint64_t value, int fd, struct told *told)
{
    struct umf_callback callback = callback_to(told);
    struct umf_watch *watch;
    KEEPS_ERRNO(0, umf_loop_import_xshmfence(loop, fence, value, fd, 0, &callback, &watch));
    return watch;
}

static struct umf_watch *
export(struct umf_loop *loop, struct umf_fence *fence, uint64_t value, int fd, struct told *told)
{
    struct umf_callback callback = callback_to(told);
    struct umf_watch *watch;
    KEEPS_ERRNO(0, umf_loop_export_xshmfence(loop, fence, value, fd, 0, &callback, &watch));
    return watch;
}

static void
a_trigger_signals_the_value(struct umf_loop *loop)
{
    struct shared s = new_shared();
    struct umf_fence *fence = fence_at(0);
    struct told told;
    for (uint64_t value = 1; value <= 5; value++) {
        xshmfence_reset(s.x);
        struct umf_watch *watch = import(loop, fence, value, s.fd, &told);
        if (value % 2)
            settle(loop, page);
        CHECK(told.calls == 0 && umf_fence_value(fence) == value - 1);
        EXPECT(-ETIME, umf_watch_result(watch));
        CHECK(xshmfence_trigger(s.x) == 0);
        until_called(loop, &told, 0);
        OK(outcome_of(loop, watch));
        CHECK(umf_fence_value(fence) == value && xshmfence_query(s.x));
    }
    /* One that is triggered already, and twice. */
    struct umf_watch *watch = import(loop, fence, 6, s.fd, &told);
    until_called(loop, &told, 0);
    OK(outcome_of(loop, watch));
    CHECK(umf_fence_value(fence) == 6 && xshmfence_trigger(s.x) == 0);
    end_shared(&s);
    umf_fence_unref(fence);
}

static void
a_reached_value_triggers(struct umf_loop *loop)
{
    struct shared s = new_shared();
    struct umf_fence *fence = fence_at(0);
    struct told told;
    for (uint64_t value = 1; value <= 5; value++) {
        xshmfence_reset(s.x);
        struct umf_watch *watch = export(loop, fence, value, s.fd, &told);
        settle(loop, page);
        CHECK(!xshmfence_query(s.x) && told.calls == 0);
        OK(umf_fence_signal(fence, value));
        until_called(loop, &told, 0);
        OK(outcome_of(loop, watch));
        CHECK(xshmfence_query(s.x) && xshmfence_await(s.x) == 0);
    }
    end_shared(&s);
    umf_fence_unref(fence);
}

/* An X server that waits for the client's fences and triggers its own, each in its turn. */
enum { FRAMES = 200 };

static void
be_a_server(int sock)
{
    int fds[2];
    fds[0] = recv_fd(sock);
    fds[1] = recv_fd(sock);
    struct xshmfence *ready = xshmfence_map_shm(fds[0]), *idle = xshmfence_map_shm(fds[1]);
    const unsigned frames = (unsigned)hear(sock);
    CHECK(ready && idle);
    for (unsigned i = 0; i < frames; i++) {
        CHECK(xshmfence_await(ready) == 0);
        xshmfence_reset(ready);
        tell(sock, i);
        CHECK(xshmfence_trigger(idle) == 0);
        hear(sock); /* the client has seen it, and reset it */
    }
    xshmfence_unmap_shm(ready);
    xshmfence_unmap_shm(idle);
    close(fds[0]);
    close(fds[1]);
}

static void
frames_go_to_a_server_and_back(struct umf_loop *loop, struct peer *server)
{
    struct shared ready = new_shared(), idle = new_shared();
    struct umf_fence *work = fence_at(0), *released = fence_at(0);
    struct told told[2];
    const unsigned frames = rounds(FRAMES, 20);
    send_fd(server->sock, ready.fd);
    send_fd(server->sock, idle.fd);
    tell(server->sock, frames);
    for (unsigned i = 0; i < frames; i++) {
        struct umf_watch *exporting = export(loop, work, i + 1, ready.fd, &told[0]);
        struct umf_watch *importing = import(loop, released, i + 1, idle.fd, &told[1]);
        OK(umf_fence_signal(work, i + 1));
        OK(outcome_of(loop, exporting));
        EXPECT(i, hear(server->sock));
        OK(outcome_of(loop, importing));
        until_called(loop, &told[0], 0);
        until_called(loop, &told[1], 0);
        CHECK(umf_fence_value(released) == i + 1);
        xshmfence_reset(idle.x);
        tell(server->sock, i);
    }
    end_peer(server);
    end_shared(&ready);
    end_shared(&idle);
    umf_fence_unref(work);
    umf_fence_unref(released);
}

/* 300 fences need three threads: no descriptors, and no thread for each. The same threads serve the
 * next fences, and nothing stays mapped. */
enum { MANY = 300 };

static void
serve_many(struct umf_loop *loop, unsigned count, int threads_then)
{
    static struct shared all[MANY];
    static struct umf_watch *watches[MANY];
    static struct told told[MANY];
    struct umf_fence *fences[2] = { fence_at(0), fence_at(0) };
    for (unsigned i = 0; i < count; i++)
        all[i] = new_shared();
    int fds = open_fds();
    for (unsigned i = 0; i < count; i++)
        watches[i] = import(loop, fences[i % 2], i + 1, all[i].fd, &told[i]);
    CHECK(open_fds() == fds);
    until_threads(threads_then);
    until_loop_sleeps();
    for (unsigned i = 0; i < count; i++) {
        CHECK(told[i].calls == 0);
        if (i % 3 == 0) {
            OK(umf_watch_cancel(watches[i]));
            EXPECT(1, told[i].releases);
        } else {
            CHECK(xshmfence_trigger(all[i].x) == 0);
            until_called(loop, &told[i], 0);
            CHECK(umf_fence_value(fences[i % 2]) == i + 1);
        }
    }
    for (unsigned i = 0; i < count; i++) {
        EXPECT(i % 3 ? 0 : -ECANCELED, outcome_of(loop, watches[i]));
        end_shared(&all[i]);
    }
    umf_fence_unref(fences[0]);
    umf_fence_unref(fences[1]);
}

static void
many_share_a_thread(void)
{
    const unsigned count = rounds(MANY, 140), threads_needed = (count + 126) / 127;
    until_threads(1);
    struct umf_loop *loop = create_loop(mode);
    int threads_then = threads() + (int)threads_needed;
    serve_many(loop, count, threads_then);
    until_loop_sleeps();
    int maps = mappings();
    serve_many(loop, count, threads_then);
    uint64_t give_up = in_ns(20 * SECOND);
    while (mappings() > maps)
        CHECK(now_ns() < give_up);
    umf_loop_unref(loop);
    until_threads(1);
}

static void
a_canceled_one_is_left_alone(struct umf_loop *loop)
{
    struct shared s = new_shared();
    struct umf_fence *fence = fence_at(0);
    struct told told;
    struct umf_watch *watch = import(loop, fence, 1, s.fd, &told);
    OK(umf_watch_cancel(watch));
    CHECK(told.releases == 1);
    EXPECT(-ECANCELED, outcome_of(loop, watch));
    CHECK(xshmfence_trigger(s.x) == 0);
    settle(loop, page);
    CHECK(umf_fence_value(fence) == 0 && told.calls == 0);
    xshmfence_reset(s.x);
    watch = export(loop, fence, 1, s.fd, &told);
    OK(umf_watch_cancel(watch));
    EXPECT(-ECANCELED, outcome_of(loop, watch));
    OK(umf_fence_signal(fence, 1));
    settle(loop, page);
    CHECK(!xshmfence_query(s.x) && told.releases == 1 && told.calls == 0);
    end_shared(&s);
    umf_fence_unref(fence);
}

static void
a_failed_fence_does_not_trigger(struct umf_loop *loop)
{
    struct shared s = new_shared();
    struct umf_fence *fence = fence_at(0), *reached = fence_at(1);
    struct told told;
    struct umf_watch *watch = export(loop, fence, 1, s.fd, &told);
    OK(umf_fence_set_error(fence, -ENODEV));
    until_called(loop, &told, -EIO);
    EXPECT(-EIO, outcome_of(loop, watch));
    CHECK(!xshmfence_query(s.x));
    /* Given up. */
    OK(outcome_of(loop, export(loop, reached, 1, s.fd, &told)));
    CHECK(xshmfence_query(s.x));
    until_called(loop, &told, 0);
    end_shared(&s);
    umf_fence_unref(fence);
    umf_fence_unref(reached);
}

static void
the_end_of_the_loop_cancels(void)
{
    struct umf_loop *loop = create_loop(mode);
    struct shared s[2] = { new_shared(), new_shared() };
    struct umf_fence *fence = fence_at(0);
    struct told told[2];
    struct umf_watch *watches[2] = { import(loop, fence, 1, s[0].fd, &told[0]),
                                     export(loop, fence, 1, s[1].fd, &told[1]) };
    umf_loop_unref(loop);
    for (int i = 0; i < 2; i++) {
        EXPECT(-ECANCELED, umf_watch_result(watches[i]));
        CHECK(told[i].calls == 0 && told[i].releases == 1);
        umf_watch_unref(watches[i]);
        CHECK(xshmfence_trigger(s[i].x) == 0);
        end_shared(&s[i]);
    }
    CHECK(umf_fence_value(fence) == 0);
    umf_fence_unref(fence);
}

/* A callback on the thread of the xshmfences ends the last reference to the loop. */
static struct umf_loop *ends;

static void
end_loop(void *data, int result)
{
    (void)data;
    OK(result);
    umf_loop_unref(ends);
}

static void
its_callback_may_end_the_loop(void)
{
    struct shared s = new_shared();
    struct umf_fence *fence = fence_at(0);
    struct told told;
    callback_to(&told);
    struct umf_callback callback = { end_loop, on_release, &told };
    ends = create_loop(mode);
    struct umf_loop *loop = ends;
    bool has_thread = loop_has_thread(loop);
    umf_loop_ref(has_thread ? NULL : loop);
    OK(umf_loop_import_xshmfence(loop, fence, 1, s.fd, 0, &callback, NULL));
    CHECK(xshmfence_trigger(s.x) == 0);
    while (told.releases == 0) {
        if (has_thread)
            sched_yield();
        else
            OK(umf_loop_dispatch(loop, 0));
    }
    if (!has_thread)
        umf_loop_unref(loop);
    until_threads(1);
    CHECK(umf_fence_value(fence) == 1);
    end_shared(&s);
    umf_fence_unref(fence);
}

/* Another thread triggers the xshmfence while its watch is made and canceled. */
static atomic_bool over;

static void *
trigger_again_and_again(void *x)
{
    while (!atomic_load(&over)) {
        CHECK(xshmfence_trigger(x) == 0);
        sched_yield();
    }
    return NULL;
}

static void
triggers_and_cancellation_race(struct umf_loop *loop)
{
    struct shared s = new_shared();
    struct umf_fence *fence = fence_at(0);
    const unsigned turns = rounds(500, 50);
    unsigned canceled = 0;
    pthread_t trigger;
    atomic_store(&over, false);
    CHECK(pthread_create(&trigger, NULL, trigger_again_and_again, s.x) == 0);
    for (unsigned i = 0; i < turns; i++) {
        struct told told;
        xshmfence_reset(s.x);
        struct umf_watch *watch = import(loop, fence, i + 1, s.fd, &told);
        int result = i % 2 ? -EALREADY : umf_watch_cancel(watch);
        CHECK(result == 0 || result == -EALREADY);
        canceled += result == 0;
        until_complete(loop, &told);
        CHECK(told.calls == (result != 0));
        umf_watch_unref(watch);
    }
    atomic_store(&over, true);
    CHECK(pthread_join(trigger, NULL) == 0);
    printf("  %u of %u canceled\n", canceled, turns);
    end_shared(&s);
    umf_fence_unref(fence);
}

static void
everything(void)
{
    OK(umf_page_create(64, 0, &page));
    for (mode = 0; mode <= UMF_LOOP_THREAD; mode++) {
        struct peer server = start_peer(be_a_server);
        static struct umf_loop *loop;
        many_share_a_thread();
        loop = create_loop(mode);
        a_trigger_signals_the_value(loop);
        a_reached_value_triggers(loop);
        frames_go_to_a_server_and_back(loop, &server);
        a_canceled_one_is_left_alone(loop);
        a_failed_fence_does_not_trigger(loop);
        triggers_and_cancellation_race(loop);
        umf_loop_unref(loop);
        until_threads(1);
        the_end_of_the_loop_cancels();
        its_callback_may_end_the_loop();
    }
    umf_page_unref(page);
}

int
main(int argc, char **argv)
{
    watchdog(55);
    if (argc == 2 && strcmp(argv[1], "sandbox") == 0) {
        if (cannot_be_refused_calls())
            return SKIPPED;
        forbid_futex_waitv(ENOSYS);
    }
    everything();
    return 0;
}

#else

int
main(void)
{
    printf("built without libxshmfence (Debian: libxshmfence-dev)\n");
    return SKIPPED;
}

#endif
