// Attention of some queries of one KV head over its pages: online softmax over blocks of kKeyBlock positions.
//
// A row is one head of one query. Rows share loads of keys and values, never arithmetic: what a row gets depends on its
// own query, position and keys. A score sums its elements in order, lanes over positions; a block's weights are summed
// over its kKeyBlock slots in lane order; values are added position by position, lanes over v_dim. Where bf16 is
// multiplied in pairs, queries and weights (but those of a latent) are rounded to bf16, and sums go over pairs in
// order. Values of positions that a row does not see are not touched.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/cpu/kv_steps.h"
#include "kernels/cpu/sum_rows.h"
#include "kernels/cpu/vector_math.h"

namespace moxie::cpu {
namespace {

constexpr int64_t kAttentionRows = 48;  // rows that walk the pages together: their values and a page's keys fit into L2

inline int64_t clamp_to(int64_t v, int64_t lo, int64_t hi) {
  return v < lo ? lo : v > hi ? hi : v;
}

inline int64_t padded_dim(int64_t dim) {
  return (dim + 15) / 16 * 16;
}

/// Where things lie in the scratch of a call; a row's at row * stride.
struct AttentionRoom {
  int64_t query_stride, value_stride;
  int64_t page_stride;  // of page_values: no power of two, or its steps would share a few sets of L1
  float* queries;       // times the scale; or in bf16 pairs
  float* values;        // weighted sums so far
  float* weights;       // [kKeyBlock] scores, then weights, of the current block
  float* weight_pairs;  // [kKeyBlock / 2] as bf16 pairs
  float* key_scales;    // of the current page
  float* value_scales;
  float* page_keys;    // [k_dim][kKeyBlock] decoded
  float* page_values;  // [kKeyBlock][page_stride] decoded

  int64_t floats = 0;  // in all

