// What is found in one statement, before it has a place in a file: the judges write here.
//
// A judge reads a statement's tree in its scene and says what it touches and what is risky about it. Pure; belongs to
// one thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "planner/lint/lint.h"
#include "planner/lint/lint_rules.h"
#include "planner/lint/schema_facts.h"

namespace pgbackfill::planner::lint {

struct Scene {
  SyntaxNode statement;
  SchemaFacts const& facts;
  int pg_major = 15;
  bool is_in_transaction = false;
};

struct Remark {
  std::string_view rule = {};
  std::string relation = {};
  LockMode lock = LockMode::kNone;
  Work work = Work::kNone;
  std::string why = {};
  std::string instead = {};       // empty: as the rule says
  std::optional<Risk> risk = {};  // absent: as the rule says
  std::int64_t location = 0;      // in the statement's text; 0: its beginning
};

class Verdict {
 public:
  explicit Verdict(SchemaFacts const& facts) : facts_(facts) {}

  // The lock is taken, and nothing else is to be said. Relations that are new do not count.
  void touch(std::string const& relation, LockMode lock, Work work = Work::kNone);
  // The lock is taken and something is risky about it.
  void report(Remark remark);
  // Nobody waits, no matter how the table came about: an error, or loss.
  void report_always(Remark remark);

  std::vector<Effect> const& effects() const { return effects_; }
  std::vector<Remark> const& remarks() const { return remarks_; }

 private:
  SchemaFacts const& facts_;
  std::vector<Effect> effects_;
  std::vector<Remark> remarks_;
};

// Judges, each for its kinds of statements; they do nothing about others.
void judge_alter_table(Scene const& scene, Verdict& verdict);
void judge_index(Scene const& scene, Verdict& verdict);
void judge_table(Scene const& scene, Verdict& verdict);
void judge_object(Scene const& scene, Verdict& verdict);
void judge_rows(Scene const& scene, Verdict& verdict);

inline void judge(Scene const& scene, Verdict& verdict) {
  judge_alter_table(scene, verdict);
  judge_index(scene, verdict);
  judge_table(scene, verdict);
  judge_object(scene, verdict);
  judge_rows(scene, verdict);
}

// Whether an option such as CONCURRENTLY or FULL is given.
bool has_option(SyntaxNode statement, std::string_view field, std::string_view name);

}  // namespace pgbackfill::planner::lint
