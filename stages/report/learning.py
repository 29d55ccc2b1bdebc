"""Panels of tokenizers, packed tokens and trained models."""

from __future__ import annotations

from stages.report import vocabularies
from stages.report.charts import Bar, Series, bar_chart, line_chart
from stages.report.markup import Child, Markup, element, figure, join, table
from stages.report.panels import facts, grid, name, panel, section
from stages.report.sources import Artifact, Node, Sources

PACKING = (
    ("text tokens", "text_tokens", ""),
    ("rows", "rows", ""),
    ("padding", "padding", ""),
    ("lost tokens", "lost_tokens", ""),
    ("row space wasted", "waste_fraction", "%2"),
)
PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
"""Bytes that byte-level BPE writes as themselves; the others become letters from U+0100 on."""
BYTES = {chr(byte): byte for byte in PRINTABLE} | {
    chr(0x100 + place): byte
    for place, byte in enumerate(byte for byte in range(0x100) if byte not in PRINTABLE)
}


def learning(sources: Sources) -> Markup:
    """Return the sections of tokenizers and of training."""
    tokenizers = [_tokenizer(sources, one) for one in sources.of("tokenizer")]
    packed = [_packing(sources, one) for one in sources.of("encode")]
    trained = [_pretrained(sources, one) for one in sources.of("pretrain")]
    tuned = [_finetuned(sources, one) for one in sources.of("finetune")]
    return join(
        [
            section(
                "tokenizers",
                "Tokenizers and tokens",
                "How many tokens a word costs, and what packing them into rows loses.",
                [grid(*tokenizers, *packed), *vocabularies.side_by_side(sources)]
                if tokenizers or packed
                else [],
            ),
            section(
                "training",
                "Training",
                "Loss and accuracy on held-out text while the models learned.",
                [grid(*trained, *tuned)] if trained or tuned else [],
            ),
        ]
    )


def _tokenizer(sources: Sources, one: Artifact) -> Markup:
    report = one.json("report.json")
    pairs: list[tuple[str, Child]] = [
        ("tokens per word", figure(report["tokens_per_word"], ".2f")),
        ("bytes per token", figure(report["bytes_per_token"], ".2f")),
        ("vocabulary", join([figure(report["vocabulary_tokens"]), " tokens"])),
        ("of it used", figure(report["vocabulary_used_fraction"], "%1")),
        ("words kept whole", figure(report["kept_whole_fraction"], "%1")),
        ("unknown tokens", figure(report["unknown_fraction"], "%1")),
        ("round trip, texts changed", figure(report["round_trip"]["changed"])),
    ]
    kinds = report.get("tokens_by_kind")
    if kinds is not None:
        pairs.append(("tokens that no text becomes", figure(kinds["unreachable"])))
    bars = [Bar(f"as {row['name'].value}", row["length_ratio"]) for row in report["references"]]
    text = element(
        "p", "Length of a held-out text beside the same text cut otherwise.", _class="say"
    )
    return panel(
        sources,
        one,
        join(["Tokenizer ", name(one.key)]),
        facts(pairs),
        join([text, bar_chart(bars, "%0")]) if bars else None,
        vocabularies.languages(one),
        files=["report.json"],
        anchor=True,
    )


def _packing(sources: Sources, one: Artifact) -> Markup:
    tokens = one.json("tokens.json")
    splits = [key for key in ("train", "valid", "test") if tokens["splits"].get(key)]
    rows: list[list[Child]] = [
        [label, *[figure(tokens["splits"][key][field], style) for key in splits]]
        for label, field, style in PACKING
    ]
    told = facts([("row length", join([figure(tokens["sequence_length"]), " tokens"]))])
    return panel(
        sources,
        one,
        join(["Packed tokens ", name(one.key)]),
        table(["", *splits], rows),
        told,
        files=["tokens.json"],
        anchor=True,
    )


