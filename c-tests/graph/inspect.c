// SPDX-License-Identifier: MIT
/*
 * A page that is imported to be looked at: every fence can be read through a descriptor that is
 * open for reading alone, and nothing in the page can be used or changed.
 */
#include "notifier.h"
#include "process.h"

#include <sys/eventfd.h>

static struct umf_page *page;
static int page_fd, read_only_fd;

static struct umf_page *
inspected(void)
{
    struct umf_page *seen;
    OK(umf_page_import(read_only_fd, UMF_PAGE_READ_ONLY, &seen));
    return seen;
}

static struct umf_fence_info
query(struct umf_page *seen, struct umf_fence *fence)
{
    struct umf_fence_info info = { .size = sizeof(info) };
    OK(umf_page_query_fence(seen, umf_fence_index(fence), 0, &info));
    CHECK(info.size == sizeof(info) && info.reserved == 0);
    return info;
}

static void
a_descriptor_for_reading_is_enough(void)
{
    struct umf_page *none = NULL;
    EXPECT(-EACCES, umf_page_import(read_only_fd, 0, &none));
    struct umf_page *seen = inspected();
    CHECK(seen != page && umf_page_fence_count(seen) == umf_page_fence_count(page));
    CHECK(umf_page_flags(seen) == UMF_PAGE_READ_ONLY && umf_page_flags(page) == 0);
    const struct umf_page_limits limits = { .size = sizeof(limits), .max_fences = 4 };
    EXPECT(-EFBIG, umf_page_import_limited(read_only_fd, UMF_PAGE_READ_ONLY, &limits, &none));
    CHECK(!none);
    umf_page_unref(seen);
}

static void
every_fence_is_shown_as_it_is(void)
{
    struct umf_page *seen = inspected();
    struct umf_fence *plain, *narrow, *lasting, *failed;
    OK(umf_fence_create(page, 3, 0, &plain));
    OK(umf_fence_create(page, 0xffffffff, UMF_FENCE_32BIT | UMF_FENCE_DEVICE, &narrow));
    OK(umf_fence_create(page, 0, UMF_FENCE_LASTING, &lasting));
    OK(umf_fence_create(page, 0, 0, &failed));

    struct umf_fence_info info = query(seen, plain);
    CHECK(info.value == 3 && info.pending == 3 && info.flags == 0 && info.error == 0);
    CHECK(info.creator_pid == (uint32_t)getpid() && info.creator_pid_namespace != 0);
    OK(umf_fence_submit(plain, 9));
    OK(umf_fence_signal(plain, 5));
    info = query(seen, plain);
    CHECK(info.value == 5 && info.pending == 9);
    OK(umf_fence_signal(plain, 11));
    CHECK(query(seen, plain).pending == 11);

    OK(umf_fence_submit(narrow, 1));
    info = query(seen, narrow);
    CHECK(info.value == 0xffffffff && info.pending == 1);
    CHECK(info.flags == (UMF_FENCE_32BIT | UMF_FENCE_DEVICE));

    info = query(seen, lasting);
    CHECK(info.flags == UMF_FENCE_LASTING && info.creator_pid == 0);

    OK(umf_fence_set_error(failed, -ENODEV));
    info = query(seen, failed);
    CHECK(info.error == -ENODEV && info.wake_ups > 0);

    /* The slot's next fence is another one. */
    uint32_t index = umf_fence_index(plain);
    umf_fence_unref(plain);
    EXPECT(-ENOENT, umf_page_query_fence(seen, index, 0, &info));
    umf_fence_unref(narrow);
    umf_fence_unref(failed);
    umf_fence_unref(lasting);
    umf_page_unref(seen);
}

static void
nothing_in_it_can_be_used(void)
{
    struct umf_page *seen = inspected();
    struct umf_fence *fence, *none = NULL;
    struct umf_loop *loop;
    struct umf_watch *watch = NULL;
    int fd = -1, ends[2], line = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct umf_notifier *notifier = notifier_of(line);
    close(line);
    OK(umf_fence_create(page, 0, 0, &fence));
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    OK(umf_loop_create(0, &loop));
    EXPECT(-EACCES, umf_fence_open(seen, umf_fence_index(fence), 0, &none));
    EXPECT(-EACCES, umf_fence_create(seen, 0, 0, &none));
    EXPECT(-EACCES, umf_page_reclaim(seen, 0, NULL));
    EXPECT(-EACCES, umf_page_export_dma_buf(seen, 0, &fd));
    EXPECT(-EACCES, umf_loop_tie_page(loop, seen, ends[0], 0, NULL, &watch));
    EXPECT(-EACCES, umf_page_set_notifier(seen, notifier));
    EXPECT(-EACCES, umf_page_notify(seen));
    umf_notifier_unref(notifier);
    CHECK(!none && !watch && fd == -1);
    /* The same page, for use, is another object, whichever was there first. */
    struct umf_page *used;
    OK(umf_page_import(page_fd, 0, &used));
    CHECK(used == page);
    umf_page_unref(used);
    umf_loop_unref(loop);
    umf_fence_unref(fence);
    umf_page_unref(seen);
    close(ends[0]);
    close(ends[1]);
}

/* Another process, which has nothing but a descriptor for reading. */
static void
tool(int sock)
{
    char text[4096];
    read_only_fd = recv_fd(sock);
    struct umf_page *seen = inspected(), *again = inspected();
    CHECK(seen == again);
    int out = memfd_create("report", MFD_CLOEXEC);
    uint32_t deadlocks = 7;
    OK(umf_graph_write(out, UMF_GRAPH_JSON, &deadlocks));
    ssize_t length = pread(out, text, sizeof(text) - 1, 0);
    CHECK(length > 0 && deadlocks == 0);
    text[length] = '\0';
    CHECK(strstr(text, "\"pages\": 1, \"dropped\": 0, \"deadlocks\": 0"));
    CHECK(strstr(text, "\"participants\": []") && strstr(text, "\"waits\": []"));
    umf_page_unref(again);
    umf_page_unref(seen);
    close(out);
    close(read_only_fd);
    tell(sock, 1);
}

int
main(void)
{
    char path[64];
    struct peer peer = start_peer(tool);
    OK(umf_page_create(8, 0, &page));
    OK(umf_page_export(page, 0, &page_fd));
    snprintf(path, sizeof(path), "/proc/self/fd/%d", page_fd);
    CHECK((read_only_fd = open(path, O_RDONLY | O_CLOEXEC)) >= 0);
    send_fd(peer.sock, read_only_fd);
    hear(peer.sock);
    end_peer(&peer);
    a_descriptor_for_reading_is_enough();
    every_fence_is_shown_as_it_is();
    nothing_in_it_can_be_used();
    close(read_only_fd);
    close(page_fd);
    umf_page_unref(page);
    return 0;
}
