// SPDX-License-Identifier: MIT
/*
 * Fences that a Vulkan device writes, and fences that it waits for. VK_EXT_external_memory_host
 * imports the page as it is. A compute shader and transfer commands write values there and wake
 * nobody; the CPU waits in libumf.
 */
#include "device_fences.h"

#ifndef HAVE_VULKAN
int
main(void)
{
    printf("built without Vulkan: needs libvulkan-dev\n");
    return SKIPPED;
}
#else

#include "device_vulkan.spv.h"

#include <stddef.h>
#include <vulkan/vulkan.h>

#define VK(call) DRIVER_CALL(VK_SUCCESS, call)

/* llvmpipe ends a shader's loops after 65,535 iterations. */
#define TURNS 50000

static VkInstance instance;
static VkPhysicalDevice physical;
static VkDevice device;
static VkQueue queue;
static VkCommandPool pool;
static VkPipelineLayout layout;
static VkPipeline pipeline;
static VkDescriptorSet set;
static VkBuffer words, results;
static VkDeviceMemory words_memory, results_memory;
static volatile uint64_t *result;

struct job {
    uint64_t wait_value, signal_value;
    uint32_t wait_at, signal_at, spins, length;
};

static bool
has_extension(const char *name)
{
    static VkExtensionProperties all[512];
    uint32_t count = 512;
    VkResult answer = vkEnumerateDeviceExtensionProperties(physical, NULL, &count, all);
    CHECK(answer == VK_SUCCESS || answer == VK_INCOMPLETE);
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(all[i].extensionName, name) == 0)
            return true;
    return false;
}

static int
skip(const char *what)
{
    printf("%s\n", what);
    exit(SKIPPED);
}

static void
open_device(void)
{
    const VkApplicationInfo application = { .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                                            .apiVersion = VK_API_VERSION_1_2 };
    const VkInstanceCreateInfo about = { .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
                                         .pApplicationInfo = &application };
    uint32_t count = 1;
    if (vkCreateInstance(&about, NULL, &instance) != VK_SUCCESS)
        skip("needs a Vulkan driver: on Debian, mesa-vulkan-drivers");
    VkResult answer = vkEnumeratePhysicalDevices(instance, &count, &physical);
    if ((answer != VK_SUCCESS && answer != VK_INCOMPLETE) || count == 0)
        skip("needs a Vulkan device");

    VkPhysicalDeviceVulkan12Features has12 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES
    };
    VkPhysicalDeviceFeatures2 has = { .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                      .pNext = &has12 };
    VkPhysicalDeviceProperties properties;
    vkGetPhysicalDeviceProperties(physical, &properties);
    printf("%s\n", properties.deviceName);
    if (properties.apiVersion < VK_API_VERSION_1_2 ||
        !has_extension(VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME))
        skip("needs Vulkan 1.2 and VK_EXT_external_memory_host");
    vkGetPhysicalDeviceFeatures2(physical, &has);
    if (!has.features.shaderInt64 || !has12.shaderBufferInt64Atomics || !has12.vulkanMemoryModel
        || !has12.vulkanMemoryModelDeviceScope)
        skip("needs 64-bit atomics and the Vulkan memory model in shaders");

    VkPhysicalDeviceVulkan12Features want12 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
        .shaderBufferInt64Atomics = VK_TRUE,
        .vulkanMemoryModel = VK_TRUE,
        .vulkanMemoryModelDeviceScope = VK_TRUE
    };
    const VkPhysicalDeviceFeatures want = { .shaderInt64 = VK_TRUE };
    const float priority = 1;
    uint32_t families = 8;
    VkQueueFamilyProperties family[8];
    vkGetPhysicalDeviceQueueFamilyProperties(physical, &families, family);
    VkDeviceQueueCreateInfo queues = { .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                       .queueCount = 1,
                                       .pQueuePriorities = &priority };
    while (queues.queueFamilyIndex < families &&
           !(family[queues.queueFamilyIndex].queueFlags & VK_QUEUE_COMPUTE_BIT))
        queues.queueFamilyIndex++;
    CHECK(queues.queueFamilyIndex < families);
    const char *extensions[] = { VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME,
                                 VK_KHR_EXTERNAL_SEMAPHORE_FD_EXTENSION_NAME };
    uint32_t used = has_extension(extensions[1]) ? 2 : 1;
    const VkDeviceCreateInfo create = { .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                                        .pNext = &want12,
                                        .queueCreateInfoCount = 1,
                                        .pQueueCreateInfos = &queues,
                                        .enabledExtensionCount = used,
                                        .ppEnabledExtensionNames = extensions,
                                        .pEnabledFeatures = &want };
    VK(vkCreateDevice(physical, &create, NULL, &device));
    vkGetDeviceQueue(device, queues.queueFamilyIndex, 0, &queue);
    const VkCommandPoolCreateInfo commands = { .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                               .queueFamilyIndex = queues.queueFamilyIndex };
    VK(vkCreateCommandPool(device, &commands, NULL, &pool));
}

