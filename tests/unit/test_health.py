"""What the signs of a worker, and of a supervisor's processes, mean."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from aiotq.health import CLAIM_WITHIN_S, KEEPER_SILENT_S, WELL, Health, Signs, Stage, judge
from aiotq.supervisor import fitness
from aiotq.supervisor.fitness import HUNG_S, RELIEF_S, SILENT_S, SeatSigns
from aiotq.supervisor.words import Doing

GOOD = Signs(stage=Stage.WORKING, max_block_s=60, keeper_silent_s=0.1, lease_good=True, claimed_ago_s=3.9)


def test_a_worker_that_asks_for_jobs_on_a_lease_that_holds_is_ready():
    assert judge(GOOD) == WELL == Health(live=True, ready=True, reason=None)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"stage": Stage.NEW}, "not started"),
        ({"stage": Stage.STARTING, "keeper_silent_s": None, "lease_good": False, "claimed_ago_s": None}, "starting"),
        ({"stage": Stage.STARTING, "trouble": "the store is away"}, "the store is away"),
        ({"claimed_ago_s": None}, "starting"),
        ({"stage": Stage.STOPPING}, "stopping"),
        ({"stage": Stage.STOPPING, "trouble": "the store is away"}, "stopping"),
        ({"trouble": "the store refuses (LOADING)"}, "the store refuses (LOADING)"),
        ({"trouble": "the store is away", "lease_good": False}, "the store is away"),
        ({"lease_good": False}, "its lease could not be renewed in time"),
        ({"claimed_ago_s": CLAIM_WITHIN_S + 0.1}, "it has not asked for jobs for 10 s"),
        ({"claimed_ago_s": CLAIM_WITHIN_S + 0.1, "blocked_s": 12}, "the event loop is blocked"),
        ({"stuck_threads": True}, "every thread holds a job that can't be ended"),
    ],
)
def test_a_worker_that_lives_and_takes_no_jobs_says_why(change, reason):
    assert judge(replace(GOOD, **change)) == Health(live=True, ready=False, reason=reason)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"stage": Stage.ENDED}, "ended"),
        ({"stuck_slots": True}, "every slot holds a job that can't be ended"),
        ({"keeper_silent_s": KEEPER_SILENT_S + 0.1}, "the keeper's thread has ended or stands still"),
        ({"keeper_silent_s": math.inf}, "the keeper's thread has ended or stands still"),
        ({"blocked_s": 60.1}, "the event loop has been blocked for longer than 60 s (max_block)"),
        (
            {"blocked_s": 60.1, "stage": Stage.STOPPING},
            "the event loop has been blocked for longer than 60 s (max_block)",
        ),
    ],
)
def test_a_worker_that_only_a_new_start_helps_is_neither_live_nor_ready(change, reason):
    assert judge(replace(GOOD, **change)) == Health(live=False, ready=False, reason=reason)


@pytest.mark.parametrize("change", [{"blocked_s": 9.0}, {"claimed_ago_s": CLAIM_WITHIN_S}, {"blocked_s": 60.0}])
def test_a_task_that_blocks_for_a_moment_costs_no_readiness(change):
    assert judge(replace(GOOD, **change)) == WELL


# --- several processes --------------------------------------------------------------------------------------------

READY = Doing(live=True, ready=True)
WORKS = SeatSigns(running=True, doing=READY, silent_s=1.0, age_s=100.0)
AWAY = replace(WORKS, doing=Doing(live=True, ready=False, reason="the store is away"))
DEAD = replace(WORKS, doing=Doing(live=False, ready=False, reason="the event loop has been blocked"))


def of(*seats: SeatSigns, count: int | None = None, stopping: bool = False) -> Health:
    return fitness.judge(dict(enumerate(seats, 1)), count=count or len(seats), stopping=stopping)


def test_a_supervisor_is_ready_once_every_process_is():
    assert of(WORKS, WORKS) == WELL


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (AWAY, "the store is away"),
        (DEAD, "the event loop has been blocked"),
        (replace(WORKS, doing=None), "starting"),
        (replace(WORKS, running=False), "it has ended"),
        (replace(WORKS, silent_s=SILENT_S + 0.1), "it has said nothing for more than 6 s"),
        (replace(WORKS, doing=None, relief=True, age_s=RELIEF_S + 0.1), "starting"),
        (replace(WORKS, doing=None, relief=True, age_s=1, running=False), "it has ended"),
    ],
)
def test_one_process_that_is_not_ready_is_named_and_makes_all_unready_yet_they_live(second, reason):
    assert of(WORKS, second) == Health(live=True, ready=False, reason=f"process 2: {reason}")


def test_while_the_successor_of_a_recycled_process_starts_its_seat_counts_as_ready():
    assert of(WORKS, replace(WORKS, doing=None, relief=True, age_s=1.0, silent_s=100.0)) == WELL


def test_a_seat_that_has_no_process_yet_is_starting():
    assert of(WORKS, count=3) == Health(live=True, ready=False, reason="process 2: starting (and 1 more)")
    assert of(count=1) == Health(live=True, ready=False, reason="process 1: starting")


def test_a_supervisor_that_stops_is_not_ready_and_lives():
    assert of(WORKS, stopping=True) == Health(live=True, ready=False, reason="stopping")


def test_with_no_process_left_that_can_work_a_supervisor_does_not_live():
    reason = "no process can do its work: the event loop has been blocked"
    assert of(DEAD, DEAD) == Health(live=False, ready=False, reason=reason)
    assert of(DEAD, AWAY).live
    assert of(DEAD, count=2).live


def test_processes_that_have_all_said_nothing_for_long_hang():
    hung = replace(WORKS, silent_s=HUNG_S + 0.1)
    assert of(hung, hung) == Health(
        live=False, ready=False, reason="no process can do its work: it has said nothing for more than 90 s"
    )
    assert of(hung, WORKS).live
    assert of(replace(WORKS, silent_s=HUNG_S - 0.1)).live
