// SPDX-License-Identifier: MIT
/*
 * examples/d3d12-fence against Microsoft's documentation: a test for each sentence that says what a
 * fence does, which stands above it. Then what applications rely on: rewinds, other processes, and
 * one thread for any number of events.
 */
#include "process.h"
#include "sleeper.h"
#include "watch.h"

#include "../../examples/d3d12-fence/d3d12_fence.h"

#include <poll.h>
#include <sys/eventfd.h>

static struct d3d12_device *device;

static struct d3d12_fence *
fence_at(uint64_t value)
{
    struct d3d12_fence *fence;
    OK(d3d12_create_fence(device, value, D3D12_FENCE_FLAG_NONE, &fence));
    return fence;
}

static int
new_event(void)
{
    int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    CHECK(event >= 0);
    return event;
}

/* Waits for the event, and resets it. */
static void
is_raised(int event)
{
    struct pollfd entry = { event, POLLIN, 0 };
    eventfd_t count;
    CHECK(poll(&entry, 1, 20000) == 1);
    CHECK(eventfd_read(event, &count) == 0 && count == 1);
}

/* Not raised, after the loop has had work to do: a later event of the same thread is there. */
static void
is_not_raised(int event)
{
    struct d3d12_fence *other = fence_at(0);
    int later = new_event();
    eventfd_t count;
    OK(d3d12_set_event_on_completion(other, 1, later));
    OK(d3d12_signal(other, 1));
    is_raised(later);
    CHECK(eventfd_read(event, &count) < 0 && errno == EAGAIN);
    close(later);
    d3d12_fence_release(other);
}

/* A thread that makes a call without an event. */
struct caller {
    struct d3d12_fence *const *fences;
    const uint64_t *values;
    unsigned count, flags;
    _Atomic pid_t tid;
    HRESULT result;
    pthread_t thread;
};

static void *
calls(void *data)
{
    struct caller *c = data;
    atomic_store(&c->tid, gettid());
    c->result = c->count == 0
                    ? d3d12_set_event_on_completion(c->fences[0], c->values[0], NO_EVENT)
                    : d3d12_set_event_on_multiple_fence_completion(device, c->fences, c->values,
                                                                   c->count, c->flags, NO_EVENT);
    return NULL;
}

static void
start_call(struct caller *c)
{
    CHECK(pthread_create(&c->thread, NULL, calls, c) == 0);
    while (!atomic_load(&c->tid))
        sched_yield();
    until_asleep(getpid(), c->tid);
}

static HRESULT
end_of_call(struct caller *c)
{
    CHECK(pthread_join(c->thread, NULL) == 0);
    return c->result;
}

/* GetCompletedValue: "Gets the current value of the fence." */
static void
it_gets_the_current_value(void)
{
    struct d3d12_fence *fence = fence_at(5);
    CHECK(d3d12_get_completed_value(fence) == 5);
    OK(d3d12_signal(fence, 7));
    CHECK(d3d12_get_completed_value(fence) == 7);
    d3d12_fence_release(fence);
}

/* Signal: "Sets the fence to the specified value." So also to a smaller one, and to any. */
static void
it_sets_the_fence_to_the_value(void)
{
    static const uint64_t values[] = { 7, 3, 3, UINT64_MAX, 0, UINT64_C(1) << 63, 1 };
    struct d3d12_fence *fence = fence_at(0);
    for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
        OK(d3d12_signal(fence, values[i]));
        CHECK(d3d12_get_completed_value(fence) == values[i]);
    }
    d3d12_fence_release(fence);
}

/* SetEventOnCompletion: "Specifies an event that's raised when the fence reaches a certain
 * value." */
static void
the_event_is_raised_when_the_fence_reaches_the_value(void)
{
    struct d3d12_fence *fence = fence_at(0);
    int event = new_event();
    OK(d3d12_set_event_on_completion(fence, 5, event));
    OK(d3d12_signal(fence, 4));
    is_not_raised(event);
    OK(d3d12_signal(fence, 5));
    is_raised(event);
    OK(d3d12_set_event_on_completion(fence, 5, event)); /* it has reached it */
    is_raised(event);
    OK(d3d12_set_event_on_completion(fence, 10, event));
    OK(d3d12_signal(fence, 30)); /* or passed it */
    is_raised(event);
    close(event);
    d3d12_fence_release(fence);
}

