// SPDX-License-Identifier: MIT
/* See d3d12_fence.h. */
#define _GNU_SOURCE
#include "d3d12_fence.h"

#include <errno.h>
#include <fcntl.h>
#include <libumf.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Fences of a page. A full one is followed by another. */
#define PAGE_FENCES 4096

/* One for the fences that are shared, and one for the others, which no other process gets. */
enum { PRIVATE, SHARED, PAGES };

struct d3d12_device {
    struct umf_loop *loop; /* a thread, once the first event waits */
    pthread_mutex_t lock;
    struct umf_page *pages[PAGES]; /* where the next fences go */
    struct d3d12_fence *fences;    /* all of the device */
    bool removed;
};

struct d3d12_fence {
    struct d3d12_device *device;
    struct umf_fence *umf;
    bool shared;
    struct d3d12_fence *next, **link; /* in the device's list */
};

static HRESULT
to_hresult(int result)
{
    switch (result) {
    case 0: return S_OK;
    case -EINVAL:
    case -EBADF:
    case -ENOENT: return E_INVALIDARG;
    case -ENOMEM: return E_OUTOFMEMORY;
    case -EIO:
    case -EOWNERDEAD: return DXGI_ERROR_DEVICE_REMOVED;
    default: return E_FAIL;
    }
}

/* The end of a wait. A fence that failed counts as UINT64_MAX, which every wait waits for less
 * than: so its waits are over as if they were met. */
static HRESULT
end_of_wait(int result)
{
    return result == -EIO || result == -EOWNERDEAD ? S_OK : to_hresult(result);
}

HRESULT
d3d12_device_create(struct d3d12_device **out)
{
    struct d3d12_device *device = calloc(1, sizeof(*device));
    if (!device)
        return E_OUTOFMEMORY;
    int result = umf_loop_create(UMF_LOOP_THREAD, &device->loop);
    if (result) {
        free(device);
        return to_hresult(result);
    }
    pthread_mutex_init(&device->lock, NULL);
    *out = device;
    return S_OK;
}

/* All fences complete, in every process that has them, whatever their values. */
void
d3d12_device_remove(struct d3d12_device *device)
{
    pthread_mutex_lock(&device->lock);
    device->removed = true;
    for (struct d3d12_fence *fence = device->fences; fence; fence = fence->next)
        umf_fence_set_error(fence->umf, -ENODEV);
    pthread_mutex_unlock(&device->lock);
}

void
d3d12_device_release(struct d3d12_device *device)
{
    umf_loop_unref(device->loop);
    for (int i = 0; i < PAGES; i++)
        umf_page_unref(device->pages[i]);
    pthread_mutex_destroy(&device->lock);
    free(device);
}

/* Makes the object for a fence of the device, and takes the reference. The lock is held. */
static HRESULT
add_fence(struct d3d12_device *device, struct umf_fence *umf, bool shared, struct d3d12_fence **out)
{
    struct d3d12_fence *fence = malloc(sizeof(*fence));
    if (!fence) {
        umf_fence_unref(umf);
        return E_OUTOFMEMORY;
    }
    *fence = (struct d3d12_fence){ device, umf, shared, device->fences, &device->fences };
    if (fence->next)
        fence->next->link = &fence->next;
    device->fences = fence;
    if (device->removed)
        umf_fence_set_error(umf, -ENODEV);
    *out = fence;
    return S_OK;
}

/* Creates a fence in the current page, or in a new one if that is full. A shared one outlives its
 * creator's reference, as a D3D12 fence does: it lives as long as its page. */
static int
create_in_page(struct umf_page **page, uint64_t value, bool shared, struct umf_fence **umf)
{
    uint64_t flags = UMF_FENCE_UNORDERED | (shared ? UMF_FENCE_LASTING : 0);
    int result = -ENOSPC;
    if (*page)
        result = umf_fence_create(*page, value, flags, umf);
    if (result != -ENOSPC)
        return result;
    struct umf_page *fresh;
    result = umf_page_create(PAGE_FENCES, 0, &fresh);
    if (result)
        return result;
    umf_page_unref(*page);
    *page = fresh;
    return umf_fence_create(fresh, value, flags, umf);
}

HRESULT
d3d12_create_fence(struct d3d12_device *device, uint64_t initial_value, unsigned flags,
                   struct d3d12_fence **fence)
{
    struct umf_fence *umf;
    if (flags & ~(unsigned)D3D12_FENCE_FLAG_SHARED)
        return E_INVALIDARG;
    pthread_mutex_lock(&device->lock);
    bool shared = flags & D3D12_FENCE_FLAG_SHARED;
    struct umf_page **page = &device->pages[shared ? SHARED : PRIVATE];
    HRESULT result = to_hresult(create_in_page(page, initial_value, shared, &umf));
    if (result == S_OK)
        result = add_fence(device, umf, shared, fence);
    pthread_mutex_unlock(&device->lock);
    return result;
}

