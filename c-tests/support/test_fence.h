/* SPDX-License-Identifier: MIT */
/* Kernel fences that fail on demand, from the project's kernel module (kernel/module). */
#ifndef TEST_FENCE_H
#define TEST_FENCE_H

#include "kernel_fence.h"
#include "kernel_module.h"

#include "../../kernel/module/umf_test_fence.h"

/* False where there is no module for this kernel. */
static inline bool
load_test_fences(void)
{
    return load_module("umf_test_fence");
}

/* A kernel fence. Its file signals it, at the latest when it is closed. */
static inline int
test_fence(int *sync_file)
{
    int fence = open("/dev/umf_test_fence", O_RDWR | O_CLOEXEC);
    CHECK(fence >= 0);
    *sync_file = ioctl(fence, UMF_TEST_FENCE_EXPORT, 0);
    CHECK(*sync_file >= 0);
    EXPECT(0, sync_file_status(*sync_file));
    return fence;
}

#endif
