// moxie run: continues a prompt, answers a question, or chats.
#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <iostream>
#include <random>

#include "cli/model_flags.h"
#include "cli/routing_lines.h"
#include "infer/generate.h"
#include "infer/prompt.h"
#include "text/generation_config.h"

namespace moxie::cli {
namespace {

std::atomic<bool> interrupted{false};  // written by the signal handler alone

void on_interrupt(int) {
  if (interrupted.exchange(true)) ::_exit(130);  // the second Ctrl-C leaves at once
}

struct RunFlags {
  ModelFlags model;
  std::optional<std::string> prompt;  // "" is a prompt too
  std::string system;
  int64_t num_tokens = 128;
  std::optional<double> temperature, top_p, min_p, repeat_penalty;
  std::optional<int64_t> top_k;
  double presence_penalty = 0, frequency_penalty = 0;
  std::vector<std::string> logit_bias, stop;
  std::optional<uint64_t> seed;
  bool raw = false, as_json = false;
};

// Flags win over generation_config.json; without either, temperature 1.
SamplingParams sampling(const RunFlags& flags, const GenerationConfig& config) {
  SamplingParams params;
  const bool greedy = config.do_sample.has_value() && !*config.do_sample;
  params.temperature = flags.temperature.value_or(greedy ? 0.0 : config.temperature.value_or(1.0));
  params.top_k = flags.top_k.value_or(config.top_k.value_or(0));
  params.top_p = flags.top_p.value_or(config.top_p.value_or(1.0));
  params.min_p = flags.min_p.value_or(config.min_p.value_or(0.0));
  params.repetition_penalty = flags.repeat_penalty.value_or(config.repetition_penalty.value_or(1.0));
  params.presence_penalty = flags.presence_penalty;
  params.frequency_penalty = flags.frequency_penalty;
  params.seed = flags.seed.value_or(std::random_device{}());
  for (const std::string& entry : flags.logit_bias) {
    int32_t id = 0;
    double bias = 0;
    const char* end = entry.data() + entry.size();
    const auto id_read = std::from_chars(entry.data(), end, id);
    const bool has_id = id_read.ec == std::errc() && id_read.ptr != end && *id_read.ptr == '=';
    const auto bias_read = has_id ? std::from_chars(id_read.ptr + 1, end, bias) : std::from_chars_result{};
    if (!has_id || bias_read.ec != std::errc() || bias_read.ptr != end) {
      throw make_error(ErrorCode::usage, "--logit-bias {}: expected TOKEN_ID=NUMBER", printable(entry));
    }
    params.logit_bias.emplace_back(id, bias);
  }
  return params;
}

// Ids that end an answer: of generation_config.json, config.json and the tokenizer.
std::vector<int32_t> stop_ids(LoadedModel& loaded, const GenerationConfig& config) {
  std::vector<int32_t> ids;
  for (const int64_t id : config.eos_token_id) ids.push_back(static_cast<int32_t>(id));
  for (const int64_t id : loaded.spec().eos_token_ids) ids.push_back(static_cast<int32_t>(id));
  if (loaded.tokenizer().eos()) ids.push_back(*loaded.tokenizer().eos());
  return ids;
}

void print_piece(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0) return;
  throw make_error(ErrorCode::runtime, "stdout cannot be written: {}", std::strerror(errno));
}

std::string speed_line(const Generation& generation) {
  return fmt::format("       prompt {} tokens, first token after {:.0f} ms; {} tokens at {:.1f} tok/s; stopped by {}",
                     generation.prompt_tokens, generation.prefill_seconds * 1e3, generation.ids.size(),
                     generation.decode_rate(), finish_name(generation.reason));
}

json::Value to_json(const RunFlags& flags, LoadedModel& loaded, const Generation& generation,
                    const SamplingParams& params) {
  json::Value ids{json::Array{}}, timing, sampler, out;
  for (const int32_t id : generation.ids) ids.push(static_cast<int64_t>(id));
  timing.set("prefill_seconds", generation.prefill_seconds).set("decode_seconds", generation.decode_seconds);
  timing.set("decode_tokens_per_second", generation.decode_rate());
  sampler.set("temperature", params.temperature).set("top_k", params.top_k).set("top_p", params.top_p);
  sampler.set("min_p", params.min_p).set("repetition_penalty", params.repetition_penalty).set("seed", params.seed);
  out.set("schema_version", 1).set("model", flags.model.model).set("prompt", *flags.prompt);
  out.set("text", generation.text).set("ids", std::move(ids));
  out.set("finish_reason", finish_name(generation.reason)).set("prompt_tokens", generation.prompt_tokens);
  out.set("sampling", std::move(sampler)).set("timing", std::move(timing));
  return out.set("routing", stats_json(loaded.engine().stats()));
}

GenerateOptions generate_options(const RunFlags& flags, LoadedModel& loaded, const GenerationConfig& config) {
  return {.max_new_tokens = flags.num_tokens,
          .stop_ids = stop_ids(loaded, config),
          .stop_strings = flags.stop,
          .cancel = &interrupted};
}

void answer_once(const RunFlags& flags, LoadedModel& loaded, const std::optional<ChatTemplate>& chat_template,
                 const GenerationConfig& config) {
  std::vector<int32_t> ids;
  if (chat_template && !flags.raw) {
    std::vector<ChatMessage> messages;
    if (!flags.system.empty()) messages.push_back({"system", flags.system});
    messages.push_back({"user", *flags.prompt});
    ids = encode_chat(loaded.tokenizer(), *chat_template, messages);
  } else {
    ids = loaded.tokenizer().encode(*flags.prompt);
  }
  const SamplingParams params = sampling(flags, config);
  Sampler sampler(params, loaded.spec().vocab_size);
  Sequence sequence(loaded.engine(), ids);
  if (!flags.as_json && (!chat_template || flags.raw)) print_piece(*flags.prompt);  // a continuation reads on from it
  const auto on_text = [&](std::string_view text) {
    if (!flags.as_json) print_piece(text);
  };
  const Generation generation = generate(loaded.engine(), loaded.tokenizer(), sequence, sampler,
                                         generate_options(flags, loaded, config), on_text);
  if (flags.as_json) {
    print_json(to_json(flags, loaded, generation, params));
  } else {
    print_piece("\n");
    say(speed_line(generation));
    for (const std::string& line : stats_lines(loaded.engine().stats())) say(line);
  }
  if (generation.reason == FinishReason::cancelled) throw Interrupted{};
}

// A slash and letters alone: text that begins with a slash has more.
bool is_command(const std::string& line) {
  return line.size() > 1 && line[0] == '/' &&
         std::all_of(line.begin() + 1, line.end(), [](char c) { return c >= 'a' && c <= 'z'; });
}

// Lines in, answers out, until Ctrl-D. Without a template each line continues the text so far.
void chat(const RunFlags& flags, LoadedModel& loaded, const std::optional<ChatTemplate>& chat_template,
          const GenerationConfig& config) {
  say(chat_template ? "chat   Ctrl-C stops an answer, Ctrl-D leaves, /clear forgets, /route shows the experts"
                    : "chat   this model has no chat template: each line is continued as text; Ctrl-D leaves");
  Sampler sampler(sampling(flags, config), loaded.spec().vocab_size);
  std::vector<ChatMessage> messages;
  const auto restart = [&] {
    messages.clear();
    if (!flags.system.empty()) messages.push_back({"system", flags.system});
  };
  restart();
  Sequence sequence(loaded.engine(), {});
  std::string line;
  while (fmt::print(stderr, ">>> "), std::fflush(stderr), std::getline(std::cin, line)) {
    if (line.empty()) continue;
    if (line == "/bye" || line == "/exit") return;
    if (line == "/clear") {
      restart();
      sequence.truncate(0);
      continue;
    }
    if (line == "/route") {
      for (const std::string& each : stats_lines(loaded.engine().stats())) say(each);
      continue;
    }
    if (is_command(line)) {
      say(fmt::format("error: no command {}; there are /clear, /route, /bye and /exit", line));
      continue;
    }
    interrupted = false;
    loaded.engine().reset_stats();
    try {
      if (chat_template) {
        messages.push_back({"user", line});
        const std::vector<int32_t> ids = encode_chat(loaded.tokenizer(), *chat_template, messages);
        // what the conversation shares with the cache is not run again
        const auto old = sequence.tokens();
        size_t same = 0;
        while (same < old.size() && same + 1 < ids.size() && old[same] == ids[same]) ++same;
        sequence.truncate(static_cast<int64_t>(same));
        sequence.append(std::span<const int32_t>(ids).subspan(same));
      } else {
        sequence.append(loaded.tokenizer().encode(line, {.add_special = sequence.num_tokens() == 0}));
      }
      const Generation generation = generate(loaded.engine(), loaded.tokenizer(), sequence, sampler,
                                             generate_options(flags, loaded, config), print_piece);
      interrupted = false;  // it stopped this answer
      print_piece("\n");
      say(speed_line(generation));
      if (chat_template) messages.push_back({"assistant", generation.text});
    } catch (const Error& error) {  // the conversation goes on; what did not fit is forgotten
      say(std::string("error: ") + error.what());
      if (chat_template && !messages.empty() && messages.back().role == "user") messages.pop_back();
    }
  }
  print_piece("\n");
  if (interrupted) throw Interrupted{};  // Ctrl-C at the prompt ends the reading
}

void run(RunFlags& flags) {
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  ::sigaction(SIGINT, &action, nullptr);
  const bool one_shot = flags.prompt || !stdin_is_terminal() || flags.as_json;
  if (!flags.prompt && one_shot) flags.prompt = std::string(std::istreambuf_iterator<char>(std::cin), {});
  LoadedModel loaded(flags.model, {.pin = true}, !flags.as_json);
  const GenerationConfig config = loaded.source().generation_config();
  const std::optional<ChatTemplate> chat_template = loaded.source().chat_template();
  if (one_shot) {
    answer_once(flags, loaded, chat_template, config);
  } else {
    chat(flags, loaded, chat_template, config);
  }
}

}  // namespace

