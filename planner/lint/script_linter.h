// One text of SQL from its first statement to its last: transactions, settings, what the statements before have made,
// and the comments that speak to lint.
//
// Takes over into the facts what the statements do. Pure; belongs to one thread.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "planner/lint/allowance.h"
#include "planner/lint/plpgsql.h"
#include "planner/lint/verdict.h"
#include "planner/sql/sql_script.h"

namespace pgbackfill::planner::lint {

struct ScriptOptions {
  int pg_major = 15;
  bool is_in_transaction = false;
  bool has_lock_timeout = false;  // whoever runs it sees to that
  bool is_run_by_others = false;  // a file of its own: what it says to the tool that runs it counts
};

using PlaceOf = std::function<SourcePosition(std::size_t offset)>;

class ScriptLinter {
 public:
  ScriptLinter(SchemaFacts& facts, ScriptOptions options);

  // `orders` stand before the text: the comments of a YAML file.
  void run(std::string_view text, PlaceOf const& place_of, std::vector<Order> orders = {});

  std::vector<Finding> take_findings() { return std::move(findings_); }
  std::vector<std::vector<Effect>> take_effects() { return std::move(effects_); }

 private:
  struct Part {  // a statement in its text
    std::string sql;
    std::size_t offset = 0;
    std::size_t nesting = 0;
  };

  SqlScript split(std::string_view text);
  void read_comments(SqlScript const& script);
  void read_body_comments(InnerCode const& code, std::size_t body_offset);
  void add_order(Order order);
  void lint_psql_command(TextSpan span);
  void lint_part(Part const& part);
  bool lint_filled_in(Part const& part);
  void lint_statement(SyntaxNode statement, Part const& part);
  void lint_code(SyntaxNode statement, Part const& part);
  void lint_calls(SyntaxNode statement, Part const& part);
  void lint_inner(InnerCode const& code, std::size_t body_offset);
  void lint_inner_statement(InnerStatement const& inner, std::size_t offset);
  void lint_beside_held(std::vector<Effect> const& effects, Part const& part);
  void lint_waiting(SyntaxNode statement, std::vector<Effect> const& effects, Part const& part);
  void note_session(SyntaxNode statement);
  void note_switch(SyntaxNode statement);
  void note_locks(std::vector<Effect> const& effects);
  void end_transaction();
  void refuse_unreadable(Part const& part, std::string const& error, std::size_t error_offset);

  bool is_in_transaction() const { return options_.is_in_transaction || is_transaction_open_; }
  void add(Remark const& remark, std::size_t offset);
  bool is_allowed(std::string_view rule, std::size_t offset);
  void lint_orders();

  SchemaFacts& facts_;
  ScriptOptions options_;
  std::string_view text_;
  PlaceOf place_of_;
  std::vector<Order> orders_;
  std::vector<Finding> findings_;
  std::vector<std::vector<Effect>> effects_;

  bool is_transaction_open_ = false;
  std::optional<bool> lock_timeout_;  // set to something, set to none
  bool is_timeout_missed_ = false;    // said already
  std::map<std::string, LockMode> held_;
  bool is_many_told_ = false;  // of this transaction
  struct Body {
    InnerCode code;
    std::size_t offset = 0;
  };
  std::map<std::string, Body> bodies_;  // of functions that the text makes
  bool is_in_call_ = false;
  std::string function_;  // whose body is looked at
};

}  // namespace pgbackfill::planner::lint
