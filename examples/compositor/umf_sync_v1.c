// SPDX-License-Identifier: MIT
/*
 * See umf_sync_v1.h. Everything runs on the thread of the compositor's event loop. libumf has a
 * thread that sleeps on the fences, and all it does is make the loop's descriptor readable.
 */
#define _GNU_SOURCE
#include "umf_sync_v1.h"

#include <errno.h>
#include <libumf.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <wlr/types/wlr_buffer.h>
#include <wlr/types/wlr_compositor.h>
#include <wlr/types/wlr_linux_drm_syncobj_v1.h>
#include <wlr/util/log.h>

#include "umf-sync-v1-protocol.h"

struct umf_sync_v1 {
    struct wl_global *global;
    struct umf_loop *loop;
    struct wl_event_source *loop_readable;
    struct wl_listener display_destroy;
};

/* What is counted of a client. It ends after the client's last resource. */
struct client {
    struct wl_listener destroy;
    unsigned pages;
};

/* A page object. Values that were set through it, and commits that wait, hold references. */
struct page {
    unsigned references;
    struct wl_resource *resource; /* NULL once the client destroyed it */
    struct client *client;
    struct umf_page *umf;
    bool has_signaler, signaler_died;
    struct wl_event_source *signaler_end;
    struct wl_list waiting; /* struct commit, by page_link */
};

/* A value that a client set. */
struct point {
    struct page *page; /* NULL: none */
    uint32_t index;
    struct umf_fence *fence; /* NULL if no fence lived at the index */
    uint64_t value;
};

/* A wl_surface with a synchronization object, now or before. It ends with the wl_surface. */
struct surface {
    struct umf_sync_v1 *sync;
    struct wlr_surface *wlr;
    struct wl_resource *resource; /* NULL once the client destroyed it */
    struct point acquire, release; /* of the next commit */
    struct wl_list commits;        /* struct commit, in their order */
    struct wlr_addon addon;
    struct wl_listener client_commit;
};

/* A commit that is held: its own acquire value is not reached, or one before it is held. */
struct commit {
    struct wl_list link; /* surface.commits */
    struct surface *surface;
    uint32_t seq; /* of the state that is locked */
    enum { WAITING, READY, DROPPED } state;
    bool attaches; /* a buffer, or NULL */
    bool tells;    /* the synchronization object, should the buffer be dropped */
    struct point acquire;
    struct umf_watch *watch; /* while it waits */
    struct wl_list page_link;
};

/* A release value of a buffer that the compositor has not released yet. */
struct release {
    struct wl_listener buffer_release;
    struct umf_fence *fence;
    uint64_t value;
};

static void handle_client_destroy(struct wl_listener *listener, void *data)
{
    struct client *client = wl_container_of(listener, client, destroy);
    free(client);
}

static struct client *client_of(struct wl_client *wl_client)
{
    struct client *client;
    struct wl_listener *listener =
        wl_client_get_destroy_late_listener(wl_client, handle_client_destroy);
    if (listener)
        return wl_container_of(listener, client, destroy);
    client = calloc(1, sizeof(*client));
    if (!client)
        return NULL;
    client->destroy.notify = handle_client_destroy;
    wl_client_add_destroy_late_listener(wl_client, &client->destroy);
    return client;
}

/* --- Held commits ---------------------------------------------------------------------------- */

static void page_unref(struct page *page)
{
    if (--page->references > 0)
        return;
    if (page->signaler_end)
        wl_event_source_remove(page->signaler_end);
    page->client->pages--;
    umf_page_unref(page->umf);
    free(page);
}

static void point_clear(struct point *point)
{
    if (!point->page)
        return;
    umf_fence_unref(point->fence);
    page_unref(point->page);
    *point = (struct point){ 0 };
}

/* Whether a value is reached: 0, or -ETIME if it is not yet, or why it never will be. */
static int point_state(const struct point *point)
{
    if (!point->fence)
        return -ENOENT;
    int result = umf_fence_wait(point->fence, point->value, 0);
    return result == -ETIME && point->page->signaler_died ? -EOWNERDEAD : result;
}

