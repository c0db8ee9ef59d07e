// SPDX-License-Identifier: MIT
/*
 * Rewinds: a wait that a value met stays met when the value is taken back before the waiter runs.
 * The waiter is a process that is stopped meanwhile, so it sees nothing of the value itself.
 */
#include "process.h"
#include "watch.h"

enum way { ONE, ANY, ALL, WATCH, WATCH_ALL, WAYS };

/* What a waiter's process is asked to do: the fences of its page are at these indices. */
enum { FENCE, OTHER, FENCES };

static void
on_result(void *data, int result)
{
    tell(*(int *)data, (uint64_t)-result);
}

static void
on_many(void *data, int result, uint32_t index)
{
    CHECK(index == UINT32_MAX);
    tell(*(int *)data, (uint64_t)-result);
}

static void
nothing_to_release(void *data)
{
    (void)data;
}

/* Waits in each way that it is told, until it is told to end. Tells before it blocks or once the
 * watch is there, and then the result. */
static void
waits_as_told(int sock)
{
    struct umf_page *page = recv_page(sock);
    struct umf_fence *fences[FENCES];
    struct umf_loop *loop;
    struct umf_callback tells = { on_result, nothing_to_release, &sock };
    struct umf_many_callback many_tell = { on_many, nothing_to_release, &sock };
    for (uint32_t i = 0; i < FENCES; i++)
        OK(umf_fence_open(page, i, 0, &fences[i]));
    OK(umf_loop_create(UMF_LOOP_THREAD, &loop));
    for (uint64_t way; (way = hear(sock)) != WAYS;) {
        uint64_t value = hear(sock);
        /* The other one is never met, but for a wait for all. */
        struct umf_condition waits[] = { { fences[OTHER], 1, UMF_OP_GE, 0, 0 },
                                         { fences[FENCE], value, UMF_OP_GE, 0, 0 } };
        uint32_t index = 1;
        int result = 0;
        tell(sock, 1);
        switch (way) {
        case ONE: result = umf_fence_wait(fences[FENCE], value, FOREVER); break;
        case ANY: result = umf_wait(waits, 2, UMF_WAIT_ANY, FOREVER, &index); break;
        case ALL: result = umf_wait(waits, 2, 0, FOREVER, NULL); break;
        case WATCH: OK(umf_loop_watch(loop, &waits[1], 0, &tells, NULL)); tell(sock, 1); continue;
        case WATCH_ALL:
            OK(umf_loop_watch_many(loop, waits, 2, 0, &many_tell, NULL));
            tell(sock, 1);
            continue;
        }
        CHECK(index == 1);
        tell(sock, (uint64_t)-result);
    }
    umf_loop_unref(loop);
    for (int i = 0; i < FENCES; i++)
        umf_fence_unref(fences[i]);
    umf_page_unref(page);
}

/* The fences of this process, and its waiters. */
struct scene {
    struct umf_page *page;
    struct umf_fence *fences[FENCES];
    struct peer peers[4];
    int count;
};

static struct scene
set(uint64_t page_flags, struct peer *peers, int count)
{
    struct scene scene = { .count = count };
    OK(umf_page_create(FENCES, page_flags, &scene.page));
    for (uint32_t i = 0; i < FENCES; i++) {
        OK(umf_fence_create(scene.page, 0, UMF_FENCE_UNORDERED, &scene.fences[i]));
        CHECK(umf_fence_index(scene.fences[i]) == i);
    }
    for (int i = 0; i < count; i++) {
        scene.peers[i] = peers[i];
        send_page(peers[i].sock, scene.page);
    }
    return scene;
}

static void
strike(struct scene *scene)
{
    for (int i = 0; i < scene->count; i++) {
        tell(scene->peers[i].sock, WAYS);
        end_peer(&scene->peers[i]);
    }
    for (int i = 0; i < FENCES; i++)
        umf_fence_unref(scene->fences[i]);
    umf_page_unref(scene->page);
}

