// The avx512 probes.
#include "kernels/cpu/isa_avx512.h"
#include "kernels/cpu/probe_loops.h"

namespace moxie::cpu {

constinit const Probes kAvx512Probes = make_probes<Avx512, 24>(kPairProbe);

}  // namespace moxie::cpu
