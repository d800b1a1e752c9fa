// The coloured matrices of the run page as bytes for its script to unpack and paint: load over time, domains by
// experts, pairs of experts. Not a file format: page and script are always of one build.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "report/run_log.h"

namespace moxie {

/// Everything a matrix panel needs: the data for the script, and the figures (markup with an empty canvas each) of one
/// run.
struct RunPanels {
  std::string load, domains, pairs;  // markup; empty: the run has none
  std::string load_note, domains_note, pairs_note;
};

struct Panels {
  std::vector<RunPanels> runs;
  double most_domains = 0, most_pairs = 0;  // what the loudest colour stands for, of all runs
  json::Value data;                         // {"panels": [...], "runs": [...]}
};

/// Panels of all runs within about 1.5 MB of base64 together: where the runs hold more, time gets fewer columns, then
/// every n-th layer is shown, and the note says so.
Panels make_panels(const std::vector<RunLog>& logs);

}  // namespace moxie