/* Has the peer wait, and stops it once it does. */
static void
begin(struct peer *peer, enum way way, uint64_t value)
{
    tell(peer->sock, way);
    tell(peer->sock, value);
    hear(peer->sock);
    if (way == WATCH || way == WATCH_ALL)
        hear(peer->sock);
    else
        until_asleep(peer->pid, peer->pid);
    int status;
    CHECK(kill(peer->pid, SIGSTOP) == 0);
    CHECK(waitpid(peer->pid, &status, WUNTRACED) == peer->pid && WIFSTOPPED(status));
}

static void
run_on(struct peer *peer)
{
    CHECK(kill(peer->pid, SIGCONT) == 0);
}

/* Lets the peer run: it is told of the value. */
static void
is_met(struct peer *peer)
{
    run_on(peer);
    EXPECT(0, hear(peer->sock));
}

/* Lets the peer run: it goes on waiting until the value comes once more. */
static void
waits_on(struct scene *scene, struct peer *peer, uint64_t value)
{
    char byte;
    long before = sleeps_of(peer->pid);
    uint64_t give_up = in_ns(20 * SECOND);
    run_on(peer);
    /* To stop may count as a sleep a moment after it is reported. */
    while (sleeps_of(peer->pid) < before + 2) {
        CHECK(now_ns() < give_up);
        OK(umf_fence_notify(scene->fences[FENCE]));
        nanosleep(&(struct timespec){ .tv_nsec = 20000 }, NULL);
    }
    until_asleep(peer->pid, peer->pid);
    CHECK(recv(peer->sock, &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0 && errno == EAGAIN);
    OK(umf_fence_signal(scene->fences[FENCE], value));
    EXPECT(0, hear(peer->sock));
    OK(umf_fence_signal(scene->fences[FENCE], 0));
}

static void
rewind_from(struct scene *scene, uint64_t value)
{
    OK(umf_fence_signal(scene->fences[FENCE], value));
    OK(umf_fence_signal(scene->fences[FENCE], 0));
}

/* One waiter, and any number of rewinds. A fence that the waiter cannot write to remembers two. */
static void
every_way_is_told(struct peer peer, uint64_t page_flags)
{
    struct scene scene = set(page_flags, &peer, 1);
    struct peer *waiter = &scene.peers[0];
    for (int rewinds = 1; rewinds <= 1000; rewinds *= 10) {
        for (enum way way = ONE; way < WAYS; way++) {
            begin(waiter, way, 5);
            int met_at = page_flags ? rewinds - (rewinds > 1) - 1 : rewinds / 2;
            for (int i = 0; i < rewinds; i++)
                rewind_from(&scene, i == met_at ? 5 : (uint64_t)(i % 5));
            OK(umf_fence_signal(scene.fences[OTHER], way == ALL || way == WATCH_ALL));
            is_met(waiter);
            OK(umf_fence_signal(scene.fences[OTHER], 0));
        }
    }
    strike(&scene);
}

/* A wait for a value that was there before it began. */
static void
what_was_before_the_wait_does_not_count(struct peer *peers, uint64_t page_flags)
{
    struct scene scene = set(page_flags, peers, 2);
    begin(&scene.peers[0], ONE, 100);
    rewind_from(&scene, 50);
    begin(&scene.peers[1], ONE, 40);
    rewind_from(&scene, 39);
    waits_on(&scene, &scene.peers[1], 40);
    rewind_from(&scene, 100);
    is_met(&scene.peers[0]);
    strike(&scene);
}

/* Waits that begin between the rewinds: the last two rewinds are remembered in any case. */
static void
the_last_two_are_remembered(struct peer *peers)
{
    struct scene scene = set(0, peers, 4);
    static const uint64_t values[] = { 50, 40, 30, 20 };
    for (int met_from = 1; met_from <= 2; met_from++) {
        int count = met_from + 2;
        for (int i = 0; i < count; i++) {
            begin(&scene.peers[i], ONE, values[i]);
            rewind_from(&scene, values[i]);
        }
        for (int i = met_from; i < count; i++)
            is_met(&scene.peers[i]);
        for (int i = met_from - 1; i >= 0; i--)
            waits_on(&scene, &scene.peers[i], values[i]);
    }
    /* A higher peak says more than all before it. */
    for (int i = 3; i >= 0; i--) {
        begin(&scene.peers[i], ONE, values[i]);
        rewind_from(&scene, values[i]);
    }
    for (int i = 0; i < 4; i++)
        is_met(&scene.peers[i]);
    strike(&scene);
}

/* The watches of one process forget no rewind, however many begin in between. */
static void
a_process_forgets_none_of_its_own(void)
{
    enum { WATCHES = 300 };
    static struct told told[WATCHES];
    struct umf_page *page;
    struct umf_fence *fence;
    struct umf_loop *loop = create_loop(0);
    OK(umf_page_create(1, 0, &page));
    OK(umf_fence_create(page, 0, UMF_FENCE_UNORDERED, &fence));
    for (int i = 0; i < WATCHES; i++) {
        uint64_t value = (uint64_t)(i * 7919 % WATCHES) + 1;
        umf_watch_unref(watch_value(loop, fence, value, &told[i]));
        OK(umf_fence_signal(fence, value));
        OK(umf_fence_signal(fence, 0));
    }
    for (int i = 0; i < WATCHES; i++)
        until_called(loop, &told[i], 0);
    umf_loop_unref(loop);
    umf_fence_unref(fence);
    umf_page_unref(page);
}

/* A value that does not fit into 39 digits is rounded down. */
static void
large_values_are_rounded_down(struct peer peer)
{
    static const uint64_t values[][2] = { /* stored, met */
        { (UINT64_C(1) << 39) - 1, (UINT64_C(1) << 39) - 1 },
        { (UINT64_C(1) << 39) + 1, UINT64_C(1) << 39 },
        { UINT64_MAX, UINT64_MAX << 25 },
    };
    struct scene scene = set(0, &peer, 1);
    for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
        begin(&scene.peers[0], ONE, values[i][1]);
        rewind_from(&scene, values[i][0]);
        is_met(&scene.peers[0]);
        begin(&scene.peers[0], ONE, values[i][1] + 1);
        rewind_from(&scene, values[i][0]);
        waits_on(&scene, &scene.peers[0], values[i][1] + 1);
    }
    strike(&scene);
}

