// SPDX-License-Identifier: MIT
/*
 * umf-sync-v1 with 100 windows of four clients, three frames of each in flight. Each client has a
 * "GPU": a process of its own that draws and writes UMFs, and knows nothing of Wayland.
 */
#include "desktop.h"
#include "process.h"

enum { CLIENTS = 4, WINDOWS = 24, IN_FLIGHT = 3, ROUNDS = 4 }; /* and one window to composite */

static unsigned client;
static struct window windows[WINDOWS];

static uint32_t
color_of(unsigned window, uint64_t frame)
{
    return 0x400000 | client << 18 | window << 12 | (uint32_t)frame;
}

/* Completes a frame of all windows when told its number. */
static void
gpu(int sock)
{
    struct umf_page *page;
    struct umf_fence *done[WINDOWS];
    OK(umf_page_create(WINDOWS, UMF_PAGE_SINGLE_WRITER, &page));
    send_page(sock, page);
    for (unsigned i = 0; i < WINDOWS; i++) {
        OK(umf_fence_create(page, 0, 0, &done[i]));
        tell(sock, umf_fence_index(done[i]));
    }
    for (;;) {
        uint64_t frame = hear(sock);
        for (unsigned i = 0; i < WINDOWS; i++) {
            fill(windows[i].pixels + frame * SIDE * SIDE, color_of(i, frame));
            OK(umf_fence_signal(done[i], frame));
        }
        tell(sock, frame);
    }
}

static void
all_show(struct desktop *desktop, uint64_t frame)
{
    for (unsigned i = 0; i < WINDOWS; i++) {
        until_shown(desktop, color_of(i, frame));
        CHECK(windows[i].drop_count == 0);
    }
}

static void
run_client(void)
{
    struct desktop desktop;
    struct window other;
    struct umf_page *releases;
    struct value at[WINDOWS], released[WINDOWS];
    composited = 0x010000 * (client + 1);
    connect_desktop(&desktop);
    open_window(&desktop, &other);
    for (unsigned i = 0; i < WINDOWS; i++)
        open_window(&desktop, &windows[i]);
    struct peer process = start_peer(gpu);
    struct umf_page *page = recv_page(process.sock);
    struct umf_sync_page_v1 *shared = share_page(&desktop, page);
    OK(umf_page_create(WINDOWS, 0, &releases));
    struct umf_sync_page_v1 *shared_releases = share_page(&desktop, releases);
    for (unsigned i = 0; i < WINDOWS; i++) {
        at[i] = (struct value){ shared, recv_fence(process.sock, page), 0 };
        released[i] = (struct value){ .page = shared_releases };
        OK(umf_fence_create(releases, 0, 0, &released[i].fence));
        show(&windows[i], color_of(i, 0));
    }
    all_show(&desktop, 0);

    for (uint64_t round = 0; round < ROUNDS; round++) {
        uint64_t first = round * IN_FLIGHT;
        for (unsigned n = 0; n < IN_FLIGHT; n++) {
            for (unsigned i = 0; i < WINDOWS; i++) {
                at[i].value++;
                released[i].value++;
                set_release(&windows[i], released[i]);
                show_later(&windows[i], at[i]);
            }
        }
        for (unsigned n = 0; n < IN_FLIGHT; n++) {
            composite(&other);
            for (unsigned i = 0; i < WINDOWS; i++)
                CHECK(is_shown(color_of(i, first + n)));
            tell(process.sock, first + n + 1);
            hear(process.sock);
            all_show(&desktop, first + n + 1);
        }
    }
    for (unsigned i = 0; i < WINDOWS; i++) /* all but the one that is shown */
        OK(umf_fence_wait(released[i].fence, ROUNDS * IN_FLIGHT - 1, in_ns(20 * SECOND)));
    kill_peer(&process); /* it has inherited the connection */
    disconnect_desktop(&desktop);
    for (unsigned i = 0; i < WINDOWS; i++)
        OK(umf_fence_wait(released[i].fence, ROUNDS * IN_FLIGHT, in_ns(20 * SECOND)));
}

int
main(void)
{
    pid_t pids[CLIENTS];
    for (client = 0; client < CLIENTS; client++)
        IN_CHILD(pids[client], {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            run_client();
        });
    for (unsigned i = 0; i < CLIENTS; i++)
        join_child(pids[i]);
    return 0;
}
