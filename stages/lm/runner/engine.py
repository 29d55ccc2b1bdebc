"""The runner: sources in, finished hypotheses out, one compiled instance per core."""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stages.core.errors import ArtifactError, ParamsError
from stages.lm.runner.instance import Members, decode
from stages.lm.runner.network import INPUTS, PARTS, STRIDE, Plan
from stages.lm.runner.packing import Packed, aligned
from stages.lm.runner.search import Best, Found, Rules, State, Words
from stages.lm.runner.shortlist import Shortlist
from stages.lm.runner.vectors import LANES

ROWS = 96
"""Rows of the decoder that run together: enough for tall tiles, few enough for the cache."""


@dataclass(frozen=True)
class Settings:
    """How the runner uses memory and cores; results do not depend on it."""

    threads: int = 1
    slots: int = 0
    """Sentences that run together in one instance; 0: as many as give ROWS rows."""
    refill: int = 0
    """Free slots at which waiting sentences are encoded; 0: a quarter of the slots."""


@dataclass(frozen=True)
class Answers:
    """Finished hypotheses of every source, in the order given, and where the cycles went."""

    found: Found
    cycles: dict[str, int]


class Runner:
    """A packed model on this machine, or an ensemble of them over one vocabulary."""

    def __init__(
        self,
        packed: Packed | Sequence[Packed],
        settings: Settings | None = None,
        shortlist: Shortlist | None = None,
    ) -> None:
        self.members = [packed] if isinstance(packed, Packed) else list(packed)
        self.settings, self.shortlist = settings or Settings(), shortlist
        sizes = {one.plan.shape.vocabulary for one in self.members}
        if len(sizes) != 1:
            raise ArtifactError(
                f"the members have vocabularies of {sorted(sizes)} words", "ensemble",
                "join models of one vocabulary",
            )  # fmt: skip

    def translate(self, sources: Sequence[Sequence[int]], rules: Rules) -> Answers:
        """Search every source; long ones first, so that no core ends with a long one."""
        _check(rules, sources, min(one.positions for one in self.members))
        words = self._words(sources)
        steps = rules.max_tokens + 1
        found = _found(len(sources), rules.beams, steps)
        order = sorted(range(len(sources)), key=lambda one: (-len(sources[one]), one))
        threads = max(1, min(self.settings.threads, len(sources)))
        parts = [order[number::threads] for number in range(threads)]
        run = program()
        jobs = [_Job(self, part, sources, rules, found, words) for part in parts if part]
        if len(jobs) == 1:
            jobs[0].run(run)
        elif jobs:
            with ThreadPoolExecutor(len(jobs)) as pool:
                list(pool.map(lambda job: job.run(run), jobs))
        cycles = np.sum([job.profile for job in jobs], axis=0) if jobs else np.zeros(len(PARTS))
        return Answers(found, dict(zip(PARTS, cycles.astype(int).tolist(), strict=True)))

    def _words(self, sources: Sequence[Sequence[int]]) -> Words:
        """Return the words of every sentence, or all of them."""
        if self.shortlist is None:
            whole = self.members[0].plan.shape.vocabulary
            return Words(0, whole, np.zeros(1, np.int32), np.zeros(2, np.int64))
        lists = [self.shortlist.of(source) for source in sources]
        starts = np.array([0, *itertools.accumulate(len(one) for one in lists)], np.int64)
        widest = max((len(one) for one in lists), default=0)
        columns = -(-widest // STRIDE) * STRIDE
        empty = np.zeros(0, np.int32)
        return Words(1, columns, np.concatenate([empty, *lists]).astype(np.int32), starts)


def _check(rules: Rules, sources: Sequence[Sequence[int]], positions: int) -> None:
    """Refuse what compiled code, which checks nothing, would read past its tables for."""
    if not 1 <= rules.beams <= 64:
        raise ParamsError(f"num_beams = {rules.beams}", "search", "use 1 to 64")
    if not 1 <= rules.max_tokens < positions:
        raise ParamsError(
            f"max_tokens = {rules.max_tokens}", "search",
            f"use 1 to {positions - 1}, the positions that the model has",
        )  # fmt: skip
    longest = max((len(one) for one in sources), default=0)
    if longest > positions:
        raise ParamsError(
            f"a source of {longest} tokens", "search",
            f"use at most {positions}, the positions that the model has",
        )  # fmt: skip


def _found(sentences: int, beams: int, steps: int) -> Found:
    return Found(
        np.zeros(sentences, np.int64),
        np.zeros((sentences, beams), np.int64),
        np.zeros((sentences, beams), np.float32),
        np.zeros((sentences, beams, steps), np.int32),
        np.zeros((sentences, beams, steps), np.float32),
    )


class _Job:
    """One instance: its share of the sentences and the memory that it works in."""

    def __init__(
        self, runner: Runner, order: Sequence[int], sources: Sequence[Sequence[int]],
        rules: Rules, found: Found, words: Words,
    ) -> None:  # fmt: skip
        settings = runner.settings
        slots = settings.slots or max(4, ROWS // rules.beams)
        self.slots = min(slots, len(order))
        self.refill = settings.refill or max(1, self.slots // 4)
        self.plans, self.rules, self.found = [one.plan for one in runner.members], rules, found
        self.order = np.array(order, np.int64)
        rows = [np.asarray(sources[one], np.int32) for one in order]
        self.ids = np.concatenate(rows)
        self.starts = np.array([0, *itertools.accumulate(len(row) for row in rows)], np.int64)
        self.lengths = np.array([len(row) for row in sources], np.int64)
        self.longest = -(-max(len(row) for row in rows) // LANES) * LANES
        self.profile = np.zeros(len(PARTS), np.int64)
        self.words = words

    def run(self, program: Callable[..., None]) -> None:
        """Translate this share."""
        rules, steps = self.rules, self.rules.max_tokens + 1
        slots, beams = self.slots, rules.beams
        state = State(
            np.zeros(slots, np.int64),
            np.zeros(slots, np.int64),
            np.zeros(slots, np.int64),
            np.zeros(slots, np.int64),
            np.zeros((slots, steps, beams), np.int32),
            np.zeros((slots, steps, beams), np.float32),
            np.zeros((slots, beams, steps + 1), np.int32),
            np.zeros(slots, np.int64),
            np.arange(slots),
        )
        best = Best(
            np.zeros(2 * beams, np.float32),
            np.zeros(2 * beams, np.int32),
            np.zeros(2 * beams, np.int64),
            np.zeros((beams, steps + 1), np.int32),
        )
        memory = [self._memory(plan, steps) for plan in self.plans]
        program(
            _members(self.plans, memory), rules, state, best, self.found, self.words, self.ids,
            self.starts, self.order, self.lengths, self.refill, self.longest, self.profile,
        )  # fmt: skip

    def _memory(self, plan: Plan, steps: int) -> list[NDArray[Any]]:
        """Return the arrays of a member's `Desk`, in its order."""
        shape, slots = plan.shape, self.slots
        group = sorted(np.diff(self.starts))[-max(self.refill, 1) :]
        rows = max(slots * self.rules.beams, int(sum(group)))
        inner = max(
            shape.encoder_heads * shape.encoder_head, shape.decoder_heads * shape.decoder_head
        )
        own = shape.decoder_heads * shape.decoder_head
        widest = max(3 * inner, shape.inner)
        span = -(-max(self.longest, steps) // LANES) * LANES
        head = max(shape.encoder_head, shape.decoder_head)
        attention = max(self.longest * span, max(shape.decoder_heads, self.rules.beams) * span)
        layers = shape.decoder_layers
        x = aligned((rows * shape.padded,), np.float32)
        normed = aligned(x.shape, np.float32) if shape.pre_norm else x
        floats = [rows * shape.padded, rows * widest, rows * inner]
        memory: list[NDArray[Any]] = [x, normed]
        memory += [aligned((size,), np.float32) for size in floats]
        memory.append(aligned((rows * max(widest, shape.padded),), np.uint8))
        memory += [aligned((size,), np.float32) for size in (rows, attention, head * span)]
        memory.append(aligned((span,), np.int64))
        memory.append(aligned((max(2 * LANES, shape.padded),), np.float32))
        columns = self.words.columns
        logits = slots * self.rules.beams * columns
        memory += [aligned((size,), np.float32) for size in (logits, columns // STRIDE)]
        memory.append(aligned((slots * layers * 2 * own * self.longest,), np.float32))
        memory.append(aligned((slots * layers * steps * self.rules.beams * 2 * own,), np.float32))
        chosen = slots * columns if self.words.limited else 0
        return memory + [
            aligned((size,), np.float32)
            for size in (chosen * plan.linears[-1, INPUTS], chosen, chosen, chosen)
        ]


def _members(plans: Sequence[Plan], memory: Sequence[Sequence[NDArray[Any]]]) -> Members:
    """Return plans and the memory of each as compiled code takes them."""
    starts = [
        np.array([0, *itertools.accumulate(len(rows) for rows in tables)], np.int64)
        for tables in ([one.linears for one in plans], [one.norms for one in plans])
    ]
    return Members(
        np.array([one.shape for one in plans], np.int64),
        np.concatenate([one.linears for one in plans]),
        starts[0],
        np.concatenate([one.norms for one in plans]),
        starts[1],
        np.stack([one.tables for one in plans]),
        np.array([(one.scale, one.epsilon) for one in plans], np.float64),
        np.array([[array.ctypes.data for array in arrays] for arrays in memory], np.int64),
    )


@functools.cache
def program() -> Callable[..., None]:
    """Return the compiled search; numba keeps the machine code beside this file.

    numba recompiles when this file or the captured value changes, so the value is a digest of all
    modules of the runner: machine code never outlives its source.
    """
    folder = Path(__file__).parent
    text = b"".join(path.read_bytes() for path in sorted(folder.glob("*.py")))
    stamp = int.from_bytes(hashlib.sha256(text).digest()[:7], "little")

    @njit(nogil=True, cache=True)
    def run(
        members: Any, rules: Any, state: Any, best: Any, found: Any, words: Any, ids: Any,
        starts: Any, order: Any, lengths: Any, refill: int, longest: int, profile: Any,
    ) -> int:  # fmt: skip
        decode(
            members, rules, state, best, found, words, ids, starts, order, lengths, refill, longest,
            profile,
        )  # fmt: skip
        return stamp

    return run
