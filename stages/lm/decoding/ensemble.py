"""Any way of decoding by several models together: the mean of their probabilities at each step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stages.core.errors import ParamsError
from stages.lm.decoding.constraints import Cut
from stages.lm.decoding.decoder import Decoder
from stages.lm.decoding.marks import Marks
from stages.lm.ensembles import EnsembleStepper


class EnsembleDecoder(Decoder):
    """A decoder whose steps are the mean of several models; without `others` a plain one."""

    def __init__(
        self,
        model: Any,
        marks: Marks,
        *,
        others: Sequence[Any] = (),
        cut: Cut | None = None,
        draft: Any = None,
    ) -> None:
        super().__init__(model, marks, cut=cut, draft=draft)
        self.others = list(others)

    def stepper(self, model: Any = None, *, wants_states: bool = False) -> Any:
        """Return a new stepper of all members, or of another model."""
        if model is not None or not self.others:
            return super().stepper(model, wants_states=wants_states)
        if wants_states:
            raise ParamsError(
                "contrastive search compares hidden states, and those of several models are none",
                "decoding.kind",
                "set members: first, or choose another way of decoding",
            )
        return EnsembleStepper(
            [super(EnsembleDecoder, self).stepper(one) for one in (self.model, *self.others)]
        )
