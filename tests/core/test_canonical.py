"""The bytes that every artifact is shaped with."""

from __future__ import annotations

from stages.core import canonical


def test_curves_have_a_row_per_point_of_the_drawn_curve_and_no_empty_cell():
    """DVC's plots draw an empty cell as 0 (seen with `dvc plots show` on a training run)."""
    curves = {
        "valid_loss_nats": [(2, 0.5), (4, 0.25)],
        "loss_nats": [(1, 3.0), (2, 2.0), (3, 1.5), (4, 1.25)],
    }
    assert canonical.curves_csv(curves, ("valid_loss_nats", "loss_nats")) == (
        "step,valid_loss_nats,loss_nats\n2,0.5,2.0\n4,0.25,1.25\n"
    )
    assert canonical.curves_csv({}, ("loss_nats",)) == "step,loss_nats\n"
    assert canonical.curves_csv(curves, ("loss_nats", "absent")).splitlines()[1] == "1,3.0,"
