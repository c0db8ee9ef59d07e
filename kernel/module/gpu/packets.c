// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * What the device does with a packet.
 *
 * The program may write to the ring, the positions and the values at any time. A packet is copied
 * before it is looked at, and every address is looked up when it is used. All of this runs on the
 * firmware's thread, with umf_gpu_device.lock.
 */

#include "firmware.h"

#define SLICE_NS (200 * NSEC_PER_USEC)

bool umf_gpu_compare(u32 op, u64 left, u64 right, u64 mask)
{
	if (!mask)
		mask = U64_MAX;
	left &= mask;
	right &= mask;
	switch (op) {
	case UMF_GPU_OP_EQ:
		return left == right;
	case UMF_GPU_OP_NE:
		return left != right;
	case UMF_GPU_OP_GT:
		return left > right;
	case UMF_GPU_OP_GE:
		return left >= right;
	case UMF_GPU_OP_LT:
		return left < right;
	default:
		return left <= right;
	}
}

static void fault(struct umf_gpu_queue *queue, struct turn *turn)
{
	queue->client->device->info.faults++;
	umf_gpu_fail(queue, -EFAULT, turn);
}

static void done(struct umf_gpu_queue *queue, struct turn *turn)
{
	struct umf_gpu_device *device = queue->client->device;
	u64 *read_at = umf_gpu_translate(queue->client, queue->read_at, sizeof(*read_at));

	queue->fetched = false;
	queue->progress = 0;
	queue->position++;
	device->info.packets++;
	turn->progress = true;
	if (!read_at) {
		fault(queue, turn);
		return;
	}
	smp_store_release(read_at, queue->position);
	smp_store_release(&device->counts[queue->count], queue->count_base + queue->position);
}

/* A value at an address, or NULL. */
static u64 *value_at(struct umf_gpu_client *client, u64 address)
{
	return address % sizeof(u64) ? NULL : umf_gpu_translate(client, address, sizeof(u64));
}

static u64 *readable_value_at(struct umf_gpu_client *client, u64 address)
{
	if (address >= UMF_GPU_COUNTS_ADDRESS && address - UMF_GPU_COUNTS_ADDRESS < PAGE_SIZE &&
	    address % sizeof(u64) == 0)
		return client->device->counts + (address - UMF_GPU_COUNTS_ADDRESS) / sizeof(u64);
	return value_at(client, address);
}

static void run_wait(struct umf_gpu_queue *queue, struct turn *turn)
{
	const struct umf_gpu_packet *packet = &queue->packet;
	u64 *value = readable_value_at(queue->client, packet->wait.address);

	if (!value || packet->flags > UMF_GPU_OP_LE)
		fault(queue, turn);
	else if (umf_gpu_compare(packet->flags, smp_load_acquire(value), packet->wait.value,
				 packet->wait.mask))
		done(queue, turn);
	else
		turn->polls = true;
}

static void run_signal(struct umf_gpu_queue *queue, struct turn *turn)
{
	const u32 flags = UMF_GPU_SIGNAL_INTERRUPT | UMF_GPU_SIGNAL_MONITORED;
	const struct umf_gpu_packet *packet = &queue->packet;
	u64 *value = value_at(queue->client, packet->signal.address);
	u64 *monitored = NULL, below;

	if (packet->flags & UMF_GPU_SIGNAL_MONITORED)
		monitored = value_at(queue->client, packet->signal.monitored);
	if (!value || (packet->flags & ~flags) ||
	    ((packet->flags & UMF_GPU_SIGNAL_MONITORED) && !monitored)) {
		fault(queue, turn);
		return;
	}
	smp_store_release(value, packet->signal.value);
	if (monitored) {
		/* A waiter writes the monitored value, then reads the value. One of the two sees
		 * the other's write. */
		smp_mb();
		below = READ_ONCE(*monitored);
		turn->interrupt |= below != U64_MAX && packet->signal.value > below;
	}
	turn->interrupt |= packet->flags & UMF_GPU_SIGNAL_INTERRUPT;
	done(queue, turn);
}

