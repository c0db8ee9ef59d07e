// SPDX-License-Identifier: MIT
/*
 * KWin holds a frame that is committed before its acquire point exists, and goes on showing the
 * last one, until the GPU has written its UMF. Then it shows the frame. With one to four frames
 * committed ahead.
 */
#include "client.h"
#include "screenshot.h"

#define ROUNDS 3

static struct gpu gpu;

static void
draw(uint64_t frame)
{
    ring_gpu(&gpu, (struct job){ .frame = frame, .buffer = buffer_of(frame),
                                 .color = color_of(frame) });
}

/* Nothing that KWin sent by now tells of the frame, and its point does not exist. */
static void
check_held(uint64_t frame, struct umf_watch *watch)
{
    CHECK(wl_display_roundtrip(client.display) >= 0);
    CHECK(frames[frame].outcome == COMMITTED && frames[frame].early);
    EXPECT(-ETIME, umf_watch_result(watch));
    check_not_materialized(card, client.acquire_handle, frame);
}

/* Commits frames ahead of the GPU, and then draws one after the other. */
static void
commit_ahead(uint64_t first, uint64_t count)
{
    struct umf_watch *watches[BUFFERS];
    for (uint64_t i = 0; i < count; i++) {
        wait_for_release(buffer_of(first + i));
        watches[i] = commit_early(&gpu, first + i, buffer_of(first + i));
    }
    for (uint64_t i = 0; i < count; i++) {
        const uint64_t frame = first + i;
        const uint32_t shown = frame == 1 ? 0 : color_of(frame - 1);
        /* The screenshot has KWin paint, which it would not do without a frame that is ready. */
        uint32_t screen = screen_color();
        CHECK(frame == 1 || screen == shown);
        for (uint64_t j = i; j < count; j++)
            check_held(first + j, watches[j]);

        draw(frame);
        UNTIL_EVENT(frames[frame].outcome != COMMITTED);
        CHECK(frames[frame].outcome == PRESENTED);
        CHECK(frames[frame].presented_ns >= drawn_ns[frame]);
        OK(outcome_of(client.loop, watches[i]));
        EXPECT(color_of(frame), screen_color());
    }
}

int
main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    make_buffers();
    gpu = start_gpu();
    connect_client();
    open_gpu(&gpu, client.loop);

    uint64_t next = 1;
    int fds = 0;
    for (int round = 0; round < ROUNDS; round++) {
        for (uint64_t ahead = 1; ahead < BUFFERS; ahead++) {
            commit_ahead(next, ahead);
            next += ahead;
        }
        printf("%" PRIu64 " frames held until their UMF was reached, and shown then\n", next - 1);
        if (round == 0)
            fds = open_fds();
    }
    /* The buffer of the last frame is still shown: its release takes a descriptor. */
    EXPECT(fds, open_fds());
    return 0;
}
