// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * The device: one thread that gives each queue its turn. A turn is a few packets, or a slice of a
 * long one. Between two turns a queue can be stopped, reset or ended, and all that it needs to go
 * on is in struct umf_gpu_queue. packets.c has what the packets do.
 */

#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/sched.h>

#include "firmware.h"

#define PACKETS_A_TURN 16

/* How often to look at values that queues wait for: seldom, if they wait for long. */
#define POLL_MIN_NS (20 * NSEC_PER_USEC)
#define POLL_MAX_NS NSEC_PER_MSEC
/* How often, and for how long, to look at doorbells before the device sleeps. */
#define DOORBELL_POLL_NS (50 * NSEC_PER_USEC)
#define DOORBELL_POLLS 40

/* In any context. What was written before is seen by the firmware's next look. */
void umf_gpu_kick(struct umf_gpu_device *device)
{
	atomic_set_release(&device->kicked, 1);
	wake_up(&device->wake);
}

/* The ends of queues and of fences. */

/* Takes the fences of what is done off the list. */
static void collect_done(struct umf_gpu_queue *queue, struct turn *turn)
{
	struct umf_gpu_job *job, *next;

	list_for_each_entry_safe(job, next, &queue->pending, link) {
		if (job->position > queue->position)
			break;
		list_move_tail(&job->link, &turn->done);
		queue->client->owed--;
	}
}

static void start(struct umf_gpu_queue *queue)
{
	if (queue->running)
		return;
	queue->running = true;
	queue->client->running++;
	queue->look = true; /* its doorbell was not looked at meanwhile */
}

static void stop(struct umf_gpu_queue *queue)
{
	if (queue->running)
		queue->client->running--;
	queue->running = false;
	queue->stop_wanted_at = 0;
}

void umf_gpu_fail(struct umf_gpu_queue *queue, int error, struct turn *turn)
{
	struct umf_gpu_device *device = queue->client->device;
	struct umf_gpu_job *job, *next;

	stop(queue);
	queue->error = error;
	queue->exec = EXEC_NONE;
	list_for_each_entry_safe(job, next, &queue->pending, link) {
		list_move_tail(&job->link, &turn->failed);
		queue->client->owed--;
	}
	turn->error = error;
	turn->interrupt = true;
	turn->progress = true;
	smp_store_release(&device->counts[queue->count],
			  queue->count_base + max(queue->position, queue->owed));
	wake_up_all(&queue->exec_wait);
	wake_up_all(&queue->client->restored);
}

static void retire(struct umf_gpu_queue *queue, struct turn *turn)
{
	if (!queue->error)
		umf_gpu_fail(queue, -ECANCELED, turn);
	clear_bit(queue->count, queue->client->device->counts_used);
	list_del(&queue->link);
	turn->gone = true;
}

static void signal_all(struct umf_gpu_device *device, struct list_head *jobs, int error)
{
	struct umf_gpu_job *job, *next;
	u64 age, oldest = 0, count = 0;

	list_for_each_entry_safe(job, next, jobs, link) {
		list_del(&job->link);
		age = ktime_to_ns(ktime_sub(ktime_get(), job->created));
		oldest = max(oldest, age);
		count++;
		if (error)
			dma_fence_set_error(&job->base, error);
		dma_fence_signal(&job->base);
		dma_fence_put(&job->base);
	}
	if (!count)
		return;
	mutex_lock(&device->lock);
	device->info.jobs += count;
	device->info.oldest_job_ns = max(device->info.oldest_job_ns, oldest);
	mutex_unlock(&device->lock);
}

/* Turns. */

static bool can_stop(const struct umf_gpu_queue *queue)
{
	return !(queue->fetched && queue->packet.op == UMF_GPU_PACKET_DELAY &&
		 queue->packet.flags & UMF_GPU_DELAY_SOLID && queue->progress);
}

/*
 * Stops or starts the queue, if its client's memory goes or comes. While the client owes kernel
 * fences, all of its queues go on, since one may wait for another: see eviction.c. Returns whether
 * the queue runs.
 */
static bool follow_eviction(struct umf_gpu_queue *queue, struct turn *turn)
{
	if (!READ_ONCE(queue->client->eviction->wanted) || queue->client->owed) {
		start(queue);
		return true;
	}
	if (!queue->running)
		return false;
	if (can_stop(queue)) {
		stop(queue);
		turn->progress = true;
		return false;
	}
	if (!queue->stop_wanted_at)
		queue->stop_wanted_at = ktime_get();
	if (ktime_ms_delta(ktime_get(), queue->stop_wanted_at) > PREEMPTION_LIMIT_MS) {
		queue->client->device->info.resets++;
		umf_gpu_fail(queue, -ETIME, turn);
	}
	return queue->running;
}

static void run_locked(struct umf_gpu_queue *queue, struct turn *turn)
{
	int packets;

	if (queue->ending) {
		retire(queue, turn);
		return;
	}
	if (queue->reset && !queue->error) {
		queue->client->device->info.resets++;
		umf_gpu_fail(queue, queue->reset, turn);
	}
	collect_done(queue, turn); /* of a fence that was made for work that is done */
	for (packets = 0; packets < PACKETS_A_TURN; packets++) {
		const u64 position = queue->position;

		if (queue->error || !follow_eviction(queue, turn))
			break;
		umf_gpu_run_packet(queue, turn);
		collect_done(queue, turn);
		if (queue->position == position || turn->sleep_ns)
			break;
	}
}

