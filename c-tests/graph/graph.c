// SPDX-License-Identifier: MIT
/*
 * umf_graph_write() shows, for all processes that share the page, each wait, who will signal the
 * value, and which waits form a circle. Waits write their own wait records. Those of queues are
 * written here by hand, as another process would write them, and so are some that no process would
 * write.
 */
#include "process.h"
#include "raw_page.h"
#include "sleeper.h"

#include <sched.h>

struct record {
    uint64_t participant; /* process id << 32 | kind << 29 | serial number */
    uint64_t state; /* pid namespace << 32 | sequence number << 8 | alternatives << 3 | role */
    uint64_t fence; /* state word of the slot << 32 | index */
    uint64_t value;
};

enum kind { QUEUE = 1, WORK = 4 };
enum role { WAITS = 1, PROMISES = 3 };

#define FENCES 8

static struct umf_page *page;
static struct umf_fence *fences[FENCES];
static struct raw raw;
/* How the report names fences and this process. */
static unsigned long inode;
static char self[64];

static uint64_t
pid_namespace(void)
{
    struct stat stat_;
    CHECK(stat("/proc/self/ns/pid", &stat_) == 0);
    return (uint64_t)(uint32_t)stat_.st_ino;
}

static struct record *
record(int at)
{
    return (struct record *)(void *)(raw.bytes + WAIT_RECORDS_AT + 32 * at);
}

/* The records that were written here. */
static struct record *written[WAIT_RECORDS];
static int written_count;

static struct record *
write_record(pid_t pid, enum kind kind, uint32_t serial, enum role role, int fence, uint64_t value)
{
    int at = 0;
    uint32_t slot_state;
    while (record(at)->participant != 0)
        CHECK(++at < WAIT_RECORDS);
    struct record *r = record(at);
    memcpy(&slot_state, raw.bytes + umf_fence_offset(fences[fence]) + SLOT_STATE, 4);
    r->participant = (uint64_t)pid << 32 | (uint64_t)kind << 29 | serial;
    r->fence = (uint64_t)slot_state << 32 | umf_fence_index(fences[fence]);
    r->value = value;
    r->state = pid_namespace() << 32 | 1 << 8 | 1 << 3 | role;
    return written[written_count++] = r;
}

static void
erase_records(void)
{
    while (written_count > 0)
        memset(written[--written_count], 0, sizeof(struct record));
}

/* The text that the call writes. */
static char *
graph(uint64_t flags, uint32_t deadlocks)
{
    static char text[1 << 20];
    uint32_t found = 12345;
    int fd = memfd_create("graph", MFD_CLOEXEC);
    CHECK(fd >= 0);
    OK(umf_graph_write(fd, flags, &found));
    ssize_t length = pread(fd, text, sizeof(text) - 1, 0);
    CHECK(length > 0 && length < (ssize_t)sizeof(text) - 1 && text[length - 1] == '\n');
    text[length] = '\0';
    if (found != deadlocks) {
        fprintf(stderr, "%u deadlocks, not %u:\n%s", found, deadlocks, text);
        exit(1);
    }
    close(fd);
    return text;
}

/* Replaces @ by the page's inode and ME by this process, and looks for the result in the text. */
static bool
says(const char *text, const char *pattern)
{
    char line[512], *to = line;
    for (const char *from = pattern; *from; from++) {
        if (*from == '@')
            to += sprintf(to, "%lu", inode);
        else if (strncmp(from, "ME", 2) == 0)
            to += sprintf(to, "%s", self), from++;
        else
            *to++ = *from;
    }
    *to = '\0';
    if (strstr(text, line))
        return true;
    fprintf(stderr, "looked for: %s\nin: %s", line, text);
    return false;
}

static bool
says_nothing_of(const char *text, const char *word)
{
    return !strstr(text, word);
}

static void
check_no_waits(void)
{
    CHECK(says(graph(0, 0), "libumf: 1 page, 0 waits, 0 deadlocks\n"));
    CHECK(says(graph(UMF_GRAPH_DOT, 0), "digraph libumf {\n}\n"));
}

