# SPDX-License-Identifier: MIT
"""A host as it is: files, units, links, filters, routes, memberships, settings; and what differs between two."""

from __future__ import annotations

import re

from guest import Guest

# What lives or grows by itself, and what belongs to the test.
MOVING = (
    r"/(proc|sys|dev|tmp|root|srv|boot|lost\+found|var/(log|cache|tmp|lib/(apt|systemd|cloud)))(/|$)",
    r"/run/(udev|log|user|lock|cloud-init|credentials|ping[0-9]|dbus|netns|keepalived)",
    r"/run/systemd/(journal|units|transient|propagate|inaccessible|seats|sessions|users|ask|incoming|dissect|netif|resolve)",
    r"/var/lib/dpkg/((status|available|diversions|statoverride)(-old)?|lock|lock-frontend|triggers)",
    r"/run/(utmp|blkid|mount|sudo|initctl|shm|sendsigs|agetty|systemd/(fsck|machines|notify|private|io|nspawn|userdb))",
    r"/(etc/(\.updated|ld\.so\.cache)|var/\.updated|run/systemd/(show-status|was-enabled))",
)
# The system user stays after a purge, as users do in Debian.
STAYS = re.compile(r"^content\t/etc/(passwd|group|shadow|gshadow)-?\t|^user\tkeepalived-dummy")

SHELL = r"""
files() { find / /run -xdev -regextype posix-extended -regex '__MOVING__' -prune -o "$@"; }
files -printf 'file\t%p\t%y %m %u:%g %l\n' | sort -u
files -type f \( -path '/etc/*' -o -path '/run/*' -o -path '/usr/lib/systemd/*' \) -print0 | sort -uz | xargs -0 sha256sum |
    sed -E 's/^(\S+)\s+(.*)/content\t\2\t\1/'
cut -d: -f1 /etc/passwd | sed 's/^/user\t/'
systemctl list-unit-files --no-legend --plain | sed -E 's/\s+/ /g; s/^/unit-file\t/' | grep -v '\.scope'
systemctl list-units --all --no-legend --plain 'keepalived*' '*networkd*' | sed -E 's/\s+/ /g; s/^/unit\t/'
ip -d -o link | sed -E 's/^[0-9]+: /link\t/'
ip -o address | sed -E 's/^[0-9]+: //; s/valid_lft.*//; s/ proto \S+//; s/^/address\t/'
for link in $(ls /sys/class/net); do
    tc qdisc show dev $link | sed "s/^/qdisc\t$link\t/"
    for way in ingress egress root; do tc filter show dev $link $way 2>/dev/null | sed "s/^/filter\t$link $way\t/"; done
    ip maddr show dev $link | sed "s/^/membership\t$link\t/"
done
for family in 4 6; do
    ip -$family route show table all | sed -E 's/ expires [0-9]+sec//; s/^/route\t/'
    ip -$family rule show | sed 's/^/rule\t/'
done
sysctl -a 2>/dev/null | grep -E '^net\.ipv[46]\.(conf|neigh)\.' | sed 's/^/sysctl\t/'
true
"""


def take(guest: Guest) -> list[str]:
    """The host as it is, a line a fact: kind, name, state."""
    moving = "|".join(MOVING)
    script = SHELL.replace("__MOVING__", f"({moving}).*")
    guest.write("/root/snapshot", script)
    return guest.run("bash /root/snapshot 2>/dev/null").splitlines()


def differences(before: list[str], after: list[str]) -> list[str]:
    """What came (+) and what went (-), but for what may stay."""
    came, went = set(after) - set(before), set(before) - set(after)
    lines = [f"+ {line}" for line in sorted(came)] + [f"- {line}" for line in sorted(went)]
    return [line for line in lines if not STAYS.search(line[2:])]


def kinds(lines: list[str]) -> str:
    """How many facts of each kind were compared."""
    names = [line.partition("\t")[0] for line in lines]
    return ", ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names))
