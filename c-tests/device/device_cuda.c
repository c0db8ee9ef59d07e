/*
 * Fences that a CUDA device writes, and fences that it waits for. The page is registered with the
 * driver, and memory operations of the stream write and await values in it. The test looks for the
 * driver when it runs, so it builds everywhere. Without a device it says that it did not run.
 */
#include "device_fences.h"

#include <dlfcn.h>

/* The part of the driver's interface that is used, as its ABI defines it. */
typedef int CUresult;
typedef int CUdevice;
typedef struct CUctx *CUcontext;
typedef struct CUstr *CUstream;
#ifdef __LP64__
typedef unsigned long long CUdeviceptr;
#else
typedef unsigned int CUdeviceptr;
#endif
#define CU_MEMHOSTREGISTER_PORTABLE_AND_DEVICEMAP 3
#define CU_MEMHOSTALLOC_DEVICEMAP 2
#define CU_STREAM_NON_BLOCKING 1
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

#define CU(call) DRIVER_CALL(0, call)

static CUdevice device;
static CUstream stream;static CUdeviceptr seen_by_device;

static void
not_run(const char *why)
{
    printf("not run: %s\n", why);
    exit(SKIPPED);
}

/* Prefers a name of the second version, which needs no setting of the driver. */
static void *
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

static void
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
    if (cuInit(0) != 0 || cuDeviceGetCount(&count) != 0 || count == 0)
        not_run("no CUDA device");
    CU(cuDeviceGet(&device, 0));
    CU(cuDeviceGetName(text, sizeof(text), device));
    printf("%s\n", text);
    CU(cuDevicePrimaryCtxRetain(&context, device));
    CU(cuCtxSetCurrent(context));
    CU(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
}

static void
write_value(struct umf_fence *fence, uint64_t value)
{
    CU(cuStreamWriteValue64(stream, seen_by_device + (CUdeviceptr)umf_fence_offset(fence), value,
                            CU_STREAM_WRITE_VALUE_DEFAULT));
}

static void
wait_value(struct umf_fence *fence, uint64_t value)
{
    CU(cuStreamWaitValue64(stream, seen_by_device + (CUdeviceptr)umf_fence_offset(fence), value,
                           CU_STREAM_WAIT_VALUE_GEQ));
}

/* The stream writes; the CPU waits. */
static void
the_stream_signals(uint64_t count)
{
    for (uint64_t v = 1; v <= count; v++) {
        write_value(progress, v);
        OK(umf_fence_wait(progress, v, FOREVER));
        CHECK(umf_fence_value(progress) == v);
    }
    CU(cuStreamSynchronize(stream));
}

/* The stream waits; the CPU signals. This needs no thread and has no time limit. */
static void
the_stream_waits(void)
{
    uint64_t value = umf_fence_value(progress), target = umf_fence_value(go);
    for (uint64_t i = 1; i <= 100; i++) {
        wait_value(go, target + i);
        write_value(progress, value + i);
    }
    EXPECT(-ETIME, umf_fence_wait(progress, value + 1, in_ns(20 * MS)));
    for (uint64_t i = 1; i <= 100; i++) {
        CHECK(umf_fence_value(progress) == value + i - 1);
        OK(umf_fence_signal(go, target + i));
        OK(umf_fence_wait(progress, value + i, FOREVER));
    }
    CU(cuStreamSynchronize(stream));
}

static void
notify(void *data)
{
    OK(umf_fence_notify(data));
}

/* The stream's host function notifies, after the driver's own interrupt: it wakes sleeping
 * waiters. */
static void
a_host_function_notifies(void)
{
    struct sleeper sleeper = { .fence = progress, .value = umf_fence_value(progress) + 1 };
    uint64_t target = umf_fence_value(go) + 1;
    wait_value(go, target);
    write_value(progress, sleeper.value);
    CU(cuLaunchHostFunc(stream, notify, progress));
    start_sleeper(&sleeper);
    OK(umf_fence_signal(go, target));
    OK(end_of(&sleeper));
    CU(cuStreamSynchronize(stream));
}

static void
free_pinned(void *data)
{
    CU(cuMemFreeHost(data));
}

/* The value is in the driver's pinned memory, which the library releases at the end. */
static void
a_value_in_pinned_memory(void)
{
    CUdeviceptr there;
    struct umf_fence *inside;
    void *pinned;
    CU(cuMemHostAlloc(&pinned, 4096, CU_MEMHOSTALLOC_DEVICEMAP));
    memset(pinned, 0, 4096);
    CU(cuMemHostGetDevicePointer_v2(&there, pinned, 0));
    const struct umf_mapping mapping = { .size = sizeof(mapping),
                                         .value = (char *)pinned + 64,
                                         .data = pinned,
                                         .release = free_pinned };
    OK(umf_fence_create_in(page, &mapping, 0, &inside));
    for (uint64_t v = 1; v <= 1000; v++) {
        CU(cuStreamWriteValue64(stream, there + 64, v, CU_STREAM_WRITE_VALUE_DEFAULT));
        OK(umf_fence_wait(inside, v, FOREVER));
    }
    CU(cuStreamSynchronize(stream));
    umf_fence_unref(inside);
}

int
main(int argc, char **argv)
{
    watchdog(argc > 1 ? 600 : 50);
    open_device();
    create_device_fences();
    CU(cuMemHostRegister_v2(raw.bytes, raw.length, CU_MEMHOSTREGISTER_PORTABLE_AND_DEVICEMAP));
    CU(cuMemHostGetDevicePointer_v2(&seen_by_device, raw.bytes, 0));

    the_stream_signals(argc > 1 ? strtoull(argv[1], NULL, 0) : 1000);
    the_stream_waits();
    a_host_function_notifies();
    a_value_in_pinned_memory();

    CU(cuMemHostUnregister(raw.bytes));
    CU(cuStreamDestroy_v2(stream));
    CU(cuDevicePrimaryCtxRelease_v2(device));
    destroy_device_fences();
    return 0;
}
