// SPDX-License-Identifier: MIT
/*
 * Names of pages and fences: every process that has the page sees them, reports show them, and they
 * cost nothing where there are none.
 */
#include "process.h"
#include "raw_page.h"
#include "watch.h"

static struct umf_page *page;

static void
has_name(struct umf_page *of, uint32_t index, const char *expected)
{
    char name[UMF_NAME_SIZE + 1];
    memset(name, '#', sizeof(name));
    OK(umf_page_query_name(of, index, 0, name));
    if (strcmp(name, expected) != 0 || name[UMF_NAME_SIZE] != '#') {
        fprintf(stderr, "the name is '%s', not '%s'\n", name, expected);
        exit(1);
    }
}

/* The number of bytes that a page's file has memory for. */
static long
memory_of(struct umf_page *of)
{
    struct stat stat;
    int fd;
    OK(umf_page_export(of, 0, &fd));
    CHECK(fstat(fd, &stat) == 0);
    close(fd);
    return (long)stat.st_blocks * 512;
}

static void
another_process_reads_and_writes(int sock)
{
    struct umf_page *theirs = recv_page(sock);
    struct umf_fence *fence = recv_fence(sock, theirs);
    bool single_writer = umf_page_flags(theirs) & UMF_PAGE_SINGLE_WRITER;
    has_name(theirs, UMF_NAME_OF_PAGE, "swapchain of a game");
    has_name(theirs, umf_fence_index(fence), "frame 1");
    EXPECT(single_writer ? -EACCES : 0, umf_fence_set_name(fence, "frame 2"));
    EXPECT(single_writer ? -EACCES : 0, umf_page_set_name(theirs, "renamed"));
    umf_fence_unref(fence);
    umf_page_unref(theirs);
}

static void
a_name_is_in_the_page(struct peer *peer, uint64_t flags)
{
    struct umf_fence *fence, *other;
    int made = umf_page_create(100, flags, &page);
    if (made == -EOPNOTSUPP) {
        printf("not available: a kernel without F_SEAL_FUTURE_WRITE\n");
        kill(peer->pid, SIGKILL);
        return;
    }
    OK(made);
    OK(umf_fence_create(page, 0, 0, &fence));
    OK(umf_fence_create(page, 0, 0, &other));
    uint32_t index = umf_fence_index(fence);
    long before = memory_of(page);
    has_name(page, UMF_NAME_OF_PAGE, "");
    has_name(page, index, "");
    CHECK(memory_of(page) == before); /* to read no name takes no memory */
    OK(umf_page_set_name(page, "swapchain of a game"));
    OK(umf_fence_set_name(fence, "frame 1"));
    CHECK(memory_of(page) == before + sysconf(_SC_PAGESIZE));
    has_name(page, umf_fence_index(other), "");
    send_page(peer->sock, page);
    tell(peer->sock, index);
    end_peer(peer);
    bool single_writer = flags & UMF_PAGE_SINGLE_WRITER;
    has_name(page, UMF_NAME_OF_PAGE, single_writer ? "swapchain of a game" : "renamed");
    has_name(page, index, single_writer ? "frame 1" : "frame 2");
    /* No name changes a value. */
    CHECK(umf_fence_value(fence) == 0 && umf_fence_value(other) == 0);

    OK(umf_fence_set_name(fence, ""));
    has_name(page, index, "");
    OK(umf_page_set_name(page, NULL));
    has_name(page, UMF_NAME_OF_PAGE, "");
    OK(umf_fence_set_name(other, "the last"));
    umf_fence_unref(other);
    umf_fence_unref(fence);
    umf_page_unref(page);
}

/* The slot's next fence has no name, and a fence that ended takes none. */
static void
a_name_ends_with_its_fence(void)
{
    struct umf_fence *fence;
    OK(umf_page_create(1, 0, &page));
    for (int i = 0; i < 3; i++) {
        OK(umf_fence_create(page, 0, 0, &fence));
        has_name(page, 0, "");
        OK(umf_fence_set_name(fence, "one of many"));
        has_name(page, 0, "one of many");
        OK(umf_fence_end(fence));
        EXPECT(-ESTALE, umf_fence_set_name(fence, "too late"));
        EXPECT(-ENOENT, umf_page_query_name(page, 0, 0, (char[UMF_NAME_SIZE]){ 0 }));
        umf_fence_unref(fence);
    }
    umf_page_unref(page);
}

