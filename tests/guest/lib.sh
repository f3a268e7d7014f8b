# SPDX-License-Identifier: MIT
# Shared by the shell scripts beside it: where things lie, and progress with the time it took.

# shellcheck shell=bash
# shellcheck disable=SC2034 # top, build and here are for the scripts that source this
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/../.." && pwd)
build=$top/build
mkdir -p "$build"

say() { # TEXT: one line of progress, with the time since this script began
    printf '[%3d s] %s\n' "$SECONDS" "$*" >&2
}

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}
