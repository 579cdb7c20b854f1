#include "planner/sync_sql.h"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <numeric>

#include "planner/sql_text.h"
#include "planner/table_name.h"

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

// FNV-1a. Two long names that begin alike must not share a trigger.
std::string fingerprint(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (char const c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  std::string digits(16, '0');
  for (auto digit = digits.rbegin(); digit != digits.rend(); ++digit, hash >>= 4) {
    *digit = "0123456789abcdef"[hash & 0xF];
  }
  return digits;
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
  assignment.expression = *expression;
  std::size_t count = 0;
  std::from_chars(count_text->data(), count_text->data() + count_text->size(), count);
  for (std::size_t index = 0; index < count; ++index) {
    auto read = lines.next();
    if (!read) return std::nullopt;
    assignment.reads.push_back(std::move(*read));
  }
  auto default_value = lines.next();
  if (!default_value) return std::nullopt;
  assignment.default_value = std::move(*default_value);
  return assignment;
}

// --- groups

bool belong_together(SpelledAssignment const& set, SpelledAssignment const& reverse) {
  return contains(reverse.reads, set.column) || contains(set.reads, reverse.column);
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
  return "ROW(" + join(fields, ", ") + ")::record";
}

std::string changed(std::vector<std::string> const& columns) {
  return row_of("OLD", columns) + " OPERATOR(pg_catalog.*<>) " + row_of("NEW", columns);
}

std::string is_null(std::string_view column) {
  return "NEW." + quote_identifier(column) + " IS NULL";
}

// Whether an INSERT brought anything for one of the columns. A constant default counts as nothing: what the version of
// the application that does not know the column leaves there.
std::string any_given(Assignments const& assignments) {
  std::vector<std::string> given;
  for (auto const& one : assignments) {
    std::string text = "NEW." + quote_identifier(one.column) + " IS DISTINCT FROM NULL";
    if (!one.default_value.empty()) {
      text +=
          " AND " + row_of("NEW", {one.column}) + " OPERATOR(pg_catalog.*<>) ROW(" + one.default_value + ")::record";
    }
    given.push_back(std::move(text));
  }
  return "(" + join(given, " OR ") + ")";
}

std::string all_null(Assignments const& assignments) {
  std::vector<std::string> nulls;
  for (auto const& one : assignments) nulls.push_back(is_null(one.column));
  return join(nulls, " AND ");
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

void on_insert(Body& body, Group const& group) {
  if (!group.reverse.empty()) {
    body.begin("IF " + any_given(group.set) + " AND NOT " + any_given(group.reverse) + " THEN");
    body.compute(group.reverse);
    body.otherwise("ELSE");
    body.compute(group.set);
    body.end("END IF;");
    return;
  }
  // What follows from no column, a random value for example, is given once.
  bool const is_filled_once = reads_of(group.set).empty();
  if (is_filled_once) body.begin("IF " + all_null(group.set) + " THEN");
  body.compute(group.set);
  if (is_filled_once) body.end("END IF;");
}

void on_update(Body& body, Group const& group) {
  auto const reads = reads_of(group.set);
  std::string const unfilled = all_null(group.set);
  if (!group.reverse.empty()) {
    body.begin("IF " + (reads.empty() ? "false" : changed(reads)) + " THEN");
    body.compute(group.set);
    body.otherwise("ELSIF " + changed(reads_of(group.reverse)) + " THEN");
    body.compute(group.reverse);
    body.otherwise("ELSIF " + unfilled + " THEN");
  } else if (reads.empty()) {
    body.begin("IF " + unfilled + " THEN");
  } else {
    // Without a way back the columns are the trigger's: what else is written to them is computed over.
    body.line("IF " + changed(reads));
    body.line("    OR " + changed(columns_of(group.set)));
    body.begin("    OR " + unfilled + " THEN");
  }
  body.compute(group.set);
  body.end("END IF;");
}

}  // namespace

std::string sync_object_name(std::string_view prefix, std::string_view migration) {
  std::size_t const room = kMaxIdentifierBytes - prefix.size();
  if (migration.size() <= room) return std::string{prefix} + std::string{migration};
  auto const digits = fingerprint(migration);
  return std::string{prefix} + std::string{migration.substr(0, room - digits.size() - 1)} + "_" + digits;
}

std::string sync_trigger_name(std::string_view migration) {
  // BEFORE triggers fire in byte order of their names; ~ is behind all letters.
  return sync_object_name("~pgbackfill_", migration);
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
    bool const follows = std::any_of(one.reads.begin(), one.reads.end(),
                                     [&](std::string const& column) { return computes(sync.set, column); });
    if (!follows) return "reverse: " + one.column + " reads none of the columns that set: computes";
  }
  return {};
}

std::string sync_body(SpelledSync const& sync) {
  auto const groups = groups_of(sync);
  Body body(sync.alias);
  // A column may have the name of one of PL/pgSQL's variables.
  body.line("");
  body.line("#variable_conflict use_column");
  body.begin("BEGIN");
  body.begin("IF TG_OP = 'INSERT' THEN");
  for (auto const& group : groups) on_insert(body, group);
  body.otherwise("ELSE");
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
