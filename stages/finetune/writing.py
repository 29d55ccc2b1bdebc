"""Texts for texts: from pairs and pretrained parts to the folder of a translator or summariser."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from stages.core import canonical
from stages.core.errors import CheckFailed
from stages.core.log import Log
from stages.finetune import composition, pairs
from stages.finetune.composition import Composite
from stages.finetune.pairs import Batches, Encoded, Limits, Pairs
from stages.finetune.stage import FinetuneParams, Seq2Seq, Summarisation, Translation
from stages.lm import device, loop, models, objectives, rouge, sanity, seq2seq, tokenizers
from stages.lm.decoding import settings as decoding
from stages.lm.generate import Specials
from stages.lm.metrics import CorpusScore
from stages.lm.resample import ratio

CHECK_PAIRS = 4
CHECK_TOKENS = Limits(48, 24)
"""Parts of pairs that are long enough to check on."""
CONTRACT_PAIRS = 6
INITIAL_TOLERANCE = 0.25
"""How far the first loss of a new decoder may be from ln V."""
FILES = ("config.json", "model.safetensors", "tokenizer.json")
"""What a base's folder gives."""
SELECTION = {"translation": "valid_chrf_points", "summarisation": "valid_rougeL_points"}
"""By which score the weights are chosen."""
FELT = 1e-9
"""Least share by which a state must move when a word does, in double precision."""
PROBABILITY = "valid_probability_fraction"
"""Geometric mean of the probabilities of the targets' tokens: highest where the loss is lowest."""


@dataclass(frozen=True)
class Material:
    """Pairs and ids of both splits, tokenizers and limits."""

    train: Pairs
    valid: Pairs
    train_ids: Encoded
    valid_ids: Encoded
    source: Any
    target: Any
    limits: Limits
    table: list[dict[str, Any]]


def run(
    params: FinetuneParams,
    task: Translation | Summarisation,
    base: Path,
    decoder: Path,
    corpus: Path,
    model: Path,
    log: Log,
) -> None:
    """Compose, check, train, choose by validation and write; the split `test` is never opened."""
    device.prepare(params.threads)
    made = composition.compose(
        base, decoder, task.warm_start, seed=params.seed, dropout=params.dropout
    )
    net = made.model
    material = gather(params, task, base, decoder, corpus, net, log)
    composition.set_specials(net, material.source, material.target)
    counted = composition.check_sources(made, base, decoder)
    special = seq2seq.specials(net)
    batches = Batches(
        material.train_ids,
        special.start,
        pads(net, special),
        size=params.batch_sentences,
        parts=params.accumulate,
        seed=params.seed,
    )
    frozen = made.frozen(params.freeze_embeddings)
    checks = check(made, material, special, frozen, params.learning_rate)
    judge = Judge(task, material, special, params.batch_sentences)
    progress = loop.train(
        loop.Run(
            model=net,
            steps=params.epochs * batches.per_epoch,
            tasks=batches.tasks,
            evaluate=lambda _: judge(net),
            evaluate_every=task.evaluate_epochs * batches.per_epoch,
            params=params,
            identity=identity(params, base, decoder, corpus),
            best=chosen_by(task),
            patience=params.patience,
            frozen=frozen,
        ),
        log,
    )
    net.eval()
    contract = keep_contract(net, material, special, log)
    write(model, made, params, task, material, (base, decoder), log)
    report = told(params, task, material, made, progress, {**checks, **counted})
    canonical.write_json(model / "training.json", {**report, "contract": contract})
    tell(log, material, net, judge, progress)


def chosen_by(task: Translation | Summarisation) -> str:
    """Return the curve whose highest point chooses the weights."""
    return PROBABILITY if task.selection == "loss" else SELECTION[task.kind]


def gather(
    params: FinetuneParams,
    task: Translation | Summarisation,
    base: Path,
    decoder: Path,
    corpus: Path,
    net: Any,
    log: Log,
) -> Material:
    """Read the pairs, look at their lengths, and cut them to the limits."""
    source = models.open_tokenizer(base)
    target = models.open_tokenizer(decoder) if decoder != base else source
    reverse = isinstance(task, Translation) and task.reverse
    train = pairs.read(corpus, "train", params.max_sentences, str(params.seed), reverse=reverse)
    valid = pairs.read(corpus, "valid", params.max_valid_sentences, "valid", reverse=reverse)
    longest = [models.longest(side.config) for side in (net.encoder, net.decoder)]
    limits = Limits(params.max_length or longest[0], task.max_target_length or min(longest[1], 128))
    models.check_length(net.encoder.config, limits.source, "finetune: max_length")
    models.check_length(net.decoder.config, limits.target, "finetune: task.max_target_length")
    table = pairs.lengths(train, source, target, limits)
    log.table("lengths", table)
    encoded = [pairs.encode(part, source, target, limits) for part in (train, valid)]
    return Material(train, valid, encoded[0], encoded[1], source, target, limits, table)