static void run_queue(struct umf_gpu_device *device, struct umf_gpu_queue *queue, bool *progress,
		      bool *polls)
{
	struct umf_gpu_client *client = queue->client;
	struct turn turn = {
		.done = LIST_HEAD_INIT(turn.done),
		.failed = LIST_HEAD_INIT(turn.failed),
	};

	mutex_lock(&device->lock);
	run_locked(queue, &turn);
	mutex_unlock(&device->lock);
	signal_all(device, &turn.done, 0);
	signal_all(device, &turn.failed, turn.error);
	if (turn.interrupt)
		umf_gpu_interrupt(client);
	if (turn.sleep_ns)
		usleep_range(turn.sleep_ns / NSEC_PER_USEC, turn.sleep_ns / NSEC_PER_USEC + 20);
	*progress |= turn.progress;
	*polls |= turn.polls;
	if (turn.gone)
		complete(&queue->gone);
}

/* Signals the fences of evictions whose queues have all stopped. */
static void finish_evictions(struct umf_gpu_device *device)
{
	struct umf_gpu_client *client;
	struct umf_gpu_eviction *eviction;
	u64 ns;

	mutex_lock(&device->lock);
	list_for_each_entry(client, &device->clients, link) {
		eviction = client->eviction;
		if (!READ_ONCE(eviction->wanted) || client->running || client->owed ||
		    dma_fence_is_signaled(&eviction->base))
			continue;
		ns = ktime_to_ns(ktime_sub(ktime_get(), eviction->wanted_at));
		device->info.longest_preemption_ns = max(device->info.longest_preemption_ns, ns);
		dma_fence_signal(&eviction->base);
		if (!client->closing)
			schedule_delayed_work(&client->restore, 0);
	}
	mutex_unlock(&device->lock);
}

/* Gives each queue a turn. Only this thread removes queues, so the list is whole between turns. */
static void run_queues(struct umf_gpu_device *device, bool *progress, bool *polls)
{
	struct umf_gpu_queue *queue;
	unsigned int turns;

	mutex_lock(&device->lock);
	turns = bitmap_weight(device->counts_used, COUNTS);
	mutex_unlock(&device->lock);
	for (; turns; turns--) {
		mutex_lock(&device->lock);
		queue = list_first_entry_or_null(&device->queues, struct umf_gpu_queue, link);
		if (queue)
			list_move_tail(&queue->link, &device->queues);
		mutex_unlock(&device->lock);
		if (!queue)
			break;
		run_queue(device, queue, progress, polls);
	}
	finish_evictions(device);
}

/*
 * Doorbells. A store to a mapped page tells the device nothing, so it looks. When it has been idle
 * for a while, it has the doorbells unmapped and sleeps. The next store to one is then a page
 * fault, which maps the doorbell and wakes the device: still no system call.
 */

/* No doorbell is mapped, and so no store can be missed from here on. */
static bool is_armed(struct umf_gpu_device *device)
{
	bool armed = READ_ONCE(device->armed_at) == atomic64_read(&device->doorbell_faults);

	smp_mb(); /* before the look at the doorbells */
	return armed;
}

/*
 * Not by the firmware: unmapping tells the process's MMU notifiers, which may wait for fences. A
 * fault that comes in the middle is counted after its page is mapped, so armed_at is then too low.
 */
void umf_gpu_arm_doorbells(struct work_struct *work)
{
	struct umf_gpu_device *device = container_of(work, struct umf_gpu_device, arm);
	const u64 faults = atomic64_read(&device->doorbell_faults);
	struct umf_gpu_bo *bo;

	smp_mb();
	mutex_lock(&device->doorbell_lock);
	list_for_each_entry(bo, &device->doorbells, doorbell_link)
		drm_vma_node_unmap(&bo->base.vma_node, device->drm.anon_inode->i_mapping);
	mutex_unlock(&device->doorbell_lock);
	smp_store_release(&device->armed_at, faults);
	umf_gpu_kick(device);
}

static void sleep_until_kicked(struct umf_gpu_device *device, u64 ns)
{
	wait_event_interruptible_hrtimeout(device->wake,
					   atomic_read(&device->kicked) || kthread_should_stop(),
					   ns ? ns_to_ktime(ns) : KTIME_MAX);
}

static void sleep_for_doorbells(struct umf_gpu_device *device)
{
	mutex_lock(&device->lock);
	device->info.asleep = true;
	mutex_unlock(&device->lock);
	sleep_until_kicked(device, 0);
	mutex_lock(&device->lock);
	device->info.asleep = false;
	device->info.doorbell_wakes += atomic64_read(&device->doorbell_faults) != device->armed_at;
	mutex_unlock(&device->lock);
}

static int firmware(void *data)
{
	struct umf_gpu_device *device = data;
	u64 poll_ns = POLL_MIN_NS;
	unsigned int idle = 0;

	while (!kthread_should_stop()) {
		bool armed = is_armed(device), progress = false, polls = false, signaling;

		atomic_xchg(&device->kicked, 0); /* before the look at what it stands for */
		signaling = dma_fence_begin_signalling();
		run_queues(device, &progress, &polls);
		dma_fence_end_signalling(signaling);

		if (progress) {
			poll_ns = POLL_MIN_NS;
			idle = 0;
			cond_resched();
		} else if (polls) {
			sleep_until_kicked(device, poll_ns);
			poll_ns = min_t(u64, poll_ns + poll_ns / 8, POLL_MAX_NS);
			idle = 0;
		} else if (armed) {
			sleep_for_doorbells(device);
		} else {
			if (++idle % DOORBELL_POLLS == 0)
				schedule_work(&device->arm);
			sleep_until_kicked(device, DOORBELL_POLL_NS);
		}
	}
	return 0;
}

int umf_gpu_firmware_start(struct umf_gpu_device *device)
{
	struct task_struct *thread = kthread_run(firmware, device, "umf_gpu");

	if (IS_ERR(thread))
		return PTR_ERR(thread);
	device->firmware = thread;
	return 0;
}
