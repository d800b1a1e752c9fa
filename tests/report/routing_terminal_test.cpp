// Routing as terminal text: its rows, its width, what it says it left out.
#include "report/routing_terminal.h"

#include <gtest/gtest.h>

#include <sstream>

#include "base/error.h"
#include "report/token_text.h"
#include "report/traces.h"

namespace moxie {
namespace {

using testing::make_texts;
using testing::make_trace;

std::string print(const RoutingTrace& trace, const TerminalOptions& options) {
  return routing_terminal(trace, summarize(trace), make_texts(trace), options);
}

/// The text without its colour sequences.
std::string plain(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\x1b') {
      i = text.find('m', i);
    } else {
      out += text[i];
    }
  }
  return out;
}

TEST(RoutingTerminal, names_the_strongest_expert_of_each_token_and_layer) {
  RoutingTrace trace;
  trace.token_ids = {1, 2};
  trace.layers.push_back({.layer = 1,
                          .num_experts = 16,
                          .top_k = 2,
                          .topk_ids = {3, 12, 7, 9},
                          .topk_weights = {0.4f, 0.6f, 0.7f, 0.3f},
                          .margin = {0.25f, 0.01f}});
  const std::string all = routing_terminal(trace, summarize(trace), {"ab", "c"}, {});
  EXPECT_NE(all.find("       ab c \n    L1 12 7 \n"), std::string::npos) << all;
  const std::string one = routing_terminal(trace, summarize(trace), {"ab", "c"}, {.layer = 1});
  EXPECT_NE(one.find("    #1 12:0.60 7:0.70 \n    #2 3:0.40  9:0.30 \nmargin 0.25    0.01   \n"), std::string::npos)
      << one;
}

TEST(RoutingTerminal, colour_adds_nothing_but_colour_to_the_tokens) {
  const RoutingTrace trace = make_trace(100, 4, 16, 2);
  const std::string without = print(trace, {}), with = print(trace, {.color = true});
  EXPECT_EQ(without.find('\x1b'), std::string::npos);
  EXPECT_NE(with.find("\x1b[48;5;"), std::string::npos);
  const size_t loads = without.find("load, layer by expert");
  EXPECT_EQ(plain(with).substr(0, loads), without.substr(0, loads));
}

TEST(RoutingTerminal, keeps_within_the_width_for_any_number_of_experts) {
  for (const int32_t experts : {4, 16, 64, 256, 512}) {
    for (const int width : {60, 80, 120}) {
      for (const bool color : {false, true}) {
        std::istringstream lines(
            plain(print(make_trace(300, 12, experts, 4), {.color = color, .width = width, .busiest = 2})));
        for (std::string line; std::getline(lines, line);) {
          const bool is_row = line.starts_with(" ") || line.starts_with("margin");  // sentences the terminal wraps
          if (!is_row) continue;
          EXPECT_LE(display_width(line), width) << line;
        }
      }
    }
  }
}

TEST(RoutingTerminal, prints_the_warnings_last) {
  RoutingTrace trace = make_trace(500, 1, 16, 2);
  for (int32_t& id : trace.layers[0].topk_ids) {
    if (id == 5) id = 6;
  }
  EXPECT_NE(print(trace, {}).find("\n! layer 0: expert 5 received no token\n"), std::string::npos);
}

TEST(RoutingTerminal, says_what_it_left_out) {
  const std::string text = print(make_trace(50, 12, 128, 2), {.max_tokens = 10});
  EXPECT_NE(text.find("(8 of 12 layers)"), std::string::npos);
  EXPECT_NE(text.find("and 40 more tokens"), std::string::npos);
  EXPECT_NE(text.find("2 experts a column"), std::string::npos);
}

TEST(RoutingTerminal, an_unknown_layer_is_a_usage_error) {
  try {
    print(make_trace(5, 2, 4, 1), {.layer = 2});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::usage);
  }
}

TEST(RoutingTerminal, empty_one_token_and_dropped_traces_print) {
  EXPECT_EQ(print({}, {}), "no MoE layer: a dense model routes nothing\n");
  EXPECT_EQ(print(make_trace(0, 2, 4, 1), {}), "no tokens\n");
  RoutingTrace one = make_trace(1, 2, 4, 2);
  one.layers[0].topk_ids = {-1, -1};
  EXPECT_NE(print(one, {}).find("    L0 - "), std::string::npos);
  EXPECT_NE(print(one, {.layer = 0}).find("    #1 - "), std::string::npos);
  EXPECT_NE(print(one, {}).find("layer 0: 100.0% of the assignments were dropped"), std::string::npos);
}

TEST(RoutingTerminal, no_token_can_move_the_cursor) {
  RoutingTrace trace = make_trace(3, 1, 4, 1);
  const std::string text =
      routing_terminal(trace, summarize(trace), {"\x1b[2J", "\r\b", std::string(500, 'x')}, {.width = 80});
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_EQ(text.find('\r'), std::string::npos);
  EXPECT_EQ(text.find(std::string(80, 'x')), std::string::npos);
}

}  // namespace
}  // namespace moxie
