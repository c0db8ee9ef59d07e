// SPDX-License-Identifier: MIT
/*
 * Takes bytes as a sequence of calls of the C API, over a few pages, fences, loops, watches and
 * queues, also with wrong arguments, and with a peer's writes to the pages in between. Whatever the
 * sequence, each call returns a documented result, a 64-bit value that was seen does not go back,
 * and every callback's data is released exactly once.
 */
#define _GNU_SOURCE
#include <libumf.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);         \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static int
one_of(int line, int answer, const int *codes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (codes[i] == answer)
            return answer;
    fprintf(stderr, "%s:%d: returned %d\n", __FILE__, line, answer);
    abort();
}

#define ONE_OF(call, ...)                                                                          \
    one_of(__LINE__, call, (const int[]){ __VA_ARGS__ },                                           \
           sizeof((const int[]){ __VA_ARGS__ }) / sizeof(int))
#define FAILED -EIO, -EOWNERDEAD, -ESTALE, -EINVAL
#define UNMET FAILED, -ETIME, -ERANGE

#define PAGES 3
#define FENCES 8
#define LOOPS 2
#define WATCHES 8
#define QUEUES 2
#define SETS 2

static struct umf_page *pages[PAGES];
static struct umf_fence *fences[FENCES];
static uint64_t seen[FENCES];
static struct umf_loop *loops[LOOPS];
static struct umf_watch *watches[WATCHES];
static struct umf_queue *queues[QUEUES];
static struct umf_wait_set *sets[SETS];
static uint64_t set_entries[8]; /* ids, of any set */
static unsigned promised, released; /* of callbacks and jobs */
static int event = -1, null = -1, pidfd = -1, ends[2];

static const uint8_t *at, *end;

static uint64_t
take(unsigned bytes)
{
    uint64_t value = 0;
    while (bytes-- && at < end)
        value = value << 8 | *at++;
    return value;
}

/* A number near one that has a meaning. */
static uint64_t
number(void)
{
    uint8_t how = (uint8_t)take(1);
    switch (how >> 6) {
    case 0: return how & 63;
    case 1: return UINT64_MAX - (how & 63);
    case 2: return (UINT64_C(1) << (how & 63)) + take(1) % 3 - 1;
    default: return take(1 + how % 8);
    }
}

/* Usually 0. */
static uint64_t
flags(uint64_t known)
{
    uint8_t how = (uint8_t)take(1);
    return how < 200 ? known & how : number();
}

static uint64_t
deadline(void)
{
    struct timespec now;
    if (take(1) % 8)
        return 0;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec + take(1) * 100;
}

#define ANY(of) (of[take(1) % (sizeof(of) / sizeof(of[0]))])

static void
on_call(void *data, int result)
{
    (void)data;
    ONE_OF(result, 0, UNMET);
}

static void
on_many(void *data, int result, uint32_t index)
{
    (void)data;
    if (ONE_OF(result, 0, UNMET) != 0)
        CHECK(index < 2);
}

static void
on_release(void *data)
{
    __atomic_add_fetch((unsigned *)data, 1, __ATOMIC_SEQ_CST);
}

static int
run_job(void *data)
{
    (void)data;
    return UMF_JOB_DONE;
}

static void
release_job(void *data, int result)
{
    ONE_OF(result, 0, UNMET, -ECANCELED);
    on_release(data);
}

static struct umf_condition
entry(void)
{
    struct umf_condition wait = { ANY(fences), number(),
                                  take(1) % 8 ? UMF_OP_GE : (uint32_t)take(1) % 7, take(1) == 255,
                                  0 };
    if (take(1) % 8 == 0)
        wait.mask = number();
    return wait;
}

static void
keep_page(struct umf_page *page, struct umf_page **place)
{
    umf_page_unref(*place);
    *place = page;
}

static void
keep_fence(struct umf_fence *fence, unsigned place)
{
    umf_fence_unref(fences[place]);
    fences[place] = fence;
    seen[place] = umf_fence_value(fence);
}

