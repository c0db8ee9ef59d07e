// SPDX-License-Identifier: MIT
/*
 * A small compositor on wlroots 0.18 that offers umf-sync-v1. It puts windows side by side, takes
 * no input, and runs one command, with which it ends. It runs headless, or in a window of another
 * compositor or X server, as the environment variable WLR_BACKENDS says.
 *
 *     compositor [--size WxH] [--cell WxH] [--refresh HZ] [--mirror FILE] COMMAND [ARGUMENT...]
 */
#define _GNU_SOURCE
#include "mirror.h"
#include "umf_sync_v1.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>
#include <wlr/backend.h>
#include <wlr/backend/headless.h>
#include <wlr/render/allocator.h>
#include <wlr/render/wlr_renderer.h>
#include <wlr/types/wlr_compositor.h>
#include <wlr/types/wlr_output.h>
#include <wlr/types/wlr_presentation_time.h>
#include <wlr/types/wlr_scene.h>
#include <wlr/types/wlr_subcompositor.h>
#include <wlr/types/wlr_viewporter.h>
#include <wlr/types/wlr_xdg_shell.h>
#include <wlr/util/log.h>

#define MAX_CELLS 1024

struct compositor {
    struct wl_display *display;
    struct wlr_backend *backend;
    struct wlr_renderer *renderer;
    struct wlr_allocator *allocator;
    struct wlr_scene *scene;
    struct wl_listener new_output, new_toplevel;

    int width, height, refresh_mhz;
    int cell_width, cell_height;
    bool cell_taken[MAX_CELLS];
    struct mirror *mirror; /* NULL: none */

    pid_t command;
    struct wl_event_source *command_end;
    int status; /* of the command */
};

struct output {
    struct compositor *compositor;
    struct wlr_output *wlr;
    struct wlr_scene_output *scene_output;
    struct wl_listener frame, commit, request_state, destroy;
};

struct window {
    struct compositor *compositor;
    struct wlr_xdg_toplevel *toplevel;
    int cell;
    struct wl_listener commit, destroy;
};

/* --- Outputs --------------------------------------------------------------------------------- */

static void handle_frame(struct wl_listener *listener, void *data)
{
    struct output *output = wl_container_of(listener, output, frame);
    struct timespec now;
    wlr_scene_output_commit(output->scene_output, NULL);
    clock_gettime(CLOCK_MONOTONIC, &now);
    wlr_scene_output_send_frame_done(output->scene_output, &now);
}

static void handle_output_commit(struct wl_listener *listener, void *data)
{
    struct output *output = wl_container_of(listener, output, commit);
    const struct wlr_output_event_commit *event = data;
    if (output->compositor->mirror && event->state->committed & WLR_OUTPUT_STATE_BUFFER)
        mirror_update(output->compositor->mirror, event->state->buffer);
}

/* A nested output is resized. */
static void handle_request_state(struct wl_listener *listener, void *data)
{
    struct output *output = wl_container_of(listener, output, request_state);
    const struct wlr_output_event_request_state *event = data;
    wlr_output_commit_state(output->wlr, event->state);
}

static void handle_output_destroy(struct wl_listener *listener, void *data)
{
    struct output *output = wl_container_of(listener, output, destroy);
    wl_list_remove(&output->frame.link);
    wl_list_remove(&output->commit.link);
    wl_list_remove(&output->request_state.link);
    wl_list_remove(&output->destroy.link);
    free(output);
}

