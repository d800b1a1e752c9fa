// How the codebook formats of 2 and 3 bits become a panel (block_panel.h): a row's magnitudes are looked up one entry
// after the other, its signs applied 64 at a time; then 16 rows are transposed as those of other formats.
#pragma once

#include "format/codebooks.h"
#include "kernels/cpu/block_unpack.h"

namespace moxie::cpu {
namespace {

/// One super-block of one row, without d.
struct alignas(64) GridRow {
  uint8_t magnitude[256];
  uint64_t signs[4];  // bit i % 64 of word i / 64: element i is negative
  int32_t scale[16];  // of a sub-block, odd
};

/// Entry `index` of eight or four elements, the index-th of its size in the row.
template <class Entry>
void put_entry(GridRow& row, int index, Entry entry) {
  std::memcpy(row.magnitude + sizeof(Entry) * static_cast<size_t>(index), &entry, sizeof(Entry));
}

/// The eight signs of elements 8 group ..
inline void put_signs(GridRow& row, int group, uint8_t signs) {
  std::memcpy(reinterpret_cast<char*>(row.signs) + group, &signs, 1);
}

inline int32_t odd_scale(uint32_t nibble) {
  return static_cast<int32_t>(2 * (nibble & 15) + 1);
}

struct Iq2Xxs {
  static constexpr int kSub = 32;
  static constexpr float kUnit = 0.125f;
  static void read(const uint8_t* block, GridRow& row) {
    for (int s = 0; s < 8; ++s) {
      const uint8_t* entries = block + 2 + 8 * s;
      const auto packed = load_as<uint32_t>(entries + 4);
      row.scale[s] = odd_scale(packed >> 28);
      for (int k = 0; k < 4; ++k) {
        put_entry(row, 4 * s + k, kIq2XxsGrid[entries[k]]);
        put_signs(row, 4 * s + k, even_signs(packed >> 7 * k & 127));
      }
    }
  }
};

struct Iq2Xs {
  static constexpr int kSub = 16;
  static constexpr float kUnit = 0.125f;
  static void read(const uint8_t* block, GridRow& row) {
    for (int s = 0; s < 16; ++s) row.scale[s] = odd_scale(static_cast<uint32_t>(block[66 + s / 2]) >> 4 * (s % 2));
    for (int group = 0; group < 32; ++group) {
      const uint32_t packed = load_as<uint16_t>(block + 2 + 2 * group);
      put_entry(row, group, kIq2XsGrid[packed & 511]);
      put_signs(row, group, even_signs(packed >> 9));
    }
  }
};

struct Iq2S {
  static constexpr int kSub = 16;
  static constexpr float kUnit = 0.125f;
  static void read(const uint8_t* block, GridRow& row) {
    const uint8_t *low = block + 2, *high = block + 66, *scales = block + 74;
    std::memcpy(row.signs, block + 34, 32);
    for (int s = 0; s < 16; ++s) row.scale[s] = odd_scale(static_cast<uint32_t>(scales[s / 2]) >> 4 * (s % 2));
    for (int group = 0; group < 32; ++group) {
      put_entry(row, group, kIq2SGrid[low[group] | (high[group / 4] >> 2 * (group % 4) & 3u) << 8]);
    }
  }
};

struct Iq3Xxs {
  static constexpr int kSub = 32;
  static constexpr float kUnit = 0.25f;
  static void read(const uint8_t* block, GridRow& row) {
    for (int s = 0; s < 8; ++s) {
      const auto packed = load_as<uint32_t>(block + 66 + 4 * s);
      row.scale[s] = odd_scale(packed >> 28);
      for (int k = 0; k < 4; ++k) put_signs(row, 4 * s + k, even_signs(packed >> 7 * k & 127));
    }
    for (int k = 0; k < 64; ++k) put_entry(row, k, kIq3XxsGrid[block[2 + k]]);
  }
};

struct Iq3S {
  static constexpr int kSub = 32;
  static constexpr float kUnit = 1.0f;
  static void read(const uint8_t* block, GridRow& row) {
    const uint8_t *low = block + 2, *high = block + 66, *scales = block + 106;
    std::memcpy(row.signs, block + 74, 32);
    for (int s = 0; s < 8; ++s) row.scale[s] = odd_scale(static_cast<uint32_t>(scales[s / 2]) >> 4 * (s % 2));
    for (int k = 0; k < 64; ++k) put_entry(row, k, kIq3SGrid[low[k] | (high[k / 8] >> k % 8 & 1u) << 8]);
  }
};

template <class Format>
struct UnpackGrid : UnpackedPanel {
  static constexpr int kBlockElems = 256, kSub = Format::kSub, kOffset = 128;
  static constexpr bool kMin = false, kCanPack = false;
  static void group(const PlainRows& rows, int, BlockPanel& panel, int group) {
    const int at = kGroupRows * group;
    const __m512 d = low_halves(dwords_at(rows, 0));
    _mm512_store_ps(&panel.d[0][at], _mm512_mul_ps(d, _mm512_set1_ps(Format::kUnit)));
    GridRow row[kGroupRows];
    for (int r = 0; r < kGroupRows; ++r) {
      Format::read(reinterpret_cast<const uint8_t*>(rows.row(r)), row[r]);
      for (int s = 0; s < 256 / kSub; ++s) panel.scale[s][at + r] = row[r].scale[s];
    }
    offset_as_min<kSub, kOffset>(panel, group);
    const V offset = _mm512_set1_epi8(static_cast<char>(kOffset));
    for (int part = 0; part < 4; ++part) {
      V v[16];
#pragma GCC unroll 16
      for (int r = 0; r < kGroupRows; ++r) {
        const V plus = _mm512_load_si512(row[r].magnitude + 64 * part);
        v[r] = _mm512_mask_sub_epi8(_mm512_add_epi8(offset, plus), row[r].signs[part], offset, plus);
      }
      transpose(v);
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) store_step(panel, 16 * part + i, group, v[i]);
    }
  }
};

}  // namespace
}  // namespace moxie::cpu
