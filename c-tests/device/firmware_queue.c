/*
 * A queue that firmware schedules, in miniature: a program gives work to the device without asking
 * the kernel. The queue is a ring in shared memory with a doorbell. The firmware is a process that
 * knows nothing of libumf. It takes packets from the ring: WAIT until the value at an address has
 * reached a number, EXEC, SIGNAL a value at an address. The values are UMFs: they tell when work
 * may run and that it has run, and may never come.
 *
 * Memory is different. The memory manager (the main thread, in place of a kernel) may have to evict
 * the queue's memory at once and may not wait for a program. So it lets the firmware preempt the
 * queue wherever it is: in the middle of a job, or at a WAIT for a value that nobody will ever
 * signal. That takes the firmware's time alone, so the kernel fence that stands for it is finite.
 *
 * docs/firmware.md draws what this prints when it is given any argument.
 */
#include "raw_page.h"
#include "sleeper.h"

#include <poll.h>
#include <sys/eventfd.h>

#define PACKETS 64
#define QUEUES 2
#define LONG 1000 /* slices of the job that is evicted in its middle */
#define SLICE_NS 200000 /* of a job; the firmware looks around between slices */

enum op { WAIT, EXEC, SIGNAL };

struct packet {
    enum op op;
    uint64_t at;    /* WAIT, SIGNAL: offset of the value in the page */
    uint64_t value; /* or EXEC: how many slices, each of which adds one to the word in the queue's
                       memory */
};

/* What the program and the firmware share: a queue. */
struct ring {
    _Atomic uint64_t written, read;
    struct packet packets[PACKETS];
};

/* What the memory manager and the firmware share: the queue's state, which the program cannot
 * touch. */
struct context {
    _Atomic uint32_t wanted, is; /* RUNNING or PREEMPTED */
    uint64_t steps_done;         /* saved: how far the job at the head of the ring has got */
    _Atomic int
        where; /* its page table: which of the two places holds its memory; -1 means evicted */
};
enum { RUNNING, PREEMPTED };

struct event {
    uint64_t ns;
    const char *who;
    char text[80];
};

static struct shared {
    struct ring rings[QUEUES];
    struct context contexts[QUEUES];
    _Atomic uint64_t places[QUEUES][3]; /* video memory, system memory, and another place in video
                                           memory for the way back */
    _Atomic uint32_t events;
    struct event log[128];
    _Atomic uint64_t interrupts, faults;
} *shared;

static struct umf_page *page;
static struct umf_fence *done[QUEUES], *input;
static struct raw raw;
static uint64_t monitored_at[QUEUES]; /* the driver tells the firmware where */
static int doorbell; /* an eventfd that stands for the doorbell register */
static int interrupt;

static void
say(const char *who, const char *format, ...)
{
    va_list list;
    uint32_t number = shared->events++;
    struct event *event = &shared->log[number % 128];
    event->ns = now_ns();
    event->who = who;
    va_start(list, format);
    vsnprintf(event->text, sizeof(event->text), format, list);
    va_end(list);
}

static void
raise_eventfd(int fd)
{
    CHECK(write(fd, &(uint64_t){ 1 }, 8) == 8);
}

/* The firmware. */

static _Atomic uint64_t *
word(uint64_t at)
{
    CHECK(at % 8 == 0 && at + 8 <= raw.length);
    return (_Atomic uint64_t *)(void *)(raw.bytes + at);
}

static void
signal_value(const struct packet *packet, uint64_t monitored)
{
    atomic_store(word(packet->at), packet->value);
    /* Interrupts only where a waiter asked: writes the value first, then looks at the monitored
     * value. */
    uint64_t below = atomic_load(word(monitored));
    if (below != UINT64_MAX && packet->value > below) {
        shared->interrupts++;
        raise_eventfd(interrupt);
    }
}

/* Does a slice of the queue's work. Returns false if it cannot do any. */
static bool
run_slice(int number)
{
    struct ring *ring = &shared->rings[number];
    struct context *context = &shared->contexts[number];
    if (context->is != context->wanted) {
        /* A queue can be preempted between any two slices: its context holds all that must be
         * kept. */
        context->is = (uint32_t)context->wanted;
        say("firmware", "queue %d %s", number,
            context->is == PREEMPTED ? "preempted, its place kept" : "goes on");
        return true;
    }
    if (context->is == PREEMPTED || ring->read == ring->written)
        return false;
    const struct packet *packet = &ring->packets[ring->read % PACKETS];
    switch (packet->op) {
    case WAIT:
        if (atomic_load(word(packet->at)) < packet->value)
            return false; /* the other queue gets its turn */
        break;
    case EXEC:
        if (context->where < 0) {
            shared->faults++;
            return false;
        }
        nanosleep(&(struct timespec){ .tv_nsec = SLICE_NS }, NULL);
        shared->places[number][context->where]++;
        if (++context->steps_done < packet->value)
            return true;
        context->steps_done = 0;
        break;
    case SIGNAL:
        say("firmware", "queue %d signals %" PRIu64, number, packet->value);
        signal_value(packet, monitored_at[number]);
        break;
    }
    ring->read++;
    return true;
}