static uint32_t
memory_type(uint32_t allowed, VkMemoryPropertyFlags needed)
{
    VkPhysicalDeviceMemoryProperties types;
    vkGetPhysicalDeviceMemoryProperties(physical, &types);
    for (uint32_t i = 0; i < types.memoryTypeCount; i++)
        if ((allowed >> i & 1) && (types.memoryTypes[i].propertyFlags & needed) == needed)
            return i;
    skip("no memory type that is host visible and coherent");
    return 0;
}

/* A buffer over the imported page, or over new memory. Both are coherent: the library cannot use
 * other memory. */
static VkBuffer
create_buffer(void *host, VkDeviceSize size, VkDeviceMemory *memory)
{
    const VkFlags coherent =
        VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    const VkExternalMemoryHandleTypeFlagBits type =
        VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT;
    const VkExternalMemoryBufferCreateInfo external = {
        .sType = VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO, .handleTypes = type
    };
    const VkBufferCreateInfo create = { .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                                        .pNext = host ? &external : NULL,
                                        .size = size,
                                        .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT |
                                                 VK_BUFFER_USAGE_TRANSFER_DST_BIT };
    VkBuffer buffer;
    VK(vkCreateBuffer(device, &create, NULL, &buffer));
    VkMemoryRequirements needs;
    vkGetBufferMemoryRequirements(device, buffer, &needs);
    VkImportMemoryHostPointerInfoEXT import = {
        .sType = VK_STRUCTURE_TYPE_IMPORT_MEMORY_HOST_POINTER_INFO_EXT,
        .handleType = type,
        .pHostPointer = host
    };
    VkMemoryAllocateInfo allocate = { .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                      .allocationSize = needs.size };
    uint32_t allowed = needs.memoryTypeBits;
    if (host) {
        PFN_vkGetMemoryHostPointerPropertiesEXT ask =
            (PFN_vkGetMemoryHostPointerPropertiesEXT)vkGetDeviceProcAddr(
                device, "vkGetMemoryHostPointerPropertiesEXT");
        VkMemoryHostPointerPropertiesEXT says = {
            .sType = VK_STRUCTURE_TYPE_MEMORY_HOST_POINTER_PROPERTIES_EXT
        };
        VK(ask(device, type, host, &says));
        allowed &= says.memoryTypeBits;
        allocate.pNext = &import;
        allocate.allocationSize = size;
        CHECK(needs.size <= size);
    }
    allocate.memoryTypeIndex = memory_type(allowed, coherent);
    VK(vkAllocateMemory(device, &allocate, NULL, memory));
    VK(vkBindBufferMemory(device, buffer, *memory, 0));
    return buffer;
}

