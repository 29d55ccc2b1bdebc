"""The page: every figure can be followed to its file, nothing else is needed to read it."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.core import canonical
from stages.core.errors import ArtifactError
from stages.report.charts import ticks
from tests.stages.report_material import SAMPLES, Element, Page, World, printed, resolved

ROOT = Path(__file__).resolve().parents[2]
HOW: dict[str, Callable[..., float]] = {
    "ratio": lambda a, b: a / b,
    "difference": lambda a, b: a - b,
    "sum": lambda *terms: sum(terms),
    "count": len,
    "passed": lambda rows: sum(bool(row.get("pass", row.get("passed"))) for row in rows),
}
"""What the page may compute, written here a second time."""
FREE = {"code", "style", "title", "pre", "q", "th"}
"""Elements whose digits are no figures: names of files, tooltips, samples, heads (`p95`)."""
FREE_CLASSES = {"name", "tick"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Artifacts of all sections."""
    return World(tmp_path).build()


def page_of(world: World, **params: object) -> Page:
    return Page((world.report(**params) / "index.html").read_text(encoding="utf-8"))


def figures(page: Page) -> list[Element]:
    return [one for one in page.elements if "data-from" in one.attributes]


def unfaithful(page: Page, root: Path) -> list[str]:
    """Return the figures that are not what their files say, to the last digit or as printed."""
    wrong = []
    for one in figures(page):
        values = [resolved(root, source) for source in one.get("data-from").split()]
        how = one.get("data-how")
        true = HOW[how](*values) if how else values[0]
        held = float(one.get("data-value") or one.get("value"))
        if held != true:
            wrong.append(f"{one.get('data-from')}: holds {held}, the file says {true}")
        elif one.text and one.name != "circle":
            number, slack = printed(one.text)
            if not math.isclose(number, true, rel_tol=0, abs_tol=slack):
                wrong.append(f"{one.get('data-from')}: prints {one.text}, the file says {true}")
    return wrong


def loose_digits(page: Page) -> list[str]:
    """Return text with digits that is neither a figure nor a name."""
    return [
        text
        for one, text in page.pieces
        if any(letter.isdigit() for letter in text)
        and not any(at.name in FREE or "data-from" in at.attributes for at in (*one.around, one))
        and not one.classes() & FREE_CLASSES
    ]


def reached(page: Page, text: str) -> list[str]:
    """Return everything by which the page would ask for something outside itself."""
    found = [
        f"{one.name} {name}={value}"
        for one in page.elements
        for name, value in one.attributes.items()
        if name in ("src", "href", "srcset", "action", "data", "poster", "xlink:href")
        and not re.fullmatch(r"#[a-z0-9-]+|cards/[a-z0-9/-]+/README\.md", value)
    ]
    found += [one.name for one in page.elements if one.name in ("script", "link", "iframe", "base")]
    found += re.findall(r"url\([^)]*\)|@import[^;]*|@font-face|https?:", text)
    return found


def test_every_figure_is_what_its_file_says(world):
    page = page_of(world)
    assert len(figures(page)) > 150
    assert unfaithful(page, world.root) == []
    assert loose_digits(page) == []
    sections = {one.get("data-from").split("/")[0] for one in figures(page)}
    assert sections == {"data", "models", "reports"}


@pytest.mark.parametrize(
    ("file", "path", "to"),
    [
        ("reports/evaluate/pos/scores.json", ("scores", 0, "value"), 0.9732),
        ("data/raw/eo/manifest.json", ("files", 1, "size_bytes"), 2004),
        ("data/corpora/pos/ledger.json", ("rules", 1, "documents_out"), 996),
        ("models/exported/pos-int8/export.json", ("parity", 1, "pass"), True),
        ("models/pretrained/eo/training.json", ("curve", 0, "valid_loss_nats"), 6.31),
        ("reports/benchmark/pos/latency.json", ("rows", 0, "latency_ms_p50"), 0.7),
    ],
)
def test_a_figure_that_its_file_does_not_hold_is_found(world, file, path, to):
    page = page_of(world)
    world.change(file, *path, to=to)
    assert unfaithful(page, world.root)


