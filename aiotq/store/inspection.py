"""What an operator may ask of a store: reads of what lies in a namespace, each bounded; and verbs on single jobs.

`Reading` is the look, `Acting` the hand; both go over the connection of the store that they are of. Text that anybody
may have written comes with escapes for bytes that are none. Times: `_ms` are Unix milliseconds by Redis's clock.
Any of it may raise StoreUnavailable, StoreRefused or StoreUnusable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from msgspec import Struct

REFUSED_S = 1.0  # for how long a read is tried again where nobody listens: somebody waits for the answer
# Bounds of one call.
WINDOW = 500  # tickets, members or entries of a list
MOST_QUEUES = 1_000
MOST_WORKERS = 1_000
MOST_HELD = 2_000  # tickets of one worker
MOST_FIELDS = 1_000  # of a hash that anybody may have filled
LOOK = 10_000  # tickets at either end of a line among which one is looked for
RING = 12_000  # entries of `ended`, its slack counted in
MAX_TAKEN = 100  # jobs that one script ends
MAX_LEFT = 300  # tickets before these, that stay
SHOWN = 16 << 10  # bytes of a record that are looked at in a list
HEAD, TAIL = 2_048, 8_192  # ... of one that is larger than that, from its beginning and from its end

Scored = Literal["schedule", "dead"]


class Line(Struct, frozen=True, kw_only=True, gc=False):
    """A line that is not empty."""

    queue: str
    place: str  # a priority from 0 to 9, or "s" for the suspects
    length: int


class Card(Struct, frozen=True, kw_only=True):
    """A worker, as it says of itself; text that anybody may have written."""

    worker_id: str
    lease_end_ms: int  # 0: it is being reclaimed
    held: int  # tickets in its hands
    fields: Mapping[str, str]  # of its hash: label, host, pid, queues, started, lease_ms, vitals


class Peek(Struct, frozen=True, gc=False):
    """What is looked at of a record."""

    data: bytes  # whole, or if `size` is more than SHOWN its first HEAD bytes
    size: int
    tail: bytes = b""  # then: its last TAIL bytes

    @property
    def whole(self) -> bool:
        """Whether that is all of it."""
        return len(self.data) == self.size


class Beside(Struct, frozen=True, kw_only=True):
    """What is kept beside one job."""

    ttl_ms: int | None  # of its record
    lost: int
    notes: Sequence[bytes]
    progress: bytes | None


class Told(Struct, frozen=True, kw_only=True):
    """What a server says of itself. None, or nothing: it may not be asked, or does not say."""

    kind: str  # "Redis", "Valkey", "fakeredis"; "Redis or Valkey" where the user may not ask
    info: Mapping[str, str]
    config: Mapping[str, str]
    ping_s: Sequence[float]  # of a few, in their order
    cli: str = "redis-cli"  # with the options that lead there, to be pasted; without a password


class Discarding(Struct, frozen=True, kw_only=True):
    """A short record that shall stand in the place of one of a job that has ended."""

    job_id: str
    was: str  # state and generation that were read
    record: bytes
    new_generation: str
    ttl_ms: int


class Waiting(Struct, frozen=True, gc=False):
    """A ticket, and what shows how to end its job. No bytes: there is no record, or the ticket is none."""

    ticket: str
    beginning: bytes  # whole, if it is short
    end: bytes


class Front(Struct, frozen=True, kw_only=True):
    """The front of a line."""

    now_ms: int
    length: int  # of the whole line
    waiting: Sequence[Waiting]


class Ending(Struct, frozen=True, kw_only=True, gc=False):
    """A job in a line that shall end."""

    ticket: str
    header: bytes  # the first 19 bytes of its record, as they were read
    record: bytes  # that shall stand
    ttl_ms: int


class Reading(Protocol):
    """An operator's reads. What is of another type than expected is as good as not there."""

    @property
    def url(self) -> str:
        """Where the store is, without its password."""
        ...

    async def now_ms(self) -> int:
        """Redis's clock."""
        ...

    # --- queues and workers
    async def queue_names(self) -> Sequence[str]:
        """Those that ever had a job; at most MOST_QUEUES, sorted."""
        ...

    async def paused(self) -> Sequence[str]:
        """Those from which nothing is claimed."""
        ...

    async def lines(self, queues: Sequence[str]) -> Sequence[Line]:
        """The lines of these queues that are not empty: queue by queue, the suspects first, then by priority."""
        ...

    async def workers(self) -> Sequence[Card]:
        """All that are members; at most MOST_WORKERS, by the end of their lease."""
        ...

    async def card(self, worker_id: str) -> Card | None:
        """One of them."""
        ...

    async def held(self, worker_id: str) -> Sequence[str]:
        """The tickets in a worker's hands, at most MOST_HELD, in no order."""
        ...

    # --- where jobs lie
    async def line(self, queue: str, place: str, first: int, last: int) -> Sequence[str]:
        """Tickets of a line, as LRANGE counts them; at most WINDOW and one."""
        ...

    async def held_ending(self, worker_id: str, end: str) -> Sequence[str] | None:
        """Tickets in a worker's hands that end so: no "*", "?", "[" or backslash. None: too many to look through."""
        ...

    async def scheduled_ending(self, end: str) -> Sequence[tuple[str, float]] | None:
        """Members of the schedule that end so, each with its score. None: as above."""
        ...

    async def scheduled_at(self, tickets: Sequence[Sequence[str]]) -> Sequence[tuple[str, float]]:
        """Those that are in the schedule, each with its score. tickets: some at once, for each command."""
        ...

    async def line_index(self, queue: str, place: str, ticket: str, *, from_front: bool = False) -> int | None:
        """Where in a line a ticket is, looked for among the last LOOK, or the first."""
        ...

    async def scored(self, key: Scored, first: int, last: int, *, latest_first: bool) -> Sequence[tuple[str, float]]:
        """Members of the schedule or of the dead letters by their rank, each with its score."""
        ...

    async def rank(self, key: Scored, member: str, *, latest_first: bool) -> tuple[int, float] | None:
        """A member's rank and score."""
        ...

    async def number(self, key: Scored, least: str = "-inf", most: str = "+inf") -> int:
        """How many have a score in that range, as ZCOUNT takes it."""
        ...

    async def ring(self, first: int, last: int) -> Sequence[str]:
        """Entries of the ring of jobs that have ended, the newest first: a state and an id each."""
        ...

    async def ring_index(self, entry: str) -> int | None:
        """Where in the ring an entry is."""
        ...

    # --- jobs
    async def peek(self, job_ids: Sequence[str], *, small: bool = False) -> Sequence[Peek | None]:
        """What is looked at of many records. small: none of them is larger than SHOWN, by its ticket."""
        ...

    async def exist(self, job_ids: Sequence[str]) -> Sequence[bool]:
        """Whether there is a record."""
        ...

    async def losses(self, job_ids: Sequence[str]) -> Sequence[int]:
        """How often each job's worker vanished."""
        ...

    async def lost(self) -> Mapping[str, int]:
        """Jobs that wait or run and whose worker has vanished, at most MOST_FIELDS: how often."""
        ...

    async def beside(self, job_id: str) -> Beside:
        """What is kept beside a job."""
        ...

    # --- what was counted
    async def fields(self, keys: Sequence[str], names: Sequence[str]) -> Sequence[Mapping[str, int]]:
        """These fields of some hashes of counters, those that there are."""
        ...

    async def hashes(self, keys: Sequence[str]) -> Sequence[Mapping[str, int]]:
        """All fields of some hashes of counters, at most MOST_FIELDS each."""
        ...

    async def failures(self) -> Mapping[str, bytes]:
        """The failures by task and error; at most MOST_FIELDS."""
        ...

    async def audit(self, first: int, last: int) -> Sequence[bytes]:
        """Entries of the audit, the newest first."""
        ...

    async def audit_index(self, entry: bytes) -> int | None:
        """Where in the audit an entry is."""
        ...

    async def aside(self, queues: Sequence[str]) -> Sequence[str]:
        """Keys of a wrong type that were put aside, of those that all share and those of these queues."""
        ...

    # --- the server
    async def told(self, *, config: Sequence[str] = (), pings: int = 1) -> Told:
        """What the server says of itself."""
        ...

    async def slow(self) -> Sequence[tuple[str, float]] | None:
        """What the server's slow log has of this namespace's keys, at most 100: command and seconds; None: denied."""
        ...


