// Row codecs, norms, activations and helpers of every fast set against the scalar codecs and the reference set.
#include <algorithm>
#include <functional>

#include "kernels/support.h"

namespace moxie::test {
namespace {

const int64_t kLengths[] = {1, 2, 3, 5, 7, 8, 9, 11, 13, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97, 127, 128, 129, 511};

/// f(set, in, out) for floats that end where memory ends, n of them.
std::vector<float> run(const KernelSet& set, const std::vector<float>& in,
                       const std::function<void(const KernelSet&, const float*, float*)>& f) {
  const size_t bytes = in.size() * sizeof(float);
  GuardedBytes guarded_in(bytes), guarded_out(bytes);
  std::memcpy(guarded_in.data(), in.data(), bytes);
  f(set, guarded_in.floats(), guarded_out.floats());
  return {guarded_out.floats(), guarded_out.floats() + in.size()};
}

void expect_close(const KernelSet& set, const std::vector<float>& in, double relative, double absolute,
                  const std::function<void(const KernelSet&, const float*, float*)>& f) {
  const std::vector<float> got = run(set, in, f), expected = run(ref(), in, f);
  for (size_t i = 0; i < in.size(); ++i) {
    if (std::isnan(expected[i])) {
      ASSERT_TRUE(std::isnan(got[i])) << set.name << " at " << i << " of " << in.size() << ": " << in[i];
    } else if (std::isinf(expected[i])) {
      ASSERT_EQ(got[i], expected[i]) << set.name << " at " << i << ": " << in[i];
    } else {
      ASSERT_NEAR(got[i], expected[i], absolute + relative * std::abs(static_cast<double>(expected[i])))
          << set.name << " at " << i << " of " << in.size() << ": " << in[i];
    }
  }
}

TEST(Codecs, encode_bf16_as_the_scalar_codec_does_for_all_kinds_of_floats) {
  std::vector<float> values = {0.0f,      -0.0f,  1.0f,     INFINITY, -INFINITY, NAN,        -NAN,
                               0x1p-149f, 1e-39f, 0x1p126f, 3.4e38f,  -3.4e38f,  1.00390625f};
  for (uint32_t bits : {0x7f800001u, 0xff800001u, 0x7f80ffffu, 0x7f7fffffu, 0x3f808000u, 0x3f818000u, 0x3f807fffu}) {
    values.push_back(std::bit_cast<float>(bits));
  }
  Random random(1);
  for (int i = 0; i < 30000; ++i) values.push_back(std::bit_cast<float>(random.bits() << 1 ^ random.bits()));
  for (uint32_t bits : {0x33000000u, 0x33000001u, 0x387fe000u, 0x38800000u, 0x477fefffu, 0x477ff000u}) {  // f16's ends
    values.push_back(std::bit_cast<float>(bits));
  }
  for (const KernelSet* set : fast_sets()) {
    for (const FormatId format : {FormatId::bf16, FormatId::f16}) {
      size_t first = 0;
      for (size_t turn = 0; first < values.size(); ++turn) {
        const size_t n = std::min(values.size() - first, static_cast<size_t>(kLengths[turn % std::size(kLengths)]));
        GuardedBytes in(n * 4), out(n * 2);
        std::memcpy(in.data(), values.data() + first, n * 4);
        set->encode_row(format, in.floats(), static_cast<int64_t>(n), out.data());
        for (size_t i = 0; i < n; ++i) {
          const float value = values[first + i];
          uint16_t got;
          std::memcpy(&got, out.data() + 2 * i, 2);
          ASSERT_EQ(got, format == FormatId::f16 ? f32_to_f16(value) : f32_to_bf16(value))
              << set->name << " " << format_name(format) << " " << hex(value);
        }
        first += n;
      }
    }
  }
}

TEST(Codecs, decode_every_16_bit_pattern_exactly) {
  for (const KernelSet* set : fast_sets()) {
    for (FormatId format : {FormatId::bf16, FormatId::f16}) {
      GuardedBytes in(65536 * 2), out(65536 * 4);
      for (uint32_t i = 0; i < 65536; ++i) {
        const auto bits = static_cast<uint16_t>(i);
        std::memcpy(in.data() + 2 * i, &bits, 2);
      }
      set->decode_row(format, in.data(), nullptr, 65536, out.floats());
      for (uint32_t i = 0; i < 65536; ++i) {
        const auto bits = static_cast<uint16_t>(i);
        const float expected = format == FormatId::bf16 ? bf16_to_f32(bits) : f16_to_f32(bits);
        const float got = out.floats()[i];
        if (std::isnan(expected)) {  // the hardware makes a signalling f16 NaN quiet
          ASSERT_TRUE(std::isnan(got));
        } else {
          ASSERT_EQ(std::bit_cast<uint32_t>(got), std::bit_cast<uint32_t>(expected)) << set->name << " " << i;
        }
      }
    }
  }
}

TEST(Codecs, decode_rows_of_any_length_and_mxfp4_with_every_scale) {
  for (const KernelSet* set : fast_sets()) {
    Random random(2);
    for (int64_t n : kLengths) {
      for (FormatId format : {FormatId::f32, FormatId::bf16, FormatId::f16}) {
        GuardedBytes in(static_cast<size_t>(row_bytes(format, n))), out(static_cast<size_t>(n) * 4);
        for (size_t i = 0; i < in.size(); ++i) in.data()[i] = static_cast<char>(random.below(120));
        std::vector<float> expected(static_cast<size_t>(n));
        ref().decode_row(format, in.data(), nullptr, n, expected.data());
        set->decode_row(format, in.data(), nullptr, n, out.floats());
        ASSERT_EQ(std::memcmp(out.data(), expected.data(), out.size()), 0) << set->name;
      }
    }
    GuardedBytes in(256 * 16), scales(256), out(256 * 32 * 4);
    for (size_t i = 0; i < in.size(); ++i) in.data()[i] = static_cast<char>(random.bits());
    for (size_t i = 0; i < 256; ++i) scales.data()[i] = static_cast<char>(i);
    std::vector<float> expected(256 * 32);
    ref().decode_row(FormatId::mxfp4, in.data(), scales.data(), 256 * 32, expected.data());
    set->decode_row(FormatId::mxfp4, in.data(), scales.data(), 256 * 32, out.floats());
    for (size_t i = 0; i < expected.size(); ++i) {
      const float got = out.floats()[i];
      if (std::isnan(expected[i])) {
        ASSERT_TRUE(std::isnan(got));
      } else {
        ASSERT_EQ(std::bit_cast<uint32_t>(got), std::bit_cast<uint32_t>(expected[i])) << set->name << " " << i;
      }
    }
  }
}

TEST(Codecs, decode_every_e4m3_byte_and_rows_of_any_length_with_their_scales) {
  const auto value = [](uint8_t bits) {  // by the book
    const int exponent = bits >> 3 & 15, mantissa = bits & 7;
    const double size = exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
    return static_cast<float>((bits & 0x80) != 0 ? -size : size);
  };
  std::vector<const KernelSet*> sets = fast_sets();
  sets.push_back(&ref());
  for (const KernelSet* set : sets) {
    for (int64_t n : {1, 7, 8, 9, 16, 31, 127, 128, 129, 255, 256, 300}) {
      GuardedBytes in(static_cast<size_t>(n)), scales(static_cast<size_t>((n + 127) / 128 * 4)), out(in.size() * 4);
      for (size_t i = 0; i < scales.size() / 4; ++i) scales.floats()[i] = 0.37f + static_cast<float>(i);
      for (size_t first = 0; first < 256; first += 100) {
        for (size_t i = 0; i < in.size(); ++i) in.data()[i] = static_cast<char>(first + i);
        set->decode_row(FormatId::f8_e4m3, in.data(), scales.data(), n, out.floats());
        for (size_t i = 0; i < in.size(); ++i) {
          const auto bits = static_cast<uint8_t>(in.data()[i]);
          if ((bits & 0x7f) == 0x7f) {
            ASSERT_TRUE(std::isnan(out.floats()[i])) << set->name;
          } else {
            const float expected = value(bits) * scales.floats()[i / 128];
            ASSERT_EQ(hex(out.floats()[i]), hex(expected)) << set->name << " " << int{bits};
          }
        }
      }
    }
  }
}

TEST(Norms, agree_with_the_reference_and_work_in_place) {
  for (const KernelSet* set : fast_sets()) {
    for (int64_t n : kLengths) {
      const std::vector<float> x = normals(n, 1), weight = normals(n, 2), bias = normals(n, 3);
      const auto rms = [&](const KernelSet& s, const float* in, float* out) {
        s.rms_norm(in, weight.data(), 1e-5f, n, out);
      };
      const auto layer = [&](const KernelSet& s, const float* in, float* out) {
        s.layer_norm(in, weight.data(), bias.data(), 1e-5f, n, out);
      };
      expect_close(*set, x, 2e-6, 1e-6, rms);
      if (n > 2) expect_close(*set, x, 2e-6, 2e-6, layer);
      std::vector<float> in_place = x;
      set->rms_norm(in_place.data(), weight.data(), 1e-5f, n, in_place.data());
      EXPECT_EQ(in_place, run(*set, x, rms));
      in_place = x;
      set->layer_norm(in_place.data(), weight.data(), bias.data(), 1e-5f, n, in_place.data());
      EXPECT_EQ(in_place, run(*set, x, layer));
    }
  }
}

TEST(Rope, agrees_with_the_reference_in_both_pairings) {
  for (const KernelSet* set : fast_sets()) {
    for (bool interleaved : {false, true}) {
      for (int64_t dim : {2, 6, 16, 30, 32, 34, 64, 66, 128}) {
        std::vector<float> cos, sin;
        for (int64_t i = 0; i < dim / 2; ++i) {
          cos.push_back(std::cos(static_cast<float>(i)));
          sin.push_back(std::sin(static_cast<float>(i)));
        }
        expect_close(*set, normals(dim, 1), 0, 1e-6, [&](const KernelSet& s, const float* in, float* out) {
          std::copy_n(in, dim, out);
          s.rope(out, cos.data(), sin.data(), dim, interleaved);
        });
      }
    }
  }
}

TEST(Glu, agrees_with_the_reference_over_the_whole_range) {
  for (const KernelSet* set : fast_sets()) {
    for (GluKind kind : {GluKind::swiglu, GluKind::clamped_swiglu, GluKind::geglu}) {
      const GluArgs args{.kind = kind};
      for (int64_t n : kLengths) {
        const std::vector<float> up = normals(n, 7);
        expect_close(*set, normals(n, 6), 1e-6, 1e-30,
                     [&](const KernelSet& s, const float* in, float* out) { s.glu(args, in, up.data(), n, out); });
      }
      std::vector<float> wide;
      for (float v = -80; v <= 100; v += 0.0137f) wide.push_back(v);
      for (float v : {0.0f, -0.0f, 1e-30f, -1e-30f, 1e30f, NAN, INFINITY, -1e10f}) wide.push_back(v);
      const std::vector<float> ones(wide.size(), 1.0f);
      // geglu: exp's argument carries the rounding of a product of size 70, and 1 + tanh cancels in the reference.
      const bool geglu = kind == GluKind::geglu;
      expect_close(*set, wide, kind == GluKind::swiglu ? 5e-7 : 2e-5, geglu ? 1e-15 : 1e-30,
                   [&](const KernelSet& s, const float* in, float* out) {
                     s.glu(args, in, ones.data(), static_cast<int64_t>(wide.size()), out);
                   });
    }
  }
}

TEST(Softmax, agrees_with_the_reference_and_takes_minus_infinity) {
  for (const KernelSet* set : fast_sets()) {
    for (int64_t n : kLengths) {
      std::vector<float> x = normals(n, 5);
      for (float& v : x) v *= 10;
      if (n > 3) x[static_cast<size_t>(n / 2)] = -INFINITY;
      const auto softmax = [n](const KernelSet& s, const float* in, float* out) {
        std::copy_n(in, n, out);
        s.softmax(out, n);
      };
      expect_close(*set, x, 2e-6, 1e-37, softmax);
      const std::vector<float> y = run(*set, x, softmax);
      double total = 0;
      for (float v : y) total += v;
      EXPECT_NEAR(total, 1, 1e-5);
      if (n > 3) {
        EXPECT_EQ(y[static_cast<size_t>(n / 2)], 0);
      }
    }
  }
}

TEST(Vectors, scale_and_add_in_every_length) {
  for (const KernelSet* set : fast_sets()) {
    for (int64_t n : kLengths) {
      const std::vector<float> before = normals(n, 2);
      expect_close(*set, normals(n, 1), 1e-7, 0,
                   [&](const KernelSet& s, const float* in, float* out) { s.scale(in, 1.7f, n, out); });
      expect_close(*set, normals(n, 1), 1e-7, 1e-7, [&](const KernelSet& s, const float* in, float* out) {
        std::copy(before.begin(), before.end(), out);
        s.add_scaled(in, -0.3f, n, out);
      });
    }
  }
}

}  // namespace
}  // namespace moxie::test
