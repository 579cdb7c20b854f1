#include "planner/model/compute_pace.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace pgbackfill::planner {

namespace {

constexpr std::int64_t kMostPerSecond = 1'000'000;
constexpr char kNone[] = "none";

constexpr std::array<ComputeSetting, 3> kSettings{{
    {.name = "processes",
     .most = kMostProcesses,
     .is_of_command = true,
     .help = "How many copies of the program run at the same time."},
    {.name = "in_flight",
     .most = kMostInFlight,
     .help = "How many requests may wait for their answers, of all copies together."},
    {.name = "per_second",
     .most = kMostPerSecond,
     .may_be_none = true,
     .help = "How many requests may be sent in a second."},
}};

std::optional<std::int64_t> number_of(std::string_view text, std::int64_t most) {
  std::int64_t number = 0;
  auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  bool const is_number = error == std::errc{} && end == text.data() + text.size();
  return is_number && number >= 1 && number <= most ? std::optional(number) : std::nullopt;
}

// Absent: nobody has set it, or what was set cannot be read.
std::optional<std::int64_t> live_number(std::string_view name, std::map<std::string, std::string> const& live) {
  auto const found = live.find(std::string(name));
  return found == live.end() ? std::nullopt : number_of(found->second, find_compute_setting(name)->most);
}

}  // namespace

std::span<ComputeSetting const> compute_settings() {
  return kSettings;
}

ComputeSetting const* find_compute_setting(std::string_view name) {
  auto const found = std::find_if(kSettings.begin(), kSettings.end(),
                                  [&](ComputeSetting const& setting) { return setting.name == name; });
  return found == kSettings.end() ? nullptr : &*found;
}

std::string compute_setting_problem(ComputeSetting const& setting, std::string_view text) {
  bool const is_good = number_of(text, setting.most) || (setting.may_be_none && text == kNone);
  if (is_good) return "";
  return "a number from 1 to " + std::to_string(setting.most) + (setting.may_be_none ? ", or none" : "");
}

ComputePace compute_pace(Compute const& compute, std::map<std::string, std::string> const& live) {
  ComputePace pace;
  pace.processes = static_cast<int>(live_number("processes", live).value_or(compute.processes));
  std::int64_t const in_ratio =
      (std::int64_t{compute.in_flight} * pace.processes + compute.processes - 1) / std::max(compute.processes, 1);
  std::int64_t const usual = std::clamp<std::int64_t>(in_ratio, 1, kMostInFlight);
  pace.in_flight = static_cast<int>(live_number("in_flight", live).value_or(usual));
  auto const found = live.find("per_second");
  bool const has_none = found != live.end() && found->second == kNone;
  pace.per_second = has_none ? std::nullopt : live_number("per_second", live);
  if (!pace.per_second && !has_none) pace.per_second = compute.per_second;
  return pace;
}

std::string text_of_setting(std::string_view name, ComputePace const& pace) {
  if (name == "processes") return std::to_string(pace.processes);
  if (name == "in_flight") return std::to_string(pace.in_flight);
  return pace.per_second ? std::to_string(*pace.per_second) : kNone;
}

}  // namespace pgbackfill::planner
