"""What the commands that act on jobs share: their options; asking first; acting on those named, or on all."""

from __future__ import annotations

import inspect
import shlex
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

from aiotq import checks
from aiotq.cli.mistake import EXIT_FAILURE, EXIT_OK, Mistake
from aiotq.cli.operate import a_queue, options, stopping
from aiotq.cli.operate.choice import chosen, nowhere, one_id, unknown, words
from aiotq.cli.operate.moments import Moment
from aiotq.cli.operate.parts import told
from aiotq.cli.operate.reach import MAYBE, Where, app_of, ask, ask_app, hint, lost, say, say_json, shown_id
from aiotq.cli.text import count
from aiotq.errors import InvalidRecord, JobNotFound, StoreError, StoreUnavailable, parts
from aiotq.inspection.acts import STATES, Act, states_meant
from aiotq.job import JobStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aiotq.inspection import arrivals
    from aiotq.inspection.values import Bulk, Came, JobFilter
    from aiotq.inspector import Inspector

EXIT_CODES = """\
Exit codes: 0 done, or it was so already, 1 not to each, no job matches, or no server answers, 2 used
wrongly, or nobody could be asked and --yes was not given.

Example: """


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """An act on jobs, as a command."""

    act: Act
    done: str  # "retried"
    asks: bool = False  # whether a person is asked first even for one job
    moves: bool = False  # whether the jobs may go to another queue: `--to`

    @property
    def verb(self) -> str:
        """Its name: "retry"."""
        return self.act.value

    @property
    def states(self) -> tuple[JobStatus, ...]:
        """Of jobs that it can be done to."""
        return STATES[self.act]


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What came of it for one job."""

    id: str
    done: bool
    came_to: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """A command as it was called."""

    command: Command
    where: Where
    yes: bool
    goal: str | None  # the queue to go to
    new: bool  # which may be a new one
    since: Moment | None = None  # as they were given
    until: Moment | None = None


To = Annotated[str | None, options.option("--to", group="How it acts", takes="QUEUE", text="To this queue.")]
New = Annotated[bool, options.option("--new", group="How it acts", text="The queue of --to may be a new one.")]
_OF_MOVES = {"to", "new"}
UNTRIED = "not tried"


def function(command: Command) -> Callable[..., int]:
    """What typer calls: its parameters are the options that all of these commands take."""

    def run(
        ids: options.Ids = None,
        *,
        everything: options.All = False,
        state: options.State = None,
        queue: options.Queue = None,
        task: options.Task = None,
        error: options.Error = None,
        since: options.Since = None,
        until: options.Until = None,
        to: To = None,
        new: New = False,
        yes: options.Yes = False,
        url: options.Url = None,
        namespace: options.Namespace = None,
        app: options.AppName = None,
        as_json: options.AsJson = False,
        verbose: options.Verbose = False,
    ) -> int:
        where = Where(url=url, namespace=namespace, target=app, as_json=as_json, verbose=verbose)
        which = chosen(status=state, queue=queue, task=task, error=error, since=since, until=until)
        goal = None if to is None else checks.queue("to", to)
        order = _Order(command=command, where=where, yes=yes, goal=goal, new=new, since=since, until=until)
        _meant(command, ids or (), which, everything=everything)
        if goal is not None and not new:
            ask(where, lambda inspector: a_queue.existing(inspector, goal, or_else="to a new one: --new"))
        return _all(order, which) if everything else _each(order, list(dict.fromkeys(ids or ())))

    if not command.moves:
        whole = inspect.signature(run, eval_str=True)
        kept = [parameter for name, parameter in whole.parameters.items() if name not in _OF_MOVES]
        setattr(run, "__signature__", whole.replace(parameters=kept))  # noqa: B010  no attribute that a type has
    return run


def _meant(command: Command, given: Sequence[str], which: JobFilter, *, everything: bool) -> None:
    """Raise Mistake for what can't be meant, before a server is asked anything."""
    verb = command.verb
    if everything == bool(given):
        why = "ids and --all exclude each other" if given else "no job was named"
        raise Mistake(why, f"name them: aiotq {verb} ID...", f"or what they share: aiotq {verb} --all --queue QUEUE")
    if not everything and words(which):
        raise Mistake(f"{words(which)[0]} goes with --all, and jobs were named", "name jobs, or use --all; not both")
    if which.status is not None and which.status not in command.states:
        raise Mistake(f"--state {which.status}: no such job can be {command.done}", f"it has to be {_among(command)}")


