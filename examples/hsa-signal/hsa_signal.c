// SPDX-License-Identifier: MIT
/* See hsa_signal.h. */
#include "hsa_signal.h"

#include <errno.h>
#include <libumf.h>
#include <stdlib.h>
#include <time.h>

#define PAGE_SIGNALS 4096

static struct umf_page *page; /* of the signals that this process creates */
static struct umf_loop *loop; /* of all handlers */

static hsa_status_t
to_status(int result)
{
    switch (result) {
    case 0: return HSA_STATUS_SUCCESS;
    case -EINVAL:
    case -EBADF:
    case -ENOENT: return HSA_STATUS_ERROR_INVALID_ARGUMENT;
    case -ENOMEM:
    case -ENOSPC: return HSA_STATUS_ERROR_OUT_OF_RESOURCES;
    default: return HSA_STATUS_ERROR;
    }
}

hsa_status_t
hsa_init(void)
{
    int result = umf_page_create(PAGE_SIGNALS, 0, &page);
    return to_status(result ? result : umf_loop_create(UMF_LOOP_THREAD, &loop));
}

/* Handlers that still wait are dropped. */
void
hsa_shut_down(void)
{
    umf_loop_unref(loop);
    umf_page_unref(page);
}

hsa_status_t
hsa_signal_create(hsa_signal_value_t initial_value, hsa_signal_t *signal)
{
    return to_status(umf_fence_create(page, (uint64_t)initial_value, UMF_FENCE_UNORDERED, signal));
}

void
hsa_signal_destroy(hsa_signal_t signal)
{
    umf_fence_unref(signal);
}

hsa_signal_value_t
hsa_signal_load(hsa_signal_t signal)
{
    return (hsa_signal_value_t)umf_fence_value(signal);
}

void
hsa_signal_store(hsa_signal_t signal, hsa_signal_value_t value)
{
    umf_fence_signal(signal, (uint64_t)value);
}

/* The operations cannot fail in HSA. A signal whose creator destroyed it refuses them. */
static hsa_signal_value_t
update(hsa_signal_t signal, uint32_t operation, hsa_signal_value_t operand,
       hsa_signal_value_t expected)
{
    uint64_t previous = 0;
    umf_fence_update(signal, operation, (uint64_t)operand, (uint64_t)expected, &previous);
    return (hsa_signal_value_t)previous;
}

hsa_signal_value_t
hsa_signal_exchange(hsa_signal_t signal, hsa_signal_value_t value)
{
    return update(signal, UMF_UPDATE_EXCHANGE, value, 0);
}

hsa_signal_value_t
hsa_signal_cas(hsa_signal_t signal, hsa_signal_value_t expected, hsa_signal_value_t value)
{
    return update(signal, UMF_UPDATE_COMPARE_EXCHANGE, value, expected);
}

#define ARITHMETIC(name, operation)                                                                \
    void hsa_signal_##name(hsa_signal_t signal, hsa_signal_value_t value)                          \
    {                                                                                              \
        update(signal, operation, value, 0);                                                       \
    }
ARITHMETIC(add, UMF_UPDATE_ADD)
ARITHMETIC(subtract, UMF_UPDATE_SUBTRACT)
ARITHMETIC(and, UMF_UPDATE_AND)
ARITHMETIC(or, UMF_UPDATE_OR)
ARITHMETIC(xor, UMF_UPDATE_XOR)

static struct umf_condition
to_wait(hsa_signal_t signal, hsa_signal_condition_t condition, hsa_signal_value_t value)
{
    static const uint32_t ops[] = {
        [HSA_SIGNAL_CONDITION_EQ] = UMF_OP_EQ,
        [HSA_SIGNAL_CONDITION_NE] = UMF_OP_NE,
        [HSA_SIGNAL_CONDITION_LT] = UMF_OP_LT | UMF_OP_SIGNED,
        [HSA_SIGNAL_CONDITION_GTE] = UMF_OP_GE | UMF_OP_SIGNED,
    };
    return (struct umf_condition){ signal, (uint64_t)value, ops[condition], 0, 0 };
}

