/* SPDX-License-Identifier: MIT */
/*
 * What the kernel tests start from: a virtio-gpu and a vgem device, which the machines of
 * kernel/run have, and the features of that kernel. The expectations come from the kernel's version
 * and from raw ioctls, never from libumf.
 */
#ifndef MACHINE_H
#define MACHINE_H

#include "check.h"

#include <libdrm/drm.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>

struct machine {
    int gpu;                   /* virtio-gpu's render node */
    int vgem;                  /* vgem's card node: the render node refuses dumb buffers */
    bool syncobj;              /* virtio-gpu has syncobjs, binary and timeline: since 6.6 */
    bool udmabuf;              /* built into Debian's kernels since 6.12 */
    struct umf_device *device; /* of gpu */
    struct umf_page *page;
};

/* Prints the test's name before it runs: a log tells which one a kernel died in. */
#define RUN(test, ...)                                                                             \
    do {                                                                                           \
        printf("  %s\n", #test);                                                                   \
        test(__VA_ARGS__);                                                                         \
    } while (0)

static inline bool
kernel_at_least(int major, int minor)
{
    struct utsname name;
    int running[2] = { 0, 0 };
    CHECK(uname(&name) == 0);
    CHECK(sscanf(name.release, "%d.%d", &running[0], &running[1]) == 2);
    return running[0] > major || (running[0] == major && running[1] >= minor);
}

/* Opens a driver's node, "card" or "renderD". -1 where there is none. */
static inline int
open_drm(const char *driver, const char *kind)
{
    DIR *dir = opendir("/dev/dri");
    struct dirent *entry;
    int found = -1;
    while (dir && found < 0 && (entry = readdir(dir))) {
        char name[64] = "";
        struct drm_version version = { .name = name, .name_len = sizeof(name) - 1 };
        if (strncmp(entry->d_name, kind, strlen(kind)) != 0)
            continue;
        found = openat(dirfd(dir), entry->d_name, O_RDWR | O_CLOEXEC);
        if (found >= 0 && (ioctl(found, DRM_IOCTL_VERSION, &version) || strcmp(name, driver))) {
            close(found);
            found = -1;
        }
    }
    if (dir)
        closedir(dir);
    return found;
}

/* Skips the whole test where either device is missing. */
static inline struct machine
open_machine(void)
{
    struct machine m = {
        .gpu = open_drm("virtio_gpu", "renderD"),
        .vgem = open_drm("vgem", "card"),
        .syncobj = kernel_at_least(6, 6),
        .udmabuf = access("/dev/udmabuf", R_OK | W_OK) == 0,
    };
    if (m.gpu < 0 || m.vgem < 0) {
        printf("needs a virtio-gpu and a vgem device: see kernel/run\n");
        exit(SKIPPED);
    }
    setvbuf(stdout, NULL, _IOLBF, 0); /* in order with the output of the checks */
    OK(umf_device_create(m.gpu, 0, &m.device));
    OK(umf_page_create(64, 0, &m.page));
    return m;
}

static inline struct umf_fence *
new_fence(const struct machine *m, uint64_t value)
{
    struct umf_fence *fence;
    OK(umf_fence_create(m->page, value, 0, &fence));
    return fence;
}

/* The state letter of a process, and the system call that it is blocked in, -1 for none. Where
 * the machine hides the call, says that it waits. */
static inline char
process_state(pid_t pid, long *call)
{
    char path[32], text[256];
    snprintf(path, sizeof(path), "/proc/%d/syscall", (int)pid);
    FILE *file = fopen(path, "re");
    *call = SYS_futex;
    if (file) {
        if (fscanf(file, "%ld", call) != 1) /* "running" */
            *call = -1;
        fclose(file);
    }
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    file = fopen(path, "re");
    CHECK(file && fgets(text, sizeof(text), file));
    fclose(file);
    const char *state = strrchr(text, ')'); /* the name before may contain anything */
    CHECK(state && state[1] == ' ');
    return state[2];
}

/* Whether a wait can be in this system call, and nothing else that a test does can be for long. */
static inline bool
is_wait(long call)
{
    switch (call) {
    case SYS_futex:
    case 449: /* futex_waitv */
    case SYS_ppoll:
    case SYS_ioctl:
#ifdef SYS_poll
    case SYS_poll:
#endif
#ifdef SYS_futex_time64
    case SYS_futex_time64:
    case SYS_ppoll_time64:
#endif
        return true;
    default:
        return false;
    }
}

/* Returns when a process's first thread is asleep in a wait. */
static inline void
until_blocked(pid_t pid)
{
    const struct timespec pause = { .tv_nsec = 1000000 };
    const uint64_t give_up = in_ns(20 * SECOND);
    for (;;) {
        long call;
        char state = process_state(pid, &call);
        CHECK(state != 'Z'); /* it ended and should have waited */
        if (state == 'S' && is_wait(call))
            return;
        CHECK(now_ns() < give_up);
        nanosleep(&pause, NULL);
    }
}

static _Atomic int *handled; /* shared with the child */

static inline void
count_signal(int signal)
{
    (void)signal;
    atomic_fetch_add(handled, 1);
}

/* From here on SIGUSR1 interrupts system calls of this process and its children. Returns what it
 * did before. */
static inline struct sigaction
let_signals_interrupt(void)
{
    struct sigaction action = { .sa_handler = count_signal }, old; /* without SA_RESTART */
    handled =
        mmap(NULL, sizeof(*handled), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(handled != MAP_FAILED);
    CHECK(sigaction(SIGUSR1, &action, &old) == 0);
    return old;
}

/* Interrupts a child's wait three times. It must wait on each time. */
static inline void
interrupt_wait_of(pid_t pid)
{
    for (int i = 0; i < 3; i++) {
        until_blocked(pid);
        CHECK(kill(pid, SIGUSR1) == 0);
        for (uint64_t give_up = in_ns(20 * SECOND); atomic_load(handled) <= i; sched_yield())
            CHECK(now_ns() < give_up);
    }
    until_blocked(pid);
}

static inline void
let_signals_be(const struct sigaction *old)
{
    CHECK(sigaction(SIGUSR1, old, NULL) == 0);
    munmap((void *)handled, sizeof(*handled));
}

/* What a failed call could leave behind unnoticed: file descriptors, and syncobj handles of the
 * caller's open file. The kernel gives out the lowest free handle, so the next one tells. */
struct leftovers {
    int fds;
    uint32_t next_handle;
};

static inline struct leftovers
leftovers(const struct machine *m)
{
    struct drm_syncobj_create create = { 0 };
    struct leftovers now = { .fds = open_fds() };
    if (m->syncobj) {
        CHECK(ioctl(m->gpu, DRM_IOCTL_SYNCOBJ_CREATE, &create) == 0);
        struct drm_syncobj_destroy destroy = { .handle = create.handle };
        CHECK(ioctl(m->gpu, DRM_IOCTL_SYNCOBJ_DESTROY, &destroy) == 0);
        now.next_handle = create.handle;
    }
    return now;
}

static inline void
check_leftovers(const struct machine *m, struct leftovers before)
{
    struct leftovers now = leftovers(m);
    EXPECT(before.fds, now.fds);
    EXPECT(before.next_handle, now.next_handle);
}

#endif
