// SPDX-License-Identifier: MIT
/*
 * The header is strict C11, complete by itself, may be included twice, and every function of it can
 * be linked.
 */
#include <libumf.h>
#include <libumf.h>

#include <stddef.h>

_Static_assert(sizeof(struct umf_caps) == 24 && offsetof(struct umf_caps, size) == 0,
               "grows at the end only");
_Static_assert(sizeof(struct umf_device_caps) == 16 && offsetof(struct umf_device_caps, size) == 0,
               "grows at the end only");

#if UMF_VERSION_MAJOR < 0 || UMF_VERSION_MINOR < 0 || UMF_VERSION_PATCH < 0
#error "the version is no number for the preprocessor"
#endif
#if UMF_WAIT_ANY == UMF_WAIT_PENDING || UMF_PAGE_MAX_FENCES < 1 || UMF_WAIT_MAX < 1 ||             \
    UMF_OP_GE != 0
#error "constants are no numbers for the preprocessor"
#endif

typedef void (*function)(void);

static const function functions[] = {
    (function)umf_version,
    (function)umf_query_caps,
    (function)umf_set_spin,
    (function)umf_page_create,
    (function)umf_page_import,
    (function)umf_page_import_limited,
    (function)umf_page_export,
    (function)umf_page_export_dma_buf,
    (function)umf_page_get_memory,
    (function)umf_page_set_error,
    (function)umf_page_reclaim,
    (function)umf_page_fence_count,
    (function)umf_page_ref,
    (function)umf_page_unref,
    (function)umf_fence_create,
    (function)umf_fence_open,
    (function)umf_fence_create_in,
    (function)umf_fence_open_in,
    (function)umf_fence_end,
    (function)umf_fence_ref,
    (function)umf_fence_unref,
    (function)umf_fence_page,
    (function)umf_fence_index,
    (function)umf_fence_offset,
    (function)umf_fence_value,
    (function)umf_fence_signal,
    (function)umf_fence_notify,
    (function)umf_fence_monitored_offset,
    (function)umf_notifier_create,
    (function)umf_notifier_ref,
    (function)umf_notifier_unref,
    (function)umf_fence_set_notifier,
    (function)umf_page_set_notifier,
    (function)umf_page_notify,
    (function)umf_fence_submit,
    (function)umf_fence_update,
    (function)umf_fence_pending_value,
    (function)umf_fence_timestamp,
    (function)umf_fence_set_error,
    (function)umf_fence_set_deadline,
    (function)umf_fence_error,
    (function)umf_fence_wait,
    (function)umf_wait,
    (function)umf_wait_set_add,
    (function)umf_wait_set_create,
    (function)umf_wait_set_modify,
    (function)umf_wait_set_ref,
    (function)umf_wait_set_remove,
    (function)umf_wait_set_unref,
    (function)umf_wait_set_wait,
    (function)umf_device_create,
    (function)umf_device_query_caps,
    (function)umf_device_ref,
    (function)umf_device_unref,
    (function)umf_fence_export_sync_file,
    (function)umf_fence_import_sync_file,
    (function)umf_fence_export_syncobj,
    (function)umf_fence_import_syncobj,
    (function)umf_fence_export_dma_buf,
    (function)umf_fence_import_dma_buf,
    (function)umf_queue_create,
    (function)umf_queue_ref,
    (function)umf_queue_unref,
    (function)umf_queue_submit,
    (function)umf_queue_drain,
    (function)umf_queue_cancel,
    (function)umf_queue_fail,
    (function)umf_loop_tie_fence,
    (function)umf_loop_tie_page,
    (function)umf_page_flags,
    (function)umf_graph_write,
    (function)umf_page_set_name,
    (function)umf_fence_set_name,
    (function)umf_page_query_name,
    (function)umf_page_query_fence,
    (function)umf_loop_create,
    (function)umf_loop_ref,
    (function)umf_loop_unref,
    (function)umf_loop_fd,
    (function)umf_loop_dispatch,
    (function)umf_loop_watch,
    (function)umf_loop_watch_many,
    (function)umf_loop_export_eventfd,
    (function)umf_loop_export_fence,
    (function)umf_watch_ref,
    (function)umf_watch_unref,
    (function)umf_watch_cancel,
    (function)umf_watch_result,
    (function)umf_syncobj_create,
    (function)umf_syncobj_open,
    (function)umf_syncobj_export,
    (function)umf_syncobj_signal,
    (function)umf_syncobj_ref,
    (function)umf_syncobj_unref,
    (function)umf_loop_export_syncobj,
    (function)umf_loop_import_sync_file,
    (function)umf_loop_import_syncobj,
    (function)umf_loop_import_dma_buf,
    (function)umf_loop_import_xshmfence,
    (function)umf_loop_export_xshmfence,
};

int
main(void)
{
    const uint32_t major = UMF_VERSION_MAJOR, minor = UMF_VERSION_MINOR, patch = UMF_VERSION_PATCH;
    const uint32_t version = major << 16 | minor << 8 | patch;
    struct umf_page *page = NULL;
    struct umf_fence *fence = NULL;
    size_t i;
    for (i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
        if (!functions[i])
            return 1;
    }
    if (umf_version() != version)
        return 1;
    if (umf_page_create(1, 0, &page) != 0 || umf_fence_create(page, UINT64_MAX, 0, &fence) != 0)
        return 1;
    struct umf_condition entry = { fence, UINT64_MAX, UMF_OP_GE, 0, 0 };
    if (umf_wait(&entry, 1, UMF_WAIT_ANY | UMF_WAIT_PENDING, 0, NULL) != 0)
        return 1;
    umf_fence_unref(fence);
    umf_page_unref(page);
    return 0;
}
