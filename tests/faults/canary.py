"""A password that is recognised wherever it is shown, and who looks for it."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


CANARY = "S3CR3T-canary"
PARTS = ("S3CR3T", "c4n4ry")  # of one that was not encoded, each half is too much


def filled(form: str) -> str:
    return form.replace("{}", CANARY)


def behind(error: BaseException | None) -> Iterator[BaseException]:
    """The error and all that hangs on it, also what Python would not show."""
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]


def quiet(*texts: object) -> None:
    """Nothing here holds the canary, or a part of it."""
    for given in texts:
        for one in behind(given) if isinstance(given, BaseException) else [given]:
            shown = [str(one), repr(one)]
            if isinstance(one, BaseException):
                shown += ["".join(traceback.format_exception(one)), repr(one.args), repr(vars(one))]
            for text in shown:
                assert not any(part in text for part in PARTS), text.replace(CANARY, "<THE CANARY>")
