"""Panels of raw material and refined corpora: licences, ledger, statistics."""

from __future__ import annotations

from stages.report.charts import Bar, bar_chart
from stages.report.filtering import filtering
from stages.report.languages import identifiers, spoken
from stages.report.markup import Child, Markup, derived, element, figure, join, ratio, table
from stages.report.measured import measured
from stages.report.panels import badge, caption, facts, grid, more, name, panel, section
from stages.report.permissions import permitted
from stages.report.sources import Artifact, Node, Sources
from stages.report.stage import ReportParams


def corpora(params: ReportParams, sources: Sources) -> Markup:
    """Return the sections of raw material and of corpora."""
    raw = section(
        "material",
        "Raw material",
        "What came in, as it came, with the terms under which it may be used.",
        [_material(sources)],
    )
    refined = section(
        "corpora",
        "Corpora",
        "Every document that entered is accounted for: kept, changed or dropped by a named rule.",
        [_corpus(params, sources, one) for one in sources.of("refine")],
    )
    return join([raw, identifiers(sources), refined])


def _material(sources: Sources) -> Markup:
    rows: list[list[Child]] = []
    for one in sources.of("acquire"):
        manifest = one.json("manifest.json")
        files = manifest["files"]
        sizes = [row["size_bytes"] for row in files]
        total = derived(sum(size.value for size in sizes), "bytes", "sum", *sizes)
        licence = manifest.get("licence") or manifest.get("licence_reason")
        origin = manifest.get("origin")
        rows.append(
            [
                element("span", name(one.key), id=f"acquire-{one.key}"),
                name(str(manifest["source"]["kind"].value)),
                name(str(licence.value)) if licence else "not stated",
                element(
                    "span",
                    name(str(origin.value)) if origin else "",
                    " ",
                    badge() if sources.synthetic(one) else "",
                ),
                derived(len(files), "", "count", files),
                total,
            ]
        )
    if not rows:
        return Markup("")
    files_note = caption([(one, ["manifest.json"]) for one in sources.of("acquire")])
    heads = ["Entry", "Source", "Licence", "Origin", "Files", "Stored"]
    return element(
        "figure", table(heads, rows, left=4, _class="stack"), files_note, _class="panel wide"
    )


def _corpus(params: ReportParams, sources: Sources, one: Artifact) -> Markup:
    corpus, ledger = one.json("corpus.json"), one.json("ledger.json")
    statistics = one.find("statistics.json")
    parts = [
        _ledger(sources, one, corpus, ledger["rules"]),
        *filtering(sources, one, ledger["rules"]),
        _sizes(sources, one, corpus),
        permitted(sources, one),
        _lengths(sources, one, statistics) if statistics else "",
        _labels(sources, one, statistics) if statistics else "",
        spoken(sources, one, statistics) if statistics else "",
        _words(params, sources, one, statistics) if statistics else "",
        *(measured(sources, one, statistics) if statistics else ()),
    ]
    return element(
        "div",
        element("h3", name(one.key), element("small", str(corpus["kind"].value)), _class="entry"),
        grid(*[part for part in parts if part]),
        id=f"refine-{one.key}",
        _class="group",
    )


def _ledger(sources: Sources, one: Artifact, corpus: Node, rules: Node) -> Markup:
    """Return the rules that dropped or changed something, and on demand all of them."""
    every = [_rule(row, rules) for row in rules]
    telling = [
        shown
        for shown, row in zip(every, rules, strict=True)
        if row["documents_in"].value != row["documents_out"].value
        or _changed(row)
        or row["characters_in"].value != row["characters_out"].value
    ]
    heads = ["Rule", "Entered", "Dropped", "Changed", "Text kept"]
    whole = more("All rules in order", table(heads, every))
    first, last = rules[0], rules[len(rules) - 1]
    kept = element(
        "p",
        figure(last["documents_out"]),
        " of ",
        figure(first["documents_in"]),
        " documents kept (",
        ratio(last["documents_out"], first["documents_in"], "%1"),
        "), ",
        figure(last["tokens_out"]),
        " words.",
        _class="say",
    )
    return panel(
        sources, one, "Ledger", kept, table(heads, telling) if telling else None, whole,
        files=["ledger.json"], _class="wide",
    )  # fmt: skip


