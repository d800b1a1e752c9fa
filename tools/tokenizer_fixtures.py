#!/usr/bin/env python3
"""Writes tests/data/tokenizers: vocabularies (compressed), the texts of corpus.json.gz, and the ids that the reference
implementations give for them. Needs tokenizers, sentencepiece and tiktoken from PyPI.

    tokenizer_fixtures.py DATA_DIR OUT_DIR

DATA_DIR holds the files named below as their projects publish them.
"""
import base64
import gzip
import json
import os
import random
import shutil
import subprocess
import sys
import unicodedata
import zipfile

import sentencepiece
import tiktoken
import tokenizers

DATA, OUT = sys.argv[1], sys.argv[2]
HERE = os.path.dirname(os.path.abspath(__file__))
LANGUAGES = "ar de el en es hi ru tr zh".split()
MORE_LANGUAGES = "jpn kor heb tha vie ben tam kat hye amh khm mya bod fra fin pol".split()  # of the declaration of human rights
GGUF = {"gpt2": "gpt-2", "starcoder": "starcoder", "deepseek-coder": "deepseek-coder", "deepseek-llm": "deepseek-llm",
        "llama-spm": "llama-spm", "phi-3": "phi-3"}
O200K = "|".join([
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n/]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])


def pack(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(gzip.compress(data, 9, mtime=0))


def read(name):
    with open(os.path.join(DATA, name), "rb") as file:
        data = file.read()
    return gzip.decompress(data) if name.endswith(".gz") else data


def in_old_unicode(char):
    """tokenizers normalises by Unicode 9; of a younger combining mark it does not know the class."""
    nfc = tokenizers.normalizers.NFC().normalize_str
    return not unicodedata.combining(char) or all(
        nfc(text) == unicodedata.normalize("NFC", text)
        for mark in "\u0316\u0301\u0334" for text in ("a" + char + mark, "a" + mark + char))


def random_texts():
    """Characters of every assigned kind, alone, in runs, and between words."""
    rng = random.Random(7)
    groups = {}
    for point in list(range(0x80, 0x3134F)) + list(range(0xE0000, 0xE01F0)):
        char = chr(point)
        category = unicodedata.category(char)
        if category not in ("Cn", "Cs", "Co") and in_old_unicode(char):
            groups.setdefault(category, []).append(char)
    ascii_chars = [chr(c) for c in range(0x20, 0x7F)] + ["\n", "\r", "\t", " ", " ", " "]
    for _ in range(400):
        text = ""
        for _ in range(rng.randint(1, 12)):
            kind = rng.random()
            if kind < 0.35:
                text += "".join(rng.choices(ascii_chars, k=rng.randint(1, 5)))
            elif kind < 0.5:
                text += " " * rng.randint(1, 4) + "\n" * rng.randint(0, 2)
            else:
                text += "".join(rng.choices(groups[rng.choice(sorted(groups))], k=rng.randint(1, 3)))
        yield text
    for category in sorted(groups):
        yield "".join(groups[category][:: max(1, len(groups[category]) // 200)])
        yield " a".join(groups[category][:: max(1, len(groups[category]) // 40)])


EDGES = [
    "", " ", "  ", "   ", "\n", "\n\n", " \n", "\n ", "\t", "\t\t\n  \n", "\r\n", "\r\n\r\n x", "a", " a", "  a", "a ", "a  ", " a b  c   d ",
    "I'm you're he's we'll they'd I've can't IT'S WE'LL 'S 'tis ''s 's' o'clock Don'T",
    "I’m you’re it’s", "x'S x'Sx 'ſ x'ſ", "0 1 12 123 1234 12345 1234567890 3.14159 1,000,000 ١٢٣٤ ①②③ Ⅷ ½ 1½2 x2y3",
    "hello world", "Hello, World!", "HELLO wORLD helloWorld HTTPServer getHTTPResponseCode snake_case_name kebab-case",
    "foo.bar(baz)[0] = {a: 1, 'b': \"2\"} // c\n\tif (x<=y && !z) { return x->y; }\n\n\n    pass\n",
    "#include <vector>\nint main() {\n\treturn 0; // ok\n}\n", "def f(x):\n    \"\"\"Doc.\"\"\"\n    return {k: v for k, v in x.items()}\n",
    "<html><body class=\"x\">&amp; &lt;</body></html>", "https://example.com/a/b?c=d&e=f#g user@example.org",
    "    indented\n        more\n\t\ttabs\n", "trailing   \n  \n   leading", "a\u00a0b\u2003c\u3000d\u180ee\u0085f\u200bg\u2028h\u2029i\ufeffj",
    "\u0085\u0085 \u0085", "\u180e\u180e \u180ex", "e\u0301 é e\u0301\u0323 ẹ́ \u0301alone ﬁ ﬀ ㎏ Å Å Ω Ω", "ﷺ ｆｕｌｌ ｗｉｄｔｈ １２３ ｶﾞ",
    "각 각 한국어 텍스트", "नमस्ते दुनिया क्षि", "สวัสดีชาวโลก", "مرحبا بالعالم", "שלום עולם", "Привет, мир!", "你好，世界！這是繁體。", "こんにちは、世界！カタカナ",
    "🙂 👨‍👩‍👧‍👦 🏳️‍🌈 🇩🇪🇫🇷 👍🏽 ❤️ 🧑🏿‍🚀", "a🙂b 🙂🙂🙂", "𝒳𝓎 𝔸𝔹 𐍈 𠜎𠜱 🀄", "Ünïcödé çåñ bë fün", "İstanbul ıI ŞŞ", "ǅ ǈ ǋ Ǆ", "ªº ⁿ ² ʰ ॐ ℵ",
    "▁ ▁▁ a▁b ▁x", "<0x0A> <0xFF> <unk> <s> </s>", "_ __ ___init__ a_b", "-- --- ... …… !!! ??? ?!", "$100 €50 £3 50% ±1 √2 ≤ ∞ → ←", "(a) [b] {c} «d» “e” ‘f’ „g“",
    "\x00\x01\x02 \x1f\x7f", "a" * 300, " " * 300, "\n" * 100, "ab" * 200, "1" * 100, "!" * 100, "é" * 150, "字" * 120, "🙂" * 60, "a " * 100, "- " * 60,
    "https://" + "a-b_c." * 30, "supercalifragilisticexpialidocious antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
]
SPECIAL = [
    "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n", "a <|endoftext|> b<|endoftext|>", "<|endoftext|>\n\n<|endoftext|>",
    "<tool_call>\n{\"name\": \"f\"}\n</tool_call>", "<|im_start", "<<|im_end|>>", "<｜begin▁of▁sentence｜><｜User｜>hi<｜Assistant｜>ok<｜end▁of▁sentence｜>",
    "<｜tool▁sep｜> x <｜tool▁outputs▁begin｜>", "<s>[INST] hi [/INST] ok</s>", "<s> a </s> b", " <s>", "<unk>x<unk>", "|||EMAIL_ADDRESS||| |||IP_ADDRESS|||",
    "a  b   c    d                          e", "<|padding|>x",
]


def corpus():
    texts = EDGES + SPECIAL + list(random_texts())
    for language in LANGUAGES:
        articles = json.loads(read(f"text/xquad/xquad.{language}.json.gz"))["data"]
        paragraphs = [p["context"] for a in articles for p in a["paragraphs"]]
        texts += paragraphs[:2] + ["\n".join(paragraphs[2:4])]
    with zipfile.ZipFile(os.path.join(DATA, "text/nltk_udhr2.zip")) as archive:
        for name in archive.namelist():
            if os.path.basename(name)[:-4] in MORE_LANGUAGES:
                texts.append(archive.read(name).decode("utf-8")[:1500])
    problems = gzip.decompress(open(os.path.join(DATA, "text/humaneval.jsonl.gz"), "rb").read()).decode().splitlines()
    for line in problems[:12]:
        problem = json.loads(line)
        texts.append(problem["prompt"] + problem["canonical_solution"])
    return texts


def mistral_json(model):
    """The tokenizer.json that transformers makes of a SentencePiece BPE model (legacy form)."""
    pieces = [(model.id_to_piece(i), model.get_score(i)) for i in range(model.get_piece_size())]
    vocab = {piece: i for i, (piece, _) in enumerate(pieces)}
    merges = []
    for piece, score in pieces:
        local = [(piece[:i], piece[i:]) for i in range(1, len(piece)) if piece[:i] in vocab and piece[i:] in vocab]
        merges += [(score, pair) for pair in sorted(local, key=lambda p: (vocab[p[0]], vocab[p[1]]))]
    merges = [pair for _, pair in sorted(merges, key=lambda m: m[0], reverse=True)]
    added = [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
              "special": True} for i, t in enumerate(["<unk>", "<s>", "</s>"])]
    piece = lambda kind, name: {kind: {"id": name, "type_id": 0}}
    return {"version": "1.0", "added_tokens": added,
            "normalizer": {"type": "Sequence", "normalizers": [
                {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
            "pre_tokenizer": None,
            "post_processor": {"type": "TemplateProcessing", "single": [piece("SpecialToken", "<s>"), piece("Sequence", "A")],
                               "pair": [piece("Sequence", "A"), piece("Sequence", "B")],
                               "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
            "decoder": {"type": "Sequence", "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
            "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
                      "vocab": vocab, "merges": [" ".join(pair) for pair in merges]}}


def main():
    texts = corpus()
    pack(f"{OUT}/corpus.json.gz", json.dumps(texts, ensure_ascii=False).encode())

    def expect(name, encode):
        ids = [encode(text) for text in texts]
        pack(f"{OUT}/expected/{name}.json.gz", json.dumps(ids, separators=(",", ":")).encode())

    for name, source in GGUF.items():
        subprocess.run([sys.executable, f"{HERE}/gguf_vocab.py", f"{DATA}/tokenizers/ggml-vocab/ggml-vocab-{source}.gguf",
                        f"/tmp/{name}"], check=True)
        for file in os.listdir(f"/tmp/{name}"):
            pack(f"{OUT}/{name}/{file}.gz", open(f"/tmp/{name}/{file}", "rb").read())
        shutil.rmtree(f"/tmp/{name}")
    vectors = f"{DATA}/tokenizers/ggml-vocab/ggml-vocab-"
    os.makedirs(f"{OUT}/ggml-vocab", exist_ok=True)
    shutil.copyfile(f"{vectors}gpt-2.gguf.inp", f"{OUT}/ggml-vocab/texts.inp")
    for name in list(GGUF.values()) + ["qwen2", "mpt"]:
        assert read(f"tokenizers/ggml-vocab/ggml-vocab-{name}.gguf.inp") == read("tokenizers/ggml-vocab/ggml-vocab-gpt-2.gguf.inp")
        shutil.copyfile(f"{vectors}{name}.gguf.out", f"{OUT}/ggml-vocab/{name}.out")
    shutil.copyfile(f"{DATA}/tokenizers/tiktoken/TestPlans.txt", f"{OUT}/TestPlans.txt")

    pack(f"{OUT}/olmoe/tokenizer.json.gz", read("tokenizers/olmoe/allenai_gpt-neox-olmo-dolma-v1_5.json"))
    pack(f"{OUT}/qwen3/tokenizer.json.gz", read("tokenizers/qwen3/tokenizer.json.gz"))
    pack(f"{OUT}/deepseek_v3/tokenizer.json.gz", read("tokenizers/deepseek_v3/tokenizer.json.gz"))
    pack(f"{OUT}/o200k/o200k_base.tiktoken.gz", read("tokenizers/tiktoken/o200k_base.tiktoken.gz"))
    for version in ("v1", "v3"):
        data = read(f"tokenizers/mistral/tokenizer.model.{version}")
        pack(f"{OUT}/mistral_{version}/tokenizer.model.gz", data)
        model = sentencepiece.SentencePieceProcessor(model_proto=data)
        expect(f"mistral_{version}", model.encode)
        if version == "v1":
            pack(f"{OUT}/mistral_v1/tokenizer.json.gz",
                 json.dumps(mistral_json(model), ensure_ascii=False, separators=(",", ":")).encode())
    for name, folder in (("gpt2",) * 2, ("olmoe",) * 2, ("qwen3",) * 2, ("deepseek_v3",) * 2, ("starcoder",) * 2,
                         ("mistral_v1_json", "mistral_v1")):
        tokenizer = tokenizers.Tokenizer.from_str(gzip.open(f"{OUT}/{folder}/tokenizer.json.gz").read().decode())
        expect(name, lambda text: tokenizer.encode(text, add_special_tokens=False).ids)
    lines = read("tokenizers/tiktoken/o200k_base.tiktoken.gz").split(b"\n")
    ranks = {base64.b64decode(line.split()[0]): int(line.split()[1]) for line in lines if line}
    o200k = tiktoken.Encoding("o200k", pat_str=O200K, mergeable_ranks=ranks,
                              special_tokens={"<|endoftext|>": 199999, "<|endofprompt|>": 200018})
    expect("o200k", lambda text: o200k.encode(text, allowed_special="all"))


if __name__ == "__main__":
    main()
