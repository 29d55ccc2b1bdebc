"""The proofs in a card: what a ported or exported model was held against before publication."""

from __future__ import annotations

from collections.abc import Iterable

from stages.report.identity import Model
from stages.report.markdown import block, code, number, paragraphs, plain, source, table
from stages.report.sources import Node

PORTED = "The source's weights were left as they are; these checks came before publication."
AVERAGED = "The weights are the mean of those of its sources; these checks came before publication."
EXPORTED = (
    "The graph was held beside the model it was made of; limits are on the relative error of float "
    "weights and on the share of equal choices of integer weights."
)
ORIGINAL = (
    "What the original software recorded, beside what this model gives by its search (`search: "
    "fairseq`), on the same sentences. Those in which two hypotheses lie so close in score that "
    "rounding may exchange them are near ties; they are listed, not counted as errors:"
)
PLAIN = (
    "Plain `AutoTokenizer` and `generate` are another tokenizer (it normalises punctuation) and "
    "another search; so many sentences differ from the original:"
)
TOGETHER = (
    "The folder opens as its first member; those below `members/` and `ensemble.json` make it "
    "an ensemble, which decodes by the mean of the members' probabilities at every step. Plain "
    "`generate` uses the first member alone."
)


def proofs(model: Model) -> str:
    """Return the checks that a ported or exported model passed before it was published."""
    if model.artifact.section == "port":
        return _ported(model)
    if model.artifact.section == "export":
        return paragraphs(
            EXPORTED,
            table(
                ["Case", "Positions", "Limit", "Passed", "From"], map(_case, model.told["parity"])
            ),
        )
    return ""


def _ported(model: Model) -> str:
    told = model.told
    combine = told.get("combine")
    how = str(combine.value) if combine is not None else "single"
    searches = list(told.get("searches") or [])
    return paragraphs(
        AVERAGED if how == "average" else PORTED,
        TOGETHER if how == "ensemble" else "",
        _combined(told),
        _original(searches),
        _plain(searches),
        _candidates(told),
        _search(told),
        "Check by check:",
        _checks(told["checks"]),
        _commands(model),
    )


def _combined(told: Node) -> str:
    checkpoints, owner = told.get("checkpoints"), told.get("recorded_of")
    listed = ", ".join(code(str(one.value)) for one in checkpoints or [])
    return paragraphs(
        f"Made of {listed} ({source(checkpoints)})." if checkpoints is not None else "",
        f"The release's recorded translations are those of {code(str(owner.value))} "
        f"({source(owner)}), not of this checkpoint, and were not compared."
        if owner is not None
        else "",
    )


def _checks(checks: Node) -> str:
    several = any(row.get("checkpoint") for row in checks)
    heads = ["Check", *(["Checkpoint"] if several else []), "n", "Limit", "Passed", "From"]
    rows = [
        [
            plain(str(row["name"].value)),
            *([code(str(row["checkpoint"].value))] if several else []),
            number(row["n"]),
            number(row["limit"], ".3g"),
            "yes" if row["passed"].value else "no",
            source(row),
        ]
        for row in checks
    ]
    return table(heads, rows)


def _members(row: Node) -> str:
    members = row.get("members")
    return number(members) if members is not None else "1"


def _original(searches: list[Node]) -> str:
    """Return the table of the original against the port, and how its scores were made."""
    if not searches:
        return ""
    rows = []
    for row in searches:
        scores = [row.get(name) for name in SCORES]
        ties = row.get("near_ties")
        listed = ", ".join(code(str(one.value)) for one in ties or []) or "none"
        rows.append(
            [
                number(row["num_beams"]),
                _members(row),
                number(row["sentences"]),
                number(row["sentences_equal"]),
                listed,
                *[number(one, ".6f") if one is not None else "" for one in scores],
                source(row),
            ]
        )
    heads = ["Beam", "Members", "Sentences", "Repeated word for word", "Near ties"]
    signatures = [
        [title, code(str(node.value)), source(node)]
        for name, title in (("bleu_signature", "BLEU"), ("chrf_signature", "chrF"))
        if (node := searches[0].get(name)) is not None
    ]
    return paragraphs(
        "### Original against ported",
        ORIGINAL,
        table([*heads, *SCORES.values(), "From"], rows),
        table(["Score", "Signature", "From"], signatures),
    )


SCORES = {
    "bleu_original": "BLEU, original",
    "bleu_ported": "BLEU, ported",
    "chrf_original": "chrF, original",
    "chrf_ported": "chrF, ported",
}
PLAINLY = {
    "plain_texts_differ": "Plain `generate` differs",
    "plain_source_ids_differ": "Other source ids",
    "plain_searches_differ": "Other text of equal ids",
}


def _plain(searches: list[Node]) -> str:
    rows = [
        [
            number(row["num_beams"]),
            _members(row),
            number(row["sentences"]),
            *[number(one) if (one := row.get(name)) is not None else "" for name in PLAINLY],
            source(row),
        ]
        for row in searches
        if row.get("plain_texts_differ") is not None
    ]
    heads = ["Beam", "Members", "Sentences", *PLAINLY.values(), "From"]
    return paragraphs(PLAIN, table(heads, rows)) if rows else ""


def _chosen(told: Node) -> str:
    name = {"bleu": "BLEU", "chrf": "chrF"}.get(str(told["metric"].value), "")
    return (
        f"Chosen by {name} on {number(told['n'])} pairs of the {told['split'].value} split "
        f"({source(told['n'])}); no test pair was looked at. "
        f"Data {code(str(told['data'].value))}."
    )


def _candidates(told: Node) -> str:
    found = told.get("candidates")
    if found is None:
        return ""
    rows = [
        [
            code(str(row["checkpoint"].value)),
            *_scores(row),
            "yes" if row["chosen"].value else "no",
            source(row),
        ]
        for row in found["rows"]
    ]
    heads = ["Checkpoint", "BLEU", "chrF", "Kept", "From"]
    return paragraphs("### Best of the checkpoints", _chosen(found), table(heads, rows))


def _search(told: Node) -> str:
    found = told.get("decoding_search")
    if found is None:
        return ""
    rows = [
        [
            number(row["num_beams"]),
            number(row["length_penalty"]),
            str(row["early_stopping"].value).lower(),
            *_scores(row),
            "yes" if row["chosen"].value else "no",
            source(row),
        ]
        for row in found["rows"]
    ]
    heads = ["Beam", "Length penalty", "Early stopping", "BLEU", "chrF", "Default", "From"]
    return paragraphs(
        "### Decoding settings",
        f"Every combination under the search of {plain(str(found['search'].value))}; the first is "
        "in `decoding.json` and `generation_config.json`.",
        _chosen(found),
        table(heads, rows),
    )


def _scores(row: Node) -> Iterable[str]:
    return [number(row["bleu"], ".4f"), number(row["chrf"], ".4f")]


def _commands(model: Model) -> str:
    """Return the commands behind the tables of this section and of the evaluations."""
    lines = [f"dvc repro {model.artifact.address}"]
    lines += [f"dvc repro {one.address}" for one in model.evaluations]
    lines.append(f"deveno try {model.artifact.reference}")
    return paragraphs("The commands that give these tables again:", block("\n".join(lines), "sh"))


def _case(row: Node) -> list[str]:
    relative = row.get("relative_limit")
    limit = relative if relative is not None else row.get("agreement_limit")
    return [
        plain(str(row["case"].value)),
        number(row["positions"]),
        number(limit, ".2g") if limit is not None else "",
        "yes" if row["pass"].value else "no",
        source(row),
    ]