def test_a_misprinted_figure_and_a_typed_one_are_found(world):
    text = (world.report() / "index.html").read_text(encoding="utf-8")
    assert "97.31\u202f%" in text
    assert unfaithful(Page(text.replace("97.31\u202f%", "97.41\u202f%")), world.root)
    assert loose_digits(Page(text.replace("</h1>", " 97</h1><p>of 3 models</p>"))) == [
        "of 3 models"
    ]


def test_the_page_asks_for_nothing_outside_itself(world):
    text = (world.report() / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert reached(page, text) == []
    for fault in (
        '<img src="//host/x.png"/>', "<script>1</script>", '<link href="x.css"/>',
        "<style>@import 'x';</style>", "<style>i{background:url(x.png)}</style>",
    ):  # fmt: skip
        broken = text.replace("</main>", f"{fault}</main>")
        assert reached(Page(broken), broken), fault


def test_links_lead_somewhere_and_ids_are_single(world):
    folder = world.report()
    page = Page((folder / "index.html").read_text(encoding="utf-8"))
    ids = [one.get("id") for one in page.elements if one.get("id")]
    assert len(ids) == len(set(ids))
    links = [one.get("href") for one in page.named("a")]
    assert {link[1:] for link in links if link[0] == "#"} <= set(ids)
    cards = {link for link in links if link[0] != "#"}
    assert len(cards) == 4
    assert all((folder / card).is_file() for card in cards)
    boxes = {f"{section}-{key}" for section, named in world.entries.items() for key in named}
    assert boxes - {"report-all"} <= set(ids), "an entry has no place on the page"


def test_every_panel_names_tracked_files_and_the_command_that_makes_them(world):
    page = page_of(world)
    addresses = {f"{name}@{key}" for name, held in world.entries.items() for key in held}
    captions = [one for one in page.named("figcaption")]
    assert len(captions) == len(list(page.named("figure")))
    for one in captions:
        names, command = one.text.removeprefix("from ").split("again: dvc repro ")
        for name in names.split(", "):
            assert name == "params.yaml" or (world.root / name).is_file(), one.text
        assert set(command.split()) <= addresses, one.text


def test_what_stands_beneath_a_panel_covers_the_figures_in_it(world):
    """A panel drawn from a file that its caption leaves out would be a false origin."""
    page = page_of(world)
    checked = 0
    for one in figures(page):
        around = [at for at in one.around if at.name == "figure"]
        if around:
            told = around[-1].text.split("again: dvc repro")[0]
            for source in one.get("data-from").split():
                assert source.partition("#")[0] in told
            checked += 1
    assert checked > 140


def test_generated_text_is_marked_and_other_text_is_not(world):
    page = page_of(world)

    def marked(anchor: str) -> bool:
        return any(
            one.get("class") == "badge" and any(at.get("id") == anchor for at in one.around)
            for one in page.named("span")
        )

    assert marked("refine-pos")
    assert marked("finetune-pos")
    assert marked("evaluate-en-eo")
    assert marked("tokenizer-eo"), "its table compares with generated text"
    assert not marked("refine-eo")
    assert not marked("pretrain-eo"), "a table of its tokenizer is no material of the model"
    assert not marked("evaluate-lm")


@pytest.mark.parametrize(
    ("spoil", "where"),
    [
        (lambda root: (root / "models/pretrained/eo/training.json").unlink(), "training.json"),
        (lambda root: (root / "models/exported/pos-int8/model.onnx").unlink(), "model.onnx"),
        (
            lambda root: (root / "data/corpora/eo/ledger.json").write_text("{", encoding="utf-8"),
            "ledger.json",
        ),
        (
            lambda root: (root / "reports/evaluate/pos").rename(root / "away"),
            "reports/evaluate/pos",
        ),
        (
            lambda root: canonical.write_json(root / "models/tokenizers/eo/report.json", {}),
            "report.json",
        ),
    ],
    ids=["no file", "no weights", "no JSON", "no folder", "no member"],
)
def test_a_missing_or_damaged_artifact_is_told_in_three_lines(world, spoil, where):
    spoil(world.root)
    with pytest.raises(ArtifactError) as caught:
        world.report()
    lines = caught.value.lines()
    assert [line.split(":")[0] for line in lines] == ["error", "where", "do"]
    assert where in " ".join(lines)
    assert caught.value.exit_code == 2


def tree(folder: Path) -> dict[str, bytes]:
    """Return every file by name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_only_entries_that_params_name_are_read(world):
    clean = tree(world.report("clean"))
    for place in ("models/pretrained/orphan", "reports/evaluate/orphan", "data/raw/orphan"):
        (world.root / place).mkdir()
        for name in ("training.json", "scores.json", "manifest.json"):
            (world.root / place / name).write_text("no JSON", encoding="utf-8")
    assert tree(world.report("beside")) == clean
    world.entries["pretrain"]["orphan"] = {"tokens": "eo", "tokenizer": "eo", "base": "none"}
    with pytest.raises(ArtifactError):
        world.report("named")


def test_fresh_processes_in_other_folders_make_the_same_bytes(tmp_path):
    code = (
        "import sys; from pathlib import Path; from tests.stages.report_material import World;"
        "World(Path(sys.argv[1])).build().report()"
    )
    for name, seed in (("a", "1"), ("b/deeper", "77")):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / name)], env=environment, check=True
        )
    first, second = (tree(tmp_path / name / "out/page") for name in ("a", "b/deeper"))
    assert len(first) == 5
    assert first == second


HOSTILE = "</title></p><script>alert('7')</script><img src=x onerror=\"alert(8)\"> & `|"


def test_hostile_text_is_shown_and_does_nothing(world):
    page = page_of(world)
    before = [one.name for one in page.elements]
    places = [
        ("data/raw/eo/manifest.json", ("origin",)),
        ("data/raw/own/manifest.json", ("licence",)),
        ("data/corpora/eo/statistics.json", ("top_words", 0, "word")),
        ("models/pretrained/eo/probes.json", (0, "text")),
        ("models/pretrained/eo/probes.json", (0, "guesses", 0, "token")),
        ("models/ported/en-eo/verification.json", ("checks", 0, "name")),
        ("reports/evaluate/pos/scores.json", ("scores", 2, "baseline")),
        ("reports/evaluate/pos/scores.json", ("notes", 0)),
        ("reports/evaluate/pos/scores.json", ("labels", 0, "label")),
        ("reports/evaluate/pos/confusion.json", ("labels", 0)),
        ("reports/benchmark/pos/machine.json", ("facts", "cpu_model")),
    ]
    for file, path in places:
        world.change(file, *path, to=HOSTILE)
    for key, row in SAMPLES.items():
        spoilt = {
            name: [HOSTILE] * 4 if name in ("tokens", "gold", "predicted") else HOSTILE
            for name in row
            if name != "guesses"
        }
        canonical.write_lines(
            world.root / f"reports/evaluate/{key}/samples.jsonl",
            [{**spoilt, "guesses": [{"text": HOSTILE, "share": 0.5}]}],
        )
    text = (world.report(title=HOSTILE) / "index.html").read_text(encoding="utf-8")
    after = Page(text)
    assert not set(one.name for one in after.elements) - set(before)
    assert not [one for one in after.elements if "onerror" in one.attributes]
    assert reached(after, text) == []
    assert unfaithful(after, world.root) == []
    assert sum(HOSTILE in part for _, part in after.pieces) > len(places)


def test_a_recipe_without_some_stages_has_a_page_without_them(world):
    """As the recipe `code`: no labels, no port, no export, no benchmark; completions scored."""
    for name in ("identify", "finetune", "port", "export", "benchmark"):
        world.entries[name] = {}
    world.entries["refine"] = {"eo": {"raw": "own"}}
    world.entries["tokenizer"]["eo"]["reference"] = "none"
    world.entries["acquire"].pop("foreign")
    world.entries["evaluate"] = {"lm": world.entries["evaluate"]["lm"]}
    completed = {"prompt": "def f():\n", "completion": "    return 1\n\n\n\n\n\nx", "parses": True}
    canonical.write_lines(world.root / "reports/evaluate/lm/samples.jsonl", [completed])
    page = page_of(world)
    anchors = {one.get("id") for one in page.named("section")}
    assert anchors == {
        "descent", "material", "corpora", "tokenizers", "training", "scores", "cards",
    }  # fmt: skip
    assert {one.get("href") for one in page.named("nav") for one in page.named("a")} >= {"#scores"}
    assert unfaithful(page, world.root) == []
    sample = next(page.named("pre")).text
    assert "return 1\n\u22ee\nx" in sample


def test_a_page_of_nothing_is_a_page(world):
    world.entries = {name: {} for name in world.entries}
    page = page_of(world, title="Empty")
    assert [one.text for one in page.named("h1")] == ["Empty"]
    assert not figures(page)
    assert not list(page.named("section"))


def test_the_page_bears_its_entry_s_name(world):
    page = page_of(world)
    assert [one.text for one in page.named("h1")] == ["all"]
    assert "dvc repro report@all" in [one.text for one in page.named("code")]


def test_an_entry_that_cannot_be_told_from_another_claims_no_name(world):
    page = page_of(world, names=("all", "twin"))
    assert [one.text for one in page.named("h1")] == ["Report"]
    assert "dvc repro report" in [one.text for one in page.named("code")]


def test_samples_and_words_are_as_many_as_asked(world):
    page = page_of(world, samples=0, words=1)
    assert "la" in [one.text for one in page.named("b")]
    assert "kaj" not in [one.text for one in page.named("b")]
    assert not [one for one in page.elements if "samples" in one.get("class")]


def test_what_a_corpus_measures_has_its_panels(world):
    page = page_of(world)
    drawn = [one.get("data-from") for one in page.elements if one.get("data-from")]
    file = "statistics.json#"
    for pointer in (
        "/zipf/points/1/predicted", "/length_words/histogram/1/documents",
        "/topics/topics/0/fraction",
        "/drift/topics/divergence_bits", "/drift/topics/shares/0/after",
        "/ngram_perplexity/document_quantiles/0.95", "/composition/0/groups/women/share_out",
        "/associations/pairs/0/words/0/bias", "/associations/pairs/0/words/14/together_second",
    ):  # fmt: skip
        assert any(one.endswith(file + pointer) for one in drawn), pointer
    # Both ends of a pair are shown, and not what lies between.
    assert not any(one.endswith(file + "/associations/pairs/0/words/7/bias") for one in drawn)


def test_a_byte_level_token_is_read_as_text(world):
    assert "\u0109i" in [one.text for one in page_of(world).named("b")]


def test_the_machine_and_what_it_left_out_are_told(world):
    text = " ".join(one.text for one in page_of(world).named("dl"))
    assert "reason two cores, threads 8" in text


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 10, [0, 2.5, 5, 7.5, 10]),
        (6.1969, 6.3031, [6.18, 6.21, 6.24, 6.27, 6.3, 6.33]),
        (-0.2, 0.9, [-0.5, 0, 0.5, 1]),
    ],
)
def test_ticks_are_round_and_enclose(low, high, expected):
    found = ticks(low, high, 4)
    assert found[0] <= low
    assert found[-1] >= high
    steps = {round(b - a, 9) for a, b in zip(found, found[1:], strict=False)}
    assert len(steps) == 1
    assert 3 <= len(found) <= 7
    mantissa = float(f"{steps.pop():e}".split("e")[0])
    assert mantissa in (1, 2, 2.5, 5)
    if low == 0:
        assert found == expected


def test_ticks_of_one_value_still_have_width():
    found = ticks(16, 16, 5)
    assert found[0] < 16 < found[-1]