def _changed(row: Node) -> int:
    changed = row.get("documents_changed")
    return int(changed.value) if changed else 0


def _rule(row: Node, rules: Node) -> list[Child]:
    entered, left = row["documents_in"], row["documents_out"]
    lost = entered.value - left.value
    share = lost / max(1, rules[0]["documents_in"].value)
    bar = element("i", _class="spark", style=f"--w:{100 * share:.2f}%")
    changed = row.get("documents_changed")
    kept: Child = "\u2013"
    if row["characters_in"].value:
        kept = ratio(row["characters_out"], row["characters_in"], "%1")
    return [
        name(str(row["rule"].value).replace("_", " ")),
        figure(entered),
        join([bar, derived(lost, "", "difference", entered, left)]) if lost else "\u2013",
        figure(changed) if changed is not None and changed.value else "\u2013",
        kept,
    ]


def _sizes(sources: Sources, one: Artifact, corpus: Node) -> Markup:
    order = {"train": 0, "valid": 1, "test": 2}
    splits = sorted(corpus["splits"].items(), key=lambda item: order.get(item[0], 3))
    rows = [
        [
            key,
            figure(split["documents"]),
            figure(split["characters"]),
            figure(split["bytes"], "bytes"),
        ]
        for key, split in splits
    ]
    licences = [str(node.value) for node in corpus["licences"]]
    told = facts(
        [
            ("languages", name(", ".join(str(node.value) for node in corpus["languages"]))),
            ("licences", name(", ".join(licences)) if licences else "not stated"),
        ]
    )
    return panel(
        sources, one, "Splits", table(["Split", "Documents", "Characters", "Size"], rows), told,
        files=["corpus.json"],
    )  # fmt: skip


def _lengths(sources: Sources, one: Artifact, statistics: Node) -> Markup:
    lengths = statistics.get("length_words")
    quantiles = lengths.get("quantiles") if lengths else None
    if lengths is None or quantiles is None:
        return Markup("")
    order = sorted(quantiles.value, key=float)
    bars = [Bar(f"{_share(key)} of documents", quantiles[key], own=key == "0.5") for key in order]
    zipf = statistics.get("zipf")
    pairs: list[tuple[str, Child]] = [
        ("mean length", join([figure(lengths["mean"], ".1f"), " words"])),
        ("vocabulary", join([figure(statistics["vocabulary_size"]), " words"])),
        ("seen once", figure(statistics["words_seen_once"])),
        ("duplicates dropped", figure(statistics["duplicates_dropped"])),
    ]
    if zipf is not None and zipf.value:
        pairs += [
            ("Zipf exponent of ranks", figure(zipf["rank_exponent_s"], ".2f")),
            ("exponent of counts", figure(zipf["count_exponent_alpha"], ".2f")),
        ]
    text = element("p", "Length in words below which this share of documents lies.", _class="say")
    return panel(
        sources, one, "Lengths and words", text, bar_chart(bars, ""), facts(pairs),
        files=["statistics.json"],
    )  # fmt: skip


def _share(key: str) -> str:
    return f"{100 * float(key):g}\u202f%"


def _labels(sources: Sources, one: Artifact, statistics: Node) -> Markup:
    labels = statistics.get("labels")
    if labels is None:
        return Markup("")
    order = sorted(labels.items(), key=lambda item: (-item[1]["count"].value, item[0]))
    bars = [Bar(label, node["fraction"]) for label, node in order]
    return panel(sources, one, "Labels", bar_chart(bars, "%1"), files=["statistics.json"])


def _words(params: ReportParams, sources: Sources, one: Artifact, statistics: Node) -> Markup:
    top = list(statistics["top_words"])[: params.words]
    if not top:
        return Markup("")
    most = top[0]["count"].value
    words = [
        element(
            "span",
            element("b", str(row["word"].value), _class="name"),
            figure(row["count"]),
            style=f"--w:{100 * row['count'].value / most:.1f}%",
        )
        for row in top
    ]
    return panel(
        sources, one, "Most frequent words", element("div", words, _class="words"),
        files=["statistics.json"],
    )  # fmt: skip
