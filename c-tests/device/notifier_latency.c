// SPDX-License-Identifier: MIT
/*
 * How soon each kind of wait ends after a device's interrupt, beside a bare poll() of the
 * interrupt's descriptor; and after a CPU's signal, beside a wait for fences that no device writes.
 * The device, or the CPU that signals, is another process.
 *
 *     notifier_latency [ROUNDS]
 */
#include "late.h"
#include "notifier.h"
#include "raw_page.h"
#include "sleeper.h"
#include "watch.h"

#include <poll.h>
#include <semaphore.h>
#include <sys/eventfd.h>

#define FENCES 1000

enum how { POLL, WAIT, ANY_OF_2, ANY_OF_1000, WATCH, DISPATCHED, JOB, SIGNALED,
           SIGNALED_ORDINARY, HOWS };

static const char *const names[HOWS] = {
    "a bare poll() of the interrupt", "umf_fence_wait()",
    "umf_wait(), any of 2",           "umf_wait(), any of 1,000",
    "a watch's callback, thread",     "a watch's callback, dispatched",
    "a queue's job",                  "any of 2, by a CPU's signal",
    "ordinary any of 2, by a signal",
};

static struct order {
    _Atomic uint64_t number, written_ns;
    _Atomic int by_cpu, to_polled;
    uint64_t value[2];
} *order;

static struct umf_page *page;
static struct umf_fence *device[FENCES], *plain[2];
static struct raw raw;
static struct umf_loop *loops[2];
static struct umf_queue *queue;
static int interrupt, polled; /* the second is not the notifier's */
static _Atomic uint64_t called_ns;
static sem_t called;

static _Noreturn void
play_device(void)
{
    for (uint64_t number = 1;; number++) {
        unsigned seed = (unsigned)number;
        while (order->number < number)
            nanosleep(&(struct timespec){ .tv_nsec = 20000 }, NULL);
        nanosleep(&(struct timespec){ .tv_nsec = 100000 + rand_r(&seed) % 200000 }, NULL);
        order->written_ns = now_ns();
        if (order->by_cpu) {
            OK(umf_fence_signal(plain[1], order->value[1]));
        } else {
            write_raw(&raw, device[0], order->value[0]);
            CHECK(write(order->to_polled ? polled : interrupt, &(uint64_t){ 1 }, 8) == 8);
        }
    }
}

static void
on_called(void *data, int result)
{
    (void)data;
    EXPECT(0, result);
    called_ns = now_ns();
    sem_post(&called);
}

static int
on_job(void *data)
{
    on_called(data, 0);
    return UMF_JOB_DONE;
}

static void
wait_for(enum how how)
{
    static struct umf_condition waits[FENCES];
    struct umf_callback callback = { .call = on_called };
    struct pollfd entry = { polled, POLLIN, 0 };
    uint64_t value = order->value[0];
    uint32_t index;
    struct umf_watch *watch;
    for (int i = 0; i < FENCES; i++)
        waits[i] = (struct umf_condition){ .fence = device[i], .value = UINT64_MAX };
    /* The fence that is written is the last of the long list. */
    waits[how == ANY_OF_1000 ? FENCES - 1 : 0] =
        (struct umf_condition){ .fence = device[0], .value = value };
    waits[1].fence = how == SIGNALED || how == ANY_OF_2 ? plain[1] : device[1];
    if (how == SIGNALED_ORDINARY) {
        waits[0] = (struct umf_condition){ .fence = plain[0], .value = UINT64_MAX };
        waits[1].fence = plain[1];
    }
    if (how >= SIGNALED)
        waits[1].value = order->value[1];
    if (how == SIGNALED)
        waits[0].value = UINT64_MAX;
    order->number++;
    switch (how) {
    case POLL:
        while (umf_fence_value(device[0]) < value) {
            CHECK(poll(&entry, 1, -1) == 1);
            CHECK(read(polled, &(uint64_t){ 0 }, 8) == 8);
        }
        break;
    case WAIT:
        OK(umf_fence_wait(device[0], value, FOREVER));
        break;
    case ANY_OF_1000:
        OK(umf_wait(waits, FENCES, UMF_WAIT_ANY, FOREVER, &index));
        break;
    case WATCH:
    case DISPATCHED:
        OK(umf_loop_watch(loops[how == WATCH], waits, 0, &callback, &watch));
        umf_watch_unref(watch);
        break;
    case JOB: {
        const struct umf_job job = { .size = sizeof(job), .waits = waits, .wait_count = 1,
                                     .run = on_job };
        OK(umf_queue_submit(queue, &job, 0));
        break;
    }
    default:
        OK(umf_wait(waits, 2, UMF_WAIT_ANY, FOREVER, &index));
    }
    if (how == DISPATCHED) {
        struct pollfd ready = { umf_loop_fd(loops[0]), POLLIN, 0 };
        while (sem_trywait(&called) != 0) {
            CHECK(poll(&ready, 1, -1) == 1);
            OK(umf_loop_dispatch(loops[0], 0));
        }
    } else if (how == WATCH || how == JOB) {
        while (sem_wait(&called) != 0)
            ;
    } else {
        called_ns = now_ns();
    }
}

