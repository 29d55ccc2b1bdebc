"""`deveno try`: tag, fill, translate, complete or name the language with an artifact, or find a
text in a corpus."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.cli import searching
from stages.cli.inspection import Add
from stages.core import canonical, kernels, references, registry, workspace, yamlfile
from stages.core.errors import ArtifactError, DevenoError, ParamsError, UnknownEntryError

if TYPE_CHECKING:
    from stages.lm.decoding.settings import Settings

BATCH = 64
WRITERS = ("CausalLM", "LMHead", "EncoderDecoder", "ConditionalGeneration")
"""Kinds of models whose outputs are decoded."""
IDENTIFIER = "identifier.json"
LIKELIEST = 5
"""Languages told of a text."""
Answer = Callable[[list[str], int], list[Any]]
"""Texts and how many went before them -> one result each."""


def add_verbs(add: Add) -> None:
    """Register the verb."""
    verb = add(
        "try", attempt, "tag, fill, translate or complete with a model; find a text in a corpus"
    )
    verb.add_argument(
        "entry", metavar="ENTRY", help="a model's key, or stage@key; `corpus`, or corpora/KEY"
    )
    verb.add_argument("texts", nargs="*", metavar="TEXT")
    verb.add_argument("--file", type=Path, help="one text per line")
    verb.add_argument("--out", type=Path, help="write JSON lines here")
    verb.add_argument(
        "--decoding",
        metavar="BLOCK",
        help="how to choose outputs: a kind, or YAML such as '{kind: sampling, top_p: 0.9}'",
    )


def attempt(options: argparse.Namespace) -> int:
    """Answer each text with the model that the entry made."""
    root = workspace.root()
    graph = references.load(root)
    if searching.is_corpus(graph, options.entry):
        return _search(options, searching.folders(graph, options.entry, root))
    entry = _model_entry(graph, options.entry)
    folder = root / next(iter(entry.writes.values()))
    if not any((folder / name).exists() for name in ("config.json", IDENTIFIER)):
        raise ArtifactError(
            f"{entry.name} has not been made yet", str(folder.relative_to(root)),
            f"run `deveno run {entry.name}`",
        )  # fmt: skip
    texts = _texts(options)
    if options.out is not None and options.out.is_dir():
        raise ArtifactError(f"{options.out} is a folder", "--out", "name a file to write")
    kernels.pin(entry.threads)
    answer = answerer(folder, _decoding(options.decoding))
    rows: list[dict[str, Any]] = []
    for start in range(0, len(texts), BATCH):
        batch = texts[start : start + BATCH]
        for (_, text), result in zip(batch, _answers(answer, batch, start), strict=True):
            if options.out is None:
                between = "\n" if rows else ""
                print(between + _shown(text, result), flush=True)
            rows.append({"text": text, "result": result})
    if options.out is not None:
        canonical.write_lines(options.out, rows)
        print(f"wrote {len(rows)} answers to {options.out}")
    return 0


def _search(options: argparse.Namespace, corpora: dict[str, Path]) -> int:
    """Look all texts up in corpora, in one pass over each."""
    if options.decoding is not None:
        raise ParamsError(
            "a corpus writes no text, so there is nothing to decode", "--decoding",
            "leave --decoding out",
        )  # fmt: skip
    texts = [text for _, text in _texts(options)]
    if options.out is not None and options.out.is_dir():
        raise ArtifactError(f"{options.out} is a folder", "--out", "name a file to write")
    results = searching.answer(corpora, texts)
    if options.out is not None:
        canonical.write_lines(
            options.out,
            [{"text": t, "result": found} for t, found in zip(texts, results, strict=True)],
        )
        print(f"wrote {len(texts)} answers to {options.out}")
        return 0
    for text, found in zip(texts, results, strict=True):
        print("\n".join(searching.lines(text, found)), flush=True)
    return 0


Placed = tuple[str, str]
"""Where a text came from, for errors, and the text."""


def _answers(answer: Answer, batch: list[Placed], before: int) -> list[Any]:
    """Return the answers of a batch; an error names the text that could not be answered."""
    try:
        return answer([text for _, text in batch], before)
    except DevenoError:
        for place, text in batch:
            try:
                answer([text], before)
            except DevenoError as error:
                raise type(error)(error.what, f"{place}: {error.where}", error.todo) from None
        raise


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
    others = [found for found, entry in graph.items() if name in (found, entry.key)]
    if others:
        paths = [path for found in others for path in graph[found].writes.values()]
        raise UnknownEntryError(
            f"{' and '.join(others)} make no model that answers texts",
            ", ".join(paths),
            registry.near(name, known),
        )
    raise UnknownEntryError(
        f"there is no model {name!r}", references.PARAMS, registry.near(name, known)
    )


def _texts(options: argparse.Namespace) -> list[Placed]:
    """Return the texts of the command line, of --file or of the standard input, with their place.

    Lines end by a line feed only: a text may hold other separators of Unicode.
    """
    if options.file is not None and options.texts:
        raise ParamsError(
            f"there is both --file {options.file} and a text", "deveno try", "give one of them"
        )
    if options.texts:
        return [(f"text {n}", text) for n, text in enumerate(options.texts, 1)]
    if options.file is not None:
        place, data = str(options.file), _read(options.file)
    elif not sys.stdin.isatty():
        place, data = "standard input", sys.stdin.buffer.read()
    else:
        raise ArtifactError("there is no text", "deveno try ENTRY TEXT", "give a text, or --file")
    lines = enumerate(_decoded(data, place).split("\n"), 1)
    texts = [(f"{place}:{n}", line.rstrip("\r")) for n, line in lines if line.strip()]
    if not texts:
        raise ArtifactError(f"{place} holds no text", place, "write one text per line")
    return texts


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ArtifactError(f"{path} is not there", "--file", "name a text file") from None
    except IsADirectoryError:
        raise ArtifactError(f"{path} is a folder", "--file", "name a text file") from None


def _decoded(data: bytes, place: str) -> str:
    if b"\0" in data:
        raise ArtifactError(
            f"{place} is binary: a zero byte at offset {data.index(0)}", place, "give plain text"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ArtifactError(
            f"{place} is not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}",
            place,
            "save it as UTF-8",
        ) from None


def _decoding(text: str | None) -> Settings | None:
    """Return the settings of --decoding, a kind alone or a block of YAML."""
    if text is None:
        return None
    from stages.lm.decoding import settings

    value = {"kind": text.strip()} if ":" not in text else yamlfile.parse(text, "--decoding")
    return settings.parse(value, "--decoding")


def answerer(folder: Path, decoding: Settings | None = None) -> Answer:
    """Return the function that fits the model in a folder, as its config says what it is.

    `decoding` stands in for what is stored with a model that writes texts.
    """
    if (folder / IDENTIFIER).is_file():
        if decoding is not None:
            raise ParamsError(
                "a language identifier writes no text, so there is nothing to decode",
                "--decoding", "leave --decoding out",
            )  # fmt: skip
        return _namer(folder)
    if (folder / "translator.json").is_file():
        return _translator(folder, decoding)  # exported: its config may be another runtime's
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind = str((config.get("architectures") or [""])[0])
    except (ValueError, AttributeError) as error:
        raise ArtifactError(
            f"config.json cannot be read: {error}",
            str(folder / "config.json"),
            "run the entry that makes this model again",
        ) from None
    writes = any(word in kind for word in WRITERS) and not (folder / "model.onnx").exists()
    if decoding is not None and not writes:
        raise ParamsError(
            f"a {kind} writes no text, so there is nothing to decode",
            "--decoding",
            "leave --decoding out, or name a language model or a translator",
        )
    if "TokenClassification" in kind:
        return _tagger(folder)
    if (folder / "model.onnx").exists():
        raise ArtifactError(
            f"an exported {kind} cannot be tried, only exported taggers",
            str(folder),
            "try the model that it was exported from",
        )
    if "MaskedLM" in kind:
        return _filler(folder)
    if "CausalLM" in kind or "LMHead" in kind:
        return _completer(folder, decoding)
    if "EncoderDecoder" in kind:
        return _writer(folder, decoding)
    if "ConditionalGeneration" in kind:
        return _translator(folder, decoding)
    raise ArtifactError(
        f"a model of kind {kind!r} cannot be tried",
        str(folder / "config.json"),
        "try a tagger, a language model or a translator",
    )


def _namer(folder: Path) -> Answer:
    from stages.lm.identifiers import Identifier

    model = Identifier.load(folder)

    def answer(texts: list[str], _: int) -> list[Any]:
        return [
            [{"language": label, "probability": round(share, 4)} for label, share in row if share]
            or [{"language": row[0][0], "probability": 0.0}]
            for row in model.best(texts, LIKELIEST)
        ]

    return answer


def _tagger(folder: Path) -> Answer:
    from stages.lm import classify, onnx
    from stages.lm.words import words as split_words

    exported = (folder / onnx.FILE).exists()
    tagger = onnx.OnnxTagger(folder) if exported else classify.load(folder)

    def answer(texts: list[str], _: int) -> list[Any]:
        split = [split_words(text) for text in texts]
        tagged = tagger.tag(split)
        return [
            [{"word": word, "tag": tag, "score": round(score, 4)} for word, (tag, score) in
             zip(words, row, strict=True)]
            for words, row in zip(split, tagged, strict=True)
        ]  # fmt: skip

    return answer


def _filler(folder: Path) -> Answer:
    from stages.lm import classify

    return lambda texts, _: classify.fill_mask(folder, texts)


def _completer(folder: Path, decoding: Settings | None) -> Answer:
    from stages.lm import completer

    chosen = decoding or completer.usual(folder)
    model = completer.Completer.load(folder, draft=_draft(folder, chosen))

    def answer(texts: list[str], before: int) -> list[Any]:
        return [_told(outputs) for outputs in model.complete(texts, chosen, before=before)]

    return answer


def _translator(folder: Path, decoding: Settings | None) -> Answer:
    from stages.lm.decoding import settings
    from stages.lm.translator import Translator

    chosen = decoding or settings.stored(folder) or settings.Beam()
    translator = Translator.load(folder, draft=_draft(folder, chosen))

    def answer(texts: list[str], before: int) -> list[Any]:
        return [_told(outputs) for outputs in translator.outputs(texts, chosen, before=before)]

    return answer


def _draft(folder: Path, decoding: Settings) -> Path | None:
    """Return the folder of the draft that assisted decoding asks for."""
    from stages.lm.decoding.settings import Assisted

    if not isinstance(decoding, Assisted):
        return None
    models = next(parent for parent in folder.parents if parent.name == "models")
    place = models / decoding.draft
    if not (place / "config.json").is_file():
        raise ArtifactError(
            f"the draft models/{decoding.draft} has not been made",
            "decoding.draft",
            "name a model that has been made, such as pretrained/small",
        )
    return place


def _told(outputs: Sequence[Any]) -> Any:
    """Return one output as its text; of several, or where a phrase is missing, what is known."""
    if len(outputs) == 1 and outputs[0].constraints_met:
        return outputs[0].text
    return [
        {
            "text": one.text,
            "score_nats": round(one.score_nats, 4),
            "constraints_met": one.constraints_met,
        }
        for one in outputs
    ]


def _writer(folder: Path, decoding: Settings | None) -> Answer:
    from stages.lm.writer import Writer

    writer = Writer.load(folder)
    chosen = decoding or writer.settings

    def answer(texts: list[str], before: int) -> list[Any]:
        return [_told(outputs) for outputs in writer.outputs(texts, chosen, before=before)]

    return answer


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
