// The avx2 probes.
#include "kernels/cpu/isa_avx2.h"
#include "kernels/cpu/probe_loops.h"

namespace moxie::cpu {
namespace {

/// The register of an integer product's sums, as run_chains wants it.
struct Int32Lanes {
  using F = __m256i;
  static F zero() { return _mm256_setzero_si256(); }
  static __m128 sum4(F a, F, F, F) { return _mm_castsi128_ps(_mm256_castsi256_si128(a)); }
};

}  // namespace

float pair_loop(int64_t turns) noexcept {
  __m256i a = _mm256_setzero_si256(), b = a, scale = a;
  asm volatile("" : "+x"(a), "+x"(b), "+x"(scale));
  return run_chains<Int32Lanes, 8>(turns, [&](__m256i sum) {
    __m256i pairs = _mm256_maddubs_epi16(a, b);
    asm volatile("" : "+x"(pairs));  // each chain its own
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, scale));
  });
}

constinit const Probes kAvx2Probes = make_probes<Avx2, 12>(kPairProbe);

}  // namespace moxie::cpu
