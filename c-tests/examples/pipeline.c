// SPDX-License-Identifier: MIT
/*
 * Pipelining: a client that commits a frame before the GPU has finished it can draw the next one
 * meanwhile.
 *
 * There are three processes, as on a desktop: a client; its GPU, which takes frames from a ring in
 * order and writes each frame's fence; and a compositor. The compositor gets acquire and release
 * points of timelines as in linux-drm-syncobj-v1, and waits for them by eventfds in its poll loop.
 * This process, the director, starts them and looks at the timelines from outside.
 *
 * The first part shows what may go wrong, step by step. The second prints frames per second and
 * latencies, and never judges them.
 */
#include "drm_machine.h"
#include "process.h"
#include "sleeper.h"
#include "syncobj.h"

#include <sys/eventfd.h>

#define CLIENTS 2
#define FRAMES_MOST 256
#define RING 16 /* more than are ever in flight */

/* How the frame's fence becomes the acquire point. */
enum conversion {
    BLOCKING,     /* waits for the GPU, then commits */
    BY_HAND,      /* commits at once; a thread of the client waits */
    ASYNCHRONOUS, /* commits at once; libumf's loop converts */
};

struct client;

/* What a client is to do. */
struct plan {
    void (*script)(struct client *c);
    enum conversion conversion;
    /* How many frames may be begun and not yet presented. One more buffer is on screen. */
    unsigned in_flight;
    unsigned frames;
    uint64_t cpu_ns, gpu_ns;
};

/* What a client and its GPU share besides fences, and what the director reads afterwards. */
struct shared {
    struct job {
        uint64_t doorbell, ns;
        bool held; /* not before the director allows it */
    } ring[RING];
    struct times {
        uint64_t begun, committed, presented;
        bool early; /* committed before the acquire point existed */
    } frames[FRAMES_MOST + 1];
};

/* What a client sends to the compositor. It has sent the timelines before. */
struct commit {
    uint64_t frame;
    uint64_t acquire, release;
};

static struct shared *shared_by;
static struct plan plans[CLIENTS];
static unsigned starting;

static void
pin_to(int nth)
{
    cpu_set_t all, one;
    CPU_ZERO(&one);
    CHECK(sched_getaffinity(0, sizeof(all), &all) == 0);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &all) && nth-- == 0)
            CPU_SET(cpu, &one);
    if (CPU_COUNT(&one) == 1)
        CHECK(sched_setaffinity(0, sizeof(one), &one) == 0);
}

/* The GPU */

/* The GPU starts a frame when the doorbell was rung or when the frame before is complete, and
 * completes it a fixed time later. If this process wakes up late, that delays the fence and not
 * the next frame. A held frame completes, or fails, when the director says so. */
static void
gpu(int director)
{
    struct shared *shared = &shared_by[starting];
    uint64_t idle_since = 0;
    watchdog(110);
    pin_to(1);
    prctl(PR_SET_TIMERSLACK, 1);
    struct umf_page *page = recv_page(director);
    struct umf_fence *submitted = recv_fence(director, page), *done = recv_fence(director, page);
    for (uint64_t frame = 1;; frame++) {
        int result = umf_fence_wait(submitted, frame, FOREVER);
        if (result == -ESTALE) /* the client has finished and released its fences */
            return;
        OK(result);
        const struct job *job = &shared->ring[frame % RING];
        idle_since = (job->doorbell > idle_since ? job->doorbell : idle_since) + job->ns;
        if (job->held && hear(director) != frame) {
            OK(umf_fence_set_error(done, -ENODEV));
            tell(director, frame);
            return;
        }
        struct timespec end = { .tv_sec = (time_t)(idle_since / SECOND),
                                .tv_nsec = (long)(idle_since % SECOND) };
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL) != 0)
            continue;
        OK(umf_fence_signal(done, frame));
        if (job->held)
            tell(director, frame);
    }
}

/* The compositor */

