// SPDX-License-Identifier: MIT
/*
 * A fence that a device writes. The device is a thread here: it writes the value into the page, and
 * knows nothing else of the library. The interrupt handler of its driver wakes the waiters.
 */
#include <libumf.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

static struct umf_fence *fence;
static _Atomic uint64_t *value;         /* where the device writes */

static void *device(void *unused)
{
    /* The results of its work are visible before the value is. */
    atomic_store_explicit(value, 1, memory_order_release);
    umf_fence_notify(fence);            /* what the driver does after the interrupt */
    return unused;
}

int main(void)
{
    struct umf_page *page;
    pthread_t thread;
    void *memory;
    if (umf_page_create(64, 0, &page) || umf_fence_create(page, 0, UMF_FENCE_DEVICE, &fence))
        return 1;

    /* A GPU imports this mapping, or maps the page by umf_page_export_dma_buf(). */
    if (umf_page_get_memory(page, UMF_PAGE_MEMORY_WRITE, &memory, NULL))
        return 1;
    value = (_Atomic uint64_t *)(void *)((char *)memory + umf_fence_offset(fence));

    /* A device does not raise the pending value. The driver does, when it submits. */
    if (umf_fence_submit(fence, 1) || pthread_create(&thread, NULL, device, NULL))
        return 1;
    int result = umf_fence_wait(fence, 1, UINT64_MAX);
    printf("the device wrote %d\n", (int)umf_fence_value(fence));

    pthread_join(thread, NULL);
    umf_fence_unref(fence);
    umf_page_unref(page);
    return result != 0;
}
