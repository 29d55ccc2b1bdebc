"""Ids of the kernels: those of `tokenizers` on hostile text, of the slow reference on bytes."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

from stages.lm import bytelevel, encoders, spelling, tokenizers
from stages.lm.kernels import bpe, encoding, remembered, text, wordcounts
from tests.lm.kernels import hostile
from tests.lm.kernels.test_pretokens import documents

PROSE = ["La rapida bruna vulpo, kiu ne dormis, saltas trans la 12 pigrajn hundojn!"] * 40
TEXTS = [*documents(11, 1500), *PROSE, "", "a" * 5000, "ĉ" * 300 + " " * 2000, "<s> <mask>x</s>"]
SPLIT = pre_tokenizers.Sequence(
    [
        pre_tokenizers.Split(Regex(bytelevel.EXPRESSION), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
)


def tokenizer(splitter=None, size: int = 700, digits: bool = False) -> Tokenizer:
    counted = wordcounts.count(text.of_strings([*TEXTS, "a" * 64]), isolate=digits)
    made = Tokenizer(bytelevel.learned_model(counted, ["<s>", "<mask>"], size, 2))
    made.pre_tokenizer = splitter or bytelevel.splitter(digits)
    made.add_special_tokens(["<s>", "<mask>"])
    made.encode_special_tokens = True
    return made


def lists(found: encoders.Encoded) -> list[list[int]]:
    return [found.ids[a:b].tolist() for a, b in zip(found.firsts, found.firsts[1:], strict=False)]


def theirs(made: Tokenizer, given: list[str]) -> list[list[int]]:
    return [one.ids for one in made.encode_batch_fast(given, add_special_tokens=False)]


CASES = {
    "gpt-2": (lambda: tokenizer(), 0),
    "digits": (lambda: tokenizer(digits=True), 0),
    "split": (lambda: tokenizer(SPLIT), 0),
    "bytes": (lambda: bytes_alone(), 0),
    "nfc": (lambda: composed(), 1),
    "domain": (lambda: domain(), 0),
    "added": (lambda: added(), 1),
}


def bytes_alone() -> Tokenizer:
    names = ["<s>", "<mask>", *spelling.spellings()]
    made = Tokenizer(models.BPE({name: number for number, name in enumerate(names)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.add_special_tokens(["<s>", "<mask>"])
    made.encode_special_tokens = True
    return made


def domain() -> Tokenizer:
    """Added tokens without conditions: they overlap each other and spelled special tokens."""
    made = tokenizer(digits=True)
    tokens = ["vulpo, ", "ĉĉ", "\n\n", "    ", "  ", "mask", "k>", "aaa", "\x00"]
    made.add_tokens([AddedToken(one, normalized=False) for one in tokens])
    return made


def composed() -> Tokenizer:
    made = tokenizer()
    made.normalizer = normalizers.Sequence([normalizers.NFC()])
    return made


def added() -> Tokenizer:
    made = tokenizer()
    made.add_tokens(["vulpo, ", AddedToken("stm", single_word=True), "ĉĉ", "\n\n"])
    return made


@pytest.mark.parametrize("case", CASES)
def test_ids_are_the_librarys(case, monkeypatch):
    make, apart = CASES[case]
    made = make()
    ours = encoders.Encoder(made)
    assert ours.reason is None
    asked = []
    by_library = encoders.Encoder._by_library
    monkeypatch.setattr(
        encoders.Encoder,
        "_by_library",
        lambda self, texts, *ends: asked.append(texts.documents) or by_library(self, texts, *ends),
    )
    texts = text.of_strings(TEXTS)
    found = ours.encode(texts)
    wanted = theirs(made, TEXTS)
    assert lists(found) == wanted
    assert found.ids.dtype == np.uint16
    assert found.characters.tolist() == list(map(len, TEXTS))
    assert len(asked) == apart
    assert all(0 < count < len(TEXTS) for count in asked)
    # The same in the same memory, between begin and end, and by three threads.
    begun = ours.encode(texts, 3, 700)
    assert lists(begun) == [[3, *ids, 700] for ids in wanted]
    threads = encoders.Encoder(made, threads=3).encode(texts, 3, 700)
    assert all(np.array_equal(one, other) for one, other in zip(begun, threads, strict=True))


def test_ids_of_malformed_bytes_are_the_references_also_when_the_memory_is_full(monkeypatch):
    state = json.loads(tokenizer().to_str())["model"]
    names = state["vocab"]
    symbols = [names[letter] for letter in spelling.spellings()]
    merges = {
        (names[left], names[right]): (rank, names[left + right])
        for rank, (left, right) in enumerate(state["merges"])
    }
    given = hostile.byte_strings(7, 400) + [one.encode() for one in TEXTS[:300]]
    given += [b"la " * 40 + b"x" * 90, b"\xff" * 200, b"e" * 2000]
    wanted = [bpe.reference(one, symbols, merges) for one in given]
    rules = bpe.rules(symbols, merges)
    for slots, arena in ((remembered.SLOTS, remembered.ARENA), (1 << 10, 1 << 15)):
        monkeypatch.setattr(remembered, "SLOTS", slots)
        monkeypatch.setattr(remembered, "ARENA", arena)
        for wide in (False, True):
            ids, firsts, _ = encoding.Encoder(rules).encode(text.of_bytes(given), wide)
            assert ids.dtype == (np.uint32 if wide else np.uint16)
            pairs = zip(firsts, firsts[1:], strict=False)
            assert [ids[a:b].tolist() for a, b in pairs] == wanted


def test_a_vocabulary_with_ids_above_16_bits_is_written_in_32():
    state = json.loads(tokenizer().to_str())
    names = state["model"]["vocab"]
    few = {name: number + 70_000 * (number > 400) for name, number in names.items()}
    state["model"]["vocab"] = few
    wide = Tokenizer.from_str(json.dumps(state))
    wide.encode_special_tokens = True
    found = encoders.Encoder(wide).encode(text.of_strings(TEXTS))
    assert found.ids.dtype == np.uint32
    assert int(found.ids.max()) > 1 << 16
    assert lists(found) == theirs(wide, TEXTS)


def changed(path: str, value) -> str | None:
    """Why a tokenizer with one setting changed is the library's; its ids must be so as well."""
    state = json.loads(tokenizer().to_str())
    place = state
    *parents, name = path.split(".")
    for parent in parents:
        place = place[parent]
    place[name] = value
    made = Tokenizer.from_str(json.dumps(state))
    made.encode_special_tokens = True
    ours = encoders.Encoder(made)
    assert lists(ours.encode(text.of_strings(TEXTS[:200]))) == theirs(made, TEXTS[:200])
    return ours.reason


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("model.ignore_merges", True, "the model has ignore_merges"),
        ("model.end_of_word_suffix", "", None),
        ("pre_tokenizer.add_prefix_space", True, "the pre-tokenizer is not GPT-2's"),
        ("pre_tokenizer.use_regex", False, "the pre-tokenizer is not GPT-2's"),
        ("pre_tokenizer", None, "the pre-tokenizer is not GPT-2's"),
        ("normalizer", {"type": "Lowercase"}, "the normalizer is not NFC"),
        ("normalizer", {"type": "Sequence", "normalizers": []}, None),
        (
            "truncation",
            {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0},
            "the tokenizer has truncation",
        ),
    ],
)
def test_what_the_kernels_do_not_do_is_the_librarys(path, value, reason):
    assert changed(path, value) == reason


