// Lint of a migration file: its SQL, each text in its place, in the order in which a run comes to it.
#include <algorithm>
#include <array>
#include <utility>
#include <variant>

#include "planner/file/migration_file.h"
#include "planner/lint/lint.h"
#include "planner/lint/linter_state.h"
#include "planner/lint/plain_step.h"
#include "planner/lint/script_linter.h"
#include "planner/lint/yaml_place.h"
#include "planner/model/step_detail.h"
#include "planner/sql/batch_placeholder.h"

namespace pgbackfill::planner::lint {
namespace {

using std::string;

// `# pgbackfill: allow RULE because REASON` on a line of its own.
struct YamlOrder {
  Order order;
  int line = 0;
  int column = 0;
  bool is_given = false;
};

std::vector<YamlOrder> orders_of(std::string_view yaml) {
  std::vector<YamlOrder> orders;
  int line = 0;
  for (std::size_t begin = 0; begin < yaml.size();) {
    auto const end = std::min(yaml.find('\n', begin), yaml.size());
    auto const text = yaml.substr(begin, end - begin);
    ++line;
    auto const hash = text.find_first_not_of(" \t");
    if (hash != std::string_view::npos && text[hash] == '#') {
      if (auto order = read_order(text.substr(hash), 0)) {
        orders.push_back({std::move(*order), line, static_cast<int>(hash) + 1});
      }
    }
    begin = end + 1;
  }
  return orders;
}

class MigrationLinter {
 public:
  MigrationLinter(SchemaFacts& facts, LintOptions const& options, std::string_view yaml, string file)
      : facts_(facts), options_(options), yaml_(yaml), file_(std::move(file)), lines_(yaml), orders_(orders_of(yaml)) {}

  LintedFile lint(Migration const& migration) {
    facts_.begin_file();
    for (auto const& step : migration.expand) lint_step(step, false);
    // A mirror has no expressions of its own.
    auto const* sync = migration.sync ? std::get_if<InstallSync>(&migration.sync->install.detail->kind) : nullptr;
    if (sync != nullptr) lint_sync(*sync);
    if (migration.backfill) lint_backfill(*migration.backfill);
    for (auto const& step : migration.contract) lint_step(step, true);
    report_orders_left();
    return std::move(linted_);
  }

 private:
  void lint_step(SchemaStep const& step, bool is_contract) {
    auto const before = linted_.findings.size();
    auto const effects_before = linted_.effects.size();
    if (auto const* sql = std::get_if<RunSql>(&step.detail->kind)) {
      lint_text(sql->sql, step.position);
    } else {
      lint_typed(step);
    }
    add_step(step, before, effects_before);
    if (!is_contract) return;
    for (auto at = before; at < linted_.findings.size(); ++at) {
      auto& finding = linted_.findings[at];
      if (finding.risk != Risk::kDestructive) continue;
      finding.risk = Risk::kMedium;
      finding.why += " (in `contract`: only behind the gate, and once approved)";
      bool const is_typed = !std::holds_alternative<RunSql>(step.detail->kind);
      if (is_typed)
        finding.instead = "this is the place for it; look for what still uses it, then `pgbackfill approve`";
    }
  }

  void add_step(SchemaStep const& step, std::size_t findings_before, std::size_t effects_before) {
    LintedStep linted;
    linted.position = step.position;
    for (auto at = effects_before; at < linted_.effects.size(); ++at) {
      linted.effects.insert(linted.effects.end(), linted_.effects[at].begin(), linted_.effects[at].end());
    }
    linted.findings.assign(linted_.findings.begin() + static_cast<std::ptrdiff_t>(findings_before),
                           linted_.findings.end());
    linted_.steps.push_back(std::move(linted));
  }

  // How a typed step goes about it is safe; what it is about may not be.
  void lint_typed(SchemaStep const& step) {
    auto const sql = plain_sql(*step.detail);
    // A swap is two renames in one transaction.
    ScriptLinter linter(facts_, {options_.pg_major, true, true});
    auto orders = orders_before(step.position, sql.size());
    auto const given = given_;
    linter.run(
        sql,
        [&](std::size_t offset) {
          return offset > sql.size() ? place_of_order(offset, sql.size(), given) : step.position;
        },
        std::move(orders));
    auto findings = linter.take_findings();
    tell_swap(*step.detail, findings);
    std::erase_if(findings, [&](Finding const& finding) {
      static constexpr std::array<std::string_view, 7> kAbout{
          "drop-column",   "drop-table",           "rename",      "drop-constraint",
          "allow-unknown", "allow-without-reason", "unused-allow"};
      return std::find(kAbout.begin(), kAbout.end(), finding.rule) == kAbout.end();
    });
    linted_.effects.emplace_back();
    linted_.findings.insert(linted_.findings.end(), findings.begin(), findings.end());
  }

  // Nobody misses a name, and so the renames are one finding: what the names stand for is another thing from then on.
  static void tell_swap(StepDetail const& detail, std::vector<Finding>& findings) {
    string what;
    string old;
    if (auto const* tables = std::get_if<Swap>(&detail.kind)) {
      what = "table " + tables->with.name + " takes the place of " + tables->table.name;
      old = tables->keep_as;
    } else if (auto const* columns = std::get_if<SwapColumn>(&detail.kind)) {
      what = "column " + columns->with + " takes the place of " + columns->column;
      old = columns->keep_as;
    } else {
      return;
    }
    auto const is_rename = [](Finding const& finding) { return finding.rule == "rename"; };
    auto const first = std::find_if(findings.begin(), findings.end(), is_rename);
    if (first == findings.end()) return;
    findings.erase(std::remove_if(first + 1, findings.end(), is_rename), findings.end());
    first->risk = Risk::kMedium;
    first->why = what + " for all clients at once, who have to get on with its types. Nothing is lost, but " + old +
                 " does not hold what is written from then on, and there is no way back by command";
    first->instead = "this is the safe way; let all versions of the application that run suit both, and drop " + old +
                     " once nobody wants to go back";
  }

