"""The options that an operator's commands share."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from aiotq.cli.operate import moments
from aiotq.cli.options import positive_seconds
from aiotq.job import JobStatus

MOST = 500  # rows of a list: what the inspector gives at once

_WHERE, _SAYS, _WHICH, _ACT = "Where", "What it says", "Which jobs", "How it acts"


def option(*names: str, group: str, text: str, takes: str | None = None, env: str | None = None, **more: Any) -> Any:
    """An option. env: the variable that stands for it."""
    return typer.Option(*names, metavar=takes, envvar=env, rich_help_panel=group, help=text, **more)


def _state(text: str) -> JobStatus:
    if text in set(JobStatus):
        return JobStatus(text)
    raise typer.BadParameter(f"{text!r} is not one of {', '.join(JobStatus)}")


def _rows(text: str) -> int:
    if str(text).isdecimal() and 1 <= int(text) <= MOST:
        return int(text)
    raise typer.BadParameter(f"{text!r} is no number of rows, 1 to {MOST:,}")


def _hours(text: str) -> int:
    if str(text).isdecimal() and 1 <= int(text) <= 168:
        return int(text)
    raise typer.BadParameter(f"{text!r} is no number of hours, 1 to 168")


def _moment(text: str) -> moments.Moment:
    try:
        return moments.parse(str(text))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Url = Annotated[
    str | None,
    option(
        "--url",
        group=_WHERE,
        takes="URL",
        text="The server. Otherwise the first that there is of the app's (--app), AIOTQ_URL, REDIS_URL, the built-in "
        "server if it is installed, redis://localhost:6379.",
    ),
]
Namespace = Annotated[
    str | None,
    option(
        "--namespace",
        group=_WHERE,
        takes="NAME",
        env="AIOTQ_NAMESPACE",
        text="What its keys begin with (aiotq, or what the app says).",
    ),
]
AppName = Annotated[
    str | None,
    option(
        "--app",
        group=_WHERE,
        takes="MODULE:APP",
        env="AIOTQ_APP",
        text="The app whose server, namespace, tasks and signing keys count. AIOTQ_APP stands for it.",
    ),
]
AsJson = Annotated[bool, option("--json", group=_SAYS, text="JSON for scripts, alone on stdout.")]
Verbose = Annotated[bool, option("-v", "--verbose", group=_SAYS, text="Whole ids and texts, and all rows.")]

State = Annotated[
    JobStatus | None,
    option("--state", group=_WHICH, takes="STATE", text=f"One of {', '.join(JobStatus)}.", parser=_state),
]
Queue = Annotated[str | None, option("-q", "--queue", group=_WHICH, takes="QUEUE", text="Of this queue.")]
Task = Annotated[
    str | None,
    option("-t", "--task", group=_WHICH, takes="TASK", text="Of this task; the end of its name will do."),
]
Error = Annotated[
    str | None, option("--error", group=_WHICH, takes="TEXT", text="With this type of error, or this in its text.")
]
Since = Annotated[
    moments.Moment | None,
    option(
        "--since",
        group=_WHICH,
        takes="WHEN",
        text="Enqueued, or if ended then ended, no earlier: 10m, 2h, 3d ago, or an instant as 2026-01-31T12:00.",
        parser=_moment,
    ),
]
Until = Annotated[
    moments.Moment | None, option("--until", group=_WHICH, takes="WHEN", text="... and no later.", parser=_moment)
]
Limit = Annotated[
    int, option("-n", "--limit", group=_WHICH, takes="N", text="How many rows at most (50).", parser=_rows)
]
Cursor = Annotated[
    str | None, option("--cursor", group=_WHICH, takes="CURSOR", text="Where the page before said it goes on.")
]
Hours = Annotated[int, option("--hours", group=_WHICH, takes="N", text="Of the last so many hours (1).", parser=_hours)]

All = Annotated[bool, option("--all", group=_WHICH, text="All jobs that match the options of this group.")]
Yes = Annotated[bool, option("-y", "--yes", group=_ACT, text="Do not ask.")]
Every = Annotated[
    float, option("--every", group=_SAYS, takes="SECONDS", text="How often it looks (1).", parser=positive_seconds)
]

Ids = Annotated[list[str] | None, typer.Argument(metavar="ID...")]
QueueName = Annotated[str | None, typer.Argument(metavar="QUEUE")]
Target = Annotated[str | None, typer.Argument(metavar="MODULE[:APP]")]
