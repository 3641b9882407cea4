"""The options of a worker: what the command line offers, and what it was given as one value."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aiotq.version import __version__
from aiotq.worker.settings import WorkerSettings, cores

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULTS = WorkerSettings(queues=())
MAX_PROCESSES = 512  # more are a slip of the hand
LOOPBACK = "127.0.0.1"

_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?((?:[kmg](?:i?b)?)?|b)", re.IGNORECASE)
_UNITS = {"": 1, "b": 1} | {
    f"{letter}{rest}": base**power
    for power, letter in enumerate("kmg", start=1)
    for rest, base in (("", 1024), ("ib", 1024), ("b", 1000))
}


class LogFormat(StrEnum):
    """How log lines are written."""

    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """What `python -m aiotq` was given. `_s` are seconds; None: not given."""

    target: str  # module or module:app
    queues: tuple[str, ...] = ()
    until_empty: bool = False
    concurrency: int = DEFAULTS.concurrency
    threads: int = DEFAULTS.threads
    pool_processes: int | None = None
    grace_s: float = DEFAULTS.grace_s
    lease_s: float | None = None
    processes: int | None = None  # None: this one, and no supervisor
    max_jobs: int | None = None
    max_memory: int | None = None  # bytes
    uvloop: bool = False
    reload: bool = False
    health_port: int | None = None
    health_host: str = LOOPBACK
    url: str | None = field(default=None, repr=False)  # with its password
    namespace: str | None = None
    name: str | None = None
    quiet: bool = False
    verbose: bool = False
    log_format: LogFormat = LogFormat.TEXT


def together(given: Mapping[str, Any]) -> WorkerOptions:
    """The parameters of the command as one value. given: by their names there."""
    queues = (word.strip() for part in given["queues"] or () for word in part.split(","))
    rest = {name: given[name] for name in given if name not in {"grace", "lease", "queues", "version"}}
    return WorkerOptions(
        grace_s=given["grace"], lease_s=given["lease"], queues=tuple(word for word in queues if word), **rest
    )


def _option(*names: str, group: str, text: str, takes: str | None = None, env: bool = True, **more: Any) -> Any:
    """An option; AIOTQ_ and its long name in the environment stand for it."""
    variable = f"AIOTQ_{names[-1].removeprefix('--').replace('-', '_').upper()}" if env else None
    return typer.Option(*names, metavar=takes, envvar=variable, rich_help_panel=group, help=text, **more)


def _whole(text: str) -> int:
    """A whole number, at least 1."""
    if str(text).isdecimal() and int(text) > 0:
        return int(text)
    raise typer.BadParameter(f"{text!r} is no whole number of at least 1")


def _processes(text: str) -> int:
    """How many processes: a number, or one a core."""
    if text == "auto":
        return min(cores(), MAX_PROCESSES)
    if str(text).isdecimal() and 1 <= int(text) <= MAX_PROCESSES:
        return int(text)
    raise typer.BadParameter(f"{text!r} is no number of processes, 1 to {MAX_PROCESSES}, and not 'auto' (one a core)")


def _size(text: str) -> int:
    """A size in bytes: "512MiB", "2GB", "1.5G", "800000000"."""
    found = _SIZE.fullmatch(str(text).strip())
    size = int(float(found[1]) * _UNITS[found[2].lower()]) if found else 0
    if size < 1:
        raise typer.BadParameter(f"{text!r} is no size in bytes, as in 512MiB or 2GiB")
    return size


def _seconds(text: str) -> float:
    """A length of time."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if 0 <= seconds < float("inf"):
        return seconds
    raise typer.BadParameter(f"{text!r} is no number of seconds, as in 30 or 0.5")


def positive_seconds(text: str) -> float:
    """A length of time that is not nothing."""
    if (seconds := _seconds(text)) > 0:
        return seconds
    raise typer.BadParameter(f"{text!r} is no time to wait, as in 5 or 0.5")


def port(text: str) -> int:
    """A TCP port."""
    if str(text).isdecimal() and int(text) <= 65_535:
        return int(text)
    raise typer.BadParameter(f"{text!r} is no port, 1 to 65535, or 0 for any that is free")


def _format(text: str) -> LogFormat:
    """A log format."""
    if text in set(LogFormat):
        return LogFormat(text)
    raise typer.BadParameter(f"{text!r} is not one of {', '.join(LogFormat)}")


def _show_version(asked: bool) -> None:  # noqa: FBT001  typer passes it so
    if asked:
        typer.echo(f"aiotq {__version__}")
        raise typer.Exit


Target = Annotated[str | None, typer.Argument(metavar="MODULE[:APP]")]

