"""What a survey of a namespace says: of workers whose lease has not ended, and of queues in which something waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.contract.kit import job, returned

if TYPE_CHECKING:
    from aiotq.store.contract import Store
    from tests.contract.kit import Bench


async def test_of_an_empty_namespace(store: Store) -> None:
    survey = await store.survey()
    assert survey.ping_s > 0
    assert (survey.workers, survey.queues, survey.full) == ({}, {}, False)


async def test_workers_count_while_their_lease_lasts_by_the_servers_clock(store: Store, raw: Any, prefix: str) -> None:
    from aiotq.store.contract import WorkerCard

    for name in ("good", "late"):
        queues = ("mail", "default")
        await store.register(
            WorkerCard(worker_id=name, label=f"at {name}", host="h", pid=1, queues=queues, lease_ms=9_000)
        )
    seconds, _ = await raw.time()
    await raw.zadd(f"{prefix}workers", {"late": int(seconds) * 1000 - 1})
    assert (await store.survey()).workers == {"at good": ["mail", "default"]}
    for name in ("good", "late"):
        await store.retire(name)


async def test_workers_of_one_label_hide_each_other_neither_here_nor_from_who_waits_in_vain(store: Store) -> None:
    from aiotq.store.contract import WorkerCard

    for name, queue in (("w1", "mail"), ("w2", "default")):
        await store.register(
            WorkerCard(worker_id=name, label="prod", host="h", pid=1, queues=(queue,), lease_ms=60_000)
        )
    for workers in ((await store.survey()).workers, await store.live_workers()):
        assert {label: sorted(queues) for label, queues in workers.items()} == {"prod": ["default", "mail"]}
    for name in ("w1", "w2"):
        await store.retire(name)


async def test_keys_of_another_type_are_nothing_of_ours(store: Store, raw: Any, prefix: str) -> None:
    for name in ("workers", "queues"):
        await raw.set(f"{prefix}{name}", "x")
    survey = await store.survey()
    assert (survey.workers, survey.queues) == ({}, {})
    await raw.delete(f"{prefix}workers", f"{prefix}queues")


async def test_a_queue_is_named_from_its_first_job_on_and_waits_while_one_lies_in_it(bench: Bench) -> None:
    await bench.worker("w1", queues=("mail",))
    await bench.enqueue(job("j1"), job("j2", line="other:0"))
    assert (await bench.store.survey()).queues == {"mail": True, "other": True}
    held = await bench.one()
    assert (await bench.store.survey()).queues == {"mail": False, "other": True}
    await bench.exchange(returned(held))
    assert (await bench.store.survey()).queues == {"mail": True, "other": True}
