"""What must be true after every scenario, whatever was broken in it.

Three witnesses that know nothing of each other are asked: the ledger that the tasks have written, what callers were
told, and one atomic sample of the store. `violations` compares them; it touches nothing.

    I1  each acknowledged job has ended: well and then it has run to its end, or not well and then it says why
    I2  it has ended once: one terminal record, which nothing changes any more; its end was published once
    I3  a refused job is nowhere; of one whose fate was left open there is none or a whole one
    I4  an attempt has started twice only where a lease was lost, and there only did two overlap; it was repeated once
        for each loss, and no more of them than were in hand then; none was used up but by a task that failed
    I5  a waiting job is in one place; in the end nothing is left but terminal records: each other key has a TTL
    I6  a worker takes no more than before, nor does a server have more clients, and while its store is away it takes
        neither the processor nor the log
    I7  it took no longer than promised
    I8  each process has ended as documented
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiotq.job import JobStatus
from aiotq.record import decode
from tests.model import census

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from tests.model.census import Census
    from tests.process.ledger import Entry

GROWTH = 1.05  # of what a worker holds, from before a fault to after it
SPARE_FDS = 2  # ... besides: a connection that is being replaced
SPARE_CLIENTS = 2  # ... the same at a server
SPARE_BYTES = 8 << 20  # ... and what an allocator keeps
UNHEARD_S = 1.0  # a job that has ended is in its worker's hands until the store has heard of that
MOST_CPU_SHARE = 0.2  # while its store is away
MOST_LINES_A_S = 10.0
LEASE_LOST = '"event":"lease_lost"'
NEVER_SAID = ("Traceback", "mistake in aiotq")  # by a worker, of itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What callers were told, by the ids of their jobs."""

    acked: Collection[str] = ()
    refused: Collection[str] = ()
    unsure: Collection[str] = ()  # no answer: it may have been enqueued
    cancelled: Collection[str] = ()  # somebody has asked for that: it may have come in time


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """What the faults of a scenario account for."""

    dead: Collection[str] = ()  # these end as dead letters
    may_die: Collection[str] = ()  # these may
    may_vanish: Collection[str] = ()  # the server has lost their records, or they were kept for a moment only
    # These ran where a lease was lost, and may start once more; a mapping says how many times more.
    may_repeat: Collection[str] | Mapping[str, int] = ()
    # Processes to which something happened: what ran there may run again, once; and once more for each lease that they
    # say they have lost.
    excused: Collection[int] = ()
    # How many starts there may be beyond the first ones; None: those of `may_repeat`, and what the excused held.
    most_repeats: int | None = None
    failures: Mapping[str, int] = field(default_factory=dict[str, int])  # how often a task failed; 0 if not named


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a process took, at one moment or during a while."""

    pid: int
    clients: int = 0  # of a server
    fds: int = 0
    rss: int = 0
    cpu_s: float = 0.0
    lines: int = 0
    at_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Took:
    """How long something took, and how long it may."""

    what: str
    took_s: float
    limit_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a process has ended, and how it may."""

    pid: int
    code: int
    expected: Collection[int] = (0,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that is known of a scenario."""

    told: Told
    entries: Sequence[Entry]  # the ledger, in its order
    sample: Census  # the store, in the end
    allowed: Allowed = field(default_factory=Allowed)
    earlier: Sequence[Census] = ()  # the store, in between
    published: Mapping[str, int] | None = None  # how often each end was; None: nobody could listen all the time
    settled: Sequence[tuple[Load, Load]] = ()  # of a worker or the server: before the fault, and after it
    away: Sequence[tuple[Load, Load]] = ()  # of a worker: as its store went, and as it came back
    said: Mapping[int, str] = field(default_factory=dict[int, str])  # by pid
    times: Sequence[Took] = ()
    exits: Sequence[Exit] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One thing that is not true."""

    invariant: str
    text: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.text}"


def violations(evidence: Evidence) -> list[Violation]:
    """All that is wrong; nothing if all is well."""
    return [
        Violation(invariant=name, text=text)
        for name, rule in INVARIANTS.items()
        for text in dict.fromkeys(rule(evidence))
    ]


def meanwhile(before: Census, after: Census) -> list[Violation]:
    """What is wrong between two moments of a store that works, whatever is broken around it."""
    found = [Violation(invariant="I2", text=text) for text in _changed_ends(before, after)]
    return found + [Violation(invariant="I5", text=text) for text in census.complaints(after)]


def _status(job_id: str, data: bytes | None) -> JobStatus | None:
    return decode(job_id, data).status if data else None


