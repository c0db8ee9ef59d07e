// SPDX-License-Identifier: MIT
/* Calls that only touch memory: what a fence costs while nothing sleeps. */
#include "bench.h"
#include "peer.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#ifdef HAVE_XSHMFENCE
#include <X11/xshmfence.h>
#endif

/* How many calls of one or two instructions, and how many system calls, make a sample: short, so
 * that most samples are undisturbed. */
#define FEW 1000
#define MANY 20000

#define LIST_LENGTH 128

static struct umf_page *fences;
static struct umf_fence *fence, *unordered;
static uint64_t value;
static struct umf_condition list[LIST_LENGTH];
static _Atomic uint64_t *words;
static int event;
static struct monitor {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    uint64_t value;
} *monitor;
#ifdef HAVE_XSHMFENCE
static struct xshmfence *xshmfence;
#endif

/* Runs a statement many times. It must evaluate to 0. */
#define TIMED(times, call)                                     \
    do {                                                       \
        int64_t failed_ = 0;                                   \
        uint64_t start_ = now_ns();                            \
        for (unsigned i_ = 0; i_ < (times); i_++)              \
            failed_ |= (call);                                 \
        double taken_ = (double)(now_ns() - start_) / (times); \
        EXPECT(0, failed_);                                    \
        return taken_;                                         \
    } while (0)

static double
signal_umf(void *state)
{
    (void)state;
    TIMED(MANY, umf_fence_signal(fence, ++value));
}

/* Each of these is a rewind, as most steps of a countdown are. */
static double
store_umf(void *state)
{
    (void)state;
    TIMED(MANY, umf_fence_signal(unordered, --value));
}

static double
subtract_umf(void *state)
{
    (void)state;
    TIMED(MANY, umf_fence_update(unordered, UMF_UPDATE_SUBTRACT, 1, 0, NULL));
}

static double
exchange_inline(void *state)
{
    (void)state;
    TIMED(MANY, atomic_exchange(words, ++value) == 0);
}

static double
exchange_called(void *state)
{
    (void)state;
    TIMED(MANY, peer_exchange(words, ++value) == 0);
}

static int
create_one(void)
{
    struct umf_fence *created;
    int result = umf_fence_create(fences, 0, 0, &created);
    umf_fence_unref(created);
    return result;
}

static double
create_umf(void *state)
{
    (void)state;
    TIMED(FEW, create_one());
}

/* As large as a handle of ours, with its place in the allocator. */
static double
allocate(void *state)
{
    (void)state;
    TIMED(FEW, peer_allocate(128));
}

static double
create_eventfd(void *state)
{
    (void)state;
    TIMED(FEW, close(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)));
}

static double
signal_eventfd(void *state)
{
    (void)state;
    TIMED(FEW, eventfd_write(event, 1));
}

static double
signal_pthread(void *state)
{
    (void)state;
    TIMED(MANY, pthread_mutex_lock(&monitor->mutex) || monitor->value++ == 0 ||
                    pthread_cond_signal(&monitor->cond) || pthread_mutex_unlock(&monitor->mutex));
}

static double
value_umf(void *state)
{
    (void)state;
    TIMED(MANY, umf_fence_value(fence) == 0);
}

static double
load_called(void *state)
{
    (void)state;
    TIMED(MANY, peer_load(words) == 0);
}

static double
wait_umf(void *state)
{
    (void)state;
    TIMED(MANY, umf_fence_wait(fence, 1, FOREVER));
}

static double
poll_called(void *state)
{
    (void)state;
    TIMED(MANY, peer_poll(words, 1));
}

static double
wait_pthread(void *state)
{
    (void)state;
    TIMED(MANY, pthread_mutex_lock(&monitor->mutex) || monitor->value == 0 ||
                    pthread_mutex_unlock(&monitor->mutex));
}

static double
wait_eventfd(void *state)
{
    (void)state;
    struct pollfd entry = {.fd = event, .events = POLLIN};
    TIMED(FEW, poll(&entry, 1, 0) != 1);
}

static double
unmet_umf(void *state)
{
    (void)state;
    TIMED(MANY, umf_fence_wait(fence, UINT64_MAX, 0) != -ETIME);
}

static double
unmet_called(void *state)
{
    (void)state;
    TIMED(MANY, peer_poll(words, UINT64_MAX) != -1);
}

/* Every value is new, so each is read from shared memory and latched. */
static double
news_umf(void *state)
{
    (void)state;
    TIMED(MANY, umf_fence_signal(fence, ++value) || umf_fence_wait(fence, value, FOREVER));
}

static double
news_called(void *state)
{
    (void)state;
    TIMED(MANY, peer_exchange(words, ++value) == 0 || peer_poll(words, value));
}

static double
list_umf(void *state)
{
    (void)state;
    TIMED(FEW, umf_wait(list, LIST_LENGTH, 0, FOREVER, NULL));
}

