"""`aiotq server status | stop`: the embedded server of a directory, for people and for scripts."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aiotq.cli.help import Page
from aiotq.cli.look import Paper, look_of
from aiotq.cli.mistake import EXIT_FAILURE, EXIT_OK, Mistake
from aiotq.cli.text import count, duration, printable
from aiotq.errors import StoreError
from aiotq.store import embedded

if TYPE_CHECKING:
    from collections.abc import Mapping

BUILT_IN = "embedded://"

server_app = typer.Typer(
    help="The built-in server: what it does, and its end. It starts by itself, and ends when nobody needs it any more.",
    epilog="Example: aiotq server status",
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        rich_help_panel="Server",
        help="Which one: embedded://DIRECTORY. Else the one of AIOTQ_URL if that begins with embedded://, else .aiotq "
        "in the current folder.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", rich_help_panel="Output", help="One JSON object, for scripts.")]

STATUS_HELP = "Show the built-in server of this folder, if it runs."
STATUS_EXAMPLE = """\
Exit codes: 0 it runs, 1 none runs, 2 used wrongly.

Example: the one of another folder

  aiotq server status --url embedded://shop/.aiotq"""

STOP_HELP = """\
Stop the built-in server of this folder, its data saved.

Workers and other clients that still need it start it again, on the same data: stop them first."""
STOP_EXAMPLE = """\
Exit codes: 0 stopped, 1 none ran or it would not stop, 2 used wrongly.

Example: start over with nothing

  aiotq server stop; rm -r .aiotq"""


@server_app.callback(invoke_without_command=True)
def group(context: typer.Context) -> None:
    """Either command."""
    if context.invoked_subcommand is None:
        raise Mistake("no command was named", "run: aiotq server status", "or: aiotq server stop")


@server_app.command(cls=Page, help=STATUS_HELP, epilog=STATUS_EXAMPLE)
def status(*, url: Url = None, as_json: AsJson = False) -> int:
    """Show it. Exit code 1 if none runs."""
    directory = chosen(url, os.environ)
    found = _look(directory)
    if as_json:
        facts = {"directory": directory} if found is None else asdict(found)
        _say(json.dumps({"running": found is not None, **facts}, default=str))
    elif found is None:
        _say(f"no server runs in {shown(directory)}; the first process that needs it starts it")
    else:
        for label, value in _rows(found):
            _say(f"  {label:<14}{value}")
    return EXIT_FAILURE if found is None else EXIT_OK


@server_app.command(cls=Page, help=STOP_HELP, epilog=STOP_EXAMPLE)
def stop(*, url: Url = None, as_json: AsJson = False) -> int:
    """Stop it. Exit code 1 if none ran."""
    directory = chosen(url, os.environ)
    found = _look(directory)
    stopped = found is not None and _stop(directory)
    if as_json:
        pid, clients = (found.pid, found.clients) if found and stopped else (None, None)
        _say(json.dumps({"stopped": stopped, "directory": str(directory), "pid": pid, "clients": clients}))
    elif found is None or not stopped:
        _say(f"no server runs in {shown(directory)}")
    else:
        _say(f"stopped {found.kind} {found.version} in {shown(directory)} (process {found.pid}); its data is saved")
        if found.clients:
            were = "was" if found.clients == 1 else "were"
            _say(f"{count(found.clients, 'client')} {were} connected; whoever still needs the server starts it again")
    return EXIT_OK if stopped else EXIT_FAILURE


def chosen(url: str | None, environ: Mapping[str, str]) -> Path:
    """The directory that is meant: by `--url`, by AIOTQ_URL if that is embedded, else the default one.

    Raises UsageError for a `--url` that is no `embedded://` one.
    """
    if url is not None:
        return embedded.parse(url)
    said = environ.get("AIOTQ_URL", "")
    return embedded.parse(said if said.startswith(BUILT_IN) else BUILT_IN)


def shown(directory: Path) -> str:
    """A directory as a person here would call it."""
    here = Path.cwd()
    return printable(f"{directory.relative_to(here) if directory.is_relative_to(here) else directory}/")


def _rows(found: embedded.ServerStatus) -> list[tuple[str, str]]:
    return [
        ("server", f"built-in {found.kind} {found.version} in {shown(found.directory)}"),
        ("process", f"{found.pid}, up {duration(found.uptime_s)}"),
        ("clients", f"{found.clients:,}"),
        ("data", f"{count(found.keys, 'key')}, {found.memory_bytes / 1_000_000:,.1f} MB of memory"),
        ("socket", printable(found.socket)),
    ]


def _look(directory: Path) -> embedded.ServerStatus | None:
    try:
        return embedded.status(directory)
    except StoreError as error:
        raise Mistake(str(error), exit_code=EXIT_FAILURE) from error


def _stop(directory: Path) -> bool:
    try:
        return embedded.stop(directory)
    except StoreError as error:
        raise Mistake(str(error), exit_code=EXIT_FAILURE) from error


def _say(line: str) -> None:
    Paper(sys.stdout, look_of(sys.stdout, os.environ)).write([((line, ""),)])