int
main(int argc, char **argv)
{
    const unsigned count = argc < 2 ? rounds(50, 5) : (unsigned)atoi(argv[1]);
    double *late[HOWS];
    struct late found[HOWS];
    pid_t pid;
    watchdog(argc < 2 ? 50 : 1200);
    order = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(order != MAP_FAILED && sem_init(&called, 0, 0) == 0);
    interrupt = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    polled = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    OK(umf_set_spin(0, 1000000, 0));
    OK(umf_page_create(FENCES + 2, 0, &page));
    for (int i = 0; i < 2; i++)
        OK(umf_fence_create(page, 0, 0, &plain[i]));
    for (int i = 0; i < FENCES; i++)
        OK(umf_fence_create(page, 0, UMF_FENCE_DEVICE, &device[i]));
    raw = map_raw(page);
    IN_CHILD(pid, {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        play_device();
    });
    struct umf_notifier *notifier = notifier_of(interrupt);
    OK(umf_page_set_notifier(page, notifier));
    umf_notifier_unref(notifier);
    for (uint64_t mode = 0; mode < 2; mode++)
        loops[mode] = create_loop(mode ? UMF_LOOP_THREAD : 0);
    OK(umf_queue_create(loops[1], 0, &queue));

    for (int how = 0; how < HOWS; how++)
        CHECK((late[how] = calloc(count, sizeof(double))));
    /* Blocks of the same kind take turns, so that a disturbance meets all kinds. */
    const unsigned block = 50;
    for (unsigned begin = 0; begin < count; begin += block)
        for (int how = 0; how < HOWS; how++)
            for (unsigned round = begin; round < count && round < begin + block; round++) {
                order->to_polled = how == POLL;
                order->by_cpu = how >= SIGNALED;
                order->value[how >= SIGNALED]++;
                wait_for((enum how)how);
                late[how][round] = (double)(called_ns - order->written_ns) / 1e3;
            }
    for (int how = 0; how < HOWS; how++)
        found[how] = late_of(late[how], count);
    print_late_header();
    printf("\n");
    for (int how = 0; how < HOWS; how++) {
        print_late(names[how], found[how], &found[how >= SIGNALED ? SIGNALED_ORDINARY : POLL]);
        printf("\n");
    }

    kill(pid, SIGKILL);
    CHECK(waitpid(pid, NULL, 0) == pid);
    umf_queue_unref(queue);
    for (int i = 0; i < 2; i++) {
        umf_loop_unref(loops[i]);
        umf_fence_unref(plain[i]);
    }
    for (int i = 0; i < FENCES; i++)
        umf_fence_unref(device[i]);
    for (int how = 0; how < HOWS; how++)
        free(late[how]);
    umf_page_unref(page);
    unmap_raw(&raw);
    close(interrupt);
    close(polled);
    return 0;
}
