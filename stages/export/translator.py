"""A ported translator in a format for CPUs: written, opened again, proved to translate the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stages.core import canonical
from stages.core.errors import ParamsError
from stages.core.log import Log
from stages.export.configuration import configuration
from stages.export.stage import DynamicInt8, ExportParams, LexicalShortlist
from stages.export.translations import Material, prove
from stages.lm import blueprint, ensembles
from stages.lm.blueprint import Blueprint
from stages.lm.pipelines import BPE_FILES, PIECE_FILES, load_pipeline
from stages.lm.translator import EXPORTED, EXTRA_TOKENS

COPIED = (
    *BPE_FILES,
    *PIECE_FILES,
    "config.json",
    "tokenizer_config.json",
    "generation_config.json",
)


def export_translator(
    params: ExportParams, model: Path, corpus: Path, exported: Path, log: Log
) -> dict[str, Any]:
    """Fill `exported` and return the facts of export.json."""
    from stages.lm.device import prepare

    prepare(params.threads)
    config = _configuration(params, model)
    exported.mkdir(parents=True)
    for name in COPIED:
        if (model / name).is_file():
            shutil.copyfile(model / name, exported / name)
    _keep_decoding(model, exported)
    mark = _mark(params, config, model)
    write: Callable[..., dict[str, Any]] = {
        "onnx-translator": _write_onnx,
        "ctranslate2": _write_ctranslate,
        "runner": _write_runner,
    }[params.format]
    source = _blueprint(model, model)
    facts = write(params, source, model, exported)
    canonical.write_json(exported / EXPORTED, {**mark, **facts.pop("mark", {})})
    material = Material.read(params, corpus, config, len(source.tokens["encoder"]))
    if isinstance(params.shortlist, LexicalShortlist):
        facts["shortlist"] = _learn(params.shortlist, material, exported, log)
    proof = prove(params, model, exported, material, log)
    size = sum(path.stat().st_size for path in exported.rglob("*") if path.is_file())
    log.metric("size_bytes", size)
    return {
        "format": params.format,
        "task": "translation",
        "quantize": params.quantize.model_dump(mode="json"),
        "source": params.model,
        "size_bytes": size,
        "parity": proof,
        **facts,
    }


def _configuration(params: ExportParams, model: Path) -> dict[str, Any]:
    config = configuration(model)
    if config.get("model_type") not in blueprint.FAMILIES:
        raise ParamsError(
            f"a model of type {config.get('model_type')!r} cannot be exported as {params.format}",
            str(model),
            "point `model` at a ported translator of type "
            f"{', '.join(blueprint.FAMILIES)}, or use format: onnx",
        )
    members = len(ensembles.folders(model))
    if members > 1 and params.format != "runner":
        raise ParamsError(
            f"an ensemble of {members} models cannot be exported: {params.format} holds one",
            str(model),
            "use format: runner, or point `model` at the port of one checkpoint "
            "(`combine: single`, `best` or `average`)",
        )
    if isinstance(params.shortlist, LexicalShortlist) and params.format != "runner":
        raise ParamsError(
            f"format {params.format} has no shortlist", "export: shortlist", "use format: runner"
        )
    if isinstance(params.shortlist, LexicalShortlist) and params.corpus == "none":
        raise ParamsError(
            "a lexical shortlist learns from a corpus", "export: corpus",
            "name a parallel corpus, such as corpora/pairs",
        )  # fmt: skip
    return config


def _keep_decoding(model: Path, exported: Path) -> None:
    """Take the model's own way of decoding along where an exported translator has it too."""
    from stages.lm.decoding import settings

    said = settings.stored(model)
    beam = isinstance(said, settings.Beam) and said.search == "fairseq"
    if said is not None and (beam or isinstance(said, settings.Greedy)):
        settings.store(exported, said)


