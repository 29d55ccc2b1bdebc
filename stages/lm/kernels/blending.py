"""Which of several sources comes next, so that at every moment each has had its share.

The chairman assignment of Tijdeman (1980): of the sources that are behind enough to be next, the
one whose turn is due first. After every step the count of each of k sources is within
1 - 1 / (2k - 2) of its share, which no rule betters; taking the one furthest behind, as is usual,
does not keep that bound. All in integers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from stages.lm.kernels.compiled import fills, kernel, reads

Ints = NDArray[np.int64]
MOST = 1 << 63


@kernel(types.void, reads(types.int64), types.int64, fills(types.int64), fills(types.uint8))
def _blend(shares: Any, begun: int, counts: Any, out: Any) -> None:
    whole = sources = 0
    for source in range(len(shares)):
        whole += shares[source]
        sources += shares[source] > 0
    twice = 2 * sources - 2
    for at in range(len(out)):
        step = begun + at + 1
        chosen, due = -1, types.int64(0)
        for source in range(len(shares)):
            share, count = shares[source], counts[source]
            if share == 0 or twice * (step * share - whole * count) < whole:
                continue
            # The first step at which it would be behind by more than the bound allows.
            late = -(-(whole * (twice - 1) + twice * whole * count) // (twice * share))
            if chosen < 0 or max(late, step) < due:
                chosen, due = source, max(late, step)
        out[at] = chosen
        counts[chosen] += 1


def blend(shares: Ints, begun: int, counts: Ints, size: int) -> NDArray[np.uint8]:
    """Return the sources of steps `begun` to `begun + size` - 1, and add them to `counts` [k].

    `shares` [k] are whole numbers of which some are above 0; `counts` is what steps before `begun`
    came to. Raises OverflowError where numbers would grow beyond 63 bits.
    """
    used = int((shares > 0).sum())
    out = np.empty(size, np.uint8)
    if used == 1:
        out[:] = np.argmax(shares > 0)
        counts[out[:1]] += size
        return out
    if 2 * used * int(shares.sum()) * (begun + size + 2) >= MOST:
        raise OverflowError("shares of too many digits for so many steps")
    _blend(shares, begun, counts, out)
    return out
