# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# Signs of life from commands that are silent for minutes, and the reason when a disk is full. To be
# sourced:
#
#     quietly COMMAND...
#     telling_silence FILE COMMAND...
#     name_full_disks FILE

# Runs a command, and prints its output only if it fails. Every 15 seconds a line says how long it
# has run, and repeats its last line of output.
quietly() {
    local output
    output=$(mktemp)
    if ! with_report report_last_line "$output" redirected "$output" "$@"; then
        cat "$output" >&2
        rm -f "$output"
        return 1
    fi
    rm -f "$output"
}

redirected() { # redirected FILE COMMAND...
    ("${@:2}") >"$1" 2>&1
}

# Runs a command that adds its output to FILE. A line says how long it has run whenever FILE has not
# grown for 20 seconds.
telling_silence() { # telling_silence FILE COMMAND...
    with_report report_silence "$@"
}

with_report() { # with_report REPORT FILE COMMAND...
    local report=$1 file=$2 caller=$BASHPID status=0 reporter
    "$report" "$caller" "$file" &
    reporter=$!
    "${@:3}" || status=$?
    # Not SIGTERM: a child that is not yet past fork would run the caller's EXIT trap.
    kill -KILL "$reporter" 2>/dev/null || true
    wait "$reporter" 2>/dev/null || true
    return "$status"
}

report_last_line() { # report_last_line CALLER FILE
    local since=$SECONDS line
    while next_period 15 "$1"; do
        line=$(tail -n 1 "$2" | tr '\r' '\n' | tail -n 1 | tr -d '[:cntrl:]')
        printf '... %d s%.90s\n' $((SECONDS - since)) "${line:+: $line}" >&2
    done
}

report_silence() { # report_silence CALLER FILE
    local since=$SECONDS size=0 last_size=0
    while next_period 20 "$1"; do
        size=$(stat -c %s "$2")
        [ "$size" -ne "$last_size" ] || echo "... $((SECONDS - since)) s"
        last_size=$size
    done
}

# Waits for a time. Fails if the caller is gone: then a report must not go on.
next_period() { # next_period SECONDS CALLER
    # Nothing comes from this pipe: reading it waits without a process that outlives the report.
    [ -n "${silent_pipe:-}" ] || exec {silent_pipe}<> <(:)
    read -rt "$1" -u "$silent_pipe" || true
    kill -0 "$2" 2>/dev/null
}

# After a failure, names the disks that are full among those that builds and tests write to. A
# compiler removes its files when it fails, so a disk that it filled may have space again.
name_full_disks() { # name_full_disks OUTPUT-OF-WHAT-FAILED
    local folder available mount least=64
    ! grep -qs 'No space left on device' "$1" || least=1024
    for folder in "$PWD" "$PWD/target" "${XDG_CACHE_HOME:-$HOME/.cache}" \
        "${CARGO_HOME:-$HOME/.cargo}" "${TMPDIR:-/tmp}" /var/cache/apt /dev/shm; do
        [ -e "$folder" ] || continue
        read -r available mount < <(df --output=avail,target --block-size=M "$folder" | tail -n 1)
        if [ "${available%M}" -lt "$least" ]; then
            echo "disk full: $folder has $available free on $mount; ci/clean removes old builds"
        fi
    done >&2
}