/* The state of a commit that has not been applied. NULL if wlroots lacked memory for it: the client
 * is being disconnected then. */
static struct wlr_surface_state *state_of(struct commit *commit)
{
    struct wlr_surface *surface = commit->surface->wlr;
    struct wlr_surface_state *state;
    if (surface->pending.seq == commit->seq)
        return &surface->pending;
    wl_list_for_each(state, &surface->cached, cached_state_link) {
        if (state->seq == commit->seq)
            return state;
    }
    return NULL;
}

/* Releases the buffer of a commit that is held, and tells the client. */
static void commit_drop(struct commit *commit, int error)
{
    struct wlr_surface_state *state = state_of(commit);
    struct wl_resource *resource = commit->surface->resource;
    const struct point *acquire = &commit->acquire;

    commit->state = DROPPED;
    if (state) {
        wlr_buffer_unlock(state->buffer);
        state->buffer = NULL;
        state->committed &= ~WLR_SURFACE_STATE_BUFFER;
    }
    if (commit->tells)
        umf_sync_surface_v1_send_dropped(resource, acquire->page->resource, acquire->index,
                                         acquire->value >> 32, (uint32_t)acquire->value, -error);
}

static void commit_stop_waiting(struct commit *commit)
{
    if (!commit->watch)
        return;
    umf_watch_cancel(commit->watch);
    umf_watch_unref(commit->watch);
    commit->watch = NULL;
    wl_list_remove(&commit->page_link);
}

static void commit_destroy(struct commit *commit)
{
    commit_stop_waiting(commit);
    point_clear(&commit->acquire);
    wl_list_remove(&commit->link);
    free(commit);
}

/* Has a state show what the one before it shows, and the next one take over what is of the buffer.
 * The size and the source rectangle of a buffer that was dropped do not fit the one that is shown,
 * and wlroots aborts if it is to draw what lies outside of a buffer. If none is shown, nothing is
 * drawn, and the size stays: some roles map their surface with the first commit that had a buffer,
 * and wlroots aborts if that has no size. */
static void keep_content(struct wlr_surface *surface, struct wlr_surface_state *state)
{
    const uint32_t passed_on = state->committed & (WLR_SURFACE_STATE_TRANSFORM |
                               WLR_SURFACE_STATE_SCALE | WLR_SURFACE_STATE_VIEWPORT);
    const struct wlr_surface_state *shown = &surface->current;
    struct wlr_surface_state *next = &surface->pending;
    if (state->cached_state_link.prev != &surface->cached)
        shown = wl_container_of(state->cached_state_link.prev, shown, cached_state_link);
    if (state->cached_state_link.next != &surface->cached)
        next = wl_container_of(state->cached_state_link.next, next, cached_state_link);
    if (!wlr_surface_state_has_buffer(shown))
        return;

    state->width = shown->width;
    state->height = shown->height;
    state->buffer_width = shown->buffer_width;
    state->buffer_height = shown->buffer_height;

    const uint32_t taken_over = passed_on & ~next->committed;
    if (taken_over & WLR_SURFACE_STATE_TRANSFORM)
        next->transform = state->transform;
    if (taken_over & WLR_SURFACE_STATE_SCALE)
        next->scale = state->scale;
    if (taken_over & WLR_SURFACE_STATE_VIEWPORT)
        next->viewport = state->viewport;
    next->committed |= taken_over;

    pixman_region32_clear(&state->surface_damage);
    pixman_region32_clear(&state->buffer_damage);
    state->committed &= ~(passed_on | WLR_SURFACE_STATE_SURFACE_DAMAGE |
                          WLR_SURFACE_STATE_BUFFER_DAMAGE);
}

static void damage_all(struct wlr_surface_state *state)
{
    pixman_region32_fini(&state->buffer_damage);
    pixman_region32_init_rect(&state->buffer_damage, 0, 0, state->buffer_width,
                              state->buffer_height);
    state->committed |= WLR_SURFACE_STATE_BUFFER_DAMAGE;
}

