/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/* What only the firmware needs: a queue's turn, in firmware.c, and the packets, in packets.c. */
#ifndef FIRMWARE_H
#define FIRMWARE_H

#include "gpu.h"

/* What came of a queue's turn. */
struct turn {
	bool progress;
	bool polls; /* it waits for a value in memory */
	bool interrupt;
	bool gone; /* the queue must not be touched any more */
	u64 sleep_ns; /* works for this long */
	struct list_head done, failed; /* fences to signal, in this order */
	int error; /* of those that failed */
};

/* The queue runs no more. Its fences fail, and other queues stop waiting for it. */
void umf_gpu_fail(struct umf_gpu_queue *queue, int error, struct turn *turn);

/* Runs a slice of the packet at the queue's position, if there is one. */
void umf_gpu_run_packet(struct umf_gpu_queue *queue, struct turn *turn);

#endif
