#include "planner/file/migration_schema.h"

#include <array>
#include <charconv>
#include <cstddef>
#include <utility>
#include <vector>

#include "planner/file/check_schema.h"
#include "planner/file/compute_schema.h"
#include "planner/file/hook_schema.h"
#include "planner/file/on_schema.h"
#include "planner/file/step_schema.h"
#include "planner/file/throttle_settings.h"
#include "planner/model/duration.h"
#include "planner/model/migration.h"
#include "planner/model/params.h"

namespace pgbackfill::planner {
namespace {

constexpr std::int64_t kMaxCount = 1'000'000'000'000;

constexpr std::array<std::string_view, 2> kCommitWords{"async", "sync"};
constexpr std::array<std::string_view, 2> kTriggerWords{"fire", "skip"};
constexpr std::array<std::string_view, 1> kBadRowWords{"stop"};
constexpr std::array<std::string_view, 2> kConflictWords{"error", "count"};
constexpr std::array<std::string_view, 2> kHistoryWords{"on", "off"};
constexpr std::array<std::string_view, 1> kFollowWords{"until complete"};
constexpr std::array<std::string_view, 7> kWorkKeys{"set", "sql", "copy_to", "delete", "dedupe", "move_to", "compute"};

constexpr std::array<KeyRule, 3> kBatchKeys{{
    {.key = "target",
     .kind = ValueKind::kDuration,
     .doc = "How long a batch should take; its number of rows is steered towards that.",
     .example = "100ms",
     .min = kMinBatchTarget.count(),
     .max = kMaxBatchTarget.count()},
    {.key = "min_rows",
     .kind = ValueKind::kCount,
     .doc = "A batch is never made smaller than this.",
     .example = "50",
     .min = 1,
     .max = kMaxBatchRows},
    {.key = "max_rows",
     .kind = ValueKind::kCount,
     .doc = "A batch is never made larger than this.",
     .example = "50000",
     .min = 1,
     .max = kMaxBatchRows},
}};
constexpr Section kBatchSection{"batch", kBatchKeys};

constexpr std::array<KeyRule, 1> kBadRowKeys{{
    {.key = "quarantine",
     .kind = ValueKind::kCount,
     .doc = "How many rows that fail by themselves may be set aside before the run stops; 0 stops at the first.",
     .example = "10",
     .is_required = true,
     .min = 0,
     .max = kMaxCount},
}};
constexpr Section kBadRowSection{"on_bad_row", kBadRowKeys};

constexpr std::array<KeyRule, 1> kFollowKeys{{
    {.key = "every",
     .kind = ValueKind::kDuration,
     .doc = "How long after one look the next one begins, at least; a look that takes long is followed by a pause of "
            "nine times as long.",
     .example = "10s",
     .is_required = true,
     .min = kMinFollowInterval.count(),
     .max = kMaxFollowInterval.count()},
}};
constexpr Section kFollowSection{"follow", kFollowKeys};

constexpr std::array<KeyRule, 2> kFromKeys{{
    {.key = "csv",
     .kind = ValueKind::kText,
     .doc = "A CSV file, as seen from the folder of this one; its first line names its columns.",
     .example = "ids.csv",
     .is_required = true},
    {.key = "columns",
     .kind = ValueKind::kTypes,
     .doc = "The columns of the file that are read, and their types; one of another type is text, and cast where it is "
            "used.",
     .example = R"json({"project_id": "bigint", "note": "text"})json",
     .is_required = true,
     .words = kParamTypeWords},
}};
constexpr Section kFromSection{"from", kFromKeys};

constexpr std::array<std::string_view, 2> kPreparedSources{"as", "from"};
constexpr std::array<KeyRule, 3> kPreparedKeys{{
    {.key = "as",
     .kind = ValueKind::kStatement,
     .doc = "A query, computed once.",
     .example = "SELECT project_id, max(at) AS at FROM yanks GROUP BY project_id"},
    {.key = "from",
     .kind = ValueKind::kSection,
     .doc = "A file whose rows it has, instead of a query.",
     .example = R"json({"csv": "ids.csv", "columns": {"project_id": "bigint", "note": "text"}})json",
     .section = &kFromSection},
    {.key = "key",
     .kind = ValueKind::kColumns,
     .doc = "Columns of its result that tell its rows apart; the batches join by them.",
     .example = R"json(["project_id"])json",
     .is_required = true},
}};
constexpr Section kPreparedSection{"prepare", kPreparedKeys, kPreparedSources};

constexpr std::array<KeyRule, 2> kDedupeKeys{{
    {.key = "by",
     .kind = ValueKind::kColumns,
     .doc = "Rows with the same values in these columns are one group; NULL is like NULL. An index has to begin with "
            "them.",
     .example = R"json(["email"])json",
     .is_required = true},
    {.key = "keep",
     .kind = ValueKind::kExpression,
     .doc = "ORDER BY ...: the first row of a group stays, and of equal ones the first by the key.",
     .example = "ORDER BY created_at DESC",
     .is_required = true},
}};
constexpr Section kDedupeSection{"dedupe", kDedupeKeys};

constexpr std::array<KeyRule, 21> kBackfillKeys{{
    {.key = "table",
     .kind = ValueKind::kTable,
     .doc = "The table whose rows are worked, if it is not the one at the top of the file.",
     .example = "public.users",
     .section = &kTableSection},
    {.key = "prepare",
     .kind = ValueKind::kPrepare,
     .doc = "Results that are computed once, before the batches, which read each as {prepare:name} and an alias.",
     .example = R"json({"totals": {"as": "SELECT a, sum(b) AS b FROM u GROUP BY a", "key": ["a"]}})json",
     .section = &kPreparedSection},
    {.key = "set",
     .kind = ValueKind::kExpressions,
     .doc = "Computes columns in place: each column (taken literally) and its SQL expression.",
     .example = R"json({"display_name": "upper(name)"})json"},
    {.key = "sql",
     .kind = ValueKind::kBatchStatement,
     .doc = "One SQL statement per batch; {batch} or {batch:alias} stands for the condition that picks its rows and "
            "is joined to all others by AND.",
     .example = "UPDATE orders o SET region = c.region FROM customers c WHERE c.id = o.customer_id AND {batch:o}"},
    {.key = "copy_to",
     .kind = ValueKind::kTable,
     .doc = "Copies the rows into this table; rows that are there already stay as they are.",
     .example = "public.users_v2",
     .section = &kTableSection,
     .needs = "columns"},
    {.key = "columns",
     .kind = ValueKind::kExpressions,
     .doc = "Each column of the table that is copied to (taken literally) and its SQL expression.",
     .example = R"json({"id": "id", "display_name": "upper(name)"})json",
     .needs = "copy_to"},
    {.key = "on_conflict",
     .kind = ValueKind::kWord,
     .doc = "A row that collides with another one in the copy, not by the table's own key: an error of that row, or it "
            "is left out and counted, and the gate stays closed.",
     .example = "error",
     .words = kConflictWords,
     .needs = "copy_to"},
    {.key = "rows_per_key",
     .kind = ValueKind::kCount,
     .doc =
         "How many rows a batch of 'sql' may change for each key of the table that {batch} picks; more stops the run, "
         "for then that table is probably not joined.",
     .example = "10",
     .min = 1,
     .max = kMaxCount,
     .needs = "sql"},
    {.key = "delete",
     .kind = ValueKind::kTrue,
     .doc = "Deletes the rows that 'where' picks.",
     .example = "true",
     .needs = "where"},
    {.key = "dedupe",
     .kind = ValueKind::kSection,
     .doc = "Deletes all rows of a group but one; with 'where' other rows are neither deleted nor counted as kept.",
     .example = R"json({"by": ["email"], "keep": "ORDER BY created_at DESC"})json",
     .section = &kDedupeSection},
    {.key = "move_to",
     .kind = ValueKind::kTable,
     .doc = "Moves the rows that 'where' picks into this table, column by column of the same name.",
     .example = "public.orders_archive",
     .section = &kTableSection,
     .needs = "where"},
    {.key = "compute",
     .kind = ValueKind::kSection,
     .doc = "Values that a program of yours computes, outside of any transaction; beside 'copy_to' for rows of another "
            "table.",
     .example = R"json({"read": {"email": "email"}, "write": ["email_hash"], "command": ["python3", "hash.py"]})json",
     .section = &kComputeSection},
    {.key = "where",
     .kind = ValueKind::kExpression,
     .doc = "An SQL condition; rows for which it is not true are left alone. Beside 'set' also the word changed: rows "
            "that would get another value.",
     .example = "display_name IS NULL",
     .excludes = "sql",
     .excludes_hint = "put the condition into the statement"},
    {.key = "follow",
     .kind = ValueKind::kWordOrSection,
     .doc = "When all rows are done, 'run' goes on looking for rows that 'where' picks, which old versions of the "
            "application still write, until 'complete' or 'cancel' ends it.",
     .example = "until complete",
     .words = kFollowWords,
     .section = &kFollowSection,
     .needs = "where"},
    {.key = "workers",
     .kind = ValueKind::kCount,
     .doc = "How many batches may run at the same time.",
     .example = "4",
     .min = 1,
     .max = kMaxWorkers},
    {.key = "batch",
     .kind = ValueKind::kSection,
     .doc = "The size of a batch.",
     .example = R"({"target": "100ms", "min_rows": 50, "max_rows": 50000})",
     .section = &kBatchSection},
    {.key = "commit",
     .kind = ValueKind::kWord,
     .doc = "Whether a batch waits for the disk; a crash loses batch and checkpoint together, so async is safe.",
     .example = "async",
     .words = kCommitWords},
    {.key = "triggers",
     .kind = ValueKind::kWord,
     .doc = "Whether batches fire the triggers of the table; skip needs a role that may set session_replication_role.",
     .example = "fire",
     .words = kTriggerWords},
    {.key = "skip_foreign_keys",
     .kind = ValueKind::kColumns,
     .doc = "The foreign keys, by the names of their constraints, that 'triggers: skip' leaves unchecked as well.",
     .example = R"json(["orders_customer_id_fkey"])json",
     .needs = "triggers"},
    {.key = "on_bad_row",
     .kind = ValueKind::kWordOrSection,
     .doc = "What happens to a row that fails by itself.",
     .example = R"({"quarantine": 10})",
     .words = kBadRowWords,
     .section = &kBadRowSection},
    {.key = "history",
     .kind = ValueKind::kWord,
     .doc =
         "Whether a row about the job is kept every five seconds, for 'report' and 'status': its rate, lag, what held "
         "it back.",
     .example = "on",
     .words = kHistoryWords},
}};
constexpr Section kBackfillSection{"backfill", kBackfillKeys, kWorkKeys, "copy_to", "compute"};

constexpr std::array<std::string_view, 2> kSyncForms{"set", "mirror"};
constexpr std::array<KeyRule, 4> kSyncKeys{{
    {.key = "table",
     .kind = ValueKind::kTable,
     .doc = "The table that gets the trigger, if it is not the one at the top of the file.",
     .example = "public.users",
     .section = &kTableSection},
    {.key = "set",
     .kind = ValueKind::kExpressions,
     .doc = "Old to new: each new column (taken literally) and its SQL expression over the old ones.",
     .example = R"json({"display_name": "upper(name)"})json"},
    {.key = "reverse",
     .kind = ValueKind::kExpressions,
     .doc = "New to old, so that the old version of the application sees what the new one writes.",
     .example = R"json({"name": "lower(display_name)"})json",
     .needs = "set"},
    {.key = "mirror",
     .kind = ValueKind::kColumns,
     .doc = "Beside 'copy_to': carries inserts, updates and deletes on to the new table; its columns that say which "
            "row is which.",
     .example = R"json(["id"])json"},
}};
constexpr Section kSyncSection{"sync", kSyncKeys, kSyncForms};

std::vector<KeyRule> throttle_keys() {
  std::vector<KeyRule> keys;
  for (auto const& setting : throttle_settings()) {
    keys.push_back({.key = setting.name, .kind = ValueKind::kSetting, .doc = setting.help, .example = setting.example});
  }
  return keys;
}
std::vector<KeyRule> const kThrottleKeys = throttle_keys();
Section const kThrottleSection{"throttle", kThrottleKeys};

constexpr std::array<KeyRule, 8> kProbeKeys{{
    {.key = "name",
     .kind = ValueKind::kName,
     .doc = "The name of the probe, as status and metrics show it.",
     .example = "queue_length",
     .is_required = true},
    {.key = "sql",
     .kind = ValueKind::kStatement,
     .doc = "A query that yields one number.",
     .example = "SELECT count(*) FROM jobs WHERE NOT done",
     .needs = "max"},
    {.key = "url",
     .kind = ValueKind::kUrl,
     .doc = "Has to answer 200; with a query: a Prometheus server.",
     .example = "http://127.0.0.1:9090"},
    {.key = "query",
     .kind = ValueKind::kText,
     .doc = "An expression for the Prometheus server at url, sent as an instant query.",
     .example = "max(app_queue_length)",
     .needs = "max"},
    {.key = "ca_file",
     .kind = ValueKind::kText,
     .doc = "Certificates of whom to trust, in PEM, instead of those of the system.",
     .example = "/etc/ssl/company-ca.pem",
     .needs = "url"},
    {.key = "max",
     .kind = ValueKind::kNumber,
     .doc = "No batch starts while the number is above this.",
     .example = "1000",
     .min = -1'000'000'000'000'000,
     .max = 1'000'000'000'000'000},
    {.key = "interval",
     .kind = ValueKind::kDuration,
     .doc = "How often it is asked.",
     .example = "5s",
     .min = 100,
     .max = 3'600'000},
    {.key = "timeout",
     .kind = ValueKind::kDuration,
     .doc = "How long an answer may take; a later one is a failed one.",
     .example = "1s",
     .min = 10,
     .max = 60'000},
}};
constexpr std::array<std::string_view, 2> kProbeKinds{"sql", "url"};
constexpr Section kProbeSection{"probes", kProbeKeys, kProbeKinds};

constexpr std::array<KeyRule, 2> kParamKeys{{
    {.key = "type",
     .kind = ValueKind::kWord,
     .doc = "What its values are; one of another type is text, and cast where it is used.",
     .example = "bigint",
     .is_required = true,
     .words = kParamTypeWords},
    {.key = "default", .kind = ValueKind::kScalar, .doc = "Its value where none is given.", .example = "1"},
}};
constexpr Section kParamSection{"params", kParamKeys};

constexpr std::array<KeyRule, 5> kRehearseKeys{{
    {.key = "max_time",
     .kind = ValueKind::kDuration,
     .doc = "The longest that all of it may take in production, by the forecast of a rehearsal.",
     .example = "6h",
     .min = 1,
     .max = 31'536'000'000},
    {.key = "max_lag",
     .kind = ValueKind::kDuration,
     .doc = "The furthest that a replica of the rehearsal may be behind.",
     .example = "2s",
     .min = 1,
     .max = 86'400'000},
    {.key = "max_lock_wait",
     .kind = ValueKind::kDuration,
     .doc = "The longest that anybody may wait for a lock in the rehearsal.",
     .example = "1s",
     .min = 1,
     .max = 86'400'000},
    {.key = "max_growth",
     .kind = ValueKind::kText,
     .doc = "How much the database may grow meanwhile, in percent.",
     .example = "30%"},
    {.key = "values",
     .kind = ValueKind::kExpressions,
     .doc = "SQL of a column's made-up values, by schema.table.column; n is the number of the row, from 0.",
     .example = R"json({"public.users.region": "'eu-' || n % 7"})json"},
}};
constexpr Section kRehearseSection{"rehearse", kRehearseKeys};

constexpr std::array<KeyRule, 18> kMigrationKeys{{
    {.key = "name",
     .kind = ValueKind::kName,
     .doc = "The name of the migration, unique in its database.",
     .example = "users_display_name",
     .is_required = true},
    {.key = "table",
     .kind = ValueKind::kTable,
     .doc =
         "The table that the migration is about, written as in SQL: what has upper case or dots needs double quotes.",
     .example = "public.users",
     .section = &kTableSection},
    {.key = "params",
     .kind = ValueKind::kParams,
     .doc = "What it is given by --param name=value; stands in its SQL as {param:name}, a constant of that type. Each "
            "set of values is a job of its own.",
     .example = R"json({"from": "bigint", "to": {"type": "bigint", "default": 5000}})json",
     .words = kParamTypeWords,
     .section = &kParamSection},
    {.key = "expand",
     .kind = ValueKind::kSteps,
     .doc = "Additive schema steps, run before the backfill.",
     .example = R"json([{"add_column": {"name": "display_name", "type": "text"}}])json",
     .section = &kStepSection},
    {.key = "sync",
     .kind = ValueKind::kSection,
     .doc =
         "A trigger that keeps columns in step while versions of an application write either; it goes with 'complete'.",
     .example = R"json({"set": {"display_name": "upper(name)"}})json",
     .section = &kSyncSection},
    {.key = "backfill",
     .kind = ValueKind::kSection,
     .doc = "The work over every row, in batches.",
     .example = R"json({"set": {"display_name": "upper(name)"}, "where": "display_name IS NULL"})json",
     .section = &kBackfillSection},
    {.key = "verify",
     .kind = ValueKind::kSections,
     .doc = "What has to hold before 'contract'; the gate and 'verify' ask for it, read-only.",
     .example = R"json([{"zero": "SELECT count(*) FROM users WHERE display_name IS NULL"}])json",
     .section = &kCheckSection},
    {.key = "writers_gone",
     .kind = ValueKind::kTexts,
     .doc = "Applications that must have no session left before 'contract', by application_name; a * may end a name.",
     .example = R"(["billing-api", "web-1.*"])"},
    {.key = "subscribers_ready",
     .kind = ValueKind::kFlag,
     .doc = "Subscribers of logical replication have the tables and columns already that the migration makes.",
     .example = "true"},
    {.key = "contract",
     .kind = ValueKind::kSteps,
     .doc = "Tightening or destructive schema steps, run by 'complete' and only when the backfill is proven done.",
     .example = R"([{"set_not_null": "display_name"}, {"drop_column": "name"}])",
     .section = &kStepSection},
    {.key = "before",
     .kind = ValueKind::kSection,
     .doc = "A backup, and commands and HTTP checks, before phases; one that fails stops the command, resumable.",
     .example =
         R"json({"backup": {"pg_dump": "/var/backups/users.dump"}, "rollback": [{"command": "./notify.sh"}]})json",
     .section = &kBeforeSection},
    {.key = "after",
     .kind = ValueKind::kSection,
     .doc = "Commands and HTTP checks after phases; one that fails stops the command, resumable.",
     .example = R"json({"rollback": [{"http": "http://127.0.0.1:8080/healthz", "expect": "ok"}]})json",
     .section = &kAfterSection},
    {.key = "on",
     .kind = ValueKind::kSection,
     .doc = "Who is told when it fails, stalls, is held back, is done and so on: by a command or by HTTP.",
     .example = R"json({"failure": [{"slack": {"url": "${SLACK_WEBHOOK}"}}]})json",
     .section = &kOnSection},
    {.key = "throttle",
     .kind = ValueKind::kSection,
     .doc = "Limits that the backfill keeps to; sensible ones apply without this section.",
     .example = R"({"replica_lag": "1s", "lock_wait": "50ms"})",
     .section = &kThrottleSection},
    {.key = "probes",
     .kind = ValueKind::kSections,
     .doc = "Signals of your own: a number by SQL or by a Prometheus query, or a URL that answers 200.",
     .example = R"([{"name": "queue", "sql": "SELECT count(*) FROM jobs WHERE NOT done", "max": 1000}])",
     .section = &kProbeSection},
    {.key = "windows",
     .kind = ValueKind::kTexts,
     .doc = "When the backfill may run; at any time without this key.",
     .example = R"(["Mon-Fri 22:00-06:00 Europe/Berlin", "Sat-Sun"])"},
    {.key = "blackout",
     .kind = ValueKind::kTexts,
     .doc = "When the backfill may not run, whatever windows says; written as windows are.",
     .example = R"(["Mon 23:00-24:00 Europe/Berlin"])"},
    {.key = "rehearse",
     .kind = ValueKind::kSection,
     .doc = "Limits that 'pgbackfill rehearse' holds the migration to, and SQL for values that it cannot make up.",
     .example = R"json({"max_time": "6h", "max_growth": "30%"})json",
     .section = &kRehearseSection},
}};
constexpr Section kMigrationSection{"", kMigrationKeys};

constexpr std::array<KeyRule, 6> kConfigKeys{{
    {.key = "database_url_variable",
     .kind = ValueKind::kText,
     .doc = "The variable of the environment that has the connection string or URL; --dsn and PGBACKFILL_DATABASE_URL "
            "win over it.",
     .example = "SHOP_DATABASE_URL"},
    {.key = "folder",
     .kind = ValueKind::kText,
     .doc =
         "The folder of the migrations, as seen from this file: for commands that are given neither file nor folder.",
     .example = "migrations"},
    {.key = "throttle",
     .kind = ValueKind::kSection,
     .doc = "Limits of all migrations; a migration's own win, one by one.",
     .example = R"({"replica_lag": "1s", "lock_wait": "50ms"})",
     .section = &kThrottleSection},
    {.key = "before",
     .kind = ValueKind::kSection,
     .doc = "Hooks and a backup before the phases of all migrations; a migration's own win, a phase at a time.",
     .example = R"json({"backfill": [{"command": "./notify.sh"}]})json",
     .section = &kBeforeSection},
    {.key = "after",
     .kind = ValueKind::kSection,
     .doc = "Hooks after the phases of all migrations; a migration's own win, a phase at a time.",
     .example = R"json({"backfill": [{"command": "./smoke-test"}]})json",
     .section = &kAfterSection},
    {.key = "on",
     .kind = ValueKind::kSection,
     .doc = "Who is told of what happens to any migration; a migration's own deliveries win, an event at a time.",
     .example = R"json({"failure": [{"slack": {"url": "${SLACK_WEBHOOK}"}}]})json",
     .section = &kOnSection},
}};
constexpr Section kConfigSection{"", kConfigKeys};

std::string json_text(std::string_view text) {
  std::string quoted = "\"";
  for (char const c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "\"";
}

// A JSON object under construction. Its members are JSON texts, indented once they are put into another object.
class JsonObject {
 public:
  JsonObject& add(std::string_view key, std::string value) {
    members_.push_back(json_text(key) + ": " + std::move(value));
    return *this;
  }
  JsonObject& add_text(std::string_view key, std::string_view text) { return add(key, json_text(text)); }
  bool is_empty() const { return members_.empty(); }

  std::string text() const {
    std::string result = "{";
    for (std::size_t index = 0; index < members_.size(); ++index) {
      result += index == 0 ? "\n" : ",\n";
      result += indented(members_[index]);
    }
    return result + "\n}";
  }

 private:
  static std::string indented(std::string_view text) {
    std::string result = "  ";
    for (char const c : text) {
      result += c;
      if (c == '\n') result += "  ";
    }
    return result;
  }

  std::vector<std::string> members_;
};

std::string json_list(std::vector<std::string> const& items) {
  std::string list = "[";
  for (auto const& item : items) list += (list.size() > 1 ? ", " : "") + item;
  return list + "]";
}

std::string json_words(std::span<std::string_view const> words) {
  std::vector<std::string> quoted;
  for (auto const word : words) quoted.push_back(json_text(word));
  return json_list(quoted);
}

std::string required_object(std::string_view key) {
  return R"({"required": [)" + json_text(key) + "]}";
}

std::string rule_schema(KeyRule const& rule);

// The rules between keys: which are required, alternatives, which need or exclude each other.
void add_key_relations(Section const& section, JsonObject& schema) {
  std::vector<std::string> required;
  JsonObject needs;
  JsonObject excludes;
  for (auto const& rule : section.keys) {
    if (rule.is_required) required.push_back(json_text(rule.key));
    if (!rule.needs.empty()) needs.add(rule.key, json_list({json_text(rule.needs)}));
    if (!rule.excludes.empty()) excludes.add(rule.key, R"({"not": )" + required_object(rule.excludes) + "}");
  }
  if (!required.empty()) schema.add("required", json_list(required));
  if (!section.one_of.empty()) {
    std::vector<std::string> alternatives;
    for (auto const key : section.one_of) {
      if (key == section.joins) {
        alternatives.push_back(R"({"required": )" + json_list({json_text(key)}) + R"(, "not": )" +
                               required_object(section.joined) + "}");
      } else {
        alternatives.push_back(required_object(key));
      }
    }
    schema.add("oneOf", json_list(alternatives));
  }
  if (!needs.is_empty()) schema.add("dependentRequired", needs.text());
  if (!excludes.is_empty()) schema.add("dependentSchemas", excludes.text());
}

void add_section(Section const& section, JsonObject& schema) {
  schema.add_text("type", "object");
  JsonObject properties;
  for (auto const& rule : section.keys) {
    if (rule.kind != ValueKind::kUnsupported) properties.add(rule.key, rule_schema(rule));
  }
  schema.add("properties", properties.text());
  add_key_relations(section, schema);
  schema.add("additionalProperties", "false");
}

std::string section_schema(Section const& section) {
  JsonObject schema;
  add_section(section, schema);
  return schema.text();
}

void add_text_type(JsonObject& schema, std::string_view pattern) {
  schema.add_text("type", "string").add_text("pattern", pattern);
}

// YAML reads an expression such as 1 or true as a number or a truth value; both are SQL here.
constexpr std::string_view kScalarTypes = R"(["string", "number", "boolean", "null"])";

constexpr std::string_view kDurationPattern = R"(^[0-9]+(\.[0-9]+)?(ms|s|m|h)$)";
constexpr std::string_view kBytesPattern = R"(^[0-9]+(\.[0-9]+)?(B|kB|MB|GB|TB)$)";
constexpr std::string_view kByteRatePattern = R"(^[0-9]+(\.[0-9]+)?(B|kB|MB|GB|TB)/s$)";
constexpr std::string_view kPercentPattern = R"(^[0-9]+(\.[0-9]+)?%$)";

std::string number_text(double number) {
  std::array<char, 32> buffer{};
  auto const written = std::to_chars(buffer.data(), buffer.data() + buffer.size(), number, std::chars_format::fixed);
  return {buffer.data(), written.ptr};
}

void add_some_setting(SettingRule const& rule, JsonObject& schema) {
  switch (rule.kind) {
    case SettingKind::kDuration:
      return add_text_type(schema, kDurationPattern);
    case SettingKind::kBytes:
      return add_text_type(schema, kBytesPattern);
    case SettingKind::kByteRate:
      return add_text_type(schema, kByteRatePattern);
    case SettingKind::kPercent:
      return add_text_type(schema, kPercentPattern);
    case SettingKind::kRatio:
    case SettingKind::kCount:
      schema.add_text("type", rule.kind == SettingKind::kCount ? "integer" : "number");
      schema.add("minimum", number_text(rule.min)).add("maximum", number_text(rule.max));
      return;
    case SettingKind::kNames:
      schema.add("oneOf", json_list({R"({"type": "string", "minLength": 1})",
                                     R"({"type": "array", "items": {"type": "string", "minLength": 1}})"}));
      return;
    case SettingKind::kWord:
      schema.add("enum", json_words(rule.words));
      return;
  }
}

void add_setting(SettingRule const& rule, JsonObject& schema) {
  // Names are any text, so the word for none of them is one too.
  if (rule.nothing.empty() || rule.kind == SettingKind::kNames) return add_some_setting(rule, schema);
  JsonObject some;
  add_some_setting(rule, some);
  schema.add("oneOf", json_list({some.text(), R"({"const": )" + json_text(rule.nothing) + "}"}));
}

void add_step(KeyRule const& rule, JsonObject& schema) {
  if (rule.shorthand.empty()) return add_section(*rule.section, schema);
  schema.add("oneOf", json_list({R"({"type": "string", "minLength": 1})", section_schema(*rule.section)}));
}

void add_value(KeyRule const& rule, JsonObject& schema) {
  switch (rule.kind) {
    case ValueKind::kName:
      return add_text_type(schema, "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$");
    case ValueKind::kIdentifier:
      schema.add_text("type", "string").add("minLength", "1").add("maxLength", "63");
      return;
    case ValueKind::kTable:
      schema.add("oneOf", json_list({R"({"type": "string", "minLength": 1})", section_schema(*rule.section)}));
      return;
    case ValueKind::kExpression:
      schema.add("type", R"(["string", "number", "boolean"])");
      return;
    case ValueKind::kExpressions:
      schema.add_text("type", "object").add("minProperties", "1");
      schema.add("additionalProperties", R"({"type": )" + std::string{kScalarTypes} + "}");
      return;
    case ValueKind::kStatement:
      schema.add_text("type", "string").add("minLength", "1");
      return;
    case ValueKind::kBatchStatement:
      return add_text_type(schema, R"(\{batch(:[^}]+)?\})");
    case ValueKind::kTrue:
      schema.add("const", "true");
      return;
    case ValueKind::kCount:
      schema.add_text("type", "integer");
      schema.add("minimum", std::to_string(rule.min)).add("maximum", std::to_string(rule.max));
      return;
    case ValueKind::kNumber:
      schema.add_text("type", "number");
      schema.add("minimum", std::to_string(rule.min)).add("maximum", std::to_string(rule.max));
      return;
    case ValueKind::kDuration:
      return add_text_type(schema, kDurationPattern);
    case ValueKind::kSetting:
      return add_setting(*find_throttle_setting(rule.key), schema);
    case ValueKind::kText:
      schema.add_text("type", "string").add("minLength", "1");
      return;
    case ValueKind::kUrl:
      return add_text_type(schema, "^https?://.+");
    case ValueKind::kWord:
      schema.add("enum", json_words(rule.words));
      return;
    case ValueKind::kWordOrSection:
      schema.add("oneOf", json_list({R"({"enum": )" + json_words(rule.words) + "}", section_schema(*rule.section)}));
      return;
    case ValueKind::kSection:
      return add_section(*rule.section, schema);
    case ValueKind::kSteps:
    case ValueKind::kSections:
      schema.add_text("type", "array").add("items", section_schema(*rule.section));
      return;
    case ValueKind::kStep:
      return add_step(rule, schema);
    case ValueKind::kColumns:
      schema.add_text("type", "array").add("items", R"({"type": "string", "minLength": 1, "maxLength": 63})");
      schema.add("minItems", "1");
      return;
    case ValueKind::kFlag:
      schema.add_text("type", "boolean");
      return;
    case ValueKind::kTexts:
      schema.add_text("type", "array").add("items", R"({"type": "string", "minLength": 1})").add("minItems", "1");
      return;
    case ValueKind::kSecretText:
      schema.add("oneOf", json_list({R"({"type": "string", "minLength": 1})", section_schema(*rule.section)}));
      return;
    case ValueKind::kSecretTexts: {
      JsonObject secret;
      secret.add("oneOf", json_list({R"({"type": "string", "minLength": 1})", section_schema(*rule.section)}));
      schema.add_text("type", "object").add("additionalProperties", secret.text());
      return;
    }
    case ValueKind::kScalar:
      schema.add("type", R"(["string", "number", "boolean"])");
      return;
    case ValueKind::kPrepare:
      schema.add_text("type", "object").add("minProperties", "1");
      schema.add("propertyNames", R"({"pattern": "^[a-z_][a-z0-9_]{0,29}$"})");
      schema.add("additionalProperties", section_schema(*rule.section));
      return;
    case ValueKind::kTypes:
      schema.add_text("type", "object").add("minProperties", "1");
      schema.add("additionalProperties", R"({"enum": )" + json_words(rule.words) + "}");
      return;
    case ValueKind::kParams: {
      JsonObject param;
      param.add("oneOf", json_list({R"({"enum": )" + json_words(rule.words) + "}", section_schema(*rule.section)}));
      schema.add_text("type", "object").add("minProperties", "1");
      schema.add("propertyNames", R"({"pattern": "^[a-z_][a-z0-9_]{0,39}$"})");
      schema.add("additionalProperties", param.text());
      return;
    }
    case ValueKind::kUnsupported:
      return;
  }
}

bool is_json_example(ValueKind kind) {
  return kind == ValueKind::kExpressions || kind == ValueKind::kSection || kind == ValueKind::kSteps ||
         kind == ValueKind::kTexts || kind == ValueKind::kWordOrSection || kind == ValueKind::kCount ||
         kind == ValueKind::kTrue || kind == ValueKind::kNumber || kind == ValueKind::kSections ||
         kind == ValueKind::kStep || kind == ValueKind::kColumns || kind == ValueKind::kFlag ||
         kind == ValueKind::kSecretTexts || kind == ValueKind::kScalar || kind == ValueKind::kParams ||
         kind == ValueKind::kPrepare || kind == ValueKind::kTypes;
}

bool has_json_example(KeyRule const& rule) {
  if (rule.kind != ValueKind::kSetting) return is_json_example(rule.kind);
  auto const kind = find_throttle_setting(rule.key)->kind;
  return kind == SettingKind::kCount || kind == SettingKind::kRatio;
}

std::string rule_doc(KeyRule const& rule) {
  if (rule.kind == ValueKind::kSetting) {
    auto const& setting = *find_throttle_setting(rule.key);
    bool const has_bounds = setting.kind != SettingKind::kWord && setting.kind != SettingKind::kNames;
    std::string const bounds = has_bounds ? " " + setting_bounds(setting) + "." : "";
    return std::string{rule.doc} + bounds + " Default: " + std::string{setting.standard} + ".";
  }
  if (rule.kind != ValueKind::kDuration) return std::string{rule.doc};
  return std::string{rule.doc} + " From " + format_duration(std::chrono::milliseconds{rule.min}) + " to " +
         format_duration(std::chrono::milliseconds{rule.max}) + ".";
}

std::string rule_schema(KeyRule const& rule) {
  JsonObject schema;
  schema.add_text("description", rule_doc(rule));
  add_value(rule, schema);
  schema.add("examples", json_list({has_json_example(rule) ? std::string{rule.example} : json_text(rule.example)}));
  return schema.text();
}

}  // namespace

Section const& migration_section() {
  return kMigrationSection;
}

Section const& config_section() {
  return kConfigSection;
}

namespace {

std::string schema_of(Section const& section, std::string_view title) {
  JsonObject schema;
  schema.add_text("$schema", "https://json-schema.org/draft/2020-12/schema");
  schema.add_text("title", title);
  add_section(section, schema);
  return schema.text() + "\n";
}

}  // namespace

std::string migration_json_schema() {
  return schema_of(kMigrationSection, "pgbackfill migration");
}

std::string config_json_schema() {
  return schema_of(kConfigSection, "pgbackfill.yaml");
}

}  // namespace pgbackfill::planner