_WHAT = "What it runs"
Queues = Annotated[
    list[str] | None,
    _option(
        *("-q", "--queues"),
        group=_WHAT,
        takes="A,B",
        text="Queues to serve, in this order. Otherwise the default one, then all others that the tasks name.",
    ),
]
UntilEmpty = Annotated[
    bool,
    _option("--until-empty", group=_WHAT, text="End when nothing is queued, running or scheduled in its queues."),
]

_HOW = "How much, how long"
Concurrency = Annotated[
    int,
    _option(
        "-c", "--concurrency", group=_HOW, takes="N", text=f"Jobs at once ({DEFAULTS.concurrency}).", parser=_whole
    ),
]
Threads = Annotated[
    int,
    _option(
        "--threads",
        group=_HOW,
        takes="N",
        text=f"Of these, plain def tasks at once, each in a thread ({DEFAULTS.threads}).",
        parser=_whole,
    ),
]
PoolProcesses = Annotated[
    int | None,
    _option(
        "--pool-processes",
        group=_HOW,
        takes="N",
        text="Of these, tasks with process=True at once, each in a process (one a core).",
        parser=_whole,
    ),
]
Grace = Annotated[
    float,
    _option(
        "--grace",
        group=_HOW,
        takes="SECONDS",
        text=f"What running jobs get to finish as it stops ({DEFAULTS.grace_s:g}). Then they go back.",
        parser=_seconds,
    ),
]
Lease = Annotated[
    float | None,
    _option(
        "--lease",
        group=_HOW,
        takes="SECONDS",
        text=f"After how long without a heartbeat its jobs go to others ({DEFAULTS.lease_s:g}, or what the App says).",
        parser=_seconds,
    ),
]

_PROCESSES = "In how many processes"
Processes = Annotated[
    int | None,
    _option(
        "--processes",
        group=_PROCESSES,
        takes="N|auto",
        text="Worker processes, each with all of the above, watched over and replaced if they die; auto: one a core.",
        parser=_processes,
    ),
]
MaxJobs = Annotated[
    int | None,
    _option(
        "--max-jobs",
        group=_PROCESSES,
        takes="N",
        text="A process that has run so many finishes what it holds and is replaced.",
        parser=_whole,
    ),
]
MaxMemory = Annotated[
    int | None,
    _option(
        "--max-memory",
        group=_PROCESSES,
        takes="SIZE",
        text="The same for one that takes more memory than this, as in 512MiB.",
        parser=_size,
    ),
]
Uvloop = Annotated[bool, _option("--uvloop", group=_PROCESSES, text="Run on uvloop (pip install 'aiotq[uvloop]').")]

Reload = Annotated[
    bool,
    _option(
        "--reload",
        group=_PROCESSES,
        text="While developing: start anew when a .py file below the current folder changes; jobs in hand end on the "
        "old code (pip install 'aiotq[reload]').",
    ),
]

_WHERE = "Where"
Url = Annotated[
    str | None,
    _option(
        "--url",
        group=_WHERE,
        takes="URL",
        env=False,  # AIOTQ_URL comes after App(url): the app sees to it
        text="redis://, rediss://, redis+sentinel://, unix://, embedded:// or memory://. Otherwise the first that "
        "there is of App(url), AIOTQ_URL, REDIS_URL, the built-in server, redis://localhost:6379. Others on this "
        "machine can read a password here; AIOTQ_URL they can't.",
    ),
]
Namespace = Annotated[
    str | None,
    _option("--namespace", group=_WHERE, takes="NAME", text="What its keys begin with (aiotq, or what the App says)."),
]

_HEALTH = "How it does"
HealthPort = Annotated[
    int | None,
    _option(
        "--health-port",
        group=_HEALTH,
        takes="PORT",
        text="Answer /livez and /readyz over HTTP there, 200 or 503, for a probe; 0: any port that is free.",
        parser=port,
    ),
]
HealthHost = Annotated[
    str,
    _option(
        "--health-host",
        group=_HEALTH,
        takes="HOST",
        text=f"At this address of the machine ({LOOPBACK}); 0.0.0.0 where the probe comes from outside a container.",
    ),
]

_SAYS = "What it says"
Name = Annotated[
    str | None,
    _option("--name", group=_SAYS, takes="NAME", text="Its label (its host's name and four random characters)."),
]
Quiet = Annotated[bool, _option("--quiet", group=_SAYS, text="Warnings and errors only.")]
Verbose = Annotated[
    bool,
    _option("-v", "--verbose", group=_SAYS, text="Arguments and results too, whole ids, all frames of tracebacks."),
]
Format = Annotated[
    LogFormat,
    _option(
        "--log-format", group=_SAYS, takes="FORMAT", text="text for people, json for machines (text).", parser=_format
    ),
]
Version = Annotated[
    bool, _option("--version", group="Other", text="The version.", env=False, is_eager=True, callback=_show_version)
]
