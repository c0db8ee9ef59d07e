// SPDX-License-Identifier: MIT
/*
 * Deadlocks are reported: queues and copies that wait for each other, in one process and in three,
 * each exactly. What only looks like a deadlock is not reported.
 */
#include "process.h"
#include "sleeper.h"

#define FENCES 3

static struct umf_page *page;
static struct umf_fence *fences[FENCES];
static struct umf_loop *loop;
static unsigned long inode;

static int
is_done(void *data)
{
    (void)data;
    return UMF_JOB_DONE;
}

static int
is_submitted(void *data)
{
    (void)data;
    return UMF_JOB_SUBMITTED;
}

/* A job that waits for fence `wait` (-1: for nothing) to reach a value, and signals fence
 * `signal`. A queue that is UMF_QUEUE_INLINE is blocked when this returns. */
static void
submit(struct umf_queue *queue, int wait, uint64_t at, int signal, uint64_t value,
       int (*run)(void *))
{
    struct umf_condition entry = { .fence = wait < 0 ? NULL : fences[wait], .value = at };
    struct umf_signal mark = { .fence = fences[signal], .value = value };
    struct umf_job job = { .size = sizeof(job), .wait_count = wait < 0 ? 0 : 1, .waits = &entry,
                           .signal_count = 1, .signals = &mark, .run = run };
    OK(umf_queue_submit(queue, &job, 0));
}

static struct umf_queue *
new_queue(void)
{
    struct umf_queue *queue;
    OK(umf_queue_create(loop, UMF_QUEUE_INLINE, &queue));
    return queue;
}

/* The report without what differs from run to run. Each participant has a letter, in the order
 * of their names: "queue A waits for 0 >= 1: promised by queue B". */
static char *
report(uint32_t expected)
{
    static char raw[1 << 16], told[1 << 16];
    char names[26][64];
    int known = 0;
    uint32_t deadlocks = 12345;
    int fd = memfd_create("report", MFD_CLOEXEC);
    CHECK(fd >= 0);
    OK(umf_graph_write(fd, 0, &deadlocks));
    ssize_t length = pread(fd, raw, sizeof(raw) - 1, 0);
    CHECK(length > 0);
    raw[length] = '\0';
    close(fd);
    if (deadlocks != expected) {
        fprintf(stderr, "%u deadlocks, not %u:\n%s", deadlocks, expected, raw);
        exit(1);
    }
    char *to = told;
    const char *from = strchr(raw, '\n') + 1;
    while (*from) {
        unsigned serial, pid;
        unsigned long page_inode;
        int used = 0, slot;
        if (*from >= '0' && *from <= '9' &&
            sscanf(from, "%u of pid %u (%*[^)])%n", &serial, &pid, &used) == 2 && used > 0) {
            char name[64];
            int at = 0;
            snprintf(name, sizeof(name), "%u of %u", serial, pid);
            while (at < known && strcmp(names[at], name) != 0)
                at++;
            if (at == known)
                memcpy(names[known++], name, sizeof(name));
            *to++ = (char)('A' + at);
            from += used;
        } else if (sscanf(from, "fence %lu:%d%n", &page_inode, &slot, &used) == 2 && used > 0) {
            CHECK(page_inode == inode);
            to += sprintf(to, "%d", slot);
            from += used;
        } else {
            *to++ = *from++;
        }
    }
    *to = '\0';
    return told;
}

static void
reports(uint32_t deadlocks, const char *expected)
{
    char *told = report(deadlocks);
    if (strcmp(told, expected) != 0) {
        fprintf(stderr, "expected:\n%stold:\n%s", expected, told);
        exit(1);
    }
}

static void
set_up(void)
{
    struct stat stat_;
    int fd;
    OK(umf_page_create(FENCES, 0, &page));
    for (int i = 0; i < FENCES; i++)
        OK(umf_fence_create(page, 0, 0, &fences[i]));
    OK(umf_page_export(page, 0, &fd));
    CHECK(fstat(fd, &stat_) == 0);
    inode = (unsigned long)stat_.st_ino;
    close(fd);
    OK(umf_loop_create(UMF_LOOP_THREAD, &loop));
}

static void
take_down(void)
{
    reports(0, "");
    umf_loop_unref(loop);
    for (int i = 0; i < FENCES; i++)
        umf_fence_unref(fences[i]);
    umf_page_unref(page);
}

static void
drain(struct umf_queue *queue)
{
    OK(umf_queue_drain(queue, FOREVER));
    umf_queue_unref(queue);
}