# --- jobs by their ids ----------------------------------------------------------------------------------------------


def _each(order: _Order, given: Sequence[str]) -> int:
    command, where, app = order.command, order.where, app_of(order.where)
    meant: Mapping[str, str] = {}
    if command.asks:
        meant = ask_app(where, app, lambda inspector: _named(order, inspector, given))
        named = f"job {told(next(iter(meant)))}" if len(meant) == 1 else count(len(meant), "job")
        confirm(f"{command.verb} {named}?", yes=order.yes)
    done, advice, trouble = ask_app(where, app, lambda inspector: _act_on(order, inspector, given, meant), acts=True)
    if where.as_json:
        say_json(done)
    else:
        for one in done:
            line = _line(command, shown_id(where, one.id), one)
            say(where, lambda _sheet, line=line: [((line, ""),)])
    for line in advice:
        hint(line)
    if trouble is not None:
        left = [shown_id(where, one.id) for one in done if one.came_to in (MAYBE, UNTRIED)]
        again = where.command(command.verb, *_to(order), of=left)
        raise Mistake(lost(trouble, app.source()), f"doing it again is safe: {again}", exit_code=EXIT_FAILURE)
    return EXIT_OK if all(one.done for one in done) else EXIT_FAILURE


def _to(order: _Order) -> list[str]:
    """The options that say where to."""
    return [] if order.goal is None else ["--to", order.goal, *(["--new"] if order.new else [])]


def _line(command: Command, name: str, one: Done) -> str:
    if one.came_to == stopping.TOLD:
        return f"asked its worker to stop {name}"
    if one.came_to == "done":
        return f"{command.done} {name}"
    if one.came_to in (MAYBE, UNTRIED):
        return f"{name}: {one.came_to}"
    return f"{name}: {told(one.came_to)}" if one.done else f"{name}: not {command.done}: {told(one.came_to)}"


async def _resolved(inspector: Inspector, given: Sequence[str]) -> dict[str, str]:
    """Each job that is meant once, by its whole id: as it was given."""
    return {await one_id(inspector, text): text for text in given}


async def _named(order: _Order, inspector: Inspector, given: Sequence[str]) -> dict[str, str]:
    """What is asked about. Raises Mistake for the one job that there is not: nobody shall be asked in vain."""
    meant = await _resolved(inspector, given)
    if len(meant) == 1 and not order.yes:
        [(whole, text)] = meant.items()
        try:
            await inspector.job(whole)
        except JobNotFound as error:
            raise nowhere(text) from error
    return meant


async def _act_on(
    order: _Order, inspector: Inspector, given: Sequence[str], meant: Mapping[str, str]
) -> tuple[list[Done], list[str], StoreError | None]:
    """What came of each, what to do next, and what broke it off after the first. All must be found before one is
    touched: no slip does half of it.

    meant: what a person has confirmed, found before; a name that has come to mean another job since does not count.
    """
    done: list[Done] = []
    trouble: StoreError | None = None
    for whole, text in (meant or await _resolved(inspector, given)).items():
        if trouble is not None:
            done.append(Done(id=whole, done=False, came_to=UNTRIED))
            continue
        try:
            came: Came = await inspector.act(order.command.act, whole, queue=order.goal)
        except JobNotFound as error:
            if len(given) == 1:
                raise nowhere(text) from error
            done.append(Done(id=whole, done=False, came_to="there is no such job"))
        except InvalidRecord as error:
            done.append(Done(id=whole, done=False, came_to=parts(str(error))[0]))
        except StoreError as error:
            if not done:
                raise
            trouble = error
            unsure = isinstance(error, StoreUnavailable) and error.sent
            done.append(Done(id=whole, done=False, came_to=MAYBE if unsure else UNTRIED))
        else:
            done.append(Done(id=whole, done=came.done, came_to=came.what))
    asked = [one.id for one in done if one.came_to == stopping.TOLD]
    return done, [] if trouble else await stopping.advice(inspector, asked, order.where), trouble


