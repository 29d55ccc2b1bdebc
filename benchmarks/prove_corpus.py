"""Prove the corpus path: each line with its command, figure and verdict, into corpus.json.

    python -m benchmarks.prove_corpus [--lines 1,2,...] [--keep FOLDER]

Lines 1 to 8 are the table of `make bench-corpus`, read from the tracked result of each row
(minutes to an hour each); a row that was never measured fails. So are the further measurements
(each names its command). The others are tests, which read the junit file of one `make test` in a
fresh clone.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import prove_again
from benchmarks.prove_again import ROOT, Line
from stages.core import forecast

RESULT = ROOT / "benchmarks" / "corpus.json"


class Corpora(prove_again.Again):
    """Runs the lines of issue "from raw text to packed tokens" in the clones of a `Prover`."""

    def row(self, name: str) -> Line:
        """Return what a row of the table found."""
        path = ROOT / "benchmarks" / "corpus" / f"{name}.json"
        command = f"make bench-corpus ({name})"
        if not path.is_file():
            return command, "not measured", False
        self.measured_on = f"{committed(path)} (its tracked result)"
        found = json.loads(path.read_text(encoding="utf-8"))
        leaves = list(_leaves(found.get("passes") or {}))
        figure = "; ".join(f"{where}: {value}" for where, value in leaves)
        verdicts = [value for _, value in leaves if isinstance(value, bool)]
        return command, figure or "no verdict", bool(verdicts) and all(verdicts)

    def line_1(self) -> Line:
        """Full rule set beside datatrove's Gopher, C4 and FineWeb: 100 times, same decisions."""
        return self.row("rules")

    def line_2(self) -> Line:
        """Near-duplicates, text to keep-list: 20 times rensa, 5 gaoya, 500 datatrove."""
        return self.row("near_duplicates")

    def line_3(self) -> Line:
        """Exact substrings: the suffix array's list, 10 times as fast, a quarter of its memory."""
        return self.row("substrings")

    def line_4(self) -> Line:
        """BPE training: 10 times tokenizers, equal compression."""
        return self.row("bpe_training")

    def line_5(self) -> Line:
        """Encoding: 40 times tokenizers 0.23, equal ids."""
        return self.row("encoding")

    def line_6(self) -> Line:
        """Encode and pack: 100 times two maps of datasets."""
        return self.row("packing")

    def line_7(self) -> Line:
        """Loader: 50 times a DataLoader with torch format."""
        return self.row("loader")

    def line_8(self) -> Line:
        """Whole chain, raw text to packed set: 50 times the peers chained."""
        return self.row("chain")

    def line_9(self) -> Line:
        """`make test` as a whole, in a fresh clone."""
        return self.line_21()

    def result(self, name: str) -> dict[str, Any]:
        """Return a tracked result, and remember which commit wrote it."""
        path = ROOT / "benchmarks" / f"{name}.json"
        self.measured_on = f"{committed(path)} (its tracked result)"
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def line_10(self) -> Line:
        """10 GB through the line in 4 GiB and 40 GB of disk, killed twice; cost per GB flat."""
        command = "make bench-corpus-scale"
        found = self.result("corpus_scale")["passes"]
        return command, _told(found), bool(found["pass"])

    def line_11(self) -> Line:
        """Every source keeps records with licence and checksum and loses none silently."""
        names = ("", "_extract", "_warc", "_machine", "_tables", "_sources_page", "_hub", "_sql")
        return self.tests(*(f"tests/stages/test_acquire{name}.py" for name in names))

    def line_12(self) -> Line:
        """Containers killed twice give the same bytes in bounded memory; rows need no file."""
        found, command = self.result("sources"), "make bench-sources"
        told = [
            f"{name} {row['text_mb_per_cpu_s']} MB/CPU s, {row['peak_mib']} MiB"
            for name, row in found["formats"].items()
        ]
        rows = found["rows_as_batches"]
        told.append(
            "rows as batches against a Parquet file between:"
            f" CPU s {rows['cpu_s']}, MiB {rows['peak_mib']}, bytes written {rows['bytes_written']}"
        )
        return command, "; ".join(told), bool(found["passes"])

    def line_13(self) -> Line:
        """Rules: published sets, their scores as columns, private data, every rule in one table."""
        return self.tests(
            "tests/stages/test_refine_rules.py", "tests/stages/test_refine_filters.py",
            "tests/stages/test_refine_personal.py", "tests/stages/test_refine_catalogue.py",
            "tests/lm/scores/test_scores.py", "tests/lm/scores/test_maps.py",
        )  # fmt: skip

    def line_14(self) -> Line:
        """Planted truth: per rule precision 0.9, recall 0.9; private data also in later forms."""
        rows = self.result("rule_truth")["rows"]
        low = [
            f"{row['rule']}: precision {row['precision']['share']:.3f},"
            f" recall {row['recall']['share']:.3f}, of later forms {_later(row):.3f}"
            for row in rows
            if min(row["precision"]["share"], row["recall"]["share"], _later(row)) < 0.9
        ]
        figure = f"{len(rows) - len(low)} of {len(rows)} rules; below: {'; '.join(low) or 'none'}"
        return "make bench-rule-truth", figure, not low

    def line_15(self) -> Line:
        """A language identifier learns from labelled text; accuracy only where text is held out."""
        return self.tests("tests/stages/test_identify.py")

    def line_16(self) -> Line:
        """Licences, opt-outs and word lists drop with named reasons; columns stay."""
        return self.tests("tests/stages/test_refine_permitted.py")

    def line_17(self) -> Line:
        """Duplicates: near, lines and paragraphs, substrings, evaluation sets, membership."""
        return self.tests(
            "tests/stages/test_refine_duplicates.py", "tests/stages/test_refine_repeats.py",
            "tests/stages/test_refine_substrings.py", "tests/stages/test_refine_held_out.py",
            "tests/lm/test_minhash.py", "tests/lm/test_signatures.py", "tests/lm/test_repeats.py",
            "tests/lm/test_neighbours.py", "tests/lm/test_membership.py",
        )  # fmt: skip

    def line_18(self) -> Line:
        """Measures, topics, drift, gates, versions compared, SQL over every stage."""
        return self.tests(
            "tests/stages/test_refine_measures.py", "tests/lm/test_topics.py",
            "tests/lm/test_versions.py", "tests/lm/test_queries.py", "tests/lm/test_ngrams.py",
        )  # fmt: skip

    def line_19(self) -> Line:
        """The books before and after all rules, with a page."""
        found = self.result("esperanto_files")
        before, after = found["before"], found["after"]
        figure = (
            f"{before['documents']} documents, {before['characters']} characters before;"
            f" {after['documents']} and {after['characters']} after"
        )
        return "make esperanto-files", figure, 0 < after["documents"] < before["documents"]

    def line_20(self) -> Line:
        """Tokenizers: encode and AutoTokenizer agree for every algorithm, normaliser and domain."""
        return self.tests(
            "tests/stages/test_tokenizer.py", "tests/stages/test_tokenizer_algorithms.py",
            "tests/stages/test_tokenizer_choices.py", "tests/lm/test_encoders.py",
            "tests/lm/kernels/test_merges.py", "tests/lm/kernels/test_pretokens.py",
        )  # fmt: skip

    def line_22(self) -> Line:
        """A grid of vocabularies compared at equal bytes: size, compression, fertility, loss."""
        found = self.result("vocabulary")
        told = [
            f"{row['name']}{'*' if row['best'] else ''} {row['bits_per_byte']:.3f} bits/byte,"
            f" {row['bytes_per_token']:.2f} bytes/token"
            for row in found["rows"]
        ]
        return "make vocabulary-search", "; ".join(told), bool(found["equal_bytes"])

    def line_23(self) -> Line:
        """What a vocabulary costs each language, on parallel text."""
        found = self.result("languages")["tokenizers"]
        rows = [row for one in found for row in one["languages"]]
        whole = {"bpe", "unigram", "bytes"}
        known = all(
            row["unknown_fraction"] == 0
            for one in found if one["algorithm"] in whole for row in one["languages"]
        )  # fmt: skip
        figure = f"{len(found)} tokenizers, {len(rows)} rows, all known to {sorted(whole)}: {known}"
        return "make bench-languages", figure, known and len(rows) > len(found)

    def line_24(self) -> Line:
        """Encode: packing, blends, a saved order, Megatron's index, records of fixed length."""
        return self.tests(
            "tests/lm/test_packing.py", "tests/stages/test_encode.py", "tests/lm/test_blends.py",
            "tests/stages/test_pretrain_blends.py", "tests/stages/test_encode_forms.py",
            "tests/lm/test_indexed.py", "tests/stages/test_encode_megatron.py",
        )  # fmt: skip

    def line_25(self) -> Line:
        """Training waits for data at most 0.2 % of its time."""
        found = self.result("corpus/loader")["wait_passes"]
        return "make bench-corpus (loader)", _told(found), bool(found["pass"])

    def line_26(self) -> Line:
        """Pairs: every rule by its own reason, planted in real text."""
        found = self.result("parallel_truth")
        passes = found["passes"]
        figure = f"{_told(passes)}; real pairs dropped {found['real_pairs_dropped_share']}"
        return "make parallel-truth", figure, all(passes.values())

    def line_27(self) -> Line:
        """Labels grow in rounds beside one test set; doubt against random, by sentence and word."""
        found = self.result("labelling")
        figure = f"{_told(found['passes'])}; {_told(found['found'])}"
        return "make label-rounds", figure, all(found["passes"].values())

    def line_28(self) -> Line:
        """Rules of pairs, rounds of labels, questions over tables: tests."""
        return self.tests(
            "tests/stages/test_refine_pairs.py", "tests/stages/test_label.py",
            "tests/stages/test_report_rounds.py", "tests/stages/test_acquire_table_qa.py",
        )  # fmt: skip

    def line_29(self) -> Line:
        """A small model learns to answer questions over tables above the blind baselines."""
        path = ROOT / "benchmarks" / "table_qa.json"
        if not path.is_file():
            return "make table-qa", "not shown: a small run stayed below the blind cell", False
        found = self.result("table_qa")
        return "make table-qa", _told(found["passes"]), all(found["passes"].values())

    def line_30(self) -> Line:
        """Ray: two workers give the bytes of the local run; other versions are refused."""
        return self.tests("tests/stages/test_engines.py", "tests/stages/test_parts_of_stages.py")

    def line_31(self) -> Line:
        """The planner says what 1 TB and 100 TB cost, from measured rates."""
        found = self.result("rates")
        told = [
            f"{stage} {forecast.line(found['runs'], stage, 'cpu_s').slope:.0f} CPU s/GB"
            for stage in found["runs"][0]["stages"]
        ]
        _, figure, good = self.tests("tests/core/test_forecast.py")
        return "make bench-rates; deveno forecast", f"{', '.join(told)}; {figure}", good

    def line_32(self) -> Line:
        """Hostile documents and files meet their declared fates; all losses are counted."""
        found = self.result("hostile")
        figure = f"{found['documents']['documents']} documents, {found['files']['files']} files"
        return "make hostile", f"{figure}, wrong {found['wrong']}", bool(found["pass"])

    def line_33(self) -> Line:
        """Readers and kernels stand drawn input, the kernels with every index checked."""
        found = self.result("fuzz")
        figure = f"{found['examples']} examples, {found['findings']} findings, seed {found['seed']}"
        return "make fuzz", figure, found["findings"] == 0 and found["examples"] >= 10_000

    def line_34(self) -> Line:
        """Planted losses and kernel faults are found; cuts and threads change no byte."""
        return self.tests(
            "tests/hostile/test_documents.py", "tests/hostile/test_files.py",
            "tests/hostile/test_containers.py", "tests/fuzz/test_fuzz.py",
            "tests/stages/test_refine_cut.py", "tests/stages/test_acquire_mutants.py",
        )  # fmt: skip


def _told(passes: dict[str, Any]) -> str:
    return "; ".join(f"{name}: {value}" for name, value in passes.items())


def _later(row: dict[str, Any]) -> float:
    later = row.get("recall_of_later_forms") or row["recall"]
    return float(later["share"])


def committed(path: Path) -> str:
    """Return the commit that wrote a file last."""
    command = ["git", "log", "-1", "--format=%H", "--", str(path.relative_to(ROOT))]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout[:40]


def _leaves(tree: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value of nested mappings with its path."""
    if isinstance(tree, dict):
        for name, value in tree.items():
            yield from _leaves(value, f"{where} {name}".strip())
    else:
        yield where, tree


LINES = [number for number in range(1, 35) if number != 21]
"""21 is the whole suite in the class above; here it is line 9."""

if __name__ == "__main__":
    raise SystemExit(prove_again.prove_lines(Corpora, LINES, RESULT, str(__doc__)))
