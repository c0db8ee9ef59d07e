/* SPDX-License-Identifier: MIT */
/*
 * What every test starts from: a device with at least one queue, and short helpers for semaphores,
 * fences and submissions.
 *
 * The tests use nothing but the Vulkan API. They never call libumf. From c-tests/support they take
 * only the helpers for checks, time, threads and processes.
 */
#ifndef GPU_H
#define GPU_H

#include "process.h"
#include "sleeper.h"

#include <sys/resource.h>
#include <vulkan/vulkan.h>

#define MAX_QUEUES 4

struct gpu {
    VkInstance instance;
    VkPhysicalDevice physical;
    VkDevice device;
    VkQueue queues[MAX_QUEUES];
    uint32_t queue_count;
    uint32_t family;
    uint64_t max_difference; /* maxTimelineSemaphoreValueDifference */
    bool semaphore_fds, fence_fds;
    PFN_vkGetSemaphoreFdKHR get_semaphore_fd;
    PFN_vkImportSemaphoreFdKHR import_semaphore_fd;
    PFN_vkGetFenceFdKHR get_fence_fd;
    PFN_vkImportFenceFdKHR import_fence_fd;
};

static inline const char *
result_name(VkResult result)
{
    switch (result) {
    case VK_SUCCESS: return "VK_SUCCESS";
    case VK_NOT_READY: return "VK_NOT_READY";
    case VK_TIMEOUT: return "VK_TIMEOUT";
    case VK_ERROR_OUT_OF_HOST_MEMORY: return "VK_ERROR_OUT_OF_HOST_MEMORY";
    case VK_ERROR_DEVICE_LOST: return "VK_ERROR_DEVICE_LOST";
    case VK_ERROR_TOO_MANY_OBJECTS: return "VK_ERROR_TOO_MANY_OBJECTS";
    case VK_ERROR_INVALID_EXTERNAL_HANDLE: return "VK_ERROR_INVALID_EXTERNAL_HANDLE";
    case VK_ERROR_UNKNOWN: return "VK_ERROR_UNKNOWN";
    default: return "another result";
    }
}