/* An error does not take back what was met before. */
static void
an_error_after_a_rewind(struct peer *peers)
{
    struct scene scene = set(0, peers, 2);
    begin(&scene.peers[0], ONE, 5);
    begin(&scene.peers[1], ONE, 6);
    rewind_from(&scene, 5);
    OK(umf_fence_set_error(scene.fences[FENCE], -EIO));
    is_met(&scene.peers[0]);
    run_on(&scene.peers[1]);
    EXPECT(EIO, hear(scene.peers[1].sock));
    strike(&scene);
}

/* More than the times that a peak of the page tells apart. */
#define MORE_THAN_A_PEAK_TELLS 530000

static struct umf_wait_set *
set_of(struct umf_fence *fence, uint64_t value, uint64_t *id)
{
    struct umf_wait_set *set;
    struct umf_condition wait = { .fence = fence, .value = value };
    OK(umf_wait_set_create(0, &set));
    OK(umf_wait_set_add(set, &wait, 0, 0, id));
    return set;
}

static void
is_reported(struct umf_wait_set *set)
{
    struct umf_wait_set_result result;
    uint32_t count;
    OK(umf_wait_set_wait(set, &result, 1, 0, &count));
    OK(result.result);
}

/* A wait is told of a rewind, however many others began since it did. */
static void
a_wait_that_is_old_is_told(void)
{
    struct umf_page *page;
    struct umf_fence *fence;
    OK(umf_page_create(1, 0, &page));
    OK(umf_fence_create(page, 0, UMF_FENCE_UNORDERED, &fence));
    struct umf_condition wait = { .fence = fence, .value = 1000 };
    uint64_t id;
    struct umf_wait_set *set = set_of(fence, 5, &id), *others = set_of(fence, 1000, &id);
    for (uint32_t i = 0; i < rounds(MORE_THAN_A_PEAK_TELLS, 100); i++)
        OK(umf_wait_set_modify(others, id, &wait, 0));
    OK(umf_fence_signal(fence, 5));
    OK(umf_fence_signal(fence, 0));
    is_reported(set);
    umf_wait_set_unref(others);
    umf_wait_set_unref(set);
    umf_fence_unref(fence);
    umf_page_unref(page);
}

