// SPDX-License-Identifier: MIT
/* The heap that a fence's handle, a watch and an entry of a wait set take, counted in bytes. */
#include "watch.h"

#define COUNT 1792 /* as many as a hash table of 2,048 places takes */

/* What each takes, rounded up. malloc's own 8 bytes a block are among them. */
#define HANDLE_MOST 224
#define WATCH_MOST 464
#define ENTRY_MOST 120

static struct umf_fence *fences[COUNT];

static void
nothing(void *data, int result)
{
    (void)data;
    (void)result;
}

/* Ends the test if each took more than `most` bytes since `before`. */
static void
each_takes(const char *what, size_t most, size_t before)
{
    double each = (double)(allocated() - before) / COUNT;
    printf("%s: %.1f bytes\n", what, each);
    fflush(stdout);
    CHECK(each <= (double)most);
}

int
main(void)
{
    const struct umf_callback callback = { .call = nothing };
    struct umf_page *page;
    struct umf_loop *loop;
    struct umf_wait_set *set;
    uint64_t id;
    if (RUNNING_ON_VALGRIND || SANITIZES_THREADS || sizeof(void *) < 8) {
        printf("another allocator, or other sizes\n");
        return SKIPPED;
    }
    OK(umf_page_create(COUNT, 0, &page));
    size_t before = allocated();
    for (int i = 0; i < COUNT; i++)
        OK(umf_fence_create(page, 0, 0, &fences[i]));
    each_takes("a fence's handle", HANDLE_MOST, before);

    OK(umf_loop_create(0, &loop));
    before = allocated();
    for (int i = 0; i < COUNT; i++) {
        struct umf_condition wait = { fences[i], 1, UMF_OP_GE, 0, 0 };
        OK(umf_loop_watch(loop, &wait, 0, &callback, NULL));
    }
    each_takes("a watch", WATCH_MOST, before);
    umf_loop_unref(loop);

    OK(umf_wait_set_create(0, &set));
    before = allocated();
    for (int i = 0; i < COUNT; i++) {
        struct umf_condition wait = { fences[i], 1, UMF_OP_GE, 0, 0 };
        OK(umf_wait_set_add(set, &wait, 0, 0, &id));
    }
    each_takes("an entry of a wait set", ENTRY_MOST, before);
    umf_wait_set_unref(set);
    for (int i = 0; i < COUNT; i++)
        umf_fence_unref(fences[i]);
    umf_page_unref(page);
    return 0;
}
