// SPDX-License-Identifier: MIT
/*
 * A machine or a memory control group that has no memory left. umf_page_create() is refused where
 * the kernel refuses. The memory of a page that was created stays: its fences work. A process that
 * touches a hole, which a peer punched, ends by a signal. Nobody can punch one into a page of one
 * writer.
 *
 * This changes settings of the machine, so it runs only on one of its own.
 */
#include "process.h"
#include "sleeper.h"

#include <sys/mount.h>

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
/* A page for which the group has no room. It has more memory than the kernel may be wrong about
 * what it has promised: some MiB, since each processor counts for itself. */
#define FENCES (32 * MIB / 64)
#define GROUPS "/tmp/groups"
#define GROUP GROUPS "/test"
#define GROUP_LIMIT "8388608"

/* What a process was about to do when it ended. All processes of the test share it. */
enum step { BEGUN, IS_TO_DIE, SURVIVED };
static _Atomic enum step *step;

static void
set(const char *path, const char *value)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    CHECK(fd >= 0 && write(fd, value, strlen(value)) == (ssize_t)strlen(value));
    close(fd);
}

/* A line of /proc/meminfo, in KiB. */
static uint64_t
memory_info(const char *name)
{
    char line[128];
    uint64_t kib = 0;
    FILE *info = fopen("/proc/meminfo", "re");
    CHECK(info);
    while (fgets(line, sizeof(line), info))
        if (strncmp(line, name, strlen(name)) == 0)
            kib = strtoull(line + strlen(name), NULL, 10);
    fclose(info);
    CHECK(kib > 0);
    return kib;
}

/* From here on the kernel promises so much memory more, and no process has a reserve. */
static void
limit_commitments(uint64_t rest)
{
    char limit[32];
    snprintf(limit, sizeof(limit), "%" PRIu64, memory_info("Committed_AS:") + rest / KIB);
    set("/proc/sys/vm/user_reserve_kbytes", "0");
    set("/proc/sys/vm/admin_reserve_kbytes", "0");
    set("/proc/sys/vm/overcommit_kbytes", limit);
    set("/proc/sys/vm/overcommit_memory", "2");
}

/* Takes what the kernel still promises. */
static void
take_the_rest(void)
{
    static off_t taken;
    static int memory = -1;
    if (memory < 0)
        memory = (int)syscall(SYS_memfd_create, "rest", 0);
    for (off_t part = (off_t)MIB; part >= 4096; part /= 2)
        for (int refused = 0; refused < 100;)
            if (fallocate(memory, 0, taken, part) == 0)
                taken += part;
            else
                refused++;
}

/* The memory of all slots. */
static int
punch_hole(int fd)
{
    return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, FENCES * 64);
}

/* Fills the machine, then punches a hole into the page and fills the machine again. */
static void
take_and_punch(int sock)
{
    int page = recv_fd(sock), single = recv_fd(sock);
    CHECK(punch_hole(single) == -1 && errno == EPERM);
    take_the_rest();
    tell(sock, 1);
    hear(sock);
    CHECK(punch_hole(page) == 0);
    take_the_rest();
    tell(sock, 1);
    hear(sock);
}

/* Punches a hole when it is told to. */
static void
punch(int sock)
{
    struct umf_page *page;
    OK(umf_page_create(FENCES, 0, &page));
    send_page(sock, page);
    hear(sock);
    int fd;
    OK(umf_page_export(page, 0, &fd));
    CHECK(punch_hole(fd) == 0);
    tell(sock, 1);
    hear(sock);
}

/* Keeps freed memory, so that later allocations need none of the kernel's. */
static void
keep_heap(void)
{
    CHECK(mallopt(M_MMAP_THRESHOLD, (int)(16 * MIB)) && mallopt(M_TRIM_THRESHOLD, INT_MAX));
    void *some = malloc(4 * MIB);
    CHECK(some);
    memset(some, 1, 4 * MIB);
    free(some);
}

/* Looks at every slot. */
static void
read_all(struct umf_page *page)
{
    uint32_t count;
    OK(umf_page_reclaim(page, 0, &count));
    CHECK(count == 0);
}