  AttentionRoom(int64_t k_dim, int64_t v_dim, float* scratch)
      : query_stride(padded_dim(k_dim)), value_stride(padded_dim(v_dim)), page_stride(value_stride + 16) {
    const auto take = [&](int64_t count) {
      float* taken = scratch == nullptr ? nullptr : scratch + floats;
      floats += padded_dim(count);
      return taken;
    };
    queries = take(kAttentionRows * query_stride);
    values = take(kAttentionRows * value_stride);
    weights = take(kAttentionRows * kKeyBlock);
    weight_pairs = take(kAttentionRows * kKeyBlock / 2);
    key_scales = take(kv_scales(k_dim) * kKeyBlock);
    value_scales = take(kv_scales(v_dim) * kKeyBlock);
    page_keys = take(k_dim * kKeyBlock);
    page_values = take(page_stride * kKeyBlock);
  }
};

inline int64_t attention_scratch_bytes(int64_t k_dim, int64_t v_dim) noexcept {
  return AttentionRoom(k_dim, v_dim, nullptr).floats * static_cast<int64_t>(sizeof(float));
}

/// The state of one row.
struct AttentionRow {
  float* out;
  int64_t begin, end;  // visible positions
  int64_t lo, hi;      // of them, those in the current block, counted from its start
  float max, total;    // of the softmax so far
};

/// Turns the scores of the block into weights and scales what was summed before to the new maximum. With Pair, weights
/// are what their bf16 pairs hold.
template <class Isa, class Pair>
void update_softmax(AttentionRow& row, float* weights, float* pairs, float* values, int64_t v_dim) {
  using F = typename Isa::F;
  for (int64_t j = 0; j < row.lo; ++j) weights[j] = -__builtin_inff();
  for (int64_t j = row.hi; j < kKeyBlock; ++j) weights[j] = -__builtin_inff();
  F block_max = Isa::load(weights);
  for (int64_t j = Isa::kLanes; j < kKeyBlock; j += Isa::kLanes) {
    block_max = Isa::max(Isa::load(weights + j), block_max);
  }
  const float lane_max = Isa::max_lane(block_max);
  const float new_max = lane_max > row.max ? lane_max : row.max;
  const float shift = new_max == -__builtin_inff() ? 0.0f : new_max;  // all -inf so far: weights are 0, not NaN
  const auto weight = [&](int64_t j) { return exp<Isa>(Isa::sub(Isa::load(weights + j), Isa::set1(shift))); };
  F sum = Isa::zero();
  if constexpr (__is_same(Pair, void)) {
    for (int64_t j = 0; j < kKeyBlock; j += Isa::kLanes) {
      const F each = weight(j);
      Isa::store(weights + j, each);
      sum = Isa::add(sum, each);
    }
  } else {
    for (int64_t j = 0; j < kKeyBlock; j += 2 * Isa::kLanes) {
      float* to = pairs + j / 2;
      Isa::store(to, Pair::pair_within(weight(j), weight(j + Isa::kLanes)));
      sum = Isa::add(sum, Isa::add(Isa::load_bf16_half(to, 0), Isa::load_bf16_half(to, 1)));
    }
  }
  if (new_max != row.max) {
    const float factor = exp_scalar<Isa>(row.max - shift);
    row.total *= factor;
    for (int64_t d = 0; d < v_dim; d += Isa::kLanes) {
      Isa::store(values + d, Isa::mul(Isa::load(values + d), Isa::set1(factor)));
    }
    row.max = new_max;
  }
  row.total += sum_lanes<Isa>(sum);
}

/// Adds the values of the block: those that all of some rows see together, the ragged ends row by row; a row's order is
/// ascending all the same. add_range(row, num_rows, lo, hi) adds positions [lo, hi), cut where they are multiples of
/// `step` but for the ends of a row's own range.
template <class AddRange>
void add_values(const AttentionRow* rows, int64_t num_rows, int64_t tile, int64_t step, AddRange&& add_range) {
  for (int64_t first = 0; first < num_rows; first += tile) {
    const int64_t last = first + tile < num_rows ? first + tile : num_rows;
    int64_t lo = 0, hi = kKeyBlock;
    for (int64_t r = first; r < last; ++r) {
      lo = rows[r].lo > lo ? rows[r].lo : lo;
      hi = rows[r].hi < hi ? rows[r].hi : hi;
    }
    lo = (lo + step - 1) / step * step;
    hi = hi / step * step;
    if (lo > hi) lo = hi;
    for (int64_t r = first; r < last; ++r) {
      if (rows[r].lo < lo) add_range(r, 1, rows[r].lo, lo < rows[r].hi ? lo : rows[r].hi);
    }
    if (lo < hi) add_range(first, last - first, lo, hi);
    for (int64_t r = first; r < last; ++r) {
      if (hi < rows[r].hi) add_range(r, 1, hi > rows[r].lo ? hi : rows[r].lo, rows[r].hi);
    }
  }
}

/// One block for rows that all see some of it. Pair: how bf16 keys are multiplied; void: as f32.
template <class Isa, class Pair>
struct AttentionBlock {
  using Fma = FmaProduct<Isa>;
  const AttentionArgs& args;
  const AttentionRoom& room;
  AttentionRow* rows;
  int64_t first, num_rows, block;

  RowsOf<float> weights() const { return RowsOf<float>{room.weights, kKeyBlock}.from(first); }
  RowsOf<float> values() const { return RowsOf<float>{room.values, room.value_stride}.from(first); }
  static RowsOf<const float> constant(const RowsOf<float>& rows) { return {rows.data, rows.stride}; }

  /// Asks for what comes next while there is work on what came: the processor sees no pattern in pages.
  static void prefetch(const void* part, int64_t bytes) {
    for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(static_cast<const char*>(part) + i, 0, 2);
  }

  void score() const {
    int64_t lo = kKeyBlock, hi = 0;
    for (int64_t r = 0; r < num_rows; ++r) {
      lo = rows[r].lo < lo ? rows[r].lo : lo;
      hi = rows[r].hi > hi ? rows[r].hi : hi;
    }
    lo = lo / Isa::kLanes * Isa::kLanes;
    const RowsOf<const float> q = RowsOf<const float>{room.queries, room.query_stride}.from(first);
    const void* part = args.k_pages[block];
    if constexpr (!__is_same(Pair, void)) {
      const PairSteps<Isa> pairs{static_cast<const uint16_t*>(part), kKeyBlock};
      sum_rows<Pair>(q, pairs, 0, kv_pairs(args.k_dim), lo, hi, weights(), num_rows, false);
    } else {
      with_key_steps<Isa>(args.format, part, args.k_dim, room.key_scales, [&](const auto& keys) {
        if (num_rows <= kFewRows<Isa>) {
          return sum_few_rows<Fma>(q, keys, 0, args.k_dim, lo, hi, weights(), num_rows, false);
        }
        F32Steps<Isa> decoded{room.page_keys, kKeyBlock};
        if constexpr (__is_same(decltype(decoded), std::remove_cvref_t<decltype(keys)>)) {
          decoded = keys;
        } else {
          unpack_steps<Isa>(keys, 0, args.k_dim, lo, hi, room.page_keys, kKeyBlock);
        }
        sum_rows<Fma>(q, decoded, 0, args.k_dim, lo, hi, weights(), num_rows, false);
      });
    }
  }

