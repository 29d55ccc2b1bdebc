"""Small artifacts of every section, and readers of what the report makes of them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from stages.core import canonical, registry
from stages.core.log import Log
from stages.report.handwriting import REQUIRED
from stages.report.identity import TASK_TITLES
from stages.report.stage import ReportParams
from tests.stages.measured_material import measured
from tests.stages.ruled_material import RULED

Entries = dict[str, dict[str, dict[str, Any]]]
CHOSEN = {"metric": "bleu", "split": "valid", "n": 246, "data": "0fe1", "signatures": {}}
"""What a table of choices says it rests on."""
FILES: dict[str, Any] = {
    "data/raw/eo/manifest.json": {
        "files": [{"path": "files/a", "size_bytes": 1009}, {"path": "files/b", "size_bytes": 2003}],
        "licence": "CC0-1.0", "licence_reason": None, "origin": "a generator",
        "source": {"kind": "generator"}, "synthetic": True,
    },
    "data/raw/own/manifest.json": {
        "files": [{"path": "files/c", "size_bytes": 5003}], "licence": "CC-BY-4.0",
        "licence_reason": None, "origin": "a real place", "source": {"kind": "files"},
        "synthetic": False,
    },
    "data/raw/foreign/manifest.json": {
        "files": [{"path": "files/model.pt", "size_bytes": 70001}], "licence": None,
        "licence_reason": "own work", "origin": None, "source": {"kind": "files"},
        "synthetic": False,
    },
    "models/tokenizers/eo/report.json": {
        "tokens_per_word": 1.7377, "bytes_per_token": 4.1213, "vocabulary_tokens": 4003,
        "vocabulary_used_fraction": 0.8123, "kept_whole_fraction": 0.6029, "unknown_fraction": 0.0,
        "round_trip": {"changed": 0}, "references": [{"name": "bytes", "length_ratio": 0.2411}],
    },
    "data/tokens/eo/tokens.json": {
        "sequence_length": 128,
        "splits": {"train": {"text_tokens": 90001, "rows": 710, "padding": 13, "lost_tokens": 0,
                             "waste_fraction": 0.00123}},
    },
    "models/pretrained/eo/training.json": {
        "objective": "masked", "parameters": 140009, "steps": 60, "tokens": 30011, "epochs": 1.2507,
        "curve": [{"step": 30, "valid_loss_nats": 6.3031}, {"step": 60, "valid_loss_nats": 6.1969}],
        "scores": {"valid_loss_nats": 6.1969}, "checks": {"initial_loss_nats": 6.9087},
    },
    "models/pretrained/eo/probes.json": [
        {"text": "La suno <mask>.", "guesses": [{"token": "\u0120\u00c4\u012bi", "score": 0.0157}]}
    ],
    "models/finetuned/pos/training.json": {
        "task": "token-classification", "initial": "pretrained", "train_sentences": 211,
        "train_words": 2711, "steps": 9, "tokens": 5557, "checks": {"initial_loss_nats": 2.6843},
        "selection": {"metric": "valid_accuracy_fraction", "step": 8, "value": 0.9131,
                      "curve": [{"step": 4, "value": 0.7019}, {"step": 8, "value": 0.9131}]},
    },
    "models/ported/en-eo/verification.json": {
        "checkpoint": "model.pt", "tying": "decoder", "passed": True, "tensors": [{}, {}, {}],
        "checks": [{"name": "logits", "n": 12, "limit": 1e-05, "passed": True},
                   {"name": "beam texts", "n": 19, "limit": 0.0, "passed": True}],
        "searches": [
            {"num_beams": 5, "members": 1, "sentences": 19, "sentences_equal": 18,
             "near_ties": [4, 13], "plain_texts_differ": 7, "plain_source_ids_differ": 3,
             "plain_searches_differ": 5, "bleu_original": 26.025743859, "bleu_ported": 25.91234567,
             "chrf_original": 45.504653944, "chrf_ported": 45.409876543,
             "bleu_signature": "nrefs:1|tok:13a", "chrf_signature": "nrefs:1|nc:6"},
            {"num_beams": 6, "members": 2, "sentences": 23, "sentences_equal": 22,
             "near_ties": [], "plain_texts_differ": 11}],
        "combine": "best", "checkpoints": ["model.pt", "other.pt"], "recorded_of": "other.pt",
        "actions": [{"action": "copied", "tensors": 101}, {"action": "ignored", "tensors": 17}],
        "reasons": [{"reason": "a format number", "tensors": 13}],
        "candidates": {**CHOSEN, "rows": [
            {"checkpoint": "model.pt", "bleu": 25.7790243, "chrf": 44.7747460, "chosen": True},
            {"checkpoint": "other.pt", "bleu": 24.0414413, "chrf": 43.5689803, "chosen": False}]},
        "decoding_search": {**CHOSEN, "search": "transformers", "rows": [
            {"num_beams": beams, "length_penalty": 0.7, "early_stopping": stop,
             "bleu": 26.0326608 - beams, "chrf": 45.5242140 - beams, "chosen": beams == 2}
            for beams in (2, 3, 4, 5, 6) for stop in (True, "never")]},
    },
    "models/exported/pos-int8/export.json": {
        "task": "token-classification", "source": "finetuned/pos", "format": "onnx", "opset": 18,
        "parameters": 136001, "quantize": {"kind": "dynamic-int8"}, "size_bytes": 167989,
        "fp32_size_bytes": 558812,
        "parity": [{"case": "one token", "positions": 1, "pass": True, "agreement_limit": 0.9},
                   {"case": "longest", "positions": 64, "pass": False, "agreement_limit": 0.9}],
    },
    "reports/benchmark/pos/machine.json": {
        "declared": {"cores": 2, "cpu": "X 9"},
        "facts": {"cpu_model": "X 9", "cores_usable": 2, "python": "3.11"},
        "torch_capability": "AVX2", "skipped": [{"threads": 8, "reason": "two cores"}],
    },
}  # fmt: skip


def corpus(key: str, kind: str, synthetic: bool, licence: str) -> dict[str, Any]:
    """Return the files of a refined corpus."""
    rules = [
        {"rule": name, "documents_in": before, "documents_out": after, "documents_changed": 0,
         "characters_in": 10 * before + 3, "characters_out": 10 * after + 3, "tokens_in": before,
         "tokens_out": after}
        for name, before, after in (("read", 1009, 1009), ("exact_duplicate", 1009, 997))
    ]  # fmt: skip
    split = {"documents": 907, "characters": 90007, "bytes": 91009}
    statistics = {
        "length_words": {"mean": 12.4208, "quantiles": {"0.05": 3, "0.5": 11, "0.95": 29}},
        "vocabulary_size": 1423, "words_seen_once": 677, "duplicates_dropped": 12,
        "zipf": {"rank_exponent_s": 0.9151, "count_exponent_alpha": 1.8524},
        "top_words": [{"word": "la", "count": 1553}, {"word": "kaj", "count": 283}],
        "labels": {"NOUN": {"count": 61, "fraction": 0.6101}} if kind == "labelled" else None,
    }  # fmt: skip
    if kind == "text":
        statistics |= measured() | {
            "identified": {
                "ia": {
                    "documents": 31,
                    "characters": 3119,
                    "rejected_documents": 29,
                    "rejected_characters": 3001,
                    "rejected_fraction": 0.935484,
                }
            }
        }
    return {
        f"data/corpora/{key}/corpus.json": {
            "kind": kind, "languages": ["eo"], "licences": [licence], "synthetic": synthetic,
            "splits": {"train": split, "test": {**split, "documents": 90}},
        },
        f"data/corpora/{key}/ledger.json": {"rules": rules},
        f"data/corpora/{key}/statistics.json": statistics,
    }  # fmt: skip


def score(name: str, value: float, unit: str = "fraction", **more: Any) -> dict[str, Any]:
    """Return a row of scores.json."""
    return {
        "name": name, "value": value, "unit": unit, "n": 2947, "confidence": 0.95,
        "interval": [round(value * 0.97, 7), round(value * 1.01, 7)],
        "signature": f"unit:word|name:{name}|seed:0", **more,
    }  # fmt: skip


def evaluation(
    key: str, task: str, model: str, data: str, rows: list[Any], *rivals: str
) -> dict[str, Any]:
    """Return the score files of an evaluation that is compared with `rivals`."""
    first = rows[0]
    pairs = [
        {"name": first["name"], "a": model, "b": rival, "difference": 0.0006787, "n": 2947,
         "interval": [-0.0009677, 0.0021453], "unit": first["unit"], "signature": "paired"}
        for rival in rivals
    ]  # fmt: skip
    told = {
        "task": task, "model": model, "data": data, "scores": rows, "comparisons": pairs,
        "notes": ["Read 2 lines of this."],
    }  # fmt: skip
    return {f"reports/evaluate/{key}/scores.json": told}


def latencies() -> dict[str, Any]:
    """Return timings of two variants, at one length with a thread, at two lengths with two."""
    rows = [
        {"variant": name, "threads": threads, "batch": 1, "length": length, "n": 31,
         "latency_ms_p50": scale * length, "latency_ms_q25": 0.9 * scale * length,
         "latency_ms_q75": 1.1 * scale * length, "latency_ms_p95": 1.3 * scale * length,
         "latency_ms_p99": 1.5 * scale * length, "latency_ratio_p50": scale / 0.0431,
         "latency_ratio_low": scale / 0.05, "latency_ratio_high": scale / 0.04,
         "too_few_for": ["p99"], "load_average_before": 1.25}
        for name, scale in (("torch", 0.0431), ("onnx-dynamic-int8", 0.0117))
        for threads, length in ((1, 16), (2, 16), (2, 64))
    ]  # fmt: skip
    return {"protocol": "Each round times 2 variants.", "rows": rows, "rounds": 31}


def entries() -> Entries:
    """Return the parameters of all entries: what they refer to, and little else."""
    tagged = {"data": "pos", "split": "test"}
    own = ReportParams().model_dump(mode="json")  # type: ignore[call-arg]
    return {
        "acquire": {"eo": {"folder": "data/none"}, "own": {"folder": "data/external"},
                    "foreign": {"folder": "data/none"}},
        "identify": {"all": {"raw": "own"}},
        "refine": {"eo": {"raw": "own", "identifier": "identifiers/all"}, "pos": {"raw": "eo"},
                   "pairs": {"raw": "eo"}},
        "tokenizer": {"eo": {"corpus": "eo", "reference": "corpora/pairs", "vocab_size": 4003}},
        "encode": {"eo": {"corpus": "eo", "tokenizer": "eo"}},
        "pretrain": {"eo": {"tokens": "eo", "tokenizer": "eo", "base": "none",
                            "learning_rate": 0.001}},
        "finetune": {"pos": {"base": "pretrained/eo", "data": "pos", "initial": "pretrained"}},
        "port": {"en-eo": {"raw": "foreign"}},
        "export": {"pos-int8": {"model": "finetuned/pos", "quantize": {"kind": "dynamic-int8"}}},
        "evaluate": {
            "lm": {"model": "pretrained/eo", "data": "eo", "split": "test"},
            "pos": {"model": "finetuned/pos", **tagged},
            "pos-int8": {"model": "exported/pos-int8", "against": "finetuned/pos", **tagged},
            "en-eo": {"model": "ported/en-eo", "data": "pairs", "split": "test"},
        },
        "benchmark": {"pos": {"model": "finetuned/pos", "second": "exported/pos-int8"}},
        "report": {"all": own},
    }  # fmt: skip


def files() -> dict[str, Any]:
    """Return every JSON file of the artifacts, by its place from the root."""
    tags = {"labels": ["NOUN", "VERB"], "matrix": [[1201, 17], [23, 811]]}
    rows = [{"label": "NOUN", "words": 1218, "precision": 0.9812, "recall": 0.9861, "f1": None}]
    accuracy = [
        score("accuracy", 0.9731), score("macro_f1", 0.9433),
        score("accuracy", 0.5123, baseline="majority-tag"),
    ]  # fmt: skip
    found = {
        **FILES,
        **corpus("eo", "text", False, "CC-BY-4.0"),
        **RULED,
        **corpus("pos", "labelled", True, "CC0-1.0"),
        **corpus("pairs", "parallel", True, "CC0-1.0"),
        **evaluation("pos", "token-classification", "finetuned/pos", "pos", accuracy),
        **evaluation("pos-int8", "token-classification", "exported/pos-int8", "pos",
                     [score("accuracy", 0.9729)], "finetuned/pos"),
        **evaluation("lm", "language-modelling", "pretrained/eo", "eo",
                     [score("masked_perplexity", 505.1104, "perplexity"),
                      score("pseudo_bits_per_byte", 3.4838, "bits/byte")]),
        **evaluation("en-eo", "translation", "ported/en-eo", "pairs",
                     [score("bleu_greedy", 44.4936, "points"),
                      score("bleu_beam", 45.8203, "points"),
                      score("bleu_beam", 0.6823, "points", baseline="copied-source")],
                     "copied-source"),
        "reports/benchmark/pos/latency.json": latencies(),
        "reports/evaluate/pos/confusion.json": tags,
        "models/pretrained/eo/config.json": {"model_type": "roberta", "architectures": ["R"]},
        "models/finetuned/pos/config.json": {"model_type": "roberta", "architectures": ["RT"]},
        "models/exported/pos-int8/config.json": {"model_type": "roberta", "architectures": ["RT"]},
        "models/ported/en-eo/config.json": {"model_type": "fsmt", "langs": ["en", "eo"]},
    }  # fmt: skip
    found["reports/evaluate/pos/scores.json"]["labels"] = rows
    found["reports/evaluate/en-eo/scores.json"]["recorded"] = [
        {"decoding": "beam", "sentences": 31, "equal": 29, "differ": []}
    ]
    return found


SAMPLES = {
    "pos": {"tokens": ["Mi", "vidas", "3", "."], "gold": list("ABCD"), "predicted": list("ABXD")},
    "en-eo": {"source": "I see 3.", "reference": "Mi vidas 3.", "greedy": "Mi 3.", "beam": "Mi."},
    "lm": {"before": "La ", "masked": "sun", "after": "o", "guesses": [
        {"text": " la", "share": 0.0154}]},
}  # fmt: skip


@dataclass
class World:
    """A root with artifacts, the entries that name them, and what the report made."""

    root: Path
    entries: Entries = field(default_factory=entries)

    def build(self) -> World:
        """Write every artifact and the hand-written texts."""
        for name, value in files().items():
            canonical.write_json(self.root / name, value)
        for key, row in SAMPLES.items():
            canonical.write_lines(self.root / f"reports/evaluate/{key}/samples.jsonl", [row])
        for name in ("pretrained/eo", "finetuned/pos", "ported/en-eo"):
            canonical.write_text(self.root / f"models/{name}/model.safetensors", name)
        canonical.write_text(self.root / "models/exported/pos-int8/model.onnx", "graph")
        for task in TASK_TITLES:
            body = "".join(f"## {head}\n\nAbout {head} of *{task}*.\n\n" for head in REQUIRED)
            canonical.write_text(self.root / f"docs/cards/{task}.md", f"# Any\n\n{body}")
        for folder in registry.get("report").reads.values():
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        return self

    def change(self, name: str, *path: str | int, to: Any) -> None:
        """Set one value inside a JSON file."""
        value = json.loads((self.root / name).read_text(encoding="utf-8"))
        inner = value
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = to
        canonical.write_json(self.root / name, value)

    def report(self, out: str = "page", names: Sequence[str] = ("all",), **params: Any) -> Path:
        """Run the stage's function and return the page's folder; `names` have the same values."""
        stage = registry.get("report")
        own = ReportParams(**{"title": "", **params})
        self.entries["report"] = {name: own.model_dump(mode="json") for name in names}
        page = self.root / "out" / out
        shutil.rmtree(page, ignore_errors=True)
        reads = {name: self.root / folder for name, folder in stage.reads.items()}
        stage.function(params=own, entries=self.entries, **reads, page=page, log=Log())
        return page


class Element:
    """An element with its attributes, its own text, and the elements around it."""

    def __init__(self, name: str, attributes: Mapping[str, str], around: tuple[Element, ...]):
        self.name, self.attributes, self.around = name, attributes, around
        self.text = ""

    def classes(self) -> set[str]:
        """Return the classes of this element and of those around it."""
        return {name for one in (*self.around, self) for name in one.get("class").split()}

    def get(self, name: str) -> str:
        """Return an attribute, empty where it is absent."""
        return self.attributes.get(name, "")


class Page(HTMLParser):
    """Every element of a page, in order."""

    VOID = frozenset({"meta", "br", "hr", "img", "input", "link", "col"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self.pieces: list[tuple[Element, str]] = []
        self._open: list[Element] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pairs = {name: value or "" for name, value in attrs}
        self.elements.append(Element(tag, pairs, tuple(self._open)))
        if tag not in self.VOID:
            self._open.append(self.elements[-1])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pairs = {name: value or "" for name, value in attrs}
        self.elements.append(Element(tag, pairs, tuple(self._open)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open[-1].name == tag, f"</{tag}> closes <{self._open[-1].name}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        for one in self._open:
            one.text += data
        if self._open:
            self.pieces.append((self._open[-1], data))

    def named(self, name: str) -> Iterator[Element]:
        """Yield the elements of a name."""
        return (one for one in self.elements if one.name == name)


def resolved(root: Path, source: str) -> Any:
    """Return the value at `file#pointer`, by RFC 6901 and nothing of the product."""
    name, _, pointer = source.partition("#")
    text = (root / name).read_text(encoding="utf-8")
    rows = name.endswith(".jsonl")
    value = [json.loads(row) for row in text.splitlines()] if rows else json.loads(text)
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        value = value[int(key)] if isinstance(value, list) else value[key]
    return value


UNITS = {"": 1.0, "%": 0.01, "B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9}
PRINTED = re.compile(r"([+-]?\d+)(?:\.(\d+))?(?:e([+-]?\d+))? ?(%|B|kB|MB|GB)?")


def printed(text: str) -> tuple[float, float]:
    """Return a number as it is printed, and the largest error that its rounding can have made."""
    flat = text.replace("\u2212", "-").replace("\u202f", " ").strip()
    flat = re.sub(r"(?<=\d) (?=\d)", "", flat)
    found = PRINTED.fullmatch(flat)
    assert found, f"{text!r} is no number"
    whole, decimals, exponent, unit = found.groups(default="")
    scale = UNITS[unit] * 10.0 ** int(exponent or 0)
    return float(f"{whole}.{decimals or 0}") * scale, 0.501 * scale * 10.0 ** -len(decimals)
