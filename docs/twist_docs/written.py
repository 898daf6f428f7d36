"""Reference pages whose text is written from the code: recipes, their fields, the command line.

A line ``<!-- from the code: NAME -->`` in a page is replaced by what the function of that name writes, as Markdown.
"""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Iterator
from typing import Any

from sphinx.application import Sphinx

import twist.runs.recipes
from twist.cli import _parser
from twist.runs.config import Recipe, field_help, field_names, field_value
from twist.runs.experiments import EXPERIMENTS
from twist.runs.recipes import recipe_facts, recipe_groups

MARK = re.compile(r"^<!-- from the code: ([\w-]+) -->$", re.MULTILINE)
_GROUPS = {
    "": "The run",
    "data": "Images",
    "views": "Views",
    "network": "Network",
    "objective": "Objective",
    "optim": "Optimization",
    "teacher": "Momentum teacher",
    "self_label": "Self-labelling",
    "compute": "Computing",
    "record": "Record",
}


def setup(app: Sphinx) -> None:
    """Fill the marks of every page that is read."""
    app.connect("source-read", lambda app, page, source: source.__setitem__(0, fill(source[0])))
    app.connect("autodoc-skip-member", _skip)


def _skip(app: Sphinx, what: str, name: str, value: Any, skip: bool, options: Any) -> bool | None:
    """Leave constants and aliases of a module out: their comments explain them to who reads the code."""
    return True if what == "module" and not (inspect.isclass(value) or inspect.isroutine(value)) else None


def fill(text: str) -> str:
    """A page with its marks replaced."""
    return MARK.sub(lambda mark: WRITERS[mark[1]](), text)


def fields() -> str:
    """Every field of a recipe: its name to link to, its default, its sentence."""
    parts, last, plain = [], None, Recipe()
    names = field_names()
    for name in sorted(names, key=lambda name: (list(_GROUPS).index(name.rpartition(".")[0]), names.index(name))):
        group = name.rpartition(".")[0]
        if group != last:
            heading = _GROUPS.get(group, group)
            title = f"{heading}: `{group}.…`" if group else heading
            parts.append(f"\n(fields-{group or 'run'})=\n## {title}\n")
            if group:
                parts.append(_sentence(type(getattr(plain, group))) + "\n")
            last = group
        default = _spell(field_value(plain, name))
        parts.append(f"({anchor(name)})=\n`{name}` = `{default}`\n: {_escape(field_help(name))}\n")
    return "\n".join(parts)


def anchor(field: str) -> str:
    """Where a field's sentence stands on its page."""
    return "field-" + re.sub(r"[._]", "-", field)


def recipes() -> str:
    """Every recipe with its description, and the fields in which it differs from the defaults."""
    titles = {"paper": "The paper's recipes", "small": "Recipes for small images and one machine"}
    parts, plain = [], Recipe()
    for group, names in recipe_groups().items():
        parts.append(f"\n(recipes-{group})=\n## {titles.get(group, group)}\n")
        for name in names:
            facts, made = recipe_facts(name), twist.runs.recipes.recipe(name)
            summary, _, rest = (inspect.getdoc(twist.runs.recipes._RECIPES[name]) or "").partition("\n")
            parts.append(f"(recipe-{name.replace('_', '-')})=\n### `{name}`\n\n{_markdown(summary)}\n")
            parts.append(_markdown(rest.strip()) + "\n")
            measured = f" Published: {facts.published:.1%} linear top-1 on ImageNet." if facts.published else ""
            parts.append(f"*Hardware:* {facts.hardware}.{measured}\n")
            changed = [
                f"`{field}` = `{_spell(field_value(made, field))}`"
                for field in field_names()
                if field != "name" and field_value(made, field) != field_value(plain, field)
            ]
            parts.append(f"<details><summary>{len(changed)} fields differ from the defaults</summary>\n")
            parts.append("- " + "\n- ".join(changed) + "\n\n</details>\n")
    return "\n".join(parts)


def commands() -> str:
    """Every command with its usage and options, as its own parser knows them."""
    parts = []
    for name, parser, summary in subcommands():
        parts.append(f"\n(command-{name})=\n## `twist {name}`\n\n{_sentence_case(summary)}.\n")
        parts.append(f"```text\n{_usage(parser)}\n```\n")
        for action in sorted(parser._actions, key=lambda action: (bool(action.option_strings), action.dest == "json")):
            if isinstance(action, argparse._HelpAction) or action.help == argparse.SUPPRESS:
                continue
            parts.append(f"{_option(action)}\n: {_escape(_help(action))}\n")
    return "\n".join(parts)


def subcommands() -> Iterator[tuple[str, argparse.ArgumentParser, str]]:
    """Name, parser and one line of help of every command, in the order of ``twist --help``."""
    for action in _parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            for choice in action._choices_actions:
                yield choice.dest, action.choices[choice.dest], choice.help or ""


def experiments() -> str:
    """Every experiment of the collapse lab: what it shows, its question and its answer, hidden at first."""
    parts = []
    for experiment in EXPERIMENTS:
        parts.append(f"\n(experiment-{experiment.name})=\n### {experiment.title}\n")
        parts.append(f"`{experiment.name}` shows: {experiment.shows}.\n\n**{_escape(experiment.question)}**\n")
        parts.append(f"<details><summary>Answer</summary>\n\n{_escape(experiment.answer)}\n\n</details>\n")
        for data, knobs in (("Digits", experiment.digits), ("Toy", experiment.toy)):
            if knobs:
                parts.append(f"*{data}:* " + ", ".join(f"`{name}` = `{_spell(v)}`" for name, v in knobs.items()) + "\n")
    return "\n".join(parts)


WRITERS = {"experiments": experiments, "fields": fields, "recipes": recipes, "commands": commands}


def _usage(parser: argparse.ArgumentParser) -> str:
    parser.formatter_class = lambda prog: argparse.HelpFormatter(prog, width=88)
    return parser.format_usage().removeprefix("usage: ").strip()


def _option(action: argparse.Action) -> str:
    value = action.metavar or (action.dest.upper() if action.option_strings else action.dest)
    if action.choices is not None and action.metavar is None:
        value = "{" + ",".join(map(str, action.choices)) + "}"
    words = " ".join(value) if isinstance(value, tuple) else str(value)
    if not action.option_strings:
        return f"`{words}`"
    takes = action.nargs != 0
    return ", ".join(f"`{option} {words}`" if takes else f"`{option}`" for option in action.option_strings)


def _help(action: argparse.Action) -> str:
    words = (action.help or "").replace("%%", "%")
    default = action.default
    if "%(default)" in words:
        words = words.replace("%(default)s", str(default))
    return _sentence_case(words)


def _spell(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_spell, value))
    if isinstance(value, float):
        return f"{value:g}"
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _sentence(cls: type) -> str:
    return _markdown((inspect.getdoc(cls) or "").partition("\n")[0])


def _sentence_case(words: str) -> str:
    return words[:1].upper() + words[1:]


def _markdown(text: str) -> str:
    """Words of a docstring as Markdown: code in double backticks gets single ones, as names have."""
    return re.sub(r"``(.+?)``", r"`\1`", text)


def _escape(text: str) -> str:
    """A sentence in which Markdown would see marks that are none."""
    return re.sub(r"([*_<>\[\]$|])", r"\\\1", text) if "`" not in text else text