def pads(net: Any, special: Specials) -> tuple[int, int]:
    """Return what fills sources and targets."""
    return models.source_pad(net, special.pad), special.pad


def check(
    made: Composite, material: Material, special: Specials, frozen: frozenset[str], rate: float
) -> dict[str, float | int]:
    """Run every check before compute; returns what they measured."""
    net = made.model
    found: dict[str, float | int] = {}
    few = slice(0, CHECK_PAIRS)
    small = Encoded(
        [row[: CHECK_TOKENS.source] for row in material.train_ids.sources[few]],
        [row[: CHECK_TOKENS.target] for row in material.train_ids.labels[few]],
        0,
        0,
    )
    task = pairs.ask(small.sources, small.labels, special.start, pads(net, special))
    if made.sides.decoder:
        net.eval()
        with torch.inference_mode():
            mean = objectives.summed_nats(net, task) / len(task.answers)
        found["initial_loss_nats"] = float(mean)
    else:
        found["initial_loss_nats"] = sanity.initial_loss(net, task, INITIAL_TOLERANCE)
    sanity.asymmetric(net)
    sanity.raw_logits(net, task)
    sanity.repeatable(net, task)
    found["learned_tensors"] = sanity.gradients_alive(net, task, frozen)
    found["overfit_steps"] = sanity.overfits(net, task, min(sanity.OVERFIT_RATE, 3 * rate))
    return found


class Judge:
    """Loss and token accuracy of all validation pairs, scores of greedy outputs for some."""

    def __init__(
        self, task: Seq2Seq, material: Material, special: Specials, batch_size: int
    ) -> None:
        self._task, self._material, self._special = task, material, special
        self._size = batch_size
        count = min(task.max_generated, len(material.valid))
        self.sources = material.valid_ids.sources[:count]
        self.references = material.valid.targets[:count]
        longest = max(map(len, material.valid_ids.labels))
        self.max_tokens = max(1, min(material.limits.target - 1, 2 * longest))
        self.samples: list[dict[str, str]] = []

    def __call__(self, net: Any) -> dict[str, float]:
        """Return the points of an evaluation's curves."""
        nats, right, asked = self._teacher_forced(net)
        outputs = seq2seq.greedy(net, self.sources, self._special, self.max_tokens, self._size)
        texts = [
            self._material.target.decode(row, skip_special_tokens=True).strip() for row in outputs
        ]
        few = slice(0, min(3, len(texts)))
        self.samples = [
            {"source": source[:300], "reference": wanted[0], "output": said}
            for source, wanted, said in zip(
                self._material.valid.sources[few], self.references[few], texts[few], strict=True
            )
        ]
        return {
            "valid_accuracy_fraction": right / asked,
            "valid_loss_nats": nats / asked,
            PROBABILITY: math.exp(-nats / asked),
            **scores(self._task, texts, self.references),
        }

    def _teacher_forced(self, net: Any) -> tuple[float, int, int]:
        """Return summed nats, tokens predicted right, and tokens, over all validation pairs."""
        ids = self._material.valid_ids
        order = sorted(range(len(ids)), key=lambda n: (len(ids.sources[n]), len(ids.labels[n]), n))
        nats, right, asked = 0.0, 0, 0
        for first in range(0, len(order), self._size):
            part = order[first : first + self._size]
            question = pairs.ask(
                [ids.sources[number] for number in part],
                [ids.labels[number] for number in part],
                self._special.start,
                pads(net, self._special),
            )
            logits = question.logits(net)
            loss = torch.nn.functional.cross_entropy(logits, question.answers, reduction="sum")
            nats += float(loss)
            right += int((logits.argmax(-1) == question.answers).sum())
            asked += len(question.answers)
        return nats, right, asked


def scores(
    task: Seq2Seq, texts: Sequence[str], references: Sequence[Sequence[str]]
) -> dict[str, float]:
    """Return BLEU and chrF of translations, or ROUGE (stemmed, best of the references)."""
    found: dict[str, float] = {}
    if isinstance(task, Translation):
        for name in ("bleu", "chrf"):
            metric = CorpusScore(name)
            rows = metric.statistics(texts, [wanted[0] for wanted in references])
            found[f"valid_{name}_points"] = float(metric(rows.sum(axis=0, keepdims=True))[0])
        return found
    for kind in rouge.KINDS[:3]:
        counts = rouge.f_points(references, texts, kind)
        found[f"valid_{kind}_points"] = float(ratio(counts.sum(axis=0, keepdims=True))[0])
    return found


