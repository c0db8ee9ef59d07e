/* SPDX-License-Identifier: MIT */
/*
 * HSA signals, as a runtime for compute devices may offer them: waits sleep, all handlers share one
 * thread, and a signal is passed to another process as 16 bytes and a descriptor.
 *
 * All operations are sequentially consistent, which every variant of the specification (relaxed,
 * scacquire, screlease, scacq_screl) allows.
 */
#ifndef HSA_SIGNAL_H
#define HSA_SIGNAL_H

#include <stdbool.h>
#include <stdint.h>

typedef int64_t hsa_signal_value_t;
typedef struct umf_fence *hsa_signal_t;

typedef enum {
    HSA_STATUS_SUCCESS = 0,
    HSA_STATUS_ERROR = 0x1000,
    HSA_STATUS_ERROR_INVALID_ARGUMENT = 0x1001,
    HSA_STATUS_ERROR_OUT_OF_RESOURCES = 0x1008,
} hsa_status_t;

typedef enum {
    HSA_SIGNAL_CONDITION_EQ,
    HSA_SIGNAL_CONDITION_NE,
    HSA_SIGNAL_CONDITION_LT,
    HSA_SIGNAL_CONDITION_GTE,
} hsa_signal_condition_t;

/* In place of the ticks of the system's clock: nanoseconds. */
#define HSA_TIMEOUT_FOREVER UINT64_MAX

/* Called with the value. Returns whether the handler stays, for the next time that its condition
 * holds. */
typedef bool (*hsa_amd_signal_handler)(hsa_signal_value_t value, void *arg);

/* What another process needs. */
struct hsa_ipc_signal {
    int fd;
    uint32_t index;
};

hsa_status_t hsa_init(void);
void hsa_shut_down(void);

hsa_status_t hsa_signal_create(hsa_signal_value_t initial_value, hsa_signal_t *signal);
void hsa_signal_destroy(hsa_signal_t signal);

hsa_signal_value_t hsa_signal_load(hsa_signal_t signal);
void hsa_signal_store(hsa_signal_t signal, hsa_signal_value_t value);
hsa_signal_value_t hsa_signal_exchange(hsa_signal_t signal, hsa_signal_value_t value);
/* Returns the value before. */
hsa_signal_value_t hsa_signal_cas(hsa_signal_t signal, hsa_signal_value_t expected,
                                  hsa_signal_value_t value);
void hsa_signal_add(hsa_signal_t signal, hsa_signal_value_t value);
void hsa_signal_subtract(hsa_signal_t signal, hsa_signal_value_t value);
void hsa_signal_and(hsa_signal_t signal, hsa_signal_value_t value);
void hsa_signal_or(hsa_signal_t signal, hsa_signal_value_t value);
void hsa_signal_xor(hsa_signal_t signal, hsa_signal_value_t value);

/* Waits until the condition holds or the time is over. Returns the value, which may be another one
 * by now: the caller checks it. */
hsa_signal_value_t hsa_signal_wait(hsa_signal_t signal, hsa_signal_condition_t condition,
                                   hsa_signal_value_t compare_value, uint64_t timeout_hint);

/* Waits until one of the conditions holds. Returns its index, or UINT32_MAX if the time is over. */
uint32_t hsa_amd_signal_wait_any(uint32_t count, hsa_signal_t *signals,
                                 hsa_signal_condition_t *conditions, hsa_signal_value_t *values,
                                 uint64_t timeout_hint, hsa_signal_value_t *satisfying_value);

/* Waits until each of the conditions held. Returns 0, or UINT32_MAX if the time is over. */
uint32_t hsa_amd_signal_wait_all(uint32_t count, hsa_signal_t *signals,
                                 hsa_signal_condition_t *conditions, hsa_signal_value_t *values,
                                 uint64_t timeout_hint);

hsa_status_t hsa_amd_signal_async_handler(hsa_signal_t signal, hsa_signal_condition_t condition,
                                          hsa_signal_value_t value, hsa_amd_signal_handler handler,
                                          void *arg);

hsa_status_t hsa_amd_ipc_signal_create(hsa_signal_t signal, struct hsa_ipc_signal *handle);
hsa_status_t hsa_amd_ipc_signal_attach(struct hsa_ipc_signal handle, hsa_signal_t *signal);

#endif
