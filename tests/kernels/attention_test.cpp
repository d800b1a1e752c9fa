// Attention of every fast set: against the reference, the same bits in any company, and safe with extreme scores.
#include <algorithm>
#include <memory>

#include "kernels/support.h"

namespace moxie::test {
namespace {

struct Case {
  int64_t length = 1;  // cached positions
  int64_t group = 1, k_dim = 16, v_dim = 16, window = 0;
  bool sinks = false;
  bool latent = false;  // values are the start of the keys
};

constexpr FormatId kFormats[] = {FormatId::f32, FormatId::f16, FormatId::bf16, FormatId::q8_0};

/// Keys and values of one sequence, which are put into pages of a format; what lies there after its end are bytes of
/// NaN, which nobody may touch. Queries are bf16 numbers, and so they stay when a power of two scales them.
class Sequence {
 public:
  Sequence(const Case& c, uint64_t seed) : case_(c) {
    k_ = normals(c.length * c.k_dim, seed);
    v_ = normals(c.length * c.v_dim, seed + 100);
    q_ = normals(c.length * c.group * c.k_dim, seed + 200);
    for (float& x : q_) x = bf16_to_f32(f32_to_bf16(x));
    sinks_ = normals(c.group, seed + 300);
  }

  float* key(int64_t position) { return k_.data() + position * case_.k_dim; }
  float* value(int64_t position) { return v_.data() + position * case_.v_dim; }
  float* query(int64_t position) { return q_.data() + position * case_.group * case_.k_dim; }

