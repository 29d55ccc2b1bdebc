"""Model cards in the hub's format: a YAML header and Markdown, one for every published model.

What machines know is drawn from tracked files, header and tables from the same values, each row
with the file and JSON pointer it was read at. What people must say comes from `docs/cards`.
"""

from __future__ import annotations

from pathlib import Path

from stages.core import canonical
from stages.core.errors import ArtifactError
from stages.report import evidence
from stages.report.frontmatter import frontmatter
from stages.report.handwriting import Handwriting, handwriting
from stages.report.identity import PUBLISHED, TASK_TITLES, Model, metadata
from stages.report.markdown import code, paragraphs, plain
from stages.report.proofs import proofs
from stages.report.sources import Sources
from stages.report.usage import example, usage

SYNTHETIC = (
    "> **Synthetic.** This model or its scores rest on text that a generator made. The figures "
    "show that the line works, not how well a model does on natural language."
)
COST = (
    "Time and energy belong to a machine, not to the model, and are in none of the files that this "
    "card is drawn from."
)


def models(sources: Sources) -> list[Model]:
    """Return the models that get a card."""
    return [Model(one, sources) for section in PUBLISHED for one in sources.of(section)]


def write(folder: Path, sources: Sources, texts: Path) -> int:
    """Write `<folder>/<kind>/<entry>/README.md` for every model; return how many."""
    found = models(sources)
    for model in found:
        canonical.write_text(folder / model.artifact.reference / "README.md", card(model, texts))
    return len(found)


def card(model: Model, texts: Path) -> str:
    """Return one card."""
    written = handwriting(texts, model.task, model.artifact.reference)
    parts = [
        f"# {plain(model.name)}",
        _lead(model, written),
        SYNTHETIC if model.synthetic else "",
        _section("Model details", _details(model)),
        _section("Uses", _uses(written)),
        _section("Bias, risks and limitations", written.sections["Limitations"]),
        *[_section(head, text) for head, text in written.further.items()],
        _section("How to start", usage(model)),
        _section("Training data", _data(model)),
        _section("Training procedure", evidence.procedure(model)),
        _section("Proof of equality", proofs(model)),
        _section("Evaluation", _scores(model)),
        _section("Environmental impact", paragraphs(COST, _benchmarks(model))),
        _section("Make it again", _again(model)),
        _section("Citation", _citation(model)),
    ]
    return frontmatter(metadata(model, example(model))) + "\n" + paragraphs(*parts) + "\n"


def _section(title: str, body: str) -> str:
    return paragraphs(f"## {title}", body) if body else ""


def _lead(model: Model, written: Handwriting) -> str:
    title = TASK_TITLES.get(model.task, model.task)
    files = ", ".join(code(name) for name in written.files)
    return (
        f"{title}; the entry {code(model.artifact.address)} of a Deveno project. "
        "Numbers are drawn from the files named beside them (path from the root, JSON pointer). "
        f"Uses and limitations are written by hand in {files}."
    )


def _details(model: Model) -> str:
    base = model.base
    lines = []
    if base is not None:
        lines.append(f"Made from {code(base.place)}.")
    if model.artifact.params.get("initial") == "random":
        shape = code(f"models/{model.artifact.params.get('base')}")
        lines.append(f"Shape and tokenizer are those of {shape}; the weights began at random.")
    licences = ", ".join(code(one) for one in model.licences) or "unknown"
    lines.append(
        f"Licences of the material it is made of: {licences}. Names that begin with `deveno-` are "
        "entries of the project: `deveno-<folder>-<entry>`."
    )
    return paragraphs(" ".join(lines), evidence.details(model))


def _uses(written: Handwriting) -> str:
    names = ("Direct use", "Downstream use", "Out-of-scope use")
    return paragraphs(*[paragraphs(f"### {name}", written.sections[name]) for name in names])


def _data(model: Model) -> str:
    return evidence.material(model)


def _scores(model: Model) -> str:
    found = [evidence.evaluation(one) for one in model.evaluations]
    return (
        paragraphs(*found) or "No evaluation of this model is among the entries of `params.yaml`."
    )


def _benchmarks(model: Model) -> str:
    named = [
        code(f"{one.place}/latency.json")
        for one in model.sources.of("benchmark")
        if model.artifact.reference in one.params.values()
    ]
    return f"How fast it ran on one machine is in {', '.join(named)}." if named else ""


def _again(model: Model) -> str:
    command, place = code(f"dvc repro {model.artifact.address}"), code(model.artifact.place)
    return (
        f"{command} in the project makes {place} from raw material, or takes it from the cache; "
        "`dvc.lock` holds the digests of all that it stands on."
    )


def _citation(model: Model) -> str:
    path = model.artifact.folder / model.weights
    if not path.is_file():
        raise ArtifactError(
            f"{model.artifact.address} has no {model.weights}",
            model.artifact.place,
            f"run `dvc repro {model.artifact.address}`",
        )
    digest = canonical.file_digest(path)
    return f"Cite the model by its weights, {code(model.weights)}, {code(f'sha256:{digest}')}."