def _each_job_has_ended(e: Evidence) -> Iterator[str]:
    ended = {entry.job_id for entry in e.entries if entry.what == "end"}
    for job_id in sorted(e.told.acked):
        data = e.sample.records.get(job_id)
        if data is None:
            if job_id not in e.allowed.may_vanish:
                yield f"{job_id} was acknowledged and has vanished"
            continue
        yield from (f"{job_id} {wrong}" for wrong in _wrong_end(e, job_id, data, ended=job_id in ended))


def _wrong_end(e: Evidence, job_id: str, data: bytes, *, ended: bool) -> Iterator[str]:
    found = decode(job_id, data)
    match found.status:
        case None:
            yield "waits or runs"
        case JobStatus.SUCCEEDED:
            if not ended:
                yield "has succeeded and never ran to its end"
            if job_id in e.allowed.dead:
                yield "should be a dead letter and has succeeded"
        case JobStatus.FAILED:
            if not (found.doc.reason or found.doc.error):
                yield "has failed and does not say why"
            if job_id not in e.allowed.dead and job_id not in e.allowed.may_die:
                yield f"has failed: {found.doc.reason} {found.doc.error}"
        case _:
            if job_id not in e.told.cancelled:
                yield f"was cancelled ({found.doc.reason}), and nobody has asked for that"


def _each_job_has_ended_once(e: Evidence) -> Iterator[str]:
    for before in e.earlier:
        yield from _changed_ends(before, e.sample)
    if e.published is not None:
        for job_id in sorted(e.told.acked):
            times = e.published.get(job_id, 0)
            if times != 1 and job_id not in e.allowed.may_vanish:
                yield f"the end of {job_id} was published {times} times"


def _changed_ends(before: Census, after: Census) -> Iterator[str]:
    for job_id, data in before.records.items():
        now = after.records.get(job_id, data)
        if now != data and data[1:2] in b"sfc":
            yield f"{job_id} had ended as {data[:60]!r}, and is {now[:60]!r} now"


def _refused_jobs_are_nowhere(e: Evidence) -> Iterator[str]:
    ran = {entry.job_id for entry in e.entries}
    for job_id in sorted(e.told.refused):
        if job_id in ran or job_id in e.sample.records:
            yield f"{job_id} was refused, and {'ran' if job_id in ran else 'has a record'}"
    ended = {entry.job_id for entry in e.entries if entry.what == "end"}
    for job_id in sorted(e.told.unsure):
        data = e.sample.records.get(job_id)
        if data is not None:
            yield from (f"{job_id}, left open, {wrong}" for wrong in _wrong_end(e, job_id, data, ended=job_id in ended))
        elif job_id in ran and job_id not in e.allowed.may_vanish:
            yield f"{job_id}, left open, ran and has no record"


def _attempts_start_once(e: Evidence) -> Iterator[str]:
    allowed = e.allowed
    last: dict[tuple[str, int], Entry] = {}  # who started an attempt last
    by_leave, by_fault = Counter[str](), Counter[tuple[tuple[str, int], int]]()
    for entry in e.entries:
        if entry.what != "start":
            continue
        run = entry.job_id, entry.attempt
        if run in last:
            before = last[run].pid
            if entry.job_id in allowed.may_repeat:
                by_leave[entry.job_id] += 1
            elif before in allowed.excused:
                by_fault[run, before] += 1
            else:
                yield f"attempt {entry.attempt} of {entry.job_id} started in {before} and again in {entry.pid}"
        last[run] = entry
        if entry.attempt > 1 + allowed.failures.get(entry.job_id, 0):
            yield f"attempt {entry.attempt} of {entry.job_id} started, and no task had failed so often"
    yield from _too_many(e, by_leave, by_fault)
    yield from _overlaps(e)


def _too_many(e: Evidence, by_leave: Counter[str], by_fault: Counter[tuple[tuple[str, int], int]]) -> Iterator[str]:
    """by_leave: how often which job was repeated. by_fault: how often which attempt was, after which process."""
    leave, most = _leave(e.allowed), e.allowed.most_repeats
    faults = {pid: 1 + e.said.get(pid, "").count(LEASE_LOST) for pid in e.allowed.excused}
    for job_id, times in by_leave.items():
        if times > leave[job_id]:
            yield f"{job_id} was repeated {times} times; it could have been {leave[job_id]} times"
    for (run, pid), times in by_fault.items():
        if times > faults[pid]:
            yield f"{run} was repeated {times} times after {pid}, to which something happened {faults[pid]} times"
    if most is None:
        most = sum(leave.values()) + sum(_most_in_hand(e.entries, pid) * times for pid, times in faults.items())
    total = by_leave.total() + by_fault.total()
    if total > most:
        yield f"{total} starts were repeated; at most {most} were in hand at the fault"


