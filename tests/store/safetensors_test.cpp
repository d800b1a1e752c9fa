// safetensors files: mapping, writing, and files that are something else.
#include "store/safetensors.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>

#include "store/checkpoint_checks.h"
#include "store_test_util.h"

namespace moxie {
namespace {

namespace fs = std::filesystem;

const fs::path kData = fs::path(MOXIE_SOURCE_DIR) / "tests/data";

std::string refusal(const fs::path& path) {
  return refusal_of([&] { Checkpoint::open(path); });
}

TEST(Safetensors, maps_a_file_that_transformers_wrote) {
  const Checkpoint checkpoint = Checkpoint::open(kData / "golden/mixtral/model.safetensors");
  EXPECT_EQ(checkpoint.entries().size(), 96u);
  EXPECT_EQ(checkpoint.total_bytes(), 696192);
  EXPECT_EQ(checkpoint.metadata().at("format"), "pt");
  const Tensor* gate = checkpoint.find("model.layers.0.block_sparse_moe.gate.weight");
  ASSERT_NE(gate, nullptr);
  EXPECT_EQ(gate->view.shape, (Shape{8, 32}));
  EXPECT_EQ(gate->view.format, FormatId::f32);
  EXPECT_EQ(gate->view.row_bytes, 128);
  EXPECT_EQ(checkpoint.find("model.layers.0.block_sparse_moe.gate"), nullptr);
}

TEST(Safetensors, a_tensor_keeps_its_file_mapped) {
  Tensor tensor;
  {
    const Checkpoint checkpoint = Checkpoint::open(kData / "golden/mixtral");
    tensor = *checkpoint.find("model.norm.weight");
  }
  float sum = 0;
  for (int i = 0; i < 32; ++i) sum += tensor.view.f32()[i];
  EXPECT_GT(sum, 1.0f);
}

TEST(Safetensors, tensors_that_lie_unaligned_are_copied_to_where_they_may_be_read) {
  // A header of odd length, as writers before padding made them: f32 data at an odd address.
  std::string header = R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  if (header.size() % 2 == 0) header += ' ';
  std::string file = file_of(header);
  const float values[] = {1.5f, -2.0f};
  file.append(reinterpret_cast<const char*>(values), sizeof(values));
  TemporaryDirectory directory;
  const Checkpoint checkpoint = Checkpoint::open(directory.put("m.safetensors", file));
  const View& view = checkpoint.find("x")->view;
  EXPECT_EQ(reinterpret_cast<uintptr_t>(view.data) % 4, 0u);
  EXPECT_EQ(view.f32()[0], 1.5f);
  EXPECT_EQ(view.f32()[1], -2.0f);
}

// ---- writing ----

TEST(SafetensorsWriter, what_it_writes_reads_back_with_the_same_bytes) {
  TemporaryDirectory directory;
  const Checkpoint source = Checkpoint::open(kData / "golden-layouts/gpt_oss-mxfp4");
  std::vector<NamedView> views;
  for (const TensorEntry& entry : source.entries()) views.push_back({entry.name, entry.tensor.view});
  const std::map<std::string, std::string> metadata = {{"format", "pt"}, {"quote\"\n", "\xc3\xa9"}};
  write_safetensors(directory / "a.safetensors", views, metadata);
  const Checkpoint copy = Checkpoint::open(directory / "a.safetensors");
  EXPECT_EQ(copy.metadata(), metadata);
  ASSERT_EQ(copy.entries().size(), source.entries().size());
  for (size_t i = 0; i < source.entries().size(); ++i) {
    const View& a = source.entries()[i].tensor.view;
    const View& b = copy.entries()[i].tensor.view;
    EXPECT_EQ(source.entries()[i].name, copy.entries()[i].name);
    EXPECT_EQ(a.format, b.format);
    ASSERT_EQ(a.shape, b.shape);
    EXPECT_EQ(std::memcmp(a.data, b.data, static_cast<size_t>(a.num_bytes())), 0) << source.entries()[i].name;
  }
}

TEST(SafetensorsWriter, the_order_of_its_input_does_not_change_the_bytes) {
  TemporaryDirectory directory;
  const uint8_t bytes[4] = {1, 2, 3, 4};
  const double number = 0.5;
  const std::vector<NamedView> views = {{"a", dense_view(bytes, FormatId::u8, {3})},
                                        {"c", dense_view(&number, FormatId::f64, {})},
                                        {"b", dense_view(bytes, FormatId::u16, {2})}};
  write_safetensors(directory / "1", views);
  write_safetensors(directory / "2", std::vector<NamedView>(views.rbegin(), views.rend()));
  const std::string text = bytes_of(directory / "1");
  EXPECT_EQ(text, bytes_of(directory / "2"));
  EXPECT_EQ((text.size() - 15) % 8, 0u);  // data (8 + 4 + 3 bytes) begins at a multiple of 8
  EXPECT_EQ(text.substr(text.size() - 15, 8), std::string(reinterpret_cast<const char*>(&number), 8));
  EXPECT_EQ(text.substr(text.size() - 7), std::string("\1\2\3\4\1\2\3", 7));
}

TEST(SafetensorsWriter, tensors_made_on_the_way_give_the_same_file) {
  TemporaryDirectory directory;
  std::vector<float> numbers(700'000);  // several pieces
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<float>(i);
  View strided = dense_view(numbers.data(), FormatId::f32, {1000, 300});
  strided.row_bytes *= 2;
  const std::vector<NamedView> views = {{"a", dense_view(numbers.data(), FormatId::f32, {700, 1000})},
                                        {"b", strided},
                                        {"c", dense_view(numbers.data(), FormatId::u8, {3})},
                                        {"d", dense_view(numbers.data(), FormatId::f32, {})},
                                        {"e", dense_view(numbers.data(), FormatId::f32, {0, 4})}};
  std::vector<MadeTensor> made;
  for (const NamedView& each : views) made.push_back(made_of(each.name, each.view));
  int64_t next_row = 0;
  made[0].make_rows = [&](int64_t begin, int64_t end, char* out) {
    EXPECT_EQ(begin, std::exchange(next_row, end));
    std::memcpy(out, &numbers[static_cast<size_t>(begin) * 1000], static_cast<size_t>(end - begin) * 4000);
  };
  write_safetensors(directory / "1", views, {{"format", "pt"}});
  stream_safetensors(directory / "2", made, {{"format", "pt"}});
  EXPECT_EQ(next_row, 700);
  EXPECT_EQ(bytes_of(directory / "1"), bytes_of(directory / "2"));
  next_row = 0;
  made[1].make_rows = [](int64_t, int64_t, char*) { throw make_error(ErrorCode::runtime, "no more"); };
  EXPECT_THROW(stream_safetensors(directory / "3", made), Error);
  EXPECT_FALSE(std::filesystem::exists(directory / "3"));
}

TEST(SafetensorsWriter, strided_rows_are_written_without_their_gaps) {
  TemporaryDirectory directory;
  const uint8_t bytes[12] = {1, 2, 3, 0, 4, 5, 6, 0, 7, 8, 9, 0};
  View view = dense_view(bytes, FormatId::u8, {3, 3});
  view.row_bytes = 4;
  write_safetensors(directory / "m", std::vector<NamedView>{{"x", view}});
  const std::string text = bytes_of(directory / "m");
  EXPECT_EQ(text.substr(text.size() - 9), "\1\2\3\4\5\6\7\10\11");
}

TEST(SafetensorsWriter, leaves_the_old_file_when_the_new_one_cannot_be_written) {
  TemporaryDirectory directory;
  try {
    write_safetensors(directory / "none/m", {});
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::runtime);
    EXPECT_TRUE(says(error.text(), {"none/m", "No such file or directory"}));
  }
  EXPECT_TRUE(fs::is_empty(directory.path()));
}

// ---- what is not a checkpoint (S37, S38, X9) ----

TEST(Safetensors, a_file_that_shrinks_is_an_error_before_the_next_step) {  // S37
  TemporaryDirectory directory;
  const fs::path path = directory / "model.safetensors";
  fs::copy_file(kData / "golden/mixtral/model.safetensors", path);
  fs::permissions(path, fs::perms::owner_write, fs::perm_options::add);
  const Checkpoint checkpoint = Checkpoint::open(path);
  EXPECT_NO_THROW(checkpoint.check_unchanged());
  fs::resize_file(path, 4096);
  EXPECT_TRUE(says(refusal_of([&] { checkpoint.check_unchanged(); }), {path.string(), "4096 bytes", "shrank"}));
}

TEST(Safetensors, a_file_that_is_replaced_keeps_the_bytes_it_was_opened_with) {  // S37
  TemporaryDirectory directory;
  const fs::path path = directory / "model.safetensors";
  const uint8_t bytes[2] = {7, 8};
  write_safetensors(path, std::vector<NamedView>{{"x", dense_view(bytes, FormatId::u8, {1})}});
  const Checkpoint checkpoint = Checkpoint::open(path);
  write_safetensors(path, std::vector<NamedView>{{"x", dense_view(bytes + 1, FormatId::u8, {1})}});
  EXPECT_NO_THROW(checkpoint.check_unchanged());
  EXPECT_EQ(*static_cast<const uint8_t*>(checkpoint.find("x")->view.data), 7);
}

TEST(Safetensors, names_what_a_file_is_that_is_not_safetensors) {  // S38
  TemporaryDirectory directory;
  const auto kind = [&](std::string_view bytes) { return refusal(directory.put("model.safetensors", bytes)); };
  EXPECT_TRUE(says(kind("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"),
                   {"model.safetensors", "Git LFS pointer", "git lfs pull"}));
  EXPECT_TRUE(says(kind("\n<!DOCTYPE html><html><body>404</body></html>"), {"model.safetensors", "HTML page"}));
  EXPECT_TRUE(says(kind("<html>\n<head>"), {"HTML page"}));
  EXPECT_TRUE(says(kind(std::string("\x1f\x8b\x08\0\0\0\0\0\0\3", 10)), {"gzip"}));
  EXPECT_TRUE(says(kind("PK\x03\x04zipzipzip"), {"pickle", "never read"}));
  EXPECT_TRUE(says(kind("\x80\x02}q\x01(X\x03"), {"pickle", "never read"}));
  EXPECT_TRUE(says(kind(std::string("GGUF\3\0\0\0\0\0", 10)), {"GGUF"}));
}

TEST(Safetensors, names_what_a_path_is_that_is_no_file) {  // S38
  TemporaryDirectory directory;
  EXPECT_TRUE(says(refusal(directory / "none.safetensors"), {"none.safetensors", "No such file"}));
  ASSERT_EQ(::mkfifo((directory / "fifo").c_str(), 0600), 0);
  EXPECT_TRUE(says(refusal(directory / "fifo"), {"fifo", "a pipe"}));
  EXPECT_TRUE(says(refusal("/dev/null"), {"/dev/null", "a device"}));
  fs::create_symlink("loop", directory / "loop");
  EXPECT_TRUE(says(refusal(directory / "loop"), {"loop", "symbolic links"}));
  fs::create_directory(directory / "sub");
  fs::create_directory(directory / "sub/model.safetensors");
  EXPECT_TRUE(says(refusal(directory / "sub"), {"sub/model.safetensors", "a directory"}));
  fs::create_directory(directory / "looped");
  fs::create_symlink("model.safetensors", directory / "looped/model.safetensors");
  EXPECT_TRUE(says(refusal(directory / "looped"), {"looped/model.safetensors", "symbolic links"}));
}

TEST(Safetensors, says_when_a_file_may_not_be_read) {  // S38
  if (::geteuid() == 0) GTEST_SKIP() << "root may read every file";
  TemporaryDirectory directory;
  const fs::path path = directory.put("model.safetensors", file_of("{}"));
  fs::permissions(path, fs::perms::none);
  EXPECT_TRUE(says(refusal(path), {"model.safetensors", "Permission denied"}));
}

TEST(Safetensors, refuses_pickles_by_name) {  // X9
  TemporaryDirectory directory;
  EXPECT_TRUE(says(refusal(directory.put("pytorch_model.bin", "x")), {"pytorch_model.bin", "pickle", "run code"}));
  EXPECT_TRUE(says(refusal(directory.put("m.pt", "x")), {"m.pt", "pickle"}));
  EXPECT_TRUE(
      says(refusal(directory.path()), {"model.safetensors.index.json", "only m.pt, pytorch_model.bin", "convert"}));
}

TEST(Safetensors, says_what_a_directory_without_weights_was_searched_for) {
  TemporaryDirectory directory;
  EXPECT_TRUE(says(refusal(directory.path()),
                   {directory.path().string(), "model.safetensors or model.safetensors.index.json", "neither"}));
  directory.put("other.safetensors", file_of("{}"));
  EXPECT_TRUE(says(refusal(directory.path()), {"only other.safetensors", "Name the file itself"}));
}

// ---- identity and finiteness (S36) ----

TEST(CheckpointChecks, the_hash_does_not_depend_on_how_the_tensors_are_split_over_files) {
  const std::string whole = checkpoint_hash(Checkpoint::open(kData / "golden/mixtral"));
  EXPECT_EQ(whole, checkpoint_hash(Checkpoint::open(kData / "golden-layouts/mixtral-sharded")));
  EXPECT_EQ(whole.size(), 16u);
  EXPECT_NE(whole, checkpoint_hash(Checkpoint::open(kData / "golden-layouts/mixtral-bf16")));
  EXPECT_NE(checkpoint_hash(Checkpoint::open(kData / "golden/gpt_oss")),
            checkpoint_hash(Checkpoint::open(kData / "golden-layouts/gpt_oss-mxfp4-f32")));  // other numbers alone
}

TEST(CheckpointChecks, non_finite_weights_load_and_are_counted) {  // S36
  const float f32[] = {1, INFINITY, 0, -NAN, 3.4e38f, -INFINITY};
  EXPECT_EQ(count_non_finite(dense_view(f32, FormatId::f32, {2, 3})).count, 3);
  EXPECT_EQ(count_non_finite(dense_view(f32, FormatId::f32, {2, 3})).first, 1);
  EXPECT_EQ(count_non_finite(dense_view(f32, FormatId::c64, {3})).first, 0);
  const uint16_t f16[] = {0x7bff, 0x7c00, 0xfe00};
  EXPECT_EQ(count_non_finite(dense_view(f16, FormatId::f16, {3})).count, 2);
  const uint16_t bf16[] = {0x7f7f, 0xff80, 0x7c00};
  EXPECT_EQ(count_non_finite(dense_view(bf16, FormatId::bf16, {3})).count, 1);
  const uint8_t f8[] = {0x7e, 0x7f, 0xff, 0x80, 0x7c};
  EXPECT_EQ(count_non_finite(dense_view(f8, FormatId::f8_e4m3, {5})).count, 2);
  EXPECT_EQ(count_non_finite(dense_view(f8, FormatId::f8_e5m2, {5})).count, 4);
  EXPECT_EQ(count_non_finite(dense_view(f8, FormatId::f8_e8m0, {5})).count, 1);
  EXPECT_EQ(count_non_finite(dense_view(f8, FormatId::f8_e4m3fnuz, {5})).first, 3);
  EXPECT_EQ(count_non_finite(dense_view(f8, FormatId::u8, {5})).count, 0);
  View strided = dense_view(f32, FormatId::f32, {2, 2});
  strided.row_bytes = 12;
  EXPECT_EQ(count_non_finite(strided).count, 2);  // rows {1, inf} and {nan, max}
}

TEST(CheckpointChecks, strict_names_file_tensor_and_index) {  // S36
  TemporaryDirectory directory;
  const float values[] = {0, 1, NAN, 2};
  write_safetensors(directory / "m.safetensors",
                    std::vector<NamedView>{{"w", dense_view(values, FormatId::f32, {2, 2})}});
  const Checkpoint checkpoint = Checkpoint::open(directory / "m.safetensors");
  EXPECT_TRUE(says(refusal_of([&] { require_finite(checkpoint); }), {"m.safetensors", "tensor \"w\"", "index 2"}));
  EXPECT_NO_THROW(require_finite(Checkpoint::open(kData / "golden/mixtral")));
}

}  // namespace
}  // namespace moxie