static void handle_new_output(struct wl_listener *listener, void *data)
{
    struct compositor *compositor = wl_container_of(listener, compositor, new_output);
    struct wlr_output *wlr = data;
    struct output *output = calloc(1, sizeof(*output));
    if (!output || !wlr_output_init_render(wlr, compositor->allocator, compositor->renderer))
        exit(1);
    output->compositor = compositor;
    output->wlr = wlr;
    output->frame.notify = handle_frame;
    wl_signal_add(&wlr->events.frame, &output->frame);
    output->commit.notify = handle_output_commit;
    wl_signal_add(&wlr->events.commit, &output->commit);
    output->request_state.notify = handle_request_state;
    wl_signal_add(&wlr->events.request_state, &output->request_state);
    output->destroy.notify = handle_output_destroy;
    wl_signal_add(&wlr->events.destroy, &output->destroy);
    output->scene_output = wlr_scene_output_create(compositor->scene, wlr);

    struct wlr_output_state state;
    wlr_output_state_init(&state);
    wlr_output_state_set_enabled(&state, true);
    /* A window has the refresh rate of the compositor that it is in. */
    wlr_output_state_set_custom_mode(&state, compositor->width, compositor->height,
                                     wlr_output_is_headless(wlr) ? compositor->refresh_mhz : 0);
    if (!wlr_output_commit_state(wlr, &state))
        wlr_log(WLR_ERROR, "cannot set the mode of output %s", wlr->name);
    wlr_output_state_finish(&state);
    wlr_output_create_global(wlr, compositor->display);
}

/* --- Windows --------------------------------------------------------------------------------- */

static void handle_window_commit(struct wl_listener *listener, void *data)
{
    struct window *window = wl_container_of(listener, window, commit);
    if (window->toplevel->base->initial_commit)
        wlr_xdg_toplevel_set_size(window->toplevel, 0, 0); /* the client chooses */
}

static void handle_window_destroy(struct wl_listener *listener, void *data)
{
    struct window *window = wl_container_of(listener, window, destroy);
    window->compositor->cell_taken[window->cell] = false;
    wl_list_remove(&window->commit.link);
    wl_list_remove(&window->destroy.link);
    free(window);
}

/* Puts the window into the first free cell, row by row. */
static void handle_new_toplevel(struct wl_listener *listener, void *data)
{
    struct compositor *compositor = wl_container_of(listener, compositor, new_toplevel);
    struct wlr_xdg_toplevel *toplevel = data;
    int cell = 0, columns = compositor->width / compositor->cell_width;
    while (cell < MAX_CELLS - 1 && compositor->cell_taken[cell])
        cell++;
    struct window *window = calloc(1, sizeof(*window));
    struct wlr_scene_tree *tree =
        window ? wlr_scene_xdg_surface_create(&compositor->scene->tree, toplevel->base) : NULL;
    if (!tree) {
        free(window);
        wl_resource_post_no_memory(toplevel->resource);
        return;
    }
    wlr_scene_node_set_position(&tree->node, cell % columns * compositor->cell_width,
                                cell / columns * compositor->cell_height);
    compositor->cell_taken[cell] = true;
    window->compositor = compositor;
    window->toplevel = toplevel;
    window->cell = cell;
    window->commit.notify = handle_window_commit;
    wl_signal_add(&toplevel->base->surface->events.commit, &window->commit);
    window->destroy.notify = handle_window_destroy;
    wl_signal_add(&toplevel->events.destroy, &window->destroy);
}

/* --- The command ----------------------------------------------------------------------------- */

static int handle_command_end(int pidfd, uint32_t mask, void *data)
{
    struct compositor *compositor = data;
    if (waitpid(compositor->command, &compositor->status, WNOHANG) == compositor->command)
        wl_display_terminate(compositor->display);
    return 0;
}

static bool run_command(struct compositor *compositor, char **command)
{
    compositor->command = fork();
    if (compositor->command == 0) {
        execvp(command[0], command);
        perror(command[0]);
        _exit(127);
    }
    int pidfd = compositor->command > 0 ? pidfd_open(compositor->command, 0) : -1;
    struct wl_event_loop *loop = wl_display_get_event_loop(compositor->display);
    if (pidfd < 0)
        return false;
    compositor->command_end =
        wl_event_loop_add_fd(loop, pidfd, WL_EVENT_READABLE, handle_command_end, compositor);
    close(pidfd);
    return compositor->command_end != NULL;
}

/* --- Start ----------------------------------------------------------------------------------- */

