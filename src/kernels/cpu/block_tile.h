// Some rows of int8 x at one panel of w (block_panel.h), sums in registers.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/activation.h"
#include "kernels/cpu/block_panel.h"

namespace moxie::cpu {
namespace {

inline constexpr int kBlockTileRows = 6;  // x 2 vectors of outputs: 12 integer sums and 12 of the blocks: 28 registers

/// Where a panel stands in k.
struct PanelTurn {
  const float* start;  // [32] what the sums start from: the bias or zeros; after the first panel null: from y
  __mmask16 mask[2];   // outputs that exist
};

/// kRows rows of x at one panel.
struct TileRows {
  const char* x[kBlockTileRows];  // their blocks of this panel
  const float* before[kBlockTileRows];
  float* y[kBlockTileRows];
};

inline V broadcast(const void* four_bytes) {
  int32_t value;
  std::memcpy(&value, four_bytes, 4);
  return _mm512_set1_epi32(value);
}

/// sum[r][g] += the products of kSteps steps, phase kPhase of a run; q[r]: the row's bytes. Tiles that take values
/// apart ask for later weights meanwhile, a line a vector: an ask that finds no buffer free is lost, hence so spread.
template <class Unpack, int kPhase, int kRows, int kSteps>
[[gnu::always_inline]] inline void multiply_steps(const BlockPanel& panel, int run, const char* const (&q)[kRows],
                                                  V (&sum)[kRows][2]) {
  const auto weights = [&](int s, int g) __attribute__((always_inline)) {
    if constexpr (Unpack::kInTile) {
      const int line = 2 * (kSteps * (Unpack::kPhases * run + kPhase) + s) + g;
      _mm_prefetch(panel.next + 64 * line, _MM_HINT_T0);
    }
    return Unpack::template weights<kPhase, kSteps>(panel, run, s, g);
  };
#pragma GCC unroll 8
  for (int s = 0; s < kSteps; ++s) {
    const V w0 = weights(s, 0), w1 = weights(s, 1);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const V x = broadcast(q[r] + 4 * s);
      sum[r][0] = _mm512_dpbusd_epi32(sum[r][0], w0, x);
      sum[r][1] = _mm512_dpbusd_epi32(sum[r][1], w1, x);
    }
  }
}

inline __m512 load_before(const PanelTurn& turn, const TileRows& rows, int r, int g) {
  return _mm512_maskz_loadu_ps(turn.mask[g], rows.before[r] + 16 * g);
}

inline void store_y(const PanelTurn& turn, const TileRows& rows, int r, int g, __m512 v) {
  _mm512_mask_storeu_ps(rows.y[r] + 16 * g, turn.mask[g], v);
}

// ---- super-blocks ----

/// What the mins of a super-block take from each row: sum over sub-blocks of min * (sum of x).
template <class Unpack, int kRows>
[[gnu::always_inline]] inline void min_sums(const BlockPanel& panel, const X8Block256* const (&x)[kRows],
                                            V (&mins)[kRows][2]) {
  constexpr int kPairs = 128 / Unpack::kSub;
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) mins[r][0] = mins[r][1] = _mm512_setzero_si512();
#pragma GCC unroll 8
  for (int p = 0; p < kPairs; ++p) {
    V min0 = _mm512_load_si512(&panel.min[p][0]), min1 = _mm512_load_si512(&panel.min[p][16]);
    asm("" : "+v"(min0), "+v"(min1));  // read once, not for each row
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const auto* sums = reinterpret_cast<const char*>(Unpack::kSub == 16 ? x[r]->sums : x[r]->double_sums);
      const V pair = broadcast(sums + 4 * p);
      mins[r][0] = _mm512_dpwssd_epi32(mins[r][0], min0, pair);
      mins[r][1] = _mm512_dpwssd_epi32(mins[r][1], min1, pair);
    }
  }
}

