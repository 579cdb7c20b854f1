#include "engine/run/work_checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <regex>
#include <set>

#include "engine/pg/catalog.h"
#include "engine/run/copy_target.h"
#include "engine/run/work_facts.h"
#include "engine/state/typed_rows.h"
#include "planner/keys/key_choice.h"
#include "planner/lint/changed_tables.h"
#include "planner/model/row_reference.h"
#include "planner/model/sql_facts.h"
#include "planner/model/sql_text.h"
#include "planner/model/work_kind.h"
#include "planner/steps/publications.h"
#include "planner/work/compute_sql.h"

namespace pgbackfill::engine {

namespace {

using planner::quote_identifier;
using planner::quote_qualified;
using planner::WorkKind;

std::string name_of(planner::TableFacts const& table) {
  return quote_qualified(table.schema, table.name);
}

std::set<std::uint32_t> oids_of(planner::TableFacts const& table) {
  std::set<std::uint32_t> oids = {table.oid};
  for (auto const& leaf : table.leaves) oids.insert(leaf.oid);
  return oids;
}

std::string oid_list(planner::TableFacts const& table) {
  std::vector<std::string> texts;
  for (auto const oid : oids_of(table)) texts.push_back(std::to_string(oid));
  return planner::join(texts, ", ");
}

// ENABLE ALWAYS and ENABLE REPLICA hold for `triggers: skip`, which works as a replica does.
bool is_enabled(planner::TriggerFacts const& trigger, planner::Backfill const& backfill) {
  char const by_default = backfill.triggers == planner::TriggerMode::kSkip ? 'R' : 'O';
  return trigger.enabled == 'A' || trigger.enabled == by_default;
}

bool fires(planner::TriggerFacts const& trigger, planner::Backfill const& backfill) {
  return is_enabled(trigger, backfill) && planner::may_fire(backfill.kind, trigger);
}

std::string_view privilege_of(planner::Backfill const& backfill) {
  // SELECT ... FOR SHARE asks for it.
  return backfill.mirror_key.empty() ? planner::traits_of(backfill.kind).privilege : "UPDATE";
}

// Where the work reads other tables rows are locked first; and before they are deleted, where somebody else holds some
// of them. SELECT ... FOR UPDATE asks for UPDATE, on one column at least.
planner::Problem locks_without_right(planner::Backfill const& backfill, Preflight const& preflight) {
  return {backfill.position, fmt::format("role {0} may not lock rows of {1}, as batches do: GRANT UPDATE ON {1} TO {0}",
                                         quote_identifier(preflight.cannot_lock), name_of(preflight.table))};
}

std::string unquoted(std::string const& identifier) {
  std::string name;
  for (std::size_t at = 1; at + 1 < identifier.size(); ++at) {
    name += identifier[at];
    if (identifier[at] == '"') ++at;
  }
  return name;
}

// The statement of the file with a condition in the place of {batch} that its readers know again.
std::string marked_statement(planner::WorkTarget const& target) {
  return planner::statement_with(target, target.alias + '.' + planner::kBatchColumn + " IS NULL");
}

// Sessions have row_security off: the server would refuse it as well, without saying what to do.
std::string bound_by_policies(std::string const& table, std::string const& role) {
  return fmt::format(
      "row-level security of {0} binds role {1}: rows that it hides would be left out without a word. Run this as the "
      "owner of {0}, if it does not say FORCE ROW LEVEL SECURITY, or as a role with BYPASSRLS",
      table, quote_identifier(role));
}

// A partition may have its columns in another order than its parent, and then another row.
bool takes_whole_row(planner::Backfill const& backfill) {
  auto const& alias = backfill.table.name;
  if (planner::takes_whole_row(backfill.where, alias)) return true;
  auto const takes_row = [&](auto const& one) { return planner::takes_whole_row(one.expression, alias); };
  bool const reads_row =
      backfill.compute && std::any_of(backfill.compute->read.begin(), backfill.compute->read.end(), takes_row);
  return reads_row || std::any_of(backfill.assignments.begin(), backfill.assignments.end(), takes_row);
}

}  // namespace

void look_at_triggers(planner::Backfill const& backfill, Preflight& preflight) {
  auto const& table = preflight.table;
  auto& traits = preflight.traits;
  // Partitions have no part in rules of their parent.
  if (table.kind == 'p' && table.has_rules) traits.works_through_parent = true;
  if (table.kind == 'p' && takes_whole_row(backfill)) traits.works_through_parent = traits.reads_through_parent = true;
  bool const changes_here = planner::traits_of(backfill.kind).writes_table;
  for (auto const& trigger : table.triggers) {
    if (!changes_here || !fires(trigger, backfill)) continue;
    bool const derives = backfill.kind == WorkKind::kUpdate && trigger.for_each_row && trigger.is_before;
    traits.may_move_keys = traits.may_move_keys || derives;
    // A statement on a leaf fires those of the leaf, and none of its parent's.
    if (table.kind == 'p' && !trigger.for_each_row) traits.works_through_parent = true;
  }
  if (preflight.targets.empty()) return;
  // Of a partition, schema.table is another name than the file's.
  bool const is_named = sql_facts_of(preflight.targets.front()).has_schema_in_column;
  if (table.kind == 'p' && is_named) traits.works_through_parent = traits.reads_through_parent = true;
}

namespace {

struct TableRight {
  std::uint32_t oid = 0;
  bool works = false;  // has the privilege of the work on it or on some column
  bool reads = false;
  bool is_row_secured = false;
  std::string role;
  bool reads_whole = false;
  bool locks = false;  // may
};

struct AboutCopy {
  std::optional<std::string> lacks_identity;  // why changes of the copy could not be replicated
  bool is_row_secured = false;
  std::string role;
  bool is_emptied_by_a_crash = false;  // and the table is not
};

struct ForeignKeyRow {
  std::string name;
  std::string table;
  std::string referred;
  std::string on_update;
  std::string on_delete;
  bool is_inbound = false;
};

struct TriggerCode {
  std::string name;
  std::string text;
  int when = 0;  // bits of pg_trigger.tgtype: 1 for each row, 2 before
};

}  // namespace

asio::awaitable<Result<Done>> check_rights(PgConnection& connection, planner::Backfill backfill, Preflight& preflight) {
  auto const privilege = privilege_of(backfill);
  auto const& table = preflight.table;
  std::string statement = fmt::format(
      "SELECT c.oid, has_table_privilege(c.oid, '{1}'){2}, "
      "has_table_privilege(c.oid, 'SELECT') OR has_any_column_privilege(c.oid, 'SELECT'), row_security_active(c.oid), "
      "current_user, has_table_privilege(c.oid, 'SELECT'), has_any_column_privilege(c.oid, 'UPDATE') FROM "
      "pg_catalog.pg_class c WHERE c.oid IN ({0})",
      oid_list(table), privilege,
      // There is no such right on columns.
      backfill.kind == WorkKind::kDelete ? "" : fmt::format(" OR has_any_column_privilege(c.oid, '{}')", privilege));
  auto rights = co_await query_read_only(connection, std::move(statement));
  if (!rights) co_return rights.error();
  bool const is_by_block = std::any_of(preflight.targets.begin(), preflight.targets.end(),
                                       [](planner::WorkTarget const& target) { return target.key.is_by_block(); });
  std::string blind_role;  // may not read the place of a row in the table itself
  for (auto const& right : state::rows_as<TableRight>(*rights)) {
    bool const is_table = right.oid == table.oid;
    bool const reads_places = !is_by_block || right.reads_whole;
    bool const may_lock = right.locks || backfill.kind != WorkKind::kDelete;
    bool const has_rights = right.works && right.reads && reads_places && may_lock;
    if (is_table && !reads_places) blind_role = quote_identifier(right.role);
    bool const leads_to_parent = table.kind == 'p' && ((!is_table && !has_rights) || right.is_row_secured);
    if (leads_to_parent) preflight.traits.works_through_parent = preflight.traits.reads_through_parent = true;
    if (is_table && right.is_row_secured) {
      preflight.problems.push_back({backfill.position, bound_by_policies(name_of(table), right.role)});
    }
    std::vector<std::string_view> missing;
    if (is_table && !right.works) missing.push_back(privilege);
    if (is_table && !right.reads) missing.emplace_back("SELECT");
    for (auto const one : missing) {
      preflight.problems.push_back(
          {backfill.position, fmt::format("role {0} may not {1} on {2}: GRANT {1} ON {2} TO {0}",
                                          quote_identifier(right.role), one, name_of(table))});
    }
    if (is_table && !right.locks) preflight.cannot_lock = right.role;
    if (is_table && !may_lock) preflight.problems.push_back(locks_without_right(backfill, preflight));
  }
  bool const reads_table = table.kind != 'p' || preflight.traits.reads_through_parent;
  if (reads_table && !blind_role.empty() && preflight.problems.empty()) {
    preflight.problems.push_back(
        {backfill.position, fmt::format("{1} has no key that can be paged by, so it is paged by the places of its rows "
                                        "(ctid), which rights on columns do not cover: GRANT SELECT ON {1} TO {0}",
                                        blind_role, name_of(table))});
  }
  if (backfill.triggers == planner::TriggerMode::kSkip) {
    auto allowed =
        co_await connection.query("SELECT set_config('session_replication_role', 'replica', true)", Deadlines());
    if (!allowed) {
      preflight.problems.push_back(
          {backfill.position,
           "`triggers: skip` needs the right to set session_replication_role: " + allowed.error().message});
    }
  }
  co_return Done();
}

namespace {

// --- copies ----------------------------------------------------------------------------------------------------------

std::string same_table_text(planner::TableFacts const& table, planner::TableFacts const& copy) {
  if (table.oid == copy.oid) return "copy_to is the table itself";
  return name_of(copy) + " (copy_to) and " + name_of(table) + " have partitions in common";
}

asio::awaitable<Result<Done>> check_sequences(PgConnection& connection, planner::Backfill backfill,
                                              Preflight& preflight) {
  auto sequences = co_await read_copy_sequences(connection, backfill);
  if (!sequences) co_return sequences.error();
  for (auto const& sequence : *sequences) {
    if (sequence.may_be_set) {
      preflight.notes.push_back(fmt::format("when all is copied, sequence {} goes on past the values of column {}",
                                            sequence.name, quote_identifier(sequence.column)));
    } else {
      preflight.problems.push_back(
          {backfill.position,
           fmt::format("sequence {0} has to go past what is copied into column {1}, and this role may "
                       "not set it: GRANT SELECT, UPDATE ON SEQUENCE {0} and GRANT SELECT on the copy",
                       sequence.name, quote_identifier(sequence.column))});
    }
  }
  co_return Done();
}

// What of the copy may change a row that is put into it, or keep it out; empty: nothing.
std::string meddler_with_copies(planner::Backfill const& backfill, planner::TableFacts const& copy) {
  if (copy.has_rules) return "a rule";
  for (auto const& trigger : copy.triggers) {
    bool const is_asked = trigger.on_insert && trigger.for_each_row && trigger.is_before;
    bool const is_ours = trigger.definition.find(" EXECUTE FUNCTION pgbackfill.") != std::string::npos;
    if (is_asked && !is_ours && is_enabled(trigger, backfill)) return "trigger " + quote_identifier(trigger.name);
  }
  return "";
}

// By such a key nobody can tell which rows are there, and a trigger would do again what it does beside.
void drop_key_that_may_not_hold(planner::Backfill const& backfill, planner::TableFacts const& copy, CopyKey& key,
                                Preflight& preflight) {
  auto const meddler = meddler_with_copies(backfill, copy);
  bool const is_left = meddler.empty() || key.columns.empty() || !backfill.mirror_key.empty();
  if (is_left) return;
  key = CopyKey();
  preflight.warnings.push_back(fmt::format(
      "{} of {} may change a row that is copied, or keep it out, so that nothing tells which rows are there: no pass "
      "goes over the table once more. Rows with lower keys that come in while it is copied are left out, and nobody "
      "counts them; beyond the old end they are copied",
      meddler, name_of(copy)));
}

void take_copy_key(planner::Backfill const& backfill, CopyKey key, Preflight& preflight) {
  preflight.sweeps = !key.columns.empty();
  auto const refuse = [&](char const* text) { preflight.problems.push_back({backfill.on_conflict_position, text}); };
  bool const counts = backfill.on_conflict == planner::ConflictMode::kCount;
  if (counts && !backfill.mirror_key.empty()) refuse("'on_conflict: count' and 'mirror' exclude each other");
  if (counts && backfill.mirror_key.empty() && key.columns.empty()) {
    refuse(
        "'on_conflict: count' needs a unique key of the copy over NOT NULL columns that are plain copies of the "
        "table's key, and neither a rule nor a BEFORE INSERT trigger of the copy that may change it: by that it tells "
        "which rows are missing");
  }
  preflight.traits.copy_key = std::move(key.columns);
  preflight.traits.copy_key_sources = std::move(key.sources);
  preflight.traits.copy_key_types = std::move(key.types);
  preflight.traits.copy_key_operators = std::move(key.operators);
}

}  // namespace

asio::awaitable<Result<Done>> check_copy(PgConnection& connection, planner::Backfill backfill, Preflight& preflight) {
  auto facts = co_await read_table_facts(connection, backfill.copy_to);
  if (!facts) co_return facts.error();
  if (!*facts || (*facts)->leaves.empty()) {
    std::string const name = quote_qualified(backfill.copy_to.schema, backfill.copy_to.name);
    preflight.problems.push_back({backfill.position, "table " + name + " (copy_to) does not exist"});
    preflight.only_missing_names = !*facts;
    if (!*facts) preflight.missing_table = backfill.copy_to;
    co_return Done();
  }
  auto const& copy = **facts;
  bool const is_elsewhere =
      copy.kind == 'f' || std::any_of(copy.leaves.begin(), copy.leaves.end(),
                                      [](planner::LeafFacts const& leaf) { return leaf.kind == 'f'; });
  if (is_elsewhere) {
    preflight.is_hopeless = true;
    preflight.problems.push_back(
        {backfill.position,
         fmt::format("{} is a foreign table or has a foreign partition: its server may commit rows whose "
                     "checkpoint is lost here, and they would be copied twice; copy into a table of this "
                     "database",
                     name_of(copy))});
    co_return Done();
  }
  auto const mine = oids_of(preflight.table);
  auto const its = oids_of(copy);
  bool const is_shared = std::any_of(its.begin(), its.end(), [&](std::uint32_t oid) { return mine.contains(oid); });
  if (is_shared) {
    preflight.is_hopeless = true;
    preflight.problems.push_back({backfill.position, same_table_text(preflight.table, copy) +
                                                         ": what is copied would be met again and copied once more"});
    co_return Done();
  }
  auto const& target = copy.leaves.front();
  for (auto& problem : planner::check_copy_target(backfill, target)) preflight.problems.push_back(std::move(problem));
  preflight.traits.copy_overrides_identity =
      std::any_of(target.columns.begin(), target.columns.end(), [&](planner::ColumnFacts const& column) {
        return column.identity_always &&
               std::any_of(backfill.assignments.begin(), backfill.assignments.end(),
                           [&](planner::Assignment const& assignment) { return assignment.column == column.name; });
      });
  std::string const identity = planner::lacks_identity(std::to_string(copy.oid), connection.server_version());
  auto about_copy = co_await query_read_only(
      connection,
      fmt::format("SELECT {0}, row_security_active({1}::oid), current_user, EXISTS (SELECT FROM pg_class c WHERE "
                  "c.relpersistence = 'u' AND (c.oid = {1} OR c.oid IN (SELECT t.relid FROM "
                  "pg_partition_tree({1}) t))) AND EXISTS (SELECT FROM pg_class c WHERE c.relpersistence <> 'u' "
                  "AND c.oid = {2})",
                  identity, copy.oid, preflight.table.oid));
  if (!about_copy) co_return about_copy.error();
  auto const about = state::row_as<AboutCopy>(about_copy->rows.at(0));
  if (about.is_row_secured) {
    preflight.problems.push_back({backfill.position, bound_by_policies(name_of(copy), about.role)});
  }
  if (about.is_emptied_by_a_crash) {
    preflight.problems.push_back(
        {backfill.position,
         fmt::format("{0} is UNLOGGED: a crash of the server would empty it, and the job would go on behind "
                     "the rows that it had copied; ALTER TABLE {0} SET LOGGED first",
                     name_of(copy))});
  }
  if (about.lacks_identity) preflight.problems.push_back({backfill.position, *about.lacks_identity});
  auto key = co_await read_copy_key(connection, backfill, preflight.keys);
  if (!key) co_return key.error();
  drop_key_that_may_not_hold(backfill, copy, *key, preflight);
  take_copy_key(backfill, std::move(*key), preflight);
  auto sequences = co_await check_sequences(connection, backfill, preflight);
  co_return sequences;
}

// --- foreign keys ----------------------------------------------------------------------------------------------------

namespace {

std::string action_text(std::string const& on_update, std::string const& on_delete) {
  auto const word = [](std::string const& action) {
    return action == "c" ? "CASCADE" : action == "n" ? "SET NULL" : action == "d" ? "SET DEFAULT" : "";
  };
  std::string text;
  if (*word(on_delete) != '\0') text += std::string(" ON DELETE ") + word(on_delete);
  if (*word(on_update) != '\0') text += std::string(" ON UPDATE ") + word(on_update);
  return text;
}

// Name, its table, the table that it refers to, actions, and whether that is the one that is worked.
std::string foreign_keys_sql(planner::Backfill const& backfill, std::string const& oids) {
  std::vector<std::string> columns;
  for (auto const& assignment : backfill.assignments) columns.push_back(assignment.column);
  auto const changes = [&](std::string const& relation, std::string const& numbers) {
    return "EXISTS (SELECT 1 FROM pg_catalog.pg_attribute a WHERE a.attrelid = " + relation + " AND a.attnum = ANY (" +
           numbers + ") AND a.attname = ANY (" + planner::text_array(columns) + "))";
  };
  bool const is_update = backfill.kind == WorkKind::kUpdate;
  std::string of_ours = is_update ? changes("c.conrelid", "c.conkey") : "true";
  std::string on_ours = is_update ? changes("c.confrelid", "c.confkey") : "true";
  if (backfill.kind == WorkKind::kDelete) of_ours = "false";
  if (backfill.kind == WorkKind::kCopy) on_ours = "false";
  if (backfill.kind == WorkKind::kAsk) of_ours = on_ours = "false";
  auto const table = [](char const* oid) {
    return fmt::format(
        "(SELECT quote_ident(n.nspname) || '.' || quote_ident(t.relname) FROM pg_catalog.pg_class t JOIN "
        "pg_catalog.pg_namespace n ON n.oid = t.relnamespace WHERE t.oid = {})",
        oid);
  };
  return fmt::format(
      "SELECT c.conname, {0}, {1}, c.confupdtype, c.confdeltype, c.confrelid IN ({2}) FROM pg_catalog.pg_constraint c "
      "WHERE c.contype = 'f' AND c.conparentid = 0 AND (c.conrelid IN ({2}) AND {3} OR c.confrelid IN ({2}) AND {4}) "
      "ORDER BY 1, 2",
      table("c.conrelid"), table("c.confrelid"), oids, of_ours, on_ours);
}

}  // namespace

asio::awaitable<Result<Done>> check_foreign_keys(PgConnection& connection, planner::Backfill backfill,
                                                 Preflight& preflight) {
  if (backfill.triggers != planner::TriggerMode::kSkip) co_return Done();
  std::string oids = oid_list(preflight.table);
  if (backfill.kind == WorkKind::kCopy) {
    auto copy = co_await read_table_facts(connection, backfill.copy_to);
    if (!copy) co_return copy.error();
    if (!*copy) co_return Done();
    oids = oid_list(**copy);
  }
  auto keys = co_await query_read_only(connection, foreign_keys_sql(backfill, oids));
  if (!keys) co_return keys.error();
  auto const& agreed = backfill.skipped_foreign_keys;
  std::vector<std::string> names;
  std::vector<std::string> texts;
  for (auto const& key : state::rows_as<ForeignKeyRow>(*keys)) {
    std::string text = fmt::format("{} of {}, which refers to {}{}", quote_identifier(key.name), key.table,
                                   key.referred, key.is_inbound ? action_text(key.on_update, key.on_delete) : "");
    preflight.notes.push_back("foreign key " + text + " is not kept (triggers: skip)");
    if (std::find(agreed.begin(), agreed.end(), key.name) != agreed.end()) continue;
    names.push_back(key.name);
    texts.push_back(std::move(text));
  }
  if (names.empty()) co_return Done();
  preflight.problems.push_back(
      {backfill.position,
       fmt::format("`triggers: skip` skips foreign keys too: nothing would be checked, cascaded or set to NULL by {}. "
                   "Leave it out, or write skip_foreign_keys: [{}]",
                   planner::join(texts, "; "), planner::join(names, ", "))});
  co_return Done();
}

// --- the work --------------------------------------------------------------------------------------------------------

namespace {

// Of the table of the file or a leaf of it, by name.
bool is_ours(planner::TableName const& name, planner::TableFacts const& table) {
  auto const is_same = [&](std::string const& schema, std::string const& relation) {
    return name.name == relation && (name.schema.empty() || name.schema == schema);
  };
  return is_same(table.schema, table.name) ||
         std::any_of(table.leaves.begin(), table.leaves.end(),
                     [&](planner::LeafFacts const& leaf) { return is_same(leaf.schema, leaf.name); });
}

void check_statement(planner::Backfill const& backfill, planner::SqlFacts const& sql, Preflight& preflight) {
  auto const& target = preflight.targets.front();
  auto const& table = preflight.table;
  auto const refuse = [&](std::string text) { preflight.problems.push_back({backfill.sql_position, std::move(text)}); };
  std::vector<std::string> assigned;
  for (auto const& one : sql.assigned) {
    if (is_ours(one.relation, table)) assigned.push_back(one.column);
  }
  for (auto& problem : planner::check_assigned(backfill, table, preflight.keys, assigned)) {
    preflight.problems.push_back(std::move(problem));
  }
  std::string const alias = unquoted(target.alias);
  bool const is_only = std::any_of(sql.relations.begin(), sql.relations.end(), [&](planner::RelationUse const& use) {
    return use.is_only && use.alias == alias && is_ours(use.relation, table);
  });
  if (table.has_children && !is_only) {
    refuse(
        fmt::format("tables inherit from {}, and the statement changes their rows with each batch: write ONLY {}, and "
                    "give them migrations of their own ({})",
                    name_of(table), name_of(table), planner::join(table.children, ", ")));
    preflight.is_hopeless = true;
  }
  auto const statement = marked_statement(target);
  auto const unjoined = planner::unjoined_table(statement, alias);
  if (unjoined) {
    refuse(
        fmt::format("nothing joins {} to {}, whose rows {{batch}} picks: each batch would change all its rows. Join "
                    "them by a condition",
                    *unjoined, target.alias));
    preflight.is_hopeless = true;
  }
  bool const shows_key = quote_identifier(sql.updated_alias) == target.alias;
  preflight.traits.may_move_keys = preflight.traits.may_move_keys || shows_key;
}

// What the server checks at the end of a statement holds for all its rows together; of a batch, for these alone.
asio::awaitable<Result<Done>> look_at_constraints(PgConnection& connection, planner::Backfill backfill,
                                                  Preflight& preflight) {
  bool const is_delete = backfill.kind == WorkKind::kDelete && backfill.triggers == planner::TriggerMode::kFire;
  if (!is_delete && backfill.kind != WorkKind::kUpdate) co_return Done();
  std::string const oids = oid_list(preflight.table);
  std::vector<std::string> columns;
  for (auto const& assignment : backfill.assignments) columns.push_back(assignment.column);
  std::string const asked =
      is_delete ? "c.contype = 'f' AND c.confdeltype = 'a' AND c.confrelid IN (" + oids + ')'
                : "c.contype IN ('p', 'u', 'x') AND c.condeferrable AND EXISTS (SELECT FROM pg_catalog.pg_attribute a "
                  "WHERE a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey) AND a.attname = ANY (" +
                      planner::text_array(columns) + "))";
  auto found = co_await query_read_only(connection,
                                        "SELECT c.conname FROM pg_catalog.pg_constraint c WHERE c.conparentid = 0 AND "
                                        "c.conrelid IN (" +
                                            oids + ") AND " + asked + " ORDER BY 1");
  if (!found) co_return found.error();
  for (auto const& constraint : state::column_as<std::string>(*found)) {
    auto const name = quote_identifier(constraint);
    preflight.warnings.push_back(
        is_delete
            ? fmt::format("rows of {} refer to each other ({}): a batch fails where it deletes a row to which one "
                          "of a later batch refers, which one statement would delete as well",
                          name_of(preflight.table), name)
            : fmt::format("constraint {} can be deferred: a batch fails where a value of it collides with one of "
                          "a later batch, which one statement would change as well",
                          name));
  }
  co_return Done();
}

// A BEFORE trigger keeps a row from being changed by saying so.
bool may_skip_rows(TriggerCode const& trigger) {
  constexpr int kBeforeRow = 1 + 2;
  static std::regex const says_so(R"(\bRETURN\s+(NULL\b|["']?SKIP\b))", std::regex::icase);
  return trigger.when == kBeforeRow && std::regex_search(trigger.text, says_so);
}

void look_at_skipped_rows(TriggerCode const& trigger, bool is_by_block, planner::Backfill const& backfill,
                          Preflight& preflight) {
  auto const name = quote_identifier(trigger.name);
  auto const table = name_of(preflight.table);
  if (is_by_block) {
    preflight.problems.push_back(
        {backfill.position,
         fmt::format("trigger {} may keep rows of {} as they are (RETURN NULL), and the table has no key that can be "
                     "paged by: each pass would meet them again, where one statement fires the trigger once. Give it "
                     "a primary key, or write `triggers: skip`",
                     name, table)});
  } else if (preflight.sweeps) {
    preflight.sweeps = false;
    preflight.warnings.push_back(fmt::format(
        "trigger {} may keep rows of {} as they are (RETURN NULL), so no last pass goes over the table, which would "
        "fire it for them once more. Rows with lower keys that come in meanwhile are left, and the gate counts them; "
        "`triggers: skip` does without the trigger",
        name, table));
  }
}

// One statement does not see what its triggers insert; a later pass does.
void look_at_inserted_rows(TriggerCode const& trigger, bool is_by_block, planner::Backfill const& backfill,
                           Preflight& preflight) {
  auto const text =
      fmt::format("trigger {} inserts rows into {} itself", quote_identifier(trigger.name), name_of(preflight.table));
  bool const takes_all = backfill.where.empty() && backfill.kind != WorkKind::kSql;
  if (is_by_block) {
    preflight.problems.push_back(
        {backfill.position, text + ", which has no key that can be paged by: each pass would meet those rows as well, "
                                   "which one statement does not see. Give the table a primary key, or write "
                                   "`triggers: skip`"});
  } else if (takes_all) {
    preflight.problems.push_back(
        {backfill.position, text + ": the last pass would change those rows as well, which one statement does not "
                                   "see. Write a `where` that leaves them out, or `triggers: skip`"});
  } else if (backfill.kind == WorkKind::kUpdate) {
    preflight.warnings.push_back(text +
                                 ". Those that satisfy `where` are changed as well, which one statement does not see. "
                                 "Read the code of the trigger; if the work does not need it, write `triggers: skip`");
  } else {
    preflight.sweeps = false;
    preflight.warnings.push_back(
        text +
        ". Where those satisfy `where`, and come with higher keys, batches work them as well, which one statement "
        "does not see; so no last pass goes over lower keys. Rows that come in there meanwhile are left, and the gate "
        "counts them. Read the code of the trigger; if the work does not need it, write `triggers: skip`");
  }
}

// One statement meets each row as it was, or fails where a trigger got there first (27000); batches meet what the
// triggers of those before them have left.
asio::awaitable<Result<Done>> look_at_trigger_code(PgConnection& connection, planner::Backfill backfill,
                                                   Preflight& preflight) {
  constexpr int kOnDelete = 8;
  constexpr int kOnUpdate = 16;
  bool const is_sql = backfill.kind == WorkKind::kSql;
  bool const is_delete = backfill.kind == WorkKind::kDelete;
  int const events = is_sql ? kOnDelete | kOnUpdate : is_delete ? kOnDelete : kOnUpdate;
  if (!planner::traits_of(backfill.kind).writes_table) co_return Done();
  std::vector<std::string> columns;
  for (auto const& assignment : backfill.assignments) columns.push_back(assignment.column);
  bool const is_skip = backfill.triggers == planner::TriggerMode::kSkip;
  std::string statement = fmt::format(
      "SELECT t.tgname, pg_catalog.pg_get_functiondef(t.tgfoid), max(t.tgtype & 3) FROM pg_catalog.pg_trigger t "
      "JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid JOIN pg_catalog.pg_language l ON l.oid = p.prolang WHERE "
      "l.lanname IN ('plpgsql', 'sql', 'plperl', 'plperlu', 'plpython3u', 'pltcl', 'pltclu') AND NOT t.tgisinternal "
      "AND t.tgrelid IN ({}) AND t.tgenabled IN ('A', '{}') AND t.tgtype "
      "& "
      "{} <> 0 AND (t.tgattr::text = '' OR {} OR EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = "
      "t.tgrelid AND a.attnum = ANY (t.tgattr) AND a.attname = ANY ({}))) AND NOT EXISTS (SELECT FROM "
      "pg_catalog.pg_proc "
      "f JOIN pg_catalog.pg_namespace n ON n.oid = f.pronamespace WHERE f.oid = t.tgfoid AND n.nspname = 'pgbackfill') "
      "GROUP BY 1, 2 ORDER BY 1",
      oid_list(preflight.table), is_skip ? 'R' : 'O', events, is_delete || is_sql ? "true" : "false",
      planner::text_array(columns));
  auto triggers = co_await query_read_only(connection, std::move(statement));
  if (!triggers) co_return triggers.error();
  bool const is_by_block = std::any_of(preflight.targets.begin(), preflight.targets.end(),
                                       [](planner::WorkTarget const& target) { return target.key.is_by_block(); });
  auto const has_ours = [&](std::vector<planner::TableName> const& tables) {
    return std::any_of(tables.begin(), tables.end(),
                       [&](planner::TableName const& name) { return is_ours(name, preflight.table); });
  };
  for (auto const& trigger : state::rows_as<TriggerCode>(*triggers)) {
    if (may_skip_rows(trigger)) look_at_skipped_rows(trigger, is_by_block, backfill, preflight);
    bool const inserts = has_ours(planner::lint::tables_inserted_into_by(trigger.text));
    if (inserts) look_at_inserted_rows(trigger, is_by_block, backfill, preflight);
    if (!has_ours(planner::lint::tables_changed_by(trigger.text))) continue;
    char const* otherwise = trigger.when == 3   ? "fails where it comes to such a row later (27000)"
                            : trigger.when == 2 ? "fires it once"
                                                : "fires it after its last row";
    preflight.warnings.push_back(
        fmt::format("trigger {0} changes rows of {1} itself. Where those are other rows than the one that fires it, "
                    "batches leave another result than one statement, which {2}. Read the code of the trigger; if the "
                    "work does not need it, write `triggers: skip`",
                    quote_identifier(trigger.name), name_of(preflight.table), otherwise));
  }
  co_return Done();
}

// Of these names, one that is an aggregate.
asio::awaitable<Result<std::string>> aggregate_among(PgConnection& connection,
                                                     std::vector<planner::TableName> functions) {
  std::vector<std::string> pairs;
  for (auto const& one : functions) {
    pairs.push_back('(' + planner::quote_literal(one.schema) + ", " + planner::quote_literal(one.name) + ')');
  }
  auto rows = co_await query_read_only(
      connection, "SELECT u.name FROM (VALUES " + planner::join(pairs, ", ") +
                      ") AS u (schema, name) JOIN pg_catalog.pg_proc p ON p.proname = u.name AND p.prokind = 'a' JOIN "
                      "pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE u.schema = n.nspname OR u.schema = "
                      "'' AND n.nspname = ANY (current_setting('pgbackfill.schemas')::text[]) LIMIT 1");
  if (!rows) co_return rows.error();
  co_return rows->rows.empty() ? std::string() : *rows->rows.front().front() + "()";
}

// Whether rows of the table with the same values in these columns are one row.
asio::awaitable<Result<bool>> is_unique_by(PgConnection& connection, std::uint32_t table,
                                           std::vector<std::string> columns) {
  auto rows = co_await query_read_only(
      connection,
      fmt::format("SELECT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = {} AND "
                  "i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL AND NOT "
                  "EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = i.indrelid AND a.attnum "
                  "= ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]) AND a.attname <> ALL ({})))",
                  table, planner::text_array(columns)));
  if (!rows) co_return rows.error();
  co_return state::value_as<bool>(*rows);
}

// One statement changes a row once, whoever joins it; batches change it once each.
asio::awaitable<Result<Done>> check_repeats(PgConnection& connection, planner::Backfill backfill,
                                            Preflight& preflight) {
  auto const& target = preflight.targets.front();
  auto const statement = marked_statement(target);
  auto const repeated = planner::repeated_change(statement, unquoted(target.alias));
  if (!repeated) co_return Done();
  auto const is_unique = co_await is_unique_by(connection, preflight.table.oid, repeated->joined_by);
  if (!is_unique) co_return is_unique.error();
  if (*is_unique) co_return Done();
  preflight.is_hopeless = true;
  preflight.problems.push_back(
      {backfill.sql_position,
       fmt::format("column {0} is computed from itself, and several rows of {1} may join one row that is changed: each "
                   "batch would change it again, where one statement changes it once. Let {{batch}} pick the rows that "
                   "are changed, or join {1} by all columns of a unique key",
                   quote_identifier(repeated->column), target.alias)});
  co_return Done();
}

// What a statement computes over rows of a batch together would be cut where the batch ends.
asio::awaitable<Result<Done>> check_gathering(PgConnection& connection, planner::Backfill backfill,
                                              Preflight& preflight) {
  auto const& target = preflight.targets.front();
  std::vector<std::string> key;
  for (auto const& column : target.key.columns) key.push_back(column.name);
  auto const statement = marked_statement(target);
  auto gathering = planner::gathering_of(statement, unquoted(target.alias), key);
  if (gathering.clause.empty() && !gathering.functions.empty()) {
    auto aggregate = co_await aggregate_among(connection, std::move(gathering.functions));
    if (!aggregate) co_return aggregate.error();
    gathering.clause = std::move(*aggregate);
  }
  if (gathering.clause.empty()) co_return Done();
  for (auto& name : key) name = target.alias + '.' + quote_identifier(name);
  preflight.is_hopeless = true;
  preflight.problems.push_back(
      {backfill.sql_position,
       fmt::format("{} would see only the rows of {} that are in one batch, where one statement sees all. Group by its "
                   "key ({}), or let {{batch}} pick the rows that are changed, and read {} without it",
                   gathering.clause, target.alias, planner::join(key, ", "), target.alias)});
  co_return Done();
}

}  // namespace

asio::awaitable<Result<Done>> check_compute(PgConnection& connection, planner::Backfill backfill,
                                            Preflight& preflight) {
  if (!backfill.compute || preflight.targets.empty()) co_return Done();
  auto const& compute = *backfill.compute;
  for (auto const& input : compute.read) {
    if (!input.is_guarded) continue;
    auto const changing = co_await changing_call(connection, input.expression);
    if (!changing) co_return changing.error();
    if (changing->empty()) continue;
    preflight.is_hopeless = true;
    preflight.problems.push_back(
        {input.position, fmt::format("'{}' reads {}, which gives another value each time, so that every answer would "
                                     "be out of date; leave it out of 'unless_changed', or have the program do it",
                                     input.name, *changing)});
  }
  auto types = co_await query_read_only(connection, users_sql(planner::compute_types_sql(preflight.targets.front())));
  if (!types) co_return types.error();
  auto const& row = types->rows.front();
  auto& traits = preflight.traits;
  for (std::size_t index = 0; index < row.size(); ++index) {
    auto& forms = index < compute.read.size() ? traits.input_forms : traits.output_forms;
    forms.push_back(planner::value_form_of(row[index].value_or("")));
  }
  if (backfill.kind != WorkKind::kCopy) co_return Done();
  traits.assigned_types.clear();
  for (auto const& column : compute.write) {
    auto type = co_await query_read_only(
        connection,
        fmt::format("SELECT pg_catalog.format_type(atttypid, atttypmod) FROM pg_catalog.pg_attribute WHERE "
                    "attrelid = {} AND attname = {} AND NOT attisdropped",
                    planner::oid_of(backfill.copy_to.schema, backfill.copy_to.name), planner::quote_literal(column)));
    if (!type) co_return type.error();
    traits.assigned_types.push_back({state::value_as<std::string>(*type)});
  }
  co_return Done();
}

namespace {

// Of a value that differs each time it is computed, every row would be changed again and again.
asio::awaitable<Result<Done>> check_changed(PgConnection& connection, planner::Backfill backfill,
                                            Preflight& preflight) {
  if (!backfill.where_is_changed) co_return Done();
  for (auto const& assignment : backfill.assignments) {
    auto const changing = co_await changing_call(connection, assignment.expression);
    if (!changing) co_return changing.error();
    if (changing->empty()) continue;
    preflight.is_hopeless = true;
    preflight.problems.push_back(
        {assignment.position,
         fmt::format("the value of '{}' reads {}, which gives another one each time, so that 'where: changed' would "
                     "pick every row again; write a condition that tells which rows are left to do",
                     assignment.column, *changing)});
  }
  co_return Done();
}

// Find or create: of two batches at the same time neither sees what the other makes.
asio::awaitable<Result<Done>> look_at_writing_calls(PgConnection& connection, planner::Backfill backfill,
                                                    planner::SqlFacts sql, Preflight& preflight) {
  if (backfill.workers < 2) co_return Done();
  auto calls = co_await writing_calls(connection, std::move(sql));
  if (!calls) co_return calls.error();
  for (auto const& call : *calls) {
    preflight.warnings.push_back(fmt::format(
        "the work calls {}, and up to {} batches run at the same time: where it looks for a row and makes one if there "
        "is none, two of them may both make it. Let it INSERT ... ON CONFLICT, or write `workers: 1`",
        call, backfill.workers));
  }
  co_return Done();
}

}  // namespace

asio::awaitable<Result<Done>> look_at_work(PgConnection& connection, planner::Backfill backfill, Preflight& preflight) {
  if (preflight.targets.empty()) co_return Done();
  auto facts = co_await read_work_facts(connection, preflight.targets.front(), preflight.table);
  if (!facts) co_return facts.error();
  auto changed = co_await check_changed(connection, backfill, preflight);
  if (!changed) co_return changed.error();
  for (auto const& name : facts->changed_and_read) {
    // Which row stays is the same whichever are gone.
    if (backfill.dedupe) continue;
    preflight.warnings.push_back(fmt::format(
        "the work reads other rows of {}, the table that it changes: what a row gets depends on the batches "
        "that ran before, where one statement would read all rows as they were",
        name));
  }
  auto looked = co_await look_at_writing_calls(connection, backfill, facts->sql, preflight);
  if (!looked) co_return looked.error();
  looked = co_await look_at_constraints(connection, backfill, preflight);
  if (!looked) co_return looked.error();
  looked = co_await look_at_trigger_code(connection, backfill, preflight);
  if (!looked) co_return looked.error();
  if (backfill.kind == WorkKind::kSql) {
    check_statement(backfill, facts->sql, preflight);
    auto checked = co_await check_gathering(connection, backfill, preflight);
    if (!checked) co_return checked.error();
    auto repeats = co_await check_repeats(connection, backfill, preflight);
    if (!repeats) co_return repeats.error();
  }
  if (facts->writes_its_source) {
    preflight.problems.push_back({backfill.position,
                                  "copy_to leads back to the table itself: what is copied would be "
                                  "met again and copied once more"});
  }
  preflight.other_relations = std::move(facts->other_relations);
  auto& traits = preflight.traits;
  traits.reads_elsewhere = !preflight.other_relations.empty();
  bool const cannot_lock = traits.reads_elsewhere && !preflight.cannot_lock.empty();
  if (backfill.kind == WorkKind::kSql && cannot_lock) {
    preflight.lacks_rights = true;
    preflight.problems.push_back(locks_without_right(backfill, preflight));
  }
  traits.is_repeatable = facts->is_repeatable && traits.assigned_types.size() == backfill.assignments.size();
  co_return Done();
}

}  // namespace pgbackfill::engine