struct surface {
    bool used;
    int client; /* -1 after it hung up */
    struct shared *shared;
    uint32_t acquire, release; /* timelines */
    struct queued {
        struct commit commit;
        int event;
    } queue[RING];
    uint64_t first, end;  /* queued frames: a frame, and the one after the last */
    struct commit shown;  /* frame 0: nothing yet */
    uint64_t awaited;     /* by the director */
    /* Only a check: a compositor does not need it. */
    struct umf_page *page;
    struct umf_fence *done;
    struct leftovers before;
};

struct compositor {
    int director;
    struct machine m;
    struct surface surfaces[CLIENTS];
};

/* What the director asks of the compositor. */
enum order {
    CONNECT,
    UNTIL_SHOWN,
    STATE,
    DROP,
    END,
};

static void
surface_connect(struct compositor *c, struct surface *s, struct shared *shared)
{
    *s = (struct surface){ .used = true, .shared = shared, .first = 1, .end = 1 };
    s->before = leftovers(&c->m);
    s->client = recv_fd(c->director);
    s->page = recv_page(c->director);
    s->done = recv_fence(c->director, s->page);
    for (int i = 0; i < 2; i++) {
        int fd = recv_fd(c->director);
        *(i == 0 ? &s->acquire : &s->release) = syncobj_from_fd(c->m.gpu, fd);
        close(fd);
    }
}

static void
surface_drop(struct compositor *c, struct surface *s)
{
    if (s->client >= 0)
        close(s->client);
    for (; s->first < s->end; s->first++)
        close(s->queue[s->first % RING].event);
    syncobj_destroy(c->m.gpu, s->acquire);
    syncobj_destroy(c->m.gpu, s->release);
    umf_fence_unref(s->done);
    umf_page_unref(s->page);
    s->used = false;
    check_leftovers(&c->m, s->before);
}

