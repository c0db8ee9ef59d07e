// SPDX-License-Identifier: MIT
/*
 * What a callback may do: everything. It releases the last references to its objects, makes new
 * watches, waits, and ends its own loop. And how loops end: with callbacks that run, with pending
 * watches, and at the moment of a signal.
 */
#include "sandbox.h"
#include "sleeper.h"
#include "watch.h"

static const uint64_t modes[] = { 0, UMF_LOOP_THREAD };
static uint64_t mode;

/* One watch of one fence of one page on one loop, and what its callback does to them. */
static struct umf_loop *loop;
static struct umf_page *page;
static struct umf_fence *fence;
static struct umf_watch *watch;
static struct told told, others[8];
static void (*act)(void);

static void
call_and_act(void *data, int result)
{
    on_call(data, result);
    if (act)
        act();
}

static void
arm(void (*action)(void))
{
    struct umf_callback callback = callback_to(&told);
    callback.call = call_and_act;
    act = action;
    loop = create_loop(mode);
    OK(umf_page_create(2, 0, &page));
    OK(umf_fence_create(page, 0, 0, &fence));
    struct umf_condition wait = { fence, 1, UMF_OP_GE, 0, 0 };
    OK(umf_loop_watch(loop, &wait, 0, &callback, &watch));
}

static void
disarm(void)
{
    umf_watch_unref(watch);
    umf_fence_unref(fence);
    umf_page_unref(page);
    umf_loop_unref(loop);
}

static void
fire(void)
{
    OK(umf_fence_signal(fence, 1));
    until_called(loop, &told, 0);
}

static void
end_everything_but_the_loop(void)
{
    umf_watch_unref(watch);
    umf_fence_unref(fence);
    umf_page_unref(page);
    watch = NULL;
    fence = NULL;
    page = NULL;
}

static void
end_the_loop(void)
{
    umf_loop_unref(loop);
    loop = NULL;
}

static void
end_everything(void)
{
    end_the_loop();
    end_everything_but_the_loop();
}

/* The callback releases what it is about. The loop is dispatched, or has a thread, and no handle
 * is left. */
static void
the_last_references(void)
{
    void (*const ends[])(void) = { end_everything_but_the_loop, end_the_loop, end_everything };
    int fds = open_fds(), tasks = threads();
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
        arm(ends[i]);
        int fd = umf_loop_fd(loop);
        struct umf_loop *itself = loop;
        OK(umf_fence_signal(fence, 1));
        if (mode == 0) {
            struct pollfd entry = { fd, POLLIN, 0 };
            CHECK(poll(&entry, 1, -1) == 1);
            OK(umf_loop_dispatch(itself, 0));
            CHECK(told.releases == 1);
        }
        while (told.releases == 0)
            sched_yield();
        CHECK(told.calls == 1 && told.result == 0);
        disarm();
        while (threads() > tasks || open_fds() > fds)
            sched_yield(); /* the watchdog's */
        CHECK(open_fds() == fds);
    }
}

/* A release function ends the loop, wherever it runs: after the callback, in umf_watch_cancel(), or
 * in the umf_loop_unref() that ends another loop. */
static struct umf_loop *ended_by_release;

static void
release_and_end_a_loop(void *data)
{
    umf_loop_unref(ended_by_release);
    on_release(data);
}

enum release_in { CALL, CANCEL, END_OF_ANOTHER, RELEASES };

static void
a_loop_that_a_release_ends(enum release_in where)
{
    struct told of_release;
    struct umf_callback callback = callback_to(&of_release);
    callback.release = release_and_end_a_loop;
    arm(NULL);
    struct umf_loop *releasing = where == END_OF_ANOTHER ? create_loop(mode) : loop;
    struct umf_condition wait = { fence, 2, UMF_OP_GE, 0, 0 };
    struct umf_watch *released;
    OK(umf_loop_watch(releasing, &wait, 0, &callback, &released));
    ended_by_release = loop;
    if (where == CALL) {
        OK(umf_watch_cancel(watch));
        OK(umf_fence_signal(fence, 2));
        if (mode == 0) {
            until_due(loop);
            OK(umf_loop_dispatch(loop, 0));
        }
    } else if (where == CANCEL) {
        OK(umf_watch_cancel(released));
    } else {
        umf_loop_unref(releasing);
    }
    while (of_release.releases == 0)
        sched_yield();
    CHECK(of_release.releases == 1 && of_release.calls == (where == CALL));
    CHECK(told.releases == 1 && told.calls == 0);
    loop = NULL;
    umf_watch_unref(released);
    disarm();
    until_threads(1);
}