/* Ends the test unless the call returns the expected result. */
#define VK(expected, call)                                                                         \
    do {                                                                                           \
        VkResult expected_ = (expected), got_ = (call);                                            \
        if (got_ != expected_) {                                                                   \
            fprintf(stderr, "%s:%d: %s: %s returned %s (%d), not %s\n", __FILE__, __LINE__,        \
                    __func__, #call, result_name(got_), got_, result_name(expected_));             \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

#define VK_OK(call) VK(VK_SUCCESS, call)

/* Skips the test. The message says what the driver or the machine lacks. */
#define SKIP(...)                                                                                  \
    do {                                                                                           \
        fprintf(stderr, __VA_ARGS__);                                                              \
        fputc('\n', stderr);                                                                       \
        exit(SKIPPED);                                                                             \
    } while (0)

/* Returns the processor time that the process has used. */
static inline uint64_t
processor_ns(void)
{
    struct rusage usage;
    CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
    uint64_t seconds = (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec);
    uint64_t microseconds = (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    return seconds * SECOND + microseconds * 1000;
}

static inline bool
has_extension(VkPhysicalDevice physical, const char *name)
{
    uint32_t count = 0;
    bool found = false;
    VK_OK(vkEnumerateDeviceExtensionProperties(physical, NULL, &count, NULL));
    VkExtensionProperties *all = calloc(count, sizeof(*all));
    CHECK(all);
    VK_OK(vkEnumerateDeviceExtensionProperties(physical, NULL, &count, all));
    for (uint32_t i = 0; i < count; i++)
        found = found || strcmp(all[i].extensionName, name) == 0;
    free(all);
    return found;
}

/* Returns the first device that the loader finds. VK_DRIVER_FILES selects the driver. */
static inline VkPhysicalDevice
first_device(VkInstance instance)
{
    uint32_t count = 1;
    VkPhysicalDevice physical;
    VkResult result = vkEnumeratePhysicalDevices(instance, &count, &physical);
    CHECK(result == VK_SUCCESS || result == VK_INCOMPLETE);
    CHECK(count == 1);
    return physical;
}

static inline void
open_device(struct gpu *gpu)
{
    static const float priorities[MAX_QUEUES] = { 1, 1, 1, 1 };
    const char *names[2];
    uint32_t name_count = 0;
    if (gpu->semaphore_fds)
        names[name_count++] = VK_KHR_EXTERNAL_SEMAPHORE_FD_EXTENSION_NAME;
    if (gpu->fence_fds)
        names[name_count++] = VK_KHR_EXTERNAL_FENCE_FD_EXTENSION_NAME;
    VkPhysicalDeviceVulkan13Features features13 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES,
        .synchronization2 = VK_TRUE,
    };
    VkPhysicalDeviceVulkan12Features features12 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
        .pNext = &features13,
        .timelineSemaphore = VK_TRUE,
    };
    VkPhysicalDeviceFeatures supported, enabled = { 0 };
    vkGetPhysicalDeviceFeatures(gpu->physical, &supported);
    enabled.sparseBinding = supported.sparseBinding;
    VkDeviceQueueCreateInfo queues = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
        .queueFamilyIndex = gpu->family,
        .queueCount = gpu->queue_count,
        .pQueuePriorities = priorities,
    };
    VkDeviceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .pNext = &features12,
        .queueCreateInfoCount = 1,
        .pQueueCreateInfos = &queues,
        .enabledExtensionCount = name_count,
        .ppEnabledExtensionNames = names,
        .pEnabledFeatures = &enabled,
    };
    VK_OK(vkCreateDevice(gpu->physical, &info, NULL, &gpu->device));
    for (uint32_t i = 0; i < gpu->queue_count; i++)
        vkGetDeviceQueue(gpu->device, gpu->family, i, &gpu->queues[i]);
#define ENTRY(name) (PFN_##name) vkGetDeviceProcAddr(gpu->device, #name)
    if (gpu->semaphore_fds) {
        gpu->get_semaphore_fd = ENTRY(vkGetSemaphoreFdKHR);
        gpu->import_semaphore_fd = ENTRY(vkImportSemaphoreFdKHR);
        CHECK(gpu->get_semaphore_fd && gpu->import_semaphore_fd);
    }
    if (gpu->fence_fds) {
        gpu->get_fence_fd = ENTRY(vkGetFenceFdKHR);
        gpu->import_fence_fd = ENTRY(vkImportFenceFdKHR);
        CHECK(gpu->get_fence_fd && gpu->import_fence_fd);
    }
#undef ENTRY
}

static inline struct gpu
open_gpu(void)
{
    struct gpu gpu = { 0 };
    VkApplicationInfo application = {
        .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
        .apiVersion = VK_API_VERSION_1_3,
    };
    VkInstanceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        .pApplicationInfo = &application,
    };
    VK_OK(vkCreateInstance(&info, NULL, &gpu.instance));
    gpu.physical = first_device(gpu.instance);

    VkPhysicalDeviceVulkan12Properties properties12 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES,
    };
    VkPhysicalDeviceProperties2 properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
        .pNext = &properties12,
    };
    vkGetPhysicalDeviceProperties2(gpu.physical, &properties);
    if (properties.properties.apiVersion < VK_API_VERSION_1_3)
        SKIP("the driver has no Vulkan 1.3");
    gpu.max_difference = properties12.maxTimelineSemaphoreValueDifference;

    uint32_t family_count = 1;
    VkQueueFamilyProperties family;
    vkGetPhysicalDeviceQueueFamilyProperties(gpu.physical, &family_count, &family);
    CHECK(family_count == 1 && family.queueFlags & VK_QUEUE_COMPUTE_BIT);
    gpu.queue_count = family.queueCount < MAX_QUEUES ? family.queueCount : MAX_QUEUES;
    gpu.semaphore_fds = has_extension(gpu.physical, VK_KHR_EXTERNAL_SEMAPHORE_FD_EXTENSION_NAME);
    gpu.fence_fds = has_extension(gpu.physical, VK_KHR_EXTERNAL_FENCE_FD_EXTENSION_NAME);
    open_device(&gpu);
    return gpu;
}

/* Opens a second device of the same driver in this process. It has queues of its own. */
static inline struct gpu
open_second(const struct gpu *first)
{
    struct gpu gpu = *first;
    open_device(&gpu);
    return gpu;
}

static inline void
close_second(struct gpu *gpu)
{
    VK_OK(vkDeviceWaitIdle(gpu->device));
    vkDestroyDevice(gpu->device, NULL);
}

