"""What a worker says first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from aiotq.cli.banner import BannerFacts, banner, server_text, source_text
from aiotq.cli.look import Look, plain
from aiotq.source import Source
from aiotq.store.contract import ServerFacts

FACTS = BannerFacts(
    version="0.1.0",
    label="host-3f2a",
    python="3.12.1",
    server="Redis 7.0.15 at redis://localhost:6379 (from AIOTQ_URL)",
    namespace=None,
    queues=("default", "mail"),
    tasks=("greet(name: str) -> str",),
    concurrency=100,
    threads=8,
    pool=0,
    retries=3,
    ready_s=0.21,
)


def lines(facts: BannerFacts, *, terminal: bool = False, width: int | None = None) -> list[str]:
    return [plain(line) for line in banner(facts, Look(terminal=terminal), width)]


def test_it_says_server_queues_tasks_how_much_and_how_to_stop():
    assert lines(FACTS) == [
        "  aiotq 0.1.0   worker host-3f2a, Python 3.12.1",
        "  server        Redis 7.0.15 at redis://localhost:6379 (from AIOTQ_URL)",
        "  queues        default, mail",
        "  tasks         greet(name: str) -> str",
        "  running       100 at once, 8 threads, 3 retries",
        "  ready in 0.2 s. Ctrl-C stops gently, twice stops now.",
    ]


def test_on_a_terminal_it_stands_apart():
    assert lines(FACTS, terminal=True, width=80) == ["", *lines(FACTS), ""]


def test_another_namespace_is_worth_a_line():
    assert "  namespace     shop" in lines(replace(FACTS, namespace="shop"))


def test_many_tasks_are_counted_after_the_first_twelve():
    said = lines(replace(FACTS, tasks=[f"task{number}() -> None" for number in range(40)]))
    assert said[3] == "  tasks         task0() -> None"
    assert said[14:16] == ["                task11() -> None", "                and 28 more"]


def test_a_worker_without_tasks_says_so():
    assert "  tasks         none: this worker has nothing to run" in lines(replace(FACTS, tasks=()))


@pytest.mark.parametrize(("retries", "said"), [(0, ", no retries"), (1, ", 1 retry"), (3, ", 3 retries"), (None, "")])
def test_retries_are_said_if_all_tasks_have_the_same(retries, said):
    assert f"  running       1 at once, 1 thread{said}" in lines(
        replace(FACTS, concurrency=1, threads=1, retries=retries)
    )


@pytest.mark.parametrize(
    ("pool", "said"), [(0, ""), (1, ", 1 process for CPU-bound tasks"), (4, ", 4 processes for CPU-bound tasks")]
)
def test_the_pools_processes_are_said_if_a_task_wants_one(pool, said):
    assert f"  running       100 at once, 8 threads{said}, 3 retries" in lines(replace(FACTS, pool=pool))


def test_on_a_narrow_terminal_tasks_are_cut_and_the_rest_is_wrapped():
    long = "send(" + ", ".join(f"parameter{number}: str" for number in range(9)) + ") -> None"
    said = lines(replace(FACTS, tasks=(long,)), width=60)
    assert all(len(line) <= 60 for line in said)
    assert "                AIOTQ_URL)" in said
    assert sum("parameter" in line for line in said) == 1


def test_a_password_is_never_shown_and_a_signature_can_not_steer_the_terminal():
    said = "\n".join(lines(replace(FACTS, server="Redis at redis://:secret@h", tasks=("f(x='\x1b[2J')",))))
    assert "secret" not in said
    assert "\x1b" not in said


@pytest.mark.parametrize(
    ("url", "origin", "said"),
    [
        ("redis://h:1/0", "--url", "Valkey 9.1 at redis://h:1/0 (from --url)"),
        ("redis://localhost:6379", "default", "Valkey 9.1 at redis://localhost:6379 (the default)"),
        (
            "embedded://",
            "built-in",
            "built-in Valkey 9.1 in .aiotq/ (development; set AIOTQ_URL to use your own)",
        ),
        (f"embedded://{Path.cwd()}/data", "App(url)", "built-in Valkey 9.1 in data/ (from App(url))"),
        ("embedded:///var/lib/q", "AIOTQ_URL", "built-in Valkey 9.1 in /var/lib/q/ (from AIOTQ_URL)"),
        ("memory://", "AIOTQ_URL", "Valkey 9.1 inside this process, gone with it (from AIOTQ_URL)"),
    ],
)
def test_the_server_is_named_with_its_place_and_who_said_so(url, origin, said):
    facts = ServerFacts(kind="Valkey", version="9.1", url=url)
    assert server_text(facts, Source(url=url, origin=origin)) == said


def test_below_an_error_the_origin_of_the_url_is_named():
    assert source_text(Source(url="redis://h", origin="REDIS_URL")) == "from REDIS_URL"
    assert source_text(Source(url="redis://h", origin="default")) == "the default, as nothing names another"
