"""On what terms a figure was taken: what two records must share before it is set side by side.

A loss is a number of nats per token of one vocabulary on one text; an accuracy belongs to the
sentences that were tagged; a ratio to what it is a share of. The terms are read from what is
recorded: the entry's values and the hashes of the inputs that hold the data, down to the files of
the split that was measured where the cache lists them. Names decide nothing.

Counts, sizes and settings (`facts`) explain a difference and claim nothing: they have no terms.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stages.core import canonical
from stages.core.contents import Contents
from stages.core.records import Record

FACTS = {
    "acquire": ".*",
    "refine": "",
    "tokenizer": "vocabulary_tokens",
    "encode": ".*_documents",
    "pretrain": "parameters|train_(tokens|predictions)|learning_rate",
    "finetune": "train_(sentences|words)|learning_rate|sentences_split|words_cut",
    "port": ".*_tensors",
    "export": "size_bytes",
    "benchmark": ".*_bytes",
    "report": ".*",
}
"""Figures that need no terms, by stage, as a pattern of their whole name."""
OTHER_FACTS = ".*_(bytes|documents|files|rows)"
"""The same of a stage that is the user's own."""
TRAINED_ON = ("loss_nats", "gradient_norm")
"""Figures of the training data; every other one of a training is of the held-out data."""
TOKENIZER_FILES = r"tokenizer(_config)?\.json"
HEX_SHOWN = 8


@dataclass(frozen=True)
class Term:
    """One thing that two figures must share.

    `whole` identifies it (empty: not known, so it is shared with nothing); `part` identifies the
    files of it that count, where it is a folder whose listing is known.
    """

    name: str
    shown: str
    whole: str
    part: str = ""

    def agrees(self, other: Term) -> bool:
        """Return whether both are the same thing."""
        return bool(self.whole and self.whole == other.whole) or bool(
            self.part and self.part == other.part
        )


Terms = list[Term]


def is_fact(stage: str, figure: str) -> bool:
    """Return whether a figure explains and claims nothing, so that it is shown of anything."""
    return re.fullmatch(FACTS.get(stage, OTHER_FACTS), figure) is not None


def why_not(contents: Contents, a: Record, b: Record, figure: str) -> str:
    """Return why a figure of two records of one stage is not compared; empty where it is."""
    if is_fact(a.stage, figure) or a.fingerprint == b.fingerprint:
        return ""
    left, right = (_ways(contents, one, figure) for one in (a, b))
    told = [differing(x, y) for x, y in zip(left, right, strict=True)]
    return "" if "" in told else "; and ".join(told)


def differing(a: Terms, b: Terms) -> str:
    """Return in what two lists of terms differ, with both values; empty where they agree."""
    left, right = ({term.name: term for term in terms} for terms in (a, b))
    rows = []
    for name in dict.fromkeys([*left, *right]):
        x = left.get(name, Term(name, "none", ""))
        y = right.get(name, Term(name, "none", ""))
        if not x.agrees(y):
            rows.append(f"{name}: {x.shown} and {y.shown}")
    return "; ".join(rows)


def _ways(contents: Contents, record: Record, figure: str) -> list[Terms]:
    """Return the terms of a figure, once per way in which it may be compared."""
    known: dict[str, Callable[[Contents, Record, str], list[Terms]]] = {
        "refine": _refined,
        "tokenizer": _tokenizer,
        "encode": _encoded,
        "pretrain": _pretrained,
        "finetune": _finetuned,
        "port": _ported,
        "export": _exported,
        "benchmark": _benchmarked,
        "evaluate": _evaluated,
    }
    return known.get(record.stage, _unknown)(contents, record, figure)


def _unknown(contents: Contents, record: Record, figure: str) -> list[Terms]:
    """Return the terms of a stage of the user's own: all that it read, for nobody said more."""
    return [[Term(path, md5[:HEX_SHOWN], md5) for path, md5 in sorted(record.inputs.items())]]


def _refined(contents: Contents, record: Record, figure: str) -> list[Terms]:
    """Return what a corpus counts: documents, labelled sentences or pairs."""
    return [[value(record, "kind"), value(record, "documents")]]


def _tokenizer(contents: Contents, record: Record, figure: str) -> list[Terms]:
    """Return the text that was measured: the first split of test, valid and train with any."""
    corpus = _path(record, "data/corpora", "corpus")
    sizes = {name: _documents(contents, record, corpus, name) for name in ("test", "valid")}
    split = next((name for name, size in sizes.items() if size), "train")
    split = "(test|valid|train)" if None in sizes.values() else split
    terms = [
        _split(contents, record, "held-out text", corpus, split),
        value(record, "report_bytes"),
    ]
    if re.fullmatch("length_against_(?!bytes|characters).*", figure):
        terms.append(_input(contents, record, "reference", _path(record, "data", "reference")))
        terms.append(value(record, "vocab_size"))
    return [terms]


