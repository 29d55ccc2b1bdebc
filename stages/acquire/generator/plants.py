"""What is planted in the documents, each with a row of truth that says what and where.

Every row has `kind` and `id` (the planted document). Places are `start` and `end` in characters of
that document's text as written. Further keys by kind:

- `exact-duplicate`: `original`, `jaccard` 1.0
- `near-duplicate`: `original`, `shared` and `union` (word 5-grams, see `shingles`), `jaccard` =
  shared / union, `edits`
- `foreign-document`, `foreign-paragraph`: `language`, place
- `boilerplate`: `lines`, places of head and foot
- `mojibake`: `codec` the UTF-8 bytes were misread in, `original_sha256`
- `x-system`, `decomposed`, `line-endings`, `hard-wrapped`, `byte-order-mark`: `original_sha256`
- `markers`: `body_start`, `body_end`
- `email`, `phone`: `value`, place
- `repetition`: `sentence`, `times`, place
"""

from __future__ import annotations

import hashlib
import random
import textwrap
import unicodedata
from collections.abc import Callable
from typing import Any

from stages.acquire.generator import foreign

Truth = dict[str, Any]
X_SYSTEM = str.maketrans(
    {"ĉ": "cx", "ĝ": "gx", "ĥ": "hx", "ĵ": "jx", "ŝ": "sx", "ŭ": "ux",
     "Ĉ": "Cx", "Ĝ": "Gx", "Ĥ": "Hx", "Ĵ": "Jx", "Ŝ": "Sx", "Ŭ": "Ux"}
)  # fmt: skip
HEADS = (
    "Ĉefpaĝo | Novaĵoj | Forumo | Serĉi | Ensaluti",
    "Hejmo > Artikoloj > Arkivo",
    "Salti al la enhavo\nMenuo\nPri ni\nKontakto",
)
FEET = (
    "Ĉiuj rajtoj rezervitaj.\nKondiĉoj de uzado | Protekto de datumoj | Kontakto",
    "Ĉi tiu retejo uzas kuketojn. Alklaku ĉi tie por akcepti.\n© 2024",
    "Kundividu ĉi tiun paĝon!\nPresi | Sendi | Aboni la informleteron",
    "Legu pli: plej legataj artikoloj de la semajno\nSupren",
)
START = "*** START OF THIS ELECTRONIC BOOK ***"
END = "*** END OF THIS ELECTRONIC BOOK ***"
NOTICE = "Ĉi tiu elektronika libro estas libere uzebla de ĉiuj. Legu la kondiĉojn ĉe la fino."
WRAP_COLUMNS = 72
BOXES = ("info", "kontakto", "redakcio", "gazeto", "klubo", "sekretario", "helpo", "libroj")
HOSTS = ("domo", "lernejo", "urbo", "muzeo", "kulturo", "asocio", "ekzemplo", "biblioteko")
MAIL = ("Skribu al {} por pliaj informoj.", "Bonvolu sendi vian respondon al {} ĝis lundo.",
        "Nia adreso estas {}.")  # fmt: skip
CALL = ("Telefonu al {} inter la naŭa kaj la deksepa.", "Nia telefonnumero estas {}.",
        "Por demandoj voku {}.")  # fmt: skip


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def pick(rng: random.Random, options: tuple[str, ...]) -> str:
    """Return one of some options."""
    return options[int(rng.random() * len(options))]


def misread(text: str, codec: str) -> str:
    """Return the text's UTF-8 bytes read in a one-byte encoding, undefined bytes as in Latin-1."""
    data = text.encode("utf-8")
    if codec == "latin-1":
        return data.decode("latin-1")
    return "".join(
        bytes([byte]).decode("cp1252") if byte not in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else chr(byte)
        for byte in data
    )


def mojibake(text: str, last: str, rng: random.Random) -> tuple[str, Truth]:
    """Misread the whole text."""
    codec = pick(rng, ("latin-1", "cp1252"))
    return misread(text, codec), {"codec": codec, "original_sha256": _digest(text)}


def x_system(text: str, last: str, rng: random.Random) -> tuple[str, Truth]:
    """Spell the text in the x-system."""
    return text.translate(X_SYSTEM), {"original_sha256": _digest(text)}


