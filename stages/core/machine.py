"""Facts of this machine and this process, read without heavy imports.

They go to the journal and, for `benchmark`, into a declared dependency; never into another output.
"""

from __future__ import annotations

import os
import platform
import resource
import sys
import time
from pathlib import Path
from typing import Any

from stages.core import yamlfile

MACHINE = "machine.yaml"
"""Tracked: the machine that benchmark figures belong to."""
KEYS = ("cores", "cpu", "flags", "memory_gib", "system")
TELLING = (
    "avx",
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "amx_int8",
    "avx512_bf16",
    "asimddp",
)
"""CPU flags that decide which kernels run; a kernel update must not look like another machine."""
CPUINFO = Path("/proc/cpuinfo")
MEMINFO = Path("/proc/meminfo")
DRIVER = Path("/proc/driver/nvidia/gpus")
VISIBLE, ORDER = "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"
CPU, CUDA = "cpu", "cuda: "
"""What a device is called when there is no GPU, and what stands before the names of GPUs."""


def cores() -> int:
    """Return how many cores this process may use: DEVENO_CORES, else its CPU affinity."""
    stated = os.environ.get("DEVENO_CORES", "")
    if stated.isdigit() and int(stated) > 0:
        return int(stated)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def facts() -> dict[str, Any]:
    """Return CPU model and flags, cores, memory, system and Python of this machine."""
    model, flags = _cpu()
    return {
        "cpu_model": model,
        "cpu_flags": flags,
        "cores": os.cpu_count() or 1,
        "cores_usable": cores(),
        "memory_mib": _memory_mib(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "python_build": " ".join([*platform.python_build(), platform.python_compiler()]),
        "device": device(),
    }


def device() -> str:
    """Return what a process here may compute on: `cpu`, or the names of the GPUs it can see.

    Read from the driver's own files, so that nobody imports torch to learn that there is none.
    """
    names = [name for name, _ in _seen(_gpus())]
    return f"{CUDA}{', '.join(names)}" if names else CPU


def showing(recorded: str) -> dict[str, str] | None:
    """Return the variables under which a process sees the device that was recorded, and no other.

    {} where nothing was recorded; None where this machine has no such device. GPUs are found again
    by their names, whatever was visible to us and in whatever slots they are now.
    """
    if not recorded:
        return {}
    if recorded == CPU:
        return {VISIBLE: ""}
    left, chosen = _gpus(), []
    for name in recorded.removeprefix(CUDA).split(", "):
        found = next((row for row in left if row[0] == name), None)
        if found is None:
            return None
        left.remove(found)
        chosen.append(found[1])
    return {VISIBLE: ",".join(chosen), ORDER: "PCI_BUS_ID"}


def _gpus() -> list[tuple[str, str]]:
    """Return name and UUID of every GPU of the driver, in the order of the bus.

    The index stands in for a UUID that the driver does not tell.
    """
    found = []
    for number, path in enumerate(sorted(DRIVER.glob("*/information"))):
        try:
            rows = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        told = {name.strip(): value.strip() for name, _, value in (r.partition(":") for r in rows)}
        uuid = told.get("GPU UUID", "")
        if "Model" in told:
            found.append((told["Model"], str(number) if "?" in uuid or not uuid else uuid))
    return found


def _seen(gpus: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return those that CUDA_VISIBLE_DEVICES leaves; as CUDA reads it, what is unknown ends it."""
    shown = os.environ.get(VISIBLE)
    if shown is None:
        return gpus
    found = []
    for word in (part.strip() for part in shown.split(",")):
        if word.startswith("MIG-"):  # a slice of a GPU: the driver's files do not tell of which
            return gpus
        if word.isdigit() and int(word) < len(gpus):
            found.append(gpus[int(word)])
        elif one := [row for row in gpus if word.startswith("GPU-") and row[1].startswith(word)]:
            found.append(one[0])
        else:
            break
    return found


def declared() -> dict[str, Any]:
    """Return the facts that machine.yaml holds: what decides speed, nothing that changes daily."""
    known = facts()
    return {
        "cores": known["cores"],
        "cpu": known["cpu_model"],
        "flags": " ".join(flag for flag in TELLING if flag in known["cpu_flags"]),
        "memory_gib": round(known["memory_mib"] / 1024),
        "system": f"{platform.system()} {platform.machine()}",
    }


def refresh(root: Path) -> list[str]:
    """Rewrite machine.yaml if it describes another machine; return the names of changed files."""
    path = root / MACHINE
    now = declared()
    if path.exists() and yamlfile.read(path) == now:
        return []
    heading = "The machine that benchmark figures belong to; `deveno` keeps it true."
    yamlfile.write(path, now, heading)
    return [MACHINE]


def process_age_s() -> float:
    """Return the seconds since this process was created, interpreter start-up included."""
    try:
        # Field 22 counts clock ticks since boot; the name in field 2 may hold blanks, so cut there.
        fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        started_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started_s)
    except (OSError, ValueError, IndexError, AttributeError):
        import psutil

        return max(0.0, time.time() - psutil.Process().create_time())


def cpu_s() -> float:
    """Return the CPU seconds of this process and of its finished children, user and system."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def peak_rss_mib() -> float:
    """Return the largest resident size of this process or of one finished child, in MiB."""
    unit = 1 if sys.platform == "darwin" else 1024  # kilobytes on Linux, bytes on macOS
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(one).ru_maxrss for one in who) * unit / 2**20


def _cpu() -> tuple[str, list[str]]:
    model, flags = platform.processor() or platform.machine(), []
    try:
        for row in CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = row.partition(":")
            if name.strip() == "model name":
                model = value.strip()
            elif name.strip() in ("flags", "Features"):
                flags = sorted(value.split())
            if not row.strip() and flags:
                break
    except OSError:
        pass
    return model, flags


def _memory_mib() -> int:
    try:
        for row in MEMINFO.read_text(encoding="utf-8").splitlines():
            if row.startswith("MemTotal:"):
                return int(row.split()[1]) // 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
    except (OSError, ValueError):
        return 0
