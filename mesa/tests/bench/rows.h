/* What one driver's process measures for bench.c: a row is a thing that it does, and the time that it took. */
#ifndef ROWS_H
#define ROWS_H

#include <stdint.h>

struct row {
    const char *section, *name, *unit;
    double (*sample)(void);
};

extern const struct row rows[];
extern const uint32_t row_count;

/* Opens the driver that VK_DRIVER_FILES names, and says what it is. Measures the rows that it is asked for. */
void serve(int sock);

#endif
