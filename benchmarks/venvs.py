"""An environment of its own for each peer, made once, in `benchmarks/.venvs/`."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from typing import TYPE_CHECKING

from benchmarks.catalogue import HERE

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.catalogue import Entry

VENVS = HERE / ".venvs"
INSTALL_S = 300


class NotInstalled(Exception):
    """One line that says why."""


def python_of(entry: Entry, folder: Path = VENVS) -> str:
    """The interpreter of its environment."""
    return str(folder / entry.venv / "bin" / "python") if entry.venv else sys.executable


def ready(entry: Entry, folder: Path = VENVS) -> bool:
    """Whether it holds what is asked for now."""
    stamp = folder / entry.venv / ".installed"
    return not entry.venv or (stamp.exists() and stamp.read_text("utf-8") == _stamp(entry))


def install(entry: Entry, folder: Path = VENVS) -> None:
    """Make it. Raises NotInstalled."""
    if ready(entry, folder):
        return
    place = folder / entry.venv
    shutil.rmtree(place, ignore_errors=True)
    try:
        venv.create(place, with_pip=True, symlinks=True)
        command = [python_of(entry, folder), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run(
            [*command, *entry.install],
            capture_output=True,
            text=True,
            timeout=INSTALL_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise NotInstalled(f"{entry.name} did not install: {str(error).splitlines()[0]}") from error
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise NotInstalled(
            f"{entry.name} did not install: {said[-1].removeprefix('ERROR: ') if said else 'pip failed'}"
        )
    (place / ".installed").write_text(_stamp(entry), "utf-8")


def _stamp(entry: Entry) -> str:
    return "\n".join([sys.version.split()[0], *entry.install])
