// The avx2 probes.
#include "kernels/cpu/isa_avx2.h"
#include "kernels/cpu/probe_loops.h"

namespace moxie::cpu {
float pair_loop(int64_t turns) noexcept {
  __m256i a = _mm256_setzero_si256(), b = a, scale = a;
  asm volatile("" : "+x"(a), "+x"(b), "+x"(scale));
  return run_chains<Avx2, 8>(turns, [&](__m256 sum) {  // of zeros, whatever their type
    __m256i pairs = _mm256_maddubs_epi16(a, b);
    asm volatile("" : "+x"(pairs));  // each chain its own
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(sum), _mm256_madd_epi16(pairs, scale)));
  });
}

constinit const Probes kAvx2Probes = make_probes<Avx2, 12>(kPairProbe);

}  // namespace moxie::cpu