def decomposed(text: str, last: str, rng: random.Random) -> tuple[str, Truth]:
    """Write letters with combining marks."""
    return unicodedata.normalize("NFD", text), {"original_sha256": _digest(text)}


def line_endings(text: str, last: str, rng: random.Random) -> tuple[str, Truth]:
    """End lines with CR LF."""
    return text.replace("\n", "\r\n") + "\r\n", {"original_sha256": _digest(text)}


def byte_order_mark(text: str, last: str, rng: random.Random) -> tuple[str, Truth]:
    """Put U+FEFF first."""
    return "\ufeff" + text, {"original_sha256": _digest(text)}


def hard_wrapped(text: str, last: str, rng: random.Random) -> tuple[str, Truth]:
    """Break lines at a fixed width; blank lines still part the paragraphs."""
    parts = [
        textwrap.fill(part, WRAP_COLUMNS, break_long_words=False, break_on_hyphens=False)
        for part in text.split("\n\n")
    ]
    return "\n\n".join(parts), {"columns": WRAP_COLUMNS, "original_sha256": _digest(text)}


def markers(text: str, last: str, rng: random.Random) -> tuple[str, Truth]:
    """Put a book's markers and notices around the text."""
    head = f"{NOTICE}\n\n{START}\n\n"
    foot = f"\n\n{END}\n\n{NOTICE}"
    return head + text + foot, {"body_start": len(head), "body_end": len(head) + len(text)}


def boilerplate(text: str, last: str, rng: random.Random) -> tuple[str, Truth]:
    """Put menu lines before and footer lines after the text."""
    head, foot = pick(rng, HEADS), pick(rng, FEET)
    planted = f"{head}\n\n{text}\n\n{foot}"
    places = [[0, len(head)], [len(planted) - len(foot), len(planted)]]
    return planted, {"lines": [*head.split("\n"), *foot.split("\n")], "places": places}


def repetition(text: str, last: str, rng: random.Random) -> tuple[str, Truth]:
    """Repeat the last sentence many times."""
    times = 8 + int(rng.random() * 25)
    planted = text + f" {last}" * times
    return planted, {"sentence": last, "times": times, "start": len(text) + 1, "end": len(planted)}


def foreign_paragraph(text: str, last: str, rng: random.Random) -> tuple[str, Truth]:
    """Add a paragraph in another language."""
    language = pick(rng, tuple(foreign.GRAMMARS))
    added = foreign.paragraph(language, 3 + int(rng.random() * 4), rng)
    planted = f"{text}\n\n{added}"
    place = {"start": len(text) + 2, "end": len(planted)}
    return planted, {"language": language, **place}


def _contact(text: str, frame: str, value: str) -> tuple[str, Truth]:
    planted = f"{text}\n\n{frame.format(value)}"
    start = len(text) + 2 + frame.index("{}")
    return planted, {"value": value, "start": start, "end": start + len(value)}


def email(text: str, last: str, rng: random.Random) -> tuple[str, Truth]:
    """Add a sentence with an e-mail address of the reserved top-level domain `example`."""
    number = str(int(rng.random() * 100)) if rng.random() < 0.4 else ""
    value = f"{pick(rng, BOXES)}{number}@{pick(rng, HOSTS)}.example"
    return _contact(text, pick(rng, MAIL), value)


def phone(text: str, last: str, rng: random.Random) -> tuple[str, Truth]:
    """Add a sentence with a telephone number of the range reserved for fiction."""
    line = 100 + int(rng.random() * 100)
    area = 200 + int(rng.random() * 700)
    shape = pick(rng, ("+1 {}-555-0{}", "({}) 555-0{}", "+1 {} 555 0{}", "{}.555.0{}"))
    return _contact(text, pick(rng, CALL), shape.format(area, line))


ALTERATIONS: dict[str, Callable[[str, str, random.Random], tuple[str, Truth]]] = {
    "foreign_paragraph": foreign_paragraph, "boilerplate": boilerplate, "mojibake": mojibake,
    "x_system": x_system, "email": email, "phone": phone, "hard_wrapped": hard_wrapped,
    "line_endings": line_endings, "byte_order_mark": byte_order_mark, "decomposed": decomposed,
    "markers": markers, "repetition": repetition,
}  # fmt: skip
"""Kinds that alter a document, by their name in `PlantShares`."""
