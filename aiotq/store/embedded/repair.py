"""What to do when the power failed while an embedded server wrote: cut off the damaged end of its file, and keep it.

A server that was killed leaves at worst half a command at the end, which the next one drops by itself. Only after a
power failure may the end hold bytes that nobody wrote; then the server refuses to start and asks for this.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MAX_CUT_BYTES = 1 << 20  # what can be written in the second that a power failure may cost; more is a person's decision

_REPORT = re.compile(r"filename=(?P<name>[^,]+), size=\d+, ok_up_to=\d+, ok_up_to_line=\d+, diff=(?P<damaged>\d+)")


def cut_damaged_tail(directory: Path, server: Path) -> tuple[Path, Path] | None:
    """Cut it off. Returns the directory and the untouched copy of the file, or None: nothing was changed.

    The caller holds the directory's lock and no server runs.
    """
    folder = directory / "appendonlydir"
    manifest = folder / "appendonly.aof.manifest"
    damaged = [found for found in _REPORT.finditer(_check(server, manifest)) if int(found["damaged"])]
    if not damaged or int(damaged[-1]["damaged"]) > MAX_CUT_BYTES:
        return None
    file = folder / damaged[-1]["name"]
    copy = directory / f"damaged-{file.name}"
    shutil.copy2(file, copy)
    _check(server, manifest, "--fix")
    return directory, copy


def _check(server: Path, manifest: Path, *options: str) -> str:
    """Run the server's own file checker: the same program under another name."""
    name = server.name.replace("-server", "-check-aof")
    return subprocess.run(  # noqa: S603  the server that is about to be started
        [name, *options, str(manifest)],
        executable=server,
        input="y\n",
        capture_output=True,
        text=True,
        check=False,
        errors="replace",
    ).stdout
