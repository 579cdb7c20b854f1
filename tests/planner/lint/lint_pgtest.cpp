// Lint against the server: every statement of tests/lint_corpus is run, what it locks, reads and writes is measured,
// and lint has to have said so from the text alone.
//
// Measured: locks by pg_locks at the end of the statement, rewrites by relfilenode, scans by DEBUG1 messages and rows
// read, rows changed by the statistics of the transaction. A statement is heavy if it reads, builds or writes something
// as a whole while it stops writes or reads of a table that was there before, or if it changes all rows of one.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "engine/sandbox/local_cluster.h"
#include "planner/lint/lint.h"
#include "planner/sql/sql_script.h"
#include "tests/support/pg_client.h"
#include "tests/support/poll_until.h"

namespace pgbackfill::tests {
namespace {

using engine::LocalCluster;
using engine::LocalClusterOptions;
using planner::LockMode;
using planner::lint::Effect;
using planner::lint::Finding;
using planner::lint::Linter;
using planner::lint::Work;

constexpr double kLeastFound = 0.99;
constexpr double kMostFalse = 0.05;
constexpr double kLeastLocksRight = 0.97;
constexpr char kDatabase[] = "corpus";

std::filesystem::path corpus() {
  return std::filesystem::path(PGBACKFILL_SOURCE_DIR) / "tests" / "lint_corpus";
}

std::string text_of(std::string const& name) {
  std::ifstream file(corpus() / name);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// A line is a case: one statement, or several that are one transaction.
std::vector<std::string> cases_in(std::string const& name) {
  std::vector<std::string> cases;
  std::istringstream lines(text_of(name));
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty()) cases.push_back(line);
  }
  return cases;
}

struct Measured {
  bool is_refused = false;  // by the server
  std::string error;
  std::map<std::string, LockMode> locks;  // of tables that were there before
  bool stops_index = false;               // planning a query of its table waits too
  bool is_whole = false;                  // something was read, built or written as a whole
  bool is_all_rows = false;
  std::string detail;

  bool is_heavy() const {
    bool const stops =
        std::any_of(locks.begin(), locks.end(), [](auto const& lock) { return lock.second >= LockMode::kShare; });
    return ((stops || stops_index) && is_whole) || is_all_rows;
  }
};

LockMode mode_of(std::string const& word) {
  static std::map<std::string, LockMode> const modes = {{"AccessShareLock", LockMode::kAccessShare},
                                                        {"RowShareLock", LockMode::kRowShare},
                                                        {"RowExclusiveLock", LockMode::kRowExclusive},
                                                        {"ShareUpdateExclusiveLock", LockMode::kShareUpdateExclusive},
                                                        {"ShareLock", LockMode::kShare},
                                                        {"ShareRowExclusiveLock", LockMode::kShareRowExclusive},
                                                        {"ExclusiveLock", LockMode::kExclusive},
                                                        {"AccessExclusiveLock", LockMode::kAccessExclusive}};
  return modes.at(word);
}

constexpr char kRelations[] = R"(
SELECT c.oid, CASE WHEN n.nspname = 'public' THEN c.relname ELSE n.nspname || '.' || c.relname END, c.relkind,
       pg_relation_filenode(c.oid)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname IN ('public', 'attic') AND c.relkind IN ('r', 'p', 'm', 'i', 'I'))";

struct Relation {
  std::string name;
  char kind = ' ';
  std::string file;
};

std::map<std::string, Relation> relations(PgClient& client) {
  std::map<std::string, Relation> found;
  for (auto const& row : client.exec(kRelations)) {
    found[*row[0]] = {*row[1], row[2]->front(), row[3].value_or("")};
  }
  return found;
}

// Rows read by scans, and rows changed, of this session's unfinished transaction.
std::map<std::string, std::pair<long, long>> row_counts(PgClient& client) {
  std::map<std::string, std::pair<long, long>> counts;
  for (auto const& row :
       client.exec("SELECT relid, seq_tup_read, n_tup_upd + n_tup_del FROM pg_stat_xact_user_tables")) {
    counts[*row[0]] = {std::atol(row[1]->c_str()), std::atol(row[2]->c_str())};
  }
  return counts;
}