/* The last commit that can be applied now, with all before it. After one that was dropped, that is
 * one that attaches another buffer or none. */
static struct commit *last_applicable(struct surface *surface)
{
    struct commit *commit, *last = NULL;
    bool content_is_missing = false;
    wl_list_for_each(commit, &surface->commits, link) {
        if (commit->state == WAITING)
            break;
        if (commit->state == DROPPED)
            content_is_missing = true;
        else if (commit->attaches || !content_is_missing) {
            content_is_missing = false;
            last = commit;
        }
    }
    return last;
}

/* Joins dropped commits, and those behind them that attach nothing, to the next that attaches. */
static void join_dropped(struct surface *surface, struct commit *last)
{
    bool content_is_missing = false;
    for (struct wl_list *link = surface->commits.next;; link = link->next) {
        struct commit *commit = wl_container_of(link, commit, link);
        struct wlr_surface_state *state = state_of(commit);
        if (commit->state == DROPPED)
            content_is_missing = true;
        if (content_is_missing && state) {
            if (commit->state == READY && commit->attaches) {
                damage_all(state);
                content_is_missing = false;
            } else {
                keep_content(surface->wlr, state);
            }
        }
        if (commit == last)
            return;
    }
}

/* Applies the commits that nothing holds any more. */
static void surface_apply(struct surface *surface)
{
    struct commit *last = last_applicable(surface);
    if (!last)
        return;
    join_dropped(surface, last);
    for (bool done = false; !done;) {
        struct commit *commit = wl_container_of(surface->commits.next, commit, link);
        uint32_t seq = commit->seq;
        done = commit == last;
        commit_destroy(commit);
        wlr_surface_unlock_cached(surface->wlr, seq);
    }
}

static void commit_decide(struct commit *commit, int result)
{
    commit_stop_waiting(commit);
    if (result == 0)
        commit->state = READY;
    else
        commit_drop(commit, result);
}

static void handle_watch(void *data, int result)
{
    struct commit *commit = data;
    struct surface *surface = commit->surface;
    commit_decide(commit, result);
    surface_apply(surface);
}

/* Has the commit wait for its acquire value, or decides it. */
static void commit_start_waiting(struct commit *commit)
{
    const struct umf_condition reached = {
        .fence = commit->acquire.fence, .value = commit->acquire.value, .op = UMF_OP_GE,
    };
    const struct umf_callback callback = { .call = handle_watch, .data = commit };
    int result = commit->acquire.page ? point_state(&commit->acquire) : 0;
    if (result == -ETIME) {
        result = umf_loop_watch(commit->surface->sync->loop, &reached, 0, &callback,
                                &commit->watch);
        if (result == 0) {
            commit->state = WAITING;
            wl_list_insert(commit->acquire.page->waiting.prev, &commit->page_link);
            return;
        }
    }
    commit_decide(commit, result);
}

/* Holds the pending state. */
static bool surface_hold(struct surface *surface)
{
    struct commit *commit = calloc(1, sizeof(*commit));
    if (!commit) {
        wl_resource_post_no_memory(surface->wlr->resource);
        return false;
    }
    commit->surface = surface;
    commit->attaches = surface->wlr->pending.committed & WLR_SURFACE_STATE_BUFFER;
    commit->tells = surface->resource != NULL;
    commit->acquire = surface->acquire;
    surface->acquire = (struct point){ 0 };
    commit->seq = wlr_surface_lock_pending(surface->wlr);
    wl_list_insert(surface->commits.prev, &commit->link);
    commit_start_waiting(commit);
    return true;
}

/* --- Release values -------------------------------------------------------------------------- */

static void handle_buffer_release(struct wl_listener *listener, void *data)
{
    struct release *release = wl_container_of(listener, release, buffer_release);
    umf_fence_signal(release->fence, release->value); /* a fence that ended or failed stays so */
    umf_fence_unref(release->fence);
    wl_list_remove(&release->buffer_release.link);
    free(release);
}

