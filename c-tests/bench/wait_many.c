// SPDX-License-Identifier: MIT
/*
 * One thread sleeps for any, or for all, of many fences. Another signals. Both run on one core that
 * never halts.
 */
#include "bench.h"
#include "futex.h"

#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

/* Many fences of one kind, and the way to wait for them. */
struct many {
    const char *name;
    void (*open)(struct many *many);
    /* For any: until one has a signal that was not consumed. For all: until all have one. */
    void (*wait)(struct many *many);
    void (*signal)(struct many *many, unsigned index);
    /* The signal was waited for; the next wait is for another. */
    void (*consume)(struct many *many, unsigned index);
    void (*close)(struct many *many);

    unsigned count;
    bool all;
    /* Reports the waiter's CPU time for the whole wait, not the time from signal to return. */
    bool cpu_time;
    /* 0: all fences are on one page. */
    unsigned fences_per_page;

    /* The state of this contender's random numbers. All contenders get the same sequence. */
    uint32_t random;
    struct umf_condition *waits;
    struct word {
        _Alignas(64) _Atomic uint32_t word;
    } *words;
    uint32_t *wanted;
    struct pollfd *polls;
    /* owner of the eventfds */
    const struct many *lender;
    int epoll;
    struct umf_wait_set *set;
    uint64_t *ids;
};

static uint32_t
random_below(struct many *many, uint32_t limit)
{
    many->random = many->random * 1664525 + 1013904223;
    return (uint32_t)((uint64_t)many->random * limit >> 32);
}

static void *
zeroed(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    CHECK(memory);
    return memory;
}

static void
umf_open(struct many *many)
{
    unsigned per_page = many->fences_per_page ? many->fences_per_page : many->count;
    struct umf_page *page = NULL;
    many->waits = zeroed(many->count, sizeof(*many->waits));
    for (unsigned i = 0; i < many->count; i++) {
        if (i % per_page == 0) {
            umf_page_unref(page);
            page = new_page(per_page);
        }
        many->waits[i] = (struct umf_condition){.fence = new_fence(page), .value = 1};
    }
    umf_page_unref(page);
}

static void
umf_wait_many(struct many *many)
{
    uint32_t index;
    if (many->all) {
        OK(umf_wait(many->waits, many->count, 0, FOREVER, NULL));
    } else {
        OK(umf_wait(many->waits, many->count, UMF_WAIT_ANY, FOREVER, &index));
        CHECK(umf_fence_value(many->waits[index].fence) == many->waits[index].value);
    }
}

static void
umf_signal(struct many *many, unsigned index)
{
    OK(umf_fence_signal(many->waits[index].fence, many->waits[index].value));
}

static void
umf_consume(struct many *many, unsigned index)
{
    many->waits[index].value++;
}

static void
umf_close(struct many *many)
{
    for (unsigned i = 0; i < many->count; i++)
        umf_fence_unref(many->waits[i].fence);
    free(many->waits);
}

static void
set_open(struct many *many)
{
    umf_open(many);
    many->ids = zeroed(many->count, sizeof(*many->ids));
    OK(umf_wait_set_create(0, &many->set));
    for (unsigned i = 0; i < many->count; i++)
        OK(umf_wait_set_add(many->set, &many->waits[i], 0, i, &many->ids[i]));
}

static void
set_wait(struct many *many)
{
    struct umf_wait_set_result result;
    uint32_t count;
    OK(umf_wait_set_wait(many->set, &result, 1, FOREVER, &count));
    CHECK(count == 1 && result.result == 0);
}

static void
set_consume(struct many *many, unsigned index)
{
    many->waits[index].value++;
    OK(umf_wait_set_modify(many->set, many->ids[index], &many->waits[index], 0));
}

static void
set_close(struct many *many)
{
    umf_wait_set_unref(many->set);
    free(many->ids);
    umf_close(many);
}

static void
words_open(struct many *many)
{
    many->words = shared_memory(many->count * sizeof(*many->words));
    many->wanted = zeroed(many->count, sizeof(*many->wanted));
    for (unsigned i = 0; i < many->count; i++)
        many->wanted[i] = 1;
}

/* One after the other: what was signaled stays signaled. */
static void
words_wait_all(struct many *many)
{
    for (unsigned i = 0; i < many->count; i++)
        futex_wait_for(&many->words[i].word, many->wanted[i]);
}

static void
words_signal(struct many *many, unsigned index)
{
    futex_signal(&many->words[index].word, many->wanted[index], 1);
}

static void
words_consume(struct many *many, unsigned index)
{
    many->wanted[index]++;
}

static void
words_close(struct many *many)
{
    CHECK(munmap(many->words, many->count * sizeof(*many->words)) == 0);
    free(many->wanted);
}

