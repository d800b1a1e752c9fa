// How each format in super-blocks of 256 becomes a panel (block_panel.h), 16 rows at a time; layouts: format/block.h.
// Sub-blocks have kSub elements: x = d scale (value - kOffset) - dmin min. They come in runs of kPhases: weights<phase>
// (panel, run, s, g) is step s of sub-block sub(run, phase) for group g of rows, taken from values that are unpacked
// already or, with kInTile, by each tile from what lies in the file: better for few rows of x.
#pragma once

#include <bit>

#include "format/codebooks.h"
#include "kernels/cpu/block_panel.h"

namespace moxie::cpu {
namespace {

/// One vector of unpacked values a step, a step after the other.
struct UnpackedPanel {
  static constexpr bool kInTile = false;
  static constexpr int kPhases = 1;
  static constexpr int sub(int run, int) { return run; }
  template <int, int kSteps>
  static V weights(const BlockPanel& panel, int run, int s, int g) {
    return _mm512_load_si512(panel.values[g][kSteps * run + s]);
  }
};

/// The 6-bit scales and mins of q4_k and q5_k, and d and dmin: the first 16 bytes of a block. kTwoScales: high nibbles
/// are read as they lie and count 16 times as much, so scales of the low ones are times 16 and d is divided by it.
template <bool kTwoScales, class Rows>
void unpack_scales_k4(const Rows& rows, BlockPanel& panel, int group) {
  V head[4];
  load_four_dwords(rows, 0, head);
  const int at = kGroupRows * group;
  const auto store_scale = [&](int sub, V scale) {
    if (kTwoScales && sub % 2 == 0) scale = _mm512_slli_epi32(scale, 4);
    _mm512_store_si512(&panel.scale[sub][at], scale);
  };
  _mm512_store_ps(&panel.d[0][at], kTwoScales ? sixteenth(low_halves(head[0])) : low_halves(head[0]));
  _mm512_store_ps(&panel.m[0][at], high_halves(head[0]));
  V min[8];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    store_scale(j, dword_bits(head[1], 8 * j, 6));
    min[j] = dword_bits(head[2], 8 * j, 6);
    const V high = _mm512_slli_epi32(dword_bits(head[1], 8 * j + 6, 2), 4);
    const V min_high = _mm512_slli_epi32(dword_bits(head[2], 8 * j + 6, 2), 4);
    store_scale(4 + j, _mm512_or_si512(dword_bits(head[3], 8 * j, 4), high));
    min[4 + j] = _mm512_or_si512(dword_bits(head[3], 8 * j + 4, 4), min_high);
  }
#pragma GCC unroll 4
  for (int p = 0; p < 4; ++p) {
    _mm512_store_si512(&panel.min[p][at], _mm512_or_si512(min[2 * p], _mm512_slli_epi32(min[2 * p + 1], 16)));
  }
}

/// The vectors of a panel whose values the tiles take apart: packed rows as they lie; plain rows transposed.
template <int kVectors>
void keep_values(const PackedRows& rows, int64_t offset, BlockPanel& panel, int group) {
  panel.steps[group] = reinterpret_cast<const uint8_t*>(rows.at(offset));
}
template <int kVectors>
void keep_values(const PlainRows& rows, int64_t offset, BlockPanel& panel, int group) {
#pragma GCC unroll 4
  for (int i = 0; i < kVectors; i += 16) {
    V q[16];
    load_dwords(rows, offset + 4 * i, q);
#pragma GCC unroll 16
    for (int j = 0; j < 16; ++j) store_step<kVectors>(panel, i + j, group, q[j]);
  }
}

/// Nibbles taken apart by the panel, for many rows of x.
struct UnpackQ4K : UnpackedPanel {
  static constexpr int kBlockElems = 256, kSub = 32, kOffset = 0;
  static constexpr bool kMin = true, kCanPack = true;
  template <class Rows>
  static void group(const Rows& rows, int, BlockPanel& panel, int group) {
    unpack_scales_k4<false>(rows, panel, group);
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      V q[16];
      load_dwords(rows, 16 + 64 * half, q);
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) {  // 8 dwords: two sub-blocks of 8 steps
        const int step = 32 * half + 16 * (i / 8) + i % 8;
        store_step(panel, step, group, nibbles(q[i]));
        store_step(panel, step + 8, group, nibbles(_mm512_srli_epi32(q[i], 4)));
      }
    }
  }
};

