"""Port a 500 MB checkpoint as a stream against loading it whole: time, memory, checksums included.

    python benchmarks/port_stream.py            writes benchmarks/port_stream.json
    python benchmarks/port_stream.py child ...  one measured run (the parent starts these)

The checkpoint is a LLaMA release (one `consolidated.00.pth`, half of its projections must be
reordered). Every run is a process of its own; its clock starts when everything it needs is
imported. Whole is what conversion scripts do: torch.load, rename and reorder, build the model,
load_state_dict, save_pretrained; `lean` builds the model without drawing weights (meta device,
assign). Streamed is ours, with a checksum of every source and target tensor, the archive's CRC and
the reading back included. Memory is the kernel's high-water mark of resident pages, reset after
the imports. Then the whole stage runs, its verification layer by layer included; the last part
ports a sharded checkpoint of 2.5 GB under an address-space limit.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
RESULT = ROOT / "benchmarks" / "port_stream.json"
ROUNDS = 7
MIB = 1 << 20
PARAMS = {
    "dim": 1024, "n_layers": 8, "n_heads": 16, "n_kv_heads": 8, "norm_eps": 1e-5,
    "vocab_size": 16000, "rope_theta": 10000.0,
}  # fmt: skip
FEED_FORWARD = 2816
SHARDED = {"layers": 24, "width": 2048, "feed_forward": 5632, "vocabulary": 32000}
"""A sharded checkpoint of about 3 GB in 16 bits."""


def kilobytes(field: str) -> int:
    """Return a memory figure of this process in kB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field):
            return int(line.split()[1])
    raise LookupError(field)


