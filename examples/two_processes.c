// SPDX-License-Identifier: MIT
/* A producer sends a fence over a socket. A consumer waits for it until the producer dies. */
#include <libumf.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Sends or receives the descriptor of the page, and beside it the index of the fence. */
static int transfer(int sock, uint32_t *index, int *fd, bool sends)
{
    union { struct cmsghdr header; char space[CMSG_SPACE(sizeof(int))]; } control = { 0 };
    struct iovec data = { index, sizeof(*index) };
    struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control,
                              .msg_controllen = sizeof(control) };
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    *rights = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET,
                                .cmsg_type = SCM_RIGHTS };
    memcpy(CMSG_DATA(rights), fd, sizeof(int));
    ssize_t size = sends ? sendmsg(sock, &message, 0) : recvmsg(sock, &message, MSG_CMSG_CLOEXEC);
    if (size != sizeof(*index) || !(rights = CMSG_FIRSTHDR(&message)))
        return -1;
    memcpy(fd, CMSG_DATA(rights), sizeof(int));
    return 0;
}

static int produce(int sock)
{
    struct umf_page *page;
    struct umf_fence *fence;
    int fd;
    if (umf_page_create(64, 0, &page) || umf_fence_create(page, 0, 0, &fence) ||
        umf_page_export(page, 0, &fd))
        return 1;
    uint32_t index = umf_fence_index(fence);
    return transfer(sock, &index, &fd, true) || umf_fence_signal(fence, 1) ||
           read(sock, &index, 1) < 0;   /* value 2 never comes: the consumer kills this process */
}

static void wait_for(struct umf_fence *fence, uint64_t value, unsigned milliseconds)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t now_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
    int result = umf_fence_wait(fence, value, now_ns + milliseconds * 1000000ULL);
    printf("value %d: %s\n", (int)value, result == 0 ? "reached" : strerror(-result));
}

int main(void)
{
    struct umf_page *page;
    struct umf_fence *fence;
    struct umf_loop *loop;
    uint32_t index;
    int sockets[2], fd = -1;
    pid_t producer;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) || (producer = fork()) < 0)
        return 1;
    if (producer == 0)
        _exit((close(sockets[0]), produce(sockets[1])));
    close(sockets[1]);                  /* the tie sees the end of the last one */
    if (transfer(sockets[0], &index, &fd, false) || umf_page_import(fd, 0, &page) ||
        umf_fence_open(page, index, 0, &fence) || umf_loop_create(UMF_LOOP_THREAD, &loop) ||
        umf_loop_tie_page(loop, page, sockets[0], 0, NULL, NULL))
        return 1;
    close(fd);
    wait_for(fence, 1, 5000);
    wait_for(fence, 2, 50);
    kill(producer, SIGKILL);
    wait_for(fence, 2, 5000);
    umf_loop_unref(loop);
    umf_fence_unref(fence);
    umf_page_unref(page);
    return waitpid(producer, NULL, 0) != producer;
}
