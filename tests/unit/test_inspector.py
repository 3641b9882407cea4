from __future__ import annotations

import pytest

from aiotq import App, Inspector
from aiotq.errors import UsageError


def test_an_app_has_an_inspector() -> None:
    assert isinstance(App().inspect, Inspector)


@pytest.mark.parametrize("by", ["", "a\nb", "x" * 101, 7, None])
def test_who_acts_is_one_line_of_text(by: object) -> None:
    with pytest.raises(UsageError, match="by="):
        App().inspect.acting(by)  # type: ignore[arg-type]


def test_one_that_signs_otherwise_is_another_one() -> None:
    inspector = App().inspect
    ada = inspector.acting("ada@host (cli)")
    assert ada._desk.signature == "ada@host (cli)"
    assert inspector._desk.signature.endswith("(python)")
    hidden = ada.redacting(lambda task, arguments: {})
    assert (hidden._desk.signature, ada._desk.hook) == ("ada@host (cli)", None)
