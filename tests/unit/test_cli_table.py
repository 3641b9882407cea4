"""Tables: columns, cut to the terminal."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aiotq.cli.look import plain
from aiotq.cli.operate.table import Column, cells, cut, table
from tests.unit.overviews import NARROW, PIPE, TERMINAL, VERBOSE, text

COLUMNS = (Column(title="JOB"), Column(title="TASK", least=6), Column(title="TOOK", right=True, spare=1))
ROWS = [["a1f9c2", "send_mail", "3 ms"], ["c4d210", "x", "1.4 s"]]


def test_columns_stand_below_their_titles_and_figures_to_the_right():
    assert text(table(COLUMNS, ROWS, PIPE)).splitlines() == [
        "JOB     TASK        TOOK",
        "a1f9c2  send_mail   3 ms",
        "c4d210  x          1.4 s",
    ]


def test_a_column_that_is_empty_in_each_row_is_left_out():
    assert text(table(COLUMNS, [["a1f9c2", "", "3 ms"]], PIPE)).splitlines() == ["JOB     TOOK", "a1f9c2  3 ms"]


def test_nothing_is_cut_where_nothing_has_to_fit():
    assert "x" * 500 in text(table(COLUMNS, [["1", "x" * 500, "2"]], PIPE))


def test_a_column_with_a_bound_keeps_those_behind_it_in_sight_and_verbose_has_it_whole():
    columns = (Column(title="ERROR", most=20), Column(title="JOB"))
    (_, line) = table(columns, [["x" * 200, "c4d210"]], PIPE)
    assert plain(line) == f"{'x' * 17}...  c4d210"
    assert "x" * 200 in text(table(columns, [["x" * 200, "c4d210"]], VERBOSE))


@pytest.mark.parametrize("width", range(24, 90))
def test_no_line_is_wider_than_the_terminal(width):
    rows = [["a1f9c2", "a_task_with_a_long_name" * 3, "3 ms"]]
    for line in table(COLUMNS, rows, replace(TERMINAL, width=width)):
        assert cells(plain(line)) <= width


def test_the_widest_column_gives_first():
    columns = (Column(title="A", least=1), Column(title="B", least=1))
    (_, line) = table(columns, [["short", "x" * 60]], replace(NARROW, width=30))
    assert plain(line).startswith("short  xxx")
    assert plain(line).endswith("...")


def test_where_there_is_no_room_what_can_be_spared_goes():
    lines = text(table(COLUMNS, ROWS, replace(NARROW, width=16)))
    assert "TOOK" not in lines
    assert "a1f9c2" in lines


def test_what_is_cut_says_so_and_wide_characters_count_twice():
    assert cells("日本") == 4
    assert cells("é") == 1
    assert cut("abcdef", 4, NARROW) == "a..."
    assert cut("abcdef", 4, TERMINAL) == "abc…"
    assert cells(cut("日本語日本語", 7, TERMINAL)) <= 7
    assert cut("abc", None, PIPE) == "abc"


def test_styles_are_those_of_the_cells():
    (_, line) = table((Column(title="A"),), [[("x", "red")]], TERMINAL)
    assert ("x", "red") in line
