"""Hold our reference, text pipeline and search against what fairseq itself recorded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from stages.lm.generate import Hypothesis, pad_batch
from stages.lm.metrics import CorpusScore
from stages.lm.translator import Translator
from stages.port.fairseq.reference import PAD, Reference
from stages.port.fairseq.source import Source
from stages.port.fairseq.ties import TIE, Exact, worth_it

if TYPE_CHECKING:
    from stages.port.checks import Verification

EOS, UNKNOWN = 2, 3
LIMIT_SCORE = 2e-4
UNCACHED_SENTENCES = 32
"""How many recorded sentences are searched a second time without the cache."""

Row = Mapping[str, Any]


def ids_of(symbols: Mapping[str, int], line: str) -> list[int]:
    """Return the ids of a recorded line of symbols, `</s>` added."""
    return [*(symbols.get(one, UNKNOWN) for one in line.split()), EOS]


@torch.inference_mode()
def token_scores(
    references: Sequence[Reference], source: Source, rows: Sequence[Row], batch_size: int = 64
) -> tuple[float, int]:
    """Return the largest error of log2 P(token) by the references, and how many tokens.

    Several references are an ensemble: the mean of their probabilities counts.
    """
    pairs = [
        (
            ids_of(source.source_symbols, row["source_bpe"]),
            ids_of(source.target_symbols, one["tokens_bpe"]),
            one["positional_log2"],
        )
        for row in rows
        for one in row["hyps"]
    ]
    pairs.sort(key=lambda pair: (len(pair[0]), len(pair[1])))
    longest = source.architecture.max_positions, source.architecture.max_target_positions
    if any(len(one) > longest[0] or len(two) > longest[1] for one, two, _ in pairs):
        return math.inf, 0  # fairseq translates nothing that long
    worst, count = 0.0, 0
    for at in range(0, len(pairs), batch_size):
        batch = pairs[at : at + batch_size]
        ids, _ = pad_batch([one[0] for one in batch], PAD)
        prefix, _ = pad_batch([[EOS, *one[1][:-1]] for one in batch], PAD)
        nats = [torch.log_softmax(one.logits(ids, prefix), dim=-1) for one in references]
        mean = torch.stack(nats).exp().mean(dim=0).log() if len(nats) > 1 else nats[0]
        bits = mean / math.log(2)
        for row, (_, target, recorded) in zip(bits, batch, strict=True):
            if len(target) != len(recorded):
                return math.inf, count
            found = row[range(len(target)), target]
            error = float((found - torch.tensor(recorded)).abs().max())
            worst = max(worst, math.inf if math.isnan(error) else error)
            count += len(target)
    return worst, count


def check_recordings(
    report: Verification,
    translator: Translator,
    source: Source,
    recorded: Mapping[int, Sequence[Row]],
    folder: Path,
    batch_size: int,
) -> None:
    """Add the checks of ids, texts and searches, and the table of searches.

    A translator of several members is held against what fairseq's ensemble translated.
    """
    members = 1 + len(translator.others)
    for beams, rows in recorded.items():
        name = f"beam-{beams}" if members == 1 else f"ensemble beam-{beams}"
        sources = [translator.source_ids(row["source"]) for row in rows]
        wrong = [
            index
            for index, row in enumerate(rows)
            if sources[index] != ids_of(source.source_symbols, row["source_bpe"])
        ]
        hint = f"first: {rows[wrong[0]]['source'][:60]}" if wrong else ""
        report.add(f"source ids of {name} sentences", len(wrong), 0.0, len(rows), hint)
        search = translator.search(beams)
        found = translator.hypotheses(sources, search, batch_size)
        exact = Exact(translator, search)
        report.searches.append({"num_beams": beams, "members": members, "sentences": len(rows)})
        report.searches[-1] |= _check_search(
            report, translator, source, name, rows, found, sources, exact
        )
        some = sources[:UNCACHED_SENTENCES]
        again = translator.hypotheses(some, search, batch_size, use_cache=False)
        moved = _moved(found, again, some, exact)
        report.add(f"{name} search without cache", moved, 0.0, len(some))
        report.searches[-1] |= _plain(folder, translator, rows, sources, beams, batch_size)
        ours = [translator.pipeline.decode(one[0].tokens) for one in found]
        report.searches[-1] |= _scores(rows, ours)


def _moved(
    found: Sequence[list[Hypothesis]],
    again: Sequence[list[Hypothesis]],
    sources: Sequence[list[int]],
    exact: Exact,
) -> int:
    """Count the sentences whose second search ended elsewhere, and no near tie says why."""
    wrong = [
        at
        for at, (one, two) in enumerate(zip(found, again, strict=False))
        if [each.tokens for each in one] != [each.tokens for each in two]
    ]
    if not worth_it(len(wrong), len(sources)):
        return len(wrong)
    return sum(
        not exact.explains(
            sources[at], [(one.tokens, one.score_nats / math.log(2)) for one in again[at]]
        )
        for at in wrong
    )


def _check_search(
    report: Verification,
    translator: Translator,
    source: Source,
    name: str,
    rows: Sequence[Row],
    found: Sequence[list[Hypothesis]],
    sources: Sequence[list[int]],
    exact: Exact,
) -> dict[str, Any]:
    """Compare all recorded hypotheses: tokens, scores and texts, near ties apart."""
    equal, near, wrong, texts, worst = 0, [], [], 0, 0.0
    symbols = source.target_symbols
    for at, (row, hypotheses) in enumerate(zip(rows, found, strict=True)):
        recorded = row["hyps"]
        wanted = [ids_of(symbols, one["tokens_bpe"]) for one in recorded]
        got = hypotheses[: len(recorded)]
        gaps = [
            abs(one.score_nats / math.log(2) - other["score_log2"])
            for one, other in zip(got, recorded, strict=False)
        ]
        fewer = len(got) < len(recorded)
        same = [one.tokens for one in got] == wanted
        ours = [one.score_nats / math.log(2) for one in hypotheses[: len(recorded) + 1]]
        tied = near_tie([one["score_log2"] for one in recorded]) or near_tie(ours)
        # Of two that change places each also meets the other's score.
        apart = fewer or max(gaps) > (2 * TIE if tied else TIE)
        if tied or not (same or apart):
            near.append(_name(row))
        if same:
            equal += 1
            worst = max(worst, *gaps)
        elif apart:
            wrong.append(at)
        texts += all(
            translator.pipeline.decode(tokens) == other["text"]
            for tokens, other in zip(wanted, recorded, strict=True)
        )
    if worth_it(len(wrong), len(rows)):
        explained = [at for at in wrong if exact.explains(sources[at], _wanted(symbols, rows[at]))]
        near += [_name(rows[at]) for at in explained if _name(rows[at]) not in near]
        wrong = [at for at in wrong if at not in explained]
    hint = f"first: {rows[wrong[0]]['source'][:60]}" if wrong else ""
    report.add(f"{name} tokens are fairseq's", len(wrong), 0.0, len(rows), hint)
    report.add(f"{name} scores are fairseq's", worst, LIMIT_SCORE, equal)
    report.add(f"{name} texts are fairseq's", len(rows) - texts, 0.0, len(rows))
    return {"sentences_equal": equal, "near_ties": near}


def _name(row: Row) -> Any:
    return row.get("id", row["source"])


def _wanted(symbols: Mapping[str, int], row: Row) -> list[tuple[list[int], float]]:
    return [(ids_of(symbols, one["tokens_bpe"]), one["score_log2"]) for one in row["hyps"]]


def _scores(rows: Sequence[Row], ours: Sequence[str]) -> dict[str, Any]:
    """Return BLEU and chrF of fairseq's texts and of ours, where references were recorded."""
    references = [row["reference"] for row in rows if isinstance(row.get("reference"), str)]
    if len(references) < len(rows):
        return {}
    theirs = [row["hyps"][0]["text"] for row in rows]
    found: dict[str, Any] = {}
    for name in ("bleu", "chrf"):
        metric = CorpusScore(name)
        for whose, texts in (("original", theirs), ("ported", ours)):
            sums = metric.statistics(texts, references).sum(axis=0, keepdims=True)
            found[f"{name}_{whose}"] = float(metric(sums)[0])
        found[f"{name}_signature"] = metric.signature
    return found