static void
surface_queue(struct compositor *c, struct surface *s, const struct commit *commit)
{
    struct queued *queued = &s->queue[commit->frame % RING];
    CHECK(commit->frame == s->end && s->end - s->first < RING);
    int result = syncobj_wait(c->m.gpu, s->acquire, commit->acquire, WAIT_MATERIALIZED, 0);
    if (result == 0)
        CHECK(umf_fence_value(s->done) >= commit->frame);
    else
        EXPECT(-ETIME, result);
    s->shared->frames[commit->frame].early = result != 0;

    *queued = (struct queued){ *commit, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
    struct syncobj_eventfd arg = { .handle = s->acquire,
                                   .point = commit->acquire,
                                   .fd = queued->event };
    CHECK(queued->event >= 0);
    OK(syncobj_ioctl(c->m.gpu, SYNCOBJ_EVENTFD, &arg));
    s->end++;
}

/* Handles all messages: a question of the director concerns what was sent before it. */
static void
surface_read(struct compositor *c, struct surface *s)
{
    struct commit commit;
    ssize_t length;
    while ((length = recv(s->client, &commit, sizeof(commit), MSG_DONTWAIT)) > 0) {
        CHECK(length == sizeof(commit));
        surface_queue(c, s, &commit);
    }
    if (length == 0) { /* the last frame stays on screen */
        close(s->client);
        s->client = -1;
    } else {
        CHECK(errno == EAGAIN);
    }
}

/* There is no display to wait for: the frame is on screen at once, and the one before is not. */
static void
surface_present(struct compositor *c, struct surface *s)
{
    struct queued *queued = &s->queue[s->first % RING];
    s->shared->frames[s->first].presented = now_ns();
    OK(syncobj_wait(c->m.gpu, s->acquire, queued->commit.acquire, 0, 0));
    CHECK(umf_fence_value(s->done) >= s->first);
    close(queued->event);
    if (s->shown.frame)
        syncobj_timeline_signal(c->m.gpu, s->release, s->shown.release);
    s->shown = queued->commit;
    s->first++;
}

static bool
obey(struct compositor *c)
{
    enum order order = (enum order)hear(c->director);
    uint64_t which = hear(c->director);
    struct surface *s = &c->surfaces[which];
    switch (order) {
    case CONNECT:
        surface_connect(c, s, &shared_by[which]);
        break;
    case UNTIL_SHOWN:
        s->awaited = hear(c->director);
        break;
    case STATE:
        tell(c->director, s->shown.frame);
        tell(c->director, s->end - s->first);
        break;
    case DROP:
        surface_drop(c, s);
        tell(c->director, which);
        break;
    case END:
        return false;
    }
    return true;
}

static void
compositor(int director)
{
    struct compositor c = { .director = director };
    c.m = (struct machine){ .gpu = open_drm("virtio_gpu", "renderD"), .syncobj = true };
    CHECK(c.m.gpu >= 0);
    watchdog(110);
    pin_to(1);
    for (;;) {
        /* The director's messages first: what it has been told is sent is then found too. */
        struct pollfd polls[1 + 2 * CLIENTS] = { { .fd = director, .events = POLLIN } };
        for (int i = 0; i < CLIENTS; i++) {
            struct surface *s = &c.surfaces[i];
            bool waits = s->used && s->first < s->end;
            polls[1 + 2 * i] = (struct pollfd){ .fd = s->used ? s->client : -1, .events = POLLIN };
            polls[2 + 2 * i] = (struct pollfd){ .fd = waits ? s->queue[s->first % RING].event : -1,
                                                .events = POLLIN };
        }
        CHECK(poll(polls, 1 + 2 * CLIENTS, -1) > 0);
        for (int i = 0; i < CLIENTS; i++) {
            struct surface *s = &c.surfaces[i];
            if (polls[1 + 2 * i].revents)
                surface_read(&c, s);
            if (polls[2 + 2 * i].revents)
                surface_present(&c, s);
        }
        if (polls[0].revents && !obey(&c))
            return;
        for (int i = 0; i < CLIENTS; i++) {
            struct surface *s = &c.surfaces[i];
            if (s->awaited && s->shown.frame >= s->awaited) {
                tell(director, s->shown.frame);
                s->awaited = 0;
            }
        }
    }
}

/* The client */

struct client {
    const struct plan *plan;
    struct shared *shared;
    int director, compositor;
    struct machine m;
    struct umf_page *page;
    /* Values are frame numbers: handed to the GPU, written by it, converted. */
    struct umf_fence *submitted, *done, *converted;
    uint32_t acquire, release; /* timelines; a point is a frame number */
    uint64_t frame;            /* the last that was begun */

    struct leftovers before_loop;
    struct umf_loop *loop;
    struct umf_syncobj *syncobj;
    struct watched {
        struct client *client;
        uint64_t frame;
    } watched[RING];
    int expected; /* of the conversions in progress */
    atomic_uint released;
    pthread_t converter;
};

/* Keeps a processor busy for this share of its time. */
static void
burn(uint64_t ns)
{
    struct timespec t;
    uint64_t now, end = 0;
    do {
        for (volatile int i = 0; i < 1000; i++)
            continue;
        CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0);
        now = (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
        if (end == 0)
            end = now + ns;
    } while (now < end);
}

/* Begins a frame when a buffer is free, does the CPU's share, and hands it to the GPU. */
static void
draw(struct client *c, bool held)
{
    uint64_t frame = ++c->frame, buffers = c->plan->in_flight + 1;
    CHECK(frame <= FRAMES_MOST);
    if (frame > buffers)
        OK(syncobj_wait(c->m.gpu, c->release, frame - buffers, WAIT_FOR_SUBMIT, INT64_MAX));
    c->shared->frames[frame].begun = now_ns();
    burn(c->plan->cpu_ns);
    c->shared->ring[frame % RING] = (struct job){ now_ns(), c->plan->gpu_ns, held };
    OK(umf_fence_submit(c->done, frame));
    OK(umf_fence_signal(c->submitted, frame));
}

static void
on_converted(void *data, int result)
{
    struct watched *watched = data;
    struct client *c = watched->client;
    EXPECT(c->expected, result);
    if (result == 0)
        CHECK(umf_fence_value(c->done) >= watched->frame);
    /* In the order of the points. */
    CHECK(umf_fence_value(c->converted) == watched->frame - 1);
    OK(umf_fence_signal(c->converted, watched->frame));
}

static void
on_released(void *data)
{
    struct watched *watched = data;
    atomic_fetch_add(&watched->client->released, 1);
}

/* The acquire point of the frame: made when this returns, or later. */
static void
convert(struct client *c, struct umf_watch **out_watch)
{
    struct watched *watched = &c->watched[c->frame % RING];
    struct umf_callback callback = { on_converted, on_released, watched };
    switch (c->plan->conversion) {
    case BLOCKING:
        OK(umf_fence_export_syncobj(c->done, c->frame, c->m.device, c->acquire, c->frame, 0,
                                    FOREVER));
        break;
    case BY_HAND:
        break;
    case ASYNCHRONOUS:
        *watched = (struct watched){ c, c->frame };
        OK(umf_loop_export_syncobj(c->loop, c->done, c->frame, c->syncobj, c->frame, 0, &callback,
                                   out_watch));
        break;
    }
}

static void
commit(struct client *c)
{
    struct commit commit = { .frame = c->frame, .acquire = c->frame, .release = c->frame };
    c->shared->frames[c->frame].committed = now_ns();
    CHECK(send(c->compositor, &commit, sizeof(commit), MSG_NOSIGNAL) == sizeof(commit));
}

static void *
convert_by_hand(void *argument)
{
    struct client *c = argument;
    for (uint64_t frame = 1; frame <= c->plan->frames; frame++) {
        OK(umf_fence_wait(c->submitted, frame, FOREVER));
        OK(umf_fence_export_syncobj(c->done, frame, c->m.device, c->acquire, frame, 0, FOREVER));
    }
    return NULL;
}

static void
start_converting(struct client *c)
{
    c->before_loop = leftovers(&c->m);
    if (c->plan->conversion == ASYNCHRONOUS) {
        OK(umf_loop_create(UMF_LOOP_THREAD, &c->loop));
        OK(umf_syncobj_open(c->m.device, c->acquire, 0, &c->syncobj));
    }
    if (c->plan->conversion == BY_HAND)
        CHECK(pthread_create(&c->converter, NULL, convert_by_hand, c) == 0);
}

/* Conversions that are not complete now never will be. */
static void
stop_converting(struct client *c)
{
    if (c->plan->conversion == BY_HAND)
        CHECK(pthread_join(c->converter, NULL) == 0);
    if (!c->loop)
        return;
    umf_syncobj_unref(c->syncobj);
    umf_loop_unref(c->loop);
    c->loop = NULL;
    check_leftovers(&c->m, c->before_loop);
    /* The callback is released whether or not it was called. */
    EXPECT(c->frame, atomic_load(&c->released));
}

static void
client(int director)
{
    struct client c = { .plan = &plans[starting],
                        .shared = &shared_by[starting],
                        .director = director };
    c.m = (struct machine){ .gpu = open_drm("virtio_gpu", "renderD"), .syncobj = true };
    CHECK(c.m.gpu >= 0);
    OK(umf_device_create(c.m.gpu, 0, &c.m.device));
    OK(umf_page_create(3, 0, &c.page));
    struct umf_fence **const fences[] = { &c.submitted, &c.done, &c.converted };
    uint32_t *const timelines[] = { &c.acquire, &c.release };
    watchdog(110);

    send_page(director, c.page);
    for (int i = 0; i < 3; i++) {
        OK(umf_fence_create(c.page, 0, 0, fences[i]));
        if (i < 2)
            tell(director, umf_fence_index(*fences[i]));
    }
    for (int i = 0; i < 2; i++) {
        *timelines[i] = syncobj_create(c.m.gpu, 0);
        int fd = syncobj_to_fd(c.m.gpu, *timelines[i]);
        send_fd(director, fd);
        close(fd);
    }
    c.compositor = recv_fd(director);

    start_converting(&c);
    pin_to(0); /* not the thread that converts */
    c.plan->script(&c);
    stop_converting(&c);
    for (int i = 0; i < 3; i++)
        umf_fence_unref(*fences[i]);
    umf_page_unref(c.page);
    umf_device_unref(c.m.device);
}

/* The director */

struct director {
    int gpu;
    struct peer compositor;
    struct running {
        unsigned which;
        struct peer client, gpu;
        uint32_t acquire, release;
    } running[CLIENTS];
};

static struct running *
start(struct director *d, unsigned which, const struct plan *plan)
{
    struct running *r = &d->running[which];
    int ends[2], fds[2];
    starting = which;
    plans[which] = *plan;
    memset(&shared_by[which], 0, sizeof(shared_by[which]));
    *r = (struct running){ .which = which,
                           .client = start_peer(client),
                           .gpu = start_peer(gpu) };
    int page = recv_fd(r->client.sock);
    uint64_t submitted = hear(r->client.sock), done = hear(r->client.sock);
    for (int i = 0; i < 2; i++)
        fds[i] = recv_fd(r->client.sock);
    r->acquire = syncobj_from_fd(d->gpu, fds[0]);
    r->release = syncobj_from_fd(d->gpu, fds[1]);
    send_fd(r->gpu.sock, page);
    tell(r->gpu.sock, submitted);
    tell(r->gpu.sock, done);

    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
    tell(d->compositor.sock, CONNECT);
    tell(d->compositor.sock, which);
    send_fd(d->compositor.sock, ends[0]);
    send_fd(d->compositor.sock, page);
    tell(d->compositor.sock, done);
    for (int i = 0; i < 2; i++) {
        send_fd(d->compositor.sock, fds[i]);
        close(fds[i]);
    }
    send_fd(r->client.sock, ends[1]);
    close(ends[0]);
    close(ends[1]);
    close(page);
    return r;
}

static void
until_shown(struct director *d, const struct running *r, uint64_t frame)
{
    tell(d->compositor.sock, UNTIL_SHOWN);
    tell(d->compositor.sock, r->which);
    tell(d->compositor.sock, frame);
    CHECK(hear(d->compositor.sock) == frame);
}

/* The answer itself is part of the check. */
static void
check_screen(struct director *d, const struct running *r, uint64_t shown, uint64_t queued)
{
    tell(d->compositor.sock, STATE);
    tell(d->compositor.sock, r->which);
    EXPECT(shown, hear(d->compositor.sock));
    EXPECT(queued, hear(d->compositor.sock));
}

/* Lets the GPU complete a frame that it holds, and waits for that. */
static void
finish(const struct running *r, uint64_t frame)
{
    tell(r->gpu.sock, frame);
    CHECK(hear(r->gpu.sock) == frame);
}

/* Nobody else makes points, so these are all after the client's last one. */
static void
check_nothing_at(const struct director *d, const struct running *r, uint64_t first, uint64_t last)
{
    for (uint64_t point = first; point <= last; point++)
        check_not_materialized(d->gpu, r->acquire, point);
    EXPECT(first - 1, syncobj_query(d->gpu, r->acquire, 0));
    EXPECT(first - 1, syncobj_query(d->gpu, r->acquire, DRM_SYNCOBJ_QUERY_FLAGS_LAST_SUBMITTED));
}

static void
end_by_force(struct peer *peer)
{
    kill_peer(peer);
    peer->pid = 0;
}

static void
drop(struct director *d, struct running *r)
{
    tell(d->compositor.sock, DROP);
    tell(d->compositor.sock, r->which);
    CHECK(hear(d->compositor.sock) == r->which);
    if (r->gpu.pid)
        end_peer(&r->gpu);
    syncobj_destroy(d->gpu, r->acquire);
    syncobj_destroy(d->gpu, r->release);
}

/* Draws as many frames as the plan says. */
static void
stream(struct client *c)
{
    for (unsigned i = 0; i < c->plan->frames; i++) {
        draw(c, false);
        convert(c, NULL);
        commit(c);
    }
    OK(syncobj_wait(c->m.gpu, c->acquire, c->frame, WAIT_FOR_SUBMIT, INT64_MAX));
    if (c->plan->conversion == ASYNCHRONOUS)
        OK(umf_fence_wait(c->converted, c->frame, FOREVER));
    tell(c->director, c->frame);
}

static void
run_stream(struct director *d, unsigned which, const struct plan *plan)
{
    struct running *r = start(d, which, plan);
    CHECK(hear(r->client.sock) == plan->frames);
    until_shown(d, r, plan->frames);
    check_screen(d, r, plan->frames, 0);
    end_peer(&r->client);
    drop(d, r);
    for (unsigned frame = 1; frame <= plan->frames; frame++) {
        const struct times *times = &shared_by[which].frames[frame];
        CHECK(times->begun && times->begun <= times->committed);
        CHECK(times->presented > shared_by[which].frames[frame - 1].presented);
        if (plan->conversion == BLOCKING)
            CHECK(!times->early);
    }
}

/* A client that must be unaffected by one in trouble. */
static void
others_go_on(struct director *d)
{
    static const struct plan plan = { .script = stream,
                                      .conversion = ASYNCHRONOUS,
                                      .in_flight = 3,
                                      .frames = 20,
                                      .gpu_ns = MS };
    run_stream(d, 1, &plan);
}

/* Three frames, each with a point that does not exist when the conversion returns. */
static void
commit_three(struct client *c)
{
    for (uint64_t frame = 1; frame <= 3; frame++) {
        draw(c, true);
        convert(c, NULL);
        EXPECT(0, umf_fence_value(c->done));
        check_not_materialized(c->m.gpu, c->acquire, frame);
        commit(c);
    }
    tell(c->director, 3);
    OK(umf_fence_wait(c->converted, 3, FOREVER));
    check_signaled(c->m.gpu, c->acquire, 3);
    tell(c->director, 3);
}

static void
frames_are_handed_over_before_they_are_done(struct director *d)
{
    static const struct plan plan = { commit_three, ASYNCHRONOUS, .in_flight = 3 };
    struct running *r = start(d, 0, &plan);
    CHECK(hear(r->client.sock) == 3);
    check_screen(d, r, 0, 3);
    for (uint64_t frame = 1; frame <= 3; frame++) {
        CHECK(shared_by[0].frames[frame].early);
        check_nothing_at(d, r, frame, 3);
        finish(r, frame);
        until_shown(d, r, frame);
        check_screen(d, r, frame, 3 - frame);
    }
    CHECK(hear(r->client.sock) == 3);
    end_peer(&r->client);
    drop(d, r);
}

/* One frame is shown and three more are held by the GPU. The last one is not committed yet. */
static void
commit_one_and_draw_three(struct client *c)
{
    for (uint64_t frame = 1; frame <= 4; frame++) {
        draw(c, frame > 1);
        convert(c, NULL);
        if (frame < 4)
            commit(c);
    }
    tell(c->director, 4);
    hear(c->director);
}

static void
a_client_that_is_killed(struct director *d)
{
    static const struct plan plan = { commit_one_and_draw_three, ASYNCHRONOUS, .in_flight = 3 };
    struct running *r = start(d, 0, &plan);
    CHECK(hear(r->client.sock) == 4);
    until_shown(d, r, 1);
    check_screen(d, r, 1, 2);
    end_by_force(&r->client);
    check_nothing_at(d, r, 2, 4);
    others_go_on(d);
    /* The GPU does not notice, and need not. */
    for (uint64_t frame = 2; frame <= 4; frame++)
        finish(r, frame);
    others_go_on(d);
    check_nothing_at(d, r, 2, 4);
    check_screen(d, r, 1, 2);
    end_by_force(&r->gpu);
    drop(d, r);
}

/* The client gives up, and nothing that it says afterwards counts. */
static void
give_up(struct client *c)
{
    struct umf_watch *watches[4];
    for (uint64_t frame = 1; frame <= 3; frame++) {
        draw(c, frame > 1);
        convert(c, &watches[frame]);
        commit(c);
    }
    tell(c->director, 3);
    CHECK(hear(c->director) == 3);
    OK(umf_watch_result(watches[1]));
    EXPECT(-ETIME, umf_watch_result(watches[2]));
    EXPECT(-ETIME, umf_watch_result(watches[3]));
    stop_converting(c);
    EXPECT(-ECANCELED, umf_watch_result(watches[2]));
    EXPECT(-ECANCELED, umf_watch_result(watches[3]));
    for (uint64_t frame = 1; frame <= 3; frame++)
        umf_watch_unref(watches[frame]);
    tell(c->director, 3);
    CHECK(hear(c->director) == 3);
    EXPECT(3, umf_fence_value(c->done));
    EXPECT(1, umf_fence_value(c->converted));
}

static void
a_frame_that_never_finishes(struct director *d)
{
    static const struct plan plan = { give_up, ASYNCHRONOUS, .in_flight = 3 };
    struct running *r = start(d, 0, &plan);
    CHECK(hear(r->client.sock) == 3);
    until_shown(d, r, 1);
    others_go_on(d);
    check_nothing_at(d, r, 2, 3);
    check_screen(d, r, 1, 2);
    tell(r->client.sock, 3);
    CHECK(hear(r->client.sock) == 3);
    check_nothing_at(d, r, 2, 3);
    /* The GPU still completes it, when nobody converts any more. */
    finish(r, 2);
    finish(r, 3);
    tell(r->client.sock, 3);
    end_peer(&r->client);
    others_go_on(d);
    check_nothing_at(d, r, 2, 3);
    check_screen(d, r, 1, 2);
    drop(d, r);
}

/* The conversions end with the error of the fence: the one that failed, and those behind it. */
static void
learn_of_the_loss(struct client *c)
{
    draw(c, false);
    convert(c, NULL);
    commit(c);
    OK(umf_fence_wait(c->converted, 1, FOREVER));
    c->expected = -EIO;
    for (uint64_t frame = 2; frame <= 3; frame++) {
        draw(c, true);
        convert(c, NULL);
        commit(c);
    }
    tell(c->director, 3);
    OK(umf_fence_wait(c->converted, 3, FOREVER));
    EXPECT(-ENODEV, error_of(c->done));
    tell(c->director, 3);
}

static void
a_gpu_that_is_lost(struct director *d)
{
    static const struct plan plan = { learn_of_the_loss, ASYNCHRONOUS, .in_flight = 3 };
    struct running *r = start(d, 0, &plan);
    CHECK(hear(r->client.sock) == 3);
    until_shown(d, r, 1);
    tell(r->gpu.sock, 0);
    CHECK(hear(r->gpu.sock) == 2);
    CHECK(hear(r->client.sock) == 3);
    end_peer(&r->client);
    others_go_on(d);
    check_nothing_at(d, r, 2, 3);
    check_screen(d, r, 1, 2);
    drop(d, r);
}

/* The measurements */

#define ROUNDS_MOST 100
#define FRAMES 40
#define WARM_UP 8 /* uncounted frames, until each buffer was used once */

struct samples {
    double of[ROUNDS_MOST * FRAMES];
    unsigned count;
};

static int
by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void
print_samples(struct samples *s, int width, const char *format)
{
    const double at[] = { 0.5, 0.1, 0.9 };
    double v[3];
    char text[64];
    qsort(s->of, s->count, sizeof(s->of[0]), by_size);
    for (int i = 0; i < 3; i++)
        v[i] = s->of[(unsigned)(at[i] * (s->count - 1) + 0.5)];
    snprintf(text, sizeof(text), format, v[0], v[1], v[2]);
    printf("  %*s", width, text);
}

static struct contender {
    const char *name;
    enum conversion conversion;
    unsigned in_flight;
    struct samples rate, ratio, beyond, commit_to_present, begin_to_present;
    unsigned early, counted;
} contenders[] = {
    { .name = "blocking, 3 in flight allowed", .conversion = BLOCKING, .in_flight = 3 },
    { .name = "a thread by hand, 3 in flight", .conversion = BY_HAND, .in_flight = 3 },
    { .name = "asynchronous, 1 in flight", .conversion = ASYNCHRONOUS, .in_flight = 1 },
    { .name = "asynchronous, 2 in flight", .conversion = ASYNCHRONOUS, .in_flight = 2 },
    { .name = "asynchronous, 3 in flight", .conversion = ASYNCHRONOUS, .in_flight = 3 },
};
#define CONTENDERS (ARRAY_SIZE(contenders))

static void
add(struct samples *s, double sample)
{
    s->of[s->count++] = sample;
}

static void
measure(struct director *d, unsigned rounds, uint64_t share_ns)
{
    for (unsigned round = 0; round < rounds; round++)
        for (size_t i = 0; i < CONTENDERS; i++) {
            struct contender *k = &contenders[i];
            struct plan plan = { stream, k->conversion, k->in_flight, FRAMES, share_ns, share_ns };
            run_stream(d, 0, &plan);
            const struct times *t = shared_by[0].frames;
            double taken = (double)(t[FRAMES].presented - t[WARM_UP].presented);
            add(&k->rate, (FRAMES - WARM_UP) * 1e9 / taken);
            double shares = k->conversion == BLOCKING || k->in_flight == 1 ? 2 : 1;
            add(&k->ratio, k->rate.of[round] / contenders[0].rate.of[round]);
            add(&k->beyond,
                taken / (FRAMES - WARM_UP) / 1e6 - shares * (double)share_ns / 1e6);
            for (unsigned frame = WARM_UP + 1; frame <= FRAMES; frame++) {
                add(&k->commit_to_present, (double)(t[frame].presented - t[frame].committed) / 1e6);
                add(&k->begin_to_present, (double)(t[frame].presented - t[frame].begun) / 1e6);
                k->early += t[frame].early;
                k->counted++;
            }
        }

    printf("A frame takes %.1f ms of the client's CPU, then %.1f ms of the GPU.\n"
           "Medians (p10 .. p90) of %u interleaved rounds of %d frames.\n"
           "beside: the rate, where blocking is 1. beyond: a frame's time beyond both shares, or\n"
           "beyond one where they overlap. early: committed before the acquire point existed.\n",
           (double)share_ns / 1e6, (double)share_ns / 1e6, rounds, FRAMES - WARM_UP);
    printf("%-31s  %-24s  %-20s  %-20s  %-22s  %-22s  early\n", "", "frames/s", "beside",
           "beyond/ms", "commit to present/ms", "begin to present/ms");
    for (size_t i = 0; i < CONTENDERS; i++) {
        struct contender *k = &contenders[i];
        printf("%-31s", k->name);
        print_samples(&k->rate, -24, "%.1f (%.1f .. %.1f)");
        print_samples(&k->ratio, -20, "%.2f (%.2f .. %.2f)");
        print_samples(&k->beyond, -20, "%.2f (%.2f .. %.2f)");
        print_samples(&k->commit_to_present, -22, "%.2f (%.2f .. %.2f)");
        print_samples(&k->begin_to_present, -22, "%.1f (%.1f .. %.1f)");
        printf("  %.0f%%\n", 100.0 * k->early / k->counted);
    }
}

int
main(int argc, char **argv)
{
    unsigned rounds = argc > 1 ? (unsigned)atoi(argv[1]) : 3;
    uint64_t share_ns = argc > 2 ? (uint64_t)(atof(argv[2]) * 1e6) : 8 * MS;
    struct director d = { .gpu = open_drm("virtio_gpu", "renderD") };
    if (d.gpu < 0 || !kernel_at_least(6, 6)) {
        printf("needs a virtio-gpu with syncobjs (Linux 6.6): see kernel/run\n");
        return SKIPPED;
    }
    CHECK(rounds >= 1 && rounds <= ROUNDS_MOST);
    watchdog(110);
    setvbuf(stdout, NULL, _IOLBF, 0);
    shared_by = mmap(NULL, CLIENTS * sizeof(*shared_by), PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared_by != MAP_FAILED);
    d.compositor = start_peer(compositor);

    RUN(frames_are_handed_over_before_they_are_done, &d);
    RUN(a_client_that_is_killed, &d);
    RUN(a_frame_that_never_finishes, &d);
    RUN(a_gpu_that_is_lost, &d);
    measure(&d, rounds, share_ns);

    tell(d.compositor.sock, END);
    tell(d.compositor.sock, 0);
    end_peer(&d.compositor);
    return 0;
}