#if defined(SYS_futex_waitv) && defined(FUTEX_32)
#define HAVE_WAITV 1
static void
waitv_wait_any(struct many *many)
{
    struct futex_waitv list[FUTEX_WAITV_MAX];
    for (unsigned i = 0; i < many->count; i++) {
        uint32_t seen = atomic_load(&many->words[i].word);
        if (seen == many->wanted[i])
            return;
        list[i] = (struct futex_waitv){
            .val = seen, .uaddr = (uintptr_t)&many->words[i].word, .flags = FUTEX_32};
    }
    long index = syscall(SYS_futex_waitv, list, many->count, 0, NULL, CLOCK_MONOTONIC);
    CHECK(index >= 0 && atomic_load(&many->words[index].word) == many->wanted[index]);
}

/* The word has no room to say that somebody sleeps, so every signal is a system call. */
static void
waitv_signal(struct many *many, unsigned index)
{
    atomic_store(&many->words[index].word, many->wanted[index]);
    futex(&many->words[index].word, FUTEX_WAKE, 1);
}
#else
#define HAVE_WAITV 0
#define waitv_wait_any NULL
#define waitv_signal NULL
#endif

static void
events_open(struct many *many)
{
    many->polls = zeroed(many->count, sizeof(*many->polls));
    for (unsigned i = 0; i < many->count; i++) {
        int fd = eventfd(0, EFD_CLOEXEC);
        CHECK(fd >= 0);
        many->polls[i] = (struct pollfd){.fd = fd, .events = POLLIN};
    }
}

static void
events_close(struct many *many)
{
    for (unsigned i = 0; i < many->count; i++)
        close(many->polls[i].fd);
    free(many->polls);
}

/* The eventfds are those of the contender that polls: descriptors are scarce. */
static void
epoll_open(struct many *many)
{
    many->polls = many->lender->polls;
    many->epoll = epoll_create1(EPOLL_CLOEXEC);
    CHECK(many->epoll >= 0);
    for (unsigned i = 0; i < many->count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        CHECK(epoll_ctl(many->epoll, EPOLL_CTL_ADD, many->polls[i].fd, &event) == 0);
    }
}

static void
epoll_close(struct many *many)
{
    close(many->epoll);
}

static void
epoll_wait_any(struct many *many)
{
    struct epoll_event event;
    CHECK(epoll_wait(many->epoll, &event, 1, -1) == 1);
}

static void
poll_wait_any(struct many *many)
{
    CHECK(poll(many->polls, many->count, -1) == 1);
}

static void
events_wait_all(struct many *many)
{
    for (unsigned i = 0; i < many->count; i++)
        CHECK(poll(&many->polls[i], 1, -1) == 1);
}

static void
events_signal(struct many *many, unsigned index)
{
    CHECK(eventfd_write(many->polls[index].fd, 1) == 0);
}

static void
events_consume(struct many *many, unsigned index)
{
    eventfd_t count;
    CHECK(eventfd_read(many->polls[index].fd, &count) == 0 && count == 1);
}

/* The waiter. */
static struct {
    pthread_t pthread;
    pid_t thread;
    sem_t begin, ended;
    _Atomic(struct many *) many;
    atomic_bool at_it;
    uint64_t returned_at, cpu_ns;
} waiter;

static void
wait_for(sem_t *semaphore)
{
    while (sem_wait(semaphore) != 0)
        CHECK(errno == EINTR);
}

static void *
waiter_main(void *argument)
{
    (void)argument;
    waiter.thread = thread_id();
    CHECK(sem_post(&waiter.ended) == 0);
    for (;;) {
        wait_for(&waiter.begin);
        struct many *many = waiter.many;
        if (!many)
            return NULL;
        uint64_t before = thread_cpu_ns();
        waiter.at_it = true;
        many->wait(many);
        waiter.returned_at = now_ns();
        waiter.cpu_ns = thread_cpu_ns() - before;
        waiter.at_it = false;
        CHECK(sem_post(&waiter.ended) == 0);
    }
}

static double
sample(void *state)
{
    struct many *many = state;
    waiter.many = many;
    CHECK(sem_post(&waiter.begin) == 0);
    do {
        sleep_ns(20000);
    } while (!waiter.at_it || !is_asleep(waiter.thread));

    /* One of them, or all of them once, from a random start. The step is a prime that does not
     * divide the count. */
    unsigned signals = many->all ? many->count : 1;
    unsigned first = random_below(many, many->count), index = first;
    uint64_t begin = now_ns();
    for (unsigned i = 0; i < signals; i++) {
        many->signal(many, index);
        index = (index + 7919) % many->count;
    }
    wait_for(&waiter.ended);
    double taken = many->cpu_time ? (double)waiter.cpu_ns : (double)(waiter.returned_at - begin);

    index = first;
    for (unsigned i = 0; i < signals; i++) {
        many->consume(many, index);
        index = (index + 7919) % many->count;
    }
    return taken;
}

/* Contenders that cannot take part are named in the first row alone. */
static void
compare_many(const char *row, const char *cpu_row, struct many *kinds, const char **absent,
             size_t count)
{
    struct contender list[8], able[8];
    size_t able_count = 0;
    CHECK(count <= ARRAY_SIZE(list));
    for (size_t i = 0; i < count; i++) {
        list[i] = (struct contender){kinds[i].name, sample, &kinds[i], absent[i]};
        kinds[i].random = 1;
        if (absent[i])
            continue;
        able[able_count++] = list[i];
        kinds[i].open(&kinds[i]);
    }
    compare(row, "ns", ROUNDS, list, count);
    if (cpu_row) {
        for (size_t i = 0; i < count; i++)
            kinds[i].cpu_time = true;
        compare(cpu_row, "ns", ROUNDS, able, able_count);
    }
    for (size_t i = 0; i < count; i++) {
        if (!absent[i])
            kinds[i].close(&kinds[i]);
    }
}