def _mark(params: ExportParams, config: Mapping[str, Any], model: Path) -> dict[str, Any]:
    """Return what opening the folder needs to know."""
    path = model / "generation_config.json"
    positions = min(
        configuration(place)["max_position_embeddings"] for place in ensembles.folders(model)
    )
    longest = positions - 1  # `</s>` takes the last position
    if path.is_file():
        generation = json.loads(path.read_text(encoding="utf-8"))
        longest = min(longest, generation.get("max_length", longest) - EXTRA_TOKENS)
    pipeline = load_pipeline(model)
    return {
        "format": params.format,
        "specials": {
            "pad": config["pad_token_id"],
            "eos": config["eos_token_id"],
            "unk": pipeline.source["<unk>"],
            "start": config["decoder_start_token_id"],
        },
        "max_source_tokens": positions,
        "max_target_tokens": longest,
    }


def _blueprint(member: Path, model: Path) -> Blueprint:
    """Return what a member of the model computes, without words that only fill its tables up."""
    pipeline = load_pipeline(model)
    return blueprint.read(member, (max(pipeline.source.values()) + 1, max(pipeline.target) + 1))


def _write_onnx(
    params: ExportParams, source: Blueprint, model: Path, exported: Path
) -> dict[str, Any]:
    from stages.export import graph, quantization, translator_graph

    del model
    opset = translator_graph.opset_of(source, params.opset)
    facts: dict[str, Any] = {"opset": opset}
    for name, build in (
        ("encoder", translator_graph.encoder),
        ("decoder", translator_graph.decoder),
    ):
        made = build(source, opset)
        if isinstance(params.quantize, DynamicInt8):
            made = quantization.quantized(made, params.quantize, graph.anonymous)
        graph.save(made, exported / f"{name}.onnx")
        facts[name] = quantization.coverage(made)
    return facts


def _write_ctranslate(
    params: ExportParams, source: Blueprint, model: Path, exported: Path
) -> dict[str, Any]:
    from stages.export import ctranslate

    small = isinstance(params.quantize, DynamicInt8)
    kind = "int8" if small else "float32"
    ctranslate.write(source, model, exported, "int8" if small else None)
    return {"mark": {"compute_type": kind}}


def _write_runner(
    params: ExportParams, source: Blueprint, model: Path, exported: Path
) -> dict[str, Any]:
    from stages.lm.runner import layouts, storage

    small = isinstance(params.quantize, DynamicInt8)
    tables = isinstance(params.quantize, DynamicInt8) and params.quantize.embeddings
    places = ensembles.folders(model)
    for number, place in enumerate(places, start=1):
        target = exported / ensembles.member_place(number)
        target.mkdir(parents=True, exist_ok=True)
        found = layouts.layout(source if number == 1 else _blueprint(place, model))
        storage.write(target, found, quantize=small, tables=tables, members=len(places))
    return {"members": len(places)} if len(places) > 1 else {}


def _learn(
    settings: LexicalShortlist, material: Material, exported: Path, log: Log
) -> dict[str, Any]:
    """Learn a shortlist from what the written model says, and write it beside."""
    from stages.lm.exported import open_translator
    from stages.lm.generate import Search
    from stages.lm.runner import shortlist, storage

    translator = open_translator(exported)
    limit = translator.facts["max_source_tokens"]
    encoded = [
        translator.pipeline.encode(text)
        for text in material.train(settings.sentences)
        if text.strip()
    ]
    sources = [ids for ids in encoded if len(ids) <= limit]
    longest = translator.facts["max_target_tokens"]
    # Greedy translations are not always among a beam's best.
    pairs = [
        (source, one.tokens)
        for beams in (1, 5)
        for source, found in zip(
            sources,
            translator.hypotheses(sources, Search(num_beams=beams, max_tokens=longest)),
            strict=True,
        )
        for one in found
    ]
    special = translator.specials
    pipeline = translator.pipeline
    sizes = (max(pipeline.source.values()) + 1, max(pipeline.target) + 1)
    found = shortlist.learn(
        [source for source, _ in pairs],
        [said for _, said in pairs],
        sizes,
        settings.each,
        settings.common,
        [special.eos, special.unk],
        settings.rare,
    )
    canonical.write_bytes(exported / storage.WORDS, found.save())
    log.metric("shortlist_sentences", len(sources))
    return {
        "sentences": len(sources),
        "pairs": len(found.words),
        "common": len(found.common),
        "settings": settings.model_dump(mode="json"),
    }