def _encoded(contents: Contents, record: Record, figure: str) -> list[Terms]:
    """Return that tokens and rows are counted of one text, or in one unit."""
    text = _split(
        contents, record, "text", _path(record, "data/corpora", "corpus"), "(train|valid|test)"
    )
    return [[text], [_vocabulary(contents, record), value(record, "sequence_length")]]


def _pretrained(contents: Contents, record: Record, figure: str) -> list[Terms]:
    tokens = _path(record, "data/tokens", "tokens")
    predicted = [_vocabulary(contents, record), value(record, "objective")]
    if figure in TRAINED_ON:
        phases = ("short_length", "short_share")
        text = _split(contents, record, "training text", tokens, "train")
        return [
            [
                text,
                *predicted,
                *(value(record, name) for name in phases),
                *_blended(contents, record),
            ]
        ]
    text = _split(contents, record, "held-out text", tokens, "valid")
    rows, total = _measured(contents, record, tokens)
    terms = [text, *predicted, Term("rows measured", f"{rows}", f"{rows}")]
    if (
        re.fullmatch("valid_(loss_nats|perplexity)", figure)
        and kind(record, "objective") == "masked"
    ):
        # Which tokens are hidden is drawn part by part of the held-out rows.
        parts = -(-rows // int(record.values.get("batch_rows") or 1))
        terms.append(Term("parts in which tokens are hidden", f"{parts}", f"{parts}"))
    ways = [terms]
    if figure == "valid_bits_per_byte":
        ways.append(_bytewise(contents, record, tokens, rows, total))
    return ways


def _blended(contents: Contents, record: Record) -> Terms:
    """Return the terms of more than one folder of tokens; none where there is one."""
    more = [
        name
        for name in ("second", "third", "fourth")
        if str(record.values.get(name) or "none") != "none"
    ]
    terms = [
        _split(contents, record, f"training text, {name}", _path(record, "data", name), "train")
        for name in more
    ]
    return [*terms, value(record, "weights")] if more else []


def _bytewise(
    contents: Contents, record: Record, tokens: str, rows: int, total: int | None
) -> Terms:
    """Return the terms of bits per byte across vocabularies: the same text, and all of it."""
    maker = contents.records.maker(tokens, record.deps.get(tokens, ""))
    if maker is None:
        return [_lacking("held-out text", f"{tokens}, whose maker is not recorded")]
    corpus = _path(maker, "data/corpora", "corpus")
    every = total is not None and rows >= total
    some = f"{rows} of {total if total is not None else 'unknown many'} rows"
    return [
        _split(contents, maker, "held-out text", corpus, "valid"),
        Term("share of it measured", "all" if every else some, "all" if every else ""),
    ]


def _measured(contents: Contents, record: Record, tokens: str) -> tuple[int, int | None]:
    """Return how many held-out rows were measured, and of how many where that is known."""
    wanted = int(record.values.get("evaluate_rows") or 0)
    maker = contents.records.maker(tokens, record.deps.get(tokens, ""))
    total = ((contents.figures(maker) or {}) if maker else {}).get("valid_rows")
    return (wanted, None) if total is None else (min(wanted, int(total)), int(total))


def kind(record: Record, name: str) -> str:
    """Return the kind of a choice among an entry's values, such as its task; or an empty text."""
    given = record.values.get(name)
    return str(given.get("kind", "")) if isinstance(given, Mapping) else str(given or "")


def _finetuned(contents: Contents, record: Record, figure: str) -> list[Terms]:
    split = "train" if figure in TRAINED_ON else "valid"
    name = "training data" if figure in TRAINED_ON else "held-out data"
    corpus = _path(record, "data/corpora", "data")
    limit = "max_sentences" if figure in TRAINED_ON else "max_valid_sentences"
    wanted = int(record.values.get(limit) or 0)
    total = _documents(contents, record, corpus, split)
    every = not wanted or (total is not None and wanted >= total)
    taken = "all" if every else str(wanted)
    terms = [
        value(record, "task"),
        _split(contents, record, name, corpus, split),
        Term("sentences of it", taken, taken),
    ]
    if figure in TRAINED_ON:  # the held-out sentences are drawn by no seed, and never cut
        terms += [value(record, "max_length"), *([] if every else [value(record, "seed")])]
    return [terms]


def _ported(contents: Contents, record: Record, figure: str) -> list[Terms]:
    raw = _input(contents, record, "checkpoint", _path(record, "data/raw", "raw"))
    file = value(record, "checkpoint")
    return [[raw, Term("file", file.shown, file.whole), value(record, "sentences")]]


def _exported(contents: Contents, record: Record, figure: str) -> list[Terms]:
    """Return what a size is a share of: the same model in 32-bit floats, with the same answers."""
    parent = _input(contents, record, "share of", _path(record, "models", "model"))
    return [[parent, value(record, "task")]]


def _benchmarked(contents: Contents, record: Record, figure: str) -> list[Terms]:
    machine = record.params.get("machine.yaml") or {}
    facts = [
        Term(f"machine's {name}", str(one), canonical.line(one)) for name, one in machine.items()
    ] or [_lacking("machine", "not recorded")]
    grid = [value(record, name) for name in ("batches", "lengths", "threads_grid")]
    model = _input(contents, record, "ratio to", _path(record, "models", "model"))
    return [[*facts, *grid, model]]


def _evaluated(contents: Contents, record: Record, figure: str) -> list[Terms]:
    """Return the terms of an evaluation whose signatures are gone, or of a count beside them."""
    values = record.values
    given = values.get("task")
    given = given if isinstance(given, Mapping) else {"kind": given}
    task = {name: one for name, one in given.items() if name != "suffix_characters"}
    name = kind(record, "task")
    corpus = _path(record, "data/corpora", "data")
    terms = [
        Term("task", name or "not recorded", canonical.line(task) if name else ""),
        value(record, "split"),
        _split(contents, record, "data", corpus, re.escape(str(values.get("split") or "test"))),
    ]
    if name == "language-modelling":  # per token of a vocabulary, hidden by the seed
        terms += [_vocabulary_of(contents, record, _path(record, "models", "model")),
                  value(record, "seed")]  # fmt: skip
    return [terms]


def _vocabulary_of(contents: Contents, record: Record, model: str) -> Term:
    """Return the vocabulary of a model that an entry reads, as its pretraining had it."""
    maker = contents.records.maker(model, record.deps.get(model, ""))
    above = contents.records.ancestry(maker) if maker else []
    trained = [one for one in above if one.stage == "pretrain"]
    lacking = _lacking("vocabulary", f"of {model}, not recorded")
    return _vocabulary(contents, trained[-1]) if trained else lacking


def value(record: Record, name: str) -> Term:
    """Return a value of the entry as a term; where neither had it there was no such choice."""
    if name not in record.values:
        return Term(name, "absent", "absent")
    given = record.values[name]
    shown = given if isinstance(given, str) else canonical.line(given)
    return Term(name, shown, canonical.line(given))


def _lacking(name: str, shown: str) -> Term:
    return Term(name, shown, "")


def _documents(contents: Contents, record: Record, corpus: str, split: str) -> int | None:
    """Return how many documents a split of a corpus has, as its maker's figures say."""
    maker = contents.records.maker(corpus, record.deps.get(corpus, ""))
    found = ((contents.figures(maker) or {}) if maker else {}).get(f"{split}_documents")
    return None if found is None else int(found)


def _path(record: Record, folder: str, reference: str) -> str:
    """Return the input that a value of the entry refers to."""
    return f"{folder}/{record.values.get(reference)}"


def _input(
    contents: Contents, record: Record, name: str, path: str, files: str | None = None
) -> Term:
    """Return an input as a term; `files` is a pattern of the names inside that count."""
    md5 = record.deps.get(path)
    if md5 is None:
        return _lacking(name, f"{path}, not recorded")
    part = ""
    if files is not None:
        listed: Mapping[str, Any] = dict(contents.records.listing(md5) or [])
        chosen = {file: one for file, one in sorted(listed.items()) if re.match(files, file)}
        part = canonical.digest(chosen) if chosen else ""
    return Term(name, f"{path} ({(part or md5)[:HEX_SHOWN]})", md5, part)


def _split(contents: Contents, record: Record, name: str, path: str, split: str) -> Term:
    """Return a corpus or its tokens as a term, of which the files of a split count."""
    return _input(contents, record, name, path, rf"{split}[-.]")


def _vocabulary(contents: Contents, record: Record) -> Term:
    path = _path(record, "models/tokenizers", "tokenizer")
    return _input(contents, record, "vocabulary", path, rf"{TOKENIZER_FILES}$")
