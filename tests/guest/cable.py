# SPDX-License-Identifier: MIT
"""The cable of a guest's uplink, pulled and plugged from within the guest: a NIC loses its carrier by its machine alone.

QEMU's own socket (QMP) can run commands on this machine, so the guest does not get it: it gets a port that knows two
words, and a thread here that says set_link to QEMU.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import tempfile
import threading
from io import BufferedRWPair
from pathlib import Path
from typing import Any

NETDEV = "cable-a"  # of ens3: see the script qemu
PORT = "cable"  # /dev/virtio-ports/cable in the guest


class Cable:
    """The words for QEMU, and the thread; the sockets are in a folder of their own, for their paths must be short."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="cable."))
        self._listening = {name: _listen(self._folder / name) for name in (PORT, "qmp")}
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def words(self) -> list[str]:
        """What makes QEMU connect to the sockets here."""
        words = ["-chardev", f"socket,id=qmp,path={self._folder}/qmp"]
        words += ["-mon", "chardev=qmp,mode=control"]
        words += ["-chardev", f"socket,id={PORT},path={self._folder}/{PORT}"]
        return [*words, "-device", f"virtserialport,chardev={PORT},name={PORT}"]

    def __enter__(self) -> Cable:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for sock in self._listening.values():
            with contextlib.suppress(
                OSError
            ):  # wakes a thread that waits for a QEMU that did not come
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        shutil.rmtree(self._folder)

    def _serve(self) -> None:
        with contextlib.suppress(OSError, ValueError, EOFError):  # QEMU has ended
            qmp, port = _accepted(self._listening["qmp"]), _accepted(self._listening[PORT])
            json.loads(qmp.readline())  # its greeting
            _command(qmp, "qmp_capabilities")
            for line in port:
                port.write(f"{answer(qmp, line.decode().strip())}\n".encode())
                port.flush()


def answer(qmp: BufferedRWPair, word: str) -> str:
    """Do what the guest asks for; "done", or why not."""
    if word not in ("up", "down"):
        return f"no such word: {word}"
    said = _command(qmp, "set_link", name=NETDEV, up=word == "up")
    return "done" if "return" in said else json.dumps(said)


def _command(qmp: BufferedRWPair, name: str, /, **arguments: Any) -> dict[str, Any]:
    """One command of QMP, and its answer; the events before that are skipped."""
    qmp.write(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
    qmp.flush()
    while True:
        line = qmp.readline()
        if not line:
            raise EOFError
        said: dict[str, Any] = json.loads(line)
        if "event" not in said:
            return said


def _listen(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen(1)
    return sock


def _accepted(sock: socket.socket) -> BufferedRWPair:
    return sock.accept()[0].makefile("rwb")
