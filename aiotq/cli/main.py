"""The command line: `python -m aiotq`, and the console script `aiotq`. A first word that is a command is one."""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import nullcontext, suppress
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any

import typer

from aiotq.cli import near, options
from aiotq.cli.help import Page
from aiotq.cli.look import Paper, look_of
from aiotq.cli.mistake import EXIT_FORCED, EXIT_OK, Mistake
from aiotq.cli.server import server_app
from aiotq.cli.stdout import all_open, watched
from aiotq.cli.text import printable
from aiotq.cli.wording import in_options
from aiotq.errors import UsageError
from aiotq.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

# By name, the module in which the function of that name is the command, with HELP and EXAMPLE beside it. A module is
# imported when its command is called, so that no command pays for the others.
COMMANDS: Mapping[str, str] = {
    "health": "aiotq.cli.health",
    "completion": "aiotq.cli.completion",
} | {
    name: f"aiotq.cli.operate.{name}"
    for name in (
        *("status", "top", "queues", "workers", "jobs", "job", "tail", "doctor", "check", "audit"),
        *("dashboard", "metrics"),
        *("retry", "cancel", "discard", "promote", "requeue", "purge", "pause", "resume", "enqueue"),
    )
}

_ASKS = {"-h", "--help", "--version"}
_NAMING = {
    "--url",
    "--namespace",
    "--app",
    "--name",
    "--queues",
    "-q",
}  # whose value may be a command's name

_OF_SERVER = {"status", "stop"}

# The parent of everything that a command line can get wrong: click's, or that of the copy which newer typers hold.
_CommandLineError: type[Exception] = typer.BadParameter.__mro__[2]

ABOUT = f"""\
aiotq {__version__}: background jobs for asyncio, on Redis or Valkey

  python -m aiotq MODULE[:APP] [options]    run a worker for the tasks of an app
  aiotq MODULE[:APP] [options]              the same
  aiotq worker MODULE[:APP] [options]       the same, if the module is named like a command

  aiotq status | top | tail                 is all well? one screen, a live one, events as they happen
  aiotq queues | workers | jobs | job ID    what there is; each takes --json
  aiotq retry | cancel | discard | promote | requeue   a job by its id, or --all that match
  aiotq pause | resume | purge QUEUE        a queue
  aiotq enqueue MODULE:TASK --arg k=v       a job from the shell
  aiotq doctor | check | audit              the server; the new code and what waits; who did what
  aiotq dashboard                           all of this in a browser
  aiotq metrics                             what Prometheus scrapes
  aiotq health                              whether a worker, or all that there is, does well, for probes
  aiotq server status|stop                  the built-in server of this folder
  aiotq completion bash|zsh|fish            completion for your shell

  aiotq COMMAND -h                          all about one of these

MODULE is imported from the current folder, APP is the App in it. It may be left out if there is
only one, or if the module uses @task alone."""

EXAMPLE = """\
Every option but --url is also read from the environment: AIOTQ_ and its long name, as in
AIOTQ_CONCURRENCY=20. Ctrl-C, or SIGTERM, stops gently, twice stops now.
Exit codes: 0 stopped as asked, 1 failed, 2 used wrongly, 130 stopped now; of several processes
the highest.

Example: serve two queues, e-mails first, twenty jobs at a time

  python -m aiotq shop.tasks:app --queues email,default --concurrency 20"""

cli = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
cli.add_typer(server_app, name="server")


@cli.callback()
def group() -> None:
    """Background jobs for asyncio, on Redis or Valkey."""