static void
a_wait_is_shown_with_its_value_while_it_lasts(void)
{
    struct sleeper sleeper = { .fence = fences[0], .value = 5 };
    OK(umf_fence_signal(fences[0], 3));
    fall_asleep(&sleeper);
    char line[256];
    snprintf(line, sizeof(line), "  thread %d of ME waits for fence @:0 >= 5 (now 3): ",
             sleeper.tid);
    char *text = graph(0, 0);
    CHECK(says(text, line));
    CHECK(says(text, "(now 3): nobody has submitted a signal for this\n"));

    OK(umf_fence_submit(fences[0], 4));
    CHECK(says(graph(0, 0), "(now 3): nobody has submitted a signal for this\n"));
    OK(umf_fence_submit(fences[0], 6));
    CHECK(says(graph(0, 0), ">= 5 (now 3): submitted\n"));
    OK(umf_fence_signal(fences[0], 4));
    CHECK(says(graph(0, 0), ">= 5 (now 4): submitted\n"));
    OK(umf_fence_signal(fences[0], 5));
    OK(end_of(&sleeper));
    check_no_waits();
}

static void
ignore(void *data, int result)
{
    (void)data;
    (void)result;
}

/* With LIBUMF_DEBUG, a watch of any kind has a record until it is over. */
static void
a_watch_is_shown_until_it_is_over(void)
{
    struct umf_loop *loop;
    struct umf_watch *watch;
    struct umf_callback callback = { .call = ignore };
    const uint64_t next = umf_fence_value(fences[0]) + 1;
    struct umf_condition wait = { .fence = fences[0], .value = next };
    OK(umf_loop_create(UMF_LOOP_THREAD, &loop));
    for (int end = 0; end < 2; end++) {
        OK(umf_loop_watch(loop, &wait, 0, &callback, &watch));
        char *text = graph(0, 0);
        CHECK(says(text, "libumf: 1 page, 1 wait, 0 deadlocks\n"));
        CHECK(says(text, " of ME waits for fence @:0 >= ") && strstr(text, "  watch "));
        if (end == 0) {
            OK(umf_watch_cancel(watch));
        } else {
            OK(umf_fence_signal(fences[0], next));
            while (umf_watch_result(watch) != 0)
                sched_yield();
        }
        check_no_waits();
        umf_watch_unref(watch);
    }
    umf_loop_unref(loop);
}

static void
waits_for_all_and_for_any_are_shown(void)
{
    struct umf_condition list[3] = { { fences[1], 1, UMF_OP_GE, 0, 0 },
                                     { fences[2], 2, UMF_OP_GT, 0, 0 },
                                     { fences[3], 3, UMF_OP_GE, 0, 0 } };
    struct sleeper all = { .waits = list, .count = 3 };
    struct sleeper any = { .waits = list, .count = 3, .flags = UMF_WAIT_ANY };
    struct sleeper pending = { .waits = list, .count = 1, .flags = UMF_WAIT_PENDING };

    /* A wait for all waits for one fence after the other. */
    fall_asleep(&all);
    char *text = graph(0, 0);
    CHECK(says(text, "1 wait,") && says(text, "fence @:1 >= 1 (now 0): nobody"));
    OK(umf_fence_signal(fences[1], 1));
    while (!strstr(text = graph(0, 0), "1 wait,"))
        sched_yield();
    CHECK(says(text, "fence @:2 >= 3 (now 0): nobody"));
    OK(umf_fence_signal(fences[3], 3));
    OK(umf_fence_signal(fences[2], 3));
    OK(end_of(&all));

    list[0].value = list[1].value = list[2].value = 10;
    fall_asleep(&any);
    text = graph(0, 0);
    CHECK(says(text, "3 waits,"));
    CHECK(says(text, "any of several, one fence @:1 >= 10 (now 1): nobody"));
    CHECK(says(text, "any of several, one fence @:2 >= 11 (now 3): nobody"));
    CHECK(says(text, "any of several, one fence @:3 >= 10 (now 3): nobody"));
    OK(umf_fence_signal(fences[3], 10));
    OK(end_of(&any));

    fall_asleep(&pending);
    CHECK(says(graph(0, 0), "waits for a submission of fence @:1 >= 10 (now 1): nobody"));
    OK(umf_fence_submit(fences[1], 10));
    OK(end_of(&pending));
    check_no_waits();
}

static void
wait_there(int sock)
{
    struct umf_page *theirs = recv_page(sock);
    struct umf_fence *fence = recv_fence(sock, theirs);
    CHECK(prctl(PR_SET_NAME, "\"a\\b\033[2Jc") == 0);
    tell(sock, 1);
    OK(umf_fence_wait(fence, 7, FOREVER));
    umf_fence_unref(fence);
    umf_page_unref(theirs);
}

