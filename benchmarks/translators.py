"""The translators that `translate.py` holds side by side, and what they translate.

Every system is a function from batches of source ids to target ids under one search (fairseq's;
`generate` with `early_stopping`, which is nearest to it). All get the sources sorted by length;
a batch size is chosen for each system by trying.
"""

from __future__ import annotations

import gzip
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("DEVENO_TEST_DATA", ROOT.parent / "shared"))
ORACLE = os.environ.get("DEVENO_FAIRSEQ_PYTHON", "")
"""Interpreter of an environment with fairseq; empty: it is left out."""
CHECKPOINT = DATA / "checkpoints/fairseq-en-eo"
BASE = {
    "langs": ["en", "eo"], "src_vocab_size": 32_000, "tgt_vocab_size": 32_000, "d_model": 512,
    "encoder_layers": 6, "decoder_layers": 6, "encoder_attention_heads": 8,
    "decoder_attention_heads": 8, "encoder_ffn_dim": 2048, "decoder_ffn_dim": 2048,
    "max_position_embeddings": 256, "scale_embedding": True, "tie_word_embeddings": False,
    "activation_function": "relu",
}  # fmt: skip
"""transformer-base, the shape of the specification's table (performance.md, 13)."""
BASE_LENGTH = (25, 26)
"""Source and target tokens of the random model."""

Ids = list[list[int]]
Translate = Callable[[Ids, int, int], Ids]
"""(sources, beams, batch size) to outputs."""


@dataclass(frozen=True)
class System:
    """A translator, what its batch sizes count, and which to try."""

    name: str
    translate: Translate
    batches: tuple[int, ...]
    used: Callable[[], dict[str, float]] | None = None
    """Seconds of the last call, where it ran in another process."""


@dataclass(frozen=True)
class Limits:
    """Fewest and most tokens of an output."""

    least: int
    most: int


def cpu_seconds() -> float:
    """Return CPU seconds of this process and its threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def timed(system: System, sources: Ids, beams: int, batch: int) -> dict[str, float]:
    """Translate once; return target tokens, CPU and wall seconds."""
    began, wall = cpu_seconds(), time.perf_counter()
    found = system.translate(sources, beams, batch)
    used = {"cpu_seconds": cpu_seconds() - began, "wall_seconds": time.perf_counter() - wall}
    if system.used is not None:
        used = system.used()
    return {"tokens": sum(map(len, found)), **used}


def texts(name: str) -> list[str]:
    """Return the English sentences of `flores200` or `ntrex128`, or flores' Esperanto."""
    path = {
        "flores200": DATA / "data/flores200/devtest/eng_Latn.devtest",
        "flores200-eo": DATA / "data/flores200/devtest/epo_Latn.devtest",
        "ntrex128": DATA / "data/ntrex128/newstest2019-src.eng.txt",
    }[name]
    return path.read_text(encoding="utf-8").splitlines()


def judged() -> dict[str, tuple[list[str], list[str]]]:
    """Return texts and their references: two test sets, and the release's own 500 pairs."""
    path = CHECKPOINT / "fairseq-beam1.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    own = [row["source"] for row in rows], [row["reference"] for row in rows]
    return {
        "flores200": (texts("flores200"), texts("flores200-eo")),
        "ntrex128": (texts("ntrex128"), []),
        "release": own,
    }


def ported(folder: Path) -> Path:
    """Port the real checkpoint into `folder`."""
    code = (
        "import sys; from pathlib import Path; from stages.core.log import Log;"
        "from stages.port.stage import *; raw, out = map(Path, sys.argv[1:]);"
        "params = PortParams.model_validate({'raw': 'x', 'source': {'kind': 'fairseq',"
        " 'sentences': 20}});"
        "port(params, raw, raw / 'none', raw / 'none', out, Log())"
    )
    files = folder / "raw/files"
    files.mkdir(parents=True)
    for name in ("model1.pt", "dict.en.txt", "dict.eo.txt", "bpecodes", "fairseq-beam1.jsonl"):
        (files / name).symlink_to(CHECKPOINT / name)
    command = [sys.executable, "-c", code, str(folder / "raw"), str(folder / "ported")]
    subprocess.run(command, check=True, cwd=ROOT)
    return folder / "ported"