  /// Values as f32, whatever they are.
  template <class Steps>
  void add_decoded(const Steps& steps) const {
    add_values(rows, num_rows, Isa::kOuterRows, 1, [&](int64_t row, int64_t count, int64_t lo, int64_t hi) {
      sum_rows<Fma>(constant(weights()).from(row), steps, lo, hi, 0, args.v_dim, values().from(row), count, true);
    });
  }

  void add_latent() const {
    with_key_steps<Isa>(args.format, args.k_pages[block], args.k_dim, room.key_scales, [&](const auto& keys) {
      transpose_keys<Isa>(keys, args.v_dim, room.page_values, room.page_stride);
    });
    add_decoded(F32Steps<Isa>{room.page_values, room.page_stride});
  }

  void add_f32() const {
    with_value_steps<Isa>(args.format, args.v_pages[block], args.v_dim, room.value_scales, [&](const auto& steps) {
      if constexpr (__is_same(std::remove_cvref_t<decltype(steps)>, F32Steps<Isa>)) {
        add_decoded(steps);
      } else if (num_rows <= kFewRows<Isa>) {
        add_values(rows, num_rows, kFewRows<Isa>, 1, [&](int64_t row, int64_t count, int64_t lo, int64_t hi) {
          sum_few_rows<Fma>(constant(weights()).from(row), steps, lo, hi, 0, args.v_dim, values().from(row), count,
                            true);
        });
      } else {
        unpack_steps<Isa>(steps, 0, kKeyBlock, 0, args.v_dim, room.page_values, room.page_stride);
        add_decoded(F32Steps<Isa>{room.page_values, room.page_stride});
      }
    });
  }

  void add_pairs() const {
    const PairSteps<Isa> pairs{static_cast<const uint16_t*>(args.v_pages[block]), args.v_dim};
    const RowsOf<const float> w = RowsOf<const float>{room.weight_pairs, kKeyBlock / 2}.from(first);
    add_values(rows, num_rows, Isa::kOuterRows, 2, [&](int64_t row, int64_t count, int64_t lo, int64_t hi) {
      const auto add = [&](const auto& steps, int64_t begin, int64_t end) {
        sum_rows<Pair>(w.from(row), steps, begin, end, 0, args.v_dim, values().from(row), count, true);
      };
      // of a pair that is seen by half, the other half may hold anything
      if (lo % 2 != 0) add(HalfPairSteps<Isa>{pairs, 1}, lo / 2, lo / 2 + 1);
      if ((lo + 1) / 2 < hi / 2) add(pairs, (lo + 1) / 2, hi / 2);
      if (hi % 2 != 0) add(HalfPairSteps<Isa>{pairs, 0}, hi / 2, hi / 2 + 1);
    });
  }

  template <class WeightPair>
  void weigh() const {
    for (int64_t r = 0; r < num_rows; ++r) {
      update_softmax<Isa, WeightPair>(rows[r], weights().from(r).data, room.weight_pairs + (first + r) * kKeyBlock / 2,
                                      values().from(r).data, args.v_dim);
    }
  }

