// From settings as people write them to the throttle's limits: what the file says, and over it what was set live.
//
// Only engine may know both planner's table of settings and throttle's limits, so the two meet here. A setting that
// cannot be read is a problem and not a default: whoever asked has to wait. Pure functions, safe from any thread.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "planner/model/migration.h"
#include "throttle/limits.h"

namespace pgbackfill::engine {

// Name of a setting, without "throttle.", and its text.
using SettingTexts = std::map<std::string, std::string>;

struct LimitsFound {
  throttle::Limits limits;
  std::string problem;  // what could not be read, and what to do; empty if all is well
};

SettingTexts setting_texts(planner::ThrottleOptions const& options);

// Live settings win over the file's.
LimitsFound limits_of(SettingTexts const& file, SettingTexts const& live);

enum class SettingOrigin { kDefault, kFile, kLive };

struct EffectiveSetting {
  std::string text;
  SettingOrigin origin = SettingOrigin::kDefault;
};

// `name` is one of planner::throttle_settings().
EffectiveSetting effective_setting(std::string_view name, SettingTexts const& file, SettingTexts const& live);

// "default", "file", "live"
char const* name_of(SettingOrigin origin);

}  // namespace pgbackfill::engine
