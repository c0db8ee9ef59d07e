/* SPDX-License-Identifier: MIT */
/*
 * CUDA's driver, as the tests use it: found when the program runs, so that the program builds
 * everywhere. Without a device it says that it did not run.
 */
#ifndef CUDA_H
#define CUDA_H

#include "device_fences.h"

#include <dlfcn.h>

/* The part of the driver's interface that is used, as its ABI defines it. */
typedef int CUresult;
typedef int CUdevice;
typedef struct CUctx *CUcontext;
typedef struct CUstr *CUstream;
typedef struct CUev *CUevent;
#ifdef __LP64__
typedef unsigned long long CUdeviceptr;
#else
typedef unsigned int CUdeviceptr;
#endif
#define CU_MEMHOSTREGISTER_PORTABLE_AND_DEVICEMAP 3
#define CU_MEMHOSTALLOC_DEVICEMAP 2
#define CU_STREAM_NON_BLOCKING 1
#define CU_EVENT_BLOCKING_SYNC 1
#define CU_EVENT_DISABLE_TIMING 2
#define CU_STREAM_WAIT_VALUE_GEQ 0
#define CU_STREAM_WRITE_VALUE_DEFAULT 0 /* with a barrier: earlier work becomes visible first */

static CUresult (*cuInit)(unsigned flags);
static CUresult (*cuDeviceGetCount)(int *count);
static CUresult (*cuDeviceGet)(CUdevice *device, int ordinal);
static CUresult (*cuDeviceGetName)(char *name, int length, CUdevice device);
static CUresult (*cuDevicePrimaryCtxRetain)(CUcontext *context, CUdevice device);
static CUresult (*cuDevicePrimaryCtxRelease_v2)(CUdevice device);
static CUresult (*cuCtxSetCurrent)(CUcontext context);
static CUresult (*cuStreamCreate)(CUstream *stream, unsigned flags);
static CUresult (*cuStreamSynchronize)(CUstream stream);
static CUresult (*cuStreamDestroy_v2)(CUstream stream);
static CUresult (*cuMemHostRegister_v2)(void *address, size_t size, unsigned flags);
static CUresult (*cuMemHostUnregister)(void *address);
static CUresult (*cuMemHostAlloc)(void **address, size_t size, unsigned flags);
static CUresult (*cuMemFreeHost)(void *address);
static CUresult (*cuMemHostGetDevicePointer_v2)(CUdeviceptr *pointer, void *address,
                                                unsigned flags);
static CUresult (*cuStreamWriteValue64)(CUstream stream, CUdeviceptr address, uint64_t value,
                                        unsigned flags);
static CUresult (*cuStreamWaitValue64)(CUstream stream, CUdeviceptr address, uint64_t value,
                                       unsigned flags);
static CUresult (*cuLaunchHostFunc)(CUstream stream, void (*function)(void *data), void *data);
static CUresult (*cuEventCreate)(CUevent *event, unsigned flags);
static CUresult (*cuEventRecord)(CUevent event, CUstream stream);
static CUresult (*cuEventSynchronize)(CUevent event);
static CUresult (*cuEventDestroy_v2)(CUevent event);

#define CU(call) DRIVER_CALL(0, call)

static CUdevice device;
static CUstream stream;
static CUdeviceptr seen_by_device; /* the page of device_fences.h */

static inline void
not_run(const char *why)
{
    printf("not run: %s\n", why);
    exit(SKIPPED);
}

/* Prefers a name of the second version, which needs no setting of the driver. */
static inline void *
symbol(void *driver, const char *name, const char *newer)
{
    void *found = newer ? dlsym(driver, newer) : NULL;
    if (!found)
        found = dlsym(driver, name);
    if (!found)
        not_run(name);
    return found;
}

#define GET(name) (*(void **)(void *)&(name) = symbol(driver, #name, NULL))
#define GET_V2(name) (*(void **)(void *)&(name) = symbol(driver, #name, #name "_v2"))

static inline void
open_device(void)
{
    CUcontext context;
    char text[256] = "";
    int count = 0;
    void *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!driver)
        not_run("no CUDA driver (libcuda.so.1)");
    GET(cuInit), GET(cuDeviceGetCount), GET(cuDeviceGet), GET(cuDeviceGetName),
        GET(cuDevicePrimaryCtxRetain);
    GET(cuDevicePrimaryCtxRelease_v2), GET(cuCtxSetCurrent), GET(cuStreamCreate),
        GET(cuStreamSynchronize);
    GET(cuStreamDestroy_v2), GET(cuMemHostRegister_v2), GET(cuMemHostUnregister),
        GET(cuMemHostAlloc), GET(cuMemFreeHost);
    GET(cuMemHostGetDevicePointer_v2), GET(cuLaunchHostFunc), GET_V2(cuStreamWriteValue64),
        GET_V2(cuStreamWaitValue64);
    GET(cuEventCreate), GET(cuEventRecord), GET(cuEventSynchronize), GET(cuEventDestroy_v2);
    if (cuInit(0) != 0 || cuDeviceGetCount(&count) != 0 || count == 0)
        not_run("no CUDA device");
    CU(cuDeviceGet(&device, 0));
    CU(cuDeviceGetName(text, sizeof(text), device));
    printf("%s\n", text);
    CU(cuDevicePrimaryCtxRetain(&context, device));
    CU(cuCtxSetCurrent(context));
    CU(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
}

static inline void
register_page(void)
{
    CU(cuMemHostRegister_v2(page_memory, page_memory_size,
                            CU_MEMHOSTREGISTER_PORTABLE_AND_DEVICEMAP));
    CU(cuMemHostGetDevicePointer_v2(&seen_by_device, page_memory, 0));
}

static inline void
close_device(void)
{
    CU(cuMemHostUnregister(page_memory));
    CU(cuStreamDestroy_v2(stream));
    CU(cuDevicePrimaryCtxRelease_v2(device));
}

static inline void
write_value(struct umf_fence *fence, uint64_t value)
{
    CU(cuStreamWriteValue64(stream, seen_by_device + (CUdeviceptr)umf_fence_offset(fence), value,
                            CU_STREAM_WRITE_VALUE_DEFAULT));
}

static inline void
wait_value(struct umf_fence *fence, uint64_t value)
{
    CU(cuStreamWaitValue64(stream, seen_by_device + (CUdeviceptr)umf_fence_offset(fence), value,
                           CU_STREAM_WAIT_VALUE_GEQ));
}

#endif
