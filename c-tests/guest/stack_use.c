// SPDX-License-Identifier: MIT
/*
 * Every function that the header marks async-signal-safe takes at most 2 KiB of stack. A signal
 * handler may run on a stack of 8 KiB, of which the kernel takes up to half for the registers.
 *
 * Each function runs in a handler, on a stack full of a pattern. What it changed there is compared
 * with what an empty handler changed. Waits block, and end at their deadline.
 */
#include "marked_safe.h"
#include "notifier.h"
#include "sleeper.h"

#include <sys/eventfd.h>

enum { LIMIT = 2048, STACK = 256 << 10, PATTERN = 0xa5, PAGES = 128, RECORDS = 64 };

static uint8_t *stack;
static struct umf_page *page, *lost_page, *timed_page, *pages[PAGES];
static struct umf_fence *fence, *never, *device, *lost, *ending, *unordered, *timed;
static uint64_t ns;
static void *memory;
static struct umf_notifier *notifier;
static struct umf_condition notified[2];
static struct umf_condition waits[PAGES];
/* More than a wait has room for on the stack. */
enum { WITHOUT_ORDER = 40 };
static struct umf_condition without_order[WITHOUT_ORDER];
static struct umf_loop *loop;
static struct umf_watch *watch;
static struct umf_queue *queue;
static volatile int64_t result;
static uint64_t value;

#define RUN(name, code)                                                                            \
    static void run_##name(void)                                                                   \
    {                                                                                              \
        result = (int64_t)(code);                                                                  \
    }

#define SOON in_ns(2 * MS)

RUN(umf_version, umf_version() == 0)
RUN(umf_set_spin, umf_set_spin(10, 50000, 0))
RUN(umf_page_flags, umf_page_flags(page))
RUN(umf_page_fence_count, umf_page_fence_count(page) - 6)
RUN(umf_page_ref, umf_page_ref(page) != page)
RUN(umf_fence_ref, umf_fence_ref(fence) != fence)
RUN(umf_fence_page, umf_fence_page(fence) != page)
RUN(umf_fence_index, umf_fence_index(fence) >= 6)
RUN(umf_fence_offset, umf_fence_offset(fence) % 64)
RUN(umf_fence_value, umf_fence_value(never))
RUN(umf_fence_signal, umf_fence_signal(fence, ++value))
RUN(umf_fence_timestamp,
    umf_fence_signal(timed, ++value) || umf_fence_timestamp(timed, value, &ns))
RUN(umf_fence_notify, umf_fence_notify(device))
RUN(umf_fence_monitored_offset, umf_fence_monitored_offset(device) % 8)
RUN(umf_fence_submit, umf_fence_submit(fence, ++value))
RUN(umf_fence_update, umf_fence_update(unordered, UMF_UPDATE_ADD, 1, 0, NULL))
RUN(umf_fence_pending_value, umf_fence_pending_value(never))
RUN(umf_fence_set_error, umf_fence_set_error(fence, -EIO))
RUN(umf_notifier_ref, umf_notifier_ref(notifier) != notifier)
RUN(umf_page_notify, umf_page_notify(page))
RUN(umf_page_get_memory, umf_page_get_memory(page, 0, &memory, NULL))
RUN(umf_page_set_error, umf_page_set_error(lost_page, -EIO))
RUN(umf_fence_end, umf_fence_end(ending))
RUN(umf_device_ref, umf_device_ref(NULL) != NULL)
RUN(umf_loop_ref, umf_loop_ref(loop) != loop)
RUN(umf_loop_fd, umf_loop_fd(loop) < 0)
RUN(umf_watch_ref, umf_watch_ref(watch) != watch)
RUN(umf_syncobj_ref, umf_syncobj_ref(NULL) != NULL)
RUN(umf_queue_ref, umf_queue_ref(queue) != queue)
RUN(umf_wait_set_ref, umf_wait_set_ref(NULL) != NULL)
RUN(umf_fence_wait, umf_fence_wait(never, 1, SOON) + ETIME)
RUN(umf_wait, umf_wait(waits, PAGES, UMF_WAIT_ANY, SOON, NULL) + ETIME)

static void
run_umf_fence_error(void)
{
    int error;
    result = umf_fence_error(never, &error);
}

