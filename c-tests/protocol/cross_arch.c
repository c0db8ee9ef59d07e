// SPDX-License-Identifier: MIT
/*
 * Two programs that were built for different processors share pages. Each finds at the same place
 * what the other writes, wakes the other, tells it of errors, and sees the value that it waits for.
 *
 *     cross_arch COMMAND...     COMMAND runs this test as it was built for the other processor
 *
 * The first process starts the second, which shares only a socket with it. Both then run the same
 * steps, mirrored. Waits have no deadline; the watchdog ends a test that hangs.
 */
#include "cross_arch.h"
#include "process.h"
#include "raw_page.h"
#include "sleeper.h"

#define ON_SOCKET "--on-socket"

int sock;
pid_t other_pid;
struct umf_page *page;
static struct umf_page *second_page;

/* The fences of a round, of this process and of the other: both widths, one on the second page,
 * and one that nobody signals. */
enum { WIDE, NARROW, ELSEWHERE, KINDS };
static struct umf_fence *mine[KINDS], *theirs[KINDS], *never;

void
agree(uint64_t number)
{
    tell(sock, number);
    CHECK(hear(sock) == number);
}

struct umf_fence *
hand_over(struct umf_page *of, uint64_t value, uint64_t flags)
{
    struct umf_fence *fence;
    OK(umf_fence_create(of, value, flags, &fence));
    tell(sock, umf_fence_index(fence));
    return fence;
}

/* Values that need all bits of a fence: beyond 2^32, and across the wrap of 32 bits. */
static uint64_t wide(uint64_t i) { return (UINT64_C(1) << 40) - 2000 + i; }
static uint64_t narrow(uint64_t i) { return (uint32_t)(UINT32_MAX - 2000 + i); }

/* The creator of a fence has the process id in its lowest bits. */
#define PIDS (UINT64_C(1) << 22)

static uint64_t
slot_word(const struct raw *raw, const struct umf_fence *fence, size_t word)
{
    return *(const uint64_t *)(const void *)(raw->bytes + umf_fence_offset(fence) + word);
}

static void
the_layout_is_the_same(void)
{
    agree(umf_page_fence_count(page));
    for (int i = 0; i < KINDS; i++) {
        tell(sock, umf_fence_offset(mine[i]));
        CHECK(hear(sock) == umf_fence_offset(theirs[i]));
        tell(sock, umf_fence_value(mine[i]));
        CHECK(hear(sock) == umf_fence_value(theirs[i]));
    }
    CHECK(umf_fence_value(theirs[WIDE]) == wide(0) && umf_fence_value(theirs[NARROW]) == narrow(0));
    /* All bits of a value that a device writes arrive. */
    struct raw raw = map_raw(page);
    agree(raw.length);
    /* So do both halves of the words that say which fence is in a slot and which process created
     * it. */
    CHECK(slot_word(&raw, theirs[WIDE], SLOT_STATE) == STATE_LIVE);
    CHECK(slot_word(&raw, mine[WIDE], SLOT_CREATOR) % PIDS == (uint64_t)getpid());
    CHECK(slot_word(&raw, theirs[WIDE], SLOT_CREATOR) % PIDS == (uint64_t)other_pid);
    tell(sock, slot_word(&raw, mine[WIDE], SLOT_CREATOR));
    CHECK(hear(sock) == slot_word(&raw, theirs[WIDE], SLOT_CREATOR));
    uint32_t reclaimed = 1;
    OK(umf_page_reclaim(page, 0, &reclaimed));
    CHECK(reclaimed == 0);
    write_raw(&raw, mine[WIDE], wide(1));
    agree(1);
    OK(umf_fence_wait(theirs[WIDE], wide(1), 0));
    CHECK(umf_fence_value(theirs[WIDE]) == wide(1));
    agree(2);
    unmap_raw(&raw);
}

