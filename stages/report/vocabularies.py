"""What vocabularies cost: each language under one of them, and several of them side by side."""

from __future__ import annotations

from collections.abc import Sequence

from stages.lm.frontier import unbeaten
from stages.report.markup import Child, Markup, element, figure, join, table
from stages.report.panels import caption, grid, name
from stages.report.sources import Artifact, Node, Sources

BITS = ("valid_bits_per_byte", "valid_pseudo_bits_per_byte")
BEST = "\u2713"


def languages(one: Artifact) -> Child:
    """Return the table of languages or sources of a tokenizer, None where it has but one."""
    rows = one.json("report.json").get("languages")
    if rows is None or len(rows) < 2:
        return None
    heads = ["", "tokens/word", "bytes/token", "characters/token", "unknown", "parity"]
    styles = (".2f", ".2f", ".2f", "%2", ".2f")
    fields = (
        "tokens_per_word", "bytes_per_token", "characters_per_token", "unknown_fraction", "parity",
    )  # fmt: skip
    cells: list[list[Child]] = [
        [name(str(row["name"].value)), *map(_cell, map(row.get, fields), styles)] for row in rows
    ]
    say = "What the vocabulary costs each language or source of the held-out text. Parity: its"
    say += " tokens by those of the translation beside it."
    return join([element("p", say, _class="say"), table(heads, cells)])


def _cell(node: Node | None, style: str) -> Child:
    return figure(node, style) if node is not None else ""


def compared(sources: Sources) -> Child:
    """Return a table of the vocabularies learned from one corpus, with models trained on them."""
    groups: dict[tuple[str, str], list[Artifact]] = {}
    for one in sources.of("tokenizer"):
        group = str(one.params["corpus"]), str(one.params.get("objective"))
        groups.setdefault(group, []).append(one)
    return [_compared(sources, found) for _, found in sorted(groups.items()) if len(found) > 1]


def _compared(sources: Sources, found: Sequence[Artifact]) -> Markup:
    """Return the figure of one group; the best are those that no other beats in everything."""
    rows: list[tuple[Artifact, Artifact | None, Node | None]] = []
    for one in found:
        models = [model for model in sources.of("pretrain") if model.params["tokenizer"] == one.key]
        rows += [(one, model, _bits(model)) for model in models] or [(one, None, None)]
    learned = all(bits is not None for _, _, bits in rows)
    costs = []
    for one, _, bits in rows:
        report = one.json("report.json")
        cost = [report["vocabulary_tokens"].value, -report["bytes_per_token"].value]
        costs.append([*cost, bits.value] if learned and bits is not None else cost)
    cells: list[list[Child]] = []
    for (one, model, bits), best in zip(rows, unbeaten(costs), strict=True):
        report = one.json("report.json")
        cells.append(
            [
                name(f"{one.key} ({one.params.get('algorithm', 'bpe')})"),
                name(model.key) if model else "",
                figure(report["vocabulary_tokens"]),
                figure(report["bytes_per_token"], ".2f"),
                figure(report["tokens_per_word"], ".2f"),
                figure(model.json("training.json")["parameters"]) if model else "",
                figure(bits, ".3f") if bits is not None else "",
                BEST if best else "",
            ]
        )
    heads = [
        "vocabulary", "model", "tokens", "bytes/token", "tokens/word", "parameters", "bits/byte",
        "best",
    ]  # fmt: skip
    drawn = [(one, ["report.json"]) for one in found]
    drawn += [(model, ["training.json"]) for _, model, _ in rows if model]
    say = "Marked are those that no other beats in size, compression and loss at once."
    return element(
        "figure",
        element("h3", element("span", "Vocabularies of ", name(str(found[0].params["corpus"])))),
        element("p", say, _class="say"),
        table(heads, cells, left=2),
        caption(drawn),
    )


def _bits(model: Artifact) -> Node | None:
    scores = model.json("training.json")["scores"]
    return next((node for name in BITS if (node := scores.get(name)) is not None), None)


def side_by_side(sources: Sources) -> list[Child]:
    """Return the panels that stand under the tokenizers' own."""
    found = compared(sources)
    return [grid(*found)] if found else []
