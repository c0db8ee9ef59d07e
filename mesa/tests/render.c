// SPDX-License-Identifier: MIT
/*
 * When the semaphore or fence of a rendering is signaled, the rendering is done. A later submission
 * without commands does not overtake it.
 */
#include "slow.h"

#define SIZE 1024
#define ROUNDS 200

struct target {
    VkImage image;
    VkDeviceMemory memory;
    VkImageView view;
    VkRenderPass pass;
    VkFramebuffer framebuffer;
    VkCommandPool pool;
    VkCommandBuffer commands;
    const volatile uint32_t *pixels;
    size_t pitch; /* in pixels */
};

static void
make_image(const struct gpu *gpu, struct target *t)
{
    VkFormatProperties format;
    vkGetPhysicalDeviceFormatProperties(gpu->physical, VK_FORMAT_R8G8B8A8_UNORM, &format);
    if (!(format.linearTilingFeatures & VK_FORMAT_FEATURE_COLOR_ATTACHMENT_BIT))
        SKIP("the driver cannot render to linear images");
    VkImageCreateInfo image = {
        .sType = VK_STRUCTURE_TYPE_IMAGE_CREATE_INFO,
        .imageType = VK_IMAGE_TYPE_2D,
        .format = VK_FORMAT_R8G8B8A8_UNORM,
        .extent = { SIZE, SIZE, 1 },
        .mipLevels = 1,
        .arrayLayers = 1,
        .samples = VK_SAMPLE_COUNT_1_BIT,
        .tiling = VK_IMAGE_TILING_LINEAR,
        .usage = VK_IMAGE_USAGE_COLOR_ATTACHMENT_BIT,
        .initialLayout = VK_IMAGE_LAYOUT_PREINITIALIZED,
    };
    VkMemoryRequirements needs;
    void *mapped;
    VK_OK(vkCreateImage(gpu->device, &image, NULL, &t->image));
    vkGetImageMemoryRequirements(gpu->device, t->image, &needs);
    VkMemoryAllocateInfo memory = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
        .allocationSize = needs.size,
        .memoryTypeIndex = coherent_memory(gpu, needs.memoryTypeBits),
    };
    VK_OK(vkAllocateMemory(gpu->device, &memory, NULL, &t->memory));
    VK_OK(vkBindImageMemory(gpu->device, t->image, t->memory, 0));
    VK_OK(vkMapMemory(gpu->device, t->memory, 0, VK_WHOLE_SIZE, 0, &mapped));
    VkSubresourceLayout layout;
    VkImageSubresource whole = { .aspectMask = VK_IMAGE_ASPECT_COLOR_BIT };
    vkGetImageSubresourceLayout(gpu->device, t->image, &whole, &layout);
    t->pixels = (const volatile uint32_t *)((char *)mapped + layout.offset);
    t->pitch = layout.rowPitch / sizeof(uint32_t);
}

static void
make_pass(const struct gpu *gpu, struct target *t)
{
    VkImageViewCreateInfo view = {
        .sType = VK_STRUCTURE_TYPE_IMAGE_VIEW_CREATE_INFO,
        .image = t->image,
        .viewType = VK_IMAGE_VIEW_TYPE_2D,
        .format = VK_FORMAT_R8G8B8A8_UNORM,
        .subresourceRange = { VK_IMAGE_ASPECT_COLOR_BIT, 0, 1, 0, 1 },
    };
    VkAttachmentDescription attachment = {
        .format = VK_FORMAT_R8G8B8A8_UNORM,
        .samples = VK_SAMPLE_COUNT_1_BIT,
        .loadOp = VK_ATTACHMENT_LOAD_OP_CLEAR,
        .storeOp = VK_ATTACHMENT_STORE_OP_STORE,
        .initialLayout = VK_IMAGE_LAYOUT_UNDEFINED,
        .finalLayout = VK_IMAGE_LAYOUT_GENERAL,
    };
    VkAttachmentReference reference = { 0, VK_IMAGE_LAYOUT_COLOR_ATTACHMENT_OPTIMAL };
    VkSubpassDescription subpass = { .colorAttachmentCount = 1, .pColorAttachments = &reference };
    /*
     * Rendering waits for the previous frame's rendering, and the host's reads wait for this one.
     */
    VkSubpassDependency around[2] = {
        { .srcSubpass = VK_SUBPASS_EXTERNAL,
          .srcStageMask = VK_PIPELINE_STAGE_COLOR_ATTACHMENT_OUTPUT_BIT,
          .dstStageMask = VK_PIPELINE_STAGE_COLOR_ATTACHMENT_OUTPUT_BIT,
          .srcAccessMask = VK_ACCESS_COLOR_ATTACHMENT_WRITE_BIT,
          .dstAccessMask = VK_ACCESS_COLOR_ATTACHMENT_WRITE_BIT },
        { .dstSubpass = VK_SUBPASS_EXTERNAL,
          .srcStageMask = VK_PIPELINE_STAGE_COLOR_ATTACHMENT_OUTPUT_BIT,
          .dstStageMask = VK_PIPELINE_STAGE_HOST_BIT,
          .srcAccessMask = VK_ACCESS_COLOR_ATTACHMENT_WRITE_BIT,
          .dstAccessMask = VK_ACCESS_HOST_READ_BIT },
    };
    VkRenderPassCreateInfo pass = {
        .sType = VK_STRUCTURE_TYPE_RENDER_PASS_CREATE_INFO,
        .attachmentCount = 1,
        .pAttachments = &attachment,
        .subpassCount = 1,
        .pSubpasses = &subpass,
        .dependencyCount = 2,
        .pDependencies = around,
    };
    VK_OK(vkCreateImageView(gpu->device, &view, NULL, &t->view));
    VK_OK(vkCreateRenderPass(gpu->device, &pass, NULL, &t->pass));
    VkFramebufferCreateInfo framebuffer = {
        .sType = VK_STRUCTURE_TYPE_FRAMEBUFFER_CREATE_INFO,
        .renderPass = t->pass,
        .attachmentCount = 1,
        .pAttachments = &t->view,
        .width = SIZE,
        .height = SIZE,
        .layers = 1,
    };
    VK_OK(vkCreateFramebuffer(gpu->device, &framebuffer, NULL, &t->framebuffer));
}