static inline void
close_gpu(struct gpu *gpu)
{
    close_second(gpu);
    vkDestroyInstance(gpu->instance, NULL);
}

/* Semaphores. */

static inline VkSemaphore
make_semaphore(const struct gpu *gpu, VkSemaphoreType type, uint64_t value,
               VkExternalSemaphoreHandleTypeFlags exports)
{
    VkExportSemaphoreCreateInfo export = {
        .sType = VK_STRUCTURE_TYPE_EXPORT_SEMAPHORE_CREATE_INFO,
        .handleTypes = exports,
    };
    VkSemaphoreTypeCreateInfo kind = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
        .pNext = exports ? &export : NULL,
        .semaphoreType = type,
        .initialValue = value,
    };
    VkSemaphoreCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO,
        .pNext = &kind,
    };
    VkSemaphore semaphore;
    VK_OK(vkCreateSemaphore(gpu->device, &info, NULL, &semaphore));
    return semaphore;
}

static inline VkSemaphore
timeline(const struct gpu *gpu, uint64_t value)
{
    return make_semaphore(gpu, VK_SEMAPHORE_TYPE_TIMELINE, value, 0);
}

static inline VkSemaphore
binary(const struct gpu *gpu)
{
    return make_semaphore(gpu, VK_SEMAPHORE_TYPE_BINARY, 0, 0);
}

static inline void
destroy(const struct gpu *gpu, VkSemaphore semaphore)
{
    vkDestroySemaphore(gpu->device, semaphore, NULL);
}

static inline uint64_t
value_of(const struct gpu *gpu, VkSemaphore semaphore)
{
    uint64_t value;
    VK_OK(vkGetSemaphoreCounterValue(gpu->device, semaphore, &value));
    return value;
}

static inline void
signal_to(const struct gpu *gpu, VkSemaphore semaphore, uint64_t value)
{
    VkSemaphoreSignalInfo info = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_SIGNAL_INFO,
        .semaphore = semaphore,
        .value = value,
    };
    VK_OK(vkSignalSemaphore(gpu->device, &info));
}

/*
 * Waits for all semaphores, or for any of them. The timeout is relative, as everywhere in Vulkan.
 */
static inline VkResult
wait_many(const struct gpu *gpu, VkSemaphoreWaitFlags flags, uint32_t count,
          const VkSemaphore *semaphores, const uint64_t *values, uint64_t timeout)
{
    VkSemaphoreWaitInfo info = {
        .sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO,
        .flags = flags,
        .semaphoreCount = count,
        .pSemaphores = semaphores,
        .pValues = values,
    };
    return vkWaitSemaphores(gpu->device, &info, timeout);
}

static inline VkResult
wait_for(const struct gpu *gpu, VkSemaphore semaphore, uint64_t value, uint64_t timeout)
{
    return wait_many(gpu, 0, 1, &semaphore, &value, timeout);
}

/*
 * A thread that waits for all semaphores, or for any of them. The test fails unless the wait
 * succeeds. A timeout of 0 means FOREVER.
 */
struct waiter {
    const struct gpu *gpu;
    VkSemaphoreWaitFlags flags;
    uint32_t count;
    const VkSemaphore *semaphores;
    const uint64_t *values;
    uint64_t timeout;
    atomic_bool done;
    _Atomic pid_t tid;
    pthread_t thread;
};

static inline void *
run_waiter(void *argument)
{
    struct waiter *w = argument;
    atomic_store(&w->tid, gettid());
    uint64_t timeout = w->timeout ? w->timeout : FOREVER;
    VK_OK(wait_many(w->gpu, w->flags, w->count, w->semaphores, w->values, timeout));
    atomic_store(&w->done, true);
    return NULL;
}

/*
 * Waits until the thread is asleep, for at most 100 ms: the thread of a driver that polls never
 * sleeps. Fails if the thread's wait has ended.
 */
static inline void
let_sleep(struct waiter *w)
{
    uint64_t enough = in_ns(100 * MS);
    while (!is_asleep(getpid(), w->tid) && now_ns() < enough)
        nanosleep(&(struct timespec){ .tv_nsec = 20000 }, NULL);
    CHECK(!atomic_load(&w->done));
}

