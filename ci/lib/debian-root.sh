# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# Debian systems in folders ("roots"), for builds that must not depend on what this machine has. To
# be sourced:
#
#     make_root ROOT SUITE MMDEBSTRAP_OPTION...
#     make_rust_root
#     can_mount
#     install_libumf ROOT
#     inside ROOT [--bind SOURCE TARGET]... [--no-network] [VARIABLE=VALUE]... COMMAND...
#     mirror
#
# A script that sources this may use $sudo (empty for root), $keyring (the keys of Debian's archive)
# and $rust_root (the root that make_rust_root makes).

. ci/lib/progress.sh

sudo=$([ "$(id -u)" -eq 0 ] || echo sudo)
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
rust_root=${LIBUMF_MSRV_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/libumf/msrv}/root

# Prints the address of the Debian archive that this machine's apt uses.
mirror() {
    local address=${LIBUMF_DEBIAN_MIRROR:-}
    # A container image comes without apt's lists, which tell the archive from others.
    # shellcheck disable=SC2086 # an empty $sudo is no word
    [ -n "$address" ] || address=$(apt_archive) ||
        { quietly $sudo apt-get update -qq && address=$(apt_archive); } ||
        { echo 'apt knows no archive of Debian; name one in LIBUMF_DEBIAN_MIRROR' >&2; return 1; }
    echo "$address"
}

apt_archive() {
    # shellcheck disable=SC2016 # the dollar is apt's
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | grep -m 1 .
}

# Makes a root of a Debian suite. It appears under its name only when it is complete.
make_root() { # make_root ROOT SUITE MMDEBSTRAP_OPTION...
    local root=$1 suite=$2 archive directory
    shift 2
    archive=$(mirror)
    mkdir -p "$(dirname "$root")"
    $sudo rm -rf "$root" "$root.new"
    # shellcheck disable=SC2086 # an empty $sudo is no word
    quietly $sudo mmdebstrap --quiet --mode=root "$@" "$suite" "$root.new" \
        "deb [signed-by=$keyring] $archive $suite main"
    # --variant=extract runs no maintainer scripts, so the links that they make are made here.
    for directory in bin sbin lib lib64; do
        [ -L "$root.new/$directory" ] || $sudo ln -s "usr/$directory" "$root.new/$directory"
    done
    [ -L "$root.new/usr/bin/cc" ] || $sudo ln -s gcc "$root.new/usr/bin/cc"
    $sudo mv "$root.new" "$root"
}

# Makes $rust_root, with the oldest supported Rust: that of Debian 13. It is made once.
make_rust_root() {
    [ -x "$rust_root/usr/bin/cargo" ] ||
        make_root "$rust_root" trixie --variant=extract \
            --include=cargo,rustc,gcc,libc6-dev,dash,coreutils
}

# Builds libumf from this tree, and installs it in a root under /usr/local.
install_libumf() { # install_libumf ROOT
    [ -f target/root-libumf/build.ninja ] ||
        quietly meson setup target/root-libumf --prefix=/usr/local --libdir=lib -Dinfo=false
    quietly nice -n 5 ninja -C target/root-libumf
    # shellcheck disable=SC2086 # an empty $sudo is no word
    quietly $sudo env DESTDIR="$1" meson install -C target/root-libumf --no-rebuild
    inside "$1" ldconfig
}

# Whether this process may mount, which inside() takes.
can_mount() {
    $sudo unshare --mount mount --bind /proc /proc 2>/dev/null
}

# Runs a command in a root, with this machine's /proc, /sys and /dev and an empty environment.
inside() { # inside ROOT [--bind SOURCE TARGET]... [--no-network] [VARIABLE=VALUE]... COMMAND...
    local root=$1 namespaces=(--mount) binds=()
    shift
    while true; do
        case $1 in
            --bind) binds+=("$2" "$3"); shift 3 ;;
            --no-network) namespaces+=(--net); shift ;;
            *) break ;;
        esac
    done
    # shellcheck disable=SC2016 # the dollars are the inner shell's
    $sudo unshare "${namespaces[@]}" sh -ec '
        root=$1
        shift
        while [ "$1" != -- ]; do
            mkdir -p "$root$2"
            mount --rbind "$1" "$root$2"
            shift 2
        done
        shift
        exec chroot "$root" env -i PATH=/usr/bin:/bin:/usr/sbin:/sbin HOME=/tmp LC_ALL=C.UTF-8 "$@"
    ' - "$root" /proc /proc /sys /sys /dev /dev "${binds[@]}" -- "$@"
}
