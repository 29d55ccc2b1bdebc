"""The `deveno` command: verbs over entries. No option sets a parameter: params.yaml does."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from stages.core import freshness, workspace
from stages.core.errors import DevenoError, MachineError, ParamsError, translated

Verb = Callable[[argparse.Namespace], int]
OWN = Path(__file__).resolve().parents[2]
"""The workspace whose code this is."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are three lines like all others."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse found as an error that a user can act on."""
        wrong = re.match(r"argument VERB: invalid choice: '(.*?)' \(choose from (.*)\)", message)
        if wrong:
            from stages.core import registry  # half a command's start

            known = re.findall(r"[a-z]+", wrong[2])
            raise ParamsError(
                f"there is no verb {wrong[1]!r}", self.prog, registry.near(wrong[1], known)
            )
        raise ParamsError(message, self.prog, f"`{self.prog} -h` shows how it is written")


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; a user error is three lines and exit code 2, without a traceback."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        if given[:1] == ["run"]:  # the most frequent answer is that nothing changed: at once
            _own_interpreter_first()
            _run_workspace_code()
            known = freshness.answer(given[1:], str(OWN))
            if known is not None:
                sys.stdout.write(known)
                return 0
        options = _parsed(given)
        _own_interpreter_first()
        _run_workspace_code()
        return int(options.verb(options))
    except DevenoError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        told = translated(error)
        if told is None:
            raise
        sys.stderr.write(f"{told}\n")
        return told.exit_code
    except KeyboardInterrupt:
        return 130


def _parsed(arguments: list[str]) -> argparse.Namespace:
    """Return what was asked for; texts may also follow an option, which argparse alone refuses."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and (any(word.startswith("-") for word in rest) or not hasattr(options, "texts")):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.texts += rest
    return options


def _parser() -> argparse.ArgumentParser:
    from stages.cli import (
        ancestry,
        bundling,
        clearing,
        comparing,
        examination,
        forecasting,
        inspection,
        querying,
        rebuilding,
        running,
        servers,
        transfers,
        trying,
    )

    parser = Parser(
        prog="deveno", description="From raw text to a benchmarked model, every file made again."
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def add(name: str, function: Verb, text: str) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=text, description=text)
        sub.set_defaults(verb=function)
        return sub

    inspection.add_verbs(add)
    ancestry.add_verbs(add)
    examination.add_verbs(add)
    clearing.add_verbs(add)
    running.add_verbs(add)
    rebuilding.add_verbs(add)
    trying.add_verbs(add)
    servers.add_verbs(add)
    comparing.add_verbs(add)
    querying.add_verbs(add)
    forecasting.add_verbs(add)
    bundling.add_verbs(add)
    transfers.add_verbs(add)
    return parser


def _own_interpreter_first() -> None:
    """Put this interpreter's folder first in PATH: DVC's children find the same `python`."""
    folder = str(Path(sys.executable).parent)
    parts = os.environ.get("PATH", "").split(os.pathsep)
    if parts[:1] != [folder]:
        os.environ["PATH"] = os.pathsep.join([folder, *parts])


def _run_workspace_code() -> None:
    """Hand over to the code of the workspace we stand in when it is not the code now running.

    An installed `deveno` belongs to one clone; in a worktree or a second clone that clone's own
    stages must run, or its fingerprints would speak of other code.
    """
    try:
        root = workspace.root()
    except MachineError:
        return
    if root != OWN and (root / "stages/__main__.py").exists():
        if os.environ.get("DEVENO_HANDED_OVER") == str(root):
            return
        os.environ["DEVENO_HANDED_OVER"] = str(root)
        os.chdir(root)
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, "-m", "stages", *sys.argv[1:]])
