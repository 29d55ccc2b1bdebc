"""Make small checkpoints of many shapes with real fairseq, and record what fairseq says of them.

Runs with the Python that has fairseq, not with Deveno's (nothing of Deveno is imported):

    python3.10 -m venv oracle
    oracle/bin/pip install 'pip<24.1' && oracle/bin/pip install 'setuptools<66' 'cython<3' wheel
    oracle/bin/pip install torch==1.13.1 numpy==1.23.5 omegaconf==2.0.6 hydra-core==1.0.7 \
        sacremoses subword-nmt sentencepiece fastBPE fairseq==0.12.2
    oracle/bin/python benchmarks/fairseq_oracle.py --english FILE.gz --esperanto FILE.gz --out DIR

Every shape becomes a folder of DIR as a release has it: checkpoint, dictionaries, codes or
sentencepiece model, `fairseq-beam1.jsonl` and `fairseq-beam5-nbest5.jsonl` (the rows that stage
`port` verifies against). `benchmarks/fairseq_shapes.py` ports them all. A thousand updates are
about 75 s of one core; several of these may fill DIRs of their own, each with some `--shapes`.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

SMALL = {
    "encoder-embed-dim": 64,
    "decoder-embed-dim": 64,
    "encoder-ffn-embed-dim": 128,
    "decoder-ffn-embed-dim": 96,
    "encoder-layers": 2,
    "decoder-layers": 1,
    "encoder-attention-heads": 4,
    "decoder-attention-heads": 2,
}
PRE = {"encoder-normalize-before": True, "decoder-normalize-before": True}
LEARNED = {"encoder-learned-pos": True, "decoder-learned-pos": True}
TIED = {"share-decoder-input-output-embed": True}
ALL = {"share-all-embeddings": True}
# name: (text side, what is done to the saved file, options of fairseq-train)
SHAPES = {
    "untied": ("bpe", "", {}),
    "joined": ("bpe-joined", "", ALL),
    "iwslt": ("subword-nmt", "", {"arch": "transformer_iwslt_de_en", **TIED}),
    "gelu": ("bpe", "", {**TIED, "activation-fn": "gelu", "no-scale-embedding": True}),
    "halved": ("bpe-joined", "half", ALL),
    "old": ("bpe", "old", TIED),
    "old-joined": ("bpe-joined", "old", ALL),
    "omegaconf": ("bpe", "omegaconf", TIED),
    "pre-norm": ("bpe", "", {**PRE, **TIED}),
    "pre-norm-old": ("bpe", "old", {**PRE, **TIED}),
    "pre-norm-joined": ("bpe-joined", "", {**PRE, **ALL, "activation-fn": "gelu_accurate"}),
    "pre-norm-untied": ("bpe", "", {**PRE, "activation-fn": "gelu_fast"}),
    "learned": ("bpe", "", {**LEARNED, **TIED}),
    "learned-joined": (
        "bpe-joined",
        "",
        {**LEARNED, **ALL, "max-source-positions": 96, "max-target-positions": 80},
    ),
    "learned-encoder": ("bpe", "", {"encoder-learned-pos": True}),
    "no-positions": ("bpe", "", {"no-token-positional-embeddings": True, **TIED}),
    "pre-norm-learned": ("bpe", "", {**PRE, **LEARNED, **TIED, "max-source-positions": 128}),
    "bart": ("bpe-joined", "", {"arch": "bart_base", **LEARNED, **ALL, "activation-fn": "gelu"}),
    "embedding-norm": ("bpe", "", {"layernorm-embedding": True, **TIED}),
    "mbart": ("bpe-joined", "", {"arch": "mbart_base", **LEARNED, **ALL, **PRE}),
    "embedding-pre-norm": ("bpe", "", {"layernorm-embedding": True, **PRE}),
    "sentencepiece": ("spm-joined", "", ALL),
    "sentencepiece-sides": ("spm", "", {**PRE, **TIED}),
    "sentencepiece-learned": ("spm", "half", {**LEARNED, **TIED}),
}
PAIR = ("--task", "translation", "--source-lang", "en", "--target-lang", "eo")
TRAINING = (
    "--dropout", 0.1, "--criterion", "label_smoothed_cross_entropy", "--label-smoothing", 0.1,
    "--optimizer", "adam", "--adam-betas", "(0.9, 0.98)", "--lr", "3e-3",
    "--lr-scheduler", "inverse_sqrt", "--warmup-updates", 200, "--clip-norm", 1.0,
    "--max-tokens", 1500, "--seed", 1, "--disable-validation",
    "--no-save-optimizer-state", "--no-epoch-checkpoints",
)  # fmt: skip
CPU = """
import importlib, sys
from fairseq.modules import transformer_layer
for name in ("TransformerEncoderLayerBase", "TransformerEncoderLayer"):
    off = property(lambda self: False, lambda self, value: None)
    setattr(getattr(transformer_layer, name), "can_use_fastpath", off)
