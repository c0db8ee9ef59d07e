// SPDX-License-Identifier: MIT
/*
 * A descriptor whose file a peer serves: a file on a FUSE mount. The peer answers each ioctl as a
 * dma-buf would, with the number of a descriptor of the victim's. Every call refuses the file, and
 * the peer is never asked: not by statx, ioctl, read, write, poll or the close of a duplicate.
 */
#include "process.h"
#include "sandbox.h"

#include <linux/fuse.h>
#include <sys/mount.h>
#include <sys/uio.h>

/* The requests that reached the peer, and the number that it answers an ioctl with. */
struct shared {
    atomic_uint requests, last;
    atomic_int answer;
};

static struct shared *shared;
static int fuse_device;

static void
reply(uint64_t unique, int error, const void *data, size_t size)
{
    struct fuse_out_header header = { sizeof(header) + size, error, unique };
    struct iovec parts[] = { { &header, sizeof(header) }, { (void *)(uintptr_t)data, size } };
    /* A request that was interrupted meanwhile has nobody to answer. */
    CHECK(writev(fuse_device, parts, size ? 2 : 1) > 0 || errno == ENOENT);
}

enum { FILE_NODE = 2, PIPE };

/* Attributes expire at once, so that each stat() that looks for fresh ones asks. */
static struct fuse_attr
attributes(uint64_t node)
{
    uint32_t type = node == FUSE_ROOT_ID ? S_IFDIR | 0755
                    : node == PIPE       ? S_IFIFO | 0666
                                         : S_IFREG | 0666;
    return (struct fuse_attr){ .ino = node, .mode = type, .nlink = 1 };
}

static void
serve(int sock)
{
    static _Alignas(8) char buffer[1 << 17];
    const struct fuse_in_header *in = (void *)buffer;
    close(sock);
    while (read(fuse_device, buffer, sizeof(buffer)) > 0) {
        struct fuse_init_out init = { .major = 7, .minor = 31, .max_write = 65536 };
        uint64_t node = strcmp(buffer + sizeof(*in), "pipe") == 0 ? PIPE : FILE_NODE;
        struct fuse_entry_out entry = { .nodeid = node, .attr = attributes(node) };
        struct fuse_attr_out attr = { .attr = attributes(in->nodeid) };
        struct fuse_open_out file = { .fh = 1 };
        struct {
            struct fuse_ioctl_out out;
            uint32_t flags;
            int32_t fd;
        } ioctl = { .fd = atomic_load(&shared->answer) };
        atomic_fetch_add(&shared->requests, 1);
        atomic_store(&shared->last, in->opcode);
        switch (in->opcode) {
        case FUSE_INIT:
            reply(in->unique, 0, &init, sizeof(init));
            break;
        case FUSE_LOOKUP:
            reply(in->unique, 0, &entry, sizeof(entry));
            break;
        case FUSE_GETATTR:
            reply(in->unique, 0, &attr, sizeof(attr));
            break;
        case FUSE_OPEN:
            reply(in->unique, 0, &file, sizeof(file));
            break;
        case FUSE_IOCTL:
            reply(in->unique, 0, &ioctl, sizeof(ioctl));
            break;
        case FUSE_FORGET:
        case FUSE_BATCH_FORGET:
        case FUSE_INTERRUPT:
            break;
        default:
            reply(in->unique, -ENOSYS, NULL, 0);
        }
    }
}

static int
skip(const char *reason)
{
    printf("not available: %s\n", reason);
    return SKIPPED;
}

static void
write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

/* A mount namespace of this process's own, with the rights to mount in it. */
static bool
can_mount(void)
{
    if (geteuid() == 0)
        return unshare(CLONE_NEWNS) == 0;
    char map[32];
    snprintf(map, sizeof(map), "0 %u 1", geteuid());
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS))
        return false;
    write_file("/proc/self/uid_map", map);
    return true;
}

/* Refuses the file, asks nobody, and closes nothing. */
#define REFUSED(expected, call)                                                                    \
    do {                                                                                           \
        atomic_store(&shared->requests, 0);                                                        \
        EXPECT(expected, call);                                                                    \
        if (atomic_load(&shared->requests)) {                                                      \
            fprintf(stderr, "%s: asked the peer, last with FUSE request %u\n", #call,              \
                    atomic_load(&shared->last));                                                   \
            exit(1);                                                                               \
        }                                                                                          \
        CHECK(fcntl(victim, F_GETFD) >= 0);                                                        \
    } while (0)