static void
two_queues_in_a_circle(void)
{
    set_up();
    struct umf_queue *one = new_queue(), *two = new_queue();
    submit(one, 1, 1, 0, 1, is_done);
    reports(
        0,
        "waiting:\n  queue A waits for 1 >= 1 (now 0): nobody has submitted a signal for this\n");
    submit(two, 0, 1, 1, 1, is_done);
    reports(1, "deadlock 1:\n"
               "  queue A waits for 1 >= 1 (now 0): promised by queue B\n"
               "  queue B waits for 0 >= 1 (now 0): promised by queue A\n");
    /* A participant that waits for the circle is not part of it. */
    struct umf_queue *three = new_queue();
    submit(three, 0, 1, 2, 1, is_done);
    reports(1, "deadlock 1:\n"
               "  queue A waits for 1 >= 1 (now 0): promised by queue B\n"
               "  queue B waits for 0 >= 1 (now 0): promised by queue A\n"
               "waiting for a deadlock:\n"
               "  queue C waits for 0 >= 1 (now 0): promised by queue A\n");
    /* Any process can break the deadlock. */
    OK(umf_fence_signal(fences[0], 1));
    drain(one);
    drain(two);
    drain(three);
    take_down();
}

static void
a_job_behind_the_one_that_waits_closes_the_circle(void)
{
    set_up();
    struct umf_queue *one = new_queue(), *two = new_queue();
    submit(one, 0, 7, 1, 1, is_done);
    submit(two, 1, 1, 2, 1, is_done);
    reports(0, "waiting:\n"
               "  queue A waits for 0 >= 7 (now 0): nobody has submitted a signal for this\n"
               "  queue B waits for 1 >= 1 (now 0): promised by queue A\n");
    submit(two, -1, 0, 0, 7, is_done);
    reports(1, "deadlock 1:\n"
               "  queue A waits for 0 >= 7 (now 0): promised by queue B\n"
               "  queue B waits for 1 >= 1 (now 0): promised by queue A\n");
    OK(umf_queue_cancel(two));
    drain(one);
    drain(two);
    take_down();
}

static void
a_copy_in_a_circle(void)
{
    set_up();
    struct umf_queue *one = new_queue();
    struct umf_watch *watch;
    submit(one, 1, 1, 0, 1, is_done);
    OK(umf_loop_export_fence(loop, fences[0], 1, fences[1], 1, 0, NULL, &watch));
    reports(1, "deadlock 1:\n"
               "  queue A waits for 1 >= 1 (now 0): promised by watch B\n"
               "  watch B waits for 0 >= 1 (now 0): promised by queue A\n");
    OK(umf_watch_cancel(watch));
    umf_watch_unref(watch);
    reports(
        0,
        "waiting:\n  queue A waits for 1 >= 1 (now 0): nobody has submitted a signal for this\n");
    OK(umf_fence_signal(fences[1], 1));
    drain(one);
    take_down();
}

/* A frame pipeline in order: each side waits for what the other has yet to submit. */
static void
wait_before_signal_is_no_deadlock(void)
{
    set_up();
    struct umf_queue *one = new_queue(), *two = new_queue();
    for (uint64_t frame = 1; frame <= 3; frame++) {
        submit(one, 1, frame - 1, 0, frame, is_done);
        submit(two, 0, frame, 1, frame, is_submitted);
        /* The first queue waits for nothing any more; the second has started its frame. */
        submit(one, 1, frame, 2, frame, is_done);
        reports(0, frame == 1 ? "waiting:\n  queue A waits for 1 >= 1 (now 0): submitted\n"
                 : frame == 2 ? "waiting:\n  queue A waits for 1 >= 2 (now 1): submitted\n"
                              : "waiting:\n  queue A waits for 1 >= 3 (now 2): submitted\n");
        OK(umf_fence_signal(fences[1], frame));
        OK(umf_queue_drain(one, FOREVER));
    }
    drain(one);
    drain(two);
    take_down();
}

/* Work that a queue has started will complete, whatever the queue waits for now. */
static void
what_was_started_is_no_deadlock(void)
{
    set_up();
    struct umf_queue *one = new_queue(), *two = new_queue();
    submit(one, -1, 0, 0, 1, is_submitted);
    submit(one, 1, 1, 0, 2, is_done);
    submit(two, 0, 1, 1, 1, is_done);
    reports(0, "waiting:\n"
               "  queue A waits for 1 >= 1 (now 0): promised by queue B\n"
               "  queue B waits for 0 >= 1 (now 0): promised by queue A; by work of queue A\n");
    OK(umf_fence_signal(fences[0], 1));
    drain(two);
    drain(one);
    take_down();
}

/* Process i waits for fence i and will signal the next. */
static void
third(int sock)
{
    page = recv_page(sock);
    OK(umf_loop_create(UMF_LOOP_THREAD, &loop));
    int i = (int)hear(sock);
    for (int k = 0; k < FENCES; k++)
        OK(umf_fence_open(page, (uint32_t)k, 0, &fences[k]));
    struct umf_queue *queue = new_queue();
    submit(queue, i, 1, (i + 1) % 3, 1, is_done);
    tell(sock, 1);
    hear(sock);
    drain(queue);
    umf_loop_unref(loop);
}

