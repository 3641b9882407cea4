"""Outcomes on their way out: in which order they go, and what becomes of them where they may not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from aiotq.store.contract import Ended, PutBack
from aiotq.worker.outbox import Outbox
from aiotq.worker.settings import WorkerSettings


@pytest.fixture
def voided() -> list[Any]:
    return []


@pytest.fixture
def outbox(voided: list[Any]) -> Outbox:
    return Outbox(WorkerSettings(queues=("default",)), label="w", void=voided.append)


def ended(name: str) -> Any:
    return SimpleNamespace(name=name, number=0), Ended(ticket=name, record=b"", ttl_ms=1)


def tickets(batch: Any) -> list[str]:
    return [finished.ticket for _, finished in batch]


def test_a_batch_that_failed_goes_out_before_what_has_ended_since(outbox: Outbox) -> None:
    outbox._over.extend(map(ended, "abc"))
    outbox._back.append((SimpleNamespace(number=1), PutBack(ticket="back", new_ticket="anew")))  # type: ignore[arg-type]
    batch = outbox.batch()
    assert not outbox
    outbox._over.append(ended("later"))

    outbox.again(batch)

    assert tickets(outbox.batch()) == ["a", "b", "c", "later", "back"]


def test_what_is_another_workers_now_is_void_once_and_goes_nowhere(outbox: Outbox, voided: list[Any]) -> None:
    entries = [ended(name) for name in "abcd"]
    outbox._over.extend(entries)
    outbox.forget(entries[1][0])
    outbox.forget(entries[1][0])
    assert voided == [entries[1][0]]
    first = [outbox._over.popleft()]

    outbox.clear(first)

    assert voided == [entries[number][0] for number in (1, 0, 2, 3)]
    assert not outbox