def measured(work: Callable[[], Any]) -> dict[str, float]:
    """Run `work` and return its processor seconds, wall seconds and growth of resident memory."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before, cpu, wall = kilobytes("VmRSS"), time.process_time(), time.perf_counter()
    work()
    return {
        "cpu_s": time.process_time() - cpu,
        "wall_s": time.perf_counter() - wall,
        "growth_mib": (kilobytes("VmHWM") - before) / 1024,
        "interpreter_mib": before / 1024,
    }


def release(folder: Path) -> int:
    """Write a LLaMA release with random weights; return the bytes of its tensors."""
    import torch

    torch.manual_seed(0)
    width, kv = PARAMS["dim"], PARAMS["dim"] // 2
    state = {
        "tok_embeddings.weight": torch.randn(PARAMS["vocab_size"], width),
        "norm.weight": torch.ones(width),
        "output.weight": torch.randn(PARAMS["vocab_size"], width),
    }
    for layer in range(int(PARAMS["n_layers"])):
        shapes = {
            "attention.wq": (width, width), "attention.wk": (kv, width),
            "attention.wv": (kv, width), "attention.wo": (width, width),
            "feed_forward.w1": (FEED_FORWARD, width), "feed_forward.w2": (width, FEED_FORWARD),
            "feed_forward.w3": (FEED_FORWARD, width), "attention_norm": (width,),
            "ffn_norm": (width,),
        }  # fmt: skip
        state |= {f"layers.{layer}.{k}.weight": torch.randn(s) / 32 for k, s in shapes.items()}
    folder.mkdir(parents=True)
    torch.save(state, folder / "consolidated.00.pth")
    (folder / "params.json").write_text(json.dumps(PARAMS), encoding="utf-8")
    return sum(tensor.nbytes for tensor in state.values())


def whole(source: Path, target: Path, lean: bool) -> Callable[[], None]:
    """Return the run that loads the checkpoint whole; its imports are done."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(1)
    loader = torch.load

    def turned(weight: Any, heads: int) -> Any:
        rows, width = weight.shape
        return weight.view(heads, rows // heads // 2, 2, width).transpose(1, 2).reshape(rows, width)

    def work() -> None:
        state = loader(source / "consolidated.00.pth", map_location="cpu", weights_only=True)
        names = {
            "tok_embeddings.weight": "model.embed_tokens.weight",
            "norm.weight": "model.norm.weight",
            "output.weight": "lm_head.weight",
        }
        for layer in range(int(PARAMS["n_layers"])):
            ours, theirs = f"model.layers.{layer}.", f"layers.{layer}."
            for part in "qkvo":
                names[f"{theirs}attention.w{part}.weight"] = f"{ours}self_attn.{part}_proj.weight"
            for part, name in (("w1", "gate"), ("w3", "up"), ("w2", "down")):
                names[f"{theirs}feed_forward.{part}.weight"] = f"{ours}mlp.{name}_proj.weight"
            names[f"{theirs}attention_norm.weight"] = f"{ours}input_layernorm.weight"
            names[f"{theirs}ffn_norm.weight"] = f"{ours}post_attention_layernorm.weight"
        renamed = {}
        for old, new in names.items():
            tensor = state.pop(old)
            if ".wq." in old or ".wk." in old:
                tensor = turned(tensor, PARAMS["n_heads" if ".wq." in old else "n_kv_heads"])
            renamed[new] = tensor
        config = LlamaConfig(
            vocab_size=PARAMS["vocab_size"], hidden_size=PARAMS["dim"],
            intermediate_size=FEED_FORWARD, num_hidden_layers=PARAMS["n_layers"],
            num_attention_heads=PARAMS["n_heads"], num_key_value_heads=PARAMS["n_kv_heads"],
            rms_norm_eps=PARAMS["norm_eps"],
        )  # fmt: skip
        with torch.device("meta" if lean else "cpu"):
            model = LlamaForCausalLM(config)
        model.load_state_dict(renamed, assign=lean)
        model.save_pretrained(target)

    return work


def streamed(source: Path, target: Path) -> Callable[[], None]:
    """Return the run that streams the release into safetensors."""
    from stages.core import canonical
    from stages.lm.layouts import conversion, llama
    from stages.port import archives

    def work() -> None:
        path = source / "consolidated.00.pth"
        target.mkdir(parents=True)
        with archives.open_archive(path) as checkpoint:
            shape = llama.shape_of_original(PARAMS, checkpoint.specs, path.name, False)
            rows = conversion.convert(llama.plan(shape), checkpoint, target, path.name)
        canonical.write_json(target / conversion.RECORD, conversion.record(rows))

    return work


def sharded_model(folder: Path) -> tuple[int, int]:
    """Write a sharded LLaMA model of transformers' layout; return its bytes and the largest."""
    from stages.lm.layouts import llama
    from stages.lm.tensors import writer
    from stages.lm.tensors.entries import Spec

    shape = llama.Shape(heads=16, key_value_heads=8, head_size=128, **SHARDED)
    names = {name: Spec("BF16", size) for name, size in target_shapes(shape).items()}
    folder.mkdir(parents=True)
    writer.write(
        [writer.Target(name, Noise(spec)) for name, spec in names.items()], folder, 500_000_000
    )
    sizes = [spec.size_bytes for spec in names.values()]
    return sum(sizes), max(sizes)


def target_shapes(shape: Any) -> dict[str, tuple[int, ...]]:
    """Return name -> shape of every tensor of a LLaMA model in transformers' layout."""
    query, key = shape.heads * shape.head_size, shape.key_value_heads * shape.head_size
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (shape.vocabulary, shape.width),
        "lm_head.weight": (shape.vocabulary, shape.width),
        "model.norm.weight": (shape.width,),
    }
    for layer in range(shape.layers):
        start = f"model.layers.{layer}."
        shapes |= {
            f"{start}input_layernorm.weight": (shape.width,),
            f"{start}post_attention_layernorm.weight": (shape.width,),
            f"{start}self_attn.q_proj.weight": (query, shape.width),
            f"{start}self_attn.k_proj.weight": (key, shape.width),
            f"{start}self_attn.v_proj.weight": (key, shape.width),
            f"{start}self_attn.o_proj.weight": (shape.width, query),
            f"{start}mlp.gate_proj.weight": (shape.feed_forward, shape.width),
            f"{start}mlp.up_proj.weight": (shape.feed_forward, shape.width),
            f"{start}mlp.down_proj.weight": (shape.width, shape.feed_forward),
        }
    return shapes


class Noise:
    """Random bits that are drawn when they are read."""

    def __init__(self, spec: Any) -> None:
        self.spec = spec

    def read(self, begin: int, end: int) -> Any:
        """Return elements `begin` to `end`."""
        import numpy as np

        return np.random.default_rng(begin).integers(
            0, 1 << 15, end - begin, dtype=self.spec.carrier
        )


def limited(source: Path, target: Path, spare: int, load_whole: bool) -> dict[str, float]:
    """Port a sharded model with `spare` bytes of address space beyond the interpreter's."""
    if load_whole:
        from safetensors.torch import load_file, save_file
    from stages.lm.layouts import conversion, llama
    from stages.lm.tensors.checkpoint import open_safetensors

    space = kilobytes("VmSize") * 1024 + spare
    resource.setrlimit(resource.RLIMIT_AS, (space, space))

    def work() -> None:
        if load_whole:
            state: dict[str, Any] = {}
            for shard in sorted(source.glob("*.safetensors")):
                state |= load_file(shard)
            save_file(state, target)
            return
        target.mkdir(parents=True)
        with open_safetensors(source) as checkpoint:
            shape = llama.Shape(heads=16, key_value_heads=8, head_size=128, **SHARDED)
            plan = llama.plan(shape).inverse()
            conversion.convert(plan, checkpoint, target, "the model", 500_000_000)

    return measured(work)