static void
every_call_refuses(int fd, uint64_t loop_flags)
{
    struct umf_page *page, *none_page;
    struct umf_fence *fence, *written;
    struct umf_loop *loop;
    struct umf_device *none;
    int victim = open("/dev/null", O_RDONLY | O_CLOEXEC);
    CHECK(victim >= 0);
    atomic_store(&shared->answer, victim);
    OK(umf_page_create(4, 0, &page));
    OK(umf_fence_create(page, 0, 0, &fence));
    OK(umf_fence_create(page, 0, UMF_FENCE_DEVICE, &written));
    OK(umf_loop_create(loop_flags, &loop));
    struct umf_condition wait = { .fence = fence, .value = 9 };
    struct umf_caps caps = { .size = sizeof(caps) };
    OK(umf_query_caps(&caps));
    /* A machine that cannot export to any dma-buf says that first. */
    int exported = caps.flags & UMF_CAP_UDMABUF ? -EINVAL : -EOPNOTSUPP;
    struct umf_interrupt interrupt = { .size = sizeof(interrupt), .fd = fd };
    struct umf_notifier *notifier;

    REFUSED(-EINVAL, umf_page_import(fd, 0, &none_page));
    REFUSED(-EINVAL, umf_device_create(fd, 0, &none));
    REFUSED(-EINVAL, umf_fence_import_sync_file(fence, 1, fd, 0, 0));
    REFUSED(-EINVAL, umf_fence_import_sync_file(fence, 1, fd, 0, FOREVER));
    REFUSED(-EINVAL, umf_loop_import_sync_file(loop, fence, 1, fd, 0, NULL, NULL));
    REFUSED(-EINVAL, umf_fence_attach_sync_file(fence, 1, fd, 0));
    REFUSED(-EINVAL, umf_fence_attach_sync_file(fence, 0, fd, 0));
    REFUSED(-EINVAL, umf_fence_import_dma_buf(fence, 1, fd, UMF_DMA_BUF_READ, FOREVER));
    REFUSED(-EINVAL, umf_loop_import_dma_buf(loop, fence, 1, fd, UMF_DMA_BUF_READ, NULL, NULL));
    REFUSED(exported, umf_fence_export_dma_buf(fence, 0, NULL, fd, UMF_DMA_BUF_WRITE, FOREVER));
    REFUSED(-EINVAL, umf_loop_export_eventfd(loop, &wait, 0, fd, NULL, NULL));
    REFUSED(-EINVAL, umf_loop_tie_fence(loop, fence, fd, 0, NULL, NULL));
    REFUSED(-EINVAL, umf_loop_tie_page(loop, page, fd, 0, NULL, NULL));
    REFUSED(-EINVAL, umf_notifier_create(&interrupt, 0, &notifier));

    CHECK(umf_fence_value(fence) == 0 && error_of(fence) == 0);
    umf_loop_unref(loop);
    umf_fence_unref(written);
    umf_fence_unref(fence);
    umf_page_unref(page);
    close(victim);
}

/* As sandboxes do that do not know it. */
static void
forbid_statx(uint32_t error)
{
    struct sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_statx, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    install_filter(steps, ARRAY_SIZE(steps));
}

static void
a_pipe_with_a_name_there(int fd)
{
    struct umf_page *page;
    struct umf_fence *fence;
    struct umf_loop *loop;
    int victim = fd;
    OK(umf_page_create(1, 0, &page));
    OK(umf_fence_create(page, 0, 0, &fence));
    OK(umf_loop_create(0, &loop));
    REFUSED(-EINVAL, umf_fence_import_sync_file(fence, 1, fd, 0, 0));
    REFUSED(-EINVAL, umf_fence_import_dma_buf(fence, 1, fd, UMF_DMA_BUF_READ, FOREVER));
    REFUSED(-EINVAL, umf_loop_tie_page(loop, page, fd, 0, NULL, NULL));
    umf_loop_unref(loop);
    umf_fence_unref(fence);
    umf_page_unref(page);
}

static void
refuses_without_statx(int fd, int pipe, uint32_t error)
{
    forbid_statx(error);
    every_call_refuses(fd, 0);
    a_pipe_with_a_name_there(pipe);
}

int
main(void)
{
    char folder[] = "/tmp/umf-served-XXXXXX", options[64], path[64];
    fuse_device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fuse_device < 0)
        return skip("/dev/fuse");
    CHECK(mkdtemp(folder));
    snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", fuse_device);
    if (!can_mount() || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) ||
        mount("umf", folder, "fuse", MS_NOSUID | MS_NODEV, options)) {
        rmdir(folder);
        return skip("FUSE mounts");
    }
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED);
    struct peer peer = start_peer(serve);
    snprintf(path, sizeof(path), "%s/f", folder);
    /* Non-blocking, as eventfds and notifiers have to be. */
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    CHECK(fd >= 0);
    /* The peer does hear of a call that asks it. */
    struct stat stat;
    atomic_store(&shared->requests, 0);
    CHECK(fstat(fd, &stat) == 0 && S_ISREG(stat.st_mode) && atomic_load(&shared->requests) == 1);

    every_call_refuses(fd, 0);
    every_call_refuses(fd, UMF_LOOP_THREAD);
    snprintf(path, sizeof(path), "%s/pipe", folder);
    int pipe = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    CHECK(pipe >= 0);
    a_pipe_with_a_name_there(pipe);
    for (int i = 0; i < 2 && !cannot_be_refused_calls(); i++) {
        pid_t pid;
        IN_CHILD(pid, refuses_without_statx(fd, pipe, i ? ENOSYS : EPERM));
        if (!join_child_unless_skipped(pid))
            break;
    }

    close(pipe);
    close(fd);
    kill_peer(&peer);
    CHECK(umount2(folder, MNT_DETACH) == 0 && rmdir(folder) == 0);
    close(fuse_device);
    return 0;
}
