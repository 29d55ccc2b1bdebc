"""A tokenizer on disk: its identity, its special tokens, taking it along."""

from __future__ import annotations

import json

import pytest

from stages.core.errors import ArtifactError
from stages.lm import spelling, tokenizers

SPECIALS = spelling.MASKED_SPECIALS


@pytest.fixture
def folder(tmp_path):
    """A byte-level tokenizer without merges, written by hand."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    symbols = [*SPECIALS, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    vocabulary = {symbol: number for number, symbol in enumerate(symbols)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, special=True) for token in SPECIALS])
    folder = tmp_path / "t"
    folder.mkdir()
    backend.save(str(folder / "tokenizer.json"))
    roles = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "pad_token": "<pad>"}
    config = roles | {"mask_token": "<mask>", "model_max_length": 512}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def test_special_tokens_are_found_by_their_roles(folder):
    special = tokenizers.special(folder, tokenizers.load(folder))
    assert special.as_json() == {"begin": 0, "end": 2, "pad": 1, "mask": 4, "all": [0, 1, 2, 3, 4]}


def test_what_a_text_spells_is_text(folder):
    backend = tokenizers.load(folder)
    (ids,) = tokenizers.encode_texts(backend, ["<mask></s>"])
    assert len(ids) == len("<mask></s>")
    assert min(ids) >= len(SPECIALS)
    # Teeth: as the library does it by itself, a text could write special tokens.
    backend.encode_special_tokens = False
    assert tokenizers.encode_texts(backend, ["<mask></s>"]) == [[4, 2]]


def test_the_digest_changes_with_what_the_tokenizer_does(folder, tmp_path):
    before = tokenizers.digest(folder)
    tokenizers.copy(folder, tmp_path / "same")
    path = folder / "tokenizer.json"
    path.write_text(path.read_text(encoding="utf-8") + " ", encoding="utf-8")
    assert tokenizers.digest(folder) != before
    tokenizers.copy(folder, tmp_path / "other", model_max_length=64)
    assert tokenizers.digest(tmp_path / "other") != tokenizers.digest(tmp_path / "same")


def test_a_copy_takes_the_files_unchanged_and_the_length_of_the_model(folder, tmp_path):
    tokenizers.copy(folder, tmp_path / "m", model_max_length=64)
    names = sorted(path.name for path in (tmp_path / "m").iterdir())
    assert names == ["tokenizer.json", "tokenizer_config.json"]
    same = (tmp_path / "m" / "tokenizer.json").read_bytes()
    assert same == (folder / "tokenizer.json").read_bytes()
    assert tokenizers.read_config(tmp_path / "m")["model_max_length"] == 64
    assert tokenizers.read_config(folder)["model_max_length"] == 512


def test_a_missing_config_is_named(folder, tmp_path):
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(ArtifactError, match=r"tokenizer_config\.json cannot be read"):
        tokenizers.copy(folder, tmp_path / "m")
