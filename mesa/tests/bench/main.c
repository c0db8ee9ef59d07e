// SPDX-License-Identifier: MIT
/*
 * Compares two Vulkan drivers: main [--quick] OURS.json PEER.json
 *
 * Each driver runs in its own process. The processes take samples in turn, so that other load on
 * the machine affects both.
 */
#include "bench.h"
#include "rows.h"

#include <sys/prctl.h>
#include <signal.h>
#include <sys/socket.h>

static struct driver {
    int sock;
    uint64_t row;
    char name[800];
} drivers[2];

static void
start(struct driver *driver, const char *icd)
{
    int ends[2];
    pid_t pid;
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
    IN_CHILD(pid, {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(ends[0]);
        CHECK(setenv("VK_DRIVER_FILES", icd, 1) == 0);
        serve(ends[1]);
    });
    close(ends[1]);
    driver->sock = ends[0];
    CHECK(recv(driver->sock, driver->name, sizeof(driver->name), 0) > 0);
}

static double
ask(void *state)
{
    const struct driver *driver = state;
    double result;
    CHECK(send(driver->sock, &driver->row, sizeof(driver->row), MSG_NOSIGNAL)
          == sizeof(driver->row));
    CHECK(recv(driver->sock, &result, sizeof(result), 0) == sizeof(result));
    return result;
}

int
main(int argc, char **argv)
{
    quick = argc == 4 && strcmp(argv[1], "--quick") == 0;
    if (argc != (quick ? 4 : 3)) {
        fprintf(stderr, "usage: %s [--quick] OURS.json PEER.json\n", argv[0]);
        return 2;
    }
    for (int i = 0; i < 2; i++) {
        start(&drivers[i], argv[argc - 2 + i]);
        printf("%s: %s\n", i ? "peer" : "ours", drivers[i].name);
    }
    printf("Medians of interleaved rounds. ratio: ours / peer, so below 1 ours is better. 4 in 5\n"
           "rounds lie in p10 .. p90. better: the driver that wins at least 9 of 10 rounds.\n");
    const struct contender both[] = { { "peer", ask, &drivers[0], NULL },
                                      { "peer", ask, &drivers[1], NULL } };
    report_begin(true, NULL);
    for (uint32_t row = 0; row < row_count; row++) {
        if (rows[row].section)
            section(rows[row].section);
        drivers[0].row = drivers[1].row = row;
        compare(rows[row].name, rows[row].unit, ROUNDS, both, 2);
    }
    report_end();
    return 0;
}
