"""`aiotq enqueue MODULE:TASK --arg k=v`: a job from the shell."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aiotq.cli.mistake import EXIT_FAILURE, EXIT_OK, Mistake
from aiotq.cli.operate import moments, options
from aiotq.cli.operate.arguments import together
from aiotq.cli.operate.found import task_of
from aiotq.cli.operate.parts import told
from aiotq.cli.operate.reach import (
    Where,
    away,
    hint,
    lost,
    reachable,
    say,
    say_json,
    shown_id,
    theirs_on_stderr,
    warnings_said,
)
from aiotq.cli.options import positive_seconds
from aiotq.cli.text import printable
from aiotq.cli.traces import user_traceback
from aiotq.errors import (
    AiotqError,
    JobCancelled,
    JobError,
    JobFailed,
    JobNotFound,
    PayloadTooLarge,
    ResultTimeout,
    SerializationError,
    StoreError,
    UsageError,
    parts,
)
from aiotq.inspector import Inspector
from aiotq.job import JobStatus
from aiotq.store.inspection import REFUSED_S

if TYPE_CHECKING:
    from aiotq.client import Core
    from aiotq.handle import Job
    from aiotq.task import Call

HELP = """\
aiotq enqueue MODULE:TASK [--arg NAME=VALUE]... [options]
aiotq enqueue TASK --app MODULE:APP [--arg NAME=VALUE]... [options]

Enqueue a job, and print its id. A VALUE is JSON if the parameter's annotation takes it so (5, true,
[1, 2], null), else it is text; for a str it is text in any case. --wait prints the result."""
EXAMPLE = """\
Exit codes: 0 enqueued (with --wait: it succeeded), 1 it failed, was cancelled, has not ended in time or
is gone with its result, or no server answers, 2 used wrongly.

