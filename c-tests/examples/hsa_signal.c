// SPDX-License-Identifier: MIT
/*
 * examples/hsa-signal: each operation of an HSA signal, waits with each condition, timeouts, any
 * and all, handlers, and a countdown by several processes.
 */
#include "process.h"
#include "sleeper.h"
#include "watch.h"

#include "../../examples/hsa-signal/hsa_signal.h"

static hsa_signal_t
signal_at(hsa_signal_value_t value)
{
    hsa_signal_t signal;
    OK(hsa_signal_create(value, &signal));
    return signal;
}

static void
operations_change_the_value(void)
{
    hsa_signal_t signal = signal_at(-3);
    CHECK(hsa_signal_load(signal) == -3);
    hsa_signal_store(signal, 5);
    CHECK(hsa_signal_exchange(signal, 12) == 5 && hsa_signal_load(signal) == 12);
    CHECK(hsa_signal_cas(signal, 5, 1) == 12 && hsa_signal_load(signal) == 12);
    CHECK(hsa_signal_cas(signal, 12, 1) == 12 && hsa_signal_load(signal) == 1);
    hsa_signal_add(signal, 6);
    CHECK(hsa_signal_load(signal) == 7);
    hsa_signal_subtract(signal, 10);
    CHECK(hsa_signal_load(signal) == -3);
    hsa_signal_and(signal, 0xff);
    CHECK(hsa_signal_load(signal) == 0xfd);
    hsa_signal_or(signal, 0x102);
    CHECK(hsa_signal_load(signal) == 0x1ff);
    hsa_signal_xor(signal, -1);
    CHECK(hsa_signal_load(signal) == ~0x1ff);
    hsa_signal_destroy(signal);
}

struct waiter {
    hsa_signal_t signal;
    hsa_signal_condition_t condition;
    hsa_signal_value_t value, seen;
    _Atomic pid_t tid;
    pthread_t thread;
};

static void *
waits(void *data)
{
    struct waiter *w = data;
    atomic_store(&w->tid, gettid());
    w->seen = hsa_signal_wait(w->signal, w->condition, w->value, HSA_TIMEOUT_FOREVER);
    return NULL;
}

static void
each_condition_ends_a_wait(void)
{
    static const struct {
        hsa_signal_condition_t condition;
        hsa_signal_value_t from, value, to;
    } rows[] = {
        { HSA_SIGNAL_CONDITION_EQ, 1, 0, 0 },     { HSA_SIGNAL_CONDITION_NE, 1, 1, 0 },
        { HSA_SIGNAL_CONDITION_LT, 1, 1, 0 },     { HSA_SIGNAL_CONDITION_LT, 5, 0, -1 },
        { HSA_SIGNAL_CONDITION_GTE, -1, 0, 0 },   { HSA_SIGNAL_CONDITION_GTE, INT64_MIN, -9, 3 },
        { HSA_SIGNAL_CONDITION_EQ, 7, -7, -7 },
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct waiter w = { .signal = signal_at(rows[i].from), .condition = rows[i].condition,
                            .value = rows[i].value };
        CHECK(pthread_create(&w.thread, NULL, waits, &w) == 0);
        while (!atomic_load(&w.tid))
            sched_yield();
        until_asleep(getpid(), w.tid);
        hsa_signal_store(w.signal, rows[i].to);
        CHECK(pthread_join(w.thread, NULL) == 0);
        CHECK(w.seen == rows[i].to);
        hsa_signal_destroy(w.signal);
    }
}

static void
a_timeout_ends_a_wait(void)
{
    hsa_signal_t signal = signal_at(1), *signals = &signal;
    hsa_signal_condition_t condition = HSA_SIGNAL_CONDITION_LT;
    hsa_signal_value_t value = 1;
    uint64_t start = now_ns();
    CHECK(hsa_signal_wait(signal, condition, value, 2 * MS) == 1);
    CHECK(hsa_amd_signal_wait_any(1, signals, &condition, &value, 2 * MS, NULL) == UINT32_MAX);
    CHECK(hsa_amd_signal_wait_all(1, signals, &condition, &value, 2 * MS) == UINT32_MAX);
    CHECK(now_ns() - start >= 6 * MS);
    hsa_signal_destroy(signal);
}

/* Processes that count one signal down, each its share. */
enum { PROCESSES = 4, SHARE = 500 };

