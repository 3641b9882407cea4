"""`aiotq metrics` and a worker's /metrics, with real processes: what they say is what has happened."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest

from tests.contrib.test_prometheus import samples
from tests.process.ledger import until
from tests.process.test_health import free_port
from tests.processes import PATH, ROOT, WorkerProcess, die_with_parent, spawn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.process.rig import Rig

    Page = Mapping[tuple[str, tuple[str, ...]], float]

NOTE, STUMBLE = "note", "stumble"
EXPORTED = "tests.process.exported:app"


async def scraped(url: str) -> Page:
    def get() -> bytes:
        with urllib.request.urlopen(url, timeout=15) as answer:
            return answer.read()

    return samples(await asyncio.to_thread(get))


async def exporter(rig: Rig, *options: str) -> tuple[WorkerProcess, str]:
    """A running one, and the URL of its page."""
    made = await spawn("metrics", "--port", "0", *options, env={"AIOTQ_URL": rig.url, "AIOTQ_NAMESPACE": rig.namespace})
    rig.crew.append(made)

    async def listens() -> bool:
        return "/metrics" in made.text

    await until(listens, "the exporter listens")
    [url] = re.findall(r"http://\S+/metrics", made.text)
    return made, url


async def test_totals_of_two_worker_processes_are_right_also_when_the_exporter_is_started_anew(rig: Rig):
    await rig.start_server()
    first, url = await exporter(rig, "--app", "tests.process.tasks:app")
    before = await scraped(url)
    assert before["aiotq_up", ()] == 1
    assert before["aiotq_task_attempts_total", ("succeeded", NOTE)] == 0  # known by --app before it has run
    crew = await rig.workers(2)
    jobs = await rig.enqueue(300)
    jobs += [await rig.tasks.stumble.delay(1) for _ in range(5)]
    await rig.all_ended(jobs)
    await rig.stop(*crew)  # what they had counted is told

    async def told() -> bool:
        page = await scraped(url)
        return page["aiotq_attempts_total", ("succeeded",)] == page["aiotq_ended_total", ("default",)] == 305

    await until(told, "all attempts are counted")
    now = await scraped(url)
    assert now["aiotq_enqueued_total", ("default",)] == 305
    assert now["aiotq_ended_total", ("default",)] == 305
    assert now["aiotq_started_total", ()] == 310
    assert now["aiotq_attempts_total", ("retried",)] == 5
    assert now["aiotq_task_attempts_total", ("succeeded", NOTE)] == 300
    assert now["aiotq_task_attempts_total", ("retried", STUMBLE)] == 5
    assert now["aiotq_run_seconds_count", ()] == 310
    assert now["aiotq_queue_waiting", ("default",)] == 0
    assert sum(value for (name, _), value in now.items() if name == "aiotq_workers") == 0

    first.send_signal(signal.SIGTERM)
    assert await first.exit() == 0
    _, anew = await exporter(rig)
    again = await scraped(anew)
    counters = {key for key, value in now.items() if key[0].endswith("_total") and value}
    assert {key: again[key] for key in counters} == {key: now[key] for key in counters}


async def test_slots_and_depth_are_those_of_now(rig: Rig):
    await rig.start_server()
    _, url = await exporter(rig)
    await rig.worker("--concurrency", "3")
    jobs = [await rig.tasks.hold.delay() for _ in range(5)]
    await rig.ledger.until(3)

    async def seen() -> bool:
        page = await scraped(url)
        names = ("aiotq_slots", "aiotq_slots_used", "aiotq_queue_waiting", "aiotq_queue_running", "aiotq_queue_slots")
        return [sum(value for (one, _), value in page.items() if one == name) for name in names] == [3, 3, 2, 3, 3]

    await until(seen, "three of three slots used, two jobs waiting")
    page = await scraped(url)
    assert page["aiotq_queue_oldest_seconds", ("default",)] > 0
    assert page["aiotq_workers", ("working",)] == 1
    rig.open_gate()
    await rig.all_ended(jobs)


async def test_it_goes_on_while_the_server_is_away(rig: Rig):
    await rig.start_server("--appendonly", "yes", "--appendfsync", "always")
    made, url = await exporter(rig)
    assert (await scraped(url))["aiotq_up", ()] == 1
    await rig.kill_server()
    assert dict(await scraped(url)) == {("aiotq_up", ()): 0}
    assert dict(await scraped(url)) == {("aiotq_up", ()): 0}

    async def said() -> bool:
        return "no answer" in made.text

    await until(said, "the exporter says that the server is away")
    await rig.start_server("--appendonly", "yes", "--appendfsync", "always")

    async def up() -> bool:
        return (await scraped(url))["aiotq_up", ()] == 1

    await until(up, "the exporter sees the server again")
    assert made.text.count("no answer") == 1


async def once(rig: Rig, *options: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "aiotq", "metrics", *options),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={"PATH": "", "PYTHONPATH": PATH, "AIOTQ_URL": rig.url, "AIOTQ_NAMESPACE": rig.namespace},
        preexec_fn=die_with_parent,
    )
    out, said = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), said.decode()


async def test_once_prints_the_page_or_says_that_no_server_answers(rig: Rig):
    await rig.start_server()
    code, out, said = await once(rig, "--once")
    assert (code, said) == (0, "")
    assert samples(out.encode())["aiotq_up", ()] == 1
    code, out, said = await once(rig, "--json")
    assert (code, said) == (0, "")
    assert {"name": "aiotq_up", "labels": {}, "value": 1} in json.loads(out)
    code, out, said = await once(rig, "--once", "--url", "redis://127.0.0.1:9")
    assert (code, out) == (1, "")
    assert said.startswith("error: no answer (connection refused): redis://127.0.0.1:9")


async def test_a_port_that_is_taken_is_said(rig: Rig):
    await rig.start_server()
    _, url = await exporter(rig)
    code, _, said = await once(rig, "--port", url.rpartition(":")[2].partition("/")[0])
    assert code == 1
    assert "can't listen at 127.0.0.1" in said


async def test_a_worker_serves_its_own_metrics_on_its_health_port(rig: Rig):
    await rig.start_server()
    worker = await rig.worker("--health-port", "0", target=EXPORTED, ready=False)
    url = (await worker.line("ready"))["health"]
    jobs = await rig.enqueue(10)
    await rig.all_ended(jobs)

    async def counted() -> bool:
        page = await scraped(f"{url}/metrics")
        return page.get(("aiotq_worker_attempts_total", ("succeeded", "default", NOTE))) == 10

    await until(counted, "ten attempts on its page")
    assert (await scraped(f"{url}/metrics"))["aiotq_worker_slots", ()] == 100


async def test_a_supervisor_has_no_metrics_and_says_so(rig: Rig):
    await rig.start_server()
    number = free_port()
    options = ("--processes", "1", "--health-port", str(number))
    supervisor = await rig.worker(*options, target=EXPORTED)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        await scraped(f"http://127.0.0.1:{number}/metrics")
    supervisor.send_signal(signal.SIGTERM)
    await supervisor.exit()
