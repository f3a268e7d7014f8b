# SPDX-License-Identifier: MIT
"""The pipelines of examples/ci run targets of the Makefile that are there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

TREE = Path(__file__).resolve().parents[3]
CI = TREE / "examples/ci"
# What only fetches and keeps, in the container of a job.
OTHER = re.compile(r"apt-get -qq |touch dist/\*\.deb$")


def gitlab() -> dict[str, list[str]]:
    """The jobs of the GitLab pipeline and their commands."""
    made: dict[str, Any] = yaml.safe_load((CI / "gitlab-ci.yml").read_text())
    jobs = {name: job for name, job in made.items() if isinstance(job, dict) and "script" in job}
    return {name: job["script"] for name, job in jobs.items()}


def github() -> dict[str, list[str]]:
    """The jobs of the GitHub workflow and their commands."""
    made: dict[str, Any] = yaml.safe_load((CI / "github.yml").read_text())
    jobs = made["jobs"].items()
    return {name: [step["run"] for step in job["steps"] if "run" in step] for name, job in jobs}


def made(commands: list[str]) -> list[str]:
    """The targets that the commands of a job make; every command is known."""
    known = [one for one in commands if one.startswith("make ") or OTHER.match(one)]
    assert known == commands
    return [target for one in commands if one.startswith("make ") for target in one.split()[1:]]


@pytest.mark.parametrize("pipeline", [gitlab, github])
def test_a_pipeline_makes_what_the_makefile_has(pipeline: Any) -> None:
    jobs = pipeline()
    targets = [target for commands in jobs.values() for target in made(commands)]
    assert {"lint", "unit", "deb", "lintian", "reproducible", "autopkgtest-dsc"} <= set(targets)
    rules = re.findall(r"^([a-z-]+):.*##", (TREE / "Makefile").read_text(), re.MULTILINE)
    assert set(targets) <= set(rules)


@pytest.mark.parametrize("pipeline", [gitlab, github])
def test_no_job_builds_again_what_it_was_handed(pipeline: Any) -> None:
    for name, commands in pipeline().items():
        if "make reproducible" in commands or "make autopkgtest-dsc" in commands:
            assert "touch dist/*.deb" in commands, name


def test_a_package_handed_over_is_newer_than_what_it_was_built_from(tmp_path: Path) -> None:
    """A fresh clone with a touched package and build/digest of an earlier job, as the pipelines have it."""
    clone = tmp_path / "clone"
    words = [
        "git",
        "-c",
        "safe.directory=*",
        "clone",
        "-q",
        "--depth=1",
        f"file://{TREE}",
        str(clone),
    ]
    subprocess.run(words, check=True, capture_output=True)
    digest, deb = clone / "build/digest", clone / "dist/package.deb"
    deb.parent.mkdir()

    def built_again() -> bool:
        subprocess.run(["make", "-s", "build/digest"], cwd=clone, check=True, capture_output=True)
        return digest.stat().st_mtime_ns > deb.stat().st_mtime_ns

    deb.touch()
    assert built_again()
    deb.touch()
    assert not built_again()
    (clone / "README.md").write_text("changed")
    assert built_again()
