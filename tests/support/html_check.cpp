#include "tests/support/html_check.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstddef>
#include <string_view>
#include <vector>

namespace pgbackfill::tests {
namespace {

constexpr std::array<std::string_view, 6> kVoid{"meta", "br", "hr", "link", "img", "input"};
constexpr std::array<std::string_view, 5> kEntities{"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};
constexpr std::array<std::string_view, 5> kLetters{"&", "<", ">", "\"", "'"};

class Page {
 public:
  Page(std::string const& html, PageKind kind) : html_(html), is_served_(kind == PageKind::kServed) {}

  std::string trouble() {
    if (!html_.starts_with("<!doctype html>\n")) return "it does not begin with its doctype";
    at_ = std::string_view("<!doctype html>").size();
    while (at_ < html_.size()) {
      std::string const found = html_[at_] == '<' ? tag() : text();
      if (!found.empty()) return found + " in: " + html_.substr(at_ < 60 ? 0 : at_ - 60, 160);
    }
    return open_.empty() ? "" : "<" + open_.back() + "> is not closed";
  }

 private:
  std::string text() {
    auto const end = std::min(html_.find('<', at_), html_.size());
    auto const found = trouble_of(std::string_view(html_).substr(at_, end - at_));
    if (found.empty()) at_ = end;
    return found;
  }

  static std::string trouble_of(std::string_view text) {
    if (text.find('>') != std::string_view::npos) return "a bare >";
    for (auto at = text.find('&'); at != std::string_view::npos; at = text.find('&', at + 1)) {
      bool const is_known = std::any_of(kEntities.begin(), kEntities.end(),
                                        [&](std::string_view one) { return text.substr(at).starts_with(one); });
      if (!is_known) return "a bare &";
    }
    return "";
  }

  std::string name() {
    auto const begin = at_;
    while (at_ < html_.size() && (std::isalnum(static_cast<unsigned char>(html_[at_])) != 0 || html_[at_] == '-'))
      ++at_;
    return html_.substr(begin, at_ - begin);
  }

  std::string closing() {
    at_ += 2;
    auto const tag = name();
    if (open_.empty() || open_.back() != tag) return "</" + tag + "> closes nothing";
    open_.pop_back();
    if (html_[at_] != '>') return "</" + tag + " has no end";
    ++at_;
    return "";
  }

  std::string attribute(std::string const& tag) {
    auto const key = name();
    if (key.empty()) return "<" + tag + "> has something odd in it";
    bool const is_address = key == "src" || key == "href" || key == "action" || key == "data-live";
    if (key.starts_with("on") || (is_address && !is_served_)) return "<" + tag + "> has " + key;
    if (html_.compare(at_, 2, "=\"") != 0) return "<" + tag + "> has " + key + " without quotes";
    at_ += 2;
    auto const end = html_.find('"', at_);
    if (end == std::string::npos) return key + " has no end";
    auto const value = std::string_view(html_).substr(at_, end - at_);
    if (value.find('<') != std::string_view::npos) return key + " has a bare <";
    bool const is_own =
        value.starts_with('#') || value == "data:," || (value.starts_with('/') && !value.starts_with("//"));
    if (is_address && !is_own) return "<" + tag + "> leads elsewhere by " + key;
    if (tag == "script" && key == "src") has_source_ = true;
    auto const found = trouble_of(value);
    if (!found.empty()) return key + " has " + found;
    at_ = end + 1;
    return "";
  }

  std::string tag() {
    if (html_.compare(at_, 2, "</") == 0) return closing();
    ++at_;
    auto const tag = name();
    if (tag.empty()) return "a bare <";
    bool const is_script = tag == "script";
    if ((is_script && !is_served_) || tag == "iframe" || tag == "object") return "<" + tag + ">";
    has_source_ = false;
    while (html_[at_] == ' ') {
      ++at_;
      auto const found = attribute(tag);
      if (!found.empty()) return found;
    }
    bool const is_empty = html_.compare(at_, 2, "/>") == 0;
    at_ += is_empty ? 2 : 1;
    if (html_[at_ - 1] != '>') return "<" + tag + " has no end";
    bool const is_void = std::find(kVoid.begin(), kVoid.end(), tag) != kVoid.end();
    if (is_empty || is_void) return "";
    if (tag == "style") return style();
    bool const is_inline = is_script && (!has_source_ || html_.compare(at_, 9, "</script>") != 0);
    if (is_inline) return "a script in the page";
    open_.push_back(tag);
    return "";
  }

  std::string style() {
    auto const end = html_.find("</style>", at_);
    if (end == std::string::npos) return "<style> is not closed";
    auto const rules = html_.substr(at_, end - at_);
    if (rules.find("url(") != std::string::npos || rules.find("@import") != std::string::npos)
      return "a style that asks";
    at_ = end + std::string_view("</style>").size();
    return "";
  }

  std::string const& html_;
  bool const is_served_;
  bool has_source_ = false;
  std::size_t at_ = 0;
  std::vector<std::string> open_;
};

}  // namespace

std::string html_trouble(std::string const& html, PageKind kind) {
  return Page(html, kind).trouble();
}

std::string html_words(std::string const& html) {
  std::string words;
  bool is_in_tag = false;
  for (std::size_t at = 0; at < html.size(); ++at) {
    if (html[at] == '<' || html[at] == '>') {
      is_in_tag = html[at] == '<';
      continue;
    }
    if (is_in_tag) continue;
    std::size_t entity = 0;
    while (entity < kEntities.size() && html.compare(at, kEntities.at(entity).size(), kEntities.at(entity)) != 0)
      ++entity;
    if (entity == kEntities.size()) {
      words += html[at];
    } else {
      words += kLetters.at(entity);
      at += kEntities.at(entity).size() - 1;
    }
  }
  return words;
}

}  // namespace pgbackfill::tests
