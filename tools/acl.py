"""The least rights that users of Redis need for aiotq, read out of the code, and kept in docs/acl.md.

Run from the project's root: `python tools/acl.py` writes them there; with `--check` it only says, by its exit code,
whether they are right. What counts is what the methods of the store send, and what the scripts that they run call: a
command that nobody sends any more goes from the page as well.
"""

from __future__ import annotations

import ast
import re
import sys
from functools import cache
from pathlib import Path

from aiotq.store import scripts

ROOT = Path(__file__).parent.parent
STORE = ROOT / "aiotq" / "store"
PAGE = ROOT / "docs" / "acl.md"

# The methods of RedisStore that a user calls; None: all.
USES: dict[str, frozenset[str] | None] = {
    "worker": None,
    "producer": frozenset(
        {"open", "enqueue", "read", "read_many", "locate", "replace", "cancel", "ended", "live_workers"}
        | {"notes", "noted"}
    ),
    "reader": frozenset(
        {"open", "read", "read_many", "locate", "live_workers", "lease_end", "backlog", "survey", "notes"}
    ),
    # Beside these, all that the operator's side has.
    "operator": frozenset(
        {"open", "read", "read_many", "locate", "replace", "cancel", "ended", "live_workers", "lease_end"}
        | {"backlog", "survey", "pause", "resume", "notes", "noted"}
    ),
}
# A right to look that a user may do without. Only a worker makes use of what it would see.
LOOKS = frozenset({"INFO", "SCRIPT EXISTS"})
# Those that no user is given: one is as good as a right to change, the other is for those who come by sentinels alone.
NEVER = frozenset({"CONFIG GET", "ROLE"})
# What scripts do with a key of a wrong type; a reader is told NOPERM instead.
MENDS = frozenset({"RENAME", "PEXPIRE", "ZADD"})
_NO_COMMANDS = frozenset({"LIMIT", "MAXLEN", "WITHSCORES", "WRONGTYPE"})  # what else scripts write in capitals
# ... and the operator's side, which may do without CONFIG and SLOWLOG: each shows what is none of aiotq's.
_OPTIONS = frozenset({"COUNT", "MATCH", "MAXLEN", "RANK", "WITHSCORES", "ERR", "NOPERM", "CONFIG", "SLOWLOG"})
LOOKING = ("verbs.py", "reading.py", "telling.py")
_CONTAINERS = frozenset({"CONFIG", "SCRIPT"})
_WORD = re.compile(r"[A-Z]{3,}")
_SENDS = {"_send": 1, "call": 0, "_say": 0, "send": 0, "_block": 0}  # which argument of which function is a command


# --- what the scripts call ----------------------------------------------------------------------------------------


def called(lua: str) -> frozenset[str]:
    """The commands that a piece of Lua names."""
    return frozenset(re.findall(r"'([A-Z]{3,})'", _code(lua))) - _NO_COMMANDS


def _code(lua: str) -> str:
    return re.sub(r"--.*", "", lua)


