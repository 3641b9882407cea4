"""The help page of a command: calm columns, and an example at the end."""

from __future__ import annotations

import shutil
import textwrap
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_WIDTH = 100
_OPTION_WIDTH = 24


class Page(TyperCommand):
    """A command whose help is its docstring, its options by group, and what stands after it."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the page."""
        width = min(shutil.get_terminal_size().columns, MAX_WIDTH)
        groups: dict[str, list[str]] = {}
        for parameter in self.get_params(ctx):
            shown = _option(parameter, width)
            if shown:
                groups.setdefault(getattr(parameter, "rich_help_panel", None) or "Other", []).extend(shown)
        formatter.write(f"{self.help}\n")
        formatter.write(_grouped(groups))
        formatter.write(f"\n{self.epilog}\n")


def _grouped(groups: Mapping[str, list[str]]) -> str:
    return "".join(f"\n{name}\n" + "".join(f"  {row}\n" for row in rows) for name, rows in groups.items())


def _option(parameter: Any, width: int) -> list[str]:
    """Rows for one option: its names, what it takes, what it means."""
    if parameter.param_type_name != "option":
        return []
    # The short name first, in a column of its own, so that the long ones stand below each other.
    names = sorted(parameter.opts, key=len)
    short = f"{names[0]}, " if len(names) > 1 else "    "
    left = f"{short}{names[-1]}{f' {parameter.metavar}' if parameter.metavar else ''}"
    right = textwrap.wrap(parameter.help or "", max(width - _OPTION_WIDTH - 4, 30), break_on_hyphens=False)
    rows = [f"{left:<{_OPTION_WIDTH}}  {right[0] if right else ''}"]
    return rows + [" " * (_OPTION_WIDTH + 2) + row for row in right[1:]]
