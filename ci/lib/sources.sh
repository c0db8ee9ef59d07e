# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# The files of the repository. To be sourced, and called in its folder:
#
#     pack_sources

# Writes them to standard output as a tar archive: those that git knows or would add. In an unpacked
# archive, which git does not know, all but what was built.
pack_sources() {
    {
        git ls-files -z --cached --others --exclude-standard 2>/dev/null ||
            find . -name target -prune -o -type f -print0
    } | tar --create --null --files-from=- --ignore-failed-read
}
