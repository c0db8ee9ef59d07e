// SPDX-License-Identifier: MIT
/*
 * umf_trace_start() and umf_trace_stop(): which files are refused, that recording ends where it
 * could harm the program, and that fences work in each case.
 */
#include "sleeper.h"

#include <sys/resource.h>

static struct umf_page *page;
static struct umf_fence *fence;
static uint64_t value;
static char folder[] = "/tmp/umf-trace-XXXXXX";
static char path[64], other[64];

static void
signal_once(void)
{
    errno = SENTINEL;
    OK(umf_fence_signal(fence, ++value));
    CHECK(errno == SENTINEL);
}

/* How many events the file has. Each line must be whole. */
static int
events(const char *file)
{
    char line[512];
    int count = 0;
    FILE *stream = fopen(file, "re");
    CHECK(stream);
    CHECK(fgets(line, sizeof(line), stream) && strcmp(line, "[\n") == 0);
    while (fgets(line, sizeof(line), stream)) {
        size_t length = strlen(line);
        CHECK(length > 3 && line[0] == '{' && strcmp(line + length - 3, "},\n") == 0);
        count += strncmp(line, "{\"ph\":\"M\"", 9) != 0;
    }
    fclose(stream);
    return count;
}

static int
new_file(const char *name, const char *text)
{
    int fd = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    return fd;
}

static void
files_that_are_no_traces_are_refused(void)
{
    char text[8] = "";
    int fd = new_file(other, "text");
    EXPECT(-EINVAL, umf_trace_start(NULL, 0));
    EXPECT(-EINVAL, umf_trace_start(path, 1));
    EXPECT(-EINVAL, umf_trace_start(other, 0));
    CHECK(pread(fd, text, sizeof(text), 0) == 4 && strcmp(text, "text") == 0);
    close(fd);
    CHECK(unlink(other) == 0);
    EXPECT(-EINVAL, umf_trace_start(folder, 0));
    EXPECT(-EINVAL, umf_trace_start("/dev/null", 0));
    CHECK(mkfifo(other, 0600) == 0);
    EXPECT(-EINVAL, umf_trace_start(other, 0));
    CHECK(unlink(other) == 0);
    snprintf(other, sizeof(other), "%s/no/folder", folder);
    EXPECT(-ENOENT, umf_trace_start(other, 0));
    EXPECT(-ENOENT, umf_trace_start("", 0));
    snprintf(other, sizeof(other), "%s/other", folder);
    signal_once();
}

static void
events_are_recorded_between_start_and_stop(void)
{
    signal_once();
    OK(umf_trace_start(path, 0));
    signal_once();
    EXPECT(1, events(path));
    /* A check, a wait that is met and a read record nothing. */
    EXPECT(-ETIME, umf_fence_wait(fence, value + 1, 0));
    OK(umf_fence_wait(fence, value, FOREVER));
    EXPECT((int64_t)value, (int64_t)umf_fence_value(fence));
    EXPECT(1, events(path));
    /* The begin and the end of a wait. */
    EXPECT(-ETIME, umf_fence_wait(fence, value + 1, in_ns(MS)));
    EXPECT(3, events(path));
    umf_trace_stop();
    umf_trace_stop();
    signal_once();
    EXPECT(3, events(path));
    /* The trace goes on, also for a fence that is opened while it is on. */
    struct umf_fence *young;
    OK(umf_trace_start(path, 0));
    OK(umf_fence_create(page, 0, 0, &young));
    OK(umf_fence_signal(young, 1));
    EXPECT(-EINVAL, umf_fence_signal(young, 0));
    EXPECT(5, events(path));
    umf_fence_unref(young);
}

static void
a_second_file_takes_the_place_of_the_first(void)
{
    int before = events(path), fds = open_fds();
    OK(umf_trace_start(other, 0));
    EXPECT(fds, open_fds());
    signal_once();
    EXPECT(before, events(path));
    EXPECT(1, events(other));
    CHECK(unlink(other) == 0);
    OK(umf_trace_start(path, 0));
}

static void
a_name_may_have_the_process_id(void)
{
    char named[96];
    char pattern[64];
    snprintf(pattern, sizeof(pattern), "%s/%%p-%%p%%", folder);
    snprintf(named, sizeof(named), "%s/%d-%d%%", folder, (int)getpid(), (int)getpid());
    OK(umf_trace_start(pattern, 0));
    signal_once();
    EXPECT(1, events(named));
    CHECK(unlink(named) == 0);
    OK(umf_trace_start(path, 0));
}

static void
a_child_goes_on_in_the_file(void)
{
    pid_t child;
    int before = events(path);
    IN_CHILD(child, { signal_once(); });
    join_child(child);
    value++;
    EXPECT(before + 1, events(path));
}

