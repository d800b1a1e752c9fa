// The routing page as a file: what it holds, its size, its escapes. How it behaves: tests/browser.
#include "report/routing_page.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/json.h"
#include "base/utf8.h"
#include "report/page_pack.h"
#include "report/traces.h"

namespace moxie {
namespace {

using testing::make_texts;
using testing::make_trace;

std::string make_page(const RoutingTrace& trace, const std::string& model = "tiny") {
  return routing_page(trace, make_texts(trace), {.model = model, .source = "prompt", .router = {{"top-k", "2"}}});
}

json::Value data_of(const std::string& page) {
  const std::string_view opening = "<script type=\"application/json\" id=\"data\">";
  const size_t begin = page.find(opening) + opening.size();
  return json::parse(page.substr(begin, page.find("</script>", begin) - begin), {.source = "page data"});
}

std::string decode_base64(std::string_view text) {
  const std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  uint32_t held = 0;
  int bits = 0;
  for (const char c : text) {
    if (c == '=') break;
    held = held << 6 | static_cast<uint32_t>(digits.find(c));
    if ((bits += 6) >= 8) out += static_cast<char>(held >> (bits -= 8) & 0xff);
  }
  return out;
}

/// Fields of any width, as the page's script reads them.
class BitReader {
 public:
  explicit BitReader(std::string bytes) : bytes_(std::move(bytes)) {}
  uint32_t next(int bits) {
    uint32_t value = 0;
    for (int i = 0; i < bits; ++i, ++at_) {
      value = value << 1 | (static_cast<unsigned char>(bytes_.at(at_ / 8)) >> (7 - at_ % 8) & 1);
    }
    return value;
  }