command = sys.argv.pop(1)
importlib.import_module("fairseq_cli." + command).cli_main()
"""
"""fairseq with its encoder fast path off, which does not work on this torch."""
CHANGE = """
import argparse, sys, torch
from omegaconf import OmegaConf
path, change = sys.argv[1:]
tree = torch.load(path)
state = tree["model"]
if change == "half":
    halve = lambda value: value.half() if value.is_floating_point() else value
    tree["model"] = {key: halve(value) for key, value in state.items()}
if change == "omegaconf":
    model = dict(vars(tree["cfg"]["model"]))
    tree["cfg"] = OmegaConf.create({**tree["cfg"], "model": model})
if change == "old":
    norms = {
        "encoder": ["self_attn_layer_norm", "final_layer_norm"],
        "decoder": ["self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm"],
    }
    found = {}
    for key, value in state.items():
        side, parts = key.split(".")[0], key.split(".")
        if side == "encoder" and len(parts) == 4:
            continue  # the fast path's copy
        if ".q_proj." in key:
            three = [state[key.replace("q_proj", name + "_proj")] for name in "qkv"]
            found[key.replace(".q_proj.", ".in_proj_")] = torch.cat(three)
        elif ".k_proj." in key or ".v_proj." in key:
            continue
        elif len(parts) == 5 and parts[3] in norms[side]:
            number = norms[side].index(parts[3])
            found[".".join([*parts[:3], "layer_norms", str(number), parts[4]])] = value
        elif key == "decoder.output_projection.weight":
            if not torch.equal(value, state["decoder.embed_tokens.weight"]):
                found["decoder.embed_out"] = value
        else:
            found[key] = value
    model = tree["cfg"]["model"]
    optimizer = {"criterion_name": "LabelSmoothedCrossEntropyCriterion", "num_updates": 1,
                 "optimizer_name": "FairseqAdam", "lr_scheduler_state": {}}
    extra = {"epoch": 1, "train_iterator": {"epoch": 1}}
    tree = {"args": model, "model": found, "extra_state": extra, "optimizer_history": [optimizer],
            "last_optimizer_state": {"state": {0: {"exp_avg": torch.zeros(9)}}}}
    torch.save(tree, path, _use_new_zipfile_serialization=False)
else:
    torch.save(tree, path)
"""


def call(*words: object, output: Path | None = None) -> None:
    """Run a command with this Python; its output goes to a file."""
    done = subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, encoding="utf-8"
    )
    if done.returncode:
        raise SystemExit(f"{words[:6]} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    if output is not None:
        output.write_text(done.stdout, encoding="utf-8")


def lines(path: Path) -> list[str]:
    """Return a text file's lines."""
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def write(path: Path, rows: list[str]) -> None:
    """Write one row a line."""
    path.write_text("".join(row + "\n" for row in rows), encoding="utf-8")


def pairs(english: Path, esperanto: Path, count: int) -> list[tuple[str, str]]:
    """Return distinct short pairs in an order that is a hash's, plain punctuation only or not."""
    sides = []
    for path in (english, esperanto):
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            sides.append(stream.read().split("\n"))
    found = {}
    for one, other in zip(*sides, strict=False):
        if one and other and 3 <= len(one.split()) <= 9 and one not in found:
            found[one] = other
    ranked = sorted(found.items(), key=lambda pair: hashlib.sha256(pair[0].encode()).hexdigest())
    return ranked[:count]


