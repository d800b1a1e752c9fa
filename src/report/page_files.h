// The plain files of page/, built into the binary, put together to one self-contained HTML page. Not what the pages
// say.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moxie {

/// The page of that template: every <link href="F"> and <script src="F"> becomes the file F itself (so that a template
/// also works as it lies in the source tree), and each {{marker}} its text, which is not searched again. A marker
/// without a text is a bug.
std::string build_page(std::string_view file_name,
                       const std::vector<std::pair<std::string_view, std::string_view>>& texts);

/// `text` for HTML content and quoted attributes.
std::string escape_html(std::string_view text);

/// JSON inside <script>: what could end the element is written by its number.
std::string script_safe(const std::string& json_text);

}  // namespace moxie
