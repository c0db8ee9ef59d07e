// SPDX-License-Identifier: MIT
/*
 * The benchmark: libumf beside its alternatives, in one run, as ratios. docs/benchmark.md explains
 * the rows. It exits with 0 whatever the times are, and with an error only if something did not
 * work.
 */
#include "bench.h"

#include <getopt.h>
#include <signal.h>
#include <sys/utsname.h>

static void
on_alarm(int signal)
{
    (void)signal;
    const char *position = report_position();
    ssize_t written = write(STDERR_FILENO, "bench: hangs in ", 16);
    written += write(STDERR_FILENO, position, strlen(position));
    written += write(STDERR_FILENO, "\n", 1);
    _exit(written > 0 ? 1 : 2);
}

static void
processor_name(char *name, size_t size)
{
    char line[256];
    FILE *file = fopen("/proc/cpuinfo", "re");
    snprintf(name, size, "unknown processor");
    while (file && fgets(line, sizeof(line), file)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && colon) {
            snprintf(name, size, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
            break;
        }
    }
    if (file)
        fclose(file);
}

static void
print_machine(FILE *file, const char *before)
{
    struct utsname kernel;
    char processor[128];
    uint32_t version = umf_version();
    CHECK(uname(&kernel) == 0);
    kernel.release[strcspn(kernel.release, "-+")] = '\0';
    processor_name(processor, sizeof(processor));
    fprintf(file, "%slibumf %u.%u.%u on %s %s, %s, %s, %ld processors\n", before, version >> 16,
            version >> 8 & 255, version & 255, kernel.sysname, kernel.release, kernel.machine,
            processor, sysconf(_SC_NPROCESSORS_ONLN));
}

static void
print_legend(void)
{
    printf("Medians of interleaved rounds. ratio: ours / peer, so below 1 ours is better. 4 in 5\n"
           "rounds lie in p10 .. p90. better: who is so in 9 of 10 rounds at least.\n");
}

static const struct part {
    const char *name;
    void (*run)(void);
} parts[] = {
    {"calls", bench_calls},
    {"round-trips", bench_round_trips},
    {"crowds", bench_crowds},
    {"many", bench_wait_many},
    {"watches", bench_watches},
    {"xshmfences", bench_xshmfences},
    {"queues", bench_queues},
    {"costs", bench_costs},
    {"devices", bench_devices},
    {"drm", bench_drm},
    {"growth", bench_growth},
};

static void
usage(FILE *file)
{
    fprintf(file,
            "usage: bench [--quick] [--drm | --only=PART] [--tsv[=FILE]]\n"
            "  --quick  a look in 10 seconds\n"
            "  --drm    only what needs a DRM device\n"
            "  --only   only calls, round-trips, crowds, many, watches, xshmfences, queues,\n"
            "           costs, devices, drm, or growth, which the others leave out\n"
            "  --tsv    tab-separated lines instead of a table, or beside it in FILE\n");
}

int
main(int argc, char **argv)
{
    static const struct option options[] = {
        {"quick", no_argument, NULL, 'q'},
        {"drm", no_argument, NULL, 'd'},
        {"only", required_argument, NULL, 'o'},
        {"tsv", optional_argument, NULL, 't'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    bool table = true, known = true;
    const char *only = NULL;
    FILE *tsv = NULL;
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'q':
            quick = true;
            break;
        case 'd':
            only = "drm";
            break;
        case 'o':
            only = optarg;
            known = false;
            for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
                known |= strcmp(only, parts[i].name) == 0;
            break;
        case 't':
            table = optarg;
            tsv = optarg && strcmp(optarg, "-") != 0 ? fopen(optarg, "we") : stdout;
            if (!tsv) {
                fprintf(stderr, "bench: %s: %s\n", optarg, strerror(errno));
                return 1;
            }
            break;
        default:
            usage(option == 'h' ? stdout : stderr);
            return option == 'h' ? 0 : 1;
        }
    }
    if (optind < argc || !known) {
        usage(stderr);
        return 1;
    }

    CHECK(signal(SIGALRM, on_alarm) != SIG_ERR);
    alarm(quick ? 300 : 900);
    usable_cpus();
    if (table) {
        print_machine(stdout, "");
        print_legend();
    }
    if (tsv)
        print_machine(tsv, "# ");
    report_begin(table, tsv);
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        bool is_growth = parts[i].run == bench_growth;
        if (only ? strcmp(only, parts[i].name) == 0 : !is_growth)
            parts[i].run();
    }
    report_end();
    return 0;
}
