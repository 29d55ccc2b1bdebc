"""Panels of what a corpus measures: Zipf's law, lengths, topics, drift, terms, groups."""

from __future__ import annotations

from collections.abc import Iterator

from stages.report.charts import Bar, Series, bar_chart, line_chart
from stages.report.markup import Child, Markup, element, figure, join, table
from stages.report.panels import facts, more, name, own, panel
from stages.report.sources import Artifact, Node, Sources

FILE = ["statistics.json"]
SHOWN = 6
"""Words shown of either end of a pair of terms."""


def measured(sources: Sources, one: Artifact, statistics: Node) -> list[Markup]:
    """Return the panels that a corpus's statistics have something for."""
    made = (_zipf, _histogram, _topics, _drift, _oddity, _groups)
    found = [make(sources, one, statistics) for make in made]
    return [part for part in [*found, *_pairs(sources, one, statistics)] if part]


def _zipf(sources: Sources, one: Artifact, statistics: Node) -> Markup:
    law = statistics.get("zipf")
    points = law.get("points") if law else None
    if law is None or points is None or len(points) < 2:
        return Markup("")
    lines = [
        Series(label, [(row["rank"], row[key]) for row in points])
        for label, key in (("observed", "count"), ("predicted", "predicted"))
    ]
    warnings = [name(own(row)) for row in law["warnings"]]
    told: list[tuple[str, Child]] = [
        ("exponent of ranks", figure(law["rank_exponent_s"], ".2f")),
        ("exponent of counts", figure(law["count_exponent_alpha"], ".2f")),
        ("distance (KS)", figure(law["ks_distance"], ".3f")),
        ("unlike natural text", join(warnings) if warnings else "nothing"),
    ]
    chart = line_chart(lines, "rank", "count", zero=True)
    return panel(sources, one, "Zipf\u2019s law", chart, facts(told), files=FILE)


def _histogram(sources: Sources, one: Artifact, statistics: Node) -> Markup:
    lengths = statistics.get("length_words")
    bins = lengths.get("histogram") if lengths else None
    if lengths is None or bins is None or len(bins) < 2:
        return Markup("")
    chart = line_chart(
        [Series("documents", [(row["from"], row["documents"]) for row in bins])],
        "words", "documents", zero=True,
    )  # fmt: skip
    splits = statistics.get("length_words_by_split")
    rows: list[list[Child]] = [
        [split, figure(told["median"]), figure(told["mean"], ".1f"), figure(told["max"])]
        for split, told in (splits.items() if splits else ())
    ]
    told = table(["Split", "Median", "Mean", "Longest"], rows) if rows else None
    return panel(sources, one, "Lengths of documents", chart, told, files=FILE)


def _topics(sources: Sources, one: Artifact, statistics: Node) -> Markup:
    topics = statistics.get("topics")
    if topics is None or not len(topics["topics"]):
        return Markup("")
    # A label is the topic's number and its first words; two of them fit beside a bar.
    labels = [", ".join(own(row["label"]).split("_")[1:3]) for row in topics["topics"]]
    bars = [
        Bar(label, row["fraction"]) for label, row in zip(labels, topics["topics"], strict=True)
    ]
    said = element(
        "p", "Clusters of ", figure(topics["sampled_documents"]),
        " documents by their words; ", figure(topics["outliers"]), " are like none of them.",
        _class="say",
    )  # fmt: skip
    rows: list[list[Child]] = [
        [name(own(row["keywords"])), figure(row["documents"])] for row in topics["topics"]
    ]
    words = more("Words of every topic", table(["Words", "Documents"], rows))
    return panel(sources, one, "Topics", said, bar_chart(bars, "%1"), words, files=FILE)


