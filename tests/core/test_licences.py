"""Licences travel from the sources to what is made of them; conflicts are named."""

from __future__ import annotations

import pytest

from stages.core import energy
from stages.core.licences import Source, propagate, terms_of


def of(*licences: str | None):
    return propagate([Source(f"data/raw/{n}", one) for n, one in enumerate(licences)])


@pytest.mark.parametrize(
    ("licence", "terms"),
    [
        ("CC0-1.0", set()),
        ("Apache-2.0", {"attribution"}),
        ("CC-BY-4.0", {"attribution"}),
        ("CC-BY-SA-4.0", {"attribution", "share-alike"}),
        ("CC-BY-NC-SA-4.0", {"attribution", "share-alike", "non-commercial"}),
        ("CC-BY-ND-4.0", {"attribution", "no-derivatives"}),
        ("GPL-2.0-only", {"attribution", "share-alike"}),
        ("LicenseRef-BigScience-OpenRAIL-M", {"attribution", "use-restricted"}),
        ("LicenseRef-something", {"unknown"}),
        ("GPL-3.0-only OR MIT", {"attribution"}),
        ("MIT AND CC-BY-SA-4.0", {"attribution", "share-alike"}),
    ],
)
def test_terms(licence, terms):
    assert terms_of(licence) == terms


@pytest.mark.parametrize(
    ("licences", "conflicts"),
    [
        (("CC0-1.0", "Apache-2.0", "CC-BY-4.0"), 0),
        (("CC-BY-SA-4.0", "CC-BY-SA-4.0", "CC-BY-4.0"), 0),
        (("CC-BY-SA-4.0", "GPL-3.0-or-later"), 0),
        (("CC-BY-SA-3.0", "CC-BY-SA-4.0"), 1),
        (("CC-BY-SA-4.0", "GPL-2.0-only"), 1),
        (("CC-BY-NC-4.0", "CC-BY-SA-4.0"), 1),
        (("CC-BY-NC-4.0", "CC-BY-4.0"), 0),
        (("CC-BY-ND-4.0",), 1),
        (("GPL-2.0-or-later", "GPL-3.0-only"), 0),
        (("LicenseRef-BigScience-OpenRAIL-M", "GPL-3.0-only"), 1),
        ((None, "CC0-1.0"), 1),
        (("LicenseRef-mine",), 1),
    ],
)
def test_conflicts_are_counted_and_named(licences, conflicts):
    found = of(*licences)
    assert len(found.conflicts) == conflicts, found.conflicts
    assert found.redistributable is (conflicts == 0)
    if conflicts and None not in licences:
        assert any(one in found.conflicts[0] for one in licences)


def test_energy_is_the_formula_and_says_so(monkeypatch):
    monkeypatch.delenv("DEVENO_CORE_WATTS", raising=False)
    one = energy.estimate(3600.0)
    assert one.energy_wh == energy.CORE_WATTS
    assert energy.estimate(7200.0).energy_wh == 2 * one.energy_wh
    monkeypatch.setenv("DEVENO_CORE_WATTS", "7.5")
    monkeypatch.setenv("DEVENO_PUE", "1.2")
    monkeypatch.setenv("DEVENO_GRID_G_PER_KWH", "400")
    row = energy.estimate(3600.0).row()
    assert row["energy_wh_estimated"] == pytest.approx(9.0)
    assert "7.5 W" in row["energy_formula"]
    assert row["co2_g_estimated"] == pytest.approx(3.6)
    monkeypatch.setenv("DEVENO_GRID_G_PER_KWH", "50")
    assert energy.estimate(3600.0).row()["co2_g_estimated"] == pytest.approx(3.6 / 8)
    monkeypatch.setenv("DEVENO_CORE_WATTS", "-1")
    assert energy.estimate(3600.0).core_watts == energy.CORE_WATTS
