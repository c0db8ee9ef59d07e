// SPDX-License-Identifier: MIT
/*
 * A peer does to a page all that it can: it writes to all of it at random and by the rules of its
 * layout, punches holes, tries to change its size, and wakes, requeues and locks the threads that
 * sleep on its words. Meanwhile this process waits, for lists and for a set that changes, watches,
 * queues, signals, creates, opens, imports, converts and writes the graph.
 *
 * Checks: no crash and no SIGBUS; every call returns a documented result by its deadline; seen
 * values stay; every callback's data is released exactly once; no descriptor and no mapping of a
 * page is left; waits for fences of another page go on. While the peer rests, this process rests
 * too, whatever is in the page: it uses a tenth of one processor at most. A wait without deadline
 * that starts then misses no signal.
 *
 *     hostile [ROUNDS] [sandbox]     a round is 20,000 mutations; with sandbox, futex_waitv is
 * forbidden
 */
#include "raw_page.h"
#include "sleeper.h"

#include "sandbox.h"

#include <linux/futex.h>
#include <poll.h>
#include <sys/eventfd.h>

#define SLOTS 16
#define STEADY 8
#define MUTATIONS 20000
#define BURST 256
/* While the peer rests, CPU time is measured over windows of this length until the effects of
 * its writes have ended. */
#define WINDOW (10 * MS)
#define MOST_WINDOWS 300
/* The value that ends the wait for a steady fence while the peer rests. */
#define LAST(i) ((i) % 4 == 3 ? UINT32_MAX / 2 : UINT64_MAX - 1)
#define MOST_SHARE 10 /* percent of one processor */

/* A fence that is opened while its kind is overwritten may be a 32-bit fence. */
#define FAILED -EIO, -EOWNERDEAD, -ESTALE, -EINVAL
/* What else a wait may return. */
#define UNMET FAILED, -ERANGE, -ETIME

static struct control {
    /* Rounds that the peer must do, and has done. */
    atomic_uint asked, done;
    atomic_ullong mutations, holes, refused, futexes;
    /* Calls of this process meanwhile. The peer waits for some before it goes on. */
    atomic_ullong calls;
    pid_t victim;
} *control;

static struct umf_page *page, *quiet;
static struct umf_fence *steady[STEADY], *ping, *pong, *elsewhere;
static struct raw raw;
static int null;
static bool can_export;

/* A number that has a meaning somewhere, or a random one. */
static uint64_t
number(uint64_t *state)
{
    const uint64_t numbers[] = {
        0,
        1,
        2,
        3,
        6,
        10,
        14,
        15,
        16,
        31,
        32,
        130,
        4095,
        4096,
        INT32_MAX,
        UINT32_MAX,
        UINT64_C(1) << 32,
        UINT64_C(1) << 63,
        UINT64_MAX - 1,
        UINT64_MAX,
    };
    uint64_t choice = random_word(state);
    return choice % 4 ? numbers[(choice >> 8) % (ARRAY_SIZE(numbers))] : random_word(state);
}

static void
put64(size_t at, uint64_t value)
{
    __atomic_store_n((uint64_t *)(void *)(raw.bytes + at), value, __ATOMIC_RELAXED);
}

static void
put32(size_t at, uint64_t value)
{
    __atomic_store_n((uint32_t *)(void *)(raw.bytes + at), (uint32_t)value, __ATOMIC_RELAXED);
}

static uint64_t
get64(size_t at)
{
    return __atomic_load_n((uint64_t *)(void *)(raw.bytes + at), __ATOMIC_RELAXED);
}

static uint32_t
get32(size_t at)
{
    return __atomic_load_n((uint32_t *)(void *)(raw.bytes + at), __ATOMIC_RELAXED);
}

/* Futex calls with which a peer can disturb threads that sleep on the page's words. */
static void
touch_futexes(uint64_t *state)
{
    uint64_t choice = random_word(state);
    size_t from =
        choice & 1 ? EVENT_COUNT : SLOTS_AT + SLOT_SIZE * ((choice >> 4) % SLOTS) + SLOT_FUTEX;
    size_t to =
        choice & 2 ? EVENT_COUNT : SLOTS_AT + SLOT_SIZE * ((choice >> 12) % SLOTS) + SLOT_FUTEX;
    uint32_t *a = (uint32_t *)(void *)(raw.bytes + from), *b = (uint32_t *)(void *)(raw.bytes + to);
    atomic_fetch_add(&control->futexes, 1);
    switch ((choice >> 20) % 5) {
    case 0: syscall(SYS_futex, a, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0); break;
    case 1: syscall(SYS_futex, a, FUTEX_REQUEUE, 0, (long)INT32_MAX, b, 0); break;
    case 2: syscall(SYS_futex, a, FUTEX_CMP_REQUEUE, 1, (long)INT32_MAX, b, get32(from)); break;
    case 3: syscall(SYS_futex, a, FUTEX_TRYLOCK_PI, 0, NULL, NULL, 0); break;
    case 4: syscall(SYS_futex, a, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0); break;
    }
}

