// moxie route: which experts each token of a text visits, on the terminal, as a trace file, and as a page.
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/model_flags.h"
#include "report/router_facts.h"
#include "report/routing_page.h"
#include "report/routing_summary.h"
#include "report/routing_terminal.h"
#include "spec/router_record.h"
#include "store/checkpoint_checks.h"
#include "store/routing_trace.h"

namespace moxie::cli {
namespace {

constexpr size_t kLargestText = size_t{64} << 20;

struct RouteFlags {
  ModelFlags model;
  std::string text, file, trace, html;
  std::optional<int> layer;
  bool as_json = false;
};

// Appends each step's routing to a trace.
class TraceSink : public RoutingSink {
 public:
  explicit TraceSink(const ModelSpec& spec) : index_(spec.layers.size(), -1) {
    for (size_t layer = 0; layer < spec.layers.size(); ++layer) {
      const MoeSpec& ffn = spec.layers[layer].ffn;
      if (ffn.is_dense()) continue;
      index_[layer] = static_cast<int>(trace.layers.size());
      trace.layers.push_back({.layer = static_cast<int>(layer),
                              .num_experts = static_cast<int32_t>(ffn.num_experts),
                              .top_k = static_cast<int32_t>(ffn.top_k)});
    }
  }

  void record(int64_t layer, const Routing& routing) override {
    LayerTrace& to = trace.layers[static_cast<size_t>(index_[static_cast<size_t>(layer)])];
    const int64_t pairs = routing.num_tokens * routing.top_k;
    to.topk_ids.insert(to.topk_ids.end(), routing.topk_ids, routing.topk_ids + pairs);
    to.topk_weights.insert(to.topk_weights.end(), routing.topk_weights, routing.topk_weights + pairs);
    to.margin.insert(to.margin.end(), routing.margin, routing.margin + routing.num_tokens);
  }

  RoutingTrace trace;

 private:
  std::vector<int> index_;  // of a model layer among the MoE layers
};

const MoeSpec& first_moe(const LoadedModel& loaded) {
  for (const LayerSpec& layer : loaded.spec().layers) {
    if (!layer.ffn.is_dense()) return layer.ffn;
  }
  throw invalid({.where = loaded.path().string(),
                 .expected = "a model with experts",
                 .got = fmt::format("a dense {}", loaded.spec().family),
                 .hint = "A dense model routes nothing."});
}

// Runs the text through the model; longer texts than the context go in windows of it.
RoutingTrace trace_text(LoadedModel& loaded, const std::vector<int32_t>& ids, const std::string& source) {
  TraceSink sink(loaded.spec());
  loaded.engine().set_routing_sink(&sink);
  loaded.engine().route_every_row(true);
  Progress progress;
  const auto total = static_cast<int64_t>(ids.size());
  for (int64_t begin = 0; begin < total; begin += loaded.model().max_context()) {
    const int64_t end = std::min(total, begin + loaded.model().max_context());
    Sequence sequence(loaded.engine(), std::vector<int32_t>(ids.begin() + begin, ids.begin() + end));
    loaded.engine().prefill(sequence);
    progress.show("route", static_cast<double>(end) / static_cast<double>(total));
  }
  loaded.engine().set_routing_sink(nullptr);
  sink.trace.token_ids = ids;
  sink.trace.metadata["model"] = loaded.path().string();
  sink.trace.metadata["model_hash"] = checkpoint_hash(loaded.model().checkpoint());
  sink.trace.metadata["router_record"] = router_record(first_moe(loaded)).dump();
  sink.trace.metadata["text_source"] = source;
  if (total > loaded.model().max_context()) {
    sink.trace.metadata["window"] = std::to_string(loaded.model().max_context());
    say(fmt::format("note   the text is longer than the context: it is routed in windows of {} tokens",
                    loaded.model().max_context()));
  }
  return std::move(sink.trace);
}

int terminal_width() {
  winsize size{};
  return ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 100;
}

void route(const RouteFlags& flags) {
  LoadedModel loaded(flags.model, {}, !flags.as_json);
  const MoeSpec& ffn = first_moe(loaded);
  const std::string text = flags.file.empty() ? flags.text : read_file(flags.file, kLargestText);
  const std::vector<int32_t> ids = loaded.tokenizer().encode(text);
  if (ids.empty()) throw make_error(ErrorCode::usage, "the text has no tokens that the model's vocabulary knows");
  const std::string source = flags.file.empty() ? "prompt" : flags.file;
  const RoutingTrace trace = trace_text(loaded, ids, source);
  std::vector<std::string> tokens;
  for (const int32_t id : ids) tokens.push_back(loaded.tokenizer().token_bytes(id));
  const RoutingSummary summary = summarize(trace);
  const std::string drawing =
      flags.as_json ? ""
                    : routing_terminal(trace, summary, tokens,
                                       {.color = colour_stdout(), .width = terminal_width(), .layer = flags.layer});

  if (!flags.trace.empty()) {
    write_routing_trace(flags.trace, trace);
    say(fmt::format("trace  {}", flags.trace));
  }
  if (!flags.html.empty()) {
    AtomicFile page(flags.html);
    page.write(routing_page(
        trace, tokens, {.model = loaded.path().filename().string(), .source = source, .router = router_facts(ffn)}));
    page.commit();
    say(fmt::format("page   {}", flags.html));
  }
  if (flags.as_json) {
    print_json(to_json(summary, tokens));
  } else {
    fmt::print("{}", drawing);
  }
}

}  // namespace

void add_route(CLI::App& app) {
  CLI::App* verb = app.add_subcommand("route", "Which experts each token of a text visits, and how firmly");
  auto flags = std::make_shared<RouteFlags>();
  flags->model.declare(*verb);
  CLI::Option* text = verb->add_option("text", flags->text, "Text to route");
  verb->add_option("-f,--file", flags->file, "Read the text from a file")->excludes(text);
  verb->add_option("--layer", flags->layer, "Show the experts of this layer under each token (default: all layers)");
  verb->add_option("--trace", flags->trace, "Write the routing trace (docs/ROUTING_TRACE.md)");
  verb->add_option("--html", flags->html, "Write the routing page, one self-contained file");
  verb->add_flag("--json", flags->as_json, "Print one JSON object");
  verb->callback([flags] {
    if (flags->text.empty() == flags->file.empty()) {
      throw make_error(ErrorCode::usage, "route: give a text, or -f FILE");
    }
    route(*flags);
  });
}

}  // namespace moxie::cli
