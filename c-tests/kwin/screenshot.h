/* SPDX-License-Identifier: MIT */
/* What KWin composites: the pixels of a screenshot, which has KWin paint anew. */
#ifndef KWIN_SCREENSHOT_H
#define KWIN_SCREENSHOT_H

#include "gpu.h"

#include <systemd/sd-bus.h>

/* Some of QImage::Format. */
enum { FORMAT_RGB32 = 4, FORMAT_ARGB32_PREMULTIPLIED = 6, FORMAT_RGBX8888 = 16,
       FORMAT_RGBA8888_PREMULTIPLIED = 18 };

struct screenshot {
    uint32_t width, height, stride, format;
    uint8_t *bytes;
};

static inline struct screenshot
take_screenshot(void)
{
    static sd_bus *bus;
    struct screenshot shot = { 0 };
    sd_bus_error error = SD_BUS_ERROR_NULL;
    sd_bus_message *reply;
    int ends[2];
    CHECK(bus || sd_bus_open_user(&bus) >= 0);
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    int result = sd_bus_call_method(bus, "org.kde.KWin", "/org/kde/KWin/ScreenShot2",
                                    "org.kde.KWin.ScreenShot2", "CaptureWorkspace", &error,
                                    &reply, "a{sv}h", 0, ends[1]);
    if (result < 0)
        fprintf(stderr, "CaptureWorkspace: %s: %s\n", error.name, error.message);
    CHECK(result >= 0);
    close(ends[1]);

    const char *key;
    CHECK(sd_bus_message_enter_container(reply, 'a', "{sv}") > 0);
    while (sd_bus_message_enter_container(reply, 'e', "sv") > 0) {
        CHECK(sd_bus_message_read(reply, "s", &key) > 0);
        if (strcmp(key, "width") == 0)
            CHECK(sd_bus_message_read(reply, "v", "u", &shot.width) > 0);
        else if (strcmp(key, "height") == 0)
            CHECK(sd_bus_message_read(reply, "v", "u", &shot.height) > 0);
        else if (strcmp(key, "stride") == 0)
            CHECK(sd_bus_message_read(reply, "v", "u", &shot.stride) > 0);
        else if (strcmp(key, "format") == 0)
            CHECK(sd_bus_message_read(reply, "v", "u", &shot.format) > 0);
        else
            CHECK(sd_bus_message_skip(reply, "v") > 0);
        CHECK(sd_bus_message_exit_container(reply) > 0);
    }
    sd_bus_message_unref(reply);

    size_t size = (size_t)shot.stride * shot.height, got = 0;
    CHECK(size > 0 && (shot.bytes = malloc(size)));
    while (got < size) {
        ssize_t part = read(ends[0], shot.bytes + got, size - got);
        CHECK(part > 0);
        got += (size_t)part;
    }
    close(ends[0]);
    return shot;
}

static inline uint32_t
color_at(const struct screenshot *shot, uint32_t x, uint32_t y)
{
    const uint8_t *pixel = shot->bytes + (size_t)y * shot->stride + 4 * (size_t)x;
    switch (shot->format) {
    case FORMAT_RGB32:
    case FORMAT_ARGB32_PREMULTIPLIED:
        return (uint32_t)pixel[2] << 16 | (uint32_t)pixel[1] << 8 | pixel[0];
    case FORMAT_RGBX8888:
    case FORMAT_RGBA8888_PREMULTIPLIED:
        return (uint32_t)pixel[0] << 16 | (uint32_t)pixel[1] << 8 | pixel[2];
    default:
        fprintf(stderr, "the screenshot has format %u\n", shot->format);
        exit(1);
    }
}

/* The color of the screen, which must have only one. */
static inline uint32_t
screen_color(void)
{
    struct screenshot shot = take_screenshot();
    CHECK(shot.width == WIDTH && shot.height == HEIGHT);
    const uint32_t color = color_at(&shot, 0, 0);
    for (uint32_t y = 0; y < HEIGHT; y++)
        for (uint32_t x = 0; x < WIDTH; x++)
            CHECK(color_at(&shot, x, y) == color);
    free(shot.bytes);
    return color;
}

#endif