def near_tie(scores: Sequence[float]) -> bool:
    """Tell whether two neighbours of a ranked list lie within TIE."""
    return any(abs(one - two) <= TIE for one, two in zip(scores, scores[1:], strict=False))


def _plain(
    folder: Path,
    translator: Translator,
    rows: Sequence[Row],
    sources: Sequence[list[int]],
    beams: int,
    batch_size: int,
) -> dict[str, int]:
    """Count what plain AutoTokenizer and `generate` do otherwise than fairseq.

    `plain_searches_differ` are the other texts that come of equal source ids: the search alone.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    same = [
        tokenizer(row["source"]).input_ids == wanted
        for row, wanted in zip(rows, sources, strict=True)
    ]
    texts, searches = 0, 0
    order = sorted(range(len(rows)), key=lambda index: (len(sources[index]), index))
    for at in range(0, len(order), batch_size):
        batch = order[at : at + batch_size]
        inputs = tokenizer(
            [rows[index]["source"] for index in batch], return_tensors="pt", padding=True
        )
        output = translator.model.generate(**inputs, num_beams=beams)
        decoded = tokenizer.batch_decode(output, skip_special_tokens=True)
        for index, text in zip(batch, decoded, strict=True):
            other = text != rows[index]["hyps"][0]["text"]
            texts += other
            searches += other and same[index]
    return {
        "plain_source_ids_differ": same.count(False),
        "plain_texts_differ": texts,
        "plain_searches_differ": searches,
    }
