# SPDX-License-Identifier: MIT
"""Runs the programs on this machine's own kernel and hardware."""

import contextlib
import glob
import os
import platform
import signal
import subprocess
import tempfile
import time

from .results import POLL_SECONDS, Failure, Outcome


class Host:
    """Has the same interface as a Machine: `release` and `run`."""

    def __init__(self, transcript):
        if not glob.glob("/dev/dri/renderD*"):
            raise Failure("this machine has no DRM render node (/dev/dri/renderD*)")
        self.release = f"{platform.release()} (host)"
        self._transcript = transcript

    def run(self, programs):
        """Yield an Outcome for each program."""
        log = _open_kernel_log()
        if log is None:
            self._transcript.say("note: cannot read /dev/kmsg, so the kernel log is not checked")
        for program in programs:
            began = time.monotonic()
            status = _run_one(program, self._transcript)
            seconds = time.monotonic() - began
            yield Outcome(
                program, status, seconds, self._transcript.last_line(), _read_kernel_log(log)
            )


def _run_one(program, transcript):
    # A file, not a pipe: a pipe stays open until every process that the program started has ended.
    with tempfile.NamedTemporaryFile() as sink, open(sink.name, "rb") as output:
        process = subprocess.Popen(
            program.command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )
        deadline = time.monotonic() + program.limit
        try:
            while process.poll() is None and time.monotonic() < deadline:
                transcript.write(output.read())
                time.sleep(POLL_SECONDS)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        status = process.wait()
        transcript.write(output.read())
    return status if status >= 0 else 128 - status


def _open_kernel_log():
    try:
        log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(log, 0, os.SEEK_END)
        return log
    except OSError:
        return None


def _read_kernel_log(log):
    """Return what was logged since the last call.

    Each read of /dev/kmsg returns one record, `priority,…;text`.
    """
    lines = []
    while log is not None:
        try:
            lines.append(os.read(log, 8192).decode(errors="replace").partition(";")[2])
        except BrokenPipeError:  # the next records were overwritten; continue with the oldest
            continue
        except BlockingIOError:
            break
    return "".join(lines)