static void
waits_of_another_process_are_shown_until_it_dies(struct peer *peer)
{
    char line[256];
    int status;
    send_page(peer->sock, page);
    tell(peer->sock, umf_fence_index(fences[4]));
    hear(peer->sock);
    until_asleep(peer->pid, peer->pid);
    snprintf(line, sizeof(line), "thread %d of pid %d (?a?b?[2Jc) waits for fence @:4 >= 7 (now 0)",
             (int)peer->pid, (int)peer->pid);
    CHECK(says(graph(0, 0), line));
    snprintf(line, sizeof(line), "label=\"thread %d of pid %d (?a?b?[2Jc)\"", (int)peer->pid,
             (int)peer->pid);
    CHECK(says(graph(UMF_GRAPH_DOT, 0), line));

    /* The process will signal a value, and dies. Nobody has waited for it yet. */
    write_record(peer->pid, QUEUE, 9, PROMISES, 5, 2);
    struct sleeper sleeper = { .fence = fences[5], .value = 2 };
    OK(umf_fence_submit(fences[5], 2));
    fall_asleep(&sleeper);
    CHECK(says_nothing_of(graph(0, 0), "gone"));
    siginfo_t dead;
    CHECK(kill(peer->pid, SIGKILL) == 0);
    CHECK(waitid(P_PID, (id_t)peer->pid, &dead, WEXITED | WNOWAIT) == 0);
    for (int reaped = 0; reaped < 2; reaped++) {
        char *text = graph(0, 0);
        CHECK(says(text, "1 wait,") && says(text, "promised by queue 9 of pid "));
        CHECK(says(text, ", which is gone\n"));
        if (!reaped)
            CHECK(waitpid(peer->pid, &status, 0) == peer->pid);
    }
    CHECK(says(graph(UMF_GRAPH_DOT, 0), ", gone\""));
    close(peer->sock);
    erase_records();
    OK(umf_fence_signal(fences[5], 2));
    OK(end_of(&sleeper));
    check_no_waits();
}

/* Process 1 of another pid namespace is not process 1 of this one. */
static void
a_pid_of_another_namespace_is_not_taken_for_one_here(void)
{
    int socks[2], status;
    pid_t pid;
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks) == 0);
    IN_CHILD(pid, {
        pid_t first;
        close(socks[0]);
        if (unshare(CLONE_NEWPID) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWPID) != 0)
            _exit(SKIPPED);
        IN_CHILD(first, {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            CHECK(getpid() == 1);
            tell(socks[1], 1);
            OK(umf_fence_wait(fences[4], 8, FOREVER));
        });
        join_child(first);
    });
    close(socks[1]);
    uint64_t word;
    if (recv(socks[0], &word, sizeof(word), 0) == sizeof(word)) {
        while (!strstr(graph(0, 0), "1 wait,"))
            sched_yield();
        /* It has no name, and is not shown as dead. */
        CHECK(says(graph(0, 0), "\n  thread 1 of pid 1 waits for fence @:4 >= 8 (now 0): nobody"));
        OK(umf_fence_signal(fences[4], 8));
        join_child(pid);
    } else {
        CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
        CHECK(WEXITSTATUS(status) == SKIPPED);
        printf("not available: pid namespaces\n");
    }
    close(socks[0]);
    check_no_waits();
}

/* The processes behind the queues. They only have to be alive. */
static void
be_there(int sock)
{
    CHECK(prctl(PR_SET_NAME, "compositor") == 0);
    tell(sock, 1);
    hear(sock);
}