static int
list_look(void)
{
    int unmet = 0;
    for (unsigned i = 0; i < LIST_LENGTH; i++)
        unmet |= peer_poll(&words[8 * i], 1);
    return unmet;
}

static double
list_called(void *state)
{
    (void)state;
    TIMED(FEW, list_look());
}

#ifdef HAVE_XSHMFENCE
/* One frame's use of an xshmfence: after a trigger it must be reset before the next. */
static double
signal_xshmfence(void *state)
{
    (void)state;
    TIMED(MANY, xshmfence_trigger(xshmfence) || (xshmfence_reset(xshmfence), 0));
}

static double
wait_xshmfence(void *state)
{
    (void)state;
    xshmfence_trigger(xshmfence);
    TIMED(MANY, xshmfence_await(xshmfence));
}
#define XSHMFENCE(name, sample) {name, sample, NULL, NULL}
#else
#define XSHMFENCE(name, sample) {name, NULL, NULL, "not built: no xshmfence"}
#endif

static void
set_up(void)
{
    struct umf_page *page = new_page(2 + LIST_LENGTH);
    fence = new_fence(page);
    OK(umf_fence_create(page, 0, UMF_FENCE_UNORDERED, &unordered));
    for (unsigned i = 0; i < LIST_LENGTH; i++) {
        list[i] = (struct umf_condition){.fence = new_fence(page), .value = 1};
        OK(umf_fence_signal(list[i].fence, 1));
    }
    umf_page_unref(page);
    fences = new_page(64);

    words = shared_memory(LIST_LENGTH * 8 * sizeof(*words));
    for (unsigned i = 0; i < LIST_LENGTH; i++)
        atomic_store(&words[8 * i], 1);

    event = eventfd(1, EFD_CLOEXEC);
    CHECK(event >= 0);

    monitor = shared_memory(sizeof(*monitor));
    pthread_mutexattr_t mutex;
    pthread_condattr_t cond;
    CHECK(pthread_mutexattr_init(&mutex) == 0 && pthread_condattr_init(&cond) == 0);
    CHECK(pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED) == 0);
    CHECK(pthread_condattr_setpshared(&cond, PTHREAD_PROCESS_SHARED) == 0);
    CHECK(pthread_mutex_init(&monitor->mutex, &mutex) == 0 &&
          pthread_cond_init(&monitor->cond, &cond) == 0);
    monitor->value = 1;

#ifdef HAVE_XSHMFENCE
    int fd = xshmfence_alloc_shm();
    CHECK(fd >= 0);
    xshmfence = xshmfence_map_shm(fd);
    CHECK(xshmfence);
    close(fd);
#endif
}

#define COMPARE(row, ...)                                                    \
    do {                                                                     \
        const struct contender list_[] = {__VA_ARGS__};                      \
        compare(row, "ns", ROUNDS, list_, ARRAY_SIZE(list_)); \
    } while (0)

void
bench_calls(void)
{
    section("Nobody sleeps: one thread, one call");
    set_up();
    COMPARE("signal, nobody waits",
            {"libumf", signal_umf, NULL, NULL},
            {"atomic exchange, inlined", exchange_inline, NULL, NULL},
            {"atomic exchange, called", exchange_called, NULL, NULL},
            XSHMFENCE("xshmfence trigger and reset", signal_xshmfence),
            {"pthread lock, set, cond_signal, unlock", signal_pthread, NULL, NULL},
            {"eventfd write", signal_eventfd, NULL, NULL});
    COMPARE("store without order, nobody waits",
            {"libumf", store_umf, NULL, NULL},
            {"libumf, subtract", subtract_umf, NULL, NULL},
            {"atomic exchange, called", exchange_called, NULL, NULL});
    COMPARE("value",
            {"libumf", value_umf, NULL, NULL},
            {"atomic load, called", load_called, NULL, NULL});
    COMPARE("wait for what is reached",
            {"libumf", wait_umf, NULL, NULL},
            {"atomic load and compare, called", poll_called, NULL, NULL},
            XSHMFENCE("xshmfence await", wait_xshmfence),
            {"pthread lock, look, unlock", wait_pthread, NULL, NULL},
            {"poll of an eventfd", wait_eventfd, NULL, NULL});
    COMPARE("poll of what is not reached",
            {"libumf", unmet_umf, NULL, NULL},
            {"atomic load and compare, called", unmet_called, NULL, NULL});
    COMPARE("signal, then wait for it",
            {"libumf", news_umf, NULL, NULL},
            {"atomic exchange, load, called", news_called, NULL, NULL});
    COMPARE("create a fence and end it, nobody waited",
            {"libumf", create_umf, NULL, NULL},
            {"malloc and free", allocate, NULL, NULL},
            {"eventfd, made and closed", create_eventfd, NULL, NULL});
    COMPARE("wait for all of 128, all reached",
            {"libumf", list_umf, NULL, NULL},
            {"128 atomic loads, each called", list_called, NULL, NULL});
}
