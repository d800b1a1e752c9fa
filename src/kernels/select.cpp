// Chooses the kernel set: what is compiled in, what this CPU can run, what the user forces.
#include <cstdlib>
#include <string>

#include "base/error.h"
#include "base/machine.h"
#include "kernels/cpu/sets.h"
#include "kernels/kernels.h"
#include "kernels/ref/ref.h"

namespace moxie {
namespace {

struct Candidate {
  const KernelSet* set;
  bool (*runs_on)(const CpuFeatures& cpu);
};

bool has_avx2(const CpuFeatures& cpu) {
  return cpu.avx2 && cpu.fma && cpu.f16c;
}

bool has_avx512(const CpuFeatures& cpu) {
  return has_avx2(cpu) && cpu.avx512f && cpu.avx512bw && cpu.avx512vl && cpu.avx512dq;
}

bool has_vnni(const CpuFeatures& cpu) {
  return has_avx512(cpu) && cpu.avx512_vnni;
}

const Candidate kCandidates[] = {
    {&ref::kSet, [](const CpuFeatures&) { return true; }},
    {&cpu::kAvx2Set, has_avx2},
    {&cpu::kAvx512Set, has_avx512},
    {&cpu::kAvx512VnniSet, has_vnni},
    {&cpu::kAvx512Bf16Set, [](const CpuFeatures& cpu) { return has_vnni(cpu) && cpu.avx512_bf16; }},
};

const KernelSet* const kSets[] = {&ref::kSet, &cpu::kAvx2Set, &cpu::kAvx512Set, &cpu::kAvx512VnniSet,
                                  &cpu::kAvx512Bf16Set};

}  // namespace

std::span<const KernelSet* const> all_kernel_sets() {
  return kSets;
}

bool runs_here(const KernelSet& set) {
  for (const Candidate& candidate : kCandidates) {
    if (candidate.set == &set) return candidate.runs_on(cpu_features());
  }
  return false;
}

const KernelSet* find_kernel_set(std::string_view name) {
  for (const KernelSet* set : kSets) {
    if (set->name == name) return set;
  }
  return nullptr;
}

const KernelSet& choose_kernel_set() {
  if (const char* forced = std::getenv("MOXIE_KERNELS"); forced != nullptr && *forced != '\0') {
    const KernelSet* set = find_kernel_set(forced);
    std::string known;
    for (const KernelSet* each : kSets) known += (known.empty() ? "" : ", ") + std::string(each->name);
    if (set == nullptr) throw make_error(ErrorCode::usage, "MOXIE_KERNELS={}: expected one of {}", forced, known);
    if (!runs_here(*set)) throw make_error(ErrorCode::usage, "MOXIE_KERNELS={}: this CPU cannot run it", forced);
    return *set;
  }
  const KernelSet* best = kSets[0];
  for (const KernelSet* set : kSets) {
    if (runs_here(*set)) best = set;
  }
  return *best;
}

}  // namespace moxie
