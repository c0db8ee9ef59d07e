// SPDX-License-Identifier: MIT
/*
 * The queues of lavapipe as user queues of the emulated GPU (LVP_UMF_GPU): submissions make no
 * system call, an export of a sync_file does not wait for work that waits for nothing, a queue that
 * hangs is lost and nothing else is, and a queue that waits for a semaphore whose signaler is lost
 * continues.
 *
 * A hang cannot be caused through the Vulkan API. This test resets the device's queues through the
 * driver's own descriptor, as the kernel does with a queue that hangs.
 */
#include "drm_machine.h"
#include "external.h"
#include "kernel_fence.h"
#include "slow.h"
#include "system_calls.h"

#include "../../kernel/module/uapi/umf_gpu_drm.h"

#include <sys/ioctl.h>

#define SUBMISSIONS 100

static bool
is_gpu(int fd)
{
    char name[16] = "";
    struct drm_version version = { .name = name, .name_len = sizeof(name) - 1 };
    return ioctl(fd, DRM_IOCTL_VERSION, &version) == 0 && strcmp(name, "umf_gpu") == 0;
}

/* Returns the driver's descriptor of the device, or -1. */
static int
driver_fd(void)
{
    for (int fd = 0; fd < 256; fd++) {
        if (is_gpu(fd))
            return fd;
    }
    return -1;
}

/* Resets all queues of this process. Returns how many there are. */
static unsigned
reset_queues(void)
{
    unsigned count = 0;
    for (uint32_t id = 0; id < 16; id++) {
        struct umf_gpu_queue_op op = { .queue = id, .op = UMF_GPU_QUEUE_RESET };
        count += ioctl(driver_fd(), DRM_IOCTL_UMF_GPU_QUEUE_OP, &op) == 0;
    }
    return count;
}

/* Submits work that waits for a value that is not signaled yet. */
static void
submit_many(const struct gpu *gpu, VkSemaphore input, VkSemaphore done, uint64_t first,
            uint64_t last)
{
    for (uint64_t value = first; value <= last; value++)
        submit(gpu, WAITS(POINT(input, value)), SIGNALS(POINT(done, value)));
}

/*
 * A process with a device of its own, because only a new process can be traced. A wait that slept
 * leaves its registration behind, which costs one of the next 32 submissions a wake-up.
 */
static void
submissions_make_no_system_call(void)
{
    pid_t child = start_traced();
    if (child == 0) {
        struct gpu gpu = open_gpu();
        VkSemaphore input = timeline(&gpu, 0), done = timeline(&gpu, 0);
        const uint64_t first = SUBMISSIONS * 2, last = first + SUBMISSIONS;
        submit_many(&gpu, input, done, 1, first - 32); /* the allocator gets its memory */
        signal_to(&gpu, input, first);
        VK_OK(wait_for(&gpu, done, first - 32, FOREVER));
        submit_many(&gpu, input, done, first - 31, first);
        while (value_of(&gpu, done) < first)
            sched_yield();
        begin_trace();
        submit_many(&gpu, input, done, first + 1, last);
        end_trace();
        signal_to(&gpu, input, last);
        VK_OK(wait_for(&gpu, done, last, FOREVER));
        destroy(&gpu, input);
        destroy(&gpu, done);
        close_gpu(&gpu);
        _exit(0);
    }
    struct system_calls calls = trace(child);
    printf("    %d submissions, %u system calls\n", SUBMISSIONS, calls.all);
    CHECK(calls.all == 0);
}

