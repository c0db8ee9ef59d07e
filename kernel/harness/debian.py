# SPDX-License-Identifier: MIT
"""Finds, downloads and unpacks Debian's kernels.

Needs no root, and changes nothing on the system except the cache.
"""

import contextlib
import fcntl
import json
import lzma
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from .results import Failure

# The suites that may have each kernel, in the order of the search. A kernel is found through the
# metapackage of a suite and never by its full version, because mirrors drop old versions.
SUITES = {
    "6.1": ["bookworm"],
    "6.12": ["bookworm-backports", "trixie"],
    "7": ["trixie-backports"],
}
METAPACKAGE = "linux-image-amd64"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
FRESH_SECONDS = 7 * 24 * 3600

# In loading order. virtio-gpu is loaded before vgem, so that it is card0 and renderD128 on every
# kernel. A module that a kernel lacks is built in or absent; /init checks that the devices exist.
MODULES = ["virtio_pci", "virtio_console", "virtio_gpu", "vgem", "udmabuf"]
# Without vgem, which a compositor would take for a second GPU; and with what mounts a folder of the
# host.
DESKTOP_MODULES = ["virtio_pci", "virtio_console", "virtio_gpu", "udmabuf", "9pnet_virtio", "9p"]


@contextlib.contextmanager
def kernel(name, cache, note, modules=MODULES):
    """Yield the cached folder with `vmlinuz` and `modules/` of kernel `name`, locked."""
    folder = cache / name
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        age = _age(folder, modules)
        if age is None or age > FRESH_SECONDS:
            try:
                _refresh(name, modules, folder, note)
            except Failure as failure:
                if age is None:
                    raise
                note(f"kernel {name} is {age / 86400:.0f} days old, no newer one: {failure}")
        yield folder


def _age(folder, modules):
    """Return the seconds since the kernel was compared with the archive; None if unusable."""
    try:
        info = folder / "info.json"
        if json.loads(info.read_text())["modules"] != modules:
            return None
        return time.time() - info.stat().st_mtime
    except FileNotFoundError:
        return None


def _refresh(name, modules, folder, note):
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{name}.") as scratch:
        scratch = Path(scratch)
        packages, apt = _find(name, scratch)
        if (
            _age(folder, modules) is not None
            and json.loads((folder / "info.json").read_text())["packages"] == packages
        ):
            os.utime(folder / "info.json")
            return
        note("downloading " + ", ".join(packages))
        apt("apt-get", "--quiet", "download", *packages)
        for package in scratch.glob("*.deb"):
            call(["dpkg", "-x", package, scratch / "tree"])

        new = scratch / "new"
        (new / "modules").mkdir(parents=True)
        shutil.copyfile(next((scratch / "tree").rglob("vmlinuz*")), new / "vmlinuz")
        for number, (module, content) in enumerate(_modules(scratch / "tree", modules).items()):
            (new / "modules" / f"{number:02}-{module}.ko").write_bytes(content)
        (new / "info.json").write_text(json.dumps({"packages": packages, "modules": modules}))
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)


def _find(name, scratch):
    """Return the packages of kernel `name`, and a function that runs apt with their lists."""
    problems = []
    for suite in SUITES[name]:
        try:
            apt = private_apt(suite, scratch)
            apt("apt-get", "--quiet", "update")
            packages = _depends(apt, METAPACKAGE)
            # Since about 6.18, the image package is empty. It depends on linux-binary-… and
            # linux-modules-….
            packages += [more for package in packages for more in _depends(apt, package)]
        except Failure as failure:
            problems.append(f"{suite}: {failure}")
            continue
        if any(package.startswith(f"linux-image-{name}.") for package in packages):
            return sorted(set(packages)), apt
        problems.append(f"{suite}: has {', '.join(packages)}")
    raise Failure(f"no kernel {name}: " + "; ".join(problems))


def _depends(apt, package):
    """Return the kernel packages that `package` depends on, as NAME=VERSION.

    The version is needed because a new version may have an old name.
    """
    shown = apt("apt-cache", "show", "--no-all-versions", package)
    depends = re.search(r"^Depends: (.*)$", shown, re.MULTILINE)
    exact = (
        re.findall(r"\b(linux-(?:image|binary|modules)-\d\S*) \(= ([^)]+)\)", depends[1])
        if depends
        else []
    )
    return [f"{name}={version}" for name, version in exact]


def private_apt(suite, scratch):
    """Return a function that runs apt on `suite` alone, with its own lists, cache and state."""
    for folder in ["lists/partial", "cache/archives/partial"]:
        (scratch / folder).mkdir(parents=True, exist_ok=True)
    (scratch / "sources.list").write_text(
        f"deb [signed-by={KEYRING} target=Packages] {_mirror()} {suite} main\n"
    )
    # Take only the download settings (proxies and so on) of this machine's apt, and no hooks.
    acquire = call(["apt-config", "dump", "Acquire"])
    (scratch / "apt.conf").write_text(
        acquire
        + f"""
        Dir::Etc::Main "/dev/null";
        Dir::Etc::Parts "/dev/null";
        Dir::Etc::SourceList "{scratch}/sources.list";
        Dir::Etc::SourceParts "/dev/null";
        Dir::State "{scratch}";
        Dir::State::status "/dev/null";
        Dir::Cache "{scratch}/cache";
        APT::Architecture "amd64";
        APT::Sandbox::User "root";
        APT::Update::Error-Mode "any";
    """
    )
    environment = dict(os.environ, APT_CONFIG=str(scratch / "apt.conf"), LC_ALL="C")
    return lambda *command: call(command, env=environment, cwd=scratch)


def _mirror():
    """Return the address of the Debian archive that this machine's apt uses."""
    chosen = os.environ.get("LIBUMF_DEBIAN_MIRROR")
    if chosen:
        return chosen
    uris = call(
        [
            "apt-get",
            "indextargets",
            "--format",
            "$(REPO_URI)",
            "Created-By: Packages",
            "Label: Debian",
        ]
    )
    if not uris:
        raise Failure(
            "apt has no list of a Debian archive: run apt-get update, or set LIBUMF_DEBIAN_MIRROR"
        )
    return uris.split()[0]


def _modules(tree, modules):
    """Map the names of `modules` and their dependencies to the contents, in loading order."""
    files = {_module_name(path): path for path in tree.rglob("*.ko*")}
    found = {}

    def visit(name):
        if name in found or name not in files:
            return
        content = files[name].read_bytes()
        if files[name].suffix == ".xz":  # busybox cannot load a compressed module
            content = lzma.decompress(content)
        depends = re.search(rb"\0depends=([^\0]*)\0", content)
        for other in filter(None, depends[1].decode().split(",") if depends else []):
            visit(other.replace("-", "_"))
        found[name] = content

    for name in modules:
        visit(name)
    return found


def _module_name(path):
    return path.name.split(".")[0].replace("-", "_")


def call(command, **options):
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise Failure(f"{' '.join(map(str, command[:3]))}: {reason[0]}")
    return done.stdout
