"""A wall clock of its own for a process, that jumps while it runs (clock_shim.c). Needs Linux and a C compiler."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SOURCE = Path(__file__).with_name("clock_shim.c")


def why_not() -> str | None:
    """Why there can be no such clock here; None if there can."""
    if sys.platform != "linux":
        return f"the clock shim is an LD_PRELOAD library for Linux, and this is {sys.platform}"
    if shutil.which("cc") is None:
        return "the clock shim needs a C compiler: no cc on PATH"
    return None


def build(folder: Path) -> Path:
    """Compile the shim."""
    library = folder / "clock_shim.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, SOURCE, "-ldl"], check=True, capture_output=True)
    return library


@dataclass(frozen=True, slots=True)
class ShiftedClock:
    """The wall clock of whoever is started with `env`."""

    library: Path
    file: Path

    def __post_init__(self) -> None:
        self.step(0)

    @property
    def env(self) -> Mapping[str, str]:
        """What a process needs to have this clock."""
        return {"LD_PRELOAD": str(self.library), "AIOTQ_TEST_CLOCK": str(self.file)}

    def step(self, seconds: int) -> None:
        """From now on it is ahead of the machine's by so much."""
        with self.file.open("r+b" if self.file.exists() else "wb") as file:
            file.write(struct.pack("=q", seconds))
