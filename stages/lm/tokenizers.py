"""A tokenizer on disk: opening it, its special tokens, its identity, taking it along."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages.core import canonical
from stages.core.errors import ArtifactError
from stages.lm.tokens import Special

FILES = (
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "unigram.json",
    "vocab.json",
    "vocab.txt",
)
"""Files that a model folder takes along unchanged, where they exist."""
CONFIG = "tokenizer_config.json"


def load(folder: Path) -> Any:
    """Open tokenizer.json as a `tokenizers.Tokenizer` that reads special tokens in text as text.

    A text that spells `<mask>` must become bytes, not the special token: otherwise a web page
    could put ids into the training stream that the objective treats as its own.
    """
    path = folder / "tokenizer.json"
    try:
        return opened(path.read_text(encoding="utf-8"))
    except Exception as fault:  # the Rust side raises bare Exception for malformed files
        raise ArtifactError(
            f"tokenizer.json cannot be read: {fault}",
            str(folder),
            "run the tokenizer entry that makes this folder again",
        ) from fault


def opened(state: str) -> Any:
    """Open the content of a tokenizer.json, as `load` does."""
    from tokenizers import Tokenizer

    backend = Tokenizer.from_str(state)
    backend.encode_special_tokens = True
    return backend


class Deferred:
    """A tokenizer by its content, which the library opens again only when more is asked for.

    `state` must be what the library wrote. Kernels need nothing else, and opening it takes as long
    as they take for ten megabytes of text. Special tokens in text are text, as in `load`.
    """

    encode_special_tokens = True

    def __init__(self, state: str) -> None:
        self._state = state
        self._library: Any = None

    def to_str(self) -> str:
        """Return the content of tokenizer.json."""
        return self._state

    def __getattr__(self, name: str) -> Any:
        if self._library is None:
            self._library = opened(self._state)
        return getattr(self._library, name)


def read_config(folder: Path) -> dict[str, Any]:
    """Return tokenizer_config.json."""
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise ArtifactError(
            f"{CONFIG} cannot be read: {fault}",
            str(folder),
            "run the tokenizer entry that makes this folder again",
        ) from fault
    return config


def special(folder: Path, backend: Any) -> Special:
    """Return the ids of the special tokens; one that the vocabulary lacks is an ArtifactError.

    A masked model's text stands between `cls_token` and `sep_token` where a config has both (BERT,
    Perceiver; RoBERTa's are its `bos_token` and `eos_token`).
    """
    config = read_config(folder)
    masked = config.get("mask_token") is not None
    wrapped = masked and config.get("cls_token") and config.get("sep_token")

    def number(role: str) -> int:
        token = _content(config.get(role))
        found = None if token is None else backend.token_to_id(token)
        if found is None:
            raise ArtifactError(
                f"the {role} is {token!r}, which the vocabulary does not have",
                str(folder / CONFIG),
                f"name a {role} that tokenizer.json lists",
            )
        return int(found)

    added = backend.get_added_tokens_decoder()
    return Special(
        begin=number("cls_token" if wrapped else "bos_token"),
        end=number("sep_token" if wrapped else "eos_token"),
        pad=number("pad_token"),
        mask=number("mask_token") if masked else None,
        all=tuple(sorted(int(key) for key, token in added.items() if token.special)),
    )


def digest(folder: Path) -> str:
    """Return the SHA-256 of what a tokenizer does: tokenizer.json and tokenizer_config.json."""
    state = hashlib.sha256()
    for name in ("tokenizer.json", CONFIG):
        state.update(canonical.file_digest(folder / name).encode("ascii"))
    return state.hexdigest()


def copy(folder: Path, target: Path, model_max_length: int | None = None) -> None:
    """Take a tokenizer into a model's folder byte for byte.

    With `model_max_length`, the config says how many tokens that model reads at most.
    """
    config = read_config(folder)
    target.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, target / name)
    if model_max_length is not None:
        config["model_max_length"] = model_max_length
    canonical.write_json(target / CONFIG, config)


def encode_texts(backend: Any, texts: Sequence[str]) -> list[list[int]]:
    """Encode texts without special tokens; returns ids per text."""
    found = backend.encode_batch_fast(list(texts), add_special_tokens=False)
    return [encoding.ids for encoding in found]


def _content(token: Any) -> str | None:
    """Return the text of a token that a config writes as a string or as a dictionary."""
    return token.get("content") if isinstance(token, dict) else token
