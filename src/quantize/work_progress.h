// What long work tells while it goes on.
#pragma once

#include <functional>
#include <string_view>

namespace moxie {

/// Hears now and then what is being done ("write", "check") and which share of that. What it throws ends the work.
using WorkProgress = std::function<void(std::string_view doing, double share)>;

}  // namespace moxie
