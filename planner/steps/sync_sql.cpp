#include "planner/steps/sync_sql.h"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <numeric>

#include "planner/model/fingerprint.h"
#include "planner/model/sql_facts.h"
#include "planner/model/sql_text.h"
#include "planner/model/table_name.h"

namespace pgbackfill::planner {
namespace {

using Assignments = std::vector<SpelledAssignment>;

// Assignments that have to be decided on together: which side of them was written.
struct Group {
  Assignments set;
  Assignments reverse;
};

bool contains(std::vector<std::string> const& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool computes(Assignments const& assignments, std::string_view column) {
  return std::any_of(assignments.begin(), assignments.end(),
                     [&](SpelledAssignment const& one) { return one.column == column; });
}

std::string unescaped(std::string_view line) {
  std::string text;
  for (std::size_t at = 0; at < line.size(); ++at) {
    bool const is_escape = line[at] == '\\' && at + 1 < line.size();
    if (is_escape) ++at;
    text += is_escape && line[at] == 'n' ? '\n' : line[at];
  }
  return text;
}

// The function runs under the file's search_path, which what the expressions call may read.
std::string for_any_path(std::string const& spelled) {
  return with_catalog_schema(spelled).value_or(spelled);
}

class Lines {
 public:
  explicit Lines(std::string_view text) : rest_(text) {}

  std::optional<std::string> next() {
    if (is_over_) return std::nullopt;
    auto const end = rest_.find('\n');
    auto line = unescaped(rest_.substr(0, end));
    is_over_ = end == std::string_view::npos;
    if (!is_over_) rest_.remove_prefix(end + 1);
    return line;
  }
  bool is_over() const { return is_over_; }

 private:
  std::string_view rest_;
  bool is_over_ = false;
};

std::optional<SpelledAssignment> read_assignment(Lines& lines, std::string const& column, std::string& alias) {
  SpelledAssignment assignment;
  assignment.column = column;
  auto const expression = lines.next();
  auto const name = lines.next();
  auto const count_text = lines.next();
  if (!expression || !name || !count_text) return std::nullopt;
  // One SELECT computes several.
  if (!alias.empty() && alias != *name) return std::nullopt;
  alias = *name;
  assignment.expression = for_any_path(*expression);
  std::size_t count = 0;
  assignment.reads_row = *count_text == kWholeRow;
  std::from_chars(count_text->data(), count_text->data() + count_text->size(), count);
  for (std::size_t index = 0; index < count; ++index) {
    auto read = lines.next();
    if (!read) return std::nullopt;
    assignment.reads.push_back(std::move(*read));
  }
  auto default_value = lines.next();
  if (!default_value) return std::nullopt;
  assignment.has_varying_default = *default_value == kVaryingDefault;
  bool const has_plain_default = !assignment.has_varying_default && !default_value->empty();
  if (has_plain_default) assignment.default_value = for_any_path(*default_value);
  return assignment;
}

// --- groups

bool reads(SpelledAssignment const& assignment, std::string_view column) {
  return assignment.reads_row || contains(assignment.reads, column);
}

bool read_row(Assignments const& assignments) {
  return std::any_of(assignments.begin(), assignments.end(),
                     [](SpelledAssignment const& one) { return one.reads_row; });
}

SpelledAssignment const* varying_default(Assignments const& assignments) {
  auto const found = std::find_if(assignments.begin(), assignments.end(),
                                  [](SpelledAssignment const& one) { return one.has_varying_default; });
  return found == assignments.end() ? nullptr : &*found;
}

bool belong_together(SpelledAssignment const& set, SpelledAssignment const& reverse) {
  return reads(reverse, set.column) || reads(set, reverse.column);
}

// Joins by the columns that the other side computes. What both only read, such as a language, joins nothing: a write
// to one pair must not undo a write to another.
std::vector<Group> groups_of(SpelledSync const& sync) {
  std::vector<std::size_t> group_of(sync.set.size() + sync.reverse.size());
  std::iota(group_of.begin(), group_of.end(), std::size_t{0});
  for (std::size_t set = 0; set < sync.set.size(); ++set) {
    for (std::size_t reverse = 0; reverse < sync.reverse.size(); ++reverse) {
      if (!belong_together(sync.set[set], sync.reverse[reverse])) continue;
      std::replace(group_of.begin(), group_of.end(), std::size_t{group_of[sync.set.size() + reverse]},
                   std::size_t{group_of[set]});
    }
  }
  std::vector<Group> groups;
  for (std::size_t id = 0; id < group_of.size(); ++id) {
    Group group;
    for (std::size_t member = 0; member < group_of.size(); ++member) {
      if (group_of[member] != id) continue;
      bool const is_set = member < sync.set.size();
      if (is_set) group.set.push_back(sync.set[member]);
      if (!is_set) group.reverse.push_back(sync.reverse[member - sync.set.size()]);
    }
    if (!group.set.empty()) groups.push_back(std::move(group));
  }
  return groups;
}

std::vector<std::string> columns_of(Assignments const& assignments) {
  std::vector<std::string> columns;
  for (auto const& one : assignments) columns.push_back(one.column);
  return columns;
}

std::vector<std::string> reads_of(Assignments const& assignments) {
  std::vector<std::string> columns;
  for (auto const& one : assignments) {
    for (auto const& column : one.reads) {
      if (!contains(columns, column)) columns.push_back(column);
    }
  }
  return columns;
}

// --- text

std::string row_of(std::string_view record, std::vector<std::string> const& columns) {
  std::vector<std::string> fields;
  for (auto const& column : columns) fields.push_back(std::string{record} + "." + quote_identifier(column));
  // The cast: two rows without it would be compared column by column, by operators that not every type has.
  return "ROW(" + join(fields, ", ") + ")::pg_catalog.record";
}

std::string changed(std::vector<std::string> const& columns) {
  return row_of("OLD", columns) + " OPERATOR(pg_catalog.*<>) " + row_of("NEW", columns);
}

std::string all_null_in(std::string const& record, Assignments const& assignments) {
  std::vector<std::string> nulls;
  for (auto const& one : assignments) nulls.push_back(record + "." + quote_identifier(one.column) + " IS NULL");
  return join(nulls, " AND ");
}

// Whether an INSERT brought anything for one of the columns. A constant default counts as nothing: what the version of
// the application that does not know the column leaves there.
std::string any_given(Assignments const& assignments) {
  std::vector<std::string> given;
  for (auto const& one : assignments) {
    std::string text = "NEW." + quote_identifier(one.column) + " IS DISTINCT FROM NULL";
    if (!one.default_value.empty()) {
      text += " AND " + row_of("NEW", {one.column}) + " OPERATOR(pg_catalog.*<>) ROW(" + one.default_value +
              ")::pg_catalog.record";
    }
    given.push_back(std::move(text));
  }
  return "(" + join(given, " OR ") + ")";
}

std::string all_null(Assignments const& assignments) {
  return all_null_in("NEW", assignments);
}

// The row before the statement, but for what a side computes.
constexpr char kReadBySet[] = "pgbackfill_read";
constexpr char kReadByReverse[] = "pgbackfill_read_back";
// The row as an INSERT brought it.
constexpr char kGiven[] = "pgbackfill_given";

// Whether what a side reads has changed. Of the whole row that is compared, not of the columns that it has now: others
// may come.
std::string has_changed(Assignments const& side, std::string_view before) {
  if (read_row(side)) return std::string{before} + " OPERATOR(pg_catalog.*<>) NEW";
  auto const columns = reads_of(side);
  return columns.empty() ? "false" : changed(columns);
}

class Body {
 public:
  explicit Body(std::string_view alias) : alias_(alias) {}

  void line(std::string const& text) { text_ += std::string(2 * depth_, ' ') + text + "\n"; }
  void begin(std::string const& text) {
    line(text);
    ++depth_;
  }
  void otherwise(std::string const& text) {
    --depth_;
    begin(text);
  }
  void dedent() { --depth_; }
  void end(std::string const& text) {
    --depth_;
    line(text);
  }
  void compute(Assignments const& assignments) {
    std::vector<std::string> expressions;
    std::vector<std::string> targets;
    for (auto const& one : assignments) {
      expressions.push_back(one.expression);
      targets.push_back("NEW." + quote_identifier(one.column));
    }
    line("SELECT " + join(expressions, ", "));
    line("  INTO " + join(targets, ", ") + " FROM (SELECT NEW.*) AS " + alias_ + ";");
  }
  std::string take() { return std::move(text_); }

 private:
  std::string alias_;
  std::string text_;
  std::size_t depth_ = 0;
};

// Both sides were given: by a row that moves to another partition, by a dump, or by a version that writes both. If they
// agree by `check`, they stay as they are, for what the trigger made of the one side need not make the other one again.
void on_both_given(Body& body, Assignments const& check, Assignments const& winner) {
  auto const columns = columns_of(check);
  body.line(std::string{kGiven} + " := NEW;");
  body.compute(check);
  body.begin("IF " + row_of(kGiven, columns) + " OPERATOR(pg_catalog.*<>) " + row_of("NEW", columns) + " THEN");
  body.line("NEW := " + std::string{kGiven} + ";");
  body.compute(winner);
  body.end("END IF;");
}

void on_insert(Body& body, Group const& group) {
  if (!group.reverse.empty()) {
    body.begin("IF " + any_given(group.set) + " AND NOT " + any_given(group.reverse) + " THEN");
    body.compute(group.reverse);
    body.otherwise("ELSIF " + any_given(group.set) + " THEN");
    // An old column whose default is now() or nextval() has a value that nobody gave: then the new one wins.
    bool const is_always_given = varying_default(group.reverse) != nullptr;
    on_both_given(body, is_always_given ? group.set : group.reverse, is_always_given ? group.reverse : group.set);
    body.otherwise("ELSE");
    body.compute(group.set);
    body.end("END IF;");
    return;
  }
  // What follows from no column, a random value for example, is given once.
  bool const is_filled_once = !read_row(group.set) && reads_of(group.set).empty();
  if (is_filled_once) body.begin("IF " + all_null(group.set) + " THEN");
  body.compute(group.set);
  if (is_filled_once) body.end("END IF;");
}

// Of a row that is not filled yet, `reverse` would make NULL: what it reads beside the new columns may change before.
bool reads_more_than(Assignments const& reverse, Assignments const& set) {
  auto const columns = reads_of(reverse);
  return read_row(reverse) ||
         std::any_of(columns.begin(), columns.end(), [&](std::string const& column) { return !computes(set, column); });
}

void on_update(Body& body, Group const& group) {
  bool const reads_nothing = !read_row(group.set) && reads_of(group.set).empty();
  std::string const unfilled = all_null(group.set);
  if (!group.reverse.empty()) {
    body.begin("IF " + has_changed(group.set, kReadBySet) + " THEN");
    body.compute(group.set);
    if (reads_more_than(group.reverse, group.set)) {
      body.otherwise("ELSIF " + all_null_in("OLD", group.set) + " AND " + unfilled + " THEN");
      body.compute(group.set);
    }
    body.otherwise("ELSIF " + has_changed(group.reverse, kReadByReverse) + " THEN");
    body.compute(group.reverse);
    body.otherwise("ELSIF " + unfilled + " THEN");
  } else if (reads_nothing) {
    body.begin("IF " + unfilled + " THEN");
  } else {
    // Without a way back the columns are the trigger's: what else is written to them is computed over.
    body.line("IF " + has_changed(group.set, kReadBySet));
    body.line("    OR " + changed(columns_of(group.set)));
    body.begin("    OR " + unfilled + " THEN");
  }
  body.compute(group.set);
  body.end("END IF;");
}

void declare(Body& body, SpelledSync const& sync) {
  std::vector<std::string> names;
  if (!sync.reverse.empty()) names.emplace_back(kGiven);
  if (read_row(sync.set)) names.emplace_back(kReadBySet);
  if (read_row(sync.reverse)) names.emplace_back(kReadByReverse);
  if (names.empty()) return;
  body.begin("DECLARE");
  for (auto const& name : names) body.line(name + " record;");
  body.dedent();
}

void keep_what_is_read(Body& body, Assignments const& side, std::string const& record) {
  if (!read_row(side)) return;
  body.line(record + " := OLD;");
  for (auto const& one : side) {
    auto const column = "." + quote_identifier(one.column);
    body.line(record + column + " := NEW" + column + ";");
  }
}

}  // namespace

std::string sync_object_name(std::string_view prefix, std::string_view migration) {
  std::size_t const room = kMaxIdentifierBytes - prefix.size();
  if (migration.size() <= room) return std::string{prefix} + std::string{migration};
  auto const digits = fingerprint(migration);
  return std::string{prefix} + std::string{migration.substr(0, room - digits.size() - 1)} + "_" + digits;
}

namespace {

// ~ is behind all letters, so that the triggers of applications come first. Behind the word, upper case < _ < lower.
constexpr char kTriggerWord[] = "~pgbackfill";
constexpr int kMostOrder = 26;

// 0 is the usual place; later ones are positive.
std::string trigger_name_at(int order, std::string_view migration) {
  std::string prefix = kTriggerWord;
  if (order < 0) prefix += static_cast<char>('Z' + 1 + order);
  if (order > 0) prefix += static_cast<char>('a' - 1 + order);
  return sync_object_name(prefix + "_", migration);
}

}  // namespace

std::string sync_trigger_name(std::string_view migration) {
  return trigger_name_at(0, migration);
}

std::string sync_trigger_name_between(std::string_view migration, std::vector<std::string> const& behind,
                                      std::vector<std::string> const& before) {
  for (int distance = 0; distance <= kMostOrder; ++distance) {
    for (int const order : {distance, -distance}) {
      auto const name = trigger_name_at(order, migration);
      bool const fits =
          std::all_of(behind.begin(), behind.end(), [&](std::string const& other) { return other < name; }) &&
          std::all_of(before.begin(), before.end(), [&](std::string const& other) { return name < other; });
      if (fits) return name;
    }
  }
  return {};
}

bool is_sync_trigger_name(std::string_view trigger, std::string_view migration) {
  for (int order = -kMostOrder; order <= kMostOrder; ++order) {
    if (trigger == trigger_name_at(order, migration)) return true;
  }
  return false;
}

std::string sync_function_name(std::string_view migration) {
  return sync_object_name("sync_", migration);
}

std::vector<std::string> sync_spelling_lines(std::string_view text) {
  std::vector<std::string> all;
  Lines lines(text);
  while (auto line = lines.next()) all.push_back(std::move(*line));
  return all;
}

std::optional<SpelledSync> read_sync_spelling(InstallSync const& step, std::string_view text) {
  Lines lines(text);
  SpelledSync sync;
  for (auto const* side : {&step.set, &step.reverse}) {
    for (auto const& one : *side) {
      auto assignment = read_assignment(lines, one.column, sync.alias);
      if (!assignment) return std::nullopt;
      (side == &step.set ? sync.set : sync.reverse).push_back(std::move(*assignment));
    }
  }
  if (!lines.is_over()) return std::nullopt;
  return sync;
}

std::string sync_problem(SpelledSync const& sync) {
  for (auto const* side : {&sync.set, &sync.reverse}) {
    std::string const word = side == &sync.set ? "set" : "reverse";
    for (auto const& one : *side) {
      for (auto const& column : one.reads) {
        if (computes(*side, column)) {
          return word + ": " + one.column + " is computed from " + column + ", which " + word +
                 ": computes as well; write it over the columns that it does not compute";
        }
      }
    }
  }
  for (auto const& one : sync.reverse) {
    if (computes(sync.set, one.column)) {
      return one.column + " is in set: and in reverse:; which side does it belong to";
    }
    bool const follows =
        one.reads_row || std::any_of(one.reads.begin(), one.reads.end(),
                                     [&](std::string const& column) { return computes(sync.set, column); });
    if (!follows) return "reverse: " + one.column + " reads none of the columns that set: computes";
  }
  for (auto const& group : groups_of(sync)) {
    auto const* computed = varying_default(group.set);
    auto const* back = varying_default(group.reverse);
    if (computed == nullptr || back == nullptr) continue;
    return "columns " + computed->column + " and " + back->column +
           " both have a default that is no constant, so that an INSERT does not show which of them was given; take "
           "one of them away first, with drop_default: in expand:";
  }
  return {};
}

std::string sync_body(SpelledSync const& sync) {
  auto const groups = groups_of(sync);
  Body body(sync.alias);
  // A column may have the name of one of PL/pgSQL's variables.
  body.line("");
  body.line("#variable_conflict use_column");
  declare(body, sync);
  body.begin("BEGIN");
  body.begin("IF TG_OP OPERATOR(pg_catalog.=) 'INSERT' THEN");
  for (auto const& group : groups) on_insert(body, group);
  body.otherwise("ELSE");
  keep_what_is_read(body, sync.set, kReadBySet);
  keep_what_is_read(body, sync.reverse, kReadByReverse);
  for (auto const& group : groups) on_update(body, group);
  body.end("END IF;");
  body.line("RETURN NEW;");
  body.end("END");
  return body.take();
}

std::string sync_body_off() {
  return "\nBEGIN\n  RETURN NEW;\nEND\n";
}

}  // namespace pgbackfill::planner
