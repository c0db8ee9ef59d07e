// SPDX-License-Identifier: MIT
/*
 * A device writes the fences of a page that only its creator can write. That is what a compositor
 * wants from a client that it does not trust: the client's device writes, the compositor maps the
 * page for reading, and neither side needs the other's device.
 */
#include "device_memory.h"
#include "process.h"
#include "sleeper.h"
#include "watch.h"

#define ROUNDS 200

static struct umf_page *page;
static char *memory;

static uint64_t *
word(const struct umf_fence *fence)
{
    return (uint64_t *)(void *)(memory + umf_fence_offset(fence));
}

/* All that the compositor may do, for fences in the page and for one in the device's memory. */
static void
compositor(int sock)
{
    struct device_memory m;
    void *bytes = NULL;
    uint32_t any;
    struct umf_page *theirs = recv_page(sock);
    struct umf_fence *fence = recv_fence(sock, theirs), *narrow = recv_fence(sock, theirs);
    struct umf_fence *external, *made;
    map_device_memory(&m, recv_fd(sock));
    struct umf_mapping mapping = device_memory_at(&m, 0);
    OK(umf_fence_open_in(theirs, (uint32_t)hear(sock), &mapping, 0, &external));
    OK(umf_set_spin(0, 0, 0));

    CHECK(umf_page_flags(theirs) == UMF_PAGE_SINGLE_WRITER);
    EXPECT(-EACCES, umf_page_get_memory(theirs, UMF_PAGE_MEMORY_WRITE, &bytes, NULL));
    EXPECT(-EACCES, umf_fence_create(theirs, 0, UMF_FENCE_DEVICE, &made));
    EXPECT(-EACCES, umf_page_set_error(theirs, -EIO));
    EXPECT(-EACCES, umf_page_notify(theirs));
    EXPECT(-EACCES, umf_fence_notify(fence));
    EXPECT(-EACCES, umf_fence_signal(fence, 1));
    EXPECT(-EACCES, umf_fence_end(fence));
    CHECK(umf_fence_monitored_offset(fence) == UINT64_MAX);
    /* The same memory, at the same offset, for reading. */
    OK(umf_page_get_memory(theirs, 0, &bytes, NULL));
    CHECK(*(volatile uint64_t *)(void *)((char *)bytes + umf_fence_offset(fence)) == 0);

    struct umf_loop *loop = create_loop(UMF_LOOP_THREAD);
    struct told told;
    for (uint64_t value = 1; value <= ROUNDS; value++) {
        struct umf_condition list[2] = { { .fence = fence, .value = value },
                                         { .fence = fence, .value = UINT64_MAX } };
        tell(sock, value);
        switch (value % 4) {
        case 0: OK(umf_fence_wait(fence, value, FOREVER)); break;
        case 1:
            OK(umf_wait(list, 2, UMF_WAIT_ANY, FOREVER, &any));
            CHECK(any == 0);
            break;
        case 2: OK(umf_wait(list, 1, 0, FOREVER, NULL)); break;
        case 3: {
            struct umf_callback callback = callback_to(&told);
            OK(umf_loop_watch(loop, list, 0, &callback, NULL));
            UNTIL(loop, told.releases == 1);
            CHECK(told.calls == 1 && told.result == 0);
        }
        }
        CHECK(umf_fence_value(fence) == value);
        OK(umf_fence_wait(narrow, (uint32_t)(UINT32_MAX - 3 + value), FOREVER));
        OK(umf_fence_wait(external, value, FOREVER));
    }
    tell(sock, ROUNDS + 1);
    EXPECT(-EIO, umf_fence_wait(fence, UINT64_MAX, FOREVER));
    umf_loop_unref(loop);
    umf_fence_unref(external);
    umf_fence_unref(narrow);
    umf_fence_unref(fence);
    umf_page_unref(theirs);
    unmap_device_memory(&m);
}

/* The client. Its device is a child, which has nothing but the mappings. Every other value comes
 * with a notification. */
