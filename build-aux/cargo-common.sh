# SPDX-License-Identifier: MIT
# shellcheck shell=sh
# What cargo-build and info-build share. Takes the first 8 arguments of the script that sources it:
# CARGO SOURCE_DIR TARGET_DIR OUTPUT DEPFILE BUILDTYPE RUST_TARGET LOCKED
# LOCKED is --locked or empty.
cargo=$1 source_dir=$2 target_dir=$3 output=$4 depfile=$5 buildtype=$6
rust_target=${7:-${CARGO_BUILD_TARGET:-}} locked=$8
shift 8

case $buildtype in
    debug) profile=dev directory=debug ;;
    *) profile=release directory=release ;;
esac

case ${V:-}${CARGO_TERM_VERBOSE:-} in
    1* | *true) verbosity=--verbose ;;
    *) verbosity=--quiet ;;
esac

export LIBUMF_SOURCES="$source_dir"
export LIBUMF_CRATES="${CARGO_HOME:-${HOME:-/}/.cargo}/registry/src"
export LIBUMF_NEXT_WRAPPER="${RUSTC_WRAPPER:-}"
export RUSTC_WRAPPER="$source_dir/build-aux/rustc-wrapper"

# Runs a command of cargo in a folder. cargo looks for its configuration in the folder where it runs
# and in those above.
run_cargo() { # run_cargo FOLDER COMMAND [OPTION...]
    folder=$1 command=$2
    shift 2
    (cd "$folder" && "$cargo" "$command" "$verbosity" ${locked:+"$locked"} \
        --target-dir "$target_dir" ${rust_target:+--target "$rust_target"} \
        --profile "$profile" "$@")
}

# Copies what cargo built to the output, and its dependency file, which names cargo's copy. ninja
# needs the name of the output there.
deliver() { # deliver FILE
    built=$target_dir/${rust_target:+$rust_target/}$directory/$1
    cp "$built" "$output"
    {
        printf '%s:' "$output" | sed 's/ /\\ /g'
        sed "s|^.*/$1:||" "${built%.a}.d"
    } >"$depfile"
}
