"""Two byte-level language models for `benchmarks.decoding`, trained here on Python's library."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import Any

import torch

BYTES = 1_500_000
CONTEXT = 256
EOS = 0
"""No source file holds a zero byte."""
HELD_OUT = 0.9
"""Share of the text that is trained on; prompts come from the rest."""


def library() -> torch.Tensor:
    """Return the first bytes of the standard library's modules in order of their names."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    data = bytearray()
    for path in sorted(folder.glob("*.py")):
        data += path.read_bytes().replace(b"\0", b"")
        if len(data) >= BYTES:
            break
    return torch.tensor(list(data[:BYTES]), dtype=torch.long)


def prompts(text: torch.Tensor, count: int, length: int, seed: int = 0) -> list[list[int]]:
    """Return stretches of the text that no model was trained on."""
    first = int(len(text) * HELD_OUT)
    generator = torch.Generator().manual_seed(seed)
    places = torch.randint(first, len(text) - length, (count,), generator=generator).tolist()
    return [text[at : at + length].tolist() for at in places]


def train(text: torch.Tensor, *, layers: int, width: int, steps: int, seed: int = 0) -> Any:
    """Return a GPT-2 of bytes after `steps` batches of 16 x 128."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=256,
        n_positions=CONTEXT,
        n_embd=width,
        n_layer=layers,
        n_head=4,
        bos_token_id=EOS,
        eos_token_id=EOS,
        pad_token_id=EOS,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    model = GPT2LMHeadModel(config).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    seen = text[: int(len(text) * HELD_OUT)]
    for step in range(steps):
        places = torch.randint(0, len(seen) - 129, (16, 1)) + torch.arange(128)
        loss = model(input_ids=seen[places], labels=seen[places]).loss
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 50 == 0:
            print(f"  {layers} layers, step {step}: {float(loss):.3f} nats a byte", flush=True)
    return model.eval()
