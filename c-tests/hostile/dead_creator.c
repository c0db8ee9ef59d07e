// SPDX-License-Identifier: MIT
/*
 * The slots that a dead process left in use can be reclaimed, wherever it was killed, and no slot
 * of a living process is. protocol/killed_creator.c kills at every instruction.
 *
 *     dead_creator [ROUNDS]     kills so often
 */
#include "process.h"
#include "raw_page.h"
#include "watch.h"

#include <linux/sched.h>

#define SLOTS 128
#define PID_OF_CREATOR ((UINT64_C(1) << 22) - 1)

static struct umf_page *page;

static uint32_t
reclaim(void)
{
    uint32_t count = UINT32_MAX;
    OK(umf_page_reclaim(page, 0, &count));
    return count;
}

/* The number of fences that can be created now. */
static unsigned
free_slots(void)
{
    static struct umf_fence *fences[SLOTS + 1];
    unsigned count = 0;
    while (umf_fence_create(page, 0, 0, &fences[count]) == 0)
        count++;
    for (unsigned i = 0; i < count; i++)
        umf_fence_unref(fences[i]);
    return count;
}

/* A child that creates a fence of these flags, says where, and lives on. */
static struct peer
start_creator_of(uint64_t flags)
{
    struct peer peer;
    int ends[2];
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
    IN_CHILD(peer.pid, {
        struct umf_fence *fence;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        OK(umf_fence_create(page, 0, flags, &fence));
        tell(ends[1], umf_fence_index(fence));
        for (;;)
            OK(umf_fence_signal(fence, hear(ends[1])));
    });
    close(ends[1]);
    peer.sock = ends[0];
    return peer;
}

static struct umf_fence *
open_fence(uint32_t index)
{
    struct umf_fence *fence;
    OK(umf_fence_open(page, index, 0, &fence));
    return fence;
}

/* Keeps one fence, and creates and ends others. */
static void
create_and_end_for_ever(int sock)
{
    struct umf_fence *kept;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    OK(umf_fence_create(page, 0, 0, &kept));
    tell(sock, 1);
    for (;;) {
        struct umf_fence *fences[3];
        for (int i = 0; i < 3; i++)
            if (umf_fence_create(page, 1, 0, &fences[i]) != 0)
                fences[i] = NULL;
        for (int i = 0; i < 3; i++)
            umf_fence_unref(fences[i]);
    }
}

/* A process that lives: its fences stay its own, whatever the others do. */
static void
create_and_check(int sock)
{
    page = recv_page(sock);
    tell(sock, 1);
    for (uint64_t i = 1; recv(sock, &(uint64_t){ 0 }, 8, MSG_DONTWAIT) < 0; i++) {
        struct umf_fence *fence;
        OK(umf_fence_create(page, i, 0, &fence));
        OK(umf_fence_signal(fence, i + 1));
        CHECK(umf_fence_value(fence) == i + 1 && error_of(fence) == 0);
        OK(umf_fence_signal(fence, i + 2));
        umf_fence_unref(fence);
    }
    umf_page_unref(page);
}

/* Another owner of the page, that reclaims at the same time. */
static void
reclaim_for_ever(int sock)
{
    page = recv_page(sock);
    tell(sock, 1);
    while (recv(sock, &(uint64_t){ 0 }, 8, MSG_DONTWAIT) < 0) {
        reclaim();
        sched_yield();
    }
    umf_page_unref(page);
}

static void
every_slot_comes_back(unsigned times, struct peer worker, struct peer rival)
{
    uint64_t state = 1;
    uint32_t count = 0;
    int ends[2];
    struct peer helpers[2] = { worker, rival };
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
    OK(umf_page_create(SLOTS, 0, &page));
    send_page(worker.sock, page);
    hear(worker.sock);
    for (unsigned i = 0; i < times; i++) {
        pid_t pid;
        IN_CHILD(pid, create_and_end_for_ever(ends[1]));
        hear(ends[0]);
        uint64_t at = in_ns(random_word(&state) % (500 * 1000));
        while (now_ns() < at)
            sched_yield();
        kill_child(pid);
        if (i == times / 2) {
            /* The second half has a rival. */
            count += reclaim();
            CHECK(count > i);
            send_page(rival.sock, page);
            hear(rival.sock);
        }
        if (i % 16 == 0)
            count += reclaim();
    }
    for (int i = 0; i < 2; i++) {
        tell(helpers[i].sock, 1);
        end_peer(&helpers[i]);
    }
    count += reclaim();
    unsigned usable = free_slots();
    printf("%u kills, %u slots reclaimed here, %u of %u free\n", times, count, usable, SLOTS);
    CHECK(usable == SLOTS && reclaim() == 0);
    umf_page_unref(page);
    close(ends[0]);
    close(ends[1]);
}

