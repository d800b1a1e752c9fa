// Number formats: what one block of each looks like in memory. Knows layout only; scalar codecs stand in codec.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace moxie {

/// Every number format a tensor may have. Storage-only formats can be read and written but not computed with.
enum class FormatId : uint8_t {
  f32,
  f16,
  bf16,
  f64,
  f8_e4m3,
  f8_e5m2,
  f8_e8m0,
  f8_e4m3fnuz,
  f8_e5m2fnuz,
  f4_e2m1,
  f6_e2m3,
  f6_e3m2,
  i8,
  u8,
  i16,
  u16,
  i32,
  u32,
  i64,
  u64,
  boolean,
  c64,
  mxfp4,  // OCP MX: 32 x e2m1 with one e8m0 scale; nibbles and scales in two arrays, low nibble first (gpt-oss)
  // Blocks with their scales inside, as GGUF has them; the layout of each stands in format/block.h.
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  q8_0,
  q2_k,
  q3_k,
  q4_k,
  q5_k,
  q6_k,
  iq2_xxs,
  iq2_xs,
  iq2_s,
  iq3_xxs,
  iq3_s,
  iq4_nl,
  iq4_xs,
  mxfp4_block,  // the numbers of mxfp4, scale and nibbles of a block side by side
  nvfp4,        // 64 x e2m1, one unsigned e4m3 scale for each 16
  // Rows of activations for integer products (kernels/activation.h); in no file.
  x8_b32,
  x8_b256,
  x8_pairs,
};

/// Layout of one format: `block_elems` elements take `block_bytes` bytes (of the main array, for mxfp4).
struct FormatInfo {
  FormatId id;
  std::string_view name;         // ours: "bf16"
  std::string_view safetensors;  // theirs: "BF16"; empty if the file format has no such dtype
  int block_elems;
  int block_bytes;
  int gguf;  // number of the type in GGUF files; -1 if they have none
};

const FormatInfo& format_info(FormatId id);
std::string_view format_name(FormatId id);

/// By the name in a safetensors header, or empty if there is none.
std::optional<FormatId> format_from_safetensors(std::string_view dtype);

/// By the number of a type in a GGUF file, or empty if this build does not know it.
std::optional<FormatId> format_from_gguf(uint32_t type);

/// Bytes of a row of `elems` elements, which must be whole blocks. No overflow check: see store for outside data.
int64_t row_bytes(FormatId id, int64_t elems);

}  // namespace moxie