def _pretrained(sources: Sources, one: Artifact) -> Markup:
    training = one.json("training.json")
    points = [(row["step"], row["valid_loss_nats"]) for row in training["curve"]]
    chart: Child = None
    if points:
        chart = line_chart([Series("held-out loss", points)], "step", "held-out loss, nats")
    scores, checks = training["scores"], training["checks"]
    pairs: list[tuple[str, Child]] = [
        ("parameters", figure(training["parameters"])),
        ("tokens seen", figure(training["tokens"])),
        ("passes over the text", figure(training["epochs"], ".2f")),
        *[(key.replace("_", " "), figure(node, ".4g")) for key, node in scores.items()],
        *[(key.replace("_", " "), figure(node, ".4g")) for key, node in checks.items()],
    ]
    probes = one.find("probes.json")
    files = ["training.json", *(["probes.json"] if probes else [])]
    return panel(
        sources,
        one,
        join(["Pretraining ", name(one.key)]),
        chart,
        facts(pairs),
        _probes(probes) if probes else None,
        files=files,
        anchor=True,
    )


def _probes(probes: Node) -> Markup:
    rows = []
    for probe in probes:
        guesses = [
            element("span", element("b", _guess(row), _class="name"), figure(row["score"], "%1"))
            for row in probe["guesses"]
        ]
        rows.append(
            element(
                "li",
                element("q", str(probe["text"].value), _class="name"),
                element("div", guesses, _class="guesses"),
            )
        )
    return element("ul", rows, _class="probes")


def _guess(row: Node) -> str:
    """Return a token as text: byte-level tokens hold bytes in the guise of letters."""
    token = str(row["token"].value)
    try:
        text = bytes(BYTES[letter] for letter in token).decode("utf-8")
    except (KeyError, UnicodeDecodeError):
        text = token.replace("\u2581", " ")
    return text.strip() or "\u2423"


def _finetuned(sources: Sources, one: Artifact) -> Markup:
    training = one.json("training.json")
    if training.get("warm_start") is not None:
        return _writing(sources, one, training)
    selection = training["selection"]
    points = [(row["step"], row["value"]) for row in selection["curve"]]
    chart: Child = None
    if len(points) > 1:
        chart = line_chart([Series("validation", points)], "step", "accuracy on validation")
    pairs: list[tuple[str, Child]] = [
        ("weights at first", name(str(training["initial"].value))),
        ("best on validation", figure(selection["value"], "%2")),
        ("at step", figure(selection["step"])),
        ("training sentences", figure(training["train_sentences"])),
        ("training words", figure(training["train_words"])),
        ("first loss", join([figure(training["checks"]["initial_loss_nats"], ".3f"), " nats"])),
    ]
    return panel(
        sources,
        one,
        join(["Fine-tuning ", name(one.key)]),
        chart,
        facts(pairs),
        files=["training.json"],
        anchor=True,
    )


def _writing(sources: Sources, one: Artifact, training: Node) -> Markup:
    """Return the panel of a translator or summariser that was put together of pretrained parts."""
    selection = training["selection"]
    metric = str(selection["metric"].value)
    label = metric.removeprefix("valid_").removesuffix("_points")
    points = [(row["step"], row["value"]) for row in selection["curve"]]
    chart: Child = None
    if len(points) > 1:
        chart = line_chart([Series("validation", points)], "step", f"{label} on validation")
    pairs: list[tuple[str, Child]] = [
        ("weights at first", name(str(training["warm_start"].value))),
        (f"best {label} on validation", figure(selection["value"], ".2f")),
        ("at step", figure(selection["step"])),
        ("training pairs", figure(training["train_pairs"])),
        ("parameters", figure(training["parameters"])),
        ("tensors copied", figure(training["checks"]["tensors_copied"])),
        ("tensors new", figure(training["checks"]["tensors_new"])),
        ("first loss", join([figure(training["checks"]["initial_loss_nats"], ".3f"), " nats"])),
    ]
    fields = ("mean_tokens", "p95_tokens", "max_tokens", "limit_tokens")
    rows: list[list[Child]] = [
        [
            name(str(row["side"].value)),
            *[figure(row[field], ".4g") for field in fields],
            figure(row["cut_share"], "%1"),
        ]
        for row in training["lengths"]
    ]
    return panel(
        sources,
        one,
        join(["Fine-tuning ", name(one.key)]),
        chart,
        facts(pairs),
        table(["Tokens", "mean", "95 %", "longest", "limit", "cut"], rows),
        files=["training.json"],
        anchor=True,
    )
