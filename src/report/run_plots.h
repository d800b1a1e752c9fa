// Which curves of the runs are drawn against what: the chart sections of the run page, as markup.
#pragma once

#include <string>
#include <vector>

#include "report/run_log.h"

namespace moxie {

/// Loss against tokens, FLOPs and training time. `names`: of the runs, any bytes.
std::string loss_plots(const std::vector<RunLog>& logs, const std::vector<std::string>& names);

/// MaxVio, max over mean, entropy, dead experts, dropped and rerouted shares, saturation; empty if no run has experts.
std::string balance_plots(const std::vector<RunLog>& logs, const std::vector<std::string>& names);

/// Learning rate, gradient norm, losses of the router, tokens a second, MFU.
std::string step_plots(const std::vector<RunLog>& logs, const std::vector<std::string>& names);

}  // namespace moxie