/* Commands that end when the host sets the event. */
static VkCommandBuffer
commands_that_wait(const struct gpu *gpu, VkEvent event, VkCommandPool *pool)
{
    VkCommandBuffer commands;
    VkCommandPoolCreateInfo pool_info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .queueFamilyIndex = gpu->family,
    };
    VK_OK(vkCreateCommandPool(gpu->device, &pool_info, NULL, pool));
    VkCommandBufferAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = *pool,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = 1,
    };
    VK_OK(vkAllocateCommandBuffers(gpu->device, &info, &commands));
    VkCommandBufferBeginInfo begin = { .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO };
    VK_OK(vkBeginCommandBuffer(commands, &begin));
    vkCmdWaitEvents(commands, 1, &event, VK_PIPELINE_STAGE_HOST_BIT,
                    VK_PIPELINE_STAGE_ALL_COMMANDS_BIT, 0, NULL, 0, NULL, 0, NULL);
    VK_OK(vkEndCommandBuffer(commands));
    return commands;
}

/* The sync_file of work that runs is pending: it is the device's kernel fence. */
static void
an_export_does_not_wait_for_work_that_runs(const struct gpu *gpu)
{
    VkEvent event;
    VkCommandPool pool;
    VkEventCreateInfo info = { .sType = VK_STRUCTURE_TYPE_EVENT_CREATE_INFO };
    VkSemaphore input = timeline(gpu, 0);
    VkSemaphore exported = make_semaphore(gpu, VK_SEMAPHORE_TYPE_BINARY, 0, SEMAPHORE_SYNC);
    VK_OK(vkCreateEvent(gpu->device, &info, NULL, &event));
    signal_to(gpu, input, 1);
    submit(gpu, WAITS(POINT(input, 1)), SIGNALS(POINT(exported, 0)),
           .commands = commands_that_wait(gpu, event, &pool));
    int fd = export_semaphore(gpu, exported, SEMAPHORE_SYNC);
    CHECK(fd >= 0 && sync_file_status(fd) == 0);
    /* It may be imported, and waited for by the same queue. */
    VkSemaphore imported = make_semaphore(gpu, VK_SEMAPHORE_TYPE_BINARY, 0, SEMAPHORE_SYNC);
    VkSemaphore done = timeline(gpu, 0);
    VK_OK(import_semaphore(gpu, imported, SEMAPHORE_SYNC, VK_SEMAPHORE_IMPORT_TEMPORARY_BIT,
                           dup(fd)));
    submit(gpu, WAITS(POINT(imported, 0)), SIGNALS(POINT(done, 1)));
    CHECK(value_of(gpu, done) == 0 && sync_file_status(fd) == 0);
    VK_OK(vkSetEvent(gpu->device, event));
    VK_OK(wait_for(gpu, done, 1, FOREVER));
    CHECK(sync_file_status(fd) == 1);
    close(fd);
    VK_OK(vkQueueWaitIdle(gpu->queues[0]));
    vkDestroyEvent(gpu->device, event, NULL);
    vkDestroyCommandPool(gpu->device, pool, NULL);
    destroy(gpu, input);
    destroy(gpu, exported);
    destroy(gpu, imported);
    destroy(gpu, done);
}

struct export {
    const struct gpu *gpu;
    VkSemaphore semaphore;
    int fd;
    atomic_int thread;
};

static void *
run_export(void *data)
{
    struct export *export = data;
    atomic_store(&export->thread, gettid());
    export->fd = export_semaphore(export->gpu, export->semaphore, SEMAPHORE_SYNC);
    return NULL;
}

/* Whether a thread waits for a fence: in a futex call, or in poll() for the device's interrupt. */
static bool
is_waiting(pid_t tid)
{
    char path[64], text[32] = "";
    snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", (int)tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
    close(fd);
    long number = strtol(text, NULL, 10);
#ifdef SYS_poll
    if (number == SYS_poll)
        return true;
#endif
    return number == SYS_ppoll || is_asleep(getpid(), tid);
}

