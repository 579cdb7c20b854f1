// backfill:

#include <algorithm>
#include <cctype>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "planner/file/sections.h"
#include "planner/file/values.h"
#include "planner/file/wording.h"
#include "planner/model/sql_text.h"

namespace pgbackfill::planner::file {
namespace {

// What is copied, and then what a program gives.
void add_computed(FileReader& reader, Field const& columns, Backfill& backfill, std::vector<Assignment> copied) {
  for (auto const& computed : backfill.assignments) {
    bool const is_copied =
        std::any_of(copied.begin(), copied.end(), [&](Assignment const& one) { return one.column == computed.column; });
    if (is_copied) {
      reader.refuse(*columns.key, "column '" + computed.column + "' stands in 'columns' and in 'write' of 'compute'");
    }
  }
  for (auto& computed : backfill.assignments) copied.push_back({computed.position, computed.column, "NULL"});
  backfill.assignments = std::move(copied);
}

// Past blanks and the word, in any case; nothing where another one stands.
std::optional<std::string_view> behind_word(std::string_view text, std::string_view word) {
  auto const is_blank = [](char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; };
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  bool const is_it = text.size() > word.size() && is_blank(text[word.size()]) &&
                     std::equal(word.begin(), word.end(), text.begin(), [](char one, char other) {
                       return one == std::tolower(static_cast<unsigned char>(other));
                     });
  return is_it ? std::optional(text.substr(word.size())) : std::nullopt;
}

std::string without_order_by(std::string const& text) {
  auto const by = behind_word(text, "order");
  auto const rest = by ? behind_word(*by, "by") : std::nullopt;
  auto const begin = rest ? rest->find_first_not_of(" \t\r\n") : std::string_view::npos;
  return begin == std::string_view::npos ? std::string() : std::string(rest->substr(begin));
}

std::optional<Dedupe> read_dedupe(FileReader& reader, Field const& section) {
  auto const fields = reader.read_map(section);
  if (!fields) return std::nullopt;
  Dedupe dedupe;
  dedupe.position = reader.position_of(*section.key);
  if (auto const* by = fields->find("by")) dedupe.by = read_columns(reader, *by);
  if (auto const* keep = fields->find("keep")) {
    dedupe.keep_position = reader.position_of(*keep->value);
    auto const text = read_expression(reader, *keep);
    dedupe.keep = without_order_by(text);
    if (dedupe.keep.empty() && !text.empty()) {
      reader.refuse(*keep->value,
                    "'keep' begins with ORDER BY: the first row of each group is kept; " + for_example(*keep->rule));
    }
  }
  return dedupe;
}

void read_work(FileReader& reader, Fields const& fields, Backfill& backfill) {
  if (auto const* set = fields.find("set")) {
    backfill.kind = WorkKind::kUpdate;
    backfill.assignments = read_assignments(reader, *set);
  }
  if (auto const* compute = fields.find("compute")) {
    backfill.compute = read_compute(reader, *compute);
    bool const writes = backfill.compute && !backfill.compute->write.empty();
    backfill.kind = writes ? WorkKind::kUpdate : WorkKind::kAsk;
    if (writes) backfill.assignments = placeholders_of(*backfill.compute);
  }
  if (auto const* sql = fields.find("sql")) {
    backfill.kind = WorkKind::kSql;
    backfill.sql = read_statement(reader, *sql);
    backfill.sql_position = reader.position_of(*sql->value);
  }
  if (auto const* copy_to = fields.find("copy_to")) {
    if (backfill.kind == WorkKind::kAsk) {
      reader.refuse(*fields.find("compute")->key,
                    "beside 'copy_to' 'compute' needs 'write': the columns of the copy that the program gives");
    }
    backfill.kind = WorkKind::kCopy;
    backfill.copy_to = read_table(reader, *copy_to).value_or(TableName{});
  }
  if (auto const* columns = fields.find("columns")) {
    // Read also beside a 'set' that has been refused already, for the problems in it.
    auto assignments = read_assignments(reader, *columns);
    if (backfill.kind == WorkKind::kCopy) add_computed(reader, *columns, backfill, std::move(assignments));
  }
  if (auto const* remove = fields.find("delete")) {
    backfill.kind = WorkKind::kDelete;
    if (is_scalar(reader, *remove) && remove->value->text != "true") {
      reader.refuse(*remove->value, "'delete' can only be true; leave the key out to delete nothing");
    }
  }
  if (auto const* dedupe = fields.find("dedupe")) {
    backfill.kind = WorkKind::kDelete;
    backfill.dedupe = read_dedupe(reader, *dedupe);
    backfill.where = "true";
  }
  if (auto const* move_to = fields.find("move_to")) {
    backfill.kind = WorkKind::kDelete;
    backfill.move_to = read_table(reader, *move_to).value_or(TableName{});
    backfill.move_to_position = reader.position_of(*move_to->value);
  }
}

// The word, or SQL.
void read_where(FileReader& reader, Field const& where, Backfill& backfill) {
  backfill.where_position = reader.position_of(*where.value);
  bool const is_word = where.value->kind == YamlKind::kScalar && where.value->text == "changed";
  if (!is_word) {
    backfill.where = read_expression(reader, where);
    return;
  }
  if (backfill.kind != WorkKind::kUpdate || backfill.compute) {
    reader.refuse(*where.value,
                  "'where: changed' goes with 'set', whose values it compares; for a column of that name "
                  "write where: (changed)");
    return;
  }
  backfill.where_is_changed = true;
  std::vector<std::string> terms;
  for (auto const& assignment : backfill.assignments) {
    terms.push_back(quote_identifier(assignment.column) + " IS DISTINCT FROM " + parenthesised(assignment.expression));
  }
  backfill.where = join(terms, " OR ");
}

void read_batch(FileReader& reader, Fields const& fields, BatchOptions& batch) {
  auto const* field = fields.find("batch");
  if (field == nullptr) return;
  auto const batch_fields = reader.read_map(*field);
  if (!batch_fields) return;
  batch.target = read_duration(reader, *batch_fields, "target").value_or(batch.target);
  auto const min_rows = read_count(reader, *batch_fields, "min_rows");
  auto const max_rows = read_count(reader, *batch_fields, "max_rows");
  if (min_rows && max_rows && *min_rows > *max_rows) {
    reader.refuse(*batch_fields->find("min_rows")->value,
                  "min_rows " + std::to_string(*min_rows) + " is more than max_rows " + std::to_string(*max_rows));
    return;
  }
  // A bound that stands alone moves the other one's default, never the other way round.
  batch.max_rows = max_rows.value_or(std::max(batch.max_rows, min_rows.value_or(0)));
  batch.min_rows = min_rows.value_or(std::min(batch.min_rows, batch.max_rows));
}

std::int64_t read_bad_row(FileReader& reader, Fields const& fields) {
  auto const* field = fields.find("on_bad_row");
  if (field == nullptr) return 0;
  if (field->value->kind == YamlKind::kMap) {
    auto const bad_row = reader.read_map(*field);
    return read_count(reader, *bad_row, "quarantine").value_or(0);
  }
  // `stop`: what holds without the key, too.
  if (is_scalar(reader, *field)) word_of(reader, *field);
  return 0;
}

// Why rows that come later cannot be told by `where`; empty: they can.
std::string follow_problem(Backfill const& backfill, bool has_prepared) {
  bool const is_possible =
      (backfill.kind == WorkKind::kUpdate || backfill.kind == WorkKind::kDelete) && !backfill.dedupe;
  if (!is_possible) {
    return "'follow' goes with 'set', with 'compute' that writes columns of the table, and with 'delete': there alone "
           "'where' tells which rows came later";
  }
  if (has_prepared) return "'follow' cannot stand beside 'prepare', whose results would be of the time before";
  return "";
}

std::optional<Follow> read_follow(FileReader& reader, Fields const& fields, Backfill const& backfill) {
  auto const* field = fields.find("follow");
  if (field == nullptr) return std::nullopt;
  Follow follow;
  follow.position = reader.position_of(*field->key);
  auto const problem = follow_problem(backfill, !reader.inputs().prepared.empty());
  if (!problem.empty()) reader.refuse(*field->key, problem);
  if (field->value->kind == YamlKind::kMap) {
    auto const of_follow = reader.read_map(*field);
    follow.every = read_duration(reader, *of_follow, "every").value_or(follow.every);
  } else if (is_scalar(reader, *field)) {
    word_of(reader, *field);
  }
  return follow;
}

}  // namespace

std::optional<Backfill> read_backfill(FileReader& reader, Fields const& fields, Top const& top) {
  auto const* section = fields.find("backfill");
  if (section == nullptr) return std::nullopt;
  Backfill backfill;
  backfill.position = reader.position_of(*section->key);
  auto const of_backfill = reader.read_map(*section);
  if (!of_backfill) return backfill;
  backfill.table = read_table_or(reader, *of_backfill, *section, top.table);
  reader.inputs().prepared = read_prepare(reader, *of_backfill);
  reader.inputs().knows_prepared = true;
  read_work(reader, *of_backfill, backfill);
  if (auto const* where = of_backfill->find("where")) {
    read_where(reader, *where, backfill);
  }
  reader.inputs().knows_prepared = false;
  if (auto const workers = read_count(reader, *of_backfill, "workers")) backfill.workers = static_cast<int>(*workers);
  read_batch(reader, *of_backfill, backfill.batch);
  if (read_word(reader, *of_backfill, "commit") == "sync") backfill.commit = CommitMode::kSync;
  if (read_word(reader, *of_backfill, "triggers") == "skip") backfill.triggers = TriggerMode::kSkip;
  if (auto const* names = of_backfill->find("skip_foreign_keys")) {
    backfill.skipped_foreign_keys = read_columns(reader, *names);
  }
  if (auto const* conflict = of_backfill->find("on_conflict")) {
    backfill.on_conflict_position = reader.position_of(*conflict->value);
    if (read_word(reader, *of_backfill, "on_conflict") == "count") backfill.on_conflict = ConflictMode::kCount;
  }
  backfill.rows_per_key = read_count(reader, *of_backfill, "rows_per_key").value_or(backfill.rows_per_key);
  backfill.quarantine_budget = read_bad_row(reader, *of_backfill);
  backfill.keeps_history = read_word(reader, *of_backfill, "history") != "off";
  backfill.follow = read_follow(reader, *of_backfill, backfill);
  return backfill;
}

}  // namespace pgbackfill::planner::file
