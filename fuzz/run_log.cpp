// libFuzzer: any bytes as a metrics.jsonl. Either a run comes out, whose summary, comparison and page can be made, or
// an Error{invalid}.
#include "report/run_log.h"

#include <cstdint>
#include <cstdlib>

#include "base/error.h"
#include "report/run_page.h"
#include "report/run_summary.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const moxie::RunLog log = moxie::parse_run_log({reinterpret_cast<const char*>(data), size}, "metrics.jsonl");
    const std::vector<moxie::RunLog> pair{log, log};
    moxie::to_json(pair);
    moxie::run_terminal(pair, true);
    if (moxie::run_page(pair).size() > 3'000'000 + 100 * size) std::abort();
  } catch (const moxie::Error& error) {
    if (error.code() != moxie::ErrorCode::invalid) std::abort();
  }
  return 0;
}
