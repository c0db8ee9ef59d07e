// SPDX-License-Identifier: MIT
/*
 * The library is a guest in a program. Loading, using and unloading it starts no thread, changes no
 * signal handler, environment or other state of the process, prints nothing, opens only close-on-
 * exec descriptors, and leaves nothing behind but itself.
 */
#include "check.h"

#include <dlfcn.h>
#include <locale.h>
#include <sys/resource.h>

extern char **environ;

#define FUNCTIONS(F)                                                                               \
    F(umf_version) F(umf_query_caps) F(umf_page_create) F(umf_page_import) F(umf_page_export)      \
    F(umf_page_unref) F(umf_fence_create) F(umf_fence_open) F(umf_fence_unref) F(umf_fence_index)  \
    F(umf_fence_value) F(umf_fence_signal) F(umf_fence_submit) F(umf_fence_set_error)              \
    F(umf_fence_error) F(umf_fence_wait) F(umf_wait) F(umf_device_create)                          \
    F(umf_fence_export_sync_file) F(umf_fence_import_sync_file) F(umf_fence_import_dma_buf)  \
    F(umf_graph_write)

struct library {
    void *handle;
#define POINTER(name) __typeof__(name) *name;
    FUNCTIONS(POINTER)
};

static struct library
load(void)
{
    struct library l;
    l.handle = dlopen(LIBUMF_SO, RTLD_NOW | RTLD_LOCAL);
    if (!l.handle)
        fprintf(stderr, "%s\n", dlerror());
    CHECK(l.handle);
#define LOOK_UP(name) CHECK((l.name = (__typeof__(l.name))dlsym(l.handle, #name)));
    FUNCTIONS(LOOK_UP)
    return l;
}

static void
unload(struct library *l)
{
    CHECK(dlclose(l->handle) == 0);
}

/* What a process can observe of itself. */
struct state {
    int threads;
    struct {
        void (*handler)(int);
        int flags;
    } signals[65];
    sigset_t blocked;
    stack_t signal_stack;
    char environment[32768], directory[1024], name[16], locale[256];
    mode_t mask;
    struct rlimit files, memory;
};

static void
take_down(struct state *s)
{
    memset(s, 0, sizeof(*s));
    s->threads = threads();
    for (int i = 1; i <= 64; i++) {
        struct sigaction action;
        memset(&action, 0, sizeof(action));
        if (sigaction(i, NULL, &action) != 0)
            continue; /* the C library reserves two */
        s->signals[i].handler = action.sa_handler;
        s->signals[i].flags = action.sa_flags;
    }
    CHECK(sigprocmask(SIG_BLOCK, NULL, &s->blocked) == 0);
    CHECK(sigaltstack(NULL, &s->signal_stack) == 0);
    size_t used = 0;
    for (char **variable = environ; *variable; variable++) {
        /* Addresses are compared too: a copied string was changed. */
        used += (size_t)snprintf(s->environment + used, sizeof(s->environment) - used, "%p %s\n",
                                 (void *)*variable, *variable);
        CHECK(used < sizeof(s->environment));
    }
    CHECK(getcwd(s->directory, sizeof(s->directory)));
    CHECK(prctl(PR_GET_NAME, s->name, 0, 0, 0) == 0);
    snprintf(s->locale, sizeof(s->locale), "%s", setlocale(LC_ALL, NULL));
    s->mask = umask(0);
    umask(s->mask);
    CHECK(getrlimit(RLIMIT_NOFILE, &s->files) == 0 && getrlimit(RLIMIT_AS, &s->memory) == 0);
}

static bool
is_new(int fd, const bool *before)
{
    return !before[fd] && fcntl(fd, F_GETFD) >= 0;
}