/* A file that may be a page. */
static void
import(void)
{
    uint8_t how = (uint8_t)take(1);
    struct {
        uint64_t magic;
        uint32_t version, count;
    } header = { UINT64_C(0x6567617020666d75), 3, (uint32_t)take(1) };
    struct umf_page *page = NULL;
    int fd = memfd_create("fuzz", MFD_CLOEXEC | (how & 1 ? 0 : MFD_ALLOW_SEALING));
    CHECK(fd >= 0);
    size_t length = how & 2 ? take(2) : 4096 + 64 * (size_t)header.count;
    if (how & 4)
        header.magic = number();
    if (how & 8)
        header.version = (uint32_t)number();
    if (how & 16)
        header.count = (uint32_t)number();
    CHECK(ftruncate(fd, (off_t)length) == 0);
    if (length >= sizeof(header))
        CHECK(pwrite(fd, &header, sizeof(header), 0) == sizeof(header));
    if (!(how & 1))
        CHECK(fcntl(fd, F_ADD_SEALS, how & 32 ? (int)take(1) & 31 : F_SEAL_SHRINK | F_SEAL_GROW) ==
                  0 ||
              errno == EPERM);
    uint64_t flags = how == 255 ? number() : 0;
    struct umf_page_limits limits = { .size = sizeof(limits), .max_fences = (uint32_t)number() };
    int got = limits.max_fences % 2
                  ? ONE_OF(umf_page_import(fd, flags, &page), 0, -EINVAL, -EACCES)
                  : ONE_OF(umf_page_import_limited(fd, flags, &limits, &page), 0, -EINVAL, -EACCES,
                           -EFBIG);
    CHECK((got == 0) == (page != NULL));
    if (page) {
        CHECK(umf_page_fence_count(page) == header.count &&
              4096 + 64 * (uint64_t)header.count <= length);
        keep_page(page, &ANY(pages));
    }
    close(fd);
}

/* Writes to a page as a peer may. */
static void
scribble(void)
{
    struct umf_page *page = ANY(pages);
    int fd;
    if (!page || umf_page_export(page, 0, &fd) != 0)
        return;
    uint8_t how = (uint8_t)take(1);
    uint64_t value = number();
    if (how % 16 == 0) {
        CHECK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, how & 16 ? 4096 : 0,
                        4096) == 0 ||
              errno == EPERM);
    } else {
        off_t place = how & 1 ? 4096 + 64 * (off_t)(take(1) % umf_page_fence_count(page)) +
                                    4 * (off_t)(how >> 4)
                              : (off_t)(take(2) % 4096);
        CHECK(pwrite(fd, &value, how & 2 ? 4 : 8, place) > 0 || errno == EPERM);
    }
    close(fd);
}

static void
keep_watch(struct umf_watch *made, unsigned place)
{
    if (made) {
        promised++;
        umf_watch_unref(watches[place]);
        watches[place] = made;
    }
}

static void
watch(void)
{
    struct umf_callback callback = { take(1) == 255 ? NULL : on_call, on_release, &released };
    struct umf_loop *loop = ANY(loops);
    struct umf_condition wait = entry();
    unsigned which = (unsigned)take(1), place = (unsigned)take(1) % WATCHES;
    struct umf_watch *made = NULL;
    uint64_t wait_flags = flags(UMF_WAIT_PENDING), no_flags = flags(0);
    int got;
    struct umf_many_callback many = { callback.call ? on_many : NULL, on_release, &released };
    struct umf_condition waits[2] = { wait, { ANY(fences), number(), UMF_OP_GE, 0, 0 } };
    switch (which % 8) {
    case 4:
        got = umf_loop_watch_many(loop, waits, which / 8 % 3, wait_flags | (which >> 7), &many,
                                  &made);
        break;
    case 0:
        got = umf_loop_watch(loop, which == 248 ? NULL : &wait, wait_flags, &callback, &made);
        break;
    case 1:
    case 5:
        got = umf_loop_export_eventfd(loop, &wait, wait_flags, which > 250 ? null : event,
                                      &callback, &made);
        break;
    case 2:
    case 6:
        got = umf_loop_export_fence(loop, wait.fence, wait.value, ANY(fences), number(), no_flags,
                                    &callback, &made);
        break;
    default:
        got =
            umf_loop_import_sync_file(loop, wait.fence, wait.value,
                                      which > 250 ? (int)number() : -1, no_flags, &callback, &made);
    }
    ONE_OF(got, 0, FAILED, -EBADF, -EACCES);
    CHECK((got == 0) == (made != NULL));
    keep_watch(made, place);
}

