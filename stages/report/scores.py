"""Panels of evaluations: values with intervals, differences, confusion and samples."""

from __future__ import annotations

import re
from collections.abc import Sequence

from stages.report.charts import Bar, interval_chart
from stages.report.markup import Child, Markup, code, element, figure, interval, join, table
from stages.report.panels import badge, caption, grid, label_of, more, name, panel, section
from stages.report.sources import Artifact, Node, Sources
from stages.report.stage import ReportParams

STYLES = {"fraction": "%2", "nats": ".3f", "perplexity": ".4g", "bits/byte": ".3f", "points": ".2f"}
"""How a score of a unit is written."""
TITLES = {
    "accuracy": "Accuracy",
    "macro_f1": "Macro-F1",
    "loss": "Loss",
    "masked_loss": "Loss at masked tokens",
    "perplexity": "Perplexity",
    "masked_perplexity": "Perplexity at masked tokens",
    "pseudo_perplexity": "Pseudo-perplexity",
    "pseudo_bits_per_byte": "Pseudo bits per byte",
    "bits_per_byte": "Bits per byte",
    "parsing_completions": "Completions that parse",
    "denotation_greedy": "Denotation accuracy, greedy",
    "denotation_beam": "Denotation accuracy, beam",
}
TRANSLATION = {
    "bleu": "BLEU", "chrf": "chrF", "rouge1": "ROUGE-1", "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L", "rougeLsum": "ROUGE-Lsum",
}  # fmt: skip
"""Scores that there is one of for each way of decoding: `bleu_greedy`, `bleu_beam`."""
BLANKS = re.compile(r"\n(?:[ \t]*\n){2,}")
"""Runs of empty lines, which a sample need not spend a page on."""
CELL = 0.92
"""Share of a confusion row at which its cell has the full colour."""


def scores(params: ReportParams, sources: Sources) -> Markup:
    """Return the section of evaluations."""
    return section(
        "scores",
        "Scores",
        "Values on held-out data with their bootstrap intervals; dots are the values, lines the "
        "intervals. What the model is compared with stands beneath it.",
        [_evaluation(params, sources, one) for one in sources.of("evaluate")],
    )


def title_of(score: str) -> str:
    """Return what a score is called on the page; BLEU and chrF name the way of decoding."""
    metric, _, way = score.partition("_")
    if metric in TRANSLATION and way:
        return f"{TRANSLATION[metric]}, {way.replace('_', ' ')}"
    return TITLES.get(score, score.replace("_", " "))


def style_of(unit: str) -> str:
    """Return how numbers of a unit are written."""
    return STYLES.get(unit, ".4g")


def _evaluation(params: ReportParams, sources: Sources, one: Artifact) -> Markup:
    told = one.json("scores.json")
    confusion = one.find("confusion.json")
    samples = one.find("samples.jsonl")
    task, model = str(told["task"].value), str(told["model"].value)
    notes = [element("p", str(note.value), _class="note name") for note in told.get("notes") or []]
    shown = _samples(params, sources, one, task, samples) if samples and params.samples else ""
    return element(
        "div",
        element(
            "h3",
            name(one.key),
            element("small", f"{task.replace('-', ' ')} by ", code(model)),
            badge() if sources.synthetic(one) else None,
            _class="entry",
        ),
        notes,
        [_recorded(row) for row in told.get("recorded") or []],
        grid(
            *_charts(sources, one, told, model),
        ),
        _differences(sources, one, told["comparisons"]),
        _values(sources, one, told["scores"], model),
        _confusion(sources, one, confusion, told) if confusion else None,
        shown,
        id=f"evaluate-{one.key}",
        _class="group",
    )


def _recorded(row: Node) -> Markup:
    """Return how many translations are what the original software recorded."""
    return element(
        "p",
        name(str(row["decoding"].value).replace("_", " ")),
        ": ",
        figure(row["equal"]),
        " of ",
        figure(row["sentences"]),
        " translations are what the original software recorded, word for word.",
        _class="say",
    )


