"""The table of bad input: what is wrong, and what the error must say of it.

Each case is a name, the entry `bad` of a stage (or a whole params.yaml, or a command), the files
it reads, and a part of each of the three lines.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from typing import Any

from tests.pipeline.bad_material import SMALL

WORD = "1\tHundo\thundo\tNOUN\t_\t_\t0\troot\t_\t_\n"
GZIP = gzip.compress("".join(f"{n * n % 9973} " for n in range(2000)).encode(), mtime=0)
PLAIN = {"a.txt": b"Saluton, mondo.\n"}


@dataclass(frozen=True)
class Case:
    """One entry that must be refused."""

    name: str
    stage: str
    entry: dict[str, Any]
    what: str
    where: str
    do: str
    files: dict[str, bytes] = field(default_factory=dict)
    others: dict[str, Any] = field(default_factory=dict)


def refine(key: str, **more: Any) -> dict[str, Any]:
    """Return an entry of refine under a key."""
    return {"refine": {key: {"raw": "eo", **more}}}


def pretrain(**more: Any) -> dict[str, Any]:
    """Return an entry of pretrain that is right but for what is given."""
    return {"tokens": "small", "tokenizer": "small", "model": SMALL, "steps": 4, **more}


PARAMETERS = [
    Case("unknown_key", "pretrain", pretrain(learning_rat=0.1),
         "unknown parameter 'learning_rat' (value 0.1)", "params.yaml: pretrain.bad.learning_rat",
         "did you mean learning_rate?"),
    Case("unknown_nested_key", "pretrain", pretrain(model={**SMALL, "hiddensize": 3}),
         "'model.hiddensize' (value 3)", "params.yaml: pretrain.bad.model.hiddensize",
         "did you mean hidden_size?"),
    Case("wrong_type", "pretrain", pretrain(steps="many"),
         "steps: Input should be a valid integer (value 'many')",
         "params.yaml: pretrain.bad.steps", "deveno show pretrain"),
    Case("out_of_range", "encode", {"corpus": "text", "tokenizer": "small", "sequence_length": 2},
         "greater than or equal to 8 (value 2)", "params.yaml: encode.bad.sequence_length",
         "deveno show encode"),
    Case("missing_parameter", "encode", {"corpus": "text"},
         "tokenizer: Field required", "params.yaml: encode.bad.tokenizer", "deveno show encode"),
    Case("unknown_kind", "acquire", {"source": {"kind": "ftp"}},
         "'ftp'", "params.yaml: acquire.bad.source", "deveno show acquire"),
    Case("absent_kind", "pretrain", pretrain(model={"layers": 1}),
         "model: its `kind` is missing", "params.yaml: pretrain.bad.model", "deveno show pretrain"),
    Case("unknown_encoding", "acquire",
         {"folder": "data/none", "licence": "CC0-1.0",
          "source": {"kind": "files", "reading": {"encoding": "utf-9"}}},
         "source.reading.encoding: no encoding is called 'utf-9'",
         "params.yaml: acquire.bad.source.reading.encoding", "deveno show acquire"),
    Case("dangling_reference", "encode", {"corpus": "tekst", "tokenizer": "small"},
         "corpus is 'tekst', and no entry makes data/corpora/tekst",
         "params.yaml: encode.bad.corpus", "did you mean text?"),
    Case("cyclic_reference", "refine", {"raw": "eo", "held_out": "corpora/worse"},
         "refine@bad -> refine@worse -> refine@bad read each other in a circle",
         "params.yaml: refine.bad", "point one of them at another entry",
         others=refine("worse", held_out="corpora/bad")),
    Case("entry_that_is_a_number", "acquire", 3,  # type: ignore[arg-type]
         "the entry holds 3", "params.yaml: acquire.bad", "`name: value` lines"),
    Case("source_without_licence", "acquire",
         {"folder": "data/none", "source": {"kind": "files"}},
         "the files source states no licence", "params.yaml: acquire.bad.licence",
         "licence_reason"),
    Case("licence_that_is_none", "acquire",
         {"folder": "data/none", "licence": "free for all", "source": {"kind": "files"}},
         "the licence 'free for all' is no SPDX expression", "params.yaml: acquire.bad.licence",
         "CC0-1.0"),
    Case("missing_folder", "acquire",
         {"folder": "data/external/nowhere", "licence": "CC0-1.0", "source": {"kind": "files"}},
         "folder is 'data/external/nowhere', and there is no such folder",
         "params.yaml: acquire.bad.folder", "make that folder"),
    Case("input_not_made_yet", "encode", {"corpus": "unmade", "tokenizer": "small"},
         "data/corpora/unmade is not there", "encode@bad reads it as 'corpus'",
         "deveno run encode@bad", others=refine("unmade")),
    *(Case(f"entry_name_with_{name}", "refine", {"raw": "eo"},
           f"the entry name {key!r} is not allowed", f"params.yaml: refine.{key}",
           "small letters, digits and hyphens", others=refine(key))
      for name, key in (("a_dot", "a.b"), ("a_capital", "Eo"), ("a_digit_first", "9a"),
                        ("an_underscore", "a_b"))),
]  # fmt: skip

TEXTS = {
    "yaml_that_does_not_parse": (
        "acquire:\n  eo: [1\nencode: {}\n", "params.yaml is not YAML", "params.yaml: line 3"),
    "yaml_with_a_tab": ("acquire:\n\teo: 1\n", "cannot start any token", "params.yaml: line 2"),
    "duplicate_key": (
        "acquire:\n  eo: {}\n  eo: {}\n", 'found duplicate key "eo"', "params.yaml: line 3"),
    "null_section": (
        "refine:\nacquire: {}\n", "section 'refine' holds None", "params.yaml: refine"),
    "unknown_section": ("refin: {}\n", "unknown section 'refin'", "params.yaml"),
    "params_that_are_a_list": ("- 1\n", "params.yaml holds a list", "params.yaml"),
    "params_in_latin_1": (b"acquire: {eo: {origin: \xe9}}\n", "not UTF-8 (byte 23)", "params.yaml"),
    "absent_params": (None, "params.yaml is not there", "clone"),
}  # fmt: skip
"""Whole files of parameters: the text (None: no file), a part of `error:`, a part of `where:`."""


def source(
    name: str, files: dict[str, bytes], what: str, where: str, do: str, **choices: Any
) -> Case:
    """Return a case of files in data/external/bad that acquire must refuse."""
    entry = {
        "folder": "data/external/bad",
        "licence": "CC0-1.0",
        "source": {"kind": "files", **choices},
    }
    return Case(name, "acquire", entry, what, where, do, files)


FOLDER = "data/external/bad"
SOURCES = [
    source("missing_file", PLAIN, "no file matches *.gz", FOLDER, "put files there",
           patterns=["*.gz"]),
    source("empty_corpus", {"a.txt": b"", "b.txt": b"\n \n"},
           "its files hold no record", FOLDER, "check what the files hold"),
    source("binary_file", {"a.txt": b"abc\0def"},
           "a.txt is binary: a zero byte at offset 3", f"{FOLDER}/a.txt", "leave it out"),
    source("truncated_gz", {"a.txt.gz": GZIP[:-40]},
           "the gzip stream of a.txt.gz ends too early", f"{FOLDER}/a.txt.gz", "fetch the file"),
    source("wrong_encoding", {"a.txt": "tre bona caf\xe9".encode("latin-1")},
           "a.txt is not utf-8: byte 0xe9 at offset 12", f"{FOLDER}/a.txt", "latin-1"),
    source("malformed_conllu", {"a.conllu": f"{WORD}\n1\tHundo\thundo\n".encode()},
           "line 3 of a.conllu: 3 columns", f"{FOLDER}/a.conllu:3", "correct the line"),
    source("malformed_conll", {"a.conll": b"Hundo O\nbojas\n"},
           "line 2 of a.conll: 1 column(s) where the file has 2: 'bojas'", f"{FOLDER}/a.conll:2",
           "ragged: repair"),
    source("unequal_parallel_files", {"x.en.txt": b"a\nb\nc\n", "x.eo.txt": b"a\n"},
           "x.eo.txt has 1 lines and x.en.txt has 3", f"{FOLDER}/x.en.txt", "repair the pair",
           parallel=[{"source": "*.en.txt", "target": "*.eo.txt"}]),
    source("truncated_jsonl", {"a.jsonl": b'{"text": "Unu."}\n{"text": "D'},
           "line 2 of a.jsonl is not JSON", f"{FOLDER}/a.jsonl:2", "one JSON object per line"),
    source("corrupt_parquet", {"a.parquet": b"PAR1 no table at all PAR1"},
           "a.parquet cannot be read as Parquet", f"{FOLDER}/a.parquet", "again"),
    source("sha256_mismatch", PLAIN, f"declared is {'0' * 64}",
           "params.yaml: acquire.bad.source.sha256", "declare the new digest", sha256="0" * 64),
    source("too_many_files", {**PLAIN, "b.txt": b"Du.\n"}, "2 files, allowed are 1", FOLDER,
           "max_files", max_files=1),
    source("name_without_format", {"a.dat": b"x"},
           "the name a.dat does not tell its format", "acquire@bad: a.dat", "declare it"),
    source("pattern_that_leads_outside", PLAIN, "'../*.txt' leads outside the root",
           "params.yaml: acquire.bad.source.patterns", "without `..`", patterns=["../*.txt"]),
]  # fmt: skip

STAGES = [
    Case("raw_without_documents", "refine", {"raw": "eo"},
         "the raw folder holds no documents", "refine@bad: data/raw/eo", "name another raw entry"),
    Case("vocabulary_larger_than_the_corpus", "tokenizer", {"corpus": "text", "vocab_size": 90000},
         "vocab_size 90000 is more than this corpus can give", "data/corpora/text",
         "set vocab_size to"),
    Case("corrupt_tokenizer", "encode", {"corpus": "text", "tokenizer": "corrupt"},
         "tokenizer.json cannot be read", "models/tokenizers/corrupt", "tokenizer entry"),
    Case("sequence_longer_than_the_corpus", "encode",
         {"corpus": "text", "tokenizer": "small", "sequence_length": 60000},
         "sequence_length 60000 is more than all", "split train of data/corpora/text",
         "set sequence_length to"),
    Case("corpus_of_another_kind", "encode", {"corpus": "labelled", "tokenizer": "small"},
         "the corpus is of the kind 'labelled'", "data/corpora/labelled/corpus.json",
         "a corpus of the kind text"),
    Case("sequence_longer_than_the_model", "pretrain", pretrain(model={**SMALL, "positions": 16}),
         "sequences of 32 tokens do not fit a model of 16 positions", "pretrain@bad", "at most 16"),
    Case("corrupt_safetensors", "finetune", {"base": "pretrained/corrupt", "data": "labelled"},
         "the model cannot be opened", "finetune@bad: models/pretrained/corrupt",
         "run the entry that makes it again"),
    Case("empty_labelled_data", "finetune", {"base": "pretrained/small", "data": "unlabelled"},
         "the split train holds no labelled sentence", "data/corpora/unlabelled",
         "labelled sentences"),
    Case("label_unseen_in_training", "evaluate",
         {"model": "finetuned/pos", "data": "foreign", "task": {"kind": "token-classification"}},
         "no label of the corpus was seen in training: adj-x", "data/corpora/foreign", "tag set"),
    Case("report_of_nothing", "report", {},
         "data/raw/eo/manifest.json holds no /source", "data/raw/eo/manifest.json", "again"),
]  # fmt: skip

COMMANDS = {
    "unknown_verb": (["jukebox"], "no verb 'jukebox'", "deveno", "choose one of: list"),
    "near_verb": (["pln"], "no verb 'pln'", "deveno", "did you mean plan?"),
    "unknown_option": (["plan", "--jsn"], "--jsn", "deveno", "-h"),
    "missing_argument": (["show"], "STAGE|ENTRY", "deveno show", "`deveno show -h`"),
    "execute_without_key": (["execute", "encode"], "no verb 'execute'", "deveno", "choose one of"),
    "unknown_stage": (["execute", "encod", "x"], "no stage 'encod'", "stages: acquire", "encode?"),
    "unknown_entry": (
        ["execute", "encode", "smal"], "no entry 'encode@smal'", "params.yaml", "encode@small"),
    "unknown_target": (["plan", "encod@small"], "no entry 'encod@small'", "params.yaml",
                       "did you mean encode@small"),
    "ambiguous_bare_key": (["show", "small"], "3 entries are called 'small'",
                           "encode@small, pretrain@small, tokenizer@small", "write the stage too"),
    "ambiguous_model": (["try", "corrupt-twin", "x"], "2 models are called 'corrupt-twin'",
                        "finetune@corrupt-twin, pretrain@corrupt-twin", "write the stage too"),
    "logs_of_what_never_ran": (["logs", "encode@small"], "encode@small never ran here",
                               ".deveno/journal", "deveno run encode@small"),
    "unknown_recipe": (["use", "esperant"], "no recipe 'esperant'", "stages/recipes/",
                       "did you mean esperanto"),
    "use_over_uncommitted_changes": (
        ["use", "esperanto"], "params.yaml has changes that are not committed", "params.yaml",
        "--force"),
    "try_encoded_tokens": (["try", "encode@small", "Saluton."], "encode@small make no model",
                           "data/tokens/small", "did you mean pretrain@small"),
    "try_an_unknown_model": (["try", "pretrain@smal", "x"], "no model 'pretrain@smal'",
                             "params.yaml", "did you mean pretrain@small"),
    "try_what_was_not_made": (["try", "finetune@corrupt-twin", "x"], "has not been made yet",
                              "models/finetuned/corrupt-twin", "deveno run finetune@corrupt-twin"),
    "try_a_missing_file": (["try", "pos", "--file", "in.txt"], "in.txt is not there", "--file",
                           "name a text file"),
    "try_a_folder": (["try", "pos", "--file", "data"], "data is a folder", "--file", "text file"),
    "try_an_empty_file": (["try", "pos", "--file", "data/none/.keep"], "holds no text",
                          "data/none/.keep", "one text per line"),
    "try_a_binary_file": (
        ["try", "pos", "--file", "models/pretrained/small/model.safetensors"],
        "model.safetensors is binary: a zero byte at offset", "model.safetensors", "plain text"),
    "try_without_a_text": (["try", "pos"], "standard input holds no text", "standard input",
                           "one text per line"),
    "try_a_file_and_a_text": (["try", "pos", "--file", "in.txt", "x"], "both --file in.txt",
                              "deveno try", "one of them"),
    "server_to_serve_not_reachable": (["serve"], "the Prefect server does not answer",
                                      "http://127.0.0.1:9/api", "deveno up"),
}  # fmt: skip
"""Commands that stop before anything heavy: the words, and a part of each line."""
