// SPDX-License-Identifier: MIT
/* Ends in the way that its argument names. kernel/selftest checks that the harness detects it. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/reboot.h>
#include <unistd.h>

static const char daemon_trace[] = "/tmp/daemon-lived";

static void write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		perror(path);
	if (fd >= 0)
		close(fd);
}

/* Sends a false report, in the format of /init, to everything that could be the harness. */
static int fake(void)
{
	static const char report[] = "exit 5 0\nPASS fake\ndone\n";
	int ways = 0;

	printf("\n%s", report);
	fflush(stdout);
	for (int fd = 3; fd < 100; fd++)
		ways += write(fd, report, strlen(report)) >= 0;
	for (char port = '1'; port <= '3'; port++) {
		char path[] = "/dev/vport0p?";

		path[sizeof(path) - 2] = port;
		ways += open(path, O_WRONLY) >= 0 || errno != EBUSY;
	}
	/* The harness must print "status 1". A higher status means that a report could be faked. */
	return 1 + ways;
}

static int daemonize(void)
{
	if (fork() == 0) {
		setsid();
		signal(SIGTERM, SIG_IGN);
		sleep(1);
		close(open(daemon_trace, O_CREAT | O_WRONLY, 0600));
	}
	return 0;
}

int main(int argc, char **argv)
{
	const char *end = argc > 1 ? argv[1] : "";

	if (strcmp(end, "pass") == 0)
		return 0;
	if (strcmp(end, "fail") == 0)
		return 1;
	if (strcmp(end, "skip") == 0) {
		printf("some output\nno such device here");
		return 77;
	}
	if (strcmp(end, "crash") == 0)
		*(volatile char *)daemon_trace = 0;
	if (strcmp(end, "hang") == 0)
		pause();
	if (strcmp(end, "fake") == 0)
		return fake();
	if (strcmp(end, "daemon") == 0)
		return daemonize();
	if (strcmp(end, "alone") == 0)
		return access(daemon_trace, F_OK) == 0;
	if (strcmp(end, "flood") == 0) {
		for (int line = 1; line <= 200000; line++)
			printf("%d\n", line);
		return 0;
	}
	if (strcmp(end, "splat") == 0) {
		write_to("/dev/kmsg", "WARNING: CPU: 0 PID: 1 at selftest.c\n");
		return 0;
	}
	if (strcmp(end, "poweroff") == 0) {
		reboot(RB_POWER_OFF);
		pause();
	}
	if (strcmp(end, "panic") == 0) {
		write_to("/proc/sysrq-trigger", "c");
		pause();
	}
	fprintf(stderr, "unknown end: \"%s\"\n", end);
	return 2;
}
