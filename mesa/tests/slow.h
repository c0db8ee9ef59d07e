/* SPDX-License-Identifier: MIT */
/* A compute shader that runs for a chosen time, and counts its runs in memory when it ends. */
#ifndef SLOW_H
#define SLOW_H

#include "gpu.h"

#include "slow_code.h" /* slow_code: slow.comp as SPIR-V */

/* The buffer, as the shader declares it. */
struct slow_numbers {
    uint32_t rounds, result, runs;
};

struct slow {
    VkBuffer buffer;
    VkDeviceMemory memory;
    volatile struct slow_numbers *numbers;
    VkShaderModule module;
    VkDescriptorSetLayout set_layout;
    VkPipelineLayout layout;
    VkPipeline pipeline;
    VkDescriptorPool sets;
    VkDescriptorSet set;
    VkCommandPool pool;
    VkCommandBuffer commands; /* may be submitted again while it is pending */
};

static inline uint32_t
coherent_memory(const struct gpu *gpu, uint32_t allowed)
{
    const VkMemoryPropertyFlags wanted =
        VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    VkPhysicalDeviceMemoryProperties memory;
    vkGetPhysicalDeviceMemoryProperties(gpu->physical, &memory);
    for (uint32_t i = 0; i < memory.memoryTypeCount; i++) {
        if (allowed >> i & 1 && (memory.memoryTypes[i].propertyFlags & wanted) == wanted)
            return i;
    }
    SKIP("the driver has no coherent memory");
}

static inline void
make_slow_buffer(const struct gpu *gpu, struct slow *slow)
{
    VkBufferCreateInfo buffer = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .size = sizeof(struct slow_numbers),
        .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT,
    };
    VkMemoryRequirements needs;
    void *mapped;
    VK_OK(vkCreateBuffer(gpu->device, &buffer, NULL, &slow->buffer));
    vkGetBufferMemoryRequirements(gpu->device, slow->buffer, &needs);
    VkMemoryAllocateInfo memory = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
        .allocationSize = needs.size,
        .memoryTypeIndex = coherent_memory(gpu, needs.memoryTypeBits),
    };
    VK_OK(vkAllocateMemory(gpu->device, &memory, NULL, &slow->memory));
    VK_OK(vkBindBufferMemory(gpu->device, slow->buffer, slow->memory, 0));
    VK_OK(vkMapMemory(gpu->device, slow->memory, 0, VK_WHOLE_SIZE, 0, &mapped));
    slow->numbers = mapped;
    slow->numbers->runs = 0;
}

static inline void
make_slow_pipeline(const struct gpu *gpu, struct slow *slow)
{
    VkShaderModuleCreateInfo module = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
        .codeSize = sizeof(slow_code),
        .pCode = slow_code,
    };
    VkDescriptorSetLayoutBinding binding = {
        .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
        .descriptorCount = 1,
        .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
    };
    VkDescriptorSetLayoutCreateInfo set_layout = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
        .bindingCount = 1,
        .pBindings = &binding,
    };
    VK_OK(vkCreateShaderModule(gpu->device, &module, NULL, &slow->module));
    VK_OK(vkCreateDescriptorSetLayout(gpu->device, &set_layout, NULL, &slow->set_layout));
    VkPipelineLayoutCreateInfo layout = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
        .setLayoutCount = 1,
        .pSetLayouts = &slow->set_layout,
    };
    VK_OK(vkCreatePipelineLayout(gpu->device, &layout, NULL, &slow->layout));
    VkComputePipelineCreateInfo pipeline = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .stage = {
            .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
            .stage = VK_SHADER_STAGE_COMPUTE_BIT,
            .module = slow->module,
            .pName = "main",
        },
        .layout = slow->layout,
    };
    VK_OK(vkCreateComputePipelines(gpu->device, VK_NULL_HANDLE, 1, &pipeline, NULL,
                                   &slow->pipeline));
}