/* Signals the release value when the buffer's last use ends. The pending state has it locked, so
 * that is after this commit was replaced, dropped or destroyed. */
static bool release_later(struct surface *surface)
{
    struct release *release;
    if (!surface->release.fence)
        return true;
    release = calloc(1, sizeof(*release));
    if (!release) {
        wl_resource_post_no_memory(surface->wlr->resource);
        return false;
    }
    release->fence = umf_fence_ref(surface->release.fence);
    release->value = surface->release.value;
    release->buffer_release.notify = handle_buffer_release;
    wl_signal_add(&surface->wlr->pending.buffer->events.release, &release->buffer_release);
    return true;
}

/* --- umf_sync_surface_v1 --------------------------------------------------------------------- */

static bool has_other_synchronization(struct wlr_surface *surface)
{
    return wlr_linux_drm_syncobj_v1_get_surface_state(surface) != NULL;
}

/* The error of the pending state, or -1. */
static int64_t find_error(struct surface *surface, const char **message)
{
    const struct point *acquire = &surface->acquire, *release = &surface->release;
    if ((acquire->page || release->page) && !surface->wlr->pending.buffer) {
        *message = "a value is set, and no buffer is attached";
        return UMF_SYNC_SURFACE_V1_ERROR_NO_BUFFER;
    }
    if (acquire->fence && acquire->fence == release->fence && acquire->value >= release->value) {
        *message = "acquire is not below release";
        return UMF_SYNC_SURFACE_V1_ERROR_CONFLICTING_VALUES;
    }
    if (surface->resource && has_other_synchronization(surface->wlr)) {
        *message = "the surface uses linux-drm-syncobj-v1";
        return UMF_SYNC_SURFACE_V1_ERROR_CONFLICT;
    }
    if (wl_list_length(&surface->commits) >= UMF_SYNC_V1_MAX_COMMITS) {
        *message = "too many commits are held";
        return UMF_SYNC_SURFACE_V1_ERROR_TOO_MANY_COMMITS;
    }
    return -1;
}

static void handle_client_commit(struct wl_listener *listener, void *data)
{
    struct surface *surface = wl_container_of(listener, surface, client_commit);
    const char *message;
    int64_t error = find_error(surface, &message);
    if (error >= 0 && surface->resource) {
        wlr_surface_reject_pending(surface->wlr, surface->resource, (uint32_t)error, "%s",
                                   message);
        return;
    }
    if (error >= 0) {
        /* The object whose error it is was destroyed: an error of wl_display. */
        struct wl_client *wl_client = wl_resource_get_client(surface->wlr->resource);
        wlr_surface_reject_pending(surface->wlr, wl_client_get_object(wl_client, 1),
                                   WL_DISPLAY_ERROR_IMPLEMENTATION, "%s", message);
        return;
    }
    if (!release_later(surface))
        return;
    point_clear(&surface->release);

    /* Behind a commit that is held, each one is: it counts, and it may attach what is missing. */
    bool reached = !surface->acquire.page || point_state(&surface->acquire) == 0;
    if (reached && wl_list_empty(&surface->commits))
        point_clear(&surface->acquire);
    else if (surface_hold(surface))
        surface_apply(surface);
}

static void surface_discard_pending(struct surface *surface)
{
    point_clear(&surface->acquire);
    point_clear(&surface->release);
}

/* The wl_surface ends. wlroots destroys its held states, which releases their buffers. */
static void handle_addon_destroy(struct wlr_addon *addon)
{
    struct surface *surface = wl_container_of(addon, surface, addon);
    struct commit *commit, *next;
    wl_list_for_each_safe(commit, next, &surface->commits, link)
        commit_destroy(commit);
    surface_discard_pending(surface);
    if (surface->resource)
        wl_resource_set_user_data(surface->resource, NULL);
    wl_list_remove(&surface->client_commit.link);
    wlr_addon_finish(&surface->addon);
    free(surface);
}

static const struct wlr_addon_interface addon_impl = {
    .name = "umf_sync_surface_v1",
    .destroy = handle_addon_destroy,
};

