/*
 * When file descriptors or address space run out: -EMFILE or -ENOMEM, nothing kept, and the same
 * call succeeds as soon as there is enough again.
 */
#include "others.h"

#include <sys/resource.h>

static struct umf_page *page;
static int page_fd;

static int
create_page(void)
{
    struct umf_page *more;
    int answer = umf_page_create(1, 0, &more);
    if (answer == 0)
        umf_page_unref(more);
    return answer;
}

static int
import_page(void)
{
    struct umf_page *again;
    int answer = umf_page_import(page_fd, 0, &again);
    if (answer == 0)
        umf_page_unref(again);
    return answer;
}

static int
export_page(void)
{
    int fd, answer = umf_page_export(page, 0, &fd);
    if (answer == 0)
        close(fd);
    return answer;
}

static void
without_descriptors(void)
{
    static int (*const calls[])(void) = { create_page, import_page, export_page };
    struct rlimit limit;
    int spare[64], count = 0;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = 64;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    while ((spare[count] = dup(STDIN_FILENO)) >= 0)
        count++;
    CHECK(errno == EMFILE && count > 20);
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        int given = 0;
        while (calls[i]() != 0) {
            EXPECT(-EMFILE, calls[i]());
            CHECK(given < 4);
            close(spare[--count]);
            given++;
        }
        CHECK(given > 0);
        OK(calls[i]());
        /* What was given for this call is free again after it. */
        while (given-- > 0)
            CHECK((spare[count] = dup(STDIN_FILENO)) >= 0 && ++count);
        CHECK(dup(STDIN_FILENO) < 0);
    }
    /* What needs none goes on. */
    struct umf_caps caps = { .size = sizeof(caps) };
    struct umf_fence *fence;
    OK(umf_query_caps(&caps));
    OK(umf_fence_create(page, 0, 0, &fence));
    OK(umf_fence_signal(fence, 1));
    OK(umf_fence_wait(fence, 1, FOREVER));
    umf_fence_unref(fence);
}

static void
allow_address_space(uint64_t more)
{
    unsigned long pages;
    FILE *statm = fopen("/proc/self/statm", "re");
    CHECK(statm && fscanf(statm, "%lu", &pages) == 1);
    fclose(statm);
    uint64_t now = (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_AS, &limit) == 0);
    limit.rlim_cur = now + more;
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
}

static void
without_address_space(void)
{
    struct umf_page *big, *again;
    struct umf_fence *fence;
    int big_fd, fds, maps;
    OK(umf_page_create(UMF_PAGE_MAX_FENCES, 0, &big));
    OK(umf_page_export(big, 0, &big_fd));
    umf_page_unref(big);
    fds = open_fds();
    maps = mappings();

    /* Enough for a small page, not for 64 MiB. */
    allow_address_space(UINT64_C(8) << 20);
    EXPECT(-ENOMEM, umf_page_create(UMF_PAGE_MAX_FENCES, 0, &again));
    EXPECT(-ENOMEM, umf_page_import(big_fd, 0, &again));
    OK(create_page());
    CHECK(open_fds() == fds && mappings() == maps);

    /* Enough for nothing. */
    allow_address_space(0);
    EXPECT(-ENOMEM, umf_page_create(100, 0, &again));
    EXPECT(-ENOMEM, umf_page_import(big_fd, 0, &again));
    OK(export_page());
    OK(umf_fence_create(page, 0, 0, &fence));
    OK(umf_fence_signal(fence, 1));
    OK(umf_fence_wait(fence, 1, FOREVER));
    umf_fence_unref(fence);

    allow_address_space(UINT64_C(1) << 30);
    OK(umf_page_import(big_fd, 0, &again));
    CHECK(umf_page_fence_count(again) == UMF_PAGE_MAX_FENCES);
    umf_page_unref(again);
    CHECK(open_fds() == fds && mappings() == maps);
    close(big_fd);
}

int
main(void)
{
    pid_t pid;
    watchdog(30);
    if (RUNNING_ON_VALGRIND) {
        printf("valgrind needs descriptors and memory of its own\n");
        return SKIPPED;
    }
    OK(umf_page_create(4, 0, &page));
    OK(umf_page_export(page, 0, &page_fd));
    IN_CHILD(pid, without_descriptors());
    join_child(pid);
    IN_CHILD(pid, without_address_space());
    join_child(pid);
    close(page_fd);
    umf_page_unref(page);
    return 0;
}
