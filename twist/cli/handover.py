"""Commands around recipes, and around weights that come from elsewhere or go there."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from twist.cli.command import add_command, print_json
from twist.runs.config import field_help, field_names, field_value


def add_commands(commands: Any) -> None:
    """Add import, export, recipes and fields."""
    imported = add_command(
        commands, "import", _import, "read a checkpoint of the authors or of others safely, and say what is in it"
    )
    imported.add_argument(
        "file",
        type=Path,
        help="a .pth of theirs, full or backbone alone, a .safetensors, or a file of solo-learn, DINO …",
    )
    export = add_command(commands, "export", _export, "write a backbone for torchvision, timm or detectron2")
    export.add_argument("source", help="name or path of a run, or a checkpoint file")
    export.add_argument("folder", type=Path, help="new folder for the weights and their card")
    export.add_argument(
        "--form", default="safetensors", help="torchvision, timm, detectron2 or safetensors (our names, the default)"
    )
    add_command(commands, "recipes", _recipes, "list the recipes, those of the paper and those for small images")
    fields = add_command(commands, "fields", _fields, "list every field of a recipe, its value and its meaning")
    fields.add_argument("recipe", nargs="?", default="digits", help="name of a recipe")


def _import(options: argparse.Namespace) -> int:
    from twist.learn.handover import import_checkpoint

    network, report = import_checkpoint(options.file)
    arguments = {name: value for name, value in report.arguments.items() if value is not None}
    print(report)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    facts = {"file": options.file.name, "part": report.part, "head": report.head, "parameters": parameters}
    facts |= {"tensors": report.num_tensors, "epoch": report.epoch, "arguments": arguments}
    return print_json(options, facts)


def _export(options: argparse.Namespace) -> int:
    from twist.learn.handover import export_checkpoint, export_run
    from twist.runs.folders import find_run

    if Path(options.source).is_file():
        written = export_checkpoint(options.source, options.folder, form=options.form)
    else:
        written = export_run(find_run(options.source), options.folder, form=options.form)
    print(f"{written}, with its card {written.with_name('README.md')}")
    return print_json(options, {"source": options.source, "form": options.form, "file": str(written)})


def _recipes(options: argparse.Namespace) -> int:
    from twist.runs.recipes import recipe, recipe_facts, recipe_groups, recipe_summary

    table: dict[str, dict[str, Any]] = {}
    for group, names in recipe_groups().items():
        print(f"{group}{' (published: linear top-1 on ImageNet, the authors)' if group == 'paper' else ''}")
        for name in names:
            facts, made, summary = recipe_facts(name), recipe(name), recipe_summary(name)
            shown = "" if facts.published is None else f"{100 * facts.published:.1f} %"
            print(f"  {name:<19} {shown:>6}  {facts.hardware:<24} {summary}")
            table[name] = {
                "group": group,
                "summary": summary,
                "published": facts.published,
                "hardware": facts.hardware,
                "batch_size": made.optim.batch_size,
                "epochs": made.total_epochs,
            }
        print()
    return print_json(options, {"recipes": table})


def _fields(options: argparse.Namespace) -> int:
    from twist.runs.recipes import recipe

    chosen = recipe(options.recipe)
    rows = {}
    for name in field_names():
        value = field_value(chosen, name)
        rows[name] = {"value": value, "help": field_help(name)}
        shown = ",".join(f"{number:g}" for number in value) if isinstance(value, tuple) else value
        print(f"{name:<34} {shown!s:<14} {field_help(name)}")
    return print_json(options, {"fields": rows})
