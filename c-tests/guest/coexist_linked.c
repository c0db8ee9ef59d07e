// SPDX-License-Identifier: MIT
/* The same as coexist.c, for a program that is linked with both libraries. */
#include "check.h"

int umfPoolCreate(const void *ops, void *provider, const void *params, unsigned flags, void **pool);

int
main(void)
{
    struct umf_page *page;
    void *pool = NULL;
    CHECK(umfPoolCreate(NULL, NULL, NULL, 0, &pool) == 0 && pool);
    OK(umf_page_create(3, 0, &page));
    CHECK(umf_page_fence_count(page) == 3);
    umf_page_unref(page);
    return 0;
}
