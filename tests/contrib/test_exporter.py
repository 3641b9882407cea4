"""What the exporter makes of what the inspector reads, on a clock of the test's own."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics

from aiotq.contrib.exporter import ZERO_FOR_S, Exporter
from aiotq.contrib.families import EXPORTED, MOST_NAMES, OTHER
from aiotq.errors import StoreUnavailable
from aiotq.inspection.values import Histogram, QueueInfo, Totals, WorkerInfo
from aiotq.store.tallies import BOUNDS_MS
from tests.contrib.test_prometheus import samples

if TYPE_CHECKING:
    from collections.abc import Mapping

NOVEMBER, DECEMBER = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)


def a_queue(name: str, **given: Any) -> QueueInfo:
    facts: dict[str, Any] = {
        "waiting": 0, "by_priority": {}, "suspects": 0, "running": 0, "oldest_age_s": None, "paused": False,
        "workers": 0, "enqueued_a_minute": None, "ended_a_minute": None,
    }  # fmt: skip
    return QueueInfo(name=name, **facts | given)


def a_worker(**given: Any) -> WorkerInfo:
    facts: dict[str, Any] = {
        "id": "w1", "label": "w1", "host": "h", "pid": 1, "queues": ("mail",), "state": "working", "started_at": None,
        "last_seen_s": 1.0, "slots": 10, "used": 0, "stuck": 0, "memory": None, "version": None, "blocked_s": 0.0,
        "jobs": (),
    }  # fmt: skip
    return WorkerInfo(**facts | given)


def some_totals(**given: Any) -> Totals:
    facts: dict[str, Any] = {
        "since": NOVEMBER, "enqueued": {}, "ended": {}, "attempts": {"started": 0, "succeeded": 0, "lost": 0},
        "tasks": {},
        "took_s": {}, "waited": Histogram(), "ran": Histogram(), "scheduled": 0, "due": 0, "dead": 0,
    }  # fmt: skip
    return Totals(**facts | given)


class Script:
    """Stands in for an inspector."""

    def __init__(self) -> None:
        self.seen: tuple[QueueInfo, ...] = ()
        self.crew: tuple[WorkerInfo, ...] = ()
        self.sum = some_totals()
        self.away = False

    async def queues(self) -> tuple[QueueInfo, ...]:
        if self.away:
            raise StoreUnavailable("away", verb="ask", url="redis://x", sent=False)
        return self.seen

    async def workers(self) -> tuple[WorkerInfo, ...]:
        return self.crew

    async def totals(self) -> Totals:
        return self.sum


class Bench:
    """An exporter on a script, and a clock that the test moves."""

    def __init__(self, **given: Any) -> None:
        self.script, self.now_s = Script(), 0.0
        inspector: Any = self.script
        self.exporter = Exporter(inspector, clock=lambda: self.now_s, **given)

    async def scrape(self) -> Mapping[tuple[str, tuple[str, ...]], float]:
        return samples((await self.exporter.page())[0])


async def test_gauges_say_what_is_now() -> None:
    bench = Bench()
    bench.script.seen = (
        a_queue("mail", waiting=7, running=2, oldest_age_s=3.5, suspects=1, workers=2),
        a_queue("slow", paused=True),
    )
    bench.script.crew = (
        a_worker(slots=10, used=2, memory=1 << 20),
        a_worker(id="w2", queues=("mail", "slow"), slots=5, used=1, stuck=1, memory=1 << 20, state="blocked"),
        a_worker(id="w3", slots=100, used=50, state="gone"),
    )
    bench.script.sum = some_totals(scheduled=9, due=4, dead=3)
    now = await bench.scrape()
    assert now["aiotq_up", ()] == 1
    mail = {name: value for (name, labels), value in now.items() if labels == ("mail",)}
    assert mail == {
        "aiotq_queue_waiting": 7, "aiotq_queue_suspects": 1, "aiotq_queue_running": 2, "aiotq_queue_paused": 0,
        "aiotq_queue_oldest_seconds": 3.5, "aiotq_queue_workers": 2, "aiotq_queue_slots": 15,
        "aiotq_enqueued_total": 0, "aiotq_ended_total": 0,
    }  # fmt: skip
    assert (now["aiotq_queue_paused", ("slow",)], now["aiotq_queue_slots", ("slow",)]) == (1, 5)
    assert [now[name, ()] for name in ("aiotq_scheduled", "aiotq_scheduled_due", "aiotq_dead")] == [9, 4, 3]
    assert [now[f"aiotq_slots{end}", ()] for end in ("", "_used", "_stuck")] == [15, 3, 1]
    assert now["aiotq_workers_memory_bytes", ()] == 2 << 20
    assert {labels: value for (name, labels), value in now.items() if name == "aiotq_workers"} == {
        ("working",): 1, ("blocked",): 1, ("gone",): 1, ("late",): 0, ("stopping",): 0,
    }  # fmt: skip


async def test_every_family_is_exported_and_no_other() -> None:
    bench = Bench(tasks=["greet"])
    bench.script.seen, bench.script.crew = (a_queue("mail"),), (a_worker(),)
    found = await bench.exporter.families()
    assert {family.name for family in found} == set(EXPORTED)
    for family in found:
        assert (family.type, family.documentation) == (EXPORTED[family.name].kind, EXPORTED[family.name].says)
    page, kind = await bench.exporter.page("application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert {family.name for family in openmetrics(page.decode())} == set(EXPORTED)


async def test_a_counter_that_appears_later_begins_at_0_and_those_that_were_there_go_on() -> None:
    bench = Bench()
    bench.script.sum = some_totals(tasks={("old", "succeeded"): 1_000}, attempts={"started": 1_000})
    now = await bench.scrape()
    assert now["aiotq_task_attempts_total", ("succeeded", "old")] == 1_000
    assert now["aiotq_task_attempts_total", ("failed", "old")] == 0
    bench.now_s += 15
    bench.script.sum = some_totals(
        tasks={("old", "succeeded"): 1_001, ("new", "failed"): 5}, attempts={"started": 1_006}
    )
    for _ in range(2):  # two that scrape at the same time both see it
        now = await bench.scrape()
        assert now["aiotq_task_attempts_total", ("succeeded", "old")] == 1_001
        assert now["aiotq_task_attempts_total", ("failed", "new")] == 0
        assert now["aiotq_started_total", ()] == 1_006
    bench.now_s += ZERO_FOR_S
    assert (await bench.scrape())["aiotq_task_attempts_total", ("failed", "new")] == 5


async def test_no_counter_goes_back_until_the_month_does() -> None:
    bench = Bench()
    told: list[float] = []
    for since, number in ((NOVEMBER, 10), (NOVEMBER, 8), (NOVEMBER, 12), (DECEMBER, 1), (DECEMBER, 3)):
        bench.script.sum = some_totals(since=since, enqueued={"mail": number})
        told.append((await bench.scrape())["aiotq_enqueued_total", ("mail",)])
    assert told == [10, 10, 12, 1, 3]


async def test_what_is_not_counted_any_more_stays_and_is_0_in_a_new_month() -> None:
    bench = Bench()
    bench.script.sum = some_totals(enqueued={"mail": 10})
    await bench.scrape()
    bench.script.sum = some_totals()
    assert (await bench.scrape())["aiotq_enqueued_total", ("mail",)] == 10
    bench.script.sum = some_totals(since=DECEMBER)
    assert (await bench.scrape())["aiotq_enqueued_total", ("mail",)] == 0


async def test_tasks_beyond_a_bound_are_one_and_the_busiest_have_names() -> None:
    bench = Bench(tasks=["mine"])
    tasks = {(f"t{number}", "succeeded"): number + 1 for number in range(MOST_NAMES + 50)}
    bench.script.sum = some_totals(
        tasks=tasks | {(OTHER, "succeeded"): 7}, took_s={f"t{n}": 1.0 for n in range(MOST_NAMES + 50)}
    )
    now = await bench.scrape()
    done = {
        labels[1]: value
        for (name, labels), value in now.items()
        if name == "aiotq_task_attempts_total" and labels[0] == "succeeded"
    }
    assert len(done) == MOST_NAMES + 1
    assert done["mine"] == 0
    assert done[f"t{MOST_NAMES + 49}"] == MOST_NAMES + 50
    assert "t0" not in done
    assert sum(done.values()) == sum(tasks.values()) + 7
    took = [value for (name, _), value in now.items() if name == "aiotq_task_seconds_total"]
    assert sum(took) == MOST_NAMES + 50


async def test_queues_that_nobody_serves_take_no_name_from_those_that_workers_do() -> None:
    bench = Bench()
    made_up = tuple(a_queue(f"a{number}", waiting=9) for number in range(MOST_NAMES + 50))
    bench.script.seen = (*made_up, a_queue("mail", workers=1, waiting=3))
    waiting = {
        labels[0]: value for (name, labels), value in (await bench.scrape()).items() if name == "aiotq_queue_waiting"
    }
    assert (len(waiting), waiting["mail"]) == (MOST_NAMES + 1, 3)
    assert sum(waiting.values()) == 9 * len(made_up) + 3


async def test_a_histogram_counts_up_to_each_bound() -> None:
    bench = Bench()
    counts = [0] * (len(BOUNDS_MS) + 1)
    counts[0], counts[3], counts[-1] = 5, 2, 1
    bench.script.sum = some_totals(ran=Histogram(counts=tuple(counts), total_s=400.5))
    now = await bench.scrape()
    buckets = {labels[0]: value for (name, labels), value in now.items() if name == "aiotq_run_seconds_bucket"}
    assert (buckets["0.001"], buckets["0.005"], buckets["0.01"], buckets["300.0"], buckets["+Inf"]) == (5, 5, 7, 7, 8)
    assert (now["aiotq_run_seconds_count", ()], now["aiotq_run_seconds_sum", ()]) == (8, 400.5)


async def test_a_server_that_is_away_is_told_and_nothing_else() -> None:
    problems: list[Exception] = []
    bench = Bench(failed=problems.append)
    await bench.scrape()
    bench.script.away = True
    assert dict(await bench.scrape()) == {("aiotq_up", ()): 0}
    assert [type(error) for error in problems] == [StoreUnavailable]
    bench.script.away = False
    assert (await bench.scrape())["aiotq_up", ()] == 1


@pytest.mark.parametrize(
    "name", ['quote"', "line\nbreak", "back\\slash", "<script>", "x" * 5_000, "\U0001f600", "a\0b\rc"]
)
async def test_names_of_strangers_are_labels_and_no_more(name: str) -> None:
    bench = Bench()
    bench.script.sum = some_totals(tasks={(name, "failed"): 1})
    now = await bench.scrape()
    assert now["aiotq_task_attempts_total", ("failed", name[:200])] == 1


async def test_a_name_that_is_no_text_breaks_no_page() -> None:
    bench = Bench()
    bench.script.sum = some_totals(tasks={("a\ud800", "failed"): 1})
    assert (await bench.scrape())["aiotq_task_attempts_total", ("failed", r"a\ud800")] == 1