/* Changes of size and seals, which must be impossible. */
static void
try_the_size(uint64_t *state)
{
    off_t length = (off_t)raw.length;
    switch (random_word(state) % 5) {
    case 0: CHECK(ftruncate(raw.fd, 0) != 0 && errno == EPERM); break;
    case 1: CHECK(ftruncate(raw.fd, length - 4096) != 0 && errno == EPERM); break;
    case 2: CHECK(ftruncate(raw.fd, length + 4096) != 0 && errno == EPERM); break;
    case 3: CHECK(fallocate(raw.fd, 0, length, 4096) != 0 && errno == EPERM); break;
    case 4: CHECK(fcntl(raw.fd, F_ADD_SEALS, F_SEAL_WRITE) != 0 && errno == EPERM); break;
    }
    atomic_fetch_add(&control->refused, 1);
}

/* A wait record that is partly right. */
static void
write_wait_record(uint64_t *state, uint64_t choice)
{
    const uint32_t pids[] = { 0,         1,         (uint32_t)control->victim, (uint32_t)getpid(),
                              INT32_MAX, UINT32_MAX };
    size_t at = WAIT_RECORDS_AT + 32 * (choice % WAIT_RECORDS);
    uint64_t kind = (choice >> 8) % 8, slot = (choice >> 12) % (SLOTS + 1);
    put64(at, (uint64_t)pids[(choice >> 20) % 6] << 32 | kind << 29 | (choice >> 40) % 4);
    if (choice >> 63)
        put64(at + 16,
              (uint64_t)get32(SLOTS_AT + SLOT_SIZE * (slot % SLOTS) + SLOT_STATE) << 32 | slot);
    else
        put64(at + 16, random_word(state));
    put64(at + 24, number(state));
    /* The pid namespace stays where one was written: then the victim looks up the process. */
    put64(at + 8, (get64(at + 8) & ~UINT64_C(0xffffffff)) | (random_word(state) & 0xffffffff));
}

/* Another owner of a slot: one that lives, one that is dead, or none that exists. */
static void
write_creator(size_t slot, uint64_t *state, uint64_t choice)
{
    uint64_t real = get64(SLOTS_AT + SLOT_SIZE * ((choice >> 40) % SLOTS) + SLOT_CREATOR);
    uint64_t pid = choice & 1024 ? (uint64_t)getpid() : random_word(state) % (1 << 22);
    put64(slot + SLOT_CREATOR, choice & 2048   ? (real & ~UINT64_C(0x3fffff)) | pid
                               : choice & 4096 ? UINT64_C(1) << (choice >> 58)
                                               : number(state));
}

static void
mutate(uint64_t *state)
{
    const int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    uint64_t choice = random_word(state), value = number(state);
    size_t slot = SLOTS_AT + SLOT_SIZE * ((choice >> 8) % SLOTS),
           at = (choice >> 16) % (raw.length - 64);
    uint32_t sequence = get32(EVENT_COUNT);
    unsigned kind = choice % 23;
    if (kind < 3 && choice >> 62)
        kind += 3; /* aimed mutations reach deeper code */
    if (kind < 6 && choice >> 58)
        value =
            (choice >> 40) % 64; /* huge values are latched, and then the fence is of no more use */
    switch (kind) {
    case 0: put64(at & ~(size_t)7, value); break;
    case 1: put32(at & ~(size_t)3, value); break;
    case 2: /* unaligned bytes */
        for (unsigned i = 0; i < (choice >> 40) % 64; i++)
            raw.bytes[at + i] = (char)random_word(state);
        break;
    case 3: put64(slot, value); break;
    case 4: put64(slot, get64(slot) + value); break;
    case 5: put64(slot, get64(slot) - 1); break;
    case 6: put64(slot + SLOT_PENDING, value); break;
    case 7:
        put64(slot + SLOT_WAITER_BITS, choice & 1024 ? value : UINT64_C(1) << (choice >> 58));
        break;
    case 8:
        put32(slot + SLOT_FUTEX,
              choice & 1024 ? value : get32(slot + SLOT_FUTEX) + (choice & 2048 ? 1 : UINT32_MAX));
        break;
    case 9: put64(slot + SLOT_STATE, get64(slot + SLOT_STATE) ^ (choice >> 40) % 64); break;
    case 10:
        put64(slot + SLOT_STATE, get64(slot + SLOT_STATE) + (choice & 1024 ? 64 : UINT64_MAX - 63));
        break;
    case 11: put32(slot + SLOT_ERROR, value); break;
    case 12: put32(slot + 36, value); break;
    case 13: put64(slot + 40, value); break;
    case 14:
        put64((choice >> 30) % 3 * 8, value);
        break; /* magic; version and count; where to look for a free slot */
    case 15:
        put32(EVENT_COUNT, choice & 1024 ? value : sequence + (choice & 2048 ? 1 : UINT32_MAX));
        break;
    case 16: put32(EVENT_COUNT + 4, value); break;
    case 17: { /* an event that did not happen */
        uint32_t ring = sequence + (uint32_t)(choice >> 40) % 8 - 4;
        put64(EVENT_LOG + 8 * (ring % EVENT_LOG_LENGTH),
              (uint64_t)(ring + 1) << 32 | (choice & 1024 ? value & UINT32_MAX : choice >> 60));
        break;
    }
    case 18: write_wait_record(state, choice); break;
    case 19: put32(WAIT_TABLE, value); break;
    case 20: /* one slot copied over another */
        memcpy(raw.bytes + slot, raw.bytes + SLOTS_AT + SLOT_SIZE * ((choice >> 40) % SLOTS), 64);
        break;
    case 21: write_creator(slot, state, choice); break;
    case 22:
        if ((choice >> 40) % 16 == 0) {
            off_t from = (choice >> 50) % 3 ? (off_t)((choice >> 50) % 2 * 4096) : 0;
            off_t length = (choice >> 50) % 3 ? 4096 : (off_t)raw.length;
            CHECK(fallocate(raw.fd, punch, from, length) == 0);
            atomic_fetch_add(&control->holes, 1);
        } else if ((choice >> 40) % 16 == 1) {
            try_the_size(state);
        } else {
            touch_futexes(state);
        }
        break;
    }
    atomic_fetch_add(&control->mutations, 1);
}