constexpr long kRows = 1000;  // of each table of the corpus

bool is_of_whole_table(std::string const& notice) {
  static std::vector<std::string> const words = {"verifying table", "rewriting table", "building index"};
  return std::any_of(words.begin(), words.end(),
                     [&](std::string const& word) { return notice.find(word) != std::string::npos; });
}

class LintCorpus : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    LocalClusterOptions options;
    options.name = "lint";
    options.is_fsync_on = false;
    options.primary_settings = {"autovacuum = off", "allow_in_place_tablespaces = on"};
    cluster_ = std::make_unique<LocalCluster>(std::move(options));
    cluster_->start();
    PgClient client(cluster_->dsn());
    client.exec("CREATE TABLESPACE fast LOCATION ''");
    client.exec(fmt::format("CREATE DATABASE {}", kDatabase));
    PgClient loader(dsn(kDatabase));
    loader.exec(text_of("schema.sql"));
    loader.exec(text_of("rows.sql"));
    loader.exec("ANALYZE");
  }
  static void TearDownTestSuite() { cluster_.reset(); }

  static std::string dsn(std::string const& database) { return cluster_->dsn() + " dbname=" + database; }

  static std::unique_ptr<LocalCluster> cluster_;
};

std::unique_ptr<LocalCluster> LintCorpus::cluster_;

void note_files(Measured& measured, std::map<std::string, Relation> const& before,
                std::map<std::string, Relation> const& after) {
  for (auto const& [oid, relation] : before) {
    auto const now = after.find(oid);
    if (now == after.end() || now->second.file == relation.file || relation.kind == 'p') continue;
    measured.is_whole = true;
    measured.detail += " new file of " + relation.name + ";";
  }
}

void note_notices(Measured& measured, PgClient& client, std::map<std::string, Relation> const& before) {
  for (auto const& notice : client.take_notices()) {
    if (!is_of_whole_table(notice)) continue;
    // A table that the case has made itself is nobody's.
    bool const is_of_known = std::any_of(before.begin(), before.end(), [&](auto const& each) {
      auto const bare = each.second.name.substr(each.second.name.find('.') + 1);
      return notice.find('"' + bare + '"') != std::string::npos;
    });
    bool const names_table = notice.find("table \"") != std::string::npos;
    if (names_table && !is_of_known) continue;
    measured.is_whole = true;
    measured.detail += " " + notice.substr(0, notice.find('\n')) + ";";
  }
}

void note_locks(Measured& measured, PgClient& observer, int pid, std::map<std::string, Relation> const& before) {
  auto const rows =
      observer.exec(fmt::format("SELECT relation, mode FROM pg_locks WHERE pid = {} AND relation IS NOT NULL", pid));
  for (auto const& row : rows) {
    auto const known = before.find(*row[0]);
    if (known == before.end()) continue;
    auto const mode = mode_of(*row[1]);
    auto const kind = known->second.kind;
    if (kind == 'i' || kind == 'I') {
      measured.stops_index = measured.stops_index || mode == LockMode::kAccessExclusive;
      continue;
    }
    // Nobody writes to a materialized view but who refreshes it.
    if (kind == 'm' && mode < LockMode::kAccessExclusive) continue;
    auto& lock = measured.locks[known->second.name];
    lock = std::max(lock, mode);
  }
}

