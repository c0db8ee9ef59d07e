// SPDX-License-Identifier: MIT
/*
 * Sizes and offsets of every member of every struct that programs and the library share. A change
 * breaks programs that were compiled before it.
 *
 * No struct has padding, on any of these processors: an output would show the caller's memory.
 */
#include <libumf.h>

#include <stddef.h>
#include <stdio.h>

#if defined(__LP64__)
#define PICK(lp64, i386) lp64
#elif defined(__i386__)
#define PICK(lp64, i386) i386
#endif

#ifdef PICK

#define SIZE(type, lp64, i386)                                                                     \
    _Static_assert(sizeof(struct type) == PICK(lp64, i386), "size of " #type);

/* The member, the one before it, and its offset. */
#define MEMBER(type, before, member, lp64, i386)                                                   \
    _Static_assert(offsetof(struct type, member) == PICK(lp64, i386), "offset of " #member);       \
    _Static_assert(offsetof(struct type, member) ==                                                \
                       offsetof(struct type, before) + sizeof(((struct type *)0)->before),         \
                   "padding before " #member);

#define FIRST(type, member)                                                                        \
    _Static_assert(offsetof(struct type, member) == 0, "offset of " #member);

#define LAST(type, member)                                                                         \
    _Static_assert(offsetof(struct type, member) + sizeof(((struct type *)0)->member) ==           \
                       sizeof(struct type),                                                        \
                   "no member after " #member);

SIZE(umf_caps, 24, 24)
FIRST(umf_caps, size)
MEMBER(umf_caps, size, version, 4, 4)
MEMBER(umf_caps, version, flags, 8, 8)
MEMBER(umf_caps, flags, max_fences, 16, 16)
MEMBER(umf_caps, max_fences, max_waits, 20, 20)
LAST(umf_caps, max_waits)

SIZE(umf_device_caps, 16, 16)
FIRST(umf_device_caps, size)
MEMBER(umf_device_caps, size, reserved, 4, 4)
MEMBER(umf_device_caps, reserved, flags, 8, 8)
LAST(umf_device_caps, flags)

SIZE(umf_page_limits, 8, 8)
FIRST(umf_page_limits, size)
MEMBER(umf_page_limits, size, max_fences, 4, 4)
LAST(umf_page_limits, max_fences)

SIZE(umf_fence_info, 56, 56)
FIRST(umf_fence_info, size)
MEMBER(umf_fence_info, size, error, 4, 4)
MEMBER(umf_fence_info, error, flags, 8, 8)
MEMBER(umf_fence_info, flags, value, 16, 16)
MEMBER(umf_fence_info, value, pending, 24, 24)
MEMBER(umf_fence_info, pending, generation, 32, 32)
MEMBER(umf_fence_info, generation, creator_pid, 40, 40)
MEMBER(umf_fence_info, creator_pid, creator_pid_namespace, 44, 44)
MEMBER(umf_fence_info, creator_pid_namespace, wake_ups, 48, 48)
MEMBER(umf_fence_info, wake_ups, reserved, 52, 52)
LAST(umf_fence_info, reserved)

SIZE(umf_interrupt, 32, 20)
FIRST(umf_interrupt, size)
MEMBER(umf_interrupt, size, fd, 4, 4)
MEMBER(umf_interrupt, fd, wait, 8, 8)
MEMBER(umf_interrupt, wait, data, 16, 12)
MEMBER(umf_interrupt, data, release, 24, 16)
LAST(umf_interrupt, release)

SIZE(umf_mapping, 32, 20)
FIRST(umf_mapping, size)
MEMBER(umf_mapping, size, reserved, 4, 4)
MEMBER(umf_mapping, reserved, value, 8, 8)
MEMBER(umf_mapping, value, data, 16, 12)
MEMBER(umf_mapping, data, release, 24, 16)
LAST(umf_mapping, release)

SIZE(umf_condition, 32, 28)
FIRST(umf_condition, fence)
MEMBER(umf_condition, fence, value, 8, 4)
MEMBER(umf_condition, value, op, 16, 12)
MEMBER(umf_condition, op, reserved, 20, 16)
MEMBER(umf_condition, reserved, mask, 24, 20)
LAST(umf_condition, mask)

SIZE(umf_wait_set_result, 24, 24)
FIRST(umf_wait_set_result, id)
MEMBER(umf_wait_set_result, id, user_data, 8, 8)
MEMBER(umf_wait_set_result, user_data, result, 16, 16)
MEMBER(umf_wait_set_result, result, reserved, 20, 20)
LAST(umf_wait_set_result, reserved)

SIZE(umf_callback, 24, 12)
FIRST(umf_callback, call)
MEMBER(umf_callback, call, release, 8, 4)
MEMBER(umf_callback, release, data, 16, 8)
LAST(umf_callback, data)

SIZE(umf_log_handler, 24, 12)
FIRST(umf_log_handler, call)
MEMBER(umf_log_handler, call, release, 8, 4)
MEMBER(umf_log_handler, release, data, 16, 8)
LAST(umf_log_handler, data)

SIZE(umf_many_callback, 24, 12)
FIRST(umf_many_callback, call)
MEMBER(umf_many_callback, call, release, 8, 4)
MEMBER(umf_many_callback, release, data, 16, 8)
LAST(umf_many_callback, data)

SIZE(umf_signal, 16, 12)
FIRST(umf_signal, fence)
MEMBER(umf_signal, fence, value, 8, 4)
LAST(umf_signal, value)

SIZE(umf_job, 56, 36)
FIRST(umf_job, size)
MEMBER(umf_job, size, wait_count, 4, 4)
MEMBER(umf_job, wait_count, signal_count, 8, 8)
MEMBER(umf_job, signal_count, reserved, 12, 12)
MEMBER(umf_job, reserved, waits, 16, 16)
MEMBER(umf_job, waits, signals, 24, 20)
MEMBER(umf_job, signals, run, 32, 24)
MEMBER(umf_job, run, release, 40, 28)
MEMBER(umf_job, release, data, 48, 32)
LAST(umf_job, data)

#endif

int
main(void)
{
#ifdef PICK
    return 0;
#else
    printf("not run: the offsets on this processor are not written down\n");
    return 77;
#endif
}