static void
submit(void)
{
    struct umf_condition waits[2] = { entry(), entry() };
    struct umf_signal signals[2] = { { ANY(fences), number() }, { ANY(fences), number() } };
    struct umf_job job = { .size = take(1) == 255 ? (uint32_t)number() : sizeof(job),
                           .wait_count = take(1) % 3,
                           .signal_count = take(1) % 3,
                           .waits = waits,
                           .signals = signals,
                           .run = run_job,
                           .release = release_job,
                           .data = &released };
    if (job.size > sizeof(job))
        job.size = sizeof(job);
    if (take(1) == 255)
        job.waits = NULL;
    promised += ONE_OF(umf_queue_submit(ANY(queues), &job, flags(0)), 0, FAILED, -EACCES) == 0;
}

/* A file of any kind. */
static int
any_fd(void)
{
    switch (take(1) % 8) {
    case 0: return event;
    case 1: return null;
    case 2: return pidfd;
    case 3: return ends[0];
    case 4: return -1;
    default: return (int)number();
    }
}

/* A file that may be an xshmfence, with any number in it. */
static void
convert_xshmfence(struct umf_loop *loop, struct umf_fence *fence, uint64_t value)
{
    const struct umf_callback callback = { on_call, on_release, &released };
    struct umf_watch *made = NULL;
    uint8_t how = (uint8_t)take(1);
    uint64_t word = number();
    int fd = memfd_create("fuzz", MFD_CLOEXEC | (how & 1 ? 0 : MFD_ALLOW_SEALING));
    CHECK(fd >= 0 && write(fd, &word, how & 2 ? how % 8 : 4) >= 0);
    if (how & 4)
        CHECK(fcntl(fd, F_ADD_SEALS, (int)take(1) & 31) == 0 || errno == EPERM);
    if (how & 8)
        ONE_OF(umf_loop_import_xshmfence(loop, fence, value, fd, flags(0), &callback, &made), 0,
               FAILED, -EACCES);
    else
        ONE_OF(umf_loop_export_xshmfence(loop, fence, value, fd, flags(0), &callback, &made), 0,
               FAILED, -EACCES);
    close(fd);
    keep_watch(made, how % WATCHES);
}

/* There are no kernel fences without a device, but every check before them runs. */
static void
convert(unsigned place)
{
    const struct umf_callback callback = { on_call, on_release, &released };
    struct umf_device *device = NULL;
    struct umf_device_caps caps = { .size = sizeof(caps) };
    struct umf_syncobj *syncobj = NULL;
    struct umf_watch *made = NULL;
    struct umf_fence *fence = ANY(fences);
    uint64_t value = number(), until = deadline();
    uint32_t handle = (uint32_t)number();
    int fd = -1;
    switch (place % 8) {
    case 0:
        ONE_OF(umf_device_create(any_fd(), flags(0), place > 250 ? NULL : &device), -EINVAL,
               -EBADF);
        CHECK(!device && !umf_device_ref(device));
        umf_device_unref(device);
        ONE_OF(umf_device_query_caps(device, &caps), -EINVAL);
        break;
    case 1:
        ONE_OF(umf_fence_export_sync_file(fence, value, device, flags(0), until,
                                          place > 250 ? NULL : &fd),
               0, FAILED, -ETIME, -EOPNOTSUPP);
        if (fd >= 0)
            close(fd);
        break;
    case 2:
        ONE_OF(umf_fence_export_dma_buf(fence, value, device, any_fd(), flags(3), until), FAILED,
               -EBADF, -ETIME, -EOPNOTSUPP);
        break;
    case 3:
        ONE_OF(umf_fence_import_dma_buf(fence, value, any_fd(), flags(3), until), FAILED, -EBADF,
               -EACCES, -EOPNOTSUPP);
        break;
    case 4:
        ONE_OF(umf_fence_export_syncobj(fence, value, device, handle, number(), flags(0), until),
               -EINVAL);
        ONE_OF(umf_fence_import_syncobj(fence, value, device, handle, number(), flags(0), until),
               -EINVAL);
        ONE_OF(umf_fence_attach_syncobj(fence, value, device, handle, number(), flags(0)), -EINVAL);
        ONE_OF(umf_fence_attach_sync_file(fence, value, any_fd(), flags(0)), FAILED, -EBADF);
        ONE_OF(umf_fence_set_deadline(fence, value, number(), flags(0)), 0, FAILED, -ENOENT);
        break;
    case 5:
        ONE_OF(umf_syncobj_open(device, handle, flags(0), &syncobj), -EINVAL);
        ONE_OF(umf_syncobj_create(device, flags(0), &syncobj), -EINVAL);
        CHECK(!syncobj && !umf_syncobj_ref(syncobj));
        ONE_OF(umf_syncobj_export(syncobj, flags(0), &fd), -EINVAL);
        ONE_OF(umf_syncobj_signal(syncobj, number(), flags(0)), -EINVAL);
        CHECK(fd == -1);
        umf_syncobj_unref(syncobj);
        ONE_OF(umf_loop_export_syncobj(ANY(loops), fence, value, syncobj, number(), flags(0),
                                       &callback, &made),
               -EINVAL);
        ONE_OF(umf_loop_import_syncobj(ANY(loops), fence, value, syncobj, number(), flags(0),
                                       &callback, &made),
               -EINVAL);
        break;
    case 6:
        ONE_OF(
            umf_loop_import_dma_buf(ANY(loops), fence, value, any_fd(), flags(3), &callback, &made),
            FAILED, -EBADF, -EACCES, -EOPNOTSUPP);
        convert_xshmfence(ANY(loops), fence, value);
        break;
    default:
        ONE_OF(
            place & 8
                ? umf_loop_tie_fence(ANY(loops), fence, any_fd(), flags(1), &callback, &made)
                : umf_loop_tie_page(ANY(loops), ANY(pages), any_fd(), flags(1), &callback, &made),
            0, -EINVAL, -EBADF, -EOPNOTSUPP);
        keep_watch(made, place % WATCHES);
        return;
    }
    CHECK(!made);
}

