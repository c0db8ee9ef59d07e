// SPDX-License-Identifier: MIT
#include <libumf.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

int main(void)
{
    struct umf_page *page;      /* shared memory for 64 fences */
    struct umf_fence *frame;    /* one of them, with the value 0 */
    if (umf_page_create(64, 0, &page) || umf_fence_create(page, 0, 0, &frame))
        return 1;

    if (fork() == 0)            /* the "GPU": a process that signals when its work is done */
        _exit(umf_fence_signal(frame, 7) != 0);

    struct timespec now;        /* a GPU that died, or never started, signals nothing: */
    clock_gettime(CLOCK_MONOTONIC, &now);       /* wait for 5 seconds at most */
    int result = umf_fence_wait(frame, 7, (uint64_t)(now.tv_sec + 5) * 1000000000);
    printf("frame 7: %s\n", result == 0 ? "done" : "failed");

    umf_fence_unref(frame);
    umf_page_unref(page);
    return result != 0;
}
