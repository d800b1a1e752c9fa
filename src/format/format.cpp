#include "format/format.h"

#include "base/error.h"

namespace moxie {
namespace {

constexpr FormatInfo kFormats[] = {
    {FormatId::f32, "f32", "F32", 1, 4},
    {FormatId::f16, "f16", "F16", 1, 2},
    {FormatId::bf16, "bf16", "BF16", 1, 2},
    {FormatId::f64, "f64", "F64", 1, 8},
    {FormatId::f8_e4m3, "f8_e4m3", "F8_E4M3", 1, 1},
    {FormatId::f8_e5m2, "f8_e5m2", "F8_E5M2", 1, 1},
    {FormatId::f8_e8m0, "f8_e8m0", "F8_E8M0", 1, 1},
    {FormatId::f8_e4m3fnuz, "f8_e4m3fnuz", "F8_E4M3FNUZ", 1, 1},
    {FormatId::f8_e5m2fnuz, "f8_e5m2fnuz", "F8_E5M2FNUZ", 1, 1},
    {FormatId::f4_e2m1, "f4_e2m1", "F4", 2, 1},
    {FormatId::f6_e2m3, "f6_e2m3", "F6_E2M3", 4, 3},
    {FormatId::f6_e3m2, "f6_e3m2", "F6_E3M2", 4, 3},
    {FormatId::i8, "i8", "I8", 1, 1},
    {FormatId::u8, "u8", "U8", 1, 1},
    {FormatId::i16, "i16", "I16", 1, 2},
    {FormatId::u16, "u16", "U16", 1, 2},
    {FormatId::i32, "i32", "I32", 1, 4},
    {FormatId::u32, "u32", "U32", 1, 4},
    {FormatId::i64, "i64", "I64", 1, 8},
    {FormatId::u64, "u64", "U64", 1, 8},
    {FormatId::boolean, "bool", "BOOL", 1, 1},
    {FormatId::c64, "c64", "C64", 1, 8},
    {FormatId::mxfp4, "mxfp4", "", 32, 16},
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

int64_t row_bytes(FormatId id, int64_t elems) {
  const FormatInfo& info = format_info(id);
  MOXIE_CHECK(elems % info.block_elems == 0);
  return elems / info.block_elems * info.block_bytes;
}

}  // namespace moxie
