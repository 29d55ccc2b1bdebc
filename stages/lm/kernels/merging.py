"""Learning merges in plain Python: what `stages.lm.kernels.merges` is held against."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from stages.lm.kernels.merges import Learned


def reference(
    words: Mapping[bytes, int], initial: Sequence[bytes | None], vocab_size: int, least: int = 0
) -> Learned:
    """Learn the same merges in plain Python: every list a list, the next pair by looking at all."""
    ids: dict[bytes, int] = {}
    for number, token in enumerate(initial):
        if token is not None:
            ids.setdefault(token, number)
    tokens, merges = list(initial), []
    split = [[ids[word[at : at + 1]] for at in range(len(word))] for word in words]
    times = list(words.values())
    counts: Counter[tuple[int, int]] = Counter()
    waiting: list[tuple[tuple[int, int], set[int]]] = []
    fresh: dict[tuple[int, int], set[int]] = {}
    for word, symbols in enumerate(split):
        for pair in zip(symbols, symbols[1:], strict=False):
            counts[pair] += times[word]
            fresh.setdefault(pair, set()).add(word)
    waiting += fresh.items()
    stale = [counts[pair] for pair, _ in waiting]
    while len(tokens) < vocab_size and waiting:
        best = min(range(len(waiting)), key=lambda one: (-stale[one], waiting[one][0]))
        pair, where = waiting[best]
        if stale[best] != counts[pair]:
            stale[best] = counts[pair]
            continue
        if counts[pair] < max(1, least):
            break
        del waiting[best], stale[best]
        spelled = (tokens[pair[0]] or b"") + (tokens[pair[1]] or b"")
        made = ids.setdefault(spelled, len(tokens))
        if made == len(tokens):
            tokens.append(spelled)
        merges.append((*pair, made))
        fresh = {}
        for word in sorted(where):
            split[word] = _merged(split[word], pair, made, word, times[word], counts, fresh)
        for found, there in fresh.items():
            if counts[found] > 0:
                waiting.append((found, there))
                stale.append(counts[found])
    return Learned(tokens, merges)


def _merged(
    symbols: list[int], pair: tuple[int, int], made: int, word: int, times: int,
    counts: Counter[tuple[int, int]], fresh: dict[tuple[int, int], set[int]],
) -> list[int]:  # fmt: skip
    out: list[int] = []
    at = 0
    while at < len(symbols):
        if tuple(symbols[at : at + 2]) != pair:
            out.append(symbols[at])
            at += 1
            continue
        at += 2
        for old, new in (
            *([((out[-1], pair[0]), (out[-1], made))] if out else []),
            *([((pair[1], symbols[at]), (made, symbols[at]))] if at < len(symbols) else []),
        ):
            counts[old] -= times
            counts[new] += times
            fresh.setdefault(new, set()).add(word)
        out.append(made)
    return out
