#include "planner/checks/agreement.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "planner/keys/key_choice.h"
#include "planner/model/sql_text.h"
#include "planner/model/value_text.h"

namespace pgbackfill::planner {

namespace {

// Characters of a value that are shown.
constexpr char kMostCharacters[] = "60";
constexpr int kMostAttempts = 20;

std::string from_clause(AgreementTarget const& target) {
  return " FROM ONLY " + target.work.relation + " AS " + target.work.alias;
}

std::string found(AgreementTarget const& target, ComparedColumn const& column) {
  return column_as_stored(target.work.alias + '.' + quote_identifier(column.column), column.type);
}

std::string expected(ComparedColumn const& column) {
  return value_as_assigned(column.expression, column.type);
}

std::string record(std::vector<std::string> const& values) {
  return "ROW(" + join(values, ", ") + ")::pg_catalog.record";
}

// What an application can tell apart: by the equality of the type, where it has one, or by its text, which is another
// for 'A' and 'a' of citext, 1.0 and 1.00, and -0. Bytes are asked first, because that is cheap, and alone would tell
// of differences that nobody can see, such as a NaN with a sign. NULL is like NULL. What is equal must not be a
// question of search_path, which is the file's here: records compare their fields by what the catalog has for the
// types, and their text is made by the output functions.
std::string differs(AgreementTarget const& target, std::vector<ComparedColumn> const& columns) {
  std::vector<std::string> is;
  std::vector<std::string> should_be;
  std::vector<std::string> is_by_equality;
  std::vector<std::string> should_be_by_equality;
  for (auto const& column : columns) {
    is.push_back(found(target, column));
    should_be.push_back(expected(column));
    if (column.has_no_equality) continue;
    std::string const collation = column.collation.empty() ? "" : " COLLATE " + column.collation;
    is_by_equality.push_back(is.back());
    should_be_by_equality.push_back(should_be.back() + collation);
  }
  std::string by_equality;
  if (!is_by_equality.empty()) {
    by_equality = record(is_by_equality) + " OPERATOR(pg_catalog.<>) " + record(should_be_by_equality) + " OR ";
  }
  return "CASE WHEN " + record(is) + " OPERATOR(pg_catalog.*<>) " + record(should_be) + " THEN " + by_equality +
         record(is) + "::pg_catalog.text OPERATOR(pg_catalog.<>) " + record(should_be) +
         "::pg_catalog.text ELSE false END";
}

std::string any_differs(AgreementTarget const& target) {
  return differs(target, target.columns);
}

std::string condition_of(WorkTarget const& work, Interval const& interval) {
  if (!work.key.is_by_block()) return interval_condition(work.key, interval, work.alias);
  return interval.hi ? block_condition(interval, work.alias, work.server_major) : "true";
}

std::string rows_of(AgreementTarget const& target, Interval const& interval) {
  auto const& work = target.work;
  std::string const condition = condition_of(work, interval);
  bool const is_joined = !target.joined.empty();
  return from_clause(target) + (is_joined ? ", " + target.joined : "") + " WHERE " + condition +
         (is_joined ? " AND " + target.join_condition : "") +
         (work.backfill.where.empty() ? "" : " AND " + parenthesised(work.backfill.where));
}

std::string with_of(AgreementTarget const& target) {
  return target.with.empty() ? "" : "WITH " + target.with + "\n";
}

std::string shortened(std::string const& value, std::string const& type) {
  // A cast to text takes the spaces at the end of a character that has no length.
  std::string const text = type == "bpchar" ? "pg_catalog.bpcharout(" + value + ")::pg_catalog.text"
                                            : text_of_value('(' + value + ')', type);
  return "pg_catalog.left(" + text + ", " + kMostCharacters + ")";
}

std::string shown(std::optional<std::string> const& value) {
  return value ? quote_literal(*value) : "NULL";
}

// As in the probes of a backfill: text that closes the parenthesis around it and opens another does not fit here.
Probe one_expression(SourcePosition const& position, std::string const& text, std::string const& from) {
  return {position, "SELECT CASE WHEN true THEN " + text + "\nEND" + from};
}

}  // namespace

std::variant<AgreementTarget, AgreementRefusal> make_agreement_target(
    Check const& check, TableFacts const& table, LeafFacts const& leaf,
    std::vector<std::string> const& without_equality) {
  auto const& agrees = std::get<AgreesCheck>(check.kind);
  Backfill backfill;
  backfill.position = check.position;
  backfill.table = agrees.table;
  // Of the choice of a key alone: to read by blocks needs no condition.
  backfill.where = "true";
  auto choice = choose_key(leaf, backfill);
  if (auto const* refusal = std::get_if<Refusal>(&choice))
    return AgreementRefusal{{check.position, refusal->text}, false};
  backfill.where = agrees.where;
  backfill.where_position = agrees.where_position;
  AgreementTarget target;
  target.work = make_work_target(backfill, table, leaf, std::get<Key>(choice));
  for (auto const& one : agrees.set) {
    auto const column = std::find_if(leaf.columns.begin(), leaf.columns.end(),
                                     [&](ColumnFacts const& facts) { return facts.name == one.column; });
    if (column == leaf.columns.end()) {
      return AgreementRefusal{{one.position, missing_column(one.column, leaf)}, true};
    }
    bool const has_no_equality =
        std::find(without_equality.begin(), without_equality.end(), one.column) != without_equality.end();
    target.columns.push_back({one.position,
                              one.column,
                              one.expression,
                              {column->declared_type, column->base_type},
                              column->collation,
                              has_no_equality});
  }
  return target;
}

std::string without_equality_sql(AgreesCheck const& check) {
  std::vector<std::string> columns;
  for (auto const& one : check.set) columns.push_back(one.column);
  return "WITH RECURSIVE parts (name, of, type) AS (SELECT a.attname::text, a.atttypid, a.atttypid FROM "
         "pg_catalog.pg_attribute a WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attname::text = ANY (" +
         text_array(columns) + ") AND a.attrelid = " + oid_of(check.table.schema, check.table.name) +
         " UNION SELECT p.name, p.of, x.type FROM parts p JOIN pg_catalog.pg_type t ON t.oid = p.type CROSS JOIN "
         "LATERAL (SELECT t.typbasetype WHERE t.typtype = 'd' UNION ALL SELECT t.typelem WHERE t.typtype = 'b' AND "
         "t.typcategory = 'A' AND t.typelem <> 0 UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a WHERE "
         "t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped) x (type)) SELECT "
         "DISTINCT p.name, pg_catalog.format_type(p.of, NULL) FROM parts p JOIN pg_catalog.pg_type t ON t.oid = p.type "
         "WHERE t.typtype = 'b' AND NOT (t.typcategory = 'A' AND t.typelem <> 0) AND NOT EXISTS (SELECT FROM "
         "pg_catalog.pg_opclass o JOIN pg_catalog.pg_am m ON m.oid = o.opcmethod WHERE o.opcdefault AND m.amname IN "
         "('btree', 'hash') AND (o.opcintype = t.oid OR EXISTS (SELECT FROM pg_catalog.pg_cast k WHERE k.castsource = "
         "t.oid AND k.casttarget = o.opcintype AND k.castmethod = 'b' AND k.castcontext = 'i'))) ORDER BY 1";
}

std::vector<Probe> agreement_probes(AgreementTarget const& target) {
  auto const& backfill = target.work.backfill;
  std::string const from = from_clause(target);
  std::vector<Probe> probes;
  if (!backfill.where.empty()) {
    probes.push_back({backfill.where_position, "SELECT 1" + from + " WHERE " + parenthesised(backfill.where)});
    probes.push_back(one_expression(backfill.where_position, backfill.where, from));
  }
  for (auto const& column : target.work.key.columns) {
    probes.push_back(
        {backfill.position, "SELECT 1" + from + " WHERE " + column_comparisons(column, target.work.alias)});
  }
  for (auto const& column : target.columns) {
    probes.push_back({column.position, "SELECT " + differs(target, {column}) + from});
    // Fails where the type has no equality, which a comparison of records would tell only when there are rows.
    if (!column.has_no_equality) {
      probes.push_back({column.position, "SELECT 1" + from + " GROUP BY " + found(target, column)});
    }
    probes.push_back(one_expression(column.position, column.expression, from));
  }
  probes.push_back({backfill.position, compare_sql(target, Interval())});
  return probes;
}

Backfill repair_of(AgreementTarget const& target, std::optional<Backfill> const& like) {
  Backfill backfill = target.work.backfill;
  for (auto const& column : target.columns) {
    backfill.assignments.push_back({column.position, column.column, column.expression});
  }
  backfill.where = (backfill.where.empty() ? "" : parenthesised(backfill.where) + " AND ") + any_differs(target);
  backfill.where_position = backfill.position;
  if (like) {
    backfill.workers = like->workers;
    backfill.batch = like->batch;
    backfill.commit = like->commit;
    backfill.triggers = like->triggers;
    backfill.skipped_foreign_keys = like->skipped_foreign_keys;
  }
  return backfill;
}

std::string picked_sql(AgreesCheck const& check) {
  return "SELECT 1 FROM " + quote_qualified(check.table.schema, check.table.name) + " WHERE " +
         parenthesised(check.where);
}

std::string agreement_definition(AgreesCheck const& check) {
  std::string text = "table " + quote_qualified(check.table.schema, check.table.name) + "\n";
  for (auto const& one : check.set) text += quote_identifier(one.column) + " = " + one.expression + "\n";
  if (!check.where.empty()) text += "where " + check.where + "\n";
  return text;
}

std::string compare_sql(AgreementTarget const& target, Interval const& interval) {
  return with_of(target) + "SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE " + any_differs(target) +
         ")" + rows_of(target, interval);
}

std::string differing_sql(AgreementTarget const& target, Interval const& interval, std::size_t most) {
  auto const& work = target.work;
  bool const is_by_block = work.key.is_by_block();
  std::string const key = is_by_block ? work.alias + ".ctid::pg_catalog.text" : key_texts(work.key, work.alias);
  std::vector<std::string> values{key};
  for (auto const& column : target.columns) {
    values.push_back(shortened(found(target, column), column.type.declared));
    values.push_back(shortened(expected(column), column.type.declared));
    values.push_back(differs(target, {column}));
  }
  std::string const order = is_by_block ? "" : " ORDER BY " + key_order(work.key, work.alias);
  return with_of(target) + "SELECT " + join(values, ", ") + rows_of(target, interval) + " AND " + any_differs(target) +
         order + " LIMIT " + std::to_string(most);
}

DifferingRow differing_row(AgreementTarget const& target, std::vector<std::optional<std::string>> const& row) {
  std::size_t const width = target.work.key.is_by_block() ? 1 : target.work.key.columns.size();
  assert(row.size() == width + 3 * target.columns.size());
  DifferingRow differing;
  differing.relation = target.work.relation;
  for (std::size_t index = 0; index < width; ++index) differing.key.push_back(row[index].value_or("NULL"));
  for (std::size_t number = 0; number < target.columns.size(); ++number) {
    std::size_t const at = width + 3 * number;
    if (row[at + 2] == "t") differing.values.push_back({target.columns[number].column, row[at], row[at + 1]});
  }
  return differing;
}

std::string to_string(DifferingRow const& row) {
  std::vector<std::string> values;
  for (auto const& value : row.values) {
    values.push_back(value.column + " is " + shown(value.found) + " and should be " + shown(value.expected));
  }
  return "row " + to_string(row.key) + " of " + row.relation + ": " + join(values, ", ");
}

AgreementWalk::AgreementWalk(AgreementProgress progress, std::optional<double> rows_per_block)
    : progress_(std::move(progress)), rows_per_block_(rows_per_block) {}

AgreementWalk::Step AgreementWalk::next(std::int64_t rows) {
  Step step;
  if (failure_) {
    step.kind = Step::Kind::kFailed;
    step.failure = *failure_;
    return step;
  }
  if (progress_.is_done || !progress_.upper) return step;
  if (std::exchange(is_waiting_, false)) {
    step.kind = Step::Kind::kWait;
    step.attempt = attempts_;
    return step;
  }
  if (!page_) page_rows_ = std::max<std::int64_t>(rows, 1);
  if (!page_ && rows_per_block_) {
    std::int64_t const from = progress_.cursor ? std::stoll(progress_.cursor->front()) : -1;
    double const blocks = static_cast<double>(page_rows_) / std::max(*rows_per_block_, 1.0);
    std::int64_t const to = from + std::max<std::int64_t>(static_cast<std::int64_t>(blocks), 1);
    page_ = Page{page_rows_, std::nullopt};
    if (to < std::stoll(progress_.upper->front())) page_->last = KeyValue{std::to_string(to)};
  }
  step.rows = page_rows_;
  step.kind = page_ ? Step::Kind::kCompare : Step::Kind::kFindPage;
  step.interval = {progress_.cursor, page_ && page_->last ? page_->last : progress_.upper};
  return step;
}

void AgreementWalk::record_page(Page page) {
  page_ = std::move(page);
}

void AgreementWalk::record_compared(std::int64_t rows, std::int64_t differing) {
  assert(page_);
  progress_.rows_compared += rows;
  progress_.rows_differing += differing;
  progress_.cursor = page_->last ? page_->last : progress_.upper;
  progress_.is_done = !page_->last;
  page_.reset();
  attempts_ = 0;
}

void AgreementWalk::record(Failure failure) {
  page_.reset();
  ++attempts_;
  switch (failure.trouble) {
    case Trouble::kStatementTimeout:
      // The next page will be smaller, if it can be.
      if (page_rows_ > 1) return;
      break;
    case Trouble::kConflict:
    case Trouble::kCancelled:
    case Trouble::kResources:
    case Trouble::kLockTimeout:
      is_waiting_ = attempts_ <= kMostAttempts;
      if (is_waiting_) return;
      break;
    case Trouble::kRowData:
    case Trouble::kConnection:
    case Trouble::kFenced:
    case Trouble::kNotWritable:
    case Trouble::kFatal:
      break;
  }
  failure_ = std::move(failure);
}

}  // namespace pgbackfill::planner
