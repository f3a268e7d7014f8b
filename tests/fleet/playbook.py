# SPDX-License-Identifier: MIT
"""Runs the example's playbooks with the real ansible-playbook, and takes down what each task cost."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from lab import CLIENT4, REPOSITORY, TOP, VIP4, VIP6, Lab, inside, say

ANSIBLE = TOP / "build/examples-venv/bin/ansible-playbook"
EXAMPLE = TOP / "examples/ansible"
PLAY = re.compile(r"^PLAY (?:\[(.*?)\]|RECAP) \*")
TASK = re.compile(r"^TASK \[(?:keepalived_dummy : )?(.*?)\] \*")
HOST = re.compile(r"^(?:ok|changed|fatal|failed|included): .*?(node\d)")
RECAP = re.compile(r"^(\S+) +: ok=(\d+) +changed=(\d+) +unreachable=(\d+) +failed=(\d+)")


@dataclass
class Ran:
    """One run: exit status, each line of output with the time it came, seconds, and the controller's CPU seconds."""

    name: str
    lines: list[tuple[float, str]] = field(default_factory=list)
    status: int = 0
    seconds: float = 0.0
    cpu: float = 0.0

    @property
    def output(self) -> str:
        return "".join(line for _, line in self.lines)

    def recap(self, column: int) -> dict[str, int]:
        """The recap by host: 2 ok, 3 changed, 4 unreachable, 5 failed."""
        found = (RECAP.match(line) for _, line in self.lines)
        return {one[1]: int(one[column]) for one in found if one}

    def pieces(self, title: re.Pattern[str]) -> list[tuple[str, list[str], float]]:
        """Each play or task in turn: its title, the nodes that were in it, seconds until the next one or the recap."""
        found: list[tuple[str, list[str], float]] = []
        began = 0.0
        for when, line in self.lines:
            play, new = PLAY.match(line), title.match(line)
            if (play or new) and found and not found[-1][2]:
                found[-1] = (*found[-1][:2], when - began)
            if new and new[1]:
                found.append((new[1], [], 0.0))
                began = when
            elif found and (host := HOST.match(line)) and host[1] not in found[-1][1]:
                found[-1][1].append(host[1])
        return found

    def turns(self) -> list[tuple[str, float]]:
        """The nodes in the order of their turns, and the seconds each took."""
        plays = self.pieces(PLAY)[1:]
        return [(hosts[0], seconds) for _, hosts, seconds in plays if hosts]

    def figures(self) -> dict[str, object]:
        """For the results."""
        return {
            "status": self.status,
            "seconds": round(self.seconds, 1),
            "controller_cpu_seconds": round(self.cpu, 1),
            "changed": self.recap(3),
            "failed": self.recap(5),
            "turns": [[node, round(seconds, 1)] for node, seconds in self.turns()],
            "tasks": [
                [name, hosts, round(seconds, 1)] for name, hosts, seconds in self.pieces(TASK)
            ],
        }


def inventory(lab: Lab) -> Path:
    """The example's inventory, for this lab."""
    ssh = f"-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ControlPath={lab.folder}/ssh-%h"
    sources = f"Types: deb\nURIs: {REPOSITORY}\nSuites: ./\nTrusted: yes\n"
    hosts = {f"node{node}": {"ansible_host": f"198.51.100.1{node}"} for node in lab.nodes}
    variables = {
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(lab.key),
        "ansible_ssh_common_args": ssh,
        "ansible_python_interpreter": "/usr/bin/python3",
        "keepalived_dummy_cluster": "web",
        "keepalived_dummy_vips": [VIP4, VIP6],
        "keepalived_dummy_client": "client",
        "keepalived_dummy_sources": sources,
    }
    client = {
        "ansible_connection": "local",
        "ansible_host": CLIENT4,
        "ansible_python_interpreter": "/usr/bin/python3",
    }
    made = {
        "keepalived": {"children": {"web": {"hosts": hosts, "vars": variables}}},
        "clients": {"hosts": {"client": client}},
    }
    path = lab.folder / "inventory.json"
    path.write_text(json.dumps(made, indent=1))
    return path


def play(lab: Lab, name: str, *words: str) -> Ran:
    """Run a playbook of the example in the LAN's namespace; its output is in the lab's folder too."""
    environment = dict(
        os.environ,
        ANSIBLE_CONFIG=str(EXAMPLE / "ansible.cfg"),
        ANSIBLE_HOME=str(lab.folder / "ansible"),
        ANSIBLE_NOCOLOR="1",
        PYTHONUNBUFFERED="1",
        LC_ALL="C.UTF-8",
    )
    ran = Ran(name)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    with (
        (lab.folder / f"{name}.log").open("w") as log,
        subprocess.Popen(
            inside(ANSIBLE, "-i", inventory(lab), *words),
            cwd=EXAMPLE,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as started,
    ):
        assert started.stdout
        for line in started.stdout:
            log.write(line)
            log.flush()
            ran.lines.append((time.monotonic(), line))
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    ran.status = started.returncode
    ran.seconds = time.monotonic() - start
    ran.cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    say(f"{name}: status {ran.status}, {ran.seconds:.0f} s, changed {ran.recap(3)}")
    return ran
