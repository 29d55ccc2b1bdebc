"""What a machine holds: message catalogues and Python source, with package and licence."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from stages.acquire import packages
from stages.acquire.readers import plurals
from stages.lm.records import raw_pairs
from tests.stages.acquire_material import put
from tests.stages.extract_material import extract

GETTEXT = {"format": "gettext"}
HEADER = "Content-Type: text/plain; charset={}\nPlural-Forms: {};\n"
POLISH = "nplurals=3; plural=(n==1 ? 0 : n%10>=2 && n%10<=4 && (n%100<10 || n%100>=20) ? 1 : 2)"
ESPERANTO = "nplurals=2; plural=(n != 1)"


def mo(
    messages: dict[str, str], order: str = "<", charset: str = "utf-8", rule: str = ESPERANTO
) -> bytes:
    """Return a compiled catalogue; `\\x04` ends a context and `\\0` a plural form."""
    sides = sorted({"": HEADER.format(charset, rule), **messages}.items())
    at = 28 + 16 * len(sides)
    tables: list[list[tuple[int, int]]] = [[], []]
    data = b""
    for side in (0, 1):
        for pair in sides:
            text = pair[side].encode(charset)
            tables[side].append((len(text), at + len(data)))
            data += text + b"\0"
    head = struct.pack(f"{order}7I", 0x950412DE, 0, len(sides), 28, 28 + 8 * len(sides), 0, 0)
    return head + b"".join(
        struct.pack(f"{order}2I", *row) for table in tables for row in table
    ) + data  # fmt: skip


MESSAGES = {
    "Save %s": "Konservi %s",
    "menu\x04Open": "Malfermi",
    "%d file\0%d files": "unu dosiero\0%d dosieroj",
    "Bad %s and %d": "Malbona %s",
    "Named %(a)s": "Nomita %(a)s",
    "{count} items": "{nombro} eroj",
    "100% sure": "100% certa",
    "Empty": "",
}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-3"])
def test_a_compiled_catalogue_gives_pairs(tmp_path, order, charset):
    files = {"eo/LC_MESSAGES/app.mo": mo({**MESSAGES, "Thursday": "ĵaŭdo"}, order, charset)}
    taken = extract(tmp_path, files, GETTEXT)
    pairs = {row["source_text"]: row["target_text"] for row in taken.rows}
    assert pairs == {
        "Save %s": "Konservi %s", "Open": "Malfermi", "%d file": "unu dosiero",
        "%d files": "%d dosieroj", "Named %(a)s": "Nomita %(a)s", "100% sure": "100% certa",
        "Thursday": "ĵaŭdo",
    }  # fmt: skip
    assert sorted(reason for _, reason in taken.lost) == ["placeholders"] * 2 + ["untranslated"]
    told = {row["source_text"]: row for row in taken.rows}
    assert told["Open"]["context"] == "menu"
    assert (told["%d file"]["number"], told["%d files"]["number"]) == ("one", "many")
    first = taken.rows[0]
    assert (first["source_language"], first["target_language"], first["domain"]) == (
        "en",
        "eo",
        "app",
    )
    assert len(list(raw_pairs(taken.raw))) == 7


def test_plural_forms_beyond_two_are_kept_beside(tmp_path):
    catalogue = mo({"%d file\0%d files": "%d plik\0%d pliki\0%d plików"}, rule=POLISH)
    taken = extract(tmp_path, {"pl/LC_MESSAGES/app.mo": catalogue}, GETTEXT)
    assert [(row["source_text"], row["target_text"], row["forms"]) for row in taken.rows] == [
        ("%d file", "%d plik", None), ("%d files", "%d plików", ["%d pliki"]),
    ]  # fmt: skip
    lacking = mo({"%d file\0%d files": "%d plik"}, rule=POLISH)
    taken = extract(tmp_path, {"pl/LC_MESSAGES/b.mo": lacking}, GETTEXT, to="b")
    assert [reason for _, reason in taken.lost] == ["plural_forms"]


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        (ESPERANTO, (0, 1)), (POLISH, (0, 2)), ("nplurals=1; plural=0", (0, 0)),
        ("nplurals=2; plural=n>1", (0, 1)), ("", (0, -1)), ("nplurals=2; plural=9", (0, -1)),
        ("nplurals=2; plural=n/0", (0, -1)), ("nplurals=2; plural=" + "(" * 900, (0, -1)),
        ("nplurals=2; plural=__import__", (0, -1)), ("nplurals=2; plural=n 1", (0, -1)),
        ("nplurals=2; plural=" + "!" * 900 + "n", (0, -1)),
        ("nplurals=3; plural=n%10==1 && n%100!=11 ? 0 : n != 0 ? 1 : 2", (0, 1)),
    ],
)  # fmt: skip
def test_plural_rules_are_read_and_never_run(rule, found):
    assert plurals.forms(rule + ";") == found


PO = """
msgid ""
msgstr "Content-Type: text/plain; charset=UTF-8\\n"

