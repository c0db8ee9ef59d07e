// SPDX-License-Identifier: MIT
/*
 * Conversions in both directions: a fence becomes a sync_file, and a sync_file signals a fence.
 *
 *     convert [DRM_DEVICE]        without a device, it takes /dev/udmabuf
 */
#include <errno.h>
#include <fcntl.h>
#include <libumf.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void on_imported(void *data, int result)
{
    *(int *)data = result;
}

int main(int argc, char **argv)
{
    struct umf_page *page;
    struct umf_fence *rendered, *shown;
    struct umf_device *device = NULL;
    struct umf_loop *loop;
    struct umf_callback callback = { .call = on_imported };
    int drm = -1, sync_file, result, imported = 1, status = 77;
    if (argc > 1 && ((drm = open(argv[1], O_RDWR | O_CLOEXEC)) < 0 ||
                     umf_device_create(drm, 0, &device)))
        return 1;
    if (umf_page_create(64, 0, &page) || umf_fence_create(page, 0, 0, &rendered) ||
        umf_fence_create(page, 0, 0, &shown) || umf_loop_create(0, &loop))
        return 1;

    /* No kernel fence waits for a userspace fence: before the value is reached, none is made. */
    result = umf_fence_export_sync_file(rendered, 1, device, 0, 0, &sync_file);
    if (result == -EOPNOTSUPP) {
        printf("no device with syncobjs, and no /dev/udmabuf\n");
        goto out;
    }
    if (result != -ETIME || umf_fence_signal(rendered, 1) ||
        umf_fence_export_sync_file(rendered, 1, device, 0, 0, &sync_file))
        return 1;
    printf("fence to sync_file: done\n");

    /* The loop signals the fence when the sync_file signals. A blocking call would be
     * umf_fence_import_sync_file(). */
    callback.data = &imported;
    if (umf_loop_import_sync_file(loop, shown, 7, sync_file, 0, &callback, NULL))
        return 1;
    close(sync_file);                   /* the library has a duplicate */
    while (imported > 0) {
        struct pollfd due = { .fd = umf_loop_fd(loop), .events = POLLIN };
        if (poll(&due, 1, 5000) != 1 || umf_loop_dispatch(loop, 0))
            return 1;
    }
    printf("sync_file to fence: %s, value %d\n", imported == 0 ? "done" : strerror(-imported),
           (int)umf_fence_value(shown));
    status = imported == 0 ? 0 : 1;

out:
    umf_loop_unref(loop);
    umf_device_unref(device);
    umf_fence_unref(shown);
    umf_fence_unref(rendered);
    umf_page_unref(page);
    if (drm >= 0)
        close(drm);
    return status;
}
