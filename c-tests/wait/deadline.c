// SPDX-License-Identifier: MIT
/*
 * A deadline ends a wait even if a peer keeps it from falling asleep, by changing the word that the
 * waiter is about to sleep on each time. The waiter is stopped at each system call for this, so the
 * peer wins every race.
 */
#include "raw_page.h"
#include "single_step.h"
#include "sleeper.h"

static struct umf_page *page;
static struct umf_fence *fence, *other;

static int wait_one(void) { return -umf_fence_wait(fence, 1, in_ns(2 * MS)); }

static int
wait_list(uint64_t flags)
{
    struct umf_condition list[2] = { { fence, 1, UMF_OP_GE, 0, 0 }, { other, 1, UMF_OP_GE, 0, 0 } };
    return -umf_wait(list, 2, flags, in_ns(2 * MS), NULL);
}

static int wait_all(void) { return wait_list(0); }
static int wait_any(void) { return wait_list(UMF_WAIT_ANY); }

/* A peer that knows the layout increments the page's event count and the fence's futex word. */
static void
wake(const struct raw *raw)
{
    size_t slot = (size_t)umf_fence_offset(fence);
    __atomic_add_fetch((uint32_t *)(void *)(raw->bytes + EVENT_COUNT), 1, __ATOMIC_SEQ_CST);
    __atomic_add_fetch((uint32_t *)(void *)(raw->bytes + slot + SLOT_FUTEX), 1, __ATOMIC_SEQ_CST);
}

static void
ends_in_time(const char *what, int (*wait)(void))
{
    struct raw raw = map_raw(page);
    pid_t pid = start_stopped(wait);
    uint64_t give_up = in_ns(500 * MS);
    int status, code = 0;
    enum progress progress;
    do {
        wake(&raw);
        CHECK(ptrace(PTRACE_SYSCALL, pid, NULL, NULL) == 0);
        progress = waitpid(pid, &status, 0) == pid && WIFSTOPPED(status) ? STOPPED : ENDED;
        code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
    } while (progress == STOPPED && now_ns() < give_up);
    if (progress != ENDED) {
        fprintf(stderr, "%s went on for long after its deadline\n", what);
        exit(1);
    }
    EXPECT(ETIME, code);
    unmap_raw(&raw);
}

int
main(void)
{
    watchdog(30);
    if (RUNNING_ON_VALGRIND)
        return SKIPPED;
    OK(umf_page_create(2, 0, &page));
    OK(umf_fence_create(page, 0, 0, &fence));
    OK(umf_fence_create(page, 0, 0, &other));
    if (!can_be_stopped(wait_one))
        return SKIPPED;
    ends_in_time("umf_fence_wait", wait_one);
    ends_in_time("wait for all", wait_all);
    ends_in_time("wait for any", wait_any);
    umf_fence_unref(fence);
    umf_fence_unref(other);
    umf_page_unref(page);
    return 0;
}
