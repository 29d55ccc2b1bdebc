"""The files of a fairseq release, in a folder or in one archive, each found by what it is.

model.pt               or model1.pt ... (an ensemble), checkpoint_best.pt
dict.en.txt dict.eo.txt    or one dict.txt for both sides
bpecodes               or `code`, `codes`, `bpe.codes`; fastBPE's or subword-nmt's format
sentencepiece.bpe.model    or spm.model, *.spm: one for both sides, or one a side (spm.en.model)
fairseq-beam5*.jsonl   optional: what fairseq itself translated, for verification
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from stages.core.errors import ArtifactError, SourceError
from stages.lm.archives import is_archive, unpack

CHECKPOINT = "*.pt"
CODES = ("bpecodes", "code", "codes", "bpe.codes", "bpe-codes", "bpe_codes")
CALLED_CODES = re.compile(r"(?!.*\.(pt|py)$)(.*[^a-z])?(bpe)?codes?([^a-z].*)?")
"""Other names of a codes file, such as `codes.en-eo` or `bpe.codes.txt`: taken where there is no
better one."""
CODE_ENDINGS = (".bpecodes", ".codes", ".code")
PIECES = (".model", ".spm")
NUMBER = re.compile(r"(\d+)")
RECORDED = re.compile(r"fairseq-(ensemble-)?beam([1-9][0-9]*)(?:-.*)?\.jsonl")
SIDES = {"source": ("source", "src"), "target": ("target", "tgt", "trg")}
WANTED = (CHECKPOINT, "dict*.txt", *CODES, *(f"*{end}" for end in (*CODE_ENDINGS, *PIECES)))
WANTED_TEXTS = ("*code*", "fairseq-*.jsonl")
GROWTH = 100
"""A member may be this many times its archive's size: weights hardly compress, bombs do."""
SPARE_BYTES = 64 << 20
Files = Mapping[str, list[Path]]
"""Name -> every file of that name, in subfolders too."""


@contextmanager
def unpacked(folder: Path) -> Iterator[Path]:
    """Give a folder of the release's files: where it holds no checkpoint but an archive, of that.

    What lies beside the archive (recorded outputs, say) belongs to the release too.
    """
    files = listed(folder)
    archives = [path for name, paths in files.items() if is_archive(name) for path in paths]
    if checkpoints(folder) or not archives:
        yield folder
        return
    if len(archives) > 1:
        raise ArtifactError(
            f"{len(archives)} archives: {', '.join(path.name for path in archives)}",
            "files of the raw entry",
            "give one release an entry: one archive, or its files unpacked",
        )
    with tempfile.TemporaryDirectory(prefix="deveno-port-") as name:
        place = Path(name)
        _unpack(archives[0], place / "archive")
        (place / "beside").mkdir()
        for paths in files.values():
            for path in paths:
                if path != archives[0]:
                    (place / "beside" / path.name).symlink_to(path.resolve())
        yield place


def _unpack(archive: Path, folder: Path) -> None:
    limit = archive.stat().st_size * GROWTH + SPARE_BYTES
    try:
        unpack(archive, folder, [*WANTED, *WANTED_TEXTS], limit)
    except SourceError as error:
        raise ArtifactError(
            error.what,
            f"{archive.name} among the files of the raw entry",
            "give a whole archive of plain files: the checkpoint, its dictionaries and its codes",
        ) from None


def listed(folder: Path) -> dict[str, list[Path]]:
    """Return every file below a folder by its name; hidden ones stay out."""
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            files.setdefault(path.name, []).append(path)
    return files


def checkpoints(folder: Path) -> list[str]:
    """Return the names of the checkpoints in a release, model2.pt before model10.pt."""
    return by_number(listed(folder))


def by_number(files: Files) -> list[str]:
    """Return the names of checkpoints among files, ordered by the numbers in them."""
    found = [name for name in files if Path(name).match(CHECKPOINT)]
    return sorted(found, key=lambda name: [_number(part) for part in NUMBER.split(name)])


def _number(part: str) -> tuple[int, str]:
    return (int(part), "") if part.isdecimal() else (-1, part)


