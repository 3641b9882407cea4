"""Ids: random bytes for new ones, and how a person is shown one.

The bytes, for generations too, are the system's own, taken many at a time (a system call a job is 1 µs).
"""

from __future__ import annotations

import os

EACH = 14  # bytes: 4 for a generation, 10 for an id
_AT_ONCE = 128

_pool: list[bytes] = []
os.register_at_fork(after_in_child=_pool.clear)  # a child must not draw what its parent will


def draw() -> bytes:
    """14 random bytes that nobody else gets. May be called from any thread."""
    try:
        return _pool.pop()  # one step: no other thread gets the same
    except IndexError:
        many = os.urandom(EACH * _AT_ONCE)
        _pool.extend(many[at : at + EACH] for at in range(EACH, len(many), EACH))
        return many[:EACH]


def short(job_id: str) -> str:
    """An id as a person is shown it: the end of a generated one, since its beginning is the time."""
    generated = len(job_id) == 32 and all(char in "0123456789abcdef" for char in job_id)
    return job_id[-6:] if generated else job_id