def _drift(sources: Sources, one: Artifact, statistics: Node) -> Markup:
    drift = statistics.get("drift")
    topics = drift.get("topics") if drift else None
    if drift is None or topics is None:
        return Markup("")
    word = "an alert" if topics["alert"].value else "no alert"
    told: list[tuple[str, Child]] = [
        ("against", name(own(drift["against"]))),
        ("topics apart", join([figure(topics["divergence_bits"], ".4f"), " bits: ", word])),
        ("samples of one mixture", join([figure(topics["noise_bits"], ".4f"), " bits"])),
        ("words apart", join([figure(drift["words"]["js_bits"], ".4f"), " bits"])),
    ]
    rows: list[list[Child]] = [
        [
            "none of them" if row["topic"].value < 0 else figure(row["topic"]),
            figure(row["before"], "%1"),
            figure(row["after"], "%1"),
        ]
        for row in topics["shares"]
    ]
    shares = table(["Topic of the other", "There", "Here"], rows)
    return panel(sources, one, "Drift", facts(told), shares, files=FILE)


def _oddity(sources: Sources, one: Artifact, statistics: Node) -> Markup:
    odd = statistics.get("ngram_perplexity")
    quantiles = odd.get("document_quantiles") if odd else None
    if odd is None or quantiles is None:
        return Markup("")
    order = sorted(quantiles.value, key=float)
    bars = [
        Bar(f"{100 * float(key):g}\u202f% of documents", quantiles[key], own=key == "0.5")
        for key in order
    ]
    told: list[tuple[str, Child]] = [("whole sample", figure(odd["perplexity"], ".1f"))]
    balance = statistics.get("label_balance")
    if balance is not None:
        told.append(("evenness of labels", figure(balance["evenness"], ".3f")))
    repeated = statistics.get("duplicates")
    if repeated is not None:
        told.append(("copies left in", figure(repeated["fraction"], "%1")))
    said = element(
        "p", "Perplexity of a document under a Kneser-Ney model of the other half of the sample.",
        _class="say",
    )  # fmt: skip
    return panel(sources, one, "Odd documents", said, bar_chart(bars, ".1f"), facts(told),
                 files=FILE)  # fmt: skip


def _groups(sources: Sources, one: Artifact, statistics: Node) -> Markup:
    """Return which rules drop more of one group than of another."""
    rules = statistics.get("composition")
    if rules is None or not len(rules):
        return Markup("")
    names = [key for key, _ in rules[0]["groups"].items()]
    rows: list[list[Child]] = [
        [
            name(own(row["rule"]).replace("_", " ")),
            figure(row["documents_dropped"]),
            *(figure(row["groups"][key]["dropped_fraction"], "%1") for key in names),
            *(figure(row["groups"][key]["share_out"], "%1") for key in names),
        ]
        for row in rules
        if row["documents_dropped"].value
    ]
    if not rows:
        return Markup("")
    heads = ["Rule", "Dropped", *(f"of {key}" for key in names), *(f"{key} left" for key in names)]
    said = element("p", "What each rule drops of a group, and the group\u2019s share after it.",
                   _class="say")  # fmt: skip
    return panel(
        sources, one, "Groups, rule by rule", said, table(heads, rows), files=FILE, _class="wide"
    )


def _pairs(sources: Sources, one: Artifact, statistics: Node) -> Iterator[Markup]:
    found = statistics.get("associations")
    for pair in found["pairs"] if found is not None else ():
        words = list(pair["words"])
        if not words:
            continue
        ends = words if len(words) <= 2 * SHOWN else [*words[:SHOWN], *words[-SHOWN:]]
        rows: list[list[Child]] = [
            [
                name(own(row["word"])),
                figure(row["bias"], ".3f"),
                figure(row["npmi_first"], ".3f"),
                figure(row["npmi_second"], ".3f"),
                figure(row["together_first"]),
                figure(row["together_second"]),
            ]
            for row in ends
        ]
        first, second = own(pair["first"]), own(pair["second"])
        heads = ["Word", "Bias", f"nPMI {first}", f"nPMI {second}", f"with {first}",
                 f"with {second}"]  # fmt: skip
        said = element(
            "p", "Words that keep company with ", name(first), " (above) or ", name(second),
            " (below) most, among ", figure(pair["words_in_common"]), " that meet both.",
            _class="say",
        )  # fmt: skip
        title = join(["Company of ", name(f"{first} and {second}")])
        yield panel(sources, one, title, said, table(heads, rows), files=FILE, _class="wide")
