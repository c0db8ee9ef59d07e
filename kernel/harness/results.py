# SPDX-License-Identifier: MIT
"""Defines programs, how they ended, and what counts as a pass."""

import re
import shlex
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

SKIP_STATUS = 77
POLL_SECONDS = 0.02  # how often to check for output and for the program's end

# What a correct kernel never logs, whatever a test does.
SPLAT = re.compile(
    r"WARNING: |BUG: |kernel BUG at|\bOops\b|\[#\d+\]|refcount_t: |KASAN|UBSAN"
    r"|Kernel panic|soft lockup|rcu.*stall|blocked for more than"
)


class Failure(Exception):
    """The run cannot start or continue. The text is for the user."""


@dataclass
class Program:
    name: str
    command: list  # its first item is an absolute path
    limit: int  # seconds


@dataclass
class Outcome:
    program: Program
    status: int  # as in a shell: 128 + signal for a killed program
    seconds: float
    last_line: str
    kernel_log: str

    def verdict(self):
        """Return PASS, SKIP or FAIL, and the reason if there is one."""
        splat = first_splat(self.kernel_log)
        if splat:
            return "FAIL", f"kernel log: {splat}"
        if self.status == 0:
            return "PASS", ""
        if self.status == SKIP_STATUS:
            return "SKIP", self.last_line or "no reason given"
        # The machine measures the limit by its own clock, which may differ from ours by a moment.
        if self.status == 128 + signal.SIGKILL and self.seconds > self.program.limit - 1:
            return "FAIL", f"timed out after {self.program.limit} s"
        if self.status > 128 and self.status - 128 in set(signal.Signals):
            return "FAIL", f"killed by {signal.Signals(self.status - 128).name}"
        return "FAIL", f"exit status {self.status}"


def first_splat(kernel_log):
    """Return the first line that matches SPLAT, without its time stamp, or None."""
    found = SPLAT.search(kernel_log)
    return kernel_log[found.start() :].splitlines()[0] if found else None


def make_program(name, command, limit):
    path = shutil.which(command[0])
    if path is None:
        raise Failure(f"{name}: no such program: {command[0]}")
    return Program(name, [str(Path(path).absolute()), *command[1:]], limit)


def read_manifest(path, default_limit):
    """Read programs from a file with lines of `[@SECONDS] NAME PATH [ARGS...]`."""
    programs = []
    try:
        lines = [shlex.split(line, comments=True) for line in Path(path).read_text().splitlines()]
    except (OSError, ValueError) as error:
        raise Failure(f"{path}: {error}") from error
    for number, words in enumerate(lines, 1):
        if not words:
            continue
        limit = default_limit
        if re.fullmatch(r"@[1-9]\d*", words[0]):
            limit = int(words.pop(0)[1:])
        if len(words) < 2:
            raise Failure(f"{path}:{number}: expected [@SECONDS] NAME PATH [ARGS...]")
        if words[0] in (program.name for program in programs):
            raise Failure(f"{path}:{number}: second program named {words[0]}")
        programs.append(make_program(words[0], words[1:], limit))
    if not programs:
        raise Failure(f"{path}: no programs")
    return programs


class Transcript:
    """Writes the programs' output and our own lines to standard output."""

    def __init__(self):
        self._tail = b""

    def write(self, data):
        if not data:
            return
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        self._tail = (self._tail + data)[-4096:]

    def say(self, text):
        newline = "\n" if self._tail and not self._tail.endswith(b"\n") else ""
        sys.stdout.buffer.write(f"{newline}{text}\n".encode(errors="surrogateescape"))
        sys.stdout.buffer.flush()
        self._tail = b""

    def last_line(self):
        lines = self._tail.decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")