/// The same for few rows, by each tile: 8 vectors hold a sub-block in their low nibbles, the next in the high ones.
struct UnpackQ4KInTile {
  static constexpr int kBlockElems = 256, kSub = 32, kOffset = 0, kPhases = 2;
  static constexpr bool kMin = true, kCanPack = true, kInTile = true;
  static constexpr int sub(int run, int phase) { return 2 * run + phase; }
  template <int kPhase, int kSteps>
  static V weights(const BlockPanel& panel, int run, int s, int g) {
    const V w = _mm512_loadu_si512(panel.steps[g] + 64 * (kSteps * run + s));
    return _mm512_and_si512(w, _mm512_set1_epi8(static_cast<char>(kPhase == 0 ? 0x0f : 0xf0)));
  }
  template <class Rows>
  static void group(const Rows& rows, int, BlockPanel& panel, int group) {
    unpack_scales_k4<true>(rows, panel, group);
    keep_values<32>(rows, 16, panel, group);
  }
};

struct UnpackQ5K : UnpackedPanel {
  static constexpr int kBlockElems = 256, kSub = 32, kOffset = 0;
  static constexpr bool kMin = true, kCanPack = true;
  template <class Rows>
  static void group(const Rows& rows, int, BlockPanel& panel, int group) {
    unpack_scales_k4<false>(rows, panel, group);
    V high[16];  // dwords 0 .. 7: bit s of byte l belongs to element l of sub-block s
    load_dwords(rows, 16, 16, high);
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      V q[16];
      load_dwords(rows, 48 + 64 * half, q);
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) {
        const int sub = 4 * half + 2 * (i / 8), step = 8 * sub + i % 8;
        const V low_bit = byte_shift_left(byte_bits(high[i % 8], sub, 1), 4);
        const V high_bit = byte_shift_left(byte_bits(high[i % 8], sub + 1, 1), 4);
        store_step(panel, step, group, _mm512_or_si512(nibbles(q[i]), low_bit));
        store_step(panel, step + 8, group, _mm512_or_si512(nibbles(_mm512_srli_epi32(q[i], 4)), high_bit));
      }
    }
  }
};

/// 16 scales as int8 at `offset`.
template <class Rows>
void unpack_scale_bytes(const Rows& rows, int64_t offset, BlockPanel& panel, int group) {
  V bytes[4];
  load_four_dwords(rows, offset, bytes);
#pragma GCC unroll 16
  for (int s = 0; s < 16; ++s) {
    const V up = _mm512_slli_epi32(bytes[s / 4], static_cast<unsigned>(24 - 8 * (s % 4)));
    _mm512_store_si512(&panel.scale[s][kGroupRows * group], _mm512_srai_epi32(up, 24));
  }
}

/// What kOffset adds to every value of a sub-block, taken off as a min: scale * kOffset, which an int16 holds.
template <int kSub, int kOffset>
void offset_as_min(BlockPanel& panel, int group) {
  constexpr int kPairs = 128 / kSub;
  constexpr unsigned kShift = std::countr_zero(static_cast<unsigned>(kOffset));
  static_assert(1 << kShift == kOffset);
  const auto shifted = [&](int sub, unsigned by) {
    return _mm512_slli_epi32(_mm512_load_si512(&panel.scale[sub][kGroupRows * group]), by);
  };
#pragma GCC unroll 8
  for (int p = 0; p < kPairs; ++p) {
    const V pair = _mm512_mask_blend_epi16(0xaaaaaaaa, shifted(2 * p, kShift), shifted(2 * p + 1, 16 + kShift));
    _mm512_store_si512(&panel.min[p][kGroupRows * group], pair);
  }
}

