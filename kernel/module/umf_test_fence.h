/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * The ioctls of /dev/umf_test_fence. Every open file is one kernel fence, which is pending until it
 * is signaled. The first two ioctls take an integer instead of an address.
 */
#ifndef UMF_TEST_FENCE_H
#define UMF_TEST_FENCE_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Returns a new sync_file of the fence, with close-on-exec. The argument must be 0. */
#define UMF_TEST_FENCE_EXPORT _IO('U', 0)

/* Signals the fence. The argument is 0, or the errno to fail with. EALREADY the second time. */
#define UMF_TEST_FENCE_SIGNAL _IO('U', 1)

/* Writes the earliest deadline that a waiter has asked for, in nanoseconds of CLOCK_MONOTONIC; 0
 * for none. EOPNOTSUPP before Linux 6.4, whose fences have no deadlines. */
#define UMF_TEST_FENCE_DEADLINE _IOR('U', 2, __u64)

#endif