static inline void
make_slow_set(const struct gpu *gpu, struct slow *slow)
{
    VkDescriptorPoolSize size = { VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 1 };
    VkDescriptorPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
        .maxSets = 1,
        .poolSizeCount = 1,
        .pPoolSizes = &size,
    };
    VK_OK(vkCreateDescriptorPool(gpu->device, &pool, NULL, &slow->sets));
    VkDescriptorSetAllocateInfo set = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
        .descriptorPool = slow->sets,
        .descriptorSetCount = 1,
        .pSetLayouts = &slow->set_layout,
    };
    VK_OK(vkAllocateDescriptorSets(gpu->device, &set, &slow->set));
    VkDescriptorBufferInfo buffer = { .buffer = slow->buffer, .range = VK_WHOLE_SIZE };
    VkWriteDescriptorSet write = {
        .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
        .dstSet = slow->set,
        .descriptorCount = 1,
        .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
        .pBufferInfo = &buffer,
    };
    vkUpdateDescriptorSets(gpu->device, 1, &write, 0, NULL);
}

static inline void
record_slow(const struct gpu *gpu, struct slow *slow)
{
    VkCommandPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .queueFamilyIndex = gpu->family,
    };
    VK_OK(vkCreateCommandPool(gpu->device, &pool, NULL, &slow->pool));
    VkCommandBufferAllocateInfo commands = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = slow->pool,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = 1,
    };
    VK_OK(vkAllocateCommandBuffers(gpu->device, &commands, &slow->commands));
    VkCommandBufferBeginInfo begin = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
        .flags = VK_COMMAND_BUFFER_USAGE_SIMULTANEOUS_USE_BIT,
    };
    /* The runs are serialized, and the host sees what each run wrote. */
    VkMemoryBarrier before = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT,
    };
    VkMemoryBarrier after = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_HOST_READ_BIT,
    };
    VK_OK(vkBeginCommandBuffer(slow->commands, &begin));
    vkCmdPipelineBarrier(slow->commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                         VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, 0, 1, &before, 0, NULL, 0, NULL);
    vkCmdBindPipeline(slow->commands, VK_PIPELINE_BIND_POINT_COMPUTE, slow->pipeline);
    vkCmdBindDescriptorSets(slow->commands, VK_PIPELINE_BIND_POINT_COMPUTE, slow->layout, 0, 1,
                            &slow->set, 0, NULL);
    vkCmdDispatch(slow->commands, 1, 1, 1);
    vkCmdPipelineBarrier(slow->commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                         VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &after, 0, NULL, 0, NULL);
    VK_OK(vkEndCommandBuffer(slow->commands));
}

/* Runs the work and returns the time of the fastest of three runs: the rest is delays. */
static inline uint64_t
time_slow(const struct gpu *gpu, const struct slow *slow)
{
    uint64_t fastest = UINT64_MAX;
    for (unsigned run = 0; run < 3; run++) {
        uint64_t start = now_ns();
        submit(gpu, .commands = slow->commands);
        VK_OK(vkQueueWaitIdle(gpu->queues[0]));
        uint64_t took = now_ns() - start;
        fastest = took < fastest ? took : fastest;
    }
    return fastest;
}

/* Creates work that takes about ns nanoseconds. Measures the machine's current speed first. */
static inline struct slow
make_slow(const struct gpu *gpu, uint64_t ns)
{
    struct slow slow = { 0 };
    make_slow_buffer(gpu, &slow);
    make_slow_pipeline(gpu, &slow);
    make_slow_set(gpu, &slow);
    record_slow(gpu, &slow);
    uint64_t rounds = 1, took;
    do {
        slow.numbers->rounds = (uint32_t)rounds;
        took = time_slow(gpu, &slow);
    } while (took < 10 * MS && took < ns && (rounds *= 10) < UINT32_MAX);
    rounds = rounds * ns / took;
    slow.numbers->rounds = rounds < UINT32_MAX ? (uint32_t)rounds : UINT32_MAX;
    slow.numbers->runs = 0;
    return slow;
}

static inline void
destroy_slow(const struct gpu *gpu, struct slow *slow)
{
    vkDestroyCommandPool(gpu->device, slow->pool, NULL);
    vkDestroyDescriptorPool(gpu->device, slow->sets, NULL);
    vkDestroyPipeline(gpu->device, slow->pipeline, NULL);
    vkDestroyPipelineLayout(gpu->device, slow->layout, NULL);
    vkDestroyDescriptorSetLayout(gpu->device, slow->set_layout, NULL);
    vkDestroyShaderModule(gpu->device, slow->module, NULL);
    vkDestroyBuffer(gpu->device, slow->buffer, NULL);
    vkFreeMemory(gpu->device, slow->memory, NULL);
}

#endif