# --- all that match -------------------------------------------------------------------------------------------------


def _all(order: _Order, which: JobFilter) -> int:
    command, where = order.command, order.where
    states = states_meant(command.act, which.status)
    if len(states) == 1:
        which = replace(which, status=states[0])
    numbers, slip, as_of = ask(where, lambda inspector: _counted(inspector, which, states))
    number = sum(numbers.values())
    given = words(which, since=order.since, until=order.until)
    which_ones = f" ({told(' '.join(given))})" if given else ""
    if not number:
        return _nothing(where, f"no {_among(command, states)} job matches{which_ones}: nothing {command.done}", slip)
    confirm(f"{command.verb} {count(number, 'job')}{_note(command, numbers)}{which_ones}?", yes=order.yes)
    bulk = ask(
        where, lambda inspector: inspector.act_on_all(command.act, which, queue=order.goal, as_of=as_of), acts=True
    )
    if where.as_json:
        say_json(bulk)
    else:
        say(where, lambda _sheet: [((_came(command, bulk), ""),)])
    if bulk.told:
        hint(f"whether these have ended: {where.command('jobs', '--state', 'running')}")
    return EXIT_OK if bulk.done else EXIT_FAILURE


async def _counted(
    inspector: Inspector, which: JobFilter, states: Sequence[JobStatus]
) -> tuple[Mapping[JobStatus, int], str | None, arrivals.Moment]:
    """How many it may be done to, by state; if there are none, whether they were named by what there is not; and when.

    What comes from then on was not counted, and is not acted on as far as that can be told.
    """
    as_of = await inspector.moment(which.queue)
    numbers = {state: await inspector.count(replace(which, status=state)) for state in states}
    return numbers, None if any(numbers.values()) else await unknown(inspector, which), as_of


def _among(command: Command, states: Sequence[JobStatus] = ()) -> str:
    *first, last = [state.value for state in states or command.states]
    return f"{', '.join(first)} or {last}" if first else last


def _note(command: Command, numbers: Mapping[JobStatus, int]) -> str:
    """What of them is not what a person may expect."""
    if command.act is Act.CANCEL and numbers.get(JobStatus.RUNNING):
        return f", {numbers[JobStatus.RUNNING]:,} of them running: their workers are asked to stop them"
    if command.act is Act.REQUEUE and numbers.get(JobStatus.SCHEDULED):
        return f", {numbers[JobStatus.SCHEDULED]:,} of them scheduled: due at once then"
    return ""


def _came(command: Command, bulk: Bulk) -> str:
    skipped = f"; {bulk.skipped:,} had moved on, or can't be {command.done}" if bulk.skipped else ""
    if bulk.told:
        asked = f"asked workers to stop {count(bulk.told, 'job')}"
        ended = f"{command.done} {count(bulk.done - bulk.told, 'job')}, " if bulk.done > bulk.told else ""
        return f"{ended}{asked}{skipped}"
    return f"{command.done} {count(bulk.done, 'job')}{skipped}"


def _nothing(where: Where, line: str, slip: str | None) -> int:
    if where.as_json:
        say_json({"done": 0, "skipped": 0, "looked": 0, "told": 0})
    hint(line)
    if slip is not None:
        hint(slip)
    return EXIT_FAILURE


# --- asking ---------------------------------------------------------------------------------------------------------


def confirm(question: str, *, yes: bool) -> None:
    """Ask a person, unless `--yes` was given. Raises Mistake where nobody can be asked, and if the answer is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        verb, *given = sys.argv[1:]
        again = shlex.join(["aiotq", verb, "--yes", *given])  # behind a "--" that was given it would be an id
        raise Mistake(f"{question.rstrip('?')}: nobody can be asked here", f"if it is meant: {told(again)}")
    sys.stderr.write(f"{told(question)} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise Mistake("nothing was done", exit_code=EXIT_FAILURE)
