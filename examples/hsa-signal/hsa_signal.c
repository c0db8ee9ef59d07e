// SPDX-License-Identifier: MIT
/* See hsa_signal.h. */
#include "hsa_signal.h"

#include <errno.h>
#include <libumf.h>
#include <stdlib.h>
#include <time.h>

#define PAGE_SIGNALS 4096

struct hsa_signal {
    struct umf_page *page;
    struct umf_fence *fence;
};

static struct umf_page *page;
static struct umf_loop *loop;

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

/* Takes the references. */
static hsa_status_t
wrap(struct umf_page *of, struct umf_fence *fence, hsa_signal_t *signal)
{
    *signal = malloc(sizeof(**signal));
    if (!*signal) {
        umf_fence_unref(fence);
        umf_page_unref(of);
        return HSA_STATUS_ERROR_OUT_OF_RESOURCES;
    }
    **signal = (struct hsa_signal){ of, fence };
    return HSA_STATUS_SUCCESS;
}

hsa_status_t
hsa_signal_create(hsa_signal_value_t initial_value, hsa_signal_t *signal)
{
    struct umf_fence *fence;
    int result = umf_fence_create(page, (uint64_t)initial_value, UMF_FENCE_UNORDERED, &fence);
    return result ? to_status(result) : wrap(umf_page_ref(page), fence, signal);
}

void
hsa_signal_destroy(hsa_signal_t signal)
{
    umf_fence_unref(signal->fence);
    umf_page_unref(signal->page);
    free(signal);
}

hsa_signal_value_t
hsa_signal_load(hsa_signal_t signal)
{
    return (hsa_signal_value_t)umf_fence_value(signal->fence);
}

/* The operations cannot fail in HSA. A fence of a process that died refuses them. */
static hsa_signal_value_t
update(hsa_signal_t signal, uint32_t operation, hsa_signal_value_t operand,
       hsa_signal_value_t expected)
{
    uint64_t previous = 0;
    umf_fence_update(signal->fence, operation, (uint64_t)operand, (uint64_t)expected, &previous);
    return (hsa_signal_value_t)previous;
}

void
hsa_signal_store(hsa_signal_t signal, hsa_signal_value_t value)
{
    umf_fence_signal(signal->fence, (uint64_t)value);
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

void
hsa_signal_add(hsa_signal_t signal, hsa_signal_value_t value)
{
    update(signal, UMF_UPDATE_ADD, value, 0);
}

void
hsa_signal_subtract(hsa_signal_t signal, hsa_signal_value_t value)
{
    update(signal, UMF_UPDATE_SUBTRACT, value, 0);
}

void
hsa_signal_and(hsa_signal_t signal, hsa_signal_value_t value)
{
    update(signal, UMF_UPDATE_AND, value, 0);
}

void
hsa_signal_or(hsa_signal_t signal, hsa_signal_value_t value)
{
    update(signal, UMF_UPDATE_OR, value, 0);
}

void
hsa_signal_xor(hsa_signal_t signal, hsa_signal_value_t value)
{
    update(signal, UMF_UPDATE_XOR, value, 0);
}

static struct umf_condition
to_wait(hsa_signal_t signal, hsa_signal_condition_t condition, hsa_signal_value_t value)
{
    static const uint32_t ops[] = {
        [HSA_SIGNAL_CONDITION_EQ] = UMF_OP_EQ,
        [HSA_SIGNAL_CONDITION_NE] = UMF_OP_NE,
        [HSA_SIGNAL_CONDITION_LT] = UMF_OP_LT | UMF_OP_SIGNED,
        [HSA_SIGNAL_CONDITION_GTE] = UMF_OP_GE | UMF_OP_SIGNED,
    };
    return (struct umf_condition){ signal->fence, (uint64_t)value, ops[condition], 0, 0 };
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
    return wait_for_many(count, signals, conditions, values, 0, timeout_hint, NULL) ? UINT32_MAX
                                                                                    : 0;
}

struct handler {
    hsa_amd_signal_handler call;
    void *arg;
    struct umf_page *page;
    struct umf_condition wait;
};

static void
release_handler(void *data)
{
    struct handler *handler = data;
    umf_fence_unref(handler->wait.fence);
    umf_page_unref(handler->page);
    free(handler);
}

static void handle(void *data, int result);

static int
start_watch(struct handler *handler)
{
    struct umf_callback callback = { handle, NULL, handler };
    return umf_loop_watch(loop, &handler->wait, 0, &callback, NULL);
}

/* A handler that stays watches again. */
static void
handle(void *data, int result)
{
    struct handler *handler = data;
    hsa_signal_value_t value = (hsa_signal_value_t)umf_fence_value(handler->wait.fence);
    if (result || !handler->call(value, handler->arg) || start_watch(handler))
        release_handler(handler);
}

hsa_status_t
hsa_amd_signal_async_handler(hsa_signal_t signal, hsa_signal_condition_t condition,
                             hsa_signal_value_t value, hsa_amd_signal_handler call, void *arg)
{
    struct handler *handler = malloc(sizeof(*handler));
    if (!handler)
        return HSA_STATUS_ERROR_OUT_OF_RESOURCES;
    *handler = (struct handler){ call, arg, umf_page_ref(signal->page),
                                 to_wait(signal, condition, value) };
    umf_fence_ref(handler->wait.fence);
    int result = start_watch(handler);
    if (result)
        release_handler(handler);
    return to_status(result);
}

hsa_status_t
hsa_amd_ipc_signal_create(hsa_signal_t signal, struct hsa_ipc_signal *ipc)
{
    ipc->index = umf_fence_index(signal->fence);
    return to_status(umf_page_export(signal->page, 0, &ipc->fd));
}

hsa_status_t
hsa_amd_ipc_signal_attach(struct hsa_ipc_signal ipc, hsa_signal_t *signal)
{
    struct umf_page *theirs;
    struct umf_fence *fence;
    int result = umf_page_import(ipc.fd, 0, &theirs);
    if (result)
        return to_status(result);
    result = umf_fence_open(theirs, ipc.index, 0, &fence);
    if (result) {
        umf_page_unref(theirs);
        return to_status(result);
    }
    return wrap(theirs, fence, signal);
}
