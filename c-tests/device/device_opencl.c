// SPDX-License-Identifier: MIT
/*
 * Fences that an OpenCL device writes, and fences that it waits for. A device that shares the
 * host's memory gets a buffer over the page (CL_MEM_USE_HOST_PTR). A kernel writes values there and
 * wakes nobody; the CPU waits in libumf.
 */
#include "device_fences.h"

#ifndef HAVE_OPENCL
int
main(void)
{
    printf("built without OpenCL: needs ocl-icd-opencl-dev\n");
    return SKIPPED;
}
#else

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>

#define CL(call) DRIVER_CALL(CL_SUCCESS, call)

/* Waits if told to, works, and signals: the value last, after a fence, in one 64-bit access. */
static const char *source =
    "#pragma OPENCL EXTENSION cl_khr_int64_base_atomics : enable\n"
    "__kernel void job(__global ulong *words, __global ulong *result, uint wait_at, ulong "
    "wait_value,\n"
    "                  uint signal_at, ulong signal_value, uint steps, uint length)\n"
    "{\n"
    "    while (atom_add(&words[wait_at], 0) < wait_value)\n"
    "        ;\n"
    "    uint x = signal_value;\n"
    "    for (uint step = 0; step < steps; step++) {\n"
    "        for (uint i = 0; i < length; i++)\n"
    "            x = x * 1664525 + 1013904223;\n"
    "        result[1] = x;\n"
    "        result[0] = signal_value + step;\n"
    "        mem_fence(CLK_GLOBAL_MEM_FENCE);\n"
    "        atom_xchg(&words[signal_at], signal_value + step);\n"
    "    }\n"
    "}\n";

static cl_context context;
static cl_command_queue queue;
static cl_kernel kernel;
static cl_mem words, results;
static volatile uint64_t *result;
static void
skip(const char *what)
{
    printf("%s\n", what);
    exit(SKIPPED);
}

static void
open_device(void)
{
    cl_platform_id platform;
    cl_device_id device;
    cl_uint count = 0;
    cl_int error;
    char name[256] = "", extensions[4096] = "";
    cl_bool unified = CL_FALSE;
    if (clGetPlatformIDs(1, &platform, &count) != CL_SUCCESS || count == 0)
        skip("needs an OpenCL driver: on Debian, pocl-opencl-icd");
    if (clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 1, &device, NULL) != CL_SUCCESS)
        skip("needs an OpenCL device");
    CL(clGetDeviceInfo(device, CL_DEVICE_NAME, sizeof(name), name, NULL));
    CL(clGetDeviceInfo(device, CL_DEVICE_EXTENSIONS, sizeof(extensions), extensions, NULL));
    CL(clGetDeviceInfo(device, CL_DEVICE_HOST_UNIFIED_MEMORY, sizeof(unified), &unified, NULL));
    printf("%s\n", name);
    if (!strstr(extensions, "cl_khr_int64_base_atomics") || !unified)
        skip("needs a device with 64-bit atomics that shares the host's memory");

    context = clCreateContext(NULL, 1, &device, NULL, NULL, &error);
    CL(error);
    queue = clCreateCommandQueue(context, device, 0, &error);
    CL(error);
    cl_program program = clCreateProgramWithSource(context, 1, &source, NULL, &error);
    CL(error);
    CL(clBuildProgram(program, 1, &device, "", NULL, NULL));
    kernel = clCreateKernel(program, "job", &error);
    CL(error);
    CL(clReleaseProgram(program));
}

static uint32_t
at(struct umf_fence *fence)
{
    return (uint32_t)(umf_fence_offset(fence) / sizeof(uint64_t));
}

/* Enqueues a job that signals `steps` values from `first` on, once `go` has reached wait_value
 * and the event is complete. */
