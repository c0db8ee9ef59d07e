# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# To be sourced, for checks that depend on the version of Rust.

# Whether a version is at least another one.
at_least() { # at_least VERSION MINIMUM
    [ -n "$1" ] && [ "$(printf '%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

# Prints the version of a Rust command; nothing if there is none.
version_of() { # version_of rustc|cargo
    "$1" --version 2>/dev/null | cut -d' ' -f2
}
