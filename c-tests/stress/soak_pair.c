// SPDX-License-Identifier: MIT
/* Two processes signal each other, and wait for each other in all ways. */
#include "process.h"
#include "soak.h"

#define IDLE 18

/* A process's own page, and its view of the other's. */
struct side {
    struct umf_page *own, *others;
    struct umf_fence *mine, *theirs;
    struct umf_fence *idle[IDLE], *met;
};

static int
one(struct side *s, uint64_t value)
{
    return umf_fence_wait(s->theirs, value, FOREVER);
}

static int
any(struct side *s, uint64_t value)
{
    const struct umf_condition list[2] = { { .fence = s->idle[0], .value = 1 },
                                           { .fence = s->theirs, .value = value } };
    uint32_t index = 2;
    int result = umf_wait(list, 2, UMF_WAIT_ANY, FOREVER, &index);
    CHECK(index == 1);
    return result;
}

static int
any_of_many(struct side *s, uint64_t value)
{
    struct umf_condition list[IDLE + 1] = { { .fence = s->theirs, .value = value } };
    for (int i = 0; i < IDLE; i++)
        list[i + 1] = (struct umf_condition){ .fence = s->idle[i], .value = 1 };
    return umf_wait(list, IDLE + 1, UMF_WAIT_ANY, FOREVER, NULL);
}

static int
all(struct side *s, uint64_t value)
{
    const struct umf_condition list[3] = { { .fence = s->met, .value = 1 },
                                           { .fence = s->theirs, .value = value - 1 },
                                           { .fence = s->theirs, .value = value } };
    return umf_wait(list, 3, 0, FOREVER, NULL);
}

/* Rounds of one kind come in batches, in an order that both sides know. */
static const struct way {
    int (*wait)(struct side *side, uint64_t value);
    bool spins;
    /* How many signals the first process is ahead of its waits: with 1, both wait for each step. */
    unsigned ahead;
    unsigned rounds;
} ways[] = {
    { one, true, 1, 2000 },           { one, false, 1, 1000 },  { one, false, 64, 20000 },
    { any, false, 1, 500 },           { any, true, 64, 10000 }, { all, false, 1, 500 },
    { any_of_many, false, 16, 1000 }, { all, true, 64, 10000 },
};
#define WAYS (ARRAY_SIZE(ways))

static struct side
meet(struct pair *pair, int sock)
{
    struct side s;
    OK(umf_page_create(IDLE + 2, pair->page_flags, &s.own));
    OK(umf_fence_create(s.own, 0, 0, &s.mine));
    OK(umf_fence_create(s.own, 1, 0, &s.met));
    for (int i = 0; i < IDLE; i++)
        OK(umf_fence_create(s.own, 0, 0, &s.idle[i]));
    send_page(sock, s.own);
    tell(sock, umf_fence_index(s.mine));
    s.others = recv_page(sock);
    s.theirs = recv_fence(sock, s.others);
    return s;
}

static void
part(struct side *s)
{
    for (int i = 0; i < IDLE; i++)
        umf_fence_unref(s->idle[i]);
    umf_fence_unref(s->met);
    umf_fence_unref(s->mine);
    umf_fence_unref(s->theirs);
    umf_page_unref(s->own);
    umf_page_unref(s->others);
}

static void
begin(const struct way *way)
{
    OK(way->spins ? umf_set_spin(10, 50000, 0) : umf_set_spin(0, 0, 0));
}

static void
await(struct side *s, const struct way *way, uint64_t value)
{
    OK(way->wait(s, value));
    CHECK(umf_fence_value(s->theirs) >= value);
}

void
ping(struct pair *pair, struct process *process, int sock)
{
    struct side s = meet(pair, sock);
    uint64_t value = 0;
    for (unsigned batch = 0; batch < WAYS || !is_last(process); batch++) {
        const struct way *way = &ways[batch % WAYS];
        begin(way);
        uint64_t first = value + 1, end = value + rounds(way->rounds, way->rounds / 50),
                 seen = value;
        while (value < end) {
            OK(umf_fence_signal(s.mine, ++value));
            if (value >= first + way->ahead - 1)
                await(&s, way, ++seen);
        }
        while (seen < end)
            await(&s, way, ++seen);
        count(process, SIGNALS, end - first + 1);
        count(process, WAKES, end - first + 1);
        count(process, ROUNDS, end - first + 1);
        if (batch >= WAYS)
            at_rest(process);
    }
    atomic_store(&pair->last, value);
    OK(umf_fence_signal(s.mine, value + 1));
    until_leave(process);
    part(&s);
}

void
pong(struct pair *pair, struct process *process, int sock)
{
    struct side s = meet(pair, sock);
    uint64_t value = 0;
    for (unsigned batch = 0;; batch++) {
        const struct way *way = &ways[batch % WAYS];
        uint64_t first = value + 1, end = value + rounds(way->rounds, way->rounds / 50);
        begin(way);
        await(&s, way, first);
        if (atomic_load(&pair->last) == value)
            break;
        while (value < end) {
            await(&s, way, ++value);
            OK(umf_fence_signal(s.mine, value));
        }
        count(process, WAKES, end - first + 1);
        count(process, SIGNALS, end - first + 1);
        count(process, ROUNDS, end - first + 1);
        if (batch >= WAYS)
            at_rest(process);
    }
    until_leave(process);
    part(&s);
}