def staged(source: Path, target: Path) -> Callable[[], None]:
    """Return the run of the whole stage `port`, its verification included."""
    import torch
    from transformers import AutoConfig, LlamaForCausalLM
    from transformers.generation import GenerationMixin

    from stages.core.log import Log
    from stages.port.llama import conversion
    from stages.port.stage import Llama, PortParams, port

    assert all((AutoConfig, LlamaForCausalLM, GenerationMixin, conversion))  # imported, that is all
    torch.set_num_threads(1)
    target.mkdir(parents=True)
    params = PortParams(raw="x", source=Llama(kind="llama", generate_below_mb=0))
    raw = source.parent

    def work() -> None:
        port(params, raw, raw, raw, target / "model", Log())

    return work


def child(kind: str, source: Path, target: Path, spare: int = 0) -> int:
    """Do one run and print what it took."""
    if kind.startswith("limited"):
        figures = limited(source, target, spare, kind == "limited-whole")
    elif kind == "streamed":
        figures = measured(streamed(source, target))
    elif kind == "stage":
        figures = measured(staged(source, target))
    else:
        figures = measured(whole(source, target, kind == "lean"))
    print(json.dumps(figures))
    return 0


def run(kind: str, source: Path, target: Path, spare: int = 0) -> dict[str, float] | None:
    """Start one run; return its figures, None when it failed."""
    command = [sys.executable, __file__, "child", kind, str(source), str(target), str(spare)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    subprocess.run(["rm", "-rf", str(target)], check=True)
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


def quartiles(values: list[float]) -> dict[str, float]:
    """Return median and quartiles, rounded to three digits behind the point."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": round(middle, 3), "q1": round(low, 3), "q3": round(high, 3)}


def raced(folder: Path, size: int, rounds: int) -> dict[str, Any]:
    """Run the three ways in turn, `rounds` times, and compare them round by round."""
    kinds = ["whole", "lean", "streamed"]
    runs: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
    for number in range(rounds):
        for kind in kinds[number % 3 :] + kinds[: number % 3]:
            figures = run(kind, folder / "raw" / "files", folder / "out")
            assert figures is not None, kind
            runs[kind].append(figures)
            print(kind, {name: round(value, 2) for name, value in figures.items()}, flush=True)
    result: dict[str, Any] = {"checkpoint_bytes": size, "rounds": rounds}
    for kind in kinds:
        result[kind] = {
            name: quartiles([row[name] for row in runs[kind]])
            for name in ("cpu_s", "wall_s", "growth_mib", "interpreter_mib")
        }
    for peer in ("whole", "lean"):
        for name in ("cpu_s", "wall_s"):
            pairs = zip(runs[peer], runs["streamed"], strict=True)
            ratios = [theirs[name] / ours[name] for theirs, ours in pairs]
            result[f"{peer}_to_streamed_{name.removesuffix('_s')}_ratio"] = quartiles(ratios)
    return result


def bounded(folder: Path) -> dict[str, Any]:
    """Port the sharded model within the bound, and see that loading it whole does not fit."""
    total, largest = sharded_model(folder / "sharded")
    spare = largest + 64 * MIB
    ours = run("limited", folder / "sharded", folder / "out", spare)
    theirs = run("limited-whole", folder / "sharded", folder / "out", spare)
    return {
        "checkpoint_bytes": total,
        "largest_tensor_bytes": largest,
        "address_space_beyond_interpreter_bytes": spare,
        "streamed": ours and {name: round(value, 3) for name, value in ours.items()},
        "streamed_fits": ours is not None and ours["growth_mib"] * MIB <= spare,
        "whole_fits": theirs is not None,
    }


def main() -> int:
    """Measure everything and write the result."""
    from stages.core import canonical

    if sys.argv[1:2] == ["child"]:
        kind, source, target, spare = sys.argv[2:6]
        return child(kind, Path(source), Path(target), int(spare))
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with tempfile.TemporaryDirectory(
        dir=ROOT / "scratch" if (ROOT / "scratch").is_dir() else None
    ) as name:
        folder = Path(name)
        size = release(folder / "raw" / "files")
        largest = int(PARAMS["vocab_size"]) * int(PARAMS["dim"]) * 4
        race = raced(folder, size, rounds)
        race["largest_tensor_bytes"] = largest
        growth = race["streamed"]["growth_mib"]["q3"] * MIB
        race["streamed_within_largest_plus_64_mib"] = growth <= largest + 64 * MIB
        stage = run("stage", folder / "raw" / "files", folder / "out")
        assert stage is not None
        verified = {
            **{name: round(value, 3) for name, value in stage.items()},
            "bound_mib": round(largest / MIB + 64, 1),
            "within_bound": stage["growth_mib"] * MIB <= largest + 64 * MIB,
        }
        subprocess.run(["rm", "-rf", str(folder / "raw")], check=True)
        result = {
            "race": race,
            "whole_stage_with_verification": verified,
            "larger_than_memory": bounded(folder),
        }
    canonical.write_json(RESULT, result)
    print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
