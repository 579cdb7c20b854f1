#include "planner/steps/contract_plan.h"

#include <algorithm>
#include <variant>

#include "planner/model/step_detail.h"
#include "planner/steps/recipe.h"

namespace pgbackfill::planner {
namespace {

std::string on_one_line(std::string const& text) {
  std::string line;
  for (char const c : text) {
    if (c == '\n') {
      line += "\\n";
    } else if (c == '\t') {
      line += "\\t";
    } else if (c == '\r') {
      line += "\\r";
    } else if (c == '\\') {
      line += "\\\\";
    } else {
      line += c;
    }
  }
  return line;
}

std::string line_of(PlacedStep const& placed) {
  auto const* run = std::get_if<RunSql>(&placed.step.detail->kind);
  if (run == nullptr) return placed.phase + ": " + on_one_line(placed.step.text);
  std::string line = placed.phase + ": sql: " + on_one_line(run->sql);
  // A tab stands nowhere else: SQL that only looks like this has another text.
  if (run->down) line += "\tdown: " + on_one_line(*run->down);
  return line;
}

std::vector<std::string> lines_of(std::string const& text) {
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    auto const end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

// Lines of the one that have no partner in the other.
std::vector<std::string> missing_in(std::vector<std::string> others, std::vector<std::string> const& lines) {
  std::vector<std::string> missing;
  for (auto const& line : lines) {
    auto const partner = std::find(others.begin(), others.end(), line);
    if (partner == others.end()) {
      missing.push_back(line);
    } else {
      others.erase(partner);
    }
  }
  return missing;
}

bool is_companion(std::string const& line) {
  return line.starts_with("contract step ");
}

}  // namespace

std::string destructive_reason(SchemaStep const& step) {
  if (auto const* run = std::get_if<RunSql>(&step.detail->kind)) {
    return run->down ? "" : "SQL that has no `down:`, so that nothing is known of a way back";
  }
  auto const recipe = recipe_for(step, StepFacts{});
  bool const is_destructive = recipe.risk == Risk::kHigh || recipe.risk == Risk::kDestructive;
  return is_destructive ? recipe.reason : "";
}

std::string contract_plan(std::vector<PlacedStep> const& steps, std::vector<std::string> const& companions) {
  std::string plan;
  for (auto const& step : steps) plan += line_of(step) + "\n";
  for (auto const& line : companions) plan += on_one_line(line) + "\n";
  return plan;
}

bool covers(std::string const& approved, std::string const& now) {
  auto before = lines_of(approved);
  auto after = lines_of(now);
  if (!std::all_of(after.begin(), after.end(), [&](std::string const& line) {
        return !is_companion(line) || std::find(before.begin(), before.end(), line) != before.end();
      })) {
    return false;
  }
  std::erase_if(before, is_companion);
  std::erase_if(after, is_companion);
  return before == after;
}

namespace {

std::vector<std::string> steps_among(std::vector<std::string> lines) {
  std::erase_if(lines, [](std::string const& line) { return is_companion(line); });
  return lines;
}

}  // namespace

std::vector<std::string> plan_changes(std::string const& approved, std::string const& now) {
  auto const before = lines_of(approved);
  auto const after = lines_of(now);
  std::vector<std::string> changes;
  for (auto const& line : missing_in(after, before)) {
    if (!is_companion(line)) changes.push_back("- " + line);
  }
  for (auto const& line : missing_in(before, after)) changes.push_back("+ " + line);
  if (changes.empty() && steps_among(before) != steps_among(after)) {
    changes.emplace_back("the steps stand in another order");
  }
  return changes;
}

}  // namespace pgbackfill::planner