/* The other ways through a wait. */
RUN(device_wait, umf_fence_wait(device, 1, SOON) + ETIME)
RUN(leader_wait, umf_fence_wait(notified[0].fence, 1, SOON) + ETIME)
RUN(leader_any, umf_wait(notified, 2, UMF_WAIT_ANY, SOON, NULL) + ETIME)
RUN(leader_all, umf_wait(notified, 2, 0, SOON, NULL) + ETIME)
RUN(any_of_one, umf_wait(waits, 1, UMF_WAIT_ANY, SOON, NULL) + ETIME)
RUN(any_of_several, umf_wait(waits, 8, UMF_WAIT_ANY, SOON, NULL) + ETIME)
RUN(all_of_one, umf_wait(waits, 1, 0, SOON, NULL) + ETIME)
RUN(all_of_many, umf_wait(waits, PAGES, 0, SOON, NULL) + ETIME)
RUN(unordered_wait, umf_fence_wait(unordered, UINT64_MAX, SOON) + ETIME)
RUN(unordered_any, umf_wait(without_order, WITHOUT_ORDER, UMF_WAIT_ANY, SOON, NULL) + ETIME)
RUN(nothing, 0)

static const struct {
    const char *name;
    void (*run)(void);
} rows[] = {
#define ROW(name) { #name, run_##name },
    SAFE(ROW) ROW(device_wait) ROW(leader_wait) ROW(leader_any) ROW(leader_all)
    ROW(any_of_one) ROW(any_of_several) ROW(all_of_one) ROW(all_of_many)
    ROW(unordered_wait) ROW(unordered_any)
};

static void (*volatile in_handler)(void);

static void
on_signal(int signal)
{
    (void)signal;
    in_handler();
}

/* How many bytes of the signal stack a function and the signal itself took. */
static size_t
bytes_of(void (*run)(void))
{
    size_t free = 0;
    memset(stack, PATTERN, STACK);
    in_handler = run;
    CHECK(raise(SIGUSR1) == 0);
    EXPECT(0, result);
    while (free < STACK && stack[free] == PATTERN)
        free++;
    CHECK(free > 0);
    return STACK - free;
}

static void
call_nothing(void *data, int outcome)
{
    (void)data;
    (void)outcome;
}

int
main(void)
{
    if (RUNNING_ON_VALGRIND) {
        printf("valgrind takes the untouched part of the stack for uninitialized memory\n");
        return SKIPPED;
    }
    stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(stack != MAP_FAILED);
    watchdog(30);
    the_header_marks_these_and_no_others();
    OK(umf_page_create(6, 0, &page));
    OK(umf_fence_create(page, 0, UMF_FENCE_UNORDERED, &unordered));
    for (int i = 0; i < WITHOUT_ORDER; i++)
        without_order[i] = (struct umf_condition){ unordered, UINT64_MAX, UMF_OP_GE, 0, 0 };
    OK(umf_fence_create(page, 0, 0, &fence));
    OK(umf_fence_create(page, 0, 0, &never));
    OK(umf_fence_create(page, 0, UMF_FENCE_DEVICE, &device));
    OK(umf_page_create(1, UMF_PAGE_TIMESTAMPS, &timed_page));
    OK(umf_fence_create(timed_page, 0, 0, &timed));
    OK(umf_page_create(2, 0, &lost_page));
    OK(umf_fence_create(lost_page, 0, 0, &lost));
    OK(umf_fence_create(lost_page, 0, 0, &ending));
    notifier = notifier_of(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    for (int i = 0; i < 2; i++) {
        OK(umf_fence_create(page, 0, UMF_FENCE_DEVICE, &notified[i].fence));
        OK(umf_fence_set_notifier(notified[i].fence, notifier));
        notified[i].value = 1;
    }
    for (int i = 0; i < PAGES; i++) {
        OK(umf_page_create(1, 0, &pages[i]));
        OK(umf_fence_create(pages[i], 0, 0, &waits[i].fence));
        waits[i].value = 1;
    }
    OK(umf_loop_create(0, &loop));
    OK(umf_queue_create(loop, 0, &queue));
    struct umf_callback callback = { .call = call_nothing };
    OK(umf_loop_watch(loop, &waits[0], 0, &callback, &watch));
    /* The table of this page is full: with LIBUMF_DEBUG a wait searches all of it. */
    for (int i = 0; i < RECORDS; i++)
        OK(umf_loop_watch(loop, &waits[0], 0, &callback, NULL));

    struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_ONSTACK };
    stack_t on = { .ss_sp = stack, .ss_size = STACK };
    CHECK(sigaltstack(&on, NULL) == 0 && sigaction(SIGUSR1, &action, NULL) == 0);
    size_t empty = bytes_of(run_nothing), most = 0, highest = 0;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        size_t bytes = bytes_of(rows[i].run);
        bytes = bytes > empty ? bytes - empty : 0;
        if (bytes > LIMIT) {
            fprintf(stderr, "%s takes %zu bytes of stack, not at most %d\n", rows[i].name, bytes,
                    LIMIT);
            return 1;
        }
        if (bytes > most) {
            most = bytes;
            highest = i;
        }
    }
    printf("at most %zu bytes: %s; an empty handler takes %zu\n", most, rows[highest].name, empty);
    return 0;
}
