"""Prove ports, decoding and fast translation: each line in a fresh clone, into port.json.

    python -m benchmarks.prove_port [--lines 1,2,...] [--keep FOLDER] [--recorded NAME,...]

As `prove_again.py`: a line that fails stays in the file, long measurements may be taken from their
own tracked result file, and lines about tests read the junit file of one `make test`.
"""

from __future__ import annotations

from typing import Any

from benchmarks import prove_again
from benchmarks.prove_again import ROOT, Line

RESULT = ROOT / "benchmarks" / "port.json"


class Ports(prove_again.Again):
    """Runs the lines of issue "port any checkpoint" in the clones of a `Prover`."""

    def line_1(self) -> Line:
        """A real fairseq release, beam 1, beam 5, ensemble: fairseq's translations and BLEU."""
        found = self.measured("fairseq_release", "fairseq_release")
        told = [
            f"{row['entry']}: {row['as_fairseq_sentences']} of {row['sentences']} sentences,"
            f" near ties {len(row['near_ties'])},"
            f" BLEU {row['bleu']!r} (fairseq {row['bleu_fairseq']!r}),"
            f" chrF {row['chrf']!r} ({row['chrf_fairseq']!r})"
            for row in found["rows"]
        ]
        return "make fairseq-release", "; ".join(told), bool(found["pass"])

    def line_2(self) -> Line:
        """Releases of other shapes, made with real fairseq: tokens, scores and texts equal."""
        found = self.measured("fairseq_shapes", "fairseq_shapes")
        return "python benchmarks/fairseq_shapes.py", str(found), bool(found["pass"])

    def line_3(self) -> Line:
        """Verification has teeth: every planted fault fails by name, in every class."""
        return self.tests(
            "tests/stages/test_port.py", "tests/stages/test_port_faults.py",
            "tests/stages/test_port_classes.py", "tests/stages/test_port_releases.py",
        )  # fmt: skip

    def line_4(self) -> Line:
        """Bad input of a port is named: truncated, foreign, malicious, odd archives."""
        return self.tests(
            "tests/stages/test_port_refusals.py", "tests/stages/test_port_pickles.py",
            "tests/stages/test_port_archives.py", "tests/stages/test_port_family_refusals.py",
        )  # fmt: skip

    def line_5(self) -> Line:
        """Ensembles, averages, the best of several, the search for settings, cards and page."""
        return self.tests(
            "tests/lm/test_ensembles.py", "tests/stages/test_port_several.py",
            "tests/stages/test_report_cards.py", "tests/stages/test_evaluate_translation.py",
        )  # fmt: skip

    def line_6(self) -> Line:
        """Megatron, RWKV, BLOOM, BERT, RoBERTa, GPT-2, LLaMA, deltas: equal, faults named, back."""
        return self.tests(
            "tests/stages/test_port_families.py", "tests/stages/test_port_references.py",
            "tests/stages/test_port_family_faults.py", "tests/stages/test_port_family_ways_back.py",
            "tests/stages/test_port_llama.py", "tests/stages/test_port_delta.py",
            "tests/stages/test_export_original.py", "tests/stages/test_encode_megatron.py",
            "tests/lm/test_indexed.py", "tests/lm/test_tensor_bundle.py",
        )  # fmt: skip

    def line_7(self) -> Line:
        """Conversion with checksums: six times load-and-save, memory of one tensor."""
        found = self.measured("port_stream", "port_stream")
        race, large = found["race"], found["larger_than_memory"]
        cpu, wall = (race[f"whole_to_streamed_{kind}_ratio"] for kind in ("cpu", "wall"))
        figure = (
            f"{cpu['median']:.1f}x less CPU ({cpu['q1']:.1f} to {cpu['q3']:.1f}), "
            f"{wall['median']:.1f}x less wall ({wall['q1']:.1f} to {wall['q3']:.1f}); memory grows "
            f"{race['streamed']['growth_mib']['median']:.0f} MiB (largest tensor "
            f"{race['largest_tensor_bytes'] / 2**20:.0f} MiB), load-and-save "
            f"{race['whole']['growth_mib']['median']:.0f} MiB; "
            f"{large['checkpoint_bytes'] / 2**20:.0f} MiB in an address space of "
            f"{large['address_space_beyond_interpreter_bytes'] / 2**20:.0f} MiB beyond the "
            f"interpreter: fits {large['streamed_fits']}, load-and-save fits {large['whole_fits']}"
        )
        good = cpu["median"] >= 6 and race["streamed_within_largest_plus_64_mib"]
        return "make port-stream", figure, bool(good and large["streamed_fits"])

    def line_8(self) -> Line:
        """Our safetensors validator and index reader refuse what is wrong; streams are whole."""
        return self.tests(
            "tests/lm/test_weights.py", "tests/lm/test_sharded_weights.py",
            "tests/lm/test_tensor_streams.py", "tests/lm/test_layout_plan.py",
        )  # fmt: skip

    def line_9(self) -> Line:
        """Warm starts: counts of the paper, tied on disk and in our loader, ROUGE as told."""
        return self.tests(
            "tests/stages/test_finetune_warm_starts.py", "tests/lm/test_rouge.py",
            "tests/stages/test_evaluate_summarisation.py",
        )  # fmt: skip

    def line_11(self) -> Line:
        """Every way of decoding, held against brute force, transformers or the analytic law."""
        return self.tests(
            "tests/lm/decoding/test_decoder.py", "tests/lm/decoding/test_sampling.py",
            "tests/lm/decoding/test_contrastive.py", "tests/lm/decoding/test_constrained.py",
            "tests/lm/decoding/test_assisted.py", "tests/lm/decoding/test_compiled.py",
            "tests/lm/decoding/test_settings.py", "tests/lm/test_generate.py",
        )  # fmt: skip

    def line_13(self) -> Line:
        """Exported translators: ONNX with a cache, CTranslate2, our runner, each proved."""
        return self.tests("tests/stages/test_export_translators.py", "tests/lm/test_runner.py")

    def line_15(self) -> Line:
        """`make test` as a whole, in a fresh clone."""
        return self.line_21()


def ratio(found: dict[str, Any]) -> str:
    """Return a ratio with its quartiles in words."""
    return f"{found['median']:.2f} ({found['q1']:.2f} to {found['q3']:.2f})"
