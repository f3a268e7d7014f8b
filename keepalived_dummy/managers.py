# SPDX-License-Identifier: MIT
"""Who is a network manager: its deletion of a route is a step of a reconfiguration, an admin's is meant to stay.

A notification names the netlink port of who asked, which for a program's first socket is its process number
(netlink(7)). networkd mostly has its socket from systemd (systemd-networkd.socket), and so port 1; else the service's
cgroup names the process.
"""

_SERVICES = ("systemd-networkd", "NetworkManager")
_HIERARCHIES = ("/sys/fs/cgroup", "/sys/fs/cgroup/systemd")


def is_manager(port: int) -> bool:
    """Whether a netlink port is that of networkd or NetworkManager."""
    if port == 1:
        return True
    name = str(port)
    for hierarchy in _HIERARCHIES:
        for service in _SERVICES:
            try:
                with open(f"{hierarchy}/system.slice/{service}.service/cgroup.procs") as file:
                    if name in file.read().split():
                        return True
            except OSError:
                pass
    return False
