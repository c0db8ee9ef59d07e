// SPDX-License-Identifier: MIT
/* The table that the processes of a soak share, and what each of them measures of itself. */
#include "drm_machine.h"
#include "soak.h"

#include <link.h>
#include <sys/resource.h>

struct orders *orders;
int syncobjs_of = -1;

/* KiB. Counted page by page: before Linux 6.2 statm leaves out up to 64 pages for each thread. */
static int64_t
resident(void)
{
    int64_t kib = -1;
    char line[128];
    FILE *rollup = fopen("/proc/self/smaps_rollup", "re");
    CHECK(rollup);
    while (kib < 0 && fgets(line, sizeof(line), rollup))
        sscanf(line, "Rss: %" SCNd64 " kB", &kib);
    fclose(rollup);
    CHECK(kib >= 0);
    return kib;
}

/* Reads each page of a loaded object. Between its segments a sanitizer has what may not be read. */
__attribute__((no_sanitize("address", "thread"))) static int
read_object(struct dl_phdr_info *info, size_t size, void *unused)
{
    const size_t step = (size_t)sysconf(_SC_PAGESIZE);
    (void)size;
    (void)unused;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        const volatile char *start = (const volatile char *)(info->dlpi_addr + segment->p_vaddr);
        if (segment->p_type == PT_LOAD && (segment->p_flags & PF_R))
            for (size_t at = 0; at < segment->p_memsz; at += step)
                (void)start[at];
    }
    return 0;
}

/* Code becomes resident when it first runs. If all of it is before, it does not count as growth. */
static void
make_code_resident(void)
{
    dl_iterate_phdr(read_object, NULL);
}

static struct figures
figures(void)
{
    struct figures now = { .files = open_fds(), .threads = threads(), .mappings = mappings() };
    now.heap = (int64_t)allocated();
    now.memory = resident();
    if (syncobjs_of >= 0) {
        struct drm_syncobj_create create = { 0 };
        CHECK(ioctl(syncobjs_of, DRM_IOCTL_SYNCOBJ_CREATE, &create) == 0);
        struct drm_syncobj_destroy destroy = { .handle = create.handle };
        CHECK(ioctl(syncobjs_of, DRM_IOCTL_SYNCOBJ_DESTROY, &destroy) == 0);
        now.handle = create.handle;
    }
    return now;
}

void
at_rest(struct process *process)
{
    struct rusage usage;
    if (atomic_load(&orders->warm) && !atomic_load(&process->has_before)) {
        make_code_resident();
        process->before = figures();
        atomic_store(&process->has_before, true);
    }
    if (atomic_load(&orders->stop)) {
        CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
        atomic_store(&process->count[SLEEPS], (uint64_t)usage.ru_nvcsw);
    }
}

bool
is_last(const struct process *process)
{
    return atomic_load(&orders->stop) && atomic_load(&process->has_before);
}

void
until_leave(struct process *process)
{
    at_rest(process);
    /* The kernel lists a joined thread for a moment longer. A loop releases a watch's resources
     * after its callback, maybe on another thread. */
    const struct figures *before = &process->before;
    for (uint64_t give_up = in_ns(20 * SECOND); now_ns() < give_up; sched_yield())
        if (threads() <= before->threads && open_fds() <= before->files)
            break;
    process->after = figures();
    atomic_store(&process->has_after, true);
    while (!atomic_load(&orders->leave))
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}
