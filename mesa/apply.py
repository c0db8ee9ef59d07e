#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Adds libumf's vk_sync_type to Mesa's source, and makes lavapipe use it.

usage: mesa/apply.py SOURCE [TARGET]

Reads Mesa's files in SOURCE and writes the edited ones to TARGET, or to SOURCE itself. edits.toml
has the edits and the list of the files that are added. A file in TARGET that already has the right
content is not written again, so that only what changed is rebuilt.
"""

import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent


class Mismatch(Exception):
    """The source is not the Mesa that the edits were written for."""


def apply_edit(text, file, edit):
    """Return the content of a file, `text`, with one edit made."""
    [where] = {"before", "after", "instead"} & edit.keys()
    anchor = edit[where]
    lines = text.splitlines(keepends=True)
    found = [number for number, line in enumerate(lines) if anchor in line]
    if len(found) != 1:
        raise Mismatch(f"{file}: {anchor!r} must be on one line, but is on {len(found)}")
    start = found[0] + (where == "after")
    end = found[0] + (where != "before")
    lines[start:end] = [edit["text"]]
    return "".join(lines)


def write_if_changed(path, text):
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def main(source, target=None):
    source, target = Path(source), Path(target or source)
    plan = tomllib.loads((HERE / "edits.toml").read_text())
    copies = {
        f"{folder}/{Path(name).name}": HERE / name
        for folder, names in plan["copy"].items()
        for name in names
    }

    # Every file is edited in memory first, so that a mismatch leaves TARGET as it was.
    if any((source / path).exists() for path in copies):
        raise Mismatch(f"{source} already has libumf's files")
    results = {path: file.read_text() for path, file in copies.items()}
    for edit in plan["edit"]:
        file = edit["file"]
        if file not in results:
            results[file] = (source / file).read_text()
        results[file] = apply_edit(results[file], file, edit)
    for path, text in results.items():
        write_if_changed(target / path, text)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except (Mismatch, OSError) as problem:
        sys.exit(f"mesa/apply.py: {problem}")
