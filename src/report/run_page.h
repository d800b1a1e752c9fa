// The run page: one self-contained HTML file that shows one training run or several side by side, without a network.
// Its markup, style and scripts are the plain files run* in page/, built into the binary.
#pragma once

#include <string>
#include <vector>

#include "report/run_log.h"

namespace moxie {

constexpr size_t kMaxPageRuns = 8;  // as many as there are colours to tell them apart

/// The page, below 3 MB whatever the length of the runs: curves are thinned to a few hundred points, heat maps to a few
/// hundred columns. Charts and tables stand in the markup; only heat maps need scripts. Throws Error{usage} for no run
/// or more than kMaxPageRuns. Linear in the runs.
std::string run_page(const std::vector<RunLog>& logs);

}  // namespace moxie
