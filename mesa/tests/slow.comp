// SPDX-License-Identifier: MIT
#version 450
/* Runs for `rounds` steps. Each step needs the result of the previous one. */
layout(local_size_x = 1) in;

layout(set = 0, binding = 0) buffer Slow {
    uint rounds;
    uint result;
    uint runs; /* number of runs that have ended */
};

void
main()
{
    uint x = 1;
    for (uint i = 0; i < rounds; i++) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
    }
    result = x;
    runs++;
}