/* The peer. */
static void
overwrite(void)
{
    uint64_t state = 1;
    for (;;) {
        uint64_t alive[SLOTS];
        while (atomic_load(&control->done) == atomic_load(&control->asked))
            sched_yield();
        for (unsigned i = 0; i < SLOTS; i++)
            alive[i] = get64(SLOTS_AT + SLOT_SIZE * i + SLOT_STATE);
        for (unsigned i = 0; i < MUTATIONS; i++) {
            mutate(&state);
            for (unsigned slot = 0; slot < SLOTS && i % BURST == 0; slot++) {
                /* Fences are made live again, or most calls would fail early. */
                put64(SLOTS_AT + SLOT_SIZE * slot + SLOT_STATE, alive[slot]);
                put32(SLOTS_AT + SLOT_SIZE * slot + SLOT_ERROR, 0);
            }
            if (i % BURST == 0) {
                unsigned long long calls = atomic_load(&control->calls);
                while (atomic_load(&control->calls) < calls + 32)
                    sched_yield();
            }
        }
        atomic_fetch_add(&control->done, 1);
    }
}

/* The victims: threads that work until they are told to rest, then sleep in the library until
 * all are released. */

static pthread_barrier_t barrier;
static atomic_bool resting, all_rest, ending;
static atomic_uint met;

static void
called(void)
{
    atomic_fetch_add(&control->calls, 1);
}

static struct umf_condition
entry(uint64_t *state)
{
    uint64_t choice = random_word(state);
    struct umf_condition entry = { steady[choice % STEADY], 0, UMF_OP_GE, 0, 0 };
    entry.value =
        (choice >> 8) % 4 ? umf_fence_value(entry.fence) + (choice >> 16) % 4 : number(state);
    if ((choice >> 24) % 4 == 0)
        entry.op = (uint32_t)(choice >> 32) % 6;
    if ((choice >> 24) % 16 == 1)
        entry.mask = number(state);
    return entry;
}

/* The wait set of two threads, and the entries of each. */
#define ENTRIES 16
static struct umf_wait_set *shared_set;
static uint64_t ids[2][ENTRIES];

static void
add_to_set(unsigned thread, uint32_t i, const struct umf_condition *wait, uint64_t flags)
{
    if (ids[thread][i])
        OK(umf_wait_set_remove(shared_set, ids[thread][i]));
    ids[thread][i] = 0;
    ONE_OF(umf_wait_set_add(shared_set, wait, flags, thread * ENTRIES + i, &ids[thread][i]), 0,
           -EINVAL);
}

static void
empty_set(unsigned thread)
{
    for (uint32_t i = 0; i < ENTRIES; i++) {
        if (ids[thread][i])
            OK(umf_wait_set_remove(shared_set, ids[thread][i]));
        ids[thread][i] = 0;
    }
}

/* Waits, and checks what is reported. Returns the first result. */
static int
wait_for_set(uint64_t deadline)
{
    struct umf_wait_set_result results[3];
    uint32_t count = 4;
    int got = ONE_OF(umf_wait_set_wait(shared_set, results, 3, deadline, &count), 0, -ETIME);
    if (got != 0) {
        CHECK(count == 4 && deadline != FOREVER);
        return got;
    }
    CHECK(count >= 1 && count <= 3);
    for (uint32_t i = 0; i < count; i++) {
        CHECK(results[i].id != 0 && results[i].user_data < 2 * ENTRIES);
        ONE_OF(results[i].result, 0, FAILED, -ERANGE);
    }
    return results[0].result;
}

static int
rest_in_set(unsigned thread, const struct umf_condition *list)
{
    for (uint32_t i = 0; i < STEADY; i++)
        add_to_set(thread, i, &list[i], 0);
    return wait_for_set(FOREVER);
}

