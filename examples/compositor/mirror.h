/* SPDX-License-Identifier: MIT */
/*
 * A file that has the pixels of the frame which a compositor composited last, so that tests can
 * look at the screen. A reader maps it. The sequence is odd while the compositor writes.
 */
#ifndef MIRROR_H
#define MIRROR_H

#include <stdatomic.h>
#include <stdint.h>

struct wlr_buffer;

struct mirror {
    _Atomic uint32_t sequence; /* 2 for each frame */
    uint32_t width, height;
    uint32_t pixels[]; /* XRGB8888, row by row */
};

/* Creates the file. NULL if that fails, with errno. */
struct mirror *mirror_create(const char *path, int width, int height);

/* Copies a frame. One that the processor cannot read, or of another size, is left out. */
void mirror_update(struct mirror *mirror, struct wlr_buffer *buffer);

void mirror_destroy(struct mirror *mirror);

#endif