static bool start(struct compositor *compositor)
{
    struct wl_display *display = compositor->display = wl_display_create();
    compositor->backend = wlr_backend_autocreate(wl_display_get_event_loop(display), NULL);
    if (!compositor->backend)
        return false;
    compositor->renderer = wlr_renderer_autocreate(compositor->backend);
    if (!compositor->renderer || !wlr_renderer_init_wl_display(compositor->renderer, display))
        return false;
    compositor->allocator = wlr_allocator_autocreate(compositor->backend, compositor->renderer);
    compositor->scene = wlr_scene_create();
    struct wlr_xdg_shell *shell = wlr_xdg_shell_create(display, 3);
    if (!compositor->allocator || !compositor->scene || !shell ||
        !wlr_compositor_create(display, 6, compositor->renderer) ||
        !wlr_subcompositor_create(display) || !wlr_viewporter_create(display) ||
        !wlr_presentation_create(display, compositor->backend) || !umf_sync_v1_create(display))
        return false;

    compositor->new_output.notify = handle_new_output;
    wl_signal_add(&compositor->backend->events.new_output, &compositor->new_output);
    compositor->new_toplevel.notify = handle_new_toplevel;
    wl_signal_add(&shell->events.new_toplevel, &compositor->new_toplevel);

    const char *socket = wl_display_add_socket_auto(display);
    if (!socket || !wlr_backend_start(compositor->backend))
        return false;
    setenv("WAYLAND_DISPLAY", socket, true);
    return true;
}

static bool parse_size(const char *text, int *width, int *height)
{
    return sscanf(text, "%dx%d", width, height) == 2 && *width > 0 && *height > 0;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "size", required_argument, NULL, 's' },    { "cell", required_argument, NULL, 'c' },
        { "refresh", required_argument, NULL, 'r' }, { "mirror", required_argument, NULL, 'm' },
        { NULL, 0, NULL, 0 },
    };
    static struct compositor compositor = {
        .width = 640, .height = 480, .cell_width = 320, .cell_height = 240, .refresh_mhz = 60000,
    };
    const char *mirror = NULL;
    bool valid = true;
    for (int option; (option = getopt_long(argc, argv, "+", options, NULL)) != -1;) {
        if (option == 's')
            valid &= parse_size(optarg, &compositor.width, &compositor.height);
        else if (option == 'c')
            valid &= parse_size(optarg, &compositor.cell_width, &compositor.cell_height);
        else if (option == 'r')
            valid &= (compositor.refresh_mhz = atoi(optarg) * 1000) > 0;
        else if (option == 'm')
            mirror = optarg;
        else
            valid = false;
    }
    if (!valid || optind == argc || compositor.cell_width > compositor.width) {
        fprintf(stderr, "usage: %s [--size WxH] [--cell WxH] [--refresh HZ] [--mirror FILE] "
                        "COMMAND [ARGUMENT...]\n", argv[0]);
        return 2;
    }
    wlr_log_init(WLR_ERROR, NULL);
    signal(SIGPIPE, SIG_IGN);
    if (mirror) {
        /* An output that shows a client's buffer itself has no pixels of its own. */
        setenv("WLR_SCENE_DISABLE_DIRECT_SCANOUT", "1", true);
        compositor.mirror = mirror_create(mirror, compositor.width, compositor.height);
        if (!compositor.mirror) {
            perror(mirror);
            return 1;
        }
    }
    if (!start(&compositor) || !run_command(&compositor, argv + optind)) {
        fprintf(stderr, "%s: cannot start: is XDG_RUNTIME_DIR set? On a machine without a screen, "
                        "set WLR_BACKENDS=headless and WLR_RENDERER=pixman.\n", argv[0]);
        return 1;
    }
    wl_display_run(compositor.display);

    wl_event_source_remove(compositor.command_end);
    wl_display_destroy_clients(compositor.display);
    wlr_scene_node_destroy(&compositor.scene->tree.node);
    wlr_allocator_destroy(compositor.allocator);
    wlr_renderer_destroy(compositor.renderer);
    wlr_backend_destroy(compositor.backend);
    wl_display_destroy(compositor.display);
    mirror_destroy(compositor.mirror);
    return WIFEXITED(compositor.status) ? WEXITSTATUS(compositor.status) : 1;
}
