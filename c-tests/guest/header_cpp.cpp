// SPDX-License-Identifier: MIT
// The header is C++17 too: the functions have C linkage, and no function hides a struct.
#include <libumf.h>
#include <libumf.h>

#include <cstdint>
#include <type_traits>

static_assert(std::is_standard_layout<umf_caps>::value, "a C struct");
static_assert(std::is_trivial<umf_caps>::value, "a C struct");
static_assert(std::is_same<decltype(umf_fence_signal), int(umf_fence *, std::uint64_t)>::value,
              "as in C");

int
main()
{
    umf_page *page = nullptr;
    umf_fence *fence = nullptr;
    umf_caps caps{};
    caps.size = sizeof(caps);
    if (umf_query_caps(&caps) != 0 || caps.version != umf_version())
        return 1;
    if (umf_page_create(1, 0, &page) != 0 || umf_fence_create(page, 0, 0, &fence) != 0)
        return 1;
    if (umf_fence_signal(fence, UINT64_MAX) != 0)
        return 1;
    const umf_condition entry = { fence, UINT64_MAX, UMF_OP_GE, 0, 0 };
    std::uint32_t index = 1;
    if (umf_wait(&entry, 1, UMF_WAIT_ANY, UINT64_MAX, &index) != 0 || index != 0)
        return 1;
    umf_fence_unref(fence);
    umf_page_unref(page);
    return 0;
}