static uint64_t
deadline(uint64_t timeout_hint)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t since = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
    return timeout_hint > UINT64_MAX - since ? UINT64_MAX : since + timeout_hint;
}

hsa_signal_value_t
hsa_signal_wait(hsa_signal_t signal, hsa_signal_condition_t condition,
                hsa_signal_value_t compare_value, uint64_t timeout_hint)
{
    struct umf_condition wait = to_wait(signal, condition, compare_value);
    umf_wait(&wait, 1, 0, deadline(timeout_hint), NULL);
    return hsa_signal_load(signal);
}

/* The result of umf_wait(), or -ENOMEM. */
static int
wait_for_many(uint32_t count, hsa_signal_t *signals, hsa_signal_condition_t *conditions,
              hsa_signal_value_t *values, uint64_t flags, uint64_t timeout_hint, uint32_t *index)
{
    struct umf_condition *waits = calloc(count, sizeof(*waits));
    if (!waits)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++)
        waits[i] = to_wait(signals[i], conditions[i], values[i]);
    int result = umf_wait(waits, count, flags, deadline(timeout_hint), index);
    free(waits);
    return result;
}

uint32_t
hsa_amd_signal_wait_any(uint32_t count, hsa_signal_t *signals, hsa_signal_condition_t *conditions,
                        hsa_signal_value_t *values, uint64_t timeout_hint,
                        hsa_signal_value_t *satisfying_value)
{
    uint32_t index;
    if (wait_for_many(count, signals, conditions, values, UMF_WAIT_ANY, timeout_hint, &index))
        return UINT32_MAX;
    if (satisfying_value)
        *satisfying_value = hsa_signal_load(signals[index]);
    return index;
}

uint32_t
hsa_amd_signal_wait_all(uint32_t count, hsa_signal_t *signals, hsa_signal_condition_t *conditions,
                        hsa_signal_value_t *values, uint64_t timeout_hint)
{
    int result = wait_for_many(count, signals, conditions, values, 0, timeout_hint, NULL);
    return result ? UINT32_MAX : 0;
}

struct handler {
    hsa_amd_signal_handler call;
    void *arg;
    struct umf_condition wait;
};

static int watch(struct handler handler);

/* A handler that stays watches again. */
static void
handle(void *data, int result)
{
    struct handler *handler = data;
    if (result == 0 && handler->call(hsa_signal_load(handler->wait.fence), handler->arg))
        watch(*handler);
}

/* The watch keeps the signal and frees its copy. */
static int
watch(struct handler handler)
{
    struct handler *copy = malloc(sizeof(*copy));
    if (!copy)
        return -ENOMEM;
    *copy = handler;
    struct umf_callback callback = { handle, free, copy };
    int result = umf_loop_watch(loop, &copy->wait, 0, &callback, NULL);
    if (result)
        free(copy);
    return result;
}

hsa_status_t
hsa_amd_signal_async_handler(hsa_signal_t signal, hsa_signal_condition_t condition,
                             hsa_signal_value_t value, hsa_amd_signal_handler handler, void *arg)
{
    return to_status(watch((struct handler){ handler, arg, to_wait(signal, condition, value) }));
}

hsa_status_t
hsa_amd_ipc_signal_create(hsa_signal_t signal, struct hsa_ipc_signal *ipc)
{
    ipc->index = umf_fence_index(signal);
    return to_status(umf_page_export(umf_fence_page(signal), 0, &ipc->fd));
}

hsa_status_t
hsa_amd_ipc_signal_attach(struct hsa_ipc_signal ipc, hsa_signal_t *signal)
{
    struct umf_page *theirs;
    int result = umf_page_import(ipc.fd, 0, &theirs);
    if (result)
        return to_status(result);
    result = umf_fence_open(theirs, ipc.index, 0, signal);
    umf_page_unref(theirs); /* the signal keeps it */
    return to_status(result);
}
