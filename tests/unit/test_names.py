"""Which names may be: what is allowed has keys of its own in its namespace, the rest is refused with the rule."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiotq import App, checks
from aiotq.errors import UsageError
from aiotq.job import job_id, line, parse_ticket, ticket
from aiotq.store.keys import PERMANENT, Keys

HOSTILE = (
    *("", "*", "a*", "?", "[a]", "a b", "a\nb", "a\r\nSET x 1", "a\x00b", "{x}", "}:{", "a:b:", "ä", "\ud800", "../x"),
    *("x" * 1_000_000, "'; return 1 --", "$(id)", "<script>", "\u202egnp"),
)


def that(rule: re.Pattern[str], *, longest: int) -> st.SearchStrategy[str]:
    """All texts that a rule allows: as `st.from_regex` makes them, in a tenth of its time."""
    allowed = [char for char in map(chr, range(0x250)) if rule.fullmatch(char)]
    assert rule.fullmatch(allowed[0] * longest)
    assert not rule.fullmatch(allowed[0] * (longest + 1))
    return st.text(allowed, min_size=1, max_size=longest)


namespaces = that(checks.NAMESPACE, longest=64)
queues = that(checks.QUEUE, longest=64)
ids = that(checks.JOB_ID, longest=128)
workers = st.binary(min_size=6, max_size=6).map(bytes.hex)
ONE_EACH = ("schedule", "workers", "lost", "cancels", "poller", "waits", "dead")
TICKET = re.compile(r"([\w.-]+):([\da-js]):([\w!-][\w-]{3}):([\w.:-]+)", re.ASCII)  # as lib.lua has it


def keys_of(namespace: str, queue: str, job: str, worker: str) -> dict[str, str]:
    """Every key and channel that those names lead to, by what they are of."""
    keys = Keys(namespace)
    lines = {f"line {place}": f"{keys.prefix}line:{queue}:{place}" for place in "0123456789s"}
    return {
        **lines,
        "lines": f"{keys.prefix}lines:{queue}",
        "wake": keys.wake(queue),
        "job": keys.job(job),
        "done": keys.done(job),
        "worker": keys.worker(worker),
        "active": f"{keys.prefix}active:{worker}",
        "control": keys.control(worker),
        **{name: keys.prefix + name for name in (*PERMANENT, *ONE_EACH)},
        "poller wake": keys.poller_wake,
    }


@given(namespaces, queues, ids, workers)
def test_every_key_is_inside_its_namespaces_one_slot(namespace: str, queue: str, job: str, worker: str) -> None:
    keys = keys_of(namespace, queue, job, worker)
    assert all(key.startswith(f"{{{namespace}}}:") and key.count("{") == key.count("}") == 1 for key in keys.values())
    assert len(set(keys.values())) == len(keys)  # no two things share one
    assert all(key.isascii() and key.isprintable() and not set("*?[]\\") & set(key) for key in keys.values())


@given(namespaces, st.tuples(queues, queues), st.tuples(ids, ids), workers)
def test_two_queues_and_two_jobs_never_share_a_key(
    namespace: str, two_queues: tuple[str, str], two_jobs: tuple[str, str], worker: str
) -> None:
    first = keys_of(namespace, two_queues[0], two_jobs[0], worker)
    second = keys_of(namespace, two_queues[1], two_jobs[1], worker)
    shared = {name for name, key in first.items() if key in second.values()}
    of_queue = {name for name in first if name.startswith("line") or name == "wake"}
    assert (of_queue <= shared) == (two_queues[0] == two_queues[1])
    assert of_queue & shared in (set(), of_queue)
    assert ({"job", "done"} <= shared) == (two_jobs[0] == two_jobs[1])


@given(st.tuples(namespaces, namespaces), queues, ids, workers)
def test_two_namespaces_never_share_a_key(two: tuple[str, str], queue: str, job: str, worker: str) -> None:
    first, second = (set(keys_of(namespace, queue, job, worker).values()) for namespace in two)
    assert first.isdisjoint(second) == (two[0] != two[1])


@given(queue=queues, priority=st.integers(0, 9), lifo=st.booleans(), job=ids)
def test_a_ticket_is_read_as_it_was_written(*, queue: str, priority: int, lifo: bool, job: str) -> None:
    text = ticket(line(queue, priority, lifo=lifo), "AAAA", job)
    assert len(text) <= 200  # LONGEST_TICKET in lib.lua: a longer one is not aiotq's
    read = parse_ticket(text)
    assert (read.queue, read.generation, read.job_id) == (queue, "AAAA", job)
    found = TICKET.fullmatch(text)
    assert found is not None
    assert found.groups() == (queue, read.place, "AAAA", job)


def test_a_generated_id_is_one_that_may_be_given() -> None:
    assert checks.job_id("job_id", job_id(1_800_000_000_000, b"\xff" * 10))


async def nothing() -> None: ...


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name)[:20])
@pytest.mark.parametrize("what", ["namespace", "queue", "default queue", "job_id", "task", "worker's queue", "handle"])
def test_a_name_that_is_not_allowed_is_refused_with_the_rule(what: str, name: str) -> None:
    app = App("memory://names")
    task = app.task(nothing)
    ways: dict[str, Any] = {
        "namespace": lambda: App(namespace=name),
        "queue": lambda: task.options(queue=name),
        "default queue": lambda: App(default_queue=name),
        "job_id": lambda: task.options(job_id=name),
        "task": lambda: app.task(nothing, name=name),
        "worker's queue": lambda: app.worker([name]),
        "handle": lambda: app.job(name),
    }
    allowed = {"a:b:": ("namespace", "job_id", "handle", "task"), "ä": ("task",), "../x": ("task",)}
    if what in allowed.get(name, ()):
        ways[what]()
        return
    with pytest.raises(UsageError, match="pass 1 to") as refused:
        ways[what]()
    assert len(str(refused.value)) < 300


def test_a_name_made_of_a_modules_is_refused_if_no_record_should_carry_it() -> None:
    async def long() -> None: ...

    long.__qualname__ = "x" * 300
    with pytest.raises(UsageError, match="longer than 200 characters"):
        App("memory://names").task(long)
    long.__qualname__ = "line\nbreak"
    with pytest.raises(UsageError, match="can't be printed"):
        App("memory://names").task(long)
