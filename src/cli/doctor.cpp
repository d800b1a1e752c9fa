// moxie doctor: what this machine offers and what moxie makes of it. Measures nothing; that is bench.
#include <fmt/format.h>

#include <cstdlib>
#include <optional>

#include "base/machine.h"
#include "cli/cli.h"
#include "kernels/kernels.h"

namespace moxie::cli {
namespace {

std::string gibibytes(std::optional<int64_t> bytes, const char* unknown) {
  return bytes ? fmt::format("{:.1f} GiB", static_cast<double>(*bytes) / (int64_t{1} << 30)) : unknown;
}

// Absent is null in JSON, never a made-up number.
template <typename T>
json::Value value_or_null(const std::optional<T>& value) {
  return value ? json::Value(*value) : json::Value();
}

std::string why_chosen(const KernelSet& chosen) {
  if (const char* forced = std::getenv("MOXIE_KERNELS"); forced != nullptr && *forced != '\0') {
    return fmt::format("forced by MOXIE_KERNELS={}", forced);
  }
  const auto sets = all_kernel_sets();
  return chosen.name == sets.back()->name ? "the fastest there is" : "the fastest that this CPU can run";
}

std::string threads_line(const Machine& machine) {
  const CgroupLimits& limits = machine.limits;
  return fmt::format("{}: {} of {} CPUs in the affinity mask, {}", usable_threads(machine.affinity_cpus, limits),
                     machine.affinity_cpus, machine.online_cpus,
                     limits.cpus ? fmt::format("cgroup quota of {:.2f} CPUs", *limits.cpus) : "no cgroup quota");
}

void print_report(const Machine& machine, const KernelSet& chosen) {
  std::string present, absent;
  for (const auto& [name, has] : machine.features.list()) {
    std::string& list = has ? present : absent;
    list += (list.empty() ? "" : " ") + std::string(name);
  }
  const auto line = [](const char* name, const std::string& text) { fmt::print("{:<11} {}\n", name, text); };
  line("moxie", std::string(moxie_version()));
  line("cpu", machine.cpu_brand.empty() ? "unknown" : machine.cpu_brand);
  line("features", present.empty() ? "none that kernels ask for" : present);
  if (!absent.empty()) line("", "absent: " + absent);
  line("kernels", fmt::format("{}, {}", chosen.name, why_chosen(chosen)));
  for (const KernelSet* set : all_kernel_sets()) {
    const bool here = runs_here(*set);
    fmt::print("{:<11} {} {:<11} {}{}\n", "", set == &chosen ? '*' : ' ', set->name, set->summary,
               here ? "" : " (cannot run here)");
  }
  line("threads", threads_line(machine));
  line("memory",
       fmt::format("{}, {} available, cgroup limit {}", gibibytes(machine.memory_bytes, "unknown"),
                   gibibytes(machine.available_bytes, "unknown"), gibibytes(machine.limits.memory_bytes, "none")));
  line("huge pages", machine.huge_pages.empty() ? "unknown" : "transparent: " + machine.huge_pages);
  line("mpi", "not built in: one process, no ranks");
  for (const auto& [name, version] : machine.versions) {
    if (name != "moxie") line(name.data(), version);
  }
}

json::Value to_json(const Machine& machine, const KernelSet& chosen) {
  json::Value features, sets, versions;
  for (const auto& [name, has] : machine.features.list()) features.set(std::string(name), has);
  for (const KernelSet* set : all_kernel_sets()) {
    json::Value entry;
    entry.set("name", set->name).set("summary", set->summary).set("runs_here", runs_here(*set));
    sets.push(std::move(entry));
  }
  for (const auto& [name, version] : machine.versions) versions.set(std::string(name), version);

  json::Value cpu, kernels, threads, memory, report;
  cpu.set("brand", machine.cpu_brand).set("features", std::move(features));
  kernels.set("chosen", chosen.name).set("why", why_chosen(chosen)).set("sets", std::move(sets));
  threads.set("usable", usable_threads(machine.affinity_cpus, machine.limits))
      .set("affinity_cpus", machine.affinity_cpus)
      .set("online_cpus", machine.online_cpus)
      .set("quota_cpus", value_or_null(machine.limits.cpus));
  memory.set("physical_bytes", value_or_null(machine.memory_bytes))
      .set("available_bytes", value_or_null(machine.available_bytes))
      .set("limit_bytes", value_or_null(machine.limits.memory_bytes));
  report.set("schema_version", 1)
      .set("cpu", std::move(cpu))
      .set("kernels", std::move(kernels))
      .set("threads", std::move(threads))
      .set("memory", std::move(memory))
      .set("huge_pages", machine.huge_pages)
      .set("mpi", false)
      .set("versions", std::move(versions));
  return report;
}

}  // namespace

void add_doctor(CLI::App& app) {
  CLI::App* verb = app.add_subcommand("doctor", "CPU features, kernel set, threads, memory, versions of this machine");
  auto as_json = std::make_shared<bool>(false);
  verb->add_flag("--json", *as_json, "Print one JSON object");
  verb->callback([as_json] {
    const Machine machine = probe_machine();
    const KernelSet& chosen = choose_kernel_set();
    if (*as_json) {
      print_json(to_json(machine, chosen));
    } else {
      print_report(machine, chosen);
    }
  });
}

}  // namespace moxie::cli
