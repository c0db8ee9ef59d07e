// SPDX-License-Identifier: MIT
/* Round trips between two processes: one signals, and waits for the other's answer. */
#include "futex.h"
#include "link.h"

#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#ifdef HAVE_XSHMFENCE
#include <X11/xshmfence.h>
#endif

#define TRIPS 100

/* on its own cache line, as a fence is */
struct shared {
    _Alignas(64) _Atomic uint32_t word;
};

struct monitor {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    uint32_t number;
};

void
umf_link_open(struct link *link)
{
    struct umf_page *page = new_page(2);
    for (int way = 0; way < 2; way++)
        link->ways[way].memory = new_fence(page);
    umf_page_unref(page);
}

void
umf_link_send(struct link *link, int way, uint32_t number)
{
    OK(umf_fence_signal(link->ways[way].memory, number));
}

void
umf_link_receive(struct link *link, int way, uint32_t number)
{
    OK(umf_fence_wait(link->ways[way].memory, number, FOREVER));
}

static void
unordered_link_open(struct link *link)
{
    struct umf_page *page = new_page(2);
    for (int way = 0; way < 2; way++) {
        struct umf_fence *fence;
        OK(umf_fence_create(page, 0, UMF_FENCE_UNORDERED, &fence));
        link->ways[way].memory = fence;
    }
    umf_page_unref(page);
}

static void
words_open(struct link *link)
{
    for (int way = 0; way < 2; way++)
        link->ways[way].memory = shared_memory(sizeof(struct shared));
}

static _Atomic uint32_t *
word_of(struct link *link, int way)
{
    struct shared *shared = link->ways[way].memory;
    return &shared->word;
}

static void
futex_send(struct link *link, int way, uint32_t number)
{
    futex_signal(word_of(link, way), number, 1);
}

static void
futex_receive(struct link *link, int way, uint32_t number)
{
    futex_wait_for(word_of(link, way), number);
}

static void
spin_send(struct link *link, int way, uint32_t number)
{
    atomic_store(word_of(link, way), number);
}

static void
spin_receive(struct link *link, int way, uint32_t number)
{
    while (atomic_load(word_of(link, way)) < number)
        ;
}

static void
event_open(struct link *link)
{
    for (int way = 0; way < 2; way++) {
        link->ways[way].number = eventfd(0, EFD_CLOEXEC);
        CHECK(link->ways[way].number >= 0);
    }
}

static void
event_send(struct link *link, int way, uint32_t number)
{
    (void)number;
    CHECK(eventfd_write(link->ways[way].number, 1) == 0);
}

static void
event_receive(struct link *link, int way, uint32_t number)
{
    (void)number;
    eventfd_t count;
    CHECK(eventfd_read(link->ways[way].number, &count) == 0 && count == 1);
}

static void
pthread_open(struct link *link)
{
    pthread_mutexattr_t mutex;
    pthread_condattr_t cond;
    CHECK(pthread_mutexattr_init(&mutex) == 0 && pthread_condattr_init(&cond) == 0);
    CHECK(pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED) == 0);
    CHECK(pthread_condattr_setpshared(&cond, PTHREAD_PROCESS_SHARED) == 0);
    for (int way = 0; way < 2; way++) {
        struct monitor *monitor = link->ways[way].memory = shared_memory(sizeof(*monitor));
        CHECK(pthread_mutex_init(&monitor->mutex, &mutex) == 0);
        CHECK(pthread_cond_init(&monitor->cond, &cond) == 0);
    }
}

static void
pthread_send(struct link *link, int way, uint32_t number)
{
    struct monitor *monitor = link->ways[way].memory;
    CHECK(pthread_mutex_lock(&monitor->mutex) == 0);
    monitor->number = number;
    CHECK(pthread_cond_signal(&monitor->cond) == 0);
    CHECK(pthread_mutex_unlock(&monitor->mutex) == 0);
}

static void
pthread_receive(struct link *link, int way, uint32_t number)
{
    struct monitor *monitor = link->ways[way].memory;
    CHECK(pthread_mutex_lock(&monitor->mutex) == 0);
    while (monitor->number < number)
        CHECK(pthread_cond_wait(&monitor->cond, &monitor->mutex) == 0);
    CHECK(pthread_mutex_unlock(&monitor->mutex) == 0);
}

