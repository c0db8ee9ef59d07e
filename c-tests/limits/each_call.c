// SPDX-License-Identifier: MIT
/*
 * Each function of the library, with each of its allocations and each of its descriptors failing in
 * turn: it returns -ENOMEM or -EMFILE and changes nothing, and then the same call succeeds.
 * Functions that need no memory work without any. Given the path of libumf.map, the test checks
 * that it calls every function. What needs a device runs where there is one (kernel/run).
 */
#include "drm_machine.h"
#include "notifier.h"
#include "process.h"
#include "sleeper.h"
#include "syncobj.h"
#include "vgem.h"
#include "watch.h"

#include "fail_alloc.h"

#include <malloc.h>
#include <sys/resource.h>

/* Arguments of the calls: fences at 0 that nobody signals, and one that advances. */
static struct machine m;
static struct umf_page *page, *page_of_others;
static const struct umf_page_limits some_limits = { .size = sizeof(some_limits), .max_fences = 9 };
static struct umf_fence *fence, *target, *going, *failed, *device_fence;
static struct umf_notifier *notifier;
static struct umf_loop *loop, *dispatched;
static struct umf_queue *queue;
static struct umf_syncobj *syncobj;
static struct told told;
static uint64_t tie_flags;
static char name[UMF_NAME_SIZE];
static struct umf_fence_info info = { .size = sizeof(info) };
static int fd_of_others, xshmfence, event, null, pidfd, ends[2], buffer = -1, signaled = -1,
                                                      many_signaled = -1, pending = -1;
static char trace_path[] = "/tmp/umf-each-XXXXXX";
static uint32_t handle, pending_fence, index_of_others, index_in_memory;
static uint64_t next = 1, point = 1;

/* Outputs, and what one call has at hand. */
static struct outputs {
    struct umf_page *page;
    struct umf_fence *fence;
    struct umf_notifier *notifier;
    struct umf_device *device;
    struct umf_loop *loop;
    struct umf_watch *watch;
    struct umf_syncobj *syncobj;
    struct umf_queue *queue;
    struct umf_wait_set *set;
    void *memory;
    int fd, error;
    uint32_t index;
    uint64_t time;
    uint64_t id;
} out, untouched;
static struct umf_page *a_page;
static struct umf_fence *a_fence;
static struct umf_notifier *a_notifier;
static struct umf_device *a_device;
static struct umf_loop *a_loop;
static struct umf_watch *a_watch;
static struct umf_syncobj *a_syncobj;
static struct umf_queue *a_queue;
static struct umf_wait_set *a_set;
static uint64_t an_entry;
static struct umf_wait_set_result a_result;

enum memory { NO_MEMORY, SOME_MEMORY };
enum place { ANYWHERE, WITH_DEVICE, WITH_SYNCOBJ };

static struct each {
    const char *name;
    enum memory memory;
    enum place place;
    void (*prepare)(void);
    int (*call)(void);
    void (*undo)(void);
    long allocations, descriptors;
} each[200];
static size_t count;

