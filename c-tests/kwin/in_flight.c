// SPDX-License-Identifier: MIT
/*
 * How many frames a second KWin shows of a client whose frames take the CPU and then the GPU: with
 * the conversion that blocks before the commit, and with one to four frames in flight.
 *     in_flight [MILLISECONDS-OF-A-SHARE [ROUNDS]]
 * The times are for comparison within one run. What is checked is the order: no frame is shown
 * before it is drawn, and the last one is shown.
 */
#include "client.h"

#define FRAMES_OF_A_WAY 40
#define WAYS 5

/* Small, because KWin draws with the processor that the client computes on. */
#define SIZE 64

static struct gpu gpu;
static uint64_t share_ns = 50 * MS;
static uint64_t next_frame = 1;

/* The client's share of the CPU. */
static void
compute(void)
{
    for (uint64_t until = clock_ns(CLOCK_THREAD_CPUTIME_ID) + share_ns;
         clock_ns(CLOCK_THREAD_CPUTIME_ID) < until;)
        ;
}

/* Frames that are committed early, with so many between begin and present. */
static void
show_early(uint64_t in_flight)
{
    const uint64_t first = next_frame, end = first + FRAMES_OF_A_WAY;
    struct umf_watch *watches[FRAMES_OF_A_WAY];
    for (; next_frame < end; next_frame++) {
        const uint64_t frame = next_frame;
        UNTIL_EVENT(frame - 1 - ended < in_flight);
        wait_for_release(buffer_of(frame));
        compute();
        watches[frame - first] = commit_early(&gpu, frame, buffer_of(frame));
        ring_gpu(&gpu, (struct job){ .takes_ns = share_ns, .frame = frame,
                                     .buffer = buffer_of(frame), .color = (uint32_t)frame });
        CHECK(frames[frame].early);
    }
    UNTIL_EVENT(ended == end - 1);
    for (uint64_t i = 0; i < FRAMES_OF_A_WAY; i++)
        OK(outcome_of(client.loop, watches[i]));
}

/* Frames that are committed when they are drawn. */
static void
show_blocking(void)
{
    const uint64_t end = next_frame + FRAMES_OF_A_WAY;
    for (; next_frame < end; next_frame++) {
        const uint64_t frame = next_frame;
        wait_for_release(buffer_of(frame));
        compute();
        ring_gpu(&gpu, (struct job){ .takes_ns = share_ns, .frame = frame,
                                     .buffer = buffer_of(frame), .color = (uint32_t)frame });
        OK(umf_fence_export_syncobj(gpu.fence, frame, client.device, client.acquire_handle, frame,
                                    0, in_ns(100 * SECOND)));
        commit(frame, buffer_of(frame));
        CHECK(!frames[frame].early);
        CHECK(wl_display_dispatch_pending(client.display) >= 0);
    }
    UNTIL_EVENT(ended == end - 1);
}

/* Returns how many frames KWin showed a second. */
static double
show(int way)
{
    const uint64_t first = next_frame, began = now_ns();
    unsigned shown = 0;
    if (way == 0)
        show_blocking();
    else
        show_early((uint64_t)way);
    /* Of two frames that are drawn within one refresh of the output, KWin shows the second. */
    CHECK(frames[next_frame - 1].outcome == PRESENTED);
    for (uint64_t frame = first; frame < next_frame; frame++) {
        if (frames[frame].outcome == DISCARDED)
            continue;
        CHECK(frames[frame].presented_ns >= drawn_ns[frame]);
        shown++;
    }
    return shown / ((double)(frames[next_frame - 1].presented_ns - began) / 1e9);
}

static int
compare(const void *a, const void *b)
{
    const double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

int
main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    int rounds_wanted = argc > 2 ? atoi(argv[2]) : 3;
    if (argc > 1)
        share_ns = (uint64_t)atoi(argv[1]) * MS;
    double rates[WAYS][16], ratios[WAYS][16];
    CHECK(rounds_wanted > 0 && rounds_wanted <= 16);
    buffer_width = buffer_height = SIZE;
    make_buffers();
    gpu = start_gpu();
    connect_client();
    open_gpu(&gpu, client.loop);

    for (int round = 0; round < rounds_wanted; round++) {
        for (int way = 0; way < WAYS; way++) {
            rates[way][round] = show(way);
            ratios[way][round] = rates[way][round] / rates[0][round];
        }
    }
    printf("A frame takes %.1f ms of the CPU, then %.1f ms of the GPU. Median of %d rounds.\n",
           (double)share_ns / 1e6, (double)share_ns / 1e6, rounds_wanted);
    for (int way = 0; way < WAYS; way++) {
        qsort(rates[way], (size_t)rounds_wanted, sizeof(double), compare);
        qsort(ratios[way], (size_t)rounds_wanted, sizeof(double), compare);
        char name[32] = "blocking";
        if (way > 0)
            snprintf(name, sizeof(name), "early, %d in flight", way);
        printf("%-20s %5.1f frames/s, %.2f of blocking\n", name, rates[way][rounds_wanted / 2],
               ratios[way][rounds_wanted / 2]);
    }
    return 0;
}
