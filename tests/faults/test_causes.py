"""A chaos run blames a repeat on what was done to that worker, at that time, and on nothing else."""

from __future__ import annotations

import math

import pytest

from tests.faults.causes import Causes
from tests.process.ledger import Entry

GRACE_S = 0.3
FIRST, SECOND = 11, 12  # processes


def entry(what: str, at_s: float, *, pid: int = FIRST, job_id: str = "j") -> Entry:
    return Entry(job_id=job_id, attempt=1, pid=pid, at_s=at_s, what=what)


def twice(*, end_s: float | None, again_s: float) -> list[Entry]:
    """It starts in one process at 10, ends there if it does, and starts in another one."""
    ended = [] if end_s is None else [entry("end", end_s)]
    return sorted([entry("start", 10.0), *ended, entry("start", again_s, pid=SECOND)], key=lambda one: one.at_s)


def test_a_repeat_without_any_fault_has_no_cause():
    verdict = Causes().judge(twice(end_s=None, again_s=11))
    assert len(verdict.uncaused) == 1
    assert not verdict.may_repeat


@pytest.mark.parametrize(
    ("end_s", "killed_s", "caused"),
    [
        (None, 12, True),
        (11.5, 12, True),  # its outcome may not have been stored
        (10.2, 12, False),  # ... but long before, it was
        (None, 21, False),  # killed after its job had started again
        (None, 9, False),  # ... or before it ever had it: it was another process then
    ],
)
def test_a_repeat_is_blamed_on_a_kill_while_the_job_was_in_hand(end_s: float | None, killed_s: float, *, caused: bool):
    causes = Causes()
    causes.lapse(FIRST, killed_s, math.inf if caused else killed_s + 0.1)
    assert bool(causes.judge(twice(end_s=end_s, again_s=20)).uncaused) is not caused


def test_a_kill_of_another_worker_is_no_cause():
    causes = Causes()
    causes.lapse(SECOND, 12)
    assert causes.judge(twice(end_s=None, again_s=20)).uncaused


def test_what_was_killed_once_may_start_once_more_and_no_oftener():
    causes = Causes()
    causes.lapse(FIRST, 12)
    third = [*twice(end_s=None, again_s=20), entry("start", 21, pid=13)]
    verdict = causes.judge(third)
    assert (verdict.repeats, len(verdict.uncaused)) == (1, 1)


def test_an_outcome_may_be_unstored_for_as_long_as_no_store_was_in_reach():
    causes = Causes()
    causes.darkness(None, 9.0, 13.0)
    causes.lapse(FIRST, 13.5)
    assert not causes.judge(twice(end_s=10.2, again_s=20)).uncaused


@pytest.mark.parametrize(("end_s", "caused"), [(None, True), (12.2, False), (12.4, True)])
def test_after_a_gentle_stop_only_what_outlived_its_grace_may_run_again(end_s: float | None, *, caused: bool):
    causes = Causes(grace_s=GRACE_S)
    causes.stopped(FIRST, 12.0, gone_s=12.5)
    assert bool(causes.judge(twice(end_s=end_s, again_s=13)).uncaused) is not caused


def test_a_gentle_stop_that_reaches_no_store_excuses_what_could_not_be_stored():
    causes = Causes(grace_s=GRACE_S)
    causes.darkness(None, 12.1, 14.0)
    causes.stopped(FIRST, 12.0, gone_s=12.5)
    assert not causes.judge(twice(end_s=12.2, again_s=15)).uncaused


@pytest.mark.parametrize(("acked_s", "durable", "gone"), [(12, False, True), (12, True, False), (14, False, False)])
def test_only_what_was_acknowledged_as_the_server_lost_data_may_be_gone(acked_s: float, *, durable: bool, gone: bool):
    causes = Causes()
    causes.loss(11, 13, spares_durable=True)
    assert causes.lost_in(acked_s, durable=durable) is gone


def test_what_ran_as_the_server_lost_data_may_run_again():
    causes = Causes()
    causes.loss(10.5, 11)
    assert not causes.judge(twice(end_s=10.6, again_s=12)).uncaused
    assert causes.judge(twice(end_s=11.5, again_s=12.5)).may_repeat
    causes = Causes()
    causes.loss(13, 14)
    assert causes.judge(twice(end_s=11.5, again_s=12.5)).uncaused


def test_a_lost_lease_needs_something_done_to_its_worker():
    causes = Causes()
    causes.lapse(FIRST, 12, 13)
    assert causes.excuses_lost_lease(FIRST, 14)
    assert not causes.excuses_lost_lease(FIRST, 30)
    assert not causes.excuses_lost_lease(SECOND, 14)


def test_with_a_part_of_its_lease_gone_the_next_fault_may_take_the_rest():
    causes = Causes(lease_s=2)
    causes.lapse(FIRST, 11, 14)
    causes.darkness(None, 15, 18)
    assert not causes.judge(twice(end_s=None, again_s=20)).uncaused
    assert causes.excuses_lost_lease(FIRST, 19)
    assert not causes.excuses_lost_lease(FIRST, 30)
