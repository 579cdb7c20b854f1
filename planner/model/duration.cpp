#include "planner/model/duration.h"

#include <algorithm>
#include <array>
#include <cstdint>

namespace pgbackfill::planner {
namespace {

struct Unit {
  std::string_view suffix;
  std::int64_t milliseconds;
};

// "ms" stands before "s" and "m", which are parts of it.
constexpr std::array<Unit, 4> kUnits{{{"ms", 1}, {"s", 1'000}, {"m", 60'000}, {"h", 3'600'000}}};

// More digits than any accepted duration needs; keeps the arithmetic below far from overflow.
constexpr std::size_t kMaxWholeDigits = 12;
constexpr std::size_t kMaxFractionDigits = 6;

bool is_digits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

std::int64_t digits_value(std::string_view digits) {
  std::int64_t value = 0;
  for (char const digit : digits) value = value * 10 + (digit - '0');
  return value;
}

// The amount in units of 10^-scale milliseconds would be inexact in binary, so it is kept in integers throughout.
std::optional<std::chrono::milliseconds> scaled(std::string_view number, std::int64_t unit_milliseconds) {
  auto const dot = number.find('.');
  auto const whole = number.substr(0, dot);
  if (!is_digits(whole) || whole.size() > kMaxWholeDigits) return std::nullopt;
  auto const whole_units = digits_value(whole);
  if (whole_units > kMaxDuration.count() / unit_milliseconds) return std::nullopt;
  std::int64_t milliseconds = whole_units * unit_milliseconds;
  if (dot != std::string_view::npos) {
    auto const fraction = number.substr(dot + 1);
    if (!is_digits(fraction) || fraction.size() > kMaxFractionDigits) return std::nullopt;
    std::int64_t scale = 1;
    for (std::size_t place = 0; place < fraction.size(); ++place) scale *= 10;
    auto const parts = digits_value(fraction) * unit_milliseconds;
    if (parts % scale != 0) return std::nullopt;
    milliseconds += parts / scale;
  }
  std::chrono::milliseconds const duration{milliseconds};
  if (duration > kMaxDuration) return std::nullopt;
  return duration;
}

std::string without_trailing_zeros(std::string text) {
  while (text.back() == '0') text.pop_back();
  return text;
}

}  // namespace

std::optional<std::chrono::milliseconds> parse_duration(std::string_view text) {
  for (auto const& unit : kUnits) {
    if (text.ends_with(unit.suffix)) {
      return scaled(text.substr(0, text.size() - unit.suffix.size()), unit.milliseconds);
    }
  }
  return std::nullopt;
}

std::string format_duration(std::chrono::milliseconds duration) {
  bool const is_negative = duration.count() < 0;
  // Negated as unsigned, because the smallest value has no positive counterpart.
  auto const bits = static_cast<std::uint64_t>(duration.count());
  std::uint64_t const milliseconds = is_negative ? 0 - bits : bits;
  std::string text = is_negative ? "-" : "";
  if (milliseconds < 1'000) return text + std::to_string(milliseconds) + "ms";
  if (milliseconds % 3'600'000 == 0) return text + std::to_string(milliseconds / 3'600'000) + "h";
  if (milliseconds % 60'000 == 0) return text + std::to_string(milliseconds / 60'000) + "m";
  text += std::to_string(milliseconds / 1'000);
  if (auto const rest = milliseconds % 1'000; rest != 0) {
    text += '.';
    text += without_trailing_zeros(std::to_string(1'000 + rest).substr(1));
  }
  return text + "s";
}

}  // namespace pgbackfill::planner
