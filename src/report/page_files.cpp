#include "report/page_files.h"

#include <algorithm>

#include "base/error.h"

namespace moxie {

std::string_view page_file(std::string_view file_name);  // the embedded files of page/ (cmake/embed.cmake)

namespace {

/// Puts the file of every <link href="F"> and <script src="F"> of the markup in its place, so that page.html also works
/// as it lies in the source tree.
std::string assemble(std::string page) {
  constexpr std::string_view kNonce = "moxie";
  const auto inline_files = [&](std::string_view before, std::string_view after, std::string_view element) {
    for (size_t at = 0; (at = page.find(before, at)) != std::string::npos;) {
      const size_t name = at + before.size(), end = page.find(after, name);
      MOXIE_CHECK(end != std::string::npos);
      const std::string_view text = page_file(page.substr(name, end - name));
      MOXIE_CHECK(!text.empty());
      const std::string whole = fmt::format("<{0} nonce=\"{1}\">\n{2}</{0}>", element, kNonce, text);
      page.replace(at, end + after.size() - at, whole);
      at += whole.size();
    }
  };
  inline_files("<link rel=\"stylesheet\" href=\"", "\">", "style");
  inline_files("<script src=\"", "\"></script>", "script");
  return page;
}

}  // namespace

std::string build_page(std::string_view file_name,
                       const std::vector<std::pair<std::string_view, std::string_view>>& texts) {
  const std::string frame = assemble(std::string(page_file(file_name)));
  std::string out;
  size_t at = 0;
  for (size_t open; (open = frame.find("{{", at)) != std::string::npos;) {
    const size_t close = frame.find("}}", open);
    MOXIE_CHECK(close != std::string::npos);
    const std::string_view marker = std::string_view(frame).substr(open + 2, close - open - 2);
    const auto text = std::find_if(texts.begin(), texts.end(), [&](const auto& pair) { return pair.first == marker; });
    MOXIE_CHECK(text != texts.end());
    out.append(frame, at, open - at).append(text->second);
    at = close + 2;
  }
  return out.append(frame, at, std::string::npos);
}

std::string escape_html(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string script_safe(const std::string& json_text) {
  std::string out;
  for (size_t i = 0; i < json_text.size(); ++i) {
    const char c = json_text[i];
    // Only "<" could end the element; the others are for readers that are not quite up to date.
    if (c == '<' || c == '>' || c == '&') {
      out += fmt::format("\\u{:04x}", static_cast<unsigned char>(c));
    } else if (json_text.compare(i, 3, "\u2028") == 0 || json_text.compare(i, 3, "\u2029") == 0) {
      out += json_text[i + 2] == '\xa8' ? "\\u2028" : "\\u2029";
      i += 2;
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace moxie