/* More waits than a rewind is remembered for. */
#define FORGETS_AFTER (1 << 18)

/* An entry that is met is reported again and again. No wait on its fence begins by that. */
static void
reports_of_a_value_that_is_there_let_no_rewind_be_forgotten(void)
{
    struct umf_page *page;
    struct umf_fence *fence;
    OK(umf_page_create(1, 0, &page));
    OK(umf_fence_create(page, 0, UMF_FENCE_UNORDERED, &fence));
    uint64_t id;
    struct umf_wait_set *set = set_of(fence, 5, &id), *met = set_of(fence, 0, &id);
    OK(umf_fence_signal(fence, 5));
    OK(umf_fence_signal(fence, 0));
    for (uint32_t i = 0; i < rounds(FORGETS_AFTER + 10, 100); i++)
        is_reported(met);
    is_reported(set);
    umf_wait_set_unref(met);
    umf_wait_set_unref(set);
    umf_fence_unref(fence);
    umf_page_unref(page);
}

/* A fence that no waiter can write to counts its rewinds. One from a high value is not told to a
 * wait that began later, nor do lower ones go untold for it. */
static void
a_high_value_is_forgotten_before_it_looks_new(void)
{
    struct umf_page *page;
    struct umf_fence *fence;
    if (umf_page_create(1, UMF_PAGE_SINGLE_WRITER, &page) == -EOPNOTSUPP) {
        printf("not run: pages for one writer\n");
        return;
    }
    uint64_t id;
    OK(umf_fence_create(page, 1000, UMF_FENCE_UNORDERED, &fence));
    for (uint32_t i = 0; i < rounds(MORE_THAN_A_PEAK_TELLS, 100); i++) {
        OK(umf_fence_signal(fence, 5));
        OK(umf_fence_signal(fence, 0));
    }
    EXPECT(-ETIME, umf_fence_wait(fence, 1000, 1));
    struct umf_wait_set *set = set_of(fence, 5, &id);
    OK(umf_fence_signal(fence, 5));
    OK(umf_fence_signal(fence, 0));
    is_reported(set);
    umf_wait_set_unref(set);
    umf_fence_unref(fence);
    umf_page_unref(page);
}

int
main(void)
{
    struct peer peers[13];
    for (size_t i = 0; i < ARRAY_SIZE(peers); i++)
        peers[i] = start_peer(waits_as_told);
    watchdog(50);
    every_way_is_told(peers[0], 0);
    every_way_is_told(peers[1], UMF_PAGE_SINGLE_WRITER);
    what_was_before_the_wait_does_not_count(&peers[2], 0);
    what_was_before_the_wait_does_not_count(&peers[4], UMF_PAGE_SINGLE_WRITER);
    the_last_two_are_remembered(&peers[6]);
    large_values_are_rounded_down(peers[10]);
    a_process_forgets_none_of_its_own();
    an_error_after_a_rewind(&peers[11]);
    a_wait_that_is_old_is_told();
    reports_of_a_value_that_is_there_let_no_rewind_be_forgotten();
    a_high_value_is_forgotten_before_it_looks_new();
    return 0;
}