def text_side(kind: str, rows: list[tuple[str, str]], test: int, folder: Path) -> None:
    """Tokenise, learn and apply subwords, binarise: train.*, test.* and bin/ below folder."""
    import sacremoses

    folder.mkdir(parents=True)
    for at, lang in enumerate(("en", "eo")):
        moses = sacremoses.MosesTokenizer(lang=lang)
        for split, part in (("train", rows[test:]), ("test", rows[:test])):
            raw = [pair[at] for pair in part]
            write(folder / f"{split}.raw.{lang}", raw)
            if not kind.startswith("spm"):
                raw = [
                    moses.tokenize(one, aggressive_dash_splits=True, return_str=True, escape=True)
                    for one in raw
                ]
            write(folder / f"{split}.tok.{lang}", raw)
    (spm if kind.startswith("spm") else bpe)(kind, folder)
    joined = ["--joined-dictionary"] if kind.endswith("joined") else []
    call("-m", "fairseq_cli.preprocess", "--source-lang", "en", "--target-lang", "eo",
         "--trainpref", folder / "train.bpe", "--validpref", folder / "test.bpe",
         "--testpref", folder / "test.bpe", "--destdir", folder / "bin", *joined)  # fmt: skip


def bpe(kind: str, folder: Path) -> None:
    """Learn merges on both sides; write them in fastBPE's format unless subword-nmt's is asked."""
    from subword_nmt.learn_bpe import learn_bpe

    both = folder / "both"
    write(both, lines(folder / "train.tok.en") + lines(folder / "train.tok.eo"))
    codes = folder / "code"
    with both.open(encoding="utf-8") as stream, codes.open("w", encoding="utf-8") as out:
        learn_bpe(stream, out, 700)
    if kind != "subword-nmt":
        merges = lines(codes)[1:]
        write(folder / "bpecodes", [f"{one} {len(merges) - at}" for at, one in enumerate(merges)])
        codes.unlink()
    for lang in ("en", "eo"):
        for split in ("train", "test"):
            rows = lines(folder / f"{split}.tok.{lang}")
            if kind == "subword-nmt":
                from subword_nmt.apply_bpe import BPE

                with codes.open(encoding="utf-8") as stream:
                    process = BPE(stream).process_line
                write(folder / f"{split}.bpe.{lang}", [process(row) for row in rows])
            else:
                import fastBPE

                learned = fastBPE.fastBPE(str(folder / "bpecodes"))
                write(folder / f"{split}.bpe.{lang}", learned.apply(rows))


def spm(kind: str, folder: Path) -> None:
    """Learn one sentencepiece model for both sides or one a side."""
    import sentencepiece

    models = {}
    for lang in ("en", "eo"):
        joined = kind.endswith("joined")
        name = folder / ("sentencepiece.bpe" if joined else f"spm.{lang}")
        if not name.with_name(name.name + ".model").exists():
            sides = ("en", "eo") if joined else (lang,)
            sentencepiece.SentencePieceTrainer.train(
                input=",".join(str(folder / f"train.tok.{one}") for one in sides),
                model_prefix=str(name),
                vocab_size=700,
                model_type="bpe" if joined else "unigram",
                num_threads=1,
                minloglevel=2,
            )
        models[lang] = sentencepiece.SentencePieceProcessor(model_file=f"{name}.model")
        for split in ("train", "test"):
            rows = lines(folder / f"{split}.tok.{lang}")
            write(
                folder / f"{split}.bpe.{lang}",
                [" ".join(models[lang].encode(row, out_type=str)) for row in rows],
            )


