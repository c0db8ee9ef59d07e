/* Watches of fences: what a caller who does not want to block can rely on. */
#include "check.h"
#include <libumf.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct told {
    atomic_int calls, released, result;
};

static void on_call(void *data, int result)
{
    struct told *told = data;
    told->result = result;
    told->calls++;
}

static void on_release(void *data)
{
    struct told *told = data;
    told->released++;
}

static void wait_for(atomic_int *word, int value)
{
    while (atomic_load(word) < value)
        sched_yield();
}

int main(void)
{
    struct umf_page *page;
    struct umf_fence *fence, *target;
    CHECK(umf_page_create(1000, 0, &page) == 0);
    CHECK(umf_fence_create(page, 0, 0, &fence) == 0);
    CHECK(umf_fence_create(page, 0, 0, &target) == 0);
    for (int mode = 0; mode < 2; mode++) {
        struct umf_loop *loop;
        uint64_t base = 100 * mode;
        CHECK(umf_loop_create(mode ? UMF_LOOP_THREAD : 0, &loop) == 0);
        struct told told = {0};
        struct umf_callback callback = {on_call, on_release, &told};
        struct umf_wait wait = {.fence = fence, .value = base + 1};
        struct umf_watch *watch;
        CHECK(umf_loop_watch(loop, &wait, 0, &callback, &watch) == 0);
        CHECK(umf_watch_result(watch) == -ETIME);
        CHECK(umf_fence_signal(fence, base + 1) == 0);
        if (mode == 0) {
            struct pollfd pfd = {umf_loop_fd(loop), POLLIN, 0};
            CHECK(poll(&pfd, 1, -1) == 1);
            CHECK(umf_loop_dispatch(loop, 0) == 0);
            CHECK(told.calls == 1);
            CHECK(poll(&pfd, 1, 0) == 0);
        }
        wait_for(&told.released, 1);
        CHECK(told.calls == 1 && told.result == 0);
        CHECK(umf_watch_result(watch) == 0);
        CHECK(umf_watch_cancel(watch) == -EALREADY);
        umf_watch_unref(watch);
        int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        wait.value = base + 2;
        CHECK(umf_loop_export_eventfd(loop, &wait, 0, fd, NULL, &watch) == 0);
        CHECK(umf_loop_export_fence(loop, fence, base + 2, target, base + 5, 0, NULL, NULL) == 0);
        CHECK(umf_fence_signal(fence, base + 2) == 0);
        if (mode == 0) {
            struct pollfd pfd = {umf_loop_fd(loop), POLLIN, 0};
            while (umf_watch_result(watch) == -ETIME || umf_fence_value(target) < base + 5) {
                CHECK(poll(&pfd, 1, -1) == 1);
                CHECK(umf_loop_dispatch(loop, 0) == 0);
            }
        }
        struct pollfd pfd = {fd, POLLIN, 0};
        CHECK(poll(&pfd, 1, -1) == 1);
        CHECK(umf_fence_wait(target, base + 5, UINT64_MAX) == 0);
        umf_watch_unref(watch);
        wait.value = base + 90;
        CHECK(umf_loop_watch(loop, &wait, 0, &callback, &watch) == 0);
        umf_loop_unref(loop);
        CHECK(told.released == 2 && told.calls == 1);
        CHECK(umf_watch_result(watch) == -ECANCELED);
        CHECK(umf_watch_cancel(watch) == 0);
        umf_watch_unref(watch);
        close(fd);
    }
    umf_fence_unref(target);
    umf_fence_unref(fence);
    umf_page_unref(page);
    return 0;
}
