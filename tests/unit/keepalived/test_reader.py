# SPDX-License-Identifier: MIT
"""Reading: never a traceback, never without an end, and nothing certain that is not."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_tokens import CONFIGURATIONS

from keepalived_dummy.keepalived import (
    Document,
    Kind,
    Memory,
    Statement,
    Word,
    read,
    read_from,
    sources,
    tokenize,
    unsure_of,
    uplinks_of,
)
from keepalived_dummy.keepalived.definitions import MAX_REPEATED

MAIN = "/etc/keepalived/keepalived.conf"


def parse(text: str | bytes, **more: bytes | OSError) -> Document:
    """Read a configuration; `more` are files beside it, named without .conf."""
    data = text.encode() if isinstance(text, str) else text
    others = {f"/etc/keepalived/{name}.conf": content for name, content in more.items()}
    return read_from(Memory({MAIN: data, **others}), MAIN)


def words(statements: tuple[Statement, ...]) -> list[Word]:
    """All words and braces, block by block."""
    found: list[Word] = []
    for statement in statements:
        found += statement.words
        found += [brace for brace in (statement.opened, statement.closed) if brace]
        found += words(statement.children)
    return found


def problems(document: Document) -> list[str]:
    return [str(problem) for problem in document.problems]


@settings(deadline=None)  # the machine may be busy
@given(CONFIGURATIONS, CONFIGURATIONS)
def test_any_bytes_are_read(data: bytes, more: bytes) -> None:
    document = parse(data, x=more)
    for problem in document.problems:
        assert problem.path in (MAIN, "/etc/keepalived/x.conf")
        assert problem.line > 0
        assert "\n" not in problem.message
    for word in words(document.statements):
        assert word.certain or word.origin
    uplinks_of(document, "keepalived0")
    unsure_of(document, "keepalived0")
    assert Path(MAIN) in sources(document)


@settings(deadline=None)  # the machine may be busy
@given(CONFIGURATIONS)
@example(b"{ \\")
def test_a_literal_word_stands_where_it_says(data: bytes) -> None:
    """Reader and tokens agree: a literal word is one token, or some that touch each other."""
    lines = data.split(b"\n")
    kinds = {(t.line, t.column): t.kind for t in tokenize(data)}
    for word in words(parse(data).statements):
        if not word.literal:
            continue
        raw = lines[word.line - 1][word.column - 1 : word.end - 1]
        if raw[:1] == b'"':
            raw = raw[1:-1]
        assert raw.decode("utf-8", "surrogateescape") == word.text
        assert kinds[word.line, word.column] in (Kind.WORD, Kind.QUOTED, Kind.OPEN, Kind.CLOSE)


NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_.-]{0,10}", fullmatch=True)


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.tuples(NAMES, st.lists(NAMES, max_size=3)), max_size=5), st.randoms())
def test_the_same_read_however_it_is_laid_out(
    blocks: list[tuple[str, list[str]]], random: object
) -> None:
    choice = random.choice  # type: ignore[attr-defined]
    text = ""
    for name, lines in blocks:
        text += "block " + name + choice([" {", "{", "\n{", " # c\n\n  {", "\r\n{\r\n"])
        for line in lines:
            text += choice(["", "\n", "\r\n  ", "\n# {\n", "\n\t"]) + line
            text += choice(["\n", "\r\n", " # }\n", " ! x\n"])
        text += choice(["}", "} ", "}\n", "\n}\n\n"])
    document = parse(text)
    assert not document.problems
    found = [(s.words[1].text, [c.words[0].text for c in s.children]) for s in document.statements]
    assert found == blocks


def test_an_unreadable_file_is_a_problem_where_it_is_named() -> None:
    denied = PermissionError(errno.EACCES, "Permission denied")
    document = parse(
        "global_defs {\n}\n\ninclude secret.conf\nvrrp_instance V {\n}\n", secret=denied
    )
    assert problems(document) == [
        f"{MAIN}:4: /etc/keepalived/secret.conf: it cannot be read: Permission denied"
    ]
    assert [instance.name.text for instance in document.model.instances] == ["V"]
    document = read_from(Memory({MAIN: denied}), MAIN)
    assert problems(document) == [f"{MAIN}: it cannot be read: Permission denied"]
    assert document.files == ()


def test_a_long_chain_and_a_wide_tree_of_includes_end() -> None:
    chain = {f"c{n}": b"include c%d.conf\n" % (n + 1) for n in range(100)}
    document = parse("include c0.conf\n", **chain)
    assert len(document.files) == 64
    assert [str(p).split(": ", 2)[2] for p in document.problems] == [
        "it is included more than 64 deep; left out"
    ]
    tree = {f"t{n}": b"include t%d.conf\n" % (n + 1) * 8 for n in range(8)}
    document = parse("include t0.conf\n", **tree, t8=b"x\n")
    assert "more than 4096 files" in problems(document)[0]


@pytest.mark.parametrize(
    "text",
    [
        "~SEQ(N, 1, 1000000000) x$N\n",
        "~SEQ(A, 100000) ~SEQ(B, 100000) x\n",
    ],
)
def test_what_makes_lines_without_end_ends(text: str) -> None:
    document = parse(text + "last\n")
    assert f"more than {MAX_REPEATED} lines" in problems(document)[-1]
    assert len(document.statements) <= MAX_REPEATED + 1  # with last
    assert document.statements[-1].keyword == "last"


@pytest.mark.parametrize("value", ["$A", "x$A", "$B", "${A}${A}", "$A $A"])
def test_a_variable_in_its_own_value_is_a_problem(value: str) -> None:
    document = parse(f"$B=$A\n$A={value}\nx $A\n")
    assert problems(document) == [
        f"{MAIN}:3: $A makes the line too long, or has itself in its value"
    ] or problems(document) == [f"{MAIN}:3: $B makes the line too long, or has itself in its value"]
    assert not document.statements[0].certain


@pytest.mark.parametrize(
    ("definitions", "made"),
    [
        ("$A=\\\nx \\\n$A\n", "xx"),
        ("$A=\\\nx \\\n$A \\\ny\n", "xxy"),
        ("$A=\\\nx \\\n$B\n$B=\\\ny \\\n$A\n", "xyx"),
        ("$B=\\\ny \\\n$A\n$A=\\\n$B \\\nz\n", "yyz"),
    ],
)
def test_a_definition_of_several_lines_in_its_own_value_ends_there(
    definitions: str, made: str
) -> None:
    document = parse(definitions + "$A\nlast\n")
    assert "".join(s.keyword for s in document.statements) == made + "last"
    assert not all(s.certain for s in document.statements)
    assert "has itself in its value" in problems(document)[0]


def test_a_definition_of_several_lines_can_be_used_again_in_another() -> None:
    text = "$A=\\\na \\\nb\n$C=\\\n$A \\\n$A\n~SEQ(I, 1, 2) $C\n$A\n"
    document = parse(text)
    assert "".join(s.keyword for s in document.statements) == "abab" * 2 + "ab"
    assert problems(document) == []


def test_deep_blocks_are_read() -> None:
    document = parse("a {\n" * 5000 + "}\n" * 5000)
    assert not document.problems
    document = parse("a {\n" * 5000)
    assert len(document.problems) == 1001
    assert problems(document)[0] == f"{MAIN}:1: this brace is never closed"
    assert problems(document)[-1] == f"{MAIN}: more is wrong than is shown here"


def test_certain_and_literal_are_two_things() -> None:
    text = (
        "$IF=ens3\nvrrp_instance V {\n interface $IF\n virtual_ipaddress { 192.0.2.1 dev d }\n}\n"
    )
    document = parse(text)
    interface = document.model.instances[0].interface
    assert interface is not None
    assert (interface.text, interface.certain, interface.literal) == ("ens3", True, False)
    assert interface.origin == f"$IF, set at {MAIN}:1"
    assert uplinks_of(document, "d") == ("ens3",)
    document = parse("@x " + text)
    assert uplinks_of(document, "d") == ()
    assert [word.origin for word in unsure_of(document, "d")] == [
        f"$IF, set at {MAIN}:1; $IF is under the condition @x"
    ]


def test_uplinks_are_unique_and_in_the_order_of_the_file() -> None:
    text = ""
    for name, interface, device in [
        ("A", "e2", "d"),
        ("B", "e1", "d"),
        ("C", "e2", "d"),
        ("D", "e0", "x"),
    ]:
        text += f"vrrp_instance {name} {{\ninterface {interface}\n"
        text += f"virtual_ipaddress_excluded {{ 192.0.2.1 dev {device} }}\n}}\n"
    assert uplinks_of(parse(text), "d") == ("e2", "e1")
    assert uplinks_of(parse(text), "none") == ()


def test_an_edit_by_place_changes_just_the_address() -> None:
    line = "  \t192.0.2.10/24  dev ens3 # \u00fc\r"
    data = f"vrrp_instance V\u00fc {{\nvirtual_ipaddress {{\n{line}\n}}\n}}\n".encode()
    (vip,) = parse(data).model.instances[0].vips
    word = vip.statement.words[0]
    lines = data.split(b"\n")
    raw = lines[word.line - 1]
    lines[word.line - 1] = raw[: word.column - 1] + b"192.0.2.10/32" + raw[word.end - 1 :]
    assert b"\n".join(lines) == data.replace(b"/24", b"/32")


def test_links_and_root(tmp_path: Path) -> None:
    etc = tmp_path / "etc/keepalived"
    real = tmp_path / "srv/conf"
    etc.mkdir(parents=True)
    real.mkdir(parents=True)
    (real / "main.conf").write_text("include beside.conf\n")
    (etc / "beside.conf").write_text("vrrp_instance V {\n}\n")
    (etc / "keepalived.conf").symlink_to("/srv/conf/main.conf")
    document = read(root=tmp_path)
    assert not document.problems
    assert [path for path, _ in document.files] == [MAIN, "/etc/keepalived/beside.conf"]
    names = {str(path) for path in sources(document)}
    assert names == {
        MAIN,
        "/etc/keepalived",
        "/etc/keepalived/beside.conf",
        "/srv/conf",
        "/srv/conf/main.conf",
    }


@pytest.mark.parametrize("kind", ["folder", "fifo", "executable", "loop", "dangling"])
def test_what_is_no_plain_file_is_a_problem(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "etc/keepalived/keepalived.conf"
    path.parent.mkdir(parents=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "executable":
        path.write_text("global_defs {\n}\n")
        path.chmod(0o755)
    else:
        path.symlink_to(path.name if kind == "loop" else "nowhere/x.conf")
    document = read(root=tmp_path)
    assert len(document.problems) == 1
    assert document.problems[0].path == MAIN
    assert document.files == ()
    if kind == "dangling":
        assert Path("/etc/keepalived") in sources(document)


def test_no_folder_at_all(tmp_path: Path) -> None:
    document = read(root=tmp_path)
    assert problems(document) == [f"{MAIN}: there is no such file"]
    assert {Path("/"), Path("/etc/keepalived"), Path(MAIN)} <= sources(document)


def test_a_definition_with_a_first_line_of_none_and_one_more_is_of_one_line() -> None:
    document = parse("$A=\\\nb\n$C=\\\nd \\\ne\nx ${A}y\nx ${C}\n")
    assert [[w.text for w in s.words] for s in document.statements] == [
        ["x", "by"],
        ["x", "d"],
        ["e"],
    ]


def test_a_repetition_over_a_definition_of_several_lines_is_not_certain() -> None:
    document = parse("$A=b \\\nc\n~SEQ(A, 1, 2) x $A\n")
    assert [s.words[1].text for s in document.statements] == ["1", "2"]
    assert [s.certain for s in document.statements] == [False, False]


def test_an_address_keepalived_skips_makes_no_uplink() -> None:
    text = "vrrp_instance V {\ninterface e0\nvirtual_ipaddress { 192.0.2.300 dev d }\n}\n"
    assert uplinks_of(parse(text), "d") == ()
    assert uplinks_of(parse(text.replace("300", "30")), "d") == ("e0",)


def test_a_flag_that_is_set_for_sure_is_certain() -> None:
    text = "vrrp_instance V {\nuse_vmac\n@a use_vmac\n@a native_ipv6\n}\n"
    (instance,) = parse(text).model.instances
    assert instance.use_vmac is not None and instance.use_vmac.certain
    assert instance.native_ipv6 is not None and not instance.native_ipv6.certain


MAYBE = "@node $MORE=192.0.2.2\n@^node $MORE={}\n"


@pytest.mark.parametrize("nothing", ["", "\\# none", "@other", "$EMPTY"])
@pytest.mark.parametrize(
    "block",
    ["{\n192.0.2.1\n$MORE\n}", "{\n192.0.2.1\n${MORE}\n}", "{\n192.0.2.1\n$MORE $MORE }"],
)
def test_what_is_nothing_here_and_may_be_an_address_elsewhere_is_not_certain(
    nothing: str, block: str
) -> None:
    text = f"$EMPTY=\n{MAYBE.format(nothing)}vrrp_instance V {{\nvirtual_ipaddress {block}\n}}\n"
    sure, unsure = parse(text).model.instances[0].vips
    assert (sure.address, sure.certain) == ("192.0.2.1", True)
    assert not unsure.certain
    assert "$MORE is under the condition @^node" in unsure.statement.words[0].origin


def test_a_block_that_is_empty_here_and_may_have_an_address_elsewhere_is_not_certain() -> None:
    text = MAYBE.format("") + "vrrp_instance V {\nvirtual_ipaddress { $MORE }\n}\n"
    (instance,) = parse(text).model.instances
    assert [(vip.address, vip.certain) for vip in instance.vips] == [("$MORE", False)]


@pytest.mark.parametrize(("here", "elsewhere"), [("\\#", ""), ("", "\\#")])
def test_a_line_that_a_variable_makes_a_comment_is_read_and_not_certain(
    here: str, elsewhere: str
) -> None:
    """As where a node has an instance that the others have not."""
    definitions = f"@node $ONLY={elsewhere}\n@^node $ONLY={here}\n"
    block = "vrrp_instance V\n{\ninterface e0\nvirtual_ipaddress {\n192.0.2.2\n}\n}\n"
    lines = "".join(f"$ONLY {line}\n" for line in block.splitlines())
    (instance,) = parse(definitions + lines).model.instances
    vips = [(vip.address, vip.certain) for vip in instance.vips if vip.valid]
    assert vips == [("192.0.2.2", False)]
    assert parse("$ONLY=\\#\n" + lines).statements == ()


def test_a_variable_that_is_empty_for_sure_is_nothing() -> None:
    text = "$MORE=\nvrrp_instance V {\nvirtual_ipaddress {\n$MORE\n192.0.2.1\n}\n}\n"
    (instance,) = parse(text).model.instances
    assert [vip.address for vip in instance.vips] == ["192.0.2.1"]


def test_a_repetition_that_fails_for_a_variable_is_not_certain() -> None:
    (statement,) = parse("@a $N=3\n@^a $N=\n~SEQ(I, 1, $N) 192.0.2.$I\n").statements
    assert not statement.certain
    assert parse("$N=0x\n~SEQ(I, 1, $N) 192.0.2.$I\n").statements == ()


KEPT = "a backslash ends the comment, and keepalived keeps it for the line: take it off"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("192.0.2.1/24 # second \\", "192.0.2.1/24\\"),
        ('192.0.2.1/24 ! \\\\ " \\', "192.0.2.1/24\\"),
        ("192.0.2.1\\ # x \\\r", "192.0.2.1\\\\"),
        ("192.0.2.1/24 $C y \\", "192.0.2.1/24\\"),
    ],
)
def test_a_backslash_at_the_end_of_a_comment_is_kept(line: str, text: str) -> None:
    document = parse(f"$C=\\# x\nvirtual_ipaddress {{\n{line}\n}}\n")
    (word,) = document.statements[0].children[0].words
    assert (word.text, word.certain) == (text, False)
    assert KEPT in word.origin


@pytest.mark.parametrize("comment", ["# x \\\\", "# x \\ ", '"\\"', "\\# x"])
def test_another_backslash_is_not_kept(comment: str) -> None:
    document = parse(f"a b {comment}\nc\n")
    assert [s.certain for s in document.statements] == [True, True]


def test_a_definition_goes_on_behind_a_comment_that_ends_in_a_backslash() -> None:
    document = parse("$VIPS=\\\n192.0.2.1 # first \\\n# none \\\n192.0.2.2\n$VIPS\n")
    assert [s.keyword for s in document.statements] == ["192.0.2.1", "192.0.2.2"]
    assert all(not s.certain and KEPT in s.words[0].origin for s in document.statements)
    document = parse("$VIP=192.0.2.1 # one \\\n192.0.2.2\n$VIP\n")
    assert [s.keyword for s in document.statements] == ["192.0.2.1", "192.0.2.2"]


def test_a_comment_alone_that_ends_in_a_backslash_is_a_problem() -> None:
    document = parse("a b\n# c \\\n{\n}\n")
    assert problems(document) == [f"{MAIN}:2: {KEPT}"]
    assert [s.keyword for s in document.statements] == ["a"]
