// SPDX-License-Identifier: MIT
/*
 * Takes samples in rounds and prints ratios with their spread: a table for people, or tab-separated
 * lines for programs.
 */
#include "bench.h"

#include <math.h>

bool quick;

static bool table;
static FILE *tsv;
static const char *section_now = "", *row_now = "";
/* Prints a row's own name once, above its peers. */
static const char *row_printed;

static double
quantile(double *sorted, unsigned count, double q)
{
    return sorted[(unsigned)lround(q * (count - 1))];
}

static int
by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double
median(const double *samples, unsigned count)
{
    double *sorted = malloc(count * sizeof(*sorted));
    CHECK(sorted);
    memcpy(sorted, samples, count * sizeof(*sorted));
    qsort(sorted, count, sizeof(*sorted), by_size);
    double result = quantile(sorted, count, 0.5);
    free(sorted);
    return result;
}

/* Three digits, and for times the unit that fits. */
static void
format_value(char *out, size_t size, double value, const char *unit)
{
    if (strcmp(unit, "ns") != 0) {
        snprintf(out, size, value == floor(value) ? "%.0f" : value < 100 ? "%.2f" : "%.1f", value);
        return;
    }
    static const char *const units[] = {"ns", "us", "ms", "s"};
    unsigned scale = 0;
    while (value >= 999.5 && scale < 3) {
        value /= 1000;
        scale++;
    }
    snprintf(out, size,
             value < 9.995   ? "%.2f %s"
             : value < 99.95 ? "%.1f %s"
                             : "%.0f %s",
             value, units[scale]);
}

/* Two decimals near 1, two significant digits far below. */
static void
format_ratio(char *out, size_t size, double ratio)
{
    snprintf(out, size, ratio >= 99.5 ? "%.0f" : ratio >= 0.1 ? "%.2f" : "%.2g", ratio);
}

void
report_begin(bool with_table, FILE *tsv_file)
{
    table = with_table;
    tsv = tsv_file;
    if (tsv)
        fprintf(tsv, "section\trow\tpeer\tunit\tours\ttheirs\tratio\tp10\tp90\trounds\tbetter\n");
}

void
report_end(void)
{
    if (table)
        fflush(stdout);
    if (tsv)
        fflush(tsv);
}

const char *
report_position(void)
{
    static char position[200];
    snprintf(position, sizeof(position), "%s: %s", section_now, row_now);
    return position;
}

void
section(const char *title)
{
    section_now = title;
    row_now = "";
    row_printed = NULL;
    if (table)
        printf("\n%-45s %10s %10s  %7s  %-16s %s\n", title, "ours", "peer", "ratio", "p10 .. p90",
               "better");
}

static void
print_row_name(const char *row, const char *unit)
{
    if (!table || (row_printed && strcmp(row_printed, row) == 0))
        return;
    bool named = strcmp(unit, "ns") != 0 && *unit;
    printf("  %s%s%s%s\n", row, named ? " [" : "", named ? unit : "", named ? "]" : "");
    row_printed = row;
}

/* One line: a row against one peer. A negative ratio means that there is none. */
static void
print_line(const char *row, const char *unit, const char *peer, const double values[2],
           const double ratio[3], unsigned rounds)
{
    char ours[24], theirs[24] = "", ratios[3][16] = {"", "", ""}, spread[40] = "";
    const char *better = "";
    format_value(ours, sizeof(ours), values[0], unit);
    if (*peer)
        format_value(theirs, sizeof(theirs), values[1], unit);
    if (ratio[1] >= 0) {
        for (int i = 0; i < 3; i++)
            format_ratio(ratios[i], sizeof(ratios[i]), ratio[i]);
        if (rounds > 1)
            snprintf(spread, sizeof(spread), "%s .. %s", ratios[0], ratios[2]);
        better = ratio[2] < 1 ? "ours" : ratio[0] > 1 ? "peer" : "even";
    } else if (*peer) {
        better = values[0] < values[1] ? "ours" : values[0] > values[1] ? "peer" : "even";
    }
    print_row_name(row, unit);
    if (table) {
        char line[200];
        snprintf(line, sizeof(line), "    %-41s %10s %10s  %7s  %-16s %s", *peer ? peer : "libumf",
                 ours, theirs, ratios[1], spread, better);
        for (size_t end = strlen(line); end > 0 && line[end - 1] == ' '; end--)
            line[end - 1] = '\0';
        printf("%s\n", line);
        fflush(stdout);
    }
    if (tsv) {
        fprintf(tsv, "%s\t%s\t%s\t%s\t%.6g\t", section_now, row, peer, unit, values[0]);
        if (*peer)
            fprintf(tsv, "%.6g", values[1]);
        if (ratio[1] >= 0)
            fprintf(tsv, "\t%.6g\t%.6g\t%.6g\t%u\t%s\n", ratio[1], ratio[0], ratio[2], rounds,
                    better);
        else
            fprintf(tsv, "\t\t\t\t%u\t%s\n", rounds, better);
    }
}