static void
a_zombie_is_dead(void)
{
    siginfo_t info;
    OK(umf_page_create(SLOTS, 0, &page));
    struct peer peer = start_creator_of(0);
    hear(peer.sock);
    CHECK(kill(peer.pid, SIGKILL) == 0);
    CHECK(waitid(P_PID, (id_t)peer.pid, &info, WEXITED | WNOWAIT) == 0);
    int pidfd = (int)syscall(SYS_pidfd_open, peer.pid, 0);
    CHECK(reclaim() == (pidfd >= 0));
    CHECK(waitpid(peer.pid, NULL, 0) == peer.pid);
    CHECK(reclaim() == (pidfd < 0) && free_slots() == SLOTS);
    close(pidfd);
    close(peer.sock);
    umf_page_unref(page);
}

static void *
hold_a_fence(void *sock)
{
    struct umf_fence *fence;
    OK(umf_fence_create(page, 0, 0, &fence));
    tell(*(int *)sock, umf_fence_index(fence));
    for (;;)
        OK(umf_fence_signal(fence, hear(*(int *)sock)));
}

/* /proc shows a zombie, but the process lives. */
static void
a_process_whose_first_thread_ended_lives(void)
{
    int ends[2];
    pid_t pid;
    char path[64], state = 0;
    OK(umf_page_create(SLOTS, 0, &page));
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
    IN_CHILD(pid, {
        pthread_t thread;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        CHECK(pthread_create(&thread, NULL, hold_a_fence, &ends[1]) == 0);
        syscall(SYS_exit, 0);
    });
    struct umf_fence *fence = open_fence((uint32_t)hear(ends[0]));
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    while (state != 'Z') {
        FILE *stat = fopen(path, "re");
        CHECK(stat && fscanf(stat, "%*d (%*[^)]) %c", &state) == 1);
        fclose(stat);
    }
    CHECK(reclaim() == 0);
    tell(ends[0], 7);
    OK(umf_fence_wait(fence, 7, FOREVER));
    kill_child(pid);
    CHECK(reclaim() == 1);
    EXPECT(-ESTALE, umf_fence_wait(fence, 8, FOREVER));
    umf_fence_unref(fence);
    umf_page_unref(page);
    close(ends[0]);
    close(ends[1]);
}

static void
waits_for_a_reclaimed_fence_end(void)
{
    OK(umf_page_create(SLOTS, 0, &page));
    struct peer peer = start_creator_of(0);
    struct umf_fence *fence = open_fence((uint32_t)hear(peer.sock));
    struct umf_condition wait = { fence, 5, UMF_OP_GE, 0, 0 };
    struct umf_loop *loop = create_loop(UMF_LOOP_THREAD);
    struct told told;
    struct sleeper one = { .fence = fence, .value = 5 };
    struct sleeper any = { .waits = &wait, .count = 1, .flags = UMF_WAIT_ANY };
    struct sleeper all = { .waits = &wait, .count = 1 };
    fall_asleep(&one);
    fall_asleep(&any);
    fall_asleep(&all);
    umf_watch_unref(watch_value(loop, fence, 5, &told));
    CHECK(reclaim() == 0);
    tell(peer.sock, 4);
    OK(umf_fence_wait(fence, 4, FOREVER));
    kill_child(peer.pid);
    CHECK(reclaim() == 1);
    EXPECT(-ESTALE, end_of(&one));
    EXPECT(-ESTALE, end_of(&any));
    EXPECT(-ESTALE, end_of(&all));
    until_called(loop, &told, -ESTALE);
    OK(umf_fence_wait(fence, 4, 0));
    CHECK(umf_fence_value(fence) == 4 && free_slots() == SLOTS);
    umf_loop_unref(loop);
    umf_fence_unref(fence);
    umf_page_unref(page);
    close(peer.sock);
}

static void
a_lasting_fence_stays(void)
{
    OK(umf_page_create(SLOTS, 0, &page));
    struct peer peer = start_creator_of(UMF_FENCE_LASTING);
    struct umf_fence *fence = open_fence((uint32_t)hear(peer.sock));
    kill_child(peer.pid);
    CHECK(reclaim() == 0 && free_slots() == SLOTS - 1);
    OK(umf_fence_signal(fence, 3));
    CHECK(umf_fence_value(fence) == 3);
    umf_fence_unref(fence);
    umf_page_unref(page);
    close(peer.sock);
}

static void
try_to_reclaim(int sock)
{
    uint32_t count = 5;
    struct umf_page *theirs = recv_page(sock);
    EXPECT(-EACCES, umf_page_reclaim(theirs, 0, &count));
    CHECK(count == 5);
    umf_page_unref(theirs);
}

