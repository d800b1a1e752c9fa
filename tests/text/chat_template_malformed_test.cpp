// Templates and messages that are wrong or hostile: each ends in an error with line and column, soon.
#include <gtest/gtest.h>

#include "base/error.h"
#include "text/chat_template.h"

namespace moxie {
namespace {

const json::Value kEmpty{json::Object{}};

// Less than the default, so that the tests of the limits end soon.
const RenderLimits kLimits{.steps = 1'000'000, .text_bytes = size_t{4} << 20};

std::string render(const std::string& source, const json::Value& context = kEmpty,
                   const RenderLimits& limits = kLimits) {
  return joined(ChatTemplate::parse(source, "t.jinja").render(context, limits));
}

std::string error_of(const std::string& source, const json::Value& context = kEmpty) {
  try {
    return "no error, but: " + render(source, context).substr(0, 200);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid);
    return error.text();
  }
}

std::string times(const std::string& text, size_t count) {
  std::string result;
  for (size_t i = 0; i < count; ++i) result += text;
  return result;
}

void expect_error(const std::string& source, const std::string& part) {
  const std::string error = error_of(source);
  EXPECT_NE(error.find("t.jinja: line "), std::string::npos) << error;
  EXPECT_NE(error.find(part), std::string::npos) << error;
}

// J1
TEST(ChatTemplateMalformed, a_syntax_error_names_line_and_column) {
  EXPECT_EQ(error_of("a\n{{ b }}\n  {% if %}"),
            "t.jinja: line 3, column 9: expected an expression, got the end of the tag");
  EXPECT_EQ(error_of("{{ 1 +* 2 }}").substr(0, 26), "t.jinja: line 1, column 7:");
  EXPECT_EQ(error_of("x {{ 'abc }}"), "t.jinja: line 1, column 6: this string has no end");
  EXPECT_EQ(error_of("{% for x in y %}\n{% endif %}").substr(0, 26), "t.jinja: line 2, column 4:");
  expect_error("{{ x | nosuch }}", "there is no filter 'nosuch'");
  expect_error("{{ '\\ud800' }}", "not a code point");
  EXPECT_NE(error_of("{{ '\xff' }}").find("UTF-8"), std::string::npos);
}

TEST(ChatTemplateMalformed, a_run_time_error_names_line_and_column) {
  EXPECT_EQ(error_of("\n\n  {{ missing.x }}"), "t.jinja: line 3, column 14: 'missing' is undefined");
}

// J2
TEST(ChatTemplateMalformed, deep_nesting_is_an_error) {
  constexpr size_t kDeep = 100000;
  for (const auto& [open, close] : std::initializer_list<std::pair<const char*, const char*>>{{"(", ")"},
                                                                                              {"[", "]"},
                                                                                              {"{1:", "}"},
                                                                                              {"not ", ""},
                                                                                              {"-", ""},
                                                                                              {"a(", ")"},
                                                                                              {"a[", "]"},
                                                                                              {"a if b else ", ""},
                                                                                              {"a|default(", ")"}}) {
    expect_error("{{ " + times(open, kDeep) + "a" + times(close, kDeep) + " }}", "nested");
  }
  for (const char* tag :
       {"{% if a %}", "{% for a in b %}", "{% set a %}", "{% macro a() %}", "{% with %}", "{% filter trim %}"}) {
    expect_error(times(tag, kDeep), "nested");
  }
  for (const char* chain : {"+a", ".a", "|trim", "**a", "[0]", "()", " or a", " and a", "-a", "%a"}) {
    expect_error("{{ a" + times(chain, kDeep) + " }}", "nested");
  }
}

TEST(ChatTemplateMalformed, long_flat_templates_are_fine) {
  EXPECT_EQ(render(times("{{ 1 }}", 100000)), times("1", 100000));
  EXPECT_EQ(render("{{ 1" + times("~1", 10000) + " }}"), times("1", 10001));
  EXPECT_EQ(render("{% if 0 %}" + times("{% elif 0 %}", 10000) + "{% else %}x{% endif %}"), "x");
  EXPECT_EQ(render("{{ [" + times("1,", 100000) + "]|length }}"), "100000");
}

// J3
TEST(ChatTemplateMalformed, endless_recursion_is_an_error) {
  expect_error("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "calls itself too deeply");
  expect_error("{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}{{ f() }}{% endmacro %}{{ f() }}", "too deeply");
  expect_error("{% macro f(x=f()) %}{% endmacro %}{{ f() }}", "too deeply");
  expect_error("{% macro f() %}{% call f() %}{{ caller() }}{% endcall %}{% endmacro %}{{ f() }}", "too deeply");
  expect_error("{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}", "steps");
}

// J4
TEST(ChatTemplateMalformed, endless_loops_run_out_of_steps) {
  expect_error("{{ range(10**9) | list }}", "at most 100000");
  const std::string loop = "{% for i in range(1000) %}";
  expect_error(times(loop, 3) + times("{% endfor %}", 3), "limit of steps");
  EXPECT_THROW(render(times(loop, 3) + times("{% endfor %}", 3), kEmpty, {}), Error);  // with the default limits
  expect_error("{% for i in range(100000) %}{{ range(100000)|sum }}{% endfor %}", "limit of steps");
}

// J5
TEST(ChatTemplateMalformed, growth_stops_at_the_limit_of_bytes_or_steps) {
  const auto grow = [](const std::string& first, const std::string& next) {
    return "{% set ns = namespace(x=" + first + ") %}{% for i in range(999) %}{% set ns.x = " + next +
           " %}{% endfor %}";
  };
  expect_error("{{ 'ab' * 10**9 }}", "limit");
  expect_error("{{ [0] * 10**9 }}", "limit");
  expect_error(grow("'ab'", "ns.x + ns.x"), "limit");
  expect_error(grow("'ab'", "ns.x.replace('a', ns.x)"), "limit");
  expect_error(grow("'ab'", "ns.x.join([ns.x, ns.x])"), "limit");
  expect_error(grow("[1]", "ns.x + ns.x"), "limit");
  expect_error(grow("[1]", "[ns.x]"), "nest deeper");
  const std::string tree =
      "{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(90) %}{% set ns.x = [ns.x, ns.x] %}"
      "{% set ns.y = [ns.y, ns.y] %}{% endfor %}";
  expect_error(tree + "{{ ns.x }}", "limit");
  expect_error(tree + "{{ ns.x == ns.y }}", "limit");
  expect_error(tree + "{{ ns.x < ns.y }}", "limit");
  expect_error(tree + "{{ ns.x | tojson }}", "limit");
  expect_error("{% for i in range(100000) %}{{ 'x' * 1000 }}{% endfor %}", "limit");
  expect_error("{{ ('a\n' * 100000) | indent(1000) }}", "limit");
}

TEST(ChatTemplateMalformed, namespaces_that_hold_themselves_are_no_leak_and_no_loop) {
  EXPECT_EQ(render("{% set ns = namespace() %}{% set ns.me = ns %}{% set ns.list = [ns] %}{{ ns.me.me.list }}"),
            "[<Namespace>]");
  EXPECT_EQ(render("{% macro m() %}{% endmacro %}{% set ns = namespace(m=m) %}{{ ns.m is callable }}"), "True");
}

// J6
TEST(ChatTemplateMalformed, no_walk_leads_to_the_host) {
  expect_error("{{ ''.__class__.__mro__ }}", "unsafe");
  expect_error("{{ messages.__init__ }}", "'messages' is undefined");
  expect_error("{{ []['__class__'] }}", "unsafe");
  expect_error("{{ range.__globals__ }}", "unsafe");
  expect_error("{% macro m() %}{% endmacro %}{{ m.__globals__ }}", "unsafe");
  expect_error("{{ [''] | map(attribute='__class__') | list }}", "unsafe");
  expect_error("{{ '' | attr('upper') }}", "there is no filter 'attr'");
  expect_error("{{ '{0.__class__}'.format(1) }}", "no attribute 'format'");
  expect_error("{{ getattr('', 'upper') }}", "'getattr' is undefined");
  expect_error("{{ cycler.__init__ }}", "'cycler' is undefined");
  expect_error("{{ [].append(1) }}", "not allowed");
  expect_error("{{ {}.update(a=1) }}", "not allowed");
  expect_error("{% set ns = namespace(__class__=1) %}", "cannot hold");
}

// J7
TEST(ChatTemplateMalformed, other_files_are_out_of_reach) {
  for (const char* tag : {"include '/etc/passwd'", "import 'x' as y", "from 'x' import y", "extends 'x'", "block x"}) {
    expect_error(std::string("{% ") + tag + " %}", "is not allowed");
  }
}

// J8
TEST(ChatTemplateMalformed, undefined_names_and_impossible_arithmetic) {
  EXPECT_EQ(render("[{{ missing }}]"), "[]");
  expect_error("{{ missing.x }}", "'missing' is undefined");
  expect_error("{{ missing() }}", "'missing' is undefined");
  expect_error("{{ 1 / 0 }}", "division by zero");
  expect_error("{{ 1 // 0 }}", "division by zero");
  expect_error("{{ 1 % 0 }}", "division by zero");
  expect_error("{{ 3 is divisibleby 0 }}", "division by zero");
  expect_error("{{ (-9223372036854775807 - 1) // -1 }}", "64 bits");
  EXPECT_EQ(render("{{ (-9223372036854775807 - 1) is divisibleby(-1) }}"), "True");
  expect_error("{{ -(-9223372036854775807 - 1) }}", "64 bits");
  EXPECT_EQ(render("{{ [1, 2, 3][-1] }}{{ [1, 2, 3][-4] }}{{ 'abc'[-9223372036854775807 - 1:] }}"), "3abc");
  expect_error("{{ [1][::0] }}", "slice step cannot be zero");
  EXPECT_EQ(render("{{ 'abc'[::9223372036854775807] }}{{ 'abc'[::-9223372036854775807 - 1] }}"), "ac");
  expect_error("{{ 1e308 * 10 | int }}{{ (1e308 * 10) | int }}", "cannot convert");
}

// J9
TEST(ChatTemplateMalformed, odd_messages_render_or_fail_but_never_crash) {
  const std::string chatml =
      "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' }}{% endfor %}";
  const auto parsed = [](const char* text) { return json::parse(text, {.source = "context"}); };
  for (const char* context :
       {R"({"messages": [{"role": "user", "content": 5}]})", R"({"messages": [{"content": "x"}]})",
        R"({"messages": [{"role": "user", "content": null}]})", R"({"messages": [{"role": "user"}]})",
        R"({"messages": [null]})", R"({"messages": 7})", R"({"messages": null})",
        R"({"messages": [{"role": ["user"], "content": {"a": []}}]})"}) {
    EXPECT_NE(error_of(chatml, parsed(context)).find("t.jinja: line 1"), std::string::npos) << context;
  }
  EXPECT_EQ(render(chatml, parsed(R"({"messages": [{"role": "wizard", "content": ""}]})")),
            "<|im_start|>wizard\n<|im_end|>");
  EXPECT_EQ(render(chatml, parsed(R"({"messages": []})")), "");
  EXPECT_THROW(render(chatml, json::Value(json::Array{})), Error);
}

TEST(ChatTemplateMalformed, a_hundred_thousand_messages_render) {
  json::Array messages;
  for (int i = 0; i < 100000; ++i) {
    json::Value message;
    message.set("role", i % 2 == 0 ? "user" : "assistant").set("content", "Hello");
    messages.push_back(std::move(message));
  }
  json::Value context;
  context.set("messages", std::move(messages));
  const std::string source =
      "{% for m in messages %}{% if loop.last %}{{ loop.length }}{% endif %}{{ m['role'] ~ ': ' ~ m.content }}\n{% "
      "endfor %}";
  const std::string text = render(source, context);
  EXPECT_EQ(text.size(), 50000 * (std::string("user: Hello\n").size() + std::string("assistant: Hello\n").size()) + 6);
}

TEST(ChatTemplateMalformed, a_context_that_nests_too_deeply_is_an_error) {
  json::Value deep;
  for (int i = 0; i < 5000; ++i) {
    json::Array outer;
    outer.push_back(std::move(deep));
    deep = json::Value(std::move(outer));
  }
  json::Value context;
  context.set("x", std::move(deep));
  EXPECT_NE(error_of("{{ x }}", context).find("nest deeper"), std::string::npos);
}

// J10 is ChatTemplate.no_byte_of_a_forged_control_token_is_the_templates; J11 belongs to the server.
// J12
TEST(ChatTemplateMalformed, a_template_that_renders_nothing_gives_no_segments) {
  for (const char* source : {"", "\n", "{# note #}", "{% if false %}x{% endif %}", "{{ '' }}{{ missing }}"}) {
    EXPECT_TRUE(ChatTemplate::parse(source, "t").render(kEmpty).empty()) << source;
  }
}

}  // namespace
}  // namespace moxie
