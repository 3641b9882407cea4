"""From the options of a command to the inspector of what it names, and what is said where no server answers."""

from __future__ import annotations

import asyncio
import getpass
import json
import logging
import os
import socket
import sys
from contextlib import asynccontextmanager, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from aiotq import checks
from aiotq.app import App
from aiotq.cli.event import event_of
from aiotq.cli.look import Paper, look_of
from aiotq.cli.mistake import EXIT_FAILURE, Mistake
from aiotq.cli.operate.table import Sheet
from aiotq.cli.text import printable, reason, rows, short_id, without_passwords
from aiotq.errors import AiotqError, StoreError, StoreUnavailable, UsageError, parts
from aiotq.inspection.pasting import command
from aiotq.source import none_runs
from aiotq.store import embedded_runs
from aiotq.store.inspection import REFUSED_S

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Sequence

    from aiotq.cli.look import Line
    from aiotq.client import Core
    from aiotq.inspector import Inspector
    from aiotq.source import Source

T = TypeVar("T")
MAYBE = "it may have been done: no answer came"


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """What a command was told of where to look, and how to say it."""

    url: str | None = None
    namespace: str | None = None
    target: str | None = None  # module or module:app
    as_json: bool = False
    verbose: bool = False

    def command(self, verb: str, *words: str, of: Sequence[str] = ()) -> str:
        """A command of aiotq's that asks the same place, whole, to be pasted; but for a password in the URL.

        words: options. of: the ids or the queue that it is about.
        """
        given = {"--url": self.url, "--namespace": self.namespace, "--app": self.target}
        place = [word for name, value in given.items() if value is not None for word in (name, value)]
        return printable(without_passwords(command(verb, *words, *place, of=of)))


# --- asking -------------------------------------------------------------------------------------------------------


def ask(where: Where, work: Callable[[Inspector], Awaitable[T]], *, acts: bool = False) -> T:
    """What `work` answers. Raises Mistake, of exit code 1 if no server answers; starts none.

    acts: it changes something, so that of a server which goes away meanwhile it is said what may have been done.
    """
    return ask_app(where, app_of(where), work, acts=acts)


def ask_app(where: Where, app: App, work: Callable[[Inspector], Awaitable[T]], *, acts: bool = False) -> T:
    """The same, of an app that was found already."""
    source = reachable(where, app.source())
    try:
        with warnings_said():
            return asyncio.run(_within(app, work))
    except StoreError as error:
        raise away(where, lost(error, source), *(_broken_off(where, error) if acts else ())) from error
    except UsageError:
        raise
    except AiotqError as error:  # a record that can't be read, say
        raise away(where, printable(str(error)), *(_broken_off(where, error) if acts else ())) from error


def _broken_off(where: Where, error: AiotqError) -> list[str]:
    """Of an act that an error ended: what is known to have been done before, and what to do. Nothing if nothing was."""
    known = [printable(note) for note in getattr(error, "__notes__", ())]
    if not known and not (isinstance(error, StoreUnavailable) and error.sent):
        return []
    return [*(known or [MAYBE]), f"doing it again is safe; what was done: {where.command('audit')}"]


async def _within(app: App, work: Callable[[Inspector], Awaitable[T]]) -> T:
    async with opened(app):
        return await work(app.inspect.acting(by=signature()))


@asynccontextmanager
async def opened(app: App) -> AsyncGenerator[None]:
    """Connect, as `async with app` does, but where nobody listens give up soon: a person waits for it."""
    core = app._core  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    await core.enter(refused_s=REFUSED_S)
    try:
        yield
    finally:
        await core.leave()


def app_of(where: Where) -> App:
    """The app that is meant, with what the command line says before what the app says."""
    if where.target is None:
        app = App()
    else:
        from aiotq.cli.resolve import resolve  # noqa: PLC0415  only --app needs what it loads

        try:
            with theirs_on_stderr():
                app = resolve(where.target)
        except Mistake as mistake:
            lines = (line.replace("run: python -m aiotq ", "name it so: --app ") for line in mistake.lines)
            raise Mistake(*lines, detail=mistake.detail, exit_code=mistake.exit_code) from None
    pointed(app._core, where)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return app