  /// `more`: there is a next block.
  void attend(bool more) const {
    if (args.v_pages != nullptr) prefetch(args.v_pages[block], value_part_bytes(args.format, args.v_dim));
    score();
    if (more) prefetch(args.k_pages[block + 1], key_part_bytes(args.format, args.k_dim));
    if (args.v_pages == nullptr) {
      weigh<void>();
      return add_latent();
    }
    weigh<Pair>();
    if constexpr (!__is_same(Pair, void)) {
      add_pairs();
    } else {
      add_f32();
    }
  }
};

/// All blocks that the rows see.
template <class Isa, class Pair>
void attend_rows(const AttentionArgs& args, const AttentionRoom& room, AttentionRow* rows, int64_t num_rows) {
  // Positions ascend from row to row, and so do both ends of what a row sees: who sees a block stands together.
  const int64_t first_block = rows[0].begin / kKeyBlock;
  const int64_t num_blocks = (rows[num_rows - 1].end + kKeyBlock - 1) / kKeyBlock;
  for (int64_t block = first_block; block < num_blocks; ++block) {
    int64_t first = num_rows, last = 0;
    for (int64_t r = 0; r < num_rows; ++r) {
      rows[r].lo = clamp_to(rows[r].begin - block * kKeyBlock, 0, kKeyBlock);
      rows[r].hi = clamp_to(rows[r].end - block * kKeyBlock, 0, kKeyBlock);
      if (rows[r].lo >= rows[r].hi) continue;
      first = r < first ? r : first;
      last = r + 1;
    }
    if (first < last)
      AttentionBlock<Isa, Pair>{args, room, rows + first, first, last - first, block}.attend(block + 1 < num_blocks);
  }
}

template <class Isa, class Pair>
void start_row(const AttentionArgs& args, const AttentionRoom& room, int64_t index, int64_t r, AttentionRow& row) {
  const int64_t i = index / args.group, g = index % args.group;
  row.out = args.out + i * args.out_stride + g * args.out_head_stride;
  row.end = static_cast<int64_t>(args.position[i]) + 1;
  row.begin = args.window > 0 && row.end > args.window ? row.end - args.window : 0;
  row.max = args.sinks != nullptr ? args.sinks[g] : -__builtin_inff();
  row.total = args.sinks != nullptr ? 1.0f : 0.0f;
  const float* q = args.q + i * args.q_stride + g * args.q_head_stride;
  float* to = room.queries + r * room.query_stride;
  const auto scaled = [&](int64_t d) {
    const int64_t left = args.k_dim - d;
    if (left <= 0) return Isa::zero();
    return Isa::mul(left < Isa::kLanes ? Isa::load_part(q + d, left) : Isa::load(q + d), Isa::set1(args.scale));
  };
  if constexpr (__is_same(Pair, void)) {
    for (int64_t d = 0; d < args.k_dim; d += Isa::kLanes) Isa::store(to + d, scaled(d));
  } else {
    for (int64_t d = 0; d < args.k_dim; d += 2 * Isa::kLanes) {
      Isa::store(to + d / 2, Pair::pair_within(scaled(d), scaled(d + Isa::kLanes)));
    }
  }
  float* values = room.values + r * room.value_stride;
  for (int64_t d = 0; d < room.value_stride; d += Isa::kLanes) Isa::store(values + d, Isa::zero());
}

template <class Isa>
void finish_row(const AttentionRow& row, const float* values, int64_t v_dim) {
  const auto total = Isa::set1(row.total);
  int64_t d = 0;
  for (; d + Isa::kLanes <= v_dim; d += Isa::kLanes) Isa::store(row.out + d, Isa::div(Isa::load(values + d), total));
  if (d < v_dim) Isa::store_part(row.out + d, Isa::div(Isa::load(values + d), total), v_dim - d);
}

template <class Isa, class Pair>
void attention_of(const AttentionArgs& args) {
  const AttentionRoom room(args.k_dim, args.v_dim, static_cast<float*>(args.scratch));
  const int64_t total = args.num_queries * args.group;
  for (int64_t first = 0; first < total; first += kAttentionRows) {
    AttentionRow rows[kAttentionRows];
    const int64_t num_rows = total - first < kAttentionRows ? total - first : kAttentionRows;
    for (int64_t r = 0; r < num_rows; ++r) start_row<Isa, Pair>(args, room, first + r, r, rows[r]);
    attend_rows<Isa, Pair>(args, room, rows, num_rows);
    for (int64_t r = 0; r < num_rows; ++r) finish_row<Isa>(rows[r], room.values + r * room.value_stride, args.v_dim);
  }
}

/// Bf16Product: how bf16 pairs are multiplied; void where the set has no way to.
template <class Isa, class Bf16Product>
void attention(const AttentionArgs& args) noexcept {
  if constexpr (!__is_same(Bf16Product, void)) {
    if (args.format == FormatId::bf16) return attention_of<Isa, Bf16Product>(args);
  }
  attention_of<Isa, void>(args);
}

}  // namespace
}  // namespace moxie::cpu