struct UnpackQ6K : UnpackedPanel {
  static constexpr int kBlockElems = 256, kSub = 16, kOffset = 32;
  static constexpr bool kMin = false, kCanPack = true;
  template <class Rows>
  static void group(const Rows& rows, int, BlockPanel& panel, int group) {
    unpack_scale_bytes(rows, 192, panel, group);
    offset_as_min<kSub, kOffset>(panel, group);
    _mm512_store_ps(&panel.d[0][kGroupRows * group], last_halves(rows, 208));
    V high[16];
    load_dwords(rows, 128, high);
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      V low[16];
      load_dwords(rows, 64 * half, low);
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) {  // low nibbles: elements 4 i of 64; high nibbles: 64 further
        const V two = high[8 * half + i % 8];
        const int run = i / 8, step = 32 * half + i;
        const V first = byte_shift_left(byte_bits(two, 2 * run, 2), 4);
        const V second = byte_shift_left(byte_bits(two, 4 + 2 * run, 2), 4);
        store_step(panel, step, group, _mm512_or_si512(nibbles(low[i]), first));
        store_step(panel, step + 16, group, _mm512_or_si512(nibbles(_mm512_srli_epi32(low[i], 4)), second));
      }
    }
  }
};

/// The same for few rows, by each tile. Of 128 elements, 32 of phase j lie in the low (j < 2) or high nibbles of 8
/// vectors and in bits 2 j of 8 others; a sub-block is half of them.
struct UnpackQ6KInTile {
  static constexpr int kBlockElems = 256, kSub = 16, kOffset = 32, kPhases = 4;
  static constexpr bool kMin = false, kCanPack = true, kInTile = true;
  static constexpr int sub(int run, int phase) { return 8 * (run / 2) + 2 * phase + run % 2; }
  template <int kPhase, int>
  static V weights(const BlockPanel& panel, int run, int s, int g) {
    const int half = run / 2, i = 4 * (run % 2) + s;
    V low = _mm512_loadu_si512(panel.steps[g] + 64 * (16 * half + 8 * (kPhase % 2) + i));
    if constexpr (kPhase >= 2) low = _mm512_srli_epi32(low, 4);
    V high = _mm512_loadu_si512(panel.steps[g] + 64 * (32 + 8 * half + i));  // its two bits to bits 4 and 5
    if constexpr (kPhase < 2) high = _mm512_slli_epi32(high, 4 - 2 * kPhase);
    if constexpr (kPhase > 2) high = _mm512_srli_epi32(high, 2 * kPhase - 4);
    return _mm512_or_si512(nibbles(low), _mm512_and_si512(high, _mm512_set1_epi8(0x30)));
  }
  template <class Rows>
  static void group(const Rows& rows, int, BlockPanel& panel, int group) {
    unpack_scale_bytes(rows, 192, panel, group);
    offset_as_min<kSub, kOffset>(panel, group);
    _mm512_store_ps(&panel.d[0][kGroupRows * group], last_halves(rows, 208));
    keep_values<48>(rows, 0, panel, group);
  }
};

struct UnpackQ2K : UnpackedPanel {
  static constexpr int kBlockElems = 256, kSub = 16, kOffset = 0;
  static constexpr bool kMin = true, kCanPack = true;
  template <class Rows>
  static void group(const Rows& rows, int, BlockPanel& panel, int group) {
    const int at = kGroupRows * group;
    V bytes[4];  // of a sub-block: scale in the low nibble, min in the high one
    load_four_dwords(rows, 0, bytes);
#pragma GCC unroll 8
    for (int p = 0; p < 8; ++p) {
      const V pair = bytes[p / 2];
      const int bit = 16 * (p % 2);
      _mm512_store_si512(&panel.scale[2 * p][at], dword_bits(pair, bit, 4));
      _mm512_store_si512(&panel.scale[2 * p + 1][at], dword_bits(pair, bit + 8, 4));
      const V high_min = _mm512_slli_epi32(dword_bits(pair, bit + 12, 4), 16);
      _mm512_store_si512(&panel.min[p][at], _mm512_or_si512(dword_bits(pair, bit + 4, 4), high_min));
    }
    const V scales = dwords_at(rows, 80);
    _mm512_store_ps(&panel.d[0][at], low_halves(scales));
    _mm512_store_ps(&panel.m[0][at], high_halves(scales));
    V q[16];
    load_dwords(rows, 16, q);
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) {
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) store_step(panel, 32 * (i / 8) + 8 * j + i % 8, group, byte_bits(q[i], 2 * j, 2));
    }
  }
};

