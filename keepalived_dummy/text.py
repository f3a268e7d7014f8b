# SPDX-License-Identifier: MIT
"""Text from elsewhere made safe to show: no control character for a terminal, no password. Pure."""

from __future__ import annotations

import re

# The word after these is a password: of VRRP, and of the key of an SSL block (keepalived.conf(5)).
KEYWORDS = ("auth_pass", "password")
HIDDEN = "***"
VALUE = r"""(?:"(?:\\.|[^"\\\n])*"?|\\.|\$\{[^}\n]*\}|[^\s"\\{}])+"""
_SECRET = re.compile(rf"""((?<![\w$])"?(?:{"|".join(KEYWORDS)})"?[^\S\n]+)({VALUE})""")


def plain(text: str) -> str:
    """Return a line with its control characters, and all else that is not printable, written as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def masked(text: str) -> str:
    """Return text without the passwords that stand after one of KEYWORDS."""
    return _SECRET.sub(rf"\1{HIDDEN}", text)


def shown(text: str) -> str:
    """Return text of several lines as a terminal can show it; tabs stay."""
    return "\n".join(masked("\t".join(map(plain, line.split("\t")))) for line in text.split("\n"))
