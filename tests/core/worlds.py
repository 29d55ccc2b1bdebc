"""A repository whose dvc.lock is written by hand, to compare entries that nobody had to make."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from stages.cli import comparing
from stages.cli.differences import drawn
from stages.core import canonical, comparison, hashes, sides, yamlfile
from stages.core.contents import Contents
from stages.core.records import Records

MODULE = (
    "LIMIT = 1\n\n\ndef kept():\n    return 1\n\n\n"
    "class Net:\n    def run(self):\n        return 2\n"
)
SIGNATURE = "unit:word|data:{data}|split:test|boot:sentence/1000|seed:{seed}|deveno:1"


class World:
    """A git repository whose dvc.lock is written by hand, entry by entry."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.stages: dict = {}
        root.mkdir()
        self.git("init", "-q", "-b", "main")
        (root / ".gitignore").write_text("/.deveno/\n/reports/\n")

    def git(self, *words: str) -> str:
        who = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
        done = subprocess.run(
            ["git", *who, *words], cwd=self.root, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def file(self, path: str, content: object) -> str:
        text = content if isinstance(content, str) else canonical.dumps(content)
        canonical.write_text(self.root / path, text)
        return path

    def md5(self, path: str) -> str:
        return str(hashes.Hashes(self.root).of(path))

    def entry(self, name: str, deps: list[str], params: dict, outs: list[str], **files) -> None:
        section = name.replace("@", ".")
        self.stages[name] = {
            "cmd": f"python -m stages execute {name.replace('@', ' ')}",
            "deps": [{"path": path, "md5": self.md5(path)} for path in sorted(deps)],
            "params": json.loads(json.dumps({"params.yaml": {section: params}, **files})),
            "outs": [{"path": path, "md5": self.md5(path), "size": 7} for path in sorted(outs)],
        }
        yamlfile.write(self.root / "dvc.lock", {"schema": "2.0", "stages": self.stages})

    def corpus(self, key: str, documents: int) -> str:
        metrics = self.file(f"metrics/refine/{key}.json", {"documents_kept": documents})
        self.file(f"data/corpora/{key}/a.txt", f"{documents}")
        code = self.file("stages/refine/stage.py", MODULE)
        values = {"minimum": documents}
        self.entry(f"refine@{key}", [code], values, [metrics, f"data/corpora/{key}"])
        return f"data/corpora/{key}"

    def listed(self, path: str) -> str:
        """Put the listing of a folder into the cache, as DVC does; return the folder."""
        place = self.root / path
        rows = [
            {"md5": canonical.file_digest(file, "md5"), "relpath": name}
            for name, file in hashes.files(place)
        ]
        md5 = self.md5(path)
        self.file(f".dvc/cache/files/md5/{md5[:2]}/{md5[2:]}", json.dumps(rows))
        return path

    def material(self, folder: str, **texts: str) -> str:
        """Write a folder with one file per split or name, and list it."""
        for name, text in texts.items():
            self.file(f"{folder}/{name.replace('__', '.')}", text)
        return self.listed(folder)

    def corpora(
        self, key: str, train: str = "t", valid: str = "v", test: str = "e", **values
    ) -> str:
        """Record a corpus of three splits by their text."""
        folder = self.material(
            f"data/corpora/{key}", train__txt=train, valid__txt=valid, test__txt=test
        )
        counts = {"train": len(train), "valid": len(valid), "test": len(test)}
        figures = {f"{name}_documents": count for name, count in counts.items()}
        metrics = self.file(f"metrics/refine/{key}.json", {**figures, "documents_kept": 9})
        self.entry(f"refine@{key}", [], {"kind": "text", **values}, [metrics, folder])
        return folder

    def vocabulary(self, key: str, corpus: str, words: str, reference: str = "", **more) -> str:
        """Record a tokenizer and what it costs on held-out text."""
        folder = self.material(
            f"models/tokenizers/{key}", tokenizer__json=words, report__json=f"{key} of {corpus}"
        )
        figures = {"fertility_tokens_per_word": len(words), "vocabulary_tokens": len(words)}
        figures |= {"length_against_foreign_ratio": 0.5} if reference else {}
        metrics = self.file(f"metrics/tokenizer/{key}.json", figures)
        values = {"corpus": corpus, "reference": reference or "none", "report_bytes": 99, **more}
        deps = [f"data/corpora/{corpus}", *([f"data/{reference}"] if reference else [])]
        self.entry(f"tokenizer@{key}", deps, values, [metrics, folder])
        return folder

    def encoded(self, key: str, corpus: str, tokenizer: str, rows: int = 5, length: int = 8) -> str:
        """Record the tokens of a corpus, whose held-out part has some rows."""
        texts = {
            f"{split}__bin": (self.root / f"data/corpora/{corpus}/{split}.txt").read_text()
            + (self.root / f"models/tokenizers/{tokenizer}/tokenizer.json").read_text()
            for split in ("train", "valid")
        }
        folder = self.material(f"data/tokens/{key}", **texts, tokens__json=key)
        figures = {"valid_rows": rows, "train_tokens": 7, "train_documents": 2}
        metrics = self.file(f"metrics/encode/{key}.json", figures)
        deps = [f"data/corpora/{corpus}", f"models/tokenizers/{tokenizer}"]
        values = {"corpus": corpus, "tokenizer": tokenizer, "sequence_length": length}
        self.entry(f"encode@{key}", deps, values, [metrics, folder])
        return folder

    def trained(
        self, key: str, tokens: str = "", tokenizer: str = "", outs: list[str] | None = None, **more
    ) -> None:
        """Record a pretraining, with material of its own where none is named."""
        if not tokens:
            tokens = tokenizer = "eo"
            self.corpora("eo")
            self.vocabulary("eo", "eo", "abc")
            self.encoded("eo", "eo", "eo")
        if outs is None:
            masked = more.get("objective", {}).get("kind", "masked") == "masked"
            bits = "valid_pseudo_bits_per_byte" if masked else "valid_bits_per_byte"
            rows = (
                f"step,valid_loss_nats,loss_nats,learning_rate\n1,3.{ord(key)},4.{ord(key)},0.1\n"
            )
            figures = {"valid_loss_nats": 3, "loss_nats": 4, "parameters": 7, bits: 1.5}
            outs = [
                self.file(f"plots/pretrain/{key}.csv", rows),
                self.file(f"metrics/pretrain/{key}.json", figures),
            ]
        values = {
            "tokens": tokens, "tokenizer": tokenizer,
            "objective": {"kind": "masked", "share": 0.15},
            "batch_rows": 8, "evaluate_rows": 64, "short_length": 4, "short_share": 0.5,
            "name": key, **more,
        }  # fmt: skip
        deps = [f"data/tokens/{tokens}", f"models/tokenizers/{tokenizer}"]
        self.entry(f"pretrain@{key}", deps, values, outs)

    def evaluation(
        self, key: str, hits: list[int], data: str = "aa", corpus: str = "", seed: int = 0
    ) -> None:
        signature = SIGNATURE.format(data=data, seed=seed)
        folder = f"reports/evaluate/{key}"
        value = sum(hits) / (2 * len(hits))
        row = {"name": "accuracy", "value": value, "unit": "fraction", "n": len(hits)}
        scores = {"scores": [row | {"signature": signature}]}
        self.file(f"{folder}/scores.json", scores)
        units = [
            {"table": 0, "counts": [[one, 2] for one in hits]},
            {"name": "accuracy", "unit": "fraction", "signature": signature,
             "statistic": "ratio", "table": 0},
        ]  # fmt: skip
        canonical.write_lines(self.root / folder / "units.jsonl", units)
        metrics = self.file(f"metrics/evaluate/{key}.json", {"accuracy_fraction": value})
        self.entry(f"evaluate@{key}", [corpus] if corpus else [], {}, [folder, metrics])

    def compare(self, a: str, b: str) -> dict:
        records = Records(self.root)
        left, right = sides.side(records, a), sides.side(records, b)
        both = sides.pairs(left, right)
        contents = Contents(records, [*left.folders, *right.folders])
        told = [comparison.compare(contents, x, y, comparing._paired) for x, y in both]
        lines = {"a": a, "b": b, "only_a": [], "only_b": [], "compared": told}
        assert "\n".join(drawn(lines))
        return told[0] if len(told) == 1 else {one["a"]["entry"]: one for one in told}


def metric(told: dict, name: str) -> dict:
    """Return a row of the metrics; a section refused as a whole stands for each of its rows."""
    section = told["metrics"]
    if "refused" in section:
        return section
    return next(row for row in section["rows"] if row["name"] == name)


def compared(row: dict) -> bool:
    assert ("refused" in row) != ("a" in row and "b" in row), (
        "values and a refusal exclude each other"
    )
    return "a" in row
