#include "format/block.h"

#include "base/error.h"
#include "format/block_parts.h"

namespace moxie {
namespace {

struct BlockCodec {
  FormatId id;
  block::Unpack* unpack;
  block::Encode* encode;  // null: read only
};

constexpr BlockCodec kCodecs[] = {
    {FormatId::q4_0, block::unpack_q4_0, block::encode_q4_0},
    {FormatId::q4_1, block::unpack_q4_1, block::encode_q4_1},
    {FormatId::q5_0, block::unpack_q5_0, block::encode_q5_0},
    {FormatId::q5_1, block::unpack_q5_1, block::encode_q5_1},
    {FormatId::q8_0, block::unpack_q8_0, block::encode_q8_0},
    {FormatId::q2_k, block::unpack_q2_k, block::encode_q2_k},
    {FormatId::q3_k, block::unpack_q3_k, block::encode_q3_k},
    {FormatId::q4_k, block::unpack_q4_k, block::encode_q4_k},
    {FormatId::q5_k, block::unpack_q5_k, block::encode_q5_k},
    {FormatId::q6_k, block::unpack_q6_k, block::encode_q6_k},
    {FormatId::iq2_xxs, block::unpack_iq2_xxs, block::encode_iq2_xxs},
    {FormatId::iq2_xs, block::unpack_iq2_xs, block::encode_iq2_xs},
    {FormatId::iq2_s, block::unpack_iq2_s, block::encode_iq2_s},
    {FormatId::iq3_xxs, block::unpack_iq3_xxs, block::encode_iq3_xxs},
    {FormatId::iq3_s, block::unpack_iq3_s, block::encode_iq3_s},
    {FormatId::iq4_nl, block::unpack_iq4_nl, block::encode_iq4_nl},
    {FormatId::iq4_xs, block::unpack_iq4_xs, block::encode_iq4_xs},
    {FormatId::mxfp4_block, block::unpack_mxfp4, block::encode_mxfp4},
    {FormatId::nvfp4, block::unpack_nvfp4, block::encode_nvfp4},
};

constexpr bool in_order() {
  for (size_t i = 0; i < std::size(kCodecs); ++i) {
    if (static_cast<size_t>(kCodecs[i].id) != static_cast<size_t>(FormatId::q4_0) + i) return false;
  }
  return true;
}
static_assert(in_order(), "kCodecs follows FormatId from q4_0 on");

const BlockCodec* find_codec(FormatId format) noexcept {
  const size_t index = static_cast<size_t>(format) - static_cast<size_t>(FormatId::q4_0);  // wraps below q4_0
  return index < std::size(kCodecs) ? &kCodecs[index] : nullptr;
}

}  // namespace

bool is_block_format(FormatId format) {
  return find_codec(format) != nullptr;
}

bool can_encode(FormatId format) {
  const BlockCodec* codec = find_codec(format);
  return codec != nullptr && codec->encode != nullptr;
}

UnpackInts find_unpacker(FormatId format) noexcept {
  const BlockCodec* codec = find_codec(format);
  return codec == nullptr ? nullptr : codec->unpack;
}

bool int_block(FormatId format, const void* block, IntBlock* out) noexcept {
  const UnpackInts unpack = find_unpacker(format);
  if (unpack == nullptr) return false;
  *out = IntBlock{};
  unpack(static_cast<const uint8_t*>(block), out);
  return true;
}

void decode_blocks(FormatId format, const void* row, int64_t num_elems, float* out) noexcept {
  const FormatInfo& info = format_info(format);
  const UnpackInts unpack = find_unpacker(format);
  MOXIE_CHECK(unpack != nullptr && num_elems % info.block_elems == 0);
  const auto* bytes = static_cast<const uint8_t*>(row);
  IntBlock block{};
  for (int64_t begin = 0; begin < num_elems; begin += info.block_elems, bytes += info.block_bytes) {
    unpack(bytes, &block);
    for (int i = 0; i < info.block_elems; i += block.sub_elems) {
      // ggml multiplies in this order too: d * scale first. Without a min the product is +0, which changes nothing.
      const float scale = block.d * block.scale[i / block.sub_elems];
      const float min = block.dmin * block.min[i / block.sub_elems];
      for (int k = i; k < i + block.sub_elems; ++k) out[begin + k] = scale * block.value[k] - min;
    }
  }
}

void encode_blocks(FormatId format, const float* x, int64_t num_elems, const float* importance, void* out) {
  const FormatInfo& info = format_info(format);
  MOXIE_CHECK(can_encode(format) && num_elems % info.block_elems == 0);
  const BlockCodec* codec = find_codec(format);
  auto* bytes = static_cast<uint8_t*>(out);
  for (int64_t begin = 0; begin < num_elems; begin += info.block_elems, bytes += info.block_bytes) {
    codec->encode(x + begin, importance != nullptr ? importance + begin : nullptr, bytes);
  }
}

}  // namespace moxie
