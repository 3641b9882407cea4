"""What a started process does without: as on most machines, the packages of no extra but those that its test is about.

redis-py imports OpenTelemetry's SDK wherever it is installed, and typer pydantic: half of what a command's start costs.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

MISSING = frozenset({"opentelemetry"})


class Missing:
    """Finds nothing, and says of these packages that there are none."""

    @staticmethod
    def find_spec(name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        if name in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


sys.meta_path.insert(0, Missing())
