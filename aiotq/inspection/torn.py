"""What can be told of a large record by its beginning and its end: all but what makes it large.

Of a document only members at its top are taken: whatever lies inside an argument or a result leaves a bracket open, or
closes one, and so does not parse up to the cut.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from aiotq.document import Document
from aiotq.record import HEADER, Record

if TYPE_CHECKING:
    from aiotq.store.inspection import Peek

TRIES = 40  # members at the end, or what looks like one
# A quotation mark inside a text has a backslash before it, so this is none.
_MEMBER = re.compile(rb',"[a-z]":')
_USUAL = Document(task="")
# The others make it large: what is seen of them is no more than a part.
_TOLD = [name for name in Document.__struct_fields__ if name not in {"task", "args", "kwargs", "result"}]
_decoder = msgspec.json.Decoder(Document)


def record_of(job_id: str, peek: Peek, header: tuple[int, str, str, int]) -> Record | None:
    """A record without its arguments and its result. None: not even its task can be told."""
    begun, ended = _beginning(peek.data[HEADER:]), _end(peek.tail)
    if begun is None:
        return None
    if ended is not None:
        said = {name: value for name in _TOLD if (value := getattr(ended, name)) != getattr(_USUAL, name)}
        begun = replace(begun, **said)
    _, state, generation, enqueued_ms = header
    return Record(job_id, generation, state, enqueued_ms, peek.size, begun)


def _beginning(text: bytes) -> Document | None:
    """The longest part from the first brace on that is whole once it is closed."""
    for cut in reversed([found.start() for found in _MEMBER.finditer(text)]):  # a beginning has few hundred at most
        parsed = _parsed(text[:cut] + b"}")
        if parsed is not None:
            return parsed
    return None


def _end(text: bytes) -> Document | None:
    """The longest part up to the last brace that is whole once it is opened."""
    longest = None
    for cut in [found.start() for found in _MEMBER.finditer(text)][: -TRIES - 1 : -1]:
        longest = _parsed(b'{"t":""' + text[cut:]) or longest
    return longest


def _parsed(text: bytes) -> Document | None:
    try:
        return _decoder.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