void add_run(CLI::App& app) {
  CLI::App* verb = app.add_subcommand("run", "Continue a prompt, answer it, or chat (no prompt on a terminal)");
  auto flags = std::make_shared<RunFlags>();
  flags->model.declare(*verb);
  verb->add_option("prompt", flags->prompt, "Prompt (default: standard input; on a terminal: chat)");
  verb->add_option("-n,--num-tokens", flags->num_tokens, "Most tokens to generate")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40))
      ->capture_default_str();
  verb->add_option("--temp", flags->temperature, "Temperature; 0 is greedy (default: the model's, else 1)");
  verb->add_option("--top-k", flags->top_k, "Keep the k most likely tokens; 0 is off");
  verb->add_option("--top-p", flags->top_p, "Keep the most likely tokens that reach this probability; 1 is off");
  verb->add_option("--min-p", flags->min_p, "Drop tokens below this share of the most likely one; 0 is off");
  verb->add_option("--repeat-penalty", flags->repeat_penalty, "Divide the logits of tokens seen; 1 is off");
  verb->add_option("--presence-penalty", flags->presence_penalty, "Subtract once for each token generated before");
  verb->add_option("--frequency-penalty", flags->frequency_penalty, "Subtract for each time a token was generated");
  verb->add_option("--logit-bias", flags->logit_bias, "TOKEN_ID=NUMBER, added to that logit; may be repeated")
      ->allow_extra_args(false);  // one value a flag: what follows may be MODEL or the prompt
  verb->add_option("--stop", flags->stop, "End before this text; may be repeated")->allow_extra_args(false);
  verb->add_option("--seed", flags->seed, "Seed of the sampler (default: a random one)")
      ->check(CLI::NonNegativeNumber);  // CLI11 alone would wrap -1 around
  verb->add_option("--system", flags->system, "System message, for models with a chat template");
  verb->add_flag("--raw", flags->raw, "Continue the prompt as it is, without the chat template");
  verb->add_flag("--json", flags->as_json, "Print one JSON object");
  verb->callback([flags] { run(*flags); });
}

}  // namespace moxie::cli