Example: send a mail again, and wait for it

  aiotq enqueue shop.tasks:send_mail --arg to=ada@example.org --arg subject=sold --wait 10"""

_JOB, _CALL = "The job", "How it runs"


def _length(text: str) -> timedelta:
    plain = str(text).replace(".", "", 1).isdecimal()
    try:
        found = moments.parse(f"{text}s" if plain else str(text)).before
    except ValueError:
        found = None
    if found is None:
        raise typer.BadParameter(f"{text!r} is no length of time, as in 30, 90s or 2h")
    return found


def _when(text: str) -> datetime:
    try:
        found = moments.parse(str(text)).at
    except ValueError:
        found = None
    if found is None:
        raise typer.BadParameter(f"{text!r} is no instant, as in 2026-01-31T12:00")
    return found


_STATUS: Mapping[type[JobError], str] = {
    JobFailed: "failed",
    ResultTimeout: "waiting",
    JobCancelled: "cancelled",
    JobNotFound: "gone",  # how it ended, nobody knows any more
    JobError: "failed",
}
Answer = Callable[[], int]  # says what came of it, and returns the exit code; may raise Mistake

TaskName = Annotated[str | None, typer.Argument(metavar="MODULE:TASK")]
Arg = Annotated[
    list[str] | None,
    options.option("-a", "--arg", group=_JOB, takes="NAME=VALUE", text="An argument; once for each."),
]
JsonArgs = Annotated[
    str | None, options.option("--json-args", group=_JOB, takes="OBJECT", text="Arguments as one JSON object.")
]
Id = Annotated[
    str | None,
    options.option("--id", group=_JOB, takes="ID", text="Its id. If there is a job of it, nothing is enqueued."),
]
Queue = Annotated[str | None, options.option("-q", "--queue", group=_CALL, takes="QUEUE", text="Into this queue.")]
Priority = Annotated[int | None, options.option("--priority", group=_CALL, takes="0-9", text="0 is first, 9 last.")]
Countdown = Annotated[
    timedelta | None,
    options.option("--countdown", group=_CALL, takes="TIME", text="Due so long from now: 30, 90s, 2h.", parser=_length),
]
Eta = Annotated[
    datetime | None,
    options.option("--eta", group=_CALL, takes="INSTANT", text="Due then: 2026-01-31T12:00.", parser=_when),
]
Expires = Annotated[
    timedelta | None,
    options.option(
        "--expires", group=_CALL, takes="TIME", text="Cancelled if it has not started by then.", parser=_length
    ),
]
Retries = Annotated[int | None, options.option("--retries", group=_CALL, takes="N", text="Attempts after the first.")]
Timeout = Annotated[
    timedelta | None,
    options.option("--timeout", group=_CALL, takes="TIME", text="Of each attempt.", parser=_length),
]
Lifo = Annotated[bool, options.option("--lifo", group=_CALL, text="To the front of its priority.")]
Durable = Annotated[
    bool, options.option("--durable", group=_CALL, text="Return only when it is on disk, or on a replica.")
]
Wait = Annotated[
    float | None,
    options.option(
        "--wait",
        group="What it says",
        takes="SECONDS",
        text="Wait so long for its end, and print the result.",
        parser=positive_seconds,
    ),
]


def enqueue(
    name: TaskName = None,
    *,
    arg: Arg = None,
    json_args: JsonArgs = None,
    job_id: Id = None,
    queue: Queue = None,
    priority: Priority = None,
    countdown: Countdown = None,
    eta: Eta = None,
    expires: Expires = None,
    retries: Retries = None,
    timeout: Timeout = None,
    lifo: Lifo = False,
    durable: Durable = False,
    wait: Wait = None,
    url: options.Url = None,
    namespace: options.Namespace = None,
    app: options.AppName = None,
    as_json: options.AsJson = False,
) -> int:
    """Enqueue it."""
    if name is None:
        raise Mistake("no task was named", "name it: aiotq enqueue MODULE:TASK --arg NAME=VALUE")
    where = Where(url=url, namespace=namespace, target=app, as_json=as_json)
    task = task_of(where, name)
    given = together(task.registered, arg or (), json_args)
    call = task.options(
        job_id=job_id, queue=queue, priority=priority, countdown=countdown, eta=eta, expires=expires,
        retries=retries, timeout=timeout, lifo=lifo, durable=durable,
    )  # fmt: skip
    return _send(where, call, given, wait_s=wait)


def _send(where: Where, call: Call[..., Any], given: dict[str, Any], *, wait_s: float | None) -> int:
    source = reachable(where, call.core.source())
    try:
        # What the user's middlewares print is not the answer, which is said when all of theirs has run.
        with warnings_said(), theirs_on_stderr():
            answer = asyncio.run(_enqueued(where, call, given, wait_s))
    except StoreError as error:
        raise away(where, lost(error, source)) from error
    except (SerializationError, PayloadTooLarge) as error:
        raise Mistake(*parts(printable(str(error)))) from error
    except (Mistake, UsageError):
        raise
    except Exception as error:  # a middleware of the user's may raise anything
        raise Mistake("enqueuing failed", detail=user_traceback(error), exit_code=EXIT_FAILURE) from error
    return answer()


async def _enqueued(where: Where, call: Call[..., Any], given: dict[str, Any], wait_s: float | None) -> Answer:
    began = datetime.now(UTC)
    await call.core.enter(refused_s=REFUSED_S)
    try:
        job = await call.delay(**given)
        if wait_s is None:
            return partial(_say_id, where, job)
        if not where.as_json:
            hint(f"enqueued {job.id}")
        return await _awaited(where, call.core, job, wait_s, began)
    finally:
        await call.core.leave()


def _say_id(where: Where, job: Job[Any]) -> int:
    if where.as_json:
        say_json({"id": job.id, "existed": job.existed})
        return EXIT_OK
    if job.existed:
        hint("there was a job of this id already: nothing was enqueued")
        hint(f"all about it: {where.command('job', of=[job.id])}")
    say(where, lambda _sheet: [((told(job.id), ""),)])
    return EXIT_OK


async def _awaited(where: Where, core: Core, job: Job[Any], wait_s: float, began: datetime) -> Answer:
    """Wait for what comes of it."""
    try:
        with suppress(SerializationError):  # it has a result, if none that its own annotation takes
            await job.result(timeout=wait_s)
        result = (await job.info()).result
    except JobError as error:
        paused = await _paused(core, job) if isinstance(error, ResultTimeout) else None
        return partial(_not_succeeded, where, job, error, wait_s, paused=paused)
    return partial(_say_result, where, job, result, took_s=(datetime.now(UTC) - began).total_seconds())


def _say_result(where: Where, job: Job[Any], result: object, *, took_s: float) -> int:
    """The result alone, so that it can be piped on."""
    if where.as_json:
        said = {"id": job.id, "existed": job.existed, "status": "succeeded", "result": result}
        say_json(said | {"took_s": round(took_s, 3)})
    else:
        text = result if isinstance(result, str) else json.dumps(result, indent=2, ensure_ascii=False)
        say(where, lambda _sheet: [((printable(row), ""),) for row in text.splitlines() or [""]])
    return EXIT_OK


async def _paused(core: Core, job: Job[Any]) -> str | None:
    """The queue that it waits in, if that is paused, and if this user may know."""
    with suppress(AiotqError):
        info = await job.info()
        if info.status is JobStatus.QUEUED and (await Inspector(core).queue(info.queue)).paused:
            return info.queue
    return None


def _not_succeeded(where: Where, job: Job[Any], error: JobError, wait_s: float, *, paused: str | None) -> int:
    status = next(status for kind, status in _STATUS.items() if isinstance(error, kind))
    lines = parts(printable(str(error)))
    if status == "gone":
        lines = [f"job {shown_id(where, job.id)} is gone: it ended, and was thrown away or its result_ttl was over"]
    if paused is not None:
        lines = [f"job {shown_id(where, job.id)} has waited {wait_s:g} s, and its queue {paused} is paused"]
    if where.as_json:
        say_json({"id": job.id, "existed": job.existed, "status": status, "error": "; ".join(lines)})
    if paused is not None:
        lines.append(f"resume it: {where.command('resume', of=[paused])}")
    if status != "gone":
        lines.append(f"all about it: {where.command('job', of=[shown_id(where, job.id)])}")
    raise Mistake(*lines, exit_code=EXIT_FAILURE) from error