static void
a_circle_through_two_processes_is_a_deadlock(struct peer *peer, pid_t dead)
{
    pid_t pid = peer->pid;
    char line[256];
    hear(peer->sock);
    OK(umf_fence_submit(fences[6], 5));
    OK(umf_fence_submit(fences[7], 1));
    write_record(getpid(), QUEUE, 1, WAITS, 6, 5);
    write_record(getpid(), QUEUE, 1, PROMISES, 7, 1);
    write_record(pid, QUEUE, 2, WAITS, 7, 1);
    struct sleeper sleeper = { .fence = fences[6], .value = 4 };
    fall_asleep(&sleeper);
    CHECK(says(graph(0, 0), "queue 1 of ME waits for fence @:6 >= 5 (now 0): submitted\n"));
    struct record *promise = write_record(pid, QUEUE, 2, PROMISES, 6, 5);

    char *text = graph(0, 1);
    printf("%s", text);
    CHECK(says(text, "libumf: 1 page, 3 waits, 1 deadlock\ndeadlock 1:\n"));
    snprintf(line, sizeof(line),
             "  queue 1 of ME waits for fence @:6 >= 5 (now 0): promised by queue 2 of pid %d (",
             pid);
    CHECK(says(text, line));
    snprintf(line, sizeof(line),
             "  queue 2 of pid %d (compositor) waits for fence @:7 >= 1 (now 0): promised by"
             " queue 1 of ME\n", pid);
    CHECK(says(text, line));
    snprintf(line, sizeof(line),
             "waiting for a deadlock:\n  thread %d of ME waits for fence @:6 >= 4 (now 0)",
             sleeper.tid);
    CHECK(says(text, line));
    CHECK(says(graph(UMF_GRAPH_DOT, 1), "color=red"));
    CHECK(strcmp(text = strdup(graph(0, 1)), graph(0, 1)) == 0);
    free(text);

    /* A signaler that will not signal enough; one that itself waits for nothing; one in an
     * unrelated process. */
    promise->value = 4;
    CHECK(says(graph(0, 0), ">= 5 (now 0): submitted\n"));
    promise->value = 5;
    struct record *work = write_record(pid, WORK, 2, PROMISES, 6, 5);
    CHECK(says(graph(0, 0), "; by work of queue 2 of pid "));
    work->state = (pid_namespace() ^ 1) << 32 | 1 << 8 | 1 << 3 | PROMISES;
    CHECK(says(graph(0, 0), "by work of queue 2 of pid "));
    work->state = 0;
    graph(0, 1);
    /* A dead process ends no wait. */
    write_record(dead, QUEUE, 3, PROMISES, 6, 5);
    CHECK(says(graph(0, 1), ", which is gone"));
    /* Another participant's work makes the value pending. */
    OK(umf_fence_submit(fences[6], 6));
    graph(0, 0);
    promise->value = 6;
    graph(0, 1);
    OK(umf_fence_signal(fences[6], 5));
    OK(end_of(&sleeper));
    CHECK(says(graph(0, 0), "1 wait, 0 deadlocks\n"));
    erase_records();
    tell(peer->sock, 1);
    end_peer(peer);
    check_no_waits();
}

/* What Graphviz requires, as far as the report uses it: closed strings and brackets, and
 * complete lines. */
static void
is_dot(const char *text)
{
    bool in_string = false;
    int braces = 0, brackets = 0;
    CHECK(strncmp(text, "digraph libumf {\n", 17) == 0);
    for (const char *c = text; *c; c++) {
        CHECK(*c == '\n' || (*c >= ' ' && *c <= '~'));
        if (in_string) {
            CHECK(*c != '\n');
            if (*c == '\\')
                CHECK(*++c == 'n');
            else if (*c == '"')
                in_string = false;
            continue;
        }
        in_string = *c == '"';
        braces += (*c == '{') - (*c == '}');
        brackets += (*c == '[') - (*c == ']');
        CHECK(brackets == 0 || brackets == 1);
        if (*c == '\n')
            CHECK(brackets == 0 && (c[-1] == ';' || c[-1] == '{' || c[-1] == '}'));
    }
    CHECK(!in_string && braces == 0 && brackets == 0);
}

static void
a_full_wait_table_says_so_and_a_report_frees_records_of_the_dead(pid_t dead)
{
    /* The record of its last wait is still there. */
    int left = 0;
    for (int i = 0; i < WAIT_RECORDS; i++)
        left += record(i)->participant >> 32 == (uint64_t)dead;
    CHECK(left == 1);
    memset(raw.bytes + WAIT_TABLE, 0, 32 + 32 * WAIT_RECORDS);

    for (int i = 0; i < WAIT_RECORDS; i++)
        write_record(getpid(), QUEUE, (uint32_t)i + 1, WAITS, 4, 100);
    struct sleeper sleeper = { .fence = fences[5], .value = 3 };
    fall_asleep(&sleeper);
    char *text = graph(0, 0);
    CHECK(says(text, "59 waits, 0 deadlocks\nnot complete: 1 record was dropped"));
    CHECK(says_nothing_of(text, "thread"));
    is_dot(graph(UMF_GRAPH_DOT, 0));
    CHECK(says(graph(UMF_GRAPH_DOT, 0), "not complete: 1 record was dropped"));
    OK(umf_fence_signal(fences[5], 3));
    OK(end_of(&sleeper));
    CHECK(says_nothing_of(graph(0, 0), "not complete"));

    record(17)->participant = (uint64_t)dead << 32 | QUEUE << 29 | 1;
    /* A report frees it. */
    CHECK(says(graph(0, 0), "58 waits, 0 deadlocks\nwaiting:\n"));
    CHECK(record(17)->participant == 0);
    sleeper.value = 4;
    fall_asleep(&sleeper);
    text = graph(0, 0);
    CHECK(says(text, "59 waits, 0 deadlocks\nwaiting:\n") && says(text, ">= 4 (now 3)"));
    OK(umf_fence_signal(fences[5], 4));
    OK(end_of(&sleeper));
    CHECK(record(17)->participant == 0);
    erase_records();
    check_no_waits();
}

