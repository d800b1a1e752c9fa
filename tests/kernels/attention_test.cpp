// Attention of every fast set: against the reference, the same bits in any company, and safe with extreme scores.
#include <algorithm>

#include "kernels/support.h"

namespace moxie::test {
namespace {

struct Case {
  int64_t length = 1;  // cached positions
  int64_t group = 1, k_dim = 16, v_dim = 16, window = 0;
  bool sinks = false;
};

/// Keys and values of one sequence in pages; the positions after its end hold NaN, which nobody may touch.
class Sequence {
 public:
  Sequence(const Case& c, uint64_t seed) : case_(c) {
    const int64_t pages = (c.length + kKeyBlock - 1) / kKeyBlock;
    for (int64_t p = 0; p < pages; ++p) {
      k_.push_back(normals(kKeyBlock * c.k_dim, seed + static_cast<uint64_t>(p)));
      v_.push_back(normals(kKeyBlock * (c.v_dim + 3), seed + 100 + static_cast<uint64_t>(p)));
    }
    for (int64_t i = c.length; i < pages * kKeyBlock; ++i) {
      std::fill_n(key(i), c.k_dim, NAN);
      std::fill_n(value(i), c.v_dim, NAN);
    }
    q_ = normals(c.length * c.group * c.k_dim, seed + 200);
    sinks_ = normals(c.group, seed + 300);
    for (int64_t p = 0; p < pages; ++p) {
      k_pages_.push_back(k_[static_cast<size_t>(p)].data());
      v_pages_.push_back(v_[static_cast<size_t>(p)].data());
    }
  }

  float* key(int64_t position) {
    return k_[static_cast<size_t>(position / kKeyBlock)].data() + position % kKeyBlock * case_.k_dim;
  }
  float* value(int64_t position) {
    return v_[static_cast<size_t>(position / kKeyBlock)].data() + position % kKeyBlock * (case_.v_dim + 3);
  }
  float* query(int64_t position) { return q_.data() + position * case_.group * case_.k_dim; }

  /// Outputs [positions, group, v_dim] of the queries at consecutive `positions` [begin, end).
  std::vector<float> run(const KernelSet& set, int32_t begin, int32_t end, float scale = 0.25f) {
    std::vector<int32_t> position;
    for (int32_t i = begin; i < end; ++i) position.push_back(i);
    std::vector<float> out(static_cast<size_t>((end - begin) * case_.group * case_.v_dim), -77);
    Scratch scratch(set.attention_scratch_bytes(end - begin, case_.group, case_.v_dim));
    set.attention({.q = query(begin),
                   .q_stride = case_.group * case_.k_dim,
                   .q_head_stride = case_.k_dim,
                   .position = position.data(),
                   .num_queries = end - begin,
                   .group = case_.group,
                   .k_dim = case_.k_dim,
                   .v_dim = case_.v_dim,
                   .k_pages = k_pages_.data(),
                   .v_pages = v_pages_.data(),
                   .k_row_stride = case_.k_dim,
                   .v_row_stride = case_.v_dim + 3,
                   .window = case_.window,
                   .scale = scale,
                   .sinks = case_.sinks ? sinks_.data() : nullptr,
                   .out = out.data(),
                   .out_stride = case_.group * case_.v_dim,
                   .out_head_stride = case_.v_dim,
                   .scratch = scratch.get()});
    return out;
  }

