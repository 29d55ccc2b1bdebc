"""BPE training by tokenizers and by rustbpe, and the judgement of what was learned.

Runs in the peers' environment; imports nothing of ours but `rounds`, which needs nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.corpus.rounds import serve

SPECIAL = "<|endoftext|>"
EXPRESSION = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
if os.environ.get("RAYON_NUM_THREADS", "1") != "1":
    os.environ["TOKENIZERS_PARALLELISM"] = "true"


def _texts(path: str, held_out: int, held: bool = False) -> list[str]:
    import pyarrow as pa

    texts = pa.ipc.open_file(pa.memory_map(path)).read_all()["text"].to_pylist()
    return [text for number, text in enumerate(texts) if (number % held_out == 0) == held]


def tokenizers(path: str, vocab: int, held_out: int, out: str) -> Iterator[Any]:
    """Train as the library's documentation does, from batches of 1000 texts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    texts = _texts(path, held_out)
    yield None
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        min_frequency=2,
        show_progress=False,
        special_tokens=[SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    made.train_from_iterator((texts[at : at + 1000] for at in range(0, len(texts), 1000)), trainer)
    written = made.to_str()
    Path(out).write_text(written, "utf-8")
    yield hashlib.sha256(written.encode()).hexdigest()


def rustbpe(path: str, vocab: int, held_out: int, out: str) -> Iterator[Any]:
    """Train with the same expression; it writes no tokenizer.json."""
    import rustbpe as package

    del out
    texts = _texts(path, held_out)
    yield None
    made = package.Tokenizer()
    made.train_from_iterator(iter(texts), vocab, pattern=EXPRESSION)
    yield len(made.get_mergeable_ranks())


def judge(path: str, vocab: int, held_out: int, ours: str, theirs: str) -> Iterator[Any]:
    """Open both files by tokenizers and by AutoTokenizer, and encode what was held out."""
    import tempfile

    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    del vocab
    texts = _texts(path, held_out, held=True)
    size = sum(len(text.encode()) for text in texts)
    yield None
    worth, models = [], []
    for file in (ours, theirs):
        opened = Tokenizer.from_file(file)
        models.append(json.loads(Path(file).read_text("utf-8"))["model"])
        count = 0
        for at in range(0, len(texts), 64):
            found = opened.encode_batch_fast(texts[at : at + 64], add_special_tokens=False)
            count += sum(len(one.ids) for one in found)
        worth.append(size / count)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "tokenizer.json").write_text(Path(ours).read_text("utf-8"), "utf-8")
        settings = {"tokenizer_class": "PreTrainedTokenizerFast"}
        Path(folder, "tokenizer_config.json").write_text(json.dumps(settings))
        loaded = AutoTokenizer.from_pretrained(folder)
        opens = loaded.decode(loaded(texts[0])["input_ids"]) == texts[0]
    yield {
        "bytes_per_token": worth[0],
        "bytes_per_token_ratio": worth[0] / worth[1],
        "merges_alike": models[0]["merges"] == models[1]["merges"],
        "opens_in_auto_tokenizer": opens,
    }


if __name__ == "__main__":
    serve({"tokenizers": tokenizers, "rustbpe": rustbpe, "judge": judge})