@cache
def _shared() -> dict[str, str]:
    """The functions of lib.lua, and the text of each."""
    text = _code((STORE / "lua" / "lib.lua").read_text("utf-8"))
    parts = re.split(r"^local function (\w+)", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@cache
def commands_of_script(name: str) -> frozenset[str]:
    """The commands that a script may call: its own, and those of what it uses of lib.lua."""
    shared = _shared()
    text = _code((STORE / "lua" / f"{name}.lua").read_text("utf-8"))
    found, used, waiting = set(called(text)), set[str](), [text]
    while waiting:
        words = set(re.findall(r"\w+", waiting.pop()))
        for function in words & set(shared) - used:
            used.add(function)
            found |= called(shared[function])
            waiting.append(shared[function])
    return frozenset(found)


# --- what the store sends -----------------------------------------------------------------------------------------


@cache
def _tree(name: str) -> ast.Module:
    return ast.parse((STORE / name).read_text("utf-8"))


def commands_of_operators(*files: str) -> frozenset[str]:
    """The commands that a part of the operator's side sends, and those of its scripts.

    A command may be a variable there, so all words in capitals count.
    """
    found: set[str] = set()
    for name in files:
        for node in ast.walk(_tree(name)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and _WORD.fullmatch(node.value):
                found.add(node.value)
            found |= _of_its_script(node)
    return frozenset(found - _OPTIONS)


def _of_its_script(node: ast.AST) -> frozenset[str]:
    """The commands of the script that a piece of Python names, as `scripts.NAME`."""
    if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "scripts"):
        return frozenset()
    script = getattr(scripts, node.attr, None)
    return commands_of_script(script.name) if isinstance(script, scripts.Script) else frozenset()


@cache
def _methods() -> dict[str, ast.AST]:
    classes = [
        node
        for name, of in (("ask.py", "Asker"), ("callers.py", "CallerVerbs"), ("redis.py", "RedisStore"))
        for node in _tree(name).body
        if isinstance(node, ast.ClassDef) and node.name == of
    ]
    functions = [node for found in classes for node in found.body]
    return {node.name: node for node in functions if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def sent(tree: ast.AST) -> frozenset[str]:
    """The commands that a piece of Python names as it sends them: "GET", "SCRIPT LOAD"."""
    found: set[str] = set()
    for node in ast.walk(tree):
        parts: list[ast.expr] = []
        if isinstance(node, ast.Tuple):
            parts = node.elts
        elif isinstance(node, ast.Call) and (function := _name(node.func)) in _SENDS:
            parts = node.args[_SENDS[function] :]
        words = [part.value if isinstance(part, ast.Constant) else None for part in parts[:2]]
        if not words or not isinstance(words[0], str) or not _WORD.fullmatch(words[0]):
            continue
        found.add(f"{words[0]} {words[1]}" if words[0] in _CONTAINERS else words[0])
    return frozenset(found)


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def commands_of_method(name: str) -> frozenset[str]:
    """The commands that a method of the store needs: those that it and its helpers send, and those of their scripts."""
    methods = _methods()
    found, used, waiting = set[str](), {name}, [name]
    while waiting:
        method = methods[waiting.pop()]
        found |= sent(method)
        for node in ast.walk(method):
            if isinstance(node, ast.Name) and node.id == "vet":
                found |= sent(_tree("vet.py")) | commands_of_script("vet")
            if isinstance(node, ast.Name) and node.id == "survey":
                found |= sent(_tree("survey.py"))
            if not isinstance(node, ast.Attribute):
                continue
            if node.attr == "_listener":
                found |= sent(_tree("connection/listen.py"))
            found |= _of_its_script(node)
            of_the_store = isinstance(node.value, ast.Name) and node.value.id == "self"  # and no task's .cancel()
            if of_the_store and node.attr in methods and node.attr not in used:
                used.add(node.attr)
                waiting.append(node.attr)
    return frozenset(found)


# --- the rules ----------------------------------------------------------------------------------------------------


@cache
def commands(user: str) -> frozenset[str]:
    """All that a user sends or has scripts call."""
    uses = USES[user]
    found: set[str] = set()
    for method in _methods():
        if (uses is None or method in uses) and not method.startswith("_"):
            found |= commands_of_method(method)
    if user in {"operator", "reader"}:
        found |= commands_of_operators(*LOOKING)
    if user == "operator":
        found |= commands_of_operators("acting.py")
    found -= NEVER
    if user == "producer":
        found -= LOOKS
    if user == "reader":
        found -= MENDS
    return frozenset(found)


def rules(user: str, *, namespace: str = "aiotq", password: str = "PASSWORD") -> str:  # noqa: S107  to be replaced
    """The rules of ACL SETUSER, or of a line in an ACL file. namespace: may be a pattern."""
    rights = " ".join(f"+{command.lower().replace(' ', '|')}" for command in sorted(commands(user)))
    channels = "resetchannels" if user == "reader" else f"resetchannels &{{{namespace}}}:*"
    return f"on >{password} resetkeys ~{{{namespace}}}:* {channels} -@all {rights}"


def line(user: str, *, namespace: str = "aiotq", password: str = "PASSWORD") -> str:  # noqa: S107
    """A line of an ACL file."""
    return f"user aiotq_{user} {rules(user, namespace=namespace, password=password)}"


def durable() -> str:
    """What `durable=True` needs besides a producer's rights."""
    more = sent(_tree("durable.py")) - commands("producer")
    return " ".join(f"+{command.lower().replace(' ', '|')}" for command in sorted(more))


def page(text: str) -> str:
    """The page with the lines that it should have. Raises ValueError if a user has no place in it."""
    lines = {f"user aiotq_{user} ": line(user) for user in USES} | {"+config|get ": durable()}
    for begins, rights in lines.items():
        block = re.compile(rf"^```\n{re.escape(begins)}.*\n```$", re.MULTILINE)
        text, found = block.subn(f"```\n{rights}\n```", text)
        if found != 1:
            raise ValueError(f"docs/acl.md has {found} blocks that begin with {begins!r}; one was expected")
    return text


def main(arguments: list[str]) -> int:
    """Write the page, or with --check say whether it is right. Returns the exit code."""
    before = PAGE.read_text("utf-8")
    after = page(before)
    if before == after:
        return 0
    if arguments == ["--check"]:
        sys.stderr.write("docs/acl.md does not list what the code needs; run python tools/acl.py, and look at that\n")
        return 1
    PAGE.write_text(after, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