/* "If hEvent is a null handle, then this API will not return until the specified fence value(s)
 * have been reached." */
static void
without_an_event_the_call_returns_when_the_value_is_reached(void)
{
    struct d3d12_fence *fence = fence_at(0);
    struct caller caller = { .fences = &fence, .values = &(uint64_t){ 5 } };
    start_call(&caller);
    OK(d3d12_signal(fence, 4));
    until_asleep(getpid(), caller.tid);
    OK(d3d12_signal(fence, 5));
    OK(end_of_call(&caller));
    d3d12_fence_release(fence);
}

/* "This method can be safely called from multiple threads at one time." */
enum { THREADS = 4, VALUES = 100 };
struct setter {
    struct d3d12_fence *fence;
    unsigned first; /* of the values for which it sets events: every THREADSth */
    int events[VALUES];
    pthread_t thread;
};

static void *
sets_events(void *data)
{
    struct setter *s = data;
    for (unsigned i = 0; i < VALUES; i++)
        OK(d3d12_set_event_on_completion(s->fence, i * THREADS + s->first, s->events[i]));
    return NULL;
}

static void
several_threads_set_events_at_one_time(void)
{
    struct d3d12_fence *fence = fence_at(0);
    static struct setter setters[THREADS];
    for (unsigned t = 0; t < THREADS; t++) {
        setters[t] = (struct setter){ .fence = fence, .first = t + 1 };
        for (int i = 0; i < VALUES; i++)
            setters[t].events[i] = new_event();
        CHECK(pthread_create(&setters[t].thread, NULL, sets_events, &setters[t]) == 0);
    }
    for (uint64_t value = 1; value <= THREADS * VALUES; value++)
        OK(d3d12_signal(fence, value));
    for (unsigned t = 0; t < THREADS; t++) {
        CHECK(pthread_join(setters[t].thread, NULL) == 0);
        for (int i = 0; i < VALUES; i++) {
            is_raised(setters[t].events[i]);
            close(setters[t].events[i]);
        }
    }
    d3d12_fence_release(fence);
}

/* SetEventOnMultipleFenceCompletion, NONE and ALL: "No flags are being passed. This means to use
 * the default behavior, which is to wait for all fences before signaling the event." */
static void
by_default_the_event_waits_for_all_fences(void)
{
    struct d3d12_fence *fences[] = { fence_at(0), fence_at(0), fence_at(9) };
    static const uint64_t values[] = { 5, 6, 7 };
    int event = new_event();
    OK(d3d12_set_event_on_multiple_fence_completion(
        device, fences, values, 3, D3D12_MULTIPLE_FENCE_WAIT_FLAG_NONE, event));
    OK(d3d12_signal(fences[1], 6));
    is_not_raised(event);
    /* The one that was reached is rewound, and so is the one that was reached from the start. */
    OK(d3d12_signal(fences[1], 0));
    OK(d3d12_signal(fences[2], 0));
    OK(d3d12_signal(fences[0], 5));
    is_raised(event);

    struct caller caller = { .fences = fences, .values = values, .count = 3,
                             .flags = D3D12_MULTIPLE_FENCE_WAIT_FLAG_ALL };
    OK(d3d12_signal(fences[0], 0));
    start_call(&caller);
    for (int i = 0; i < 3; i++)
        OK(d3d12_signal(fences[i], 10));
    OK(end_of_call(&caller));
    close(event);
    for (int i = 0; i < 3; i++)
        d3d12_fence_release(fences[i]);
}

/* ANY: "the event should be signaled after any one of the fence values has been reached by its
 * corresponding fence." */
