"""JSON for people: pretty-printed, and cut at a limit. What lies behind the limit costs nothing."""

from __future__ import annotations

import re

MOST_TEXT = 64 << 10  # characters
_BYTES = 4  # that a character takes at most
_TOKEN = re.compile(
    r"""
    (?: ( "[^"\\]*+ (?: \\. [^"\\]*+ )*+ "?    # text; that is cut off has no end
        | [^ \t\n\r"\[\]{},:]+                 # a number, true, false, null
        | \[ [ \t\n\r]* \] | \{ [ \t\n\r]* \}
        )
      | ( [\[{] )
      | ( [\]}] )
    ) [ \t\n\r]* ( [,:]? )
    """,
    re.VERBOSE | re.DOTALL,
)


def pretty_json(raw: bytes) -> tuple[str, bool]:
    """As `msgspec.json.format` of two spaces does it, and whether it was cut. Bytes that are no text are escaped."""
    # In JSON as it is stored nothing lies between the tokens, so that no more than this is needed.
    begins = raw[: _BYTES * MOST_TEXT]
    pieces, size, line = list[str](), 0, "\n"
    for found in _TOKEN.finditer(begins.decode(errors="backslashreplace")):
        value, opened, closed, after = found.groups()
        if value:
            piece = value if len(value) < 2 or value[0] not in "[{" else value[0] + value[-1]
        elif opened:
            line += "  "
            piece = opened + line
        else:
            line = line[:-2]
            piece = line + closed
        if after:
            piece += f",{line}" if after == "," else ": "
        pieces.append(piece)
        size += len(piece)
        if size > MOST_TEXT:
            break
    return "".join(pieces)[:MOST_TEXT], size > MOST_TEXT or len(begins) < len(raw)
