// SPDX-License-Identifier: MIT
/*
 * Files and peers that a conversion of X11's fences must not trust: files that cannot be sealed, a
 * peer that truncates the file or punches holes into it, words that no X11 program writes, and a
 * peer that only spends this process's time. libxshmfence is not needed: a fence is a futex word at
 * the start of a file.
 */
#include "process.h"
#include "sleeper.h"
#include "watch.h"

#include <limits.h>
#include <linux/futex.h>
#include <linux/memfd.h>

static struct umf_page *page;

static int
new_file(unsigned flags, off_t length)
{
    int fd = memfd_create("xshmfence", MFD_CLOEXEC | flags);
    CHECK(fd >= 0 && ftruncate(fd, length) == 0);
    return fd;
}

static _Atomic int32_t *
map_word(int fd)
{
    void *word = mmap(NULL, 4, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(word != MAP_FAILED);
    return word;
}

static void
wake(_Atomic int32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static struct umf_fence *
fence_at(uint64_t value)
{
    struct umf_fence *fence;
    OK(umf_fence_create(page, value, 0, &fence));
    return fence;
}

/* Both functions refuse the file, and leave its seals as they were. */
static void
is_refused(struct umf_loop *loop, int answer, int fd)
{
    struct umf_fence *fence = fence_at(0);
    struct told told;
    struct umf_callback callback = callback_to(&told);
    struct umf_watch *watch = NULL;
    int seals = fcntl(fd, F_GET_SEALS), fds = open_fds(), maps = mappings();
    KEEPS_ERRNO(answer, umf_loop_import_xshmfence(loop, fence, 1, fd, 0, &callback, &watch));
    KEEPS_ERRNO(answer, umf_loop_export_xshmfence(loop, fence, 1, fd, 0, &callback, &watch));
    CHECK(!watch && told.calls == 0 && told.releases == 0);
    CHECK(fcntl(fd, F_GET_SEALS) == seals && open_fds() == fds && mappings() == maps);
    umf_fence_unref(fence);
    if (fd >= 0 && fd < INT_MAX)
        close(fd);
}

static void
files_that_cannot_be_sealed_are_refused(struct umf_loop *loop)
{
    char path[64];
    int ends[2], fd;
    is_refused(loop, -EACCES, new_file(0, 4)); /* without MFD_ALLOW_SEALING */
    fd = new_file(MFD_ALLOW_SEALING, 4);
    CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SEAL) == 0);
    is_refused(loop, -EACCES, fd);
    fd = new_file(MFD_ALLOW_SEALING, 4);
    CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0);
    is_refused(loop, -EACCES, fd);
    /* A descriptor that can only be read. */
    fd = new_file(MFD_ALLOW_SEALING, 4);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int read_only = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(read_only >= 0);
    close(fd);
    is_refused(loop, -EACCES, read_only);
    is_refused(loop, -EINVAL, new_file(MFD_ALLOW_SEALING, 3));
    is_refused(loop, -EINVAL, new_file(MFD_ALLOW_SEALING, 0));
    fd = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC | O_EXCL, 0600);
    if (fd >= 0) {
        CHECK(ftruncate(fd, 4) == 0);
        is_refused(loop, fcntl(fd, F_GET_SEALS) < 0 ? -EINVAL : -EACCES, fd);
    }
    fd = memfd_create("huge", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB);
    if (fd >= 0) {
        if (ftruncate(fd, 2 << 20) == 0)
            is_refused(loop, -EINVAL, fd);
    }
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    is_refused(loop, -EINVAL, ends[0]);
    is_refused(loop, -EINVAL, ends[1]);
    is_refused(loop, -EINVAL, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    is_refused(loop, -EINVAL, open("/dev/null", O_RDWR | O_CLOEXEC));
    is_refused(loop, -EBADF, -1);
    is_refused(loop, -EBADF, INT_MIN);
    is_refused(loop, -EBADF, INT_MAX);
}

static void
other_bad_arguments_are_refused(struct umf_loop *loop)
{
    struct umf_fence *fence = fence_at(5);
    struct umf_callback no_call = { 0 };
    int fd = new_file(MFD_ALLOW_SEALING, 4);
    EXPECT(-EINVAL, umf_loop_import_xshmfence(NULL, fence, 6, fd, 0, NULL, NULL));
    EXPECT(-EINVAL, umf_loop_import_xshmfence(loop, NULL, 6, fd, 0, NULL, NULL));
    EXPECT(-EINVAL, umf_loop_import_xshmfence(loop, fence, 4, fd, 0, NULL, NULL));
    EXPECT(-EINVAL, umf_loop_import_xshmfence(loop, fence, 6, fd, 1, NULL, NULL));
    EXPECT(-EINVAL, umf_loop_import_xshmfence(loop, fence, 6, fd, 0, &no_call, NULL));
    EXPECT(-EINVAL, umf_loop_export_xshmfence(NULL, fence, 6, fd, 0, NULL, NULL));
    EXPECT(-EINVAL, umf_loop_export_xshmfence(loop, NULL, 6, fd, 0, NULL, NULL));
    EXPECT(-EINVAL, umf_loop_export_xshmfence(loop, fence, 6, fd, 1, NULL, NULL));
    EXPECT(-EINVAL, umf_loop_export_xshmfence(loop, fence, 6, fd, 0, &no_call, NULL));
    CHECK(fcntl(fd, F_GET_SEALS) == 0);
    pid_t child;
    IN_CHILD(child, {
        EXPECT(-ESTALE, umf_loop_import_xshmfence(loop, fence, 6, fd, 0, NULL, NULL));
        EXPECT(-ESTALE, umf_loop_export_xshmfence(loop, fence, 6, fd, 0, NULL, NULL));
    });
    join_child(child);
    close(fd);
    umf_fence_unref(fence);
}