static void
enqueue(uint64_t wait_value, uint64_t first, uint32_t steps, uint32_t length, cl_event *after)
{
    const uint32_t wait_at = at(go), signal_at = at(progress);
    const size_t one = 1;
    CL(clSetKernelArg(kernel, 0, sizeof(words), &words));
    CL(clSetKernelArg(kernel, 1, sizeof(results), &results));
    CL(clSetKernelArg(kernel, 2, sizeof(wait_at), &wait_at));
    CL(clSetKernelArg(kernel, 3, sizeof(wait_value), &wait_value));
    CL(clSetKernelArg(kernel, 4, sizeof(signal_at), &signal_at));
    CL(clSetKernelArg(kernel, 5, sizeof(first), &first));
    CL(clSetKernelArg(kernel, 6, sizeof(steps), &steps));
    CL(clSetKernelArg(kernel, 7, sizeof(length), &length));
    CL(clEnqueueNDRangeKernel(queue, kernel, 1, NULL, &one, &one, after ? 1 : 0, after, NULL));
    CL(clFlush(queue));
}

/* One kernel signals many values. The CPU follows while it runs, and sees the result of each. */
static void
a_long_kernel_tells_how_far_it_is(uint32_t steps)
{
    uint64_t before = umf_fence_value(progress);
    enqueue(0, before + 1, steps, 1000000, NULL);
    CHECK(follow_progress(before, steps, result) >
          1); /* the CPU followed the job; it did not only find it finished */
    CL(clFinish(queue));
    CHECK(umf_fence_value(progress) == before + steps);
}

static void
a_kernel_waits_for_the_cpu(void)
{
    uint64_t value = umf_fence_value(progress), target = umf_fence_value(go) + 1;
    enqueue(0, value + 1, 1, 10, NULL);
    enqueue(target, value + 2, 1, 10, NULL);
    OK(umf_fence_wait(progress, value + 1, FOREVER));
    EXPECT(-ETIME, umf_fence_wait(progress, value + 2, in_ns(10 * MS)));
    OK(umf_fence_signal(go, target));
    OK(umf_fence_wait(progress, value + 2, FOREVER));
    CL(clFinish(queue));
}

static void
complete(void *data, int answer)
{
    OK(answer);
    CL(clSetUserEventStatus(*(cl_event *)data, CL_COMPLETE));
}

/* The device's queue waits for a user event that a watch completes: no thread blocks, and no
 * kernel spins. */
static void
the_queue_waits_for_a_watch(void)
{
    uint64_t value = umf_fence_value(progress) + 1, target = umf_fence_value(go) + 1;
    struct umf_loop *loop;
    struct umf_watch *watch;
    cl_int error;
    cl_event event = clCreateUserEvent(context, &error);
    CL(error);
    const struct umf_callback callback = { complete, NULL, &event };
    const struct umf_condition wait = { .fence = go, .value = target };
    OK(umf_loop_create(UMF_LOOP_THREAD, &loop));
    OK(umf_loop_watch(loop, &wait, 0, &callback, &watch));
    enqueue(0, value, 1, 10, &event);
    EXPECT(-ETIME, umf_fence_wait(progress, value, in_ns(20 * MS)));
    OK(umf_fence_signal(go, target));
    OK(umf_fence_wait(progress, value, FOREVER));
    CL(clFinish(queue));
    umf_watch_unref(watch);
    umf_loop_unref(loop);
    CL(clReleaseEvent(event));
}

int
main(int argc, char **argv)
{
    cl_int error;
    watchdog(argc > 1 ? 600 : 50);
    open_device();
    create_device_fences();
    words = clCreateBuffer(context, CL_MEM_READ_WRITE | CL_MEM_USE_HOST_PTR, page_memory_size,
                           page_memory, &error);
    CL(error);
    results =
        clCreateBuffer(context, CL_MEM_READ_WRITE | CL_MEM_ALLOC_HOST_PTR, 4096, NULL, &error);
    CL(error);
    result =
        clEnqueueMapBuffer(queue, results, CL_TRUE, CL_MAP_READ, 0, 4096, 0, NULL, NULL, &error);
    CL(error);

    a_long_kernel_tells_how_far_it_is(argc > 1 ? (uint32_t)atoi(argv[1]) : 200);
    a_kernel_waits_for_the_cpu();
    the_queue_waits_for_a_watch();

    CL(clEnqueueUnmapMemObject(queue, results, (void *)(uintptr_t)result, 0, NULL, NULL));
    CL(clFinish(queue));
    CL(clReleaseMemObject(words));
    CL(clReleaseMemObject(results));
    CL(clReleaseKernel(kernel));
    CL(clReleaseCommandQueue(queue));
    CL(clReleaseContext(context));
    destroy_device_fences();
    return 0;
}
#endif