static inline void
start_waiter(struct waiter *w)
{
    atomic_init(&w->done, false);
    atomic_init(&w->tid, 0);
    CHECK(pthread_create(&w->thread, NULL, run_waiter, w) == 0);
    while (atomic_load(&w->tid) == 0)
        sched_yield();
    let_sleep(w);
}

static inline void
end_waiter(struct waiter *w)
{
    CHECK(pthread_join(w->thread, NULL) == 0);
}

/* Fences. */

static inline VkFence
make_fence(const struct gpu *gpu, bool signaled, VkExternalFenceHandleTypeFlags exports)
{
    VkExportFenceCreateInfo export = {
        .sType = VK_STRUCTURE_TYPE_EXPORT_FENCE_CREATE_INFO,
        .handleTypes = exports,
    };
    VkFenceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO,
        .pNext = exports ? &export : NULL,
        .flags = signaled ? VK_FENCE_CREATE_SIGNALED_BIT : 0,
    };
    VkFence fence;
    VK_OK(vkCreateFence(gpu->device, &info, NULL, &fence));
    return fence;
}

static inline VkFence
unsignaled(const struct gpu *gpu)
{
    return make_fence(gpu, false, 0);
}

static inline VkResult
wait_fence(const struct gpu *gpu, VkFence fence, uint64_t timeout)
{
    return vkWaitForFences(gpu->device, 1, &fence, VK_TRUE, timeout);
}

/* Submissions. */

#define MAX_POINTS 64

/* A semaphore and the value to wait for or to signal. A binary semaphore ignores the value. */
struct point {
    VkSemaphore semaphore;
    uint64_t value;
};

struct work {
    const struct point *waits;
    uint32_t wait_count;
    const struct point *signals;
    uint32_t signal_count;
    VkCommandBuffer commands;
    VkFence fence;
};

/* The points as vkQueueSubmit takes them: semaphores and values in separate arrays. */
struct points {
    VkSemaphore semaphores[MAX_POINTS];
    uint64_t values[MAX_POINTS];
};

static inline void
split(struct points *points, const struct point *from, uint32_t count)
{
    CHECK(count <= MAX_POINTS);
    for (uint32_t i = 0; i < count; i++) {
        points->semaphores[i] = from[i].semaphore;
        points->values[i] = from[i].value;
    }
}

static inline void
submit_to(VkQueue queue, const struct work *work)
{
    struct points waits, signals;
    VkPipelineStageFlags stages[MAX_POINTS];
    split(&waits, work->waits, work->wait_count);
    split(&signals, work->signals, work->signal_count);
    for (uint32_t i = 0; i < work->wait_count; i++)
        stages[i] = VK_PIPELINE_STAGE_ALL_COMMANDS_BIT;
    VkTimelineSemaphoreSubmitInfo values = {
        .sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
        .waitSemaphoreValueCount = work->wait_count,
        .pWaitSemaphoreValues = waits.values,
        .signalSemaphoreValueCount = work->signal_count,
        .pSignalSemaphoreValues = signals.values,
    };
    VkSubmitInfo info = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .pNext = &values,
        .waitSemaphoreCount = work->wait_count,
        .pWaitSemaphores = waits.semaphores,
        .pWaitDstStageMask = stages,
        .commandBufferCount = work->commands != VK_NULL_HANDLE,
        .pCommandBuffers = &work->commands,
        .signalSemaphoreCount = work->signal_count,
        .pSignalSemaphores = signals.semaphores,
    };
    VK_OK(vkQueueSubmit(queue, 1, &info, work->fence));
}

/*
 * Submits to the first queue: submit(&gpu, WAITS(POINT(...), ...), SIGNALS(POINT(...), ...),
 * .commands = ..., .fence = ...). WAITS and SIGNALS also set the count.
 */
#define submit(gpu, ...) submit_to((gpu)->queues[0], &(struct work){ __VA_ARGS__ })
#define POINT(semaphore, value) ((struct point){ semaphore, value })
#define LIST(...) ((const struct point[]){ __VA_ARGS__ })
#define COUNT(...) (sizeof(LIST(__VA_ARGS__)) / sizeof(struct point))
#define WAITS(...) .waits = LIST(__VA_ARGS__), .wait_count = COUNT(__VA_ARGS__)
#define SIGNALS(...) .signals = LIST(__VA_ARGS__), .signal_count = COUNT(__VA_ARGS__)

#endif