HRESULT
d3d12_create_shared_handle(struct d3d12_fence *fence, struct d3d12_handle *handle)
{
    struct d3d12_handle made = { .index = umf_fence_index(fence->umf) };
    if (!fence->shared)
        return E_INVALIDARG;
    int result = umf_page_export(umf_fence_page(fence->umf), 0, &made.fd);
    if (result == 0)
        *handle = made;
    return to_hresult(result);
}

HRESULT
d3d12_open_shared_handle(struct d3d12_device *device, struct d3d12_handle handle,
                         struct d3d12_fence **fence)
{
    struct umf_page *page;
    struct umf_fence *umf;
    int result = umf_page_import(handle.fd, 0, &page);
    if (result)
        return to_hresult(result);
    result = umf_fence_open(page, handle.index, 0, &umf);
    umf_page_unref(page); /* the fence keeps it */
    if (result)
        return to_hresult(result);
    pthread_mutex_lock(&device->lock);
    HRESULT added = add_fence(device, umf, true, fence);
    pthread_mutex_unlock(&device->lock);
    return added;
}

uint64_t
d3d12_get_completed_value(struct d3d12_fence *fence)
{
    int error = 0;
    /* The value first: a signal that came before the removal may be lost, but not the removal. */
    uint64_t value = umf_fence_value(fence->umf);
    return umf_fence_error(fence->umf, &error) == 0 && error == 0 ? value : UINT64_MAX;
}

HRESULT
d3d12_signal(struct d3d12_fence *fence, uint64_t value)
{
    return to_hresult(umf_fence_signal(fence->umf, value));
}

HRESULT
d3d12_set_event_on_completion(struct d3d12_fence *fence, uint64_t value, int event)
{
    struct umf_condition wait = { fence->umf, value, UMF_OP_GE, 0, 0 };
    if (event == NO_EVENT)
        return end_of_wait(umf_fence_wait(fence->umf, value, UINT64_MAX));
    struct umf_loop *loop = fence->device->loop;
    return to_hresult(umf_loop_export_eventfd(loop, &wait, 0, event, NULL, NULL));
}

/* An event of a wait for many, which the application may close while the wait goes on. */
struct many {
    int event;
};

static void
set_event(void *data, int result, uint32_t index)
{
    struct many *many = data;
    (void)index;
    if (result != -ECANCELED)
        eventfd_write(many->event, 1);
}

static void
release_event(void *data)
{
    struct many *many = data;
    close(many->event);
    free(many);
}

static HRESULT
watch_many(struct umf_loop *loop, const struct umf_condition *waits, unsigned count, uint64_t flags,
           int event)
{
    struct many *many = malloc(sizeof(*many));
    if (!many)
        return E_OUTOFMEMORY;
    many->event = fcntl(event, F_DUPFD_CLOEXEC, 3);
    if (many->event < 0) {
        free(many);
        return E_INVALIDARG;
    }
    struct umf_many_callback callback = { set_event, release_event, many };
    int result = umf_loop_watch_many(loop, waits, count, flags, &callback, NULL);
    if (result)
        release_event(many);
    return to_hresult(result);
}

HRESULT
d3d12_set_event_on_multiple_fence_completion(struct d3d12_device *device,
                                             struct d3d12_fence *const *fences,
                                             const uint64_t *values, unsigned count,
                                             unsigned flags, int event)
{
    if (count == 0 || flags & ~(unsigned)D3D12_MULTIPLE_FENCE_WAIT_FLAG_ANY)
        return E_INVALIDARG;
    struct umf_condition *waits = calloc(count, sizeof(*waits));
    if (!waits)
        return E_OUTOFMEMORY;
    for (unsigned i = 0; i < count; i++)
        waits[i] = (struct umf_condition){ fences[i]->umf, values[i], UMF_OP_GE, 0, 0 };
    uint64_t any = flags & D3D12_MULTIPLE_FENCE_WAIT_FLAG_ANY ? UMF_WAIT_ANY : 0;
    HRESULT result = event == NO_EVENT
                         ? end_of_wait(umf_wait(waits, count, any, UINT64_MAX, NULL))
                         : watch_many(device->loop, waits, count, any, event);
    free(waits);
    return result;
}

void
d3d12_fence_release(struct d3d12_fence *fence)
{
    pthread_mutex_lock(&fence->device->lock);
    *fence->link = fence->next;
    if (fence->next)
        fence->next->link = fence->link;
    pthread_mutex_unlock(&fence->device->lock);
    /* The waits of queues and events end: nobody can signal it any more. */
    if (!fence->shared)
        umf_fence_end(fence->umf);
    umf_fence_unref(fence->umf);
    free(fence);
}
