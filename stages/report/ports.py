"""Panels of ported models: the proof, original against ported, what was chosen and by what."""

from __future__ import annotations

from stages.report.markup import Child, Markup, code, derived, element, figure, join, table
from stages.report.panels import facts, more, name, panel
from stages.report.sources import Artifact, Node, Sources

SHOWN_SETTINGS = 8
"""Rows of a decoding search that stand open; the others unfold."""
SCORES = (("bleu", "BLEU"), ("chrf", "chrF"))


def port(sources: Sources, one: Artifact) -> Markup:
    """Return the panel of one port."""
    told = one.json("verification.json")
    searches = list(told.get("searches") or [])
    return panel(
        sources,
        one,
        join(["Port ", name(one.key)]),
        facts(_facts(told)),
        element("p", passed(told["checks"], "passed"), " checks passed.", _class="say"),
        _original(searches),
        _plain(searches),
        _candidates(told),
        _search(told),
        more("Check by check", _checks(told["checks"])),
        _accounts(told),
        files=["verification.json"],
        anchor=True,
        _class="wide",
    )


def passed(cases: Node, field: str) -> Markup:
    """Return how many cases passed of how many."""
    number = sum(bool(case[field].value) for case in cases)
    held = derived(number, "", "passed", cases)
    return join([held, " of ", derived(len(cases), "", "count", cases)])


def _facts(told: Node) -> list[tuple[str, Child]]:
    tensors, tying, combine = told.get("tensors"), told.get("tying"), told.get("combine")
    checkpoints = told.get("checkpoints")
    listed = ", ".join(str(one.value) for one in checkpoints or [])
    found: list[tuple[str, Child]] = []
    checkpoint = told.get("checkpoint")
    if checkpoint is not None:
        found.append(("checkpoint", code(listed or str(checkpoint.value))))
    if combine is not None and combine.value != "single":
        found.append(("of several checkpoints", name(str(combine.value))))
    if tying is not None:
        found.append(("tied embeddings", name(str(tying.value).replace("_", " "))))
    if tensors is not None:
        found.append(("source tensors", derived(len(tensors), "", "count", tensors)))
    owner = told.get("recorded_of")
    if owner is not None:
        found.append(("recorded translations", join(["of ", code(str(owner.value))])))
    return found


def _checks(checks: Node) -> Markup:
    several = any(row.get("checkpoint") for row in checks)
    rows: list[list[Child]] = [
        [
            name(str(row["name"].value).replace("_", " ")),
            *([code(str(row["checkpoint"].value))] if several else []),
            figure(row["n"]),
            figure(row["limit"], ".3g"),
            "passed" if row["passed"].value else "failed",
        ]
        for row in checks
    ]
    heads = ["Check", *(["Checkpoint"] if several else []), "n", "Limit", ""]
    return table(heads, rows, left=2 if several else 1)


def _who(row: Node) -> Markup:
    """Return which search of what: `beam 5` or `ensemble of 2, beam 5`."""
    members = row.get("members")
    beam = join(["beam ", figure(row["num_beams"])])
    if members is None or members.value < 2:
        return beam
    return join(["ensemble of ", figure(members), ", ", beam])


def _original(searches: list[Node]) -> Markup:
    """Return what the original software recorded beside what the port gives."""
    if not searches:
        return Markup("")
    scored = [row for row in searches if row.get("bleu_ported")]
    heads: list[Child] = ["Original against ported", "Sentences", "Word for word", "Near ties"]
    for _, title in SCORES if scored else ():
        heads += [f"{title}, original", f"{title}, ported"]
    rows: list[list[Child]] = []
    for row in searches:
        cells: list[Child] = [
            _who(row),
            figure(row["sentences"]),
            figure(row["sentences_equal"]),
            _ties(row),
        ]
        for score, _ in SCORES if scored else ():
            for whose in ("original", "ported"):
                node = row.get(f"{score}_{whose}")
                cells.append(figure(node, ".4f") if node is not None else "\u2013")
        rows.append(cells)
    seen = {str(row[f"{score}_signature"].value) for row in scored for score, _ in SCORES}
    lines = [element("p", code(one), _class="signature") for one in sorted(seen)]
    return join([table(heads, rows), more("How BLEU and chrF were made", lines) if lines else None])


def _ties(row: Node) -> Child:
    ties = row.get("near_ties")
    if ties is None or not len(ties):
        return "none"
    return name(", ".join(str(one.value) for one in ties))


def _plain(searches: list[Node]) -> Markup:
    """Return what plain AutoTokenizer and `generate` do otherwise."""
    told = [row for row in searches if row.get("plain_texts_differ") is not None]
    if not told:
        return Markup("")
    rows: list[list[Child]] = []
    for row in told:
        fields = ("plain_texts_differ", "plain_source_ids_differ", "plain_searches_differ")
        nodes = [row.get(field) for field in fields]
        rows.append([_who(row), *[figure(one) if one is not None else "\u2013" for one in nodes]])
    heads = ["Plain generate", "Other texts", "Other source ids", "Other text of equal ids"]
    return table(heads, rows)


def _chosen(told: Node) -> Markup:
    return element(
        "p",
        "Chosen by ",
        name({"bleu": "BLEU", "chrf": "chrF"}.get(str(told["metric"].value), "")),
        " on ",
        figure(told["n"]),
        f" pairs of the {told['split'].value} split; no test pair was looked at.",
        _class="say",
    )


def _candidates(told: Node) -> Markup:
    found = told.get("candidates")
    if found is None:
        return Markup("")
    rows: list[list[Child]] = [
        [
            code(str(row["checkpoint"].value)),
            *[figure(row[score], ".4f") for score, _ in SCORES],
            "kept" if row["chosen"].value else "",
        ]
        for row in found["rows"]
    ]
    heads = ["Checkpoint", *[title for _, title in SCORES], ""]
    return join([element("h4", "Best of the checkpoints"), _chosen(found), table(heads, rows)])


def _search(told: Node) -> Markup:
    found = told.get("decoding_search")
    if found is None:
        return Markup("")
    heads = ["Beams", "Length penalty", "Early stopping", *[title for _, title in SCORES], ""]
    rows: list[list[Child]] = [
        [
            figure(row["num_beams"]),
            figure(row["length_penalty"]),
            name(str(row["early_stopping"].value).lower()),
            *[figure(row[score], ".4f") for score, _ in SCORES],
            "the model's default" if row["chosen"].value else "",
        ]
        for row in found["rows"]
    ]
    first, rest = rows[:SHOWN_SETTINGS], rows[SHOWN_SETTINGS:]
    title = f"Decoding settings, search of {found['search'].value}"
    return join(
        [
            element("h4", name(title)),
            _chosen(found),
            table(heads, first),
            more("All other settings", table(heads, rest)) if rest else None,
        ]
    )


def _accounts(told: Node) -> Markup:
    """Return what became of the source tensors, by action, and why some were left out."""
    actions, reasons = told.get("actions"), told.get("reasons")
    if actions is None:
        return Markup("")
    rows: list[list[Child]] = [
        [name(str(row["action"].value)), figure(row["tensors"])] for row in actions
    ]
    left: list[list[Child]] = [
        [name(str(row["reason"].value)), figure(row["tensors"])] for row in reasons or []
    ]
    return more(
        "Every source tensor has an account",
        table(["What became of it", "Tensors"], rows),
        table(["Why it was left out", "Tensors"], left) if left else None,
    )