/* Of several due callbacks the first ends the loop: the others are canceled within that call. */
static void
end_the_loop_before_the_others(void)
{
    end_the_loop();
    for (int i = 0; i < 8; i++)
        CHECK(others[i].calls == 0 && others[i].releases == 1);
}

static void
those_that_are_due_when_the_loop_ends(void)
{
    struct umf_watch *watches[8];
    arm(end_the_loop_before_the_others);
    /* The values rise, so the first watch is due first; some are never reached. */
    for (uint64_t i = 0; i < 8; i++)
        watches[i] = watch_value(loop, fence, 2 + i, &others[i]);
    until_loop_sleeps();
    struct umf_loop *itself = loop;
    int fd = umf_loop_fd(loop);
    OK(umf_fence_signal(fence, 6));
    if (mode == 0) {
        struct pollfd entry = { fd, POLLIN, 0 };
        CHECK(poll(&entry, 1, -1) == 1);
        OK(umf_loop_dispatch(itself, 0));
    }
    while (told.releases == 0)
        sched_yield();
    for (int i = 0; i < 8; i++) {
        CHECK(others[i].calls == 0 && others[i].releases == 1);
        EXPECT(-ECANCELED, umf_watch_result(watches[i]));
        umf_watch_unref(watches[i]);
    }
    disarm();
    until_threads(1);
}

/* A callback ends its loop while another thread of the loop waits for its turn: no thread waits
 * for another. */
static struct umf_fence *far_fence;
static struct told *far_told;
static pid_t far_thread;

static void
end_the_loop_while_another_waits(void)
{
    long before = far_thread ? sleeps_of(far_thread) : 0;
    OK(umf_fence_signal(far_fence, 1));
    if (far_thread) {
        /* The other thread woke up for that, and sleeps again until its turn. */
        while (sleeps_of(far_thread) == before)
            sched_yield();
        until_asleep(getpid(), far_thread);
    }
    end_the_loop();
    CHECK(far_told->calls == 0 && far_told->releases == 1);
}

static void
a_loop_of_several_threads(void)
{
    enum { PAGES = 140 };
    static struct umf_page *pages[PAGES];
    static struct umf_fence *fences[PAGES];
    static struct told never[PAGES];
    pid_t first, both[2];
    int last = -1;
    arm(end_the_loop_while_another_waits);
    until_loop_sleeps();
    CHECK(loop_threads(&first, 1) == 1);
    /* Watches pages until one of them needs another thread. */
    while (threads() == 2) {
        CHECK(++last < PAGES);
        OK(umf_page_create(1, 0, &pages[last]));
        OK(umf_fence_create(pages[last], 0, 0, &fences[last]));
        umf_watch_unref(watch_value(loop, fences[last], 1, &never[last]));
    }
    while (loop_threads(both, 2) < 2)
        sched_yield();
    far_fence = fences[last];
    far_told = &never[last];
    far_thread = mode == 0 ? 0 : both[0] == first ? both[1] : both[0];
    until_loop_sleeps();
    struct umf_loop *itself = loop;
    int fd = umf_loop_fd(loop);
    OK(umf_fence_signal(fence, 1));
    if (mode == 0) {
        CHECK(poll(&(struct pollfd){ fd, POLLIN, 0 }, 1, -1) == 1);
        OK(umf_loop_dispatch(itself, 0));
    }
    while (told.releases == 0 || threads() > 1)
        sched_yield();
    disarm();
    for (int i = 0; i <= last; i++) {
        CHECK(never[i].calls == 0 && never[i].releases == 1);
        umf_fence_unref(fences[i]);
        umf_page_unref(pages[i]);
    }
}

/* A callback makes a watch that is met already, which makes the next. */
enum { CHAIN = 300 };

static int made;

static void
make_the_next(void *data, int result)
{
    on_call(data, result);
    if (++made < CHAIN) {
        struct umf_condition wait = { fence, 1, UMF_OP_GE, 0, 0 };
        struct umf_callback callback = { make_the_next, NULL, data };
        OK(umf_loop_watch(loop, &wait, 0, &callback, NULL));
    }
}

static void
make_the_first(void)
{
    struct umf_condition wait = { fence, 1, UMF_OP_GE, 0, 0 };
    struct umf_callback callback = { make_the_next, NULL, &others[0] };
    OK(umf_loop_watch(loop, &wait, 0, &callback, NULL));
}

