"""Which peers there are: `peers/versions.toml`, read."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
OURS = "aiotq"


class UsageError(Exception):
    """What was asked for can't be right: one line that says what can be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A peer, as on the command line."""

    name: str
    kind: str  # "asyncio" or "processes"
    venv: str  # the folder of its environment; empty: that of the benchmarks
    install: tuple[str, ...] = ()

    @property
    def ours(self) -> bool:
        """Whether it is aiotq, in whatever variant."""
        return self.name.startswith(OURS)


def catalogue() -> dict[str, Entry]:
    """All peers, aiotq first."""
    found: dict[str, Entry] = {}
    for name, entry in tomllib.loads((HERE / "peers" / "versions.toml").read_text("utf-8")).items():
        install = tuple(entry.get("install", ()))
        venv = entry.get("venv", name) if install else ""
        found[name] = Entry(name=name, kind=entry["kind"], venv=venv, install=install)
    return found


def chosen(word: str, names: list[str], known: list[str]) -> list[str]:
    """These names, if all are known. Raises UsageError that names the nearest. word: what they are names of."""
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1, 0.4)
            hint = f"did you mean {near[0]}? " if near else ""
            raise UsageError(f"there is no {word} {name!r}; {hint}known are {', '.join(known)}")
    return names
