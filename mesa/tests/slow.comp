#version 450
/* Work that takes as long as it is told to: the next number needs the one before it. */
layout(local_size_x = 1) in;

layout(set = 0, binding = 0) buffer Slow {
    uint rounds;
    uint result;
    uint runs; /* how often it ended */
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