static void
three_processes_in_a_circle(void)
{
    struct peer peers[2] = { start_peer(third), start_peer(third) };
    set_up();
    for (int i = 0; i < 2; i++) {
        send_page(peers[i].sock, page);
        tell(peers[i].sock, (uint64_t)i);
        hear(peers[i].sock);
    }
    /* Two of the three waits are a chain, not a circle. */
    report(0);
    struct umf_queue *queue = new_queue();
    submit(queue, 2, 1, 0, 1, is_done);
    char *told = report(1);
    static const char *const lines[] = { "waits for 0 >= 1 (now 0): promised by queue",
                                         "waits for 1 >= 1 (now 0): promised by queue",
                                         "waits for 2 >= 1 (now 0): promised by queue" };
    int count = 0;
    CHECK(strncmp(told, "deadlock 1:\n", 12) == 0);
    for (const char *line = told; *line; line = strchr(line, '\n') + 1)
        count++;
    CHECK(count == 4);
    for (int i = 0; i < 3; i++)
        CHECK(strstr(told, lines[i]));
    /* One process gives up, and the others learn of it. */
    OK(umf_queue_cancel(queue));
    for (int i = 0; i < 2; i++) {
        tell(peers[i].sock, 1);
        end_peer(&peers[i]);
    }
    drain(queue);
    take_down();
}

/* With LIBUMF_DEBUG the participant that closes a circle prints the report at once, and nothing
 * is printed before. */
static void
debugged(int sock)
{
    char text[4096];
    int out = memfd_create("stderr", MFD_CLOEXEC);
    CHECK(setenv("LIBUMF_DEBUG", "1", 1) == 0);
    int before = dup(STDERR_FILENO);
    CHECK(before >= 0 && dup2(out, STDERR_FILENO) == STDERR_FILENO);
    set_up();
    struct umf_queue *one = new_queue(), *two = new_queue();
    submit(one, 1, 1, 0, 1, is_done);
    ssize_t silence = pread(out, text, sizeof(text), 0);
    submit(two, 0, 1, 1, 1, is_done);
    submit(two, -1, 0, 2, 1, is_done);
    ssize_t length = pread(out, text, sizeof(text) - 1, 0);
    CHECK(dup2(before, STDERR_FILENO) == STDERR_FILENO);
    CHECK(silence == 0 && length > 0);
    text[length] = '\0';
    const char *found = strstr(text, "deadlock 1:\n");
    CHECK(found && !strstr(found + 1, "deadlock 1:\n"));
    OK(umf_fence_signal(fences[0], 1));
    drain(one);
    drain(two);
    take_down();
    tell(sock, 1);
}

/* A handler gets the report in place of stderr, under no lock, and may call the library. */
struct heard {
    char text[4096];
    int calls, releases;
};

static void
on_message(void *data, const char *message)
{
    struct heard *heard = data;
    CHECK(heard->releases == 0);
    heard->calls++;
    snprintf(heard->text, sizeof(heard->text), "%s", message);
    /* Its own end: the data is released when this call is over. */
    OK(umf_set_log_handler(NULL, 0));
    OK(umf_graph_write(memfd_create("report", MFD_CLOEXEC), 0, NULL));
    CHECK(heard->releases == 0);
}

static void
on_message_release(void *data)
{
    ((struct heard *)data)->releases++;
}

static void
told_to_a_handler(int sock)
{
    struct heard heard = { .calls = 0 }, other = { .calls = 0 };
    struct umf_log_handler handler = { on_message, on_message_release, &other };
    CHECK(setenv("LIBUMF_DEBUG", "1", 1) == 0);
    set_up();
    OK(umf_set_log_handler(&handler, 0));
    handler.data = &heard;
    OK(umf_set_log_handler(&handler, 0));
    CHECK(other.releases == 1 && heard.releases == 0);
    struct umf_queue *one = new_queue(), *two = new_queue();
    submit(one, 1, 1, 0, 1, is_done);
    EXPECT(0, heard.calls);
    submit(two, 0, 1, 1, 1, is_done);
    CHECK(heard.calls == 1 && heard.releases == 1 && other.calls == 0);
    CHECK(strstr(heard.text, "deadlock 1:\n") && heard.text[strlen(heard.text) - 1] == '\n');
    OK(umf_fence_signal(fences[0], 1));
    drain(one);
    drain(two);
    take_down();
    tell(sock, 1);
}

int
main(void)
{
    watchdog(50);
    struct peer peer = start_peer(debugged);
    hear(peer.sock);
    end_peer(&peer);
    peer = start_peer(told_to_a_handler);
    hear(peer.sock);
    end_peer(&peer);
    three_processes_in_a_circle();
    two_queues_in_a_circle();
    a_job_behind_the_one_that_waits_closes_the_circle();
    a_copy_in_a_circle();
    wait_before_signal_is_no_deadlock();
    what_was_started_is_no_deadlock();
    return 0;
}