static int
wait_for_interrupt(void *data, uint64_t abs_timeout_ns)
{
    (void)data;
    (void)abs_timeout_ns;
    return 0;
}

/* Fences that devices write, and their notifiers. */
static void
device(unsigned place)
{
    static uint64_t words[2];
    struct umf_mapping memory = {
        .size = take(1) == 255 ? (uint32_t)number() % (sizeof(memory) + 1) : sizeof(memory),
        .value = take(1) == 255 ? (char *)words + 3 : (char *)&words[place % 2],
        .data = &released,
        .release = on_release
    };
    struct umf_interrupt interrupt = {
        .size = sizeof(interrupt), .fd = -1, .data = &released, .release = on_release
    };
    struct umf_notifier *notifier = NULL;
    struct umf_fence *fence = NULL;
    int fd = -1;
    __atomic_store_n(&words[place % 2], number(), __ATOMIC_SEQ_CST);
    switch (place % 4) {
    case 0:
        if (ONE_OF(umf_fence_create_in(ANY(pages), &memory, flags(1), &fence), 0, -EINVAL, -ENOSPC,
                   -EACCES, -EOPNOTSUPP) == 0)
            promised++;
        break;
    case 1:
        if (ONE_OF(umf_fence_open_in(ANY(pages), (uint32_t)take(1), &memory, flags(0), &fence), 0,
                   -EINVAL, -ENOENT) == 0)
            promised++;
        break;
    case 2:
        if (place & 4)
            interrupt.fd = any_fd();
        if (place & 8)
            interrupt.wait = wait_for_interrupt;
        if (ONE_OF(umf_notifier_create(place > 250 ? NULL : &interrupt, flags(0), &notifier), 0,
                   -EINVAL, -EBADF) != 0)
            return;
        promised += !!interrupt.wait;
        umf_notifier_ref(notifier);
        ONE_OF(umf_fence_set_notifier(ANY(fences), notifier), 0, -EINVAL, -EALREADY, -EACCES);
        if (place & 16)
            ONE_OF(umf_page_set_notifier(ANY(pages), notifier), 0, -EINVAL, -EALREADY, -EACCES);
        ONE_OF(umf_page_notify(ANY(pages)), 0, -EINVAL, -EACCES);
        umf_notifier_unref(notifier);
        umf_notifier_unref(notifier);
        return;
    default:
        ONE_OF(umf_page_export_dma_buf(ANY(pages), flags(0), &fd), 0, -EINVAL, -EACCES,
               -EOPNOTSUPP);
        if (fd >= 0)
            close(fd);
        return;
    }
    if (fence)
        keep_fence(fence, place / 4 % FENCES);
}

