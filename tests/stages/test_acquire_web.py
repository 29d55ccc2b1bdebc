"""The address layouts of public collections, served by a loopback server."""

from __future__ import annotations

import bz2
import io
import tarfile
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from ruamel.yaml import YAML

from stages.acquire.stage import AcquireParams
from stages.lm.records import raw_documents, raw_labelled, raw_pairs
from tests.stages.loopback import (
    Server,
    fetch,
)

COMMIT = "c360b587ce258dd1463ee09bc642ea2c27deacac"
CONLLU = "# sent_id = prago-001\n# text = Bone\n1\tBone\tbone\tADV\t_\t_\t0\troot\t_\t_\n\n"
DUMP = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" xml:lang="eo">
<siteinfo><sitename>Vikipedio</sitename></siteinfo>
<page><title>Akvo</title><ns>0</ns><id>7</id><revision><id>99</id><text>{{Informkesto
|nomo={{lang|eo|x}}}}'''Akvo''' estas [[kemia kombino|kombino]].&lt;ref name="a"&gt;n&lt;/ref&gt;
== Ecoj ==
* Ĝi [[bolo|bolas]].
[[Kategorio:Akvo]]</text></revision></page>
<page><title>Aĵo</title><ns>0</ns><id>8</id><redirect title="Akvo"/><revision><text>#ALIDIREKTU
[[Akvo]]</text></revision></page>
<page><title>Diskuto:Akvo</title><ns>1</ns><id>9</id><revision><text>Kio?</text></revision></page>
</mediawiki>"""


def leipzig() -> bytes:
    data = io.BytesIO()
    name = "epo_wikipedia_2021_100K"
    with tarfile.open(fileobj=data, mode="w:gz") as bundle:
        for part, text in (
            ("sentences", "1\tUnua frazo.\n2\tDua frazo.\n"),
            ("words", "1\tla\t9\n"),
        ):
            content = text.encode()
            info = tarfile.TarInfo(f"{name}/{name}-{part}.txt")
            info.size = len(content)
            bundle.addfile(info, io.BytesIO(content))
    return data.getvalue()


@pytest.fixture
def web():
    made = Server(
        {
            "exports/per_language/epo/epo_sentences.tsv.bz2": bz2.compress(
                b"11\tepo\tUnu.\n12\tepo\tDu.\n13\tepo\tTri.\n"
            ),
            "exports/per_language/eng/eng_sentences.tsv.bz2": bz2.compress(
                b"21\teng\tOne.\n22\teng\tTwo.\n"
            ),
            "exports/per_language/epo/epo-eng_links.tsv.bz2": bz2.compress(
                b"12\t22\n11\t21\n13\t99\n"
            ),
            "corpora/epo_wikipedia_2021_100K.tar.gz": leipzig(),
            f"UniversalDependencies/UD_Esperanto-Prago/{COMMIT}/eo_prago-ud-test.conllu": (
                CONLLU.encode()
            ),
            "eowiki/latest/eowiki-latest-pages-articles.xml.bz2": bz2.compress(DUMP.encode()),
        }
    )
    yield made
    made.close()


def from_web(tmp_path: Path, root: Path, web: Server, key: str) -> Path:
    """Acquire an entry of the recipe with its hosts, and nothing else, replaced by the server."""
    recipe = YAML(typ="safe").load(root / "stages/recipes/esperanto_web.yaml")
    entry = recipe["acquire"][key]
    address = urlsplit(entry["source"]["base"])
    assert address.scheme == "https"
    entry["source"]["base"] = web.base.rstrip("/") + address.path
    return fetch(tmp_path, AcquireParams.model_validate(entry))


def test_tatoeba_layout(tmp_path, root, web):
    raw = from_web(tmp_path, root, web, "tatoeba")
    pairs = [(p.id, p.source_text, p.target_text) for p in raw_pairs(raw)]
    assert pairs == [("tatoeba:11-21", "Unu.", "One."), ("tatoeba:12-22", "Du.", "Two.")]
    assert [d.text for d in raw_documents(raw)] == ["Unu.", "Du.", "Tri."]


def test_leipzig_layout(tmp_path, root, web):
    raw = from_web(tmp_path, root, web, "leipzig")
    assert [d.text for d in raw_documents(raw)] == ["Unua frazo.", "Dua frazo."]


def test_universal_dependencies_layout(tmp_path, root, web):
    raw = from_web(tmp_path, root, web, "treebank")
    assert [(s.id, s.tags, s.text) for s in raw_labelled(raw)] == [("prago-001", ["ADV"], "Bone")]


def test_wikipedia_layout(tmp_path, root, web):
    raw = from_web(tmp_path, root, web, "wikipedia")
    [article] = raw_documents(raw)
    assert article.id == "eowiki-latest-pages-articles.xml.bz2:7"
    assert article.text == "Akvo estas kombino.\nEcoj\nĜi bolas."
