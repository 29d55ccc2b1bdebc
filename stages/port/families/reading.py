"""From the choice of a family to its reader."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.log import Log
from stages.port.families import choices
from stages.port.families.conversion import port_release

if TYPE_CHECKING:
    from stages.port.families.release import Release


def port_family(source: choices.FamilySource, files: Path, model: Path, log: Log) -> dict[str, Any]:
    """Port the release in `files` and return its verification."""
    return port_release(read(source, files), model, log, source.seed, source.compare_below_mb)


def read(source: choices.FamilySource, files: Path) -> Release:
    """Return the release in `files`, read as its kind says."""
    from stages.port.families import bert, bloom, gpt2, megatron, roberta, rwkv

    match source:
        case choices.Bert():
            return bert.read(files, source)
        case choices.Gpt2():
            return gpt2.read(files, source)
        case choices.Roberta():
            return roberta.read(files, source)
        case choices.MegatronGpt2():
            return megatron.read(files, source)
        case choices.Rwkv():
            return rwkv.read(files, source)
        case choices.Bloom():
            return bloom.read(files, source)
