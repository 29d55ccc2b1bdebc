"""The whole chain by ours: the functions in a row, and the four stages as a project runs them."""

from __future__ import annotations

import resource
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer, decoders

from benchmarks.corpus.rounds import serve
from stages.core import canonical
from stages.lm import bytelevel, neighbours, packed, tokens
from stages.lm.encoders import Encoder
from stages.lm.kernels import compiled, wordcounts
from stages.lm.kernels.text import Texts, of_arrow, to_arrow
from stages.lm.scores.table import LINES, Options, score
from stages.lm.signatures import sign
from stages.refine import rulesets

SETS = ("gopher-repetition", "gopher-quality", "c4", "fineweb")
NGRAM, BANDS, ROWS = 5, 14, 8
END = "<|endoftext|>"
WASTE = 0.005
"""What `encode` leaves empty at most by default."""
Phases = dict[str, dict[str, float]]
_last: dict[str, Any] = {}


@contextmanager
def phase(name: str, found: Phases) -> Iterator[None]:
    """Enter what a part of the chain took."""
    cpu, wall = _cpu(), time.perf_counter()
    yield
    found[name] = {"cpu_s": _cpu() - cpu, "wall_s": time.perf_counter() - wall}


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def functions(
    raw: str, out: str, vocab: int, length: int, stop_words: Sequence[str], threads: int = 1
) -> Iterator[Any]:
    """Parquet to a packed set by the functions that the stages are made of."""
    root, found = Path(out) / f"functions-{threads}", Phases()
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    yield None
    with phase("rules", found):
        table = pa.concat_tables(
            pq.read_table(path, use_threads=threads > 1)
            for path in sorted(Path(raw).glob("*.parquet"))
        )
        passed, texts = _ruled(of_arrow(table["text"]), Options(tuple(stop_words)), threads)
    with phase("near duplicates", found):
        signed = sign(texts, "fast", BANDS * ROWS, ngram=NGRAM, threads=threads)
        judged = (signed.sizes > 0).astype(np.uint8)
        roots, _ = neighbours.cluster(signed.signatures, judged, (BANDS, ROWS), None)
        kept = np.flatnonzero(roots == np.arange(len(roots)))
        texts = of_arrow(to_arrow(texts).take(pa.array(kept)))
    with phase("tokenizer", found):
        words = wordcounts.count(texts, threads)
        backend = Tokenizer(bytelevel.learned_model(words, [END], vocab, 2))
        backend.pre_tokenizer = bytelevel.splitter(False)
        backend.decoder = decoders.ByteLevel()
        backend.add_special_tokens([END])
        canonical.write_text(root / "tokenizer.json", backend.to_str())
    with phase("encode", found):
        loaded = Tokenizer.from_file(str(root / "tokenizer.json"))
        loaded.encode_special_tokens = True
        made = Encoder(loaded, threads).encode(texts, 0, 0)
    with phase("pack", found):
        block = tokens.Encoded(
            made.ids, np.diff(made.firsts) - 2, np.diff(texts.offsets), made.characters, True
        )
        special = tokens.Special(0, 0, 0, None, (0,))
        size = int(loaded.get_vocab_size())
        ledger = packed.write_split(root / "tokens", "train", [block], special, size, length, WASTE)
        packed.write_manifest(
            root / "tokens", vocab_size=size, sequence_length=length, objective="causal",
            special=special, tokenizer_digest=canonical.file_digest(root / "tokenizer.json"),
            splits={"train": ledger},
        )  # fmt: skip
    _last["ids"] = table["id"].take(pa.array(passed)), kept
    yield {"phases": found, **_told(ledger)}


def _ruled(texts: Texts, options: Options, threads: int) -> tuple[Any, Texts]:
    """Return who passes the rule sets, and what C4 left of their texts."""
    cut = SETS.index("c4") + 1
    before, behind = rulesets.chosen(SETS[:cut], {}), rulesets.chosen(SETS[cut:], {})
    first = score(texts, options, threads, rulesets.groups(before) | LINES)
    left = np.flatnonzero(rulesets.verdicts(first.table, before).rule < 0)
    cleaned = to_arrow(first.cleaned).take(pa.array(left))
    second = score(of_arrow(cleaned), options, threads, rulesets.groups(behind))
    passed = np.flatnonzero(rulesets.verdicts(second.table, behind).rule < 0)
    return left[passed], of_arrow(cleaned.take(pa.array(passed)))


