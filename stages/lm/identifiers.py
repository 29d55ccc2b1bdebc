"""Language identifiers as folders: a table of weights, what its columns are called, a report.

    identifier.json          labels, features, how the table is read
    identifier.safetensors   `table` int16 [buckets, labels]
    report.json              what it learned from, and its accuracy where text was held out

`stages.lm.kernels.languages` says what is computed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.core import canonical
from stages.core.errors import ArtifactError
from stages.lm.kernels import languages
from stages.lm.kernels.text import Texts, of_strings

FILE, TABLE, REPORT = "identifier.json", "identifier.safetensors", "report.json"
UNDETERMINED = "und"
"""What a text without a letter is in."""
FEATURES = "character 1-5-grams within words and words, FNV-1a and murmur3 finaliser"


class Judged(NamedTuple):
    """Per text: `probabilities` float64 [D, L], exact in 2^-16; `known` bool [D], whether it has a
    letter at all."""

    probabilities: NDArray[np.float64]
    known: NDArray[np.bool_]


class Identifier:
    """A trained model: probabilities of its labels for any text."""

    def __init__(self, labels: Sequence[str], table: NDArray[np.int16], shift: int) -> None:
        self.labels = tuple(labels)
        self._table = np.ascontiguousarray(table).reshape(-1)
        self._shift = shift

    @classmethod
    def load(cls, folder: Path) -> Identifier:
        """Return the identifier of a folder; one that is torn or foreign is an ArtifactError."""
        from safetensors.numpy import load_file

        path = folder / FILE
        if not path.is_file():
            raise ArtifactError(
                f"the folder holds no {FILE}", str(folder), "make it with the stage identify"
            )
        try:
            about = json.loads(path.read_text("utf-8"))
            labels, shift = [str(one) for one in about["labels"]], int(about["shift"])
            buckets, features = int(about["buckets"]), about["features"]
            table = load_file(folder / TABLE)["table"]
        except Exception as error:  # safetensors raises what it likes
            raise ArtifactError(
                f"the identifier cannot be read ({error})", str(folder), "make it again"
            ) from error
        fits = table.dtype == np.int16 and table.shape == (buckets, len(labels))
        if features != FEATURES or not fits or buckets & (buckets - 1) or not 0 <= shift < 32:
            raise ArtifactError(
                f"{TABLE} is {table.dtype} {list(table.shape)}, {FILE} says {buckets} rows of"
                f" {len(labels)} labels over {features!r:.60}",
                str(folder),
                "make it again",
            )
        return cls(labels, table, shift)

    def save(self, folder: Path) -> None:
        """Write the folder's model files."""
        from safetensors.numpy import save_file

        folder.mkdir(parents=True, exist_ok=True)
        buckets = len(self._table) // len(self.labels)
        save_file(
            {"table": self._table.reshape(buckets, -1)}, folder / TABLE, metadata={"format": "pt"}
        )
        about: dict[str, Any] = {
            "labels": list(self.labels),
            "buckets": buckets,
            "shift": self._shift,
            "features": FEATURES,
            "judged_bytes": languages.JUDGED_BYTES,
        }
        canonical.write_json(folder / FILE, about)

    def judge(self, texts: Texts, threads: int = 1) -> Judged:
        """Return the labels' probabilities of every text."""
        found = languages.score(texts, self._table, len(self.labels), self._shift, threads)
        shares = languages.probabilities(found.logits) / languages.ONE
        known = found.features > 0
        shares[~known] = 0.0
        return Judged(shares, known)

    def best(self, texts: Sequence[str], most: int = 1) -> list[list[tuple[str, float]]]:
        """Return the likeliest labels of each text, most likely first."""
        judged = self.judge(of_strings(texts))
        found = []
        for row, known in zip(judged.probabilities, judged.known.tolist(), strict=True):
            order = np.argsort(-row, kind="stable")[:most].tolist()
            best = [(self.labels[place], float(row[place])) for place in order]
            found.append(best if known else [(UNDETERMINED, 0.0)])
        return found
