"""stub."""
from pathlib import Path
from stages.report.sources import Sources


def write(folder: Path, sources: Sources, texts: Path) -> int:
    """Stub."""
    return 0