def corpus(folder: Path) -> Path:
    """Write Tatoeba pairs, but those of the release, as a corpus that a shortlist learns from."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sides = [
        gzip.decompress(path.read_bytes()).decode("utf-8").splitlines()
        for path in sorted((DATA / "data/tatoeba/eng-epo").glob("*2021*.gz"))
    ]
    own = {*judged()["release"][0]}
    rows = [row for row in zip(*sides, strict=True) if row[0] not in own]
    folder.mkdir()
    # Rows are sorted by text: every 59th is held out, so that both parts are alike.
    held = rows[7::59]
    kept = [row for place, row in enumerate(rows) if place % 59 != 7]
    for split, part in (("train", kept), ("valid", held)):
        columns = {
            "id": [str(number) for number in range(len(part))],
            "source_text": [one for one, _ in part],
            "target_text": [one for _, one in part],
        }
        pq.write_table(pa.table(columns), folder / f"{split}-00000.parquet")
    manifest = {"kind": "parallel", "splits": {}}
    (folder / "corpus.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def exported(model: Path, pairs: Path, folder: Path) -> dict[str, Path]:
    """Export the ported model in every format, each proved by the stage; return the folders."""
    from stages.core.log import Log
    from stages.export.stage import ExportParams, export

    int8, lexical = {"kind": "dynamic-int8"}, {"kind": "lexical"}
    wanted: dict[str, dict[str, Any]] = {
        "onnx float": {"format": "onnx-translator"},
        "onnx int8": {"format": "onnx-translator", "quantize": {**int8, "embeddings": False}},
        "ctranslate2 float": {"format": "ctranslate2"},
        "ctranslate2 int8": {"format": "ctranslate2", "quantize": int8},
        "runner float": {"format": "runner"},
        "runner int8": {"format": "runner", "quantize": int8},
        "runner int8 shortlist": {"format": "runner", "quantize": int8, "shortlist": lexical},
    }
    found = {}
    for name, params in wanted.items():
        settings = ExportParams.model_validate(
            {"model": "ported/x", "corpus": "corpora/pairs", "parity_points": 1.0, **params}
        )
        found[name] = folder / name.replace(" ", "-")
        export(settings, model, pairs, folder / "none", found[name], Log())
    return found


def random_base(folder: Path) -> tuple[Path, dict[str, Path]]:
    """Write a random transformer-base in the formats that need no proof: it says nothing."""
    import torch
    from transformers import FSMTConfig, FSMTForConditionalGeneration

    from stages.export import ctranslate
    from stages.lm import blueprint
    from stages.lm.runner import layouts, storage
    from stages.lm.runner.shortlist import Shortlist

    torch.manual_seed(0)
    model = FSMTForConditionalGeneration(FSMTConfig(**BASE))
    model.save_pretrained(folder / "model")
    words = ["<s>", "<pad>", "</s>", "<unk>", *(f"w{number}</w>" for number in range(4, 32_000))]
    vocabulary = {word: number for number, word in enumerate(words)}
    for name in ("vocab-src.json", "vocab-tgt.json"):
        (folder / "model" / name).write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "model/merges.txt").write_text("", encoding="utf-8")
    settings = {"tokenizer_class": "FSMTTokenizer", "langs": ["en", "eo"]}
    (folder / "model/tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    config = json.loads((folder / "model/config.json").read_text(encoding="utf-8"))
    tensors = {name: one.detach().numpy() for name, one in model.state_dict().items()}
    source = blueprint.of(config, tensors)
    found = {}
    for name, small in (("float", None), ("int8", "int8")):
        found[f"ctranslate2 {name}"] = folder / f"ctranslate2-{name}"
        found[f"ctranslate2 {name}"].mkdir()
        ctranslate.write(source, folder / "model", found[f"ctranslate2 {name}"], small)
        found[f"runner {name}"] = folder / f"runner-{name}"
        found[f"runner {name}"].mkdir()
        layout = layouts.layout(source)
        storage.write(found[f"runner {name}"], layout, quantize=bool(small), tables=False)
    generator = np.random.Generator(np.random.PCG64(0))
    # As many words per sentence as a trained list has: 30 per token and 500 for all.
    listed = Shortlist(
        generator.integers(4, 32_000, 32_000 * 30).astype(np.int32),
        np.arange(0, 32_000 * 30 + 1, 30),
        np.arange(500, dtype=np.int32),
        np.zeros(32_000, np.int8),
        32_000,
    )
    name = "runner int8 shortlist"
    found[name] = folder / "runner-int8-shortlist"
    found[name].mkdir()
    storage.write(found[name], layouts.layout(source), quantize=True, tables=False)
    (found[name] / storage.WORDS).write_bytes(listed.save())
    return folder / "model", found


def generate(model: Path, limits: Limits, threads: int) -> System:
    """Return transformers' `generate`."""
    import torch
    from transformers import FSMTForConditionalGeneration

    loaded = FSMTForConditionalGeneration.from_pretrained(model, local_files_only=True).eval()

    def translate(sources: Ids, beams: int, batch: int) -> Ids:
        torch.set_num_threads(threads)
        found: Ids = []
        for at in range(0, len(sources), batch):
            part = sources[at : at + batch]
            width = max(map(len, part))
            ids = torch.tensor([row + [1] * (width - len(row)) for row in part])
            with torch.inference_mode():
                said = loaded.generate(
                    input_ids=ids, attention_mask=ids.ne(1).long(), num_beams=beams,
                    early_stopping=beams > 1, length_penalty=1.0,
                    max_new_tokens=limits.most + 1, min_new_tokens=limits.least,
                )  # fmt: skip
            found += [_until_end(row[1:]) for row in said.tolist()]
        return found

    return System("transformers generate", translate, (16, 32, 64))


