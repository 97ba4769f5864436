"""Writes cases.json: token ids of prompts with added tokens, as transformers has them (made with transformers 5.18, tokenizers 0.23).

    python make.py        needs transformers
"""
import json
import os
import random
import shutil
import tempfile

from transformers import CLIPTokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
TINY = os.path.join(HERE, "..", "golden", "tiny-sd15", "tokenizer")
FIRST = 694  # the tiny vocabulary has 0 ... 693


def token(content, **flags):
    return {"content": content, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False, "special": False, **flags}


SPECIAL = {"692": token("<|startoftext|>", special=True), "693": token("<|endoftext|>", normalized=False, special=True)}


def decoder(*tokens):
    return {"added_tokens_decoder": {**SPECIAL, **{str(FIRST + i): one for i, one in enumerate(tokens)}}}


CONFIGS = {
    "added_tokens.json alone": {"added_tokens.json": {"<cat-toy>": FIRST, "<Dog>": FIRST + 1}},
    "a special one in added_tokens.json": {
        "added_tokens.json": {"<cat-toy>": FIRST, "<Dog>": FIRST + 1},
        "special_tokens_map.json": {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "pad_token": "<Dog>"},
    },
    "normalized or not": {
        "tokenizer_config.json": decoder(token("<cat-toy>"), token("<Cat-Hat>"), token("<Dog>", normalized=False), token("K\u00f6ln"), token("new york"), token("<|img|>", special=True, normalized=False)),
    },
    "single words": {"tokenizer_config.json": decoder(token("zebra", single_word=True), token("zeb"), token("<sks>", single_word=True), token("\u00e9", single_word=True, normalized=False))},
    "spaces": {"tokenizer_config.json": decoder(token("<l>", lstrip=True), token("<r>", rstrip=True), token("<both>", lstrip=True, rstrip=True), token(" b", normalized=False))},
    "one begins another": {"tokenizer_config.json": decoder(token("<a"), token("<a>"), token("<a>-b"), token("a>-b c"), token("<a>.1"))},
    "of the vocabulary": {"tokenizer_config.json": decoder(token("'s"), token("\u00e9t\u00e9"), token("car"), token("!"))},
}
FRAGMENTS = [
    " ", " ", " ", "  ", "\t", "a", "A", "car", "cars", "_", "-", ".", ",", "1", "x", "'s", "!", "photo of", "<", ">", "<cat-toy>", "<CAT-TOY>", "<Cat-Hat>", "<cat-hat>", "<Dog>", "<dog>", "K\u00f6ln", "Ko\u0308ln",
    "k\u00f6ln", "new york", "New  York", "newyork", "<|img|>", "<|IMG|>", "zebra", "zebras", "Zebra", "<sks>", "\u00e9", "e\u0301", "<l>", "<r>", "<both>", "b", " b", "<a", "<a>", "<a>-b", "<a>-b c", "<a>.1", "\u00e9t\u00e9",
    "<|endoftext|>", "<|ENDOFTEXT|>", "\u00a0", "\u3000", "\U0001f600", "\u0130", "\u03a3",
]

generator = random.Random(0)
cases = []
for name, files in CONFIGS.items():
    with tempfile.TemporaryDirectory() as folder:
        for file in os.listdir(TINY):
            shutil.copy(os.path.join(TINY, file), folder)
        for file, content in files.items():
            path = os.path.join(folder, file)
            known = json.load(open(path)) if os.path.exists(path) else {}
            json.dump({**known, **content}, open(path, "w"))
        tokenizer = CLIPTokenizer.from_pretrained(folder)
        prompts = ["", *("".join(generator.choices(FRAGMENTS, k=generator.randint(1, 7))) for _ in range(120))]
        cases.append({"name": name, "files": files, "prompts": [{"text": text, "ids": tokenizer(text)["input_ids"]} for text in prompts]})

with tempfile.TemporaryDirectory() as folder:
    # what transformers 5 writes: tokenizer.json and a short tokenizer_config.json
    tokenizer = CLIPTokenizer.from_pretrained(TINY)
    tokenizer.add_tokens(["<cat-toy>", "<Dog>"])
    tokenizer.save_pretrained(folder)
    files = {file: json.load(open(os.path.join(folder, file))) for file in sorted(os.listdir(folder))}
    del files["tokenizer.json"]["model"]  # vocabulary and merges are those of the tiny tokenizer
    prompts = ["", *("".join(generator.choices(FRAGMENTS, k=generator.randint(1, 7))) for _ in range(120))]
    cases.append({"name": "as transformers 5 writes it", "files": files, "whole": True, "prompts": [{"text": text, "ids": tokenizer(text)["input_ids"]} for text in prompts]})

with open(os.path.join(HERE, "cases.json"), "w") as file:
    file.write("[\n" + ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases) + "\n]\n")
