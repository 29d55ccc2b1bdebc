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
        # Its releases are made by benchmarks/fairseq_oracle.py under fairseq's own Python.
        self.recorded |= {"fairseq_shapes"}
        found = self.measured("fairseq_shapes", "fairseq_shapes")
        shapes = found["shapes"]
        searches = [one for shape in shapes.values() for one in shape["searches"]]
        equal, all_of = (sum(one[name] for one in searches) for name in EQUAL)
        worst = max(one["worst_score_difference_bits"] for one in searches)
        figure = (
            f"{sum(one['passed'] for one in shapes.values())} of {found['shapes_tried']} shapes"
            f" ({', '.join(sorted(shapes))}); {equal} of {all_of} sentence searches equal,"
            f" scores within {worst:.1e} bits; classes"
            f" {', '.join(sorted({one['family'] for one in shapes.values()}))}"
        )
        good = equal == all_of and all(one["passed"] for one in shapes.values())
        return "make fairseq-shapes", figure, good and len(shapes) == found["shapes_tried"]

    def line_3(self) -> Line:
        """Verification has teeth: every planted fault fails by name, in every class."""
        return self.tests(
            "tests/stages/test_port.py", "tests/stages/test_port_faults.py",
            "tests/stages/test_port_classes.py", "tests/stages/test_port_releases.py",
            "tests/stages/test_port_ties.py", "tests/stages/test_port_settings.py",
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
        good = (
            cpu["median"] >= 6
            and wall["median"] >= 6
            and race["streamed_within_largest_plus_64_mib"]
        )
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

    def line_10(self) -> Line:
        """Warm-start the encoder: five starts, three seeds, with intervals; or it is explained."""
        found = self.measured("warm_starts", "warm_starts")
        told, good = [], True
        for task in ("translation", "summarisation"):
            if task not in found["tasks"]:
                told.append(f"{task}: not in the table")
                good = False
                continue
            rows = found["tasks"][task]
            for share, one in rows["shares"].items():
                blind = rows["score_sees_no_source"][share]
                told.append(f"{task}, {share} % of the pairs, {_effects(one, rows['score'])}")
                if blind:
                    most = max(row["mean"] for row in one["own_less_elsewhere"].values())
                    told[-1] += (
                        f", which does not see the source: outputs earn {most:+.2f} at most more"
                        f" than against another document; heeded, {_effects(one, 'source_nats', 4)}"
                    )
                good &= rows["holds"][share] or blind
        return "make bench-warm-starts", "; ".join(told), good

    def line_11(self) -> Line:
        """Every way of decoding, held against brute force, transformers or the analytic law."""
        return self.tests(
            "tests/lm/decoding/test_decoder.py", "tests/lm/decoding/test_sampling.py",
            "tests/lm/decoding/test_contrastive.py", "tests/lm/decoding/test_constrained.py",
            "tests/lm/decoding/test_assisted.py", "tests/lm/decoding/test_compiled.py",
            "tests/lm/decoding/test_settings.py", "tests/lm/test_generate.py",
        )  # fmt: skip

    def line_12(self) -> Line:
        """Decoding measured: constraints met, assisted text equal, repetition, compiled shapes."""
        found = self.measured("decoding", "decoding")
        real, draft, traces = found["translator"], found["assisted"], found["traces"]
        widths = [one for name, one in found["constrained"].items() if name.startswith("beams_")]
        figure = (
            f"five best as fairseq's {real['five_best_texts_as_recorded']} and beam 5 as generate's"
            f" {real['beam_5_as_generate']} of {real['sentences']}; terms forced into translations "
            f"{real['constraints_met']} of {real['terms']}; assisted: "
            f"{draft['outputs_that_differ_without_near_tie']} other texts; traces of 50 lengths in "
            f"buckets of 8: {traces['traces_of_prompts_bucket_8']}"
        )
        good = (
            real["five_best_texts_as_recorded"] == real["sentences"] == real["beam_5_as_generate"]
        )
        good &= real["constraints_met"] == real["terms"]
        good &= draft["outputs_that_differ_without_near_tie"] == 0
        good &= all(one["met_fraction"] == 1 for one in widths)
        return "make bench-decoding", figure, good and traces["traces_of_prompts_bucket_8"] <= 7

    def line_13(self) -> Line:
        """Exported translators: ONNX with a cache, CTranslate2, our runner, each proved."""
        return self.tests(
            "tests/stages/test_export_translators.py", "tests/stages/test_export_classes.py",
            "tests/lm/test_runner.py", "tests/lm/test_runner_activations.py",
        )  # fmt: skip

    def line_14(self) -> Line:
        """Faster than CTranslate2 int8 and generate, at equal quality."""
        found = self.measured("translate", "translate")
        told = [
            f"{name}: {one['figure']:.2f}" + ("" if one["pass"] else " (missed)")
            for name, one in found["goals"].items()
        ]
        whole = "a quick run, one thread" if found["quick"] else "the whole run"
        good = found.get("complete", False) and all(one["pass"] for one in found["goals"].values())
        return "make bench-translate", f"{whole}; {'; '.join(told)}", good and not found["quick"]

    def line_15(self) -> Line:
        """`make test` as a whole, in a fresh clone."""
        return self.line_21()

    def line_16(self) -> Line:
        """Families larger than memory: proved layer by layer within one tensor and 64 MiB."""
        found = self.measured("port_layers", "port_layers")
        told = [
            f"{name}: grows {one['layer_by_layer']['growth_mib']:.0f} MiB of {one['bound_mib']:.0f}"
            f" allowed, loaded whole {one['whole']['growth_mib']:.0f}"
            for name, one in found.items()
        ]
        good = all(one["within_bound"] and not one["whole_within_bound"] for one in found.values())
        return "make port-layers", "; ".join(told), good


def _effects(found: dict[str, Any], score: str, digits: int = 2) -> str:
    """Return what warming each side is worth in a score."""
    told = ", ".join(
        f"{name} {one['mean']:+.{digits}f} ({one['interval'][0]:+.{digits}f} to "
        f"{one['interval'][1]:+.{digits}f})"
        for name, one in found["effects"][score].items()
    )
    return f"{score}: {told}"


EQUAL = ("sentences_equal", "sentences")
LINES = range(1, 17)

if __name__ == "__main__":
    raise SystemExit(prove_again.prove_lines(Ports, LINES, RESULT, str(__doc__)))