@cli.command(cls=Page, help=ABOUT, epilog=EXAMPLE)
def worker(
    target: options.Target = None,
    *,
    queues: options.Queues = None,
    until_empty: options.UntilEmpty = False,
    concurrency: options.Concurrency = options.DEFAULTS.concurrency,
    threads: options.Threads = options.DEFAULTS.threads,
    pool_processes: options.PoolProcesses = None,
    grace: options.Grace = options.DEFAULTS.grace_s,
    lease: options.Lease = None,
    processes: options.Processes = None,
    max_jobs: options.MaxJobs = None,
    max_memory: options.MaxMemory = None,
    uvloop: options.Uvloop = False,
    reload: options.Reload = False,
    health_port: options.HealthPort = None,
    health_host: options.HealthHost = options.LOOPBACK,
    url: options.Url = None,
    namespace: options.Namespace = None,
    name: options.Name = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    log_format: options.Format = options.LogFormat.TEXT,
    version: options.Version = False,
) -> int:
    """Run a worker."""
    given = {**locals()}
    if target is None:
        found = near.any_app() or "hello:app"
        raise Mistake("no module was named; -h shows what there is", f"run: python -m aiotq {found}")
    if near.find(target) is None:
        refuse_options_before_a_command()
    refuse_what_looks_like_a_command(target)
    from aiotq.cli.supervise import run_processes  # noqa: PLC0415  --version and --help do without what a worker loads

    return run_processes(options.together(given))


def refuse_what_looks_like_a_command(target: str) -> None:
    """Raise Mistake for a word that is no module here, and nearly a command."""
    close = get_close_matches(target, [*COMMANDS, "server", "worker"], n=1, cutoff=0.7)
    if (
        close
        and close[0] != target
        and target.isidentifier()
        and near.find(target) is None
        and near.nearest_module(target) is None
    ):
        raise Mistake(f"there is no command {target!r}, and no module of that name", f"did you mean aiotq {close[0]}?")


def refuse_options_before_a_command() -> None:
    """Raise Mistake for `aiotq --url URL status`: without a command as its first word, it would be a worker's."""
    words = sys.argv[1:]
    if not words or not words[0].startswith("-"):
        return
    for at, word in enumerate(words[1:], 1):
        if (word in COMMANDS or word == "server") and words[at - 1] not in _NAMING:
            after = words[at + 1 :]
            line = ["aiotq", word, *words[:at], *after]
            if word == "server" and (second := next((one for one in after if one in _OF_SERVER), None)):
                after.remove(second)  # "server status" is one command
                line = ["aiotq", word, second, *words[:at], *after]
            raise Mistake(
                f"{word!r} is a command, and its options come after it", f"run: {printable(shlex.join(line))}"
            )


def with_command(words: list[str]) -> list[str]:
    """The command line with its command: the worker's, if the first word is none."""
    known = {app.name for app in cli.registered_groups} | {"worker", *COMMANDS}
    return words if words and words[0] in known else ["worker", *words]


def load(name: str) -> None:
    """Have the command line know a command: its module is imported."""
    if name in COMMANDS and name not in {command.name for command in cli.registered_commands}:
        module = import_module(COMMANDS[name])
        cli.command(name=name, cls=Page, help=module.HELP, epilog=module.EXAMPLE)(getattr(module, name))


def main() -> int:
    """Run the command line. Returns the exit code."""
    words = with_command(sys.argv[1:])
    # What a worker's jobs write is theirs, and so is what becomes of it.
    answers = words[0] != "worker" or bool(_ASKS & set(words))
    with all_open(answers=answers):
        return _ended(words, answers=answers)


def _ended(words: list[str], *, answers: bool) -> int:
    """The exit code of a command, which has said why it is not 0."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")  # of other people's text, what this encoding lacks
    paper = Paper(sys.stderr, look_of(sys.stderr, os.environ))
    try:
        with watched() if answers else nullcontext():
            return _run(words)
    except Mistake as mistake:
        with suppress(OSError):  # stderr may be as full as stdout
            mistake.show(paper)
        return mistake.exit_code
    except KeyboardInterrupt:
        return EXIT_FORCED


def _run(words: list[str]) -> int:
    """Raises Mistake, whatever is wrong with the words."""
    load(words[0])
    commands: Any = typer.main.get_command(cli)
    try:
        return commands.main(args=words, prog_name="aiotq", standalone_mode=False) or EXIT_OK
    except UsageError as error:
        parameters = getattr(commands.commands.get(words[0]), "params", ())
        options = {one.name: max(one.opts, key=len) for one in parameters if one.param_type_name == "option"}
        raise Mistake(*in_options(str(error), options)) from error
    except _CommandLineError as error:
        refuse_options_before_a_command()
        said = str(getattr(error, "format_message", error.__str__)()).rstrip(".")
        raise Mistake(said[:1].lower() + said[1:], f"what there is: aiotq {words[0]} -h") from error
