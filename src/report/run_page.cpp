#include "report/run_page.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "report/page_files.h"
#include "report/run_matrices.h"
#include "report/run_plots.h"
#include "report/run_summary.h"
#include "report/token_text.h"

namespace moxie {
namespace {

std::string shown(std::string_view text) {
  return escape_html(visible_text(text));
}

std::string key(size_t run) {
  return fmt::format("<i class=\"key run-{}\"></i>", run);
}

std::string number_cell(const std::string& text, bool alarm = false) {
  return fmt::format("<td class=\"number{}\">{}</td>", alarm ? " alarm" : "", text);
}

std::string header_cells(std::initializer_list<std::string_view> names) {
  std::string out;
  for (const std::string_view name : names) {
    out += fmt::format("<th scope=\"col\"{}>{}</th>", out.empty() ? "" : " class=\"number\"", name);
  }
  return "<thead><tr>" + out + "</tr></thead>";
}

std::string run_row(size_t index, const RunSummary& run, const RunFacts& facts) {
  const double vio = std::isfinite(run.max_vio_global) ? run.max_vio_global : run.max_vio;
  std::string kind = run.is_moe ? fmt::format("{} experts, top-{}", run.num_experts, run.top_k) : "dense";
  if (!run.family.empty()) kind = shown(run.family) + "<br><span class=\"muted\">" + kind + "</span>";
  const std::string steps =
      run.planned_steps > 0 ? fmt::format(" of {}", short_count(static_cast<double>(run.planned_steps))) : "";
  std::string out = fmt::format("<tr><th scope=\"row\">{}{}</th><td>{}</td>", key(index), shown(run.name), kind);
  out += number_cell(facts.parameters_total > 0 ? short_count(static_cast<double>(run.parameters_total)) : "–");
  out += number_cell(facts.parameters_active > 0 ? short_count(static_cast<double>(run.parameters_active)) : "–");
  out += number_cell(short_count(static_cast<double>(run.step)) + steps);
  out +=
      number_cell(short_count(run.tokens)) + number_cell(short_flops(run.flops)) + number_cell(short_time(run.seconds));
  out += number_cell(decimal(run.train_loss)) + number_cell("<b>" + decimal(run.eval_loss) + "</b>");
  out += number_cell(decimal(run.nats_per_byte));
  out += number_cell(decimal(vio), vio > 2) + number_cell(decimal(run.dead_experts, 0), run.dead_experts >= 0.5);
  return out + number_cell(short_count(run.tokens_per_second)) + number_cell(percent(run.mfu)) + "</tr>\n";
}

std::string runs_table(const std::vector<RunLog>& logs, const std::vector<RunSummary>& runs) {
  std::string rows;
  for (size_t i = 0; i < runs.size(); ++i) rows += run_row(i, runs[i], logs[i].facts);
  std::string head = header_cells({"Run", "Model", "Total", "Active", "Steps", "Tokens", "Compute", "Time",
                                   "Train loss", "Val. loss", "nats/byte", "MaxVio", "Dead", "Tokens/s", "MFU"});
  head.replace(head.find(" class=\"number\""), std::string_view(" class=\"number\"").size(), "");  // Model is words
  return "<div class=\"scroll-x\"><table class=\"table\"><caption class=\"unseen\">The runs</caption>" + head +
         "<tbody>" + rows + "</tbody></table></div>\n";
}

std::string alarms(const std::vector<RunSummary>& runs) {
  std::string red, calm;
  for (const RunSummary& run : runs) {
    for (size_t i = 0; i < run.warnings.size(); ++i) {
      (run.collapsed && i == 0 ? red : calm) += "<li>" + shown(run.warnings[i]) + "</li>";
    }
  }
  std::string out;
  if (!red.empty()) out += "<ul class=\"alarms\" id=\"collapses\" aria-label=\"Collapses\">" + red + "</ul>\n";
  if (!calm.empty()) out += "<ul class=\"warnings\" aria-label=\"Warnings\">" + calm + "</ul>\n";
  return out;
}

std::string figure_of(std::string_view name, const std::string& value, std::string_view note) {
  return fmt::format("<div><dt>{}</dt><dd>{} <small class=\"muted\">{}</small></dd></div>", name, value, note);
}

std::string comparisons(const std::vector<RunLog>& logs, const std::vector<RunSummary>& runs) {
  std::string out;
  for (const RunComparison& pair : compare(logs)) {
    const auto share = [](const std::optional<double>& ratio) {
      return ratio ? fmt::format("{:.0f}%", 100 * *ratio) : std::string("–");
    };
    const auto gap = [](const std::optional<double>& value) {
      return value ? fmt::format("{}{:.3f}", *value < 0 ? "−" : "+", std::abs(*value)) : std::string("–");
    };
    out += fmt::format(
        "<div class=\"card run-{}\"><h3>{}{} <span class=\"muted\">against</span> {}{}</h3><dl class=\"totals\">",
        pair.run, key(pair.run), shown(runs[pair.run].name), key(pair.baseline), shown(runs[pair.baseline].name));
    out += figure_of("Tokens to its final loss", share(pair.tokens_ratio), "of its tokens");
    out += figure_of("FLOPs to its final loss", share(pair.flops_ratio), "of its FLOPs");
    out += figure_of("Training time to its final loss", share(pair.seconds_ratio), "of its training time");
    out += figure_of("Loss at equal tokens", gap(pair.difference_at_equal_tokens), "nats");
    out += figure_of("Loss at equal FLOPs", gap(pair.difference_at_equal_flops), "nats");
    out += figure_of("Loss at equal training time", gap(pair.difference_at_equal_seconds), "nats");
    out += "</dl><p class=\"muted\">" + escape_html(comparison_sentence(pair, runs)) + "</p></div>\n";
  }
  return out.empty() ? out : "<div class=\"versus\"><h2>Side by side</h2>" + out + "</div>\n";
}

std::string settings(const RunLog& log, size_t run) {
  const RunFacts& facts = log.facts;
  std::string rows;
  const auto add = [&](std::string_view name, const std::string& value) {
    if (!value.empty() && value != "0") rows += fmt::format("<dt>{}</dt><dd>{}</dd>", shown(name), shown(value));
  };
  add("run", log.source);
  add("started", facts.started);
  add("moxie", facts.moxie);
  add("kernels", facts.kernels);
  add("precision", facts.precision);
  add("threads", std::to_string(facts.threads));
  add("layers", std::to_string(facts.num_layers));
  add("sequence length", std::to_string(facts.seq_len));
  add("tokens a step", std::to_string(facts.tokens_per_step));
  for (const auto& [name, value] : facts.balance) add("balance " + name, value);
  for (const auto& [name, value] : facts.router) add("router " + name, value);
  return fmt::format(
      "<details class=\"run-{}\"><summary>{}Settings of {}</summary><dl class=\"reading\">{}</dl></details>\n", run,
      key(run), shown(facts.name), rows);
}

/// The validation losses as a table: what the loss charts show, for who cannot see them. At most 40 rows a run.
std::string eval_table(const std::vector<RunLog>& logs, const std::vector<RunSummary>& runs) {
  std::string rows;
  for (size_t run = 0; run < logs.size(); ++run) {
    const std::vector<EvalLine>& evals = logs[run].evals;
    const size_t stride = (evals.size() + 39) / 40;
    for (size_t i = 0; i < evals.size(); ++i) {
      if (i % stride != 0 && i + 1 != evals.size()) continue;
      const EvalLine& eval = evals[i];
      rows += fmt::format("<tr class=\"run-{}\"><th scope=\"row\">{}{}</th>", run, key(run), shown(runs[run].name)) +
              number_cell(std::to_string(eval.step)) + number_cell(short_count(eval.tokens)) +
              number_cell(short_flops(eval.flops)) + number_cell(short_time(eval.seconds)) +
              number_cell(decimal(eval.loss, 4)) + number_cell(decimal(eval.nats_per_byte, 4)) +
              number_cell(decimal(eval.max_vio_global)) + "</tr>\n";
    }
  }
  if (rows.empty()) return {};
  return "<details><summary>Evaluations as a table</summary><div class=\"scroll-x\"><table class=\"table\">" +
         header_cells({"Run", "Step", "Tokens", "Compute", "Time", "Loss", "nats/byte", "MaxVio global"}) + "<tbody>" +
         rows + "</tbody></table></div></details>\n";
}

/// A block for each run that has panels of a kind.
std::string heats(const std::vector<RunSummary>& runs, const Panels& panels, std::string RunPanels::*markup,
                  std::string RunPanels::*note, std::string_view grid, const std::vector<std::string>& along) {
  std::string out;
  for (size_t run = 0; run < runs.size(); ++run) {
    if ((panels.runs[run].*markup).empty()) continue;
    const std::string& words = panels.runs[run].*note;
    out += fmt::format(
        "<div class=\"heats run-{}\"><h3>{}{} <span class=\"muted\">{}</span></h3><div class=\"panels "
        "{}\">{}</div>{}</div>\n",
        run, key(run), shown(runs[run].name), words, grid, panels.runs[run].*markup, along[run]);
  }
  return out;
}

std::string matrix_section(std::string_view id, std::string_view title, std::string_view note, std::string_view kind,
                           const std::string& blocks, const std::string& attribute = "") {
  if (blocks.empty()) return {};
  return fmt::format(
      "<section aria-labelledby=\"{0}\"><div class=\"title-row\"><h2 id=\"{0}\">{1}</h2><div class=\"legend\" "
      "data-kind=\"{2}\"{3}></div></div><p class=\"muted\">{4}</p>{5}</section>\n",
      id, title, kind, attribute, note, blocks);
}

/// Per layer of the last evaluation.
std::string layer_tables(const std::vector<RunLog>& logs, const std::vector<RunSummary>& runs) {
  std::string out;
  for (size_t run = 0; run < logs.size(); ++run) {
    if (logs[run].evals.empty() || logs[run].evals.back().layers.empty()) continue;
    std::string rows;
    const std::vector<EvalLayer>& layers = logs[run].evals.back().layers;
    for (size_t l = 0; l < layers.size(); ++l) {
      const double words = l < logs[run].vocabulary.size() ? logs[run].vocabulary[l] : NAN;
      rows += fmt::format("<tr><th scope=\"row\">{}</th>", layers[l].layer) +
              number_cell(decimal(layers[l].max_vio), layers[l].max_vio > 2) + number_cell(decimal(layers[l].entropy)) +
              number_cell(decimal(layers[l].dead, 0), layers[l].dead > 0) + number_cell(percent(layers[l].saturation)) +
              number_cell(percent(words)) + "</tr>\n";
    }
    out += fmt::format(
        "<details class=\"run-{}\"><summary>{}Layers of {} at the last evaluation</summary><div "
        "class=\"scroll-x\"><table "
        "class=\"table\">{}<tbody>{}</tbody></table></div></details>\n",
        run, key(run), shown(runs[run].name),
        header_cells({"Layer", "MaxVio", "Entropy", "Dead", "Saturation", "Vocabulary"}), rows);
  }
  return out;
}

std::string events(const std::vector<RunLog>& logs, const std::vector<RunSummary>& runs) {
  constexpr size_t kMost = 60;  // a run
  std::string rows;
  for (size_t run = 0; run < logs.size(); ++run) {
    const std::vector<EventLine>& list = logs[run].events;
    std::vector<const EventLine*> kept;
    for (const EventLine& event : list) {
      if (event.kind != "checkpoint") kept.push_back(&event);
    }
    const size_t checkpoints = list.size() - kept.size(), left_out = kept.size() - std::min(kept.size(), kMost);
    kept.resize(std::min(kept.size(), kMost));
    const auto row = [&](const std::string& step, std::string_view kind, const std::string& text) {
      rows += fmt::format(
          "<tr class=\"run-{}{}\"><th scope=\"row\">{}{}</th><td class=\"number\">{}</td><td>{}</td><td>{}</td></tr>\n",
          run, kind == "collapse" ? " collapse" : "", key(run), shown(runs[run].name), step, shown(kind), shown(text));
    };
    for (const EventLine* event : kept) row(std::to_string(event->step), event->kind, event->text);
    if (left_out > 0) row("", "…", fmt::format("{} more", left_out));
    if (checkpoints > 0) row("", "checkpoint", fmt::format("{} saved", checkpoints));
  }
  if (rows.empty()) return {};
  return "<section aria-labelledby=\"events\"><h2 id=\"events\">Events</h2><div class=\"scroll-x\"><table "
         "class=\"table\"><thead><tr><th "
         "scope=\"col\">Run</th><th scope=\"col\" class=\"number\">Step</th><th scope=\"col\">Kind</th><th "
         "scope=\"col\">Text</th></tr>"
         "</thead><tbody>" +
         rows + "</tbody></table></div></section>\n";
}

/// First and last step below the heat maps of each run.
std::vector<std::string> step_axes(const std::vector<RunLog>& logs) {
  std::vector<std::string> out;
  for (const RunLog& log : logs) {
    const std::vector<LoadColumn>& columns = log.load.columns;
    out.push_back(columns.empty() ? ""
                                  : fmt::format("<p class=\"along\"><span>Each map: step {} on the left to {} on the "
                                                "right, expert 0 at the top</span></p>",
                                                columns.front().first_step, columns.back().last_step));
  }
  return out;
}

std::string loads(const std::vector<RunLog>& logs, const std::vector<RunSummary>& runs, const Panels& panels) {
  return matrix_section("load", "Expert load over time",
                        "Colour: load over the mean of its layer. An even layer is blank; a collapse is loud.", "load",
                        heats(runs, panels, &RunPanels::load, &RunPanels::load_note, "", step_axes(logs)));
}

/// Names of the rows of the domain matrices of each run.
std::vector<std::string> domain_rows(const std::vector<RunLog>& logs) {
  std::vector<std::string> out;
  for (const RunLog& log : logs) {
    std::string names;
    for (size_t d = 0; !log.evals.empty() && d < log.evals.back().domains.size(); ++d) {
      names += (d == 0 ? "" : ", ") + log.evals.back().domains[d].name;
    }
    out.push_back(names.empty() ? "" : "<p class=\"along\"><span>Rows from the top: " + shown(names) + "</span></p>");
  }
  return out;
}

std::string specialisation(const std::vector<RunLog>& logs, const std::vector<RunSummary>& runs, const Panels& panels) {
  const std::vector<std::string> nothing(runs.size());
  return matrix_section("domains", "What experts specialise in",
                        "Rows: domains of the validation text. Columns: experts. Share of the domain's tokens that "
                        "visit the expert, less chance.",
                        "domains",
                        heats(runs, panels, &RunPanels::domains, &RunPanels::domains_note, "", domain_rows(logs)),
                        fmt::format(" data-most=\"{:.4g}\"", panels.most_domains)) +
         matrix_section(
             "pairs", "Experts that work together",
             "Of the tokens that visit one expert (row), the share that visits another (column) too, less chance.",
             "pairs", heats(runs, panels, &RunPanels::pairs, &RunPanels::pairs_note, "small", nothing),
             fmt::format(" data-most=\"{:.4g}\"", panels.most_pairs));
}

}  // namespace

std::string run_page(const std::vector<RunLog>& logs) {
  if (logs.empty() || logs.size() > kMaxPageRuns) {
    throw make_error(ErrorCode::usage, "a page shows 1 to {} runs, not {}", kMaxPageRuns, logs.size());
  }
  std::vector<RunSummary> runs;
  std::vector<std::string> names;
  std::string title, legend, details;
  for (size_t i = 0; i < logs.size(); ++i) {
    runs.push_back(summarize(logs[i]));
    names.push_back(runs.back().name);
    title += (title.empty() ? "" : " · ") + shown(names.back());
    legend +=
        fmt::format("<button type=\"button\" class=\"run-{0}\" data-run=\"{0}\" aria-pressed=\"true\">{1}{2}</button>",
                    i, key(i), shown(names.back()));
    details += settings(logs[i], i);
  }
  if (logs.size() > 3) title = fmt::format("{} training runs", logs.size());
  const Panels panels = make_panels(logs);
  const std::string subtitle =
      logs.size() == 1 ? shown(logs[0].facts.started) : fmt::format("{} runs side by side", logs.size());
  const std::string head = runs_table(logs, runs) + alarms(runs) + comparisons(logs, runs);
  std::string sections = loss_plots(logs, names);
  sections.insert(sections.rfind("</section>"), eval_table(logs, runs));
  sections += loads(logs, runs, panels) + balance_plots(logs, names);
  if (const size_t end = sections.rfind("</section>"); end != std::string::npos) {
    sections.insert(end, layer_tables(logs, runs));
  }
  sections += specialisation(logs, runs, panels) + step_plots(logs, names) + events(logs, runs);
  sections += "<section aria-labelledby=\"settings\"><h2 id=\"settings\">Settings</h2>" + details + "</section>\n";
  return build_page("run.html", {{"title", title},
                                 {"subtitle", subtitle},
                                 {"head", head},
                                 {"legend", legend},
                                 {"sections", sections},
                                 {"data", script_safe(panels.data.dump())}});
}

}  // namespace moxie
