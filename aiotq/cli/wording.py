"""Errors of the library in the words of the command line: an option where a parameter is named."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aiotq.errors import parts

if TYPE_CHECKING:
    from collections.abc import Mapping

# The first one, and unless its value is a person's text, a second: "countdown=1 and eta=...".
_PARAMETER = re.compile(r"^([a-z_]+)=(?:(?![\"'])(.*?) and ([a-z_]+)=)?")
_BYTE = re.compile(r"\\udc([89a-f][0-9a-f])")  # of what was given, a byte that is no text here, as repr shows it
# What is passed in code is given here, and left out rather than None.
_SAID = (
    ("pass a page's `.cursor`, or None for the first page", "give the one behind --cursor that the page before named"),
    ("pass an int, ", "give a whole number, "),
    ("pass an int from ", "give a whole number from "),
    (", or None", ""),
    ("pass ", "give "),
)


def in_options(error: str, options: Mapping[str, str]) -> list[str]:
    """The lines of a UsageError. options: by the parameter that each one sets: {"job_id": "--id"}."""
    what, *advice = parts(_BYTE.sub(r"\\x\1", error))
    what = _PARAMETER.sub(lambda found: _named(found, options), what)
    for said, ours in _SAID:
        advice = [line.replace(said, ours) for line in advice]
    return [what, *advice]


def _named(found: re.Match[str], options: Mapping[str, str]) -> str:
    first, value, second = found.groups()
    more = "" if second is None else f"{value} and {options.get(second, second)}="
    return f"{options.get(first, first)}={more}"
