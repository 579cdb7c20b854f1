#include "engine/view/safe_output.h"

#include <algorithm>
#include <array>

#include "engine/base/secret_mask.h"
#include "engine/base/text.h"
#include "engine/view/console.h"

namespace pgbackfill::engine {

namespace {

constexpr std::array<std::string_view, 7> kPaints{kStrong, kFaint, kGood, kDoubtful, kBad, "\x1b[36m", "\x1b[0m"};

std::size_t paint_at(std::string_view text) {
  auto const found =
      std::find_if(kPaints.begin(), kPaints.end(), [&](std::string_view paint) { return text.starts_with(paint); });
  return found == kPaints.end() ? 0 : found->size();
}

// What neutralised() would change for good reasons only within a line.
std::size_t kept_at(std::string_view text, bool has_paint) {
  if (text.front() == '\n' || text.front() == '\t') return 1;
  return has_paint ? paint_at(text) : 0;
}

}  // namespace

std::string for_people(std::string_view text, bool has_paint) {
  std::string const told = without_passwords(std::string(text));
  std::string_view rest = told;
  std::string result;
  while (!rest.empty()) {
    auto const kept = kept_at(rest, has_paint);
    result += rest.substr(0, kept);
    rest.remove_prefix(kept);
    if (kept > 0) continue;
    // Up to the next of those, all at once: a character may have several bytes.
    auto const end = std::min(rest.find_first_of("\n\t\r\x1b", 1), rest.size());
    result += rest.front() == '\r' ? "\\x0d" + neutralised(rest.substr(1, end - 1)) : neutralised(rest.substr(0, end));
    rest.remove_prefix(end);
  }
  return result;
}

void take_passwords_out(boost::json::value& document) {
  if (auto* text = document.if_string()) {
    std::string const told = without_passwords(std::string(*text));
    if (told != std::string_view(*text)) *text = told;
  } else if (auto* array = document.if_array()) {
    for (auto& one : *array) take_passwords_out(one);
  } else if (auto* object = document.if_object()) {
    for (auto& [name, one] : *object) take_passwords_out(one);
  }
}

}  // namespace pgbackfill::engine