static void
nothing_in_a_wait_table_is_trusted(void)
{
    static const uint64_t words[] = {
        0, 1, 2, 3, 9, UINT32_MAX, UINT64_C(1) << 32, UINT64_C(1) << 63, UINT64_MAX,
    };
    uint64_t state = 1, random = 0;
    for (unsigned i = 0; i < rounds(2000, 50); i++) {
        for (int at = 0; at < WAIT_RECORDS; at++) {
            uint64_t *r = &record(at)->participant;
            for (int word = 0; word < 4; word++) {
                random = random_word(&state);
                r[word] = words[(random >> 33) % 9];
            }
            /* Some records concern real fences, with valid participants and roles. */
            if (random >> 63)
                memcpy((char *)&r[2] + 4,
                       raw.bytes + umf_fence_offset(fences[at % FENCES]) + SLOT_STATE, 4);
            r[0] ^= (random >> 40) % 8 << 29;
            r[1] ^= (random >> 50) % 4;
        }
        uint32_t deadlocks;
        int fd = memfd_create("graph", MFD_CLOEXEC);
        OK(umf_graph_write(fd, i % 2 ? UMF_GRAPH_DOT : 0, &deadlocks));
        CHECK(deadlocks <= WAIT_RECORDS);
        if (i % 2) {
            static char text[1 << 16];
            ssize_t length = pread(fd, text, sizeof(text) - 1, 0);
            CHECK(length > 0);
            text[length] = '\0';
            is_dot(text);
        }
        close(fd);
        EXPECT(-ETIME, umf_fence_wait(fences[i % FENCES], 1000, in_ns(1000)));
    }
    memset(raw.bytes + WAIT_TABLE, 0, 32 + 32 * WAIT_RECORDS);
    check_no_waits();
}

static void
the_graph_waits_for_a_slow_pipe(void)
{
    static char text[1 << 20];
    int ends[2];
    size_t length = 0;
    pid_t pid;
    for (int i = 0; i < WAIT_RECORDS; i++)
        write_record(getpid(), QUEUE, (uint32_t)i + 1, WAITS, 4, 100);
    CHECK(pipe2(ends, O_CLOEXEC) == 0 && fcntl(ends[0], F_SETPIPE_SZ, 4096) == 4096);
    CHECK(fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0);
    IN_CHILD(pid, OK(umf_graph_write(ends[1], 0, NULL)));
    close(ends[1]);
    for (ssize_t got; (got = read(ends[0], text + length, 100)) != 0; length += (size_t)got)
        CHECK(got > 0);
    join_child(pid);
    close(ends[0]);
    CHECK(length > 4096 && strcmp(text, graph(0, 0)) == 0);
    erase_records();
}

int
main(void)
{
    watchdog(30);
    CHECK(setenv("LIBUMF_DEBUG", "1", 1) == 0);
    struct peer waiter = start_peer(wait_there), queue = start_peer(be_there);
    OK(umf_page_create(FENCES, 0, &page));
    for (int i = 0; i < FENCES; i++)
        OK(umf_fence_create(page, 0, 0, &fences[i]));
    raw = map_raw(page);
    struct stat stat_;
    CHECK(fstat(raw.fd, &stat_) == 0);
    inode = stat_.st_ino;
    snprintf(self, sizeof(self), "pid %d (graph)", getpid());
    CHECK(prctl(PR_SET_NAME, "graph") == 0);

    check_no_waits();
    a_wait_is_shown_with_its_value_while_it_lasts();
    a_watch_is_shown_until_it_is_over();
    waits_for_all_and_for_any_are_shown();
    waits_of_another_process_are_shown_until_it_dies(&waiter);
    a_pid_of_another_namespace_is_not_taken_for_one_here();
    a_circle_through_two_processes_is_a_deadlock(&queue, waiter.pid);
    a_full_wait_table_says_so_and_a_report_frees_records_of_the_dead(waiter.pid);
    nothing_in_a_wait_table_is_trusted();
    the_graph_waits_for_a_slow_pipe();

    unmap_raw(&raw);
    for (int i = 0; i < FENCES; i++)
        umf_fence_unref(fences[i]);
    umf_page_unref(page);
    return 0;
}