static void
new_watches_that_are_met(void)
{
    arm(make_the_first);
    made = 0;
    (void)callback_to(&others[0]);
    struct umf_fence *other;
    OK(umf_fence_create(page, 0, 0, &other));
    struct umf_watch *bystander = watch_value(loop, other, 1, &others[1]);
    until_loop_sleeps();
    if (mode == 0) {
        OK(umf_fence_signal(fence, 1));
        struct pollfd entry = { umf_loop_fd(loop), POLLIN, 0 };
        CHECK(poll(&entry, 1, -1) == 1);
        OK(umf_loop_dispatch(loop, 0));
        CHECK(told.calls == 1 && made == 0);
        /* Other watches that became due are called in between. */
        OK(umf_fence_signal(other, 1));
        UNTIL(loop, others[1].calls == 1);
        CHECK(is_readable(umf_loop_fd(loop)) || made == CHAIN);
        UNTIL(loop, made == CHAIN);
    } else {
        fire();
        OK(umf_fence_signal(other, 1));
        until_called(loop, &others[1], 0);
        UNTIL(loop, atomic_load(&others[0].calls) == CHAIN);
    }
    umf_watch_unref(bystander);
    umf_fence_unref(other);
    disarm();
    CHECK(made == CHAIN);
}

/* An endless chain neither starves other watches nor keeps dispatch from returning. */
static atomic_bool chain_goes_on;

static void
go_on(void *data, int result)
{
    (void)data;
    CHECK(result == 0);
    if (chain_goes_on) {
        struct umf_condition wait = { fence, 1, UMF_OP_GE, 0, 0 };
        struct umf_callback callback = { go_on, NULL, NULL };
        OK(umf_loop_watch(loop, &wait, 0, &callback, NULL));
    }
}

static void
a_chain_without_an_end(void)
{
    arm(NULL);
    fire();
    atomic_store(&chain_goes_on, true);
    go_on(NULL, 0);
    for (uint64_t value = 2; value < 50; value++) {
        struct umf_watch *bystander = watch_value(loop, fence, value, &others[0]);
        OK(umf_fence_signal(fence, value));
        until_called(loop, &others[0], 0);
        umf_watch_unref(bystander);
    }
    atomic_store(&chain_goes_on, false);
    disarm();
}

static void
do_all_sorts(void)
{
    struct umf_fence *mine;
    struct umf_page *again;
    int fd, error;
    OK(umf_fence_wait(fence, 1, FOREVER));
    struct umf_condition wait = { fence, 1, UMF_OP_GE, 0, 0 };
    OK(umf_wait(&wait, 1, UMF_WAIT_ANY, FOREVER, NULL));
    EXPECT(0, umf_watch_result(watch));
    EXPECT(-EALREADY, umf_watch_cancel(watch));
    EXPECT(mode == 0 ? -EALREADY : -EINVAL, umf_loop_dispatch(loop, 0));
    OK(umf_page_export(page, 0, &fd));
    OK(umf_page_import(fd, 0, &again));
    close(fd);
    OK(umf_fence_create(again, 0, 0, &mine));
    struct umf_watch *fresh = watch_value(loop, mine, 1, &others[0]);
    OK(umf_watch_cancel(fresh));
    umf_watch_unref(fresh);
    umf_watch_unref(watch_value(loop, mine, 2, &others[1]));
    OK(umf_fence_signal(mine, 2));
    CHECK(others[1].calls == 0); /* not in this loop's callback */
    OK(umf_fence_error(mine, &error));
    umf_fence_unref(mine);
    umf_page_unref(again);
    /* Another loop may be waited for. */
    struct umf_loop *another = create_loop(0);
    umf_watch_unref(watch_value(another, fence, 1, &others[2]));
    OK(umf_loop_dispatch(another, 0));
    CHECK(others[2].result == NOT_CALLED || others[2].result == 0);
    umf_loop_unref(another);
    CHECK(others[2].releases == 1);
}

static void
any_other_call(void)
{
    arm(do_all_sorts);
    fire();
    until_called(loop, &others[1], 0);
    disarm();
}

/* Two threads dispatch: one runs callbacks, the other gets an error. */
static atomic_int in_callback, may_return;

static void
stay_in_callback(void)
{
    atomic_store(&in_callback, 1);
    while (!atomic_load(&may_return))
        sched_yield();
}

static void *
dispatch_until_stopped(void *unused)
{
    (void)unused;
    until_called(loop, &told, 0);
    return NULL;
}

