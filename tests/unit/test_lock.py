"""constraints.lock: all that development needs, each file of it by its hash, and no word of where from."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "constraints.lock").read_text("utf-8")
NAME = re.compile(r"[A-Za-z0-9._-]+")


def plain(requirement: str) -> str:
    """The name of what is required, as the lock writes it."""
    found = NAME.match(requirement)
    assert found is not None
    return re.sub(r"[-_.]+", "-", found.group()).lower()


def test_what_the_tests_need_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["dev"]]
    for extra in re.search(r"\[(.*)\]", extras["dev"][0])[1].split(","):  # type: ignore[index]
        wanted += extras[extra]
    names = {plain(requirement) for requirement in wanted} - {"aiotq"}
    locked = {plain(line) for line in LOCK.splitlines() if re.match(r"[a-z]", line)}
    assert not names - locked, "renew it: make lock"


def test_every_line_is_one_release_with_its_hashes() -> None:
    entries = re.split(r"\n(?=[a-z])", LOCK.strip())
    for entry in entries:
        assert re.match(r"[a-z0-9-]+(\[[a-z,]+\])?==[\w.+]+", entry), entry.splitlines()[0]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry.splitlines()[0]


def test_it_names_no_index_and_the_same_tools_as_the_constraints() -> None:
    assert "://" not in LOCK
    assert "-index" not in LOCK
    pins = [line for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if "==" in line]
    assert pins
    assert not [
        pin
        for pin in pins
        if not re.search(rf"^{re.escape(pin)}\b".replace("pyright", r"pyright(\[nodejs\])?"), LOCK, re.MULTILINE)
    ]
