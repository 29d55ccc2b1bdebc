"""The generator: documents, gold, pairs and plants written in one pass of constant memory."""

from __future__ import annotations

import gc
import random
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from stages.acquire.generator import foreign, plants
from stages.acquire.generator.assembly import Assembler, Batch, Gold
from stages.acquire.generator.copies import Reservoir, near_copy
from stages.acquire.generator.defects import DEFECTS
from stages.acquire.generator.parameters import GeneratorParams
from stages.acquire.generator.sampling import Sampler
from stages.acquire.generator.shards import Shards, row
from stages.acquire.generator.templates import ZERO, Pool
from stages.acquire.generator.vocabulary import Category, Word, categories
from stages.core import canonical
from stages.core.errors import Resumable
from stages.core.log import Log

BATCH_DOCUMENTS = 256
BATCHES_PER_POOL = 192
"""A new pool of sentence plans about every 70 MB, so that syntax does not run dry."""
NUM_HEADINGS, NUM_SENTENCES = 250, 4000
MB = 1_000_000
PATTERN_SENTENCES = 10_000
"""Distinct UPOS patterns are counted among this many first sentences."""


class Generation:
    """State of one run: writers, counters, the reservoir of documents that may be copied."""

    def __init__(self, params: GeneratorParams, folder: Path, stack: ExitStack) -> None:
        limit = int(params.shard_mb * MB)
        files, truth = folder / "files", folder / "truth"

        def shards(where: Path, stem: str, suffix: str, kind: str) -> Shards:
            return stack.enter_context(Shards(where, stem, suffix, kind, limit))

        self.params = params
        self.documents = shards(files, "documents", "jsonl", "jsonl")
        self.annotated = shards(files, "annotated", "conllu", "conllu")
        self.pairs = shards(files, "pairs", "tsv", "tsv")
        self.truth = shards(truth, "plants", "jsonl", "jsonl")
        self.reservoir = Reservoir()
        self.size_bytes = 0
        self.number = 0
        self.counts: Counter[str] = Counter()
        self.phenomena: Counter[str] = Counter()
        self.patterns: set[str] = set()
        self.sentences = 0
        self.tokens = 0
        self.lines: list[str] = []
        self.facts: list[str] = []

    @property
    def full(self) -> bool:
        """True once the wanted size is reached."""
        return self.size_bytes >= self.params.size_mb * MB

    def put(self, text: str, language: str, topic: str) -> str:
        """Add a document and return its id."""
        name = f"d{self.number:09d}"
        self.number += 1
        self.size_bytes += len(text.encode("utf-8"))
        self.counts["documents"] += 1
        self.counts[f"documents_{language}"] += 1
        found = {"id": name, "language": language, "text": text, "topic": topic}
        self.lines.append(canonical.line(found))
        return name

    def plant(self, kind: str, name: str, truth: plants.Truth) -> None:
        """Add a row of truth."""
        self.counts[f"plants_{kind}"] += 1
        self.facts.append(canonical.line({"kind": kind, "id": name, **truth}))

    def flush(self) -> None:
        """Write what the batch gathered."""
        for shards, lines in ((self.documents, self.lines), (self.truth, self.facts)):
            if lines:
                shards.write("\n".join(lines) + "\n")
            lines.clear()


def generate(params: GeneratorParams, folder: Path, log: Log) -> dict[str, list[dict[str, Any]]]:
    """Write documents, gold, pairs and truth; return the manifest rows of `files` and `truth`.

    Files: `files/documents-*.jsonl.zst` {id, language, text, topic}, `files/pairs-*.tsv.zst`
    (Esperanto TAB English), `files/annotated-*.conllu.zst`, `truth/plants-*.jsonl.zst` (see
    `plants`), `truth/statistics.json`. The gold of an altered document is that of its text before;
    copies and documents in other languages have none. Equal parameters give equal bytes.
    """
    # The pieces and plans live as long as the run and hold no cycles; scanning them again and again
    # for cycles costs a fifth of the time.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return _generate(params, folder, log)
    finally:
        if collecting:
            gc.enable()


def _generate(params: GeneratorParams, folder: Path, log: Log) -> dict[str, list[dict[str, Any]]]:
    known = {ZERO: Category(ZERO, "fixed", [Word("", "", "")]), **categories()}
    assembler = Assembler(known, Sampler(known, params.num_topics, params.seed))
    with ExitStack() as stack:
        state = Generation(params, folder, stack)
        gold = params.gold_share() > 0 or params.pair_share() > 0
        number = 0
        pool: Pool | None = None
        while not state.full:
            if log.stopping:
                raise _stopped(state, folder)
            if pool is None or number % BATCHES_PER_POOL == 0:
                seed = f"plans {params.seed} {number // BATCHES_PER_POOL}"
                pool = Pool(known, seed, NUM_HEADINGS, NUM_SENTENCES, gold)
            bits = np.random.PCG64(np.random.SeedSequence([params.seed, number]))
            batch = assembler.batch(
                pool, BATCH_DOCUMENTS, params.gold_share(), params.pair_share(), bits
            )
            _write(state, pool, batch, random.Random(f"plants {params.seed} {number}"))
            number += 1
            log.progress(min(state.size_bytes, params.size_mb * MB), params.size_mb * MB, "bytes")
    return _finish(state, folder, log)


