"""The invariants find what is wrong: each is shown a case that breaks it, and nothing but it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.faults.invariants import INVARIANTS, Allowed, Evidence, Exit, Load, Told, Took, violations
from tests.model.census import Census
from tests.process.ledger import Entry

HOUR_MS = 3_600_000


def record(state: str = "s", generation: str = "AAAA", body: str = '{"t":"note"}') -> bytes:
    return f"1{state}{generation}1800000000000{body}".encode()


FAILED = record("f", body='{"t":"note","z":"lost"}')
CANCELLED = record("c", body='{"t":"note","z":"cancelled"}')
WELL, DEAD, LEFT_OPEN, AGAIN = "well", "dead", "left-open", "again"


def entry(job_id: str, what: str, at_s: float, *, pid: int = 1, attempt: int = 1) -> Entry:
    return Entry(job_id=job_id, attempt=attempt, pid=pid, at_s=at_s, what=what)


LEDGER = (
    entry(WELL, "start", 1),
    entry(WELL, "end", 2),
    entry(LEFT_OPEN, "start", 3),
    entry(LEFT_OPEN, "end", 4),
    entry(AGAIN, "start", 5, pid=1),  # ... and process 1 was killed
    entry(AGAIN, "start", 6, pid=2),
    entry(AGAIN, "end", 7, pid=2),
)


def census(records: Mapping[str, bytes], **keys: Any) -> Census:
    """A store of these records, each with its TTL, and what else it is said to hold."""
    ttl_ms = {f"job:{job_id}": HOUR_MS if data[1:2] in b"sfc" else -1 for job_id, data in records.items()}
    return Census(records=dict(records), ttl_ms={**ttl_ms, "queues": -1, **keys.pop("ttl_ms", {})}, **keys)


RECORDS = {WELL: record(), DEAD: FAILED, LEFT_OPEN: record(), AGAIN: record()}
ACKED = (WELL, DEAD, AGAIN)
CLEAN = Evidence(
    told=Told(acked=ACKED, refused=("refused",), unsure=(LEFT_OPEN, "nowhere")),
    entries=LEDGER,
    sample=census(RECORDS),
    allowed=Allowed(dead=(DEAD,), excused=(1,)),
    earlier=(
        census(
            {WELL: record(), AGAIN: record("w")},
            lines={"default:5": ["default:5:AAAA:again"]},
            index={"default": ["5"]},
            ttl_ms={"line:default:5": -1},
        ),
    ),
    published=dict.fromkeys(ACKED, 1),
    settled=(
        (Load(pid=1, fds=20, rss=50 << 20), Load(pid=1, fds=21, rss=52 << 20)),
        (Load(pid=9, clients=9), Load(pid=9, clients=11)),
    ),
    away=((Load(pid=1, cpu_s=1, lines=9, at_s=10), Load(pid=1, cpu_s=1.1, lines=12, at_s=12)),),
    said={1: '{"event":"ready"}'},
    times=(Took(what="recovery", took_s=2.4, limit_s=3),),
    exits=(Exit(pid=2, code=0),),
)


def changed(**records: bytes | None) -> Evidence:
    """With other records, by id (an underscore stands for a dash)."""
    after = {**RECORDS, **{name.replace("_", "-"): data for name, data in records.items()}}
    return replace(CLEAN, sample=census({job_id: data for job_id, data in after.items() if data is not None}))


def ran(*more: Entry) -> Evidence:
    """With more in its ledger."""
    return replace(CLEAN, entries=(*LEDGER, *more))


def left(**keys: Any) -> Evidence:
    """With more in its store."""
    return replace(CLEAN, sample=census(RECORDS, **keys))


CASES: dict[str, tuple[str, Callable[[], Evidence]]] = {
    "vanished": ("I1", lambda: changed(well=None)),
    "succeeded without having run": ("I1", lambda: replace(CLEAN, entries=LEDGER[2:])),
    "failed by itself": ("I1", lambda: replace(changed(well=FAILED), earlier=())),
    "failed without a reason": ("I1", lambda: changed(dead=record("f"))),
    "a dead letter that has succeeded": ("I1", lambda: changed(dead=record())),
    "cancelled by nobody": ("I1", lambda: replace(changed(well=CANCELLED), earlier=())),
    "changed after its end": ("I2", lambda: changed(well=record(generation="BBBB"))),
    "published twice": ("I2", lambda: replace(CLEAN, published={**dict.fromkeys(ACKED, 1), WELL: 2})),
    "never published": ("I2", lambda: replace(CLEAN, published={WELL: 1, DEAD: 1})),
    "refused and there": ("I3", lambda: changed(refused=record())),
    "refused and run": ("I3", lambda: ran(entry("refused", "start", 8), entry("refused", "end", 9))),
    "left open, half a job": ("I3", lambda: changed(left_open=None)),
    "left open, succeeded without having run": ("I3", lambda: changed(nowhere=record())),
    "started twice without cause": ("I4", lambda: ran(entry(WELL, "start", 8, pid=1), entry(AGAIN, "start", 8, pid=3))),
    "started twice by one nothing happened to": ("I4", lambda: ran(entry(AGAIN, "start", 8, pid=3))),
    "repeated more often than it was lost": (
        "I4",
        lambda: replace(
            ran(entry(AGAIN, "start", 8, pid=3)), allowed=replace(CLEAN.allowed, may_repeat=(AGAIN,), most_repeats=9)
        ),
    ),
    "repeated more often than it was said to be": (
        "I4",
        lambda: replace(
            ran(entry(AGAIN, "start", 8, pid=3), entry(AGAIN, "start", 9, pid=3)),
            allowed=replace(CLEAN.allowed, may_repeat={AGAIN: 2}, most_repeats=9),
        ),
    ),
    "repeated twice after one fault": (
        "I4",
        lambda: replace(
            CLEAN,
            entries=(
                *LEDGER[:4],
                *(entry(AGAIN, "start", at_s, pid=1) for at_s in (5, 6, 7)),
                entry(AGAIN, "end", 8, pid=1),
            ),
            allowed=replace(CLEAN.allowed, most_repeats=9),
        ),
    ),
    "more repeats than were ever in its hands": (
        "I4",
        lambda: ran(
            *(entry(WELL, what, at_s, pid=2) for what, at_s in (("start", 20), ("end", 21))),
            *(entry(LEFT_OPEN, what, at_s, pid=2) for what, at_s in (("start", 22), ("end", 23))),
        ),
    ),
    "more repeats than jobs in hand": ("I4", lambda: replace(CLEAN, allowed=replace(CLEAN.allowed, most_repeats=0))),
    "an attempt used up": ("I4", lambda: ran(entry(WELL, "start", 8, attempt=2), entry(WELL, "end", 9, attempt=2))),
    "two attempts at once": (
        "I4",
        lambda: replace(
            CLEAN,
            entries=(
                *LEDGER[2:],
                entry(WELL, "start", 8, pid=2),
                entry(WELL, "start", 9, pid=3, attempt=2),
                entry(WELL, "end", 10, pid=2),
            ),
            allowed=replace(CLEAN.allowed, failures={WELL: 1}),
        ),
    ),
    "no TTL": ("I5", lambda: left(ttl_ms={"job:well": -1})),
    "a ticket left": ("I5", lambda: left(lines={"default:5": ["default:5:AAAA:well"]}, index={"default": ["5"]})),
    "a worker left": ("I5", lambda: left(workers={"w1": 5}, cards={"w1"})),
    "a mark left": ("I5", lambda: left(lost={WELL: 1})),
    "an unknown key for ever": ("I5", lambda: left(others={"debris"}, ttl_ms={"debris": -1})),
    "in two places meanwhile": (
        "I5",
        lambda: replace(
            CLEAN,
            earlier=(
                census(
                    {AGAIN: record("w")},
                    lines={"default:5": ["default:5:AAAA:again"]},
                    index={"default": ["5"]},
                    schedule={"default:5:AAAA:again": 7},
                ),
            ),
        ),
    ),
    "more sockets than before": ("I6", lambda: replace(CLEAN, settled=((Load(pid=1, fds=20), Load(pid=1, fds=24)),))),
    "more clients than before": (
        "I6",
        lambda: replace(CLEAN, settled=((Load(pid=9, clients=9), Load(pid=9, clients=12)),)),
    ),
    "more memory than before": (
        "I6",
        lambda: replace(CLEAN, settled=((Load(pid=1, rss=50 << 20), Load(pid=1, rss=70 << 20)),)),
    ),
    "busy without its store": ("I6", lambda: replace(CLEAN, away=((Load(pid=1), Load(pid=1, cpu_s=1, at_s=2)),))),
    "loud without its store": ("I6", lambda: replace(CLEAN, away=((Load(pid=1), Load(pid=1, lines=21, at_s=2)),))),
    "a mistake of ours": ("I6", lambda: replace(CLEAN, said={1: "... by a mistake in aiotq ..."})),
    "too slow": ("I7", lambda: replace(CLEAN, times=(Took(what="recovery", took_s=3.1, limit_s=3),))),
    "another exit code": ("I8", lambda: replace(CLEAN, exits=(Exit(pid=2, code=1),))),
}


def test_nothing_is_wrong_with_a_scenario_in_which_all_is_well():
    assert violations(CLEAN) == []


@pytest.mark.parametrize("case", CASES)
def test_a_violated_invariant_is_named_and_no_other(case: str):
    invariant, evidence = CASES[case]
    assert {found.invariant for found in violations(evidence())} == {invariant}


MAY_REPEAT = Allowed(dead=(DEAD,), may_repeat=(AGAIN,))
ALLOWED: dict[str, Callable[[], Evidence]] = {
    "once more by leave": lambda: replace(
        CLEAN, entries=[*LEDGER[:4], *LEDGER[5:], entry(AGAIN, "start", 8, pid=3)], allowed=MAY_REPEAT
    ),
    "as often as it was said to be": lambda: replace(
        ran(entry(AGAIN, "start", 8, pid=3)), allowed=replace(MAY_REPEAT, may_repeat={AGAIN: 2})
    ),
    "once more for each lease that was lost": lambda: replace(
        ran(entry(AGAIN, "start", 8, pid=1), entry(AGAIN, "start", 9, pid=1)),
        allowed=replace(CLEAN.allowed, excused=(1, 2)),
        said={1: '{"event":"lease_lost"}'},
    ),
}


@pytest.mark.parametrize("case", ALLOWED)
def test_what_a_fault_accounts_for_is_no_violation(case: str):
    assert violations(ALLOWED[case]()) == []


def test_each_invariant_has_a_case_that_breaks_it():
    assert {invariant for invariant, _ in CASES.values()} == set(INVARIANTS)
