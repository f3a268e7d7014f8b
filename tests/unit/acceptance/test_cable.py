# SPDX-License-Identifier: MIT
"""The guest's cable: what it may ask of QEMU, and what QEMU is told."""

from __future__ import annotations

import importlib
import json
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

TOP = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(TOP / "tests" / "guest"))
cable: Any = importlib.import_module("cable")


class Qemu:
    """The other end of both sockets: QMP as QEMU speaks it, and the guest's port."""

    def __init__(self, words: list[str]) -> None:
        paths = [word.partition("path=")[2] for word in words if "path=" in word]
        self.qmp, self.port = (socket.socket(socket.AF_UNIX) for _ in paths)
        for sock, path in zip((self.qmp, self.port), paths, strict=True):
            sock.settimeout(10)
            sock.connect(path)
        self.told: list[dict[str, Any]] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        stream = self.qmp.makefile("rwb")
        stream.write(b'{"QMP": {"version": {}, "capabilities": []}}\n')
        stream.flush()
        for line in stream:
            self.told.append(json.loads(line))
            stream.write(b'{"event": "NIC_RX_FILTER_CHANGED"}\n')
            stream.write(b'{"return": {}}\n')
            stream.flush()

    def ask(self, word: str) -> str:
        self.port.sendall(f"{word}\n".encode())
        return self.port.recv(200).decode().strip()


def test_pulled_and_plugged() -> None:
    with cable.Cable() as one:
        qemu = Qemu(one.words())
        assert [qemu.ask(word) for word in ("down", "up")] == ["done", "done"]
    assert [(told["execute"], told["arguments"]) for told in qemu.told] == [
        ("qmp_capabilities", {}),
        ("set_link", {"name": "cable-a", "up": False}),
        ("set_link", {"name": "cable-a", "up": True}),
    ]


@pytest.mark.parametrize("word", ["", "quit", '{"execute": "quit"}', "migrate exec:reboot"])
def test_nothing_else_reaches_qemu(word: str) -> None:
    with cable.Cable() as one:
        qemu = Qemu(one.words())
        assert qemu.ask(word).startswith("no such word")
    assert [told["execute"] for told in qemu.told] == ["qmp_capabilities"]


def test_a_guest_that_never_came() -> None:
    """Its end does not wait for the guest, and leaves nothing."""
    with cable.Cable() as one:
        folder = Path(one.words()[1].partition("path=")[2]).parent
        assert folder.exists()
    assert not folder.exists()


def test_the_cable_is_of_the_uplink() -> None:
    """It is the netdev of the NIC that udev names ens3, by its MAC."""
    script = (TOP / "tests" / "guest" / "qemu").read_text()
    assert f"netdev={cable.NETDEV},mac=52:54:00:4b:44:0a" in script
    link = TOP / "tests/guest/rootfs/etc/systemd/network/10-cable-a.link"
    assert "52:54:00:4b:44:0a" in link.read_text()