def keep_contract(net: Any, material: Material, special: Specials, log: Log) -> list[str]:
    """Check what every encoder-decoder must satisfy; returns the names of what holds."""
    from stages.lm import seq2seq_contract

    sources: list[list[int]] = []
    targets: list[list[int]] = []
    for row, labels in zip(material.valid_ids.sources, material.valid_ids.labels, strict=True):
        if len(row) >= 4 and len(labels) >= 2 and len(sources) < CONTRACT_PAIRS:
            sources.append(row)
            targets.append(labels)
    if not sources:
        return []
    # In double precision: an encoder from new weights feels a far word by less than single's noise.
    lines = seq2seq_contract.check(copy.deepcopy(net).double(), sources, targets, special, FELT)
    for line in lines:
        log.observe(f"contract/{line.name}", line.error if math.isfinite(line.error) else -1.0)
    broken = [f"{line.name} ({line.error:.2e})" for line in lines if not line.passed]
    if broken:
        raise CheckFailed(
            f"the encoder-decoder breaks its contract: {', '.join(broken)}",
            f"{len(sources)} validation pairs",
            "look for a wrong mask, a cache that is misread or positions that move with padding",
        )
    return [line.name for line in lines]


def write(
    model: Path,
    made: Composite,
    params: FinetuneParams,
    task: Translation | Summarisation,
    material: Material,
    folders: tuple[Path, Path],
    log: Log,
) -> None:
    """Write the folder, and see that a plain loader computes what was trained."""
    base, decoder = folders
    net = made.model
    told = decoding.generation_config(task.decoding)
    for name, value in told.items():
        setattr(net.generation_config, name, value)
    if "max_new_tokens" not in told:
        net.generation_config.max_length = material.limits.target + 1  # the start token is counted
    facts = {
        "task": task.kind,
        "warm_start": task.warm_start,
        "reverse": isinstance(task, Translation) and task.reverse,
        "new_tensors": made.new,
        "unused_tensors": made.unused,
        "source_tokens": material.limits.source,
        "target_tokens": material.limits.target,
    }
    seq2seq.save(net, model, facts)
    decoding.store(model, task.decoding)
    tokenizers.copy(base, model, material.limits.source)
    if decoder != base and tokenizers.digest(decoder) != tokenizers.digest(base):
        tokenizers.copy(decoder, model / seq2seq.TARGET_TOKENIZER, material.limits.target)
    log.observe("plain_loader_difference", same_logits(net, model, material))


def same_logits(net: Any, folder: Path, material: Material) -> float:
    """Return 0.0, the difference between the trained model and what transformers opens alone."""
    from transformers import AutoModelForSeq2SeqLM

    with models.quiet():
        plain = AutoModelForSeq2SeqLM.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, attn_implementation="sdpa"
        ).eval()
    special = seq2seq.specials(net)
    question = pairs.ask(
        material.valid_ids.sources[:CHECK_PAIRS],
        material.valid_ids.labels[:CHECK_PAIRS],
        special.start,
        pads(net, special),
    )
    with torch.inference_mode():
        apart = float((question.logits(net) - question.logits(plain)).abs().max())
    if apart != 0.0:
        raise CheckFailed(
            f"the written model's logits differ from the trained one's by {apart:.2e}",
            folder.name,
            "look for a tensor that is not written, or copies that are not equal",
        )
    return apart


def told(
    params: FinetuneParams,
    task: Translation | Summarisation,
    material: Material,
    made: Composite,
    progress: loop.Progress,
    checks: Mapping[str, float | int],
) -> dict[str, Any]:
    """Return training.json: what was learned from, and how the weights were chosen."""
    names = sorted({name for name, _, _ in progress.curve if name.startswith("valid_")})
    chosen = chosen_by(task)
    return {
        "task": task.kind,
        "warm_start": task.warm_start,
        "train_pairs": len(material.train),
        "valid_pairs": len(material.valid),
        "lengths": material.table,
        "steps": progress.step,
        "tokens": progress.tokens,
        "checks": dict(checks),
        "parameters": models.parameter_count(made.model),
        "selection": {
            "metric": chosen,
            "step": progress.best_step,
            "value": progress.best_value,
            "curve": [
                {"step": step, "value": value}
                for name, step, value in progress.curve
                if name == chosen
            ],
        },
        "validation": {
            name: [[step, value] for found, step, value in progress.curve if found == name]
            for name in names
        },
    }


def tell(log: Log, material: Material, net: Any, judge: Judge, progress: loop.Progress) -> None:
    """Report the metrics of the chosen weights."""
    for name, step, value in progress.curve:
        if step == progress.best_step and name.startswith("valid_"):
            log.metric(name, value)
    log.metric("train_pairs", len(material.train))
    log.metric("sources_cut", material.train_ids.cut_sources)
    log.metric("targets_cut", material.train_ids.cut_targets)
    log.metric("parameters", models.parameter_count(net))
    if judge.samples:
        log.table("samples", judge.samples)


def identity(params: FinetuneParams, base: Path, decoder: Path, corpus: Path) -> str:
    """Return the digest that ties a checkpoint to parameters and inputs."""
    files = [folder / name for folder in (base, decoder) for name in FILES]
    files += sorted(corpus.glob("train-*.parquet")) + sorted(corpus.glob("valid-*.parquet"))
    inputs = [[path.name, canonical.file_digest(path)] for path in files if path.is_file()]
    return canonical.digest({"params": params.model_dump(mode="json"), "inputs": inputs})
