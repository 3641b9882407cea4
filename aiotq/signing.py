"""Signatures of records, for an app that was given keys: what none of them has signed is neither decoded nor run.

    1w3Fa_1795439224123{"t":"shop.tasks:send","a":["s-17",40],"s":"<43 characters>"}
                                                              └ the last member: base64 of an HMAC-SHA256

Signed are the namespace, the job's id, version and state, and all of the document: task, queue, arguments, options,
attempts, and what the job came to. Not signed is what scripts write: the generation and the time of enqueuing.
"""

from __future__ import annotations

import hmac
import re
from binascii import b2a_base64
from typing import TYPE_CHECKING, cast

from aiotq.errors import BadSignature, UsageError
from aiotq.job import LARGE_RECORD
from aiotq.record import HEADER, regenerated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

VARIABLE = "AIOTQ_SIGNING_KEYS"
LEAST_KEY = 16  # bytes
_BEFORE, _AFTER = b',"s":"', b'"}'
_TEXT = 43  # characters: 32 bytes as base64 without its padding
_SIGNED = re.compile(rb',"s":"[A-Za-z0-9+/]{43}"\}\Z')
ADDED = len(_BEFORE) + _TEXT + len(_AFTER) - 1  # bytes that a signature adds to a record: the "}" was there


class Signer:
    """Signs with the first key, and takes what any of them has signed."""

    __slots__ = ("_begun",)

    def __init__(self, keys: Sequence[bytes], *, namespace: str) -> None:
        # What all signatures begin with, done once a key. Nothing in front of the document may hold a NUL.
        context = b"aiotq\0" + namespace.encode() + b"\0"
        self._begun = tuple(hmac.new(key, context, "sha256") for key in keys)

    def __repr__(self) -> str:
        return f"<Signer with {len(self._begun)} keys>"

    def body(self, job_id: str, start: bytes, body: bytes) -> bytes:
        """A record's document with its signature. start: the record's first two bytes, version and state."""
        return body[:-1] + _BEFORE + _mac(self._begun[0], job_id, start, body) + _AFTER

    def signed(self, job_id: str, record: bytes) -> bytes:
        """A record with its signature; its generation is marked if that makes it a large one."""
        stored = record[:HEADER] + self.body(job_id, record[:2], record[HEADER:])
        if len(stored) > LARGE_RECORD >= len(record):
            return regenerated(stored, stored[2:6].decode())
        return stored

    def opened(self, job_id: str, data: bytes) -> bytes:
        """A record without its signature, which was right. Raises BadSignature.

        One of a newer version is returned as it is: only newer workers know how that is signed, and none else reads it.
        """
        if data[:1] not in (b"1", b"2") and data[:1].isdigit():
            return data
        at = len(data) - ADDED - 1  # where the signature begins, in place of the last "}"
        said = data[at + len(_BEFORE) : -len(_AFTER)]
        if at <= HEADER or data[at : at + len(_BEFORE)] != _BEFORE or not data.endswith(_AFTER):
            raise BadSignature(job_id=job_id, why="carries no signature")
        body = data[HEADER:at] + b"}"
        for begun in self._begun:
            if hmac.compare_digest(_mac(begun, job_id, data[:2], body), said):
                return data[:HEADER] + body
        raise BadSignature(job_id=job_id, why="carries a signature that is not of these keys, or not of this job")


def looks_signed(end: bytes) -> bool:
    """Whether a record that ends so has a signature, of whomever."""
    return _SIGNED.search(end) is not None


def unsigned(job_id: str) -> UsageError:
    """The error of who has no keys, and would change a record that is signed: those who have some would not take it."""
    return UsageError(
        f"the record of job {job_id} is signed, and what is changed has to be signed anew; "
        f"give this app the signing_keys of the others (or {VARIABLE})"
    )


def _mac(begun: hmac.HMAC, job_id: str, start: bytes, body: bytes) -> bytes:
    mac = begun.copy()
    mac.update(b"%b\0%b%b" % (job_id.encode(), start, body))
    return b2a_base64(mac.digest(), newline=False)[:_TEXT]


def checked(parameter: str, keys: object) -> tuple[bytes, ...]:
    """Keys as a user gives them: a list of one or more, str or bytes. Raises UsageError, which never shows one."""
    many = cast("Sequence[object]", keys) if isinstance(keys, list | tuple) else ()
    found = [key.encode() if isinstance(key, str) else key for key in many]
    right = tuple(key for key in found if isinstance(key, bytes) and len(key) >= LEAST_KEY)
    if right and len(right) == len(found):
        return right
    raise UsageError(
        f"{parameter} is not allowed as it is (not shown: it is secret); pass a list of one or more keys, each a "
        f"str or bytes of at least {LEAST_KEY} bytes, the one to sign with first; make one: "
        'python -c "import secrets; print(secrets.token_hex(32))"'
    )


def of_environment(environ: Mapping[str, str]) -> tuple[bytes, ...]:
    """The keys that AIOTQ_SIGNING_KEYS names, with commas between them; none if it is unset or empty."""
    text = environ.get(VARIABLE, "")
    return checked(VARIABLE, [key.strip() for key in text.split(",")]) if text else ()