#ifdef HAVE_XSHMFENCE
static void
xshmfence_open(struct link *link)
{
    for (int way = 0; way < 2; way++) {
        int fd = xshmfence_alloc_shm();
        CHECK(fd >= 0);
        link->ways[way].memory = xshmfence_map_shm(fd);
        CHECK(link->ways[way].memory);
        close(fd);
    }
}

static void
xshmfence_send(struct link *link, int way, uint32_t number)
{
    (void)number;
    CHECK(xshmfence_trigger(link->ways[way].memory) == 0);
}

static void
xshmfence_receive(struct link *link, int way, uint32_t number)
{
    (void)number;
    CHECK(xshmfence_await(link->ways[way].memory) == 0);
    xshmfence_reset(link->ways[way].memory);
}
#define XSHMFENCE {"xshmfence", xshmfence_open, xshmfence_send, xshmfence_receive, .absent = NULL}
#else
#define XSHMFENCE {"xshmfence", .absent = "not built: no xshmfence"}
#endif

static void
answer(struct link *link)
{
    for (;;) {
        eventfd_t trips;
        CHECK(eventfd_read(link->turn, &trips) == 0);
        for (; trips > 0; trips--) {
            link->receive(link, 0, ++link->sent);
            link->send(link, 1, link->sent);
        }
    }
}

void
start_links(struct link *links, size_t count)
{
    for (struct link *link = links; link < links + count; link++) {
        if (link->absent)
            continue;
        link->turn = eventfd(0, EFD_CLOEXEC);
        CHECK(link->turn >= 0);
        link->open(link);
        IN_CHILD(link->child, {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (link->enter_child)
                link->enter_child(link);
            answer(link);
        });
    }
}

void
stop_links(struct link *links, size_t count)
{
    for (struct link *link = links; link < links + count; link++) {
        int status;
        if (link->absent)
            continue;
        /* A process that ended by itself saw a check fail. */
        CHECK(waitpid(link->child, &status, WNOHANG) == 0);
        CHECK(kill(link->child, SIGKILL) == 0);
        CHECK(waitpid(link->child, &status, 0) == link->child);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    }
}

static void
trip(struct link *link)
{
    link->send(link, 0, ++link->sent);
    link->receive(link, 1, link->sent);
}

static double
sample(void *state)
{
    struct link *link = state;
    CHECK(eventfd_write(link->turn, 1 + TRIPS) == 0);
    trip(link);
    uint64_t begin = now_ns();
    for (unsigned i = 0; i < TRIPS; i++)
        trip(link);
    return (double)(now_ns() - begin) / TRIPS;
}

void
compare_links(const char *row, struct link *links, size_t count, int our_cpu, int their_cpu)
{
    struct contender list[8];
    CHECK(count <= ARRAY_SIZE(list));
    pin(0, our_cpu);
    for (size_t i = 0; i < count; i++) {
        if (!links[i].absent)
            pin(links[i].child, their_cpu);
        list[i] = (struct contender){links[i].name, sample, &links[i], links[i].absent};
    }
    compare(row, "ns", ROUNDS, list, count);
    unpin();
}

void
bench_round_trips(void)
{
    section("Round trip between two processes");
    struct link links[] = {
        UMF_LINK,
        {"libumf, without order", unordered_link_open, umf_link_send, umf_link_receive,
         .absent = NULL},
        {"futex, hand-written", words_open, futex_send, futex_receive, .absent = NULL},
        {"eventfd, one for each way", event_open, event_send, event_receive, .absent = NULL},
        {"pthread mutex and cond, shared", pthread_open, pthread_send, pthread_receive,
         .absent = NULL},
        XSHMFENCE,
        /* Last: this one does not run on one core. */
        {"spinning: no sleep, a core each", words_open, spin_send, spin_receive, .absent = NULL},
    };
    size_t count = ARRAY_SIZE(links);
    struct cpus cpus = usable_cpus();

    start_links(links, count);
    compare_links("on one core, sleeping in turn", links, count - 1, cpus.cpu[0],
                  cpus.cpu[0]);
    if (cpus.count > 1)
        compare_links("on two cores", links, count, cpus.cpu[0], cpus.cpu[1]);
    else
        report_absent("on two cores", "not run: one processor");
    stop_links(links, count);
}
