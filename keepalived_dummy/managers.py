# SPDX-License-Identifier: MIT
"""Who is a network manager: its deletion of a route is a step of a reconfiguration, an admin's is meant to stay.

A notification names the netlink port of who asked, which for a program's first socket is its process number
(netlink(7)). networkd mostly has its socket from systemd (systemd-networkd.socket), and so port 1; else the service's
cgroup names the process.
"""

_NETWORKD = "systemd-networkd"
_SERVICES = (_NETWORKD, "NetworkManager")
_HIERARCHIES = ("/sys/fs/cgroup", "/sys/fs/cgroup/systemd")


def is_manager(port: int) -> bool:
    """Whether a netlink port is that of networkd or NetworkManager.

    Port 1 is also that of whatever is process 1 in a container with the host's network, so it counts only where
    networkd runs.
    """
    if port == 1:
        return bool(_processes(_NETWORKD))
    return any(str(port) in _processes(service) for service in _SERVICES)


def _processes(service: str) -> list[str]:
    """The process numbers of a service."""
    found: list[str] = []
    for hierarchy in _HIERARCHIES:
        try:
            with open(f"{hierarchy}/system.slice/{service}.service/cgroup.procs") as file:
                found += file.read().split()
        except OSError:
            pass
    return found
