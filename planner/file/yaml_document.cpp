#include "planner/file/yaml_document.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <array>
#include <map>
#include <sstream>
#include <stdexcept>
#include <utility>

namespace pgbackfill::planner {
namespace {

class Refused : public std::runtime_error {
 public:
  Refused(YAML::Mark const& mark, std::string const& text) : std::runtime_error(text), mark_(mark) {}
  YAML::Mark const& mark() const { return mark_; }

 private:
  YAML::Mark mark_;
};

bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

std::size_t skip_space(std::string_view text, std::size_t at) {
  while (at < text.size() && is_space(text[at])) ++at;
  return at;
}

// yaml-cpp reports a null that was written and a value that was left out in the same way. In the second case the mark
// is that of the token that follows, which may be a key spelt like a null: that one has a colon behind it.
std::string null_word_at(std::string_view source, std::size_t offset, bool is_key) {
  static constexpr std::array<std::string_view, 4> kNullWords{"null", "Null", "NULL", "~"};
  if (offset > source.size()) return {};
  auto const rest = source.substr(offset);
  for (auto const word : kNullWords) {
    if (!rest.starts_with(word)) continue;
    auto const behind = rest.find_first_not_of(" \t", word.size());
    bool const is_before_colon = behind != std::string_view::npos && rest[behind] == ':';
    return is_before_colon && !is_key ? std::string{} : std::string{word};
  }
  return {};
}

// Where a text begins behind its anchor; the mark is that of the anchor.
std::size_t scalar_begin(std::string_view source, std::size_t offset) {
  std::size_t at = skip_space(source, offset);
  while (at < source.size() && (source[at] == '&' || source[at] == '!' || source[at] == '#')) {
    at = source.find_first_of(source[at] == '#' ? "\n" : " \t\r\n", at);
    at = skip_space(source, std::min(at, source.size()));
  }
  return at;
}

// yaml-cpp takes the end of the file for a closing quote that was forgotten.
bool is_quote_unclosed(std::string_view source, std::size_t opening) {
  if (opening >= source.size() || (source[opening] != '"' && source[opening] != '\'')) return false;
  char const quote = source[opening];
  for (std::size_t at = opening + 1; at < source.size(); ++at) {
    if (quote == '"' && source[at] == '\\') {
      ++at;
    } else if (source[at] == quote) {
      if (quote == '"' || source.substr(at + 1, 1) != "'") return false;
      ++at;
    }
  }
  return true;
}

// Where a plain scalar ends in the source; line folding has changed its white space only.
std::size_t plain_scalar_end(std::string_view source, std::size_t offset, std::string_view value) {
  std::size_t at = offset;
  for (std::size_t index = 0; index < value.size();) {
    if (at >= source.size()) return source.size();
    if (is_space(value[index])) {
      if (!is_space(source[at])) return source.size();
      index = skip_space(value, index);
      at = skip_space(source, at);
    } else {
      if (source[at] != value[index]) return source.size();
      ++index;
      ++at;
    }
  }
  return at;
}

bool is_followed_by_hash_operator(std::string_view source, std::size_t offset, std::string_view value) {
  auto const end = plain_scalar_end(source, offset, value);
  auto const hash = source.find_first_not_of(" \t", end);
  if (hash == std::string_view::npos || hash == end || source[hash] != '#') return false;
  auto const behind = source.substr(hash + 1, 1);
  return behind == ">" || behind == "-";
}

class NodeBuilder final : public YAML::EventHandler {
 public:
  explicit NodeBuilder(std::string_view source) : source_(source) {}

  std::vector<YamlNode> take_nodes() { return std::move(nodes_); }

  void OnDocumentStart(YAML::Mark const& mark) override {
    if (has_document_) throw Refused(mark, "a file holds one migration; move what follows this '---' to its own file");
    has_document_ = true;
  }

  void OnDocumentEnd() override {}

  void OnNull(YAML::Mark const& mark, YAML::anchor_t anchor) override {
    auto const index = add(mark, YamlKind::kNull, anchor);
    nodes_[index].text = null_word_at(source_, offset_of(mark), is_next_a_key());
    close(mark, index);
  }

  void OnAlias(YAML::Mark const& mark, YAML::anchor_t anchor) override {
    auto const found = anchors_.find(anchor);
    if (found == anchors_.end()) throw Refused(mark, "this alias names an anchor that is not defined");
    if (weights_[found->second] == 0) throw Refused(mark, "this alias stands inside of what it names");
    add_to_parent(mark, found->second);
  }