/* Meets the other threads before and after. The fences are signaled once this process was seen
 * to be idle. */
static void
rest(unsigned kind)
{
    struct umf_condition list[STEADY];
    if (kind > 4)
        empty_set(kind - 5);
    pthread_barrier_wait(&barrier); /* all threads are here */
    pthread_barrier_wait(&barrier); /* there are fences to wait for */
    for (unsigned i = 0; i < STEADY; i++)
        list[i] = (struct umf_condition){ steady[i], LAST(i), UMF_OP_GE, 0, 0 };
    int answer;
    switch (kind) {
    case 0: answer = umf_fence_wait(steady[0], LAST(0), FOREVER); break;
    case 1: answer = umf_wait(list, STEADY, UMF_WAIT_ANY, FOREVER, NULL); break;
    case 2: answer = umf_wait(list, STEADY, 0, FOREVER, NULL); break;
    case 3: answer = umf_wait(list, 3, UMF_WAIT_ANY | UMF_WAIT_PENDING, FOREVER, NULL); break;
    case 4: answer = umf_fence_wait(steady[2], LAST(2), FOREVER); break; /* a device's */
    default: answer = rest_in_set(kind - 5, list); break;
    }
    if (ONE_OF(answer, 0, FAILED) == 0)
        atomic_fetch_add(&met, 1);
    pthread_barrier_wait(&barrier); /* it is over */
}

static bool
goes_on(unsigned kind)
{
    called();
    if (atomic_load(&resting))
        rest(kind);
    return !atomic_load(&ending);
}

/* Whether what this process saw of a fence stays: a peer may have changed the fence's kind to one
 * for which that does not hold. */
static bool
is_latched(struct umf_fence *fence)
{
    return umf_fence_offset(fence) % 64 == 0 &&
           umf_fence_update(fence, UMF_UPDATE_ADD, 0, 0, NULL) == -EINVAL;
}

static void *
waits(void *unused)
{
    uint64_t state = 2;
    (void)unused;
    do {
        struct umf_condition list[6];
        uint32_t index = 6;
        uint64_t choice = random_word(&state), flags = choice & 1 ? UMF_WAIT_ANY : 0;
        for (int i = 0; i < 6; i++)
            list[i] = entry(&state);
        if (choice & 2)
            list[5] = (struct umf_condition){ elsewhere, 0, UMF_OP_GE, 0, 0 };
        if ((choice >> 4) % 4 == 0)
            flags |= UMF_WAIT_PENDING;
        int got = ONE_OF(umf_wait(list, 6, flags, choice & 8 ? in_ns(50000) : 0, &index), 0, UNMET);
        CHECK((got == 0 && (flags & UMF_WAIT_ANY)) ? index < 6 : index == 6);
        struct umf_fence *fence = list[0].fence;
        bool holds = is_latched(fence);
        uint64_t seen = umf_fence_value(fence);
        ONE_OF(umf_fence_wait(fence, seen + 1, in_ns(20000)), 0, -ETIME, FAILED);
        CHECK(!holds || umf_fence_value(fence) >= seen);
        if (holds)
            OK(umf_fence_wait(fence, seen, 0));
        CHECK(!holds || umf_fence_pending_value(fence) >= seen);
    } while (goes_on(0));
    return NULL;
}

static void
use_the_set(unsigned thread)
{
    uint64_t state = 11 + thread;
    do {
        for (uint32_t i = 0; i < ENTRIES; i++) {
            struct umf_condition wait = entry(&state);
            uint64_t choice = random_word(&state), flags = choice % 8 ? 0 : UMF_WAIT_PENDING;
            if (choice & 0x1000)
                wait = (struct umf_condition){ elsewhere, UINT64_MAX, UMF_OP_GE, 0, 0 };
            if (choice & 0x100)
                add_to_set(thread, i, &wait, flags);
            else if (choice & 0x200 && ids[thread][i]) /* it may be of another fence */
                ONE_OF(umf_wait_set_modify(shared_set, ids[thread][i], &wait, flags), 0, -EINVAL);
            if (i % 4 == 3)
                wait_for_set(choice & 0x10000 ? in_ns(20000) : choice & 0x20000);
        }
    } while (goes_on(5 + thread));
    empty_set(thread);
}

static void *
uses_the_set(void *unused)
{
    (void)unused;
    use_the_set(0);
    return NULL;
}

static void *
uses_the_set_too(void *unused)
{
    (void)unused;
    use_the_set(1);
    return NULL;
}

/* Counts of callbacks. */
struct told {
    atomic_ullong calls, releases;
};

static void
on_call(void *data, int result)
{
    struct told *told = data;
    ONE_OF(result, 0, UNMET);
    atomic_fetch_add(&told->calls, 1);
}

static void
on_release(void *data)
{
    struct told *told = data;
    atomic_fetch_add(&told->releases, 1);
}

