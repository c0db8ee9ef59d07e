// SPDX-License-Identifier: MIT
/*
 * A program that this process executes inherits nothing of the library: no descriptor, whatever is
 * open, and however close the execution is to the opening. It can use the library itself as usual.
 */
#include "notifier.h"
#include "sleeper.h"
#include "watch.h"

#include <spawn.h>

extern char **environ;

static const char *self;
static int before, null;

/* How many descriptors a program has that is executed now. */
static int
inherited(void)
{
    char *const arguments[] = { (char *)(uintptr_t)self, "count", NULL };
    pid_t pid;
    int status;
    CHECK(posix_spawn(&pid, self, NULL, NULL, arguments, environ) == 0);
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) > 0);
    return WEXITSTATUS(status);
}

/* Every object that keeps a descriptor. */
struct rig {
    struct umf_page *page, *single, *imported;
    struct umf_fence *fence, *device;
    struct umf_loop *loops[2];
    struct umf_queue *queue;
    struct umf_watch *watches[2];
    struct told told[2];
    int event, ends[2], pidfd, page_fd;
};

static void
open_everything(struct rig *r)
{
    const uint64_t modes[2] = { 0, UMF_LOOP_THREAD };
    r->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    CHECK(r->event >= 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, r->ends) == 0);
    OK(umf_page_create(4, 0, &r->page));
    OK(umf_page_create(4, UMF_PAGE_SINGLE_WRITER, &r->single));
    OK(umf_page_export(r->page, 0, &r->page_fd));
    OK(umf_page_import(r->page_fd, 0, &r->imported));
    OK(umf_fence_create(r->page, 0, 0, &r->fence));
    OK(umf_fence_create(r->page, 0, UMF_FENCE_DEVICE, &r->device));
    notify_by(r->device, r->event);
    struct umf_condition wait = { r->fence, 1, UMF_OP_GE, 0, 0 };
    for (int i = 0; i < 2; i++) {
        r->loops[i] = create_loop(modes[i]);
        r->watches[i] = watch_value(r->loops[i], r->fence, 1, &r->told[i]);
        OK(umf_loop_export_eventfd(r->loops[i], &wait, 0, r->event, NULL, NULL));
        OK(umf_loop_tie_page(r->loops[i], r->page, r->ends[0], 0, NULL, NULL));
    }
    r->pidfd = (int)syscall(434 /* pidfd_open, close-on-exec */, getpid(), 0);
    if (r->pidfd >= 0)
        OK(umf_loop_tie_fence(r->loops[1], r->fence, r->pidfd, 0, NULL, NULL));
    OK(umf_queue_create(r->loops[1], 0, &r->queue));
}

static void
close_everything(struct rig *r)
{
    umf_queue_unref(r->queue);
    for (int i = 0; i < 2; i++) {
        umf_watch_unref(r->watches[i]);
        umf_loop_unref(r->loops[i]);
    }
    umf_fence_unref(r->device);
    umf_fence_unref(r->fence);
    umf_page_unref(r->imported);
    umf_page_unref(r->single);
    umf_page_unref(r->page);
    close(r->page_fd);
    close(r->event);
    close(r->ends[0]);
    close(r->ends[1]);
    if (r->pidfd >= 0)
        close(r->pidfd);
}

static atomic_bool over;
static atomic_int opened;

static void *
open_and_close(void *unused)
{
    (void)unused;
    while (!atomic_load(&over)) {
        struct rig rig;
        open_everything(&rig);
        OK(umf_graph_write(null, 0, NULL));
        close_everything(&rig);
        atomic_fetch_add(&opened, 1);
    }
    return NULL;
}

/* The same process becomes another program while a loop is at work. */
static void
becomes_another_program(void)
{
    struct rig rig;
    pid_t pid;
    int status;
    IN_CHILD(pid, {
        open_everything(&rig);
        CHECK(open_fds() > before + 10);
        execl(self, self, "count", NULL);
    });
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    EXPECT(before, WEXITSTATUS(status));
}

static void
in_callback(void *data, int result)
{
    (void)data;
    OK(result);
    execl(self, self, "count", NULL);
    _exit(1);
}

static void
becomes_another_program_in_a_callback(void)
{
    pid_t pid;
    int status;
    IN_CHILD(pid, {
        struct rig rig;
        struct umf_callback callback = { .call = in_callback };
        open_everything(&rig);
        struct umf_condition wait = { rig.fence, 0, UMF_OP_GE, 0, 0 };
        OK(umf_loop_watch(rig.loops[1], &wait, 0, &callback, NULL));
        for (;;)
            pause();
    });
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    EXPECT(before, WEXITSTATUS(status));
}

int
main(int argc, char **argv)
{
    struct rig rig;
    pthread_t threads_of_ours[2];
    const unsigned times = rounds(200, 3);
    if (argc == 2 && strcmp(argv[1], "count") == 0)
        return open_fds();
    watchdog(50);
    if (is_emulated()) {
        printf("the kernel cannot execute what is emulated\n");
        return SKIPPED;
    }
    self = argv[0];
    null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    CHECK(null >= 0);
    before = inherited();
    becomes_another_program();
    becomes_another_program_in_a_callback();

    open_everything(&rig);
    EXPECT(before, inherited());
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&threads_of_ours[i], NULL, open_and_close, NULL) == 0);
    unsigned executions = 0;
    for (; executions < times || atomic_load(&opened) < 2; executions++)
        EXPECT(before, inherited());
    atomic_store(&over, true);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_join(threads_of_ours[i], NULL) == 0);
    printf("%u executions beside %d times that everything was opened\n", executions, opened);
    close_everything(&rig);
    return 0;
}
