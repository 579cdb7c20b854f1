// Lint: what the statements of a migration would do to a live database, told from their text alone.
//
// Static: no server, no network, no file is read here. Of tables it knows what earlier statements said (see
// SchemaFacts), and so files are given in the order in which they are run. What it cannot see, it takes for the worse:
// a statement that the parser cannot read is a finding, never a pass. Locks, scans and rewrites per form were measured
// on PostgreSQL 13 to 18; tests/lint_corpus holds them against a real server. Pure; a Linter belongs to one thread.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "planner/lint/lint_terms.h"
#include "planner/model/source_position.h"

namespace pgbackfill::planner::lint {

struct Finding {
  SourcePosition position;
  std::string_view rule;  // of lint_rules.h
  Risk risk = Risk::kLow;
  LockMode lock = LockMode::kNone;
  std::string relation;  // that the lock is on; empty: none
  Work work = Work::kNone;
  std::string why;      // what would happen
  std::string instead;  // what to do instead
};

// What one statement would do to relations that were there before.
struct Effect {
  std::string relation;
  LockMode lock = LockMode::kNone;
  Work work = Work::kNone;
};

// A step of a migration file, by itself. What stands in `contract` is as bad here as anywhere.
struct LintedStep {
  SourcePosition position;
  std::vector<Effect> effects;  // of all its statements
  std::vector<Finding> findings;
};

struct LintedFile {
  std::vector<Finding> findings;             // by position
  std::vector<std::vector<Effect>> effects;  // a statement each
  std::vector<LintedStep> steps;             // of a migration file: expand, then contract
  std::vector<Problem> problems;             // the file cannot be read at all; then there is nothing else
};

struct LintOptions {
  int pg_major = 15;               // that the statements will run on
  bool is_in_transaction = false;  // each .sql file is run in one transaction by whoever runs it
};

inline constexpr int kMinPgMajor = 13;
inline constexpr int kMaxPgMajor = 18;

class Linter {
 public:
  explicit Linter(LintOptions options);
  ~Linter();
  Linter(Linter const&) = delete;
  Linter& operator=(Linter const&) = delete;

  // A schema as pg_dump -s writes it: looked at for what is there, not for risks.
  void learn(std::string_view sql);
  LintedFile lint_sql(std::string_view sql, std::string_view file);
  // Expand and contract steps, and what the backfill says in SQL.
  LintedFile lint_migration(std::string_view yaml, std::string_view file);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace pgbackfill::planner::lint