/* Its creator can, for its own children. */
static void
a_reader_cannot_reclaim(struct peer reader)
{
    OK(umf_page_create(SLOTS, UMF_PAGE_SINGLE_WRITER, &page));
    send_page(reader.sock, page);
    end_peer(&reader);
    struct peer peer = start_creator_of(0);
    hear(peer.sock);
    kill_child(peer.pid);
    CHECK(reclaim() == 1 && free_slots() == SLOTS);
    umf_page_unref(page);
    close(peer.sock);
}

/* What a peer can do with the creator of a slot: end the fence there, or keep the slot in use. It
 * could do both without. */
static void
a_forged_creator_spoils_its_slot_alone(void)
{
    OK(umf_page_create(SLOTS, 0, &page));
    struct raw raw = map_raw(page);
    struct umf_fence *spoiled, *other, *next;
    uint64_t *words[2];
    OK(umf_fence_create(page, 1, 0, &spoiled));
    OK(umf_fence_create(page, 1, 0, &other));
    struct peer peer = start_creator_of(0);
    uint32_t left = (uint32_t)hear(peer.sock);
    kill_child(peer.pid);
    words[0] = (uint64_t *)(void *)(raw.bytes + SLOTS_AT + SLOT_CREATOR);
    words[1] = (uint64_t *)(void *)(raw.bytes + SLOTS_AT + SLOT_SIZE * left + SLOT_CREATOR);
    CHECK(umf_fence_index(spoiled) == 0 && left == 2 && *words[0] != *words[1]);
    CHECK((*words[0] & PID_OF_CREATOR) == (uint64_t)getpid());
    CHECK((*words[1] & PID_OF_CREATOR) == (uint64_t)peer.pid);
    *words[0] = *words[1];
    CHECK(reclaim() == 2);
    EXPECT(-ESTALE, umf_fence_signal(spoiled, 2));
    OK(umf_fence_signal(other, 2));
    OK(umf_fence_create(page, 1, 0, &next));
    while (umf_fence_index(next) != 0) {
        umf_fence_unref(next);
        OK(umf_fence_create(page, 1, 0, &next));
    }
    umf_fence_unref(spoiled);
    OK(umf_fence_signal(next, 2));
    OK(umf_fence_signal(other, 3));
    umf_fence_unref(next);
    umf_fence_unref(other);
    CHECK(free_slots() == SLOTS);

    /* Words that name no process, in every slot. */
    static const uint64_t forged[] = {
        3 << 22, UINT64_C(1) << 63, UINT64_MAX << 22, UINT64_MAX, PID_OF_CREATOR, 1,
    };
    for (uint32_t i = 0; i < SLOTS; i++)
        *(uint64_t *)(void *)(raw.bytes + SLOTS_AT + SLOT_SIZE * i + SLOT_CREATOR) =
            forged[i % ARRAY_SIZE(forged)];
    CHECK(reclaim() == 0 && free_slots() == 0);
    unmap_raw(&raw);
    umf_page_unref(page);
    close(peer.sock);
}

/* Process 1 of a new pid namespace. Its children are in it too. */
struct container {
    int sock;
    pid_t pid;
};

#define NO_SUCH_CREATOR UINT32_MAX

/* A child with this process id. -1 where that is not allowed. */
static pid_t
fork_as(pid_t pid)
{
    struct clone_args args = {
        .exit_signal = SIGCHLD, .set_tid = (uint64_t)(uintptr_t)&pid, .set_tid_size = 1
    };
    return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

/* Starts a creator for each number that it hears, with this process id if that is not 0. Says the
 * creator's index and process id, and kills it when it hears the next number. */
static void
start_creators(int sock)
{
    for (uint64_t wanted = hear(sock); wanted != UINT64_MAX; wanted = hear(sock)) {
        int ends[2];
        CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
        pid_t pid = wanted ? fork_as((pid_t)wanted) : fork();
        if (pid < 0) {
            tell(sock, NO_SUCH_CREATOR);
            continue;
        }
        if (pid == 0) {
            struct umf_fence *fence;
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            OK(umf_fence_create(page, 0, 0, &fence));
            tell(ends[1], umf_fence_index(fence));
            for (;;)
                pause();
        }
        tell(sock, hear(ends[0]));
        tell(sock, (uint64_t)pid);
        hear(sock);
        kill_child(pid);
        tell(sock, 1);
        close(ends[0]);
        close(ends[1]);
    }
}

/* The id here of the only child of a process. */
static pid_t
child_of(pid_t parent)
{
    char path[64];
    int child = 0;
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)parent, (int)parent);
    FILE *file = fopen(path, "re");
    CHECK(file && fscanf(file, "%d", &child) == 1);
    fclose(file);
    return child;
}

struct tied {
    int pidfd;
    struct told told;
    uint32_t index;
    uint64_t pid_inside;
};

