#include "engine/run/job_binding.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <variant>

#include "engine/base/text.h"
#include "engine/state/typed_rows.h"
#include "planner/keys/key_choice.h"
#include "planner/model/sql_text.h"

namespace pgbackfill::engine {

namespace {

using state::StoredLeaf;

// What is to be compared, and what came of it.
struct Comparison {
  bool has_table = false;
  bool is_other_table = false;
  bool is_older_state = false;     // the state was restored, and the table was not
  std::vector<StoredLeaf> leaves;  // those that are not what is stored of them, as they are now
  std::vector<std::string> told;
  std::string refusal;  // of a key
};

bool is_other_table(StoredJob const& job, std::vector<StoredLeaf> const& leaves, planner::TableFacts const& table) {
  if (job.relation) return *job.relation != table.oid;
  auto const is_there = [&](StoredLeaf const& leaf) {
    return std::any_of(table.leaves.begin(), table.leaves.end(),
                       [&](planner::LeafFacts const& facts) { return facts.oid == leaf.oid; });
  };
  return !leaves.empty() && std::none_of(leaves.begin(), leaves.end(), is_there);
}

template <class Condition>
planner::LeafFacts const* leaf_that(planner::TableFacts const& table, Condition condition) {
  auto const found = std::find_if(table.leaves.begin(), table.leaves.end(), condition);
  return found == table.leaves.end() ? nullptr : &*found;
}

std::ptrdiff_t leaves_there(std::vector<StoredLeaf> const& leaves) {
  return std::count_if(leaves.begin(), leaves.end(), [](StoredLeaf const& leaf) { return !leaf.is_gone; });
}

// Of another table the leaves are told by their names: after a restore the number of a relation may be that of any
// other. But a table that became a partition, and a partition that became the table, keep theirs.
planner::LeafFacts const* find_leaf_of_other(StoredJob const& job, std::vector<StoredLeaf> const& leaves,
                                             planner::TableFacts const& table, StoredLeaf const& leaf) {
  auto const* const itself = leaf_that(table, [&](planner::LeafFacts const& facts) { return facts.oid == leaf.oid; });
  if (table.kind != 'p') return leaves_there(leaves) == 1 ? &table.leaves.front() : itself;
  bool const was_plain = job.relation && *job.relation == leaf.oid;
  if (was_plain && itself != nullptr) return itself;
  return leaf_that(
      table, [&](planner::LeafFacts const& facts) { return facts.schema == leaf.schema && facts.name == leaf.name; });
}

planner::LeafFacts const* find_leaf(StoredJob const& job, std::vector<StoredLeaf> const& leaves,
                                    planner::TableFacts const& table, StoredLeaf const& leaf, bool is_other_table) {
  if (is_other_table) return find_leaf_of_other(job, leaves, table, leaf);
  return leaf_that(table, [&](planner::LeafFacts const& facts) { return facts.oid == leaf.oid; });
}

bool is_as_stored(StoredLeaf const& stored, StoredLeaf const& now) {
  planner::Key key = now.key;
  // Not stored, for it has to be that of the library whenever the job is gone on with.
  for (auto& column : key.columns) column.index_version.clear();
  return stored.oid == now.oid && stored.schema == now.schema && stored.name == now.name && stored.key == key;
}

std::string told_types(planner::Key const& before, planner::Key const& now, std::string const& table) {
  std::string text;
  for (std::size_t index = 0; index < before.columns.size(); ++index) {
    auto const& was = before.columns[index];
    auto const& is = now.columns[index];
    if (was.type == is.type) continue;
    text += fmt::format("{}key column {} of {} is {} where it was {}: it sorts alike, and the job goes on",
                        text.empty() ? "" : "; ", planner::quote_identifier(was.name), table, is.type, was.type);
  }
  return text;
}

Comparison compare(StoredJob const& job, std::vector<StoredLeaf> const& leaves, planner::TableFacts const& table) {
  Comparison found;
  found.has_table = true;
  found.is_other_table = is_other_table(job, leaves, table);
  bool is_any_found = false;
  for (auto const& leaf : leaves) {
    if (leaf.is_gone) continue;
    auto const* const facts = find_leaf(job, leaves, table, leaf, found.is_other_table);
    // Whoever works on the job settles it.
    if (facts == nullptr) continue;
    is_any_found = true;
    auto key = planner::key_now(leaf.key, *facts);
    if (auto const* refusal = std::get_if<planner::Refusal>(&key)) {
      found.refusal = refusal->text;
      return found;
    }
    StoredLeaf now = leaf;
    now.oid = facts->oid;
    now.schema = facts->schema;
    now.name = facts->name;
    now.key = std::get<planner::Key>(std::move(key));
    auto told = told_types(leaf.key, now.key, planner::quote_qualified(now.schema, now.name));
    if (!told.empty()) found.told.push_back(std::move(told));
    if (found.is_other_table || !is_as_stored(leaf, now)) found.leaves.push_back(std::move(now));
  }
  // What was done is known by partition, and none of them is to be found.
  if (found.is_other_table && !is_any_found && leaves_there(leaves) > 0) {
    found.refusal = fmt::format(
        "{} was done, and none of it is a part of this table under its name; give the migration another name, "
        "and it begins with the first row",
        leaves_there(leaves) == 1 ? "one table" : fmt::format("{} partitions", leaves_there(leaves)));
  }
  return found;
}

// What is different, as far as it can be known.
std::string difference_of(StoredJob const& job, std::vector<StoredLeaf> const& leaves,
                          planner::TableFacts const& table) {
  std::string const was = planner::quote_qualified(job.table.schema, job.table.name);
  std::string const is = planner::quote_qualified(table.schema, table.name);
  std::string text = fmt::format("table {} is not the one that {} began on", is, job.name);
  if (was != is) text += fmt::format(", which was {}", was);
  if (job.relation) {
    text += fmt::format(": its oid is {}, and that of the other was {}", table.oid, *job.relation);
  } else if (!leaves.empty()) {
    text += fmt::format(": none of its oids is that of {} then, {}",
                        planner::quote_qualified(leaves.front().schema, leaves.front().name), leaves.front().oid);
  }
  return text + (job.is_state_restored
                     ? ". It was restored from a dump"
                     : ". It was restored from a dump, swapped, made anew, or is found by another search_path");
}

std::string fate_of_rows(StoredJob const& job, Control const& control) {
  std::string text = fmt::format(
      "about {} of {} rows were done; they count as done by their keys, and the others are "
      "done in this table",
      human_count(control.rows_done), human_count(std::max(control.rows_estimated, control.rows_done)));
  if (job.sweeps) text += "; the last pass goes over all rows once more and does those that satisfy `where`";
  return text;
}

std::string refusal_of_table(std::string const& difference, std::string const& fate) {
  return fmt::format(
      "{}\nnothing was started. With --accept-drift the job goes on with this table: {}. That is right for a table "
      "that "
      "was restored together with schema pgbackfill, as of one moment. For any other give the migration another name, "
      "and it begins with the first row",
      difference, fate);
}

// The table may have gone on since the dump.
std::string refusal_of_state(StoredJob const& job, planner::TableFacts const& table, Control const& control) {
  return fmt::format(
      "schema pgbackfill was restored from a dump, and table {} was not: rows of it that were done since the dump "
      "would be done again\nnothing was started. With --accept-drift the job goes on from where the dump has it: {}. "
      "That is "
      "right where no run has worked on it since. Otherwise give the migration another name, and it begins with the "
      "first row",
      planner::quote_qualified(table.schema, table.name), fate_of_rows(job, control));
}

asio::awaitable<Result<std::vector<StoredLeaf>>> read_leaves(PgConnection& connection, std::int64_t job) {
  auto const rows = co_await connection.query(state::list_leaves(job), Deadlines());
  if (!rows) co_return rows.error();
  std::vector<StoredLeaf> leaves;
  for (auto const& row : rows->rows) leaves.push_back(state::stored_leaf_of(row));
  co_return leaves;
}

asio::awaitable<Result<Comparison>> read_comparison(PgConnection& connection, StoredJob job, planner::TableFacts table,
                                                    bool accepts_other_table, Owner owner) {
  auto const leaves = co_await read_leaves(connection, job.id);
  if (!leaves) co_return leaves.error();
  auto const control = co_await read_control(connection, job.id, owner.id);
  if (!control) co_return control.error();
  bool const has_rows = table.kind == 'r' || table.kind == 'p';
  if (!has_rows || table.leaves.empty() || !*control) co_return Comparison();
  auto found = compare(job, *leaves, table);
  found.is_older_state = job.is_state_restored && !found.is_other_table;
  if (found.is_older_state && found.refusal.empty() && !accepts_other_table) {
    found.refusal = refusal_of_state(job, table, **control);
  }
  if (!found.is_other_table) co_return found;
  std::string const difference = difference_of(job, *leaves, table);
  std::string const fate = fate_of_rows(job, **control);
  if (!found.refusal.empty()) {
    found.refusal = difference + "\nit cannot be gone on with: " + found.refusal;
  } else if (job.is_state_restored) {
    found.told.insert(found.told.begin(),
                      difference + ", and schema pgbackfill with it: the job goes on here. " + fate);
  } else if (!accepts_other_table) {
    found.refusal = refusal_of_table(difference, fate);
  } else {
    found.told.insert(found.told.begin(), difference + ". The job goes on with it: " + fate);
  }
  co_return found;
}

// A label that was renamed has the place in the order that it had, but the texts of keys name the old one.
asio::awaitable<Result<std::string>> read_lost_label(PgConnection& connection, std::int64_t job) {
  auto const rows = co_await connection.query(state::find_lost_label(job), Deadlines());
  if (!rows) co_return rows.error();
  auto const lost = state::first_as<state::LostLabelRow>(*rows);
  if (!lost) co_return std::string();
  std::string const label = planner::quote_literal(lost->label);
  co_return fmt::format(
      "the job stands at key {} in column {} of {}, and enum {} has no such label any more: it was renamed. Rename it "
      "back until the job is done (ALTER TYPE {} RENAME VALUE '...' TO {}), or give the migration another name and "
      "begin with the first row again, if its work may be done twice on a row",
      label, planner::quote_identifier(lost->column), planner::quote_qualified(lost->table_schema, lost->table_name),
      lost->type, lost->type, label);
}

}  // namespace

asio::awaitable<Result<Binding>> look_at_identity(PgConnection& connection, StoredJob job, planner::TableFacts table,
                                                  bool accepts_other_table, Owner owner) {
  auto found = co_await read_comparison(connection, std::move(job), std::move(table), accepts_other_table, owner);
  if (!found) co_return found.error();
  Binding binding;
  if (found->is_other_table || found->is_older_state) binding.refusal = std::move(found->refusal);
  co_return binding;
}

asio::awaitable<Result<Binding>> bind_job(PgConnection& connection, StoredJob job, planner::TableFacts table,
                                          bool accepts_other_table, Owner owner) {
  auto read = co_await read_comparison(connection, job, table, accepts_other_table, owner);
  if (!read) co_return read.error();
  auto found = std::move(*read);
  Binding binding;
  binding.refusal = std::move(found.refusal);
  if (!binding.refusal.empty() || !found.has_table) co_return binding;
  auto lost = co_await read_lost_label(connection, job.id);
  if (!lost) co_return lost.error();
  binding.refusal = std::move(*lost);
  if (!binding.refusal.empty()) co_return binding;
  bool const is_known = job.relation && !job.is_state_restored && !found.is_other_table &&
                        job.table.schema == table.schema && job.table.name == table.name;
  if (is_known && found.leaves.empty()) co_return binding;
  auto statements = state::bind_job(job.id, table, found.leaves, found.is_other_table);
  for (auto const& text : found.told) {
    statements.push_back(state::record_event(job.id, job.name, "bound", text, owner));
  }
  auto const stored = co_await connection.pipeline(std::move(statements), Deadlines());
  if (!stored) co_return stored.error();
  binding.told = std::move(found.told);
  co_return binding;
}

}  // namespace pgbackfill::engine
