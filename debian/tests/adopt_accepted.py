# SPDX-License-Identifier: MIT
"""The configurations of tests/adopt, put to the keepalived of this release."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from checks import check, note

CASES = Path(__file__).resolve().parents[2] / "tests/adopt"
PYTHON_PATH = "/usr/lib/python3/dist-packages"
KEEPALIVED = shutil.which("keepalived")


def links(case: Path) -> list[str]:
    """ip's commands for the interfaces of the case's host, and for those that adopt may name."""
    names = [line.split()[0] for line in (case / "in/host").read_text().splitlines()]
    names += [*(f"keepalived{i}" for i in range(4)), "out0", "vips0"]
    wanted = [name for name in dict.fromkeys(names) if name != "lo"]
    return [
        f"link add {name} type dummy\naddress add 192.0.2.{200 + number}/32 dev {name}\nlink set {name} up multicast on"
        for number, name in enumerate(wanted)
    ]


# Each tree as /etc/keepalived, with the file in which Debian's keepalived looks for its build options.
ASK = """
put() {{
    mount -t tmpfs none /mnt && cp -a {case}/$1/etc/keepalived/. /mnt/
    cp /etc/keepalived/keepalived.config-opts /mnt/ 2> /dev/null
    mount --bind /mnt /etc/keepalived
    {{ said=$(keepalived -t 2>&1); status=$?; }} 2> /dev/null # a signal that ends it (2.2.7) is no line of its own
    umount /etc/keepalived; umount /mnt
    echo "$status"; echo "$said"; echo =====
}}
put out
[ "$status" = 0 ] || put in
"""


def asked(case: Path) -> list[tuple[int, tuple[str, ...]]]:
    """What `keepalived -t` says of the case adopted, and where it is not content also as it was: status, lines."""
    script = ["ip -batch - <<'END'", *links(case), "END", ASK.format(case=case)]
    ran = subprocess.run(
        ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", "\n".join(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="backslashreplace",
        check=False,
    )
    answers = [part.strip().splitlines() for part in ran.stdout.split("=====\n")[:-1]]
    assert answers, ran.stdout
    return [(int(lines[0]), tuple(lines[1:])) for lines in answers]


@check(
    without=f"mount --bind /bin/false {KEEPALIVED}",
    back=f"umount {KEEPALIVED}",
    before=lambda: None,
)
def keepalived_accepts_what_it_accepted() -> None:
    """Nothing new is held against a case once it is adopted."""
    sys.path.insert(0, PYTHON_PATH)
    from keepalived_dummy import service

    cases = sorted(CASES.iterdir())
    accepted, complaints = 0, Counter[str]()
    for case in cases:
        after, *before = (service.Verdict(*answer) for answer in asked(case))
        accepted += after.status == 0
        complaints.update(after.lines if after.status else ())
        wrong = service.worse(before[0], after) if before else []
        assert not wrong, f"{case.name}: {wrong}"
    note(f"{accepted} of {len(cases)} are accepted without a word")
    assert accepted > len(cases) / 2, complaints.most_common(8)