def _charts(sources: Sources, one: Artifact, told: Node, model: str) -> list[Markup]:
    """Return a chart for every score that has something to be compared with."""
    rows = list(told["scores"])
    found = []
    for row in rows:
        if row.get("baseline"):
            continue
        same = [other for other in rows if other["name"].value == row["name"].value]
        if len(same) < 2:
            continue
        bars = [Bar(model, row["value"], row.get("interval"), own=True)]
        bars += [
            Bar(label_of(str(other["baseline"].value)), other["value"], other.get("interval"))
            for other in same
            if other.get("baseline")
        ]
        title = title_of(str(row["name"].value))
        unit = str(row["unit"].value)
        head = join([title, " ", element("small", name(_unit(unit)))])
        chart = interval_chart(bars, style_of(unit))
        found.append(panel(sources, one, head, chart, files=["scores.json"]))
    return found


def _unit(unit: str) -> str:
    return {"fraction": "", "points": "of 100 points"}.get(unit, unit)


def _values(sources: Sources, one: Artifact, rows: Node, model: str) -> Markup:
    own = [row for row in rows if not row.get("baseline")]
    others = [row for row in rows if row.get("baseline")]
    heads = ["Score", "Value", "Interval", "n"]
    body = [_value(row, title_of(str(row["name"].value))) for row in own]
    rivals = [
        _value(row, f"{title_of(str(row['name'].value))}: {label_of(str(row['baseline'].value))}")
        for row in others
    ]
    seen: dict[str, str] = {}
    for row in own:
        seen.setdefault(str(row["signature"].value), title_of(str(row["name"].value)))
    signatures = [
        element(
            "p",
            element("b", title, _class="name"),
            element("br"),
            code(signature),
            _class="signature",
        )
        for signature, title in seen.items()
    ]
    confidence = rows[0].get("confidence") if len(rows) else None
    say = (
        element(
            "p", "Intervals: ", figure(confidence, "%0"), " of bootstrap resamples.", _class="say"
        )
        if confidence
        else None
    )
    return panel(
        sources,
        one,
        join(["All scores of ", code(model)]),
        table(heads, body),
        say,
        more("Baselines and rivals", table(heads, rivals)) if rivals else None,
        more("How each was made", signatures),
        files=["scores.json"],
        _class="wide",
    )


def _value(row: Node, title: str) -> list[Child]:
    style = style_of(str(row["unit"].value))
    ends = row.get("interval")
    return [
        name(title),
        figure(row["value"], style),
        interval(ends, style) if ends else "\u2013",
        figure(row["n"]),
    ]


def _differences(sources: Sources, one: Artifact, rows: Node) -> Markup:
    if not len(rows):
        return Markup("")
    body: list[list[Child]] = []
    for row in rows:
        style = style_of(str(row["unit"].value))
        body.append(
            [
                name(title_of(str(row["name"].value))),
                element("small", name(f"{_short(row['a'])} \u2212 {_short(row['b'])}")),
                figure(row["difference"], "+" + style),
                interval(row["interval"], "+" + style),
                figure(row["n"]),
            ]
        )
    return panel(
        sources,
        one,
        "Paired differences",
        element("p", "On the same sentences, resampled together.", _class="say"),
        table(["Score", "Difference of", "Value", "Interval", "n"], body, left=2, _class="stack"),
        files=["scores.json"],
        _class="wide",
    )


def _short(node: Node) -> str:
    return label_of(str(node.value))


def _confusion(sources: Sources, one: Artifact, confusion: Node, told: Node) -> Markup:
    labels = [str(node.value) for node in confusion["labels"]]
    matrix = confusion["matrix"]
    used = [
        place
        for place in range(len(labels))
        if any(matrix.value[place]) or any(row[place] for row in matrix.value)
    ]
    head = element(
        "tr",
        element("td", "gold \u2193 predicted \u2192", _class="corner"),
        [
            element("th", element("span", labels[place]), scope="col", _class="name")
            for place in used
        ],
    )
    rows = [
        element(
            "tr",
            element("th", labels[row], scope="row", _class="name"),
            [_cell(matrix[row][column], sum(matrix.value[row]), row == column) for column in used],
        )
        for row in used
    ]
    grid_table = element(
        "div", element("table", head, rows, _class="confusion"), _class="table", tabindex="0"
    )
    label_rows = told.get("labels")
    return element(
        "figure",
        element("h3", "Confusion", badge() if sources.synthetic(one) else None),
        element("p", "Words of each gold label (rows) by the label they were given.", _class="say"),
        element(
            "div",
            grid_table,
            _label_table(label_rows) if label_rows else None,
            _class="beside",
        ),
        caption([(one, ["confusion.json", "scores.json"])]),
        _class="panel wide",
    )