static void
a_client_s_device_signals_to_a_compositor(struct peer *peer)
{
    struct umf_fence *fence, *narrow, *external;
    struct device_memory m;
    void *bytes;
    int ends[2];
    pid_t device;
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
    OK(umf_page_get_memory(page, UMF_PAGE_MEMORY_WRITE, &bytes, NULL));
    memory = bytes;
    create_device_memory(&m);
    struct umf_mapping mapping = device_memory_at(&m, 0);
    OK(umf_fence_create(page, 0, UMF_FENCE_DEVICE, &fence));
    OK(umf_fence_create(page, UINT32_MAX - 3, UMF_FENCE_DEVICE | UMF_FENCE_32BIT, &narrow));
    OK(umf_fence_create_in(page, &mapping, 0, &external));
    CHECK(umf_fence_monitored_offset(fence) == UINT64_MAX);
    send_page(peer->sock, page);
    tell(peer->sock, umf_fence_index(fence));
    tell(peer->sock, umf_fence_index(narrow));
    send_fd(peer->sock, m.fd);
    tell(peer->sock, umf_fence_index(external));
    IN_CHILD(device, for (uint64_t value = 1; value <= ROUNDS; value++) {
        hear(ends[1]);
        __atomic_store_n((uint32_t *)word(narrow), (uint32_t)(UINT32_MAX - 3 + value),
                         __ATOMIC_RELEASE);
        device_writes_at(&m, 0, value);
        __atomic_store_n(word(fence), value, __ATOMIC_RELEASE);
        tell(ends[1], value);
    });
    for (uint64_t value = 1; value <= ROUNDS; value++) {
        CHECK(hear(peer->sock) == value);
        tell(ends[0], value);
        CHECK(hear(ends[0]) == value);
        if (value % 3 == 1)
            OK(umf_page_notify(page));
        if (value % 3 == 2)
            OK(umf_fence_notify(fence));
    }
    join_child(device);
    hear(peer->sock);
    OK(umf_page_set_error(page, -ENODEV));
    end_peer(peer);
    umf_fence_unref(external);
    umf_fence_unref(narrow);
    umf_fence_unref(fence);
    unmap_device_memory(&m);
    close(ends[0]);
    close(ends[1]);
}

/* A notification wakes a waiter that did not register, in the client too: it sleeps, and polls
 * seldom after a while. With a notifier it does not poll at all. */
static void
the_client_waits_with_a_notifier(void)
{
    struct umf_fence *fence;
    struct umf_notifier *notifier;
    void *bytes;
    int interrupt = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct umf_interrupt source = { .size = sizeof(source), .fd = interrupt };
    CHECK(interrupt >= 0);
    OK(umf_page_get_memory(page, UMF_PAGE_MEMORY_WRITE, &bytes, NULL));
    memory = bytes;
    OK(umf_fence_create(page, 0, UMF_FENCE_DEVICE, &fence));
    OK(umf_notifier_create(&source, 0, &notifier));
    OK(umf_page_set_notifier(page, notifier));
    for (uint64_t value = 1; value <= 50; value++) {
        struct umf_condition list[2] = { { .fence = fence, .value = value },
                                         { .fence = fence, .value = value } };
        struct sleeper sleepers[3] = { { .fence = fence, .value = value },
                                       { .fence = fence, .value = value },
                                       { .waits = list, .count = 2, .flags = UMF_WAIT_ANY } };
        for (int i = 0; i < 3; i++)
            start_sleeper(&sleepers[i]);
        __atomic_store_n(word(fence), value, __ATOMIC_RELEASE);
        CHECK(write(interrupt, &(uint64_t){ 1 }, 8) == 8);
        for (int i = 0; i < 3; i++)
            EXPECT(0, end_of(&sleepers[i]));
    }
    umf_fence_unref(fence);
    umf_notifier_unref(notifier);
    close(interrupt);
}

int
main(void)
{
    struct peer peer = start_peer(compositor);
    watchdog(50);
    int made = umf_page_create(8, UMF_PAGE_SINGLE_WRITER, &page);
    if (made == -EOPNOTSUPP) {
        printf("not available: a kernel without F_SEAL_FUTURE_WRITE\n");
        return SKIPPED;
    }
    OK(made);
    a_client_s_device_signals_to_a_compositor(&peer);
    the_client_waits_with_a_notifier();
    umf_page_unref(page);
    return 0;
}
