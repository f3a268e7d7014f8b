# SPDX-License-Identifier: MIT
"""The drop-in of networkd.conf where a tree of files is not enough; see tests/generate for the rest."""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from keepalived_dummy import files, foreign, mounts
from keepalived_dummy.config import Config, Dummy
from keepalived_dummy.errors import Problem
from keepalived_dummy.keepalived import Memory, read_from

ROUTES = "static_routes {\n    203.0.113.0/24 via 192.0.2.1\n}\n"
RULES = "vrrp_instance V {\n    virtual_rules {\n        from 192.0.2.10 lookup 100\n    }\n}\n"


def conf(root: Path, text: str) -> None:
    path = root / foreign.CONFIG
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("text", "settings", "reasons"),
    [
        ("", [], []),
        ("# static_routes {\n", [], []),
        ("virtual_routes\n", [], []),
        ("static_routes {\n}\n", [], []),
        (ROUTES, ["ManageForeignRoutes"], [1]),
        (RULES, ["ManageForeignRoutingPolicyRules"], [2]),
        (ROUTES + RULES, ["ManageForeignRoutes", "ManageForeignRoutingPolicyRules"], [1, 5]),
        ("@^there " + ROUTES, ["ManageForeignRoutes"], [1]),
    ],
)
def test_what_asks_for_it(
    tmp_path: Path, text: str, settings: list[str], reasons: list[int]
) -> None:
    conf(tmp_path, text)
    found = foreign.wanted(tmp_path, Config())
    if not settings:
        assert found is None
        return
    assert found is not None
    assert found.content.decode().split("[Network]\n")[1] == "".join(f"{s}=no\n" for s in settings)
    assert [int(reason.rsplit(":", 1)[1]) for reason in found.reasons] == reasons
    assert "from its next start" in foreign.announced(found)


