#!/usr/bin/env python3
"""Turns the vocabulary of a GGUF file into a tokenizer file that moxie reads: tokenizer.json for byte-level BPE,
tokenizer.model (SentencePiece protobuf) for SentencePiece BPE.

    gguf_vocab.py VOCAB.gguf OUT_DIR
"""
import json
import os
import struct
import sys

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def read_metadata(path):
    with open(path, "rb") as file:
        def scalar(code):
            return struct.unpack("<" + code, file.read(struct.calcsize("<" + code)))[0]

        def text():
            return file.read(scalar("Q")).decode("utf-8")

        def value(kind):
            if kind == 8:
                return text()
            if kind == 9:
                item_kind, count = scalar("I"), scalar("Q")
                return [value(item_kind) for _ in range(count)]
            return scalar(SCALARS[kind])

        if file.read(4) != b"GGUF":
            raise SystemExit(f"{path}: not a GGUF file")
        scalar("I")  # version
        scalar("Q")  # tensors
        return {text(): value(scalar("I")) for _ in range(scalar("Q"))}


def split(pattern):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


# What splits words, by tokenizer.ggml.pre; each as in the model's own tokenizer.json.
DEEPSEEK_LLM_LETTERS = (
    "\\s?[A-Za-z"
    "\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373"
    "\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481"
    "\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b"
    "\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59"
    "\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3"
    "\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d"
    "\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184"
    "\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787"
    "\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f"
    "\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df"
    "\U0001e900-\U0001e943"
    "]+")
DIGITS = {"type": "Digits", "individual_digits": True}
STAGES = {
    "gpt-2": [split(GPT2)],
    "starcoder": [DIGITS, split(GPT2)],
    "deepseek-coder": [split("[\r\n]"), split("\\s?\\p{L}+"), split("\\s?\\p{P}+"), split("[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"), DIGITS],
    "deepseek-llm": [split("[\r\n]"), split(DEEPSEEK_LLM_LETTERS), split("\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+"), split("\\s+$"),
                     split("[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"), DIGITS],
}


def byte_level_json(meta):
    tokens, kinds = meta["tokenizer.ggml.tokens"], meta["tokenizer.ggml.token_type"]
    added = [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
              "special": k == 3} for i, (t, k) in enumerate(zip(tokens, kinds)) if k in (3, 4)]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    return {"version": "1.0", "added_tokens": added, "normalizer": None,
            "pre_tokenizer": {"type": "Sequence",
                              "pretokenizers": STAGES[meta.get("tokenizer.ggml.pre", "gpt-2")] + [byte_level]},
            "post_processor": None, "decoder": byte_level,
            "model": {"type": "BPE", "vocab": {t: i for i, (t, k) in enumerate(zip(tokens, kinds)) if k != 5},
                      "merges": meta["tokenizer.ggml.merges"]}}


def varint(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number, wire, payload):
    return varint(number << 3 | wire) + (varint(len(payload)) + payload if wire == 2 else payload)


def sentencepiece_model(meta):
    out = b""
    for token, score, kind in zip(meta["tokenizer.ggml.tokens"], meta["tokenizer.ggml.scores"],
                                  meta["tokenizer.ggml.token_type"]):
        kind = 3 if kind == 5 else kind  # unused padding may as well be a control piece: no text reaches either
        piece = field(1, 2, token.encode()) + field(2, 5, struct.pack("<f", score)) + field(3, 0, varint(kind))
        out += field(1, 2, piece)
    trainer = field(3, 0, varint(2)) + field(35, 0, varint(1))  # BPE, byte fallback
    for number, key in ((40, "unknown"), (41, "bos"), (42, "eos")):
        trainer += field(number, 0, varint(meta[f"tokenizer.ggml.{key}_token_id"]))
    normalizer = field(1, 2, b"identity") + field(3, 0, varint(1)) + field(4, 0, varint(0)) + field(5, 0, varint(1))
    return out + field(2, 2, trainer) + field(3, 2, normalizer)


def main():
    meta = read_metadata(sys.argv[1])
    os.makedirs(sys.argv[2], exist_ok=True)
    if meta["tokenizer.ggml.model"] == "gpt2":
        with open(os.path.join(sys.argv[2], "tokenizer.json"), "w", encoding="utf-8") as file:
            json.dump(byte_level_json(meta), file, ensure_ascii=False, separators=(",", ":"))
    elif meta["tokenizer.ggml.model"] == "llama":
        with open(os.path.join(sys.argv[2], "tokenizer.model"), "wb") as file:
            file.write(sentencepiece_model(meta))
    else:
        raise SystemExit(f"tokenizer.ggml.model {meta['tokenizer.ggml.model']}: expected gpt2 or llama")


if __name__ == "__main__":
    main()
