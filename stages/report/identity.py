"""What a model is to the hub: its name, task, languages, licence, origin and results."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from stages.report.scores import TRANSLATION, title_of
from stages.report.sources import Artifact, Node, Sources

PUBLISHED = ("pretrain", "finetune", "port", "export")
"""Sections whose entries are models that get a card."""
TASKS = {
    "masked": "fill-mask",
    "causal": "text-generation",
    "features": "feature-extraction",
    "summarisation": "summarization",
}
"""The hub's names of tasks where ours differ."""
TASK_TITLES = {
    "fill-mask": "Masked language modelling",
    "text-generation": "Language modelling",
    "token-classification": "Token classification",
    "translation": "Translation",
    "summarization": "Summarisation",
    "feature-extraction": "Feature extraction",
}
METRICS = {
    "accuracy": "accuracy",
    "macro_f1": "f1",
    "perplexity": "perplexity",
    "masked_perplexity": "perplexity",
    "pseudo_perplexity": "perplexity",
}
"""The hub's types of metrics where it has one; the others keep their own names."""
KNOWN_LICENCES = """
    afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bsd bsd-2-clause bsd-3-clause bsl-1.0 cc
    cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0
    cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
    cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-permissive-1.0 cdla-permissive-2.0 cdla-sharing-1.0
    epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 gfdl gpl gpl-2.0 gpl-3.0 isc lgpl lgpl-2.1
    lgpl-3.0 mit mpl-2.0 ms-pl ncsa odbl odc-by ofl-1.1 osl-3.0 pddl postgresql unlicense
    wtfpl zlib
"""
LICENCES = frozenset(KNOWN_LICENCES.split())
"""Licences that the hub knows by identifier; any other is `other` with its name."""


def published(reference: str) -> str:
    """Return the name under which an entry is published: no one else's on the hub."""
    return f"deveno-{reference.replace('/', '-')}"


class Model:
    """A published model, as its tracked files tell it."""

    def __init__(self, artifact: Artifact, sources: Sources) -> None:
        self.artifact, self.sources = artifact, sources

    @cached_property
    def told(self) -> Node:
        """The file in which the stage wrote what it made."""
        names = {"port": "verification.json", "export": "export.json"}
        return self.artifact.json(names.get(self.artifact.section, "training.json"))

    @cached_property
    def configuration(self) -> Node:
        """The model's own config.json."""
        return self.artifact.json("config.json")

    @property
    def task(self) -> str:
        """The task by the hub's name."""
        if self.artifact.section == "port":
            stated = self.told.get("task")
            return str(stated.value) if stated is not None else "translation"
        field = "objective" if self.artifact.section == "pretrain" else "task"
        own = str(self.told[field].value)
        return TASKS.get(own, own)

    @property
    def name(self) -> str:
        """The published name."""
        return published(self.artifact.reference)

    @property
    def synthetic(self) -> bool:
        """Whether generated text is among what the model or its scores rest on."""
        scored = self.evaluations
        return any(self.sources.synthetic(one) for one in [self.artifact, *scored])

    @cached_property
    def origins(self) -> list[Artifact]:
        """What the model is made of; one from random weights still has its base's tokenizer."""
        return self.sources.origins(self.artifact)

    @property
    def material(self) -> list[Artifact]:
        """Raw material that the model is made of."""
        return [one for one in self.origins if one.section == "acquire"]

    @property
    def corpora(self) -> list[Artifact]:
        """Corpora that the model is made of."""
        return [one for one in self.origins if one.section == "refine"]

    @property
    def evaluations(self) -> list[Artifact]:
        """Evaluations of this model."""
        return [
            one
            for one in self.sources.of("evaluate")
            if one.params.get("model") == self.artifact.reference
        ]

    @property
    def base(self) -> Artifact | None:
        """The model whose weights this one started from."""
        field = {"pretrain": "base", "finetune": "base", "export": "model"}.get(
            self.artifact.section
        )
        if field is None or self.artifact.params.get("initial") == "random":
            return None
        return self.sources.at(str(self.artifact.params.get(field)))

    @property
    def languages(self) -> list[str]:
        """Languages of the corpora, or those that a translator's configuration names."""
        named = self.configuration.get("langs")
        if named is not None:
            return [str(one.value) for one in named]
        found = [
            str(one.value)
            for corpus in self.corpora
            for one in corpus.json("corpus.json").get("languages") or []
        ]
        return sorted(set(found))

    @property
    def licences(self) -> list[str]:
        """Licences of the raw material; what states none is `unknown`."""
        stated = [one.json("manifest.json").get("licence") for one in self.material]
        return sorted({str(one.value) if one is not None else "unknown" for one in stated})

    @property
    def weights(self) -> str:
        """The file that holds the weights, or most of them."""
        if self.artifact.section != "export":
            usual = "model.safetensors"
            return self._largest() if self.artifact.find(f"{usual}.index.json") else usual
        return "model.onnx" if self.told["format"].value == "onnx" else self._largest()

    def _largest(self) -> str:
        """Return the largest file: of several shards or graphs the first of that size."""
        files = [path for path in sorted(self.artifact.folder.iterdir()) if path.is_file()]
        return max(files, key=lambda path: path.stat().st_size).name

    @property
    def kind(self) -> str:
        """The architecture by its configuration; an export without one has its model's."""
        found = self.configuration.get("model_type")
        if found is None and self.base is not None:
            return Model(self.base, self.sources).kind
        return str(found.value) if found is not None else "unknown"

    @property
    def quantized(self) -> bool:
        """Whether weights are held as integers."""
        kind = self.told["quantize"]["kind"].value if self.artifact.section == "export" else "none"
        return bool(kind != "none")


