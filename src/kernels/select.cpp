// Chooses the kernel set: what is compiled in, what this CPU can run, what the user forces.
#include <cstdlib>
#include <string>

#include "base/error.h"
#include "kernels/kernels.h"
#include "kernels/ref/ref.h"

namespace moxie {
namespace {

struct Candidate {
  const KernelSet* set;
  bool (*runs_here)();
};

const Candidate kCandidates[] = {
    {&ref::kSet, [] { return true; }},
};

const KernelSet* const kSets[] = {&ref::kSet};

}  // namespace

std::span<const KernelSet* const> all_kernel_sets() { return kSets; }

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