def pointed(core: Core, where: Where) -> None:
    """Have what the command line says go before what the app says."""
    core.override = where.url
    if where.namespace is not None:
        core.settings = replace(core.settings, namespace=checks.namespace("namespace", where.namespace))


def namespace_of(app: App) -> str:
    """What its keys begin with."""
    return app._core.settings.namespace  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


def reachable(where: Where, source: Source) -> Source:
    """The same server. Raises Mistake for one that can't be asked, or that would have to be started."""
    if source.url.startswith("memory://"):
        raise Mistake(f"{source} lives inside one process and can't be asked by another", "name a server that can")
    if embedded_runs(source.url) is False:
        raise away(where, none_runs(source))
    return source


def lost(error: StoreError, source: Source) -> str:
    """In one line, that no server answers or what it refuses, with its URL and who named it."""
    if isinstance(error, StoreUnavailable):
        return f"no answer ({reason(str(error))}): {source}"
    return printable(f"{error} (from {source.origin})")


def away(where: Where, line: str, *notes: str) -> Mistake:
    """Ends the command as it can't be done; with `--json` the reason is said on stdout too.

    notes: what else is known, below it.
    """
    if where.as_json:
        more = {"notes": [without_passwords(note) for note in notes]} if notes else {}
        say_json({"error": without_passwords(line), **more})
    return Mistake(*parts(line), *(row for note in notes for row in parts(note)), exit_code=EXIT_FAILURE)


def signature() -> str:
    """Who acts, for the audit: "ada@host (cli)"."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user may have no name
        user = str(os.getuid()) if hasattr(os, "getuid") else "?"
    return f"{printable(user)}@{printable(socket.gethostname())} (cli)"


# --- saying -------------------------------------------------------------------------------------------------------


def paper_of(where: Where) -> Paper:
    """Stdout."""
    return Paper(sys.stdout, look_of(sys.stdout, os.environ, verbose=where.verbose))


def sheet_of(paper: Paper) -> Sheet:
    """What lines on this paper are made for."""
    return Sheet(look=paper.look, width=paper.width)


def say(where: Where, made: Callable[[Sheet], Iterable[Line]]) -> None:
    """Show lines on stdout."""
    paper = paper_of(where)
    paper.write(made(sheet_of(paper)))


def shown_id(where: Where, job_id: str) -> str:
    """A job's id by which the commands find it; whole with `-v`."""
    return printable(job_id) if where.verbose else short_id(job_id)


def hint(text: str) -> None:
    """Say on stderr what to do next, so that what is piped on is the answer alone."""
    with suppress(OSError):  # the answer is what counts
        Paper(sys.stderr, look_of(sys.stderr, os.environ)).write([((without_passwords(text), "dim"),)])


def say_json(value: object) -> None:
    """One line of JSON on stdout, ASCII alone, so that any encoding will do."""
    sys.stdout.write(as_json(value) + "\n")
    sys.stdout.flush()


def as_json(value: object) -> str:
    """A value of the inspector as JSON: instants in ISO 8601, bytes in base64."""
    plain: Any = msgspec.to_builtins(value, str_keys=True)
    return json.dumps(plain)


@contextmanager
def theirs_on_stderr() -> Generator[None]:
    """Within it, what a user's module prints goes to stderr, as stdout is for the answer alone."""
    with redirect_stdout(sys.stderr):
        yield


# --- what is logged meanwhile -------------------------------------------------------------------------------------


class _Warnings(logging.Handler):
    """Shows what the package warns of on stderr, one line each, but that the built-in server is used: it is shown.

    Below it stands the traceback of what is told with one: nobody else shows it.
    """

    def emit(self, record: logging.LogRecord) -> None:
        event = event_of(record)
        if event.name == "built_in":
            return
        lines: list[Line] = [(("warning:", "yellow"), (f" {printable(event.message)}", ""))]
        lines += [((row, "dim"),) for row in rows(event.trace or "")]
        with suppress(OSError):  # stderr may be as full as stdout
            Paper(sys.stderr, look_of(sys.stderr, os.environ)).write(lines)


@contextmanager
def warnings_said() -> Generator[None]:
    """Within it, what the package warns of is one line each on stderr, with its traceback if it has one."""
    log, handler = logging.getLogger("aiotq"), _Warnings(logging.WARNING)
    propagate, log.propagate = log.propagate, False
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = propagate