static void
create_pipeline(void)
{
    const VkDescriptorSetLayoutBinding bindings[2] = {
        { 0, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 1, VK_SHADER_STAGE_COMPUTE_BIT, NULL },
        { 1, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 1, VK_SHADER_STAGE_COMPUTE_BIT, NULL },
    };
    const VkDescriptorSetLayoutCreateInfo set_info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
        .bindingCount = 2,
        .pBindings = bindings
    };
    VkDescriptorSetLayout set_layout;
    VK(vkCreateDescriptorSetLayout(device, &set_info, NULL, &set_layout));
    const VkPushConstantRange range = { VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof(struct job) };
    const VkPipelineLayoutCreateInfo layout_info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
        .setLayoutCount = 1,
        .pSetLayouts = &set_layout,
        .pushConstantRangeCount = 1,
        .pPushConstantRanges = &range
    };
    VK(vkCreatePipelineLayout(device, &layout_info, NULL, &layout));
    const VkShaderModuleCreateInfo code = { .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
                                            .codeSize = sizeof(device_vulkan_spv),
                                            .pCode = device_vulkan_spv };
    VkShaderModule shader;
    VK(vkCreateShaderModule(device, &code, NULL, &shader));
    const VkComputePipelineCreateInfo create = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .stage = { .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                   .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                   .module = shader,
                   .pName = "main" },
        .layout = layout
    };
    VK(vkCreateComputePipelines(device, VK_NULL_HANDLE, 1, &create, NULL, &pipeline));
    vkDestroyShaderModule(device, shader, NULL);

    const VkDescriptorPoolSize size = { VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 2 };
    const VkDescriptorPoolCreateInfo pool_info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
        .maxSets = 1,
        .poolSizeCount = 1,
        .pPoolSizes = &size
    };
    VkDescriptorPool sets;
    VK(vkCreateDescriptorPool(device, &pool_info, NULL, &sets));
    const VkDescriptorSetAllocateInfo allocate = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
        .descriptorPool = sets,
        .descriptorSetCount = 1,
        .pSetLayouts = &set_layout
    };
    VK(vkAllocateDescriptorSets(device, &allocate, &set));
    const VkDescriptorBufferInfo buffers[2] = { { words, 0, VK_WHOLE_SIZE },
                                                { results, 0, VK_WHOLE_SIZE } };
    const VkWriteDescriptorSet write = { .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
                                         .dstSet = set,
                                         .descriptorCount = 2,
                                         .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
                                         .pBufferInfo = buffers };
    vkUpdateDescriptorSets(device, 1, &write, 0, NULL);
}

static VkCommandBuffer
begin(void)
{
    const VkCommandBufferAllocateInfo allocate = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = pool,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = 1
    };
    const VkCommandBufferBeginInfo how = { .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO };
    VkCommandBuffer commands;
    VK(vkAllocateCommandBuffers(device, &allocate, &commands));
    VK(vkBeginCommandBuffer(commands, &how));
    vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline);
    vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, layout, 0, 1, &set, 0, NULL);
    return commands;
}

/* Makes what was written visible to the host and to later work of the queue. */
static void
barrier(VkCommandBuffer commands)
{
    const VkMemoryBarrier all = { .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                                  .srcAccessMask =
                                      VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
                                  .dstAccessMask =
                                      VK_ACCESS_HOST_READ_BIT | VK_ACCESS_SHADER_READ_BIT |
                                      VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT };
    const VkPipelineStageFlags work =
        VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
    vkCmdPipelineBarrier(commands, work, work | VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &all, 0, NULL, 0,
                         NULL);
}

static void
dispatch(VkCommandBuffer commands, struct job job)
{
    vkCmdPushConstants(commands, layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof(job), &job);
    vkCmdDispatch(commands, 1, 1, 1);
    barrier(commands);
}

static void
submit(VkCommandBuffer commands)
{
    const VkSubmitInfo info = { .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                                .commandBufferCount = 1,
                                .pCommandBuffers = &commands };
    VK(vkEndCommandBuffer(commands));
    VK(vkQueueSubmit(queue, 1, &info, VK_NULL_HANDLE));
}

