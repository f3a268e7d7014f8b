# SPDX-License-Identifier: MIT
# Shared by the scripts that build and run guests: where things lie, progress with the time it took, and
# what of this machine's apt a guest's packages come by.

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

known_mirror() { # the Debian mirror this machine's own apt uses, if it has its lists
    # shellcheck disable=SC2016 # $(REPO_URI) is apt's syntax
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | sed -n 1p
}

debian_mirror() { # the same, with the lists fetched where there are none
    local mirror
    mirror=$(known_mirror)
    if [ -z "$mirror" ]; then
        apt-get -qq update >&2
        mirror=$(known_mirror)
    fi
    [ -n "$mirror" ] || die "this machine's apt knows no Debian mirror"
    echo "$mirror"
}

apt_options() { # mmdebstrap's words for patience, and for the proxy this machine's own apt uses, if any
    local scheme proxy
    printf '%s\n' "--aptopt=Acquire::Check-Valid-Until \"false\"" "--aptopt=Acquire::Retries \"5\""
    for scheme in http https; do
        proxy=
        eval "$(apt-config shell proxy "Acquire::$scheme::Proxy")"
        [ -z "$proxy" ] || printf '%s\n' "--aptopt=Acquire::$scheme::Proxy \"$proxy\""
    done
}

BACKPORTED="systemd-sysv systemd libsystemd0 libsystemd-shared libpam-systemd udev libudev1 systemd-resolved"

release_of() { # SUITE: Debian's release; "noble" is bookworm with systemd from its backports
    case $1 in
        bookworm | trixie | sid) echo "$1" ;;
        noble) echo bookworm ;;
        *) die "no such suite: $1 (bookworm, noble, trixie, sid)" ;;
    esac
}

suite_packages() { # SUITE: what its guests have beside everybody's packages
    if [ "$1" = noble ]; then
        printf '%s/bookworm-backports\n' $BACKPORTED
    fi
}

suite_sources() { # SUITE MIRROR: its lines of sources.list
    printf 'deb %s %s main\n' "$2" "$(release_of "$1")"
    [ "$1" != noble ] || printf 'deb %s bookworm-backports main\n' "$2"
}