/* Stores and updates of a fence without order, whether or not they are allowed. */
static void
updates_are_recorded(void)
{
    struct umf_fence *unordered;
    uint64_t previous;
    OK(umf_fence_create(page, 5, UMF_FENCE_UNORDERED, &unordered));
    int before = events(path);
    OK(umf_fence_signal(unordered, 3));
    OK(umf_fence_update(unordered, UMF_UPDATE_ADD, 1, 0, &previous));
    CHECK(previous == 3 && umf_fence_value(unordered) == 4);
    OK(umf_fence_update(unordered, UMF_UPDATE_COMPARE_EXCHANGE, 9, 8, &previous));
    CHECK(previous == 4 && umf_fence_value(unordered) == 4);
    EXPECT(before + 3, events(path));
    OK(umf_fence_end(unordered));
    EXPECT(-ESTALE, umf_fence_signal(unordered, 7));
    EXPECT(-ESTALE, umf_fence_update(unordered, UMF_UPDATE_ADD, 1, 0, &previous));
    EXPECT(before + 5, events(path));
    umf_trace_stop();
    EXPECT(-ESTALE, umf_fence_update(unordered, UMF_UPDATE_ADD, 1, 0, &previous));
    EXPECT(before + 5, events(path));
    OK(umf_trace_start(path, 0));
    umf_fence_unref(unordered);
}

/* A write beyond RLIMIT_FSIZE would raise SIGXFSZ, which ends a process. */
static void
a_limit_on_files_ends_the_recording(void)
{
    struct rlimit before, limit;
    int recorded = events(path);
    CHECK(getrlimit(RLIMIT_FSIZE, &before) == 0);
    limit = before;
    limit.rlim_cur = 1;
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    signal_once();
    EXPECT(-ENOMEM, umf_trace_start(path, 0));
    CHECK(setrlimit(RLIMIT_FSIZE, &before) == 0);
    signal_once();
    EXPECT(recorded, events(path));
    OK(umf_trace_start(path, 0));
    signal_once();
    EXPECT(recorded + 1, events(path));
}

/* A sealed memfd refuses a write as a full file system does. */
static void
a_file_without_room_ends_the_recording(void)
{
    char link[64];
    int fd = memfd_create("trace", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CHECK(fd >= 0);
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    OK(umf_trace_start(link, 0));
    signal_once();
    int recorded = events(link);
    CHECK(recorded == 1 && fcntl(fd, F_ADD_SEALS, F_SEAL_GROW) == 0);
    signal_once();
    signal_once();
    EXPECT(1, events(link));
    close(fd);
    OK(umf_trace_start(path, 0));
}

/* A program that closes all descriptors it does not know may get a number of the library's. */
static void
a_file_of_the_program_is_not_written(void)
{
    struct stat status;
    int recorded = events(path), lowest = new_file(other, "mine"), highest = open_fds() + 8;
    CHECK(unlink(other) == 0);
    for (int fd = 3; fd < highest; fd++)
        if (fd != lowest)
            CHECK(dup2(lowest, fd) == fd);
    signal_once();
    CHECK(fstat(lowest, &status) == 0 && status.st_size == 4);
    for (int fd = 3; fd < highest; fd++)
        close(fd);
    signal_once();
    EXPECT(recorded, events(path));
    OK(umf_trace_start(path, 0));
    signal_once();
    EXPECT(recorded + 1, events(path));
}

static struct sleeper sleeper;

static void
a_wait_that_lasts_shows_its_begin(void)
{
    int before = events(path);
    sleeper = (struct sleeper){ .fence = fence, .value = value + 1 };
    fall_asleep(&sleeper);
    EXPECT(before + 1, events(path));
    signal_once();
    OK(end_of(&sleeper));
    /* The signal, the wake-up, what ended the wait, and its end. */
    EXPECT(before + 5, events(path));
}

int
main(void)
{
    watchdog(30);
    CHECK(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/trace", folder);
    snprintf(other, sizeof(other), "%s/other", folder);
    OK(umf_set_spin(0, 0, 0));
    umf_trace_stop();
    OK(umf_page_create(2, 0, &page));
    OK(umf_fence_create(page, 0, 0, &fence));
    files_that_are_no_traces_are_refused();
    events_are_recorded_between_start_and_stop();
    a_second_file_takes_the_place_of_the_first();
    a_name_may_have_the_process_id();
    a_child_goes_on_in_the_file();
    a_wait_that_lasts_shows_its_begin();
    updates_are_recorded();
    a_limit_on_files_ends_the_recording();
    a_file_without_room_ends_the_recording();
    a_file_of_the_program_is_not_written();
    umf_trace_stop();
    umf_fence_unref(fence);
    umf_page_unref(page);
    CHECK(unlink(path) == 0 && rmdir(folder) == 0);
    return 0;
}
