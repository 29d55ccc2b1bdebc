"""fairseq's dictionaries and BPE codes, and their transformers form.

A dictionary file has a line `token count` per symbol; the ids 0 to 3 are not in it but go before
(`<s>`, `<pad>`, `</s>`, `<unk>`), so a line's number is not its id. The token may hold spaces.
Codes are one merge per line, best first: `left right count` (fastBPE), or `left right` below a
`#version: 0.2` line (subword-nmt).
"""

from __future__ import annotations

from pathlib import Path

from stages.core.errors import ArtifactError
from stages.lm.pipelines import SPECIALS, vocabulary_key

OVERWRITE = "#fairseq:overwrite"
SUBWORD_NMT = "#version:"


def read_dictionary(path: Path) -> dict[str, int]:
    """Return symbol -> id in the order of ids, specials first."""
    symbols = {symbol: index for index, symbol in enumerate(SPECIALS)}
    for number, line in enumerate(_lines(path), start=1):
        symbol, _, count = line.rpartition(" ")
        overwrite = count == OVERWRITE
        if overwrite:
            symbol, _, count = symbol.rpartition(" ")
        if not symbol or not count.isdecimal():
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
        symbols[symbol] = len(symbols)
    return symbols


def transformers_vocabulary(symbols: dict[str, int], name: str) -> dict[str, int]:
    """Return the same ids under `</w>` keys; two symbols of one key are refused."""
    keys: dict[str, int] = {}
    for symbol, index in symbols.items():
        key = vocabulary_key(symbol)
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
        parts = line.split(" ")
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
    return list(merges), form


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