static void
watch_with(uint64_t loop_flags, unsigned kind)
{
    uint64_t state = 3 + loop_flags;
    int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    CHECK(event >= 0);
    bool more = true;
    while (more) {
        struct umf_loop *loop;
        struct told told = { 0 };
        const struct umf_callback callback = { on_call, on_release, &told };
        unsigned long long made = 0;
        OK(umf_loop_create(loop_flags, &loop));
        for (unsigned i = 0; i < 32 && more; i++) {
            struct umf_watch *watches[4] = { NULL };
            for (unsigned j = 0; j < 4; j++) {
                struct umf_condition wait = entry(&state);
                uint64_t choice = random_word(&state);
                struct umf_fence *target = choice & 16 ? elsewhere : steady[(choice >> 8) % STEADY];
                int got;
                switch (choice % 5) {
                case 0:
                case 1:
                    got =
                        ONE_OF(umf_loop_watch(loop, &wait, 0, &callback, &watches[j]), 0, -EINVAL);
                    break;
                case 2:
                    got = ONE_OF(
                        umf_loop_export_eventfd(loop, &wait, 0, event, &callback, &watches[j]), 0,
                        -EINVAL);
                    break;
                case 3:
                    got = ONE_OF(umf_loop_export_fence(loop, wait.fence, wait.value,
                                                       target == elsewhere ? steady[0] : target,
                                                       wait.value, 0, &callback, &watches[j]),
                                 0, -EINVAL);
                    break;
                default:
                    got = ONE_OF(umf_loop_import_sync_file(loop, wait.fence, wait.value, -1, 0,
                                                           &callback, &watches[j]),
                                 0, FAILED);
                }
                made += got == 0;
                CHECK((got == 0) == (watches[j] != NULL));
                called();
            }
            if (!loop_flags) {
                struct pollfd ready = { umf_loop_fd(loop), POLLIN, 0 };
                CHECK(poll(&ready, 1, 0) >= 0);
                OK(umf_loop_dispatch(loop, 0));
            }
            for (unsigned j = 0; j < 4; j++) {
                if (!watches[j])
                    continue;
                ONE_OF(umf_watch_result(watches[j]), 0, UNMET);
                if (j % 2)
                    ONE_OF(umf_watch_cancel(watches[j]), 0, -EALREADY);
                umf_watch_unref(watches[j]);
            }
            more = goes_on(kind);
        }
        umf_loop_unref(loop);
        CHECK(atomic_load(&told.releases) == made && atomic_load(&told.calls) <= made);
    }
    close(event);
}

static void *
watches(void *unused)
{
    (void)unused;
    watch_with(0, 1);
    return NULL;
}

static void *
watches_by_thread(void *unused)
{
    (void)unused;
    watch_with(UMF_LOOP_THREAD, 2);
    return NULL;
}

static int
run_job(void *data)
{
    return (uintptr_t)data % 2 ? UMF_JOB_SUBMITTED : UMF_JOB_DONE;
}

static atomic_ullong jobs_released;

static void
release_job(void *data, int result)
{
    (void)data;
    ONE_OF(result, 0, UNMET, -ECANCELED);
    atomic_fetch_add(&jobs_released, 1);
}

static void *
queues(void *unused)
{
    uint64_t state = 5, submitted = 0;
    bool more = true;
    (void)unused;
    while (more) {
        struct umf_loop *loop;
        struct umf_queue *queue;
        OK(umf_loop_create(UMF_LOOP_THREAD, &loop));
        OK(umf_queue_create(loop, random_word(&state) & 1 ? UMF_QUEUE_INLINE : 0, &queue));
        for (unsigned i = 0; i < 32 && more; i++) {
            uint64_t choice = random_word(&state);
            struct umf_condition wait[2] = { entry(&state), entry(&state) };
            struct umf_fence *target = steady[choice % STEADY];
            struct umf_signal signal = { target, umf_fence_pending_value(target) + choice % 3 };
            struct umf_job job = { .size = sizeof(job),
                                   .wait_count = (choice >> 8) % 3,
                                   .waits = wait,
                                   .signal_count = (choice >> 16) % 2,
                                   .signals = &signal,
                                   .run = run_job,
                                   .release = release_job,
                                   .data = (void *)(uintptr_t)(choice >> 24) };
            submitted += ONE_OF(umf_queue_submit(queue, &job, 0), 0, FAILED) == 0;
            if (i % 8 == 7)
                ONE_OF(umf_queue_drain(queue, in_ns(20000)), 0, -ETIME);
            if (i % 16 == 15)
                OK(umf_queue_cancel(queue));
            more = goes_on(3);
        }
        umf_queue_unref(queue);
        umf_loop_unref(loop);
    }
    CHECK(atomic_load(&jobs_released) == submitted);
    return NULL;
}

static unsigned long external_opened;

