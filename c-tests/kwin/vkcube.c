// SPDX-License-Identifier: MIT
/*
 * An unmodified Vulkan program, vkcube, on a driver with libumf, which mesa/build makes. KWin and
 * Xwayland get its frames as dma-bufs, with syncobjs, and KWin shows them. A program that may not
 * open the device for that presents copies.
 *     vkcube [FRAMES]
 *     vkcube picture
 * The first prints the frames a second, of so many, in both ways. The second prints a screenshot,
 * as a PPM file in base64, and checks no more.
 */
#include "screenshot.h"

#define DRIVER "/mesa/libumf.json"

/* A user who may not open the device. */
#define NOBODY 65534

enum way { DMA_BUFS, COPIES, NO_DEVICE };

static pid_t
start(const char *wsi, const char *mode, int frames, enum way way)
{
    pid_t pid;
    char count[16];
    snprintf(count, sizeof(count), "%d", frames);
    IN_CHILD(pid, {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setenv("VK_DRIVER_FILES", DRIVER, 1);
        if (way == COPIES)
            setenv("MESA_VK_WSI_DEBUG", "sw", 1);
        if (way == NO_DEVICE)
            CHECK(setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
        CHECK(freopen("/dev/null", "w", stdout));
        execlp("vkcube", "vkcube", "--wsi", wsi, "--present_mode", mode, "--c", count,
               "--width", "400", "--height", "400", NULL);
    });
    return pid;
}

/* How many files of this kind a process has open. */
static int
files(pid_t pid, const char *kind)
{
    char path[64], target[256];
    int count = 0;
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    DIR *dir = opendir(path);
    struct dirent *entry;
    CHECK(dir);
    while ((entry = readdir(dir))) {
        ssize_t length = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1);
        target[length > 0 ? length : 0] = '\0';
        count += strstr(target, kind) != NULL;
    }
    closedir(dir);
    return count;
}

/* How many of the screen's pixels differ from those of another screenshot. */
static unsigned
differing(const struct screenshot *a, const struct screenshot *b)
{
    unsigned count = 0;
    for (uint32_t y = 0; y < HEIGHT; y++)
        for (uint32_t x = 0; x < WIDTH; x++)
            count += color_at(a, x, y) != color_at(b, x, y);
    return count;
}

static void
print_picture(const struct screenshot *shot)
{
    fflush(stdout);
    FILE *stream = popen("base64", "w");
    CHECK(stream);
    fprintf(stream, "P6\n%u %u\n255\n", shot->width, shot->height);
    for (uint32_t y = 0; y < shot->height; y++) {
        for (uint32_t x = 0; x < shot->width; x++) {
            const uint32_t color = color_at(shot, x, y);
            const uint8_t rgb[] = { (uint8_t)(color >> 16), (uint8_t)(color >> 8),
                                    (uint8_t)color };
            fwrite(rgb, 1, sizeof(rgb), stream);
        }
    }
    CHECK(pclose(stream) == 0);
}

static void
kwin_shows(const char *wsi, enum way way, bool picture)
{
    const struct screenshot empty = take_screenshot();
    pid_t pid = start(wsi, "2", INT_MAX, way);
    struct screenshot first, second;
    do {
        CHECK(waitpid(pid, NULL, WNOHANG) == 0);
        first = take_screenshot();
    } while (differing(&empty, &first) < 100 * 100);
    do {
        CHECK(waitpid(pid, NULL, WNOHANG) == 0);
        second = take_screenshot();
    } while (differing(&first, &second) == 0);
    const int dma_bufs = files(pid, "/dmabuf"), syncobjs = files(pid, "syncobj_file");
    printf("vkcube on %s%s has %d dma-bufs and %d syncobjs\n", wsi,
           way == NO_DEVICE ? ", without the device," : "", dma_bufs, syncobjs);
    CHECK((dma_bufs > 0) == (way == DMA_BUFS) && (syncobjs > 0) == (way == DMA_BUFS));
    if (picture)
        print_picture(&second);
    CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid);
}

static double
frames_per_second(const char *wsi, const char *mode, int frames, enum way way)
{
    /* Without the time that the program takes to start. */
    const uint64_t began = now_ns();
    join_child(start(wsi, mode, 1, way));
    const uint64_t between = now_ns();
    join_child(start(wsi, mode, frames + 1, way));
    const uint64_t ended = now_ns();
    return frames / ((double)(ended - between - (between - began)) / 1e9);
}

static const char *
socket_path(void)
{
    static char path[128];
    snprintf(path, sizeof(path), "/run/user/%s", getenv("WAYLAND_DISPLAY"));
    return path;
}

int
main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    const bool picture = argc > 1 && strcmp(argv[1], "picture") == 0;
    const int frames = argc > 1 ? atoi(argv[1]) : 60;
    if (access(DRIVER, R_OK) != 0) {
        printf("mesa/build has not made a driver\n");
        return SKIPPED;
    }
    kwin_shows("wayland", DMA_BUFS, picture);
    if (picture)
        return 0;
    kwin_shows("xcb", DMA_BUFS, false);

    /* Let the other user reach KWin. */
    CHECK(chmod("/run/user", 0711) == 0 && chmod(socket_path(), 0777) == 0);
    kwin_shows("wayland", NO_DEVICE, false);

    const struct {
        const char *name, *number;
    } modes[] = { { "FIFO", "2" }, { "MAILBOX", "1" } };
    const char *const systems[] = { "wayland", "xcb" };
    for (size_t i = 0; i < ARRAY_SIZE(modes) * ARRAY_SIZE(systems); i++) {
        const char *wsi = systems[i / 2], *mode = modes[i % 2].number;
        const double copies = frames_per_second(wsi, mode, frames, COPIES);
        const double dma_bufs = frames_per_second(wsi, mode, frames, DMA_BUFS);
        printf("%-7s %-7s %5.1f frames/s by copies, %5.1f by dma-bufs and early points: %.2f\n",
               wsi, modes[i % 2].name, copies, dma_bufs, dma_bufs / copies);
    }
    return 0;
}