def test_reader_is_not_imported_where_there_is_nothing_to_find(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs at every boot."""
    monkeypatch.delitem(sys.modules, "keepalived_dummy.keepalived", raising=False)
    assert foreign.wanted(tmp_path, Config()) is None
    conf(tmp_path, "vrrp_instance V {\n    interface ens3\n}\n")
    assert foreign.wanted(tmp_path, Config()) is None
    assert "keepalived_dummy.keepalived" not in sys.modules


@pytest.mark.parametrize(
    ("names", "release"),
    [
        ([], None),
        (["systemd/libsystemd-shared-247.so"], 247),
        (["x86_64-linux-gnu/systemd/libsystemd-shared-252.so"], 252),
        (["x86_64-linux-gnu/systemd/libsystemd-shared-262.1-1.so"], 262),
        (["systemd/libsystemd-shared-99.so", "a/systemd/libsystemd-shared-255.so"], 255),
    ],
)
def test_release(tmp_path: Path, names: list[str], release: int | None) -> None:
    for name in names:
        path = tmp_path / "usr/lib" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert foreign.release(tmp_path) == release


def test_any_conf_refuses(tmp_path: Path) -> None:
    conf(tmp_path, ROUTES)
    foreign.generate(tmp_path, Config())
    no = Dummy("lan", "/lan.conf", "lan0", foreign_routes=False)
    yes = Dummy("keepalived", "/keepalived.conf", "keepalived0")
    result = foreign.generate(tmp_path, Config((yes, no)))
    assert result.changed == [f"/{foreign.PATH}: removed"]
    assert not (tmp_path / foreign.PATH).parent.exists()


def test_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conf(tmp_path, ROUTES)

    def write(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(files, "write", write)
    result = foreign.generate(tmp_path, Config())
    assert result.problems == [Problem(f"/{foreign.PATH}", 0, "No space left on device")]


def test_unreadable_keepalived_conf_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf(tmp_path, ROUTES)
    foreign.generate(tmp_path, Config())
    before = (tmp_path / foreign.PATH).read_bytes()
    (tmp_path / foreign.CONFIG).unlink()
    (tmp_path / foreign.CONFIG).mkdir()
    result = foreign.generate(tmp_path, Config())
    assert result.problems == [Problem(f"/{foreign.CONFIG}", 0, "Is a directory")]
    assert (tmp_path / foreign.PATH).read_bytes() == before


def test_a_pipe_holds_nothing_up(tmp_path: Path) -> None:
    conf(tmp_path, "")
    (tmp_path / foreign.CONFIG).unlink()
    os.mkfifo(tmp_path / foreign.CONFIG)
    found: list[foreign.DropIn | None] = []

    def look() -> None:
        look = threading.Thread(
            target=lambda: found.append(foreign.wanted(tmp_path, Config())), daemon=True
        )
        look.start()
        look.join(10)

    look()
    assert found == [None]
    writer = os.open(tmp_path / foreign.CONFIG, os.O_RDWR)  # and says nothing
    look()
    os.close(writer)
    assert found == [None, None]


def test_remove_takes_ours_alone(tmp_path: Path) -> None:
    assert foreign.remove(tmp_path) == foreign.Result()
    path = tmp_path / foreign.PATH
    path.parent.mkdir(parents=True)
    path.write_text("[Network]\n")
    assert foreign.remove(tmp_path) == foreign.Result()
    path.write_bytes(foreign.render(["ManageForeignRoutes"]))
    assert foreign.remove(tmp_path).changed == [f"/{foreign.PATH}: removed"]


def test_routes_that_are_still_to_be_written_ask_for_it(tmp_path: Path) -> None:
    conf(tmp_path, "")
    later = read_from(Memory({f"/{foreign.CONFIG}": ROUTES.encode()}), f"/{foreign.CONFIG}")
    found = foreign.wanted(tmp_path, Config(), later)
    assert found is not None
    assert found.content.endswith(b"[Network]\nManageForeignRoutes=no\n")
    (refuses,) = (Dummy("k", "/etc/keepalived-dummy.d/k.conf", "k0", foreign_routes=False),)
    assert foreign.wanted(tmp_path, Config((refuses,)), later) is None


@pytest.fixture
def automount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that nobody may look into; a look would wait for a network that is not up yet."""
    point = tmp_path / "net"
    point.mkdir()
    (point / "more.conf").write_text(ROUTES)
    (point / "keepalived.conf").write_text(ROUTES)
    monkeypatch.setattr(mounts, "automounts", lambda: frozenset({str(point)}))
    look = {name: getattr(os, name) for name in ("open", "listdir", "lstat", "stat")}

    def guarded(name: str) -> Callable[..., object]:
        def call(path: object, *rest: object, **more: object) -> object:
            if isinstance(path, str | Path) and f"{path}/".startswith(f"{point}/"):
                pytest.fail(f"{name} of {path}")
            return look[name](path, *rest, **more)

        return call

    for name in look:
        monkeypatch.setattr(os, name, guarded(name))
    return point


@pytest.mark.parametrize(
    "text",
    [
        "include /net/more.conf\n",
        "include /net/*.conf\n",
        "include /*/more.conf\n",
        "include /link/more.conf\n",
    ],
)
def test_the_boot_waits_for_no_automount(text: str, tmp_path: Path, automount: Path) -> None:
    (tmp_path / "link").symlink_to("/net")
    conf(tmp_path, text)
    result = foreign.generate(tmp_path, Config(), at_boot=True)
    assert (result.changed, result.problems) == ([], [])
    (note,) = result.notes
    assert note.startswith("/net: not mounted yet")
    conf(tmp_path, text + RULES)
    assert foreign.generate(tmp_path, Config(), at_boot=True).changed == [
        f"/{foreign.PATH}: written"
    ]


def test_a_keepalived_conf_on_an_automount_is_not_waited_for_either(
    tmp_path: Path, automount: Path
) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/keepalived").symlink_to("/net")
    result = foreign.generate(tmp_path, Config(), at_boot=True)
    assert (result.changed, result.problems) == ([], [])
    assert result.notes


def test_what_is_not_read_takes_no_drop_in_away(tmp_path: Path, automount: Path) -> None:
    """As of a generate after the boot, once the automount was left idle."""
    conf(tmp_path, RULES)
    foreign.generate(tmp_path, Config())
    conf(tmp_path, "include /net/more.conf\n")
    assert foreign.generate(tmp_path, Config(), at_boot=True).changed == []
    assert (tmp_path / foreign.PATH).exists()


def test_without_an_automount_the_reader_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounts, "automounts", lambda: frozenset({"/elsewhere"}))
    monkeypatch.delitem(sys.modules, "keepalived_dummy.keepalived.disk", raising=False)
    conf(tmp_path, "# nothing\n")
    foreign.generate(tmp_path, Config(), at_boot=True)
    assert "keepalived_dummy.keepalived.disk" not in sys.modules