static void
compare_any(const char *row, const char *cpu_row, unsigned fences, unsigned per_page)
{
    struct many kinds[] = {
        {"libumf", umf_open, umf_wait_many, umf_signal, umf_consume, umf_close, .count = fences,
         .fences_per_page = per_page},
        {"futex_waitv, hand-written", words_open, waitv_wait_any, waitv_signal, words_consume,
         words_close, .count = fences},
        {"poll", events_open, poll_wait_any, events_signal, events_consume,
         events_close, .count = fences},
        {"epoll, set up before", epoll_open, epoll_wait_any, events_signal,
         events_consume, epoll_close, .count = fences, .lender = &kinds[2]},
    };
    const char *absent[4] = {NULL, NULL, NULL, NULL};
    if (!HAVE_WAITV)
        absent[1] = "not built: old kernel headers";
    else if (fences > 128)
        absent[1] = "cannot: takes 128 words at most";
    else if (syscall(SYS_futex_waitv, NULL, 0, 0, NULL, CLOCK_MONOTONIC) != 0 && errno != EINVAL)
        absent[1] = "cannot: no futex_waitv here";
    if (fences > spare_fds())
        absent[2] = absent[3] = "cannot: more files than may be open";
    compare_many(row, cpu_row, kinds, absent, 4);
}

static void
compare_sets(const char *row, const char *cpu_row, unsigned fences, unsigned per_page)
{
    struct many kinds[] = {
        {"libumf", set_open, set_wait, umf_signal, set_consume, set_close, .count = fences,
         .fences_per_page = per_page},
        {"epoll, set up before", epoll_open, epoll_wait_any, events_signal, events_consume,
         epoll_close, .count = fences},
    };
    /* Who opens the eventfds. */
    struct many events = {.count = fences};
    const char *absent[2] = {NULL, NULL};
    if (fences > spare_fds())
        absent[1] = "cannot: more files than may be open";
    else
        events_open(&events);
    kinds[1].lender = &events;
    compare_many(row, cpu_row, kinds, absent, 2);
    if (!absent[1])
        events_close(&events);
}

static void
compare_all(const char *row, unsigned fences)
{
    struct many kinds[] = {
        {"libumf", umf_open, umf_wait_many, umf_signal, umf_consume, umf_close, .count = fences,
         .all = true},
        {"futexes, hand-written, in turn", words_open, words_wait_all, words_signal, words_consume,
         words_close, .count = fences, .all = true},
        {"eventfds, polled in turn", events_open, events_wait_all, events_signal, events_consume,
         events_close, .count = fences, .all = true},
    };
    const char *absent[3] = {NULL, NULL,
                             fences > spare_fds() ? "cannot: more files than may be open" : NULL};
    compare_many(row, NULL, kinds, absent, 3);
}

void
bench_wait_many(void)
{
    pin(0, usable_cpus().cpu[0]);
    CHECK(sem_init(&waiter.begin, 0, 0) == 0 && sem_init(&waiter.ended, 0, 0) == 0);
    CHECK(pthread_create(&waiter.pthread, NULL, waiter_main, NULL) == 0);
    wait_for(&waiter.ended);

    section("Any of many: signal to return, one core");
    compare_any("any of 2", "any of 2: CPU time of it", 2, 0);
    compare_any("any of 64", "any of 64: CPU time of it", 64, 0);
    compare_any("any of 64, each on a page of its own", NULL, 64, 1);
    compare_any("any of 128", "any of 128: CPU time of it", 128, 0);
    compare_any("any of 1000", "any of 1000: CPU time of it", 1000, 0);
    compare_any("any of 10000", "any of 10000: CPU time of it", 10000, 0);
    compare_any("any of 100000", "any of 100000: CPU time of it", 100000, 0);

    section("Any of many, again and again: a wait set");
    compare_sets("any of 2", "any of 2: CPU time of it", 2, 0);
    compare_sets("any of 64", "any of 64: CPU time of it", 64, 0);
    compare_sets("any of 64, each on a page of its own", "any of 64, so: CPU time of it", 64, 1);
    compare_sets("any of 1000", "any of 1000: CPU time of it", 1000, 0);
    compare_sets("any of 10000", "any of 10000: CPU time of it", 10000, 0);
    compare_sets("any of 100000", "any of 100000: CPU time of it", 100000, 0);

    section("All of many: signals to return, one core");
    compare_all("all of 2", 2);
    compare_all("all of 64", 64);
    compare_all("all of 1000", 1000);
    compare_all("all of 10000", 10000);

    waiter.many = NULL;
    CHECK(sem_post(&waiter.begin) == 0);
    CHECK(pthread_join(waiter.pthread, NULL) == 0);
    unpin();
}