  void OnScalar(YAML::Mark const& mark, std::string const& tag, YAML::anchor_t anchor,
                std::string const& value) override {
    refuse_tag(mark, tag);
    // Strings end at a NUL on their way to the server: what follows would be lost without a word.
    if (value.find('\0') != std::string::npos) throw Refused(mark, "a text must not contain a NUL character");
    bool const is_plain = tag == "?";
    auto const begin = scalar_begin(source_, offset_of(mark));
    if (!is_plain && is_quote_unclosed(source_, begin))
      throw Refused(mark, "the closing quote of this text is missing");
    auto const index = add(mark, YamlKind::kScalar, anchor);
    nodes_[index].text = value;
    nodes_[index].is_cut_by_hash = is_plain && is_followed_by_hash_operator(source_, begin, value);
    close(mark, index);
  }

  void OnSequenceStart(YAML::Mark const& mark, std::string const& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value /*style*/) override {
    open(mark, tag, YamlKind::kList, anchor);
  }

  void OnSequenceEnd() override { close_innermost(); }

  void OnMapStart(YAML::Mark const& mark, std::string const& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value /*style*/) override {
    open(mark, tag, YamlKind::kMap, anchor);
  }

  void OnMapEnd() override { close_innermost(); }

 private:
  static std::size_t offset_of(YAML::Mark const& mark) { return static_cast<std::size_t>(mark.pos); }

  bool is_next_a_key() const {
    if (open_.empty()) return false;
    auto const& parent = nodes_[open_.back().second];
    return parent.kind == YamlKind::kMap && parent.children.size() % 2 == 0;
  }

  static void refuse_tag(YAML::Mark const& mark, std::string const& tag) {
    // "?" and "!" are yaml-cpp's own: no tag on a plain text, no tag on a quoted one.
    if (tag.empty() || tag == "?" || tag == "!") return;
    throw Refused(mark, "a word that begins with '!' is a YAML tag, which has no meaning here; put the text in quotes");
  }

  std::size_t add(YAML::Mark const& mark, YamlKind kind, YAML::anchor_t anchor) {
    if (nodes_.size() == kMaxYamlNodes) {
      throw Refused(mark, "the file holds more than " + std::to_string(kMaxYamlNodes) + " values");
    }
    auto const index = nodes_.size();
    nodes_.emplace_back();
    nodes_[index].kind = kind;
    nodes_[index].line = mark.line + 1;
    nodes_[index].column = mark.column + 1;
    weights_.push_back(0);
    if (anchor != YAML::NullAnchor) anchors_[anchor] = index;
    return index;
  }

  void open(YAML::Mark const& mark, std::string const& tag, YamlKind kind, YAML::anchor_t anchor) {
    refuse_tag(mark, tag);
    if (open_.size() == kMaxYamlDepth) {
      throw Refused(mark, "the file is nested more than " + std::to_string(kMaxYamlDepth) + " levels deep");
    }
    open_.emplace_back(mark, add(mark, kind, anchor));
  }

  void close_innermost() {
    auto const [mark, index] = open_.back();
    open_.pop_back();
    close(mark, index);
  }

  void close(YAML::Mark const& mark, std::size_t index) {
    std::size_t weight = 1 + nodes_[index].text.size();
    for (auto const child : nodes_[index].children) weight += weights_[child];
    refuse_weight(mark, weight);
    weights_[index] = weight;
    add_to_parent(mark, index);
  }

  void add_to_parent(YAML::Mark const& mark, std::size_t index) {
    if (open_.empty()) return;
    auto& siblings = nodes_[open_.back().second].children;
    siblings.push_back(index);
    // Each child weighs something, so this bounds aliases also while their parent is still open.
    refuse_weight(mark, siblings.size());
  }

  static void refuse_weight(YAML::Mark const& mark, std::size_t weight) {
    if (weight > kMaxExpandedBytes) {
      throw Refused(mark, "aliases make the file too large; write the values out or use fewer");
    }
  }

