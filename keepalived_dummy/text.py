# SPDX-License-Identifier: MIT
"""Text from elsewhere made safe to show on a terminal. Pure."""

from __future__ import annotations


def plain(text: str) -> str:
    """Return a line with its control characters, and all else that is not printable, written as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
