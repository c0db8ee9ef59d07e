# SPDX-License-Identifier: MIT
"""Boots a kernel in QEMU, and reports what the programs print and how they end."""

import socket
import subprocess
import time

from .results import POLL_SECONDS, Failure, Outcome, first_splat

BOOT_SECONDS = 120
# How long after a program's time limit its report may arrive. After that, the machine has hung.
GRACE_SECONDS = 30

CPU = "max"
# llvmpipe crashes in the emulator with the wide vectors of AVX.
DESKTOP_CPU = "max,-avx,-avx2,-fma,-f16c"

# loglevel=5 prints warnings and errors to the console, which survives a crash of the kernel.
KERNEL_ARGUMENTS = "console=ttyS0 loglevel=5 panic=-1 log_buf_len=4M"


class Unresponsive(Failure):
    """The machine went down or hung."""


class _QemuExited(Exception):
    """QEMU has exited."""


class Machine:
    """A QEMU machine. Use it as a context manager; leaving it kills QEMU.

    QEMU writes the programs' output and the kernel log to files. A file accepts all data at once,
    and without ioeventfd, QEMU writes it before the guest's write returns. The files are therefore
    complete when a report arrives, and a slow reader cannot stall the guest. Reports come through a
    socket, because the host answers them.

    `desktop` is a folder that the machine gets, read-only, as the 9p file system "desktop".
    """

    def __init__(self, vmlinuz, initrd, folder, transcript, desktop=None):
        self._transcript = transcript
        self._files = {name: folder / name for name in ["output", "log", "console", "errors"]}
        for file in self._files.values():
            file.touch()
        self._output = open(self._files["output"], "rb")
        self._log = open(self._files["log"], "rb")
        self._reports, theirs = socket.socketpair()
        self._reports.settimeout(POLL_SECONDS)
        self._received = b""

        # If this process is killed, the kernel kills QEMU.
        command = ["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64"]
        command += "-nodefaults -no-user-config -display none -no-reboot".split()
        command += "-machine q35 -accel tcg,thread=multi -smp 2 -m 1024".split()
        command += ["-cpu", DESKTOP_CPU if desktop else CPU]
        command += ["-kernel", vmlinuz, "-initrd", initrd, "-append", KERNEL_ARGUMENTS]
        command += ["-serial", f"file:{self._files['console']}"]
        # The serial device comes first. Its number is then 0, as /init expects (/dev/vport0p1).
        command += ["-device", "virtio-serial-pci,ioeventfd=off"]
        command += ["-chardev", f"file,id=output,path={self._files['output']}"]
        command += ["-chardev", f"socket,id=report,fd={theirs.fileno()}"]
        command += ["-chardev", f"file,id=log,path={self._files['log']}"]
        for number, name in enumerate(["output", "report", "log"], 1):
            command += ["-device", f"virtserialport,nr={number},chardev={name}"]
        command += ["-device", "virtio-gpu-pci"]
        if desktop:
            share = f"local,path={desktop},mount_tag=desktop,security_model=none,readonly=on"
            command += ["-virtfs", f"{share},multidevs=remap"]
        with theirs, open(self._files["errors"], "wb") as errors:
            self._qemu = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                pass_fds=[theirs.fileno()],
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._qemu.kill()
        self._qemu.wait()
        for file in (self._output, self._log, self._reports):
            file.close()

    def boot(self):
        """Wait until the machine is ready to run programs. Raises Unresponsive if it fails."""
        self.release = self._expect("ready", BOOT_SECONDS)

    def run(self, programs):
        """Yield an Outcome for each program. Raises Failure if the machine fails before the end."""
        console_start = self._files["console"].stat().st_size
        seen_splat = False
        for number, program in enumerate(programs):
            self._expect(f"start {number}", GRACE_SECONDS)
            began = time.monotonic()
            status = int(self._expect(f"exit {number}", program.limit + GRACE_SECONDS))
            log = self._log.read().decode(errors="replace")
            seen_splat = seen_splat or first_splat(log) is not None
            yield Outcome(
                program, status, time.monotonic() - began, self._transcript.last_line(), log
            )
        self._expect("done", GRACE_SECONDS)
        try:
            self._qemu.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            raise self._failure("the machine did not power off") from None
        # The kernel may log a warning after the program's log was read.
        splat = first_splat(
            self._files["console"].read_bytes()[console_start:].decode(errors="replace")
        )
        if splat and not seen_splat:
            raise self._failure(f"kernel log: {splat}")

    def _expect(self, what, seconds):
        """Return the rest of the next report, which must begin with `what`."""
        try:
            report = self._next_report(time.monotonic() + seconds)
        except TimeoutError:
            raise self._failure(
                f'the machine hung: waited {seconds} s for "{what}"', Unresponsive
            ) from None
        except _QemuExited:
            raise self._failure(
                f'the machine went down: waited for "{what}"', Unresponsive
            ) from None
        if report != what and not report.startswith(what + " "):
            raise self._failure(f'the machine reported "{report}" instead of "{what}"')
        return report[len(what) + 1 :]

    def _next_report(self, deadline):
        """Wait for a report, and answer it. Copies the programs' output in the meantime."""
        while b"\n" not in self._received:
            data = None
            try:
                data = self._reports.recv(4096)
            except TimeoutError:
                pass
            except ConnectionError:
                data = b""
            self._transcript.write(self._output.read())
            if data == b"":
                raise _QemuExited
            if data is None and time.monotonic() > deadline:
                raise TimeoutError
            self._received += data or b""
        report, self._received = self._received.split(b"\n", 1)
        try:
            self._reports.send(b"\n")
        except ConnectionError:
            raise _QemuExited from None
        return report.decode(errors="replace")

    def _failure(self, text, kind=Failure):
        errors = self._files["errors"].read_text(errors="replace").strip()
        console = self._files["console"].read_text(errors="replace").splitlines()[-80:]
        return kind(
            "\n".join([text, *filter(None, [errors]), *(f"console: {line}" for line in console)])
        )
