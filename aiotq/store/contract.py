"""What the rest of aiotq may ask of a store, and the values that go in and out.

The workers, the handles and the app know the store by this file alone. Each verb is one atomic script (or one read);
what becomes of a job is decided by its callers, and only stored here.

The values are msgspec Structs, made in a tenth of a frozen dataclass's time. `_ms` are whole milliseconds, instants
Unix milliseconds by Redis's own clock. `now_ms=0`, a verb's default, means that clock; tests pass a virtual one.

Verbs may raise StoreUnavailable (unknown if `.sent`), StoreRefused (nothing was done), StoreUnusable (nor will be).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from enum import Enum
from typing import Protocol

from msgspec import Struct

from aiotq.errors import QueueFull  # noqa: TC001  as short as this file must be
from aiotq.job import JobStatus
from aiotq.store.notes import NoteVerbs
from aiotq.store.seen import Backlog, ServerFacts, Survey  # noqa: TC001  known by this file
from aiotq.store.tallies import Counting

# Bounds of one call, as measured to keep every script under 5 ms.
MAX_ENQUEUE = 400
MAX_FINISHED = MAX_CLAIMED = 200
MAX_RECLAIMED = 150
MAX_PROMOTED = 1_000
MAX_BATCH_BYTES = 1 << 20

BLOCK_S = 4.0  # how long `wait_token` blocks; a lost token costs at most this
POLLER_LEASE_MS = 5_000
REPEATS_S = 50.0  # an enqueue whose answer was lost is repeated for less long than the record of an ended job is kept
WAITS_MS = 90_000  # for so long after somebody has begun to wait for a job's end all ends are published


class NewJob(Struct, frozen=True, kw_only=True, gc=False):
    """A job on its way in. The store puts the time of enqueuing between `head` and `body`."""

    job_id: str
    line: str
    generation: str
    head: bytes  # the record up to the time of enqueuing
    body: bytes  # the record after it
    delay_ms: int | None = None  # in the schedule, this long from now
    due_ms: int | None = None  # ... or until this instant
    max_len: int | None = None  # of one that is not to be scheduled: only if fewer wait in its queue
    named: bool = False  # by its caller; else nobody else has its id

    @property
    def size(self) -> int:
        """Bytes it takes of a batch."""
        return len(self.body) + 128


class Enqueued(Enum):
    """What `enqueue` found under a job's id."""

    NEW = 0  # nothing: it has been enqueued
    SAME = 1  # this very job (its generation): an earlier request whose reply was lost
    EXISTED = 2  # another one: nothing was enqueued


class Ended(Struct, frozen=True, kw_only=True, gc=False):
    """An outcome that ends the job: its terminal record, and how long it is kept."""

    ticket: str
    record: bytes
    ttl_ms: int
    dead: bool = False  # a dead letter


class Postponed(Struct, frozen=True, kw_only=True, gc=False):
    """An outcome that puts the job in the schedule, with a new generation."""

    ticket: str
    record: bytes
    new_ticket: str
    delay_ms: int


class PutBack(Struct, frozen=True, kw_only=True, gc=False):
    """An outcome that puts the job back to the front of its line, its record as it was but for the generation."""

    ticket: str
    new_ticket: str


Finished = Ended | Postponed | PutBack


class Claimed(Struct, frozen=True, kw_only=True, gc=False):
    """A job in this worker's hands."""

    ticket: str
    record: bytes | None  # None: too large to come along; `read` it
    lost: int = 0  # how often its worker vanished
    cancelled: bool = False  # a person wants it stopped


class Exchanged(Struct, frozen=True, kw_only=True, gc=False):
    """The reply of `exchange`."""

    alive: bool  # False: reclaimed; drop all that is in hand and start under a new id. Nothing was stored or claimed
    stored: Sequence[bool] = ()  # per outcome: whether it got past the fence and its record still existed
    claimed: Sequence[Claimed] = ()
    gone: Sequence[str] = ()  # in doubt only: held tickets that are not in this worker's hands; drop them
    fence: int = 0  # of `claimed`: grows with every claim, even after the server has lost data; below 2^53
    active: int = 0  # how many tickets are in this worker's hands, by the store
    cancels: Sequence[str] = ()  # ids of this worker's running jobs that shall stop
    dropped: int = 0  # stale and garbage tickets that the claim dropped
    garbage: Sequence[str] = ()  # keys in which something was found that is not ours, and put aside
    now_ms: int = 0  # Redis's clock
    next_due_us: int | None = None  # from now to the next due job; 0 or less: at once; None: the schedule is empty
    epoch: int = 0  # as Renewed's


class Promoted(Struct, frozen=True, kw_only=True):
    """The reply of `promote`."""

    leader: bool  # whether this worker holds the poller's lease
    moved: int = 0
    wait_us: int | None = None  # leader: to the next due job, None: there is none; else: to the end of another's lease
    garbage: Sequence[str] = ()


