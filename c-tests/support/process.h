/* SPDX-License-Identifier: MIT */
/*
 * Peers: processes that share with the test only what it sends them through a socket.
 */
#ifndef PROCESS_H
#define PROCESS_H

#include "check.h"

/* A process that shares with this one what it is sent through the socket. A peer that starts
 * before the test touches the library has its own library, as a separate program has. */
struct peer {
    pid_t pid;
    int sock;
};

/* Starts a peer, which ends when run() returns, or with this process. */
static inline struct peer
start_peer(void (*run)(int sock))
{
    int ends[2];
    struct peer peer;
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
    IN_CHILD(peer.pid, {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(ends[0]);
        run(ends[1]);
    });
    close(ends[1]);
    peer.sock = ends[0];
    return peer;
}

/* Waits for a peer whose checks must all have held. */
static inline void
end_peer(struct peer *peer)
{
    join_child(peer->pid);
    close(peer->sock);
}

/* Kills a child. One that has ended by itself saw a check fail. */
static inline void
kill_child(pid_t pid)
{
    int status;
    CHECK(kill(pid, SIGKILL) == 0);
    CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
}

static inline void
kill_peer(struct peer *peer)
{
    kill_child(peer->pid);
    close(peer->sock);
}

static inline int
pidfd_of(pid_t pid)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    CHECK(fd >= 0);
    return fd;
}

static inline void
tell(int sock, uint64_t word)
{
    CHECK(send(sock, &word, sizeof(word), MSG_NOSIGNAL) == sizeof(word));
}

static inline uint64_t
hear(int sock)
{
    uint64_t word;
    CHECK(recv(sock, &word, sizeof(word), 0) == sizeof(word));
    return word;
}

/* Space for one descriptor beside a message. */
union fd_room {
    char bytes[CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
};

static inline void
send_fd(int sock, int fd)
{
    char byte = 0;
    union fd_room room = { { 0 } };
    struct iovec data = { &byte, 1 };
    struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = room.bytes,
                              .msg_controllen = sizeof(room.bytes) };
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &fd, sizeof(fd));
    CHECK(sendmsg(sock, &message, MSG_NOSIGNAL) == 1);
}

static inline int
recv_fd(int sock)
{
    char byte;
    int fd;
    union fd_room room = { { 0 } };
    struct iovec data = { &byte, 1 };
    struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = room.bytes,
                              .msg_controllen = sizeof(room.bytes) };
    CHECK(recvmsg(sock, &message, MSG_CMSG_CLOEXEC) == 1);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    CHECK(header && header->cmsg_type == SCM_RIGHTS);
    memcpy(&fd, CMSG_DATA(header), sizeof(fd));
    return fd;
}

static inline void
send_page(int sock, struct umf_page *page)
{
    int fd;
    OK(umf_page_export(page, 0, &fd));
    send_fd(sock, fd);
    close(fd);
}

static inline struct umf_page *
recv_page(int sock)
{
    struct umf_page *page;
    int fd = recv_fd(sock);
    OK(umf_page_import(fd, 0, &page));
    close(fd);
    return page;
}

static inline struct umf_fence *
recv_fence(int sock, struct umf_page *page)
{
    struct umf_fence *fence;
    OK(umf_fence_open(page, (uint32_t)hear(sock), 0, &fence));
    return fence;
}

#endif
