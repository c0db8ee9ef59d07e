// SPDX-License-Identifier: MIT
/*
 * Stands in for Intel's Unified Memory Framework in coexist.c: a library with the same short name,
 * installed as libumf.so with soname libumf.so.1, with a few symbols like those that it exports.
 */
#include <stddef.h>

int umfInit(void);
int umfGetCurrentVersion(void);
int umfPoolCreate(const void *ops, void *provider, const void *params, unsigned flags, void **pool);
void *umfPoolMalloc(void *pool, size_t size);

static int pools;

int
umfInit(void)
{
    return 0;
}

int
umfGetCurrentVersion(void)
{
    return 0xabcd;
}

int
umfPoolCreate(const void *ops, void *provider, const void *params, unsigned flags, void **pool)
{
    (void)ops;
    (void)provider;
    (void)params;
    (void)flags;
    pools++;
    *pool = &pools;
    return 0;
}

void *
umfPoolMalloc(void *pool, size_t size)
{
    return size ? pool : NULL;
}
