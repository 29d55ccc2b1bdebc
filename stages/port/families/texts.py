"""Tokenizer files of a ported folder: `AutoTokenizer` gives the original's ids, and the text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from stages.port.checks import Verification
from stages.port.families.release import Release

TEXTS = (
    "Hello, World! It's 12,345.67 -- isn't it?",
    "La ĉapelo de l' onklo Ŝmidt; naïve café, Ĝis!",
    "  two  spaces\nand\n\n a line\tand a tab ",
    "def hello_world():\n    return 'x'  # 日本語 и русский",
    "a",
    " ",
    "a" * 90,
    "…“quoted” ½ № ️😀👍🏽 end",
)
DRAWN = 12
DRAWN_TOKENS = 20


def check(folder: Path, release: Release, report: Verification, seed: int) -> None:
    """Add the checks of the tokenizer: equal ids on every text, as many tokens as rows."""
    from transformers import AutoTokenizer

    assert release.texts is not None
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    samples = [*TEXTS, *release.samples, *_drawn(tokenizer, seed)]
    wrong = []
    for text in samples:
        found = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        behind = [release.unknown if one >= release.vocab_size else one for one in found]
        if (behind if release.extra else list(found)) != release.texts(text):
            wrong.append(text)
    hint = f"first: {wrong[0]!r}" if wrong else ""
    report.add("token ids are the original's", float(len(wrong)), 0.0, len(samples), hint)
    highest = max(tokenizer.get_vocab().values())
    over = max(0, highest + 1 - int(release.config["vocab_size"]))
    report.add("every token has a row", float(over), 0.0, highest + 1, "ids behind the embedding")


def _drawn(tokenizer: Any, seed: int) -> list[str]:
    """Return texts that random ids decode to: they visit the vocabulary that there is."""
    generator = torch.Generator().manual_seed(seed + 2)
    special = set(tokenizer.all_special_ids)
    usual = [number for number in sorted(tokenizer.get_vocab().values()) if number not in special]
    texts = []
    for _ in range(DRAWN):
        picked = torch.randint(0, len(usual), (DRAWN_TOKENS,), generator=generator).tolist()
        texts.append(tokenizer.decode([usual[at] for at in picked]))
    return [text for text in texts if text]
