// SPDX-License-Identifier: MIT
/*
 * A compositor's event loop. The library's descriptor is one of many in an epoll set: a surface is
 * shown when its fence is reached, and no thread blocks.
 */
#include <libumf.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

struct surface {
    const char *name;
    int *left;
};

static void on_acquired(void *data, int result)
{
    const struct surface *surface = data;
    /* A client that failed or died keeps the image that it has. */
    printf("%s: %s\n", surface->name, result == 0 ? "shown" : strerror(-result));
    --*surface->left;
}

/* The client renders one frame, and fails the other. */
static int render(struct umf_fence *fences[2])
{
    return umf_fence_signal(fences[0], 1) || umf_fence_set_error(fences[1], -5);
}

int main(void)
{
    struct umf_page *page;
    struct umf_fence *fences[2];
    struct umf_loop *loop;
    int left = 2, status, epoll = epoll_create1(EPOLL_CLOEXEC);
    struct surface surfaces[2] = { { "window", &left }, { "popup", &left } };
    if (epoll < 0 || umf_page_create(64, 0, &page) || umf_loop_create(0, &loop))
        return 1;
    for (int i = 0; i < 2; i++) {
        if (umf_fence_create(page, 0, 0, &fences[i]))
            return 1;
        struct umf_condition ready = { .fence = fences[i], .value = 1, .op = UMF_OP_GE };
        struct umf_callback callback = { .call = on_acquired, .data = &surfaces[i] };
        /* The watch goes on by itself. Keep the handle to cancel it when the surface goes away. */
        if (umf_loop_watch(loop, &ready, 0, &callback, NULL))
            return 1;
    }

    struct epoll_event entry = { .events = EPOLLIN, .data.fd = umf_loop_fd(loop) };
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, umf_loop_fd(loop), &entry))
        return 1;
    pid_t client = fork();
    if (client == 0)
        _exit(render(fences));
    while (left > 0) {
        if (epoll_wait(epoll, &entry, 1, 5000) != 1)
            return 1;
        if (entry.data.fd == umf_loop_fd(loop) && umf_loop_dispatch(loop, 0) < 0)
            return 1;
    }
    waitpid(client, &status, 0);
    umf_loop_unref(loop);
    for (int i = 0; i < 2; i++)
        umf_fence_unref(fences[i]);
    umf_page_unref(page);
    return close(epoll) || status;
}
