"""The generated sections of a card: material, procedure, proofs, scores, each with its source."""

from __future__ import annotations

from stages.core import canonical
from stages.report.identity import Model, own
from stages.report.markdown import between, block, code, number, paragraphs, plain, source, table
from stages.report.scores import style_of, title_of
from stages.report.sources import Artifact, Node

TRAINING = (
    ("parameters", "parameters", ""),
    ("steps", "steps", ""),
    ("tokens", "tokens seen", ""),
    ("epochs", "passes over the text", ".2f"),
    ("train_sentences", "training sentences", ""),
    ("train_words", "training words", ""),
)
"""Members of training.json that a card shows, what they are called and how they are written."""

UNITS = {"nats": " (nats)", "bits/byte": " (bits/byte)", "points": " (of 100 points)"}
"""Units that do not show in the number."""


def details(model: Model) -> str:
    """Return what the model is, as its own files tell."""
    config, told = model.configuration, model.told
    kind = config.get("model_type")
    rows = [_word("model type", kind)] if kind is not None else []
    architectures = config.get("architectures")
    if architectures is not None:
        rows.append(_word("architecture", architectures[0]))
    for field, label, style in TRAINING[:1]:
        found = told.get(field)
        rows += [[label, number(found, style), source(found)]] if found is not None else []
    if model.artifact.section == "export":
        rows += _exported(told)
    return table(["What", "Value", "From"], rows)


def _exported(told: Node) -> list[list[str]]:
    size, plain_size = told["size_bytes"], told.get("fp32_size_bytes")
    rows = [
        _word("format", told["format"]),
        _word("weights", told["quantize"]["kind"]),
        ["size", number(size, "bytes"), source(size)],
    ]
    opset = told.get("opset")
    if opset is not None:
        rows.append(["ONNX operator set", number(opset), source(opset)])
    if plain_size is not None:
        rows.append(["graph with float weights", number(plain_size, "bytes"), source(plain_size)])
    return rows


def _word(label: str, node: Node) -> list[str]:
    return [label, plain(str(node.value)), source(node)]


def material(model: Model) -> str:
    """Return the raw material with its licences and the corpora with their sizes."""
    raw = []
    for one in model.material:
        manifest = one.json("manifest.json")
        licence = manifest.get("licence")
        reason = manifest.get("licence_reason")
        stated = licence if licence is not None else reason
        origin = manifest.get("origin")
        raw.append(
            [
                code(one.place),
                plain(str(stated.value)) if stated is not None else "not stated",
                plain(str(origin.value)) if origin is not None else "",
                "yes" if manifest.value.get("synthetic") else "no",
                source(manifest),
            ]
        )
    sizes = [
        [
            code(one.place),
            name,
            number(split["documents"]),
            number(split["characters"]),
            source(split),
        ]
        for one in model.corpora
        for name, split in one.json("corpus.json")["splits"].items()
    ]
    return paragraphs(
        table(["Raw material", "Licence", "Origin", "Synthetic", "From"], raw),
        table(["Corpus", "Split", "Documents", "Characters", "From"], sizes),
    )


def procedure(model: Model) -> str:
    """Return parameters and outcome of the entry that made the model."""
    one = model.artifact
    rows = []
    if one.section in ("pretrain", "finetune"):
        rows = _learned(model.told)
    address = code(f"{one.section}.{one.key}")
    return paragraphs(
        table(["What", "Value", "From"], rows),
        f"Parameters, from `params.yaml`, {address}:",
        block(canonical.dumps(dict(one.params)), "json"),
    )


def _learned(told: Node) -> list[list[str]]:
    rows = []
    for field, label, style in TRAINING[1:]:
        found = told.get(field)
        rows += [[label, number(found, style), source(found)]] if found is not None else []
    for group in ("scores", "checks"):
        for name, node in (told.get(group) or Node({}, "")).items():
            rows.append([plain(name.replace("_", " ")), number(node, ".4g"), source(node)])
    selection = told.get("selection")
    if selection is not None:
        label = plain(str(selection["metric"].value).replace("_", " "))
        rows.append(
            [f"best {label}", number(selection["value"], ".4f"), source(selection["value"])]
        )
        rows.append(["at step", number(selection["step"]), source(selection["step"])])
    return rows


def evaluation(one: Artifact) -> str:
    """Return the scores of one evaluation, its baselines, differences and labels."""
    told = one.json("scores.json")
    notes = [f"{plain(str(note.value))} ({source(note)})" for note in told.get("notes") or []]
    others = [row for row in told["scores"] if row.get("baseline")]
    heads = ["Score", "Value", "Interval", "n", "Signature", "From"]
    split = plain(str(one.params.get("split", "test")))
    return paragraphs(
        f"### {plain(one.key)}",
        f"On the {split} split of {code('data/corpora/' + str(told['data'].value))}; made again by "
        f"{code('dvc repro ' + one.address)}. {_resamples(told['scores'])}",
        *notes,
        table(heads, [_scored(row) for row in own(one)]),
        _under("Baselines and rivals, on the same data:", heads, [_scored(row) for row in others]),
        _under(
            "Paired differences, resampled together:",
            ["Score", "Difference of", "Value", "Interval", "n", "From"],
            [_compared(row) for row in told["comparisons"]],
        ),
        _under(
            "Translations that are what the original software recorded, word for word:",
            ["Decoding", "Sentences", "Repeated word for word", "From"],
            [_recorded(row) for row in told.get("recorded") or []],
        ),
        _under(
            "By gold label:",
            ["Label", "Words", "Precision", "Recall", "F1", "From"],
            [_labelled(row) for row in told.get("labels") or []],
        ),
    )


def _resamples(rows: Node) -> str:
    confidence = rows[0].get("confidence") if len(rows) else None
    if confidence is None:
        return ""
    return (
        f"Intervals hold {number(confidence, '%0')} of bootstrap resamples ({source(confidence)})."
    )


def _under(lead: str, heads: list[str], rows: list[list[str]]) -> str:
    return paragraphs(lead, table(heads, rows)) if rows else ""


def _scored(row: Node) -> list[str]:
    style = style_of(str(row["unit"].value))
    title = title_of(str(row["name"].value)) + UNITS.get(str(row["unit"].value), "")
    rival, interval = row.get("baseline"), row.get("interval")
    return [
        plain(f"{title}: {rival.value}" if rival is not None else title),
        number(row["value"], style),
        between(interval, style) if interval is not None else "",
        number(row["n"]),
        code(str(row["signature"].value)),
        source(row),
    ]


def _compared(row: Node) -> list[str]:
    style = "+" + style_of(str(row["unit"].value))
    return [
        plain(title_of(str(row["name"].value)) + UNITS.get(str(row["unit"].value), "")),
        f"{code(str(row['a'].value))} \u2212 {code(str(row['b'].value))}",
        number(row["difference"], style),
        between(row["interval"], style),
        number(row["n"]),
        source(row),
    ]


def _recorded(row: Node) -> list[str]:
    label = code(str(row["decoding"].value))
    return [label, number(row["sentences"]), number(row["equal"]), source(row)]


def _labelled(row: Node) -> list[str]:
    parts = [row.get(field) for field in ("precision", "recall", "f1")]
    return [
        code(str(row["label"].value)),
        number(row["words"]),
        *[number(part, "%1") if part is not None else "" for part in parts],
        source(row),
    ]
