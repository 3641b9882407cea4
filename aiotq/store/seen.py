"""What a store has seen of its server, and of what there is in it. The rest of aiotq knows these by contract.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct


class Backlog(Struct, frozen=True, kw_only=True):
    """What is left in some queues, sampled in one script."""

    queued: int
    running: int
    scheduled: bool

    @property
    def empty(self) -> bool:
        """Whether nothing is queued, running or scheduled."""
        return not (self.queued or self.running or self.scheduled)


class ServerFacts(Struct, frozen=True, kw_only=True):
    """What a server says of itself, as a worker's banner shows it."""

    kind: str  # "Redis", "Valkey", "fakeredis"; "Redis or Valkey" where the user may not ask
    version: str
    url: str  # without its password
    policy: str | None = None  # maxmemory-policy, where it may be read
    warnings: Sequence[str] = ()


class Survey(Struct, frozen=True, kw_only=True):
    """What there is, for a person or a probe that asks how all do."""

    ping_s: float  # how long a round trip took
    workers: Mapping[str, Sequence[str]]  # those whose lease has not ended: label, and the queues that each serves
    queues: Mapping[str, bool]  # those that ever had a job, and whether any waits there now
    full: bool = False  # it refuses every new job for lack of memory; False as well where the user may not ask
