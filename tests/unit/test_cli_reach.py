"""What the commands that reach a server say on stderr, beside their answer."""

from __future__ import annotations

import logging
import re

from aiotq.cli.operate.reach import warnings_said


def test_what_is_logged_with_an_exception_is_shown_with_its_traceback(capsys):
    with warnings_said():
        try:
            raise KeyError("redis://ada:secret@host \x1b[2J")
        except KeyError:
            logging.getLogger("aiotq.web").exception("the auth hook failed")
    out, err = capsys.readouterr()
    first, *below = err.splitlines()
    assert (out, first) == ("", "warning: the auth hook failed")
    assert below[0] == "Traceback (most recent call last):"
    assert re.search(r'test_cli_reach.py", line \d+, in test_what_is_logged', err)
    assert below[-1].startswith("KeyError: 'redis://ada:***@host ")
    assert "secret@" not in below[-1]
    assert "\x1b" not in err


def test_a_warning_alone_is_one_line(capsys):
    with warnings_said():
        logging.getLogger("aiotq.store").warning("two\nlines")
    assert capsys.readouterr().err == "warning: two\\nlines\n"