static uint32_t
at(struct umf_fence *fence)
{
    return (uint32_t)(umf_fence_offset(fence) / sizeof(uint64_t));
}

static struct job
work_up_to(uint64_t value)
{
    return (struct job){ .signal_value = value, .signal_at = at(progress), .length = 1000 };
}

static void
the_transfer_commands_signal(void)
{
    struct umf_fence *narrow;
    uint64_t before = umf_fence_value(progress), value = before + 1;
    OK(umf_fence_create(page, UINT32_MAX, UMF_FENCE_DEVICE | UMF_FENCE_32BIT, &narrow));
    VkCommandBuffer commands = begin();
    vkCmdUpdateBuffer(commands, words, umf_fence_offset(progress), sizeof(value), &value);
    barrier(commands);
    vkCmdFillBuffer(commands, words, umf_fence_offset(narrow), 4,
                    3); /* 32 bits, which have wrapped around */
    submit(commands);
    OK(umf_fence_wait(progress, value, FOREVER));
    OK(umf_fence_wait(narrow, 3, FOREVER));
    VK(vkQueueWaitIdle(queue));
    CHECK(umf_fence_value(progress) == value && umf_fence_value(narrow) == 3);
    umf_fence_unref(narrow);
}

/* One submission has many dispatches, each with its own value. The CPU follows and sees the
 * result of each. */
static void
a_long_job_tells_how_far_it_is(uint32_t steps)
{
    uint64_t before = umf_fence_value(progress);
    VkCommandBuffer commands = begin();
    for (uint32_t step = 1; step <= steps; step++) {
        struct job job = work_up_to(before + step);
        job.length = TURNS;
        dispatch(commands, job);
    }
    submit(commands);
    follow_progress(before, steps, result);
    VK(vkQueueWaitIdle(queue));
    CHECK(umf_fence_value(progress) == before + steps && *result == before + steps);
}

/* The shader waits for a signal of the CPU. Shaders must end, so it gives up after a while, and
 * the next one waits. */
static void
a_shader_waits_for_the_cpu(void)
{
    uint64_t started = umf_fence_value(progress) + 1, value = umf_fence_value(go) + 1;
    VkCommandBuffer commands = begin();
    struct job first = work_up_to(started);
    dispatch(commands, first);
    for (int i = 0; i < 16; i++) {
        struct job job = { .wait_value = value,
                           .signal_value = started + 1,
                           .wait_at = at(go),
                           .signal_at = at(progress),
                           .spins = TURNS,
                           .length = 10 };
        dispatch(commands, job);
    }
    VK(vkEndCommandBuffer(commands));
    const VkSubmitInfo info = { .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                                .commandBufferCount = 1,
                                .pCommandBuffers = &commands };
    VK(vkQueueSubmit(queue, 1, &info, VK_NULL_HANDLE));
    OK(umf_fence_wait(progress, started, FOREVER));
    CHECK(umf_fence_value(progress) == started); /* the shader waits */
    OK(umf_fence_signal(go, value));
    VK(vkQueueWaitIdle(queue));
    if (umf_fence_value(progress) == started) { /* the shader gave up: the machine was busy */
        VK(vkQueueSubmit(queue, 1, &info, VK_NULL_HANDLE));
    }
    OK(umf_fence_wait(progress, started + 1, FOREVER));
    VK(vkQueueWaitIdle(queue));
}

static void
set_event(void *data, int answer)
{
    OK(answer);
    VK(vkSetEvent(device, *(VkEvent *)data));
}

/* The device's queue waits for an event that a watch sets when another process has signaled: no
 * thread blocks. */
