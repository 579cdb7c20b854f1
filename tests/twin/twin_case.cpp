#include "tests/twin/twin_case.h"

#include <fmt/format.h>

namespace pgbackfill::tests {
namespace {

char const* level_name(SettingLevel level) {
  switch (level) {
    case SettingLevel::kDatabase:
      return "ALTER DATABASE";
    case SettingLevel::kRole:
      return "ALTER ROLE";
    case SettingLevel::kRoleInDatabase:
      return "ALTER ROLE IN DATABASE";
    case SettingLevel::kOptions:
      return "PGOPTIONS";
  }
  return "";
}

char const* fault_name(FaultKind kind) {
  switch (kind) {
    case FaultKind::kKill:
      return "kill -9, run again";
    case FaultKind::kTerminate:
      return "its sessions terminated";
    case FaultKind::kRestart:
      return "the server restarted";
    case FaultKind::kSetting:
      return "kill -9, ALTER DATABASE, run again";
    case FaultKind::kSql:
      return "beside it";
    case FaultKind::kSqlAtRest:
      return "kill -9, SQL, run again";
  }
  return "";
}

}  // namespace

std::string describe(TwinCase const& twin) {
  std::string text = "--- " + twin.work + ":";
  for (auto const& feature : twin.features) text += " " + feature + ",";
  constexpr char const* kRoles[] = {"a superuser", "the owner", "a role with the rights of docs/privileges.md"};
  text += fmt::format(" by {}\n", kRoles[static_cast<int>(twin.role)]);
  // The furniture is the same for all; twin_values.cpp has it.
  for (std::size_t part = 1; part < twin.setup.size(); ++part) text += twin.setup[part] + ";\n";
  for (auto const& setting : twin.settings) {
    text += fmt::format("--- {} SET {} = {}\n", level_name(setting.level), setting.name, setting.value);
  }
  text += "--- twin.yaml\n" + twin.yaml + "--- the plain statement\n" + twin.statement + "\n";
  for (auto const& option : twin.writer_options) text += "--- writers: " + option + "\n";
  for (auto const& write : twin.writes) text += "writer: " + write + "\n";
  for (auto const& fault : twin.faults) {
    text += fmt::format("--- after {} ms: {} {}\n", fault.wait_ms, fault_name(fault.kind), fault.sql);
  }
  return text;
}

}  // namespace pgbackfill::tests