/* Calls that only report or count. */
static void
ask(unsigned place)
{
    struct umf_caps caps = { .size = place > 250 ? (uint32_t)number() % (sizeof(caps) + 1)
                                                 : sizeof(caps) };
    struct umf_page *page = ANY(pages);
    struct umf_fence *fence = ANY(fences);
    struct umf_loop *loop = ANY(loops);
    struct umf_watch *watch = ANY(watches);
    struct umf_queue *queue = ANY(queues);
    CHECK(ONE_OF(umf_query_caps(&caps), 0, -EINVAL) != 0 || umf_version() == caps.version);
    CHECK((umf_page_flags(page) & ~(UMF_PAGE_SINGLE_WRITER | UMF_PAGE_TIMESTAMPS)) == 0);
    void *memory;
    ONE_OF(umf_page_get_memory(page, flags(UMF_PAGE_MEMORY_WRITE), &memory, NULL), 0, -EINVAL,
           -EACCES);
    uint64_t time;
    CHECK(ONE_OF(umf_fence_timestamp(fence, number(), place < 250 ? &time : NULL), 0, -EINVAL,
                 -ENOENT, -ESTALE) != 0 || time > 0);
    char name[UMF_NAME_SIZE];
    ONE_OF(umf_page_query_name(page, place, flags(0), name), 0, -EINVAL, -ENOENT);
    if (place % 8 == 0) {
        ONE_OF(umf_page_set_name(page, "a page"), 0, -EINVAL, -EACCES, -EOPNOTSUPP);
        ONE_OF(umf_fence_set_name(fence, "a fence"), 0, -EINVAL, -ESTALE, -EACCES, -EOPNOTSUPP);
    }
    if (place == 7)
        ONE_OF(umf_page_set_error(page, -(int)take(2)), 0, -EINVAL, -EACCES);
    if (place == 8)
        ONE_OF(umf_fence_end(fence), 0, -EINVAL, -EACCES, -ESTALE);
    uint32_t reclaimed;
    if (ONE_OF(umf_page_reclaim(page, flags(0), &reclaimed), 0, -EINVAL, -EACCES) == 0)
        CHECK(reclaimed <= umf_page_fence_count(page));
    CHECK(fence ? umf_fence_index(fence) < UMF_PAGE_MAX_FENCES
                : umf_fence_index(fence) == UINT32_MAX);
    CHECK(fence || umf_fence_monitored_offset(fence) == UINT64_MAX);
    CHECK(umf_page_ref(page) == page && umf_loop_ref(loop) == loop &&
          umf_watch_ref(watch) == watch && umf_queue_ref(queue) == queue);
    umf_page_unref(page);
    umf_watch_unref(watch);
    umf_queue_unref(queue);
    umf_loop_unref(loop);
    CHECK(umf_loop_fd(loop) >= 0 || umf_loop_fd(loop) == -EINVAL);
    ONE_OF(umf_set_spin((uint32_t)number(), (uint32_t)number(), flags(0)), 0, -EINVAL);
    ONE_OF(umf_set_spin(10, 50000, 0), 0);
    ONE_OF(umf_trace_start("/dev/null", flags(0)), -EINVAL);
    umf_trace_stop();
    ONE_OF(umf_set_log_handler(NULL, flags(0)), 0, -EINVAL);
    ONE_OF(umf_page_record_waits(page, (int)number() % 3, flags(0)), 0, -EINVAL, -EACCES);
}

