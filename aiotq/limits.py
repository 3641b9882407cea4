"""What a record may hold at most, looked at before it is parsed: whoever can write to Redis can write anything."""

from __future__ import annotations

from aiotq.errors import InvalidRecord
from aiotq.plain import MAX_DEPTH, is_deeper

MAX_BESIDE = 512 << 10  # bytes of a record beside its arguments and its result; ten attempts and an error take less
MAX_NESTED = MAX_DEPTH + 2  # an argument lies in a list, and that in the document
SMALL = 2 * MAX_NESTED  # bytes; a shorter record can open and close no more


def refuse_hostile(job_id: str, data: bytes, *, at_most: int) -> None:
    """Refuse, without parsing it, what would take long or much memory. Raises InvalidRecord."""
    if len(data) > at_most:
        raise InvalidRecord(
            f"the record of job {job_id} takes more than {at_most:,} bytes; no more was expected by this app's "
            "max_payload and max_result; give all apps of the namespace the same ones"
        )
    if len(data) > SMALL and is_deeper(data, MAX_NESTED):
        raise InvalidRecord(
            f"the record of job {job_id} holds more than {MAX_DEPTH} lists and objects inside each other; "
            "aiotq writes no such record; find out who else writes to this Redis"
        )
