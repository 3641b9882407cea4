"""What a started process does without, as it would on most machines: OpenTelemetry.

redis-py imports its SDK wherever that is installed, which takes a good part of what a command's start costs.
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

MISSING = frozenset({"opentelemetry"})


class LeanFinder(PathFinder):
    """Finds what is installed, but for these."""

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return None if fullname in MISSING else super().find_spec(fullname, path, target)


sys.meta_path[sys.meta_path.index(PathFinder)] = LeanFinder