static struct surface *surface_of(struct umf_sync_v1 *sync, struct wlr_surface *wlr)
{
    struct surface *surface;
    struct wlr_addon *addon = wlr_addon_find(&wlr->addons, sync, &addon_impl);
    if (addon)
        return wl_container_of(addon, surface, addon);
    surface = calloc(1, sizeof(*surface));
    if (!surface)
        return NULL;
    surface->sync = sync;
    surface->wlr = wlr;
    wl_list_init(&surface->commits);
    wlr_addon_init(&surface->addon, &wlr->addons, sync, &addon_impl);
    surface->client_commit.notify = handle_client_commit;
    wl_signal_add(&wlr->events.client_commit, &surface->client_commit);
    return surface;
}

/* Replaces a value. False after a protocol error. */
static bool point_set(struct point *point, struct wl_resource *surface_resource,
                      struct wl_resource *page_resource, uint32_t index, uint64_t value)
{
    struct page *page = wl_resource_get_user_data(page_resource);
    if (index >= umf_page_fence_count(page->umf)) {
        wl_resource_post_error(surface_resource, UMF_SYNC_SURFACE_V1_ERROR_INVALID_INDEX,
                               "index %u is not below %u", index, umf_page_fence_count(page->umf));
        return false;
    }
    point_clear(point);
    page->references++;
    *point = (struct point){ .page = page, .index = index, .value = value };
    if (umf_fence_open(page->umf, index, 0, &point->fence) < 0)
        point->fence = NULL;
    return true;
}

static void post_no_surface(struct wl_resource *resource)
{
    wl_resource_post_error(resource, UMF_SYNC_SURFACE_V1_ERROR_NO_SURFACE,
                           "the wl_surface was destroyed");
}

static void handle_set_acquire(struct wl_client *wl_client, struct wl_resource *resource,
                               struct wl_resource *page, uint32_t index, uint32_t value_hi,
                               uint32_t value_lo)
{
    struct surface *surface = wl_resource_get_user_data(resource);
    if (!surface)
        post_no_surface(resource);
    else
        point_set(&surface->acquire, resource, page, index, (uint64_t)value_hi << 32 | value_lo);
}

static void handle_set_release(struct wl_client *wl_client, struct wl_resource *resource,
                               struct wl_resource *page_resource, uint32_t index,
                               uint32_t value_hi, uint32_t value_lo)
{
    struct surface *surface = wl_resource_get_user_data(resource);
    struct page *page = wl_resource_get_user_data(page_resource);
    if (!surface)
        post_no_surface(resource);
    else if (umf_page_flags(page->umf) & UMF_PAGE_SINGLE_WRITER)
        wl_resource_post_error(resource, UMF_SYNC_SURFACE_V1_ERROR_READ_ONLY,
                               "the page is sealed against writing");
    else
        point_set(&surface->release, resource, page_resource, index,
                  (uint64_t)value_hi << 32 | value_lo);
}

static void handle_destroy(struct wl_client *wl_client, struct wl_resource *resource)
{
    wl_resource_destroy(resource);
}

static void handle_surface_resource_destroy(struct wl_resource *resource)
{
    struct surface *surface = wl_resource_get_user_data(resource);
    if (!surface)
        return;
    struct commit *commit;
    wl_list_for_each(commit, &surface->commits, link)
        commit->tells = false;
    surface_discard_pending(surface);
    surface->resource = NULL;
}

static const struct umf_sync_surface_v1_interface surface_impl = {
    .destroy = handle_destroy,
    .set_acquire = handle_set_acquire,
    .set_release = handle_set_release,
};

/* --- umf_sync_page_v1 ------------------------------------------------------------------------ */