static void *
everything_else(void *unused)
{
    const uint64_t far = UINT64_MAX;
    const struct umf_mapping mapped = { .size = sizeof(mapped), .value = &far };
    uint64_t state = 7;
    (void)unused;
    for (uint64_t i = 1; goes_on(4); i++) {
        struct umf_fence *created = NULL, *opened = NULL, *external = NULL;
        struct umf_page *again = NULL;
        uint64_t choice = random_word(&state);
        uint32_t deadlocks;
        int fd = -1, error = 1;
        uint64_t kind = choice % 4 | (choice & 0x80 ? UMF_FENCE_UNORDERED : 0);
        ONE_OF(umf_fence_create(page, i, kind, &created), 0, -ENOSPC, -EINVAL);
        ONE_OF(umf_fence_open(page, (uint32_t)(choice >> 8) % (SLOTS + 1), 0, &opened), 0, -ENOENT,
               -EOPNOTSUPP);
        if (ONE_OF(umf_fence_open_in(page, (uint32_t)(choice >> 16) % (SLOTS + 1), &mapped, 0,
                                     &external),
                   0, -ENOENT, -EINVAL) == 0) {
            /* Its value is in this process's own memory, whatever the page says. */
            uint64_t value = umf_fence_value(external);
            CHECK(value == UINT64_MAX || value == UINT32_MAX);
            external_opened++;
        }
        ONE_OF(umf_page_import(raw.fd, 0, &again), 0, -EINVAL);
        CHECK(umf_page_fence_count(page) == SLOTS && (!again || again == page));
        struct umf_fence *fence = opened ? opened : created ? created : steady[choice % STEADY];
        bool holds = is_latched(fence);
        uint64_t seen = umf_fence_value(fence);
        ONE_OF(umf_fence_submit(fence, seen + 2), 0, FAILED);
        ONE_OF(umf_fence_signal(fence, seen + 1), 0, FAILED);
        ONE_OF(umf_fence_update(fence, UMF_UPDATE_SUBTRACT, choice >> 60, 0, NULL), 0, FAILED);
        ONE_OF(umf_fence_notify(fence), 0, -ESTALE);
        ONE_OF(umf_fence_import_sync_file(fence, seen + 2, -1, 0, 0), 0, FAILED);
        if (choice >> 60 == 0)
            ONE_OF(umf_fence_set_error(fence, -(int)(choice >> 16) % 4095 - 1), 0, -ESTALE,
                   -EINVAL);
        if (ONE_OF(umf_fence_error(fence, &error), 0, -ESTALE) == 0)
            CHECK(error <= 0 && error >= -4095);
        if (can_export &&
            ONE_OF(umf_fence_export_sync_file(fence, seen + 1, NULL, 0, in_ns(10000), &fd), 0,
                   -ETIME, FAILED) == 0)
            close(fd);
        ONE_OF(umf_fence_wait(fence, seen + 2, in_ns(5000)), 0, -ETIME, FAILED);
        CHECK(!holds || umf_fence_pending_value(fence) >= seen);
        CHECK(!holds || umf_fence_value(fence) >= seen);
        if (holds)
            OK(umf_fence_wait(fence, seen, 0));
        if (i % 8 == 0)
            OK(umf_graph_write(null, i % 16 == 0 ? UMF_GRAPH_DOT : 0, &deadlocks));
        if (i % 8 == 4) {
            uint32_t reclaimed = SLOTS + 1;
            OK(umf_page_reclaim(page, 0, &reclaimed));
            CHECK(reclaimed <= SLOTS);
        }
        umf_fence_unref(created);
        umf_fence_unref(opened);
        umf_fence_unref(external);
        umf_page_unref(again);
    }
    return NULL;
}

/* Threads that use a page that the peer does not have. They wait without deadline, so a lost
 * wake-up would hang. */

static atomic_ullong trips;
static atomic_bool no_more_trips;

static void *
answers(void *unused)
{
    (void)unused;
    for (uint64_t i = 1;; i++) {
        OK(umf_fence_wait(ping, i, FOREVER));
        OK(umf_fence_signal(pong, i));
        if (atomic_load(&no_more_trips) && umf_fence_value(ping) == UINT64_MAX)
            return NULL;
    }
}

static void *
asks(void *longest)
{
    for (uint64_t i = 1; !atomic_load(&no_more_trips); i++) {
        uint64_t began = now_ns();
        OK(umf_fence_signal(ping, i));
        OK(umf_fence_wait(pong, i, FOREVER));
        uint64_t took = now_ns() - began;
        if (took > *(uint64_t *)longest)
            *(uint64_t *)longest = took;
        atomic_fetch_add(&trips, 1);
        while (atomic_load(&all_rest) && !atomic_load(&no_more_trips))
            nanosleep(&(struct timespec){ .tv_nsec = 5 * 1000 * 1000 }, NULL);
    }
    OK(umf_fence_signal(ping, UINT64_MAX));
    return NULL;
}

/* Replaces the fences that have ended. The rest of the page stays as the peer left it, and so do
 * the old handles. */
