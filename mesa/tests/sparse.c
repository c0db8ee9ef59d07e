// SPDX-License-Identifier: MIT
/*
 * A bind of sparse memory is work of a queue: it waits for a later signal, and signals. The caller
 * may free what it passed once the call returns. Two buffers and an image are bound to parts of one
 * memory in one batch, and written; each write is where its bind says.
 */
#include "slow.h"

#define BLOCKS 3 /* of each buffer */

static VkDeviceSize block; /* the size of a part */

static VkBuffer
sparse_buffer(const struct gpu *gpu, VkMemoryRequirements *needs)
{
    VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .flags = VK_BUFFER_CREATE_SPARSE_BINDING_BIT,
        .size = BLOCKS * (block ? block : 1),
        .usage = VK_BUFFER_USAGE_TRANSFER_DST_BIT,
    };
    VkBuffer buffer;
    VK_OK(vkCreateBuffer(gpu->device, &info, NULL, &buffer));
    vkGetBufferMemoryRequirements(gpu->device, buffer, needs);
    return buffer;
}

static VkImage
sparse_image(const struct gpu *gpu, VkMemoryRequirements *needs)
{
    VkImageCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_IMAGE_CREATE_INFO,
        .flags = VK_IMAGE_CREATE_SPARSE_BINDING_BIT,
        .imageType = VK_IMAGE_TYPE_2D,
        .format = VK_FORMAT_R8G8B8A8_UNORM,
        .extent = { 64, 64, 1 },
        .mipLevels = 1,
        .arrayLayers = 1,
        .samples = VK_SAMPLE_COUNT_1_BIT,
        .tiling = VK_IMAGE_TILING_OPTIMAL,
        .usage = VK_IMAGE_USAGE_TRANSFER_DST_BIT,
    };
    VkImage image;
    VK_OK(vkCreateImage(gpu->device, &info, NULL, &image));
    vkGetImageMemoryRequirements(gpu->device, image, needs);
    return image;
}

static uint32_t *
allocate(const struct gpu *gpu, VkDeviceSize size, uint32_t types, VkDeviceMemory *memory)
{
    void *mapped;
    VkMemoryAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
        .allocationSize = size,
        .memoryTypeIndex = coherent_memory(gpu, types),
    };
    VK_OK(vkAllocateMemory(gpu->device, &info, NULL, memory));
    VK_OK(vkMapMemory(gpu->device, *memory, 0, VK_WHOLE_SIZE, 0, &mapped));
    memset(mapped, 0, size);
    return mapped;
}

/* Binds block i of a buffer to part first + BLOCKS - 1 - i of the memory: in reverse. */
static void
reverse(VkSparseMemoryBind *binds, VkDeviceMemory memory, unsigned first)
{
    for (unsigned i = 0; i < BLOCKS; i++) {
        binds[i] = (VkSparseMemoryBind){
            .resourceOffset = i * block,
            .size = block,
            .memory = memory,
            .memoryOffset = (first + BLOCKS - 1 - i) * block,
        };
    }
}

/* All arguments are on the heap, and are overwritten and freed before the queue may go on. */
struct arguments {
    VkSparseMemoryBind binds[2][BLOCKS], image;
    VkSparseBufferMemoryBindInfo buffers[2];
    VkSparseImageOpaqueMemoryBindInfo opaque;
};

static void
bind_all(const struct gpu *gpu, const VkBuffer *buffers, VkImage image, VkDeviceSize image_size,
         VkDeviceMemory memory, VkSemaphore input, VkSemaphore output)
{
    struct arguments *a = malloc(sizeof(*a));
    CHECK(a);
    for (unsigned i = 0; i < 2; i++) {
        reverse(a->binds[i], memory, i * BLOCKS);
        a->buffers[i] = (VkSparseBufferMemoryBindInfo){ buffers[i], BLOCKS, a->binds[i] };
    }
    a->image = (VkSparseMemoryBind){ .size = image_size, .memory = memory,
                                     .memoryOffset = 2 * BLOCKS * block };
    a->opaque = (VkSparseImageOpaqueMemoryBindInfo){ image, 1, &a->image };
    const uint64_t one = 1;
    VkTimelineSemaphoreSubmitInfo values = {
        .sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
        .waitSemaphoreValueCount = 1,
        .pWaitSemaphoreValues = &one,
        .signalSemaphoreValueCount = 1,
        .pSignalSemaphoreValues = &one,
    };
    VkBindSparseInfo info = {
        .sType = VK_STRUCTURE_TYPE_BIND_SPARSE_INFO,
        .pNext = &values,
        .waitSemaphoreCount = 1,
        .pWaitSemaphores = &input,
        .bufferBindCount = 2,
        .pBufferBinds = a->buffers,
        .imageOpaqueBindCount = 1,
        .pImageOpaqueBinds = &a->opaque,
        .signalSemaphoreCount = 1,
        .pSignalSemaphores = &output,
    };
    VK_OK(vkQueueBindSparse(gpu->queues[0], 1, &info, VK_NULL_HANDLE));
    memset(a, 0xa5, sizeof(*a));
    free(a);
}

