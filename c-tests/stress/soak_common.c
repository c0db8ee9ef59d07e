/* The table that the processes of a soak share, and what each of them measures of itself. */
#include "drm_machine.h"
#include "soak.h"

#include <sys/resource.h>

struct orders *orders;
int syncobjs_of = -1;

static int64_t
resident(void)
{
    long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "re");
    CHECK(statm && fscanf(statm, "%*d %ld", &pages) == 1);
    fclose(statm);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
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
