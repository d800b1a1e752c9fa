// Converted models: the directory's logits, the tensors and keys of an independent converter, formats, and a check that
// finds what is wrong.
#include "quantize/convert.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <set>

#include "model/fp8_of.h"
#include "model/gguf_of.h"
#include "model/gguf_weights.h"
#include "model/model_source.h"

namespace moxie {
namespace {

namespace fs = std::filesystem;

const fs::path kData = fs::path(MOXIE_SOURCE_DIR) / "tests/data";

fs::path scratch(const std::string& name) {
  const fs::path path = fs::path(testing::TempDir()) / ("moxie_convert_" + name);
  fs::remove_all(path);
  return path;
}

ConvertOptions with_format(const std::string& name) {
  ConvertOptions options{.threads = 2};
  if (!name.empty()) options.plan.mix = find_mix(name).value();
  return options;
}

std::string refusal(const fs::path& model, const fs::path& out, const ConvertOptions& options) {
  try {
    convert_to_gguf(model, out, options);
  } catch (const Error& error) {
    return error.text();
  }
  return "accepted";
}

std::string bytes_of(const View& view) {
  std::string bytes;
  for (int64_t i = 0; i < view.num_rows(); ++i) {
    bytes.append(static_cast<const char*>(view.data) + i * view.row_bytes,
                 static_cast<size_t>(row_bytes(view.format, view.shape.back())));
  }
  return bytes;
}

void expect_same_tensors(const GgufFile& got, const GgufFile& want) {
  ASSERT_EQ(got.entries().size(), want.entries().size());
  for (size_t i = 0; i < got.entries().size(); ++i) {
    const TensorEntry &a = got.entries()[i], &b = want.entries()[i];
    ASSERT_EQ(a.name, b.name);
    EXPECT_EQ(a.tensor.view.shape, b.tensor.view.shape) << a.name;
    EXPECT_EQ(a.tensor.view.format, b.tensor.view.format) << a.name;
    EXPECT_EQ(bytes_of(a.tensor.view), bytes_of(b.tensor.view)) << a.name;
  }
}

std::string_view bytes_of_key(const GgufFile& file, std::string_view key) {
  const json::Object& members = file.metadata().members();
  const auto at =
      std::find_if(members.begin(), members.end(), [&](const json::Member& each) { return each.key == key; });
  return at == members.end() ? std::string_view() : file.metadata_bytes(static_cast<size_t>(at - members.begin()));
}

// Keys that one of them leaves out say what is so without them, or belong to the file.
void expect_same_file(const GgufFile& got, const GgufFile& want) {
  expect_same_tensors(got, want);
  for (const json::Member& member : want.metadata().members()) {
    const json::Value* value = got.metadata().find(member.key);
    // Of qwen3moe without dense layers no layer has that width, and a spec does not know it.
    if (value == nullptr || member.key == "qwen3moe.feed_forward_length") continue;
    EXPECT_EQ(bytes_of_key(got, member.key), bytes_of_key(want, member.key))
        << member.key << ": " << value->dump() << " for " << member.value.dump();
  }
}

struct Case {
  const char* golden;
  bool exactly = true;
};

class Convert : public testing::TestWithParam<Case> {};

TEST_P(Convert, gives_the_tensors_of_the_converter_and_the_logits_of_the_directory) {
  const fs::path directory = kData / "golden" / GetParam().golden;
  const fs::path out = scratch(std::string(GetParam().golden) + ".gguf"),
                 oracle = scratch(std::string(GetParam().golden) + "-oracle.gguf");
  const ConvertReport report = convert_to_gguf(directory, out, with_format("f32"));
  ASSERT_TRUE(report.logits.has_value());
  if (GetParam().exactly) {
    EXPECT_TRUE(report.logits->identical) << report.logits->largest;
  }
  EXPECT_LE(report.logits->largest, 5e-6);  // of logits around 3
  GgufOf(directory).write(oracle);
  expect_same_file(GgufFile::open(out), GgufFile::open(oracle));
}

INSTANTIATE_TEST_SUITE_P(Families, Convert,
                         testing::Values(Case{"llama", false}, Case{"mistral", false}, Case{"mixtral", false},
                                         Case{"mixtral-swa", false}, Case{"qwen2"}, Case{"qwen3"}, Case{"qwen2_moe"},
                                         Case{"qwen3_moe"}, Case{"olmoe"}, Case{"olmoe-clip"}, Case{"phimoe"},
                                         Case{"granitemoe", false}, Case{"deepseek_v2"}, Case{"deepseek_v2-group"},
                                         Case{"deepseek_v3"}, Case{"glm4_moe"}, Case{"gpt_oss"}),
                         [](const auto& test) {
                           std::string name = test.param.golden;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// Its slowdowns are computed in another order than the oracle's.
TEST(ConvertModel, llama3_scaling_becomes_a_tensor) {
  const fs::path out = scratch("llama3.gguf");
  const ConvertReport report = convert_to_gguf(kData / "golden/llama3-rope", out, with_format(""));
  EXPECT_LE(report.logits->largest, 5e-6);
}

TEST(ConvertModel, fp8_becomes_its_numbers) {
  const fs::path fp8 = scratch("fp8"), decoded = scratch("fp8-f32"), out = scratch("fp8.gguf");
  test::write_fp8(kData / "golden/deepseek_v3", fp8, decoded);
  const ConvertReport report = convert_to_gguf(fp8, out, with_format(""));
  EXPECT_TRUE(report.logits->identical) << report.logits->largest;
  EXPECT_TRUE(report.worst.empty());
  ASSERT_FALSE(report.notes.empty());
  EXPECT_NE(report.notes[0].find("GGUF has no FP8"), std::string::npos) << report.notes[0];
  const fs::path plain = scratch("fp8-plain.gguf");
  convert_to_gguf(decoded, plain, with_format(""));
  expect_same_tensors(GgufFile::open(out), GgufFile::open(plain));
}

TEST(ConvertModel, every_layout_of_a_checkpoint_keeps_its_formats) {
  for (const auto& [name, format] : {std::pair{"mixtral-bf16", FormatId::bf16},
                                     {"mixtral-f16", FormatId::f16},
                                     {"mixtral-sharded", FormatId::f32},
                                     {"qwen3_moe-packed", FormatId::f32},
                                     {"gpt_oss-mxfp4", FormatId::mxfp4_block}}) {
    SCOPED_TRACE(name);
    const ConvertReport report =
        convert_to_gguf(kData / "golden-layouts" / name, scratch("layout.gguf"), with_format(""));
    EXPECT_TRUE(report.formats.contains(format));
    EXPECT_TRUE(report.worst.empty());
    EXPECT_LE(report.logits->mean_divergence, 1e-3);  // blocks of a GGUF file are multiplied as integers
  }
}

TEST(ConvertModel, mxfp4_blocks_are_those_of_the_converter) {
  const fs::path directory = kData / "golden-layouts/gpt_oss-mxfp4", out = scratch("mxfp4.gguf");
  const ConvertReport report = convert_to_gguf(directory, out, with_format(""));
  EXPECT_EQ(report.formats.at(FormatId::mxfp4_block).worst_error, 0);
  const fs::path oracle = scratch("mxfp4_oracle.gguf");
  GgufOf(directory).write(oracle);
  expect_same_file(GgufFile::open(out), GgufFile::open(oracle));
}

TEST(ConvertModel, fewer_bits_give_nearly_the_predictions) {
  for (const auto& [mix, most] : {std::pair{"q8_0", 0.02}, {"q4_k_m", 0.2}, {"iq4_xs", 0.3}, {"mxfp4", 0.5}}) {
    SCOPED_TRACE(mix);
    const ConvertReport report =
        convert_to_gguf(fs::path(MOXIE_SOURCE_DIR) / "models/moe-7m", scratch("bits.gguf"), with_format(mix));
    EXPECT_FALSE(report.logits->identical);
    EXPECT_LE(report.logits->mean_divergence, most);
    EXPECT_EQ(report.worst.size(), 8u);
    EXPECT_GT(report.worst.front().error, 0.003);
  }
}

TEST(ConvertModel, bytes_do_not_depend_on_threads) {
  const fs::path model = fs::path(MOXIE_SOURCE_DIR) / "models/moe-7m";
  std::string bytes[2];
  for (const int threads : {1, 3}) {
    ConvertOptions options = with_format("q5_1");
    options.threads = threads;
    options.check_logits = false;
    const fs::path out = scratch("threads.gguf");
    convert_to_gguf(model, out, options);
    bytes[threads / 2] = read_file(out, 1 << 30);
  }
  EXPECT_TRUE(bytes[0] == bytes[1]);
}

TEST(ConvertModel, overrides_choose_formats_and_the_first_that_fits_counts) {
  ConvertOptions options = with_format("q8_0");
  options.plan.overrides = {{"blk.0.ffn_down_exps.weight", FormatId::q6_k},
                            {"blk.*.ffn_down_exps.weight", FormatId::q4_0}};
  const fs::path golden = kData / "golden/qwen3_moe";
  EXPECT_NE(refusal(golden, scratch("override.gguf"), options).find("not whole blocks of 256"), std::string::npos);
  options.plan.overrides[0].format = FormatId::bf16;
  const fs::path out = scratch("override.gguf");
  const ConvertReport report = convert_to_gguf(golden, out, options);
  EXPECT_EQ(report.formats.at(FormatId::bf16).tensors, 1);
  EXPECT_EQ(report.formats.at(FormatId::q4_0).tensors, 2);
  options.plan.overrides = {{"blk.*.no_such", FormatId::f16}};
  EXPECT_NE(refusal(golden, scratch("override.gguf"), options).find("no tensor that may be quantized"),
            std::string::npos);
}

// ---- GGUF to GGUF ----

TEST(ConvertModel, a_file_keeps_its_metadata_and_tensors) {
  const fs::path first = scratch("first.gguf"), second = scratch("second.gguf");
  GgufOf writer(kData / "golden/qwen2_moe");
  writer.fused_qkv = true;
  writer.with_tokenizer = true;
  writer.strings["general.author"] = "nobody";
  writer.write(first);
  const ConvertReport same = convert_to_gguf(first, second, with_format(""));
  EXPECT_TRUE(same.logits->identical);
  expect_same_file(GgufFile::open(second), GgufFile::open(first));
  EXPECT_EQ(GgufFile::open(second).metadata().find("general.author")->as_string(), "nobody");
  const fs::path again = scratch("again.gguf");
  convert_to_gguf(second, again, with_format(""));
  EXPECT_TRUE(read_file(again, 1 << 30) == read_file(second, 1 << 30));
  const ConvertReport less = convert_to_gguf(second, scratch("third.gguf"), with_format("q4_0"));
  EXPECT_GT(less.formats.at(FormatId::q4_0).tensors, 0);
}

TEST(ConvertModel, packed_rows_give_the_same_logits_and_come_back_byte_for_byte) {
  const fs::path plain = scratch("plain.gguf"), packed = scratch("packed.moxie"), back = scratch("back.gguf");
  convert_to_gguf(fs::path(MOXIE_SOURCE_DIR) / "models/moe-7m", plain, with_format("q4_k_m"));
  ConvertOptions pack = with_format("");
  pack.plan.pack = true;
  const ConvertReport report = convert_to_gguf(plain, packed, pack);
  ASSERT_TRUE(report.logits);
  EXPECT_TRUE(report.logits->identical);
  int64_t num_packed = 0;
  const GgufFile file = GgufFile::open(packed);
  for (const TensorEntry& entry : file.entries()) {
    num_packed += entry.tensor.view.packed;
    EXPECT_EQ(entry.tensor.view.packed, entry.name.starts_with("blk.") && is_block_format(entry.tensor.view.format))
        << entry.name;
  }
  EXPECT_GT(num_packed, 20);
  convert_to_gguf(packed, back, with_format(""));
  EXPECT_EQ(read_file(back, 1 << 26), read_file(plain, 1 << 26));
}

TEST(ConvertModel, packed_rows_where_rows_are_read_alone_are_refused) {
  const fs::path path = scratch("embedding.moxie");
  ThreadPool pool(1);
  const ModelSpec spec = ModelSource::open(fs::path(MOXIE_SOURCE_DIR) / "models/moe-7m").spec();
  // the embedding; a matrix in the place of a stack of experts; a stack in that of a matrix
  const std::pair<std::string, Shape> tensors[] = {
      {"token_embd.weight", {64, 32}}, {"blk.0.ffn_gate_exps.weight", {32, 32}}, {"blk.0.attn_q.weight", {2, 32, 32}}};
  for (const auto& [name, shape] : tensors) {
    const MadeTensor made{.name = name,
                          .format = FormatId::q8_0,
                          .shape = shape,
                          .make_rows = [](int64_t begin, int64_t end,
                                          char* out) { std::memset(out, 0, static_cast<size_t>(end - begin) * 34); },
                          .packed = true};
    write_gguf(path, GgufMetadata(), {&made, 1}, pool);
    try {
      gguf_checkpoint(GgufFile::open(path), spec);
      ADD_FAILURE() << name << " accepted";
    } catch (const Error& error) {
      EXPECT_NE(error.text().find(name), std::string::npos) << error.text();
      EXPECT_NE(error.text().find("expected plain rows"), std::string::npos) << error.text();
    }
  }
}

TEST(ConvertModel, blocks_are_not_made_larger_blocks) {
  const fs::path first = scratch("q4.gguf");
  const fs::path model = fs::path(MOXIE_SOURCE_DIR) / "models/moe-7m";
  convert_to_gguf(model, first, with_format("q4_0"));
  const ConvertReport up = convert_to_gguf(first, scratch("q8.gguf"), with_format("q8_0"));
  EXPECT_GT(up.formats.at(FormatId::q4_0).tensors, 0);
  EXPECT_TRUE(up.worst.empty());
  ASSERT_FALSE(up.notes.empty());
  EXPECT_NE(up.notes[0].find("keep their blocks"), std::string::npos);
  const ConvertReport plain = convert_to_gguf(first, scratch("f32.gguf"), with_format("f32"));
  EXPECT_EQ(plain.formats.size(), 1u);
  EXPECT_TRUE(plain.worst.empty());
}

// ---- the check ----

TEST(GgufCheck, finds_a_changed_byte_and_says_which_expert) {
  const fs::path model = fs::path(MOXIE_SOURCE_DIR) / "models/moe-7m", out = scratch("changed.gguf");
  GgufPlanOptions options;
  for (const char* mix : {"", "q8_0"}) {
    if (*mix != 0) options.mix = find_mix(mix);
    const GgufPlan plan = plan_gguf(model, options);
    ThreadPool pool(2);
    write_gguf(out, plan.metadata, to_write(plan.tensors), pool);
    EXPECT_EQ(check_gguf(out, plan, pool).size(), 21u + 4 * (3 * 16 + 4) + 1 - 0u) << mix;
    const GgufFile file = GgufFile::open(out);
    int64_t offset = 0;
    for (const TensorEntry& entry : file.entries()) {
      if (entry.name != "blk.2.ffn_up_exps.weight") continue;
      offset = static_cast<const char*>(entry.tensor.view[5].data) - file.maps()[0]->bytes().data();
    }
    std::fstream edit(out, std::ios::in | std::ios::out | std::ios::binary);
    edit.seekp(offset + 1);  // the exponent of a number, or of a block's scale
    edit.put('\x7b');
    edit.close();
    try {
      check_gguf(out, plan, pool);
      ADD_FAILURE() << mix;
    } catch (const Error& error) {
      EXPECT_NE(error.text().find("blk.2.ffn_up_exps.weight, expert 5"), std::string::npos) << error.text();
    }
  }
}

TEST(GgufCheck, usual_errors_fall_with_the_bits) {
  double before = 1;
  for (const FormatId format : {FormatId::iq2_xxs, FormatId::q2_k, FormatId::q3_k, FormatId::q4_0, FormatId::q5_0,
                                FormatId::q6_k, FormatId::q8_0, FormatId::bf16, FormatId::f16, FormatId::f32}) {
    const double error = usual_error(format);
    EXPECT_LT(error, before) << format_name(format);
    before = error;
  }
  EXPECT_EQ(before, 0);
}

TEST(ConvertModel, what_exists_is_not_written_over_and_nothing_half_is_left) {
  const fs::path directory = scratch("dir"), out = directory / "m.gguf", golden = kData / "golden/mixtral";
  fs::create_directories(directory);
  std::ofstream(out) << "mine";
  EXPECT_NE(refusal(golden, out, with_format("f16")).find("exists already; --force"), std::string::npos);
  EXPECT_EQ(read_file(out, 10), "mine");
  ConvertOptions options = with_format("f16");
  options.overwrite = true;
  EXPECT_EQ(refusal(golden, out, options), "accepted");
  EXPECT_NE(refusal(golden, directory / "none/m.gguf", options).find("No such file"), std::string::npos);
  // A number beyond f16: found by the check, and the file is gone.
  fs::create_directories(directory / "big");
  fs::copy_file(golden / "config.json", directory / "big/config.json");
  const Checkpoint checkpoint = Checkpoint::open(golden);
  std::vector<float> big(static_cast<size_t>(checkpoint.find("lm_head.weight")->view.shape.num_elems()), 1e6f);
  std::vector<NamedView> tensors;
  for (const TensorEntry& entry : checkpoint.entries()) tensors.push_back({entry.name, entry.tensor.view});
  for (NamedView& tensor : tensors) {
    if (tensor.name == "lm_head.weight") tensor.view.data = big.data();
  }
  write_safetensors(directory / "big/model.safetensors", tensors);
  const std::string text = refusal(directory / "big", directory / "big.gguf", options);
  EXPECT_NE(text.find("output.weight: expected numbers within the range"), std::string::npos) << text;
  std::set<std::string> left;
  for (const auto& entry : fs::directory_iterator(directory)) left.insert(entry.path().filename());
  EXPECT_EQ(left, (std::set<std::string>{"big", "m.gguf"}));
}

TEST(ConvertModel, a_stop_at_any_moment_leaves_nothing) {
  const fs::path directory = scratch("stopped"), golden = kData / "golden/mixtral";
  fs::create_directories(directory);
  std::vector<std::string> heard;
  convert_to_gguf(golden, scratch("heard.gguf"), with_format("q8_0"),
                  [&](std::string_view doing, double share) { heard.push_back(fmt::format("{} {}", doing, share)); });
  EXPECT_EQ(heard.front().substr(0, 6), "write ");
  EXPECT_EQ(heard.back(), "logits 1");
  for (const std::string& last : heard) {
    const auto stop = [&](std::string_view doing, double share) {
      if (fmt::format("{} {}", doing, share) == last) throw std::runtime_error("stopped");
    };
    EXPECT_THROW(convert_to_gguf(golden, directory / "m.gguf", with_format("q8_0"), stop), std::runtime_error) << last;
    EXPECT_TRUE(fs::is_empty(directory)) << last;
  }
}

}  // namespace
}  // namespace moxie