struct UnpackQ3K : UnpackedPanel {
  static constexpr int kBlockElems = 256, kSub = 16, kOffset = 4;
  static constexpr bool kMin = false, kCanPack = true;
  template <class Rows>
  static void group(const Rows& rows, int, BlockPanel& panel, int group) {
    const int at = kGroupRows * group;
    _mm512_store_ps(&panel.d[0][at], last_halves(rows, 108));
    const V bits[3] = {dwords_at(rows, 96), dwords_at(rows, 100), dwords_at(rows, 104)};
#pragma GCC unroll 16
    for (int s = 0; s < 16; ++s) {
      const V low = dword_bits(bits[s % 8 / 4], 8 * (s % 4) + (s < 8 ? 0 : 4), 4);
      const V high = _mm512_slli_epi32(dword_bits(bits[2], 8 * (s % 4) + 2 * (s / 4), 2), 4);
      _mm512_store_si512(&panel.scale[s][at], _mm512_sub_epi32(_mm512_or_si512(low, high), _mm512_set1_epi32(32)));
    }
    offset_as_min<kSub, kOffset>(panel, group);
    V high[16], q[16];  // high, dwords 0 .. 7: bit 4 h + j of byte l
    load_dwords(rows, 0, 0, high);
    load_dwords(rows, 32, q);
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) {
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        const V third = byte_shift_left(byte_bits(high[i % 8], 4 * (i / 8) + j, 1), 2);
        store_step(panel, 32 * (i / 8) + 8 * j + i % 8, group, _mm512_or_si512(byte_bits(q[i], 2 * j, 2), third));
      }
    }
  }
};

/// Bytes that are numbers below 16 become kOffset more than a table's.
template <int kOffset>
inline V look_up(const int8_t (&table)[16], V index) {
  const V all = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)));
  return _mm512_shuffle_epi8(_mm512_add_epi8(all, _mm512_set1_epi8(static_cast<char>(kOffset))), index);
}

struct UnpackIq4Xs : UnpackedPanel {
  static constexpr int kBlockElems = 256, kSub = 32, kOffset = 128;
  static constexpr bool kMin = false, kCanPack = true;
  template <class Rows>
  static void group(const Rows& rows, int, BlockPanel& panel, int group) {
    const int at = kGroupRows * group;
    V head[4];
    load_four_dwords(rows, 0, head);
    _mm512_store_ps(&panel.d[0][at], low_halves(head[0]));
#pragma GCC unroll 8
    for (int s = 0; s < 8; ++s) {
      const V high = _mm512_slli_epi32(dword_bits(head[0], 16 + 2 * s, 2), 4);
      const V scale = _mm512_or_si512(dword_bits(head[1], 4 * s, 4), high);
      _mm512_store_si512(&panel.scale[s][at], _mm512_sub_epi32(scale, _mm512_set1_epi32(32)));
    }
    offset_as_min<kSub, kOffset>(panel, group);
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      V q[16];
      load_dwords(rows, 8 + 64 * half, q);
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) {
        const int step = 32 * half + 8 * (i / 4) + i % 4;
        store_step(panel, step, group, look_up<kOffset>(kIq4Values, nibbles(q[i])));
        store_step(panel, step + 4, group, look_up<kOffset>(kIq4Values, nibbles(_mm512_srli_epi32(q[i], 4))));
      }
    }
  }
};

}  // namespace
}  // namespace moxie::cpu