def _until_end(row: list[int]) -> list[int]:
    return row[: row.index(2) + 1] if 2 in row else row


def ctranslate(
    name: str, folder: Path, vocabularies: tuple[list[str], dict[str, int]], limits: Limits,
    threads: int,
) -> System:  # fmt: skip
    """Return CTranslate2 with one thread per batch and `threads` batches at a time."""
    import ctranslate2

    kind = "int8" if "int8" in name else "float32"
    session = ctranslate2.Translator(
        str(folder), device="cpu", inter_threads=threads, intra_threads=1, compute_type=kind
    )
    symbols, ids = vocabularies

    def translate(sources: Ids, beams: int, batch: int) -> Ids:
        found = session.translate_batch(
            [[symbols[one] for one in row] for row in sources],
            max_batch_size=batch, beam_size=beams, length_penalty=1.0,
            max_decoding_length=limits.most, min_decoding_length=limits.least,
        )  # fmt: skip
        return [[*(ids[one] for one in row.hypotheses[0]), 2] for row in found]

    return System(name, translate, (8, 16, 32, 64))


def onnx(name: str, folder: Path, limits: Limits, threads: int) -> System:
    """Return the two graphs under our search."""
    from stages.lm.exported import open_translator
    from stages.lm.generate import Search

    opened = open_translator(folder, threads)

    def translate(sources: Ids, beams: int, batch: int) -> Ids:
        search = Search(num_beams=beams, max_tokens=limits.most, min_tokens=limits.least)
        return [one[0].tokens for one in opened.hypotheses(sources, search, batch)]

    return System(name, translate, (16, 32, 64))


