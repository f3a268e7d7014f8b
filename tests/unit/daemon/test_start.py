# SPDX-License-Identifier: MIT
"""The daemon's start with the plan of an earlier run."""

import json
from pathlib import Path

import pytest

from keepalived_dummy import apply, files, links, tc
from keepalived_dummy.daemon import Daemon

GONE = {
    "name": "kdgone0",
    "alias": "keepalived-dummy:gone",
    "mtu": None,
    "mac": None,
    "wire": True,
    "way_out": True,
    "uplinks": ["lo"],
}


def test_no_dummy_is_made_from_an_old_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its conf may have gone while nobody looked: the pass knows. What is there is looked after at once."""
    sent: list[bytes] = []
    monkeypatch.setattr(Daemon, "_send", lambda _, data: sent.append(data))
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    (tmp_path / "plan.json").write_text(json.dumps({"dummies": [GONE]}))
    daemon = Daemon(["false"])
    daemon._start()
    assert not any(sent)
    assert daemon._passes.wanted
    assert {way.uplink for way in daemon._host.ways.values()} == {"lo"}


def test_a_package_that_goes_leaves_no_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Installed again, it would start from that."""
    monkeypatch.setattr(apply, "ROOT", tmp_path)
    monkeypatch.setattr(links, "read", lambda: links.Host({}, ()))
    monkeypatch.setattr(tc, "sync", lambda *_: tc.Result())
    kept = [tmp_path / files.RUNTIME / name for name in ("plan.json", "memory.json")]
    apply.remove()
    for path in kept:
        path.write_text("{}")
    apply.remove()
    assert not any(path.exists() for path in kept)
