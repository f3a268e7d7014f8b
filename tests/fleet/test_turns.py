# SPDX-License-Identifier: MIT
"""The example's playbooks over several clusters: who has its turn when, and what ends the run.

The real ansible-playbook; the nodes are folders here, and `ip`, `ping` and `keepalived-dummy` are doubles that
note who called them. tests/fleet/run tries the same on real nodes.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
EXAMPLE = TOP / "examples/ansible"
ANSIBLE = TOP / "build/examples-venv/bin/ansible-playbook"
# Who holds the VIP of its cluster stands first.
CLUSTERS = {"web": ["web1", "web2", "web3"], "db": ["db1", "db2"], "lb": ["lb1"]}
NODES = [node for nodes in CLUSTERS.values() for node in nodes]
VIP = "192.0.2.10"

DOUBLES = {
    # What the node holds; after the survey what is in `later`, where that is.
    "ip": f"""
        [ ! -e holds ] || echo '[{{"ifname":"lo"}},{{"addr_info":[{{"local":"{VIP}"}}]}}]'
        [ -e holds ] || echo '[{{"addr_info":[{{"local":"192.0.2.1"}}]}}]'
        [ ! -e later ] || mv later holds""",
    "ping": """
        say "ping"
        [ -e "$LAB/unreachable" ] && echo '100% packet loss' || echo '5 received, 0% packet loss'""",
    "keepalived-dummy": """
        say "$*"
        case "$1 $2" in
            "adopt --dry-run") [ -e adopted ] && echo 'nothing to do' || exit 3 ;;
            "adopt --yes") [ -e adopted ] && echo 'nothing to do' || touch adopted ;;
            "revert --yes") [ -e adopted ] && rm adopted || echo 'nothing to do' ;;
            "check ") exit "$(cat check 2> /dev/null || echo 0)" ;;
        esac""",
}


@dataclass
class Fleet:
    """The nodes' folders, and what they were told."""

    folder: Path

    def node(self, name: str) -> Path:
        return self.folder / name

    def said(self, verb: str) -> list[str]:
        """The nodes that were told this, in order."""
        log = self.folder / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [node for node, _, words in (line.partition(" ") for line in lines) if words == verb]

    def adopted(self) -> set[str]:
        return {name for name in NODES if (self.node(name) / "adopted").exists()}

    def play(self, *words: str) -> subprocess.CompletedProcess[str]:
        environment = dict(
            os.environ,
            ANSIBLE_CONFIG=str(EXAMPLE / "ansible.cfg"),
            ANSIBLE_HOME=str(self.folder / "ansible"),
            LC_ALL="C.UTF-8",
        )
        (self.folder / "log").unlink(missing_ok=True)
        return subprocess.run(
            [ANSIBLE, "-i", self.folder / "inventory.json", *words],
            cwd=EXAMPLE,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    """Three clusters with nothing adopted."""
    doubles = tmp_path / "bin"
    doubles.mkdir()
    head = f'#!/bin/sh\nLAB={tmp_path}\ncd "$LAB/$NODE" || exit 1\nsay() {{ echo "$NODE $1" >> "$LAB/log"; }}'
    for name, body in DOUBLES.items():
        (doubles / name).write_text(f"{head}{body}\n")
        (doubles / name).chmod(0o755)
    for name in [*NODES, "client"]:
        (tmp_path / name).mkdir()
        # The module's interpreter is what tells the doubles on which node they are.
        python = tmp_path / name / "python"
        python.write_text(
            f'#!/bin/sh\nNODE={name} PATH={doubles}:$PATH exec /usr/bin/python3 "$@"\n'
        )
        python.chmod(0o755)
    for nodes in CLUSTERS.values():
        (tmp_path / nodes[0] / "holds").touch()
    (tmp_path / "inventory.json").write_text(json.dumps(inventory(tmp_path)))
    return Fleet(tmp_path)


def inventory(folder: Path) -> dict[str, object]:
    """All nodes are this host."""

    def one(name: str) -> dict[str, str]:
        return {"ansible_python_interpreter": str(folder / name / "python")}

    children = {
        cluster: {
            "hosts": {name: one(name) for name in nodes},
            "vars": {"keepalived_dummy_cluster": cluster, "keepalived_dummy_vips": [VIP]},
        }
        for cluster, nodes in CLUSTERS.items()
    }
    variables = {
        "ansible_connection": "local",
        "ansible_become": False,
        "keepalived_dummy_client": "client",
        "keepalived_dummy_check_tries": 1,
    }
    everything = {
        "keepalived": {"children": children},
        "clients": {"hosts": {"client": one("client")}},
    }
    return {"all": {"vars": variables, "children": everything}}


ADOPT = ("adopt.yml", "--skip-tags", "install")
TOGETHER = ("-e", '{"keepalived_dummy_serial": ["100%"]}')


def test_one_after_the_other_and_who_holds_a_vip_last(fleet: Fleet) -> None:
    ran = fleet.play(*ADOPT)
    assert ran.returncode == 0, ran.stdout
    assert fleet.said("adopt --yes") == ["db2", "lb1", "web2", "db1", "web3", "web1"]
    assert fleet.said("check") == fleet.said("adopt --yes")
    # The client asked before and after each node.
    assert fleet.said("ping") == ["client"] * 2 * len(NODES)
    again = fleet.play(*ADOPT)
    assert again.returncode == 0, again.stdout
    assert "changed=1" not in again.stdout
    back = fleet.play("revert.yml")
    assert back.returncode == 0, back.stdout
    assert fleet.said("revert --yes") == ["db2", "lb1", "web2", "db1", "web3", "web1"]
    assert fleet.adopted() == set()


def test_clusters_together_but_never_two_nodes_of_one(fleet: Fleet) -> None:
    ran = fleet.play(*ADOPT, *TOGETHER)
    assert ran.returncode == 0, ran.stdout
    told = fleet.said("adopt --yes")
    assert [set(told[:3]), set(told[3:5]), told[5:]] == [
        {"web2", "db2", "lb1"},
        {"web3", "db1"},
        ["web1"],
    ]


def test_a_cluster_without_vips_is_refused(fleet: Fleet) -> None:
    ran = fleet.play(*ADOPT, "-e", '{"keepalived_dummy_vips": []}')
    assert ran.returncode != 0
    assert "is empty: name its VIPs" in ran.stdout
    assert fleet.said("adopt --yes") == []


def test_a_bad_check_puts_the_node_back_and_ends_the_run(fleet: Fleet) -> None:
    (fleet.node("web3") / "check").write_text("1")
    ran = fleet.play(*ADOPT)
    assert ran.returncode != 0
    assert fleet.said("adopt --yes") == ["db2", "lb1", "web2", "db1", "web3"]
    assert fleet.said("revert --yes") == ["web3"]
    assert fleet.adopted() == {"db2", "lb1", "web2", "db1"}
    (fleet.node("web3") / "check").write_text("0")
    assert fleet.play(*ADOPT).returncode == 0
    assert fleet.adopted() == set(NODES)


def test_a_bad_check_among_several_leaves_the_others_whole(fleet: Fleet) -> None:
    (fleet.node("db2") / "check").write_text("2")
    ran = fleet.play(*ADOPT, *TOGETHER)
    assert ran.returncode != 0
    assert fleet.said("revert --yes") == ["db2"]
    assert fleet.adopted() == {"web2", "lb1"}


def test_a_vip_that_cannot_be_reached_ends_the_run_before_it_begins(fleet: Fleet) -> None:
    (fleet.folder / "unreachable").touch()
    ran = fleet.play(*ADOPT)
    assert ran.returncode != 0
    assert fleet.said("adopt --yes") == []


def test_a_failover_since_the_survey_ends_the_run(fleet: Fleet) -> None:
    (fleet.node("db2") / "later").touch()  # the first to have its turn
    ran = fleet.play(*ADOPT)
    assert ran.returncode != 0
    assert "look why, and run again" in ran.stdout
    assert fleet.said("adopt --yes") == []


def test_half_a_cluster_is_refused(fleet: Fleet) -> None:
    ran = fleet.play(*ADOPT, "--limit", "web1,web2,client")
    assert ran.returncode != 0
    assert "all of them in this run" in ran.stdout
    assert fleet.said("adopt --yes") == []


def test_check_mode_shows_and_changes_nothing(fleet: Fleet) -> None:
    ran = fleet.play(*ADOPT, "--check", *TOGETHER)
    assert ran.returncode == 0, ran.stdout
    assert set(fleet.said("adopt --dry-run")) == set(NODES)
    assert fleet.adopted() == set()


def test_another_configuration_is_named_to_adopt_and_to_both_ways_back(fleet: Fleet) -> None:
    other = ("-e", "keepalived_dummy_config=/etc/ka/vips.conf")
    (fleet.node("web3") / "check").write_text("1")
    assert fleet.play(*ADOPT, *other).returncode != 0
    told = fleet.said("adopt --yes --config /etc/ka/vips.conf")
    assert told == ["db2", "lb1", "web2", "db1", "web3"]
    assert fleet.said("revert --yes --config /etc/ka/vips.conf") == ["web3"]
    assert fleet.play("revert.yml", *other).returncode == 0
    assert set(fleet.said("revert --yes --config /etc/ka/vips.conf")) == set(NODES)