def runner(
    name: str, folder: Path, limits: Limits, threads: int, told: dict[str, dict[str, int]]
) -> System:
    """Return our runner; `told` gets the cycles of its parts, summed over calls."""
    from stages.lm.runner import storage
    from stages.lm.runner.engine import Runner, Settings
    from stages.lm.runner.search import Rules

    packed, shortlist = storage.read(folder)

    def translate(sources: Ids, beams: int, batch: int) -> Ids:
        rules = Rules(beams, 1.0, limits.most, limits.least, 0.0, 1, 2, 3, 2)
        settings = Settings(threads=threads, slots=batch)
        answers = Runner(packed, settings, shortlist).translate(sources, rules)
        sums = told.setdefault(f"{name}, beam {beams}", dict.fromkeys(answers.cycles, 0))
        for part, count in answers.cycles.items():
            sums[part] += count
        found = answers.found
        counts = found.count
        scores = np.where(np.arange(beams) < counts[:, None], found.scores, -np.inf)
        rows = np.arange(len(sources))
        best = scores.argmax(axis=1)
        lengths = found.lengths[rows, best]
        tokens = found.tokens[rows, best]
        return [row[:size].tolist() for row, size in zip(tokens, lengths, strict=True)]

    return System(name, translate, (12, 20, 32, 64))


def sorted_sources(rows: Sequence[list[int]]) -> Ids:
    """Return sources, long ones first."""
    return sorted(rows, key=lambda row: (-len(row), row))


FAIRSEQ = """
import json, os, resource, sys, time
import torch
from fairseq import checkpoint_utils
from fairseq.sequence_generator import SequenceGenerator
folder, threads = sys.argv[1], int(sys.argv[2])
torch.set_num_threads(threads)
models, _, task = checkpoint_utils.load_model_ensemble_and_task(
    [os.path.join(folder, "model1.pt")], arg_overrides={"data": folder})
model = models[0].eval()
for layer in model.encoder.layers:
    layer.can_use_fastpath = False
def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
print(json.dumps("ready"), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    search = SequenceGenerator([model], task.target_dictionary, beam_size=asked["beams"],
                               max_len_a=0, max_len_b=asked["most"])
    began, wall, found = cpu(), time.perf_counter(), []
    for at in range(0, len(asked["sources"]), asked["batch"]):
        part = asked["sources"][at:at + asked["batch"]]
        width = max(map(len, part))
        rows = torch.tensor([[1] * (width - len(row)) + row for row in part])
        lengths = torch.tensor([len(row) for row in part])
        with torch.no_grad():
            said = search.generate([model], {"net_input": {
                "src_tokens": rows, "src_lengths": lengths}})
        found += [one[0]["tokens"].tolist() for one in said]
    print(json.dumps({"found": found, "cpu": cpu() - began,
                      "wall": time.perf_counter() - wall}), flush=True)
"""


class Fairseq:
    """Real fairseq in its own process, asked line by line."""

    def __init__(self, threads: int) -> None:
        self.process = subprocess.Popen(
            [ORACLE, "-c", FAIRSEQ, str(CHECKPOINT), str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self.used = {"cpu_seconds": 0.0, "wall_seconds": 0.0}
        self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        while line := self.process.stdout.readline():
            if line[0] in '{"':
                return json.loads(line)
        raise RuntimeError(f"fairseq ended with {self.process.wait()}")

    def system(self, limits: Limits) -> System:
        """Return it as a system; `used` has the seconds of its last answer."""

        def translate(sources: Ids, beams: int, batch: int) -> Ids:
            asked = {"sources": sources, "beams": beams, "batch": batch, "most": limits.most}
            assert self.process.stdin is not None
            self.process.stdin.write(json.dumps(asked) + "\n")
            self.process.stdin.flush()
            told = self._answer()
            self.used = {"cpu_seconds": told["cpu"], "wall_seconds": told["wall"]}
            return told["found"]

        return System("fairseq", translate, (16, 32, 64), lambda: self.used)

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=30)
