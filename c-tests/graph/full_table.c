// SPDX-License-Identifier: MIT
/*
 * A wait table that another process has filled costs nothing more, asks the kernel nothing about
 * other processes, and does not hide a later deadlock where its records say nothing any more.
 */
#include "process.h"
#include "raw_page.h"
#include "sandbox.h"
#include "sleeper.h"

#include <poll.h>

#define SHARED_FENCES 8

enum role { WAITS = 1, WAITS_FOR_SUBMISSION = 2, PROMISES = 3 };

struct scene {
    struct umf_page *page;
    struct umf_fence *fence[SHARED_FENCES];
    struct umf_loop *loop;
    struct raw raw;
};

static struct scene
set_up(void)
{
    struct scene scene;
    OK(umf_page_create(SHARED_FENCES, 0, &scene.page));
    for (int i = 0; i < SHARED_FENCES; i++)
        OK(umf_fence_create(scene.page, 0, 0, &scene.fence[i]));
    OK(umf_loop_create(0, &scene.loop));
    scene.raw = map_raw(scene.page);
    return scene;
}

static void
ignore(void *data, int result)
{
    (void)data;
    (void)result;
}

static void
tear_down(struct scene *scene)
{
    unmap_raw(&scene->raw);
    umf_loop_unref(scene->loop);
    for (int i = 0; i < SHARED_FENCES; i++)
        umf_fence_unref(scene->fence[i]);
    umf_page_unref(scene->page);
}

static uint64_t
pid_namespace(void)
{
    struct stat stat_;
    CHECK(stat("/proc/self/ns/pid", &stat_) == 0);
    return (uint64_t)(uint32_t)stat_.st_ino;
}

/* Fills the table, as a queue of another process would. */
static void
fill(const struct scene *scene, uint64_t namespace, pid_t pid, enum role role, int fence,
     uint64_t value)
{
    uint32_t state, index = umf_fence_index(scene->fence[fence]);
    memcpy(&state, scene->raw.bytes + umf_fence_offset(scene->fence[fence]) + SLOT_STATE, 4);
    for (uint64_t i = 0; i < WAIT_RECORDS; i++) {
        uint64_t words[] = { (uint64_t)pid << 32 | 1 << 29 | (i + 1),
                             namespace << 32 | 1 << 8 | 1 << 3 | role,
                             (uint64_t)state << 32 | index, value };
        memcpy(scene->raw.bytes + WAIT_RECORDS_AT + 32 * i, words, sizeof(words));
    }
}

static uint32_t
deadlocks(void)
{
    uint32_t found = 12345;
    int fd = memfd_create("graph", MFD_CLOEXEC);
    CHECK(fd >= 0);
    OK(umf_graph_write(fd, 0, &found));
    close(fd);
    return found;
}

/* Whether a deadlock that begins now is found: two watches that wait for each other. */
static bool
a_deadlock_is_found(const struct scene *scene)
{
    struct umf_watch *watch[2];
    struct umf_fence *a = scene->fence[6], *b = scene->fence[7];
    OK(umf_loop_export_fence(scene->loop, a, 10, b, 10, 0, NULL, &watch[0]));
    OK(umf_loop_export_fence(scene->loop, b, 10, a, 10, 0, NULL, &watch[1]));
    uint32_t found = deadlocks();
    for (int i = 0; i < 2; i++) {
        OK(umf_watch_cancel(watch[i]));
        umf_watch_unref(watch[i]);
    }
    CHECK(found <= 1);
    return found == 1;
}

/* A process that asks about another one dies from here on. */
static void
forbid_questions(void)
{
    struct sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_kill, 4, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_tgkill, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 434 /* pidfd_open */, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, 0x80000000 /* SECCOMP_RET_KILL_PROCESS */),
    };
    install_filter(steps, ARRAY_SIZE(steps));
}

