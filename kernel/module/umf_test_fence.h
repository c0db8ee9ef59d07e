/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * What /dev/umf_test_fence takes: every open file of it is one kernel fence, pending until it is
 * signaled. Both calls take an integer instead of an address.
 */
#ifndef UMF_TEST_FENCE_H
#define UMF_TEST_FENCE_H

#include <linux/ioctl.h>

/* Argument 0. Returns a new sync_file of the fence, close-on-exec. */
#define UMF_TEST_FENCE_EXPORT _IO('U', 0)

/* Signals the fence. Argument 0, or the errno that it fails with. EALREADY the second time. */
#define UMF_TEST_FENCE_SIGNAL _IO('U', 1)

#endif