def train(text: Path, folder: Path, options: dict[str, object], updates: int) -> None:
    """Train for so many updates and keep the last checkpoint as folder/model.pt."""
    named = {"arch": "transformer", **SMALL, **options}
    flags: list[object] = []
    for name, value in named.items():
        flags += [f"--{name}"] if value is True else [f"--{name}", value]
    call("-c", CPU, "train", text / "bin", *PAIR, *flags, *TRAINING, "--cpu",
         "--max-update", updates, "--save-dir", folder / "save")  # fmt: skip
    shutil.copyfile(folder / "save" / "checkpoint_last.pt", folder / "model.pt")
    shutil.rmtree(folder / "save")


def generate(kind: str, text: Path, folder: Path, beam: int) -> None:
    """Record fairseq-generate's n-best output of one beam size."""
    side = ["--tokenizer", "moses", "--bpe", "fastbpe", "--bpe-codes", text / "bpecodes"]
    if kind == "subword-nmt":
        side = ["--tokenizer", "moses", "--bpe", "subword_nmt", "--bpe-codes", text / "code"]
    if kind.startswith("spm"):
        name = "sentencepiece.bpe.model" if kind.endswith("joined") else "spm.eo.model"
        side = ["--bpe", "sentencepiece", "--sentencepiece-model", text / name]
    log = folder / "generate.txt"
    call("-c", CPU, "generate", text / "bin", *PAIR, "--path", folder / "model.pt", *side, "--cpu",
         "--beam", beam, "--nbest", beam, "--batch-size", 32, output=log)  # fmt: skip
    found: dict[int, dict[str, list[list[str]]]] = {}
    for line in lines(log):
        mark, _, rest = line.partition("-")
        if mark in ("H", "D", "P"):
            number, *fields = rest.split("\t")
            found.setdefault(int(number), {"H": [], "D": [], "P": []})[mark].append(fields)
    log.unlink()
    sources, references = lines(text / "test.raw.en"), lines(text / "test.raw.eo")
    pieces = lines(text / "test.bpe.en")
    rows = []
    for number in sorted(found):
        row = found[number]
        hyps = [
            {
                "tokens_bpe": h[1],
                "score_log2": float(h[0]),
                "positional_log2": [float(x) for x in p[0].split()],
                "text": d[1],
            }
            for h, d, p in zip(row["H"], row["D"], row["P"], strict=True)
        ]
        told = {"id": number, "source": sources[number], "reference": references[number]}
        rows.append(
            json.dumps({**told, "source_bpe": pieces[number], "hyps": hyps}, ensure_ascii=False)
        )
    name = "fairseq-beam1.jsonl" if beam == 1 else f"fairseq-beam{beam}-nbest{beam}.jsonl"
    write(folder / name, rows)


def main() -> None:
    """Make the shapes that the output folder lacks."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--english", type=Path, required=True, help="gzipped sentences")
    parser.add_argument("--esperanto", type=Path, required=True, help="their translations")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shapes", default=",".join(SHAPES), help="names, comma between")
    parser.add_argument("--updates", type=int, default=1000, help="of training per shape")
    parser.add_argument("--pairs", type=int, default=4000)
    parser.add_argument("--test", type=int, default=60, help="of the pairs, held back")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the commands below
    rows = pairs(given.english, given.esperanto, given.pairs)
    for name in given.shapes.split(","):
        kind, change, options = SHAPES[name]
        text, folder = given.out / "text" / kind, given.out / name
        if (folder / "fairseq-beam5-nbest5.jsonl").exists():
            continue
        if not (text / "bin").exists():
            shutil.rmtree(text, ignore_errors=True)
            text_side(kind, rows, given.test, text)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        train(text, folder, options, given.updates)
        if change:
            call("-c", CHANGE, folder / "model.pt", change)
        for beam in (1, 5):
            generate(kind, text, folder, beam)
        told = {"updates": given.updates, "pairs": len(rows) - given.test}
        (folder / "training.json").write_text(json.dumps(told) + "\n", encoding="utf-8")
        for path in [
            *(text / "bin").glob("dict.*.txt"),
            *text.glob("*.model"),
            *text.glob("*code*"),
        ]:
            shutil.copyfile(path, folder / path.name)
        print(name, sorted(path.name for path in folder.iterdir()), flush=True)


if __name__ == "__main__":
    main()
