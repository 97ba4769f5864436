"""A tiny T5 encoder with random weights, and a tokenizer of T5's kind: unigram pieces and a table of replacements, as SentencePiece trains them.

Needs sentencepiece, too.
"""
import io
import pathlib
import random
import tempfile

import torch
from sentencepiece import SentencePieceTrainer, sentencepiece_model_pb2
from transformers import T5Config, T5EncoderModel, T5Tokenizer

WORDS = "a photo of the house, Paris two red doors in 1920's! street from car portrait image people city night windows: with (and) very long tail".split()
# Whole characters, one of several code points, one that disappears, some that become several.
REPLACEMENTS = {
    "\u00a0": " ", "\u3000": " ", "\uff21": "A", "\uff22": "B", "\u2460": "1", "\ufb01": "fi", "e\u0301": "\u00e9", "\u200b": "", "\u2026": "...",
}
PROMPTS = [
    "a photo of Paris", "A HOUSE,  1920's!", "two red doors, \u00fcn\u00efcode \u2014 and a very long tail " * 4, "",
    "\uff21\uff22\u00a0\ufb01ne cafe\u0301\u2026 \u2460\u200bx", "\u4e16\u754c \u2581mark a\u2581b </s> <extra_id_3> tail", " padded\tand\nbroken ", "a photo",
]


def trained():
    """spiece.model, trained on random sentences of these words (test/data/t5)."""
    rng = random.Random(0)
    sentences = [" ".join(rng.choice(WORDS) for _ in range(rng.randint(3, 9))) for _ in range(2000)]

    def points(text):
        return " ".join(f"{ord(one):X}" for one in text)

    model = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        rules = pathlib.Path(folder, "rules.tsv")
        rules.write_text("".join(f"{points(before)}\t{points(after)}\n" for before, after in REPLACEMENTS.items()))
        SentencePieceTrainer.train(
            sentence_iterator=iter(sentences), model_writer=model, vocab_size=300, hard_vocab_limit=False, model_type="unigram", pad_id=0, eos_id=1,
            unk_id=2, bos_id=-1, normalization_rule_tsv=str(rules), character_coverage=1.0, minloglevel=2, num_threads=1,
        )
    return model.getvalue()


def tokenizer():
    model = sentencepiece_model_pb2.ModelProto.FromString(trained())
    pieces = [(piece.piece, piece.score) for piece in model.pieces] + [(f"<extra_id_{i}>", 0.0) for i in range(9, -1, -1)]
    return T5Tokenizer(vocab=pieces, _spm_precompiled_charsmap=model.normalizer_spec.precompiled_charsmap, extra_ids=10)


def encoder(seed):
    pick = random.Random(seed + 100).choice
    torch.manual_seed(seed + 6)
    model = T5EncoderModel(T5Config(
        vocab_size=pick([512, 384]), d_model=pick([64, 80]), d_kv=pick([6, 8]), d_ff=pick([24, 40]), num_layers=pick([1, 2, 3]), num_heads=pick([2, 3, 5]),
        relative_attention_num_buckets=pick([32, 16, 8]), relative_attention_max_distance=pick([128, 20]), feed_forward_proj="gated-gelu",
        is_encoder_decoder=False, use_cache=False,
    ))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() < 2:
                parameter.add_(0.1 * torch.randn_like(parameter))
            else:
                parameter.normal_(std=1 if "shared" in name or "relative" in name else parameter.shape[1] ** -0.5)
    return model.eval()
