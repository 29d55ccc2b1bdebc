"""Which kernels and how many threads a process computes with, pinned by its environment.

Must be set before torch, numpy or onnxruntime are imported: they read it once.
"""

from __future__ import annotations

import os

PINNED = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_CBWR": "COMPATIBLE",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}
"""Set before any heavy import: the same kernels on every x86-64 CPU give the same bits."""
QUIET = {
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
    "ORT_DISABLE_TELEMETRY": "1",
}
"""No telemetry, no network from a dependency; a source that declares a hub lifts the latter."""
THREAD_NAMES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def pin(threads: int, portable: bool = True) -> None:
    """Pin kernels and thread counts by environment; must happen before torch or numpy is imported.

    What measures this machine (`portable=False`) keeps the machine's own kernels.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    for name, value in PINNED.items() if portable else ():
        os.environ[name] = value
    for name in THREAD_NAMES:
        os.environ[name] = str(threads)
