/*
 * A peer that writes garbage all over the page, as fast as it can, can make every call say
 * something wrong; it cannot make one crash, hang beyond its deadline, return what is not
 * documented, or take back what was seen.
 */
#include "others.h"

#define SLOTS 16

static struct umf_page *page;
static int null;

static uint64_t
random_word(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state ^ (*state >> 29);
}

/* Not only noise: also numbers that mean something in some word, so that more than the first
 * check is got through. */
static void
garble(const struct raw *raw)
{
    const uint64_t numbers[] = {
        0, 1, 2, 3, 6, 10, 14, 31, 4095, 4096, UINT32_MAX, UINT64_MAX, UINT64_MAX - 1,
    };
    const int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    uint64_t state = 1;
    for (;;) {
        uint64_t choice = random_word(&state), number = numbers[(choice >> 8) % 13];
        size_t at = (size_t)((choice >> 16) % raw->length) & ~(size_t)7;
        if (choice % 4 == 0)
            number = random_word(&state);
        if (choice % 8 < 3) /* half of a word */
            memcpy(raw->bytes + at + (choice & 4), &number, 4);
        else
            memcpy(raw->bytes + at, &number, 8);
        if ((choice >> 20) % 1024 == 0)
            CHECK(fallocate(raw->fd, punch, 0, (off_t)raw->length) == 0);
        if ((choice >> 40) % 64 == 0)
            sched_yield();
    }
}

/* A fence that is opened while its width is garbled may be one of 32 bits. */
#define FAILED -EIO, -EOWNERDEAD, -ESTALE, -EINVAL

static void
use(struct umf_fence *fence, uint64_t i)
{
    int error = 1;
    uint32_t index = 2;
    struct umf_wait list[2] = { { fence, i, UMF_OP_GE, 0, 0 },
                                { fence, UINT64_MAX, UMF_OP_GE, 0, 0 } };
    uint64_t seen = umf_fence_value(fence);
    /* One of 32 bits goes round; it holds on to nothing. */
    bool holds = umf_fence_offset(fence) % 64 == 0;
    ONE_OF(umf_fence_signal(fence, i), 0, -EINVAL, FAILED);
    ONE_OF(umf_fence_submit(fence, i), 0, FAILED);
    ONE_OF(umf_fence_notify(fence), 0, -ESTALE);
    ONE_OF(umf_fence_wait(fence, i, 0), 0, -ETIME, FAILED);
    ONE_OF(umf_fence_wait(fence, i + 1, in_ns(5000)), 0, -ETIME, FAILED);
    ONE_OF(umf_wait(list, 2, 0, in_ns(5000), NULL), 0, -ETIME, FAILED);
    ONE_OF(umf_wait(list, 2, UMF_WAIT_PENDING, in_ns(5000), NULL), 0, -ETIME, FAILED);
    if (ONE_OF(umf_wait(list, 2, UMF_WAIT_ANY, in_ns(5000), &index), 0, -ETIME, FAILED) == 0)
        CHECK(index < 2);
    else
        CHECK(index == 2);
    if (ONE_OF(umf_fence_error(fence, &error), 0, -ESTALE) == 0)
        CHECK(error <= 0 && error >= -4095);
    if (i % 16 == 0)
        ONE_OF(umf_fence_set_error(fence, -(int)(i % 4095) - 1), 0, -ESTALE);
    ONE_OF(umf_fence_import_sync_file(fence, i + 1, -1, 0), 0, -EINVAL, FAILED);
    CHECK(!holds || umf_fence_pending_value(fence) >= seen);
    CHECK(!holds || umf_fence_value(fence) >= seen);
    if (i % 8 == 0)
        OK(umf_graph_write(null, i % 16 == 0 ? UMF_GRAPH_DOT : 0, &index));
    if (holds)
        OK(umf_fence_wait(fence, seen, 0));
}

int
main(void)
{
    watchdog(40);
    /* So that the waits leave notes in what is garbled. */
    CHECK(setenv("LIBUMF_DEBUG", "1", 1) == 0);
    null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    CHECK(null >= 0);
    OK(umf_page_create(SLOTS, 0, &page));
    pid_t pid;
    int status;
    struct raw raw = map_raw(page);
    const uint64_t far = UINT64_MAX;
    const struct umf_mapping elsewhere = { .size = sizeof(elsewhere), .value = &far };
    int fds = open_fds(), maps = mappings();
    IN_CHILD(pid, {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        garble(&raw);
    });
    for (uint64_t i = 1; i <= rounds(8000, 500); i++) {
        struct umf_fence *created = NULL, *opened = NULL, *there = NULL;
        struct umf_page *again = NULL;
        if (ONE_OF(umf_fence_create(page, i, 0, &created), 0, -ENOSPC) == 0) {
            use(created, i);
            use(created, i + 40);
        }
        if (ONE_OF(umf_fence_open(page, (uint32_t)(i % (SLOTS + 1)), 0, &opened), 0, -ENOENT, -EOPNOTSUPP) == 0)
            use(opened, i);
        if (ONE_OF(umf_fence_open_in(page, (uint32_t)(i % (SLOTS + 1)), &elsewhere, 0, &there), 0, -ENOENT, -EINVAL) == 0) {
            uint64_t value = umf_fence_value(there);
            CHECK(value == UINT64_MAX || value == UINT32_MAX); /* whatever the page says */
        }
        ONE_OF(umf_page_import(raw.fd, 0, &again), 0, -EINVAL);
        CHECK(umf_page_fence_count(page) == SLOTS);
        CHECK(!again || again == page);
        umf_fence_unref(created);
        umf_fence_unref(opened);
        umf_fence_unref(there);
        umf_page_unref(again);
    }
    CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
    CHECK(open_fds() == fds && mappings() == maps);
    unmap_raw(&raw);
    umf_page_unref(page);
    close(null);
    return 0;
}