  /// Outputs [positions, group, v_dim] of the queries at consecutive `positions` [begin, end).
  std::vector<float> run(const KernelSet& set, FormatId format, int32_t begin, int32_t end, float scale = 0.25f) {
    const Pages keys = pages(key_part_bytes(format, case_.k_dim));
    const Pages values = pages(value_part_bytes(format, case_.v_dim));
    for (int64_t i = 0; i < case_.length; ++i) {
      const auto page = static_cast<size_t>(i / kKeyBlock);
      store_key(set, format, key(i), case_.k_dim, i % kKeyBlock, keys[page]->data());
      if (!case_.latent) store_value(set, format, value(i), case_.v_dim, i % kKeyBlock, values[page]->data());
    }
    const std::vector<const void*> k_pages = parts(keys), v_pages = parts(values);
    std::vector<int32_t> position;
    for (int32_t i = begin; i < end; ++i) position.push_back(i);
    std::vector<float> out(static_cast<size_t>((end - begin) * case_.group * case_.v_dim), -77);
    Scratch scratch(set.attention_scratch_bytes(case_.k_dim, case_.v_dim));
    set.attention({.q = query(begin),
                   .q_stride = case_.group * case_.k_dim,
                   .q_head_stride = case_.k_dim,
                   .position = position.data(),
                   .num_queries = end - begin,
                   .group = case_.group,
                   .k_dim = case_.k_dim,
                   .v_dim = case_.v_dim,
                   .format = format,
                   .k_pages = k_pages.data(),
                   .v_pages = case_.latent ? nullptr : v_pages.data(),
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
  using Pages = std::vector<std::unique_ptr<GuardedBytes>>;

  Pages pages(int64_t part_bytes) const {
    Pages pages;
    for (int64_t i = 0; i < case_.length; i += kKeyBlock) {
      pages.push_back(std::make_unique<GuardedBytes>(static_cast<size_t>(part_bytes) + 64));
      std::memset(pages.back()->data(), 0xff, pages.back()->size());
    }
    return pages;
  }
  static std::vector<const void*> parts(const Pages& pages) {
    std::vector<const void*> parts;
    for (const auto& page : pages) parts.push_back(page->data());
    return parts;
  }

  Case case_;
  std::vector<float> k_, v_, q_, sinks_;
};

const Case kCases[] = {
    {.length = 1},
    {.length = 5, .group = 1, .k_dim = 7, .v_dim = 3},
    {.length = 63, .group = 3, .k_dim = 24, .v_dim = 17},
    {.length = 64, .group = 2, .k_dim = 64, .v_dim = 64},
    {.length = 65, .group = 4, .k_dim = 80, .v_dim = 80, .sinks = true},
    {.length = 130, .group = 5, .k_dim = 33, .v_dim = 79},
    {.length = 90, .group = 9, .k_dim = 96, .v_dim = 40},
    {.length = 70, .group = 1, .k_dim = 192, .v_dim = 128, .window = 1},
    {.length = 210, .group = 7, .k_dim = 16, .v_dim = 31, .window = 40, .sinks = true},
    {.length = 140, .group = 8, .k_dim = 128, .v_dim = 128, .window = 70},
    {.length = 131, .group = 16, .k_dim = 40, .v_dim = 33, .latent = true},
    {.length = 70, .group = 3, .k_dim = 576, .v_dim = 512, .latent = true},
};

bool multiplies_pairs(const KernelSet& set, FormatId format) {
  return format == FormatId::bf16 && set.activation_format(FormatId::bf16) == FormatId::bf16;
}

TEST(Attention, agrees_with_the_reference) {
  for (const Case& c : kCases) {
    Sequence sequence(c, 3);
    for (const FormatId format : kFormats) {
      const std::vector<float> expected = sequence.run(ref(), format, 0, static_cast<int32_t>(c.length));
      for (const KernelSet* set : fast_sets()) {
        // Weights rounded to bf16 are off by at most 2^-9 of themselves, above and below the fraction. Else it is the
        // f32 sums of k_dim terms in the scores.
        const double in_f32 = 5e-6 * std::max(1.0, static_cast<double>(c.k_dim) / 192);
        const double bound = multiplies_pairs(*set, format) && !c.latent ? 0x1p-8 : in_f32;
        const std::vector<float> got = sequence.run(*set, format, 0, static_cast<int32_t>(c.length));
        for (size_t i = 0; i < got.size(); ++i) {
          ASSERT_NEAR(got[i], expected[i], bound * (1 + std::abs(expected[i])))
              << set->name << " " << format_name(format) << " length " << c.length << " at " << i;
        }
      }
    }
  }
}

// Rounding the keys moves a score by the format's half step times |q k|; rounding the values moves their mean by less
// than the largest half step.
TEST(Attention, of_a_rounded_cache_is_near_that_of_f32) {
  const Case c{.length = 150, .group = 4, .k_dim = 128, .v_dim = 128};
  Sequence sequence(c, 7);
  const float scale = 0.0625f;
  const std::vector<float> expected = sequence.run(ref(), FormatId::f32, 0, 150, scale);
  for (const auto& [format, bound] :
       {std::pair{FormatId::f16, 0.001}, {FormatId::bf16, 0.01}, {FormatId::q8_0, 0.03}}) {
    std::vector<const KernelSet*> sets = fast_sets();
    sets.push_back(&ref());
    for (const KernelSet* set : sets) {
      const std::vector<float> got = sequence.run(*set, format, 0, 150, scale);
      double squares = 0, worst = 0;
      for (size_t i = 0; i < got.size(); ++i) {
        const double off = std::abs(got[i] - expected[i]);
        squares += off * off;
        worst = std::max(worst, off);
      }
      EXPECT_LT(worst, bound) << set->name << " " << format_name(format);
      EXPECT_GT(squares, 0) << set->name << " " << format_name(format);  // it is rounded, after all
    }
  }
}

TEST(Attention, gives_a_query_the_same_bits_alone_and_in_any_chunk) {
  for (const KernelSet* set : fast_sets()) {
    for (const FormatId format : kFormats) {
      for (const Case& c : kCases) {
        Sequence sequence(c, 4);
        const auto length = static_cast<int32_t>(c.length);
        const std::vector<float> all = sequence.run(*set, format, 0, length);
        const int64_t row = c.group * c.v_dim;
        for (int32_t chunk : {1, 3, 64, 100}) {
          for (int32_t begin = 0; begin < length; begin += chunk) {
            const int32_t end = std::min(length, begin + chunk);
            const std::vector<float> part = sequence.run(*set, format, begin, end);
            ASSERT_EQ(std::memcmp(part.data(), all.data() + begin * row, part.size() * 4), 0)
                << set->name << " " << format_name(format) << " length " << length << " queries " << begin << ".."
                << end;
          }
        }
      }
    }
  }
}

TEST(Attention, sees_nothing_of_later_positions) {
  for (const KernelSet* set : fast_sets()) {
    for (const FormatId format : kFormats) {
      for (const bool latent : {false, true}) {
        const Case c{.length = 100, .group = 2, .k_dim = 20, .v_dim = 20, .latent = latent};
        Sequence whole(c, 5), cut(c, 5);
        for (int64_t i = 71; i < 100; ++i) {
          std::fill_n(cut.key(i), 20, NAN);
          std::fill_n(cut.value(i), 20, NAN);
        }
        const std::vector<float> a = whole.run(*set, format, 0, 71), b = cut.run(*set, format, 0, 71);
        EXPECT_EQ(std::memcmp(a.data(), b.data(), a.size() * 4), 0) << set->name << " " << format_name(format);
        // Nor do earlier queries when a later one, in the same call, sees them.
        const std::vector<float> all = cut.run(*set, format, 0, 100);
        EXPECT_EQ(std::memcmp(a.data(), all.data(), a.size() * 4), 0) << set->name << " " << format_name(format);
      }
    }
  }
}

TEST(Attention, survives_huge_and_infinite_scores) {
  for (const KernelSet* set : fast_sets()) {
    const Case c{.length = 140, .group = 1, .k_dim = 8, .v_dim = 8};
    Sequence sequence(c, 6);
    for (float& v : std::span(sequence.query(139), 8)) v = 3e18f;  // scores of about 1e19: one key takes all
    const std::vector<float> expected = sequence.run(ref(), FormatId::f32, 139, 140),
                             got = sequence.run(*set, FormatId::f32, 139, 140);
    for (size_t i = 0; i < 8; ++i) EXPECT_NEAR(got[i], expected[i], 5e-6) << set->name;
    // A score of -inf weighs nothing, also when the first block holds nothing else.
    std::fill_n(sequence.query(130), 8, 1.0f);
    for (int64_t i = 0; i < 70; ++i) {
      std::fill_n(sequence.key(i), 8, -INFINITY);
    }
    const std::vector<float> e2 = sequence.run(ref(), FormatId::f32, 130, 131),
                             g2 = sequence.run(*set, FormatId::f32, 130, 131);
    for (size_t i = 0; i < 8; ++i) {
      EXPECT_TRUE(std::isfinite(g2[i])) << set->name;
      EXPECT_NEAR(g2[i], e2[i], 5e-6) << set->name;
    }
    sequence.key(100)[0] = NAN;
    for (float v : sequence.run(*set, FormatId::f32, 130, 131)) EXPECT_TRUE(std::isnan(v)) << set->name;
  }
}

}  // namespace
}  // namespace moxie::test
