"""What vocabularies cost each language: the shared parallel text, cut by tokenizers learned here.

    python -m benchmarks.languages [--kb 250] [--size 4000]

Every algorithm learns from Esperanto alone and from eight languages in equal shares (Esperanto
books, Common Voice sentences of DEVENO_TEST_DATA), and cuts the FLORES-200 devtest and NTREX-128,
where all languages say the same. Parity is a language's tokens by English's for the same
sentences: 1 is equal cost. Russian, Maltese, Afrikaans and Portuguese are in no training text.
"""

from __future__ import annotations

import argparse
import gzip
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.corpus import material, rounds
from benchmarks.vocabulary import chosen, write_corpus
from stages.core import canonical
from stages.tokenizer import languages, training
from stages.tokenizer.stage import TokenizerParams

RESULT = Path(__file__).with_suffix(".json")
LEARNED = ("cy", "de", "en", "es", "ia", "it", "ro")
"""Languages of Common Voice that the multilingual vocabularies learn from, beside Esperanto."""
ALGORITHMS = ("bpe", "unigram", "wordpiece", "bytes")
FLORES = {"eo": "epo_Latn", "en": "eng_Latn", "de": "deu_Latn", "ru": "rus_Cyrl",
          "af": "afr_Latn", "mt": "mlt_Latn"}  # fmt: skip
NTREX = {"en": "src.eng", "de": "ref.deu", "ru": "ref.rus", "es": "ref.spa", "pt": "ref.por"}
PIVOT = "en"


def lines_of(path: Path) -> list[str]:
    """Return the lines of a text file, packed or not."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8", "replace")
    return text.rstrip("\n").split("\n")


def learning_texts(kilobytes: float) -> dict[str, list[str]]:
    """Return what each vocabulary is learned from: equal shares of every language."""
    parts = {"eo": material.esperanto()}
    for code in LEARNED:
        folder = material.SHARED / "multilingual_raw_commonvoice" / code
        lines = [line for path in sorted(folder.glob("*.txt*")) for line in lines_of(path)]
        parts[code] = ["\n".join(lines[at : at + 20]) for at in range(0, len(lines), 20)]
    many = [text for texts in parts.values() for text in chosen(texts, kilobytes / 1e3)]
    return {"esperanto": chosen(parts["eo"], 8 * kilobytes / 1e3), "multilingual": many}


def parallel_texts() -> dict[str, dict[str, list[str]]]:
    """Return the aligned sentences of each set by language."""
    flores, ntrex = material.SHARED / "flores200" / "devtest", material.SHARED / "ntrex128"
    return {
        "flores200": {code: lines_of(flores / f"{name}.devtest") for code, name in FLORES.items()},
        "ntrex128": {code: lines_of(ntrex / f"newstest2019-{name}.txt")
                     for code, name in NTREX.items()},
    }  # fmt: skip


def rows_of(backend: Any, sets: dict[str, dict[str, list[str]]]) -> list[dict[str, Any]]:
    """Return a row for each language of each set."""
    rows = []
    for name, texts in sets.items():
        counted = dict(zip(texts, languages.aligned(backend, list(texts.values())), strict=True))
        for code, group in counted.items():
            parity = languages.share(group.tokens, counted[PIVOT].tokens)
            row = group.row(code, parity)
            rounded = {key: round(value, 4) if isinstance(value, float) else value
                       for key, value in row.items()}  # fmt: skip
            rows.append({"set": name, **rounded})
    return rows


def main(arguments: Sequence[str]) -> None:
    """Learn, cut and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kb", type=float, default=250.0, help="of each language")
    parser.add_argument("--size", type=int, default=4000)
    how = parser.parse_args(arguments)
    sets = parallel_texts()
    for texts in sets.values():
        assert len({len(one) for one in texts.values()}) == 1, "the sets are aligned line by line"
    found = []
    with tempfile.TemporaryDirectory() as held:
        for learned, texts in learning_texts(how.kb).items():
            corpus = Path(held) / learned
            splits = write_corpus(corpus, texts)
            for algorithm in ALGORITHMS:
                params = TokenizerParams(
                    corpus=learned,
                    algorithm=algorithm,
                    vocab_size=262 if algorithm == "bytes" else how.size,
                )
                backend, _ = training.train(params, corpus)
                backend.encode_special_tokens = True
                found.append(
                    {
                        "learned_from": learned,
                        "learned_bytes": splits["train"]["bytes"] if algorithm != "bytes" else 0,
                        "algorithm": algorithm,
                        "vocabulary_tokens": backend.get_vocab_size(),
                        "languages": rows_of(backend, sets),
                    }
                )
    canonical.write_json(RESULT, {"command": "python -m benchmarks.languages",
                                  "machine": rounds.machine(), "tokenizers": found})  # fmt: skip
    for one in found:
        for row in one["languages"]:
            print(one["learned_from"], one["algorithm"], row["set"], row["name"],
                  row["tokens_per_word"], row["bytes_per_token"], row["characters_per_token"],
                  row["unknown_fraction"], row["parity"])  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
