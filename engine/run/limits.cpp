#include "engine/run/limits.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <span>

#include "planner/file/throttle_settings.h"

namespace pgbackfill::engine {

namespace {

using planner::SettingValue;
using throttle::Limits;
using Setter = void (*)(Limits&, SettingValue const&);

std::int64_t whole(SettingValue const& value) {
  return std::get<std::int64_t>(value);
}

std::chrono::milliseconds duration(SettingValue const& value) {
  return std::chrono::milliseconds{whole(value)};
}

bool is_nothing(SettingValue const& value) {
  return std::holds_alternative<std::monostate>(value);
}

std::vector<std::string> names(SettingValue const& value) {
  return is_nothing(value) ? std::vector<std::string>() : std::get<std::vector<std::string>>(value);
}

throttle::Mode mode(SettingValue const& value) {
  auto const& word = std::get<std::string>(value);
  if (word == "observe") return throttle::Mode::kObserve;
  return word == "off" ? throttle::Mode::kOff : throttle::Mode::kOn;
}

throttle::MissingReplica missing_replica(SettingValue const& value) {
  auto const& word = std::get<std::string>(value);
  if (word == "auto") return throttle::MissingReplica::kAuto;
  if (word == "ignore") return throttle::MissingReplica::kIgnore;
  return word == "abort" ? throttle::MissingReplica::kAbort : throttle::MissingReplica::kPause;
}

void set_max_rows(Limits& limits, SettingValue const& value) {
  limits.max_rows_per_second.reset();
  if (!is_nothing(value)) limits.max_rows_per_second = whole(value);
}

void set_max_wal(Limits& limits, SettingValue const& value) {
  limits.max_wal_per_second.reset();
  if (!is_nothing(value)) limits.max_wal_per_second = static_cast<std::uint64_t>(whole(value));
}

// A step of nice(1) changes a process's share of the kernel's time by a quarter; here the same for a job's share.
void set_weight(Limits& limits, SettingValue const& value) {
  limits.weight = std::pow(1.25, -static_cast<double>(whole(value)));
}

// One line a setting of planner::throttle_settings(); a test holds the two together.
std::map<std::string_view, Setter> const& setters() {
  static std::map<std::string_view, Setter> const table = {
      {"mode", [](Limits& limits, SettingValue const& value) { limits.mode = mode(value); }},
      {"replica_lag", [](Limits& limits, SettingValue const& value) { limits.replica_lag = duration(value); }},
      {"slot_lag", [](Limits& limits, SettingValue const& value) { limits.slot_lag = duration(value); }},
      {"replicas", [](Limits& limits, SettingValue const& value) { limits.replicas = names(value); }},
      {"ignore_replicas", [](Limits& limits, SettingValue const& value) { limits.ignore_replicas = names(value); }},
      {"expected_replicas",
       [](Limits& limits, SettingValue const& value) { limits.expected_replicas = static_cast<int>(whole(value)); }},
      {"missing_replica",
       [](Limits& limits, SettingValue const& value) { limits.missing_replica = missing_replica(value); }},
      {"missing_patience",
       [](Limits& limits, SettingValue const& value) { limits.missing_patience = duration(value); }},
      {"latency_ratio",
       [](Limits& limits, SettingValue const& value) { limits.latency_ratio = std::get<double>(value); }},
      {"utilization", [](Limits& limits, SettingValue const& value) { limits.utilization = std::get<double>(value); }},
      {"cores", [](Limits& limits, SettingValue const& value) { limits.cores = static_cast<int>(whole(value)); }},
      {"lock_wait", [](Limits& limits, SettingValue const& value) { limits.lock_wait = duration(value); }},
      {"slot_headroom",
       [](Limits& limits, SettingValue const& value) {
         limits.slot_headroom = static_cast<std::uint64_t>(whole(value));
       }},
      {"archive_slow", [](Limits& limits, SettingValue const& value) { limits.archive_slow = whole(value); }},
      {"archive_stop", [](Limits& limits, SettingValue const& value) { limits.archive_stop = whole(value); }},
      {"wraparound_age", [](Limits& limits, SettingValue const& value) { limits.wraparound_age = whole(value); }},
      {"xmin_age",
       [](Limits& limits, SettingValue const& value) {
         limits.xmin_age = std::chrono::duration_cast<std::chrono::seconds>(duration(value));
       }},
      {"dead_rows", [](Limits& limits, SettingValue const& value) { limits.dead_rows = std::get<double>(value); }},
      {"bloat", [](Limits& limits, SettingValue const& value) { limits.bloat = std::get<double>(value); }},
      {"min_free_connections",
       [](Limits& limits, SettingValue const& value) { limits.min_free_connections = static_cast<int>(whole(value)); }},
      {"max_rows_per_second", &set_max_rows},
      {"max_wal_per_second", &set_max_wal},
      {"nice", &set_weight},
  };
  return table;
}

void apply(SettingTexts const& texts, char const* remedy, LimitsFound& found) {
  for (auto const& [name, text] : texts) {
    auto const* rule = planner::find_throttle_setting(name);
    auto const setter = setters().find(name);
    std::string problem;
    if (rule == nullptr || setter == setters().end()) {
      problem = "is not known to this version";
    } else {
      auto const parsed = planner::parse_setting(*rule, text);
      if (parsed.value) {
        setter->second(found.limits, *parsed.value);
        continue;
      }
      problem = parsed.problem;
    }
    if (found.problem.empty()) found.problem = fmt::format("throttle.{}={} {}; {}", name, text, problem, remedy);
  }
}

// Who says something of them wants them to be heeded.
constexpr std::string_view kOfReplicas[] = {"replica_lag",       "slot_lag",        "replicas",
                                            "expected_replicas", "missing_replica", "missing_patience"};
constexpr std::string_view kOfLatency[] = {"latency_ratio"};

bool is_any_set(std::span<std::string_view const> names, SettingTexts const& file, SettingTexts const& live) {
  return std::any_of(names.begin(), names.end(), [&](std::string_view name) {
    std::string const key(name);
    return file.contains(key) || live.contains(key);
  });
}

}  // namespace

SettingTexts setting_texts(planner::ThrottleOptions const& options) {
  SettingTexts texts;
  for (auto const& setting : options.settings) texts[setting.name] = setting.text;
  return texts;
}

LimitsFound limits_of(SettingTexts const& file, SettingTexts const& live) {
  SettingTexts unset = file;
  for (auto const& [name, text] : live) unset.erase(name);
  LimitsFound found;
  apply(unset, "fix the file", found);
  apply(live, "`pgbackfill set NAME throttle.SETTING=default` takes it away", found);
  found.limits.must_see_replicas = is_any_set(kOfReplicas, file, live);
  found.limits.must_see_latency = is_any_set(kOfLatency, file, live);
  return found;
}

EffectiveSetting effective_setting(std::string_view name, SettingTexts const& file, SettingTexts const& live) {
  std::string const key{name};
  if (auto const found = live.find(key); found != live.end()) return {found->second, SettingOrigin::kLive};
  if (auto const found = file.find(key); found != file.end()) return {found->second, SettingOrigin::kFile};
  auto const* rule = planner::find_throttle_setting(name);
  return {rule == nullptr ? "" : std::string(rule->standard), SettingOrigin::kDefault};
}

char const* name_of(SettingOrigin origin) {
  switch (origin) {
    case SettingOrigin::kDefault:
      return "default";
    case SettingOrigin::kFile:
      return "file";
    case SettingOrigin::kLive:
      return "live";
  }
  return "default";
}

}  // namespace pgbackfill::engine
