// SPDX-License-Identifier: MIT
// References that end by themselves, errors as exceptions, and a wait for any of several fences.
#include <libumf.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <iostream>
#include <memory>
#include <system_error>
#include <thread>

namespace umf {

struct Unref {
    void operator()(umf_page *page) const { umf_page_unref(page); }
    void operator()(umf_fence *fence) const { umf_fence_unref(fence); }
};
using Page = std::unique_ptr<umf_page, Unref>;
using Fence = std::unique_ptr<umf_fence, Unref>;

inline void check(int result, const char *what)
{
    if (result < 0)
        throw std::system_error(-result, std::generic_category(), what);
}

inline Page create_page(std::uint32_t fences)
{
    umf_page *page = nullptr;
    check(umf_page_create(fences, 0, &page), "umf_page_create");
    return Page(page);
}

inline Fence create_fence(const Page &page)
{
    umf_fence *fence = nullptr;
    check(umf_fence_create(page.get(), 0, 0, &fence), "umf_fence_create");
    return Fence(fence);
}

// std::chrono::steady_clock is CLOCK_MONOTONIC on Linux.
inline std::uint64_t deadline(std::chrono::nanoseconds from_now)
{
    const auto end = std::chrono::steady_clock::now().time_since_epoch() + from_now;
    return static_cast<std::uint64_t>(std::chrono::nanoseconds(end).count());
}

} // namespace umf

int main()
try {
    const umf::Page page = umf::create_page(64);
    const std::array<umf::Fence, 2> fences = { umf::create_fence(page), umf::create_fence(page) };
    std::thread signaler([&] { umf_fence_signal(fences[1].get(), 1); });

    std::array<umf_condition, 2> conditions{};
    for (std::size_t i = 0; i < conditions.size(); i++)
        conditions[i] = { fences[i].get(), 1, UMF_OP_GE, 0, 0 };
    std::uint32_t index = 0;
    const int result = umf_wait(conditions.data(), 2, UMF_WAIT_ANY,
                                umf::deadline(std::chrono::seconds(5)), &index);
    signaler.join();
    umf::check(result, "umf_wait");
    std::cout << "fence " << index << " is reached\n";
    return 0;
} catch (const std::system_error &error) {
    std::cerr << error.what() << '\n';
    return 1;
}