  std::string_view source_;
  bool has_document_ = false;
  std::vector<YamlNode> nodes_;
  std::vector<std::size_t> weights_;  // beside nodes_; bytes with aliases followed, 0 while the node is open
  std::vector<std::pair<YAML::Mark, std::size_t>> open_;
  std::map<YAML::anchor_t, std::size_t> anchors_;
};

// Bytes of the UTF-8 sequence at the front, 0 if there is none.
std::size_t utf8_length(std::string_view text) {
  auto const byte = [&](std::size_t index) { return static_cast<unsigned char>(text[index]); };
  auto const lead = byte(0);
  if (lead < 0x80) return 1;
  std::size_t const length = lead >= 0xC2 && lead <= 0xDF   ? 2
                             : lead >= 0xE0 && lead <= 0xEF ? 3
                             : lead >= 0xF0 && lead <= 0xF4 ? 4
                                                            : 0;
  if (length == 0 || text.size() < length) return 0;
  for (std::size_t index = 1; index < length; ++index) {
    if ((byte(index) & 0xC0) != 0x80) return 0;
  }
  bool const is_overlong = (lead == 0xE0 && byte(1) < 0xA0) || (lead == 0xF0 && byte(1) < 0x90);
  bool const is_surrogate = lead == 0xED && byte(1) > 0x9F;
  bool const is_too_large = lead == 0xF4 && byte(1) > 0x8F;
  return is_overlong || is_surrogate || is_too_large ? 0 : length;
}

// yaml-cpp takes the byte 0x04 for the end of the file and guesses encodings: neither may decide what is run.
std::optional<Problem> find_unreadable(std::string_view text, std::string const& file) {
  int line = 1;
  int column = 1;
  for (std::size_t at = 0; at < text.size();) {
    auto const c = static_cast<unsigned char>(text[at]);
    if ((c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7F) {
      return Problem{{file, line, column}, "a control character; only spaces, tabs and line ends may stand here"};
    }
    auto const length = utf8_length(text.substr(at));
    if (length == 0) return Problem{{file, line, column}, "the file is not UTF-8 text"};
    column = c == '\n' ? 1 : column + static_cast<int>(length);
    line += c == '\n' ? 1 : 0;
    at += length;
  }
  return std::nullopt;
}

YamlDocument refused(SourcePosition position, std::string text) {
  YamlDocument document;
  document.problem = Problem{std::move(position), std::move(text)};
  return document;
}

SourcePosition position_of(YAML::Mark const& mark, std::string const& file) {
  return mark.is_null() ? SourcePosition{file, 0, 0} : SourcePosition{file, mark.line + 1, mark.column + 1};
}

// The parser takes it for part of the text before, and complains of what comes then.
bool begins_with_tab(std::string_view text, int line) {
  std::size_t begin = 0;
  for (int left = line; left > 0 && begin < text.size(); --left) {
    begin = std::min(text.find('\n', begin), text.size() - 1) + 1;
  }
  auto const first = text.find_first_not_of(" \t", begin);
  return text.substr(begin, first == std::string_view::npos ? first : first - begin).find('\t') !=
         std::string_view::npos;
}

std::string syntax_text(std::string const& reason, bool has_tab) {
  if (has_tab) return "not valid YAML: " + reason + " (the line begins with a tab; YAML is indented by spaces)";
  return "not valid YAML: " + reason + " (a text that contains ': ', ' #', quotes or brackets belongs in quotes)";
}

}  // namespace

YamlDocument parse_yaml(std::string_view text, std::string_view file_name) {
  std::string const file{file_name};
  if (text.size() > kMaxFileBytes) {
    return refused({file, 0, 0}, "the file is larger than " + std::to_string(kMaxFileBytes) + " bytes");
  }
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  if (auto const unreadable = find_unreadable(text, file)) return refused(unreadable->position, unreadable->text);
  NodeBuilder builder{text};
  try {
    std::istringstream stream{std::string{text}};
    YAML::Parser parser{stream};
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (Refused const& refusal) {
    return refused(position_of(refusal.mark(), file), refusal.what());
  } catch (YAML::Exception const& exception) {
    bool const has_tab = !exception.mark.is_null() && begins_with_tab(text, exception.mark.line);
    return refused(position_of(exception.mark, file), syntax_text(exception.msg, has_tab));
  }
  YamlDocument document;
  document.nodes = builder.take_nodes();
  if (document.nodes.empty() || document.nodes.front().kind == YamlKind::kNull) {
    return refused({file, 1, 1}, "the file is empty; it begins with a line such as 'name: users_display_name'");
  }
  return document;
}

}  // namespace pgbackfill::planner
