"""How to start with a model: a few lines of Python per task, with an example of its own files."""

from __future__ import annotations

import json
from typing import Any

from stages.lm.words import spaced
from stages.report.identity import Model
from stages.report.markdown import block, code, paragraphs

SNIPPETS = {
    "fill-mask": """from transformers import AutoModelForMaskedLM, AutoTokenizer, pipeline

folder = {folder}
model = AutoModelForMaskedLM.from_pretrained(folder)
tokenizer = AutoTokenizer.from_pretrained(folder)
fill = pipeline("fill-mask", model=model, tokenizer=tokenizer)
text = {example}
print(fill(text or f"{{tokenizer.mask_token}}."))""",
    "text-generation": """from transformers import AutoModelForCausalLM, AutoTokenizer

folder = {folder}
model = AutoModelForCausalLM.from_pretrained(folder)
tokenizer = AutoTokenizer.from_pretrained(folder)
inputs = tokenizer({example}, return_tensors="pt")
print(tokenizer.decode(model.generate(**inputs, max_new_tokens=20)[0]))""",
    "token-classification": """import transformers

folder = {folder}
model = transformers.AutoModelForTokenClassification.from_pretrained(folder)
tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
text = {example}
inputs = tokenizer(text, return_offsets_mapping=True, return_tensors="pt")
offsets = inputs.pop("offset_mapping")[0].tolist()
labels = model(**inputs).logits.argmax(-1)[0].tolist()
for (start, end), label in zip(offsets, labels):  # a word's label is that of its first token
    if start < end:
        print(text[start:end], model.config.id2label[label])""",
    "encoder-decoder": """from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

folder = {folder}
model = AutoModelForSeq2SeqLM.from_pretrained(folder)
tokenizer = AutoTokenizer.from_pretrained(folder)
inputs = tokenizer({example}, truncation=True, return_tensors="pt")
print(tokenizer.decode(model.generate(**inputs)[0], skip_special_tokens=True))""",
    "translation": """from transformers import FSMTForConditionalGeneration, FSMTTokenizer

folder = {folder}
model = FSMTForConditionalGeneration.from_pretrained(folder)
tokenizer = FSMTTokenizer.from_pretrained(folder)
inputs = tokenizer({example}, return_tensors="pt")
print(tokenizer.decode(model.generate(**inputs)[0], skip_special_tokens=True))""",
}
ONNX = """import onnxruntime
from transformers import AutoTokenizer

folder = {folder}
tokenizer = AutoTokenizer.from_pretrained(folder)
session = onnxruntime.InferenceSession(folder + "/model.onnx")
inputs = tokenizer({example}, return_tensors="np")
names = [one.name for one in session.get_inputs()]
print(session.run(None, {{name: inputs[name] for name in names}})[0])  # a row for each token"""
TRIED = (
    "fill-mask", "text-generation", "token-classification", "translation", "summarization"
)  # fmt: skip
"""Tasks that `deveno try` answers."""


def example(model: Model) -> str:
    """Return a sentence for this model from its own tracked files; empty where there is none."""
    if model.task == "fill-mask":
        probes = model.artifact.find("probes.json")
        if probes is not None and len(probes):
            return str(probes[0]["text"].value)
        return ""
    for one in model.evaluations:
        samples = one.find("samples.jsonl")
        for row in samples or []:
            found = _sentence(row.value)
            if found:
                return found
    base = model.base
    return example(Model(base, model.sources)) if base is not None else ""


def _sentence(row: Any) -> str:
    for field in ("tokens", "source", "prompt"):
        if row.get(field):
            return "".join(spaced(row[field])) if field == "tokens" else str(row[field])
    return ""


def usage(model: Model) -> str:
    """Return code that opens the folder with what everybody has, and our own command."""
    text = example(model)
    template = SNIPPETS.get(model.kind) or SNIPPETS.get(model.task, "")
    if model.artifact.section == "export":
        template = ONNX if model.told["format"].value == "onnx" else ""
    filled = template.format(
        folder=json.dumps(model.artifact.place),
        example=json.dumps(text, ensure_ascii=False),
    )
    tried = ""
    if model.task in TRIED:
        command = code(f"deveno try {model.artifact.reference}")
        tried = f"In a checkout of the project, {command} asks it too."
    return paragraphs(block(filled, "python") if filled else "", tried)