def _told(ledger: dict[str, Any]) -> dict[str, Any]:
    names = ("documents", "tokens", "rows", "lost_tokens", "waste_fraction")
    return {name: ledger[name] for name in names}


def decisions() -> Iterator[Any]:
    """Return the ids that passed the rules, and those left of duplicates, of the last call."""
    yield None
    ids, kept = _last["ids"]
    yield {"rules": ids.to_pylist(), "near duplicates": ids.take(pa.array(kept)).to_pylist()}


def stages(
    raw: str, out: str, vocab: int, length: int, stop_words: Sequence[str], threads: int = 1
) -> Iterator[Any]:
    """The stages acquire, refine, tokenizer and encode, with their ledgers, reports and measures.

    Same rules and bands; what else refine does by default is switched off, its measures are not.
    """
    from stages.acquire.stage import AcquireParams, acquire
    from stages.core.log import Log
    from stages.encode.stage import EncodeParams, encode
    from stages.refine.settings import RefineParams
    from stages.refine.stage import refine
    from stages.tokenizer.stage import TokenizerParams, tokenizer

    root, found = Path(out) / f"stages-{threads}", Phases()
    shutil.rmtree(root, ignore_errors=True)
    logs = {name: Log(scratch=root / "scratch" / name) for name in
            ("acquire", "refine", "tokenizer", "encode")}  # fmt: skip
    source = {"kind": "files", "root": raw, "patterns": ["*.parquet"]}
    acquired = AcquireParams.model_validate({"source": source, "licence": "CC0-1.0"})
    refined = RefineParams.model_validate(refining(stop_words, threads))
    learned = TokenizerParams(corpus="x", objective="causal", vocab_size=vocab, threads=threads)
    yield None
    with phase("acquire", found):
        acquire(acquired, root, root / "raw", logs["acquire"])
    with phase("refine", found):
        given = dict.fromkeys(signature(refine).parameters, root)  # sets that it does not read
        given |= {"params": refined, "raw": root / "raw", "corpus": root / "corpus"}
        refine(**given | {"log": logs["refine"]})
    with phase("tokenizer", found):
        tokenizer(learned, root / "corpus", root, root / "tokenizer", logs["tokenizer"])
    with phase("encode", found):
        params = EncodeParams(corpus="x", tokenizer="x", sequence_length=length)
        encode(params, root / "corpus", root / "tokenizer", root, root / "tokens", logs["encode"])
    yield {"phases": found, **_told(tokens.Tokens(root / "tokens").ledger)}


def refining(stop_words: Sequence[str], threads: int) -> dict[str, Any]:
    """Return parameters of refine that do what the peers' chain does."""
    off = dict.fromkeys(
        ("controls", "markers", "line_numbers", "unwrap", "verse_numbers", "repeats", "x_system",
         "blanks"), False,
    )  # fmt: skip
    return {
        "raw": "x",
        "threads": threads,
        "normalise": {"mojibake": "keep", "unicode_form": "none", **off},
        "filters": {
            "boilerplate": "keep", "private": "keep", "min_alphabetic_fraction": 0,
            "max_symbol_fraction": 0, "max_repeated_line_fraction": 0,
            "max_mean_word_characters": 0, "rule_sets": list(SETS),
            "counting": {"stop_words": list(stop_words)},
        },
        "duplicates": {
            "exact": False, "permutations": BANDS * ROWS, "bands": BANDS, "ngram": NGRAM,
            "verify": "none", "containment": 0, "related": 0,
        },
        "split": {"train": 0.98, "valid": 0.01, "test": 0.01},
    }  # fmt: skip


def ready() -> Iterator[Any]:
    """Say what compiling or loading the kernels took this process."""
    yield None
    yield compiled.spent()


if __name__ == "__main__":
    serve({"functions": functions, "stages": stages, "decisions": decisions, "ready": ready})
