"""The share of a code model's completions that parse; nothing generated is ever executed."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from stages.evaluate.causal import CausalModel
from stages.evaluate.encoding import chunks
from stages.evaluate.material import rows_digest
from stages.evaluate.scoreboard import Measure, Scoreboard
from stages.evaluate.stage import LanguageModelling, Stored
from stages.lm.decoding.settings import Greedy, block, stored, trait
from stages.lm.metrics import parses_python
from stages.lm.resample import ratio

STOP = re.compile(r"\n(?=\S)")
"""Where a function ends: a line that starts in the first column (generalises Chen et al. 2021)."""
HEAD_CHARACTERS = 400
"""Signatures longer than this are left out: they would fill a small model's window."""


def score_completions(
    task: LanguageModelling, model: CausalModel, rows: Sequence[dict[str, Any]], board: Scoreboard
) -> None:
    """Complete functions from their signature line alone and count those that parse.

    A signature without a body does not parse, so an empty completion fails. A completion is cut
    where its function ends, and where the token limit cut it, after its last whole line.
    """
    prompts = function_heads(rows)[: task.completions]
    if not prompts:
        board.note("No held-out file holds a function at its top level: nothing was completed.")
        return
    # Without the line's end: tokens of code hold it together with the indent that follows.
    texts = [prompt["head"].rstrip("\n") for prompt in prompts]
    chosen = task.decoding
    decoding = (stored(model.folder) or Greedy()) if isinstance(chosen, Stored) else chosen
    found: list[str] = []
    for part in chunks(texts, board.params.batch_size):
        found += model.complete(part, decoding, task.completion_tokens, len(found))
        board.log.progress(len(found), len(texts), "completions")
    board.extra["decoding"] = {"completions": block(decoding)}
    whole = [head + cut_completion(tail) for head, tail in zip(texts, found, strict=True)]
    passed = [parses_python(text) for text in whole]
    traits = {
        "prompt": "signature",
        "decoding": trait(decoding),
        "tokens": task.completion_tokens,
        "cut": "first-column",
        "prompt_end": "colon",
        "check": "ast",
        "data": rows_digest(prompts),
    }
    measure = Measure("parsing_completions", "fraction", ratio, "function", traits)
    counts = np.stack([np.array(passed, dtype=np.float64), np.ones(len(passed))], axis=1)
    board.score(measure, counts, len(passed))
    board.samples[:0] = [
        {
            "id": prompt["id"],
            "prompt": prompt["head"],
            "completion": text[len(prompt["head"].rstrip("\n")) :],
            "parses": good,
        }
        for prompt, text, good in zip(prompts, whole, passed, strict=True)
    ][: board.params.samples]
    del board.samples[board.params.samples :]


def function_heads(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the first top-level function's signature lines of every file that parses."""
    heads = []
    for row in rows:
        if not parses_python(row["text"]):
            continue
        lines = row["text"].splitlines(keepends=True)
        for node in ast.parse(row["text"]).body:
            if isinstance(node, ast.FunctionDef) and node.body[0].lineno > node.lineno:
                head = "".join(lines[node.lineno - 1 : _head_end(node, lines)])
                if len(head) <= HEAD_CHARACTERS and not parses_python(head):
                    heads.append({"id": row["id"], "head": head})
                    break
    return heads


def cut_completion(text: str) -> str:
    """Return a completion up to the end of its function, or up to its last whole line."""
    found = STOP.search("\n" + text)
    if found:
        return text[: max(0, found.start())]
    return text[: text.rfind("\n") + 1]


def _head_end(node: ast.FunctionDef, lines: Sequence[str]) -> int:
    """Return the line number of the colon that opens the body."""
    parts = [node.returns, *node.args.defaults, *node.args.kw_defaults, *_arguments(node.args)]
    last = max((part.end_lineno or 0 for part in parts if part is not None), default=node.lineno)
    last = max(last, node.lineno)
    while last < len(lines) and not lines[last - 1].rstrip().endswith(":"):
        last += 1
    return last


def _arguments(args: ast.arguments) -> list[ast.arg]:
    extra = [arg for arg in (args.vararg, args.kwarg) if arg is not None]
    return [*args.posonlyargs, *args.args, *args.kwonlyargs, *extra]
