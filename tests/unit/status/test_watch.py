# SPDX-License-Identifier: MIT
"""status --watch goes on where one look fails."""

from __future__ import annotations

import errno
import select

import pytest

from keepalived_dummy import watch


def test_a_host_that_changes_while_it_is_read_ends_no_watch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(select, "select", lambda *_: ([], [], []))
    monkeypatch.setattr(watch, "_SETTLE", 0.0)
    answers: list[str | OSError] = [
        InterruptedError(errno.EINTR, "what the kernel listed changed under way"),
        "all is well\n",
    ]

    def show() -> str:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    assert watch.run(show, times=2) == 0
    assert capsys.readouterr().out == (
        "what the kernel listed changed under way; this is shown again at the next event\n"
        "all is well\n"
    )