/* Work that waits for the host has no kernel fence: the export waits, and is signaled. */
static void
an_export_waits_for_work_that_waits(const struct gpu *gpu)
{
    pthread_t thread;
    VkSemaphore input = timeline(gpu, 0);
    struct export export = {
        .gpu = gpu,
        .semaphore = make_semaphore(gpu, VK_SEMAPHORE_TYPE_BINARY, 0, SEMAPHORE_SYNC),
    };
    submit(gpu, WAITS(POINT(input, 1)), SIGNALS(POINT(export.semaphore, 0)));
    CHECK(pthread_create(&thread, NULL, run_export, &export) == 0);
    while (!atomic_load(&export.thread))
        sched_yield();
    while (!is_waiting(atomic_load(&export.thread)))
        sched_yield();
    signal_to(gpu, input, 1);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(export.fd >= 0 && sync_file_status(export.fd) == 1);
    close(export.fd);
    VK_OK(vkQueueWaitIdle(gpu->queues[0]));
    destroy(gpu, input);
    destroy(gpu, export.semaphore);
}

/* A submission that the ring has no room for fails, and changes nothing. */
static void
a_full_ring_is_no_deadlock(const struct gpu *gpu)
{
    VkSemaphore input = timeline(gpu, 0), done = timeline(gpu, 0);
    VkTimelineSemaphoreSubmitInfo values = {
        .sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
        .waitSemaphoreValueCount = 1,
        .pWaitSemaphoreValues = &(uint64_t){ 1 },
        .signalSemaphoreValueCount = 1,
    };
    VkSubmitInfo info = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .pNext = &values,
        .waitSemaphoreCount = 1,
        .pWaitSemaphores = &input,
        .pWaitDstStageMask = &(VkPipelineStageFlags){ VK_PIPELINE_STAGE_ALL_COMMANDS_BIT },
        .signalSemaphoreCount = 1,
        .pSignalSemaphores = &done,
    };
    uint64_t value = 0;
    VkResult result;
    do {
        value++;
        values.pSignalSemaphoreValues = &value;
        result = vkQueueSubmit(gpu->queues[0], 1, &info, VK_NULL_HANDLE);
    } while (result == VK_SUCCESS);
    printf("    %llu submissions are in the ring\n", (unsigned long long)value - 1);
    CHECK(result == VK_ERROR_OUT_OF_DEVICE_MEMORY);
    signal_to(gpu, input, 1);
    VK_OK(wait_for(gpu, done, value - 1, FOREVER));
    CHECK(value_of(gpu, done) == value - 1);
    submit(gpu, SIGNALS(POINT(done, value)));
    VK_OK(wait_for(gpu, done, value, FOREVER));
    destroy(gpu, input);
    destroy(gpu, done);
}

/* The queue hangs in a wait, or in work. */
static void
a_queue_that_is_reset_is_lost(const struct gpu *gpu, bool in_work)
{
    struct gpu lost = open_second(gpu);
    struct slow slow = make_slow(&lost, 50 * MS);
    VkSemaphore input = timeline(&lost, 0), done = timeline(&lost, 0);
    VkFence fence = unsignaled(&lost);
    if (in_work)
        submit(&lost, .commands = slow.commands);
    submit(&lost, WAITS(POINT(input, 1)), SIGNALS(POINT(done, 1)));
    submit(&lost, SIGNALS(POINT(done, 2)), .fence = fence);
    CHECK(reset_queues() == 1);
    VK(VK_ERROR_DEVICE_LOST, wait_for(&lost, done, 1, FOREVER));
    VK(VK_ERROR_DEVICE_LOST, wait_fence(&lost, fence, FOREVER));
    VK(VK_ERROR_DEVICE_LOST, vkQueueSubmit(lost.queues[0], 0, NULL, fence));
    VK(VK_ERROR_DEVICE_LOST, vkQueueWaitIdle(lost.queues[0]));
    vkDestroyFence(lost.device, fence, NULL);
    destroy(&lost, input);
    destroy(&lost, done);
    destroy_slow(&lost, &slow);
    vkDestroyDevice(lost.device, NULL);

    struct gpu next = open_second(gpu);
    VkSemaphore works = timeline(&next, 0);
    submit(&next, SIGNALS(POINT(works, 1)));
    VK_OK(wait_for(&next, works, 1, FOREVER));
    destroy(&next, works);
    close_second(&next);
}

