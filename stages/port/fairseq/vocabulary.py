"""fairseq's dictionaries, BPE codes and sentencepiece models, and their transformers form.

A dictionary file has a line `token count` per symbol; the ids 0 to 3 are not in it but go before
(`<s>`, `<pad>`, `</s>`, `<unk>`), so a line's number is not its id. The token may hold spaces.
Codes are one merge per line, best first: `left right count` (fastBPE), or `left right` below a
`#version: 0.2` line (subword-nmt).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from stages.core.errors import ArtifactError
from stages.lm.pipelines import SPECIALS, vocabulary_key

OVERWRITE = "#fairseq:overwrite"
SUBWORD_NMT = "#version:"
TAG = re.compile(r"<.*>|\[.*\]|__.*__")
COUNT = re.compile(r"[+-]?\d+")
Lines = list[tuple[str, int]]
"""Symbol and count of every line."""


def read_dictionary(path: Path, checked: bool = True) -> dict[str, int]:
    """Return symbol -> id in the order of ids, specials first.

    A symbol that a later line overwrites keeps its old id under a name with a space behind it,
    which no text contains: the id stands for the same text but is never looked up. `checked`
    refuses a dictionary that fairseq would have sorted otherwise.
    """
    symbols = {symbol: index for index, symbol in enumerate(SPECIALS)}
    rows: Lines = []
    for number, line in enumerate(_lines(path), start=1):
        symbol, _, count = line.rstrip().rpartition(" ")
        overwrite = count == OVERWRITE
        if overwrite:
            symbol, _, count = symbol.rpartition(" ")
        if not symbol or COUNT.fullmatch(count) is None:
            raise ArtifactError(
                f"{line!r} is not `token count`",
                f"{path.name}, line {number}",
                "give the dict.*.txt that fairseq-preprocess wrote",
            )
        if symbol in symbols and not overwrite:
            raise ArtifactError(
                f"the token {symbol!r} is there a second time",
                f"{path.name}, line {number}",
                f"remove the line, or mark a wanted second one with {OVERWRITE}",
            )
        if symbol in symbols:
            symbols = _set_aside(symbols, symbol)
        symbols[symbol] = len(symbols)
        rows.append((symbol, int(count)))
    exchanged = _exchanged(rows) if checked else None
    if exchanged is not None:
        one, other = exchanged
        raise ArtifactError(
            f"the lines {rows[one][0]!r} and {rows[other][0]!r} look exchanged: fairseq writes "
            "falling counts, equal ones in the order of the tokens",
            f"{path.name}, lines {one + 1} and {other + 1}",
            "give the dictionary the model was trained with; if this is it, set "
            "port.<entry>.source.dictionary_order: any",
        )
    return symbols


def _set_aside(symbols: dict[str, int], symbol: str) -> dict[str, int]:
    aside = symbol + " "
    while aside in symbols:
        aside += " "
    return {aside if key == symbol else key: index for key, index in symbols.items()}


def _exchanged(rows: Lines) -> tuple[int, int] | None:
    """Return two lines that, put back, bring the order in which fairseq writes a dictionary.

    That is by falling count and equal counts by token (`Dictionary.finalize`); older releases left
    equal counts as they came, so a file in neither order proves nothing and is taken as it is.
    Tags such as `<mask>` or `__eo__`, which people append, stay out of it.
    """
    kept = [(symbol, count) for symbol, count in rows if TAG.fullmatch(symbol) is None]
    wanted = sorted(range(len(kept)), key=lambda at: (-kept[at][1], kept[at][0]))
    moved = [at for at, place in enumerate(wanted) if at != place]
    if moved and all(wanted[wanted[at]] == at for at in moved):
        return _line(rows, kept, moved[0]), _line(rows, kept, wanted[moved[0]])
    counts = [count for _, count in kept]
    rises = [at for at in range(1, len(counts)) if counts[at] > counts[at - 1]]
    if not 1 <= len(rises) <= 2:
        return None
    one, other = rises[0] - 1, rises[-1]
    counts[one], counts[other] = counts[other], counts[one]
    if any(later > earlier for earlier, later in zip(counts, counts[1:], strict=False)):
        return None
    return _line(rows, kept, one), _line(rows, kept, other)


def _line(rows: Lines, kept: Lines, at: int) -> int:
    return rows.index(kept[at])


def transformers_vocabulary(symbols: Mapping[str, int], name: str) -> dict[str, int]:
    """Return the same ids under `</w>` keys; two symbols of one key are refused."""
    keys: dict[str, int] = {}
    for symbol, index in symbols.items():
        bare = symbol.rstrip(" ")
        key = vocabulary_key(bare) + " " * (len(symbol) - len(bare))
        if key in keys:
            raise ArtifactError(
                f"the token {symbol!r} becomes {key!r}, which is already id {keys[key]}",
                name,
                "rename one of the two tokens; transformers' layout has one key for both",
            )
        keys[key] = index
    return keys


def read_codes(path: Path) -> tuple[list[tuple[str, str]], str]:
    """Return merges, best first, and the format's name (`fastBPE` or `subword-nmt`)."""
    lines = _lines(path)
    if lines and lines[0].startswith("\ufeff"):
        raise ArtifactError(
            "the file begins with a byte order mark, which would be part of the first merge",
            f"{path.name}, line 1",
            "save it as UTF-8 without the mark; fastBPE and subword-nmt write none",
        )
    form = "subword-nmt" if lines and lines[0].startswith(SUBWORD_NMT) else "fastBPE"
    if form == "subword-nmt" and lines[0].split()[-1] != "0.2":
        raise ArtifactError(
            f"codes of subword-nmt {lines[0].split()[-1]}, only version 0.2 ends words by </w>",
            f"{path.name}, line 1",
            "learn the codes again with subword-nmt 0.2 or later, or with fastBPE",
        )
    columns = 2 if form == "subword-nmt" else 3
    merges: dict[tuple[str, str], None] = {}
    for number, line in enumerate(lines, start=1):
        if number == 1 and form == "subword-nmt":
            continue
        parts = line.rstrip("\r ").split(" ")
        if len(parts) != columns or not all(parts):
            raise ArtifactError(
                f"{line!r} has {len(parts)} columns, {form} has {columns}",
                f"{path.name}, line {number}",
                "give the codes file as fastBPE or subword-nmt wrote it",
            )
        pair = (parts[0], parts[1])
        if pair in merges:
            raise ArtifactError(
                f"the merge {' '.join(pair)!r} is there a second time",
                f"{path.name}, line {number}",
                "remove the second one; a merge has one rank",
            )
        merges[pair] = None
    if not merges:
        raise ArtifactError(
            "the codes file holds no merge",
            path.name,
            "give the codes file as fastBPE or subword-nmt wrote it",
        )
    return list(merges), form


