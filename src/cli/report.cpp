// moxie report: one training run or several side by side, as a table, as JSON, and as a page.
#include "base/error.h"
#include "base/file.h"
#include "cli/cli.h"
#include "report/run_page.h"
#include "report/run_summary.h"

namespace moxie::cli {
namespace {

struct ReportFlags {
  std::vector<std::string> runs;
  std::string html;
  bool as_json = false;
};

void report(const ReportFlags& flags) {
  if (!flags.html.empty() && flags.runs.size() > kMaxPageRuns) {
    throw make_error(ErrorCode::usage, "report: a page shows at most {} runs, not {}", kMaxPageRuns, flags.runs.size());
  }
  std::vector<RunLog> logs;
  for (const std::string& run : flags.runs) {
    logs.push_back(read_run_log(run));
    if (!logs.back().notice.empty()) say("note   " + logs.back().notice);
  }
  if (!flags.html.empty()) {
    AtomicFile page(flags.html);
    page.write(run_page(logs));
    page.commit();
    say(fmt::format("page   {}", flags.html));
  }
  if (flags.as_json) {
    print_json(to_json(logs));
  } else {
    fmt::print("{}", run_terminal(logs, colour_stdout()));
  }
}

}  // namespace

void add_report(CLI::App& app) {
  CLI::App* verb = app.add_subcommand("report", "Loss, balance and speed of one training run, or several side by side");
  auto flags = std::make_shared<ReportFlags>();
  verb->add_option("run", flags->runs, "Run directories, or their metrics.jsonl")->required();
  verb->add_option("--html", flags->html, "Write the run page, one self-contained file");
  verb->add_flag("--json", flags->as_json, "Print one JSON object");
  verb->callback([flags] { report(*flags); });
}

}  // namespace moxie::cli