/* A process whose queue is lost before it signals a semaphore that it shares. */
static void
run_loser(int sock)
{
    until_begin(sock);
    watchdog(100);
    struct gpu gpu = open_gpu();
    VkSemaphore never = timeline(&gpu, 0);
    VkSemaphore shared = recv_semaphore(&gpu, sock, VK_SEMAPHORE_TYPE_TIMELINE);
    submit(&gpu, WAITS(POINT(never, 1)), SIGNALS(POINT(shared, 1)));
    tell(sock, 1);
    hear(sock);
    CHECK(reset_queues() == 1);
    VK(VK_ERROR_DEVICE_LOST, wait_for(&gpu, shared, 1, FOREVER));
    destroy(&gpu, never);
    destroy(&gpu, shared);
    vkDestroyDevice(gpu.device, NULL);
    vkDestroyInstance(gpu.instance, NULL);
}

/* This process's queue waits for the semaphore, after work that may be running then. */
static void
a_wait_for_a_lost_peer_ends(const struct gpu *gpu, struct peer *loser, bool in_work)
{
    struct slow slow = make_slow(gpu, 100 * MS);
    VkSemaphore shared = shared_timeline(gpu, 0), own = timeline(gpu, 0), done = timeline(gpu, 0);
    let_begin(loser);
    send_semaphore(gpu, loser->sock, shared);
    hear(loser->sock);
    if (!in_work)
        submit(gpu, SIGNALS(POINT(done, 1)), .commands = slow.commands);
    else
        submit(gpu, WAITS(POINT(own, 1)), SIGNALS(POINT(done, 1)), .commands = slow.commands);
    submit(gpu, WAITS(POINT(shared, 1)), SIGNALS(POINT(done, 2)));
    submit(gpu, SIGNALS(POINT(done, 3)), .commands = slow.commands);
    if (!in_work)
        VK_OK(wait_for(gpu, done, 1, FOREVER));
    VK(VK_TIMEOUT, wait_for(gpu, done, 2, 10 * MS));
    signal_to(gpu, own, 1);
    tell(loser->sock, 1);
    VK_OK(wait_for(gpu, done, 3, FOREVER));
    VK(VK_ERROR_DEVICE_LOST, wait_for(gpu, shared, 1, FOREVER));
    submit(gpu, WAITS(POINT(shared, 1)), SIGNALS(POINT(done, 4)));
    VK_OK(wait_for(gpu, done, 4, FOREVER));
    VK_OK(vkQueueWaitIdle(gpu->queues[0]));
    CHECK(slow.numbers->runs == 2); /* each was done once */
    end_peer(loser);
    destroy(gpu, shared);
    destroy(gpu, own);
    destroy(gpu, done);
    destroy_slow(gpu, &slow);
}

int
main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    struct peer losers[2] = { start_peer(run_loser), start_peer(run_loser) };
    watchdog(200);
    struct gpu gpu = open_gpu();
    if (driver_fd() < 0)
        SKIP("the driver's queues are not those of the emulated GPU: LVP_UMF_GPU=true");
    RUN(a_wait_for_a_lost_peer_ends, &gpu, &losers[0], false);
    RUN(a_wait_for_a_lost_peer_ends, &gpu, &losers[1], true);
    RUN(an_export_does_not_wait_for_work_that_runs, &gpu);
    RUN(an_export_waits_for_work_that_waits, &gpu);
    RUN(a_full_ring_is_no_deadlock, &gpu);
    close_gpu(&gpu);
    RUN(submissions_make_no_system_call);
    gpu = open_gpu();
    VK_OK(vkDeviceWaitIdle(gpu.device));
    vkDestroyDevice(gpu.device, NULL);
    RUN(a_queue_that_is_reset_is_lost, &gpu, false);
    RUN(a_queue_that_is_reset_is_lost, &gpu, true);
    vkDestroyInstance(gpu.instance, NULL);
    return 0;
}
