"""Stream a transformers folder into safetensors of a chosen size, however large it is.

No tensor changes; what is proved is that each has its old bytes, that transformers finds all it
needs and nothing more, and that the model answers, its weights read layer by layer.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from stages.core import canonical
from stages.core.errors import ArtifactError
from stages.core.log import Log
from stages.lm.layouts import conversion
from stages.lm.layouts.plan import Plan, copied
from stages.lm.models import Head, auto_class
from stages.lm.offload import PLAIN, Offloaded
from stages.port import archives, causal
from stages.port.checks import Verification, require
from stages.port.families.release import read_json

if TYPE_CHECKING:
    from stages.port.resaved.settings import Transformers

COPIED = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "vocab.json", "vocab.txt", "merges.txt", "tokenizer.model",
    "added_tokens.json",
)  # fmt: skip
IGNORED = {r".*rotary_emb\.inv_freq": "rotary frequencies, computed again from the settings"}
HEADS: dict[str, Head] = {
    "ForCausalLM": "causal", "LMHeadModel": "causal", "ForMaskedLM": "mlm",
    "ForTokenClassification": "token-classification",
}  # fmt: skip
HUB_TASKS: dict[Head, str] = {
    "causal": "text-generation", "mlm": "fill-mask", "token-classification": "token-classification",
}  # fmt: skip


def task_of(model: Path) -> str:
    """Return the hub's name of what a model answers; features where its class says nothing."""
    config = read_json(model / "config.json")
    name = str((config.get("architectures") or [""])[0])
    head = next((head for end, head in HEADS.items() if name.endswith(end)), None)
    return "feature-extraction" if head is None else HUB_TASKS[head]


def port_folder(params: Transformers, files: Path, model: Path, log: Log) -> dict[str, Any]:
    """Write the model to `model` and return its verification, all checks passed."""
    config = _config(files)
    folder = config.parent
    head = _head(read_json(config))
    report = Verification()
    with archives.open_folder(folder) as source:
        model.mkdir(parents=True)
        names = list(source.entries)
        extra = Plan([], IGNORED).left_out(names)
        plan = Plan([copied(name, name) for name in names if name not in extra], IGNORED)
        rows = conversion.convert(
            plan, source, model, folder.name, int(params.shard_mb * 1_000_000)
        )
        floats = sum(spec.count for spec in source.specs.values())
    canonical.write_json(model / conversion.RECORD, conversion.record(rows))
    for name in COPIED:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, model / name)
    moved = [name for row in rows for name in row.targets if row.targets != row.sources]
    report.add("tensors of other bytes", len(moved), 0, len(rows), ", ".join(moved[:3]))
    whole = 4 * floats <= params.compare_below_mb * 1_000_000
    _check_answers(report, params, model, head, whole)
    require(report, folder.name)
    log.metric("source_tensors", len(rows))
    return {
        "task": HUB_TASKS[head],
        **conversion.actions(rows),
        "checks": report.rows(),
        "loaded_whole_too": whole,
    }


def _config(files: Path) -> Path:
    found = sorted(files.rglob("config.json"))
    if len(found) != 1:
        raise ArtifactError(
            f"{len(found)} files config.json",
            f"files of the raw entry: {', '.join(sorted(p.name for p in files.rglob('*'))[:12])}",
            "give one folder as save_pretrained writes it",
        )
    return found[0]


def _head(config: dict[str, Any]) -> Head:
    """Return what the model answers, by the class that config.json names."""
    names = config.get("architectures") or ["nothing"]
    head = next((head for end, head in HEADS.items() if str(names[0]).endswith(end)), None)
    if head is None:
        raise ArtifactError(
            f"architectures = {names[0]} is no model that can be proved here",
            "config.json",
            f"give a model whose class ends in {', '.join(HEADS)}",
        )
    return head


@torch.inference_mode()
def _check_answers(
    report: Verification, params: Transformers, model: Path, head: Head, whole: bool
) -> None:
    """The model answers with weights on disk, and the same as with weights in memory."""
    with Offloaded(model, head) as offloaded:
        ids, real = causal.inputs(
            int(offloaded.model.config.vocab_size), params.verify_tokens, params.seed
        )
        found = offloaded.model(input_ids=ids, attention_mask=real.long()).logits[real]
        unread, count = offloaded.unread, len(offloaded.names)
    wrong = int((~torch.isfinite(found)).sum())
    report.add("logits that are no numbers", wrong, 0, found.numel())
    report.add("tensors that no layer reads", len(unread), 0, count, ", ".join(unread[:3]))
    if whole:
        opened = auto_class(head).from_pretrained(
            model, local_files_only=True, use_safetensors=True, dtype=torch.float32,
            **PLAIN.get(str(read_json(model / "config.json").get("model_type")), {}),
        )  # fmt: skip
        wanted = opened.eval()(input_ids=ids, attention_mask=real.long()).logits[real]
        figure = float((found - wanted).abs().max() / wanted.abs().max())
        report.add("logits, weights on disk or in memory", figure, causal.LIMIT_FP32, 4)
