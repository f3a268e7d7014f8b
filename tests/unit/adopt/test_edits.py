# SPDX-License-Identifier: MIT
"""The diff that adopt and revert show."""

from __future__ import annotations

import difflib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepalived_dummy.edits import diff

PATH = "/etc/keepalived/keepalived.conf"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("    auth_pass s3cret", "    auth_pass ***"),
        (
            "\tauth_pass  \ts3cret # old: auth_pass s3cret",
            "\tauth_pass  \t*** # old: auth_pass ***",
        ),
        ('auth_pass "s3 cret"', "auth_pass ***"),
        ('auth_pass "s3cret', "auth_pass ***"),
        ("authentication { auth_pass s3cret }", "authentication { auth_pass *** }"),
        ("auth_pass s3cret\r", "auth_pass ***\\r"),
    ],
)
def test_a_password_is_not_shown(line: str, shown: str) -> None:
    before = f"{line}\n192.0.2.1\n".encode()
    after = f"{line}\n192.0.2.1/32 dev keepalived0\n".encode()
    made = diff({PATH: before}, {PATH: after})
    assert f"\n {shown}\n" in made
    assert "s3" not in made
    assert "\n-192.0.2.1\n+192.0.2.1/32 dev keepalived0\n" in made


def test_a_line_that_is_changed_has_no_password_either() -> None:
    made = diff({PATH: b"auth_pass s3cret\n"}, {PATH: b"auth_pass s3cret2\n"})
    assert "s3cret" not in made
    assert "\n-auth_pass ***\n+auth_pass ***\n" in made


SECRETS = {
    "by name": "$PASS=s3cret\nauthentication {\n    auth_pass $PASS\n}\n",
    "by name in braces": "$PASS = x\n$PASS=s3cret\nauth_pass ${PASS}\n",
    "quoted": '$PASS="s3 cret"\nauth_pass "$PASS"\n',
    "through another": "$A=s3cret\n$B=$A\nauth_pass $B\n",
    "in two parts": "$A=s3\n$B=cret\nauth_pass ${A}${B}\n",
    "under a condition": "@node1 $PASS=s3cret\n@^node1 $PASS=s3cret2\nauth_pass $PASS\n",
    "of several lines": "$PASS= \\\n  s3cret \\\n  cret3s\nauth_pass $PASS\n",
    "of several lines in CRLF": "$PASS= \\\r\n  s3cret \\\r\n  cret3s\r\nauth_pass $PASS\r\n",
    "a block of several lines": "$AUTH= \\\n  auth_type PASS \\\n  auth_pass s3cret\n$AUTH\n",
    "a list": "~LST(PASS, s3cret)\nauth_pass $PASS\n",
    "a keyword by name": "$K=auth_pass\n$K s3cret\n${K} s3cret\n",
    "of SSL": "SSL {\n    password s3cret\n    key /etc/key.pem\n}\n",
    "a keyword in quotes": '"auth_pass" s3cret\n',
    "with an escaped blank": "auth_pass s3\\ cret\n",
    "in pieces": 'auth_pass s3"cre t"\n',
    "with odd bytes": "auth_pass s3\x1bcret\n",
}


@pytest.mark.parametrize("text", SECRETS.values(), ids=SECRETS)
def test_a_password_by_another_way_is_not_shown(text: str) -> None:
    line = "192.0.2.1\n"
    before, after = f"{text}{line}".encode(), f"{text}{line[:-1]}/32\n".encode()
    for made in (
        diff({PATH: before}, {PATH: after}),
        diff({}, {PATH: after}),
        diff({PATH: after}, {PATH: b""}),
    ):
        for part in ("s3", "cret", "cre t"):
            assert part not in made
        assert "***" in made
        assert "192.0.2.1/32\n" in made


def test_a_definition_that_another_file_uses_is_hidden_too() -> None:
    text = b"$PASS=s3cret\n$OTHER=shown\n192.0.2.1\n"
    other = {"/etc/keepalived/auth.conf": b"auth_pass $PASS\n"}
    made = diff({PATH: text}, {PATH: text + b"192.0.2.2\n"}, other)
    assert " $PASS=***\n $OTHER=shown\n" in made


def test_nothing_in_a_diff_steers_a_terminal() -> None:
    text = b"# \x1b]0;title\x07\x9b31m \xc2\x9b \xe2\x80\xae\t\xff\n"
    made = diff({PATH: text}, {PATH: text + b"x\n"})
    assert " # \\x1b]0;title\\x07\\x9b31m \\x9b \\u202e\t\\xff\n+x\n" in made
    assert all(c.isprintable() or c in "\t\n" for c in diff({"/\x1b": b""}, {"/\x1b": b"x"}))


@given(st.lists(st.sampled_from([b"a\n", b"b\n", b"c\n", b"\n"]), max_size=12), st.data())
def test_a_diff_is_as_difflib_has_it(old: list[bytes], data: st.DataObject) -> None:
    new = data.draw(st.lists(st.sampled_from([b"a\n", b"b\n", b"d\n"]), max_size=12))
    before, after = ([line.decode() for line in one] for one in (old, new))
    wanted = "".join(difflib.unified_diff(before, after, f"a{PATH}", f"b{PATH}"))
    assert diff({PATH: b"".join(old)}, {PATH: b"".join(new)}) == wanted
