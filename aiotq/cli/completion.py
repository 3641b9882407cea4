"""`aiotq completion bash|zsh|fish`: a script that completes commands and options. It runs no Python at a Tab."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aiotq.cli.mistake import EXIT_OK, Mistake
from aiotq.job import JobStatus

if TYPE_CHECKING:
    from collections.abc import Callable

HELP = """\
aiotq completion bash|zsh|fish

Print a script that completes aiotq's commands and options in your shell."""
EXAMPLE = """\
Exit codes: 0 fine, 2 used wrongly.

Example: for good, in bash, zsh (somewhere on its $fpath) and fish

  aiotq completion bash >> ~/.bashrc
  aiotq completion zsh > ~/.zsh/completions/_aiotq
  aiotq completion fish > ~/.config/fish/completions/aiotq.fish"""

Shell = Annotated[str | None, typer.Argument(metavar="SHELL")]
# What may stand behind an option, where that is a handful of words.
CHOICES: Mapping[str, tuple[str, ...]] = {"--state": tuple(JobStatus), "--log-format": ("text", "json")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A command, an option, or a word that an argument may be."""

    text: str
    about: str  # one short line
    takes: bool = False  # something stands behind it


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What can be completed."""

    commands: tuple[Word, ...]
    options: Mapping[str, tuple[Word, ...]]  # by command; those of a worker under "worker"
    arguments: Mapping[str, tuple[str, ...]]  # by command


def completion(shell: Shell = None) -> int:
    """Print the script."""
    made = SHELLS.get(shell or "")
    if made is None:
        raise Mistake("no shell was named" if shell is None else f"there is no completion for {shell!r}",
                      *(f"run: aiotq completion {name}" for name in SHELLS))  # fmt: skip
    from aiotq.cli import main  # noqa: PLC0415  it knows the commands, and loads this module among them

    for name in main.COMMANDS:
        main.load(name)
    sys.stdout.write(made(words_of(typer.main.get_command(main.cli))))
    sys.stdout.flush()
    return EXIT_OK


def words_of(group: Any) -> Words:
    """All commands with their options, as the command line itself knows them."""
    commands: list[Word] = []
    options: dict[str, tuple[Word, ...]] = {}
    arguments: dict[str, tuple[str, ...]] = {"completion": tuple(SHELLS)}
    for name, command in sorted(group.commands.items()):
        commands.append(Word(text=name, about=_about(command)))
        options[name] = tuple(_options(command))
        below = getattr(command, "commands", None)
        if below:
            arguments[name] = tuple(below)
            options[name] = tuple({word.text: word for one in below.values() for word in _options(one)}.values())
    return Words(commands=tuple(commands), options=options, arguments=arguments)


def _options(command: Any) -> list[Word]:
    found: list[Word] = []
    for parameter in command.params:
        if parameter.param_type_name == "option":
            about = (parameter.help or "").partition(". ")[0].rstrip(".")
            takes = not parameter.is_flag and not parameter.count
            found += [Word(text=name, about=about, takes=takes) for name in parameter.opts]
    return [*found, Word(text="--help", about="What it does")]


def _about(command: Any) -> str:
    """The first sentence of a command's help that is no usage line."""
    text = str(command.help or "")
    said = next((part for part in text.split("\n\n") if not part.startswith(("aiotq ", "python "))), text)
    return " ".join(said.split()).partition(". ")[0].partition(": ")[0].rstrip(".")


# --- scripts --------------------------------------------------------------------------------------------------------


def bash(words: Words) -> str:
    """For bash 3.2 and newer."""
    cases = "".join(
        f"        {name}) words={_quoted(' '.join([*words.arguments.get(name, ()), *(w.text for w in own)]))} ;;\n"
        for name, own in words.options.items()
    )
    choices = "".join(f"        {name}) words={_quoted(' '.join(of))} ;;\n" for name, of in CHOICES.items())
    worker = " ".join(word.text for word in words.options["worker"])
    return f"""\
# aiotq: completion for bash
_aiotq() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" words=""
    case "$before" in
{choices}        *) if [ "$COMP_CWORD" -eq 1 ]; then
            words={_quoted(" ".join(word.text for word in words.commands))}
            case "$word" in -*) words={_quoted(worker)} ;; esac
        else case "${{COMP_WORDS[1]}}" in
{cases}        *) words={_quoted(worker)} ;;
        esac; fi ;;
    esac
    COMPREPLY=( $(compgen -W "$words" -- "$word") )
}}
complete -o default -F _aiotq aiotq
"""


def zsh(words: Words) -> str:
    """For zsh, as a file named _aiotq on its $fpath, or evaluated."""
    commands = "".join(f"        {_quoted(f'{word.text}:{word.about}')}\n" for word in words.commands)
    cases = ""
    for name, own in words.options.items():
        specs = [_zsh_option(word) for word in own]
        if name in words.arguments:
            specs.append(_quoted(f"1:what:({' '.join(words.arguments[name])})"))
        else:
            specs.append(_quoted("*:what:_files"))
        cases += f"        {name}) _arguments {' '.join(specs)} ;;\n"
    worker = " ".join(_zsh_option(word) for word in words.options["worker"])
    return f"""\
#compdef aiotq
# aiotq: completion for zsh
_aiotq() {{
    local -a commands
    commands=(
{commands}    )
    if (( CURRENT == 2 )) && [[ "$PREFIX" != -* ]]; then
        _describe command commands
        return
    fi
    local command="${{words[2]}}"
    shift words
    (( CURRENT-- ))
    case "$command" in
{cases}        *) _arguments {worker} ;;
    esac
}}
if [ "$funcstack[1]" = "_aiotq" ]; then _aiotq "$@"; else compdef _aiotq aiotq; fi
"""


def _zsh_option(word: Word) -> str:
    about = word.about.replace("[", "(").replace("]", ")").replace(":", " -")
    of = f":value:({' '.join(CHOICES[word.text])})" if word.text in CHOICES else ":value:" if word.takes else ""
    return _quoted(f"{word.text}[{about}]{of}")


def fish(words: Words) -> str:
    """For fish."""
    lines = ["# aiotq: completion for fish", "complete -c aiotq -f"]
    named = "__fish_use_subcommand"
    lines += [f"complete -c aiotq -n {named} -a {word.text} -d {_fish(word.about)}" for word in words.commands]
    for name, own in words.options.items():
        within = f"-n '__fish_seen_subcommand_from {name}'"
        lines += (
            [f"complete -c aiotq {within} -a {_fish(' '.join(words.arguments[name]))}"]
            if name in words.arguments
            else []
        )
        for word in own:
            kind = f"-l {word.text[2:]}" if word.text.startswith("--") else f"-s {word.text[1:]}"
            takes = (
                f" -x -a {_fish(' '.join(CHOICES[word.text]))}" if word.text in CHOICES else " -r" if word.takes else ""
            )
            lines.append(f"complete -c aiotq {within} {kind}{takes} -d {_fish(word.about)}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """For bash and zsh, in single quotes."""
    return "'" + text.replace("'", "'\\''") + "'"


def _fish(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


SHELLS: Mapping[str, Callable[[Words], str]] = {"bash": bash, "zsh": zsh, "fish": fish}