static void
with_any_the_event_waits_for_one_fence(void)
{
    struct d3d12_fence *fences[] = { fence_at(0), fence_at(0) };
    static const uint64_t values[] = { 5, 6 };
    int event = new_event();
    OK(d3d12_set_event_on_multiple_fence_completion(
        device, fences, values, 2, D3D12_MULTIPLE_FENCE_WAIT_FLAG_ANY, event));
    OK(d3d12_signal(fences[1], 5)); /* that of the other fence */
    is_not_raised(event);
    OK(d3d12_signal(fences[1], 6));
    is_raised(event);
    OK(d3d12_signal(fences[0], 5));
    is_not_raised(event); /* once */

    struct caller caller = { .fences = fences, .values = values, .count = 2,
                             .flags = D3D12_MULTIPLE_FENCE_WAIT_FLAG_ANY };
    for (int i = 0; i < 2; i++)
        OK(d3d12_signal(fences[i], 0));
    start_call(&caller);
    OK(d3d12_signal(fences[0], 5));
    OK(end_of_call(&caller));
    close(event);
    for (int i = 0; i < 2; i++)
        d3d12_fence_release(fences[i]);
}

static void
arguments_are_checked(void)
{
    struct d3d12_fence *fence = fence_at(0);
    struct d3d12_handle handle;
    int event = new_event(), plain = open("/dev/null", O_RDONLY | O_CLOEXEC);
    EXPECT(E_INVALIDARG, d3d12_create_fence(device, 0, 2, &fence));
    /* Not D3D12_FENCE_FLAG_SHARED. */
    EXPECT(E_INVALIDARG, d3d12_create_shared_handle(fence, &handle));
    EXPECT(E_INVALIDARG, d3d12_set_event_on_completion(fence, 1, plain));
    uint64_t value = 1;
    EXPECT(E_INVALIDARG,
           d3d12_set_event_on_multiple_fence_completion(device, &fence, &value, 0, 0, event));
    EXPECT(E_INVALIDARG,
           d3d12_set_event_on_multiple_fence_completion(device, &fence, &value, 1, 2, event));
    handle = (struct d3d12_handle){ plain, 0 };
    EXPECT(E_INVALIDARG, d3d12_open_shared_handle(device, handle, &fence));
    close(plain);
    close(event);
    d3d12_fence_release(fence);
}

/* A rewind does not take an event back, however soon it follows. */
static void
a_value_that_was_reached_counts_although_the_fence_is_rewound(void)
{
    struct d3d12_fence *fence = fence_at(0);
    int events[200];
    for (size_t i = 0; i < ARRAY_SIZE(events); i++) {
        events[i] = new_event();
        OK(d3d12_set_event_on_completion(fence, i % 10 + 1, events[i]));
        OK(d3d12_signal(fence, i % 10 + 1));
        OK(d3d12_signal(fence, 0));
    }
    for (size_t i = 0; i < ARRAY_SIZE(events); i++) {
        is_raised(events[i]);
        close(events[i]);
    }
    CHECK(d3d12_get_completed_value(fence) == 0);
    d3d12_fence_release(fence);
}

/* The other process: raises an event of its own, then rewinds, then is told of a removal. */
static void
has_a_shared_fence(int sock)
{
    struct d3d12_device *theirs;
    struct d3d12_fence *fence;
    struct d3d12_handle handle = { .fd = recv_fd(sock) };
    int event = new_event();
    handle.index = (uint32_t)hear(sock);
    OK(d3d12_device_create(&theirs));
    OK(d3d12_open_shared_handle(theirs, handle, &fence));
    close(handle.fd);
    CHECK(d3d12_get_completed_value(fence) == 9);
    OK(d3d12_signal(fence, 2));
    OK(d3d12_set_event_on_completion(fence, 5, event));
    tell(sock, 1);
    is_raised(event);
    OK(d3d12_set_event_on_completion(fence, 100, event));
    tell(sock, 1);
    is_raised(event);
    CHECK(d3d12_get_completed_value(fence) == UINT64_MAX);
    EXPECT(DXGI_ERROR_DEVICE_REMOVED, d3d12_signal(fence, 1));
    close(event);
    d3d12_fence_release(fence);
    d3d12_device_release(theirs);
}

