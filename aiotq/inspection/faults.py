"""What is wrong with the server: what `diagnosis` asks of it, and how a finding is made. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiotq.inspection import words
from aiotq.inspection.values import Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiotq.inspection.signs import Signs

SLOW_PING_S = 0.1
NEARLY_FULL = 0.9  # of maxmemory
DISK = "persistence"  # a check of `checkup.py`


def finding(
    severity: Severity, code: str, what: str, hint: str, *, subject: str | None = None, kind: str | None = None
) -> Finding:
    """One, in short."""
    return Finding(severity=severity, code=code, what=what, hint=hint, subject=subject, kind=kind)


def server_refuses(signs: Signs) -> Iterator[Finding]:
    """It takes no writes."""
    server = signs.server
    used = f"{words.size(server.memory or 0)} of {words.size(server.memory_limit or 0)}"
    more = words.roomy(server.memory_limit, server.memory)
    cli = signs.cli
    said = {
        "OOM": (
            f"{server.kind} is full: it uses {used} (maxmemory), and refuses every new job (OOM)",
            f"give it more: {cli} CONFIG SET maxmemory {more}; or make room (aiotq queues): aiotq purge QUEUE",
        ),
        "READONLY": (
            f"{server.url} is a read-only replica: nothing can be enqueued, run or stored there",
            f"point AIOTQ_URL at the primary, and start services and workers again; who that is: {cli} ROLE",
        ),
        "LOADING": (
            f"{server.kind} is loading its data, and serves nobody",
            f"wait; how far it is: {cli} INFO persistence",
        ),
        "MISCONF": (
            f"{server.kind} can't save to its disk, and so refuses every write (MISCONF)",
            f"look at its log and at its disk (df -h); then: {cli} BGSAVE",
        ),
    }.get(signs.refusal or "")
    if said is not None:
        yield finding(Severity.CRITICAL, f"server_{(signs.refusal or '').lower()}", *said, kind="server")


def server_fills(signs: Signs) -> Iterator[Finding]:
    """It will be full soon."""
    server = signs.server
    share = (server.memory or 0) / (server.memory_limit or float("inf"))
    if not signs.refusal and share >= NEARLY_FULL and server.policy in (None, "noeviction"):
        used = f"{words.size(server.memory or 0)} of {words.size(server.memory_limit or 0)}"
        yield finding(
            Severity.WARNING,
            "server_nearly_full",
            f"{server.kind} is nearly full: it uses {used} (maxmemory, {share:.0%}); full, it refuses every new job",
            f"{signs.cli} CONFIG SET maxmemory {words.roomy(server.memory_limit, server.memory)}",
            kind="server",
        )


def server_evicts(signs: Signs) -> Iterator[Finding]:
    """It throws jobs away when it is full."""
    server = signs.server
    if server.policy not in (None, "noeviction"):
        near = server.memory_limit and (server.memory or 0) >= NEARLY_FULL * server.memory_limit
        yield finding(
            Severity.CRITICAL if near else Severity.WARNING,
            "server_evicts",
            f"{server.kind} may evict keys once it is full (maxmemory-policy {server.policy}), and jobs with them",
            f"{signs.cli} CONFIG SET maxmemory-policy noeviction; what else ails it: aiotq doctor",
            kind="server",
        )


def server_is_slow(signs: Signs) -> Iterator[Finding]:
    """It answers late."""
    if (signs.server.ping_s or 0) >= SLOW_PING_S:
        what = f"{signs.server.kind} answers slowly: a PING took {signs.server.ping_s:.2f} s"
        hint = f"aiotq doctor; what took long there: {signs.cli} SLOWLOG GET 10"
        yield finding(Severity.WARNING, "server_slow", what, hint, kind="server")


def server_ails(signs: Signs) -> Iterator[Finding]:
    """What else `doctor` finds critical: so far, of what it keeps on its disk."""
    for check in signs.ails:
        if check.name == DISK and signs.refusal != "MISCONF":
            hint = f"{check.fix}; what else ails it: aiotq doctor"
            yield finding(Severity.WARNING, "server_disk", f"{signs.server.kind}: {check.what}", hint, kind="server")
