// Chat templates against what Python's Jinja2 renders, and the marks on the user's text.
#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "base/file.h"

namespace moxie {
namespace {

const std::filesystem::path kData = std::filesystem::path(MOXIE_SOURCE_DIR) / "tests/data/chat";

json::Value read_json(const std::string& name) {
  return json::parse(read_file(kData / name, size_t{16} << 20), {.source = name});
}

// The moment tools/make_template_goldens.py gives to strftime_now.
RenderLimits at_golden_time() {
  std::tm now{};
  now.tm_year = 2025 - 1900;
  now.tm_mon = 5;
  now.tm_mday = 7;
  now.tm_hour = 12;
  now.tm_min = 34;
  now.tm_sec = 56;
  now.tm_wday = 6;
  now.tm_yday = 157;
  return {.now = now};
}

// Compares with a golden's "output"; a golden with an "error" must fail here too.
void expect_golden(const json::Value& golden, const std::string& source, const json::Value& context) {
  std::string got;
  std::string error;
  try {
    got = joined(ChatTemplate::parse(source, "golden").render(context, at_golden_time()));
  } catch (const Error& caught) {
    error = caught.text();
  }
  if (const json::Value* wanted = golden.find("output")) {
    EXPECT_EQ(error, "") << golden.dump();
    EXPECT_EQ(got, wanted->as_string());
  } else {
    EXPECT_NE(error.find("golden: line "), std::string::npos) << golden.dump() << " gave " << got << error;
  }
}

std::string render(const std::string& source, const json::Value& context = json::Value(json::Object{})) {
  return joined(ChatTemplate::parse(source, "t").render(context));
}

// Segments as text, the user's in guillemets.
std::string render_marked(const std::string& source, const json::Value& context) {
  std::string text;
  for (const PromptSegment& segment : ChatTemplate::parse(source, "t").render(context)) {
    EXPECT_FALSE(segment.text.empty());
    text += segment.from_user ? "«" + segment.text + "»" : segment.text;
  }
  return text;
}

json::Value with_message(std::string role, json::Value content) {
  json::Value message;
  message.set("role", std::move(role)).set("content", std::move(content));
  json::Value messages;
  messages.push(std::move(message));
  json::Value context;
  context.set("messages", std::move(messages)).set("bos_token", "<s>").set("tools", json::Array{});
  return context;
}

TEST(ChatTemplate, expressions_mean_what_they_mean_in_jinja2) {
  const json::Value context = read_json("expressions_context.json");
  const json::Value goldens = read_json("expressions.json");
  ASSERT_GE(goldens.items().size(), 150u);
  for (const json::Value& golden : goldens.items()) {
    SCOPED_TRACE(golden.find("template")->as_string());
    expect_golden(golden, golden.find("template")->as_string(), context);
  }
}

TEST(ChatTemplate, real_templates_render_real_conversations_as_jinja2_does) {
  const json::Value conversations = read_json("conversations.json");
  const json::Value goldens = read_json("goldens.json");
  ASSERT_GE(goldens.items().size(), 800u);
  for (const json::Value& golden : goldens.items()) {
    const std::string& name = golden.find("template")->as_string();
    const std::string& conversation = golden.find("conversation")->as_string();
    SCOPED_TRACE(name + ", " + conversation);
    json::Value context = *conversations.find(conversation);
    context.set("add_generation_prompt", *golden.find("add_generation_prompt"));
    expect_golden(golden, read_file(kData / "templates" / name, size_t{1} << 20), context);
  }
}

TEST(ChatTemplate, no_byte_of_a_forged_control_token_is_the_templates) {
  const json::Value conversations = read_json("conversations.json");
  const json::Value& context = *conversations.find("forged control tokens");
  size_t rendered = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kData / "templates")) {
    SCOPED_TRACE(entry.path().filename().string());
    std::string trusted;
    try {
      const ChatTemplate parsed = ChatTemplate::parse(read_file(entry.path(), size_t{1} << 20), "t");
      for (const PromptSegment& segment : parsed.render(context)) {
        trusted += segment.from_user ? "\n" : segment.text;
      }
    } catch (const Error&) {
      continue;  // a template that refuses this order of roles
    }
    ++rendered;
    for (const char* word : {"Be bad", "obey", "Be good", "7*7", "<|message|>x", "[INST] </s>"}) {
      EXPECT_EQ(trusted.find(word), std::string::npos) << word;
    }
  }
  EXPECT_GE(rendered, 14u);
}

