// SPDX-License-Identifier: MIT
/*
 * A kernel or a sandbox refuses the ioctls of conversions, one at a time. A call that needs it
 * returns the same error whether it blocks or is asynchronous, and everything else works.
 */
#include "drm_machine.h"
#include "sandbox.h"
#include "sleeper.h"
#include "syncobj.h"
#include "watch.h"

/* In the order in which look() asks. */
enum call {
    DEVICE,
    SYNCOBJ,
    EXPORT_SYNC_FILE,
    EXPORT_SYNC_FILE_WITHOUT_DEVICE,
    IMPORT_SYNC_FILE,
    EXPORT_BINARY,
    EXPORT_POINT,
    IMPORT_BINARY,
    IMPORT_POINT,
    EXPORT_DMA_BUF,
    IMPORT_DMA_BUF,
    WATCH_EXPORT_POINT,
    WATCH_IMPORT_POINT,
    WATCH_IMPORT_SYNC_FILE,
    WATCH_IMPORT_DMA_BUF,
    CALLS
};

static const char *const names[CALLS] = {
    "umf_device_create",
    "umf_syncobj_open",
    "umf_fence_export_sync_file",
    "the same, without a device",
    "umf_fence_import_sync_file",
    "umf_fence_export_syncobj, binary",
    "umf_fence_export_syncobj, point",
    "umf_fence_import_syncobj, binary",
    "umf_fence_import_syncobj, point",
    "umf_fence_export_dma_buf",
    "umf_fence_import_dma_buf",
    "umf_loop_export_syncobj",
    "umf_loop_import_syncobj",
    "umf_loop_import_sync_file",
    "umf_loop_import_dma_buf",
};

struct answers {
    int of[CALLS];
    uint64_t lacks; /* of the device's capabilities */
};

#define ALL_OF_SYNCOBJ                                                                             \
    (UMF_DEVICE_CAP_SYNCOBJ | UMF_DEVICE_CAP_TIMELINE | UMF_DEVICE_CAP_EVENTFD |                   \
     UMF_DEVICE_CAP_DEADLINE)

