"""How a worker does, as it is told to whoever asks: two booleans and a few words, and nothing of jobs or of the server.

`signs` in worker/vitals.py looks at a worker; `judge` decides what that means. Any thread may ask.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

# A worker asks for jobs at least every 4 s, when its blocking wait is over: twice in vain, and it has stopped.
CLAIM_WITHIN_S = 10.0
BLOCKED_S = 1.0  # a loop that stands still for less is none of the reasons that are told
KEEPER_SILENT_S = 10.0  # the keeper's thread looks about it four times a second


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How a worker does."""

    live: bool  # it can still do its work; if not, only starting it anew helps
    ready: bool  # it takes jobs: it is registered, its lease holds, and it has asked for jobs of late
    reason: str | None = None  # in a few words, why it is not live, or else why it is not ready; None if it is both


WELL = Health(live=True, ready=True)


class Stage(Enum):
    """Where a worker is in its life."""

    NEW = "not started"
    STARTING = "starting"
    WORKING = "working"
    STOPPING = "stopping"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """What is to be seen of a worker. `_s` are seconds."""

    stage: Stage
    max_block_s: float  # as it was told
    trouble: str | None = None  # with its store, in a few words
    stuck_slots: bool = False  # every slot holds a job that can't be ended
    stuck_threads: bool = False  # every thread does
    keeper_silent_s: float | None = (
        None  # since it last looked about it; infinite: it has ended; None: there is none yet
    )
    blocked_s: float = 0.0  # for how long the event loop has stood still
    lease_good: bool = False  # it can't have been reclaimed
    claimed_ago_s: float | None = None  # since it last asked for jobs and was answered; None: not yet


def judge(signs: Signs) -> Health:
    """What these signs mean."""
    dead = _dead(signs)
    if dead is not None:
        return Health(live=False, ready=False, reason=dead)
    unready = _unready(signs)
    return WELL if unready is None else Health(live=True, ready=False, reason=unready)


def _dead(signs: Signs) -> str | None:
    if signs.stage is Stage.ENDED:
        return "ended"
    if signs.stuck_slots:
        return "every slot holds a job that can't be ended"
    if signs.keeper_silent_s is not None and signs.keeper_silent_s > KEEPER_SILENT_S:
        return "the keeper's thread has ended or stands still"
    if signs.blocked_s > signs.max_block_s:
        return f"the event loop has been blocked for longer than {signs.max_block_s:g} s (max_block)"
    return None


def _unready(signs: Signs) -> str | None:
    claimed_ago_s = signs.claimed_ago_s
    idle = f"it has not asked for jobs for {CLAIM_WITHIN_S:g} s"
    troubles = (
        (signs.stage in (Stage.NEW, Stage.STOPPING), signs.stage.value),
        (signs.trouble is not None, signs.trouble),
        (signs.stage is Stage.STARTING or claimed_ago_s is None, Stage.STARTING.value),
        (not signs.lease_good, "its lease could not be renewed in time"),
        ((claimed_ago_s or 0) > CLAIM_WITHIN_S, "the event loop is blocked" if signs.blocked_s >= BLOCKED_S else idle),
        (signs.stuck_threads, "every thread holds a job that can't be ended"),
    )
    return next((reason for true, reason in troubles if true), None)
