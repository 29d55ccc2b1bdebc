"""Files that hold a pickle: loading one runs whatever its writer wished, so none is taken in."""

from __future__ import annotations

import pickletools
import zipfile
from pathlib import Path

from stages.core.errors import ArtifactError

ENDINGS = (".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".bin", ".t7", ".mar")
"""Names under which pickles come; `.bin` is also what our token shards are called."""
PROTOCOLS = tuple(bytes([0x80, number]) for number in range(2, 6))
LOOKED_BYTES = 1 << 20
"""How much of a file without such a name is read for a pickle that ends in it."""


def refuse(path: Path, name: str, is_tokens: bool = False) -> None:
    """Raise an ArtifactError if a file is a pickle, by its name or by what it holds.

    `is_tokens` says that the file lies among token shards, whose `.bin` are flat arrays.
    """
    ending = path.suffix.lower()
    named = ending in ENDINGS and not (is_tokens and ending == ".bin")
    if named or _holds(path):
        raise ArtifactError(
            f"{name} is a pickle, and loading one runs its writer's code",
            str(path),
            "port it: an `acquire` entry on that folder and a `port` entry make safetensors of it; "
            "or leave that file out where safetensors lie beside it",
        )


def _holds(path: Path) -> bool:
    """Return whether a file is a pickle, or an archive that holds one, whatever its name."""
    with path.open("rb") as stream:
        head = stream.read(LOOKED_BYTES)
    if head.startswith(b"PK\x03\x04"):
        try:
            with zipfile.ZipFile(path) as archive:
                return any(Path(name).suffix in (".pkl", ".pickle") for name in archive.namelist())
        except zipfile.BadZipFile:
            return False
    if not head.startswith(PROTOCOLS):
        return False
    try:
        for _ in pickletools.genops(head):
            pass
    except (ValueError, UnicodeError, OverflowError) as error:
        # A long pickle goes on behind what was looked at; a flat array that begins so makes no
        # sense long before.
        cut = ("exhausted before", "bytes in a", "not enough data", "no newline found")
        return len(head) == LOOKED_BYTES and any(words in str(error) for words in cut)
    return True