class Peer(Struct, frozen=True, kw_only=True):
    """A worker whose lease looks odd: it has ended, or ends further ahead than a lease."""

    worker_id: str
    lease_end_ms: int
    lease_ms: int  # its lease


class Renewed(Struct, frozen=True, kw_only=True):
    """The reply of `renew`."""

    alive: bool
    now_ms: int = 0
    suspicious: Sequence[Peer] = ()  # at most 100
    garbage: Sequence[str] = ()  # keys in which something was found that is not ours, and put aside
    epoch: int = 0  # another one: the connection broke since the last reply


class Reclaimed(Enum):
    """What one call of `reclaim` came to."""

    CHANGED = 0  # its lease end is not the one that was seen: nothing was done
    MORE = 1  # some of its jobs are back; call again with a seen lease end of 0
    DONE = 2  # all its jobs are back and it is gone
    PULLED_IN = 3  # its lease ended further ahead than a lease; now it doesn't


class WorkerCard(Struct, frozen=True, kw_only=True):
    """What a worker says of itself."""

    worker_id: str
    label: str
    host: str
    pid: int
    queues: Sequence[str]
    lease_ms: int
    former: Sequence[str] = ()  # ids that lost their lease: what they still hold is reclaimed, if nobody knows them


class Place(Struct, frozen=True, kw_only=True):
    """Where a job is now. None of it is true of a job whose generation is no longer the one asked for."""

    status: JobStatus | None  # SCHEDULED, QUEUED or RUNNING; None: the record has gone, ended or changed meanwhile
    worker_id: str | None = None
    worker: str | None = None  # its label
    due_ms: int | None = None
    line: str | None = None  # of a scheduled job's ticket
    lost: int = 0
    now_ms: int = 0


class Replacement(Struct, frozen=True, kw_only=True):
    """A record that shall stand in the place of another one, if nobody holds the job and nobody changed it."""

    job_id: str
    generation: str  # the one that was read
    lines: Sequence[str]  # the lines its ticket may name
    state: str = "w"  # that was read: "w" it waits or runs, "f" it has failed (an end keeps the generation)
    record: bytes
    new_generation: str
    ttl_ms: int | None = None  # for a terminal record
    line: str | None = None  # the new ticket's line, for a waiting one
    delay_ms: int | None = None  # ... in the schedule, this long from now
    forgets: bool = False  # how often its worker vanished


class Replaced(Enum):
    """What `replace` came to."""

    DONE = 0  # also if the record was already as wanted
    HELD = 1  # a worker holds the job
    CHANGED = 2  # the record has another state or generation, or has gone