class Acting(Protocol):
    """An operator's acts that no caller has (`contract.Store` has replace, cancel, pause and resume). Safe to repeat.

    audit: as `aiotq.inspection.audit.entry` makes it; of one act, by its stamp, the first that comes is kept.
    """

    async def discard(self, wanted: Discarding, *, audit: bytes = b"") -> bool:
        """Compare and set the record of a job that has ended; a dead letter no more. False if it is another one now."""
        ...

    async def front(self, line: str, *, leave: int = 0, limit: int) -> Front:
        """The first tickets of a line, but for `leave` before them: at most MAX_LEFT."""
        ...

    async def take(
        self, line: str, endings: Sequence[Ending], *, leave: int = 0, limit: int, generation: str, now_ms: int = 0
    ) -> tuple[int, int]:
        """End jobs among as many tickets as `front` gave, at most MAX_TAKEN: those that lie there as they were read.

        generation: of the new records. Returns how many of them have ended so, by now; and how many stale tickets went.
        """
        ...

    async def keep(self, audit: bytes, *, now_ms: int = 0, begun: bytes = b"", within_s: float | None = None) -> bool:
        """Keep an entry of the audit that no act keeps itself. False if the act has had another one: it was done.

        begun: the act's entry until now, with its time, in whose place it comes wherever that is; empty: there is none.
        within_s: for how long it is tried; None: as usual.
        """
        ...


class Operator(Reading, Acting, Protocol):
    """An operator's side of a store."""