/* GetCompletedValue: "If the device has been removed, the return value will be UINT64_MAX." */
static void
a_shared_fence_completes_when_the_device_is_removed(struct peer peer)
{
    struct d3d12_device *removed;
    struct d3d12_fence *fence, *other;
    struct d3d12_handle handle;
    int event = new_event(), many = new_event();
    OK(d3d12_device_create(&removed));
    OK(d3d12_create_fence(removed, 9, D3D12_FENCE_FLAG_SHARED, &fence));
    OK(d3d12_create_fence(removed, UINT64_MAX - 1, D3D12_FENCE_FLAG_NONE, &other));
    OK(d3d12_create_shared_handle(fence, &handle));
    send_fd(peer.sock, handle.fd);
    tell(peer.sock, handle.index);
    close(handle.fd);
    hear(peer.sock);
    CHECK(d3d12_get_completed_value(fence) == 2);
    OK(d3d12_signal(fence, 7)); /* and back at once */
    OK(d3d12_signal(fence, 0));
    hear(peer.sock);

    OK(d3d12_set_event_on_completion(other, UINT64_MAX, event));
    OK(d3d12_set_event_on_multiple_fence_completion(
        removed, (struct d3d12_fence *[]){ fence, other }, (uint64_t[]){ 50, UINT64_MAX }, 2,
        D3D12_MULTIPLE_FENCE_WAIT_FLAG_ALL, many));
    d3d12_device_remove(removed);
    is_raised(event);
    is_raised(many);
    CHECK(d3d12_get_completed_value(fence) == UINT64_MAX);
    CHECK(d3d12_get_completed_value(other) == UINT64_MAX);
    OK(d3d12_set_event_on_completion(other, UINT64_MAX, NO_EVENT));
    OK(d3d12_set_event_on_completion(other, UINT64_MAX, event));
    is_raised(event);
    EXPECT(DXGI_ERROR_DEVICE_REMOVED, d3d12_signal(other, 1));
    end_peer(&peer);
    d3d12_fence_release(fence);
    OK(d3d12_create_fence(removed, 3, D3D12_FENCE_FLAG_NONE, &fence));
    CHECK(d3d12_get_completed_value(fence) == UINT64_MAX);
    d3d12_fence_release(fence);
    d3d12_fence_release(other);
    d3d12_device_release(removed);
    close(event);
    close(many);
}

/* Microsoft's documentation does not say so, and Windows does it: nobody can signal the fence any
 * more. */
static void
the_last_reference_ends_the_waits(void)
{
    struct d3d12_fence *fence;
    int event = new_event();
    OK(d3d12_create_fence(device, 0, D3D12_FENCE_FLAG_NONE, &fence));
    OK(d3d12_set_event_on_completion(fence, UINT64_MAX, event));
    d3d12_fence_release(fence);
    is_raised(event);
    close(event);
}

/* 1,000 shared fences, each with an event that waits. */
static void
a_thousand_fences_take_one_thread(void)
{
    static struct d3d12_fence *fences[1000];
    int event = new_event(), before = open_fds();
    for (size_t i = 0; i < ARRAY_SIZE(fences); i++) {
        OK(d3d12_create_fence(device, 0, D3D12_FENCE_FLAG_SHARED, &fences[i]));
        OK(d3d12_set_event_on_completion(fences[i], 1, event));
    }
    /* The thread of the private fences is the same one. */
    until_threads(2);
    CHECK(open_fds() - before <= 1000 + 2);
    for (size_t i = 0; i < ARRAY_SIZE(fences); i++) {
        OK(d3d12_signal(fences[i], 1));
        is_raised(event);
        d3d12_fence_release(fences[i]);
    }
    close(event);
}

int
main(void)
{
    struct peer peer = start_peer(has_a_shared_fence);
    watchdog(50);
    OK(d3d12_device_create(&device));
    it_gets_the_current_value();
    it_sets_the_fence_to_the_value();
    the_event_is_raised_when_the_fence_reaches_the_value();
    without_an_event_the_call_returns_when_the_value_is_reached();
    several_threads_set_events_at_one_time();
    by_default_the_event_waits_for_all_fences();
    with_any_the_event_waits_for_one_fence();
    arguments_are_checked();
    a_value_that_was_reached_counts_although_the_fence_is_rewound();
    the_last_reference_ends_the_waits();
    a_thousand_fences_take_one_thread();
    d3d12_device_release(device);
    OK(d3d12_device_create(&device));
    a_shared_fence_completes_when_the_device_is_removed(peer);
    d3d12_device_release(device);
    return 0;
}