static void
a_record_asks_nothing_about_other_processes(void)
{
    pid_t pid;
    if (cannot_be_refused_calls())
        return;
    IN_CHILD(pid, {
        struct scene scene = set_up();
        struct umf_watch *watch;
        fill(&scene, pid_namespace(), getppid(), WAITS, 0, 100);
        OK(umf_loop_export_fence(scene.loop, scene.fence[1], 1, scene.fence[2], 1, 0, NULL,
                                 &watch));
        forbid_questions();
        for (int i = 0; i < 100; i++) {
            OK(umf_watch_cancel(watch));
            umf_watch_unref(watch);
            OK(umf_loop_export_fence(scene.loop, scene.fence[1], 1, scene.fence[2], 1, 0, NULL,
                                     &watch));
        }
        _exit(0);
    });
    join_child_unless_skipped(pid);
}

static void
records_that_say_nothing_make_room(pid_t living)
{
    /* The second cannot be judged by its process id. */
    uint64_t namespaces[] = { pid_namespace(), pid_namespace() ^ 1 };
    for (int i = 0; i < 2; i++) {
        struct scene scene = set_up();
        fill(&scene, namespaces[i], living, WAITS, 0, 1);
        CHECK(!a_deadlock_is_found(&scene));
        OK(umf_fence_signal(scene.fence[0], 1));
        CHECK(a_deadlock_is_found(&scene));

        fill(&scene, namespaces[i], living, PROMISES, 0, 2);
        CHECK(!a_deadlock_is_found(&scene));
        OK(umf_fence_signal(scene.fence[0], 2));
        CHECK(a_deadlock_is_found(&scene));

        fill(&scene, namespaces[i], living, WAITS_FOR_SUBMISSION, 0, 3);
        CHECK(!a_deadlock_is_found(&scene));
        OK(umf_fence_submit(scene.fence[0], 3));
        CHECK(a_deadlock_is_found(&scene));

        fill(&scene, namespaces[i], living, WAITS, 1, 1);
        CHECK(!a_deadlock_is_found(&scene));
        OK(umf_fence_set_error(scene.fence[1], -EIO));
        CHECK(a_deadlock_is_found(&scene));

        fill(&scene, namespaces[i], living, WAITS, 2, 1);
        CHECK(!a_deadlock_is_found(&scene));
        umf_fence_unref(scene.fence[2]);
        CHECK(a_deadlock_is_found(&scene));
        OK(umf_fence_create(scene.page, 0, 0, &scene.fence[2]));
        CHECK(a_deadlock_is_found(&scene));
        tear_down(&scene);
    }
}

static void
a_report_frees_the_records_of_the_dead(void)
{
    struct scene scene = set_up();
    pid_t dead;
    IN_CHILD(dead, _exit(0));
    join_child(dead);
    fill(&scene, pid_namespace(), dead, WAITS, 0, 100);
    CHECK(deadlocks() == 0);
    CHECK(a_deadlock_is_found(&scene));
    tear_down(&scene);
}

/* Waits for the first fence while the loop goes on. */
static int
wait_and_dispatch(const struct scene *scene)
{
    struct pollfd fd = { .fd = umf_loop_fd(scene->loop), .events = POLLIN };
    int result;
    while ((result = umf_fence_wait(scene->fence[0], 1000, 0)) == -ETIME) {
        CHECK(poll(&fd, 1, -1) == 1);
        OK(umf_loop_dispatch(scene->loop, 0));
    }
    return result;
}

/* A process of a container fills the table by itself, and waits to be killed. */
static void
fill_in_a_container(int sock)
{
    if (unshare(CLONE_NEWUSER | CLONE_NEWPID) != 0) {
        tell(sock, 0);
        return;
    }
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid > 0) {
        tell(sock, (uint64_t)pid);
        close(sock);
        CHECK(waitpid(pid, NULL, 0) == pid);
        return;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    CHECK(getpid() == 1);
    struct umf_page *page = recv_page(sock);
    struct umf_fence *a, *b;
    struct umf_loop *loop;
    OK(umf_fence_open(page, 0, 0, &a));
    OK(umf_fence_open(page, 1, 0, &b));
    OK(umf_loop_create(0, &loop));
    for (int i = 0; i < WAIT_RECORDS; i++)
        OK(umf_loop_export_fence(loop, a, 10, b, 10, 0, NULL, NULL));
    tell(sock, 1);
    for (;;)
        pause();
}

