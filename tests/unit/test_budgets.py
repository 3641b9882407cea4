"""tools/budgets.py: what it counts, and what it lets pass."""

from __future__ import annotations

from pathlib import Path

from tools.budgets import Budgets, check, load, overruns

SMALL = Budgets(file_lines=6, class_lines=4, function_lines=2, constructor_arguments=1, exceptions={})


def names(source: str, budgets: Budgets = SMALL) -> list[str]:
    return [overrun.name for overrun in overruns("a.py", source, budgets)]


def test_small_code_passes():
    assert names("def f():\n    return 1\n") == []


def test_a_long_file_class_and_function_are_named():
    source = "class C:\n    def f(self):\n        if 1:\n            return 2\n\n    x = 1\n    y = 2\n"
    assert names(source) == ["a.py", "a.py:C", "a.py:C.f"]


def test_a_function_inside_a_function_or_an_if_is_counted():
    assert names("if 1:\n    def f():\n        x = 1\n        return x\n") == ["a.py:f"]


def test_positional_arguments_of_a_constructor_are_counted_without_self():
    assert names("class C:\n    def __init__(self, a, b): ...\n") == ["a.py:C.__init__"]
    assert names("class C:\n    def __init__(self, a): ...\n") == []


def test_keyword_only_options_are_free_in_public_classes_alone():
    assert names("class C:\n    def __init__(self, a, *, b=1, c=2): ...\n") == []
    assert names("class C:\n    def __init__(self, a, *, b, c): ...\n") == ["a.py:C.__init__"]
    assert names("class _C:\n    def __init__(self, a, *, b=1, c=2): ...\n") == ["a.py:_C.__init__"]


def test_a_named_exception_passes_and_an_idle_one_is_a_complaint(tmp_path: Path):
    (tmp_path / "aiotq").mkdir()
    (tmp_path / "aiotq" / "a.py").write_text("def f():\n    x = 1\n    return x\n")
    exceptions = {"aiotq/a.py:f": "a table", "aiotq/a.py:g": "was a table"}
    budgets = Budgets(file_lines=6, class_lines=4, function_lines=2, constructor_arguments=1, exceptions=exceptions)
    assert check(tmp_path, budgets) == ["pyproject.toml: aiotq/a.py:g needs no exception any more"]
    assert len(check(tmp_path, SMALL)) == 1


def test_the_budgets_of_the_project_are_those_of_its_style():
    budgets = load(Path(__file__).parent.parent.parent)
    assert (budgets.file_lines, budgets.class_lines, budgets.function_lines) == (400, 250, 50)
    assert budgets.constructor_arguments == 7