static void
renew(unsigned round)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        put64(SLOTS_AT + SLOT_SIZE * i + SLOT_STATE, STATE_COUNT((round + 1) << 10));
        put64(SLOTS_AT + SLOT_SIZE * i + SLOT_CREATOR, i < STEADY ? 0 : 1);
    }
    for (unsigned i = 0; i < STEADY; i++) {
        umf_fence_unref(steady[i]);
        put64(16, i); /* the next free slot */
        OK(umf_fence_create(page, 0,
                            i % 4 == 3   ? UMF_FENCE_32BIT
                            : i % 4 == 2 ? UMF_FENCE_DEVICE
                                         : 0,
                            &steady[i]));
        CHECK(umf_fence_index(steady[i]) == i);
    }
}

/* How many mappings of pages this process has. Other mappings come and go with threads. An emulator
 * lists some mappings at times only: -1. */
static int
page_mappings(void)
{
    if (is_emulated())
        return -1;
    char line[512];
    int count = 0;
    FILE *maps = fopen("/proc/self/maps", "re");
    CHECK(maps);
    while (fgets(line, sizeof(line), maps))
        count += strstr(line, "umf-page") != NULL;
    fclose(maps);
    return count;
}

/* After how many windows this process used as little CPU time as it may. */
static unsigned
windows_until_quiet(void)
{
    for (unsigned windows = 1; windows <= MOST_WINDOWS; windows++) {
        uint64_t began = now_ns(), before = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
        nanosleep(&(struct timespec){ .tv_nsec = WINDOW }, NULL);
        uint64_t used = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - before;
        if (RUNNING_ON_VALGRIND || used * 100 <= (now_ns() - began) * MOST_SHARE)
            return windows;
    }
    return MOST_WINDOWS + 1;
}

/* A file changes its size until it is sealed, and is imported meanwhile: refused, or accepted
 * with its final size. */
static void
truncated_while_it_is_imported(unsigned times)
{
    const struct page_header header = { PAGE_MAGIC, PAGE_VERSION, 64 };
    unsigned taken = 0, refused = 0;
    for (unsigned i = 0; i < times; i++) {
        int fd = memfd_create("umf-test", MFD_CLOEXEC | MFD_ALLOW_SEALING), got;
        struct umf_page *imported = NULL;
        pid_t pid;
        CHECK(fd >= 0 && ftruncate(fd, 8192) == 0 &&
              pwrite(fd, &header, sizeof(header), 0) == sizeof(header));
        IN_CHILD(pid, {
            for (unsigned j = 0; j < i % 50; j++) {
                CHECK(ftruncate(fd, j % 3 * 4096) == 0 && ftruncate(fd, 8192) == 0);
                CHECK(pwrite(fd, &header, sizeof(header), 0) == sizeof(header));
            }
            CHECK(ftruncate(fd, i % 2 ? 8192 : 4096) == 0);
            CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0);
        });
        while ((got = ONE_OF(umf_page_import(fd, 0, &imported), 0, -EINVAL)) != 0 &&
               waitpid(pid, NULL, WNOHANG) == 0)
            ;
        if (got == 0) {
            struct umf_fence *fence;
            CHECK(umf_page_fence_count(imported) == 64 && i % 2);
            OK(umf_fence_create(imported, 7, 0, &fence));
            OK(umf_fence_signal(fence, 8));
            umf_fence_unref(fence);
            umf_page_unref(imported);
            taken++;
        } else {
            refused++;
        }
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
        close(fd);
    }
    while (waitpid(-1, NULL, 0) > 0)
        ;
    printf("%u files that changed while they were imported: %u taken, %u refused\n", times, taken,
           refused);
}

/* A peer can requeue a thread that sleeps on a page's event count to another word. The loop must
 * end all the same. */
static void
a_loop_that_was_moved_away_ends(void)
{
    const struct umf_callback callback = { on_call, on_release, &(struct told){ 0 } };
    struct umf_page *moved;
    struct umf_fence *fence;
    struct umf_loop *loop;
    OK(umf_page_create(1, 0, &moved));
    OK(umf_fence_create(moved, 0, 0, &fence));
    struct raw words = map_raw(moved);
    struct umf_condition wait = { fence, 1, UMF_OP_GE, 0, 0 };
    OK(umf_loop_create(UMF_LOOP_THREAD, &loop));
    OK(umf_loop_watch(loop, &wait, 0, &callback, NULL));
    while (syscall(SYS_futex, words.bytes + EVENT_COUNT, FUTEX_REQUEUE, 0, (long)INT32_MAX,
                   words.bytes + SLOTS_AT + SLOT_FUTEX, 0) < 1)
        sched_yield();
    umf_loop_unref(loop);
    umf_fence_unref(fence);
    unmap_raw(&words);
    umf_page_unref(moved);
}

