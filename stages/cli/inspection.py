"""Verbs that only look, or write what is derived: list, show, use, sync, plan, logs."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from stages.cli.description import describe
from stages.core import (
    dvcfile,
    journal,
    plan,
    recipes,
    references,
    registry,
    remotes,
    shapes,
    workspace,
)
from stages.core.errors import UnknownEntryError

Add = Callable[..., argparse.ArgumentParser]


def add_verbs(add: Add) -> None:
    """Register the verbs of this file."""
    add("list", list_entries, "stages, recipes and the entries in force, with their state")
    show = add("show", show_one, "a stage's parameters, or an entry's values, paths and last run")
    show.add_argument("name", metavar="STAGE|ENTRY")
    use = add("use", use_recipe, "write the complete params.yaml of a recipe")
    use.add_argument("recipe", metavar="RECIPE")
    use.add_argument(
        "--force", action="store_true", help="replace a changed params.yaml, keep a copy"
    )
    add("sync", sync, "render dvc.yaml and environment.yaml from the code")
    planned = add("plan", show_plan, "what will run, may be restored, may be skipped, and why")
    planned.add_argument("targets", nargs="*", metavar="TARGET")
    planned.add_argument("--json", action="store_true", help="as JSON")
    logs = add("logs", show_logs, "the last execution of an entry, also after a crash")
    logs.add_argument("entry", metavar="ENTRY")
    logs.add_argument("--follow", action="store_true", help="go on while it runs")


def table(rows: Iterable[Iterable[object]]) -> str:
    """Return rows as aligned columns."""
    cells = [[str(cell) for cell in row] for row in rows]
    if not cells:
        return ""
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(line.rstrip() for line in lines)


def say(text: str) -> None:
    """Print a warning where it mixes with no answer."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def list_entries(options: argparse.Namespace) -> int:
    """Print the stages, the recipes and the entries of params.yaml."""
    root = workspace.root()
    print("STAGES")
    print(table((f"  {name}", stage.doc) for name, stage in registry.stages().items()))
    print("\nRECIPES")
    active = recipes.active(root)
    print(
        table(
            (f"{'*' if name == active else ' '} {name}", recipes.description(root, name))
            for name in recipes.names(root)
        )
    )
    if not (root / references.PARAMS).exists():
        return 0
    print("\nENTRIES")
    steps = plan.make(root).steps.values()
    words = {plan.SKIP: "fresh", plan.RESTORE: "cached", plan.RUN: "to run"}
    print(
        table(
            (f"  {step.name}", words[step.action], " ".join(step.entry.writes.values()))
            for step in steps
        )
    )
    return 0


def show_one(options: argparse.Namespace) -> int:
    """Print a stage's interface, or one entry's values."""
    root = workspace.root()
    if options.name in registry.names():
        print(describe(registry.get(options.name)))
        return 0
    graph = references.load(root)
    entry = graph[one(graph, options.name)]
    print(f"{entry.name}: {entry.stage.doc}")
    for path in entry.reads.values():
        print(f"  reads   {path}")
    for path in entry.writes.values():
        print(f"  writes  {path}")
    values = plan.flatten(entry.params.model_dump(mode="json"))
    print(
        table(
            (f"  {name}", json.dumps(value, ensure_ascii=False)) for name, value in values.items()
        )
    )
    last = journal.last(workspace.home(root), entry.stage.name, entry.key)
    if last:
        print(f"last run: {last.outcome}, fingerprint {last.start.get('fingerprint')}")
    return 0


def one(graph: references.Graph, name: str) -> str:
    """Return the single entry that a name means; a bare key must be unique."""
    if name in graph:
        return name
    named = [found for found, entry in graph.items() if entry.key == name]
    if len(named) == 1:
        return named[0]
    if named:
        raise UnknownEntryError(
            f"{len(named)} entries are called {name!r}",
            f"{references.PARAMS}: {', '.join(sorted(named))}",
            f"write the stage too, such as {named[0]}",
        )
    known = [*graph, *(entry.key for entry in graph.values())]
    raise UnknownEntryError(
        f"there is no entry {name!r}", references.PARAMS, registry.near(name, known)
    )


def use_recipe(options: argparse.Namespace) -> int:
    """Write a recipe's params.yaml and bring the generated files in step."""
    root = workspace.root()
    before = recipes.experiment(root)
    kept = recipes.use(root, options.recipe, options.force)
    if before:
        print(f"the values that were in force are kept: `dvc exp apply {before}` brings them back")
    if kept:
        print(f"kept your params.yaml as {kept.name}")
    changed = dvcfile.sync(root)
    print(
        f"params.yaml is the recipe {options.recipe!r}"
        + (f"; {', '.join(changed)}" if changed else "")
    )
    return 0


