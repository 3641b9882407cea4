"""Tables: columns side by side, cut to the terminal. Pure: from cells to lines."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from aiotq.cli.look import Look

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiotq.cli.look import Line, Span

Cell: TypeAlias = "str | Span"
GAP = "  "


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table."""

    title: str
    right: bool = False  # figures: aligned to the right
    least: int | None = None  # it may be cut to so many characters; None: it is shown whole
    most: int | None = None  # it is cut to so many also where nothing has to fit, but for `-v`; None: it is not
    spare: int = 0  # left out if there is no room, the highest first; 0: never


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """What lines are made for."""

    look: Look
    width: int | None = None  # columns of the terminal; None: nothing has to fit


def cells(text: str) -> int:
    """How many columns a text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def cut(text: str, room: int | None, sheet: Sheet) -> str:
    """The beginning of a text that does not fit, marked as cut."""
    if room is None or cells(text) <= room:
        return text
    end = "…" if sheet.look.symbols else "..."[:room]
    while text and cells(text) > room - len(end):
        text = text[:-1]
    return text.rstrip() + end


def table(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], sheet: Sheet, *, indent: str = "") -> list[Line]:
    """The titles, then a line a row. A column that is empty in each row is left out."""
    given = [tuple(cell if isinstance(cell, tuple) else (cell, "") for cell in row) for row in rows]
    kept = [number for number in range(len(columns)) if any(row[number][0] for row in given)]
    widths = _fitting(
        [_natural(columns[number], number, given, sheet) for number in kept], kept, columns, sheet, len(indent)
    )
    titles = tuple((column.title, "dim") for column in columns)
    return [_line(row, widths, columns, sheet, indent) for row in (titles, *given)]


def _natural(column: Column, number: int, rows: Sequence[Sequence[Span]], sheet: Sheet) -> int:
    width = max(cells(column.title), *(cells(row[number][0]) for row in rows), 0)
    return width if column.most is None or sheet.look.verbose else min(width, column.most)


def _fitting(
    natural: Sequence[int], kept: Sequence[int], columns: Sequence[Column], sheet: Sheet, indent: int
) -> dict[int, int]:
    """The width of each column that is shown, by its place."""
    widths = dict(zip(kept, natural, strict=True))
    if sheet.width is None:
        return widths
    room = sheet.width - indent
    while _total(widths) > room:
        # The widest that may be cut gives first, so that no short one is cut for a long one.
        soft = [place for place, width in widths.items() if width > (columns[place].least or width)]
        spare = [place for place in widths if columns[place].spare]
        if soft:
            widths[max(soft, key=lambda place: widths[place])] -= 1
        elif spare:
            del widths[max(spare, key=lambda place: columns[place].spare)]
            widths = {place: natural[kept.index(place)] for place in widths}
        else:
            break
    return widths


def _total(widths: dict[int, int]) -> int:
    return sum(widths.values()) + len(GAP) * max(len(widths) - 1, 0)


def _line(row: Sequence[Span], widths: dict[int, int], columns: Sequence[Column], sheet: Sheet, indent: str) -> Line:
    spans: list[Span] = [(indent, "")] if indent else []
    for place, width in widths.items():
        text, style = row[place]
        shown = cut(text, width, sheet)
        pad = " " * (width - cells(shown))
        spans.append((f"{pad}{shown}" if columns[place].right else f"{shown}{pad}", style))
        spans.append((GAP, ""))
    last = spans[-2]
    return (*spans[:-2], (last[0].rstrip(), last[1])) if len(spans) > 1 else ()


def narrower(sheet: Sheet, by: int) -> Sheet:
    """The same with fewer columns."""
    return sheet if sheet.width is None else replace(sheet, width=max(sheet.width - by, 20))
