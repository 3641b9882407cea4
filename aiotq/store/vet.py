"""What a worker looks at before it works, in one round trip: may its user do all that it will have to, and what would
hurt later.

It happens before anything is claimed. A right that were missing in the middle of a script would leave half of what it
writes: Redis rolls nothing back.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from redis.exceptions import NoScriptError, RedisError, ResponseError

from aiotq.errors import StoreUnusable
from aiotq.store import scripts
from aiotq.store.answers import RECONNECT, WAIT, code, told
from aiotq.store.facts import forgetful

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from aiotq.store.connection.wire import Wire

FAR_OFF_S = 5.0  # more than a server that is busy, and any network, could explain
# Without these every job is run and its outcome stored, but who waits is told late.
_HINTS = frozenset({"PING", "PUBLISH", "SUBSCRIBE", "UNSUBSCRIBE"})
_OF_KEYS = re.compile(r"\bkeys?\b")


async def vet(wire: Wire, *, prefix: str, url: str, role_counts: bool) -> Sequence[str]:
    """What would hurt later, one line each with its cure. `wire` is used for nothing else, before or after.

    role_counts: it was reached by sentinels, and is asked whether it is a master.

    Raises StoreUnusable if a right is missing without which no job can be run, StoreRefused if the server will not do
    anything now, WireBroken.
    """
    before_s = wall_s()
    said = await _ask(wire, prefix=prefix, role_counts=role_counts)
    for _ in range(scripts.LOAD_TRIES):
        if not isinstance(said["EVALSHA"], NoScriptError) or _denied(said["SCRIPT LOAD"]):
            break
        said = await _ask(wire, prefix=prefix, role_counts=role_counts)  # somebody's SCRIPT FLUSH came between
    after_s = wall_s()
    _raise_if_it_serves_nobody(said.values(), url=url)
    missing = _missing(said, url=url)
    _refuse(missing, url=url, prefix=prefix)
    found = [*_late(missing, url=url, prefix=prefix)]
    if _denied(said.get("ROLE")):
        told_late = f"the Redis user may not run ROLE at {url}, so that a master that is none any more is noticed late"
        found.append(f"{told_late}; run ACL SETUSER <user> +role")
    if isinstance(said["EVALSHA"], list) and said["EVALSHA"][0]:
        seconds, micros = cast("list[Any]", said["EVALSHA"][0])
        found += clock(float(seconds) + float(micros) / 1e6, before_s=before_s, after_s=after_s, url=url)
    if isinstance(said["INFO"], bytes):  # else this user may not ask, and that is no fault
        save = said["CONFIG GET"]
        points = cast("list[bytes]", save)[1].decode() if isinstance(save, list) and save else None
        found += forgetful(said["INFO"], points=points, now_s=after_s, url=url)
    return found


def wall_s() -> float:
    """This machine's clock, to compare: nothing is stored of it."""
    return datetime.now(UTC).timestamp()


def clock(server_s: float, *, before_s: float, after_s: float, url: str) -> list[str]:
    """The line about a clock that is far off. The server's was read between the two looks at this machine's."""
    ahead_s = max(server_s - after_s, 0.0) or min(server_s - before_s, 0.0)
    if abs(ahead_s) <= FAR_OFF_S:
        return []
    where, when = ("ahead of", "early") if ahead_s > 0 else ("behind", "late")
    far = f"the clock of {url} is {abs(ahead_s):,.0f} s {where} this machine's"
    return [f"{far}: what is enqueued here with an eta starts so much too {when}; set both clocks by NTP"]


async def _ask(wire: Wire, *, prefix: str, role_counts: bool) -> dict[str, Any]:
    """The answers to all that is tried, in one write: by command, errors among them."""
    name = secrets.token_hex(8)
    own = f"{prefix}vet:{name}"
    asked = {
        "INFO": ("INFO", "persistence"),
        "CONFIG GET": ("CONFIG", "GET", "save"),
        "PING": ("PING",),
        **({"ROLE": ("ROLE",)} if role_counts else {}),
        "BLPOP": ("BLPOP", own, "never"),  # no number: refused for that alone by whoever may block
        "SCRIPT EXISTS": ("SCRIPT", "EXISTS", *(script.sha for script in scripts.OTHERS)),
        "SCRIPT LOAD": ("SCRIPT", "LOAD", scripts.VET.text),
        "EVALSHA": ("EVALSHA", scripts.VET.sha, 1, prefix, name),
        "SUBSCRIBE": ("SUBSCRIBE", own),
        "UNSUBSCRIBE": ("UNSUBSCRIBE", own),
    }
    answers: list[Any] = await asyncio.gather(*wire.calls(*asked.values()), return_exceptions=True)
    return dict(zip(asked, answers, strict=True))


