"""Energy of an execution or a lineage, as an estimate that says how it was made.

    energy_wh_estimated = CPU seconds x watts of one busy core x PUE / 3600

The watts are declared (DEVENO_CORE_WATTS), not measured: a package counter (RAPL) would count the
neighbours on a shared machine too. Where the counter can be read it is recorded beside it. With a
declared grid intensity (DEVENO_GRID_G_PER_KWH) grams of CO2 follow (specification, section 067).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CORE_WATTS = 10.0
"""Watts of one busy core with its share of memory and board, where nothing is declared."""
PUE = 1.0
"""Power usage effectiveness: what the building adds. 1 counts the machine alone."""
COUNTER = Path("/sys/class/powercap/intel-rapl:0/energy_uj")
FORMULA = "CPU seconds x {watts:g} W per busy core x PUE {pue:g} / 3600"


@dataclass(frozen=True)
class Estimate:
    """Watt hours with everything that is needed to compute them again."""

    energy_wh: float
    cpu_s: float
    core_watts: float
    pue: float
    grid_g_per_kwh: float | None

    @property
    def formula(self) -> str:
        """The formula with its constants."""
        return FORMULA.format(watts=self.core_watts, pue=self.pue)

    @property
    def co2_g(self) -> float | None:
        """Grams of CO2 equivalent, where an intensity is declared."""
        if self.grid_g_per_kwh is None:
            return None
        return self.energy_wh / 1000 * self.grid_g_per_kwh

    def row(self) -> dict[str, Any]:
        """Return it as names with units; the grams only where an intensity is declared."""
        row: dict[str, Any] = {
            "energy_wh_estimated": round(self.energy_wh, 4),
            "energy_formula": self.formula,
            "energy_source": "estimated",
        }
        if self.co2_g is not None:
            row |= {"co2_g_estimated": round(self.co2_g, 4), "grid_g_per_kwh": self.grid_g_per_kwh}
        return row


def estimate(cpu_s: float, core_watts: float | None = None, pue: float | None = None) -> Estimate:
    """Return the estimate of CPU seconds at the declared watts of a busy core."""
    watts = declared("DEVENO_CORE_WATTS", CORE_WATTS) if core_watts is None else core_watts
    effect = declared("DEVENO_PUE", PUE) if pue is None else pue
    intensity = declared("DEVENO_GRID_G_PER_KWH", -1.0)
    return Estimate(
        energy_wh=cpu_s * watts * effect / 3600,
        cpu_s=cpu_s,
        core_watts=watts,
        pue=effect,
        grid_g_per_kwh=intensity if intensity >= 0 else None,
    )


def declared(name: str, otherwise: float) -> float:
    """Return a constant from the environment; what is no positive number does not count."""
    try:
        value = float(os.environ.get(name, ""))
    except ValueError:
        return otherwise
    return value if 0 < value < float("inf") else otherwise


def counter_uj() -> int | None:
    """Return the package's energy counter in microjoules, or None where it cannot be read."""
    try:
        return int(COUNTER.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
