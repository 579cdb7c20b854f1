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

constexpr std::string_view kTakes = " takes ";

// "contract step 1 takes "; empty: the line says something else.
std::string taking_step(std::string const& line) {
  auto const at = line.find(kTakes);
  if (!is_companion(line) || at == std::string::npos) return {};
  auto const begin = line.substr(0, at + kTakes.size());
  // "contract step 1 drops table x takes y along" is none.
  return std::count(begin.begin(), begin.end(), ' ') == 4 ? begin : std::string();
}

bool names_taken(std::vector<std::string> const& lines, std::string const& step) {
  return std::any_of(lines.begin(), lines.end(), [&](std::string const& line) { return taking_step(line) == step; });
}

bool has(std::vector<std::string> const& lines, std::string const& line) {
  return std::find(lines.begin(), lines.end(), line) != lines.end();
}

// Whether who agreed to `approved` has agreed to what the line says.
bool is_agreed(std::vector<std::string> const& approved, std::string const& line) {
  if (has(approved, line)) return true;
  auto const step = taking_step(line);
  return !step.empty() && !names_taken(approved, step);
}

std::vector<std::string> steps_among(std::vector<std::string> lines) {
  std::erase_if(lines, [](std::string const& line) { return is_companion(line); });
  return lines;
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

std::string taken_line(PlacedStep const& placed, std::string const& object) {
  return placed.phase + " step " + std::to_string(placed.position + 1) + std::string(kTakes) + object;
}

bool covers(std::string const& approved, std::string const& now) {
  auto const before = lines_of(approved);
  auto const after = lines_of(now);
  bool const are_agreed = std::all_of(after.begin(), after.end(), [&](std::string const& line) {
    return !is_companion(line) || is_agreed(before, line);
  });
  return are_agreed && steps_among(before) == steps_among(after);
}

bool has_same_steps(std::string const& approved, std::string const& now) {
  return steps_among(lines_of(approved)) == steps_among(lines_of(now));
}

std::vector<std::string> plan_changes(std::string const& approved, std::string const& now) {
  auto const before = lines_of(approved);
  auto const after = lines_of(now);
  std::vector<std::string> changes;
  for (auto const& line : missing_in(after, before)) {
    auto const step = taking_step(line);
    bool const is_replaced = !step.empty() && names_taken(after, step);
    if (!is_companion(line) || is_replaced) changes.push_back("- " + line);
  }
  for (auto const& line : missing_in(before, after)) {
    if (!is_companion(line) || !is_agreed(before, line)) changes.push_back("+ " + line);
  }
  if (changes.empty() && steps_among(before) != steps_among(after)) {
    changes.emplace_back("the steps stand in another order");
  }
  return changes;
}

}  // namespace pgbackfill::planner
