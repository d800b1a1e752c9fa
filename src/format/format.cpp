#include "format/format.h"

#include "base/error.h"

namespace moxie {
namespace {

constexpr FormatInfo kFormats[] = {
    {FormatId::f32, "f32", "F32", 1, 4, 0},
    {FormatId::f16, "f16", "F16", 1, 2, 1},
    {FormatId::bf16, "bf16", "BF16", 1, 2, 30},
    {FormatId::f64, "f64", "F64", 1, 8, 28},
    {FormatId::f8_e4m3, "f8_e4m3", "F8_E4M3", 1, 1, -1},
    {FormatId::f8_e5m2, "f8_e5m2", "F8_E5M2", 1, 1, -1},
    {FormatId::f8_e8m0, "f8_e8m0", "F8_E8M0", 1, 1, -1},
    {FormatId::f8_e4m3fnuz, "f8_e4m3fnuz", "F8_E4M3FNUZ", 1, 1, -1},
    {FormatId::f8_e5m2fnuz, "f8_e5m2fnuz", "F8_E5M2FNUZ", 1, 1, -1},
    {FormatId::f4_e2m1, "f4_e2m1", "F4", 2, 1, -1},
    {FormatId::f6_e2m3, "f6_e2m3", "F6_E2M3", 4, 3, -1},
    {FormatId::f6_e3m2, "f6_e3m2", "F6_E3M2", 4, 3, -1},
    {FormatId::i8, "i8", "I8", 1, 1, 24},
    {FormatId::u8, "u8", "U8", 1, 1, -1},
    {FormatId::i16, "i16", "I16", 1, 2, 25},
    {FormatId::u16, "u16", "U16", 1, 2, -1},
    {FormatId::i32, "i32", "I32", 1, 4, 26},
    {FormatId::u32, "u32", "U32", 1, 4, -1},
    {FormatId::i64, "i64", "I64", 1, 8, 27},
    {FormatId::u64, "u64", "U64", 1, 8, -1},
    {FormatId::boolean, "bool", "BOOL", 1, 1, -1},
    {FormatId::c64, "c64", "C64", 1, 8, -1},
    {FormatId::mxfp4, "mxfp4", "", 32, 16, -1},
    {FormatId::q4_0, "q4_0", "", 32, 18, 2},
    {FormatId::q4_1, "q4_1", "", 32, 20, 3},
    {FormatId::q5_0, "q5_0", "", 32, 22, 6},
    {FormatId::q5_1, "q5_1", "", 32, 24, 7},
    {FormatId::q8_0, "q8_0", "", 32, 34, 8},
    {FormatId::q2_k, "q2_k", "", 256, 84, 10},
    {FormatId::q3_k, "q3_k", "", 256, 110, 11},
    {FormatId::q4_k, "q4_k", "", 256, 144, 12},
    {FormatId::q5_k, "q5_k", "", 256, 176, 13},
    {FormatId::q6_k, "q6_k", "", 256, 210, 14},
    {FormatId::iq2_xxs, "iq2_xxs", "", 256, 66, 16},
    {FormatId::iq2_xs, "iq2_xs", "", 256, 74, 17},
    {FormatId::iq2_s, "iq2_s", "", 256, 82, 22},
    {FormatId::iq3_xxs, "iq3_xxs", "", 256, 98, 18},
    {FormatId::iq3_s, "iq3_s", "", 256, 110, 21},
    {FormatId::iq4_nl, "iq4_nl", "", 32, 18, 20},
    {FormatId::iq4_xs, "iq4_xs", "", 256, 136, 23},
    {FormatId::mxfp4_block, "mxfp4_block", "", 32, 17, 39},
    {FormatId::nvfp4, "nvfp4", "", 64, 36, 40},
    {FormatId::x8_b32, "x8_b32", "", 32, 40, -1},
    {FormatId::x8_b256, "x8_b256", "", 256, 308, -1},
    {FormatId::x8_pairs, "x8_pairs", "", 32, 44, -1},
};

constexpr bool in_order() {
  for (size_t i = 0; i < std::size(kFormats); ++i) {
    if (static_cast<size_t>(kFormats[i].id) != i) return false;
  }
  return true;
}
static_assert(in_order(), "kFormats is indexed by FormatId");

}  // namespace

const FormatInfo& format_info(FormatId id) {
  return kFormats[static_cast<size_t>(id)];
}

std::string_view format_name(FormatId id) {
  return format_info(id).name;
}

std::optional<FormatId> format_from_safetensors(std::string_view dtype) {
  for (const FormatInfo& info : kFormats) {
    if (!info.safetensors.empty() && info.safetensors == dtype) return info.id;
  }
  return std::nullopt;
}

std::optional<FormatId> format_from_gguf(uint32_t type) {
  for (const FormatInfo& info : kFormats) {
    if (info.gguf >= 0 && static_cast<uint32_t>(info.gguf) == type) return info.id;
  }
  return std::nullopt;
}

int64_t row_bytes(FormatId id, int64_t elems) {
  const FormatInfo& info = format_info(id);
  MOXIE_CHECK(elems % info.block_elems == 0);
  return elems / info.block_elems * info.block_bytes;
}

}  // namespace moxie