static const struct {
    const char *what;
    unsigned long request;
    uint32_t error;
    struct answers expected;
} rows[] = {
    { "nothing", 0, 0, { { 0 }, 0 } },
    /* What older kernels return: drm_ioctl() EINVAL, all others ENOTTY. */
    { "SYNCOBJ_EVENTFD, before Linux 6.6",
      SYNCOBJ_EVENTFD,
      EINVAL,
      { { 0 }, UMF_DEVICE_CAP_EVENTFD } },
    { "EXPORT_SYNC_FILE, before 6.0",
      DMA_BUF_IOCTL_EXPORT_SYNC_FILE,
      ENOTTY,
      { { [EXPORT_SYNC_FILE_WITHOUT_DEVICE] = -EOPNOTSUPP,
          [IMPORT_DMA_BUF] = -EOPNOTSUPP,
          [WATCH_IMPORT_DMA_BUF] = -EOPNOTSUPP },
        0 } },
    { "IMPORT_SYNC_FILE, before 6.0",
      DMA_BUF_IOCTL_IMPORT_SYNC_FILE,
      ENOTTY,
      { { [EXPORT_DMA_BUF] = -EOPNOTSUPP }, 0 } },
    /* A driver without syncobjs. */
    { "GET_CAP", DRM_IOCTL_GET_CAP, EINVAL, { { [DEVICE] = -EINVAL }, 0 } },
    { "SYNCOBJ_CREATE", DRM_IOCTL_SYNCOBJ_CREATE, EOPNOTSUPP, { { [DEVICE] = -EOPNOTSUPP }, 0 } },
    /* Nothing waits here for a point to get a fence. */
    { "TIMELINE_WAIT", DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT, EOPNOTSUPP, { { 0 }, 0 } },
    { "TIMELINE_SIGNAL",
      DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL,
      EOPNOTSUPP,
      { { [EXPORT_POINT] = -EOPNOTSUPP, [WATCH_EXPORT_POINT] = -EOPNOTSUPP }, 0 } },
    { "QUERY",
      DRM_IOCTL_SYNCOBJ_QUERY,
      EOPNOTSUPP,
      { { [EXPORT_POINT] = -EOPNOTSUPP, [WATCH_EXPORT_POINT] = -EOPNOTSUPP }, 0 } },
    /* Before Linux 6.16, which exports the fence of a point without it. */
    { "TRANSFER",
      DRM_IOCTL_SYNCOBJ_TRANSFER,
      EOPNOTSUPP,
      { { [IMPORT_POINT] = -EOPNOTSUPP, [WATCH_IMPORT_POINT] = -EOPNOTSUPP }, 0 } },
    /* A sandbox, and a kernel short of memory. */
    { "SYNCOBJ_EVENTFD, in a sandbox", SYNCOBJ_EVENTFD, EPERM, { { 0 }, UMF_DEVICE_CAP_EVENTFD } },
    { "GET_CAP, in a sandbox", DRM_IOCTL_GET_CAP, EACCES, { { [DEVICE] = -EACCES }, 0 } },
    { "FILE_INFO, in a sandbox",
      SYNC_IOC_FILE_INFO,
      EPERM,
      { { [IMPORT_SYNC_FILE] = -EACCES,
          [IMPORT_BINARY] = -EACCES,
          [IMPORT_POINT] = -EACCES,
          [IMPORT_DMA_BUF] = -EACCES,
          [WATCH_IMPORT_POINT] = -EACCES,
          [WATCH_IMPORT_SYNC_FILE] = -EACCES,
          [WATCH_IMPORT_DMA_BUF] = -EACCES },
        0 } },
    /* A signaled sync_file is then made from the beginning. */
    { "MERGE, in a sandbox", SYNC_IOC_MERGE, EPERM, { { 0 }, 0 } },
    { "HANDLE_TO_FD, without memory",
      DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD,
      ENOMEM,
      { { [SYNCOBJ] = -ENOMEM,
          [EXPORT_SYNC_FILE] = -ENOMEM,
          [IMPORT_BINARY] = -ENOMEM,
          [IMPORT_POINT] = -ENOMEM,
          [EXPORT_DMA_BUF] = -ENOMEM },
        0 } },
    { "TIMELINE_SIGNAL, without memory",
      DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL,
      ENOMEM,
      { { [EXPORT_POINT] = -ENOMEM, [WATCH_EXPORT_POINT] = -ENOMEM }, 0 } },
    { "EXPORT_SYNC_FILE, without memory",
      DMA_BUF_IOCTL_EXPORT_SYNC_FILE,
      ENOMEM,
      { { [EXPORT_SYNC_FILE_WITHOUT_DEVICE] = -ENOMEM,
          [IMPORT_DMA_BUF] = -ENOMEM,
          [WATCH_IMPORT_DMA_BUF] = -ENOMEM },
        0 } },
    { "IMPORT_SYNC_FILE, without memory",
      DMA_BUF_IOCTL_IMPORT_SYNC_FILE,
      ENOMEM,
      { { [EXPORT_DMA_BUF] = -ENOMEM }, 0 } },
};

static void
refuse_ioctl(unsigned long request, uint32_t error)
{
    struct sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 4),
        /* Without the size of the struct, which differs in programs that were built with newer
         * headers. */
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xffff),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)request & 0xffff, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    install_filter(steps, ARRAY_SIZE(steps));
}

/* Made before anything is refused. */
static struct machine m;
static uint32_t binary, timeline;
static int signaled, buffer;

static struct umf_loop *loop;
static struct told told;

/* The result of a call that makes a watch, or of the watch. */
static int
outcome(int answer, struct umf_watch *watch)
{
    if (answer != 0) {
        CHECK(!watch && told.releases == 0);
        return answer;
    }
    until_complete(loop, &told);
    int result = umf_watch_result(watch);
    CHECK(result == told.result);
    umf_watch_unref(watch);
    return result;
}

#define WATCH(function, ...)                                                                       \
    do {                                                                                           \
        struct umf_watch *watch_ = NULL;                                                           \
        struct umf_callback callback_ = callback_to(&told);                                        \
        int answer_ = function(loop, __VA_ARGS__, &callback_, &watch_);                            \
        *at++ = outcome(answer_, watch_);                                                          \
    } while (0)