/* How many waits a report shows. */
static unsigned
waits_shown(void)
{
    unsigned waits;
    FILE *text = tmpfile();
    CHECK(text);
    OK(umf_graph_write(fileno(text), 0, NULL));
    rewind(text);
    CHECK(fscanf(text, "libumf: %*u %*[pages], %u", &waits) == 1);
    fclose(text);
    return waits;
}

/* Without LIBUMF_DEBUG, only a watch that will signal a fence has a record. */
static void
a_watch_that_only_calls_has_no_record(void)
{
    struct scene scene = set_up();
    struct umf_condition wait = { .fence = scene.fence[0], .value = 1 };
    OK(umf_loop_watch(scene.loop, &wait, 0, &(struct umf_callback){ .call = ignore }, NULL));
    CHECK(waits_shown() == 0);
    OK(umf_loop_export_fence(scene.loop, scene.fence[0], 1, scene.fence[1], 1, 0, NULL, NULL));
    CHECK(waits_shown() == 1);
    tear_down(&scene);
}

/* The process that the peer started in a container. 0 if it could not: then the peer is over. */
static pid_t
hear_of_container(struct peer *peer)
{
    pid_t inside = (pid_t)hear(peer->sock);
    if (inside == 0) {
        printf("not available: user and pid namespaces\n");
        end_peer(peer);
    }
    return inside;
}

/* Without a tie, no call tells that a process of another pid namespace died. Its records stay until
 * they say nothing any more. */
static void
a_process_that_died_in_a_container_untied_keeps_its_records(struct peer *peer)
{
    pid_t inside = hear_of_container(peer);
    if (inside == 0)
        return;
    struct scene scene = set_up();
    send_page(peer->sock, scene.page);
    CHECK(hear(peer->sock) == 1);
    CHECK(!a_deadlock_is_found(&scene));
    CHECK(kill(inside, SIGKILL) == 0);
    end_peer(peer);
    CHECK(deadlocks() == 0 && waits_shown() >= 1);
    CHECK(!a_deadlock_is_found(&scene));
    OK(umf_fence_signal(scene.fence[0], 10));
    CHECK(a_deadlock_is_found(&scene));
    tear_down(&scene);
}

static void
a_process_that_died_in_a_container_makes_room(struct peer *peer)
{
    pid_t inside = hear_of_container(peer);
    if (inside == 0)
        return;
    struct scene scene = set_up();
    struct umf_watch *tie;
    send_page(peer->sock, scene.page);
    CHECK(hear(peer->sock) == 1);
    OK(umf_loop_tie_page(scene.loop, scene.page, peer->sock, 0, NULL, &tie));
    CHECK(!a_deadlock_is_found(&scene));
    CHECK(kill(inside, SIGKILL) == 0);
    EXPECT(-EOWNERDEAD, wait_and_dispatch(&scene));
    umf_watch_unref(tie);
    /* The other fences failed as well. */
    for (int i = 6; i < 8; i++) {
        umf_fence_unref(scene.fence[i]);
        OK(umf_fence_create(scene.page, 0, 0, &scene.fence[i]));
    }
    CHECK(a_deadlock_is_found(&scene));
    tear_down(&scene);
    end_peer(peer);
}

int
main(void)
{
    watchdog(30);
    struct peer container = start_peer(fill_in_a_container);
    struct peer untied = start_peer(fill_in_a_container);
    pid_t living;
    IN_CHILD(living, {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        pause();
    });

    a_record_asks_nothing_about_other_processes();
    records_that_say_nothing_make_room(living);
    a_report_frees_the_records_of_the_dead();
    a_process_that_died_in_a_container_makes_room(&container);
    a_process_that_died_in_a_container_untied_keeps_its_records(&untied);
    a_watch_that_only_calls_has_no_record();

    CHECK(kill(living, SIGKILL) == 0 && waitpid(living, NULL, 0) == living);
    return 0;
}
