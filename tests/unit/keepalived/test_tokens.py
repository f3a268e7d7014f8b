# SPDX-License-Identifier: MIT
"""Tokens: joined they are the file; each kind is found where it is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keepalived_dummy.keepalived import Kind, tokenize
from keepalived_dummy.keepalived.tokens import LONGEST

# Bytes that mean something to the grammar, often enough to meet each other.
PIECES = st.sampled_from(
    [
        b"\n", b"\r\n", b"\r", b" ", b"\t", b"\f", b"{", b"}", b'"', b"'", b"\\", b"#", b"!", b"$", b"@",
        b"@^", b"~SEQ(N, 1, 2)", b"~LST({A, B}, {1, 2}, 3)", b"~", b"$N=", b"$N", b"${N}", b"${",
        b"include ", b"include *.conf", b"includer x", b"vrrp_instance", b"VI_1", b"interface", b"ens3",
        b"virtual_ipaddress", b"192.0.2.10/32", b"dev keepalived0", b"2001:db8::1", b"\0", b"\xe9",
        b"\xc3\xbc", b"x" * 1000, b"=", b"(", b")", b",", b"*",
    ]
)  # fmt: skip
CONFIGURATIONS = st.one_of(st.binary(max_size=300), st.lists(PIECES, max_size=60).map(b"".join))


@settings(deadline=None)  # the machine may be busy
@given(CONFIGURATIONS)
def test_tokens_joined_are_the_file(data: bytes) -> None:
    tokens = list(tokenize(data, "f"))
    assert b"".join(token.raw for token in tokens) == data
    assert all(token.raw for token in tokens)


@settings(deadline=None)  # the machine may be busy
@given(CONFIGURATIONS)
def test_each_token_is_at_its_line_and_column(data: bytes) -> None:
    lines = data.split(b"\n")
    for _, raw, path, line, column in tokenize(data, "f"):
        assert path == "f"
        assert (lines[line - 1] + b"\n")[column - 1 :].startswith(raw)


def kinds(data: bytes) -> list[tuple[str, bytes]]:
    return [(t.kind.value, t.raw) for t in tokenize(data) if t.kind is not Kind.BLANK]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a # b", "word:a comment:# b"),
        (b"a\\#b!c", "word:a\\#b comment:!c"),
        (b'a "b # c" # d', 'word:a quoted:"b # c" comment:# d'),
        (b'a "b \\" # c" d', 'word:a quoted:"b \\" word:# word:c unclosed:" d'),
        (b"a {b}", "word:a open:{ word:b close:}"),
        (b"a{", "word:a open:{"),
        (b"a '{'", "word:a word:' open:{ word:'"),
        (b"$A=b { c # d", "definition:$A= value:b { c comment:# d"),
        (b"$A = b", "variable:$A word:= word:b"),
        (b"a ${B}.c $D,e", "word:a variable:${B} word:.c variable:$D word:,e"),
        (b"a ${_ENV HOME} ${1}", "word:a variable:${_ENV HOME} word:$ open:{ word:1 close:}"),
        (b"a $B/c", "word:a word:$ word:B/c"),
        (b"@a b @c", "condition:@a word:b word:@c"),
        (b"@^a $B=c", "condition:@^a definition:$B= value:c"),
        (b"{ @a b", "open:{ condition:@a word:b"),
        (b"{\r@a b", "open:{ word:@a word:b"),
        (b"~${N}", "word:~ word:$ open:{ word:N close:}"),
        (b"~SEQ(N, 1, 2) a $N", "repeat:~SEQ(N, 1, 2) word:a variable:$N"),
        (b"~LST({A}, {1}) { ~SEQ", "repeat:~LST({A}, {1}) open:{ repeat:~SEQ"),
        (b"include {a,b}.conf # c", "include:include pattern:{a,b}.conf comment:# c"),
        (b"includea x y", "include:includea pattern:x y"),
        (b"includes x", "word:includes word:x"),
        (b"a include x", "word:a word:include word:x"),
        (b"a\0b # c", "ignored:a\0b # c"),
    ],
)
def test_kinds_of_a_line(data: bytes, expected: str) -> None:
    assert " ".join(f"{kind}:{raw.decode()}" for kind, raw in kinds(data)) == expected


def test_definition_of_several_lines() -> None:
    data = b"$A= \\\r\n  a { \\\n# c\n \n b\n c\n$D=\\\n\ne\n"
    found = [(kind, raw) for kind, raw in kinds(data) if kind != "newline"]
    assert found == [
        ("definition", b"$A="),
        ("continued", b"\\"),
        ("value", b"a {"),
        ("continued", b"\\"),
        ("comment", b"# c"),
        ("value", b"b"),
        ("word", b"c"),
        ("definition", b"$D="),
        ("continued", b"\\"),
        ("word", b"e"),
    ]


def test_a_definition_goes_on_behind_a_comment_that_ends_in_a_backslash() -> None:
    data = b"$A=a # x \\\nb # y \\\\\nc # z \\\nd\n"
    found = [(kind, raw) for kind, raw in kinds(data) if kind != "newline"]
    assert found == [
        ("definition", b"$A="),
        ("value", b"a"),
        ("comment", b"# x \\"),
        ("value", b"b"),
        ("comment", b"# y \\\\"),
        ("word", b"c"),
        ("comment", b"# z \\"),
        ("word", b"d"),
    ]


def test_a_long_line_is_several() -> None:
    fits = b"#" + b"x" * (LONGEST - 2)
    assert kinds(fits + b"\n") == [("comment", fits), ("newline", b"\n")]
    found = kinds(b"#" + fits + b"ab\n")
    assert [kind for kind, _ in found] == ["comment", "word", "newline"]
    assert found[1][1] == b"ab"