static void
the_queue_waits_for_a_watch(void)
{
    const VkEventCreateInfo create = { .sType = VK_STRUCTURE_TYPE_EVENT_CREATE_INFO };
    uint64_t value = umf_fence_value(progress) + 1, target = umf_fence_value(go) + 1;
    struct umf_loop *loop;
    struct umf_watch *watch;
    VkEvent event;
    VK(vkCreateEvent(device, &create, NULL, &event));
    const struct umf_callback callback = { set_event, NULL, &event };
    const struct umf_condition wait = { .fence = go, .value = target };
    OK(umf_loop_create(UMF_LOOP_THREAD, &loop));
    OK(umf_loop_watch(loop, &wait, 0, &callback, &watch));
    VkCommandBuffer commands = begin();
    vkCmdWaitEvents(commands, 1, &event, VK_PIPELINE_STAGE_HOST_BIT,
                    VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, 0, NULL, 0, NULL, 0, NULL);
    dispatch(commands, work_up_to(value));
    submit(commands);
    EXPECT(-ETIME, umf_fence_wait(progress, value, in_ns(20 * MS)));
    OK(umf_fence_signal(go, target));
    OK(umf_fence_wait(progress, value, FOREVER));
    VK(vkQueueWaitIdle(queue));
    umf_watch_unref(watch);
    umf_loop_unref(loop);
    vkDestroyEvent(device, event, NULL);
}

static int
run_on_device(void *data)
{
    submit(data);
    return 0;
}

/* Submissions are held back until their fences are met, in the order in which they were made. */
static void
a_queue_of_libumf_submits(void)
{
    uint64_t value = umf_fence_value(progress), target = umf_fence_value(go);
    struct umf_loop *loop;
    struct umf_queue *jobs;
    OK(umf_loop_create(UMF_LOOP_THREAD, &loop));
    OK(umf_queue_create(loop, 0, &jobs));
    for (uint64_t i = 1; i <= 10; i++) {
        VkCommandBuffer commands = begin();
        dispatch(commands, work_up_to(value + i));
        const struct umf_condition wait = { .fence = go, .value = target + i };
        const struct umf_job job = { .size = sizeof(job),
                                     .wait_count = 1,
                                     .waits = &wait,
                                     .run = run_on_device,
                                     .data = commands };
        OK(umf_queue_submit(jobs, &job, 0));
    }
    for (uint64_t i = 1; i <= 10; i++) {
        CHECK(umf_fence_value(progress) == value + i - 1);
        OK(umf_fence_signal(go, target + i));
        OK(umf_fence_wait(progress, value + i, FOREVER));
    }
    OK(umf_queue_drain(jobs, FOREVER));
    umf_queue_unref(jobs);
    umf_loop_unref(loop);
    VK(vkQueueWaitIdle(queue));
}

/* The value is in Vulkan's memory: host visible, coherent, maybe write-combined. */
static void
a_value_in_memory_of_vulkan(void)
{
    struct umf_fence *inside;
    const struct umf_mapping mapping = { .size = sizeof(mapping),
                                         .value = (const void *)&result[2] };
    OK(umf_fence_create_in(page, &mapping, 0, &inside));
    uint64_t start = umf_fence_value(inside);
    VkCommandBuffer commands = begin();
    for (uint64_t i = 1; i <= 50; i++) {
        uint64_t value = start + i;
        vkCmdUpdateBuffer(commands, results, 2 * sizeof(uint64_t), sizeof(value), &value);
        barrier(commands);
    }
    submit(commands);
    for (uint64_t i = 1; i <= 50; i++)
        OK(umf_fence_wait(inside, start + i, FOREVER));
    EXPECT(-EACCES, umf_fence_signal(inside, start + 100));
    VK(vkQueueWaitIdle(queue));
    umf_fence_unref(inside);
}