def one(files: Files, name: str) -> Path:
    """Return the file of a name; two that differ are refused."""
    paths = files[name]
    if len({path.read_bytes() for path in paths} if len(paths) > 1 else paths) > 1:
        raise ArtifactError(
            f"{len(paths)} files are called {name} and differ",
            f"{', '.join(str(Path(*path.parts[-2:])) for path in paths)}",
            "keep one release in an entry",
        )
    return paths[0]


def checkpoint(files: Files, wanted: str) -> Path:
    """Return the one asked for, the best of a training's folder, or the first by its number."""
    names = by_number(files)
    if wanted:
        if wanted not in files:
            raise absent("checkpoint", (wanted,), files)
        return one(files, wanted)
    if not names:
        raise absent("checkpoint", ("model.pt",), files)
    best = "checkpoint_best.pt"
    if best in names and all(name.startswith("checkpoint") for name in names):
        return one(files, best)
    return one(files, names[0])


def dictionary(files: Files, language: str) -> Path:
    """Return dict.<language>.txt, or the one dict.txt of both sides."""
    name = f"dict.{language}.txt"
    if name not in files and "dict.txt" not in files:
        raise absent("dictionary", (name,), files)
    return one(files, name if name in files else "dict.txt")


def codes(files: Files, bpe: str, wanted: str, languages: tuple[str, str]) -> tuple[Path, Path]:
    """Return the codes or sentencepiece model of source and target side.

    `bpe` is what the checkpoint's settings name, `wanted` a file name that decides.
    """
    if wanted:
        if wanted not in files:
            raise absent("codes", (wanted,), files)
        return one(files, wanted), one(files, wanted)
    merges = [name for name in sorted(files) if name in CODES or name.endswith(CODE_ENDINGS)]
    sides = [f"{name}.{languages[0]}" for name in CODES if f"{name}.{languages[0]}" in files]
    pieces = [name for name in sorted(files) if name.endswith(PIECES)]
    if bpe == "sentencepiece":
        merges, sides = [], []
    if bpe in ("fastbpe", "subword_nmt"):
        pieces = []
    if (merges or sides) and pieces:
        raise _several(["codes", "a sentencepiece model"], [*merges, *sides, *pieces])
    if pieces:
        return _pieces(files, pieces, languages)
    found = merges or sides or [name for name in sorted(files) if CALLED_CODES.fullmatch(name)]
    if not found:
        known = PIECES if bpe == "sentencepiece" else CODES
        raise absent("sentencepiece model" if bpe == "sentencepiece" else "codes", known, files)
    if len(found) > 1:
        raise _several(["codes"], found)
    return one(files, found[0]), one(files, found[0])


def _pieces(files: Files, names: list[str], languages: tuple[str, str]) -> tuple[Path, Path]:
    """Return one model twice, or the two that carry the languages or the sides in their names."""
    if len(names) == 1:
        return one(files, names[0]), one(files, names[0])
    found = []
    for side, language in zip(SIDES, languages, strict=True):
        marks = {language, *SIDES[side]}
        fitting = [name for name in names if marks.intersection(re.split(r"[._-]", name))]
        if len(fitting) != 1:
            raise _several([f"a sentencepiece model of the {side} side"], names)
        found.append(one(files, fitting[0]))
    return found[0], found[1]


def _several(what: list[str], names: list[str]) -> ArtifactError:
    return ArtifactError(
        f"more than one file can be {' or '.join(what)}: {', '.join(names)}",
        "files of the raw entry",
        f"say which one to take, such as `codes: {names[0]}`",
    )


def absent(what: str, wanted: tuple[str, ...], files: Files) -> ArtifactError:
    """Return the error for a file that is not there."""
    return ArtifactError(
        f"no {what}: looked for {', '.join(wanted)}",
        f"files of the raw entry: {', '.join(sorted(files)[:12]) or 'none'}",
        "give a folder with a checkpoint (.pt), dict.<language>.txt for both sides and bpecodes "
        "or a sentencepiece model",
    )