/* Fills block i of buffer k with 10 * k + i + 1, and clears the image to ones. */
static VkCommandBuffer
record_writes(const struct gpu *gpu, const VkBuffer *buffers, VkImage image, VkCommandPool *pool)
{
    VkCommandBuffer commands;
    VkCommandPoolCreateInfo pool_info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .queueFamilyIndex = gpu->family,
    };
    VK_OK(vkCreateCommandPool(gpu->device, &pool_info, NULL, pool));
    VkCommandBufferAllocateInfo allocate_info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = *pool,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = 1,
    };
    VK_OK(vkAllocateCommandBuffers(gpu->device, &allocate_info, &commands));
    VkCommandBufferBeginInfo begin = { .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO };
    VK_OK(vkBeginCommandBuffer(commands, &begin));
    for (uint32_t k = 0; k < 2; k++) {
        for (uint32_t i = 0; i < BLOCKS; i++)
            vkCmdFillBuffer(commands, buffers[k], i * block, block, 10 * k + i + 1);
    }
    VkImageSubresourceRange all = { VK_IMAGE_ASPECT_COLOR_BIT, 0, 1, 0, 1 };
    VkImageMemoryBarrier barrier = {
        .sType = VK_STRUCTURE_TYPE_IMAGE_MEMORY_BARRIER,
        .dstAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT,
        .newLayout = VK_IMAGE_LAYOUT_GENERAL,
        .srcQueueFamilyIndex = VK_QUEUE_FAMILY_IGNORED,
        .dstQueueFamilyIndex = VK_QUEUE_FAMILY_IGNORED,
        .image = image,
        .subresourceRange = all,
    };
    vkCmdPipelineBarrier(commands, VK_PIPELINE_STAGE_TOP_OF_PIPE_BIT,
                         VK_PIPELINE_STAGE_TRANSFER_BIT, 0, 0, NULL, 0, NULL, 1, &barrier);
    VkClearColorValue white = { .float32 = { 1, 1, 1, 1 } };
    vkCmdClearColorImage(commands, image, VK_IMAGE_LAYOUT_GENERAL, &white, 1, &all);
    VK_OK(vkEndCommandBuffer(commands));
    return commands;
}

static void
check_blocks(const uint32_t *numbers)
{
    size_t words = block / sizeof(uint32_t);
    for (uint32_t k = 0; k < 2; k++) {
        for (uint32_t i = 0; i < BLOCKS; i++) {
            const uint32_t *part = numbers + (k * BLOCKS + BLOCKS - 1 - i) * words;
            CHECK(part[0] == 10 * k + i + 1 && part[words - 1] == 10 * k + i + 1);
        }
    }
    CHECK(numbers[2 * BLOCKS * words] == UINT32_MAX);
}

int
main(void)
{
    watchdog(60);
    struct gpu gpu = open_gpu();
    VkPhysicalDeviceFeatures features;
    vkGetPhysicalDeviceFeatures(gpu.physical, &features);
    if (!features.sparseBinding)
        SKIP("the driver has no sparse binding");
    VkMemoryRequirements needs, image_needs;
    VkBuffer buffers[2] = { sparse_buffer(&gpu, &needs) };
    vkDestroyBuffer(gpu.device, buffers[0], NULL);
    VkImage image = sparse_image(&gpu, &image_needs);
    block = needs.alignment > image_needs.alignment ? needs.alignment : image_needs.alignment;
    for (int i = 0; i < 2; i++)
        buffers[i] = sparse_buffer(&gpu, &needs);
    VkDeviceMemory memory;
    uint32_t *numbers = allocate(&gpu, 2 * BLOCKS * block + image_needs.size,
                                 needs.memoryTypeBits & image_needs.memoryTypeBits, &memory);

    VkSemaphore input = timeline(&gpu, 0), bound = timeline(&gpu, 0), done = timeline(&gpu, 0);
    VkCommandPool pool;
    bind_all(&gpu, buffers, image, image_needs.size, memory, input, bound);
    submit(&gpu, WAITS(POINT(bound, 1)), SIGNALS(POINT(done, 1)),
           .commands = record_writes(&gpu, buffers, image, &pool));
    CHECK(value_of(&gpu, bound) == 0 && value_of(&gpu, done) == 0);
    signal_to(&gpu, input, 1);
    VK_OK(wait_for(&gpu, done, 1, FOREVER));
    check_blocks(numbers);

    vkDestroyCommandPool(gpu.device, pool, NULL);
    vkDestroyImage(gpu.device, image, NULL);
    for (int i = 0; i < 2; i++)
        vkDestroyBuffer(gpu.device, buffers[i], NULL);
    vkFreeMemory(gpu.device, memory, NULL);
    destroy(&gpu, input);
    destroy(&gpu, bound);
    destroy(&gpu, done);
    close_gpu(&gpu);
    return 0;
}
