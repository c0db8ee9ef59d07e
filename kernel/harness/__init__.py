# SPDX-License-Identifier: MIT
"""The host side of kernel/run: get kernels, boot them, and judge how the programs end."""