def _raise_if_it_serves_nobody(answers: Iterable[Any], *, url: str) -> None:
    for answer in answers:
        if isinstance(answer, RedisError):
            if code(answer) in RECONNECT | WAIT:
                raise told(answer, verb="connect", url=url) from None
        elif isinstance(answer, BaseException):
            raise answer


def _missing(said: Mapping[str, Any], *, url: str) -> dict[str, str]:
    """What this user may not do: commands, and what the server said. Raises StoreUnusable if no script can run."""
    errors = {word: str(answer) for word, answer in said.items() if _denied(answer)}
    for word in ("INFO", "CONFIG GET", "SCRIPT EXISTS", "ROLE"):  # they serve this look alone
        errors.pop(word, None)
    if errors.pop("SCRIPT LOAD", None) is not None and "EVALSHA" not in errors:
        _refuse_unloaded(said, url=url)  # somebody else has loaded the scripts, or should have
    tried = said["EVALSHA"]
    if isinstance(tried, list):
        rest = [part.decode(errors="replace") for part in cast("list[bytes]", tried[1:])]
        for command, error in zip(rest[::2], rest[1::2], strict=True):
            failed = ResponseError(error)
            if code(failed) in RECONNECT | WAIT:  # it will write nothing now: nothing has been tried
                raise told(failed, verb="connect", url=url)
            if _denied(failed):
                errors[command] = error
    elif isinstance(tried, RedisError) and "EVALSHA" not in errors:
        raise told(tried, verb="connect", url=url)
    return errors


def _denied(answer: object) -> bool:
    return isinstance(answer, RedisError) and code(answer) == "NOPERM"


def _refuse_unloaded(said: Mapping[str, Any], *, url: str) -> None:
    there = said["SCRIPT EXISTS"]
    if isinstance(there, list):
        pairs = zip(scripts.OTHERS, cast("list[int]", there), strict=True)
        unknown = [script.name for script, known in pairs if not known]
    else:
        unknown = [scripts.VET.name] if isinstance(said["EVALSHA"], RedisError) else []
    if unknown:
        raise StoreUnusable(
            f"connect: {url} does not know the scripts {', '.join(unknown)} of this version of aiotq, and the Redis "
            "user may not load them; they were expected there, loaded by another user as docs/acl.md says; "
            "load them, or run ACL SETUSER <user> +script|load",
            verb="connect",
            url=url,
        )


def _refuse(missing: Mapping[str, str], *, url: str, prefix: str) -> None:
    needed = {word: text for word, text in missing.items() if word not in _HINTS}
    if not needed:
        return
    what, cure = _rights(needed, prefix)
    raise StoreUnusable(
        f"connect: the Redis user may not {what} at {url}; the rights that docs/acl.md lists were expected; "
        f"run ACL SETUSER <user> {cure}",
        verb="connect",
        url=url,
    )


def _late(missing: Mapping[str, str], *, url: str, prefix: str) -> list[str]:
    """The line about hints that can't be sent or heard."""
    hints = {word: text for word, text in missing.items() if word in _HINTS}
    if not hints:
        return []
    what, cure = _rights(hints, prefix)
    said = f"the Redis user may not {what} at {url}, so that results and cancellations are heard of late"
    return [f"{said}; run ACL SETUSER <user> {cure}"]


def _rights(missing: Mapping[str, str], prefix: str) -> tuple[str, str]:
    """What may not be done, and the rules of an ACL that would allow it."""
    of_channels = [word for word, text in missing.items() if "channel" in text]
    of_keys = [word for word, text in missing.items() if word not in of_channels and _OF_KEYS.search(text)]
    commands = sorted(set(missing) - {*of_channels, *of_keys})
    what = [f"run {', '.join(commands)}"] if commands else []
    what += [f"use the keys {prefix}*"] if of_keys else []
    what += [f"use the channels {prefix}*"] if of_channels else []
    rules = [f"+{word.lower()}" for word in commands]
    rules += [f"~{prefix}*"] if of_keys else []
    rules += [f"&{prefix}*"] if of_channels else []
    return " or ".join(what), " ".join(rules)