/* Calls of every kind, failures included. */
static void
use(const struct library *l)
{
    bool before[256];
    struct umf_caps caps = { .size = sizeof(caps) };
    struct umf_page *page, *again;
    struct umf_fence *fence, *opened, *other;
    struct umf_device *device;
    int fd, error;
    for (int i = 0; i < 256; i++)
        before[i] = fcntl(i, F_GETFD) >= 0;

    CHECK(l->umf_version() != 0);
    OK(l->umf_query_caps(&caps));
    OK(l->umf_page_create(100, 0, &page));
    OK(l->umf_page_export(page, 0, &fd));
    OK(l->umf_page_import(fd, 0, &again));
    OK(l->umf_fence_create(page, 0, 0, &fence));
    OK(l->umf_fence_create(page, 0, 0, &other));
    OK(l->umf_fence_open(again, l->umf_fence_index(fence), 0, &opened));
    OK(l->umf_fence_submit(fence, 2));
    OK(l->umf_fence_signal(fence, 1));
    EXPECT(-EINVAL, l->umf_fence_signal(fence, 0));
    OK(l->umf_fence_wait(fence, 1, FOREVER));
    EXPECT(-ETIME, l->umf_fence_wait(fence, 2, in_ns(MS)));
    struct umf_condition list[2] = { { fence, 1, UMF_OP_GE, 0, 0 }, { other, 1, UMF_OP_GE, 0, 0 } };
    EXPECT(-ETIME, l->umf_wait(list, 2, 0, in_ns(MS), NULL));
    OK(l->umf_wait(list, 2, UMF_WAIT_ANY, FOREVER, NULL));
    OK(l->umf_fence_set_error(other, -ENODEV));
    OK(l->umf_fence_error(other, &error));
    EXPECT(-EIO, l->umf_wait(list, 2, 0, FOREVER, NULL));
    OK(l->umf_fence_import_sync_file(fence, 2, -1, 0, 0));
    EXPECT(-EINVAL, l->umf_fence_import_dma_buf(fence, 3, fd, UMF_DMA_BUF_READ, 0));
    EXPECT(-EINVAL, l->umf_device_create(fd, 0, &device));
    EXPECT(-EBADF, l->umf_page_import(-1, 0, &again));
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    OK(l->umf_graph_write(null, 0, NULL));
    close(null);
    if (caps.flags & UMF_CAP_UDMABUF) {
        int sync_file;
        OK(l->umf_fence_export_sync_file(fence, 2, NULL, 0, FOREVER, &sync_file));
        CHECK(fcntl(sync_file, F_GETFD) & FD_CLOEXEC);
        close(sync_file);
    }

    int opened_fds = 0;
    for (int i = 0; i < 256; i++) {
        if (is_new(i, before)) {
            opened_fds++;
            CHECK(fcntl(i, F_GETFD) & FD_CLOEXEC);
        }
    }
    CHECK(opened_fds >= 2); /* the loop's thread that was asked for, and the library's own */

    l->umf_fence_unref(opened);
    l->umf_fence_unref(fence);
    l->umf_fence_unref(other);
    l->umf_page_unref(again);
    l->umf_page_unref(page);
    close(fd);
}

static void
the_process_stays_as_it_is(void)
{
    static struct state before, now;
    take_down(&before);
    CHECK(before.threads == 1);
    struct library library = load();
    take_down(&now);
    CHECK(memcmp(&before, &now, sizeof(now)) == 0);
    use(&library);
    take_down(&now);
    CHECK(memcmp(&before, &now, sizeof(now)) == 0);
    unload(&library);
    take_down(&now);
    CHECK(memcmp(&before, &now, sizeof(now)) == 0);
}

static void
nothing_is_printed(void)
{
    int out = dup(STDOUT_FILENO), err = dup(STDERR_FILENO);
    int paper = memfd_create("paper", MFD_CLOEXEC);
    struct stat stat;
    CHECK(out >= 0 && err >= 0 && paper >= 0);
    fflush(NULL);
    CHECK(dup2(paper, STDOUT_FILENO) >= 0 && dup2(paper, STDERR_FILENO) >= 0);
    struct library library = load();
    use(&library);
    unload(&library);
    fflush(NULL);
    CHECK(dup2(out, STDOUT_FILENO) >= 0 && dup2(err, STDERR_FILENO) >= 0);
    CHECK(fstat(paper, &stat) == 0 && stat.st_size == 0);
    close(out);
    close(err);
    close(paper);
}

static void
what_is_loaded_again_and_again_leaves_nothing(void)
{
    int fds = 0, maps = 0;
    size_t memory = 0;
    for (int i = 0; i < 100; i++) {
        if (i == 10) {
            fds = open_fds();
            maps = mappings();
            memory = allocated();
        }
        struct library library = load();
        use(&library);
        unload(&library);
    }
    CHECK(open_fds() == fds);
    /* Valgrind finds leaks itself, and has mappings of its own. */
    if (!RUNNING_ON_VALGRIND) {
        CHECK(mappings() == maps);
        CHECK(allocated() == memory);
    }
    /* It stayed loaded, once: unloaded.c says why. */
    void *still = dlopen(LIBUMF_SO, RTLD_NOW | RTLD_NOLOAD);
    CHECK(still && dlclose(still) == 0);
}

int
main(void)
{
    the_process_stays_as_it_is();
    nothing_is_printed();
    what_is_loaded_again_and_again_leaves_nothing();
    return 0;
}