 private:
  std::string bytes_;
  size_t at_ = 0;
};

TEST(RoutingPage, base64_matches_rfc_4648) {
  EXPECT_EQ(base64(""), "");
  EXPECT_EQ(base64("f"), "Zg==");
  EXPECT_EQ(base64("fo"), "Zm8=");
  EXPECT_EQ(base64("foo"), "Zm9v");
  EXPECT_EQ(base64("foobar"), "Zm9vYmFy");
}

TEST(RoutingPage, packed_experts_weights_and_margins_come_back) {
  for (const int32_t experts : {2, 16, 64, 256, 300, 512}) {
    LayerTrace layer = make_trace(50, 1, experts, 2).layers[0];
    if (experts == 64) layer.topk_ids[7] = -1;
    layer.margin[3] = std::numeric_limits<float>::infinity();
    const PackedLayer packed = pack_layer(layer, {.tokens = 50});
    BitReader reader(decode_base64(packed.base64));
    for (size_t t = 0; t < 50; ++t) {
      const uint32_t margin = reader.next(packed.margin_bits);
      if (t == 3) {
        EXPECT_EQ(margin, 255u);
      } else {
        EXPECT_NEAR(std::pow(margin / 254.0, 2) * packed.margin_max, layer.margin[t], packed.margin_max / 200);
      }
      for (size_t s = 0; s < 2; ++s) {
        const int32_t expected = layer.topk_ids[2 * t + s];
        EXPECT_EQ(reader.next(packed.id_bits), static_cast<uint32_t>(expected < 0 ? experts : expected));
        EXPECT_NEAR(
            reader.next(packed.weight_bits) / 255.0 * (packed.weight_max - packed.weight_min) + packed.weight_min,
            layer.topk_weights[2 * t + s], packed.weight_max / 400);
      }
    }
  }
}

TEST(RoutingPage, keeps_the_strongest_experts_when_it_must_cut) {
  const LayerTrace layer{.layer = 0,
                         .num_experts = 8,
                         .top_k = 4,
                         .topk_ids = {0, -1, 2, 3},
                         .topk_weights = {0.1f, 0.9f, 0.6f, 0.3f},
                         .margin = {}};
  const PackedLayer packed = pack_layer(layer, {.max_slots = 2, .tokens = 1});
  BitReader reader(decode_base64(packed.base64));
  EXPECT_EQ(packed.slots, 2);
  EXPECT_EQ(reader.next(packed.id_bits), 2u);
  reader.next(packed.weight_bits);
  EXPECT_EQ(reader.next(packed.id_bits), 3u);
}

TEST(RoutingPage, two_thousand_tokens_by_forty_eight_layers_stay_below_a_megabyte) {
  struct Case {
    int64_t tokens;
    int layers;
    int32_t experts, top_k;
    size_t least_kept;
  };
  for (const Case& c : {Case{2000, 48, 128, 8, 2000}, Case{2000, 48, 64, 6, 2000}, Case{2000, 48, 512, 10, 1800},
                        Case{20000, 60, 256, 8, 1500}}) {
    const RoutingTrace trace = make_trace(c.tokens, c.layers, c.experts, c.top_k);
    const std::string page = make_page(trace);
    EXPECT_LT(page.size(), 1'000'000u) << c.tokens << " tokens, " << c.experts << " experts";
    EXPECT_GT(page.size(), 700'000u) << "room for detail is left unused";
    const json::Value data = data_of(page);
    EXPECT_EQ(data.find("tokens")->find("total")->as_int(), c.tokens);
    const size_t kept = data.find("tokens")->find("index")->items().size();
    EXPECT_GE(kept, c.least_kept);
    EXPECT_GE(*data.find("packed")->items()[0].find("slots")->as_int(), c.top_k / 3);
    int64_t counted = 0;  // the loads never lose a token
    for (const json::Value& count : data.find("layers")->items()[0].find("counts")->items()) counted += *count.as_int();
    EXPECT_EQ(counted, c.tokens * c.top_k);
  }
}

TEST(RoutingPage, no_text_can_leave_its_place) {
  RoutingTrace trace = make_trace(6, 1, 4, 2);
  trace.metadata = {{"</script><img src=x onerror=alert(1)>", "<!-- \xff"}};
  const std::string evil = "</script><script>alert(1)</script>";
  const std::vector<std::string> texts = {evil,           "<!--",    "\"'&{{data}}", std::string("\0\x1b\r", 3),
                                          "\u2028\u2029", "\xc3\x28"};
  const std::string page =
      routing_page(trace, texts, {.model = evil + "{{data}}", .source = evil, .router = {{evil, evil}}});
  EXPECT_EQ(page.find("alert(1)</script>"), std::string::npos);
  EXPECT_EQ(page.find("<img"), std::string::npos);
  EXPECT_EQ(page.find("<!--"), std::string::npos);
  EXPECT_EQ(page.find("\u2028"), std::string::npos);
  EXPECT_EQ(utf8_error_offset(page), std::string::npos);
  size_t scripts = 0;
  for (size_t at = 0; (at = page.find("</script", at)) != std::string::npos; ++at) ++scripts;
  EXPECT_EQ(scripts, 8u);  // the data and seven of our own
  const json::Value data = data_of(page);
  EXPECT_EQ(data.find("model")->as_string(), evil + "{{data}}");
}

TEST(RoutingPage, asks_nothing_of_a_network) {
  const std::string page = make_page(make_trace(20, 2, 8, 2));
  std::string rest = page;
  for (const std::string_view name : {"http://www.w3.org/2000/svg"}) {  // a name, not an address
    for (size_t at; (at = rest.find(name)) != std::string::npos;) rest.erase(at, name.size());
  }
  for (const std::string_view address : {"http://", "https://", "src=\"", "@import", "url("}) {
    EXPECT_EQ(rest.find(address), std::string::npos) << address;
  }
  EXPECT_NE(page.find("default-src 'none'"), std::string::npos);
}

TEST(RoutingPage, empty_tiny_and_huge_models_have_a_page) {
  EXPECT_EQ(data_of(make_page({})).find("layers")->items().size(), 0u);
  make_page(make_trace(0, 2, 4, 1));
  make_page(make_trace(1, 1, 1, 1));
  RoutingTrace bare = make_trace(30, 2, 512, 10);
  for (LayerTrace& layer : bare.layers) {
    layer.topk_weights.clear();
    layer.margin.clear();
    layer.topk_ids[4] = -1;
  }
  const json::Value data = data_of(make_page(bare));
  EXPECT_EQ(data.find("packed")->items()[0].find("weightBits")->as_int(), 0);
  EXPECT_EQ(data.find("dropped")->as_int(), 2);
}

/// Not a check of its own: leaves pages for tests/browser, which looks at them in a real browser.
TEST(RoutingPage, pages_for_the_browser_test_are_written) {
  const char* directory = std::getenv("MOXIE_PAGE_DIR");
  if (directory == nullptr) GTEST_SKIP() << "the browser tests run it themselves, with MOXIE_PAGE_DIR";
  std::filesystem::create_directories(directory);
  const auto write = [&](const char* name, const RoutingTrace& trace, const std::vector<std::string>& texts) {
    std::ofstream file(std::filesystem::path(directory) / name, std::ios::binary);
    file << routing_page(trace, texts,
                         {.model = "<b>sample</b>", .source = "prompt", .router = {{"score", "softmax"}}});
    ASSERT_TRUE(file.good());
  };
  RoutingTrace sample = make_trace(400, 4, 16, 2);
  for (int32_t& id : sample.layers[0].topk_ids) {
    if (id == 5) id = 6;
  }
  std::vector<std::string> texts = make_texts(sample);
  texts[3] = "</script><script>document.title='broken'</script>";
  texts[4] = "\n";
  write("sample.html", sample, texts);
  const RoutingTrace large = make_trace(2000, 48, 128, 8);
  write("large.html", large, make_texts(large));
  const RoutingTrace wide = make_trace(60, 2, 512, 10);
  write("wide.html", wide, make_texts(wide));
  write("empty.html", {}, {});
}

}  // namespace
}  // namespace moxie
