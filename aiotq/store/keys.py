"""The names of all keys and channels, and when each of them ends. Scripts build the same names from the prefix."""

from __future__ import annotations

# Kept for ever, each bounded; every other key has a TTL or ends with its job or its worker.
PERMANENT = ("fence", "queues", "paused", "audit", "ended")


class Keys:
    """The keys of one namespace. All share one hash slot, so that every script is legal on a cluster."""

    __slots__ = ("durable", "poller_wake", "prefix", "workers")

    def __init__(self, namespace: str) -> None:
        self.prefix = f"{{{namespace}}}:"
        self.workers = f"{self.prefix}workers"
        # Not "wake:poller", which is the wake list of a queue named "poller"; no queue's name has a colon.
        self.poller_wake = f"{self.prefix}wake::poller"
        self.durable = f"{self.prefix}durable"  # written, with a TTL, so that WAIT has a write to wait for

    def job(self, job_id: str) -> str:
        """A job's record."""
        return f"{self.prefix}job:{job_id}"

    def wake(self, queue: str) -> str:
        """A queue's wake list."""
        return f"{self.prefix}wake:{queue}"

    def queues(self) -> str:
        """The names of all queues that ever had a job."""
        return f"{self.prefix}queues"

    def lines(self, queue: str) -> str:
        """A queue's lines that are not empty."""
        return f"{self.prefix}lines:{queue}"

    def worker(self, worker_id: str) -> str:
        """What a worker says of itself."""
        return f"{self.prefix}worker:{worker_id}"

    def done(self, job_id: str) -> str:
        """The channel on which a job's end is published."""
        return f"{self.prefix}done:{job_id}"

    def note(self, job_id: str) -> str:
        """A job's log."""
        return f"{self.prefix}note:{job_id}"

    def progress(self, job_id: str) -> str:
        """How far a job is; also the channel on which that is published."""
        return f"{self.prefix}progress:{job_id}"

    def control(self, worker_id: str) -> str:
        """The channel on which a worker learns what to cancel."""
        return f"{self.prefix}control:{worker_id}"
