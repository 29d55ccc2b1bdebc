"""Plans: every step leads back to equal bits, and no tensor is lost or made up."""

from __future__ import annotations

import numpy as np
import pytest

from stages.core.errors import ArtifactError
from stages.lm.layouts.plan import Plan, Rule, copied
from stages.lm.layouts.steps import (
    Add,
    Cast,
    Exclusive,
    Join,
    Pad,
    Permute,
    Repeat,
    Same,
    Split,
    StepError,
    Transpose,
    Unpad,
    permuted_rows,
)
from stages.lm.tensors.entries import Spec, bits_from, bits_of, numbers_of
from stages.lm.tensors.nodes import Memory, Permuted, ranges

RANDOM = np.random.default_rng(4)


def tensor(*shape: int, dtype: str = "F32"):
    bits = RANDOM.integers(0, 256, (*shape, Spec(dtype, ()).itemsize), dtype=np.uint8)
    return Spec(dtype, shape), bits.view(Spec(dtype, ()).carrier).reshape(shape)


def numbers(values: np.ndarray):
    return Spec("F32", values.shape), bits_of(values.astype(np.float32))


STEPS = {
    "copy": ([(5, 3)], [], 1),
    "transpose": ([(300, 70)], [Transpose()], 1),
    "heads": ([(24, 5)], [permuted_rows((24, 5), (3, 4, 2), (0, 2, 1))], 1),
    "bias heads": ([(24,)], [permuted_rows((24,), (3, 4, 2), (0, 2, 1))], 1),
    "reshape": ([(6, 4)], [Permute((6, 4), (3, 2, 4), (1, 0, 2), (2, 12))], 1),
    "split rows": ([(9, 4)], [Split((2, 3, 4))], 3),
    "split columns": ([(4, 9)], [Split((2, 7), axis=1)], 2),
    "join rows": ([(2, 3), (5, 3)], [Join((2, 5))], 1),
    "join columns": ([(3, 2), (3, 5)], [Join((2, 5), axis=1)], 1),
    "pad": ([(5, 3)], [Pad(5, 8)], 1),
    "copies": ([(5, 3)], [Repeat(3)], 3),
    "fused": ([(5, 12)], [Transpose(), permuted_rows((12, 5), (2, 3, 2), (1, 0, 2)),
                          Split((4, 4, 4))], 3),
    "empty": ([(0, 3)], [Transpose()], 1),
    "no axes": ([()], [], 1),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["F32", "BF16", "F8_E4M3", "I64"])
@pytest.mark.parametrize("name", STEPS)
def test_a_rule_leads_back_to_equal_bits(name: str, dtype: str):
    shapes, steps, made = STEPS[name]
    sources = {f"s{at}": tensor(*shape, dtype=dtype) for at, shape in enumerate(shapes)}
    plan = Plan([Rule([f"t{at}" for at in range(made)], list(sources), steps)])
    there = plan.run(sources)
    assert plan.check({n: s for n, (s, _) in sources.items()}, "x") == {
        n: spec for n, (spec, _) in there.items()
    }
    back = plan.inverse().run(there)
    for key, (spec, bits) in sources.items():
        assert back[key][0] == spec
        assert np.array_equal(back[key][1], bits)


def test_steps_do_what_numpy_does():
    values = RANDOM.normal(size=(12, 5)).astype(np.float32)
    plan = Plan([Rule(["q", "k", "v"], ["qkv"], [Transpose(), Split((1, 2, 2))]), copied("b", "b")])
    made = plan.run({"qkv": numbers(values), "b": numbers(values)})
    assert np.array_equal(numbers_of(made["k"][1], "F32"), values.T[1:3])
    rotary = Plan([Rule(["q"], ["wq"], [permuted_rows((12, 5), (3, 2, 2), (0, 2, 1))])])
    found = numbers_of(rotary.run({"wq": numbers(values)})["q"][1], "F32")
    assert np.array_equal(found, values.reshape(3, 2, 2, 5).swapaxes(1, 2).reshape(12, 5))


def test_any_range_of_a_permuted_tensor_is_read_without_the_rest():
    _, bits = tensor(6, 7, 5)
    node = Permuted(Memory(Spec("F32", (6, 7, 5)), bits), (6, 7, 5), (2, 0, 1), (5, 42))
    wanted = np.ascontiguousarray(bits.transpose(2, 0, 1)).reshape(-1)
    for begin in range(0, 211, 7):
        for end in range(begin, 211, 11):
            assert np.array_equal(node.read(begin, end), wanted[begin:end])


