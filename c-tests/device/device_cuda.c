// SPDX-License-Identifier: MIT
/*
 * Fences that a CUDA device writes, and fences that it waits for. The page is registered with the
 * driver, and memory operations of the stream write and await values in it.
 */
#include "cuda.h"

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
    register_page();

    the_stream_signals(argc > 1 ? strtoull(argv[1], NULL, 0) : 1000);
    the_stream_waits();
    a_host_function_notifies();
    a_value_in_pinned_memory();

    close_device();
    destroy_device_fences();
    return 0;
}
