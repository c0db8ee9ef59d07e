// SPDX-License-Identifier: MIT
/* Prints the driver that VK_DRIVER_FILES selects. */
#include "gpu.h"

#include "driver.h"

int
main(void)
{
    struct gpu gpu = open_gpu();
    char text[DRIVER_TEXT];
    name_driver(&gpu, text);
    printf("%s, queues: %u\n", text, gpu.queue_count);
    close_gpu(&gpu);
    return 0;
}