static void
make_commands(const struct gpu *gpu, struct target *t)
{
    VkCommandPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
        .queueFamilyIndex = gpu->family,
    };
    VK_OK(vkCreateCommandPool(gpu->device, &pool, NULL, &t->pool));
    VkCommandBufferAllocateInfo commands = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = t->pool,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = 1,
    };
    VK_OK(vkAllocateCommandBuffers(gpu->device, &commands, &t->commands));
}

/* Fills the whole image several times with different grays. The last one is that of the round. */
static void
record(const struct target *t, unsigned round)
{
    VkCommandBufferBeginInfo begin = { .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO };
    VK_OK(vkBeginCommandBuffer(t->commands, &begin));
    for (unsigned layer = 8; layer-- > 0;) {
        float gray = (float)((round + layer) % 256) / 255;
        VkClearValue clear = { .color = { .float32 = { gray, gray, gray, gray } } };
        VkRenderPassBeginInfo pass = {
            .sType = VK_STRUCTURE_TYPE_RENDER_PASS_BEGIN_INFO,
            .renderPass = t->pass,
            .framebuffer = t->framebuffer,
            .renderArea = { .extent = { SIZE, SIZE } },
            .clearValueCount = 1,
            .pClearValues = &clear,
        };
        vkCmdBeginRenderPass(t->commands, &pass, VK_SUBPASS_CONTENTS_INLINE);
        vkCmdEndRenderPass(t->commands);
    }
    VK_OK(vkEndCommandBuffer(t->commands));
}

/* Checks the last pixel first, because it is written last. */
static void
is_rendered(const struct target *t, unsigned round)
{
    uint32_t gray = round % 256 * 0x01010101u;
    for (unsigned y = SIZE; y-- > 0;) {
        for (unsigned x = SIZE; x >= 32; x -= 32)
            CHECK(t->pixels[y * t->pitch + x - 1] == gray);
    }
}

int
main(void)
{
    watchdog(120);
    struct gpu gpu = open_gpu();
    struct target t;
    make_image(&gpu, &t);
    make_pass(&gpu, &t);
    make_commands(&gpu, &t);
    VkSemaphore done = timeline(&gpu, 0), behind = timeline(&gpu, 0), link = binary(&gpu);
    VkFence fence = unsignaled(&gpu);

    for (unsigned round = 1; round <= ROUNDS; round++) {
        record(&t, round);
        switch (round % 4) {
        case 0: /* wait for the semaphore */
            submit(&gpu, SIGNALS(POINT(done, round)), .commands = t.commands);
            VK_OK(wait_for(&gpu, done, round, FOREVER));
            is_rendered(&t, round);
            break;
        case 1: /* wait for the fence */
            submit(&gpu, SIGNALS(POINT(done, round)), .commands = t.commands, .fence = fence);
            VK_OK(wait_fence(&gpu, fence, FOREVER));
            is_rendered(&t, round);
            break;
        case 2: /* wait for a later submission without commands */
            submit(&gpu, SIGNALS(POINT(done, round)), .commands = t.commands);
            submit(&gpu, SIGNALS(POINT(behind, round)), .fence = fence);
            VK_OK(wait_for(&gpu, behind, round, FOREVER));
            is_rendered(&t, round);
            CHECK(value_of(&gpu, done) == round);
            break;
        case 3: /* wait for a submission that waits for this one */
            submit(&gpu, SIGNALS(POINT(done, round), POINT(link, 0)), .commands = t.commands);
            submit(&gpu, WAITS(POINT(link, 0)), .fence = fence);
            VK_OK(wait_fence(&gpu, fence, FOREVER));
            is_rendered(&t, round);
            break;
        }
        VK_OK(vkQueueWaitIdle(gpu.queues[0]));
        VK_OK(vkResetFences(gpu.device, 1, &fence));
    }

    destroy(&gpu, done);
    destroy(&gpu, behind);
    destroy(&gpu, link);
    vkDestroyFence(gpu.device, fence, NULL);
    vkDestroyCommandPool(gpu.device, t.pool, NULL);
    vkDestroyFramebuffer(gpu.device, t.framebuffer, NULL);
    vkDestroyRenderPass(gpu.device, t.pass, NULL);
    vkDestroyImageView(gpu.device, t.view, NULL);
    vkDestroyImage(gpu.device, t.image, NULL);
    vkFreeMemory(gpu.device, t.memory, NULL);
    close_gpu(&gpu);
    return 0;
}
