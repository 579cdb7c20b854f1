#include "throttle/wording.h"

#include <array>
#include <cmath>
#include <cstdio>

namespace pgbackfill::throttle {
namespace {

std::string with_digits(double number, int digits) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.*f", digits, number);
  return text.data();
}

// Without the zeros that say nothing.
std::string trimmed(std::string text) {
  if (text.find('.') == std::string::npos) return text;
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text;
}

int digits_for(double number) {
  double const size = std::abs(number);
  return size < 9.995 ? 2 : size < 99.95 ? 1 : 0;
}

}  // namespace

std::string say_number(double number) {
  if (!std::isfinite(number)) return std::isnan(number) ? "not a number" : number > 0 ? "infinity" : "-infinity";
  // Beyond what snprintf's buffer holds nobody reads digits.
  if (std::abs(number) > 1e30) return "over 1e30";
  return trimmed(with_digits(number, digits_for(number)));
}

std::string say_seconds(double seconds) {
  if (seconds >= 5'400) return say_number(seconds / 3'600) + " h";
  if (seconds >= 120) return with_digits(seconds / 60, 0) + " min";
  return with_digits(seconds, seconds < 9.995 ? 2 : 0) + " s";
}

std::string say_bytes(double bytes) {
  if (std::isinf(bytes)) return "unlimited";
  double const size = std::abs(bytes);
  if (size >= 999.5e6) return say_number(bytes / 1e9) + " GB";
  if (size >= 999.5e3) return say_number(bytes / 1e6) + " MB";
  if (size >= 999.5) return with_digits(bytes / 1e3, 0) + " kB";
  return with_digits(bytes, 0) + " B";
}

std::string say_rate(double bytes_per_second) {
  return std::isinf(bytes_per_second) ? "unlimited" : say_bytes(bytes_per_second) + "/s";
}

std::string say_percent(double share) {
  return with_digits(100 * share, 100 * share < 9.95 ? 1 : 0) + " %";
}

}  // namespace pgbackfill::throttle
