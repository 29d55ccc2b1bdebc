"""`deveno try`: tag, fill, translate or complete with an artifact, one text or a file of them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from stages.cli.inspection import Add
from stages.core import canonical, references, registry, run, workspace
from stages.core.errors import ArtifactError, UnknownEntryError

BATCH = 64
Answer = Callable[[list[str]], list[Any]]


def add_verbs(add: Add) -> None:
    """Register the verb."""
    verb = add("try", attempt, "tag, fill, translate or complete with a model")
    verb.add_argument("entry", metavar="ENTRY", help="a model's key, or stage@key")
    verb.add_argument("texts", nargs="*", metavar="TEXT")
    verb.add_argument("--file", type=Path, help="one text per line")
    verb.add_argument("--out", type=Path, help="write JSON lines here")


def attempt(options: argparse.Namespace) -> int:
    """Answer each text with the model that the entry made."""
    root = workspace.root()
    entry = _model_entry(references.load(root), options.entry)
    folder = root / next(iter(entry.writes.values()))
    if not (folder / "config.json").exists():
        raise ArtifactError(
            f"{entry.name} has not been made yet", str(folder.relative_to(root)),
            f"run `deveno run {entry.name}`",
        )  # fmt: skip
    texts = _texts(options)
    run.pin(entry.threads)
    answer = answerer(folder)
    rows = []
    for start in range(0, len(texts), BATCH):
        batch = texts[start : start + BATCH]
        for text, result in zip(batch, answer(batch), strict=True):
            rows.append({"text": text, "result": result})
            if options.out is None:
                print(_shown(text, result), flush=True)
    if options.out is not None:
        canonical.write_lines(options.out, rows)
        print(f"wrote {len(rows)} answers to {options.out}")
    return 0


def _model_entry(graph: references.Graph, name: str) -> references.Entry:
    """Return the entry that makes a model; a bare key must mean only one of them."""
    models = {
        found: entry
        for found, entry in graph.items()
        if any(
            path.startswith("models/") and "tokenizers" not in path
            for path in entry.writes.values()
        )
    }
    if name in models:
        return models[name]
    named = [found for found, entry in models.items() if entry.key == name]
    if len(named) == 1:
        return models[named[0]]
    if named:
        raise UnknownEntryError(
            f"{len(named)} models are called {name!r}",
            f"{references.PARAMS}: {', '.join(sorted(named))}",
            f"write the stage too, such as {named[0]}",
        )
    known = [*models, *(entry.key for entry in models.values())]
    raise UnknownEntryError(
        f"there is no model {name!r}", references.PARAMS, registry.near(name, known)
    )


def _texts(options: argparse.Namespace) -> list[str]:
    if options.file is not None:
        try:
            lines = options.file.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            raise ArtifactError(
                f"{options.file} is not there", "--file", "name a text file"
            ) from None
        except UnicodeDecodeError as error:
            raise ArtifactError(
                f"{options.file} is not UTF-8 (byte {error.start})", "--file", "save it as UTF-8"
            ) from None
        return [line for line in lines if line.strip()]
    if options.texts:
        return list(options.texts)
    if not sys.stdin.isatty():
        return [line.rstrip("\n") for line in sys.stdin if line.strip()]
    raise ArtifactError("there is no text", "deveno try ENTRY TEXT", "give a text, or --file")


def answerer(folder: Path) -> Answer:
    """Return the function that fits the model in a folder, as its config says what it is."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    kind = (config.get("architectures") or [""])[0]
    if "TokenClassification" in kind:
        return _tagger(folder)
    if "MaskedLM" in kind:
        return _filler(folder)
    if "CausalLM" in kind or "LMHead" in kind:
        return _completer(folder)
    if "ConditionalGeneration" in kind:
        return _translator(folder)
    raise ArtifactError(
        f"a model of kind {kind!r} cannot be tried",
        folder.name,
        "try a tagger, a language model or a translator",
    )


def _tagger(folder: Path) -> Answer:
    from stages.lm import classify

    tagger = classify.load(folder)

    def answer(texts: list[str]) -> list[Any]:
        split = [classify.words(text) for text in texts]
        tagged = tagger.tag(split)
        return [
            [{"word": word, "tag": tag, "score": round(score, 4)} for word, (tag, score) in
             zip(words, row, strict=True)]
            for words, row in zip(split, tagged, strict=True)
        ]  # fmt: skip

    return answer


def _filler(folder: Path) -> Answer:
    from stages.lm import classify

    return lambda texts: classify.fill_mask(folder, texts)


def _completer(folder: Path) -> Answer:
    from stages.lm import classify

    return lambda texts: classify.complete(folder, texts)


def _translator(folder: Path) -> Answer:
    from stages.lm.translator import Translator

    translator = Translator.load(folder)
    return lambda texts: list(translator.translate(texts, num_beams=5))


def _shown(text: str, result: Any) -> str:
    return "\n".join(_lines(text, result))


def _lines(text: str, result: Any) -> Iterator[str]:
    if isinstance(result, str):
        yield result
    elif result and isinstance(result[0], dict) and "tag" in result[0]:
        width = max(len(row["word"]) for row in result)
        yield from (
            f"{row['word'].ljust(width)}  {row['tag']:<6} {row['score']:.4f}" for row in result
        )
    elif isinstance(result, list):
        yield text
        yield from (f"  {json.dumps(row, ensure_ascii=False)}" for row in result)