static void
what_cannot_be_shown(void)
{
    char name[UMF_NAME_SIZE] = "untouched", longest[200];
    struct umf_page *inspected;
    struct umf_fence *fence;
    int fd;
    OK(umf_page_create(1, 0, &page));
    OK(umf_fence_create(page, 0, 0, &fence));
    memset(longest, 'x', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    OK(umf_fence_set_name(fence, longest));
    longest[UMF_NAME_SIZE - 1] = '\0';
    has_name(page, 0, longest);
    OK(umf_fence_set_name(fence, "\033[2J \"}\n<b>|\\ \xc3\xa4!"));
    has_name(page, 0, "?[2J ?" "?" "?" "?b?" "?" "? ?" "?!");
    /* A peer wrote a name without an end. */
    struct raw raw = map_raw(page);
    memset(raw.bytes + raw.length - sysconf(_SC_PAGESIZE) + 64 + 8, 'y', 56);
    memset(longest, 'y', UMF_NAME_SIZE - 1);
    has_name(page, 0, longest);
    OK(umf_page_export(page, 0, &fd));
    OK(umf_page_import(fd, UMF_PAGE_READ_ONLY, &inspected));
    has_name(inspected, 0, longest);
    EXPECT(-EACCES, umf_page_set_name(inspected, "x"));
    umf_page_unref(inspected);
    close(fd);
    EXPECT(-EINVAL, umf_page_query_name(NULL, 0, 0, name));
    EXPECT(-EINVAL, umf_page_query_name(page, 0, 0, NULL));
    EXPECT(-EINVAL, umf_page_query_name(page, 0, 1, name));
    EXPECT(-ENOENT, umf_page_query_name(page, 1, 0, name));
    EXPECT(-EINVAL, umf_page_set_name(NULL, "x"));
    EXPECT(-EINVAL, umf_fence_set_name(NULL, "x"));
    CHECK(strcmp(name, "untouched") == 0);
    unmap_raw(&raw);
    umf_fence_unref(fence);
    umf_page_unref(page);
}

/* A page of another program, which ends with its slots. */
static void
a_page_without_room_for_names(void)
{
    static const struct page_header header = { PAGE_MAGIC, PAGE_VERSION, 4 };
    struct umf_fence *fence;
    int fd = memfd_create("theirs", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CHECK(fd >= 0 && ftruncate(fd, 8192) == 0);
    CHECK(pwrite(fd, &header, sizeof(header), 0) == sizeof(header));
    CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0);
    OK(umf_page_import(fd, 0, &page));
    OK(umf_fence_create(page, 0, 0, &fence));
    EXPECT(-EOPNOTSUPP, umf_fence_set_name(fence, "x"));
    EXPECT(-EOPNOTSUPP, umf_page_set_name(page, "x"));
    has_name(page, umf_fence_index(fence), "");
    has_name(page, UMF_NAME_OF_PAGE, "");
    umf_fence_unref(fence);
    umf_page_unref(page);
    close(fd);
}

static void
read_report(uint64_t flags, char *text, size_t size)
{
    int fd = memfd_create("report", MFD_CLOEXEC);
    CHECK(fd >= 0);
    OK(umf_graph_write(fd, flags, NULL));
    ssize_t length = pread(fd, text, size - 1, 0);
    CHECK(length > 0);
    text[length] = '\0';
    close(fd);
}

/* A watch that will signal a fence, and waits for another. */
static void
reports_show_names(void)
{
    static char text[65536];
    struct umf_fence *from, *to;
    struct umf_loop *loop = create_loop(UMF_LOOP_THREAD);
    struct umf_watch *watch;
    OK(umf_page_create(2, 0, &page));
    OK(umf_fence_create(page, 0, 0, &from));
    OK(umf_fence_create(page, 0, 0, &to));
    OK(umf_fence_set_name(from, "acquire"));
    OK(umf_loop_export_fence(loop, from, 1, to, 1, 0, NULL, &watch));
    read_report(0, text, sizeof(text));
    CHECK(strstr(text, ":0 (acquire) >= 1 (now 0)"));
    read_report(UMF_GRAPH_DOT, text, sizeof(text));
    CHECK(strstr(text, ":0 (acquire)\\nnow 0"));
    read_report(UMF_GRAPH_JSON, text, sizeof(text));
    CHECK(strstr(text, "\"name\": \"acquire\"}") && strstr(text, "\"name\": null}"));
    OK(umf_watch_cancel(watch));
    umf_watch_unref(watch);
    umf_loop_unref(loop);
    umf_fence_unref(from);
    umf_fence_unref(to);
    umf_page_unref(page);
}

int
main(void)
{
    struct peer first = start_peer(another_process_reads_and_writes);
    struct peer second = start_peer(another_process_reads_and_writes);
    watchdog(30);
    a_name_is_in_the_page(&first, 0);
    a_name_is_in_the_page(&second, UMF_PAGE_SINGLE_WRITER);
    a_name_ends_with_its_fence();
    what_cannot_be_shown();
    a_page_without_room_for_names();
    reports_show_names();
    return 0;
}