def metadata(model: Model, example: Any) -> dict[str, Any]:
    """Return the header of a card."""
    base = model.base
    return {
        "model_name": model.name,
        "language": model.languages,
        **_licence(model.licences),
        "library_name": "onnx" if model.artifact.section == "export" else "transformers",
        "pipeline_tag": model.task,
        "tags": _tags(model),
        "datasets": [published(one.reference) for one in model.corpora],
        "metrics": list(
            dict.fromkeys(_metric(row) for one in model.evaluations for row in own(one))
        ),
        "base_model": published(base.reference) if base else None,
        "base_model_relation": _relation(model) if base else None,
        "widget": [{"text": example}] if example else None,
        "model-index": _index(model),
    }


def own(evaluation: Artifact) -> list[Node]:
    """Return the scores of the model itself, without its baselines and rivals."""
    rows = evaluation.json("scores.json")["scores"]
    return [row for row in rows if not row.get("baseline")]


def _metric(row: Node) -> str:
    name = str(row["name"].value)
    metric = name.partition("_")[0]
    return metric if metric in TRANSLATION else METRICS.get(name, name)


def _licence(licences: list[str]) -> Mapping[str, str]:
    if not licences or licences == ["unknown"]:
        return {"license": "unknown"}
    known = licences[0].lower()
    if len(licences) == 1 and known in LICENCES:
        return {"license": known}
    return {"license": "other", "license_name": " and ".join(licences).lower().replace(" ", "-")}


def _relation(model: Model) -> str | None:
    if model.artifact.section == "export":
        return "quantized" if model.quantized else None
    return "finetune"


def _tags(model: Model) -> list[str]:
    found = [
        "deveno",
        model.kind,
        {"port": "fairseq", "export": "onnx"}.get(model.artifact.section, ""),
    ]
    found += ["int8" if model.quantized else "", "synthetic" if model.synthetic else ""]
    return [tag for tag in found if tag]


def _index(model: Model) -> list[dict[str, Any]] | None:
    results = [_result(model, one) for one in model.evaluations]
    return [{"name": model.name, "results": results}] if results else None


def _result(model: Model, evaluation: Artifact) -> dict[str, Any]:
    told = evaluation.json("scores.json")
    task = str(told["task"].value)
    data = f"corpora/{told['data'].value}"
    return {
        "task": {"type": model.task, "name": task.replace("-", " ")},
        "dataset": {
            "type": published(data),
            "name": data,
            "split": str(evaluation.params.get("split", "test")),
        },
        "metrics": [_measured(row) for row in own(evaluation)],
    }


def _measured(row: Node) -> dict[str, Any]:
    interval, confidence = row.get("interval"), row.get("confidence")
    arguments: dict[str, Any] = {
        "unit": str(row["unit"].value),
        "n": row["n"].value,
        "signature": str(row["signature"].value),
        "from": row.source,
    }
    if interval is not None:
        arguments["interval"] = interval.value
    if confidence is not None:
        arguments["confidence"] = confidence.value
    return {
        "type": _metric(row),
        "name": title_of(str(row["name"].value)),
        "value": row["value"].value,
        "args": arguments,
    }