/* One function in one way of calling it. A number tells several ways apart. */
#define EACH(number, memory, place, name, prepare, answer, undo)                                   \
    static void prepare_##name##number(void) { prepare; }                                          \
    static int call_##name##number(void) { return answer; }                                        \
    static void undo_##name##number(void) { undo; }                                                \
    __attribute__((constructor)) static void add_##name##number(void)                              \
    {                                                                                              \
        CHECK(count < ARRAY_SIZE(each));                                                           \
        each[count++] = (struct each){ #name, memory, place, prepare_##name##number,               \
                                       call_##name##number, undo_##name##number, 0, 0 };           \
    }

static void
no_preparation(void)
{
}

#define NONE no_preparation()

static struct umf_fence *
a_new_fence(uint64_t flags)
{
    struct umf_fence *new_one;
    OK(umf_fence_create(page, 0, flags, &new_one));
    return new_one;
}

static void
a_page_with_a_fence(uint64_t flags)
{
    OK(umf_page_create(1, flags, &a_page));
    OK(umf_fence_create(a_page, 0, 0, &a_fence));
}

static void
nothing(void *data, int result)
{
    (void)data;
    (void)result;
}

static void
count_release(void *data)
{
    (void)data;
    atomic_fetch_add(&told.releases, 1);
}

static const struct umf_callback callback = { nothing, count_release, NULL };

static void
nothing_logged(void *data, const char *message)
{
    (void)data;
    (void)message;
}

static const struct umf_log_handler log_handler = { .call = nothing_logged };

static struct umf_condition
until(struct umf_fence *of, uint64_t value)
{
    return (struct umf_condition){ of, value, UMF_OP_GE, 0, 0 };
}

static int
interrupt(void *data, uint64_t abs_timeout_ns)
{
    (void)data;
    (void)abs_timeout_ns;
    return 0;
}

static int
run(void *data)
{
    (void)data;
    return UMF_JOB_DONE;
}

static void
release(void *data, int result)
{
    (void)result;
    count_release(data);
}

static int
submit(struct umf_queue *to, struct umf_fence *waited_for, uint64_t value)
{
    struct umf_condition wait = until(waited_for, value);
    struct umf_signal signal = { target, umf_fence_pending_value(target) + 1 };
    struct umf_job job = { .size = sizeof(job),
                           .wait_count = 1,
                           .waits = &wait,
                           .signal_count = waited_for == fence,
                           .signals = &signal,
                           .run = run,
                           .release = release };
    return umf_queue_submit(to, &job, 0);
}

static void
cancel(void)
{
    OK(umf_watch_cancel(out.watch));
    umf_watch_unref(out.watch);
}

/* For work that the loop does at once by itself. */
static int released_before;

/* Where a device would write. */
static const uint64_t in_memory;
static const struct umf_mapping memory = { .size = sizeof(memory),
                                           .value = &in_memory,
                                           .release = count_release };

static void
end_fence_in_memory(void)
{
    CHECK(told.releases == released_before);
    umf_fence_unref(out.fence);
    CHECK(told.releases == released_before + 1);
}

/* A loop's thread unmaps the word of a canceled watch. */
static int mapped_before;

static void
count_mappings(void)
{
    mapped_before = mappings();
}

static void
until_unmapped(void)
{
    while (mappings() > mapped_before)
        sched_yield();
}

static void
until_released(void)
{
    while (atomic_load(&told.releases) == released_before)
        sched_yield();
}

static void
finish(void)
{
    until_released();
    umf_watch_unref(out.watch);
}

static void
a_queue_with_a_job(void)
{
    OK(umf_queue_create(loop, 0, &a_queue));
    OK(submit(a_queue, fence, 1));
}

/* The job's signal has failed. */
static void
end_job(void)
{
    umf_fence_unref(target);
    target = a_new_fence(0);
}

static void
end_queue(void)
{
    umf_queue_unref(a_queue);
    end_job();
}

static void
something_to_dispatch(void)
{
    struct umf_condition wait = until(fence, 0);
    OK(umf_loop_watch(dispatched, &wait, 0, &callback, NULL));
    CHECK(poll(&(struct pollfd){ umf_loop_fd(dispatched), POLLIN, 0 }, 1, -1) == 1);
}

static void
a_loop_with_a_watch(void)
{
    struct umf_condition wait = until(fence, 1);
    a_loop = create_loop(UMF_LOOP_THREAD);
    OK(umf_loop_watch(a_loop, &wait, 0, &callback, NULL));
}

static void
a_fence_with_a_kernel_fence(void)
{
    a_fence = a_new_fence(0);
    OK(umf_fence_attach_sync_file(a_fence, 1, pending, 0));
    point++;
}

static void
a_watch_of_a_fence(void)
{
    struct umf_condition wait = until(fence, 1);
    OK(umf_loop_watch(loop, &wait, 0, &callback, &a_watch));
}

static void
end_watch(void)
{
    OK(umf_watch_cancel(a_watch));
    umf_watch_unref(a_watch);
}

/* Points that are given up wait for that of the export, in a list that is full. */
static void
a_syncobj_with_an_export(void)
{
    OK(umf_syncobj_create(m.device, 0, &a_syncobj));
    OK(umf_loop_export_syncobj(loop, fence, 1, a_syncobj, 1, 0, &callback, &a_watch));
    for (uint64_t given_up = 2; given_up <= 4; given_up++)
        OK(umf_syncobj_signal(a_syncobj, given_up, 0));
}

static void
end_syncobj(void)
{
    end_watch();
    umf_syncobj_unref(a_syncobj);
}

static int
query_caps(void)
{
    struct umf_caps caps = { .size = sizeof(caps) };
    return umf_query_caps(&caps);
}

static int
query_device_caps(void)
{
    struct umf_device_caps caps = { .size = sizeof(caps) };
    return umf_device_query_caps(m.device, &caps);
}

static int
create_notifier(int fd)
{
    struct umf_interrupt source = { .size = sizeof(source),
                                    .fd = fd,
                                    .wait = fd < 0 ? interrupt : NULL };
    return umf_notifier_create(&source, 0, &out.notifier);
}

/* The library promises that up to 128 entries need no memory, and that more work without any. */
static int
wait_for(uint32_t entries)
{
    struct umf_condition waits[200];
    for (uint32_t i = 0; i < entries; i++)
        waits[i] = until(fence, 1);
    int answer = umf_wait(waits, entries, UMF_WAIT_ANY, in_ns(100000), &out.index);
    if (answer != -ETIME)
        return answer;
    waits[entries - 1].value = 0;
    return umf_wait(waits, entries, UMF_WAIT_ANY, FOREVER, &out.index);
}

static void
nothing_of_many(void *data, int result, uint32_t index)
{
    (void)index;
    nothing(data, result);
}

static int
watch_many(uint64_t value, uint64_t flags)
{
    struct umf_condition waits[3] = { until(fence, 1), until(target, 1), until(fence, value) };
    struct umf_many_callback many = { nothing_of_many, count_release, NULL };
    return umf_loop_watch_many(loop, waits, 3, flags, &many, &out.watch);
}

static void
a_new_set(void)
{
    OK(umf_wait_set_create(0, &a_set));
}

static void
a_set_with_an_entry(void)
{
    struct umf_condition wait = until(going, 0);
    a_new_set();
    OK(umf_wait_set_add(a_set, &wait, 0, 0, &an_entry));
}

static void
a_set_of_the_future(void)
{
    struct umf_condition never = until(fence, 1);
    a_new_set();
    OK(umf_wait_set_add(a_set, &never, 0, 0, &an_entry));
}

/* A wait that sleeps makes a list of the set's pages first. */
static int
wait_for_the_set(void)
{
    int answer = umf_wait_set_wait(a_set, &a_result, 1, in_ns(1000), &out.index);
    return answer == -ETIME ? 0 : answer;
}

#define WATCH(of, value, callback_of)                                                              \
    (&(struct umf_condition){ of, value, UMF_OP_GE, 0, 0 }), 0, callback_of

EACH(, NO_MEMORY, ANYWHERE, umf_version, NONE, umf_version() == 0, NONE)
EACH(, NO_MEMORY, ANYWHERE, umf_query_caps, NONE, query_caps(), NONE)
EACH(, NO_MEMORY, ANYWHERE, umf_set_spin, NONE, umf_set_spin(10, 50000, 0), NONE)

EACH(, SOME_MEMORY, ANYWHERE, umf_page_create, NONE, umf_page_create(2, 0, &out.page),
     umf_page_unref(out.page))
EACH(2, SOME_MEMORY, ANYWHERE, umf_page_create, NONE,
     umf_page_create(2, UMF_PAGE_SINGLE_WRITER, &out.page), umf_page_unref(out.page))
EACH(3, SOME_MEMORY, ANYWHERE, umf_page_create, NONE,
     umf_page_create(2, UMF_PAGE_TIMESTAMPS, &out.page), umf_page_unref(out.page))
EACH(, SOME_MEMORY, ANYWHERE, umf_page_import, umf_page_unref(page_of_others),
     umf_page_import(fd_of_others, 0, &page_of_others), NONE)
EACH(2, SOME_MEMORY, ANYWHERE, umf_page_import, NONE,
     umf_page_import(fd_of_others, UMF_PAGE_READ_ONLY, &out.page), umf_page_unref(out.page))
EACH(, SOME_MEMORY, ANYWHERE, umf_page_import_limited, umf_page_unref(page_of_others),
     umf_page_import_limited(fd_of_others, 0, &some_limits, &page_of_others), NONE)
EACH(, NO_MEMORY, ANYWHERE, umf_page_export, NONE, umf_page_export(page, 0, &out.fd), close(out.fd))
EACH(, NO_MEMORY, WITH_SYNCOBJ, umf_page_export_dma_buf, NONE,
     umf_page_export_dma_buf(page, 0, &out.fd), close(out.fd))
EACH(, NO_MEMORY, ANYWHERE, umf_page_get_memory, NONE,
     umf_page_get_memory(page, UMF_PAGE_MEMORY_WRITE, &out.memory, NULL), NONE)
EACH(, NO_MEMORY, ANYWHERE, umf_page_set_error, a_page_with_a_fence(0),
     umf_page_set_error(a_page, -EIO), (umf_fence_unref(a_fence), umf_page_unref(a_page)))
EACH(, SOME_MEMORY, ANYWHERE, umf_page_reclaim, NONE, umf_page_reclaim(page, 0, &out.index),
     CHECK(out.index == 0))
EACH(, NO_MEMORY, ANYWHERE, umf_page_flags, NONE, umf_page_flags(page) != 0, NONE)
EACH(, NO_MEMORY, ANYWHERE, umf_page_fence_count, NONE, umf_page_fence_count(page) == 0, NONE)
EACH(, NO_MEMORY, ANYWHERE, umf_page_ref, NONE, umf_page_ref(page) != page, umf_page_unref(page))
EACH(, NO_MEMORY, ANYWHERE, umf_page_unref, OK(umf_page_create(1, 0, &a_page)),
     (umf_page_unref(a_page), 0), NONE)

EACH(, SOME_MEMORY, ANYWHERE, umf_fence_create, NONE, umf_fence_create(page, 0, 0, &out.fence),
     umf_fence_unref(out.fence))
EACH(, SOME_MEMORY, ANYWHERE, umf_fence_open, NONE,
     umf_fence_open(page_of_others, index_of_others, 0, &out.fence), umf_fence_unref(out.fence))
EACH(, SOME_MEMORY, ANYWHERE, umf_fence_create_in, NONE,
     umf_fence_create_in(page, &memory, 0, &out.fence), end_fence_in_memory())
EACH(, SOME_MEMORY, ANYWHERE, umf_fence_open_in, NONE,
     umf_fence_open_in(page_of_others, index_in_memory, &memory, 0, &out.fence),
     end_fence_in_memory())
EACH(, NO_MEMORY, ANYWHERE, umf_fence_end, a_fence = a_new_fence(0), umf_fence_end(a_fence),
     umf_fence_unref(a_fence))
EACH(, NO_MEMORY, ANYWHERE, umf_fence_ref, NONE, umf_fence_ref(fence) != fence,
     umf_fence_unref(fence))
EACH(, NO_MEMORY, ANYWHERE, umf_fence_unref, a_fence = a_new_fence(0),
     (umf_fence_unref(a_fence), 0), NONE)
EACH(, NO_MEMORY, ANYWHERE, umf_fence_index, NONE, umf_fence_index(fence) == UINT32_MAX, NONE)
EACH(, NO_MEMORY, ANYWHERE, umf_fence_page, NONE, umf_fence_page(fence) != page, NONE)
EACH(, NO_MEMORY, ANYWHERE, umf_fence_offset, NONE, umf_fence_offset(fence) == UINT64_MAX, NONE)
EACH(, NO_MEMORY, ANYWHERE, umf_fence_value, NONE, umf_fence_value(fence) != 0, NONE)
EACH(, NO_MEMORY, ANYWHERE, umf_fence_signal, next++, umf_fence_signal(going, next), NONE)
EACH(2, NO_MEMORY, ANYWHERE, umf_fence_signal, a_page_with_a_fence(UMF_PAGE_TIMESTAMPS),
     umf_fence_signal(a_fence, 1), (umf_fence_unref(a_fence), umf_page_unref(a_page)))
EACH(, NO_MEMORY, ANYWHERE, umf_fence_notify, NONE, umf_fence_notify(device_fence), NONE)
EACH(, NO_MEMORY, ANYWHERE, umf_fence_monitored_offset, NONE,
     umf_fence_monitored_offset(fence) == UINT64_MAX, NONE)
EACH(, SOME_MEMORY, ANYWHERE, umf_notifier_create, NONE, create_notifier(event),
     umf_notifier_unref(out.notifier))
EACH(2, SOME_MEMORY, ANYWHERE, umf_notifier_create, NONE, create_notifier(-1),
     umf_notifier_unref(out.notifier))
EACH(, NO_MEMORY, ANYWHERE, umf_notifier_ref, NONE, umf_notifier_ref(notifier) != notifier,
     umf_notifier_unref(notifier))
EACH(, NO_MEMORY, ANYWHERE, umf_notifier_unref, a_notifier = notifier_of(event),
     (umf_notifier_unref(a_notifier), 0), NONE)
EACH(, SOME_MEMORY, ANYWHERE, umf_fence_set_notifier, a_fence = a_new_fence(UMF_FENCE_DEVICE),
     umf_fence_set_notifier(a_fence, notifier), umf_fence_unref(a_fence))
EACH(, SOME_MEMORY, ANYWHERE, umf_page_set_notifier, NONE, umf_page_set_notifier(page, notifier),
     NONE)
EACH(, NO_MEMORY, ANYWHERE, umf_page_notify, NONE, umf_page_notify(page), NONE)
EACH(, NO_MEMORY, ANYWHERE, umf_fence_submit, next++, umf_fence_submit(going, next), NONE)
EACH(, NO_MEMORY, ANYWHERE, umf_fence_update, a_fence = a_new_fence(UMF_FENCE_UNORDERED),
     umf_fence_update(a_fence, UMF_UPDATE_SUBTRACT, 1, 0, NULL), umf_fence_unref(a_fence))
EACH(, NO_MEMORY, ANYWHERE, umf_fence_pending_value, NONE, umf_fence_pending_value(fence) != 0,
     NONE)
EACH(, NO_MEMORY, ANYWHERE, umf_fence_timestamp,
     (a_page_with_a_fence(UMF_PAGE_TIMESTAMPS), umf_fence_signal(a_fence, 1)),
     umf_fence_timestamp(a_fence, 1, &out.time),
     (umf_fence_unref(a_fence), umf_page_unref(a_page)))
EACH(, NO_MEMORY, ANYWHERE, umf_fence_set_error, NONE, umf_fence_set_error(failed, -EIO), NONE)
EACH(, NO_MEMORY, ANYWHERE, umf_fence_error, NONE, umf_fence_error(fence, &out.error), NONE)
EACH(, NO_MEMORY, ANYWHERE, umf_fence_wait, NONE,
     umf_fence_wait(fence, 1, in_ns(100000)) == -ETIME ? 0 : 1, NONE)
EACH(, NO_MEMORY, ANYWHERE, umf_wait, NONE, wait_for(128), NONE)

EACH(, SOME_MEMORY, WITH_DEVICE, umf_device_create, NONE, umf_device_create(m.gpu, 0, &out.device),
     umf_device_unref(out.device))
EACH(, NO_MEMORY, WITH_DEVICE, umf_device_query_caps, NONE, query_device_caps(), NONE)
EACH(, NO_MEMORY, WITH_DEVICE, umf_device_ref, NONE, umf_device_ref(m.device) != m.device,
     umf_device_unref(m.device))
EACH(, NO_MEMORY, WITH_DEVICE, umf_device_unref, OK(umf_device_create(m.gpu, 0, &a_device)),
     (umf_device_unref(a_device), 0), NONE)

EACH(, NO_MEMORY, WITH_SYNCOBJ, umf_fence_export_sync_file, NONE,
     umf_fence_export_sync_file(going, umf_fence_value(going), m.device, 0, 0, &out.fd),
     close(out.fd))
EACH(2, NO_MEMORY, WITH_SYNCOBJ, umf_fence_export_sync_file, NONE,
     umf_fence_export_sync_file(going, umf_fence_value(going), NULL, 0, 0, &out.fd), close(out.fd))
EACH(, NO_MEMORY, ANYWHERE, umf_fence_import_sync_file, next++,
     umf_fence_import_sync_file(going, next, -1, 0, 0), NONE)
EACH(2, NO_MEMORY, WITH_SYNCOBJ, umf_fence_import_sync_file, next++,
     umf_fence_import_sync_file(going, next, signaled, 0, FOREVER), NONE)
EACH(3, SOME_MEMORY, WITH_SYNCOBJ, umf_fence_import_sync_file, next++,
     umf_fence_import_sync_file(going, next, many_signaled, 0, FOREVER), NONE)
EACH(, NO_MEMORY, WITH_SYNCOBJ, umf_fence_export_syncobj, point++,
     umf_fence_export_syncobj(going, umf_fence_value(going), m.device, handle, point, 0, 0), NONE)
EACH(, NO_MEMORY, WITH_SYNCOBJ, umf_fence_import_syncobj, next++,
     umf_fence_import_syncobj(going, next, m.device, handle, 1, 0, FOREVER), NONE)
EACH(, NO_MEMORY, WITH_SYNCOBJ, umf_fence_export_dma_buf, NONE,
     umf_fence_export_dma_buf(going, umf_fence_value(going), m.device, buffer, UMF_DMA_BUF_WRITE,
                              0),
     NONE)
EACH(, NO_MEMORY, WITH_SYNCOBJ, umf_fence_import_dma_buf, next++,
     umf_fence_import_dma_buf(going, next, buffer, UMF_DMA_BUF_READ, FOREVER), NONE)

EACH(, SOME_MEMORY, WITH_SYNCOBJ, umf_fence_attach_sync_file, a_fence = a_new_fence(0),
     umf_fence_attach_sync_file(a_fence, 1, pending, 0), umf_fence_unref(a_fence))
EACH(, SOME_MEMORY, WITH_SYNCOBJ, umf_fence_attach_syncobj, a_fence = a_new_fence(0),
     umf_fence_attach_syncobj(a_fence, 1, m.device, handle, 1, 0), umf_fence_unref(a_fence))
EACH(, NO_MEMORY, ANYWHERE, umf_fence_set_deadline, NONE,
     umf_fence_set_deadline(going, umf_fence_value(going), 1, 0), NONE)
EACH(3, NO_MEMORY, WITH_SYNCOBJ, umf_fence_export_sync_file, a_fence_with_a_kernel_fence(),
     umf_fence_export_sync_file(a_fence, 1, NULL, 0, FOREVER, &out.fd),
     (close(out.fd), umf_fence_unref(a_fence)))
EACH(2, NO_MEMORY, WITH_SYNCOBJ, umf_fence_export_syncobj, a_fence_with_a_kernel_fence(),
     umf_fence_export_syncobj(a_fence, 1, m.device, handle, point, 0, FOREVER),
     umf_fence_unref(a_fence))
EACH(2, NO_MEMORY, WITH_SYNCOBJ, umf_fence_export_dma_buf, a_fence_with_a_kernel_fence(),
     umf_fence_export_dma_buf(a_fence, 1, NULL, buffer, UMF_DMA_BUF_READ, FOREVER),
     umf_fence_unref(a_fence))

EACH(, SOME_MEMORY, ANYWHERE, umf_wait_set_create, NONE, umf_wait_set_create(0, &out.set),
     umf_wait_set_unref(out.set))
EACH(, NO_MEMORY, ANYWHERE, umf_wait_set_ref, a_new_set(), umf_wait_set_ref(a_set) != a_set,
     (umf_wait_set_unref(a_set), umf_wait_set_unref(a_set)))
EACH(, NO_MEMORY, ANYWHERE, umf_wait_set_unref, a_set_with_an_entry(),
     (umf_wait_set_unref(a_set), 0), NONE)
EACH(, SOME_MEMORY, ANYWHERE, umf_wait_set_add, a_new_set(),
     umf_wait_set_add(a_set, &(struct umf_condition){ fence, 1, UMF_OP_GE, 0, 0 }, 0, 0, &out.id),
     umf_wait_set_unref(a_set))
EACH(, NO_MEMORY, ANYWHERE, umf_wait_set_modify, a_set_with_an_entry(),
     umf_wait_set_modify(a_set, an_entry, &(struct umf_condition){ going, 0, UMF_OP_GE, 0, 0 }, 0),
     umf_wait_set_unref(a_set))
EACH(, NO_MEMORY, ANYWHERE, umf_wait_set_remove, a_set_with_an_entry(),
     umf_wait_set_remove(a_set, an_entry), umf_wait_set_unref(a_set))
EACH(, NO_MEMORY, ANYWHERE, umf_wait_set_wait, a_set_with_an_entry(),
     umf_wait_set_wait(a_set, &a_result, 1, FOREVER, &out.index), umf_wait_set_unref(a_set))
EACH(2, SOME_MEMORY, ANYWHERE, umf_wait_set_wait, a_set_of_the_future(), wait_for_the_set(),
     umf_wait_set_unref(a_set))

EACH(, SOME_MEMORY, ANYWHERE, umf_loop_create, NONE, umf_loop_create(0, &out.loop),
     umf_loop_unref(out.loop))
EACH(2, SOME_MEMORY, ANYWHERE, umf_loop_create, NONE, umf_loop_create(UMF_LOOP_THREAD, &out.loop),
     umf_loop_unref(out.loop))
EACH(, NO_MEMORY, ANYWHERE, umf_loop_ref, NONE, umf_loop_ref(loop) != loop, umf_loop_unref(loop))
EACH(, NO_MEMORY, ANYWHERE, umf_loop_unref, a_loop_with_a_watch(), (umf_loop_unref(a_loop), 0),
     NONE)
EACH(, NO_MEMORY, ANYWHERE, umf_loop_fd, NONE, umf_loop_fd(dispatched) < 0, NONE)
EACH(, NO_MEMORY, ANYWHERE, umf_loop_dispatch, something_to_dispatch(),
     umf_loop_dispatch(dispatched, 0), NONE)
EACH(, SOME_MEMORY, ANYWHERE, umf_loop_watch, NONE,
     umf_loop_watch(loop, WATCH(fence, 1, &callback), &out.watch), cancel())
EACH(2, SOME_MEMORY, ANYWHERE, umf_loop_watch, NONE,
     umf_loop_watch(loop, WATCH(fence, 0, &callback), &out.watch), finish())
EACH(, SOME_MEMORY, ANYWHERE, umf_loop_watch_many, NONE,
     watch_many(1, UMF_WAIT_ANY), cancel())
EACH(2, SOME_MEMORY, ANYWHERE, umf_loop_watch_many, NONE, watch_many(0, UMF_WAIT_ANY), finish())
EACH(3, SOME_MEMORY, ANYWHERE, umf_loop_watch_many, NONE, watch_many(1, 0), cancel())
EACH(, SOME_MEMORY, ANYWHERE, umf_loop_export_eventfd, NONE,
     umf_loop_export_eventfd(loop, &(struct umf_condition){ fence, 1, UMF_OP_GE, 0, 0 }, 0, event,
                             &callback, &out.watch),
     cancel())
EACH(, SOME_MEMORY, ANYWHERE, umf_loop_export_fence, NONE,
     umf_loop_export_fence(loop, fence, 1, target, 1000, 0, &callback, &out.watch), cancel())
EACH(, SOME_MEMORY, ANYWHERE, umf_loop_tie_fence, NONE,
     umf_loop_tie_fence(loop, fence, pidfd, 0, &callback, &out.watch), cancel())
EACH(, SOME_MEMORY, ANYWHERE, umf_loop_tie_page, NONE,
     umf_loop_tie_page(loop, page, ends[0], 0, &callback, &out.watch), cancel())
EACH(2, SOME_MEMORY, ANYWHERE, umf_loop_tie_page, NONE,
     umf_loop_tie_page(loop, page, ends[0], tie_flags, &callback, &out.watch), cancel())
EACH(, NO_MEMORY, ANYWHERE, umf_watch_ref, a_watch_of_a_fence(), umf_watch_ref(a_watch) != a_watch,
     (umf_watch_unref(a_watch), end_watch()))
EACH(, NO_MEMORY, ANYWHERE, umf_watch_unref, a_watch_of_a_fence(),
     (umf_watch_unref(umf_watch_ref(a_watch)), 0), end_watch())
EACH(, NO_MEMORY, ANYWHERE, umf_watch_cancel, a_watch_of_a_fence(), umf_watch_cancel(a_watch),
     end_watch())
EACH(, NO_MEMORY, ANYWHERE, umf_watch_result, a_watch_of_a_fence(),
     umf_watch_result(a_watch) == -ETIME ? 0 : 1, end_watch())

EACH(, SOME_MEMORY, WITH_SYNCOBJ, umf_syncobj_create, NONE,
     umf_syncobj_create(m.device, 0, &out.syncobj), umf_syncobj_unref(out.syncobj))
EACH(, SOME_MEMORY, WITH_SYNCOBJ, umf_syncobj_open, NONE,
     umf_syncobj_open(m.device, handle, 0, &out.syncobj), umf_syncobj_unref(out.syncobj))
EACH(, NO_MEMORY, WITH_SYNCOBJ, umf_syncobj_ref, NONE, umf_syncobj_ref(syncobj) != syncobj,
     umf_syncobj_unref(syncobj))
EACH(, NO_MEMORY, WITH_SYNCOBJ, umf_syncobj_unref,
     OK(umf_syncobj_open(m.device, handle, 0, &a_syncobj)), (umf_syncobj_unref(a_syncobj), 0), NONE)
EACH(, NO_MEMORY, WITH_SYNCOBJ, umf_syncobj_export, NONE,
     umf_syncobj_export(syncobj, 0, &out.fd), close(out.fd))
EACH(, NO_MEMORY, WITH_SYNCOBJ, umf_syncobj_signal, point++,
     umf_syncobj_signal(syncobj, point, 0), NONE)
EACH(2, SOME_MEMORY, WITH_SYNCOBJ, umf_syncobj_signal, a_syncobj_with_an_export(),
     umf_syncobj_signal(a_syncobj, 5, 0), end_syncobj())
EACH(, SOME_MEMORY, WITH_SYNCOBJ, umf_loop_export_syncobj, NONE,
     umf_loop_export_syncobj(loop, fence, 1, syncobj, point + 1, 0, &callback, &out.watch),
     cancel())
EACH(2, SOME_MEMORY, WITH_SYNCOBJ, umf_loop_export_syncobj, a_fence_with_a_kernel_fence(),
     umf_loop_export_syncobj(loop, a_fence, 1, syncobj, point, 0, &callback, &out.watch),
     (finish(), umf_fence_unref(a_fence)))
EACH(, SOME_MEMORY, ANYWHERE, umf_loop_import_sync_file, NONE,
     umf_loop_import_sync_file(loop, going, next, -1, 0, &callback, &out.watch), finish())
EACH(2, SOME_MEMORY, WITH_SYNCOBJ, umf_loop_import_sync_file, NONE,
     umf_loop_import_sync_file(loop, fence, 1, pending, 0, &callback, &out.watch), cancel())
EACH(3, SOME_MEMORY, WITH_SYNCOBJ, umf_loop_import_sync_file, NONE,
     umf_loop_import_sync_file(loop, going, next, signaled, 0, &callback, &out.watch), finish())
EACH(4, SOME_MEMORY, WITH_SYNCOBJ, umf_loop_import_sync_file, NONE,
     umf_loop_import_sync_file(loop, going, next, many_signaled, 0, &callback, &out.watch),
     finish())
EACH(, SOME_MEMORY, WITH_SYNCOBJ, umf_loop_import_syncobj, NONE,
     umf_loop_import_syncobj(loop, fence, 1, syncobj, point + 100, 0, &callback, &out.watch),
     cancel())
EACH(2, SOME_MEMORY, WITH_SYNCOBJ, umf_loop_import_syncobj, NONE,
     umf_loop_import_syncobj(loop, going, next, syncobj, 1, 0, &callback, &out.watch), finish())
EACH(, SOME_MEMORY, WITH_SYNCOBJ, umf_loop_import_dma_buf, NONE,
     umf_loop_import_dma_buf(loop, going, next, buffer, UMF_DMA_BUF_WRITE, &callback, &out.watch),
     finish())

EACH(, SOME_MEMORY, ANYWHERE, umf_loop_import_xshmfence, count_mappings(),
     umf_loop_import_xshmfence(loop, fence, 1, xshmfence, 0, &callback, &out.watch),
     (cancel(), until_unmapped()))
EACH(, SOME_MEMORY, ANYWHERE, umf_loop_export_xshmfence, NONE,
     umf_loop_export_xshmfence(loop, fence, 1, xshmfence, 0, &callback, &out.watch), cancel())

EACH(, SOME_MEMORY, ANYWHERE, umf_queue_create, NONE, umf_queue_create(loop, 0, &out.queue),
     umf_queue_unref(out.queue))
EACH(, NO_MEMORY, ANYWHERE, umf_queue_ref, NONE, umf_queue_ref(queue) != queue,
     umf_queue_unref(queue))
EACH(, NO_MEMORY, ANYWHERE, umf_queue_unref, a_queue_with_a_job(), (umf_queue_unref(a_queue), 0),
     end_job())
EACH(, SOME_MEMORY, ANYWHERE, umf_queue_submit, OK(umf_queue_create(loop, 0, &a_queue)),
     submit(a_queue, fence, 1), end_queue())
EACH(, NO_MEMORY, ANYWHERE, umf_queue_drain, OK(submit(queue, going, 0)),
     umf_queue_drain(queue, FOREVER), until_released())
EACH(, NO_MEMORY, ANYWHERE, umf_queue_cancel, a_queue_with_a_job(), umf_queue_cancel(a_queue),
     end_queue())
EACH(, NO_MEMORY, ANYWHERE, umf_queue_fail, a_queue_with_a_job(), umf_queue_fail(a_queue, -ENODEV),
     end_queue())
EACH(, SOME_MEMORY, ANYWHERE, umf_graph_write, NONE, umf_graph_write(null, 0, NULL), NONE)
EACH(2, SOME_MEMORY, ANYWHERE, umf_graph_write, NONE, umf_graph_write(null, UMF_GRAPH_JSON, NULL),
     NONE)
EACH(, NO_MEMORY, ANYWHERE, umf_page_query_fence, NONE,
     umf_page_query_fence(page, umf_fence_index(fence), 0, &info), NONE)

EACH(, SOME_MEMORY, ANYWHERE, umf_set_log_handler, NONE, umf_set_log_handler(&log_handler, 0),
     OK(umf_set_log_handler(NULL, 0)))
EACH(2, NO_MEMORY, ANYWHERE, umf_set_log_handler, OK(umf_set_log_handler(&log_handler, 0)),
     umf_set_log_handler(NULL, 0), NONE)
EACH(, NO_MEMORY, ANYWHERE, umf_page_record_waits, NONE, umf_page_record_waits(page, 1, 0),
     OK(umf_page_record_waits(page, 0, 0)))
EACH(, SOME_MEMORY, ANYWHERE, umf_trace_start, umf_trace_stop(), umf_trace_start(trace_path, 0),
     umf_trace_stop())
EACH(, NO_MEMORY, ANYWHERE, umf_trace_stop, NONE, (umf_trace_stop(), 0), NONE)
EACH(, NO_MEMORY, ANYWHERE, umf_page_set_name, NONE, umf_page_set_name(page, "a page"), NONE)
EACH(, NO_MEMORY, ANYWHERE, umf_fence_set_name, NONE, umf_fence_set_name(fence, "a fence"), NONE)
EACH(, NO_MEMORY, ANYWHERE, umf_page_query_name, NONE,
     umf_page_query_name(page, umf_fence_index(fence), 0, name), NONE)

/* State that a failed call must not change. */
struct state {
    struct outputs out;
    struct leftovers leftovers;
    int mappings, releases, errors[3];
    uint64_t values[6], last_point;
};

static struct state
take_down(void)
{
    struct state s;
    struct umf_fence *fences[3] = { fence, target, going };
    memset(&s, 0, sizeof(s));
    memcpy(&s.out, &out, sizeof(out));
    struct leftovers now = leftovers(&m);
    s.leftovers.fds = now.fds;
    s.leftovers.next_handle = now.next_handle;
    s.mappings = mappings();
    s.releases = told.releases;
    for (int i = 0; i < 3; i++) {
        OK(umf_fence_error(fences[i], &s.errors[i]));
        s.values[i] = umf_fence_value(fences[i]);
        s.values[i + 3] = umf_fence_pending_value(fences[i]);
    }
    if (handle)
        s.last_point = syncobj_query(m.gpu, handle, DRM_SYNCOBJ_QUERY_FLAGS_LAST_SUBMITTED);
    return s;
}

static void
allow_fds(rlim_t fds)
{
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = fds;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

/* The caller's allocations, or descriptors, run out after this many. The result of one call. */
static int
call_with(const struct each *call, long memory, long fds)
{
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    if (fds >= 0) {
        int lowest = dup(null);
        CHECK(lowest >= 0);
        close(lowest);
        allow_fds((rlim_t)(lowest + fds));
    }
    allocations = 0;
    if (memory >= 0)
        allocations_left = memory;
    errno = SENTINEL;
    int answer = call->call(), after = errno;
    allocations_left = LONG_MAX;
    long made = allocations;
    if (fds >= 0)
        allow_fds(limit.rlim_cur);
    if (after != SENTINEL || (call->memory == NO_MEMORY && made > 0)) {
        fprintf(stderr, "%s: errno %d, %ld allocations\n", call->name, after, made);
        exit(1);
    }
    return answer;
}

/* How often it fails until there are enough. */
static long
starve(const struct each *call, bool of_memory)
{
    const int failure = of_memory ? -ENOMEM : -EMFILE;
    long enough = 0;
    for (;; enough++) {
        struct state before = take_down();
        int answer = call_with(call, of_memory ? enough : -1, of_memory ? -1 : enough);
        if (answer == 0)
            break;
        struct state after = take_down();
        if (answer != failure || memcmp(&before, &after, sizeof(after)) != 0 || enough > 60) {
            fprintf(stderr, "%s, with %ld %s: returned %d, left %s\n", call->name, enough,
                    of_memory ? "allocations" : "descriptors", answer,
                    memcmp(&before, &after, sizeof(after)) ? "changes" : "none");
            fprintf(stderr,
                    "fds %d %d, handles %u %u, mappings %d %d, releases %d %d, outputs %s\n",
                    before.leftovers.fds, after.leftovers.fds, before.leftovers.next_handle,
                    after.leftovers.next_handle, before.mappings, after.mappings, before.releases,
                    after.releases,
                    memcmp(&before.out, &after.out, sizeof(out)) ? "written" : "unwritten");
            exit(1);
        }
    }
    return enough;
}

static bool
is_possible(const struct each *call)
{
    return call->place == ANYWHERE ||
           (m.device && (call->place == WITH_DEVICE || (m.syncobj && m.udmabuf)));
}

static void
starve_each(void)
{
    unsigned some = 0, calls = 0;
    long refused = 0, refused_fds = 0;
    for (size_t i = 0; i < count; i++) {
        struct each *call = &each[i];
        if (!is_possible(call))
            continue;
        for (int of_memory = 1; of_memory >= 0; of_memory--) {
            memcpy(&out, &untouched, sizeof(out));
            released_before = told.releases;
            call->prepare();
            long failures = starve(call, of_memory);
            call->undo();
            /* Nothing that succeeded fails afterwards. */
            CHECK(error_of(fence) == 0 && error_of(target) == 0 && error_of(going) == 0);
            *(of_memory ? &call->allocations : &call->descriptors) = failures;
        }
        if ((call->allocations > 0) != (call->memory == SOME_MEMORY)) {
            fprintf(stderr, "%s: %ld allocations\n", call->name, call->allocations);
            exit(1);
        }
        calls++;
        some += call->allocations > 0;
        refused += call->allocations;
        refused_fds += call->descriptors;
        if (call->allocations || call->descriptors)
            printf("  %-28s %ld allocations, %ld descriptors\n", call->name, call->allocations,
                   call->descriptors);
    }
    printf("%u calls, %u of them allocate: %ld allocations and %ld descriptors refused\n", calls,
           some, refused, refused_fds);
}

static void
each_is_here(const char *path)
{
    char line[256], name[64];
    unsigned symbols = 0;
    FILE *map = fopen(path, "re");
    CHECK(map);
    while (fgets(line, sizeof(line), map)) {
        if (sscanf(line, " %63[a-z0-9_];", name) != 1 || strncmp(name, "umf_", 4) != 0)
            continue;
        size_t i = 0;
        while (i < count && strcmp(each[i].name, name) != 0)
            i++;
        if (i == count) {
            fprintf(stderr, "%s: what does it do without memory?\n", name);
            exit(1);
        }
        symbols++;
    }
    fclose(map);
    CHECK(symbols > 60);
}

/* Another process makes a page and a fence that this one imports and opens. */
static void
create_for_us(int sock)
{
    struct umf_page *theirs;
    struct umf_fence *of_theirs, *in_memory_of_theirs;
    OK(umf_page_create(2, 0, &theirs));
    OK(umf_fence_create(theirs, 0, 0, &of_theirs));
    OK(umf_fence_create_in(theirs, &memory, 0, &in_memory_of_theirs));
    send_page(sock, theirs);
    tell(sock, umf_fence_index(of_theirs));
    tell(sock, umf_fence_index(in_memory_of_theirs));
    hear(sock);
    umf_fence_unref(in_memory_of_theirs);
    umf_fence_unref(of_theirs);
    umf_page_unref(theirs);
}

/* A sync_file of many fences, all of which have signaled. */
static int
many_fences(void)
{
    uint32_t numbers[20];
    int merged = vgem_sync_file(m.vgem, &numbers[0]);
    for (int i = 1; i < 20; i++) {
        int one = vgem_sync_file(m.vgem, &numbers[i]), both = sync_file_merge(merged, one);
        close(merged);
        close(one);
        merged = both;
    }
    for (int i = 0; i < 20; i++)
        vgem_signal(m.vgem, numbers[i]);
    CHECK(sync_file_status(merged) == 1);
    return merged;
}

static void
with_a_device(void)
{
    m = open_machine();
    if (!m.syncobj || !m.udmabuf)
        return;
    uint32_t binary = syncobj_create(m.gpu, DRM_SYNCOBJ_CREATE_SIGNALED);
    signaled = syncobj_export_sync_file(m.gpu, binary);
    CHECK(signaled >= 0);
    syncobj_destroy(m.gpu, binary);
    pending = vgem_sync_file(m.vgem, &pending_fence);
    many_signaled = many_fences();
    buffer = udmabuf_create();
    handle = syncobj_create(m.gpu, 0);
    syncobj_timeline_signal(m.gpu, handle, point);
    OK(umf_syncobj_open(m.device, handle, 0, &syncobj));
}

int
main(int argc, char **argv)
{
    struct umf_watch *first;
    watchdog(50);
    if (RUNNING_ON_VALGRIND) {
        printf("valgrind has a malloc of its own\n");
        return SKIPPED;
    }
    /* Lets glibc make no new heap for a thread while a call fails. */
    CHECK(mallopt(M_ARENA_MAX, 1) == 1);
    struct peer peer = start_peer(create_for_us);
    fd_of_others = recv_fd(peer.sock);
    index_of_others = (uint32_t)hear(peer.sock);
    index_in_memory = (uint32_t)hear(peer.sock);
    if (argc > 1)
        each_is_here(argv[1]);
    else
        with_a_device();
    OK(umf_page_import(fd_of_others, 0, &page_of_others));
    OK(umf_page_create(100, 0, &page));
    event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    int trace = mkstemp(trace_path);
    CHECK(trace >= 0 && close(trace) == 0);
    CHECK(event >= 0 && null >= 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    pidfd = (int)syscall(434 /* pidfd_open */, getpid(), 0);
    if (pidfd < 0)
        pidfd = ends[1]; /* before Linux 5.3 */
    int process;
    socklen_t size = sizeof(process);
    if (getsockopt(ends[0], SOL_SOCKET, 77 /* SO_PEERPIDFD */, &process, &size) == 0) {
        tie_flags = UMF_TIE_PROCESS;
        close(process);
    }
    fence = a_new_fence(0);
    target = a_new_fence(0);
    going = a_new_fence(0);
    failed = a_new_fence(0);
    device_fence = a_new_fence(UMF_FENCE_DEVICE);
    xshmfence = memfd_create("xshmfence", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CHECK(xshmfence >= 0 && ftruncate(xshmfence, 4) == 0);
    notifier = notifier_of(event);
    /* Starts the threads of a loop, which stay. */
    loop = create_loop(UMF_LOOP_THREAD);
    dispatched = create_loop(0);
    OK(umf_loop_import_sync_file(loop, going, 0, -1, 0, NULL, NULL));
    OK(umf_loop_watch(loop, WATCH(a_new_fence(0), 1, &callback), &first));
    OK(umf_loop_import_xshmfence(loop, fence, 1, xshmfence, 0, &callback, NULL));
    OK(umf_queue_create(loop, 0, &queue));
    /* A syncobj keeps the descriptor that it opens for its first wait. */
    if (syncobj)
        OK(umf_loop_import_syncobj(loop, fence, 1, syncobj, 200, 0, &callback, NULL));

    /* The library keeps the descriptor of its first trace. */
    OK(umf_trace_start(trace_path, 0));
    umf_trace_stop();

    starve_each();
    CHECK(unlink(trace_path) == 0);

    allocations_left = 0;
    OK(wait_for(200));
    allocations_left = LONG_MAX;
    tell(peer.sock, 1);
    end_peer(&peer);
    return 0;
}