def test_ranges_cover_a_tensor_once_in_order():
    for shape in [(), (0, 4), (3, 5), (1 << 19,), (3, 1 << 20), (700, 999)]:
        spec = Spec("F32", shape)
        flat = [edge for pair in ranges(spec) for edge in pair]
        assert flat == sorted(flat)
        assert sum(end - begin for begin, end in ranges(spec)) == spec.count


def test_a_missing_an_unexpected_and_a_doubled_tensor_are_named():
    plan = Plan([copied("a", "x")], ignored={r"rope\..*": "computed again"})
    with pytest.raises(ArtifactError, match="1 missing: x"):
        plan.check({"y": Spec("F32", (1,))}, "here")
    with pytest.raises(ArtifactError, match="1 unexpected: z"):
        plan.check({"x": Spec("F32", ()), "z": Spec("F32", ()), "rope.f": Spec("F32", ())}, "here")
    assert plan.left_out(["x", "rope.f"]) == {"rope.f": "computed again"}
    twice = Plan([copied("a", "x"), copied("a", "y")])
    with pytest.raises(ArtifactError, match="made twice: a"):
        twice.check({"x": Spec("F32", ()), "y": Spec("F32", ())}, "here")


WRONG = {
    "transpose": ([(3,)], [Transpose()], "matrix"),
    "split": ([(7, 2)], [Split((3, 3))], "6 are expected"),
    "split of a vector": ([(6,)], [Split((3, 3), axis=1)], "6 are expected"),
    "join": ([(3, 2), (4, 2)], [Join((3, 3))], r"parts of \[3, 3\]"),
    "join of widths": ([(3, 2), (3, 4)], [Join((3, 3))], "several types or shapes"),
    "heads": ([(6, 2)], [permuted_rows((8, 2), (2, 4), (1, 0))], r"settings say \[8, 2\]"),
    "pad": ([(6, 2)], [Pad(5, 8)], "5 rows"),
    "cast": ([(6, 2)], [Cast("F16", "F32")], "F16 is expected"),
    "same": ([(6, 2), (6, 3)], [Same(2)], "equal tensors"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_tensor_of_another_shape_is_refused_before_anything_is_read(name: str):
    shapes, steps, said = WRONG[name]
    specs = {f"s{at}": Spec("F32", shape) for at, shape in enumerate(shapes)}
    with pytest.raises(ArtifactError, match=said) as caught:
        Plan([Rule(["t"], list(specs), steps)]).check(specs, "model.pt")
    assert "s0 F32" in caught.value.what


def test_padding_that_holds_something_and_copies_that_differ_are_refused():
    ones = numbers(np.ones((4, 2)))
    with pytest.raises(StepError, match="no zeros"):
        Plan([Rule(["t"], ["s"], [Unpad(3, 4)])]).run({"s": ones})
    with pytest.raises(StepError, match="differ"):
        Plan([Rule(["t"], ["a", "b"], [Same(2)])]).run(
            {"a": ones, "b": numbers(np.full((4, 2), 2))}
        )


@pytest.mark.parametrize("dtype", ["F32", "BF16", "F16", "F64"])
def test_the_bits_of_a_delta_lead_back_exactly_and_its_sum_nearly(dtype: str):
    base, target = (
        (Spec(dtype, (500, 3)), bits_from(RANDOM.normal(size=(500, 3)), dtype)) for _ in "ab"
    )
    for step in (Exclusive("w"), Add("w", -1)):
        plan = Plan([Rule(["w"], ["w"], [step])])
        back = plan.inverse().run(plan.run({"w": target}, {"w": base}), {"w": base})["w"][1]
        if isinstance(step, Exclusive):
            assert np.array_equal(back, target[1])
        else:
            near = numbers_of(back, dtype).astype(np.float64)
            assert np.allclose(near, numbers_of(target[1], dtype), atol=0.05)


def test_bfloat16_rounds_to_the_nearest_even_as_torch_does():
    import torch

    values = RANDOM.normal(size=4096).astype(np.float32)
    values[:4] = [np.inf, -np.inf, np.nan, 3.4e38]
    wanted = torch.from_numpy(values).to(torch.bfloat16)
    assert torch.equal(
        torch.from_numpy(numbers_of(bits_from(values, "BF16"), "BF16").copy()).nan_to_num(7.0),
        wanted.float().nan_to_num(7.0),
    )