static void
two_threads_that_dispatch(void)
{
    pthread_t other;
    atomic_store(&in_callback, 0);
    atomic_store(&may_return, 0);
    arm(stay_in_callback);
    CHECK(pthread_create(&other, NULL, dispatch_until_stopped, NULL) == 0);
    OK(umf_fence_signal(fence, 1));
    while (!atomic_load(&in_callback))
        sched_yield();
    for (int i = 0; i < 100; i++)
        EXPECT(-EALREADY, umf_loop_dispatch(loop, 0));
    EXPECT(-EALREADY, umf_watch_cancel(watch));
    CHECK(told.releases == 0);
    atomic_store(&may_return, 1);
    CHECK(pthread_join(other, NULL) == 0);
    OK(umf_loop_dispatch(loop, 0));
    disarm();
}

/* Ending a loop with a thread waits for the callback that runs. */
static int hold[2];

static void
read_the_pipe(void)
{
    char byte;
    atomic_store(&in_callback, 1);
    CHECK(read(hold[0], &byte, 1) == 1);
    CHECK(told.releases == 0);
}

static atomic_int ended;
static _Atomic pid_t ender;

static void *
end_it(void *unused)
{
    (void)unused;
    atomic_store(&ender, gettid());
    umf_loop_unref(loop);
    CHECK(told.releases == 1);
    atomic_store(&ended, 1);
    return NULL;
}

static void
the_end_waits_for_a_callback(void)
{
    pthread_t other;
    CHECK(pipe(hold) == 0);
    atomic_store(&in_callback, 0);
    atomic_store(&ended, 0);
    atomic_store(&ender, 0);
    arm(read_the_pipe);
    struct umf_watch *waiting = watch_value(loop, fence, 2, &others[0]);
    OK(umf_fence_signal(fence, 1));
    while (!atomic_load(&in_callback))
        sched_yield();
    CHECK(pthread_create(&other, NULL, end_it, NULL) == 0);
    while (ender == 0)
        sched_yield();
    until_asleep(getpid(), ender); /* in pthread_join */
    CHECK(ended == 0 && told.releases == 0 && others[0].releases == 1);
    CHECK(write(hold[1], "", 1) == 1);
    CHECK(pthread_join(other, NULL) == 0);
    CHECK(ended == 1 && others[0].calls == 0);
    EXPECT(-ECANCELED, umf_watch_result(waiting));
    umf_watch_unref(waiting);
    loop = NULL;
    disarm();
    close(hold[0]);
    close(hold[1]);
}

/* A loop ends while its fences are signaled: each callback was called or released by then. */
static atomic_uint next_round, done_rounds;
static struct umf_fence *_Atomic racing[2];

static void *
signal_each_round(void *count)
{
    for (unsigned round = 1; round <= *(unsigned *)count; round++) {
        while (atomic_load(&next_round) < round)
            sched_yield();
        OK(umf_fence_signal(racing[0], round));
        OK(umf_fence_signal(racing[1], round));
        atomic_store(&done_rounds, round);
    }
    return NULL;
}

static void
the_end_against_signals(void)
{
    unsigned count = rounds(1000, 50), called = 0;
    struct umf_page *pages[2];
    struct umf_fence *fences[2];
    pthread_t signaler;
    atomic_store(&next_round, 0);
    atomic_store(&done_rounds, 0);
    for (int i = 0; i < 2; i++) {
        OK(umf_page_create(1, 0, &pages[i]));
        OK(umf_fence_create(pages[i], 0, 0, &fences[i]));
        racing[i] = fences[i];
    }
    CHECK(pthread_create(&signaler, NULL, signal_each_round, &count) == 0);
    int fds = open_fds();
    for (unsigned round = 1; round <= count; round++) {
        struct umf_watch *watches[8];
        loop = create_loop(mode);
        for (int i = 0; i < 8; i++)
            watches[i] = watch_value(loop, fences[i % 2], round, &others[i]);
        atomic_store(&next_round, round);
        for (uint64_t until = in_ns(round % 64 * 6000); now_ns() < until;)
            ;
        if (mode == 0 && round % 2)
            OK(umf_loop_dispatch(loop, 0));
        umf_loop_unref(loop);
        for (int i = 0; i < 8; i++) {
            CHECK(others[i].releases == 1);
            EXPECT(others[i].calls ? 0 : -ECANCELED, umf_watch_result(watches[i]));
            called += (unsigned)others[i].calls;
            umf_watch_unref(watches[i]);
        }
        while (atomic_load(&done_rounds) < round)
            sched_yield();
        CHECK(open_fds() == fds); /* the loop itself is freed */
    }
    CHECK(pthread_join(signaler, NULL) == 0);
    printf("%u of %u called\n", called, 8 * count);
    for (int i = 0; i < 2; i++) {
        umf_fence_unref(fences[i]);
        umf_page_unref(pages[i]);
    }
}