static void
wait_set(unsigned place)
{
    struct umf_wait_set **set = &sets[place % SETS];
    uint64_t *id = &ANY(set_entries);
    struct umf_condition wait = entry();
    struct umf_wait_set_result results[3];
    uint32_t count = 4, room = (uint32_t)take(1) % 4;
    switch (place / SETS % 8) {
    case 0:
        umf_wait_set_unref(*set);
        *set = NULL;
        ONE_OF(umf_wait_set_create(flags(0), set), 0, -EINVAL);
        break;
    case 1:
    case 2:
        ONE_OF(umf_wait_set_add(*set, &wait, flags(UMF_WAIT_PENDING), number(), id), 0, -EINVAL);
        break;
    case 3:
        ONE_OF(umf_wait_set_modify(*set, *id, &wait, flags(UMF_WAIT_PENDING)), 0, -EINVAL, -ENOENT);
        break;
    case 4: ONE_OF(umf_wait_set_remove(*set, *id), 0, -EINVAL, -ENOENT); break;
    case 5:
        CHECK(umf_wait_set_ref(*set) == *set);
        umf_wait_set_unref(*set);
        break;
    default:
        if (ONE_OF(umf_wait_set_wait(*set, results, room, deadline(), &count), 0, -EINVAL,
                   -ETIME) != 0) {
            CHECK(count == 4);
            break;
        }
        CHECK(count >= 1 && count <= room);
        for (uint32_t i = 0; i < count; i++)
            ONE_OF(results[i].result, 0, -EIO, -EOWNERDEAD, -ESTALE, -ERANGE);
    }
}

static void
one_call(void)
{
    struct umf_condition list[4];
    struct umf_page *page = NULL;
    struct umf_fence *fence = NULL;
    unsigned place = (unsigned)take(1), f = place % FENCES, which = (unsigned)take(1);
    uint32_t index = 4;
    int error = 1, fd = -1;
    switch (which < 224 ? which % 28 : 28 + which % 5) {
    case 0:
        if (ONE_OF(umf_page_create((uint32_t)take(1) % 70,
                                   flags(UMF_PAGE_SINGLE_WRITER | UMF_PAGE_TIMESTAMPS), &page),
                   0, -EINVAL) == 0)
            keep_page(page, &pages[place % PAGES]);
        break;
    case 1: import(); break;
    case 2: keep_page(NULL, &pages[place % PAGES]); break;
    case 3:
    case 4:
        if (ONE_OF(umf_fence_create(ANY(pages), number(), flags(23), &fence), 0, -EINVAL, -ENOSPC,
                   -EACCES, -EOPNOTSUPP) == 0)
            keep_fence(fence, f);
        break;
    case 5:
        if (ONE_OF(umf_fence_open(ANY(pages), (uint32_t)take(1), flags(0), &fence), 0, -EINVAL,
                   -ENOENT, -EOPNOTSUPP) == 0)
            keep_fence(fence, f);
        break;
    case 6: keep_fence(NULL, f); break;
    case 7: keep_fence(umf_fence_ref(ANY(fences)), f); break;
    case 8:
        ONE_OF(umf_fence_update(fences[f], (uint32_t)take(1) % 8, number(), number(), NULL), 0,
               FAILED, -EACCES);
        break;
    case 9: ONE_OF(umf_fence_signal(fences[f], number()), 0, FAILED, -EACCES); break;
    case 10: ONE_OF(umf_fence_submit(fences[f], number()), 0, FAILED, -EACCES); break;
    case 11: ONE_OF(umf_fence_notify(fences[f]), 0, -EINVAL, -ESTALE, -EACCES); break;
    case 12:
        ONE_OF(umf_fence_set_error(fences[f], (int)number()), 0, -EINVAL, -ESTALE, -EACCES);
        break;
    case 13:
        if (ONE_OF(umf_fence_error(fences[f], place < 250 ? &error : NULL), 0, -EINVAL, -ESTALE) ==
            0)
            CHECK(error <= 0 && error >= -4095);
        break;
    case 14: ONE_OF(umf_fence_wait(fences[f], number(), deadline()), 0, FAILED, -ETIME); break;
    case 15:
    case 16: {
        uint32_t count = (uint32_t)take(1) % 5;
        uint64_t wait_flags = flags(3);
        for (unsigned i = 0; i < 4; i++)
            list[i] = entry();
        if (ONE_OF(umf_wait(place == 255 ? NULL : list, count, wait_flags, deadline(), &index), 0,
                   UNMET) != 0 ||
            !(wait_flags & 1))
            CHECK(index == 4);
        else
            CHECK(index < count);
        break;
    }
    case 17:
    case 18: scribble(); break;
    case 19:
        ONE_OF(umf_fence_import_sync_file(fences[f], number(), place > 250 ? (int)number() : -1,
                                          flags(0), 0),
               0, FAILED, -EBADF, -EACCES);
        break;
    case 20: {
        struct umf_loop **loop = &loops[place % LOOPS];
        umf_loop_unref(*loop);
        *loop = NULL;
        ONE_OF(umf_loop_create(flags(UMF_LOOP_THREAD), loop), 0, -EINVAL);
        break;
    }
    case 21:
    case 22: watch(); break;
    case 23: ONE_OF(umf_loop_dispatch(loops[place % LOOPS], flags(0)), 0, -EINVAL); break;
    case 24:
        ONE_OF(umf_watch_cancel(watches[place % WATCHES]), 0, -EINVAL, -EALREADY);
        ONE_OF(umf_watch_result(watches[place % WATCHES]), 0, UNMET, -ECANCELED);
        break;
    case 25: {
        struct umf_queue **queue = &queues[place % QUEUES];
        umf_queue_unref(*queue);
        *queue = NULL;
        ONE_OF(umf_queue_create(ANY(loops), flags(UMF_QUEUE_INLINE), queue), 0, -EINVAL);
        break;
    }
    case 26:
        submit();
        if (place % 8 == 0)
            ONE_OF(umf_queue_drain(queues[place % QUEUES], deadline()), 0, -EINVAL, -ETIME);
        if (place % 8 == 1)
            ONE_OF(umf_queue_cancel(queues[place % QUEUES]), 0, -EINVAL);
        if (place % 8 == 2)
            ONE_OF(umf_queue_fail(queues[place % QUEUES], -(int)take(2)), 0, -EINVAL);
        break;
    case 27:
        /* Not a pipe that nobody reads: the call would wait for a reader. */
        ONE_OF(umf_graph_write(place > 250 ? -1 - (int)take(1) : null, flags(1), &index), 0,
               -EINVAL, -EBADF);
        ONE_OF(umf_page_export(ANY(pages), flags(0), &fd), 0, -EINVAL);
        if (fd >= 0)
            close(fd);
        struct umf_fence_info info = { .size = place > 250 ? (uint32_t)number() % 256
                                                           : sizeof(info) };
        if (info.size <= sizeof(info))
            ONE_OF(umf_page_query_fence(ANY(pages), place, flags(0), &info), 0, -EINVAL, -ENOENT);
        break;
    case 28:
    case 29: convert(place); break;
    case 30: device(place); break;
    case 31: wait_set(place); break;
    default: ask(place);
    }
    for (unsigned i = 0; i < FENCES; i++) {
        if (!fences[i] || umf_fence_offset(fences[i]) % 64)
            continue;
        CHECK(umf_page_fence_count(umf_fence_page(fences[i])) > umf_fence_index(fences[i]));
        uint64_t value = umf_fence_value(fences[i]);
        CHECK(value >= seen[i] && umf_fence_pending_value(fences[i]) >= value);
        seen[i] = value;
    }
}

