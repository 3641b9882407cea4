"""What a stream can show, and what is written to it."""

from __future__ import annotations

import io

import pytest

from aiotq.cli.look import FALLBACK_WIDTH, Look, Paper, look_of

UTF8 = {"LANG": "en_GB.UTF-8", "TERM": "xterm-256color"}
LINES = [(("error:", "bold red"), (" [bold]no[/bold] :smile:", "")), (("last  ", ""),)]


class Stream(io.StringIO):
    """A stream of any kind, without a file behind it."""

    encoding = "utf-8"

    def __init__(self, *, terminal: bool, encoding: str = "utf-8") -> None:
        super().__init__()
        self._terminal = terminal
        self.encoding = encoding

    def isatty(self) -> bool:
        return self._terminal


@pytest.mark.parametrize(
    ("stream", "environ", "colour", "symbols"),
    [
        (Stream(terminal=True), UTF8, True, True),
        (Stream(terminal=True), {}, True, True),  # a container without a locale: Python itself speaks UTF-8 then
        (Stream(terminal=True), {**UTF8, "NO_COLOR": "1"}, False, True),
        (Stream(terminal=True), {**UTF8, "NO_COLOR": ""}, True, True),
        (Stream(terminal=True), {**UTF8, "TERM": "dumb"}, False, False),
        (Stream(terminal=True), {"LANG": "C"}, True, False),
        (Stream(terminal=True), {**UTF8, "LC_ALL": "POSIX"}, True, False),
        (Stream(terminal=True), {"LANG": "C", "LC_ALL": "C.UTF-8"}, True, True),
        (Stream(terminal=True, encoding="ISO-8859-1"), UTF8, True, False),
        (Stream(terminal=False), UTF8, False, False),
    ],
)
def test_colour_and_symbols_are_for_terminals_that_have_them(stream, environ, colour, symbols):
    look = look_of(stream, environ)
    assert (look.terminal, look.colour, look.symbols) == (stream.isatty(), colour, symbols)


def test_a_file_gets_plain_lines_and_no_width():
    stream = Stream(terminal=False)
    paper = Paper(stream, look_of(stream, UTF8))
    paper.write(LINES)
    paper.write([])
    assert stream.getvalue() == "error: [bold]no[/bold] :smile:\nlast\n"
    assert paper.width is None


def test_a_terminal_gets_colours_and_what_looks_like_markup_is_text():
    stream = Stream(terminal=True)
    paper = Paper(stream, Look(terminal=True, colour=True, symbols=True))
    paper.write(LINES)
    written = stream.getvalue()
    assert "\x1b[1;31merror:\x1b[0m" in written
    assert " [bold]no[/bold] :smile:\n" in written


def test_a_long_line_is_left_to_the_terminal_to_wrap():
    stream = Stream(terminal=True)
    Paper(stream, Look(terminal=True, colour=True)).write([(("x" * 500, "red"),)])
    assert "x" * 500 in stream.getvalue()


def test_a_terminal_that_does_not_tell_its_width_has_the_usual_one():
    assert Paper(Stream(terminal=True), Look(terminal=True)).width == FALLBACK_WIDTH
