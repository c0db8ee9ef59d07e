/* SPDX-License-Identifier: MIT */
/* The rows of the benchmark. The process of each driver measures them for main.c. */
#ifndef ROWS_H
#define ROWS_H

#include <stdint.h>

struct row {
    const char *section, *name, *unit;
    double (*sample)(void);
};

extern const struct row rows[];
extern const uint32_t row_count;

/*
 * Opens the driver that VK_DRIVER_FILES selects and sends its name. Then measures each row that the
 * socket asks for, and sends the result.
 */
void serve(int sock);

#endif