class Store(Counting, NoteVerbs, Protocol):
    """One store, used from one event loop."""

    @property
    def url(self) -> str:
        """Where it is, without its password."""
        ...

    async def open(self, *, timeout_s: float | None = None) -> ServerFacts:
        """Connect and look at the server, within `timeout_s` or less. Raises StoreUnusable if it can't serve aiotq."""
        ...

    async def vet(self) -> ServerFacts:
        """`open`, for a worker: and try whether its user may do all that it will have to, before it claims anything.
        `warnings` name what would hurt later. Two round trips; leaves nothing behind. Raises StoreUnusable.
        """
        ...

    async def close(self) -> None:
        """Drop every connection. Commands in flight fail with StoreUnavailable."""
        ...

    def sibling(self, *, limit_s: float | None = None) -> Store:
        """A store of the same server and namespace with connections of its own, for another thread's loop.

        limit_s: the longest that one of its calls may take, connecting included, if less than this one's.
        """
        ...

    # --- a sender's side
    async def enqueue(
        self, jobs: Sequence[NewJob], *, timeout_s: float | None = None, now_ms: int = 0
    ) -> Sequence[Enqueued | QueueFull]:
        """Put 1..MAX_ENQUEUE jobs of at most MAX_BATCH_BYTES (or one of any size) in their lines or the schedule.

        Safe to repeat, by id and generation. QueueFull is an answer: that job did not fit, nothing of it was written.
        """
        ...

    async def enqueue_durably(
        self, jobs: Sequence[NewJob], *, timeout_s: float | None = None, now_ms: int = 0
    ) -> tuple[Sequence[Enqueued | QueueFull], int]:
        """As `enqueue`, over a connection whose number comes with the answers, for `settled`. Raises NotDurable."""
        ...

    async def settled(self, link: int, *, timeout_s: float) -> None:
        """Wait until all that has been enqueued over that connection is safe: on the server's disk, or on a replica.

        Raises StoreUnavailable if it has broken, so that all has to be enqueued again, or if that took too long.
        """
        ...

    async def read(self, job_id: str, *, at_most: int | None = None) -> bytes | None:
        """A job's record, or None; with `at_most` no more of it than so many bytes, however large it is."""
        ...

    async def read_many(self, job_ids: Sequence[str]) -> Sequence[bytes | None]:
        """The records of up to 100 jobs."""
        ...

    async def locate(self, job_id: str, *, generation: str, lines: Sequence[str]) -> Place:
        """Where the job of that record is now."""
        ...

    async def replace(self, replacement: Replacement, *, audit: bytes = b"", now_ms: int = 0) -> Replaced:
        """Compare and set a record that no worker holds. audit: as `inspection.audit.entry` makes it; kept if done."""
        ...

    async def cancel(self, job_id: str, *, generation: str, lines: Sequence[str], audit: bytes = b"") -> bool:
        """Mark a running job to be stopped, and tell its worker. False if no worker holds it."""
        ...

    def ended(self, job_id: str) -> AsyncIterator[bytes | None]:
        """Yields the record as it is once subscribed and after each reconnect, and when the job ends.

        None: there is none, or one too large to come along. Ends are published for `WAITS_MS` after each (re)connect.
        """
        ...

    async def live_workers(self) -> Mapping[str, Sequence[str]]:
        """The queues that each live worker serves, by its label."""
        ...

    async def survey(self) -> Survey:
        """What there is. Reads only; a hundred queues and a thousand workers at most."""
        ...

    # --- a worker's side
    async def register(self, card: WorkerCard, *, now_ms: int = 0) -> bool:
        """A worker comes. False if its id is known already."""
        ...

    async def retire(self, worker_id: str, *, now_ms: int = 0) -> int:
        """A worker goes: what it still holds goes back to the front. Returns how many; 0 for a reclaimed one."""
        ...

    async def exchange(
        self,
        worker_id: str,
        finished: Sequence[Finished],
        *,
        queues: Sequence[str],
        limit: int,
        suspects: bool = True,
        held: Sequence[str] | None = None,
        failure_ttl_ms: int = 0,
        now_ms: int = 0,
    ) -> Exchanged:
        """Finish a batch, then claim up to `limit` jobs: one atomic call.

        finished: 0..MAX_FINISHED outcomes. limit: 0..MAX_CLAIMED. suspects: whether this worker holds no suspect, and
        may so take one. held: the worker is in doubt; all the tickets that it holds, without those in `finished`. Then
        nothing new is claimed: `claimed` is what else lies in its hands, at most MAX_CLAIMED, and `gone` what does not.
        """
        ...

    async def renew(self, worker_id: str, *, lease_ms: int, now_ms: int = 0) -> Renewed:
        """A heartbeat: lengthen the lease. Tells which other workers' leases look odd."""
        ...

    async def reclaim(self, worker_id: str, *, seen_ms: int, limit: int = MAX_RECLAIMED, now_ms: int = 0) -> Reclaimed:
        """Take back jobs of a worker whose lease end is still the one seen: to the front, each lost once more.

        Whoever has seen the worker's process end need not wait: with `now_ms` at the lease end, the lease is over.
        """
        ...

    async def lease_end(self, worker_id: str) -> int | None:
        """When a worker's lease ends; 0 while it is being reclaimed; None: nobody has that id."""
        ...

    async def promote(
        self, worker_id: str, *, limit: int = MAX_PROMOTED, lease_ms: int = POLLER_LEASE_MS, now_ms: int = 0
    ) -> Promoted:
        """Take or keep the poller's lease, and move due jobs to their queues."""
        ...

    async def wait_token(self, queues: Sequence[str], *, block_s: float = BLOCK_S) -> str | None:
        """Block on the queues' wake lists: the queue whose token came, or None. On a connection of its own."""
        ...

    async def wait_poller_token(self, *, block_s: float = BLOCK_S) -> bool:
        """Block on the poller's wake list. On a connection of its own."""
        ...

    async def leave_token(self, queue: str) -> None:
        """Pass a token on to another worker of the queue."""
        ...

    async def leave_poller_token(self) -> None:
        """Pass the poller's token on."""
        ...

    def cancellations(self, worker_id: str) -> AsyncIterator[str | None]:
        """Ids of running jobs that shall stop, as published; None once it listens, or again. Ends with `close`."""
        ...

    async def backlog(self, queues: Sequence[str]) -> Backlog:
        """What is queued, running anywhere or scheduled in these queues."""
        ...

    # --- an operator's side
    async def pause(self, queue: str, *, audit: bytes = b"") -> bool:
        """Claim nothing more from a queue. False if it was paused."""
        ...

    async def resume(self, queue: str, *, audit: bytes = b"") -> bool:
        """Claim from it again; wakes a worker in the same script. False if it was not paused."""
        ...