/* Ending a loop cancels a due watch, whose release makes another watch due. */
static void
release_and_signal(void *data)
{
    pid_t tid;
    CHECK(loop_threads(&tid, 1) == 1);
    long before = sleeps_of(tid);
    OK(umf_fence_signal(fence, 2));
    while (sleeps_of(tid) == before)
        sched_yield();
    until_loop_sleeps();
    on_release(data);
}

static void
what_falls_due_while_the_loop_ends(void)
{
    arm(NULL);
    struct umf_fence *first;
    OK(umf_fence_create(page, 0, 0, &first));
    struct umf_condition wait = { first, 1, UMF_OP_GE, 0, 0 };
    struct umf_callback callback = callback_to(&others[0]);
    callback.release = release_and_signal;
    OK(umf_loop_watch(loop, &wait, 0, &callback, NULL));
    struct umf_watch *second = watch_value(loop, fence, 2, &others[1]);
    until_loop_sleeps();
    OK(umf_fence_signal(first, 1));
    CHECK(poll(&(struct pollfd){ umf_loop_fd(loop), POLLIN, 0 }, 1, -1) == 1);
    until_loop_sleeps();
    int fds = open_fds();
    end_the_loop();
    for (int i = 0; i < 2; i++)
        CHECK(others[i].calls == 0 && others[i].releases == 1);
    CHECK(told.calls == 0 && told.releases == 1);
    EXPECT(-ECANCELED, umf_watch_result(second));
    umf_watch_unref(second);
    umf_fence_unref(first);
    disarm();
    CHECK(open_fds() < fds);
}

/* The release of a notifier, which goes with the last watch of a fence, may call the library
 * too. */
static void
release_a_notifier(void *data)
{
    struct umf_watch *other = data;
    int answer = umf_watch_cancel(other);
    CHECK(answer == 0 || answer == -EALREADY);
    atomic_store(&ended, 1);
}

static int
wait_for_nothing(void *data, uint64_t deadline)
{
    (void)data;
    (void)deadline;
    return 0;
}

static void
the_release_of_a_notifier(void)
{
    for (int cancel = 0; cancel < 2; cancel++) {
        struct umf_fence *device;
        arm(NULL);
        atomic_store(&ended, 0);
        OK(umf_fence_create(page, 0, UMF_FENCE_DEVICE, &device));
        struct umf_interrupt interrupt = { sizeof(interrupt), -1, wait_for_nothing, watch,
                                           release_a_notifier };
        struct umf_notifier *notifier;
        OK(umf_notifier_create(&interrupt, 0, &notifier));
        OK(umf_fence_set_notifier(device, notifier));
        umf_notifier_unref(notifier);
        struct umf_watch *last = watch_value(loop, device, 1, &others[0]);
        uint32_t index = umf_fence_index(device);
        umf_fence_unref(device);
        if (cancel) {
            OK(umf_watch_cancel(last));
        } else {
            OK(umf_fence_open(page, index, 0, &device));
            OK(umf_fence_signal(device, 1));
            umf_fence_unref(device);
            until_called(loop, &others[0], 0);
        }
        UNTIL(loop, atomic_load(&ended));
        OK(umf_watch_cancel(watch));
        umf_watch_unref(last);
        disarm();
    }
}

int
main(int argc, char **argv)
{
    watchdog(50);
    if (argc == 2 && strcmp(argv[1], "sandbox") == 0)
        forbid_futex_waitv(ENOSYS);
    for (size_t m = 0; m < ARRAY_SIZE(modes); m++) {
        mode = modes[m];
        the_last_references();
        for (int where = CALL; where < RELEASES; where++)
            a_loop_that_a_release_ends((enum release_in)where);
        those_that_are_due_when_the_loop_ends();
        a_loop_of_several_threads();
        new_watches_that_are_met();
        a_chain_without_an_end();
        any_other_call();
        if (mode == 0)
            what_falls_due_while_the_loop_ends();
        if (mode == 0)
            two_threads_that_dispatch();
        else
            the_end_waits_for_a_callback();
        the_release_of_a_notifier();
        the_end_against_signals();
    }
    return 0;
}
