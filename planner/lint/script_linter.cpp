#include "planner/lint/script_linter.h"

#include <algorithm>
#include <array>
#include <utility>

#include "planner/lint/tool_script.h"
#include "planner/model/suggestion.h"
#include "planner/sql/newer_syntax.h"

namespace pgbackfill::planner::lint {
namespace {

using std::string;

// psql's own affairs; whatever else it is told may bring in SQL.
constexpr std::array kHarmlessPsql = {"\\set",    "\\unset", "\\echo",     "\\qecho",      "\\warn",     "\\pset",
                                      "\\timing", "\\x",     "\\a",        "\\t",          "\\if",       "\\elif",
                                      "\\else",   "\\endif", "\\c",        "\\connect",    "\\encoding", "\\prompt",
                                      "\\q",      "\\quit",  "\\restrict", "\\unrestrict", "\\conninfo", "\\d",
                                      "\\dt",     "\\g",     "\\gx",       "\\;"};

bool is_in_concurrent_build(SyntaxNode statement) {
  bool const is_by_flag = statement.is("IndexStmt") || statement.is("DropStmt");
  return (is_by_flag && statement.flag("concurrent")) ||
         (statement.is("ReindexStmt") && has_option(statement, "params", "concurrently"));
}

bool is_zero(string const& value) {
  return value.find_first_not_of("0") == string::npos || value.starts_with("0 ") || value == "0ms" || value == "0s" ||
         value == "default";
}

// SELECT set_config('lock_timeout', '1s', false)
SyntaxNode set_config_in(SyntaxNode statement) {
  auto const targets = statement.is("SelectStmt") ? statement.list("targetList") : std::vector<SyntaxNode>();
  if (targets.size() != 1) return {};
  auto const call = targets.front().get("val");
  bool const is_meant = call.is("FuncCall") && joined_name(call.list("funcname")) == "set_config";
  return is_meant && call.list("args").size() == 3 ? call : SyntaxNode();
}

string setting_value(SyntaxNode statement) {
  auto const args = statement.list("args");
  if (args.empty() || statement.text("kind") != "VAR_SET_VALUE") return "0";
  auto const text = args.front().get("sval").text("sval");
  return text.empty() ? std::to_string(args.front().get("ival").number("ival")) : string(text);
}

std::size_t nesting_of(string const& sql) {
  std::size_t most = 0;
  for (auto const& statement : split_script(sql).statements) most = std::max(most, statement.nesting);
  return most;
}

Risk risk_of(Remark const& remark) {
  return remark.risk ? *remark.risk : find_rule_of_lint(remark.rule)->risk;
}

// "the table of some_index" may be one that is locked already.
bool is_named(string const& relation) {
  return relation.find(' ') == string::npos;
}

bool is_about_execution(Remark const& remark) {
  return remark.work != Work::kNone || risk_of(remark) == Risk::kDestructive || remark.rule == "unreadable" ||
         remark.rule == "too-complex";
}

}  // namespace

ScriptLinter::ScriptLinter(SchemaFacts& facts, ScriptOptions options) : facts_(facts), options_(options) {}

void ScriptLinter::run(std::string_view text, PlaceOf const& place_of, std::vector<Order> orders) {
  text_ = text;
  place_of_ = place_of;
  orders_ = std::move(orders);
  auto const script = split(text);
  read_comments(script);
  auto command = script.psql_commands.begin();
  for (auto const& statement : script.statements) {
    for (; command != script.psql_commands.end() && command->begin < statement.span.begin; ++command) {
      lint_psql_command(*command);
    }
    auto const span = statement.span;
    lint_part({string(text.substr(span.begin, span.end - span.begin)), span.begin, statement.nesting});
  }
  for (; command != script.psql_commands.end(); ++command) lint_psql_command(*command);
  lint_orders();
}

SqlScript ScriptLinter::split(std::string_view text) {
  if (!options_.is_run_by_others) return split_script(text);
  auto script = split_tool_script(text);
  options_.is_in_transaction = script.is_in_transaction.value_or(options_.is_in_transaction);
  return std::move(script.forward);
}

// ---- comments

void ScriptLinter::read_comments(SqlScript const& script) {
  std::vector<TextSpan> units = script.psql_commands;
  for (auto const& statement : script.statements) units.push_back(statement.span);
  std::sort(units.begin(), units.end(), [](TextSpan a, TextSpan b) { return a.begin < b.begin; });
  for (auto const span : script.comments) {
    auto order = read_order(text_.substr(span.begin, span.end - span.begin), span.begin);
    if (!order) continue;
    auto const unit =
        std::partition_point(units.begin(), units.end(), [&](TextSpan each) { return each.end <= span.begin; });
    if (unit != units.end()) {
      order->scope_begin = unit->begin;
      order->scope_end = unit->end;
    }
    add_order(std::move(*order));
  }
}

void ScriptLinter::read_body_comments(InnerCode const& code, std::size_t body_offset) {
  for (auto const span : split_script(code.body).comments) {
    auto order =
        read_order(std::string_view(code.body).substr(span.begin, span.end - span.begin), body_offset + span.begin);
    if (!order) continue;
    auto const next = std::find_if(code.statements.begin(), code.statements.end(), [&](InnerStatement const& each) {
      return each.offset + each.sql.size() > span.begin;
    });
    if (next != code.statements.end()) {
      order->scope_begin = body_offset + next->offset;
      order->scope_end = order->scope_begin + next->sql.size();
    }
    add_order(std::move(*order));
  }
}

void ScriptLinter::add_order(Order order) {
  if (order.kind == OrderKind::kOneTransaction) options_.is_in_transaction = true;
  if (order.kind == OrderKind::kNoTransaction) options_.is_in_transaction = false;
  orders_.push_back(std::move(order));
}

bool ScriptLinter::is_allowed(std::string_view rule, std::size_t offset) {
  for (auto& order : orders_) {
    bool const is_meant = order.kind == OrderKind::kAllow && order.rule == rule && order.scope_begin <= offset &&
                          offset <= order.scope_end && order.scope_end > 0;
    if (!is_meant) continue;
    order.is_used = true;
    if (!order.reason.empty()) return true;
  }
  return false;
}

void ScriptLinter::lint_orders() {
  std::vector<std::string_view> rules;
  for (auto const& rule : lint_rules()) rules.push_back(rule.id);
  for (auto const& order : orders_) {
    if (order.kind == OrderKind::kOneTransaction || order.kind == OrderKind::kNoTransaction) continue;
    if (order.kind == OrderKind::kNotUnderstood) {
      add({.rule = "allow-unknown", .why = "'" + order.words + "' is no order to lint"}, order.offset);
    } else if (find_rule_of_lint(order.rule) == nullptr) {
      add({.rule = "allow-unknown", .why = "there is no rule '" + order.rule + "'" + did_you_mean(order.rule, rules)},
          order.offset);
    } else if (order.reason.empty()) {
      add({.rule = "allow-without-reason",
           .why = "'" + order.words + "' says no reason, and silences nothing",
           .instead = "-- pgbackfill: allow " + order.rule + " because ..."},
          order.offset);
    } else if (!order.is_used) {
      add({.rule = "unused-allow", .why = order.rule + " is not found in what follows"}, order.offset);
    }
  }
}

// ---- findings

void ScriptLinter::add(Remark const& remark, std::size_t offset) {
  if (!function_.empty() && !is_about_execution(remark)) return;
  if (is_allowed(remark.rule, offset)) return;
  auto const& rule = *find_rule_of_lint(remark.rule);
  Finding finding;
  finding.position = place_of_(offset);
  finding.rule = rule.id;
  finding.risk = risk_of(remark);
  finding.lock = remark.lock;
  finding.relation = remark.relation;
  finding.work = remark.work;
  finding.why = remark.why;
  finding.instead = remark.instead.empty() ? string(rule.instead) : remark.instead;
  if (!function_.empty()) {
    finding.risk = std::min(finding.risk, Risk::kMedium);
    finding.lock = LockMode::kNone;
    finding.work = Work::kNone;
    finding.why += " (not now, but when " + function_ + " is called)";
  }
  findings_.push_back(std::move(finding));
}

void ScriptLinter::lint_psql_command(TextSpan span) {
  auto const command = text_.substr(span.begin, span.end - span.begin);
  auto const word = command.substr(0, command.find_first_of(" \t\r(", 1));
  if (std::find(kHarmlessPsql.begin(), kHarmlessPsql.end(), word) != kHarmlessPsql.end()) return;
  add({.rule = "not-looked-into", .why = "psql's " + string(word) + " may run SQL that is not in this file"},
      span.begin);
}

void ScriptLinter::lint_part(Part const& part) {
  if (part.sql.size() > kMaxStatementBytes || part.nesting > kMaxNesting) {
    effects_.emplace_back();
    return add({.rule = "too-complex",
                .why = part.sql.size() > kMaxStatementBytes
                           ? "the statement is longer than " + std::to_string(kMaxStatementBytes) + " bytes"
                           : "the statement may be nested too deep to be read safely"},
               part.offset);
  }
  auto const parsed = parse_sql(part.sql);
  for (auto const& statement : parsed.statements) lint_statement(statement, part);
  if (parsed.error.empty() || lint_filled_in(part)) return;
  effects_.emplace_back();
  refuse_unreadable(part, parsed.error, parsed.error_offset);
}

// A statement that is SQL only once psql has filled in its variables.
bool ScriptLinter::lint_filled_in(Part const& part) {
  if (!options_.is_run_by_others) return false;
  for (auto& sql : without_psql_variables(part.sql)) {
    auto const parsed = parse_sql(sql);
    if (!parsed.error.empty()) continue;
    Part const filled{std::move(sql), part.offset, part.nesting};
    for (auto const& statement : parsed.statements) lint_statement(statement, filled);
    return true;
  }
  return false;
}

void ScriptLinter::refuse_unreadable(Part const& part, string const& error, std::size_t error_offset) {
  auto const newer = newer_syntax_in(part.sql);
  auto const offset = part.offset + std::min(error_offset, part.sql.size());
  auto const major = std::to_string(parser_major());
  if (newer && newer->major > options_.pg_major) {
    return add({.rule = "not-in-version",
                .why = string(newer->form) + " is there from PostgreSQL " + std::to_string(newer->major) + " on (" +
                       error + ")"},
               offset);
  }
  string why = "the parser of PostgreSQL " + major + " cannot read it (" + error + ")";
  why += newer ? "; it looks like " + string(newer->form) + " of PostgreSQL " + std::to_string(newer->major) +
                     ", which is not judged: take it for ACCESS EXCLUSIVE until you know better"
               : ", so nothing is known of what it does";
  add({.rule = "unreadable", .why = why}, offset);
}

void ScriptLinter::lint_statement(SyntaxNode statement, Part const& part) {
  note_session(statement);
  if (statement.is("ExplainStmt") && has_option(statement, "options", "analyze")) statement = statement.get("query");
  Verdict verdict(facts_);
  judge({statement, facts_, options_.pg_major, is_in_transaction()}, verdict);
  for (auto const& remark : verdict.remarks()) {
    add(remark, part.offset + static_cast<std::size_t>(std::max<std::int64_t>(remark.location, 0)));
  }
  lint_beside_held(verdict.effects(), part);
  lint_waiting(statement, verdict.effects(), part);
  note_locks(verdict.effects());
  effects_.push_back(verdict.effects());
  if (statement.is("DoStmt") || statement.is("CreateFunctionStmt")) lint_code(statement, part);
  lint_calls(statement, part);
  note_switch(statement);
  if (function_.empty()) facts_.apply(statement);
}

// A table is put in the place of another one: in one transaction, nobody finds the name without a table.
void ScriptLinter::note_switch(SyntaxNode statement) {
  if (!statement.is("RenameStmt") || statement.text("renameType") != "OBJECT_TABLE" || !is_in_transaction()) return;
  auto const from = relation_name(statement.get("relation"));
  auto const dot = from.rfind('.');
  auto const to = (dot == string::npos ? "" : from.substr(0, dot + 1)) + string(statement.text("newname"));
  auto const leaver = std::find_if(findings_.begin(), findings_.end(), [&](Finding const& each) {
    return each.rule == "rename" && each.relation == to && each.lock == LockMode::kAccessExclusive;
  });
  if (leaver == findings_.end()) return;
  for (auto& finding : findings_) {
    if (finding.rule != "rename" || (finding.relation != to && finding.relation != from)) continue;
    finding.risk = std::min(finding.risk, Risk::kMedium);
    finding.why = from + " takes the place of " + to +
                  " in one transaction: programs that run go on if it suits them, with "
                  "statements prepared anew";
  }
}

// What a statement does to a transaction that holds strong locks already.
void ScriptLinter::lint_beside_held(std::vector<Effect> const& effects, Part const& part) {
  for (auto const& [held, mode] : held_) {
    auto const long_one =
        std::find_if(effects.begin(), effects.end(), [](Effect const& effect) { return effect.work != Work::kNone; });
    // What is long and locks by itself has been said.
    if (long_one != effects.end() && long_one->lock < LockMode::kShare) {
      add({.rule = "work-under-lock",
           .relation = held,
           .lock = mode,
           .work = long_one->work,
           .why = "this transaction holds a lock on " + held + " already, and " + string(lock_stops(mode)) +
                  " of it wait until this is done as well"},
          part.offset);
      break;
    }
    if (is_many_told_) continue;
    auto const other = std::find_if(effects.begin(), effects.end(), [&](Effect const& effect) {
      return effect.lock >= LockMode::kShare && !held_.contains(effect.relation) && is_named(effect.relation);
    });
    if (other == effects.end() || !is_named(held)) continue;
    auto const before = findings_.size();
    add({.rule = "many-locks",
         .relation = other->relation,
         .lock = other->lock,
         .why = "the transaction keeps " + held + " locked while it waits for " + other->relation +
                ", and whatever it locks after that"},
        part.offset);
    // Once a transaction is enough; one that is allowed is not all of them.
    is_many_told_ = findings_.size() > before;
    break;
  }
}

void ScriptLinter::lint_waiting(SyntaxNode statement, std::vector<Effect> const& effects, Part const& part) {
  if (options_.has_lock_timeout) return;
  bool const has_timeout = lock_timeout_.value_or(false);
  if (is_in_concurrent_build(statement)) {
    if (!has_timeout || effects.empty() || statement.is("DropStmt")) return;
    return add({.rule = "concurrent-lock-timeout",
                .relation = effects.front().relation,
                .lock = effects.front().lock,
                .why = "it waits for old transactions of any table, and lock_timeout counts that too"},
               part.offset);
  }
  auto const strong = std::find_if(effects.begin(), effects.end(),
                                   [](Effect const& effect) { return effect.lock >= LockMode::kShare; });
  if (strong == effects.end() || has_timeout || is_timeout_missed_) return;
  is_timeout_missed_ = true;
  add({.rule = "missing-lock-timeout",
       .relation = strong->relation,
       .lock = strong->lock,
       .why = "while it waits for a long query of " + strong->relation + ", every later query waits behind it"},
      part.offset);
}

// ---- transactions and settings

void ScriptLinter::note_session(SyntaxNode statement) {
  if (statement.is("TransactionStmt")) {
    auto const kind = statement.text("kind");
    if (kind == "TRANS_STMT_BEGIN" || kind == "TRANS_STMT_START") is_transaction_open_ = true;
    if (kind == "TRANS_STMT_COMMIT" || kind == "TRANS_STMT_ROLLBACK" || kind == "TRANS_STMT_PREPARE") end_transaction();
  }
  if (statement.is("VariableSetStmt") && statement.text("name") == "lock_timeout") {
    bool const is_lost = statement.flag("is_local") && !is_in_transaction();
    lock_timeout_ = !is_lost && !is_zero(setting_value(statement));
  }
  if (auto const call = set_config_in(statement)) {
    auto const args = call.list("args");
    if (args[0].get("sval").text("sval") == "lock_timeout") {
      lock_timeout_ = !is_zero(string(args[1].get("sval").text("sval")));
    }
  }
}

void ScriptLinter::note_locks(std::vector<Effect> const& effects) {
  if (!is_in_transaction()) return;
  for (auto const& effect : effects) {
    if (effect.lock < LockMode::kShare) continue;
    auto& held = held_[effect.relation];
    held = std::max(held, effect.lock);
  }
}

void ScriptLinter::end_transaction() {
  is_transaction_open_ = false;
  held_.clear();
  is_many_told_ = false;
}

// ---- code inside

void ScriptLinter::lint_code(SyntaxNode statement, Part const& part) {
  auto const code = inner_code(statement, part.sql);
  if (!code) return;
  bool const is_do = statement.is("DoStmt");
  bool const is_read = code->language == "plpgsql" || code->language == "sql";
  auto const body_offset = part.offset + code->body_offset;
  if (is_do && !is_read) {
    return add({.rule = "not-looked-into", .why = "code in " + code->language + " runs SQL that is not seen here"},
               part.offset);
  }
  if (!is_read || !function_.empty()) return;
  if (!is_do) bodies_[joined_name(statement.list("funcname"))] = {*code, body_offset};
  if (!is_do) function_ = joined_name(statement.list("funcname")) + "()";
  if (!code->error.empty()) {
    add({.rule = "unreadable", .why = "the PL/pgSQL of it cannot be read (" + code->error + ")"}, part.offset);
  }
  auto const held = held_;
  bool const was_open = is_transaction_open_;
  if (!is_do) held_.clear();
  is_transaction_open_ = is_do && !code->ends_transactions;
  lint_inner(*code, body_offset);
  is_transaction_open_ = was_open;
  if (!is_in_transaction()) held_.clear();
  if (!is_do) held_ = held;
  function_.clear();
}

// CALL f(), SELECT f(): what the text has defined before is run now. Calls inside of that are not followed.
void ScriptLinter::lint_calls(SyntaxNode statement, Part const& part) {
  if (is_in_call_ || !function_.empty() || bodies_.empty()) return;
  auto call = statement.is("CallStmt") ? statement.get("funccall") : SyntaxNode();
  auto const targets = statement.is("SelectStmt") ? statement.list("targetList") : std::vector<SyntaxNode>();
  if (targets.size() == 1) call = targets.front().get("val");
  auto const body = bodies_.find(joined_name(call.list("funcname")));
  if (body == bodies_.end()) return;
  is_in_call_ = true;
  auto const before = findings_.size();
  for (auto const& inner : body->second.code.statements)
    lint_inner_statement(inner, body->second.offset + inner.offset);
  for (auto at = before; at < findings_.size(); ++at) findings_[at].position = place_of_(part.offset);
  is_in_call_ = false;
}

void ScriptLinter::lint_inner(InnerCode const& code, std::size_t body_offset) {
  read_body_comments(code, body_offset);
  for (auto const& inner : code.statements) lint_inner_statement(inner, body_offset + inner.offset);
}

void ScriptLinter::lint_inner_statement(InnerStatement const& inner, std::size_t offset) {
  if (!inner.is_dynamic) return lint_part({inner.sql, offset, nesting_of(inner.sql)});
  auto const before = findings_.size();
  auto const script = split_script(inner.sql);
  bool const is_readable =
      inner.is_closed &&
      std::all_of(script.statements.begin(), script.statements.end(), [&](ScriptStatement const& each) {
        return each.nesting <= kMaxNesting &&
               parse_sql(inner.sql.substr(each.span.begin, each.span.end - each.span.begin)).error.empty();
      });
  if (!is_readable) {
    return add({.rule = "dynamic-sql", .why = "what it will be is put together as it runs, and is not seen here"},
               offset);
  }
  for (auto const& each : script.statements) {
    lint_part({inner.sql.substr(each.span.begin, each.span.end - each.span.begin), offset, each.nesting});
  }
  // Places within the text that is put together say nothing; the EXECUTE is the place.
  for (auto at = before; at < findings_.size(); ++at) findings_[at].position = place_of_(offset);
}

}  // namespace pgbackfill::planner::lint