int
main(int argc, char **argv)
{
    static void *(*const threads_of[])(void *) = { waits,           watches,
                                                   watches_by_thread, queues,
                                                   everything_else, uses_the_set,
                                                   uses_the_set_too };
    const unsigned count = ARRAY_SIZE(threads_of);
    pthread_t threads[8], asking, answering;
    unsigned todo = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : rounds(3, 1);
    uint64_t longest = 0;
    unsigned most_windows = 0;
    int status;
    pid_t pid;
    struct umf_caps caps = { .size = sizeof(caps) };

    /* Enough for each round on a busy machine; a hang never ends. */
    watchdog(30 + 5 * todo);
    CHECK(todo > 0 && setenv("LIBUMF_DEBUG", "1", 1) == 0);
    /* The library prints deadlocks that the peer made up: that would fill the screen. */
    complaints = dup(STDERR_FILENO);
    CHECK(complaints >= 0 && (stderr = fdopen(complaints, "w")));
    CHECK(dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), STDERR_FILENO) == STDERR_FILENO);
    if (argc > 2 && RUNNING_ON_VALGRIND)
        return SKIPPED;
    if (argc > 2)
        forbid_futex_waitv(ENOSYS);
    OK(umf_query_caps(&caps));
    can_export = caps.flags & UMF_CAP_UDMABUF;
    if (!can_export)
        printf("not available: sync_files that are exported (no udmabuf)\n");
    truncated_while_it_is_imported(rounds(200, 10));
    if (!RUNNING_ON_VALGRIND)
        a_loop_that_was_moved_away_ends();

    null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    control = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(null >= 0 && control != MAP_FAILED);
    control->victim = getpid();
    OK(umf_page_create(SLOTS, 0, &page));
    OK(umf_page_create(4, 0, &quiet));
    for (unsigned i = 0; i < STEADY; i++)
        OK(umf_fence_create(page, 0,
                            i % 4 == 3   ? UMF_FENCE_32BIT
                            : i % 4 == 2 ? UMF_FENCE_DEVICE
                                         : 0,
                            &steady[i]));
    OK(umf_fence_create(quiet, 0, 0, &ping));
    OK(umf_fence_create(quiet, 0, 0, &pong));
    OK(umf_fence_create(quiet, 0, 0, &elsewhere));
    OK(umf_wait_set_create(0, &shared_set));
    raw = map_raw(page);
    IN_CHILD(pid, {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        overwrite();
    });
    int fds = open_fds(), maps = page_mappings();
    CHECK((maps == 3 || is_emulated()) && pthread_barrier_init(&barrier, NULL, count + 1) == 0);
    for (unsigned i = 0; i < count; i++)
        CHECK(pthread_create(&threads[i], NULL, threads_of[i], NULL) == 0);
    CHECK(pthread_create(&answering, NULL, answers, NULL) == 0);
    CHECK(pthread_create(&asking, NULL, asks, &longest) == 0);

    for (unsigned round = 0; round < todo; round++) {
        unsigned long long trips_before = atomic_load(&trips);
        atomic_fetch_add(&control->asked, 1);
        while (atomic_load(&control->done) < atomic_load(&control->asked)) {
            CHECK(waitpid(pid, &status, WNOHANG) == 0);
            nanosleep(&(struct timespec){ .tv_nsec = 200000 }, NULL);
        }
        while (atomic_load(&trips) < trips_before + 10)
            sched_yield();
        atomic_store(&all_rest, true);
        atomic_store(&resting, true);
        pthread_barrier_wait(&barrier);
        renew(round);
        atomic_store(&resting, false);
        atomic_store(&ending, round == todo - 1);
        pthread_barrier_wait(&barrier);
        unsigned windows = windows_until_quiet();
        if (windows > most_windows)
            most_windows = windows;
        if (windows > MOST_WINDOWS) {
            fprintf(stderr, "busy while the peer rests\n");
            return 1;
        }
        for (unsigned i = 0; i < STEADY; i++)
            ONE_OF(umf_fence_signal(steady[i], LAST(i)), 0, FAILED);
        pthread_barrier_wait(&barrier);
        atomic_store(&all_rest, false);
    }
    for (unsigned i = 0; i < count; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    atomic_store(&no_more_trips, true);
    CHECK(pthread_join(asking, NULL) == 0 && pthread_join(answering, NULL) == 0);
    CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, &status, 0) == pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    CHECK(open_fds() == fds && page_mappings() == maps);
    printf("%llu mutations, %llu holes, %llu changes of size refused, %llu futex calls; meanwhile "
           "%llu rounds of calls and "
           "%llu round trips elsewhere, the longest %" PRIu64
           " us; while the peer rested %u of %u waits were met, and nobody "
           "was busy after %u ms at most; %lu times a slot that the peer wrote was opened as "
           "external memory\n",
           atomic_load(&control->mutations), atomic_load(&control->holes),
           atomic_load(&control->refused), atomic_load(&control->futexes),
           atomic_load(&control->calls), atomic_load(&trips), longest / 1000, atomic_load(&met),
           todo * count, most_windows * 10, external_opened);
    for (unsigned i = 0; i < STEADY; i++)
        umf_fence_unref(steady[i]);
    umf_fence_unref(ping);
    umf_fence_unref(pong);
    umf_fence_unref(elsewhere);
    umf_wait_set_unref(shared_set);
    unmap_raw(&raw);
    umf_page_unref(page);
    umf_page_unref(quiet);
    close(null);
    return 0;
}