/* The signaler ended. What it signaled before counts. */
static int handle_signaler_end(int fd, uint32_t mask, void *data)
{
    struct page *page = data;
    page->signaler_died = true;
    wl_event_source_remove(page->signaler_end);
    page->signaler_end = NULL;

    page->references++;
    while (!wl_list_empty(&page->waiting)) {
        struct commit *commit = wl_container_of(page->waiting.next, commit, page_link);
        struct surface *surface = commit->surface;
        commit_decide(commit, point_state(&commit->acquire));
        surface_apply(surface);
    }
    page_unref(page);
    return 0;
}

/* Whether waitid() takes the descriptor for one of a process. To poll another kind of file could
 * block the compositor: a client can serve one itself (FUSE). */
static bool is_pidfd(int fd)
{
    siginfo_t info;
    return waitid(P_PIDFD, (id_t)fd, &info, WEXITED | WNOHANG | WNOWAIT) == 0 || errno == ECHILD;
}

/* Not umf_loop_tie_page(). A page that two clients import is one object in this process. A client
 * could tie it to a process that is dead, and so fail the frames of the other. */
static void handle_set_signaler(struct wl_client *wl_client, struct wl_resource *resource, int fd)
{
    struct page *page = wl_resource_get_user_data(resource);
    struct wl_event_loop *loop = wl_display_get_event_loop(wl_client_get_display(wl_client));
    if (page->has_signaler) {
        wl_resource_post_error(resource, UMF_SYNC_PAGE_V1_ERROR_SIGNALER_EXISTS,
                               "the page has a signaler");
    } else if (!is_pidfd(fd)) {
        wl_resource_post_error(resource, UMF_SYNC_PAGE_V1_ERROR_INVALID_SIGNALER,
                               "not a pidfd");
    } else {
        page->has_signaler = true;
        page->signaler_end =
            wl_event_loop_add_fd(loop, fd, WL_EVENT_READABLE, handle_signaler_end, page);
        if (!page->signaler_end)
            wl_resource_post_no_memory(resource);
    }
    close(fd); /* the event loop has a duplicate */
}

static void handle_page_resource_destroy(struct wl_resource *resource)
{
    struct page *page = wl_resource_get_user_data(resource);
    page->resource = NULL;
    page_unref(page);
}

static const struct umf_sync_page_v1_interface page_impl = {
    .destroy = handle_destroy,
    .set_signaler = handle_set_signaler,
};

/* --- umf_sync_manager_v1 --------------------------------------------------------------------- */

static void post_import_error(struct wl_resource *manager, int error)
{
    if (error == -ENOMEM || error == -EMFILE || error == -ENFILE)
        wl_resource_post_no_memory(manager);
    else
        wl_resource_post_error(manager, UMF_SYNC_MANAGER_V1_ERROR_INVALID_PAGE,
                               "no page, or one with more than %d fences (error %d)",
                               UMF_SYNC_V1_MAX_FENCES, -error);
}

static void import_page(struct wl_client *wl_client, struct wl_resource *manager, uint32_t id,
                        int fd)
{
    const struct umf_page_limits limits = {
        .size = sizeof(limits), .max_fences = UMF_SYNC_V1_MAX_FENCES,
    };
    struct client *client = client_of(wl_client);
    struct page *page = client ? calloc(1, sizeof(*page)) : NULL;
    if (!page) {
        wl_resource_post_no_memory(manager);
        return;
    }
    if (client->pages >= UMF_SYNC_V1_MAX_PAGES) {
        wl_resource_post_error(manager, UMF_SYNC_MANAGER_V1_ERROR_TOO_MANY_PAGES,
                               "the client has %d pages", UMF_SYNC_V1_MAX_PAGES);
        goto failed;
    }
    int result = umf_page_import_limited(fd, 0, &limits, &page->umf);
    if (result < 0) {
        post_import_error(manager, result);
        goto failed;
    }
    page->resource = wl_resource_create(wl_client, &umf_sync_page_v1_interface,
                                        wl_resource_get_version(manager), id);
    if (!page->resource) {
        wl_resource_post_no_memory(manager);
        umf_page_unref(page->umf);
        goto failed;
    }
    page->references = 1;
    page->client = client;
    client->pages++;
    wl_list_init(&page->waiting);
    wl_resource_set_implementation(page->resource, &page_impl, page, handle_page_resource_destroy);
    return;

failed:
    free(page);
}

