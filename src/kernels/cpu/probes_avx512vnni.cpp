// The avx512vnni probes.
#include "kernels/cpu/isa_avx512.h"
#include "kernels/cpu/probe_loops.h"

namespace moxie::cpu {
namespace {

/// The register of an int8 product's sums, as run_chains wants it.
struct Int32Lanes {
  using F = __m512i;
  static F zero() { return _mm512_setzero_si512(); }
  static __m128 sum4(F a, F, F, F) { return _mm_castsi128_ps(_mm512_castsi512_si128(a)); }
};

}  // namespace

float vnni_loop(int64_t turns) noexcept {
  __m512i a = _mm512_setzero_si512(), b = _mm512_setzero_si512();
  asm volatile("" : "+v"(a), "+v"(b));
  return run_chains<Int32Lanes, 24>(turns, [&](__m512i sum) { return _mm512_dpbusd_epi32(sum, a, b); });
}

constinit const Probes kAvx512VnniProbes = make_probes<Avx512, 24>(kVnniProbe);

}  // namespace moxie::cpu
