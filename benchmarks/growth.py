"""How aiotq's figures grow with what there is. Each curve yields (what, point, value)."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.stage import Stage

Points: TypeAlias = "Iterator[tuple[str, int, float]]"
CURVES: dict[str, Callable[[Stage], Points]] = {}
