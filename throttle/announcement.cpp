#include "throttle/announcement.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdio>

#include "throttle/decision.h"

namespace pgbackfill::throttle {
namespace {

constexpr double kBytesPerUnit = 1'000;
constexpr double kMostUnits = 1e9;    // a terabyte a second
constexpr double kMostBatches = 999;  // a process has at most 256 workers

// Rounded up, so that a little is not nothing.
std::string whole(double number, double most) {
  if (std::isinf(number)) return "*";
  return std::to_string(static_cast<std::int64_t>(std::clamp(std::ceil(number), 0.0, most)));
}

std::string weight_text(double weight) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.4g", std::clamp(weight, 1e-4, kMostAnnouncedWeight));
  return text.data();
}

// Each character that is not ASCII as one question mark.
std::string as_ascii(std::string_view name) {
  std::string text;
  for (char const each : name) {
    auto const byte = static_cast<unsigned char>(each);
    bool const continues = (byte & 0xC0) == 0x80;
    if (!continues) text += byte >= 0x20 && byte < 0x7F ? each : '?';
  }
  return text;
}

// Reads from left to right; whatever does not fit makes the whole no announcement.
class Words {
 public:
  explicit Words(std::string_view text) : rest_(text) {}

  void expect(std::string_view word) {
    is_good_ = is_good_ && rest_.starts_with(word);
    if (is_good_) rest_.remove_prefix(word.size());
  }

  double number(double most) {
    double value = 0;
    auto const [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value);
    is_good_ = is_good_ && error == std::errc() && std::isfinite(value) && value >= 0;
    if (!is_good_) return 0;
    rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
    return std::min(value, most);
  }

  double number_or_all(double most) {
    if (!rest_.starts_with('*')) return number(most);
    rest_.remove_prefix(1);
    return kUnlimited;
  }

  bool is_good() const { return is_good_; }
  std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
  bool is_good_ = true;
};

}  // namespace

std::string announcement_of(NeighbourReading const& self) {
  std::string text = kAnnouncementBegin + weight_text(self.weight);
  text += " wal=" + whole(self.wal_per_second / kBytesPerUnit, kMostUnits) + "/" +
          whole(self.wal_wanted / kBytesPerUnit, kMostUnits);
  text += " b=" + whole(self.workers, kMostBatches) + "/" + whole(self.workers_wanted, kMostBatches) + " ";
  std::string const name = as_ascii(self.name);
  std::size_t const room = kMostAnnouncementBytes - text.size();
  return text + (name.size() <= room ? name : name.substr(0, room - 1) + "~");
}

std::optional<NeighbourReading> neighbour_of(std::string_view announcement) {
  NeighbourReading neighbour;
  Words words(announcement);
  words.expect(kAnnouncementBegin);
  neighbour.weight = words.number(kMostAnnouncedWeight);
  words.expect(" wal=");
  neighbour.wal_per_second = words.number(kMostUnits) * kBytesPerUnit;
  words.expect("/");
  neighbour.wal_wanted = words.number_or_all(kMostUnits) * kBytesPerUnit;
  words.expect(" b=");
  neighbour.workers = words.number(kMostBatches);
  words.expect("/");
  neighbour.workers_wanted = words.number_or_all(kMostBatches);
  words.expect(" ");
  neighbour.name = words.rest();
  if (!words.is_good() || !(neighbour.weight > 0)) return std::nullopt;
  return neighbour;
}

}  // namespace pgbackfill::throttle
