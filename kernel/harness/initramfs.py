# SPDX-License-Identifier: MIT
"""Writes the machine's file system.

It has /init, busybox, the kernel's modules, the programs and their libraries.
"""

import os
import re
import shlex
import shutil
import stat
import subprocess
from pathlib import Path

from .results import Failure


class Archive:
    """A cpio archive in the format that the kernel unpacks ("newc"). Root owns every entry."""

    def __init__(self, file):
        self._file = file
        self._entries = set()

    def add(self, path, mode, content=b""):
        """Add an entry and its parent folders. A path that is already there is left alone."""
        path = os.path.normpath(path).lstrip("/")
        if path in self._entries:
            return
        if os.path.dirname(path):
            self.add(os.path.dirname(path), stat.S_IFDIR | 0o755)
        self._entries.add(path)
        self._write(path, mode, content)

    def close(self):
        self._write("TRAILER!!!", 0, b"")

    def _write(self, path, mode, content):
        name = os.fsencode(path) + b"\0"
        inode = len(self._entries)
        fields = [inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0]
        header = b"070701" + b"".join(b"%08X" % field for field in fields)
        for part in (header + name, content):
            self._file.write(part + bytes(-len(part) % 4))


def write(file, modules, init, programs, extras):
    """Write the initramfs. `extras` are (source, destination) pairs of files or folders."""
    archive = Archive(file)
    archive.add("/init", stat.S_IFREG | 0o755, Path(init).read_bytes())
    _add_file(archive, shutil.which("busybox"), "/bin/busybox")
    for module in sorted(Path(modules).iterdir()):
        archive.add(f"/modules/{module.name}", stat.S_IFREG | 0o644, module.read_bytes())
    for source, destination in extras:
        _add_tree(archive, source, destination)

    # Libraries that are found through this variable here must be found through it in the machine.
    library_path = os.environ.get("LD_LIBRARY_PATH")
    prefix = f"export LD_LIBRARY_PATH={shlex.quote(library_path)}\n" if library_path else ""
    for number, program in enumerate(programs):
        _add_file(archive, program.command[0], program.command[0])
        script = f"{prefix}exec {shlex.join(program.command)}\n"
        archive.add(f"/tests/{number}", stat.S_IFREG | 0o644, script.encode())
    limits = "".join(f"{number} {program.limit}\n" for number, program in enumerate(programs))
    archive.add("/tests/list", stat.S_IFREG | 0o644, limits.encode())
    archive.close()


def _add_tree(archive, source, destination):
    if not os.path.isdir(source):
        return _add_file(archive, source, destination)
    archive.add(destination, stat.S_IFDIR | 0o755)
    for entry in os.scandir(source):
        target = os.path.join(destination, entry.name)
        if entry.is_symlink():
            archive.add(target, stat.S_IFLNK | 0o777, os.fsencode(os.readlink(entry.path)))
        else:
            _add_tree(archive, entry.path, target)


def _add_file(archive, source, destination):
    try:
        content = Path(source).read_bytes()
        mode = stat.S_IFREG | stat.S_IMODE(os.stat(source).st_mode)
    except OSError as error:
        raise Failure(f"{source}: {error.strerror}") from error
    archive.add(destination, mode, content)
    if content.startswith(b"\x7fELF"):
        for library in _libraries(source):
            # Keep the path where the loader found the library, so that run paths work.
            archive.add(library, stat.S_IFREG | 0o755, Path(library).read_bytes())


def _libraries(path):
    """Return the dynamic loader and all libraries of an ELF file; none for a static one."""
    listed = subprocess.run(
        ["ldd", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ).stdout
    missing = re.search(r"^\s*(\S+) => not found", listed, re.MULTILINE)
    if missing:
        raise Failure(f"{path}: needs {missing[1]}, which is not found")
    return re.findall(r"^\s*(?:\S+ => )?(/.*) \(0x[0-9a-f]+\)$", listed, re.MULTILINE)