static void
look(int got[CALLS], uint64_t *lacks)
{
    struct umf_device *device = NULL;
    struct umf_device_caps caps = { .size = sizeof(caps) };
    struct umf_syncobj *syncobj = NULL;
    struct umf_fence *fences[CALLS];
    int *at = got, fd = -1;
    uint64_t had = caps.flags;
    for (int i = 0; i < CALLS; i++) {
        got[i] = 0;
        fences[i] = new_fence(&m, 1);
    }
    OK(umf_device_query_caps(m.device, &caps));
    had = caps.flags;
    *at++ = umf_device_create(m.gpu, 0, &device);
    *lacks = 0;
    if (!device)
        return;
    OK(umf_device_query_caps(device, &caps));
    *lacks = had & ~caps.flags;
    *at++ = umf_syncobj_open(device, timeline, 0, &syncobj);
    *at++ = umf_fence_export_sync_file(fences[2], 1, device, 0, 0, &fd);
    close(fd);
    fd = -1;
    *at++ = umf_fence_export_sync_file(fences[3], 1, NULL, 0, 0, &fd);
    close(fd);
    *at++ = umf_fence_import_sync_file(fences[4], 2, signaled, 0, FOREVER);
    *at++ = umf_fence_export_syncobj(fences[5], 1, device, binary, 0, 0, 0);
    *at++ = umf_fence_export_syncobj(fences[6], 1, device, timeline, 2, 0, 0);
    *at++ = umf_fence_import_syncobj(fences[7], 2, device, binary, 0, 0, FOREVER);
    *at++ = umf_fence_import_syncobj(fences[8], 2, device, timeline, 1, 0, FOREVER);
    *at++ = umf_fence_export_dma_buf(fences[9], 1, device, buffer, UMF_DMA_BUF_WRITE, 0);
    *at++ = umf_fence_import_dma_buf(fences[10], 2, buffer, UMF_DMA_BUF_WRITE, FOREVER);
    for (int i = 0; i < CALLS; i++) /* no fence may have failed */
        CHECK(error_of(fences[i]) == 0);
    if (syncobj) {
        loop = create_loop(UMF_LOOP_THREAD);
        WATCH(umf_loop_export_syncobj, fences[11], 1, syncobj, 3, 0);
        WATCH(umf_loop_import_syncobj, fences[12], 2, syncobj, 1, 0);
        WATCH(umf_loop_import_sync_file, fences[13], 2, signaled, 0);
        WATCH(umf_loop_import_dma_buf, fences[14], 2, buffer, UMF_DMA_BUF_WRITE);
        umf_loop_unref(loop);
        umf_syncobj_unref(syncobj);
    }
    umf_device_unref(device);
    for (int i = 0; i < CALLS; i++)
        umf_fence_unref(fences[i]);
}

static void
refused(size_t row)
{
    int got[CALLS], wrong = 0;
    uint64_t lacks;
    watchdog(20);
    /* Only in this child. */
    timeline = syncobj_create(m.gpu, 0);
    syncobj_timeline_signal(m.gpu, timeline, 1);
    if (rows[row].error)
        refuse_ioctl(rows[row].request, rows[row].error);
    struct answers expected = rows[row].expected;
    if (rows[row].request == DRM_IOCTL_SYNCOBJ_TRANSFER && kernel_at_least(6, 16))
        expected = (struct answers){ { 0 }, 0 };
    int fds = open_fds();
    look(got, &lacks);
    for (int i = 0; i < CALLS; i++) {
        if (got[i] != expected.of[i]) {
            fprintf(stderr, "without %s: %s says %d, not %d\n", rows[row].what, names[i], got[i],
                    expected.of[i]);
            wrong++;
        }
    }
    if (lacks != expected.lacks) {
        fprintf(stderr, "without %s: lacks %" PRIx64 "\n", rows[row].what, lacks);
        wrong++;
    }
    CHECK(!wrong && open_fds() == fds);
}

int
main(void)
{
    bool failed = false;
    watchdog(50);
    m = open_machine();
    if (!m.syncobj || !m.udmabuf) {
        printf("this kernel lacks it all\n");
        return SKIPPED;
    }
    binary = syncobj_create(m.gpu, DRM_SYNCOBJ_CREATE_SIGNALED);
    signaled = syncobj_export_sync_file(m.gpu, binary);
    buffer = udmabuf_create();
    for (size_t row = 0; row < ARRAY_SIZE(rows); row++) {
        pid_t pid;
        int status;
        IN_CHILD(pid, refused(row));
        CHECK(waitpid(pid, &status, 0) == pid);
        failed |= status != 0;
    }
    return failed;
}