  void lint_sync(InstallSync const& sync) {
    for (auto const* side : {&sync.set, &sync.reverse}) {
      for (auto const& one : *side) lint_expression("SELECT ", one.expression, one.position);
    }
  }

  void lint_backfill(Backfill const& backfill) {
    for (auto const& assignment : backfill.assignments) {
      lint_expression("SELECT ", assignment.expression, assignment.position);
    }
    if (!backfill.where.empty()) lint_expression("SELECT 1 WHERE ", backfill.where, backfill.where_position);
    if (!backfill.sql.empty()) lint_batch_statement(backfill.sql, backfill.sql_position);
  }

  // A step's SQL is one transaction, unless it is a statement alone.
  void lint_text(string const& sql, SourcePosition const& position) {
    auto const script = split_script(sql);
    ScriptLinter linter(facts_, {options_.pg_major, script.statements.size() > 1, true});
    auto const places = places_of(sql, position);
    auto orders = orders_before(position, sql.size());
    auto const given = given_;
    linter.run(
        sql, [&](std::size_t offset) { return place_of(offset, sql.size(), places, given); }, std::move(orders));
    take(linter);
  }

  // Only that it can be read; what it does is the backfill's affair.
  void lint_expression(string const& before, string const& expression, SourcePosition const& position) {
    lint_readable(before, expression, position);
  }

  void lint_batch_statement(string sql, SourcePosition const& position) {
    for (auto const& [begin, length] : batch_placeholders(sql)) {
      sql.replace(begin, length, "true" + string(length - 4, ' '));
    }
    lint_readable("", sql, position);
  }

  void lint_readable(string const& before, string const& sql, SourcePosition const& position) {
    SchemaFacts nothing;
    ScriptLinter linter(nothing, {options_.pg_major, false, true});
    auto const places = places_of(sql, position);
    auto orders = orders_before(position, before.size() + sql.size());
    auto const given = given_;
    linter.run(
        before + sql,
        [&](std::size_t offset) {
          auto const inside = offset < before.size() ? 0 : offset - before.size();
          return place_of(inside, sql.size(), places, given);
        },
        std::move(orders));
    auto findings = linter.take_findings();
    std::erase_if(findings, [](Finding const& finding) {
      auto const rule = finding.rule;
      return rule != "unreadable" && rule != "too-complex" && rule != "not-in-version";
    });
    linted_.effects.emplace_back();
    linted_.findings.insert(linted_.findings.end(), findings.begin(), findings.end());
  }

  void take(ScriptLinter& linter) {
    auto findings = linter.take_findings();
    auto effects = linter.take_effects();
    linted_.findings.insert(linted_.findings.end(), findings.begin(), findings.end());
    linted_.effects.insert(linted_.effects.end(), effects.begin(), effects.end());
  }

  std::vector<std::size_t> places_of(string const& text, SourcePosition const& position) const {
    return places_in_yaml(yaml_, lines_.offset_of({position.line, position.column}), text);
  }

  // Offsets beyond the text are those of orders.
  SourcePosition place_of(std::size_t offset, std::size_t size, std::vector<std::size_t> const& places,
                          std::vector<std::size_t> const& given) const {
    if (offset > size) return place_of_order(offset, size, given);
    auto const place = lines_.place_of(places[std::min(offset, places.size() - 1)]);
    return {file_, place.line, place.column};
  }

  SourcePosition place_of_order(std::size_t offset, std::size_t size, std::vector<std::size_t> const& given) const {
    auto const& order = orders_[given.at(offset - size - 1)];
    return {file_, order.line, order.column};
  }

  std::vector<Order> orders_before(SourcePosition const& position, std::size_t size) {
    std::vector<Order> orders;
    given_.clear();
    for (std::size_t index = 0; index < orders_.size(); ++index) {
      auto& each = orders_[index];
      if (each.is_given || each.line > position.line) continue;
      each.is_given = true;
      each.order.scope_end = size;
      each.order.offset = size + 1 + given_.size();
      given_.push_back(index);
      orders.push_back(each.order);
    }
    return orders;
  }

  void report_orders_left() {
    for (auto const& each : orders_) {
      if (each.is_given) continue;
      auto const& rule = *find_rule_of_lint("unused-allow");
      linted_.findings.push_back({{file_, each.line, each.column},
                                  rule.id,
                                  rule.risk,
                                  LockMode::kNone,
                                  {},
                                  Work::kNone,
                                  "no SQL follows '" + each.order.words + "'",
                                  string(rule.instead)});
    }
  }

  SchemaFacts& facts_;
  LintOptions options_;
  std::string_view yaml_;
  string file_;
  LineIndex lines_;
  std::vector<YamlOrder> orders_;
  std::vector<std::size_t> given_;  // of orders_, to the text that is looked at
  LintedFile linted_;
};

}  // namespace

LintedFile Linter::lint_migration(std::string_view yaml, std::string_view file) {
  GivenParams given;
  given.may_lack = true;
  auto const parsed = parse_migration(yaml, file, given);
  if (!parsed.migration) {
    LintedFile refused;
    refused.problems = parsed.problems;
    return refused;
  }
  return MigrationLinter(state_->facts, state_->options, yaml, string(file)).lint(*parsed.migration);
}

}  // namespace pgbackfill::planner::lint