static void
wait_for_round(uint64_t i)
{
    const struct umf_condition all[KINDS] = {
        [WIDE] = { .fence = theirs[WIDE], .value = wide(i) },
        [NARROW] = { .fence = theirs[NARROW], .value = narrow(i) },
        [ELSEWHERE] = { .fence = theirs[ELSEWHERE], .value = i },
    };
    uint32_t index = 9;
    switch (i % 6) {
    case 0:
        OK(umf_fence_wait(theirs[WIDE], wide(i), FOREVER));
        break;
    case 1:
        OK(umf_fence_wait(theirs[NARROW], narrow(i), FOREVER));
        break;
    case 2:
        OK(umf_wait(all, KINDS, 0, FOREVER, NULL));
        break;
    case 3:
        OK(umf_wait(all, KINDS, UMF_WAIT_ANY, FOREVER, &index));
        CHECK(index < KINDS);
        break;
    default: {
        /* On one page, and on two. */
        const struct umf_condition any[2] = { { .fence = never, .value = 1 },
                                              all[i % 6 == 4 ? WIDE : ELSEWHERE] };
        OK(umf_wait(any, 2, UMF_WAIT_ANY, FOREVER, &index));
        CHECK(index == 1);
    }
    }
}

static void
signal_round(uint64_t i)
{
    OK(umf_fence_signal(mine[ELSEWHERE], i));
    OK(umf_fence_signal(mine[NARROW], narrow(i)));
    OK(umf_fence_signal(mine[WIDE], wide(i)));
}

/* One process signals first. */
static void
ping_pong(bool first, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i < to; i++) {
        if (first)
            signal_round(i);
        wait_for_round(i);
        if (!first)
            signal_round(i);
    }
    agree(to);
}

/* The ways to end a wait of the other process. */
static const struct ending {
    uint64_t flags, start, target;
    int result, error;
} endings[] = {
    { 0, 7, UINT64_C(1) << 40, 0, 0 },
    { UMF_FENCE_32BIT, 7, 1 << 30, 0, 0 },
    { UMF_FENCE_UNORDERED, 7, UINT64_C(1) << 40, 0, 0 }, /* and back at once */
    { 0, 7, 8, -EIO, -ENODEV },
    { UMF_FENCE_32BIT, UINT32_MAX, 8, -EIO, -ENODEV },
    { 0, 7, 8, -ESTALE, 0 },
};

void
until_recorded(const struct umf_fence *fence, uint64_t target)
{
    static char text[1 << 16];
    char who[64], what[128];
    struct stat stat;
    struct raw raw = map_raw(page);
    CHECK(fstat(raw.fd, &stat) == 0);
    snprintf(who, sizeof(who), " of pid %d (", (int)other_pid);
    snprintf(what, sizeof(what),
             " fence %" PRIu64 ":%" PRIu32 " >= %" PRIu64 " (now %" PRIu64 ")",
             (uint64_t)stat.st_ino, umf_fence_index(fence), target, umf_fence_value(fence));
    unmap_raw(&raw);
    for (bool noted = false; !noted;) {
        uint32_t deadlocks;
        int fd = memfd_create("graph", MFD_CLOEXEC);
        OK(umf_graph_write(fd, 0, &deadlocks));
        CHECK(deadlocks == 0);
        ssize_t length = pread(fd, text, sizeof(text) - 1, 0);
        CHECK(length > 0);
        text[length] = '\0';
        close(fd);
        for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
            noted = noted || (strstr(line, who) && strstr(line, " waits for ") &&
                              strstr(line, what));
    }
}

static void
wait_to_be_woken(const struct ending *how)
{
    struct umf_fence *fence = recv_fence(sock, page);
    EXPECT(how->result, umf_fence_wait(fence, how->target, FOREVER));
    if (how->error) {
        int error = 0;
        OK(umf_fence_error(fence, &error));
        EXPECT(how->error, error);
    }
    umf_fence_unref(fence);
    agree(how->target);
}

