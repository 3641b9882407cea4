"""What a worker says of trouble with its store: once a state, and not once a try."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from aiotq.errors import EmbeddedUnavailable, StoreError, StoreFull, StoreRefused, StoreUnavailable, StoreUnusable
from aiotq.worker import outage as module
from aiotq.worker.outage import BURST, BURST_S, DUTY_FORGETS_S, DUTY_PATIENCE_S, STAYS_S, DutyOutage, Outage, state_of

URL = "redis://h"
AWAY = StoreUnavailable("away", verb="exchange", url=URL, sent=True)
LOADING = StoreRefused("LOADING", verb="exchange", url=URL, code="LOADING")
READONLY = StoreRefused("READONLY", verb="exchange", url=URL, code="READONLY")
NOPERM = StoreUnusable("NOPERM", verb="exchange", url=URL, code="NOPERM")


class Log:
    """The lines of the worker's logger, and its clock."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog
        self.now_s = 1_000.0

    def events(self) -> list[str]:
        """What has been said since the last look."""
        said = [vars(record)["event"] for record in self._caplog.records]
        self.records: list[Any] = list(self._caplog.records)
        self._caplog.clear()
        return said


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Log:
    caplog.set_level(logging.DEBUG)
    made = Log(caplog)
    monkeypatch.setattr(module, "monotonic", lambda: made.now_s)
    return made


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (AWAY, "the store is away"),
        (LOADING, "the store refuses (LOADING)"),
        (StoreFull("full", verb="v", url=URL, code="OOM"), "the store refuses (OOM)"),
        (NOPERM, "the store can't be used (NOPERM)"),
        (StoreUnusable("no Redis", verb="v", url=URL), "the store can't be used"),
        (EmbeddedUnavailable("none", verb="v", url=URL), "the store can't be used"),
    ],
)
def test_a_state_is_a_few_words_without_a_url(error: StoreError, state: str):
    assert state_of(error) == state


def test_an_outage_is_said_once_whatever_the_number_of_tries_and_so_is_its_end(log):
    outage = Outage()
    for _ in range(100):
        outage.begin(AWAY)
        log.now_s += 1
    assert (outage.lasts, outage.state) == (True, "the store is away")
    outage.end(URL)
    outage.end(URL)
    assert log.events() == ["store_down", "store_up"]
    assert vars(log.records[1])["down_s"] == 100
    assert (outage.lasts, outage.state) == (False, None)


def test_each_state_of_an_outage_is_said_once_in_whatever_order_they_come_back(log):
    outage = Outage()
    for error in (AWAY, AWAY, LOADING, AWAY, LOADING, READONLY, LOADING, NOPERM, AWAY):
        outage.begin(error)
    assert log.events() == ["store_down", "store_refuses", "store_refuses", "store_refuses"]
    assert outage.state == "the store is away"
    outage.end(URL)
    assert log.events() == ["store_up"]


def test_the_next_outage_is_said_again(log):
    outage = Outage()
    for _ in range(2):
        outage.begin(LOADING)
        outage.end(URL)
    assert log.events() == ["store_refuses", "store_up"] * 2


def flap(outage: Outage, log: Log, times: int) -> None:
    for _ in range(times):
        outage.begin(AWAY)
        log.now_s += 0.05
        outage.end(URL)
        log.now_s += 0.05


def test_trouble_that_comes_and_goes_is_said_a_few_times_a_minute(log):
    outage = Outage()
    flap(outage, log, 100)
    assert log.events() == ["store_down", "store_up"] * BURST
    log.now_s += BURST_S
    flap(outage, log, 1)
    assert log.events() == ["store_down", "store_up"]
    assert vars(log.records[0])["unsaid"] == 100 - BURST
    assert "96 times more" in log.records[0].getMessage()


def test_trouble_that_comes_and_goes_and_then_stays_is_said(log):
    outage = Outage()
    flap(outage, log, 10)
    log.events()
    outage.begin(AWAY)
    assert outage.lasts  # and not ready, whatever is said
    log.now_s += STAYS_S
    outage.begin(AWAY)
    outage.begin(AWAY)
    outage.end(URL)
    assert log.events() == ["store_down", "store_up"]


def test_a_duty_that_fails_alone_is_said_once_and_so_is_its_end(log):
    duty = DutyOutage("renewing the lease", Outage())
    for _ in range(10):
        duty.begin(NOPERM)
    assert log.events() == []  # the fetcher may be about to say it
    log.now_s += DUTY_PATIENCE_S
    duty.begin(NOPERM)
    duty.begin(NOPERM)
    assert log.events() == ["duty_fails"]
    assert log.records[0].getMessage() == "renewing the lease fails: NOPERM; trying again"
    duty.end()
    duty.end()
    assert log.events() == ["duty_works"]


def test_a_duty_that_fails_now_and_then_is_not_said(log):
    duty = DutyOutage("listening for cancels", Outage())
    for _ in range(10):
        duty.begin(AWAY)
        log.now_s += DUTY_FORGETS_S + 1
    assert log.events() == []


def test_of_a_duty_nothing_is_said_while_the_fetcher_has_trouble_too(log):
    outage = Outage()
    duty = DutyOutage("renewing the lease", outage)
    outage.begin(AWAY)
    for _ in range(100):
        duty.begin(AWAY)
        log.now_s += 1
    outage.end(URL)
    duty.begin(AWAY)  # it is about to see that it is over
    duty.end()
    assert log.events() == ["store_down", "store_up"]
