# SPDX-License-Identifier: MIT
"""bpf(2): which programs are at an interface's hooks."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import subprocess
import sys

import pytest

from keepalived_dummy import bpf


class Programs:
    """A kernel with programs at hooks: interface and hook to their numbers and names."""

    def __init__(self, at: dict[tuple[int, int], dict[int, str]]) -> None:
        self.at = at

    def __call__(self, command: int, attributes: bytes) -> tuple[int, bytes]:
        if command == 16:
            index, hook, _, _, ids, most, _ = struct.unpack("=IIIIQII", attributes)
            here = list(self.at.get((index, hook), {}))
            assert len(here) <= most
            ctypes.memmove(ids, struct.pack(f"={len(here)}I", *here), 4 * len(here))
            return 0, attributes[:24] + struct.pack("=II", len(here), 0)
        if command == 13:
            (number,) = struct.unpack("=I", attributes)
            names = {number: name for here in self.at.values() for number, name in here.items()}
            self.name = names[number]
            if not self.name:
                raise PermissionError(errno.EPERM, "no")
            return os.open("/dev/null", os.O_RDONLY), b""
        _, length, into = struct.unpack("=IIQ", attributes)
        assert length == 80
        ctypes.memmove(into + 64, self.name.encode(), len(self.name))
        return 0, b""


def test_the_programs_of_a_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    at = {(2, bpf.TCX_INGRESS): {7: "cil_from_netdev", 9: ""}, (2, bpf.TCX_EGRESS): {8: "x"}}
    monkeypatch.setattr(bpf, "_bpf", Programs(at))
    found = bpf.programs(2, bpf.TCX_INGRESS)
    assert found == (bpf.Program(7, "cil_from_netdev"), bpf.Program(9, None))
    assert bpf.programs(3, bpf.TCX_INGRESS) == ()


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS, errno.ENODEV])
def test_a_kernel_without_tcx_has_no_programs(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(command: int, attributes: bytes) -> tuple[int, bytes]:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(bpf, "_bpf", refuse)
    assert bpf.programs(2, bpf.TCX_INGRESS) == ()


def test_a_machine_on_which_it_is_not_known_how_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    uname = os.uname_result(("Linux", "host", "6.12", "#1", "vax"))
    monkeypatch.setattr(os, "uname", lambda: uname)
    with pytest.raises(OSError, match="this machine"):
        bpf.programs(1, bpf.TCX_INGRESS)


def test_who_may_not_ask_is_told_so() -> None:
    """The real call, in a process without the capability; a kernel without the call has no programs."""
    code = "import os, sys\nfrom keepalived_dummy import bpf\n"
    code += "os.geteuid() or os.setresuid(65534, 65534, 65534)\n"
    code += "try:\n  print(bpf.programs(1, 46))\nexcept OSError as e:\n  print(type(e).__name__)"
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("PermissionError", "()"), done.stdout
