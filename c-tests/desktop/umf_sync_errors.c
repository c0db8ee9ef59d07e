// SPDX-License-Identifier: MIT
/*
 * umf-sync-v1: each protocol error, by a client of its own. What a client does wrong ends its
 * connection, and that of no other.
 */
#include "desktop.h"
#include "process.h"

#include <sys/eventfd.h>

static struct desktop witness;

/* A client that does something wrong. */
struct culprit {
    struct desktop desktop;
    struct window window;
    struct umf_page *page;
    struct value at;
};

static void
start(struct culprit *c)
{
    connect_desktop(&c->desktop);
    OK(umf_page_create(4, 0, &c->page));
    c->at.page = share_page(&c->desktop, c->page);
    c->at.value = 1;
    OK(umf_fence_create(c->page, 0, 0, &c->at.fence));
    open_window(&c->desktop, &c->window);
}

static void
expect_error(struct culprit *c, const struct wl_interface *of, uint32_t code)
{
    uint32_t got = protocol_error(&c->desktop, of);
    if (got != code) {
        fprintf(stderr, "%s: error %u, not %u\n", of->name, got, code);
        exit(1);
    }
    disconnect_desktop(&c->desktop);
    umf_fence_unref(c->at.fence);
    umf_page_unref(c->page);
    roundtrip(&witness);
}

#define MANAGER &umf_sync_manager_v1_interface
#define PAGE &umf_sync_page_v1_interface
#define SURFACE &umf_sync_surface_v1_interface

static void
a_descriptor_that_is_no_page_is_refused(void)
{
    for (int kind = 0; kind < 5; kind++) {
        struct culprit c;
        struct umf_page *huge;
        int fd;
        start(&c);
        switch (kind) {
        case 0: fd = open("/dev/null", O_RDWR | O_CLOEXEC); break;
        case 1: /* no seals: it could be truncated under the compositor */
            fd = memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
            CHECK(ftruncate(fd, 1 << 16) == 0);
            break;
        case 2: /* no page */
            fd = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
            CHECK(ftruncate(fd, 1 << 16) == 0);
            CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0);
            break;
        case 3: fd = eventfd(0, EFD_CLOEXEC); break;
        default: /* too large */
            OK(umf_page_create(c.desktop.max_fences + 1, 0, &huge));
            OK(umf_page_export(huge, 0, &fd));
            umf_page_unref(huge);
        }
        CHECK(fd >= 0);
        umf_sync_manager_v1_import_page(c.desktop.manager, fd);
        close(fd);
        expect_error(&c, MANAGER, UMF_SYNC_MANAGER_V1_ERROR_INVALID_PAGE);
    }
}

static void
the_largest_page_is_taken(void)
{
    struct umf_page *large;
    OK(umf_page_create(witness.max_fences, 0, &large));
    umf_sync_page_v1_destroy(share_page(&witness, large));
    roundtrip(&witness);
    umf_page_unref(large);
}

static void
too_many_pages_are_refused(void)
{
    struct culprit c;
    start(&c);
    for (uint32_t i = 1; i < c.desktop.max_pages; i++)
        share_page(&c.desktop, c.page);
    roundtrip(&c.desktop);
    umf_sync_page_v1_destroy(share_page(&witness, c.page)); /* another client may */
    roundtrip(&witness);
    share_page(&c.desktop, c.page);
    expect_error(&c, MANAGER, UMF_SYNC_MANAGER_V1_ERROR_TOO_MANY_PAGES);
}

static void
pages_that_were_destroyed_do_not_count(void)
{
    struct umf_page *page;
    OK(umf_page_create(4, 0, &page));
    for (uint32_t i = 0; i < 3 * witness.max_pages; i++)
        umf_sync_page_v1_destroy(share_page(&witness, page));
    roundtrip(&witness);
    umf_page_unref(page);
}

static void
a_surface_has_one_object(void)
{
    struct culprit c;
    start(&c);
    umf_sync_manager_v1_get_surface(c.desktop.manager, c.window.surface);
    expect_error(&c, MANAGER, UMF_SYNC_MANAGER_V1_ERROR_SURFACE_EXISTS);
}

static void
a_signaler_is_a_pidfd(void)
{
    for (int kind = 0; kind < 4; kind++) {
        struct culprit c;
        int fd, ends[2];
        start(&c);
        switch (kind) {
        case 0: fd = eventfd(1, EFD_CLOEXEC); break;
        case 1: fd = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC); break;
        case 2: fd = memfd_create("file", MFD_CLOEXEC); break;
        default:
            CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
            close(ends[1]);
            fd = ends[0];
        }
        CHECK(fd >= 0);
        umf_sync_page_v1_set_signaler(c.at.page, fd);
        close(fd);
        expect_error(&c, PAGE, UMF_SYNC_PAGE_V1_ERROR_INVALID_SIGNALER);
    }
}