static void
signal_next(struct umf_fence *fence)
{
    uint64_t next = umf_fence_value(fence) + 1;
    OK(umf_fence_signal(fence, next));
    OK(umf_fence_wait(fence, next, 0));
}

static void
without_commitments(void)
{
    struct peer peer = start_peer(take_and_punch);
    struct umf_page *page, *single, *none = NULL;
    struct umf_fence *fence, *sealed;
    keep_heap();
    OK(umf_page_create(FENCES, 0, &page));
    OK(umf_page_create(FENCES, UMF_PAGE_SINGLE_WRITER, &single));
    OK(umf_fence_create(page, 0, 0, &fence));
    OK(umf_fence_create(single, 0, 0, &sealed));
    send_page(peer.sock, page);
    send_page(peer.sock, single);
    hear(peer.sock);
    int fds = open_fds();
    EXPECT(-ENOMEM, umf_page_create(FENCES, 0, &none));
    EXPECT(-ENOMEM, umf_page_create(FENCES, UMF_PAGE_SINGLE_WRITER, &none));
    CHECK(!none && open_fds() == fds);
    signal_next(fence);
    read_all(page);
    tell(peer.sock, 1);
    hear(peer.sock);
    signal_next(sealed);
    read_all(single);
    *step = IS_TO_DIE;
    read_all(page);
    *step = SURVIVED;
}

static void
enter_group(void)
{
    set(GROUP "/cgroup.procs", "0");
}

static void
creates_what_the_group_has_no_room_for(void)
{
    struct umf_page *page;
    enter_group();
    *step = IS_TO_DIE;
    umf_page_create(FENCES, 0, &page);
    *step = SURVIVED;
}

/* The kernel kills no process that is exempt. */
static void
is_refused_in_the_group(void)
{
    struct umf_page *page, *none = NULL;
    set("/proc/self/oom_score_adj", "-1000");
    enter_group();
    OK(umf_page_create(1, 0, &page));
    int fds = open_fds();
    EXPECT(-ENOMEM, umf_page_create(FENCES, 0, &none));
    CHECK(!none && open_fds() == fds);
    umf_page_unref(page);
    OK(umf_page_create(1, 0, &page));
    umf_page_unref(page);
}

/* The page's memory is charged to the peer, outside of the group. */
static void
touches_a_hole_in_the_group(void)
{
    struct peer peer = start_peer(punch);
    struct umf_page *page = recv_page(peer.sock);
    enter_group();
    read_all(page);
    tell(peer.sock, 1);
    hear(peer.sock);
    *step = IS_TO_DIE;
    read_all(page);
    *step = SURVIVED;
}

/* Returns how a child ended. */
static int
run_in_child(void (*run)(void))
{
    pid_t pid;
    int status;
    *step = BEGUN;
    IN_CHILD(pid, run());
    CHECK(waitpid(pid, &status, 0) == pid);
    return status;
}

/* Whether the signal ended the child, where it expected that. */
static bool
was_ended_by(int signal, int status)
{
    return WIFSIGNALED(status) && WTERMSIG(status) == signal && *step == IS_TO_DIE;
}

static void
make_group(void)
{
    CHECK(mkdir(GROUPS, 0700) == 0 && mount("none", GROUPS, "cgroup2", 0, NULL) == 0);
    set(GROUPS "/cgroup.subtree_control", "+memory");
    CHECK(mkdir(GROUP, 0700) == 0);
    set(GROUP "/memory.max", GROUP_LIMIT);
}

int
main(void)
{
    watchdog(50);
    if (access("/tests/list", R_OK) != 0) {
        printf("not available: a machine whose memory the test may use up\n");
        return SKIPPED;
    }
    step = mmap(NULL, sizeof(*step), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(step != MAP_FAILED);
    limit_commitments(128 * MIB);
    int status = run_in_child(without_commitments);
    set("/proc/sys/vm/overcommit_memory", "0"); /* before a check ends the test */
    CHECK(was_ended_by(SIGBUS, status));
    make_group();
    CHECK(was_ended_by(SIGKILL, run_in_child(creates_what_the_group_has_no_room_for)));
    CHECK(was_ended_by(SIGKILL, run_in_child(touches_a_hole_in_the_group)));
    CHECK(run_in_child(is_refused_in_the_group) == 0);
    return 0;
}
