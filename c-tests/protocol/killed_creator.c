// SPDX-License-Identifier: MIT
/*
 * A process that is killed while it creates or ends a fence leaves a slot that can be reclaimed,
 * and no waiter of the fence sleeps on. It is killed before each instruction of the call in turn.
 */
#include "process.h"
#include "single_step.h"
#include "watch.h"

static struct umf_page *page, *other_page;
static struct umf_fence *fence;

static int create_one(void) { return -umf_fence_create(page, 5, 0, &fence); }
static int create_lasting(void) { return -umf_fence_create(page, 5, UMF_FENCE_LASTING, &fence); }

/* A child asks the kernel about itself in its first call. */
static void
create_elsewhere(void)
{
    struct umf_fence *first;
    OK(umf_fence_create(other_page, 5, 0, &first));
    umf_fence_unref(first);
}

/* The child's own fence: a child ends none of its parent's. */
static void create_before(void) { OK(umf_fence_create(page, 5, 0, &fence)); }

static int
end_one(void)
{
    umf_fence_unref(fence);
    return 0;
}

/* The waiters. They open the fence. */
static int
wait_in(int (*wait)(struct umf_fence *theirs))
{
    struct umf_fence *theirs;
    int result = umf_fence_open(page, 0, 0, &theirs);
    return result ? -result : -wait(theirs);
}

static int wait_one_in(struct umf_fence *theirs) { return umf_fence_wait(theirs, 6, FOREVER); }

static int
wait_any_in(struct umf_fence *theirs)
{
    struct umf_condition entry = { theirs, 6, UMF_OP_GE, 0, 0 };
    return umf_wait(&entry, 1, UMF_WAIT_ANY, FOREVER, NULL);
}

static int wait_one(void) { return wait_in(wait_one_in); }
static int wait_any(void) { return wait_in(wait_any_in); }

/* The number of slots that a survivor frees. */
static uint32_t
reclaim(void)
{
    uint32_t count;
    OK(umf_page_reclaim(page, 0, &count));
    return count;
}

/* The page has one slot. */
static bool
is_free(void)
{
    struct umf_fence *next;
    int result = ONE_OF(umf_fence_create(page, 7, 0, &next), 0, -ENOSPC);
    if (result == 0) {
        CHECK(umf_fence_value(next) == 7);
        umf_fence_unref(next);
    }
    return result == 0;
}

static void
killed_while_it_creates(int (*create)(void), bool is_lasting)
{
    struct points points;
    unsigned left = 0, kept = 0;
    prepare_child = create_elsewhere;
    OK(umf_page_create(1, 0, &page));
    find_points(&points, create);
    umf_page_unref(page);
    for (unsigned n = 0; n < points.count; n++) {
        OK(umf_page_create(1, 0, &page));
        end_child(start_stopped_at(create, points.at[n]));
        bool was_free = is_free();
        uint32_t reclaimed = reclaim();
        /* Once a lasting fence is complete, it stays. */
        bool is_kept = is_lasting && !is_free();
        CHECK(is_kept || is_free());
        CHECK(reclaimed == !(was_free || is_kept) && reclaim() == 0);
        left += reclaimed;
        kept += is_kept;
        umf_page_unref(page);
    }
    printf("killed while it creates a %sfence: at %u of %u instructions a slot is left, at %u the "
           "fence stays\n",
           is_lasting ? "lasting " : "", left, points.count, kept);
    CHECK(left > 0 && (kept > 0) == is_lasting);
}

/* How a survivor learns of the death. */
enum survivor { RECLAIMS, HAS_TIED, SURVIVORS };

static int
end_of_waiter(pid_t waiter, unsigned n, unsigned count)
{
    int code = 0;
    if (until_ended(waiter, &code) != ENDED) {
        fprintf(stderr, "a waiter sleeps on, at %u of %u instructions\n", n, count);
        exit(1);
    }
    return code;
}

static void
killed_while_it_ends(int (*wait)(void), enum survivor survivor)
{
    struct points points;
    unsigned left = 0;
    prepare_child = create_before;
    OK(umf_page_create(1, 0, &page));
    find_points(&points, end_one);
    umf_page_unref(page);
    for (unsigned n = 0; n < points.count; n++) {
        int code = 0;
        struct told told;
        struct umf_loop *loop = NULL;
        OK(umf_page_create(1, 0, &page));
        prepare_child = create_before;
        pid_t creator = start_stopped(end_one);
        prepare_child = NULL;
        pid_t waiter = start_stopped(wait);
        CHECK(creator > 0 && waiter > 0 && run_on(waiter, &code) == ASLEEP);
        if (survivor == HAS_TIED) {
            struct umf_callback callback = callback_to(&told);
            int pidfd = (int)syscall(SYS_pidfd_open, creator, 0);
            CHECK(pidfd >= 0);
            loop = create_loop(0);
            OK(umf_loop_tie_page(loop, page, pidfd, 0, &callback, NULL));
            close(pidfd);
        }
        if (continue_to(creator, points.at[n]))
            end_child(creator);
        if (survivor == HAS_TIED) {
            until_called(loop, &told, 0);
            code = end_of_waiter(waiter, n, points.count);
            CHECK(code == EOWNERDEAD || code == ESTALE);
            left += reclaim();
            umf_loop_unref(loop);
        } else {
            left += reclaim();
            CHECK(end_of_waiter(waiter, n, points.count) == ESTALE);
        }
        CHECK(is_free() && reclaim() == 0);
        umf_page_unref(page);
    }
    printf("killed while it ends a fence: at %u of %u instructions a slot is left\n", left,
           points.count);
    CHECK(left > 0 && left < points.count);
}

int
main(void)
{
    watchdog(50);
    if (!prepare_to_step())
        return SKIPPED;
    /* Runs each call once, for the dynamic linker. */
    OK(umf_page_create(1, 0, &page));
    OK(umf_page_create(1, 0, &other_page));
    CHECK(create_one() == 0 && end_one() == 0 && reclaim() == 0);
    create_before();
    OK(umf_fence_set_error(fence, -EIO));
    CHECK(wait_one() == EIO && wait_any() == EIO);
    end_one();
    if (!can_be_stopped(create_one))
        return SKIPPED;
    umf_page_unref(page);

    killed_while_it_creates(create_one, false);
    killed_while_it_creates(create_lasting, true);
    for (enum survivor survivor = RECLAIMS; survivor < SURVIVORS; survivor++) {
        killed_while_it_ends(wait_one, survivor);
        killed_while_it_ends(wait_any, survivor);
    }
    umf_page_unref(other_page);
    return 0;
}
