"""The rooms of kernel/run: where kernels come from, what they boot into, and how programs are judged."""
