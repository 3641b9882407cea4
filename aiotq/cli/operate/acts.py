"""What commands that change something share: asking first, acting on one job after the other or on all, and telling."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from aiotq.cli.mistake import EXIT_FAILURE, EXIT_OK, Mistake
from aiotq.cli.operate.choice import nowhere, one_id, words
from aiotq.cli.operate.parts import WHOLE_ID, told
from aiotq.cli.operate.reach import Where, ask, hint, say, say_json
from aiotq.cli.text import count, short_id
from aiotq.errors import InvalidRecord, JobNotFound
from aiotq.inspection.values import Bulk, JobFilter
from aiotq.inspector import Inspector
from aiotq.job import JobStatus

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Something that can be done to jobs, in words."""

    verb: str  # "retry"
    done: str  # "retried"
    refused: str  # why it was not done: "it has not failed"
    asks: bool  # whether a person is asked first even for one job
    states: tuple[JobStatus, ...] = ()  # of jobs that it can be done to, the usual one first; none: of several kinds
    one: Callable[[Inspector, str], Awaitable[bool]]
    many: Callable[[Inspector, JobFilter], Awaitable[Bulk]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What came of it for one job."""

    id: str
    done: bool
    why: str | None = None  # if it was not done


def perform(
    act: Act, where: Where, given: Sequence[str] | None, which: JobFilter, *, everything: bool, yes: bool
) -> int:
    """Act on the jobs named, or with `--all` on all that match. Returns the exit code; raises Mistake."""
    if everything == bool(given):
        why = "ids and --all exclude each other" if given else "no job was named"
        raise Mistake(why, f"run: aiotq {act.verb} ID..., or aiotq {act.verb} --all with what they have in common")
    if everything:
        return _all(act, where, which, yes=yes)
    if words(which):
        raise Mistake(
            "filters go with --all, and jobs were named", f"run: aiotq {act.verb} --all {words(which)[0]} ..."
        )
    return _each(act, where, list(dict.fromkeys(given or ())), yes=yes)


# --- jobs by their ids ----------------------------------------------------------------------------------------------


def _each(act: Act, where: Where, given: Sequence[str], *, yes: bool) -> int:
    if act.asks:
        whole = ask(where, lambda inspector: _resolved(inspector, given))
        confirm(f"{act.verb} {_named(whole)}?", yes=yes, verb=act.verb)
        given = whole
    done = ask(where, lambda inspector: _act_on(act, inspector, given))
    if where.as_json:
        say_json([{"id": one.id, "done": one.done, "why": one.why} for one in done])
    else:
        for one in done:
            name = told(one.id) if where.verbose or len(one.id) <= WHOLE_ID else short_id(one.id)
            line = f"{act.done} {name}" if one.done else f"{name}: not {act.done}: {one.why}"
            say(where, lambda _sheet, line=line: [((line, ""),)])
    return EXIT_OK if any(one.done for one in done) and all(one.done for one in done) else EXIT_FAILURE


async def _resolved(inspector: Inspector, given: Sequence[str]) -> list[str]:
    return list(dict.fromkeys([await one_id(inspector, text) for text in given]))


async def _act_on(act: Act, inspector: Inspector, given: Sequence[str]) -> list[Done]:
    """All of them must be found before one is touched: a slip of the hand does not do half of it."""
    done: list[Done] = []
    for whole, text in zip(await _resolved(inspector, given), given, strict=False):
        try:
            was_done = await act.one(inspector, whole)
        except JobNotFound as error:
            if len(given) == 1:
                raise nowhere(text) from error
            done.append(Done(id=whole, done=False, why="there is no such job"))
        except InvalidRecord as error:
            done.append(Done(id=whole, done=False, why=told(str(error).partition("; ")[0])))
        else:
            done.append(Done(id=whole, done=was_done, why=None if was_done else act.refused))
    return done


def _named(ids: Sequence[str]) -> str:
    return f"job {told(ids[0])}" if len(ids) == 1 else count(len(ids), "job")


# --- all that match -------------------------------------------------------------------------------------------------


def _all(act: Act, where: Where, which: JobFilter, *, yes: bool) -> int:
    if act.states:
        if which.status is not None and which.status not in act.states:
            raise Mistake(f"--state {which.status} can't be {act.done}: {act.refused}", "leave --state out")
        which = replace(which, status=which.status or act.states[0])
    number = ask(where, lambda inspector: inspector.count(which))
    which_ones = f" ({' '.join(words(which))})" if words(which) else ""
    if not number:
        return _nothing(where, f"no job matches{which_ones}: nothing {act.done}")
    confirm(f"{act.verb} {count(number, 'job')}{which_ones}?", yes=yes, verb=act.verb)
    bulk = ask(where, lambda inspector: act.many(inspector, which))
    if where.as_json:
        say_json(bulk)
    else:
        skipped = f", {bulk.skipped:,} left as they were: {act.refused}" if bulk.skipped else ""
        say(where, lambda _sheet: [((f"{act.done} {count(bulk.done, 'job')}{skipped}", ""),)])
    return EXIT_OK if bulk.done else EXIT_FAILURE


def _nothing(where: Where, line: str) -> int:
    if where.as_json:
        say_json({"done": 0, "skipped": 0, "looked": 0})
    hint(line)
    return EXIT_FAILURE


# --- asking ---------------------------------------------------------------------------------------------------------


def confirm(question: str, *, yes: bool, verb: str) -> None:
    """Ask a person, unless `--yes` was given. Raises Mistake where nobody can be asked, and if the answer is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Mistake(f"{question.rstrip('?')}: nobody can be asked here", f"if it is meant: aiotq {verb} ... --yes")
    sys.stderr.write(f"{told(question)} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise Mistake("nothing was done", exit_code=EXIT_FAILURE)