Measured measure_in_transaction(PgClient& client, PgClient& observer, std::string const& sql) {
  Measured measured;
  auto const before = relations(client);
  auto const rows_before = row_counts(client);
  client.exec("BEGIN; SET LOCAL client_min_messages = debug1");
  client.take_notices();
  try {
    client.exec(sql);
  } catch (PgClientError const& error) {
    measured.is_refused = true;
    measured.error = error.what();
    client.exec("ROLLBACK");
    return measured;
  }
  note_notices(measured, client, before);
  note_locks(measured, observer, client.pid(), before);
  note_files(measured, before, relations(client));
  for (auto const& [oid, counts] : row_counts(client)) {
    auto const known = before.find(oid);
    if (known == before.end()) continue;
    auto const old = rows_before.contains(oid) ? rows_before.at(oid) : std::pair(0L, 0L);
    if (counts.first - old.first >= kRows) {
      measured.is_whole = true;
      measured.detail += " read " + known->second.name + ";";
    }
    if (counts.second - old.second >= kRows) {
      measured.is_all_rows = true;
      measured.detail += " changed " + known->second.name + ";";
    }
  }
  client.exec("ROLLBACK");
  return measured;
}

// Its lock is seen while it waits for somebody who holds one that all of these conflict with.
Measured measure_alone(PgClient& client, PgClient& blocker, std::string const& sql) {
  Measured measured;
  auto const before = relations(client);
  client.exec("SET client_min_messages = debug1");
  client.take_notices();
  blocker.exec("BEGIN; LOCK TABLE users IN SHARE UPDATE EXCLUSIVE MODE");
  client.send(sql);
  auto const waits = fmt::format("SELECT count(*) FROM pg_locks WHERE pid = {} AND NOT granted", client.pid());
  bool is_answered = false;
  EXPECT_TRUE(poll_until([&] {
    is_answered = client.has_answer();
    return is_answered || blocker.value(waits) == "1";
  })) << sql;
  note_locks(measured, blocker, client.pid(), before);
  blocker.exec("ROLLBACK");
  try {
    client.receive();
  } catch (PgClientError const& error) {
    measured.is_refused = true;
    measured.error = error.what();
    return measured;
  }
  EXPECT_FALSE(is_answered) << "it did not wait for the lock: " << sql;
  note_notices(measured, client, before);
  note_files(measured, before, relations(client));
  return measured;
}

struct Verdict {
  bool is_heavy = false;
  bool is_found = false;  // anything at all is said
  std::map<std::string, LockMode> locks;
  std::string rules;
};

Verdict verdict_on(std::string const& sql, int major, bool knows_schema) {
  auto const statements = planner::lint::split_script(sql).statements.size();
  Linter linter({major, statements > 1});
  if (knows_schema) linter.learn(text_of("schema.sql"));
  auto const linted = linter.lint_sql("SET lock_timeout = '1s';" + sql, "case.sql");
  Verdict verdict;
  for (Finding const& finding : linted.findings) {
    verdict.is_found = true;
    verdict.rules += fmt::format(" {}", finding.rule);
    // What cannot be judged is taken for the worse.
    bool const is_unknown = finding.rule == "dynamic-sql" || finding.rule == "unreadable";
    bool const stops = finding.lock >= LockMode::kShare || finding.work == Work::kAllRows;
    verdict.is_heavy = verdict.is_heavy || is_unknown || (finding.work != Work::kNone && stops);
  }
  for (auto const& effects : linted.effects) {
    for (Effect const& effect : effects) {
      auto& lock = verdict.locks[effect.relation];
      lock = std::max(lock, effect.lock);
    }
  }
  return verdict;
}

struct Tally {
  int cases = 0;
  int heavy = 0;
  int found = 0;
  int harmless = 0;
  int false_alarms = 0;
  int locks = 0;
  int locks_right = 0;
  std::string misses;

  void add(std::string const& sql, Measured const& measured, Verdict const& verdict) {
    ++cases;
    if (measured.is_heavy()) {
      ++heavy;
      found += verdict.is_heavy ? 1 : 0;
      if (!verdict.is_heavy)
        misses += fmt::format("not found: {}\n  ({}; said:{})\n", sql, measured.detail, verdict.rules);
    } else {
      ++harmless;
      false_alarms += verdict.is_heavy ? 1 : 0;
      if (verdict.is_heavy)
        misses += fmt::format("false alarm: {}\n  ({}; said:{})\n", sql, measured.detail, verdict.rules);
    }
  }

