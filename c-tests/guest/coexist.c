// SPDX-License-Identifier: MIT
/*
 * Another library is also called libumf: libumf.so.1, the Unified Memory Framework. One process can
 * load both, in either order and with all symbols global, and each works. They share no soname and
 * no symbol.
 */
#include "check.h"

#include <dlfcn.h>
#include <link.h>
#include <stdbool.h>

static void *
load(const char *path)
{
    void *handle = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    if (!handle)
        fprintf(stderr, "%s\n", dlerror());
    CHECK(handle);
    return handle;
}

static const char *
soname(void *handle)
{
    struct link_map *map;
    const char *strings = NULL;
    ElfW(Xword) at = 0;
    CHECK(dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0);
    for (const ElfW(Dyn) *entry = map->l_ld; entry->d_tag != DT_NULL; entry++) {
        if (entry->d_tag == DT_STRTAB)
            strings = (const char *)entry->d_un.d_ptr;
        if (entry->d_tag == DT_SONAME)
            at = entry->d_un.d_val;
    }
    CHECK(strings && at);
    return strings + at;
}

static void
use_ours(void *handle)
{
    __typeof__(umf_page_create) *create = (__typeof__(create))dlsym(handle, "umf_page_create");
    __typeof__(umf_page_fence_count) *count =
        (__typeof__(count))dlsym(handle, "umf_page_fence_count");
    __typeof__(umf_page_unref) *unref = (__typeof__(unref))dlsym(handle, "umf_page_unref");
    struct umf_page *page;
    CHECK(create && count && unref);
    OK(create(3, 0, &page));
    CHECK(count(page) == 3);
    unref(page);
}

static void
use_theirs(void *handle)
{
    int (*create)(const void *, void *, const void *, unsigned, void **) =
        (__typeof__(create))dlsym(handle, "umfPoolCreate");
    void *(*allocate)(void *, size_t) = (__typeof__(allocate))dlsym(handle, "umfPoolMalloc");
    void *pool = NULL;
    CHECK(create && allocate);
    CHECK(create(NULL, NULL, NULL, 0, &pool) == 0 && pool && allocate(pool, 1) == pool);
}

static void
both_live_in_one_process(bool ours_first)
{
    void *ours, *theirs;
    if (ours_first)
        ours = load(LIBUMF_SO);
    /* None of this library answers to the names that programs ask of the other. */
    CHECK(!dlopen("libumf.so", RTLD_NOW | RTLD_NOLOAD));
    CHECK(!dlopen("libumf.so.1", RTLD_NOW | RTLD_NOLOAD));
    theirs = load(STUB_SO);
    if (!ours_first)
        ours = load(LIBUMF_SO);
    CHECK(ours != theirs);
    CHECK(strcmp(soname(ours), "libumf-fence.so.0") == 0);
    CHECK(strcmp(soname(theirs), "libumf.so.1") == 0);
    CHECK(dlopen("libumf.so.1", RTLD_NOW | RTLD_NOLOAD) == theirs);
    CHECK(dlopen("libumf-fence.so.0", RTLD_NOW | RTLD_NOLOAD) == ours);
    use_ours(ours);
    use_theirs(theirs);
    use_ours(ours);
    static const char *const names[] = {
        "umfInit", "umfGetCurrentVersion", "umfPoolCreate", "umfPoolMalloc",
    };
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        CHECK(dlsym(theirs, names[i]) && !dlsym(ours, names[i]));
    CHECK(!dlsym(theirs, "umf_page_create"));
}

int
main(void)
{
    for (int ours_first = 0; ours_first < 2; ours_first++) {
        pid_t pid;
        IN_CHILD(pid, both_live_in_one_process(ours_first));
        join_child(pid);
    }
    return 0;
}