def _stopped(state: Generation, folder: Path) -> Resumable:
    return Resumable(
        f"generation stopped on request after {state.size_bytes / MB:.1f} MB",
        str(folder),
        "run the entry again: it starts anew and gives the same bytes",
    )


def _write(state: Generation, pool: Pool, batch: Batch, rng: random.Random) -> None:
    """Write a batch up to the wanted size: documents with their plants, gold and pairs."""
    names: list[str] = []
    for text, topic, last in zip(batch.texts, batch.topics, batch.last, strict=True):
        if state.full:
            break
        names.append(_document(state, text, topic, last, rng))
        _insert(state, topic, rng)
    state.flush()
    _gold(state, [g for g in batch.annotated if g[0] < len(names)], names)
    pairs = [f"{g[1]}\t{g[3]}\n" for g in batch.paired if g[0] < len(names)]
    if pairs:
        state.pairs.write("".join(pairs))
        state.counts["sentences_paired"] += len(pairs)
    _count(state, pool, batch, len(names))


def _document(state: Generation, text: str, topic: str, last: str, rng: random.Random) -> str:
    """Write one document of the grammar, altered or not."""
    altering = plants.ALTERATIONS | DEFECTS
    kind = _drawn(state.params, tuple(altering), rng)
    if kind is None:
        name = state.put(text, "eo", topic)
        state.reservoir.add((name, text, topic), rng)
        return name
    planted, truth = altering[kind](text, last, rng)
    name = state.put(planted, "eo", topic)
    state.plant(kind.replace("_", "-"), name, truth)
    return name


def _drawn(params: GeneratorParams, kinds: tuple[str, ...], rng: random.Random) -> str | None:
    mark = rng.random()
    for kind in kinds:
        mark -= getattr(params.plants, kind)
        if mark < 0:
            return kind
    return None


def _insert(state: Generation, topic: str, rng: random.Random) -> None:
    """Write a further document, if one is drawn: a copy or one in another language."""
    kind = _drawn(state.params, ("exact_duplicate", "near_duplicate", "foreign_document"), rng)
    if kind is None:
        return
    if kind == "foreign_document":
        language = tuple(foreign.GRAMMARS)[int(rng.random() * len(foreign.GRAMMARS))]
        paragraphs = 1 + int(rng.random() * 4)
        text = "\n\n".join(
            foreign.paragraph(language, 3 + int(rng.random() * 6), rng) for _ in range(paragraphs)
        )
        name = state.put(text, language, topic)
        state.plant("foreign-document", name, {"language": language, "start": 0, "end": len(text)})
        return
    found = state.reservoir.pick(rng)
    if found is None:
        return
    original, text, topic = found
    if kind == "exact_duplicate":
        name = state.put(text, "eo", topic)
        state.plant("exact-duplicate", name, {"original": original, "jaccard": 1.0})
        return
    made = near_copy(original, text, rng)
    if made is not None:
        name = state.put(made[0], "eo", topic)
        state.plant("near-duplicate", name, made[1])


def _gold(state: Generation, gold: list[Gold], names: list[str]) -> None:
    first = state.counts["sentences_annotated"]
    blocks = [
        f"# sent_id = s{number:09d}\n# doc_id = {names[document]}\n"
        f"# text = {text}\n# text_en = {english}\n{lines}\n"
        for number, (document, text, lines, english) in enumerate(gold, first)
    ]
    if blocks:
        state.annotated.write("".join(blocks))
        state.counts["sentences_annotated"] += len(blocks)


def _count(state: Generation, pool: Pool, batch: Batch, num_documents: int) -> None:
    """Count the sentences of the documents written, by phenomenon."""
    written = batch.ends[num_documents - 1]
    plan, origins = batch.plan[:written], batch.origins[:written]
    if (room := PATTERN_SENTENCES - state.sentences) > 0:
        state.patterns.update(pool.patterns[number] for number in set(plan[:room].tolist()))
    counts = np.bincount(plan, minlength=len(pool.plans))
    state.sentences += written
    state.tokens += int((counts * pool.num_tokens).sum())
    state.phenomena["affix"] += int(np.count_nonzero(origins & 1))
    state.phenomena["compound"] += int(np.count_nonzero(origins & 2))
    for name, count in zip(pool.phenomena, (counts @ pool.shows).tolist(), strict=True):
        if count:
            state.phenomena[name] += count


def _finish(state: Generation, folder: Path, log: Log) -> dict[str, list[dict[str, Any]]]:
    files = [
        row
        for shards in (state.annotated, state.documents, state.pairs)
        for row in shards.rows(folder)
    ]
    statistics = {
        "size_bytes": state.size_bytes,
        "counts": dict(state.counts),
        "sentences": state.sentences,
        "tokens": state.tokens,
        "upos_patterns": {
            "sentences": min(state.sentences, PATTERN_SENTENCES),
            "patterns": len(state.patterns),
        },
        "phenomena": {
            name: {"sentences": count, "share": round(count / state.sentences, 6)}
            for name, count in state.phenomena.items()
        },
    }
    path = folder / "truth" / "statistics.json"
    canonical.write_json(path, statistics)
    log.metric("documents_generated", state.counts["documents"])
    log.metric("text_bytes", state.size_bytes)
    log.metric("sentences_annotated", state.counts["sentences_annotated"])
    log.metric("sentences_paired", state.counts["sentences_paired"])
    truth = [*state.truth.rows(folder), row(path, folder, "json")]
    return {"files": files, "truth": truth}
