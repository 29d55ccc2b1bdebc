"""Versions: names as PEP 503 spells them, no local suffix, and exactly those of the lock."""

from __future__ import annotations

import pytest

from stages.core import environment, machine
from stages.core.errors import DeclarationError, MachineError

LOCKED = 'torch==2.13.0\nruamel.yaml==0.18.10 ; python_version > "3"\n# x==1\nzope_interface==7.2\n'


@pytest.fixture
def place(tmp_path):
    (tmp_path / "requirements.lock").write_text(LOCKED)
    return tmp_path


def test_names_are_normalised_and_local_suffixes_dropped(place):
    assert environment.normalised("Ruamel.YAML__clib") == "ruamel-yaml-clib"
    (place / "requirements.lock").write_text(LOCKED.replace("2.13.0", "2.13.0+cpu"))
    assert environment.locked(place) == {
        "torch": "2.13.0", "ruamel-yaml": "0.18.10", "zope-interface": "7.2",
    }  # fmt: skip


def test_a_package_that_the_lock_does_not_name_is_our_mistake(place):
    with pytest.raises(DeclarationError, match="does not name numpy"):
        environment.versions_of({"torch", "numpy"}, place)


@pytest.mark.parametrize(
    ("installed", "fine"), [("2.13.0", True), ("2.13.0+cu130", True), ("2.13.1", False)]
)
def test_only_the_locked_release_computes(place, monkeypatch, installed, fine):
    (place / "environment.yaml").write_text('torch: "2.13.0"\n')
    monkeypatch.setattr(environment.metadata, "version", lambda name: installed)
    if fine:
        environment.check(place, ["torch"], "pretrain@eo")
        return
    with pytest.raises(MachineError) as error:
        environment.check(place, ["torch"], "pretrain@eo")
    assert error.value.what == "torch is 2.13.1, and the lock file says 2.13.0"
    assert error.value.where == "pretrain@eo needs it (environment.yaml)"


def test_a_package_that_is_not_installed_is_refused(place):
    (place / "environment.yaml").write_text('no-such-thing: "1"\n')
    with pytest.raises(MachineError, match="no-such-thing is not installed"):
        environment.check(place, ["no-such-thing"], "x@y")


def test_another_machine_rewrites_machine_yaml_and_the_same_one_does_not(tmp_path, monkeypatch):
    assert machine.refresh(tmp_path) == ["machine.yaml"]
    assert machine.refresh(tmp_path) == []
    assert set(machine.yamlfile.read(tmp_path / "machine.yaml")) == set(machine.KEYS)
    monkeypatch.setattr(machine, "_cpu", lambda: ("Other CPU", ["avx2"]))
    assert machine.refresh(tmp_path) == ["machine.yaml"]
    assert machine.yamlfile.read(tmp_path / "machine.yaml")["cpu"] == "Other CPU"


def test_what_a_gpu_build_of_torch_brings_along_is_not_asked_of_the_lock(monkeypatch):
    wanted = {"torch": ["numpy", "nvidia-cublas-cu13", "triton; python_version > '3'"]}
    monkeypatch.setattr(environment.metadata, "requires", lambda name: wanted.get(name, []))
    monkeypatch.setattr(environment.metadata, "version", lambda name: "1.0")
    monkeypatch.setattr(environment, "distributions", lambda: {"torch": ["torch"]})
    environment._requirements.cache_clear()
    try:
        assert environment.closure({"torch"}) == {"torch", "numpy"}
    finally:
        environment._requirements.cache_clear()
