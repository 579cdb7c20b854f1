#include "planner/model/hook.h"

#include <algorithm>
#include <iterator>

#include "planner/model/duration.h"

namespace pgbackfill::planner {

namespace {

std::string one_line(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](unsigned char letter) { return letter < 0x20; }, ' ');
  return text;
}

std::string subject_of(Hook const& hook) {
  switch (hook.kind) {
    case HookKind::kCommand:
      return "command: " + one_line(hook.what);
    case HookKind::kHttp:
      return "http: " + hook.what + " -> " + std::to_string(hook.status);
    case HookKind::kPgDump:
      break;
  }
  std::string text = "pg_dump to " + one_line(hook.what);
  if (hook.tables.empty()) return text + " of the database";
  std::string names;
  for (auto const& table : hook.tables) names += (names.empty() ? " of " : ", ") + shown(table);
  return text + names;
}

}  // namespace

std::string name_of(Boundary boundary) {
  auto const place = std::find_if(kHookPlaces.begin(), kHookPlaces.end(),
                                  [&](HookPlace const& one) { return one.boundary == boundary; });
  if (boundary == Boundary::kBackup) return "backup";
  return std::string{place->side} + " " + std::string{place->phase};
}

std::string to_text(Hook const& hook) {
  std::string text = subject_of(hook);
  if (!hook.expect.empty()) text += ", expects '" + one_line(hook.expect) + "'";
  return text + " (timeout " + format_duration(hook.timeout) + ")";
}

std::vector<Hook> hooks_at(std::vector<Hook> const& hooks, Boundary boundary) {
  std::vector<Hook> chosen;
  std::copy_if(hooks.begin(), hooks.end(), std::back_inserter(chosen),
               [&](Hook const& hook) { return hook.boundary == boundary; });
  return chosen;
}

}  // namespace pgbackfill::planner
