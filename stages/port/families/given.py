"""A tokenizer.json that came with a release: kept as it is, its ids those of `tokenizers`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stages.core import canonical
from stages.core.errors import ArtifactError
from stages.port.families.release import Files, named, read_json

ENDS = ("<|endoftext|>", "</s>", "<|eos|>", "<eos>")
BEGINS = ("<s>", "<|bos|>", "<bos>")
UNKNOWN = ("<unk>", "<|unk|>")
PADS = ("<pad>", "<|padding|>", "<|pad|>")
COMPANIONS = ("tokenizer_config.json", "special_tokens_map.json")


@dataclass(frozen=True)
class GivenTokenizer:
    """The files of a release's tokenizer, and the ids that it gives a text."""

    files: dict[str, bytes]
    encode: Callable[[str], list[int]]
    begin: int
    end: int
    pad: int | None


def read(files: Files, rows: int, max_tokens: int) -> GivenTokenizer | None:
    """Return the tokenizer that came with a release, or None; its tokens must have rows."""
    path = named(files, "tokenizer.json", "_tokenizer.json")
    if path is None:
        return None
    tree = read_json(path)
    from tokenizers import Tokenizer

    content = path.read_bytes()
    try:
        backend = Tokenizer.from_str(content.decode("utf-8"))
    except Exception as fault:  # tokenizers raises its own bare exceptions
        raise ArtifactError(
            f"tokenizers cannot read it: {fault}", path.name, "fetch the file again"
        ) from None
    vocabulary = backend.get_vocab(with_added_tokens=True)
    highest = max(vocabulary.values(), default=-1)
    if highest >= rows:
        raise ArtifactError(
            f"its tokens have ids up to {highest} and the checkpoint {rows} rows",
            path.name,
            "give the tokenizer that the checkpoint was trained with",
        )
    companions = {name: files[name].read_bytes() for name in COMPANIONS if name in files}
    special = {one["content"] for one in tree.get("added_tokens", []) if one.get("special")}

    def first(names: tuple[str, ...]) -> str | None:
        return next((name for name in names if name in vocabulary and name in special), None)

    if "tokenizer_config.json" not in companions:
        end = first(ENDS)
        settings = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": max_tokens,
            "bos_token": first(BEGINS) or end,
            "eos_token": end,
            "unk_token": first(UNKNOWN),
            "pad_token": first(PADS),
            "clean_up_tokenization_spaces": False,
        }
        kept = {name: value for name, value in settings.items() if value is not None}
        companions["tokenizer_config.json"] = canonical.dumps(kept).encode("utf-8")
    end = first(ENDS)
    begin = first(BEGINS) or end
    pad = first(PADS)
    return GivenTokenizer(
        files={"tokenizer.json": content, **companions},
        encode=lambda text: list(backend.encode(text, add_special_tokens=False).ids),
        begin=vocabulary[begin] if begin else 0,
        end=vocabulary[end] if end else 0,
        pad=vocabulary[pad] if pad else None,
    )
