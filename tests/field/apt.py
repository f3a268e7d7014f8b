# SPDX-License-Identifier: MIT
"""`apt install keepalived-dummy` from the repository, and from one that somebody tampered with."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from guest import Guest
from report import Report

UPLINK = """\
network:
  version: 2
  ethernets:
    ens3:
      dhcp4: true
"""
SOURCES = """\
Types: deb
URIs: http://packages.example.org
Suites: stable
Components: main
Signed-By: /etc/apt/keyrings/keepalived-dummy.asc
"""
POOL = "pool/main/k/keepalived-dummy"
FORGET = "rm -rf /var/lib/apt/lists/packages.example.org* /var/cache/apt/archives/keepalived-dummy*"
STABLE = "dists/stable"


def edited(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Change a file of the archive."""
    path.write_bytes(change(path.read_bytes()))


def flip(data: bytes) -> bytes:
    """The same length, another byte in the middle."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def another_package(archive: Path) -> None:
    """A .deb that is not the one the index names."""
    edited(next((archive / POOL).glob("*.deb")), flip)


def another_index(archive: Path) -> None:
    """An index that names another .deb, under the Release of before."""
    for index in (archive / STABLE).glob("main/binary-*/Packages"):
        edited(index, lambda data: data.replace(b"Section: net", b"Section: web"))
        subprocess.run(["gzip", "-kf", str(index)], check=True)


def another_release(archive: Path) -> None:
    """A Release changed after it was signed."""
    for name in ("InRelease", "Release"):
        edited(archive / STABLE / name, lambda data: data.replace(b"Label: keep", b"Label: beep"))


def another_key(archive: Path) -> None:
    """All as it should be, but signed by a key that the host does not know."""
    home = archive.with_name("stranger")
    home.mkdir(mode=0o700)
    environment = dict(os.environ, GNUPGHOME=str(home))
    release = archive / STABLE / "Release"
    gpg = ["gpg", "--batch", "--quiet", "--yes", "--passphrase", ""]
    for words in (
        ["--quick-generate-key", "stranger", "ed25519", "sign", "never"],
        ["--clearsign", "-o", str(release.with_name("InRelease")), str(release)],
        ["--armor", "--detach-sign", "-o", f"{release}.gpg", str(release)],
    ):
        subprocess.run([*gpg, *words], env=environment, check=True)
    subprocess.run(["gpgconf", "--kill", "all"], env=environment, check=True)
    shutil.rmtree(home)


def no_signature(archive: Path) -> None:
    """A Release with no signature at all."""
    (archive / STABLE / "InRelease").unlink()
    (archive / STABLE / "Release.gpg").unlink()


TAMPERED = (another_package, another_index, another_release, another_key, no_signature)


def fresh(archive: Path, repository: Path) -> None:
    """The archive as it was made."""
    shutil.rmtree(archive, ignore_errors=True)
    shutil.copytree(repository, archive)


def refused(guest: Guest) -> str:
    """apt installs nothing, and says why."""
    _, said = guest.status(f"{FORGET}; apt-get update; apt-get -y install keepalived-dummy")
    status, _ = guest.status("dpkg-query -W keepalived-dummy")
    assert status, f"installed all the same:\n{said}"
    errors = [line for line in said.splitlines() if line.startswith(("E: ", "Err:"))]
    assert errors, said
    why = [line for line in said.splitlines() if any(word in line for word in REASONS)]
    assert why, said
    return why[-1].strip().replace("E: ", "")[:140]


REASONS = (
    "Hash Sum mismatch",
    "unexpected size",
    "not signed",
    "NO_PUBKEY",
    "BADSIG",
    "Missing key",
    "Bad signature",
    "bad signature",
    "invalid",
    "Verifying",
)


def test(guest: Guest, archive: Path, repository: Path, report: Report) -> None:
    """Refused when tampered with, installed when not."""
    fresh(archive, repository)
    guest.wait_for_agent()
    guest.booted()
    guest.write("/etc/netplan/10-uplink.yaml", UPLINK)
    guest.run("chmod 600 /etc/netplan/10-uplink.yaml && netplan apply")
    guest.run("timeout 60 /lib/systemd/systemd-networkd-wait-online -i ens3")
    guest.write(
        "/etc/apt/keyrings/keepalived-dummy.asc", (repository / "archive-key.asc").read_text()
    )
    guest.write("/etc/apt/sources.list.d/keepalived-dummy.sources", SOURCES)
    for tamper in TAMPERED:
        fresh(archive, repository)
        tamper(archive)
        what = (tamper.__doc__ or "").rstrip(".")
        report.step(f"refused: {what[0].lower()}{what[1:]}", lambda: refused(guest))
    fresh(archive, repository)
    report.step("installed, signature checked", lambda: installed(guest))


def installed(guest: Guest) -> str:
    """The very package of the repository, and its dummy at once."""
    said = guest.run(f"{FORGET}; apt-get update && apt-get -y install keepalived-dummy")
    assert not [line for line in said.splitlines() if line.startswith(("W:", "E:"))], said
    policy = guest.run("apt-cache policy keepalived-dummy")
    assert "http://packages.example.org stable/main" in policy, policy
    link = guest.run("ip -br link show dev keepalived0")
    assert ",UP," in link, link
    version = guest.run(
        "dpkg-query -W -f '${db:Status-Status} ${Version}' keepalived-dummy"
    ).split()
    assert version[0] == "installed", version
    return f"{version[1]}, keepalived0 is up"
