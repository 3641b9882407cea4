"""The operator's verbs of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiotq.job import parse_ticket
from tests.model.state import header, well_formed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiotq.store.inspection import Discarding, Ending
    from tests.model.model import Model


def discard(model: Model, wanted: Discarding) -> bool:
    model._begin()
    read = header(model.records.get(wanted.job_id))
    if read is not None and read[1] == wanted.new_generation:
        return True
    if read is None or read[0] == "w" or "".join(read) != wanted.was:
        return False
    model.records[wanted.job_id] = wanted.record
    model.dead.pop(wanted.job_id, None)
    return True


def take(
    model: Model, line: str, endings: Sequence[Ending], *, leave: int, limit: int, generation: str, now_ms: int
) -> tuple[int, int]:
    model._begin()
    wanted = {one.ticket: one for one in endings}
    waiting, goes, said = model.lines.get(line, []), list[int](), list[str]()
    for index, text in enumerate(waiting[leave : leave + limit], leave):
        said.append(_verdict(model, text, wanted))
        if said[-1] != "stays":
            goes.append(index)
    first = 0
    while leave == 0 and first in goes:
        first += 1
    left = waiting[first:]
    for index in goes:
        if index >= first:
            left.remove(waiting[index])  # of two that are the same it does not matter which
    model.lines.pop(line, None)
    if left:
        model.lines[line] = left
    else:  # the last ones of the line only: a million would wash out all others
        for text in (text for text, verdict in zip(waiting[leave:], said, strict=False) if verdict == "ends"):
            job_id = parse_ticket(text).job_id
            model._remember(model.records[job_id], job_id)
    if "ends" in said:
        model._count("cancelled", now_ms, said.count("ends"))
        model._count(f"q:{line.partition(':')[0]}", now_ms, said.count("ends"))
    before = [header(model.records.get(parse_ticket(text).job_id)) for text in wanted]
    return said.count("ends") + before.count(("c", generation)), said.count("stale")


def _verdict(model: Model, text: str, wanted: dict[str, Ending]) -> str:
    """What becomes of a ticket, and of its job."""
    if not well_formed(text):
        model.waste.add(text)
        return "stale"
    parsed = parse_ticket(text)
    record = model.records.get(parsed.job_id)
    if record is None:
        model.forget(parsed.job_id)
        return "stale"
    read = header(record)
    is_its = read is None or read == ("w", parsed.generation)
    if text in wanted and record[:19] == wanted[text].header and is_its:
        model.records[parsed.job_id] = wanted.pop(text).record
        model.forget(parsed.job_id)
        return "ends"
    if is_its:
        return "stays"
    return "was read" if text in wanted else "stale"
