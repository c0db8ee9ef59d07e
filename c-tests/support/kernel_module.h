/* SPDX-License-Identifier: MIT */
/* The project's kernel modules (kernel/module). */
#ifndef KERNEL_MODULE_H
#define KERNEL_MODULE_H

#include "check.h"

#include <fcntl.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

/* False where the module is not there for this kernel. */
static inline bool
load_module(const char *module)
{
    struct utsname name;
    char path[256];
    CHECK(uname(&name) == 0);
    snprintf(path, sizeof(path), "/lib/modules/%s/%s.ko", name.release, module);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    CHECK(syscall(SYS_finit_module, fd, "", 0) == 0 || errno == EEXIST);
    close(fd);
    return true;
}

#endif