/* A peer that cannot take part. libumf may have been measured all the same. */
static void
print_absent(const char *row, const char *unit, const char *peer, double value, const char *reason)
{
    char ours[24] = "";
    if (value >= 0)
        format_value(ours, sizeof(ours), value, unit);
    print_row_name(row, unit);
    if (table)
        printf("    %-41s %10s  %s\n", peer, ours, reason);
    if (tsv) {
        fprintf(tsv, "%s\t%s\t%s\t%s\t", section_now, row, peer, unit);
        if (value >= 0)
            fprintf(tsv, "%.6g", value);
        fprintf(tsv, "\t\t\t\t\t0\t%s\n", reason);
    }
}

void
report_absent(const char *row, const char *reason)
{
    print_absent(row, "", "", -1, reason);
}

void
report_count(const char *row, const char *unit, double ours, const char *peer, double theirs)
{
    double values[2] = {ours, theirs}, ratio = *peer && theirs > 0 ? ours / theirs : -1;
    print_line(row, unit, peer, values, (double[]){ratio, ratio, ratio}, 1);
}

void
report(const char *row, const char *unit, unsigned rounds, const struct contender *list,
       size_t count, const double *samples)
{
    double *ratios = malloc(rounds * sizeof(*ratios));
    CHECK(ratios);
    double ours = median(samples, rounds);
    if (count == 1)
        print_line(row, unit, "", (double[]){ours, 0}, (double[]){-1, -1, -1}, rounds);
    for (size_t peer = 1; peer < count; peer++) {
        const double *theirs = samples + peer * rounds;
        if (list[peer].absent) {
            print_absent(row, unit, list[peer].name, ours, list[peer].absent);
            continue;
        }
        for (unsigned round = 0; round < rounds; round++)
            ratios[round] = theirs[round] > 0 ? samples[round] / theirs[round] : INFINITY;
        qsort(ratios, rounds, sizeof(*ratios), by_size);
        double spread[3] = {quantile(ratios, rounds, 0.1), quantile(ratios, rounds, 0.5),
                            quantile(ratios, rounds, 0.9)};
        print_line(row, unit, list[peer].name, (double[]){ours, median(theirs, rounds)}, spread,
                   rounds);
    }
    free(ratios);
}

void
compare(const char *row, const char *unit, struct rounds rounds, const struct contender *list,
        size_t count)
{
    /* samples[round][contender], as the number of rounds is not known yet */
    double *samples = malloc(rounds.most * count * sizeof(*samples));
    double *by_contender = malloc(rounds.most * count * sizeof(*by_contender));
    CHECK(samples && by_contender);
    row_now = row;

    uint64_t end = in_ns(quick ? 150 * MS : 1000 * MS);
    unsigned round = 0;
    for (; round < rounds.most && (round < rounds.least || now_ns() < end); round++) {
        for (size_t turn = 0; turn < count; turn++) {
            /* Alternates the direction, so that no contender always follows the same one. */
            size_t who = round % 2 ? count - 1 - turn : turn;
            samples[round * count + who] = list[who].absent ? 0 : list[who].sample(list[who].state);
        }
    }
    for (unsigned r = 0; r < round; r++) {
        for (size_t who = 0; who < count; who++)
            by_contender[who * round + r] = samples[r * count + who];
    }
    report(row, unit, round, list, count, by_contender);
    free(samples);
    free(by_contender);
}