void calls(const uint8_t *data, size_t size);

void
calls(const uint8_t *data, size_t size)
{
    if (event < 0) {
        setenv("LIBUMF_DEBUG", "1", 1);
        event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        null = open("/dev/null", O_WRONLY | O_CLOEXEC);
        pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
        CHECK(event >= 0 && null >= 0 && pidfd >= 0 &&
              socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    }
    at = data;
    end = data + size;
    promised = released = 0;
    while (at < end)
        one_call();
    for (unsigned i = 0; i < QUEUES; i++) {
        umf_queue_unref(queues[i]);
        queues[i] = NULL;
    }
    for (unsigned i = 0; i < SETS; i++) {
        umf_wait_set_unref(sets[i]);
        sets[i] = NULL;
    }
    for (unsigned i = 0; i < LOOPS; i++) {
        umf_loop_unref(loops[i]);
        loops[i] = NULL;
    }
    for (unsigned i = 0; i < WATCHES; i++) {
        umf_watch_unref(watches[i]);
        watches[i] = NULL;
    }
    for (unsigned i = 0; i < FENCES; i++)
        keep_fence(NULL, i);
    for (unsigned i = 0; i < PAGES; i++)
        keep_page(NULL, &pages[i]);
    CHECK(__atomic_load_n(&released, __ATOMIC_SEQ_CST) == promised);
}