def sync(options: argparse.Namespace) -> int:
    """Render the generated files."""
    changed = dvcfile.sync(workspace.root())
    print(f"wrote {', '.join(changed)}" if changed else "everything was in step")
    return 0


def show_plan(options: argparse.Namespace) -> int:
    """Print what would happen and what it is expected to cost."""
    root = workspace.root()
    made = plan.make(root, options.targets, remote=remotes.default(root, say))
    if options.json:
        rows = [
            {"entry": step.name, "action": step.action, "reasons": step.reasons,
             "fingerprint": step.fingerprint, "remote": step.remote}
            for step in made.steps.values()
        ]  # fmt: skip
        print(json.dumps(rows, indent=2))
    else:
        print(
            table([("ENTRY", "ACTION", "WHY"), *(_plan_row(step) for step in made.steps.values())])
        )
        print(expected(made))
    made.check_disk()
    return 0


def _plan_row(step: plan.Step) -> tuple[str, str, str]:
    words = {plan.SKIP: "skip", plan.RESTORE: "may be restored", plan.RUN: "run"}
    more = f" (+{len(step.reasons) - 3} more)" if len(step.reasons) > 3 else ""
    what = words[step.action] + (" (remote)" if step.remote else "")
    return step.name, what, "; ".join(step.reasons[:3]) + more


def expected(made: plan.Plan) -> str:
    """Return one line about time, memory and disk, as past runs let one expect."""
    pending = made.of(plan.RUN)
    if not pending:
        restored, fresh = len(made.of(plan.RESTORE)), len(made.of(plan.SKIP))
        distant = sum(step.remote for step in made.of(plan.RESTORE))
        told = f" ({distant} from the remote)" if distant else ""
        return f"nothing to run: {restored} to restore{told}, {fresh} fresh"
    known = [step.usage for step in pending if step.usage]
    if not known:
        return f"{len(pending)} to run; nothing ran here before, so time and memory are not known"
    text = (
        f"{len(pending)} to run: about {sum(use.wall_s for use in known):.0f} s in sequence, "
        f"{max(use.peak_rss_mib for use in known):.0f} MiB at most, "
        f"{sum(use.output_bytes for use in known) / 1e6:.1f} MB of outputs"
    )
    unknown = len(pending) - len(known)
    return text + (f" (without {unknown} that never ran here)" if unknown else "")


def show_logs(options: argparse.Namespace) -> int:
    """Print the events of an entry's last execution."""
    root = workspace.root()
    graph = references.load(root)
    entry = graph[one(graph, options.entry)]
    last = journal.last(workspace.home(root), entry.stage.name, entry.key)
    if last is None:
        raise UnknownEntryError(
            f"{entry.name} never ran here", ".deveno/journal", f"run `deveno run {entry.name}`"
        )
    events = journal.follow(last.path) if options.follow else iter(last.events())
    for event in events:
        line = event_line(event)
        if line:
            print(line, flush=options.follow)
    print(f"outcome: {(journal.load(last.path) or last).outcome}")
    return 0


def event_line(event: dict[str, Any]) -> str:
    """Return one journal event as a line for people; empty for what they need not see."""
    try:
        return _event_line(shapes.event(event))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return f"{event.get('event')} event that cannot be read"


def _event_line(event: dict[str, Any]) -> str:
    clock = time.strftime("%H:%M:%S", time.localtime(event.get("time", 0)))
    kind = event.get("event")
    if kind == "start":
        text = f"started {event.get('execution')} fingerprint {event.get('fingerprint')}"
    elif kind in ("metric", "observe"):
        step = f" step {event['step']}" if event.get("step") is not None else ""
        text = f"{event['name']} = {event['value']:.6g}{step}"
    elif kind == "progress":
        total = f" of {event['total']:g}" if event.get("total") else ""
        text = f"{event['done']:g}{total} {event.get('unit', '')}"
    elif kind == "text":
        text = f"{event['name']}:\n{event['text']}"
    elif kind == "table":
        text = f"{event['name']}: {len(event['rows'])} rows"
    elif kind == "end":
        spent = event.get("durations", {})
        text = (
            f"ended: {event.get('outcome')}, {spent.get('process_s', 0):.1f} s, "
            f"{spent.get('cpu_s', 0):.1f} CPU s, {spent.get('peak_rss_mib', 0):.0f} MiB"
        )
        text += "".join(f"\n{row}" for row in event.get("error", []))
    else:
        return ""
    return f"{clock} {text}"