/* A peer has the file before this process, and maps it. */
static void
attack_the_file(int sock)
{
    int fd = recv_fd(sock);
    _Atomic int32_t *word = map_word(fd);
    hear(sock);
    CHECK(ftruncate(fd, 0) == -1 && errno == EPERM);
    CHECK(ftruncate(fd, 4096) == -1 && errno == EPERM);
    /* A hole makes the word 0, also where a waiter has made it -1. The waiter may do so again. */
    CHECK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) == 0);
    CHECK(atomic_load(word) <= 0);
    for (int i = 0; i < 100; i++) {
        static const int32_t words[] = { 0, -1, 2, INT32_MIN, INT32_MAX, -2 };
        atomic_store(word, words[i % 6]);
        if (i % 3)
            wake(word);
    }
    tell(sock, 1);
    hear(sock);
    atomic_store(word, 1);
    wake(word);
}

static void
a_peer_cannot_break_it(struct umf_loop *loop)
{
    struct peer peer = start_peer(attack_the_file);
    struct umf_fence *fence = fence_at(0), *source = fence_at(0);
    struct told told[2];
    struct umf_callback callbacks[2] = { callback_to(&told[0]), callback_to(&told[1]) };
    int fd = new_file(MFD_ALLOW_SEALING, 4), other = new_file(MFD_ALLOW_SEALING, 4);
    send_fd(peer.sock, fd);
    OK(umf_loop_import_xshmfence(loop, fence, 1, fd, 0, &callbacks[0], NULL));
    OK(umf_loop_export_xshmfence(loop, source, 1, other, 0, &callbacks[1], NULL));
    CHECK(ftruncate(other, 0) == -1 && fcntl(other, F_GET_SEALS) == (F_SEAL_SHRINK | F_SEAL_GROW));
    tell(peer.sock, 1);
    hear(peer.sock);
    settle(loop, page);
    CHECK(told[0].calls == 0 && umf_fence_value(fence) == 0);
    tell(peer.sock, 1);
    until_called(loop, &told[0], 0);
    CHECK(umf_fence_value(fence) == 1);
    end_peer(&peer);

    /* An export writes 1 whatever the word holds. */
    _Atomic int32_t *word = map_word(other);
    atomic_store(word, 12345);
    OK(umf_fence_signal(source, 1));
    until_called(loop, &told[1], 0);
    CHECK(atomic_load(word) == 1);
    munmap((void *)word, 4);
    close(fd);
    close(other);
    umf_fence_unref(fence);
    umf_fence_unref(source);
}

/* Ways to spend the time of a process that waits. */
enum attack { WAKE, CHANGE, FLIP };

static enum attack attack;

static void
spend_time(int sock)
{
    _Atomic int32_t *word = map_word(recv_fd(sock));
    for (int32_t i = 0;; i++) {
        if (attack == CHANGE)
            atomic_store(word, i % 2 ? 0 : 7);
        if (attack == FLIP) {
            /* Most of the time it is what the waiter saw last. */
            atomic_store(word, 7);
            atomic_store(word, -1);
        }
        if (attack != FLIP || i % 100 == 0)
            wake(word);
    }
}

static void
a_peer_cannot_spend_its_time(void)
{
    struct umf_loop *loop = create_loop(UMF_LOOP_THREAD);
    struct peer peer = start_peer(spend_time);
    struct umf_fence *fence = fence_at(0), *served = fence_at(0);
    int fd = new_file(MFD_ALLOW_SEALING, 4), other = new_file(MFD_ALLOW_SEALING, 4);
    _Atomic int32_t *word = map_word(other);
    struct told never, told;
    struct umf_callback callbacks[2] = { callback_to(&never), callback_to(&told) };
    OK(umf_loop_import_xshmfence(loop, fence, 1, fd, 0, &callbacks[0], NULL));
    send_fd(peer.sock, fd);
    const int64_t before = time_of_others();
    uint64_t start = now_ns(), turns = 0;
    while (now_ns() - start < SECOND) {
        atomic_store(word, 0);
        callback_to(&told);
        OK(umf_loop_import_xshmfence(loop, served, ++turns, other, 0, &callbacks[1], NULL));
        nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
        if (atomic_exchange(word, 1) == -1)
            wake(word);
        while (told.releases == 0)
            nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    }
    uint64_t lasted = now_ns() - start;
    const int64_t used = time_of_others() - before;
    static const char *const names[] = { "wake-ups", "changes", "changes back" };
    printf("%s: %.1f %% of a core, another fence served %" PRIu64 " times\n", names[attack],
           100.0 * (double)used / (double)lasted, turns);
    if (!RUNNING_ON_VALGRIND && !is_emulated() && !SANITIZES_THREADS)
        CHECK(used < (int64_t)(lasted / 20 + 15 * MS));
    CHECK(turns > 5 && never.calls == 0 && umf_fence_value(served) == turns);
    kill_peer(&peer);
    umf_loop_unref(loop);
    munmap((void *)word, 4);
    close(fd);
    close(other);
    umf_fence_unref(fence);
    umf_fence_unref(served);
}

int
main(void)
{
    watchdog(50);
    OK(umf_page_create(16, 0, &page));
    for (uint64_t mode = 0; mode <= UMF_LOOP_THREAD; mode++) {
        static struct umf_loop *loop;
        loop = create_loop(mode);
        settle(loop, page);
        files_that_cannot_be_sealed_are_refused(loop);
        other_bad_arguments_are_refused(loop);
        a_peer_cannot_break_it(loop);
        umf_loop_unref(loop);
    }
    for (attack = WAKE; attack <= FLIP; attack++)
        a_peer_cannot_spend_its_time();
    umf_page_unref(page);
    return 0;
}