static void
a_page_has_one_signaler(void)
{
    struct culprit c;
    int pidfd = pidfd_of(getpid());
    start(&c);
    umf_sync_page_v1_set_signaler(c.at.page, pidfd);
    umf_sync_page_v1_set_signaler(c.at.page, pidfd);
    close(pidfd);
    expect_error(&c, PAGE, UMF_SYNC_PAGE_V1_ERROR_SIGNALER_EXISTS);
}

static void
a_destroyed_surface_takes_no_value(void)
{
    for (int release = 0; release < 2; release++) {
        struct culprit c;
        start(&c);
        xdg_toplevel_destroy(c.window.toplevel);
        xdg_surface_destroy(c.window.xdg_surface);
        wl_surface_destroy(c.window.surface);
        if (release)
            set_release(&c.window, c.at);
        else
            set_acquire(&c.window, c.at);
        expect_error(&c, SURFACE, UMF_SYNC_SURFACE_V1_ERROR_NO_SURFACE);
    }
}

static void
a_value_needs_a_buffer(void)
{
    for (int kind = 0; kind < 4; kind++) {
        struct culprit c;
        start(&c);
        if (kind & 1)
            set_release(&c.window, c.at);
        else
            set_acquire(&c.window, c.at);
        if (kind & 2)
            wl_surface_attach(c.window.surface, NULL, 0, 0);
        wl_surface_commit(c.window.surface);
        expect_error(&c, SURFACE, UMF_SYNC_SURFACE_V1_ERROR_NO_BUFFER);
    }
}

static void
an_index_is_within_the_page(void)
{
    static const uint32_t indices[] = { 4, 5, INT32_MAX, UINT32_MAX };
    for (unsigned i = 0; i < 2 * ARRAY_SIZE(indices); i++) {
        struct culprit c;
        start(&c);
        if (i & 1)
            umf_sync_surface_v1_set_release(c.window.sync, c.at.page, indices[i / 2], 0, 1);
        else
            umf_sync_surface_v1_set_acquire(c.window.sync, c.at.page, indices[i / 2], 0, 1);
        expect_error(&c, SURFACE, UMF_SYNC_SURFACE_V1_ERROR_INVALID_INDEX);
    }
}

static void
a_sealed_page_takes_no_release(void)
{
    struct culprit c;
    struct umf_page *sealed;
    start(&c);
    OK(umf_page_create(4, UMF_PAGE_SINGLE_WRITER, &sealed));
    umf_sync_surface_v1_set_release(c.window.sync, share_page(&c.desktop, sealed), 0, 0, 1);
    umf_page_unref(sealed);
    expect_error(&c, SURFACE, UMF_SYNC_SURFACE_V1_ERROR_READ_ONLY);
}

static void
a_release_does_not_reach_its_acquire(void)
{
    for (uint64_t above = 0; above < 2; above++) {
        struct culprit c;
        struct value acquire;
        start(&c);
        acquire = c.at;
        acquire.value += above;
        set_release(&c.window, c.at);
        show_later(&c.window, acquire);
        expect_error(&c, SURFACE, UMF_SYNC_SURFACE_V1_ERROR_CONFLICTING_VALUES);
    }
}

/* Commits without a buffer or a value count, too: the compositor has to keep them. */
static void
too_many_held_commits_are_refused(void)
{
    for (int kind = 0; kind < 3; kind++) {
        struct culprit c;
        start(&c);
        show_later(&c.window, c.at);
        for (uint32_t i = 1; i < c.desktop.max_commits; i++) {
            if (kind == 1)
                show_later(&c.window, c.at);
            else
                wl_surface_commit(c.window.surface);
        }
        roundtrip(&c.desktop);
        if (kind == 2)
            umf_sync_surface_v1_destroy(c.window.sync);
        wl_surface_commit(c.window.surface);
        if (kind == 2)
            expect_error(&c, &wl_display_interface, WL_DISPLAY_ERROR_IMPLEMENTATION);
        else
            expect_error(&c, SURFACE, UMF_SYNC_SURFACE_V1_ERROR_TOO_MANY_COMMITS);
    }
}

int
main(void)
{
    connect_desktop(&witness);
    a_descriptor_that_is_no_page_is_refused();
    the_largest_page_is_taken();
    too_many_pages_are_refused();
    pages_that_were_destroyed_do_not_count();
    a_surface_has_one_object();
    a_signaler_is_a_pidfd();
    a_page_has_one_signaler();
    a_destroyed_surface_takes_no_value();
    a_value_needs_a_buffer();
    an_index_is_within_the_page();
    a_sealed_page_takes_no_release();
    a_release_does_not_reach_its_acquire();
    too_many_held_commits_are_refused();
    disconnect_desktop(&witness);
    return 0;
}