def read_pieces(path: Path) -> bytes:
    """Return the bytes of a sentencepiece model that opens."""
    import sentencepiece

    data = path.read_bytes()
    try:
        size = sentencepiece.SentencePieceProcessor(model_proto=data).get_piece_size()
    except (RuntimeError, OSError, ValueError) as error:
        raise ArtifactError(
            f"the sentencepiece model cannot be read: {str(error).splitlines()[0][:120]}",
            f"{path.name} ({len(data)} bytes)",
            "fetch the file again and compare its size and checksum with its source",
        ) from None
    if size == 0:
        raise ArtifactError(
            "the sentencepiece model holds no piece",
            f"{path.name} ({len(data)} bytes)",
            "give the model whose pieces the dictionaries hold",
        )
    return data


def check_pieces(model: bytes, symbols: Mapping[str, int], name: str, dictionary: str) -> None:
    """Raise where a model's pieces are not those of a dictionary: its texts would be unknown."""
    import sentencepiece

    opened = sentencepiece.SentencePieceProcessor(model_proto=model)
    pieces = {opened.id_to_piece(index) for index in range(opened.get_piece_size())}
    known = [symbol for symbol in _words(symbols) if symbol in pieces]
    if len(known) * 2 < len(_words(symbols)):
        raise ArtifactError(
            f"{len(known)} of {len(_words(symbols))} tokens of {dictionary} are pieces of {name}",
            f"{name}, {dictionary}",
            "give the sentencepiece model and the dictionary that belong together",
        )


def _words(symbols: Mapping[str, int]) -> Sequence[str]:
    return [one for one in symbols if one not in SPECIALS and not one.startswith("madeupword")]


def _lines(path: Path) -> list[str]:
    """Return the lines as Python's text files split them (not at U+2028 or U+0085)."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ArtifactError(
            f"byte {error.start} is not UTF-8",
            path.name,
            "convert the file to UTF-8; fairseq reads nothing else",
        ) from None
    lines = text.split("\n")
    return lines[:-1] if lines[-1] == "" else lines
