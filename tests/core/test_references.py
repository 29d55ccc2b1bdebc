"""Entries, their parameters and what they read from one another."""

from __future__ import annotations

import pytest

from stages.core import references
from stages.core.errors import ParamsError, UnknownEntryError
from tests.core import toys


@pytest.fixture(autouse=True)
def toy_stages(monkeypatch):
    toys.install(monkeypatch)


def graph(tmp_path, **sections):
    return references.build(sections, tmp_path)


def test_entries_come_producers_first_and_know_their_upstream(tmp_path):
    built = graph(
        tmp_path, copy={"b": {"base": "copied/a"}, "a": {"base": "raw/x"}}, source={"x": {}}
    )
    assert list(built) == ["source@x", "copy@a", "copy@b"]
    assert built["copy@b"].upstream == ("copy@a",)
    assert references.descendants(built, {"source@x"}) == set(built)
    assert references.ancestors(built, {"copy@a"}) == {"copy@a", "source@x"}


def test_a_dangling_reference_offers_near_names(tmp_path):
    with pytest.raises(UnknownEntryError) as error:
        graph(tmp_path, source={"esperanto": {}}, copy={"a": {"base": "raw/esperato"}})
    assert "'raw/esperato'" in error.value.what
    assert "raw/esperanto" in error.value.todo
    assert "copy.a" in error.value.where


def test_a_circle_is_named(tmp_path):
    with pytest.raises(ParamsError, match="circle") as error:
        graph(tmp_path, copy={"a": {"base": "copied/b"}, "b": {"base": "copied/a"}})
    assert "copy@a -> copy@b -> copy@a" in error.value.what


def test_an_entry_that_reads_itself_is_a_circle(tmp_path):
    with pytest.raises(ParamsError, match="circle"):
        graph(tmp_path, copy={"a": {"base": "copied/a"}})


@pytest.mark.parametrize(
    ("sections", "what", "where"),
    [
        ({"sorce": {}}, "unknown section 'sorce'", "params.yaml"),
        ({"source": None}, "section 'source' holds None", "params.yaml: source"),
        (
            {"source": {"x": {"txt": "a"}}},
            "unknown parameter 'txt' (value 'a')",
            "params.yaml: source.x.txt",
        ),
        ({"source": {"x": {"text": 3}}}, "(value 3)", "params.yaml: source.x.text"),
        ({"source": {"x": {"threads": 0}}}, "(value 0)", "params.yaml: source.x.threads"),
        ({"source": {"x": 5}}, "the entry holds 5", "params.yaml: source.x"),
        ({"source": {"1x": {}}}, "'1x' is not allowed", "params.yaml: source.1x"),
        ({"source": {"a.b": {}}}, "'a.b' is not allowed", "params.yaml: source.a.b"),
    ],
)
def test_a_wrong_value_is_named_with_file_key_and_value(tmp_path, sections, what, where):
    with pytest.raises((ParamsError, UnknownEntryError)) as error:
        graph(tmp_path, **sections)
    assert what in error.value.what
    assert error.value.where == where
    assert len(str(error.value).splitlines()) == 3


def test_a_near_name_is_offered_for_an_unknown_parameter(tmp_path):
    with pytest.raises(ParamsError) as error:
        graph(tmp_path, source={"x": {"thread": 1}})
    assert "threads" in error.value.todo


def test_none_points_at_the_tracked_empty_folder(tmp_path):
    assert graph(tmp_path, copy={"a": {"base": "none"}})["copy@a"].upstream == ()


def test_targets_may_be_an_address_a_stage_or_a_unique_key(tmp_path):
    built = graph(
        tmp_path, source={"x": {}, "y": {}}, copy={"x": {"base": "raw/x"}, "z": {"base": "raw/x"}}
    )
    assert references.select(built, ["copy@x"]) == {"copy@x"}
    assert references.select(built, ["source"]) == {"source@x", "source@y"}
    assert references.select(built, ["z"]) == {"copy@z"}
    with pytest.raises(UnknownEntryError, match="2 entries are called 'x'"):
        references.select(built, ["x"])
    with pytest.raises(UnknownEntryError, match="no entry 'nothing'"):
        references.select(built, ["nothing"])