/* A kernel fence of the driver becomes a UMF. Where the driver has none, the test says so. */
static void
a_semaphore_s_sync_file(void)
{
    const VkPhysicalDeviceExternalSemaphoreInfo ask = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_SEMAPHORE_INFO,
        .handleType = VK_EXTERNAL_SEMAPHORE_HANDLE_TYPE_SYNC_FD_BIT
    };
    VkExternalSemaphoreProperties says = { .sType =
                                               VK_STRUCTURE_TYPE_EXTERNAL_SEMAPHORE_PROPERTIES };
    vkGetPhysicalDeviceExternalSemaphoreProperties(physical, &ask, &says);
    if (!has_extension(VK_KHR_EXTERNAL_SEMAPHORE_FD_EXTENSION_NAME)
        || !(says.externalSemaphoreFeatures & VK_EXTERNAL_SEMAPHORE_FEATURE_EXPORTABLE_BIT)) {
        printf("not available: this driver exports no SYNC_FD\n");
        return;
    }
    const VkExportSemaphoreCreateInfo export = {
        .sType = VK_STRUCTURE_TYPE_EXPORT_SEMAPHORE_CREATE_INFO,
        .handleTypes = VK_EXTERNAL_SEMAPHORE_HANDLE_TYPE_SYNC_FD_BIT
    };
    const VkSemaphoreCreateInfo create = { .sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO,
                                           .pNext = &export };
    VkSemaphore semaphore;
    VK(vkCreateSemaphore(device, &create, NULL, &semaphore));
    uint64_t value = umf_fence_value(progress) + 1, target = umf_fence_value(go) + 1;
    VkCommandBuffer commands = begin();
    dispatch(commands, work_up_to(value));
    VK(vkEndCommandBuffer(commands));
    const VkSubmitInfo info = { .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                                .commandBufferCount = 1,
                                .pCommandBuffers = &commands,
                                .signalSemaphoreCount = 1,
                                .pSignalSemaphores = &semaphore };
    VK(vkQueueSubmit(queue, 1, &info, VK_NULL_HANDLE));
    const VkSemaphoreGetFdInfoKHR get = { .sType = VK_STRUCTURE_TYPE_SEMAPHORE_GET_FD_INFO_KHR,
                                          .semaphore = semaphore,
                                          .handleType =
                                              VK_EXTERNAL_SEMAPHORE_HANDLE_TYPE_SYNC_FD_BIT };
    PFN_vkGetSemaphoreFdKHR get_fd =
        (PFN_vkGetSemaphoreFdKHR)vkGetDeviceProcAddr(device, "vkGetSemaphoreFdKHR");
    int sync_file;
    VK(get_fd(device, &get, &sync_file));
    OK(umf_fence_import_sync_file(go, target, sync_file, 0, in_ns(20 * SECOND)));
    CHECK(umf_fence_value(progress) == value && umf_fence_value(go) == target);
    if (sync_file >= 0)
        close(sync_file);
    VK(vkQueueWaitIdle(queue));
    vkDestroySemaphore(device, semaphore, NULL);
}

int
main(int argc, char **argv)
{
    uint32_t steps = argc > 1 ? (uint32_t)atoi(argv[1]) : 200;
    watchdog(argc > 1 ? 600 : 50);
    open_device();
    create_device_fences();
    words = create_buffer(page_memory, page_memory_size, &words_memory);
    results = create_buffer(NULL, 4096, &results_memory);
    VK(vkMapMemory(device, results_memory, 0, VK_WHOLE_SIZE, 0, (void **)&result));
    create_pipeline();

    the_transfer_commands_signal();
    a_long_job_tells_how_far_it_is(steps);
    a_shader_waits_for_the_cpu();
    the_queue_waits_for_a_watch();
    a_queue_of_libumf_submits();
    a_value_in_memory_of_vulkan();
    a_semaphore_s_sync_file();

    VK(vkDeviceWaitIdle(device));
    vkDestroyPipeline(device, pipeline, NULL);
    vkDestroyBuffer(device, words, NULL);
    vkFreeMemory(device, words_memory, NULL);
    destroy_device_fences();
    return 0;
}
#endif
