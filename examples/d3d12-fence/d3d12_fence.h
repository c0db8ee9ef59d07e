/* SPDX-License-Identifier: MIT */
/*
 * ID3D12Fence, as a translation layer on Linux may offer it: any number of fences and events on one
 * thread. An event is an eventfd with EFD_NONBLOCK, which an application polls.
 */
#ifndef D3D12_FENCE_H
#define D3D12_FENCE_H

#include <stdint.h>

typedef int32_t HRESULT;
#define S_OK ((HRESULT)0)
#define E_FAIL ((HRESULT)0x80004005)
#define E_INVALIDARG ((HRESULT)0x80070057)
#define E_OUTOFMEMORY ((HRESULT)0x8007000E)
#define DXGI_ERROR_DEVICE_REMOVED ((HRESULT)0x887A0005)

enum d3d12_fence_flags { D3D12_FENCE_FLAG_NONE = 0, D3D12_FENCE_FLAG_SHARED = 1 };

enum d3d12_multiple_fence_wait_flags {
    D3D12_MULTIPLE_FENCE_WAIT_FLAG_NONE = 0,
    D3D12_MULTIPLE_FENCE_WAIT_FLAG_ALL = 0,
    D3D12_MULTIPLE_FENCE_WAIT_FLAG_ANY = 1,
};

struct d3d12_device;
struct d3d12_fence;

/* What one process sends to another one. The receiver can signal all shared fences of the device,
 * which lie in one page: so a process with 1,000 of them needs one thread. */
struct d3d12_handle {
    int fd;
    uint32_t index;
};

/* No event: the call returns once the values are reached. */
#define NO_EVENT (-1)

/* Not in D3D12: a device, its removal, and its last reference. The fences are released before. */
HRESULT d3d12_device_create(struct d3d12_device **device);
void d3d12_device_remove(struct d3d12_device *device);
void d3d12_device_release(struct d3d12_device *device);

/* ID3D12Device */
HRESULT d3d12_create_fence(struct d3d12_device *device, uint64_t initial_value, unsigned flags,
                           struct d3d12_fence **fence);
HRESULT d3d12_create_shared_handle(struct d3d12_fence *fence, struct d3d12_handle *handle);
HRESULT d3d12_open_shared_handle(struct d3d12_device *device, struct d3d12_handle handle,
                                 struct d3d12_fence **fence);
HRESULT d3d12_set_event_on_multiple_fence_completion(struct d3d12_device *device,
                                                     struct d3d12_fence *const *fences,
                                                     const uint64_t *values, unsigned count,
                                                     unsigned flags, int event);

/* ID3D12Fence */
uint64_t d3d12_get_completed_value(struct d3d12_fence *fence);
HRESULT d3d12_set_event_on_completion(struct d3d12_fence *fence, uint64_t value, int event);
HRESULT d3d12_signal(struct d3d12_fence *fence, uint64_t value);
void d3d12_fence_release(struct d3d12_fence *fence);

#endif
