// Pre-tokenizers: the stages that split a normalised text into words, none of which a merge may cross.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/normalizer.h"

namespace moxie::text {

/// What happens to the matches of a Split.
enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

struct Split {
  Pattern pattern;
  SplitBehavior behavior = SplitBehavior::isolated;
  bool invert = false;  // the spans between matches count as the matches
};
/// Puts a space before a piece that does not begin with one (ByteLevel's add_prefix_space).
struct PrefixSpace {};
/// Spaces become `replacement`; a piece may get one in front; then it may be split before each.
struct Metaspace {
  enum class Prepend { always, first, never };
  std::string replacement;
  Prepend prepend = Prepend::always;
  bool split = true;
};
/// Splits before each run of `marker` (which loses nothing: no token has anything before its markers).
struct MarkerSplit {
  std::string marker;
};

using PreTokenizerStage = std::variant<Split, PrefixSpace, Metaspace, MarkerSplit>;

using PreTokenizer = std::vector<PreTokenizerStage>;

/// One encode call's run through the stages. A word is valid while on_word looks at it.
class PreTokenizerRun {
 public:
  using OnWord = std::function<void(std::string_view)>;
  PreTokenizerRun(const PreTokenizer& stages, OnWord on_word);

  /// `at_start`: the piece stands at the start of the whole text.
  void split(std::string_view piece, bool at_start) { stage(0, piece, at_start); }

 private:
  void stage(size_t index, std::string_view piece, bool at_start);
  void apply(const Split& split, size_t index, std::string_view piece, bool at_start);
  void apply(const PrefixSpace&, size_t index, std::string_view piece, bool at_start);
  void apply(const Metaspace& metaspace, size_t index, std::string_view piece, bool at_start);
  void apply(const MarkerSplit& split, size_t index, std::string_view piece, bool at_start);

  const PreTokenizer& stages_;
  OnWord on_word_;
  std::vector<std::optional<Regex::Matcher>> matchers_;  // one a stage
};

}  // namespace moxie::text
