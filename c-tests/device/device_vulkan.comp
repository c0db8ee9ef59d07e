// SPDX-License-Identifier: MIT
#version 460
/* What a GPU does with a fence: it may wait until one has reached a value, works, and signals
 * another. Made into device_vulkan.spv.h by: glslangValidator -V --target-env vulkan1.2 --vn
 * device_vulkan_spv -o device_vulkan.spv.h device_vulkan.comp */
#pragma use_vulkan_memory_model
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#extension GL_EXT_shader_atomic_int64 : require

layout(local_size_x = 1) in;

/* The page: a fence's value is the word at umf_fence_offset() / 8. */
layout(std430, binding = 0) coherent buffer Page { uint64_t words[]; };
layout(std430, binding = 1) coherent buffer Result { uint64_t result; uint64_t work; };

layout(push_constant) uniform Job {
    uint64_t wait_value, signal_value;
    uint wait_at, signal_at;
    uint spins; /* how often to look before giving up; 0 means not to wait */
    uint length;
};

void main()
{
    if (spins > 0) {
        uint left = spins;
        while (atomicLoad(words[wait_at], gl_ScopeDevice, gl_StorageSemanticsBuffer,
                          gl_SemanticsAcquire) < wait_value) {
            if (--left == 0)
                return;
        }
    }
    uint x = uint(signal_value);
    for (uint i = 0; i < length; i++)
        x = x * 1664525 + 1013904223;
    work = x;
    result = signal_value;
    /* Release: a CPU that sees the value also sees the result. */
    atomicStore(words[signal_at], signal_value, gl_ScopeDevice, gl_StorageSemanticsBuffer,
                gl_SemanticsRelease);
}
