"""What the inspector's reads and acts share: where they ask, as whom, and what of a job may be read."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from aiotq import record
from aiotq.limits import MAX_BESIDE, refuse_hostile
from aiotq.store import operator

if TYPE_CHECKING:
    from aiotq.record import Record
    from aiotq.registry import Registry
    from aiotq.settings import AppSettings
    from aiotq.signing import Signer
    from aiotq.store.contract import Store
    from aiotq.store.inspection import Operator

# Gets a task's name and the arguments of a job, {"args": [...], "kwargs": {...}}; returns those that may be shown.
Redaction: TypeAlias = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]


class Client(Protocol):
    """Of `client.Client`, what is used here."""

    @property
    def store(self) -> Store:
        """The running loop's store."""
        ...


class Core(Protocol):
    """Of `client.Core`, what is used here."""

    @property
    def settings(self) -> AppSettings:
        """The app's."""
        ...

    @property
    def registry(self) -> Registry:
        """The app's tasks."""
        ...

    @property
    def signer(self) -> Signer | None:
        """What signs and checks records, if the app has keys."""
        ...

    def client(self) -> Client:
        """The running loop's."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Of one inspector. It holds no connection: each call uses the running loop's."""

    core: Core
    by: str | None = None  # who acts; None: whoever runs this program
    hook: Redaction | None = None

    @property
    def store(self) -> Store:
        """The running loop's store."""
        return self.core.client().store

    @property
    def operator(self) -> Operator:
        """The operator's side of it."""
        return operator(self.store)

    @property
    def signature(self) -> str:
        """Who acts, as the audit shall say it."""
        return self.by or f"{_user()}@{socket.gethostname()} (python)"

    @property
    def most(self) -> int:
        """How many bytes a record may take before it is not parsed."""
        settings = self.core.settings
        return settings.max_payload + settings.max_result + MAX_BESIDE

    def decoded(self, job_id: str, data: bytes) -> Record:
        """A record, once it has been looked at for its size, depth and signature. Raises InvalidRecord."""
        refuse_hostile(job_id, data, at_most=self.most)
        signer = self.core.signer
        return record.decode(job_id, data if signer is None else signer.opened(job_id, data))


def kept_ms(core: Core, found: Record) -> int:
    """How long the record of a job is kept once it is cancelled."""
    if found.doc.result_ttl_ms is not None:
        return found.doc.result_ttl_ms
    task = core.registry.get(found.doc.task)
    ttl_s = None if task is None else task.result_ttl_s
    return max(1, round((core.settings.result_ttl_s if ttl_s is None else ttl_s) * 1000))


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return "somebody"
