// Chooses the kernel set: what is compiled in, what this CPU can run, what the user forces.
#include <cpuid.h>

#include <cstdlib>
#include <string>

#include "base/error.h"
#include "kernels/cpu/sets.h"
#include "kernels/kernels.h"
#include "kernels/ref/ref.h"

namespace moxie {
namespace {

struct Candidate {
  const KernelSet* set;
  bool (*runs_here)();  // asks the CPU, and whether the operating system saves its registers
};

bool has_avx2() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  const bool f16c = __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
  return f16c && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

const Candidate kCandidates[] = {
    {&ref::kSet, [] { return true; }},
    {&cpu::kAvx2Set, has_avx2},
    {&cpu::kAvx512Set, has_avx512},
    {&cpu::kAvx512Bf16Set, [] { return has_avx512() && __builtin_cpu_supports("avx512bf16") != 0; }},
};

const KernelSet* const kSets[] = {&ref::kSet, &cpu::kAvx2Set, &cpu::kAvx512Set, &cpu::kAvx512Bf16Set};

}  // namespace

std::span<const KernelSet* const> all_kernel_sets() {
  return kSets;
}

bool runs_here(const KernelSet& set) {
  for (const Candidate& candidate : kCandidates) {
    if (candidate.set == &set) return candidate.runs_here();
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