static _Noreturn void
firmware(void)
{
    for (;;) {
        bool busy = false, waiting = false;
        for (int i = 0; i < QUEUES; i++) {
            busy |= run_slice(i);
            waiting |= shared->contexts[i].is == RUNNING &&
                       shared->rings[i].read != shared->rings[i].written;
        }
        if (busy)
            continue;
        /* The firmware polls a WAIT in memory from time to time. When all queues are empty it
         * sleeps until the doorbell. */
        struct pollfd entry = { doorbell, POLLIN, 0 };
        struct timespec soon = { .tv_nsec = 100000 };
        if (ppoll(&entry, 1, waiting ? &soon : NULL, NULL) > 0)
            CHECK(read(doorbell, &(uint64_t){ 0 }, 8) == 8 || errno == EAGAIN);
    }
}

/* The program: packets, and UMFs. */

static void
push(int queue, enum op op, uint64_t at, uint64_t value)
{
    struct ring *ring = &shared->rings[queue];
    CHECK(ring->written - ring->read < PACKETS);
    ring->packets[ring->written % PACKETS] = (struct packet){ op, at, value };
    ring->written++;
}

/* One job: may wait, works for some slices, signals. The value is announced, so that waits for
 * submission end. */
static void
submit(int queue, struct umf_fence *wait, uint64_t wait_value, uint64_t steps, uint64_t value)
{
    if (wait)
        push(queue, WAIT, umf_fence_offset(wait), wait_value);
    push(queue, EXEC, 0, steps);
    push(queue, SIGNAL, umf_fence_offset(done[queue]), value);
    OK(umf_fence_submit(done[queue], value));
    say("program", "queue %d: %s%" PRIu64 " steps, then signal %" PRIu64 "; doorbell", queue,
        wait ? "wait, " : "", steps, value);
    raise_eventfd(doorbell);
}

static void
wait_for(int queue, uint64_t value)
{
    OK(umf_fence_wait(done[queue], value, FOREVER));
    say("program", "woke up: queue %d has reached %" PRIu64, queue, value);
}

/* The memory manager never looks at a UMF. */

static void
until_is(int queue, uint32_t state)
{
    shared->contexts[queue].wanted = state;
    raise_eventfd(doorbell);
    /* The fence of the memory: only the firmware signals it, in finite time. */
    uint64_t limit = in_ns(20 * SECOND);
    while (shared->contexts[queue].is != state) {
        CHECK(now_ns() < limit);
        nanosleep(&(struct timespec){ .tv_nsec = 50000 }, NULL);
    }
}

static void
move(int queue, int from, int to)
{
    shared->contexts[queue].where = -1;
    shared->places[queue][to] = (uint64_t)shared->places[queue][from];
    shared->places[queue][from] = 0xdead; /* somebody else's memory now */
}

static void
evict(int queue)
{
    say("memory", "needs the memory of queue %d: preempt it", queue);
    until_is(queue, PREEMPTED);
    move(queue, 0, 1);
    say("memory", "evicted, for others to use");
}

static void
bring_back(int queue)
{
    move(queue, 1, 2);
    move(queue, 2, 0);
    shared->contexts[queue].where = 0;
    say("memory", "is back: queue %d may go on", queue);
    until_is(queue, RUNNING);
}

/* What it shows. */

static void
work_goes_straight_to_the_device(void)
{
    submit(0, NULL, 0, 2, 1);
    submit(0, NULL, 0, 2, 2);
    wait_for(0, 1);
    wait_for(0, 2);
    CHECK(shared->places[0][0] == 4);
}

/* Work reaches the device before the work that it waits for is submitted, on a queue that waits
 * for the other. */
static void
wait_before_signal(void)
{
    submit(1, done[0], 3, 2, 1);
    submit(0, input, 1, 2, 3);
    EXPECT(-ETIME, umf_fence_wait(done[1], 1, in_ns(10 * MS)));
    CHECK(umf_fence_value(done[0]) == 2 && shared->places[0][0] == 4);
    OK(umf_fence_signal(input, 1));
    say("program", "signals the input");
    wait_for(1, 1);
    CHECK(umf_fence_value(done[0]) == 3 && shared->places[0][0] == 6 && shared->places[1][0] == 2);
}