static void run_delay(struct umf_gpu_queue *queue, struct turn *turn)
{
	const u64 ns = queue->packet.delay.ns;
	const u64 slice = min_t(u64, ns - queue->progress, SLICE_NS);

	if (queue->packet.flags & ~UMF_GPU_DELAY_SOLID) {
		fault(queue, turn);
		return;
	}
	queue->progress += slice;
	turn->sleep_ns = slice;
	turn->progress = true;
	if (queue->progress == ns)
		done(queue, turn);
}

/* A slice is within one page at either end, so it is within one mapping. */
static void run_copy(struct umf_gpu_queue *queue, struct turn *turn)
{
	const struct umf_gpu_packet *packet = &queue->packet;
	const u64 size = packet->copy.size;
	const u64 from = packet->copy.from + queue->progress;
	const u64 to = packet->copy.to + queue->progress;
	u64 slice = min3(size - queue->progress, PAGE_SIZE - from % PAGE_SIZE,
			 PAGE_SIZE - to % PAGE_SIZE);
	void *source, *target;

	if (packet->flags || size > UMF_GPU_ADDRESS_END) {
		fault(queue, turn);
		return;
	}
	if (slice) {
		source = umf_gpu_translate(queue->client, from, slice);
		target = umf_gpu_translate(queue->client, to, slice);
		if (!source || !target) {
			fault(queue, turn);
			return;
		}
		memmove(target, source, slice);
	}
	queue->progress += slice;
	turn->progress = true;
	if (queue->progress == size)
		done(queue, turn);
}

static void run_exec(struct umf_gpu_queue *queue, struct turn *turn)
{
	if (queue->packet.flags) {
		fault(queue, turn);
		return;
	}
	switch (queue->exec) {
	case EXEC_NONE:
		queue->exec_sequence++;
		WRITE_ONCE(queue->exec, EXEC_OFFERED);
		wake_up_all(&queue->exec_wait);
		break;
	case EXEC_ANSWERED:
		queue->exec = EXEC_NONE;
		if (queue->exec_result)
			umf_gpu_fail(queue, queue->exec_result, turn);
		else
			done(queue, turn);
		break;
	default:
		break; /* the answer kicks */
	}
}

/* Copies the next packet. False if there is none. */
static bool fetch(struct umf_gpu_queue *queue, struct turn *turn)
{
	const u64 rung = READ_ONCE(*queue->doorbell);
	const u64 place = queue->position & (queue->ring_packets - 1);
	u64 *written, at;
	void *packet;

	if (rung == queue->rung && !queue->look)
		return false;
	queue->rung = rung;
	smp_rmb(); /* the doorbell, then what was written before it */
	written = value_at(queue->client, queue->write_at);
	packet = umf_gpu_translate(queue->client, queue->ring + place * sizeof(queue->packet),
				   sizeof(queue->packet));
	if (!written || !packet) {
		fault(queue, turn);
		return false;
	}
	at = smp_load_acquire(written);
	queue->look = at != queue->position;
	if (!queue->look)
		return false;
	if (at - queue->position > queue->ring_packets) {
		fault(queue, turn);
		return false;
	}
	memcpy(&queue->packet, packet, sizeof(queue->packet));
	queue->fetched = true;
	return true;
}

void umf_gpu_run_packet(struct umf_gpu_queue *queue, struct turn *turn)
{
	if (!queue->fetched && !fetch(queue, turn))
		return;
	switch (queue->packet.op) {
	case UMF_GPU_PACKET_NOP:
		done(queue, turn);
		break;
	case UMF_GPU_PACKET_WAIT:
		run_wait(queue, turn);
		break;
	case UMF_GPU_PACKET_SIGNAL:
		run_signal(queue, turn);
		break;
	case UMF_GPU_PACKET_DELAY:
		run_delay(queue, turn);
		break;
	case UMF_GPU_PACKET_COPY:
		run_copy(queue, turn);
		break;
	case UMF_GPU_PACKET_EXEC:
		run_exec(queue, turn);
		break;
	default:
		fault(queue, turn);
		break;
	}
}