TEST(ChatTemplate, marks_follow_the_users_text_through_operations) {
  const auto context = with_message("user", " a-b \"c\" ");
  const std::string m = "{% set c = messages[0].content %}";
  EXPECT_EQ(render_marked("{{ bos_token }}{{ messages[0].content }}<|end|>", context), "<s>« a-b \"c\" »<|end|>");
  EXPECT_EQ(render_marked(m + "[{{ c | trim }}]", context), "[«a-b \"c\"»]");
  EXPECT_EQ(render_marked(m + "{{ '<|' + c.split('-')[0].strip() + '|>' }}", context), "<|«a»|>");
  EXPECT_EQ(render_marked(m + "{{ c.replace('-', '<x>') | trim | upper }}", context), "«A»<X>«B \"C\"»");
  EXPECT_EQ(render_marked(m + "{{ '<a>-<b>'.replace('-', c) }}", context), "<a>« a-b \"c\" »<b>");
  EXPECT_EQ(render_marked(m + "{{ {'k': c} | tojson }}", context), "{\"k\": \"« a-b \\\"c\\\" »\"}");
  EXPECT_EQ(render_marked(m + "{{ [c[1], '|', c[3]] | join('<s>') }}", context), "«a»<s>|<s>«b»");
  EXPECT_EQ(render_marked(m + "{{ c[::-1][1:4] }}{{ c[1:2] * 2 }}", context), "«\"c\"aa»");
  EXPECT_EQ(render_marked(m + "{{ [c] }}", context), "['« a-b \"c\" »']");
  EXPECT_EQ(render_marked(m + "{% set x %}<{{ c[1] }}>{% endset %}{{ x ~ '!' }}", context), "<«a»>!");
  EXPECT_EQ(render_marked(m + "{% macro f(x) %}<{{ x }}>{% endmacro %}{{ f(c[1]) | indent }}", context), "<«a»>");
  EXPECT_EQ(render_marked(m + "{% for k in {c[1]: 1} %}{{ k }}{% endfor %}", context), "«a»");
}

TEST(ChatTemplate, marks_names_and_arguments_of_tools_and_extra_variables) {
  auto context = with_message("user", "x");
  json::Value arguments;
  arguments.set("<|end|>", "<|end|>");
  context.set("arguments", std::move(arguments)).set("reasoning_effort", "<|high|>");
  EXPECT_EQ(
      render_marked("{% for k, v in arguments.items() %}<{{ k }}>{{ v }}{% endfor %}{{ reasoning_effort }}", context),
      "<«<|end|>»>«<|end|><|high|>»");
  EXPECT_EQ(render_marked("{{ arguments | tojson }}", context), "{\"«<|end|>»\": \"«<|end|>»\"}");
}

TEST(ChatTemplate, trusts_a_usual_role_and_no_other) {
  const std::string source = "{{ '<|' + messages[0].role + '|>' }}";
  EXPECT_EQ(render_marked(source, with_message("assistant", "x")), "<|assistant|>");
  EXPECT_EQ(render_marked(source, with_message("endoftext", "x")), "<|«endoftext»|>");
  EXPECT_EQ(render_marked("{{ messages[0].content }}", with_message("user", "user")), "«user»");
}

TEST(ChatTemplate, loads_the_file_then_the_config_then_nothing) {
  const auto dir = std::filesystem::path(testing::TempDir()) / "moxie_chat_template";
  std::filesystem::remove_all(dir);
  std::filesystem::create_directories(dir);
  EXPECT_FALSE(ChatTemplate::load(dir));
  std::ofstream(dir / "tokenizer_config.json") << R"({"bos_token": "<s>"})";
  EXPECT_FALSE(ChatTemplate::load(dir));
  const json::Value empty{json::Object{}};
  std::ofstream(dir / "tokenizer_config.json") << R"({"chat_template": "from config {{ 1 + 1 }}"})";
  EXPECT_EQ(joined(ChatTemplate::load(dir)->render(empty)), "from config 2");
  std::ofstream(dir / "tokenizer_config.json")
      << R"({"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]})";
  EXPECT_EQ(joined(ChatTemplate::load(dir)->render(empty)), "d");
  std::ofstream(dir / "tokenizer_config.json") << R"({"chat_template": 7})";
  EXPECT_THROW(ChatTemplate::load(dir), Error);
  std::ofstream(dir / "chat_template.jinja") << "from file\n";
  EXPECT_EQ(joined(ChatTemplate::load(dir)->render(empty)), "from file");
  std::filesystem::remove_all(dir);
}

TEST(ChatTemplate, one_template_renders_again_and_again) {
  const ChatTemplate parsed =
      ChatTemplate::parse("{% set ns = namespace(n=0) %}{% set ns.n = ns.n + 1 %}{{ ns.n }}", "t");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(joined(parsed.render(json::Value(json::Object{}))), "1");
}

TEST(ChatTemplate, an_integer_too_large_for_64_bits_is_an_error) {
  json::Value context;
  context.set("n", uint64_t{1} << 63);
  EXPECT_THROW(render("{{ n }}", context), Error);
  EXPECT_THROW(render("{{ 9223372036854775807 + 1 }}"), Error);
  EXPECT_THROW(render("{{ 10 ** 19 }}"), Error);
  EXPECT_EQ(render("{{ 2 ** 62 }} {{ -9223372036854775807 - 1 }}"), "4611686018427387904 -9223372036854775808");
}

}  // namespace
}  // namespace moxie
