"""What a worker tells the store of its work: each count once, whatever becomes of an answer; no job waits for it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import pytest
from msgspec import structs

from aiotq import App
from aiotq.errors import StoreRefused, StoreUnavailable
from aiotq.job import Cancelled, Failed, Succeeded
from aiotq.store.tallies import MAX_COUNTERS, Tallied
from aiotq.worker import tell
from aiotq.worker.meter import Meter
from aiotq.worker.outage import Outage
from aiotq.worker.settings import WorkerSettings
from aiotq.worker.tell import Teller
from aiotq.worker.vitals import MAX_JSON, Pulse
from tests.worker.kit import Gate, fetcher_of, until, within
from tests.worker.test_meter import NOW_S, counted, error, held

if TYPE_CHECKING:
    from aiotq.store.contract import Store
    from aiotq.store.tallies import Tally
    from tests.worker.kit import Events, Keys

PULSE = Pulse(slots=5, used=1, stuck=0, memory=1 << 20, version="1", blocked_s=0.0, stopping=False, jobs=())
AWAY = StoreUnavailable("tally: no answer", verb="tally", url="redis://x", sent=True)
NOT_SENT = StoreUnavailable("tally: no connection", verb="tally", url="redis://x", sent=False)
REFUSED = StoreRefused("tally: READONLY", verb="tally", url="redis://x", code="READONLY")


@dataclass
class Ear:
    """A store that counts what it is told, as tally.lua does; it may fail before or after that."""

    counters: dict[str, int] = field(default_factory=dict[str, int])
    failures: dict[str, int] = field(default_factory=dict[str, int])
    heard: list[Tally] = field(default_factory=list[Any])
    known: set[str] = field(default_factory=lambda: {"w1", "w2"})
    fails: list[tuple[Exception, bool]] = field(default_factory=list[tuple[Exception, bool]])  # and whether it counts
    _told: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def store(self) -> Store:
        """It, as the teller knows it: by the one verb that it uses."""
        return cast("Store", self)

    async def tally(self, worker_id: str, tally: Tally, *, now_ms: int = 0) -> Tallied:
        self.heard.append(tally)
        failure, counts = self.fails.pop(0) if self.fails else (None, True)
        if counts and worker_id in self.known and tally.number > self._told.get(worker_id, 0):
            self._told[worker_id] = tally.number
            for name, more in tally.counters.items():
                self.counters[name] = self.counters.get(name, 0) + more
            for one in tally.failures:
                self.failures[one.error] = self.failures.get(one.error, 0) + one.count
        if failure is not None:
            raise failure
        return Tallied(known=worker_id in self.known)


@dataclass
class Mouth:
    """A meter and its teller."""

    ear: Any
    meter: Meter = field(default_factory=Meter)
    pulse: Pulse = PULSE

    def __post_init__(self) -> None:
        self.outage = Outage()
        self.teller = Teller(self.meter, lambda: self.pulse, self.outage, WorkerSettings(queues=("mail",)))

    def work(self, succeeded: int = 1, failed: int = 0) -> None:
        """Jobs end."""
        jobs = [held(Succeeded(result=None)) for _ in range(succeeded)]
        self.meter.decided([*jobs, *(held(Failed(error=error())) for _ in range(failed))], NOW_S)

    async def tell(self, worker_id: str = "w1", *, fails: bool = False) -> None:
        if not fails:
            return await self.teller.tell(self.ear, worker_id)
        with pytest.raises((StoreUnavailable, StoreRefused)):
            await self.teller.tell(self.ear, worker_id)
        return None


@pytest.fixture
def ear() -> Ear:
    return Ear()


@pytest.fixture
def mouth(ear: Ear) -> Mouth:
    return Mouth(ear)


async def test_what_is_new_is_told_with_how_the_worker_does(ear: Ear, mouth: Mouth) -> None:
    mouth.work(3, failed=1)
    await mouth.tell()
    mouth.work(2)
    await mouth.tell()
    await mouth.tell()

    assert ear.counters == counted(mouth.meter)
    assert ear.failures == {"ValueError": 1}
    assert [tally.number for tally in ear.heard] == [1, 2, 3]
    assert ear.heard[1].counters == {"succeeded": 2, "r0": 2, "q:mail": 2, "t:s:shop:send": 2}
    assert ear.heard[2].counters == {}
    assert json.loads(ear.heard[2].vitals or b"")["slots"] == 5


@pytest.mark.parametrize("came", [True, False])
async def test_a_tally_without_an_answer_is_repeated_and_counts_once(ear: Ear, mouth: Mouth, *, came: bool) -> None:
    mouth.work(3, failed=1)
    ear.fails = [(AWAY, came), (AWAY, came)]
    for _ in range(2):
        await mouth.tell(fails=True)
        mouth.work(1, failed=1)

    await mouth.tell()

    assert ear.counters == counted(mouth.meter)
    assert ear.failures == {"ValueError": 3}
    assert [tally.number for tally in ear.heard] == [1, 1, 1, 2]


@pytest.mark.parametrize("failure", [NOT_SENT, REFUSED])
async def test_what_was_not_counted_is_told_under_the_next_id(ear: Ear, mouth: Mouth, failure: Exception) -> None:
    mouth.work(3, failed=1)
    ear.fails = [(failure, False)]
    await mouth.tell("w1", fails=True)

    await mouth.tell("w2")

    assert ear.counters == counted(mouth.meter)
    assert ear.failures == {"ValueError": 1}


@pytest.mark.parametrize("came", [True, False])
async def test_what_may_have_been_counted_is_not_told_under_the_next_id(ear: Ear, mouth: Mouth, *, came: bool) -> None:
    mouth.work(3)
    ear.fails = [(AWAY, came)]
    await mouth.tell("w1", fails=True)
    mouth.work(2)

    await mouth.tell("w2")

    assert ear.counters["succeeded"] == (5 if came else 2)


async def test_a_worker_that_is_not_known_tells_all_under_its_next_id(ear: Ear, mouth: Mouth) -> None:
    ear.known = {"w2"}
    mouth.work(3, failed=2)
    await mouth.tell("w1")
    mouth.work(failed=1)

    await mouth.tell("w2")

    assert ear.counters == counted(mouth.meter)
    assert ear.failures == {"ValueError": 3}


async def test_a_repeat_that_finds_the_worker_gone_is_left_out(ear: Ear, mouth: Mouth) -> None:
    mouth.work(3)
    ear.fails = [(AWAY, True)]
    await mouth.tell("w1", fails=True)
    ear.known = {"w2"}

    await mouth.tell("w1")
    await mouth.tell("w2")

    assert ear.counters["succeeded"] == 3


async def test_what_was_told_and_did_not_count_is_made_up_for(ear: Ear, mouth: Mouth) -> None:
    job = held(Cancelled())
    mouth.meter.decided([job], NOW_S)
    await mouth.tell()
    mouth.meter.void(job)
    await mouth.tell()
    assert ear.counters["cancelled"] == 1

    mouth.meter.decided([held(Cancelled()), held(Cancelled())], NOW_S)
    await mouth.tell()

    assert ear.counters == counted(mouth.meter)
    assert ear.counters["cancelled"] == 2


async def test_more_than_one_tally_can_carry_is_told_in_several(ear: Ear, mouth: Mouth) -> None:
    for number in range(199):
        mouth.meter.decided([held(Failed(error=error(f"E{number}")), task=f"t{number}", took_s=0.005)], NOW_S)

    await mouth.tell()

    assert ear.counters == counted(mouth.meter)
    assert len(ear.failures) == 199
    assert max(len(tally.counters) for tally in ear.heard) <= MAX_COUNTERS
    assert len(ear.heard) == 4


async def test_it_tells_at_once_then_with_news_or_each_heartbeat(
    ear: Ear, mouth: Mouth, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 0.0
    waits: list[int] = []

    async def sleep(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds
        waits.append(len(ear.heard))
        match len(waits):
            case 4:
                mouth.work()
            case 6:
                mouth.pulse = structs.replace(PULSE, stopping=True)
            case 9:
                raise asyncio.CancelledError

    monkeypatch.setattr(tell, "monotonic", lambda: now_s)
    monkeypatch.setattr(tell.asyncio, "sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await mouth.teller.run(ear.store, "w1")
    # at 0 s; nothing at 2 s; a heartbeat at 4 s; nothing at 6 s; news at 8 s; nothing; a change; nothing; a heartbeat
    assert waits == [1, 1, 2, 2, 3, 3, 4, 4, 5]


async def test_while_the_store_is_away_a_worker_goes_without_a_last_word(ear: Ear, mouth: Mouth) -> None:
    mouth.work()
    mouth.outage.begin(AWAY)
    await mouth.teller.last(ear.store, "w1")
    assert ear.heard == []

    mouth.outage.end("redis://x")
    ear.fails = [(AWAY, False)]
    await mouth.teller.last(ear.store, "w1")
    assert len(ear.heard) == 1


def test_a_pulse_is_bounded_and_loses_those_jobs_that_run_shortest() -> None:
    jobs = tuple((f"{number:0128}", "x" * 600, "mail", 1, number) for number in range(100))

    said = json.loads(structs.replace(PULSE, jobs=jobs).json())

    assert len(structs.replace(PULSE, jobs=jobs).json()) <= MAX_JSON
    assert [job[4] for job in said["jobs"]] == list(range(50))


# --- real workers


async def vitals(keys: Keys) -> dict[str, Any]:
    [worker_id] = await keys.workers()
    said = await keys.client.hget(f"{keys.prefix}worker:{worker_id}", "vitals")
    return json.loads(said) if said else {}


async def counters(keys: Keys, period: str = "m") -> dict[str, int]:
    """Of all minutes together."""
    found: dict[str, int] = {}
    async for key in keys.client.scan_iter(match=keys.prefix.replace("{", "\\{") + f"stats:{period}:*"):
        for name, number in (await keys.client.hgetall(key)).items():
            found[name.decode()] = found.get(name.decode(), 0) + int(number)
    return found


async def test_a_short_lived_workers_counts_are_all_there(app: App, keys: Keys) -> None:
    @app.task(name="well")
    async def well() -> None: ...

    @app.task(name="badly", retries=0)
    async def badly() -> None:
        raise ValueError("no Bobs")

    await app.enqueue_many([well.s() for _ in range(50)] + [badly.s()])
    async with app.worker() as worker, within():
        await worker.run_until_empty()

    found = await counters(keys)
    ours = {name: found[name] for name in ("e:default", "q:default", "started", "succeeded", "failed")}
    assert ours == {"e:default": 51, "q:default": 51, "started": 51, "succeeded": 50, "failed": 1}
    assert found["t:s:well"] == 50
    kept = json.loads(await keys.client.hget(f"{keys.prefix}failures", "badly\0ValueError"))
    assert (kept["n"], kept["message"], kept["dead"]) == (1, "no Bobs", True)
    assert await keys.client.llen(f"{keys.prefix}ended") == 51
    assert (await keys.client.lindex(f"{keys.prefix}ended", -1)).startswith(b"s")


async def test_a_worker_says_how_it_does_as_it_comes_and_what_it_runs(app: App, keys: Keys) -> None:
    gate = Gate()

    @app.task(name="endless")
    async def endless() -> None:
        await gate.pass_through()

    async with app.worker(concurrency=7) as worker:
        async with within():
            await until(lambda: _said(keys))
            first = await vitals(keys)
            assert (first["slots"], first["used"], first["stuck"], first["stopping"]) == (7, 0, 0, False)
            assert first["memory"] > 1 << 20
            sent = await endless.delay()
            await gate.reached()
            await until(lambda: _runs(keys, sent.id))
        [job] = (await vitals(keys))["jobs"]
        assert job[1:4] == ["endless", "default", 1]
        assert job[4] > 1_700_000_000_000
        gate.open()
        assert fetcher_of(worker).held


async def _said(keys: Keys) -> bool:
    return bool(await vitals(keys))


async def _runs(keys: Keys, job_id: str) -> bool:
    return [job[0] for job in (await vitals(keys))["jobs"]] == [job_id]


async def test_a_worker_that_was_reclaimed_tells_the_rest_under_its_new_id(app: App, keys: Keys) -> None:
    @app.task(name="well")
    async def well() -> None: ...

    async with app.worker() as worker:
        old = fetcher_of(worker).worker_id
        await keys.reclaim(app._core.client().store, old)
        await until(lambda: fetcher_of(worker).worker_id != old)
        async with within():
            await (await well.delay()).result()
    assert (await counters(keys))["succeeded"] == 1


async def test_without_the_right_to_tell_a_worker_works(
    app: App, keys: Keys, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aiotq.store.redis import RedisStore

    async def refused(*args: Any, **options: Any) -> Any:
        raise StoreRefused("tally: NOPERM", verb="tally", url="x", code="NOPERM")

    monkeypatch.setattr(RedisStore, "tally", refused)

    @app.task(name="well")
    async def well() -> None: ...

    async with app.worker(), within():
        await (await well.delay()).result()
    assert await counters(keys) == {"e:default": 1}
    assert events.of("mistake") == []
