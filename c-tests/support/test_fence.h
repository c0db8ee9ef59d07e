/* Kernel fences that fail on demand, from the project's kernel module (kernel/module). */
#ifndef TEST_FENCE_H
#define TEST_FENCE_H

#include "kernel_fence.h"

#include "../../kernel/module/umf_test_fence.h"

#include <sys/syscall.h>
#include <sys/utsname.h>

/* False where there is no module for this kernel. */
static inline bool
load_test_fences(void)
{
    struct utsname name;
    char path[256];
    CHECK(uname(&name) == 0);
    snprintf(path, sizeof(path), "/lib/modules/%s/umf_test_fence.ko", name.release);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    CHECK(syscall(SYS_finit_module, fd, "", 0) == 0 || errno == EEXIST);
    close(fd);
    return true;
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
