// SPDX-License-Identifier: MIT
/*
 * Opens virtio-gpu's card node where a program asks for its render node. To be preloaded.
 *
 * A compositor on a virtual output renders through the render node. There the kernel refuses dumb
 * buffers, which are all that a virtio-gpu without a 3D host has. KWin would then hold and release
 * frames, but composite nothing.
 */
#define _GNU_SOURCE
#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* <fcntl.h> may define these as macros, or as functions with other attributes. */
#define AT_FDCWD -100
#define O_CREAT 0100
#define O_TMPFILE 020200000

static int
open_node(int folder, const char *path, int flags, unsigned mode)
{
    if (path && strcmp(path, "/dev/dri/renderD128") == 0)
        path = "/dev/dri/card0";
    return (int)syscall(SYS_openat, folder, path, flags, mode);
}

/* The argument after the flags, if there is one. */
#define MODE(flags)                                                                                \
    ({                                                                                             \
        unsigned mode_ = 0;                                                                        \
        if ((flags) & O_CREAT || ((flags) & O_TMPFILE) == O_TMPFILE) {                             \
            va_list list;                                                                          \
            va_start(list, flags);                                                                 \
            mode_ = va_arg(list, unsigned);                                                        \
            va_end(list);                                                                          \
        }                                                                                          \
        mode_;                                                                                     \
    })

int
open(const char *path, int flags, ...)
{
    return open_node(AT_FDCWD, path, flags, MODE(flags));
}

int
open64(const char *path, int flags, ...)
{
    return open_node(AT_FDCWD, path, flags, MODE(flags));
}

int
openat(int folder, const char *path, int flags, ...)
{
    return open_node(folder, path, flags, MODE(flags));
}

int
openat64(int folder, const char *path, int flags, ...)
{
    return open_node(folder, path, flags, MODE(flags));
}

/* What glibc's checked headers call. */
int
__open_2(const char *path, int flags)
{
    return open_node(AT_FDCWD, path, flags, 0);
}

int
__open64_2(const char *path, int flags)
{
    return open_node(AT_FDCWD, path, flags, 0);
}
