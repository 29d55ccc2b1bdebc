"""Which kind of release some files look like: a wrong `kind` is answered with the right one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from stages.core.errors import DevenoError, ParamsError
from stages.port import pickles

BY_NAME = {
    "bert_config.json": "bert",
    "hparams.json": "gpt2",
    "model_optim_rng.pt": "megatron-gpt2",
    "model_rng.pt": "megatron-gpt2",
    "params.json": "llama",
    "dict.txt": "roberta",
}
"""Files that only one kind has."""
BY_TENSOR = {
    "bert/embeddings/": "bert",
    "model/wte": "gpt2",
    "language_model": "megatron-gpt2",
    "encoder.sentence_encoder.": "roberta",
    "decoder.sentence_encoder.": "roberta",
    "blocks.0.att.time_decay": "rwkv",
    "word_embeddings_layernorm.": "bloom",
    "transformer.word_embeddings_layernorm.": "bloom",
    "encoder.embed_tokens.": "fairseq",
    "layers.0.attention.wq.": "llama",
}
"""Beginnings of tensors' names that only one kind has."""


def check_files(wanted: str, files: Mapping[str, Path]) -> None:
    """Raise ParamsError when the files are those of another kind."""
    bare = [Path(name).name for name in files]
    found = {BY_NAME[name] for name in bare if name in BY_NAME}
    if any(name.startswith("layer_") and "-model_" in name for name in bare):
        found.add("bloom")
    if any(name.startswith("dict.") and name.count(".") == 2 for name in bare):
        found.add("fairseq")
    if found and wanted not in found:
        refuse(wanted, sorted(found)[0], "files")
    if not found:
        lone = next((path for path in files.values() if path.suffix in (".pth", ".pt")), None)
        check_tensors(wanted, _names(lone) if lone else [])


def _names(path: Path) -> list[str]:
    """Return the names at the top of a PyTorch file, none if it is damaged (told later)."""
    try:
        tree = pickles.read(path)
    except DevenoError:
        return []
    return [str(name) for name in tree] if isinstance(tree, dict) else []


def check_tensors(wanted: str, names: Iterable[str]) -> None:
    """Raise ParamsError when the tensors are named as those of another kind."""
    found = {kind for name in names for begin, kind in BY_TENSOR.items() if name.startswith(begin)}
    if found and wanted not in found:
        refuse(wanted, sorted(found)[0], "tensors")


def refuse(wanted: str, found: str, what: str) -> None:
    """Raise the error that names the right kind."""
    raise ParamsError(
        f"source.kind is {wanted}, and these {what} are those of a {found} checkpoint",
        "params.yaml: port.<entry>.source.kind",
        f"set kind: {found}, or give the files of a {wanted} checkpoint",
    )
