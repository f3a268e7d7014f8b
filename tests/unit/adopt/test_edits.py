# SPDX-License-Identifier: MIT
"""The diff that adopt and revert show."""

from __future__ import annotations

import pytest

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
        ("auth_pass s3cret\r", "auth_pass ***"),
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
