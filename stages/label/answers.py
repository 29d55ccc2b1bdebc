"""Answers of people: read from JSON lines or CSV, checked one by one, put together.

Names are those of a batch, or what annotation tools call them: `id`, `external_id`, `externalId`
(Kili) or `meta.id` (Prodigy); `annotator`, `_annotator_id` (Prodigy) or `author`; `answer`:
`accept`, `reject` or `ignore` (Prodigy's: the last two leave a sentence out). Labels are `tags`,
one per word, or `spans` of characters in the batch's text, which become B-, I- and O.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.core import registry
from stages.core.errors import ArtifactError
from stages.label.leaks import TestSet
from stages.label.sentences import Sentence
from stages.label.stage import FileAnswers, LabelParams

SKIPPED = ("reject", "ignore", "skip", "skipped")
ANSWERS = ("", "accept", *SKIPPED)
IDS = ("id", "external_id", "externalId")
ANNOTATORS = ("annotator", "_annotator_id", "author")
ALONE = "annotator"
"""Name of an annotator who gives none."""


@dataclass
class Answered:
    """Answers by sentence and annotator (labels, or None where a sentence was skipped), in the
    order in which they came, and what was counted."""

    by_id: dict[str, dict[str, tuple[str, ...] | None]] = field(default_factory=dict)
    revised: int = 0
    misaligned_spans: int = 0
    misaligned: set[str] = field(default_factory=set)


def read(
    params: LabelParams, setting: FileAnswers, folder: Path, pool: Mapping[str, Sentence],
    labels: Sequence[str], test: TestSet,
) -> Answered:  # fmt: skip
    """Return every answer; a wrong one is an ArtifactError that names its file and line."""
    known = {*labels, *params.excluded}
    found = Answered()
    for path in _files(folder, setting.patterns):
        for number, row in _rows(path):
            where = f"{path}:{number}"
            name = _name(row, pool, test, where)
            sentence = pool[name]
            _check_words(row, sentence, where)
            who = next((str(row[key]) for key in ANNOTATORS if row.get(key)), ALONE)
            tags = _tags(row, sentence, setting, known, found, where)
            given = found.by_id.setdefault(name, {})
            found.revised += who in given
            given.pop(who, None)  # the last answer is the latest, whoever gave it
            given[who] = tags
    return found


def _files(folder: Path, patterns: Sequence[str]) -> list[Path]:
    """Return the files of the patterns by name; hidden ones are no answers."""
    chosen = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    return sorted(path for path in chosen if not path.name.startswith("."))


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as fault:
        raise ArtifactError(
            f"{path.name} cannot be read: {fault}", str(path), "write the answers as UTF-8"
        ) from fault
    if path.suffix == ".csv":
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        try:
            for row in reader:
                yield reader.line_num, {key: value for key, value in row.items() if key}
        except csv.Error as fault:
            raise ArtifactError(
                f"line {reader.line_num} of {path.name} is no CSV: {fault}",
                f"{path}:{reader.line_num}",
                "quote values that hold commas, quotes or line breaks",
            ) from fault
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as fault:
            what = f"line {number} of {path.name} is no JSON: {fault}"
            raise _wrong(what, f"{path}:{number}") from fault
        if not isinstance(row, dict):
            raise _wrong(f"line {number} of {path.name} is no object", f"{path}:{number}")
        yield number, row


def _wrong(what: str, where: str, todo: str = "mend the line, or take it out") -> ArtifactError:
    return ArtifactError(what, where, todo)


def _name(row: Mapping[str, Any], pool: Mapping[str, Sentence], test: TestSet, where: str) -> str:
    meta = row.get("meta")
    named = [row.get(key) for key in IDS] + [meta.get("id") if isinstance(meta, dict) else None]
    name = next((str(one) for one in named if one not in (None, "")), "")
    if not name:
        raise _wrong("an answer has no id", where, "keep the `id` of the batch")
    if name not in pool and test.holds(name):
        raise _wrong(
            f"the answer {name!r} is of the test set", where, "nothing of the test set is learned"
        )
    if name not in pool:
        near = registry.near(name, list(pool)[:5000])
        raise _wrong(f"no sentence of the pool is called {name!r}", where, near)
    like = test.like(pool[name].tokens)
    if like:
        raise _wrong(
            f"the answer {name!r} is the test set's {like!r}, or nearly",
            where,
            "nothing of the test set is learned; take the line out",
        )
    return name


def _check_words(row: Mapping[str, Any], sentence: Sentence, where: str) -> None:
    """Refuse an answer whose words or text are not those that were asked about."""
    tokens = row.get("tokens")
    if isinstance(tokens, str):
        tokens = tokens.split(" ") if tokens else None
    if isinstance(tokens, list):
        given = tuple(str(one["text"] if isinstance(one, dict) else one) for one in tokens)
        if given != sentence.tokens:
            wrong = next(
                (at for at, pair in enumerate(zip(given, sentence.tokens, strict=False))
                 if pair[0] != pair[1]),
                min(len(given), len(sentence.tokens)),
            )  # fmt: skip
            raise _wrong(
                f"the words of {sentence.id!r} differ from the batch's at word {wrong + 1}", where,
                "label the words of the batch; change none",
            )  # fmt: skip
    text = row.get("text")
    if row.get("spans") and isinstance(text, str) and text != sentence.text:
        raise _wrong(
            f"the text of {sentence.id!r} is not the batch's, so its spans mean other places",
            where,
            "label the text of the batch; change no character",
        )


def _tags(
    row: Mapping[str, Any], sentence: Sentence, setting: FileAnswers, known: set[str],
    found: Answered, where: str,
) -> tuple[str, ...] | None:  # fmt: skip
    answer = str(row.get("answer") or "").strip().lower()
    if answer not in ANSWERS:
        raise _wrong(
            f"the answer {answer!r} is unknown", where, registry.near(answer, list(ANSWERS[1:]))
        )
    if answer in SKIPPED:
        return None
    tags = row.get("tags")
    if isinstance(tags, str):
        tags = tags.split()
    if tags is None and isinstance(row.get("spans"), list):
        tags = _of_spans(row["spans"], sentence, setting, found, where)
        if tags is None:
            return None
    if not tags:
        return None  # an empty line of a table that nobody filled in
    if len(tags) != len(sentence.tokens):
        raise _wrong(
            f"{len(tags)} labels for the {len(sentence.tokens)} words of {sentence.id!r}", where,
            "give every word one label",
        )  # fmt: skip
    unknown = sorted({str(tag) for tag in tags} - known)
    if unknown:
        raise _wrong(
            f"the label {unknown[0]!r} of {sentence.id!r} is unknown", where,
            f"{registry.near(unknown[0], sorted(known))} (or name it in `labels`)",
        )  # fmt: skip
    return tuple(map(str, tags))


def _of_spans(
    spans: Sequence[Any], sentence: Sentence, setting: FileAnswers, found: Answered, where: str
) -> list[str] | None:
    """Return B-, I- and O by word; None where a span's ends lie within words, if those skip."""
    starts, ends, at = {}, {}, 0
    for number, word in enumerate(sentence.tokens):
        starts[at], ends[at + len(word)] = number, number
        at += len(word) + 1
    tags = ["O"] * len(sentence.tokens)
    for span in spans:
        try:
            start, end, label = int(span["start"]), int(span["end"]), str(span["label"])
        except (TypeError, KeyError, ValueError):
            raise _wrong(f"a span of {sentence.id!r} lacks start, end or label", where) from None
        first, last = starts.get(start), ends.get(end)
        if first is None or last is None or last < first:
            if setting.misaligned == "refuse":
                raise _wrong(
                    f"the span {start} to {end} ({label}) of {sentence.id!r} does not begin and end"
                    " with words", where, "move its ends, or set `misaligned: skip`",
                )  # fmt: skip
            found.misaligned_spans += 1
            found.misaligned.add(sentence.id)
            return None
        if any(tag != "O" for tag in tags[first : last + 1]):
            raise _wrong(
                f"two spans of {sentence.id!r} overlap at word {first + 1}", where,
                "keep one of them",
            )  # fmt: skip
        tags[first : last + 1] = [f"B-{label}", *[f"I-{label}"] * (last - first)]
    return tags


def resolved(given: Mapping[str, tuple[str, ...] | None], how: str) -> tuple[str, ...] | None:
    """Return what counts of a sentence's answers, which stand in the order of their time."""
    answers = [tags for tags in given.values() if tags is not None]
    last = list(given.values())[-1]
    if last is None or how == "latest" or len(answers) < 2:
        return last
    found = []
    for labels in zip(*answers, strict=True):
        counts = Counter(labels)
        most = max(counts.values())
        found.append(next(label for label in reversed(labels) if counts[label] == most))
    return tuple(found)