  // Partitions are locked with their parents, and not said one by one.
  void add_locks(std::string const& sql, Measured const& measured, Verdict const& verdict) {
    static std::set<std::string> const partitions = {"events_2024", "events_2025", "logs_info", "logs_rest"};
    for (auto const& [relation, mode] : measured.locks) {
      auto const said = verdict.locks.contains(relation) ? verdict.locks.at(relation) : LockMode::kNone;
      bool const is_below = mode < LockMode::kShareUpdateExclusive && said < LockMode::kShareUpdateExclusive;
      if (is_below || (partitions.contains(relation) && said == LockMode::kNone)) continue;
      ++locks;
      locks_right += said == mode ? 1 : 0;
      if (said != mode) {
        misses += fmt::format("lock on {}: {} and not {}: {}\n", relation, lock_words(mode), lock_words(said), sql);
      }
    }
  }

  double found_share() const { return heavy == 0 ? 1 : static_cast<double>(found) / heavy; }
  double false_share() const { return harmless == 0 ? 0 : static_cast<double>(false_alarms) / harmless; }
};

TEST_F(LintCorpus, SaysOfEachStatementWhatTheServerDoes) {
  int const major = cluster_->major_version();
  PgClient client(dsn(kDatabase));
  PgClient observer(dsn(kDatabase));
  Tally with_schema;
  Tally without_schema;
  for (char const* file : {"columns.sql", "types.sql", "constraints.sql", "indexes.sql", "tables.sql", "objects.sql",
                           "changes.sql", "more.sql"}) {
    for (auto const& sql : cases_in(file)) {
      auto const measured = measure_in_transaction(client, observer, sql);
      if (measured.is_refused) {
        // Forms that came later.
        EXPECT_LT(major, 15) << sql << "\n" << measured.error;
        continue;
      }
      auto const verdict = verdict_on(sql, major, true);
      with_schema.add(sql, measured, verdict);
      with_schema.add_locks(sql, measured, verdict);
      without_schema.add(sql, measured, verdict_on(sql, major, false));
    }
  }
  int number = 0;
  for (auto const& sql : cases_in("alone.sql")) {
    auto const database = fmt::format("alone_{}", ++number);
    client.close();
    observer.close();
    PgClient(cluster_->dsn()).exec(fmt::format("CREATE DATABASE {} TEMPLATE {}", database, kDatabase));
    PgClient alone(dsn(database));
    PgClient blocker(dsn(database));
    auto const measured = measure_alone(alone, blocker, sql);
    if (measured.is_refused) {
      EXPECT_LT(major, 15) << sql << "\n" << measured.error;
      continue;
    }
    auto const verdict = verdict_on(sql, major, true);
    with_schema.add(sql, measured, verdict);
    with_schema.add_locks(sql, measured, verdict);
    without_schema.add(sql, measured, verdict_on(sql, major, false));
  }
  for (auto const& [name, tally] : {std::pair("with the schema", with_schema), std::pair("without", without_schema)}) {
    fmt::print(
        "{}: {} statements, {} heavy, {} found ({:.1f} %); {} harmless, {} false alarms ({:.1f} %); {} locks, {} "
        "right\n",
        name, tally.cases, tally.heavy, tally.found, 100 * tally.found_share(), tally.harmless, tally.false_alarms,
        100 * tally.false_share(), tally.locks, tally.locks_right);
  }
  EXPECT_GE(with_schema.cases, major >= 15 ? 420 : 400);
  EXPECT_GE(with_schema.heavy, 100);
  EXPECT_GE(with_schema.found_share(), kLeastFound) << with_schema.misses;
  EXPECT_LE(with_schema.false_share(), kMostFalse) << with_schema.misses;
  EXPECT_GE(without_schema.found_share(), kLeastFound) << without_schema.misses;
  EXPECT_GE(with_schema.locks_right, kLeastLocksRight * with_schema.locks) << with_schema.misses;
  if (std::getenv("PGBACKFILL_LINT_MISSES") != nullptr)
    fmt::print("{}\n--\n{}", with_schema.misses, without_schema.misses);
}

}  // namespace
}  // namespace pgbackfill::tests
