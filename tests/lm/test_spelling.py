"""Spelling: how many bytes of text each token stands for, whatever the vocabulary's model."""

from __future__ import annotations

import json

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from stages.lm import spelling

WORDS = ["la ĉielo ", "漢 x", " <|user|>", "\x00é\n", "👩‍👩‍👧"]


def of_bytes():
    names = ["[PAD]", *spelling.spellings()]
    made = Tokenizer(models.BPE({name: number for number, name in enumerate(names)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    return made


def of_pieces():
    pieces = [("<unk>", 0.0), *((f"<0x{byte:02X}>", -20.0) for byte in range(256))]
    pieces += [("\u2581", -2.0), ("la", -3.0), ("\u2581\u0109iel", -4.0), ("o", -5.0), ("x", -9.0)]
    made = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=True))
    from tokenizers import normalizers

    made.normalizer = normalizers.Replace(" ", "\u2581")
    return made


@pytest.mark.parametrize("make", [of_bytes, of_pieces])
def test_the_bytes_of_all_tokens_are_those_of_the_text(make):
    made = make()
    made.add_special_tokens(["[PAD]"])
    made.add_tokens(["<|user|>", "ĉielo "])
    lengths = spelling.byte_lengths(json.loads(made.to_str()))
    assert len(lengths) == made.get_vocab_size()
    for text in WORDS:
        ids = made.encode(text, add_special_tokens=False).ids
        assert sum(lengths[number] for number in ids) == len(text.encode("utf-8")), text
    assert lengths[made.token_to_id("[PAD]")] == 0
    assert lengths[made.token_to_id("ĉielo ")] == 7


def test_pieces_inside_words_are_counted_without_their_mark():
    vocabulary = {"<unk>": 0, "ĉiel": 1, "##o": 2}
    state = {
        "model": {
            "type": "WordPiece", "vocab": vocabulary, "continuing_subword_prefix": "##",
        },
        "added_tokens": [{"id": 0, "content": "<unk>", "special": True}],
    }  # fmt: skip
    assert spelling.byte_lengths(state) == {0: 0, 1: 5, 2: 1}
