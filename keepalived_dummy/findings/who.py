# SPDX-License-Identifier: MIT
"""Which keepalived runs, in words, and how it is asked or reloaded: it may not be keepalived.service."""

from __future__ import annotations

from keepalived_dummy.observed import Keepalived


def another(keepalived: Keepalived) -> str:
    """That another keepalived runs, or may."""
    if not keepalived.others:
        return "this user does not see whether another keepalived runs"
    one, *more = keepalived.others
    unit = f" of {one.unit}" if one.unit else ""
    beside = f" and {len(more)} more" if more else ""
    return f"another keepalived runs (process {one.pid}{unit}, with {one.config}{beside})"


def ask_another(keepalived: Keepalived) -> str:
    """How to find out what another keepalived holds."""
    if not keepalived.others:
        return "run this as root"
    files = dict.fromkeys(one.config for one in keepalived.others if one.inside)
    files.pop(keepalived.config, None)
    if not files:
        pids = " ".join(str(one.pid) for one in keepalived.others)
        return f"see the log and the configuration of that keepalived: ps -fp {pids}"
    return "; ".join(f"keepalived-dummy check --config {file}" for file in files)


def reloading(keepalived: Keepalived) -> str:
    """How it is made to read its file again."""
    if keepalived.unit == "keepalived.service":
        return "systemctl reload keepalived"
    return f"kill -HUP {keepalived.pid}"