static void handle_import_page(struct wl_client *wl_client, struct wl_resource *manager,
                               uint32_t id, int fd)
{
    import_page(wl_client, manager, id, fd);
    close(fd);
}

static void handle_get_surface(struct wl_client *wl_client, struct wl_resource *manager,
                               uint32_t id, struct wl_resource *surface_resource)
{
    struct wlr_surface *wlr = wlr_surface_from_resource(surface_resource);
    struct surface *surface = surface_of(wl_resource_get_user_data(manager), wlr);
    if (!surface) {
        wl_resource_post_no_memory(manager);
        return;
    }
    if (surface->resource) {
        wl_resource_post_error(manager, UMF_SYNC_MANAGER_V1_ERROR_SURFACE_EXISTS,
                               "the surface has a umf_sync_surface_v1 object");
        return;
    }
    if (has_other_synchronization(wlr)) {
        wl_resource_post_error(manager, UMF_SYNC_MANAGER_V1_ERROR_CONFLICT,
                               "the surface uses linux-drm-syncobj-v1");
        return;
    }
    surface->resource = wl_resource_create(wl_client, &umf_sync_surface_v1_interface,
                                           wl_resource_get_version(manager), id);
    if (!surface->resource) {
        wl_resource_post_no_memory(manager);
        return;
    }
    wl_resource_set_implementation(surface->resource, &surface_impl, surface,
                                   handle_surface_resource_destroy);
}

static const struct umf_sync_manager_v1_interface manager_impl = {
    .destroy = handle_destroy,
    .import_page = handle_import_page,
    .get_surface = handle_get_surface,
};

static void bind_manager(struct wl_client *wl_client, void *data, uint32_t version, uint32_t id)
{
    struct wl_resource *manager =
        wl_resource_create(wl_client, &umf_sync_manager_v1_interface, (int)version, id);
    if (!manager) {
        wl_client_post_no_memory(wl_client);
        return;
    }
    wl_resource_set_implementation(manager, &manager_impl, data, NULL);
    umf_sync_manager_v1_send_limits(manager, UMF_SYNC_V1_MAX_FENCES, UMF_SYNC_V1_MAX_PAGES,
                                    UMF_SYNC_V1_MAX_COMMITS);
}

/* --- The global ------------------------------------------------------------------------------ */

static int handle_loop_readable(int fd, uint32_t mask, void *data)
{
    struct umf_sync_v1 *sync = data;
    umf_loop_dispatch(sync->loop, 0);
    return 0;
}

static void handle_display_destroy(struct wl_listener *listener, void *data)
{
    struct umf_sync_v1 *sync = wl_container_of(listener, sync, display_destroy);
    wl_list_remove(&sync->display_destroy.link);
    wl_global_destroy(sync->global);
    wl_event_source_remove(sync->loop_readable);
    umf_loop_unref(sync->loop);
    free(sync);
}

struct umf_sync_v1 *umf_sync_v1_create(struct wl_display *display)
{
    struct umf_sync_v1 *sync = calloc(1, sizeof(*sync));
    if (!sync || umf_loop_create(0, &sync->loop) < 0)
        goto no_loop;
    sync->loop_readable =
        wl_event_loop_add_fd(wl_display_get_event_loop(display), umf_loop_fd(sync->loop),
                             WL_EVENT_READABLE, handle_loop_readable, sync);
    if (!sync->loop_readable)
        goto no_source;
    sync->global =
        wl_global_create(display, &umf_sync_manager_v1_interface, 1, sync, bind_manager);
    if (!sync->global)
        goto no_global;
    sync->display_destroy.notify = handle_display_destroy;
    wl_display_add_destroy_listener(display, &sync->display_destroy);
    return sync;

no_global:
    wl_event_source_remove(sync->loop_readable);
no_source:
    umf_loop_unref(sync->loop);
no_loop:
    free(sync);
    return NULL;
}
