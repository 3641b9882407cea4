"""What a page answers when it can't be what was asked for: a status, and a message for a person."""

from __future__ import annotations

from http import HTTPStatus

from starlette.exceptions import HTTPException

from aiotq.errors import InvalidRecord, JobNotFound, StoreError, StoreRefused, StoreUnavailable, UsageError

STATUS = {JobNotFound: 404, StoreError: 503, UsageError: 400, InvalidRecord: 422}


class Refusal(Exception):
    """Ends a request with a message page. what: what happened; hint: what was expected, or what to do.

    passes: it may be otherwise in a while, so that the page shall be loaded again then.
    """

    def __init__(self, status: int, what: str, hint: str = "", *, passes: bool = False) -> None:
        self.status, self.what, self.hint, self.passes = status, what, hint, passes
        super().__init__(what)


class BadInput(Refusal):
    """What was given can't be right."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(400, what, hint)


class NotThere(Refusal):
    """There is none of that name."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(404, what, hint)


def refusal_of(error: Exception) -> Refusal | None:
    """What an error of aiotq's means here; None: a mistake in aiotq, or not one of its errors."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, HTTPException):  # the router's
        if error.status_code == HTTPStatus.NOT_FOUND:
            return NotThere("there is no such page", "the navigation has all there are")
        return Refusal(error.status_code, "that is nothing that this page takes", "use the pages of this dashboard")
    status = next((status for kind, status in STATUS.items() if isinstance(error, kind)), None)
    passes = isinstance(error, StoreUnavailable | StoreRefused)
    return None if status is None else Refusal(status, *_parts(error), passes=passes)


def _parts(error: Exception) -> tuple[str, str]:
    what, _, hint = str(error).partition("; ")
    return what, hint