static void
eviction_in_the_middle_of_a_job(void)
{
    submit(0, NULL, 0, LONG, 4);
    while (shared->places[0][0] < 6 + 20)
        nanosleep(&(struct timespec){ .tv_nsec = 50000 }, NULL);
    evict(0);
    uint64_t done_by_then = shared->places[0][1];
    CHECK(done_by_then < 6 + LONG && umf_fence_value(done[0]) == 3);
    /* The other queue keeps running. */
    submit(1, NULL, 0, 2, 2);
    wait_for(1, 2);
    CHECK(shared->places[0][1] == done_by_then && shared->places[0][0] == 0xdead);
    bring_back(0);
    wait_for(0, 4);
    CHECK(shared->places[0][0] == 6 + LONG);
}

/* The queue waits for a UMF that is signaled only once there is memory. Waiting for the queue
 * before evicting it would never end; a kernel would hang. */
static void
eviction_of_a_queue_that_waits_for_what_may_never_come(void)
{
    submit(0, input, 2, 2, 5);
    say("program", "needs memory before it can signal the input");
    EXPECT(-ETIME, umf_fence_wait(done[0], 5, in_ns(20 * MS)));
    say("memory", "had it waited for the work (20 ms of it): ETIME, and a circle");
    uint64_t began = now_ns();
    evict(0);
    CHECK(umf_fence_value(input) == 1 && umf_fence_value(done[0]) == 4);
    say("memory", "%.1f ms from the need to the memory, the UMF still open",
        (double)(now_ns() - began) / 1e6);
    OK(umf_fence_signal(input, 2));
    say("program", "has its memory; signals the input");
    EXPECT(-ETIME,
           umf_fence_wait(done[0], 5, in_ns(5 * MS))); /* a second preemption changes nothing */
    bring_back(0);
    wait_for(0, 5);
    CHECK(shared->places[0][0] == 6 + LONG + 2);
}

/* Preempts over and over, at any moment of a job: no work is lost or done twice. */
static void
evictions_at_random(unsigned times)
{
    uint64_t before = shared->places[0][0], steps = 0, value = umf_fence_value(done[0]);
    for (unsigned i = 0; i < times; i++) {
        uint64_t length = 1 + i % 7;
        submit(0, NULL, 0, length, ++value);
        steps += length;
        nanosleep(&(struct timespec){ .tv_nsec = (long)(i * 137 % 11) * 100000 }, NULL);
        evict(0);
        bring_back(0);
        if (i % 3 == 0)
            OK(umf_fence_wait(done[0], value, FOREVER));
    }
    OK(umf_fence_wait(done[0], value, FOREVER));
    CHECK(shared->places[0][0] == before + steps && shared->faults == 0);
    CHECK(shared->interrupts > 0); /* and the program slept */
}

static void
print_log(uint64_t began)
{
    for (uint32_t i = 0; i < shared->events && i < 128; i++)
        printf("%8.1f ms  %-9s %s\n", (double)(shared->log[i].ns - began) / 1e6, shared->log[i].who,
               shared->log[i].text);
}

int
main(int argc, char **argv)
{
    (void)argv;
    pid_t pid;
    int fds = open_fds();
    watchdog(50);
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED);
    doorbell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    interrupt = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    CHECK(doorbell >= 0 && interrupt >= 0);
    const struct umf_notifier notifier = { .size = sizeof(notifier), .fd = interrupt };
    OK(umf_page_create(8, 0, &page));
    for (int i = 0; i < QUEUES; i++) {
        OK(umf_fence_create(page, 0, UMF_FENCE_DEVICE, &done[i]));
        OK(umf_fence_set_notifier(done[i], &notifier));
        monitored_at[i] = umf_fence_monitored_offset(done[i]);
    }
    OK(umf_fence_create(page, 0, 0, &input));
    raw = map_raw(page);
    IN_CHILD(pid, {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        firmware();
    });

    uint64_t began = now_ns();
    work_goes_straight_to_the_device();
    wait_before_signal();
    eviction_in_the_middle_of_a_job();
    eviction_of_a_queue_that_waits_for_what_may_never_come();
    if (argc > 1)
        print_log(began);
    evictions_at_random(100);

    kill(pid, SIGKILL);
    CHECK(waitpid(pid, NULL, 0) == pid);
    for (int i = 0; i < QUEUES; i++)
        umf_fence_unref(done[i]);
    umf_fence_unref(input);
    umf_page_unref(page);
    unmap_raw(&raw);
    close(doorbell);
    close(interrupt);
    CHECK(open_fds() == fds);
    return 0;
}
