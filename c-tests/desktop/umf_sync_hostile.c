// SPDX-License-Identifier: MIT
/*
 * umf-sync-v1 among hostile clients: those that ring, forge, truncate, fail and never signal, and
 * have as many commits held as they may. Another client has three frames in flight meanwhile: each
 * of its frames is shown, and none before its UMF is reached.
 */
#include "desktop.h"
#include "process.h"

enum { IN_FLIGHT = 3, FRAMES = 60 };

/* --- The attacks ----------------------------------------------------------------------------- */

struct attacker {
    struct desktop desktop;
    struct window window;
    struct umf_page *page;
    struct value at;
};

static void
start(struct attacker *a)
{
    connect_desktop(&a->desktop);
    OK(umf_page_create(a->desktop.max_fences, 0, &a->page));
    a->at = (struct value){ .page = share_page(&a->desktop, a->page), .value = 1 };
    OK(umf_fence_create(a->page, 0, 0, &a->at.fence));
    open_window(&a->desktop, &a->window);
}

/* Has as many commits held as the compositor allows, for values that come soon or never. */
static void
hold_all(struct attacker *a)
{
    for (uint32_t i = 0; i < a->desktop.max_commits; i++) {
        struct value at = a->at;
        at.value = UINT64_MAX - a->desktop.max_commits + i;
        show_later(&a->window, at);
    }
    roundtrip(&a->desktop);
}

/* Signals as fast as it can, where the compositor waits for values that never come. */
static void
ring(int sock)
{
    struct attacker a;
    start(&a);
    hold_all(&a);
    tell(sock, 0);
    for (uint64_t value = 1;; value++)
        OK(umf_fence_signal(a.at.fence, value));
}

/* Writes what it likes into the page. */
static void
forge(int sock)
{
    struct attacker a;
    void *memory;
    uint64_t size, random = 1;
    start(&a);
    OK(umf_page_get_memory(a.page, UMF_PAGE_MEMORY_WRITE, &memory, &size));
    hold_all(&a);
    tell(sock, 0);
    for (;;)
        ((volatile uint64_t *)memory)[random_word(&random) % (size / 8)] = random_word(&random);
}

/* Takes the page's and the buffers' memory away. The seals of the page keep its size. */
static void
truncate_all(int sock)
{
    struct attacker a;
    int fd;
    uint64_t size;
    void *memory;
    start(&a);
    OK(umf_page_export(a.page, 0, &fd));
    OK(umf_page_get_memory(a.page, 0, &memory, &size));
    hold_all(&a);
    tell(sock, 0);
    for (;;) {
        CHECK(ftruncate(fd, 0) < 0 && errno == EPERM);
        CHECK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)size) == 0);
        sched_yield();
    }
}

/* Fails frame after frame, and begins anew with another window. */
static void
fail_frames(int sock)
{
    struct attacker a;
    start(&a);
    OK(umf_fence_set_error(a.at.fence, -EIO));
    tell(sock, 0);
    for (;;) {
        struct window window;
        open_window(&a.desktop, &window);
        for (unsigned i = 0; i < a.desktop.max_commits; i++)
            show_later(&window, a.at);
        until_dropped(&window, a.desktop.max_commits);
        close_window(&window);
        roundtrip(&a.desktop);
    }
}

/* Has commits held, and disconnects. */
static void
come_and_go(int sock)
{
    for (bool told = false;; told = true) {
        struct attacker a;
        start(&a);
        hold_all(&a);
        disconnect_desktop(&a.desktop);
        munmap(a.window.pixels, (size_t)SIDE * SIDE * 4 * BUFFERS);
        umf_fence_unref(a.at.fence);
        umf_page_unref(a.page);
        if (!told)
            tell(sock, 0);
    }
}

/* --- The victim ------------------------------------------------------------------------------ */

static struct window window;

static uint32_t
color_of(uint64_t frame)
{
    return 0x500000 + (uint32_t)frame;
}

/* Completes a frame when told its number. */
static void
gpu(int sock)
{
    struct umf_page *page;
    struct umf_fence *done;
    OK(umf_page_create(1, 0, &page));
    OK(umf_fence_create(page, 0, 0, &done));
    send_page(sock, page);
    tell(sock, umf_fence_index(done));
    for (;;) {
        uint64_t frame = hear(sock);
        fill(window.pixels + frame % BUFFERS * SIDE * SIDE, color_of(frame));
        OK(umf_fence_signal(done, frame));
    }
}

int
main(void)
{
    static void (*const attacks[])(int) = { ring, forge, truncate_all, fail_frames, come_and_go };
    struct peer attackers[ARRAY_SIZE(attacks)];
    struct desktop desktop;
    struct window other;
    connect_desktop(&desktop);
    open_window(&desktop, &window);
    open_window(&desktop, &other);
    struct peer process = start_peer(gpu);
    struct umf_page *page = recv_page(process.sock);
    struct value at = { .fence = recv_fence(process.sock, page) };
    at.page = share_page(&desktop, page);
    show(&window, color_of(0));
    until_shown(&desktop, color_of(0));

    for (unsigned i = 0; i < ARRAY_SIZE(attacks); i++) {
        attackers[i] = start_peer(attacks[i]);
        hear(attackers[i].sock);
    }
    for (uint64_t frame = 0; frame < FRAMES; frame++) {
        while (at.value < frame + IN_FLIGHT) {
            at.value++;
            show_later(&window, at);
        }
        show_new_frame(&other);
        CHECK(is_shown(color_of(frame))); /* the next one is held */
        tell(process.sock, frame + 1);
        until_shown(&desktop, color_of(frame + 1));
        CHECK(window.drop_count == 0);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(attacks); i++) { /* they are at it still */
        CHECK(waitpid(attackers[i].pid, NULL, WNOHANG) == 0);
        kill_peer(&attackers[i]);
    }
    kill_peer(&process);
    composite(&other);
    return 0;
}
