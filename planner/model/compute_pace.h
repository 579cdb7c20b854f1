// How a program of the user is paced: what the file says, and over it what was set while the job runs.
//
// Pure values. Settings set live are texts in the state, which others may write to: one that cannot be read leaves what
// the file says.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "planner/model/compute.h"

namespace pgbackfill::planner {

struct ComputeSetting {
  std::string_view name;
  std::int64_t most = 1;       // at least 1
  bool may_be_none = false;    // "none": there is no limit
  bool is_of_command = false;  // a service has none
  std::string_view help;
};
std::span<ComputeSetting const> compute_settings();
ComputeSetting const* find_compute_setting(std::string_view name);

// Why the text is no value of the setting; empty: it is one.
std::string compute_setting_problem(ComputeSetting const& setting, std::string_view text);

struct ComputePace {
  int processes = 1;
  int in_flight = 1;
  std::optional<std::int64_t> per_second;

  bool operator==(ComputePace const&) const = default;
};
// Requests in flight follow the processes in the ratio of the file, unless they are set too.
ComputePace compute_pace(Compute const& compute, std::map<std::string, std::string> const& live);

// The value that the setting has in `pace`, as text.
std::string text_of_setting(std::string_view name, ComputePace const& pace);

}  // namespace pgbackfill::planner
