"""`aiotq check`: which of the jobs that wait would fail with the code that is loaded now."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from aiotq import App, JobStatus
from aiotq.inspection import JobFilter, fitting

if TYPE_CHECKING:
    from aiotq import Inspector


def deploy(shop: App, name: str, function: Any) -> None:
    """A new version of a task."""
    del shop.registry._tasks[name]
    shop.task(name=name)(function)


async def test_what_would_run_is_no_misfit(shop: App, look: Inspector) -> None:
    @shop.task(name="shop:send")
    async def send(to: str, when: date, *rest: int, **more: str) -> None: ...

    await send.delay("ada", date(2027, 1, 1), 1, 2, x="y")
    await send.options(countdown=60, queue="mail").delay("bob", when=date(2027, 1, 1))
    await send.delay("x" * 100_000, date(2027, 1, 1))
    fit = await look.fit()
    assert (fit.looked, fit.misfits, fit.more) == (3, (), 0)
    assert (await look.fit(queues=["mail"])).looked == 1


async def test_a_job_whose_arguments_no_longer_fit_is_named_with_the_reason(shop: App, look: Inspector) -> None:
    @shop.task(name="shop:send")
    async def send(to: Any, n: Any = 1) -> None: ...

    surplus = await send.delay("ada", 2)
    wrong = await send.options(countdown=60).delay(17)
    large = await send.delay(["x" * 100_000])
    fine = await send.delay("bob")

    async def changed(to: str) -> None: ...

    deploy(shop, "shop:send", changed)
    fit = await look.fit()
    assert fit.looked == 4
    whys = {misfit.id: misfit.why for misfit in fit.misfits}
    assert whys == {
        surplus.id: "too many positional arguments",
        wrong.id: "the argument 'to' does not fit: Expected `str`, got `int`",
        large.id: "the argument 'to' does not fit: Expected `str`, got `array`",
    }
    assert fine.id not in whys
    assert {misfit.status for misfit in fit.misfits} == {JobStatus.QUEUED, JobStatus.SCHEDULED}

    async def needs(to: Any, n: int = 1, *, subject: str) -> None: ...

    deploy(shop, "shop:send", needs)
    assert {misfit.why for misfit in (await look.fit()).misfits} == {"missing a required argument: 'subject'"}


@pytest.mark.parametrize(("remembered", "looked"), [(50_000, 3), (0, 6)])
async def test_what_moves_to_a_queue_meanwhile_is_looked_at_once_and_beyond_what_is_remembered_twice(
    shop: App, look: Inspector, hand: Inspector, monkeypatch: pytest.MonkeyPatch, remembered: int, looked: int
) -> None:
    @shop.task(name="shop:send")
    async def send() -> None: ...

    jobs = [await send.options(countdown=60 + number).delay() for number in range(3)]
    walk = fitting.walk

    async def and_move(desk: Any, wanted: JobFilter) -> Any:
        async for found in walk(desk, wanted):
            yield found
        if wanted.status is JobStatus.SCHEDULED:
            await hand.requeue_all(wanted)

    monkeypatch.setattr(fitting, "walk", and_move)
    monkeypatch.setattr(fitting, "MOST_SEEN", remembered)
    assert (await look.fit()).looked == looked
    for job in jobs:
        await job.cancel()


async def test_a_task_that_is_gone_is_unknown_and_what_looks_like_it_is_named(shop: App, look: Inspector) -> None:
    @shop.task(name="shop:send_mail")
    async def send_mail() -> None: ...

    job = await send_mail.delay()
    del shop.registry._tasks["shop:send_mail"]

    @shop.task(name="shop:send_mails")
    async def send_mails() -> None: ...

    [misfit] = (await look.fit()).misfits
    assert (misfit.id, misfit.task, misfit.queue) == (job.id, "shop:send_mail", "default")
    assert misfit.why == "unknown task; did you mean shop:send_mails?"


@pytest.mark.parametrize("server", ["valkey"], indirect=True)
async def test_what_looks_like_a_name_is_looked_for_once_and_of_so_many_names_only(
    shop: App, look: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def t() -> None: ...

    gone = [shop.task(t, name=f"shop:send_{number}") for number in range(5)]
    jobs = await shop.enqueue_many([task.s() for task in gone for _ in range(3)])
    for task in gone:
        del shop.registry._tasks[task.name]
    shop.task(t, name="shop:send")
    compared: list[str] = []
    nearest = shop.registry.nearest
    monkeypatch.setattr(shop.registry, "nearest", lambda name: compared.append(name) or nearest(name))
    monkeypatch.setattr(fitting, "MOST_COMPARED", 2)

    whys = [misfit.why for misfit in (await look.fit()).misfits]

    assert len(compared) == len(set(compared)) == 2
    assert sorted(whys) == ["unknown task"] * 9 + ["unknown task; did you mean shop:send?"] * 6
    for job in jobs:
        await job.cancel()


async def test_records_that_cannot_be_read_are_misfits_and_stale_places_are_none(
    shop: App, look: Inspector, raw: Any, prefix: str
) -> None:
    @shop.task(name="t")
    async def t() -> None: ...

    newer, gone, hostile = await t.delay(), await t.delay(), await t.delay()
    data = await raw.get(f"{prefix}job:{newer.id}")
    await raw.set(f"{prefix}job:{newer.id}", b"9" + data[1:])
    await gone.cancel()
    body = await raw.get(f"{prefix}job:{hostile.id}")
    await raw.set(f"{prefix}job:{hostile.id}", body[:19] + b'{"t":"t","a":' + b"[" * 90_000)
    fit = await look.fit()
    assert fit.looked == 2
    assert sorted(misfit.why.partition(":")[0] for misfit in fit.misfits) == ["unreadable", "unreadable"]
    for job in (newer, hostile):
        await raw.delete(f"{prefix}job:{job.id}")
    await raw.delete(f"{prefix}line:default:5", f"{prefix}lines:default")


@pytest.mark.parametrize("server", ["valkey"], indirect=True)
async def test_only_a_thousand_misfits_are_listed_and_the_rest_is_counted(shop: App, look: Inspector) -> None:
    @shop.task(name="t")
    async def t() -> None: ...

    await shop.enqueue_many(t.s() for _ in range(1_100))
    del shop.registry._tasks["t"]
    told: list[int] = []
    fit = await look.fit(progress=told.append)
    assert (fit.looked, len(fit.misfits), fit.more) == (1_100, 1_000, 100)
    assert told[-1] == 1_100
    assert told == sorted(told)
