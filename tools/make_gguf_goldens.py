#!/usr/bin/env python3
"""Writes tests/data/gguf/types.gguf and split-*.gguf with the package `gguf` (0.19.0) of the format's authors, so that
the tests of store read files that moxie did not write.

    make_gguf_goldens.py [OUT_DIR]
"""
import pathlib
import sys

import gguf
import numpy as np


def fill(writer):
    writer.add_name("golden")
    writer.add_uint8("types.u8", 255)
    writer.add_int8("types.i8", -128)
    writer.add_uint16("types.u16", 65535)
    writer.add_int16("types.i16", -32768)
    writer.add_uint32("types.u32", 4294967295)
    writer.add_int32("types.i32", -2147483648)
    writer.add_uint64("types.u64", 2**64 - 1)
    writer.add_int64("types.i64", -(2**63))
    writer.add_float32("types.f32", 1e-5)
    writer.add_float64("types.f64", 0.1)
    writer.add_bool("types.yes", True)
    writer.add_bool("types.no", False)
    writer.add_string("types.text", "h\u00e9llo \U0001f600")
    writer.add_array("arrays.texts", ["<s>", "a", "\u2581b"])
    writer.add_array("arrays.numbers", [1, -2, 3])
    writer.add_array("arrays.floats", [0.5, -1.25])


def tensors():
    ramp = np.arange(2 * 3 * 64, dtype=np.float32).reshape(2, 3, 64)
    yield "ramp.f32", ramp, None
    yield "row.f16", np.array([0.5, -2.0, 65504.0], dtype=np.float16), None
    yield "one.i32", np.array([7], dtype=np.int32), None
    yield "four.i8", np.arange(16, dtype=np.int8).reshape(2, 2, 2, 2), None
    for name in ("Q8_0", "Q4_0", "BF16"):
        kind = gguf.GGMLQuantizationType[name]
        yield f"ramp.{name.lower()}", gguf.quants.quantize(ramp, kind), kind


def write(directory, name, split):
    writer = gguf.GGUFWriter(directory / name, "llama", split_max_tensors=split)
    fill(writer)
    if split:
        writer.add_array("arrays.nested", [[1, 2], [3]])
    for tensor, data, kind in tensors():
        writer.add_tensor(tensor, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[1] / "tests/data/gguf")
    write(out, "types.gguf", 0)
    write(out, "split.gguf", 3)