#, fuzzy
msgid "Guess"
msgstr "Diveno"

#: a.c:1
msgctxt "menu"
msgid "Long "
"text\\n"
msgstr "Longa "
"teksto\\n"

msgid "%d day"
msgid_plural "%d days"
msgstr[0] "%d tago"
msgstr[1] "%d tagoj"

#~ msgid "Old"
#~ msgstr "Malnova"

msgid "No end
msgstr "rompita"

msgid "Last"
msgstr "Lasta \\"fino\\""
"""


def test_a_catalogue_in_source_form(tmp_path):
    taken = extract(tmp_path, {"po/eo.po": PO}, GETTEXT)
    assert [(row["source_text"], row["target_text"]) for row in taken.rows] == [
        ("Long text\n", "Longa teksto\n"), ("%d day", "%d tago"), ("%d days", "%d tagoj"),
        ("Last", 'Lasta "fino"'),
    ]  # fmt: skip
    assert [reason for _, reason in taken.lost] == ["fuzzy", "malformed"]
    assert {row["target_language"] for row in taken.rows} == {"eo"}
    kept = extract(tmp_path, {}, GETTEXT | {"fuzzy": True}, to="fuzzy")
    assert kept.rows[0]["target_text"] == "Diveno"


GOOD = mo({"a": "b"})


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (GOOD[:20], "truncated"),
        (GOOD[:40], "truncated"),
        (GOOD[:-3], "truncated"),
        (GOOD[:8] + b"\xff\xff\xff\x7f" + GOOD[12:], "truncated"),
        (GOOD[:4] + b"\0\0\x09\0" + GOOD[8:], "malformed"),
        (GOOD[:-2] + b"\xff\0", "undecodable"),
        (mo({"a": "b"}).replace(b"utf-8", b"utf-9"), "undecodable"),
        (b"no catalogue", "malformed"),
        (b"", "malformed"),
    ],
)
def test_broken_catalogues_are_losses(tmp_path, data, reason):
    files = {"eo/LC_MESSAGES/a.mo": data, "eo/LC_MESSAGES/b.mo": GOOD}
    taken = extract(tmp_path, files, GETTEXT)
    assert [row["source"] for row in taken.rows][-1] == "eo/LC_MESSAGES/b.mo"
    assert {found for _, found in taken.lost} == {reason}


def test_other_languages_are_said(tmp_path):
    files = {f"{code}/LC_MESSAGES/a.mo": GOOD for code in ("eo", "pt_BR", "de")}
    taken = extract(tmp_path, files, GETTEXT | {"targets": ["eo", "pt_BR"]})
    assert {row["target_language"] for row in taken.rows} == {"eo", "pt_BR"}
    assert [reason for _, reason in taken.lost] == ["other_language"]


DISTRIBUTIONS = {
    "one": ("License-Expression: MIT", "MIT"),
    "two": ("License: Apache License, Version 2.0", "Apache-2.0"),
    "three": ("License: BSD\nClassifier: License :: OSI Approved :: BSD License", "LicenseRef-BSD"),
    "four": ("Classifier: License :: OSI Approved :: MIT License", "MIT"),
    "five": ("License: my own words", "unknown"),
    "six": ("", "unknown"),
}


def test_packages_of_python_bring_their_licence(tmp_path):
    files: dict[str, str] = {"loose.py": "x = 1\n"}
    for name, (told, _) in DISTRIBUTIONS.items():
        files[f"{name}/a.py"] = "x = 1\n"
        files[f"{name}-1.0.dist-info/METADATA"] = (
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{told}\n"
        )
        files[f"{name}-1.0.dist-info/RECORD"] = f"{name}/a.py,,\n"
    root = put(tmp_path / "site-packages", files)
    taken = extract(
        tmp_path, {}, {"format": "python"}, licence=None, root=str(root), patterns=["**/*.py"]
    )
    found = {row["source"]: (row["package"], row["licence"]) for row in taken.rows}
    assert found == {
        "loose.py": (None, "unknown"),
        **{
            f"{name}/a.py": (f"{name} 1.0", licence) for name, (_, licence) in DISTRIBUTIONS.items()
        },
    }
    assert taken.manifest["licences"]["unknown"] == 3


def test_packages_of_debian_bring_their_licence(tmp_path, monkeypatch):
    root = put(tmp_path / "locale", {"eo/LC_MESSAGES/a.mo": GOOD, "eo/LC_MESSAGES/b.mo": GOOD})
    monkeypatch.setattr(packages, "DPKG_LISTS", tmp_path / "info")
    monkeypatch.setattr(packages, "DPKG_COPYRIGHT", tmp_path / "doc")
    dep5 = "License: MIT\n\nFiles: *\nLicense: GPL-2+ or Artistic\n\nFiles: b\nLicense: ISC\n"
    put(tmp_path, {
        "info/appl:amd64.list": f"/.\n{root}/eo/LC_MESSAGES/a.mo\n", "doc/appl/copyright": dep5,
        "info/other.list": f"{root}/eo/LC_MESSAGES/b.mo\n", "doc/other/copyright": "in words",
    })  # fmt: skip
    taken = extract(tmp_path, {}, GETTEXT, licence=None, root=str(root))
    assert [(row["package"], row["licence"]) for row in taken.rows] == [
        ("appl", "GPL-2.0-or-later OR Artistic-1.0-Perl"), ("other", "unknown"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("LGPL-2.1+", "LGPL-2.1-or-later"), ("GPLv3", "GPL-3.0-only"),
        ("gfdl-1.3", "GFDL-1.3-only"),
        ("LGPL-3+ or GPL-2+", "LGPL-3.0-or-later OR GPL-2.0-or-later"),
        ("MIT and ISC", "MIT AND ISC"),
        ("GPL-2+ with Autoconf exception", None), ("MIT or mine", None), ("", None),
    ],
)  # fmt: skip
def test_short_names_of_licences(name, found):
    assert packages.spdx(name) == found


def test_python_source_is_decoded_as_it_says(tmp_path):
    files = {
        "a.py": "# -*- coding: latin-1 -*-\nx = 'é'\n".encode("latin-1"),
        "b.py": b"x = '\xe9'\n", "c.py": b"x\0y", "d.py": b"def (:\n", "e.py": b"\n",
        "f.py": b"# coding: no-such\n", "g.py": b"(" * 5000,
    }  # fmt: skip
    taken = extract(tmp_path, files, {"format": "python", "parsable": True})
    assert [(row["source"], row["text"][-3], row["encoding"]) for row in taken.rows] == [
        ("a.py", "é", "iso-8859-1")
    ]
    assert [reason for _, reason in taken.lost] == [
        "undecodable", "binary", "unparsable", "empty", "undecodable", "unparsable",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("root", "reader", "pattern"),
    [
        ("python", {"format": "python"}, "json/*.py"),
        ("site-packages", {"format": "python"}, "numpy/_*.py"),
    ],
)
def test_places_of_this_machine_by_name(tmp_path, root, reader, pattern):
    taken = extract(tmp_path, {}, reader, root=root, patterns=[pattern])
    assert all(row["package"] for row in taken.rows)
    assert "unknown" not in taken.manifest["licences"]


def test_catalogues_of_this_machine(tmp_path):
    if not Path("/usr/share/locale/eo/LC_MESSAGES/bash.mo").is_file():
        pytest.skip("this machine has no such catalogue")
    taken = extract(tmp_path, {}, GETTEXT, root="locale", patterns=["eo/LC_MESSAGES/bash.mo"])
    assert len(taken.rows) > 100
    assert {row["target_language"] for row in taken.rows} == {"eo"}