 private:
  Case case_;
  std::vector<std::vector<float>> k_, v_;
  std::vector<float> q_, sinks_;
  std::vector<const float*> k_pages_, v_pages_;
};

const Case kCases[] = {
    {.length = 1},
    {.length = 5, .group = 1, .k_dim = 7, .v_dim = 3},
    {.length = 63, .group = 3, .k_dim = 24, .v_dim = 17},
    {.length = 64, .group = 2, .k_dim = 64, .v_dim = 64},
    {.length = 65, .group = 4, .k_dim = 80, .v_dim = 80, .sinks = true},
    {.length = 130, .group = 5, .k_dim = 33, .v_dim = 79},
    {.length = 70, .group = 1, .k_dim = 192, .v_dim = 128, .window = 1},
    {.length = 210, .group = 7, .k_dim = 16, .v_dim = 31, .window = 40, .sinks = true},
    {.length = 140, .group = 8, .k_dim = 128, .v_dim = 128, .window = 70},
};

TEST(Attention, agrees_with_the_reference) {
  for (const Case& c : kCases) {
    Sequence sequence(c, 3);
    const std::vector<float> expected = sequence.run(ref(), 0, static_cast<int32_t>(c.length));
    for (const KernelSet* set : fast_sets()) {
      const std::vector<float> got = sequence.run(*set, 0, static_cast<int32_t>(c.length));
      for (size_t i = 0; i < got.size(); ++i) {
        ASSERT_NEAR(got[i], expected[i], 5e-6) << set->name << " length " << c.length << " at " << i;
      }
    }
  }
}

TEST(Attention, gives_a_query_the_same_bits_alone_and_in_any_chunk) {
  for (const KernelSet* set : fast_sets()) {
    for (const Case& c : kCases) {
      Sequence sequence(c, 4);
      const auto length = static_cast<int32_t>(c.length);
      const std::vector<float> all = sequence.run(*set, 0, length);
      const int64_t row = c.group * c.v_dim;
      for (int32_t chunk : {1, 3, 64, 100}) {
        for (int32_t begin = 0; begin < length; begin += chunk) {
          const int32_t end = std::min(length, begin + chunk);
          const std::vector<float> part = sequence.run(*set, begin, end);
          ASSERT_EQ(std::memcmp(part.data(), all.data() + begin * row, part.size() * 4), 0)
              << set->name << " length " << length << " queries " << begin << ".." << end;
        }
      }
    }
  }
}

TEST(Attention, sees_nothing_of_later_positions) {
  for (const KernelSet* set : fast_sets()) {
    const Case c{.length = 100, .group = 2, .k_dim = 20, .v_dim = 20};
    Sequence whole(c, 5), cut(c, 5);
    for (int64_t i = 71; i < 100; ++i) {
      std::fill_n(cut.key(i), 20, NAN);
      std::fill_n(cut.value(i), 20, NAN);
    }
    const std::vector<float> a = whole.run(*set, 0, 71), b = cut.run(*set, 0, 71);
    EXPECT_EQ(std::memcmp(a.data(), b.data(), a.size() * 4), 0) << set->name;
    // Nor do earlier queries when a later one, in the same call, sees them.
    const std::vector<float> all = cut.run(*set, 0, 100);
    EXPECT_EQ(std::memcmp(a.data(), all.data(), a.size() * 4), 0) << set->name;
  }
}

TEST(Attention, survives_huge_and_infinite_scores) {
  for (const KernelSet* set : fast_sets()) {
    const Case c{.length = 140, .group = 1, .k_dim = 8, .v_dim = 8};
    Sequence sequence(c, 6);
    for (float& v : std::span(sequence.query(139), 8)) v = 3e18f;  // scores of about 1e19: one key takes all
    const std::vector<float> expected = sequence.run(ref(), 139, 140), got = sequence.run(*set, 139, 140);
    for (size_t i = 0; i < 8; ++i) EXPECT_NEAR(got[i], expected[i], 5e-6) << set->name;
    // A score of -inf weighs nothing, also when the first block holds nothing else.
    std::fill_n(sequence.query(130), 8, 1.0f);
    for (int64_t i = 0; i < 70; ++i) {
      std::fill_n(sequence.key(i), 8, -INFINITY);
    }
    const std::vector<float> e2 = sequence.run(ref(), 130, 131), g2 = sequence.run(*set, 130, 131);
    for (size_t i = 0; i < 8; ++i) {
      EXPECT_TRUE(std::isfinite(g2[i])) << set->name;
      EXPECT_NEAR(g2[i], e2[i], 5e-6) << set->name;
    }
    sequence.key(100)[0] = NAN;
    for (float v : sequence.run(*set, 130, 131)) EXPECT_TRUE(std::isnan(v)) << set->name;
  }
}

}  // namespace
}  // namespace moxie::test
