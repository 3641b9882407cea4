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
    assert (survey.workers, survey.queues) == ({}, {})


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


async def test_a_queue_is_named_from_its_first_job_on_and_waits_while_one_lies_in_it(bench: Bench) -> None:
    await bench.worker("w1", queues=("mail",))
    await bench.enqueue(job("j1"), job("j2", line="other:0"))
    assert (await bench.store.survey()).queues == {"mail": True, "other": True}
    held = await bench.one()
    assert (await bench.store.survey()).queues == {"mail": False, "other": True}
    await bench.exchange(returned(held))
    assert (await bench.store.survey()).queues == {"mail": True, "other": True}