template <class Unpack, int kRows>
[[gnu::always_inline]] inline void super_block_tile(const BlockPanel& panel, const TileRows& rows,
                                                    const PanelTurn& turn) {
  static_assert(!Unpack::kMin || Unpack::kOffset == 0);  // panel.min holds the one or the other
  constexpr int kSubs = 256 / Unpack::kSub, kSteps = Unpack::kSub / 4;
  const X8Block256* x[kRows];
  V total[kRows][2];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    x[r] = reinterpret_cast<const X8Block256*>(rows.x[r]);
    total[r][0] = total[r][1] = _mm512_setzero_si512();
  }
  const auto add_sub = [&]<int kPhase>(int run) __attribute__((always_inline)) {
    const int sub = Unpack::sub(run, kPhase);
    V sum[kRows][2];
    const char* q[kRows];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      q[r] = reinterpret_cast<const char*>(x[r]->q) + Unpack::kSub * sub;
      sum[r][0] = sum[r][1] = _mm512_setzero_si512();
    }
    multiply_steps<Unpack, kPhase, kRows, kSteps>(panel, run, q, sum);
    const V scale0 = _mm512_load_si512(&panel.scale[sub][0]), scale1 = _mm512_load_si512(&panel.scale[sub][16]);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      total[r][0] = _mm512_add_epi32(total[r][0], _mm512_mullo_epi32(sum[r][0], scale0));
      total[r][1] = _mm512_add_epi32(total[r][1], _mm512_mullo_epi32(sum[r][1], scale1));
    }
  };
  for (int run = 0; run < kSubs / Unpack::kPhases; ++run) {
    add_sub.template operator()<0>(run);
    if constexpr (Unpack::kPhases > 1) add_sub.template operator()<1>(run);
    if constexpr (Unpack::kPhases > 2) {
      add_sub.template operator()<2>(run);
      add_sub.template operator()<3>(run);
    }
  }
  V mins[kRows][2];
  min_sums<Unpack>(panel, x, mins);
#pragma GCC unroll 2
  for (int g = 0; g < 2; ++g) {
    const __m512 d = _mm512_load_ps(&panel.d[0][16 * g]), m = _mm512_load_ps(&panel.m[0][16 * g]);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      __m512 sum;
      if constexpr (Unpack::kMin) {
        sum = _mm512_fmsub_ps(_mm512_cvtepi32_ps(total[r][g]), d, _mm512_mul_ps(_mm512_cvtepi32_ps(mins[r][g]), m));
      } else {  // kOffset, exact in integers
        sum = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(total[r][g], mins[r][g])), d);
      }
      const __m512 before = load_before(turn, rows, r, g);
      store_y(turn, rows, r, g, _mm512_fmadd_ps(sum, _mm512_set1_ps(x[r]->d), before));
    }
  }
}

// ---- blocks of 32 ----

template <class Unpack, int kRows>
[[gnu::always_inline]] inline void blocks_tile(const BlockPanel& panel, int count, const TileRows& rows,
                                               const PanelTurn& turn) {
  __m512 y[kRows][2];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    y[r][0] = load_before(turn, rows, r, 0);
    y[r][1] = load_before(turn, rows, r, 1);
  }
  for (int b = 0; b < count; ++b) {
    V sum[kRows][2];
    const char* q[kRows];
    const X8Block32* x[kRows];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      x[r] = reinterpret_cast<const X8Block32*>(rows.x[r]) + b;
      q[r] = reinterpret_cast<const char*>(x[r]->q);
      sum[r][0] = sum[r][1] = _mm512_mullo_epi32(broadcast(&x[r]->sum), _mm512_set1_epi32(-Unpack::kOffset));
    }
    multiply_steps<Unpack, 0, kRows, 8>(panel, b, q, sum);
    const __m512 d0 = _mm512_load_ps(&panel.d[b][0]), d1 = _mm512_load_ps(&panel.d[b][16]);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const __m512 dx = _mm512_set1_ps(x[r]->d);
      y[r][0] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[r][0]), _mm512_mul_ps(d0, dx), y[r][0]);
      y[r][1] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[r][1]), _mm512_mul_ps(d1, dx), y[r][1]);
      if constexpr (Unpack::kMin) {
        const __m512 s = _mm512_set1_ps(x[r]->d * static_cast<float>(x[r]->sum));
        y[r][0] = _mm512_fmadd_ps(_mm512_load_ps(&panel.m[b][0]), s, y[r][0]);
        y[r][1] = _mm512_fmadd_ps(_mm512_load_ps(&panel.m[b][16]), s, y[r][1]);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    store_y(turn, rows, r, 0, y[r][0]);
    store_y(turn, rows, r, 1, y[r][1]);
  }
}

}  // namespace
}  // namespace moxie::cpu
