"""Panels of labelling rounds: what was asked and answered, and what it brought on the test set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from stages.report.charts import Series, line_chart
from stages.report.markup import Child, Markup, element, figure, join, table
from stages.report.panels import grid, name, panel, section
from stages.report.sources import Artifact, Node, Sources

CURVES = (("accuracy", "accuracy on the test set"), ("macro_f1", "macro-F1 on the test set"))
"""Scores that are drawn over rounds, and what the axis says."""
LINES = 5
"""Chains that a chart draws at most: the style sheet has as many colours."""


def rounds(sources: Sources) -> Markup:
    """Return the section of labelling rounds."""
    chains = list(_chains(sources))
    panels = [_history(sources, chain) for chain in chains]
    return section(
        "rounds",
        "Labelling rounds",
        "Every round is scored on one and the same test set, which nobody was asked about.",
        [_curves(sources, chains), grid(*panels)] if chains else [],
    )


def _chains(sources: Sources) -> Iterator[list[Artifact]]:
    """Yield every last round with all rounds before it, the first one first."""
    every = sources.of("label")
    named = {str(one.params.get("before")).removeprefix("corpora/") for one in every}
    for last in every:
        if last.key in named:
            continue
        chain, at = [last], last
        while (before := str(at.params.get("before", "none"))) != "none":
            found = sources.get("label", before.removeprefix("corpora/"))
            if found is None:
                break
            chain.append(found)
            at = found
        yield chain[::-1]


def _curves(sources: Sources, chains: Sequence[Sequence[Artifact]]) -> Markup:
    """Return a chart for each score that two rounds or more of some chain have."""
    charts = []
    for score, axis in CURVES:
        series = []
        for chain in chains[:LINES]:
            points = []
            for one in chain:
                value = _score(sources, one, score)
                if value is not None:
                    points.append((_told(one)["labelled"], value))
            if len(points) > 1:
                series.append(Series(chain[-1].key, points))
        if series:
            last = chains[0][-1]
            charts.append(
                panel(
                    sources,
                    last,
                    join(["Learning curve, ", axis.split(" ")[0]]),
                    line_chart(series, "sentences labelled", axis),
                    files=["rounds.json"],
                )  # fmt: skip
            )
    return grid(*charts) if charts else Markup("")


def _score(sources: Sources, one: Artifact, score: str) -> Node | None:
    """Return a score of an evaluation on a round's corpus, whose test set is all rounds'."""
    for evaluation in sources.of("evaluate"):
        if evaluation.params.get("data") != one.key or evaluation.params.get("split") == "valid":
            continue
        for row in evaluation.json("scores.json")["scores"]:
            if row["name"].value == score and row.get("baseline") is None:
                return row["value"]
    return None


def _told(one: Artifact) -> Node:
    every = one.json("rounds.json")["rounds"]
    return every[len(every) - 1]


def _history(sources: Sources, chain: Sequence[Artifact]) -> Markup:
    rows: list[list[Child]] = []
    for one in chain:
        told = _told(one)
        kappa = told["agreement"].get("fleiss_kappa")
        scored = _score(sources, one, "accuracy")
        rows.append(
            [
                name(one.key), name(str(told["by"].value)), figure(told["asked"]),
                figure(told["labelled"]), figure(told["labelled_words"]), figure(told["missing"]),
                figure(told["skipped"]), figure(told["excluded"]),
                figure(kappa, ".3f") if kappa else "–",
                figure(scored, "%2") if scored else "not scored",
            ]
        )  # fmt: skip
    heads = [
        "Round", "Asked by", "Asked", "Labelled", "Words", "Waiting", "Skipped", "Left out",
        "Kappa", "Accuracy",
    ]  # fmt: skip
    last = chain[-1]
    pool = _told(last)["pool"]
    text = element(
        "p", figure(pool["left"]), " of ", figure(pool["sentences"]),
        " sentences of the pool were left to ask; ", figure(pool["like_test"]),
        " are like the test set's and never asked for.", _class="say",
    )  # fmt: skip
    return panel(
        sources, last, join(["Rounds up to ", name(last.key)]), table(heads, rows, left=2), text,
        files=["rounds.json"], anchor=True, _class="wide",
    )  # fmt: skip
