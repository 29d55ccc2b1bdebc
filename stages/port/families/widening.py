"""Run a model in fp64 throughout: its own casts to fp32 are lifted while it runs.

Some classes of transformers compute parts in fp32 whatever the weights are (BLOOM's softmax and
slopes, RWKV's keys and state), which would hide a difference of 1e-9 behind one of 1e-7.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

WIDER = {torch.float32: torch.float64}


class Widened(TorchFunctionMode):
    """While it is entered, torch functions that are told float32 are told float64."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call the function with float64 wherever float32 is asked for."""
        named = dict(kwargs or {})
        if named.get("dtype") in WIDER:
            named["dtype"] = torch.float64
        if func is torch.Tensor.float:
            return torch.Tensor.double(*args, **named)
        if func is torch.Tensor.to:
            args = tuple(WIDER[one] if _narrow(one) else one for one in args)
        return func(*args, **named)


def _narrow(value: Any) -> bool:
    return isinstance(value, torch.dtype) and value in WIDER