/* A creator in the container, tied by its pidfd: to the page, or to its fence. False if it cannot
 * have that process id. */
static bool
start_tied(struct tied *tied, struct container *container, struct umf_loop *loop, uint64_t pid,
           bool by_page)
{
    struct umf_callback callback = callback_to(&tied->told);
    tell(container->sock, pid);
    tied->index = (uint32_t)hear(container->sock);
    if (tied->index == NO_SUCH_CREATOR)
        return false;
    tied->pid_inside = hear(container->sock);
    tied->pidfd = (int)syscall(SYS_pidfd_open, child_of(container->pid), 0);
    CHECK(tied->pidfd >= 0);
    struct umf_fence *fence = open_fence(tied->index);
    if (by_page)
        OK(umf_loop_tie_page(loop, page, tied->pidfd, 0, &callback, NULL));
    else
        OK(umf_loop_tie_fence(loop, fence, tied->pidfd, 0, &callback, NULL));
    umf_fence_unref(fence);
    return true;
}

static void
end_tied(struct tied *tied, struct container *container)
{
    tell(container->sock, 1);
    hear(container->sock);
    close(tied->pidfd);
}

/* A process id of another pid namespace means nothing here. The pidfd of a tie does. */
static void
a_creator_in_a_container_is_found_dead_by_its_tie(void)
{
    struct container container;
    struct tied tied, next;
    int ends[2];
    OK(umf_page_create(SLOTS, 0, &page));
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
    container.sock = ends[0];
    pid_t outside;
    /* Only the children of a process that calls unshare() are in the new namespace. */
    IN_CHILD(outside, {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (unshare(CLONE_NEWPID) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWPID) != 0) {
            printf("not available: new pid namespaces\n");
            tell(ends[1], 0);
            fflush(NULL);
            _exit(0);
        }
        pid_t one;
        IN_CHILD(one, {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            start_creators(ends[1]);
        });
        tell(ends[1], (uint64_t)one);
        join_child(one);
    });
    container.pid = (pid_t)hear(container.sock);
    if (container.pid != 0) {
        struct umf_loop *loop = create_loop(0);
        /* Not tied: nothing is known, while it lives or later. */
        tell(container.sock, 0);
        hear(container.sock);
        hear(container.sock);
        CHECK(reclaim() == 0);
        tell(container.sock, 1);
        hear(container.sock);
        CHECK(reclaim() == 0 && free_slots() == SLOTS - 1);

        for (int by_page = 0; by_page < 2; by_page++) {
            CHECK(start_tied(&tied, &container, loop, 0, by_page));
            CHECK(reclaim() == 0);
            end_tied(&tied, &container);
            until_called(loop, &tied.told, 0);
            CHECK(reclaim() == 1 && free_slots() == SLOTS - 1);
        }

        /* It dies and another process gets its id, before the loop is asked. */
        CHECK(start_tied(&tied, &container, loop, 0, true));
        end_tied(&tied, &container);
        uint64_t tick = in_ns(SECOND / (uint64_t)sysconf(_SC_CLK_TCK));
        while (now_ns() < tick)
            sched_yield();
        bool is_reused = start_tied(&next, &container, loop, tied.pid_inside, false);
        until_called(loop, &tied.told, 0);
        if (is_reused) {
            CHECK(next.pid_inside == tied.pid_inside);
            CHECK(reclaim() == 1 && free_slots() == SLOTS - 2);
            end_tied(&next, &container);
            until_called(loop, &next.told, 0);
        } else {
            printf("not available: the process id of a process that died\n");
        }
        CHECK(reclaim() == 1 && free_slots() == SLOTS - 1);
        umf_loop_unref(loop);
        tell(container.sock, UINT64_MAX);
    }
    join_child(outside);
    umf_page_unref(page);
    close(ends[0]);
    close(ends[1]);
}

int
main(int argc, char **argv)
{
    unsigned times = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : rounds(300, 10);
    struct peer worker = start_peer(create_and_check), rival = start_peer(reclaim_for_ever),
                reader = start_peer(try_to_reclaim);
    if (argc == 1)
        watchdog(50);
    every_slot_comes_back(times, worker, rival);
    a_zombie_is_dead();
    a_process_whose_first_thread_ended_lives();
    waits_for_a_reclaimed_fence_end();
    a_lasting_fence_stays();
    a_reader_cannot_reclaim(reader);
    a_forged_creator_spoils_its_slot_alone();
    int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    if (pidfd < 0)
        printf("not available: pidfds\n");
    else if (!RUNNING_ON_VALGRIND)
        a_creator_in_a_container_is_found_dead_by_its_tie();
    if (pidfd >= 0)
        close(pidfd);
    return 0;
}
