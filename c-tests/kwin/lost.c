// SPDX-License-Identifier: MIT
/*
 * A frame whose GPU dies, or fails, after KWin got it: the conversion ends with the reason, KWin
 * goes on showing the last good frame, and the client goes on with a new GPU on the same timeline.
 */
#include "client.h"
#include "screenshot.h"

#define HOUR (3600 * SECOND)

/* One for the first frame, which is good, and one for what comes after each loss. */
static struct gpu gpus[3];

static const uint32_t GOOD[] = { 0, 0x0000c0, 0, 0x00c000, 0, 0x00c0c0 };

static void
show_good(const struct gpu *gpu, uint64_t frame)
{
    struct umf_watch *watch = commit_early(gpu, frame, buffer_of(frame));
    ring_gpu(gpu, (struct job){ .frame = frame, .buffer = buffer_of(frame),
                                .color = GOOD[frame] });
    UNTIL_EVENT(frames[frame].outcome != COMMITTED);
    CHECK(frames[frame].outcome == PRESENTED);
    OK(outcome_of(client.loop, watch));
    EXPECT(GOOD[frame], screen_color());
}

/* The frame stays where it is, and the screen as it was. */
static void
check_lost(uint64_t frame, struct umf_watch *watch, int error)
{
    EXPECT(error, outcome_of(client.loop, watch));
    EXPECT(GOOD[frame - 1], screen_color());
    CHECK(wl_display_roundtrip(client.display) >= 0);
    CHECK(frames[frame].outcome == COMMITTED);
    check_not_materialized(card, client.acquire_handle, frame);
}

/* The next frame, drawn and committed before the points up to its own are given up. */
static void
recover(uint64_t frame)
{
    fill(&buffers[buffer_of(frame)], GOOD[frame]);
    drawn_ns[frame] = now_ns();
    commit(frame, buffer_of(frame));
    OK(umf_syncobj_signal(client.acquire, frame, 0));
    UNTIL_EVENT(frames[frame].outcome != COMMITTED && frames[frame - 1].outcome != COMMITTED);
    /* KWin discards the lost frame if it notices both points before it paints. */
    CHECK(frames[frame].outcome == PRESENTED);
    printf("the lost frame was %s\n",
           frames[frame - 1].outcome == DISCARDED ? "discarded" : "presented for a moment");
    EXPECT(GOOD[frame], screen_color());
}

static void
a_killed_gpu_leaves_the_last_good_frame(uint64_t lost)
{
    struct gpu *gpu = &gpus[0];
    struct umf_watch *watch = commit_early(gpu, lost, buffer_of(lost));
    ring_gpu(gpu, (struct job){ .takes_ns = HOUR, .frame = lost, .buffer = buffer_of(lost) });
    kill_peer(&gpu->peer);
    check_lost(lost, watch, -EOWNERDEAD);
    recover(lost + 1);
}

static void
a_failed_fence_leaves_the_last_good_frame(uint64_t lost)
{
    struct gpu *gpu = &gpus[1];
    struct umf_watch *watch = commit_early(gpu, lost, buffer_of(lost));
    ring_gpu(gpu, (struct job){ .frame = lost, .buffer = buffer_of(lost), .error = -EIO });
    check_lost(lost, watch, -EIO);
    recover(lost + 1);
}

int
main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    make_buffers();
    for (size_t i = 0; i < ARRAY_SIZE(gpus); i++)
        gpus[i] = start_gpu();
    connect_client();
    for (size_t i = 0; i < ARRAY_SIZE(gpus); i++)
        open_gpu(&gpus[i], client.loop);

    show_good(&gpus[0], 1);
    a_killed_gpu_leaves_the_last_good_frame(2);
    a_failed_fence_leaves_the_last_good_frame(4);
    return 0;
}
