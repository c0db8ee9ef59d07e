/* SPDX-License-Identifier: MIT */
/*
 * A device's memory: one file mapped twice, for the device to write and for the library to read. A
 * write to the read-only mapping crashes the test.
 */
#ifndef DEVICE_MEMORY_H
#define DEVICE_MEMORY_H

#include "check.h"

#define DEVICE_MEMORY_SIZE 4096

struct device_memory {
    int fd;
    uint8_t *device, *cpu;
    atomic_int releases;
};

static inline void
map_device_memory(struct device_memory *m, int fd)
{
    m->fd = fd;
    m->device = mmap(NULL, DEVICE_MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    m->cpu = mmap(NULL, DEVICE_MEMORY_SIZE, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(m->device != MAP_FAILED && m->cpu != MAP_FAILED);
    atomic_init(&m->releases, 0);
}

static inline void
create_device_memory(struct device_memory *m)
{
    int fd = memfd_create("device", MFD_CLOEXEC);
    CHECK(fd >= 0 && ftruncate(fd, DEVICE_MEMORY_SIZE) == 0);
    map_device_memory(m, fd);
}

static inline void
unmap_device_memory(struct device_memory *m)
{
    CHECK(munmap(m->device, DEVICE_MEMORY_SIZE) == 0 && munmap(m->cpu, DEVICE_MEMORY_SIZE) == 0);
    close(m->fd);
}

/* Counts releases. The last one may unmap: any later access of the library crashes. */
static inline void
on_device_memory_release(void *data)
{
    struct device_memory *m = data;
    m->releases++;
}

static inline struct umf_mapping
device_memory_at(struct device_memory *m, uint64_t offset)
{
    return (struct umf_mapping){ .size = sizeof(struct umf_mapping),
                                 .value = m->cpu + offset,
                                 .data = m,
                                 .release = on_device_memory_release };
}

static inline void
device_writes_at(struct device_memory *m, uint64_t offset, uint64_t value)
{
    __atomic_store_n((uint64_t *)(void *)(m->device + offset), value, __ATOMIC_RELEASE);
}

#endif