def _cell(node: Node, total: int, right: bool) -> Markup:
    if not node.value:
        return element("td", "\u00b7", _class="none")
    share = min(1.0, node.value / max(1, total) / CELL)
    return element(
        "td",
        figure(node),
        _class="right" if right else "wrong",
        style=f"--v:{max(0.06, share**0.5):.2f}",
    )


def _label_table(labels: Node) -> Markup:
    rows: list[list[Child]] = []
    for row in labels:
        parts = [row.get(field) for field in ("precision", "recall", "f1")]
        rows.append(
            [
                name(str(row["label"].value)),
                figure(row["words"]),
                *[figure(part, "%1") if part is not None else "\u2013" for part in parts],
            ]
        )
    return table(["Label", "Words", "Precision", "Recall", "F1"], rows)


def _samples(
    params: ReportParams, sources: Sources, one: Artifact, task: str, samples: Node
) -> Markup:
    rows = list(samples)[: params.samples]
    if not rows:
        return Markup("")
    first = rows[0].value
    if task == "token-classification":
        drawn = [_tagged(row) for row in rows]
    elif task in ("translation", "summarisation", "table-answering"):
        drawn = [_translated(row) for row in rows]
    elif "guesses" in first:
        drawn = [_masked(row) for row in rows]
    elif "completion" in first:
        drawn = [_completed(row) for row in rows]
    else:
        drawn = [_hard(row) for row in rows]
    return panel(
        sources, one, "Samples", element("div", drawn, _class="samples name"),
        files=["samples.jsonl"], _class="wide",
    )  # fmt: skip


def _tagged(row: Node) -> Markup:
    words: Sequence[str] = row["tokens"].value
    gold, said = row["gold"].value, row["predicted"].value
    parts = [
        element(
            "span",
            word,
            element("small", guess if guess == truth else f"{guess} \u2260 {truth}"),
            _class="ok" if guess == truth else "bad",
        )
        for word, truth, guess in zip(words, gold, said, strict=False)
    ]
    return element("p", parts, _class="tagged")


def _translated(row: Node) -> Markup:
    ways = sorted(set(row.value) - {"id", "source", "reference"}, reverse=True)
    lines = [(label, str(row[label].value)) for label in ("source", "reference", *ways)]
    rows = [
        join([element("dt", label.replace("_", " ")), element("dd", text)]) for label, text in lines
    ]
    return element("dl", rows, _class="pair")


def _masked(row: Node) -> Markup:
    guesses = [
        element(
            "span",
            element("b", str(guess["text"].value).strip() or "\u2423"),
            figure(guess["share"], "%1"),
        )
        for guess in row["guesses"]
    ]
    return element(
        "div",
        element(
            "p",
            str(row["before"].value),
            element("mark", str(row["masked"].value)),
            str(row["after"].value),
        ),
        element("div", guesses, _class="guesses"),
        _class="masked",
    )


def _completed(row: Node) -> Markup:
    good = bool(row["parses"].value)
    return element(
        "pre",
        element("b", str(row["prompt"].value)),
        BLANKS.sub("\n\u22ee\n", str(row["completion"].value)),
        element("small", "parses" if good else "does not parse", _class="ok" if good else "bad"),
    )


def _hard(row: Node) -> Markup:
    return element(
        "p",
        str(row["head"].value),
        " ",
        element("small", figure(row["bits_per_byte"], ".2f"), " bits per byte"),
    )