def _leave(allowed: Allowed) -> Mapping[str, int]:
    """How often which job may be repeated."""
    given = allowed.may_repeat
    return given if isinstance(given, Mapping) else dict.fromkeys(given, 1)


def _most_in_hand(entries: Sequence[Entry], pid: int) -> int:
    """How many jobs a process has had in its hands at one moment, by what it wrote."""
    changes: list[tuple[float, int]] = []
    running = Counter[tuple[str, int]]()
    for entry in entries:
        if entry.pid == pid:
            run = entry.job_id, entry.attempt
            if entry.what == "start":
                running[run] += 1
                changes.append((entry.at_s, 1))
            elif running[run]:
                running[run] -= 1
                changes.append((entry.at_s + UNHEARD_S, -1))
    held = most = 0
    for _, change in sorted(changes):
        held += change
        most = max(most, held)
    return most


def _overlaps(e: Evidence) -> Iterator[str]:
    starts: dict[str, list[Entry]] = defaultdict(list)
    for entry in e.entries:
        began = starts[entry.job_id]
        if entry.what == "start":
            began.append(entry)
            continue
        mine = [at for at, one in enumerate(began) if (one.pid, one.attempt) == (entry.pid, entry.attempt)]
        if entry.job_id not in e.allowed.may_repeat and entry.pid not in e.allowed.excused:
            for later in began[mine[-1] + 1 :] if mine else ():
                yield f"{entry.job_id} ran in {later.pid} while {entry.pid} ran it"


def _nothing_is_left(e: Evidence) -> Iterator[str]:
    for sample in (*e.earlier, e.sample):
        yield from census.complaints(sample)
    sample = e.sample
    for name, tickets in {**sample.lines, "schedule": sample.schedule, **sample.active}.items():
        if tickets:
            yield f"{name}: still holds {list(tickets)[:3]}"
    yield from (f"workers: still names {worker}" for worker in sample.workers)
    waiting = {job_id for job_id, data in sample.records.items() if _status(job_id, data) is None}
    for mark, names in (("lost", set(sample.lost)), ("cancels", sample.cancels)):
        yield from (f"{mark}: still names {job_id}" for job_id in sorted(names - waiting))
    yield from (f"{name}: has no TTL" for name in sample.others if sample.ttl_ms[name] == -1)


def growth(before: Load, after: Load) -> Iterator[str]:
    """What a process holds more of than before; nothing if that is no more than a little."""
    if after.clients > before.clients * GROWTH + SPARE_CLIENTS:
        yield f"{after.pid} has {after.clients} clients, and {before.clients} before"
    if after.fds > before.fds * GROWTH + SPARE_FDS:
        yield f"{after.pid} holds {after.fds} files and sockets open, and {before.fds} before"
    if after.rss > before.rss * GROWTH + SPARE_BYTES:
        yield f"{after.pid} takes {after.rss >> 20} MiB, and {before.rss >> 20} before"


def _workers_stay_modest(e: Evidence) -> Iterator[str]:
    for before, after in e.settled:
        yield from growth(before, after)
    for before, after in e.away:
        wall_s = after.at_s - before.at_s
        if (after.cpu_s - before.cpu_s) > MOST_CPU_SHARE * wall_s:
            yield f"{after.pid} computed for {after.cpu_s - before.cpu_s:.2f} s of {wall_s:.2f} s without its store"
        if (after.lines - before.lines) > MOST_LINES_A_S * wall_s:
            yield f"{after.pid} wrote {after.lines - before.lines} lines in {wall_s:.2f} s without its store"
    for pid, text in e.said.items():
        for words in NEVER_SAID:
            if (at := text.find(words)) >= 0:
                yield f"{pid} said: {text[max(0, at - 200) : at + 3_000]}"


def _it_took_no_longer(e: Evidence) -> Iterator[str]:
    for took in e.times:
        if took.took_s > took.limit_s:
            yield f"{took.what} took {took.took_s:.2f} s; at most {took.limit_s:.2f} s were promised"


def _processes_ended_as_documented(e: Evidence) -> Iterator[str]:
    for ended in e.exits:
        if ended.code not in ended.expected:
            yield f"{ended.pid} ended with {ended.code}; expected: {sorted(ended.expected)}"


INVARIANTS = {
    "I1": _each_job_has_ended,
    "I2": _each_job_has_ended_once,
    "I3": _refused_jobs_are_nowhere,
    "I4": _attempts_start_once,
    "I5": _nothing_is_left,
    "I6": _workers_stay_modest,
    "I7": _it_took_no_longer,
    "I8": _processes_ended_as_documented,
}
