#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Waits from Python, by ctypes, for a fence that another process signals.

    python3 wait.py [LIBRARY]
"""

import ctypes
import errno
import os
import sys
import time
from ctypes import POINTER, byref, c_int, c_uint32, c_uint64, c_void_p

library = ctypes.CDLL(sys.argv[1] if len(sys.argv) > 1 else "libumf-fence.so.0")


def function(name, *arguments, result=c_int):
    """A function of the library. One that returns an int raises OSError for a negative errno."""
    found = getattr(library, name)
    found.argtypes, found.restype = arguments, result

    def call(*given):
        returned = found(*given)
        if result is c_int and returned < 0:
            raise OSError(-returned, os.strerror(-returned), name)
        return returned

    return call


page_create = function("umf_page_create", c_uint32, c_uint64, POINTER(c_void_p))
page_unref = function("umf_page_unref", c_void_p, result=None)
fence_create = function("umf_fence_create", c_void_p, c_uint64, c_uint64, POINTER(c_void_p))
fence_signal = function("umf_fence_signal", c_void_p, c_uint64)
fence_wait = function("umf_fence_wait", c_void_p, c_uint64, c_uint64)
fence_value = function("umf_fence_value", c_void_p, result=c_uint64)
fence_unref = function("umf_fence_unref", c_void_p, result=None)


def main():
    page, fence = c_void_p(), c_void_p()
    page_create(64, 0, byref(page))
    fence_create(page, 0, 0, byref(fence))

    child = os.fork()
    if child == 0:
        fence_signal(fence, 7)
        os._exit(0)

    # time.monotonic_ns() is CLOCK_MONOTONIC. ctypes lets other threads run while this one waits.
    fence_wait(fence, 7, time.monotonic_ns() + 5 * 10**9)
    print("reached", fence_value(fence))
    try:
        fence_wait(fence, 8, 0)
    except OSError as error:
        print("value 8:", errno.errorcode[error.errno])

    os.waitpid(child, 0)
    fence_unref(fence)
    page_unref(page)


if __name__ == "__main__":
    main()
