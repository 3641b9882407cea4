"""When lines a job become one line a second."""

from __future__ import annotations

import logging

import pytest

from aiotq.cli.look import Look, plain
from aiotq.cli.rate import LONGEST_SECOND_S, MAX_JOBS_PER_S, SHOWN_FAILURES_PER_S, Rate, rate_line

INFO, WARNING, ERROR, DEBUG = logging.INFO, logging.WARNING, logging.ERROR, logging.DEBUG


@pytest.fixture
def rate() -> Rate:
    fresh = Rate()
    fresh.turn(0.0)
    return fresh


def test_up_to_the_limit_every_line_is_shown(rate):
    shown = [rate.see(name, INFO) for _ in range(MAX_JOBS_PER_S) for name in ("started", "succeeded")]
    assert all(shown)
    assert rate.turn(LONGEST_SECOND_S) == (True, None)


def test_above_it_the_rest_of_the_second_is_counted_instead(rate):
    shown = [rate.see("started", INFO) for _ in range(200)]
    assert shown.count(True) == MAX_JOBS_PER_S
    assert rate.turn(LONGEST_SECOND_S) == (True, {"started": 200})


def test_the_next_second_is_counted_from_its_beginning_and_the_one_after_a_calm_one_is_not(rate):
    for _ in range(200):
        rate.see("started", INFO)
    rate.turn(2.0)
    assert not rate.see("started", INFO)
    assert rate.turn(4.0) == (True, {"started": 1})
    assert rate.see("started", INFO)
    assert rate.turn(6.0) == (True, None)


def test_a_second_is_not_over_before_its_time_unless_it_is_forced(rate):
    for _ in range(200):
        rate.see("started", INFO)
    assert rate.turn(0.9) == (False, None)
    assert rate.turn(0.9, force=True) == (True, {"started": 200})


def test_failures_stay_visible_but_only_so_many_a_second(rate):
    for _ in range(200):
        rate.see("started", INFO)
    assert [rate.see("failed", ERROR) for _ in range(50)].count(True) == SHOWN_FAILURES_PER_S
    assert [rate.see("retried", WARNING) for _ in range(50)].count(True) == SHOWN_FAILURES_PER_S
    assert rate.turn(2.0)[1] == {"started": 200, "failed": 50, "retried": 50}
    assert rate.see("failed", ERROR)  # a new second


def test_a_jobs_other_lines_are_no_jobs(rate):
    assert all(rate.see("", DEBUG) for _ in range(200))
    for _ in range(200):
        rate.see("started", INFO)
    assert not rate.see("", DEBUG)
    assert rate.see("", WARNING)
    assert rate.turn(2.0)[1] == {"started": 200}


def test_what_the_worker_counts_itself_is_added_but_not_what_it_has_logged_as_well(rate):
    rate.see("failed", ERROR)
    rate.add({"started": 900, "succeeded": 899, "failed": 1})
    assert rate.turn(0.5, force=True) == (True, {"failed": 1, "started": 900, "succeeded": 899})


def test_a_second_without_anything_has_no_line(rate):
    rate.add({"started": 900})
    rate.turn(2.0)
    assert rate.busy
    assert rate.turn(4.0) == (True, None)
    assert not rate.busy


def test_the_counts_stand_in_columns_that_do_not_move():
    few, many = {"started": 60, "succeeded": 58, "failed": 2}, {"started": 12_345, "retried": 1, "cancelled": 3}
    assert [plain(rate_line(counts, Look(symbols=True), "13:10:37")) for counts in (few, many)] == [
        "13:10:37  »     60 started      58 succeeded       2 failed       0 retried",
        "13:10:37  » 12,345 started       0 succeeded       0 failed       1 retried   3 cancelled",
    ]
    assert plain(rate_line(few, Look(), "13:10:37")).startswith("13:10:37  per s         60 started ")
