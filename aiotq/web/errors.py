"""What a page answers when it can't be what was asked for: a status, and a message for a person."""

from __future__ import annotations

from http import HTTPStatus

from starlette.exceptions import HTTPException

from aiotq.errors import (
    InvalidRecord,
    JobNotFound,
    StoreError,
    StoreRefused,
    StoreUnavailable,
    UsageError,
    parts,
)

STATUS = {JobNotFound: 404, StoreError: 503, UsageError: 400, InvalidRecord: 422}
BUILT_IN = "embedded://"
AWAY_HINT = (
    "start that server; if another one was meant, start what serves this dashboard with its address "
    "(--url or AIOTQ_URL; in a service, App(url))"
)
PERHAPS_DONE = "What was asked for may have been done, or a part of it: the audit has what was; doing it again is safe."


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


def refusal_of(error: Exception, *, acting: bool = False) -> Refusal | None:
    """What an error of aiotq's means here; None: a mistake in aiotq, or not one of its errors.

    acting: something was to be done, and may have been.
    """
    if isinstance(error, Refusal):
        return error
    if isinstance(error, HTTPException):  # the router's
        if error.status_code == HTTPStatus.NOT_FOUND:
            return NotThere("there is no such page", "the navigation has all there are")
        if "GET" in (error.headers or {}).get("Allow", ""):
            return Refusal(error.status_code, "this page is only looked at", "acts are sent by the forms on the pages")
        return Refusal(error.status_code, "there is nothing to see here", "acts come here from the forms on the pages")
    status = next((status for kind, status in STATUS.items() if isinstance(error, kind)), None)
    passes = isinstance(error, StoreUnavailable | StoreRefused)
    if status is None:
        return None
    what, hint = _parts(error)
    if acting and isinstance(error, StoreUnavailable):
        hint = f"{hint}. {PERHAPS_DONE}" if hint else PERHAPS_DONE
    return Refusal(status, what, hint, passes=passes)


def what_of(error: StoreError) -> str:
    """What happened, without what to do: whoever looks at a page is not who wrote the program."""
    return _parts(error)[0]


def _parts(error: Exception) -> tuple[str, str]:
    what, *hints = parts(str(error))
    hint = "; ".join(hints)
    if isinstance(error, StoreUnavailable):
        what = what.removeprefix(f"{error.verb}: ")
        hint = AWAY_HINT if BUILT_IN in hint else hint  # which is for who writes a program, and has none yet
    return what, hint
