"""True ensembles: the mean of probabilities, and the folder that holds the members."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from stages.core.errors import ArtifactError
from stages.lm import ensembles
from stages.lm.ensembles import EnsembleStepper, mean_of_probabilities


class Fixed:
    """A stepper of one constant distribution that notes what it was asked."""

    def __init__(self, probabilities: list[float]) -> None:
        self.row = torch.tensor(probabilities).log()
        self.asked: list[str] = []

    def encode(self, ids: Tensor, mask: Tensor, copies: int) -> None:
        self.asked.append(f"encode {copies}")

    def step(self, prefix: Tensor) -> Tensor:
        return self.row.repeat(prefix.shape[0], 1)

    def select(self, rows: Tensor, sentences_left: bool) -> None:
        self.asked.append(f"select {rows.tolist()} {sentences_left}")


def test_a_step_is_the_mean_of_probabilities_not_of_their_logs() -> None:
    one, other = Fixed([0.9, 0.1, 0.0]), Fixed([0.1, 0.3, 0.6])
    found = EnsembleStepper([one, other]).step(torch.zeros(2, 1, dtype=torch.long)).exp()
    torch.testing.assert_close(found, torch.tensor([[0.5, 0.2, 0.3]] * 2))
    geometric = (one.row + other.row).div(2).exp()
    assert geometric.argmax() == found[0].argmax() == 0
    assert geometric[2] == 0.0  # what one member excludes, the other may still say


def test_probabilities_far_below_one_stay_exact() -> None:
    tiny = torch.tensor([-900.0, -1000.0])
    found = mean_of_probabilities([tiny, tiny - 1.0])
    wanted = torch.tensor(
        [math.log1p(math.exp(-1.0)) - math.log(2) + value for value in (-900.0, -1000.0)]
    )
    torch.testing.assert_close(found, wanted)


def test_every_member_is_encoded_and_reordered() -> None:
    members = [Fixed([1.0]), Fixed([1.0]), Fixed([1.0])]
    stepper = EnsembleStepper(members)
    stepper.encode(torch.zeros(1, 1), torch.ones(1, 1), 4)
    stepper.select(torch.tensor([1, 0]), True)
    assert [one.asked for one in members] == [["encode 4", "select [1, 0] True"]] * 3


def _folder(root: Path, members: int) -> Path:
    ensembles.write(root, [f"model{number}.pt" for number in range(1, members + 1)])
    for number in range(1, members + 1):
        place = root / ensembles.member_place(number)
        place.mkdir(parents=True, exist_ok=True)
        (place / "model.safetensors").write_bytes(b"")
    return root


def test_members_are_found_in_order_and_a_plain_model_has_one(tmp_path: Path) -> None:
    assert ensembles.folders(tmp_path) == [tmp_path]
    found = ensembles.folders(_folder(tmp_path, 3))
    assert found == [tmp_path, tmp_path / "members" / "2", tmp_path / "members" / "3"]


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("absent", "no model.safetensors of member 2"),
        ("outside", "names ., ../other"),
        ("torn", "cannot be read"),
        ("none", "names no member"),
    ],
)
def test_a_broken_ensemble_is_named(tmp_path: Path, fault: str, told: str) -> None:
    path = _folder(tmp_path, 2) / ensembles.FILE
    found = json.loads(path.read_text(encoding="utf-8"))
    if fault == "absent":
        (tmp_path / "members" / "2" / "model.safetensors").unlink()
    elif fault == "outside":
        found["members"][1]["folder"] = "../other"
    elif fault == "none":
        found["members"] = []
    text = "[" if fault == "torn" else json.dumps(found)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ArtifactError, match=told):
        ensembles.folders(tmp_path)
