#include "planner/lint/lint_rules.h"

#include <algorithm>
#include <array>

namespace pgbackfill::planner::lint {
namespace {

constexpr Rule kRules[] = {
    // Columns.
    {"add-column-check", Risk::kHigh, "`ADD COLUMN ... CHECK`: all rows are read under the lock",
     "add the column alone, then step `add_check`"},
    {"add-column-foreign-key", Risk::kHigh,
     "`ADD COLUMN ... DEFAULT ... REFERENCES`: both tables are read under the lock",
     "step `add_column`, backfill, then step `add_foreign_key`"},
    {"add-column-not-null", Risk::kHigh, "`ADD COLUMN ... NOT NULL` without a default: fails on a table with rows",
     "step `add_column` without NOT NULL, backfill, then step `set_not_null`"},
    {"add-column-rewrite", Risk::kHigh,
     "`ADD COLUMN` with a volatile default, serial, identity, `GENERATED ... STORED`, or a domain with a constraint: "
     "the "
     "table is rewritten",
     "step `add_column` without the default, `set_default` for new rows, backfill the old ones"},
    {"add-column-unique", Risk::kHigh, "`ADD COLUMN ... UNIQUE` or `PRIMARY KEY`: an index is built under the lock",
     "step `add_column`, backfill, then step `add_unique`"},
    {"change-type", Risk::kHigh, "`ALTER COLUMN ... TYPE` that rewrites, builds indexes anew or reads all rows",
     "step `add_column` with the new type, keep it right by a trigger, backfill, switch, then step `drop_column`"},
    {"drop-column", Risk::kDestructive, "`DROP COLUMN`", "step `drop_column` in `contract`, behind the gate"},
    {"set-not-null", Risk::kHigh, "`SET NOT NULL` without a valid `CHECK (column IS NOT NULL)`: all rows are read",
     "step `set_not_null`"},
    // Constraints.
    {"add-check", Risk::kHigh, "`ADD CONSTRAINT ... CHECK` without `NOT VALID`: all rows are read", "step `add_check`"},
    {"add-exclusion", Risk::kHigh, "`ADD CONSTRAINT ... EXCLUDE`: an index is built under the lock",
     "there is no way without the lock; a new table with the constraint, filled by `copy_to`, and a switch"},
    {"add-foreign-key", Risk::kHigh, "`ADD FOREIGN KEY` without `NOT VALID`: both tables are read, writes to both wait",
     "step `add_foreign_key`"},
    {"add-primary-key", Risk::kHigh, "`ADD PRIMARY KEY` that builds its index, or that has to prove NOT NULL",
     "step `add_primary_key`"},
    {"add-unique", Risk::kHigh, "`ADD UNIQUE` without `USING INDEX`", "step `add_unique`"},
    {"alter-domain", Risk::kHigh, "a constraint of a domain that is checked in all tables that use it",
     "`ADD CONSTRAINT ... NOT VALID` has no scan; `VALIDATE` it when writes to those tables may wait"},
    {"drop-constraint", Risk::kMedium, "`DROP CONSTRAINT`: what it kept out can come in, and nothing brings it back",
     "step `drop_constraint`, which can be undone"},
    // Indexes.
    {"concurrent-if-not-exists", Risk::kMedium,
     "`CREATE INDEX CONCURRENTLY IF NOT EXISTS`: takes the invalid leftover of a failed build for the index",
     "step `create_index`, which knows its leftovers; or without IF NOT EXISTS"},
    {"concurrent-lock-timeout", Risk::kMedium,
     "a concurrent build under a `lock_timeout`: when it strikes, an invalid index is left",
     "step `create_index`; or `SET lock_timeout = 0` before it"},
    {"concurrently-in-transaction", Risk::kHigh, "`CONCURRENTLY`, `VACUUM` and the like in a transaction: an error",
     "a step, or a file, of its own"},
    {"create-index", Risk::kHigh, "`CREATE INDEX` without `CONCURRENTLY`: writes wait for the whole build",
     "step `create_index`"},
    {"drop-index", Risk::kMedium,
     "`DROP INDEX` without `CONCURRENTLY`: waits for, and then stops, all queries of the table", "step `drop_index`"},
    {"reindex", Risk::kHigh, "`REINDEX` without `CONCURRENTLY`", "step `reindex`, or `REINDEX ... CONCURRENTLY`"},
    // Tables.
    {"attach-partition", Risk::kHigh,
     "`ATTACH PARTITION` of a table with rows, without a check that implies its bounds", "step `attach_partition`"},
    {"cluster", Risk::kHigh, "`CLUSTER`", "pg_repack, or a copy in order by `copy_to`"},
    {"create-partition", Risk::kMedium,
     "`CREATE TABLE ... PARTITION OF` a table in use: stops it for a moment, longer if "
     "it has a default partition",
     "create the table alone, then `ATTACH PARTITION`, which lets reads and writes of the parent go on"},
    {"detach-partition", Risk::kMedium, "`DETACH PARTITION` without `CONCURRENTLY`", "step `detach_partition`"},
    {"drop-table", Risk::kDestructive, "`DROP TABLE`", "step `drop_table` in `contract`, behind the gate"},
    {"lock-table", Risk::kMedium, "`LOCK TABLE` that stops writes or reads",
     "a statement that takes the lock it needs, briefly"},
    {"refresh-materialized-view", Risk::kHigh, "`REFRESH MATERIALIZED VIEW` without `CONCURRENTLY`: its readers wait",
     "`REFRESH MATERIALIZED VIEW CONCURRENTLY`, which needs a unique index"},
    {"rename", Risk::kHigh,
     "a table, column, view, type, value or schema gets another name: clients that run fail. Medium where another one "
     "takes its place in the same transaction, as in the steps `swap` and `swap_column`",
     "a new column or table beside the old one, kept in step, and the old one dropped in `contract`"},
    {"replica-identity-full", Risk::kMedium, "`REPLICA IDENTITY FULL`: updates and deletes write whole old rows to WAL",
     "`REPLICA IDENTITY USING INDEX`"},
    {"rewrite-table", Risk::kHigh, "`SET LOGGED`, `SET UNLOGGED`, `SET TABLESPACE`, `SET ACCESS METHOD`",
     "a new table as wanted, filled by `copy_to`, and a switch"},
    {"row-security", Risk::kMedium, "row security switched on or off: without a policy, no row is seen any more",
     "the policies first, then the switch, in one short transaction"},
    {"truncate", Risk::kDestructive, "`TRUNCATE`", "a backfill with `delete: true` and a `where:`"},
    {"vacuum-full", Risk::kHigh, "`VACUUM FULL`", "plain `VACUUM`; pg_repack where the room must come back"},
    // Objects.
    {"cascade", Risk::kDestructive, "`CASCADE`: drops what nobody has named",
     "name what shall go, in a statement each"},
    {"create-trigger", Risk::kMedium,
     "`CREATE TRIGGER`, a rule or a policy on a table in use: waits for its writers, and "
     "lets none in meanwhile",
     "under a short `lock_timeout`, tried again: an `sql:` step does that"},
    {"disable-trigger", Risk::kHigh,
     "`DISABLE TRIGGER`, `session_replication_role`: checks and copies are left out, foreign "
     "keys among them",
     "`triggers: skip` in the backfill, which does it for its own batches only"},
    {"drop-object", Risk::kMedium, "a view, function, type, trigger or sequence is dropped",
     "in `contract`, behind the gate"},
    {"drop-schema", Risk::kDestructive, "`DROP SCHEMA`, `DROP DATABASE`, `DROP OWNED`, `DROP EXTENSION`",
     "name the tables, in a statement each"},
    {"enum-add-value", Risk::kMedium, "`ALTER TYPE ... ADD VALUE`: cannot be undone, and its transaction cannot use it",
     "step `add_enum_value`"},
    // Rows.
    {"bulk-write", Risk::kMedium,
     "`UPDATE`, `DELETE`, `MERGE`, `INSERT ... SELECT` of a number of rows that nobody sees here",
     "a backfill, in batches"},
    {"delete-all-rows", Risk::kDestructive, "`DELETE` without `WHERE`, or with one that holds for many rows",
     "a backfill with `delete: true` and a `where:`"},
    {"update-all-rows", Risk::kHigh,
     "`UPDATE` without `WHERE`, or with one that holds for many rows, in one transaction",
     "a backfill with `set:` and `where:`"},
    // Scripts.
    {"many-locks", Risk::kMedium, "a transaction that stops writes to several tables: deadlocks, and waits that add up",
     "a transaction a table"},
    {"missing-lock-timeout", Risk::kMedium,
     "a strong lock without `lock_timeout`: while it waits, all queries wait behind it",
     "`SET lock_timeout = '1s'` and another try; steps of a migration file have that by themselves"},
    {"work-under-lock", Risk::kHigh, "long work in a transaction that holds a strong lock from a statement before",
     "end the transaction before the long statement"},
    // What cannot be judged.
    {"dynamic-sql", Risk::kHigh, "`EXECUTE` of a text that is put together as it runs",
     "plain statements, or text that is written out"},
    {"not-in-version", Risk::kHigh, "a form that the version of `--pg` does not have",
     "another form, or a later version"},
    {"not-looked-into", Risk::kHigh, "SQL that is somewhere else: psql's `\\i`, code in other languages",
     "write it out, or lint that file too"},
    {"too-complex", Risk::kHigh, "a statement that is too long or too deep to be read", "several statements"},
    {"unreadable", Risk::kHigh, "a statement that the parser cannot read: a mistake, or syntax of a later version",
     "if the server takes it, judge it by hand, and say so by `allow unreadable`"},
    // Comments.
    {"allow-unknown", Risk::kMedium, "an order to lint that is not understood",
     "`-- pgbackfill: allow RULE because REASON`"},
    {"allow-without-reason", Risk::kMedium, "`allow` without a reason: it silences nothing",
     "`allow RULE because REASON`"},
    {"unused-allow", Risk::kLow, "`allow` of something that is not found any more", "take the comment away"},
};

}  // namespace

std::span<Rule const> lint_rules() {
  return kRules;
}

Rule const* find_rule_of_lint(std::string_view id) {
  auto const all = lint_rules();
  auto const found = std::find_if(all.begin(), all.end(), [&](Rule const& each) { return each.id == id; });
  return found == all.end() ? nullptr : &*found;
}

std::string lint_rules_markdown() {
  std::string text = "| rule | risk | finds | instead |\n| --- | --- | --- | --- |\n";
  for (auto const& rule : lint_rules()) {
    text += "| `" + std::string(rule.id) + "` | " + std::string(risk_word(rule.risk)) + " | " +
            std::string(rule.finds) + " | " + std::string(rule.instead) + " |\n";
  }
  return text;
}

}  // namespace pgbackfill::planner::lint
