"""Users of a test's own, with the rights that it gives them, on a server that others use as well."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tools import acl

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from tests.servers import Server

WORKER = acl.commands("worker")


def without(*commands: str) -> frozenset[str]:
    """A worker's commands but for some."""
    assert WORKER.issuperset(commands), f"{commands} are no commands of a worker"
    return WORKER.difference(commands)


@asynccontextmanager
async def user(
    raw: Any,
    server: Server,
    namespace: str,
    commands: Iterable[str] = WORKER,
    *,
    keys: str | None = None,
    channels: str | None = None,
) -> AsyncIterator[str]:
    """A user as long as the context lasts, who may use these commands on the keys and channels of the namespace, unless
    others are named: the URL of the server for him.
    """
    name = f"user-{namespace}"
    own = f"{{{namespace}}}:*"
    rights = [f"+{command.lower().replace(' ', '|')}" for command in sorted(commands)]
    rules = ["reset", "on", ">pw", f"~{keys or own}", "resetchannels", f"&{channels or own}", "-@all", *rights]
    await raw.execute_command("ACL", "SETUSER", name, *rules)
    try:
        yield server.admin.replace("unix://", f"unix://{name}:pw@")
    finally:
        await raw.execute_command("ACL", "DELUSER", name)