static void
wake(const struct ending *how)
{
    struct umf_fence *fence = hand_over(page, how->start, how->flags);
    until_recorded(fence, how->target);
    if (how->error)
        OK(umf_fence_set_error(fence, how->error));
    else if (how->result == 0)
        OK(umf_fence_signal(fence, how->target));
    if (how->flags & UMF_FENCE_UNORDERED)
        CHECK(umf_fence_update(fence, UMF_UPDATE_SUBTRACT, how->target, 0, NULL) == 0);
    if (how->result == -ESTALE)
        umf_fence_unref(fence);
    agree(how->target);
    if (how->result != -ESTALE)
        umf_fence_unref(fence);
}

/* What both processes do, once they have the two pages. */
static void
play(bool first)
{
    const uint64_t starts[KINDS] = { [WIDE] = wide(0), [NARROW] = narrow(0), [ELSEWHERE] = 0 };
    const uint64_t flags[KINDS] = { [NARROW] = UMF_FENCE_32BIT };
    for (int i = 0; i < KINDS; i++)
        mine[i] = hand_over(i == ELSEWHERE ? second_page : page, starts[i], flags[i]);
    for (int i = 0; i < KINDS; i++)
        theirs[i] = recv_fence(sock, i == ELSEWHERE ? second_page : page);
    OK(umf_fence_create(page, 0, 0, &never));

    the_layout_is_the_same();
    /* Either process may be slower than the other knows. */
    const uint64_t games = first ? rounds(20000, 300) : hear(sock);
    if (first)
        tell(sock, games);
    /* First as usual, then asleep in each wait. */
    ping_pong(first, 2, games);
    OK(umf_set_spin(0, 0, 0));
    ping_pong(!first, games, 2 * games);

    for (size_t i = 0; i < 2 * ARRAY_SIZE(endings); i++) {
        if (first == (i % 2 == 0))
            wake(&endings[i / 2]);
        else
            wait_to_be_woken(&endings[i / 2]);
    }
    play_unordered(first);
    for (int i = 0; i < KINDS; i++) {
        umf_fence_unref(mine[i]);
        umf_fence_unref(theirs[i]);
    }
    umf_fence_unref(never);
    umf_page_unref(page);
    umf_page_unref(second_page);
}

static void
start_the_other(char **command, int count)
{
    int ends[2];
    char number[16], **arguments = calloc((size_t)count + 3, sizeof(*arguments));
    CHECK(arguments && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
    snprintf(number, sizeof(number), "%d", ends[1]);
    for (int i = 0; i < count; i++)
        arguments[i] = command[i];
    arguments[count] = ON_SOCKET;
    arguments[count + 1] = number;
    IN_CHILD(other_pid, {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        CHECK(fcntl(ends[1], F_SETFD, 0) == 0);
        execvp(arguments[0], arguments);
        perror(arguments[0]);
        _exit(1);
    });
    free(arguments);
    close(ends[1]);
    sock = ends[0];
}

int
main(int argc, char **argv)
{
    watchdog(50);
    CHECK(argc > 1 && setenv("LIBUMF_DEBUG", "1", 1) == 0);
    if (argc == 3 && strcmp(argv[1], ON_SOCKET) == 0) {
        sock = atoi(argv[2]);
        other_pid = getppid();
        page = recv_page(sock);
        second_page = recv_page(sock);
        tell(sock, sizeof(void *));
        play(false);
        return 0;
    }
    if (RUNNING_ON_VALGRIND) {
        printf("not available: the other process would run without valgrind, and more rounds\n");
        return SKIPPED;
    }
    start_the_other(argv + 1, argc - 1);
    OK(umf_page_create(100, 0, &page));
    OK(umf_page_create(1 << 12, 0, &second_page));
    send_page(sock, page);
    send_page(sock, second_page);
    printf("%zu bits with %" PRIu64 "\n", 8 * sizeof(void *), 8 * hear(sock));
    play(true);
    join_child(other_pid);
    return 0;
}