def test_other_models_are_the_librarys():
    words = Tokenizer(models.WordLevel({"la": 0, "<unk>": 1}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    ours = encoders.Encoder(words)
    assert ours.reason == "the model is WordLevel"
    assert lists(ours.encode(text.of_strings(["la", "", "la x"]), 5)) == [[5, 0], [5], [5, 0, 1]]
    state = json.loads(tokenizer().to_str())
    del state["model"]["vocab"]["Ā"]
    state["model"]["merges"] = []
    assert encoders.kernel_rules(state, True) == "the vocabulary lacks bytes"
    state = json.loads(tokenizer().to_str())
    state["model"]["merges"].append(["q", "q"])
    assert encoders.kernel_rules(state, True) == "the vocabulary lacks what a merge makes"


def test_a_merge_out_of_turn_would_be_seen():
    made = tokenizer()
    state = json.loads(made.to_str())
    random.Random(1).shuffle(state["model"]["merges"])
    rules = encoders.kernel_rules(state, True)
    assert not isinstance(rules, str)
    ids, firsts, _ = encoding.Encoder(rules.rules).encode(text.of_strings(TEXTS))
    pairs = zip(firsts, firsts[1:], strict=False)
    assert [ids[a:b].tolist() for a, b in pairs] != theirs(made, TEXTS)


def test_the_library_opens_a_tokenizer_again_only_where_the_kernels_do_not_encode():
    for made, apart in ((tokenizer(), False), (added(), True)):
        deferred = tokenizers.Deferred(made.to_str())
        found = encoders.Encoder(deferred).encode(text.of_strings(TEXTS))
        assert lists(found) == theirs(made, TEXTS)
        assert (deferred._library is not None) == apart
