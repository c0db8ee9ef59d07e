/* SPDX-License-Identifier: MIT */
/* The name and version of a driver. */
#ifndef DRIVER_H
#define DRIVER_H

#include "gpu.h"

#define DRIVER_TEXT 800

static inline void
name_driver(const struct gpu *gpu, char text[DRIVER_TEXT])
{
    VkPhysicalDeviceDriverProperties driver = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES
    };
    VkPhysicalDeviceProperties2 properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
        .pNext = &driver,
    };
    vkGetPhysicalDeviceProperties2(gpu->physical, &properties);
    snprintf(text, DRIVER_TEXT, "%s, %s", driver.driverName, driver.driverInfo);
}

#endif