static void
counts_down(int sock)
{
    hsa_signal_t signal;
    struct hsa_ipc_signal ipc = { .fd = recv_fd(sock) };
    ipc.index = (uint32_t)hear(sock);
    OK(hsa_init());
    OK(hsa_amd_ipc_signal_attach(ipc, &signal));
    close(ipc.fd);
    for (int i = 0; i < SHARE; i++)
        hsa_signal_subtract(signal, 1);
    hsa_signal_destroy(signal);
    hsa_shut_down();
}

static void
hand_over(struct peer *peer, hsa_signal_t signal)
{
    struct hsa_ipc_signal ipc;
    OK(hsa_amd_ipc_signal_create(signal, &ipc));
    send_fd(peer->sock, ipc.fd);
    tell(peer->sock, ipc.index);
    close(ipc.fd);
}

static void
processes_count_down_to_zero(struct peer *peers)
{
    hsa_signal_t signal = signal_at((hsa_signal_value_t)PROCESSES * SHARE);
    for (int i = 0; i < PROCESSES; i++)
        hand_over(&peers[i], signal);
    CHECK(hsa_signal_wait(signal, HSA_SIGNAL_CONDITION_LT, 1, HSA_TIMEOUT_FOREVER) == 0);
    for (int i = 0; i < PROCESSES; i++)
        end_peer(&peers[i]);
    hsa_signal_destroy(signal);
}

/* A process signals the last of 64 that nobody else changes: the others cost nothing. */
static void
any_and_all(struct peer *peer)
{
    enum { SIGNALS = 64 };
    hsa_signal_t signals[SIGNALS];
    hsa_signal_condition_t conditions[SIGNALS];
    hsa_signal_value_t values[SIGNALS], seen = 99;
    for (int i = 0; i < SIGNALS; i++) {
        signals[i] = signal_at(i == SIGNALS - 1 ? SHARE : 1);
        conditions[i] = HSA_SIGNAL_CONDITION_EQ;
        values[i] = 0;
    }
    hand_over(peer, signals[SIGNALS - 1]);
    CHECK(hsa_amd_signal_wait_any(SIGNALS, signals, conditions, values, HSA_TIMEOUT_FOREVER,
                                  &seen) == SIGNALS - 1);
    CHECK(seen == 0);
    for (int i = 0; i < SIGNALS - 1; i++)
        hsa_signal_store(signals[i], 0);
    CHECK(hsa_amd_signal_wait_all(SIGNALS, signals, conditions, values, HSA_TIMEOUT_FOREVER) == 0);
    end_peer(peer);
    for (int i = 0; i < SIGNALS; i++)
        hsa_signal_destroy(signals[i]);
}

static atomic_int called;
static _Atomic hsa_signal_value_t called_with;

/* Stays until its third call. Sets the signal back each time. */
static bool
on_completion(hsa_signal_value_t value, void *arg)
{
    hsa_signal_t signal = arg;
    atomic_store(&called_with, value);
    int calls = atomic_fetch_add(&called, 1) + 1;
    hsa_signal_store(signal, 1);
    return calls < 3;
}

static void
a_handler_runs_each_time_until_it_has_enough(void)
{
    hsa_signal_t signal = signal_at(1);
    OK(hsa_amd_signal_async_handler(signal, HSA_SIGNAL_CONDITION_LT, 1, on_completion, signal));
    for (int i = 1; i <= 4; i++) {
        hsa_signal_store(signal, -i);
        if (i < 4) {
            hsa_signal_wait(signal, HSA_SIGNAL_CONDITION_EQ, 1, HSA_TIMEOUT_FOREVER);
            CHECK(called == i && called_with == -i);
        }
    }
    CHECK(called == 3 && hsa_signal_load(signal) == -4);
    until_threads(2);
    hsa_signal_destroy(signal);
}

int
main(void)
{
    struct peer peers[PROCESSES + 1];
    for (int i = 0; i < PROCESSES + 1; i++)
        peers[i] = start_peer(counts_down);
    watchdog(50);
    OK(hsa_init());
    operations_change_the_value();
    each_condition_ends_a_wait();
    a_timeout_ends_a_wait();
    processes_count_down_to_zero(peers);
    any_and_all(&peers[PROCESSES]);
    a_handler_runs_each_time_until_it_has_enough();
    hsa_shut_down();
    return 0;
}
