// The avx512vnni probes.
#include "kernels/cpu/isa_avx512.h"
#include "kernels/cpu/probe_loops.h"

namespace moxie::cpu {
float vnni_loop(int64_t turns) noexcept {
  __m512i a = _mm512_setzero_si512(), b = _mm512_setzero_si512();
  asm volatile("" : "+v"(a), "+v"(b));
  return run_chains<Avx512, 24>(turns, [&](__m512 sum) {  // of zeros, whatever their type
    return _mm512_castsi512_ps(_mm512_dpbusd_epi32(_mm512_castps_si512(sum), a, b));
  });
}

constinit const Probes kAvx512VnniProbes = make_probes<Avx512, 24>(kVnniProbe);

}  // namespace moxie::cpu
