#include "planner/migration_file.h"

#include <algorithm>
#include <cassert>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <utility>

#include "planner/batch_place.h"
#include "planner/check_file.h"
#include "planner/duration.h"
#include "planner/migration_schema.h"
#include "planner/step_detail.h"
#include "planner/step_file.h"
#include "planner/step_order.h"
#include "planner/suggestion.h"
#include "planner/table_name.h"
#include "planner/throttle_settings.h"
#include "planner/yaml_document.h"

namespace pgbackfill::planner {
namespace {

constexpr std::size_t kMaxQuotedBytes = 60;
constexpr std::size_t kMaxNameBytes = 63;

// A key of the file that its section knows, with its value.
struct Field {
  KeyRule const* rule;
  YamlNode const* key;
  YamlNode const* value;
};

class Fields {
 public:
  void add(Field field) { fields_.push_back(field); }
  Field const* find(std::string_view key) const {
    auto const found = std::find_if(fields_.begin(), fields_.end(), [&](Field const& f) { return f.rule->key == key; });
    return found == fields_.end() ? nullptr : &*found;
  }
  // A misspelt key is one problem: the key that was meant is not reported as missing on top.
  void add_meant(std::string_view key) { meant_.push_back(key); }
  bool is_given_or_meant(std::string_view key) const {
    return find(key) != nullptr || std::find(meant_.begin(), meant_.end(), key) != meant_.end();
  }

 private:
  std::vector<Field> fields_;
  std::vector<std::string_view> meant_;
};

bool is_blank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

std::string_view trimmed_right(std::string_view text) {
  auto const last = text.find_last_not_of(" \t\r\n");
  return last == std::string_view::npos ? std::string_view{} : text.substr(0, last + 1);
}

// One line of bounded length: a message is a line.
std::string shortened(std::string_view text) {
  std::string line;
  for (char const c : text) {
    bool const is_first_of_character = (static_cast<unsigned char>(c) & 0xC0) != 0x80;
    if (line.size() >= kMaxQuotedBytes && is_first_of_character) return line + "...";
    line += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return line;
}

std::string quoted(std::string_view text) {
  return "'" + shortened(text) + "'";
}

std::string quoted_list(std::span<std::string_view const> words) {
  std::string list;
  for (auto const word : words) list += (list.empty() ? "" : ", ") + quoted(word);
  return list;
}

std::string as_written(Field const& field) {
  return quoted(std::string{field.rule->key} + ": " + field.value->text);
}

std::string example_of(KeyRule const& rule) {
  return std::string{rule.key} + ": " + std::string{rule.example};
}

std::string for_example(KeyRule const& rule) {
  return "for example " + example_of(rule);
}

std::string kind_name(YamlNode const& node) {
  switch (node.kind) {
    case YamlKind::kNull:
      return "nothing";
    case YamlKind::kScalar:
      return "a single value";
    case YamlKind::kList:
      return "a list";
    case YamlKind::kMap:
      return "a map";
  }
  return "";
}

std::vector<std::string_view> known_keys(Section const& section) {
  std::vector<std::string_view> keys;
  for (auto const& rule : section.keys) keys.push_back(rule.key);
  return keys;
}

KeyRule const* find_rule(Section const& section, std::string_view key) {
  auto const found =
      std::find_if(section.keys.begin(), section.keys.end(), [&](KeyRule const& rule) { return rule.key == key; });
  return found == section.keys.end() ? nullptr : &*found;
}

// The name of the first section below `section` that knows the key; empty if none does.
std::string_view home_of(std::string_view key, Section const& section) {
  for (auto const& rule : section.keys) {
    if (rule.section == nullptr) continue;
    if (find_rule(*rule.section, key) != nullptr) return rule.section->name;
    if (auto const name = home_of(key, *rule.section); !name.empty()) return name;
  }
  return {};
}

bool is_migration_name(std::string_view name) {
  auto const is_word = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  };
  // A name that begins with '-' would be an option on the command line.
  return !name.empty() && name.size() <= kMaxNameBytes && is_word(name.front()) &&
         std::all_of(name.begin(), name.end(), [&](char c) { return is_word(c) || c == '-' || c == '.'; });
}

enum class PlaceholderUse { kNone, kOnce, kSeveral, kMalformed };

// Looks for {batch} and {batch:alias}. Nothing else may begin with {batch, so that whoever replaces the placeholder
// finds it by these letters; other braces are SQL's own, for example in the text of an array.
PlaceholderUse placeholder_use(std::string_view sql) {
  static constexpr std::string_view kOpening = "{batch";
  int count = 0;
  for (auto at = sql.find(kOpening); at != std::string_view::npos; at = sql.find(kOpening, at)) {
    at += kOpening.size();
    ++count;
    auto const rest = sql.substr(at);
    if (rest.starts_with('}')) continue;
    auto const end = rest.find('}');
    if (!rest.starts_with(':') || end == std::string_view::npos || !is_plain_identifier(rest.substr(1, end - 1))) {
      return PlaceholderUse::kMalformed;
    }
  }
  if (count == 0) return PlaceholderUse::kNone;
  return count == 1 ? PlaceholderUse::kOnce : PlaceholderUse::kSeveral;
}

class MigrationReader {
 public:
  MigrationReader(YamlDocument const& document, std::string_view file) : nodes_(document.nodes), file_(file) {}

  Migration read();
  std::vector<Problem> take_problems() { return std::move(problems_); }

 private:
  // Structure.
  Fields read_section(YamlNode const& map, Section const& section, YamlNode const& position);
  std::optional<Fields> read_map(Field const& field);
  void read_key(YamlNode const& key, YamlNode const& value, Section const& section, Fields& fields);
  void refuse_unknown_key(YamlNode const& key, Section const& section, Fields& fields);
  void refuse_unsupported(Field const& field, Section const& section, Fields& fields);
  void check_relations(Fields const& fields, Section const& section, YamlNode const& position);
  void check_alternatives(Fields const& fields, Section const& section, YamlNode const& position);
  void check_duplicates(YamlNode const& map);

  // Parts of the file.
  Backfill read_backfill(Field const& field, std::optional<TableName> const& default_table, bool has_default_table);
  void read_work(Fields const& fields, Backfill& backfill);
  void read_batch(Fields const& fields, BatchOptions& batch);
  std::int64_t read_bad_row(Fields const& fields);
  ThrottleOptions read_throttle(Field const& field);
  std::optional<std::string> read_setting(Field const& field, SettingRule const& rule);
  std::optional<std::string> read_list_of_names(Field const& field);
  std::vector<ProbeOptions> read_probes(Fields const& fields);
  ProbeOptions read_probe(YamlNode const& item, Section const& section);
  void check_sync_beside_backfill(Fields const& fields, Migration const& migration);
  std::vector<Hook> read_hooks(Fields const& fields);
  void read_hooks_at(Field const& field, Boundary boundary, std::vector<Hook>& hooks);
  Hook read_hook(YamlNode const& item, Section const& section, Boundary boundary);
  Hook read_backup(Fields const& fields, SourcePosition position);
  std::optional<Sync> read_sync(Fields const& fields, std::string const& migration,
                                std::optional<TableName> const& default_table);
  bool is_mirror(Field const& sync) const;
  void check_swaps(Fields const& fields, Migration const& migration);
  void read_mirror(Fields const& fields, Migration& migration);
  std::vector<ColumnExpression> read_column_expressions(Fields const& fields, std::string_view key);
  std::vector<Check> read_checks(Fields const& fields, std::optional<TableName> const& default_table);
  std::optional<Check> read_check(YamlNode const& item, Section const& section,
                                  std::optional<TableName> const& default_table);
  AgreesCheck read_agrees(Field const& field, std::optional<TableName> const& default_table);
  std::vector<WriterName> read_writers(Fields const& fields);
  std::vector<WindowText> read_windows(Fields const& fields, std::string_view key);
  std::vector<SchemaStep> read_steps(Fields const& fields, std::string_view key,
                                     std::optional<TableName> const& default_table);
  std::optional<SchemaStep> read_step(YamlNode const& item, KeyRule const& rule,
                                      std::optional<TableName> const& default_table);
  void read_step_values(Field const& field, StepValues& step);
  StepValue read_step_value(Field const& field);

  // Values: nothing, with a problem noted, if the value is wrong.
  bool is_scalar(Field const& field);
  std::string read_name(Field const& field, std::string_view of_what);
  std::optional<TableName> read_table(Field const& field);
  std::string read_identifier(Field const& field);
  std::string read_statement(Field const& field);
  std::string read_expression(Field const& field);
  std::vector<Assignment> read_assignments(Field const& field);
  std::vector<std::string> read_columns(Field const& field);
  std::string read_flag(Field const& field);
  std::string read_sql(YamlNode const& value, YamlNode const& key, std::string_view example);
  void refuse_semicolon(YamlNode const& value, std::string_view what);
  std::optional<std::int64_t> read_count(Fields const& fields, std::string_view key);
  std::optional<double> read_number(Fields const& fields, std::string_view key);
  std::string read_url(Field const& field);
  std::optional<std::chrono::milliseconds> read_duration(Fields const& fields, std::string_view key);
  std::string_view read_word(Fields const& fields, std::string_view key);
  std::string_view word_of(Field const& field);

  YamlNode const& node(std::size_t index) const { return nodes_[index]; }
  SourcePosition position_of(YamlNode const& place) const { return {file_, place.line, place.column}; }
  void refuse(YamlNode const& place, std::string text);
  // A value that was left out has no place of its own.
  static YamlNode const& place_of(Field const& field) {
    return field.value->kind == YamlKind::kNull && field.value->text.empty() ? *field.key : *field.value;
  }

  std::vector<YamlNode> const& nodes_;
  std::string file_;
  std::string name_;  // of the migration
  std::vector<Problem> problems_;
};

bool MigrationReader::is_mirror(Field const& sync) const {
  auto const& map = *sync.value;
  if (map.kind != YamlKind::kMap) return false;
  for (std::size_t index = 0; index + 1 < map.children.size(); index += 2) {
    if (node(map.children[index]).text == "mirror") return true;
  }
  return false;
}

void MigrationReader::refuse(YamlNode const& place, std::string text) {
  if (problems_.size() < kMaxProblems) problems_.push_back({position_of(place), std::move(text)});
}

Migration MigrationReader::read() {
  Migration migration;
  migration.file = file_;
  auto const& root = nodes_.front();
  if (root.kind != YamlKind::kMap) {
    refuse(root, "a migration is a map of keys such as 'name:' and 'backfill:', not " + kind_name(root));
    return migration;
  }
  auto const fields = read_section(root, migration_section(), root);
  if (auto const* name = fields.find("name")) migration.name = read_name(*name, "a migration");
  name_ = migration.name;
  auto const* table = fields.find("table");
  if (table != nullptr) migration.table = read_table(*table);
  // A table that is there but wrong is one problem, not one more a step.
  bool const has_table = fields.is_given_or_meant("table");
  auto const steps_table = migration.table || !has_table ? migration.table : TableName{};
  migration.expand = read_steps(fields, "expand", steps_table);
  migration.sync = read_sync(fields, migration.name, steps_table);
  if (auto const* backfill = fields.find("backfill")) {
    migration.backfill = read_backfill(*backfill, migration.table, has_table);
  }
  check_sync_beside_backfill(fields, migration);
  read_mirror(fields, migration);
  migration.verify = read_checks(fields, steps_table);
  migration.writers_gone = read_writers(fields);
  migration.contract = read_steps(fields, "contract", steps_table);
  if (auto const problem = swap_problem(migration)) problems_.push_back(*problem);
  check_swaps(fields, migration);
  migration.hooks = read_hooks(fields);
  if (auto const* throttle = fields.find("throttle")) migration.throttle = read_throttle(*throttle);
  migration.probes = read_probes(fields);
  migration.windows = read_windows(fields, "windows");
  migration.blackout = read_windows(fields, "blackout");
  return migration;
}

// `position` is where a missing key is reported.
Fields MigrationReader::read_section(YamlNode const& map, Section const& section, YamlNode const& position) {
  assert(map.kind == YamlKind::kMap);
  check_duplicates(map);
  Fields fields;
  for (std::size_t index = 0; index + 1 < map.children.size(); index += 2) {
    read_key(node(map.children[index]), node(map.children[index + 1]), section, fields);
  }
  check_relations(fields, section, position);
  check_alternatives(fields, section, position);
  return fields;
}

std::optional<Fields> MigrationReader::read_map(Field const& field) {
  assert(field.rule->section != nullptr);
  if (field.value->kind == YamlKind::kMap) return read_section(*field.value, *field.rule->section, *field.key);
  refuse(place_of(field), "'" + std::string{field.rule->key} + "' must be a map, not " + kind_name(*field.value) +
                              "; " + for_example(*field.rule));
  return std::nullopt;
}

void MigrationReader::read_key(YamlNode const& key, YamlNode const& value, Section const& section, Fields& fields) {
  auto const* rule = find_rule(section, key.text);
  if (rule == nullptr) return refuse_unknown_key(key, section, fields);
  Field const field{rule, &key, &value};
  if (rule->kind == ValueKind::kUnsupported) refuse_unsupported(field, section, fields);
  // Of a key that is there twice, which is a problem already, the first is looked at.
  if (fields.find(rule->key) == nullptr) fields.add(field);
}

void MigrationReader::refuse_unknown_key(YamlNode const& key, Section const& section, Fields& fields) {
  if (key.kind == YamlKind::kList || key.kind == YamlKind::kMap) {
    return refuse(key, "a key must be a word, not " + kind_name(key) + " (text in braces or brackets needs quotes)");
  }
  auto const keys = known_keys(section);
  fields.add_meant(nearest_word(key.text, keys));
  auto hint = did_you_mean(key.text, keys);
  if (hint.empty() && find_rule(migration_section(), key.text) != nullptr)
    hint = " (it belongs at the top of the file)";
  if (auto const home = home_of(key.text, migration_section()); hint.empty() && !home.empty()) {
    hint = " (it belongs under '" + std::string{home} + "')";
  }
  refuse(key, "unknown key " + quoted(key.text) + hint);
}

void MigrationReader::refuse_unsupported(Field const& field, Section const& section, Fields& fields) {
  auto const key = "`" + std::string{field.rule->key} + ":`";
  if (find_rule(section, "sql") != nullptr) {
    fields.add_meant("sql");
    return refuse(*field.key,
                  key + " is not supported by this version; write for example sql: " + std::string{field.rule->doc});
  }
  refuse(*field.key, key + " is not supported by this version; " + std::string{field.rule->doc});
}

void MigrationReader::check_relations(Fields const& fields, Section const& section, YamlNode const& position) {
  auto const title = section.name.empty() ? std::string{} : " in '" + std::string{section.name} + "'";
  for (auto const& rule : section.keys) {
    if (rule.is_required && !fields.is_given_or_meant(rule.key)) {
      refuse(position, "'" + std::string{rule.key} + "' is missing" + title + "; " + for_example(rule));
    }
    auto const* field = fields.find(rule.key);
    if (field == nullptr) continue;
    if (!rule.needs.empty() && !fields.is_given_or_meant(rule.needs)) {
      refuse(*field->key, "'" + std::string{rule.key} + "' needs '" + std::string{rule.needs} + "' beside it; " +
                              for_example(*find_rule(section, rule.needs)));
    }
    if (!rule.excludes.empty() && fields.find(rule.excludes) != nullptr) {
      refuse(*field->key, "'" + std::string{rule.key} + "' cannot stand beside '" + std::string{rule.excludes} + "'; " +
                              std::string{rule.excludes_hint});
    }
  }
}

void MigrationReader::check_alternatives(Fields const& fields, Section const& section, YamlNode const& position) {
  if (section.one_of.empty()) return;
  auto const rule_text =
      "exactly one of " + quoted_list(section.one_of) + " must be in '" + std::string{section.name} + "'";
  Field const* first = nullptr;
  bool is_one_meant = false;
  for (auto const key : section.one_of) {
    is_one_meant = is_one_meant || fields.is_given_or_meant(key);
    auto const* field = fields.find(key);
    if (field == nullptr) continue;
    if (first != nullptr) {
      refuse(*field->key, quoted(key) + " cannot stand beside " + quoted(first->rule->key) + ": " + rule_text);
    } else {
      first = field;
    }
  }
  // 'columns' without 'copy_to' has been reported as that.
  if (!is_one_meant && fields.find("columns") == nullptr) refuse(position, rule_text);
}

void MigrationReader::check_duplicates(YamlNode const& map) {
  std::map<std::string_view, int> first_lines;
  for (std::size_t index = 0; index < map.children.size(); index += 2) {
    auto const& key = node(map.children[index]);
    if (key.kind == YamlKind::kList || key.kind == YamlKind::kMap) continue;
    auto const [first, is_new] = first_lines.emplace(key.text, key.line);
    if (!is_new) {
      refuse(key, "duplicate key " + quoted(key.text) + ", first given in line " + std::to_string(first->second));
    }
  }
}

Backfill MigrationReader::read_backfill(Field const& field, std::optional<TableName> const& default_table,
                                        bool has_default_table) {
  Backfill backfill;
  backfill.position = position_of(*field.key);
  auto const fields = read_map(field);
  if (!fields) return backfill;
  if (auto const* table = fields->find("table")) {
    backfill.table = read_table(*table).value_or(TableName{});
  } else if (default_table) {
    backfill.table = *default_table;
  } else if (!has_default_table) {
    refuse(*field.key, "the backfill has no table; write 'table:' here or at the top, for example table: public.users");
  }
  read_work(*fields, backfill);
  if (auto const* where = fields->find("where")) {
    backfill.where = read_expression(*where);
    backfill.where_position = position_of(*where->value);
  }
  if (auto const workers = read_count(*fields, "workers")) backfill.workers = static_cast<int>(*workers);
  read_batch(*fields, backfill.batch);
  if (read_word(*fields, "commit") == "sync") backfill.commit = CommitMode::kSync;
  if (read_word(*fields, "triggers") == "skip") backfill.triggers = TriggerMode::kSkip;
  backfill.quarantine_budget = read_bad_row(*fields);
  return backfill;
}

void MigrationReader::read_work(Fields const& fields, Backfill& backfill) {
  if (auto const* set = fields.find("set")) {
    backfill.kind = WorkKind::kUpdate;
    backfill.assignments = read_assignments(*set);
  }
  if (auto const* sql = fields.find("sql")) {
    backfill.kind = WorkKind::kSql;
    backfill.sql = read_statement(*sql);
    backfill.sql_position = position_of(*sql->value);
  }
  if (auto const* copy_to = fields.find("copy_to")) {
    backfill.kind = WorkKind::kCopy;
    backfill.copy_to = read_table(*copy_to).value_or(TableName{});
  }
  if (auto const* columns = fields.find("columns")) {
    // Read also beside a 'set' that has been refused already, for the problems in it.
    auto assignments = read_assignments(*columns);
    if (backfill.kind == WorkKind::kCopy) backfill.assignments = std::move(assignments);
  }
  if (auto const* remove = fields.find("delete")) {
    backfill.kind = WorkKind::kDelete;
    if (is_scalar(*remove) && remove->value->text != "true") {
      refuse(*remove->value, "'delete' can only be true; leave the key out to delete nothing");
    }
  }
}

void MigrationReader::read_batch(Fields const& fields, BatchOptions& batch) {
  auto const* field = fields.find("batch");
  if (field == nullptr) return;
  auto const batch_fields = read_map(*field);
  if (!batch_fields) return;
  if (auto const target = read_duration(*batch_fields, "target")) batch.target = *target;
  auto const min_rows = read_count(*batch_fields, "min_rows");
  auto const max_rows = read_count(*batch_fields, "max_rows");
  if (min_rows && max_rows && *min_rows > *max_rows) {
    refuse(*batch_fields->find("min_rows")->value,
           "min_rows " + std::to_string(*min_rows) + " is more than max_rows " + std::to_string(*max_rows));
    return;
  }
  // A bound that stands alone moves the other one's default, never the other way round.
  batch.max_rows = max_rows.value_or(std::max(batch.max_rows, min_rows.value_or(0)));
  batch.min_rows = min_rows.value_or(std::min(batch.min_rows, batch.max_rows));
}

std::int64_t MigrationReader::read_bad_row(Fields const& fields) {
  auto const* field = fields.find("on_bad_row");
  if (field == nullptr) return 0;
  if (field->value->kind == YamlKind::kMap) {
    auto const bad_row = read_map(*field);
    return read_count(*bad_row, "quarantine").value_or(0);
  }
  if (is_scalar(*field)) word_of(*field);
  return 0;
}

ThrottleOptions MigrationReader::read_throttle(Field const& field) {
  ThrottleOptions throttle;
  throttle.position = position_of(*field.key);
  auto const fields = read_map(field);
  if (!fields) return throttle;
  for (auto const& rule : throttle_settings()) {
    auto const* setting = fields->find(rule.name);
    if (setting == nullptr) continue;
    auto text = read_setting(*setting, rule);
    if (!text) continue;
    throttle.settings.push_back({position_of(*setting->value), std::string{rule.name}, std::move(*text)});
  }
  std::map<std::string, std::string> said;
  for (auto const& setting : throttle.settings) said[setting.name] = setting.text;
  for (auto const& conflict : setting_conflicts(said)) {
    auto const* place = fields->find(conflict.name);
    if (place == nullptr) place = fields->find(conflict.other);
    refuse(*place->value, conflict.text);
  }
  return throttle;
}

std::optional<std::string> MigrationReader::read_setting(Field const& field, SettingRule const& rule) {
  bool const is_list = rule.kind == SettingKind::kNames && field.value->kind == YamlKind::kList;
  std::string text = field.value->text;
  if (is_list) {
    auto const names = read_list_of_names(field);
    if (!names) return std::nullopt;
    text = *names;
  } else if (!is_scalar(field)) {
    return std::nullopt;
  }
  auto const parsed = parse_setting(rule, text);
  if (parsed.value) return text;
  refuse(*field.value, quoted(std::string{rule.name} + ": " + text) + " " + parsed.problem);
  return std::nullopt;
}

// As one text with commas, the form of live settings.
std::optional<std::string> MigrationReader::read_list_of_names(Field const& field) {
  std::string names;
  for (auto const index : field.value->children) {
    auto const& item = node(index);
    bool const is_name = item.kind == YamlKind::kScalar && !is_blank(item.text);
    if (!is_name || item.text.find(',') != std::string::npos) {
      refuse(item, "a name of '" + std::string{field.rule->key} + "' must be a text without a comma; " +
                       for_example(*field.rule));
      return std::nullopt;
    }
    names += (names.empty() ? "" : ", ") + item.text;
  }
  return names;
}

std::vector<ProbeOptions> MigrationReader::read_probes(Fields const& fields) {
  std::vector<ProbeOptions> probes;
  auto const* field = fields.find("probes");
  if (field == nullptr) return probes;
  if (field->value->kind != YamlKind::kList) {
    refuse(place_of(*field),
           "'probes' must be a list of maps, not " + kind_name(*field->value) + "; " + for_example(*field->rule));
    return probes;
  }
  for (auto const index : field->value->children) {
    auto const& item = node(index);
    if (item.kind != YamlKind::kMap) {
      refuse(item, "a probe must be a map, not " + kind_name(item) + "; " + for_example(*field->rule));
      continue;
    }
    auto probe = read_probe(item, *field->rule->section);
    bool const is_known = std::any_of(probes.begin(), probes.end(), [&](ProbeOptions const& other) {
      return !probe.name.empty() && other.name == probe.name;
    });
    if (is_known) refuse(item, "there is a probe " + quoted(probe.name) + " already; give this one a name of its own");
    probes.push_back(std::move(probe));
  }
  if (probes.size() > kMaxProbes) {
    refuse(*field->value, "there are more than " + std::to_string(kMaxProbes) + " probes");
  }
  return probes;
}

ProbeOptions MigrationReader::read_probe(YamlNode const& item, Section const& section) {
  ProbeOptions probe;
  probe.position = position_of(item);
  auto const fields = read_section(item, section, item);
  if (auto const* name = fields.find("name")) probe.name = read_name(*name, "a probe");
  if (auto const* sql = fields.find("sql")) {
    probe.sql = read_statement(*sql);
    if (!probe.sql.empty()) refuse_semicolon(*sql->value, "the query");
    probe.sql_position = position_of(*sql->value);
  }
  if (auto const* url = fields.find("url")) probe.url = read_url(*url);
  if (auto const* query = fields.find("query")) {
    if (is_scalar(*query)) probe.query = query->value->text;
    if (fields.find("sql") != nullptr) refuse(*query->key, "'query' is for a Prometheus server, with 'url'");
  }
  probe.max = read_number(fields, "max");
  bool const has_number = fields.is_given_or_meant("sql") || fields.is_given_or_meant("query");
  if (auto const* max = fields.find("max"); max != nullptr && !has_number) {
    refuse(*max->key, "'max' needs a number to compare: 'sql', or 'query' beside 'url'; a url alone has to answer 200");
  }
  if (auto const interval = read_duration(fields, "interval")) probe.interval = *interval;
  if (auto const timeout = read_duration(fields, "timeout")) probe.timeout = *timeout;
  if (probe.timeout > probe.interval) {
    refuse(item,
           "timeout " + format_duration(probe.timeout) + " is more than interval " + format_duration(probe.interval));
  }
  return probe;
}

std::vector<SchemaStep> MigrationReader::read_steps(Fields const& fields, std::string_view key,
                                                    std::optional<TableName> const& default_table) {
  std::vector<SchemaStep> steps;
  auto const* field = fields.find(key);
  if (field == nullptr) return steps;
  if (field->value->kind != YamlKind::kList) {
    refuse(place_of(*field), "'" + std::string{key} + "' must be a list of steps, not " + kind_name(*field->value) +
                                 "; " + for_example(*field->rule));
    return steps;
  }
  for (auto const item : field->value->children) {
    if (auto step = read_step(node(item), *field->rule, default_table)) steps.push_back(std::move(*step));
  }
  return steps;
}

std::optional<SchemaStep> MigrationReader::read_step(YamlNode const& item, KeyRule const& rule,
                                                     std::optional<TableName> const& default_table) {
  if (item.kind != YamlKind::kMap) {
    refuse(item, "a step must be a map, not " + kind_name(item) +
                     "; for example - sql: " + std::string{find_rule(*rule.section, "sql")->example});
    return std::nullopt;
  }
  auto const fields = read_section(item, *rule.section, item);
  for (auto const word : rule.section->one_of) {
    auto const* field = fields.find(word);
    if (field == nullptr) continue;
    StepValues step{word, position_of(*field->key), {}, default_table, name_};
    if (word == "sql") {
      step.position = position_of(*field->value);
      step.values.push_back(read_step_value(*field));
    } else {
      read_step_values(*field, step);
    }
    if (auto const* down = fields.find("down")) step.values.push_back(read_step_value(*down));
    return make_step(step, problems_);
  }
  return std::nullopt;
}

// The keys of a step's map, or the one that a plain text stands for.
void MigrationReader::read_step_values(Field const& field, StepValues& step) {
  auto const& section = *field.rule->section;
  bool const is_short = !field.rule->shorthand.empty() && field.value->kind == YamlKind::kScalar;
  if (is_short) {
    Field const meant{find_rule(section, field.rule->shorthand), field.key, field.value};
    step.values.push_back(read_step_value(meant));
    return;
  }
  auto const fields = read_map(field);
  if (!fields) {
    step.default_table = TableName{};
    return;
  }
  for (auto const& rule : section.keys) {
    if (auto const* value = fields->find(rule.key)) step.values.push_back(read_step_value(*value));
  }
}

StepValue MigrationReader::read_step_value(Field const& field) {
  StepValue value{field.rule->key, position_of(*field.value), {}, {}, {}};
  switch (field.rule->kind) {
    case ValueKind::kTable:
      value.table = read_table(field).value_or(TableName{});
      break;
    case ValueKind::kColumns:
      value.items = read_columns(field);
      break;
    case ValueKind::kFlag:
      value.text = read_flag(field);
      break;
    case ValueKind::kWord:
      if (is_scalar(field)) value.text = word_of(field);
      break;
    case ValueKind::kIdentifier:
      value.text = read_identifier(field);
      break;
    case ValueKind::kStatement:
      value.text = read_statement(field);
      break;
    default:
      value.text = read_expression(field);
  }
  return value;
}

std::vector<ColumnExpression> MigrationReader::read_column_expressions(Fields const& fields, std::string_view key) {
  std::vector<ColumnExpression> columns;
  auto const* field = fields.find(key);
  if (field == nullptr) return columns;
  for (auto& one : read_assignments(*field)) columns.push_back({one.column, std::move(one.expression), one.position});
  return columns;
}

void MigrationReader::check_sync_beside_backfill(Fields const& fields, Migration const& migration) {
  if (!migration.sync || !migration.backfill) return;
  bool const has_reverse = !std::get<InstallSync>(migration.sync->install.detail->kind).reverse.empty();
  bool const takes_all = migration.backfill->kind == WorkKind::kUpdate && migration.backfill->where.empty();
  if (!has_reverse || !takes_all) return;
  refuse(*fields.find("backfill")->key,
         "beside 'reverse' a backfill needs a 'where' that spares the rows that the new version of the application "
         "wrote, for example where: display_name IS NULL");
}

std::optional<Sync> MigrationReader::read_sync(Fields const& fields, std::string const& migration,
                                               std::optional<TableName> const& default_table) {
  auto const* field = fields.find("sync");
  if (field == nullptr) return std::nullopt;
  if (is_mirror(*field)) return std::nullopt;
  auto const of_sync = read_map(*field);
  if (!of_sync) return std::nullopt;
  InstallSync install;
  install.migration = migration;
  install.set = read_column_expressions(*of_sync, "set");
  install.reverse = read_column_expressions(*of_sync, "reverse");
  if (auto const* table = of_sync->find("table")) {
    install.table = read_table(*table).value_or(TableName{});
  } else if (default_table) {
    install.table = *default_table;
  } else if (!of_sync->is_given_or_meant("table")) {
    refuse(*field->key,
           "'sync' has no table; write 'table:' in it or at the top of the file, for example table: "
           "public.users");
  }
  return make_sync(install, position_of(*field->key));
}

std::vector<Check> MigrationReader::read_checks(Fields const& fields, std::optional<TableName> const& default_table) {
  std::vector<Check> checks;
  auto const* field = fields.find("verify");
  if (field == nullptr) return checks;
  if (field->value->kind != YamlKind::kList) {
    refuse(place_of(*field),
           "'verify' must be a list of checks, not " + kind_name(*field->value) + "; " + for_example(*field->rule));
    return checks;
  }
  for (auto const item : field->value->children) {
    if (auto check = read_check(node(item), *field->rule->section, default_table)) checks.push_back(std::move(*check));
  }
  if (checks.size() > kMaxChecks) {
    refuse(*field->value, "there are more than " + std::to_string(kMaxChecks) + " checks");
  }
  return checks;
}

std::optional<Check> MigrationReader::read_check(YamlNode const& item, Section const& section,
                                                 std::optional<TableName> const& default_table) {
  if (item.kind != YamlKind::kMap) {
    refuse(item, "a check must be a map, not " + kind_name(item) +
                     "; for example - zero: " + std::string{find_rule(section, "zero")->example});
    return std::nullopt;
  }
  auto const fields = read_section(item, section, item);
  for (auto const word : section.one_of) {
    auto const* field = fields.find(word);
    if (field == nullptr) continue;
    StepValues values{word, position_of(*field->key), {}, default_table};
    Check check;
    if (word == "agrees") {
      check.position = values.position;
      check.kind = read_agrees(*field, default_table);
    } else {
      if (word == "zero") {
        values.values.push_back(read_step_value(*field));
        if (!values.values.front().text.empty()) refuse_semicolon(*field->value, "the query");
      } else {
        read_step_values(*field, values);
      }
      check = make_check(values, problems_);
    }
    if (auto const timeout = read_duration(fields, "timeout")) check.timeout = *timeout;
    return check;
  }
  return std::nullopt;
}

AgreesCheck MigrationReader::read_agrees(Field const& field, std::optional<TableName> const& default_table) {
  AgreesCheck check;
  auto const fields = read_map(field);
  if (!fields) return check;
  if (auto const* table = fields->find("table")) {
    check.table = read_table(*table).value_or(TableName{});
  } else if (default_table) {
    check.table = *default_table;
  } else {
    refuse(*field.key,
           "'agrees' has no table; write 'table:' in it or at the top of the file, for example table: "
           "public.users");
  }
  for (auto& one : read_column_expressions(*fields, "set")) {
    check.set.push_back({one.position, one.column, std::move(one.expression)});
  }
  if (auto const* where = fields->find("where")) {
    check.where = read_expression(*where);
    check.where_position = position_of(*where->value);
  }
  return check;
}

std::vector<Hook> MigrationReader::read_hooks(Fields const& fields) {
  std::vector<Hook> hooks;
  for (std::string_view const side : {"before", "after"}) {
    auto const* field = fields.find(side);
    if (field == nullptr) continue;
    auto const phases = read_map(*field);
    if (!phases) continue;
    for (auto const& place : kHookPlaces) {
      auto const* listed = place.side == side ? phases->find(place.phase) : nullptr;
      if (listed == nullptr) continue;
      bool const has_phase = place.boundary == Boundary::kBackup || place.boundary == Boundary::kBeforeRollback ||
                             place.boundary == Boundary::kAfterRollback || fields.is_given_or_meant(place.phase);
      if (!has_phase) {
        refuse(*listed->key, "there is no '" + std::string{place.phase} + "' in this file for hooks " +
                                 std::string{place.side} + " it; write them beside another phase, or leave them out");
      }
      read_hooks_at(*listed, place.boundary, hooks);
    }
  }
  if (hooks.size() > kMaxHooks) {
    refuse(nodes_.front(), "there are more than " + std::to_string(kMaxHooks) + " hooks");
  }
  return hooks;
}

void MigrationReader::read_hooks_at(Field const& field, Boundary boundary, std::vector<Hook>& hooks) {
  if (boundary == Boundary::kBackup) {
    auto const fields = read_map(field);
    if (fields) hooks.push_back(read_backup(*fields, position_of(*field.key)));
    return;
  }
  if (field.value->kind != YamlKind::kList) {
    return refuse(place_of(field), "'" + std::string{field.rule->key} + "' must be a list of hooks, not " +
                                       kind_name(*field.value) + "; " + for_example(*field.rule));
  }
  for (auto const index : field.value->children) {
    auto const& item = node(index);
    if (item.kind == YamlKind::kMap) {
      hooks.push_back(read_hook(item, *field.rule->section, boundary));
    } else {
      refuse(item, "a hook must be a map, not " + kind_name(item) + "; " + for_example(*field.rule));
    }
  }
}

Hook MigrationReader::read_hook(YamlNode const& item, Section const& section, Boundary boundary) {
  Hook hook;
  hook.position = position_of(item);
  hook.boundary = boundary;
  auto const fields = read_section(item, section, item);
  if (auto const* command = fields.find("command"); command != nullptr && is_scalar(*command)) {
    hook.what = command->value->text;
  }
  if (auto const* url = fields.find("http")) {
    hook.kind = HookKind::kHttp;
    hook.what = read_url(*url);
  }
  if (auto const timeout = read_duration(fields, "timeout")) hook.timeout = *timeout;
  if (auto const* expect = fields.find("expect"); expect != nullptr && is_scalar(*expect)) {
    hook.expect = expect->value->text;
  }
  if (auto const status = read_count(fields, "status")) hook.status = static_cast<int>(*status);
  if (auto const* repeat = fields.find("repeat")) hook.repeats = read_flag(*repeat) == "true";
  return hook;
}

Hook MigrationReader::read_backup(Fields const& fields, SourcePosition position) {
  Hook hook;
  hook.position = std::move(position);
  hook.boundary = Boundary::kBackup;
  hook.timeout = read_duration(fields, "timeout").value_or(kBackupTimeout);
  if (auto const* command = fields.find("command"); command != nullptr && is_scalar(*command)) {
    hook.what = command->value->text;
  }
  if (auto const* dump = fields.find("pg_dump"); dump != nullptr && is_scalar(*dump)) {
    hook.kind = HookKind::kPgDump;
    hook.what = dump->value->text;
  }
  auto const* tables = fields.find("tables");
  if (tables == nullptr) return hook;
  if (tables->value->kind != YamlKind::kList || tables->value->children.empty()) {
    refuse(place_of(*tables),
           "'tables' must be a list of tables, not " + kind_name(*tables->value) + "; " + for_example(*tables->rule));
    return hook;
  }
  for (auto const index : tables->value->children) {
    auto parsed = parse_table_name(node(index).text);
    if (!parsed.problem.empty()) refuse(node(index), quoted(node(index).text) + ": " + parsed.problem);
    hook.tables.push_back(std::move(parsed.table));
  }
  return hook;
}

void MigrationReader::check_swaps(Fields const& fields, Migration const& migration) {
  if (std::any_of(migration.expand.begin(), migration.expand.end(), is_table_swap)) {
    refuse(*fields.find("expand")->key, "'swap' belongs to 'contract', behind the gate");
  }
  auto const count = std::count_if(migration.contract.begin(), migration.contract.end(), is_table_swap);
  if (count > 1) refuse(*fields.find("contract")->key, "there is more than one 'swap'");
  auto const found = std::find_if(migration.contract.begin(), migration.contract.end(), is_table_swap);
  if (found == migration.contract.end()) return;
  auto const& swap = std::get<Swap>(found->detail->kind);
  auto const is_same = [](TableName const& one, TableName const& other) {
    return one.schema == other.schema && one.name == other.name;
  };
  bool const is_mirrored = migration.backfill && !migration.backfill->mirror_key.empty() &&
                           is_same(swap.table, migration.backfill->table) &&
                           is_same(swap.with, migration.backfill->copy_to);
  if (is_mirrored || problems_.size() >= kMaxProblems) return;
  problems_.push_back({found->position,
                       "'swap' needs 'sync: {mirror: [...]}' and a backfill with 'copy_to' of just these two tables: "
                       "else what is written meanwhile would be lost"});
}

// What it carries is what the backfill copies.
void MigrationReader::read_mirror(Fields const& fields, Migration& migration) {
  auto const* field = fields.find("sync");
  if (field == nullptr || !is_mirror(*field)) return;
  auto const of_sync = read_map(*field);
  auto const* mirror = of_sync->find("mirror");
  if (mirror == nullptr) return;
  auto key = read_columns(*mirror);
  auto const* table = of_sync->find("table");
  auto const named = table == nullptr ? std::nullopt : read_table(*table);
  bool const is_copy = migration.backfill && migration.backfill->kind == WorkKind::kCopy;
  if (!is_copy)
    return refuse(*mirror->key, "'mirror' carries on what a backfill copies; it needs 'copy_to' in 'backfill'");
  auto& backfill = *migration.backfill;
  bool const is_other = named && (named->schema != backfill.table.schema || named->name != backfill.table.name);
  if (is_other) return refuse(*table->value, "'mirror' is for the table of the backfill; leave 'table' out");
  InstallMirror install;
  install.table = backfill.table;
  install.migration = migration.name;
  install.to = backfill.copy_to;
  install.where = backfill.where;
  install.key = std::move(key);
  for (auto const& one : backfill.assignments) install.columns.push_back({one.column, one.expression, one.position});
  for (auto const& column : install.key) {
    bool const is_copied = std::any_of(install.columns.begin(), install.columns.end(),
                                       [&](ColumnExpression const& one) { return one.column == column; });
    if (!is_copied) refuse(*mirror->value, "column '" + column + "' is not in 'columns' of the backfill");
  }
  backfill.mirror_key = install.key;
  migration.sync = make_mirror(install, position_of(*field->key));
}

std::vector<WriterName> MigrationReader::read_writers(Fields const& fields) {
  std::vector<WriterName> writers;
  auto const* field = fields.find("writers_gone");
  if (field == nullptr) return writers;
  if (field->value->kind != YamlKind::kList) {
    refuse(place_of(*field), "'writers_gone' must be a list of texts, not " + kind_name(*field->value) + "; " +
                                 for_example(*field->rule));
    return writers;
  }
  if (field->value->children.empty()) refuse(*field->value, "'writers_gone' is empty; leave the key out");
  for (auto const index : field->value->children) {
    auto const& item = node(index);
    if (item.kind != YamlKind::kScalar || is_blank(item.text)) {
      refuse(item, "an application must be a name such as billing-api, or \"billing-*\"");
    } else if (auto const problem = problem_of_writer(item.text)) {
      refuse(item, quoted(item.text) + " " + *problem);
    } else {
      writers.push_back(make_writer(position_of(item), item.text));
    }
  }
  if (writers.size() > kMaxWriters) {
    refuse(*field->value, "there are more than " + std::to_string(kMaxWriters) + " applications");
  }
  return writers;
}

std::vector<WindowText> MigrationReader::read_windows(Fields const& fields, std::string_view key) {
  std::vector<WindowText> windows;
  auto const* field = fields.find(key);
  if (field == nullptr) return windows;
  if (field->value->kind != YamlKind::kList) {
    refuse(place_of(*field), quoted(key) + " must be a list of texts, not " + kind_name(*field->value) + "; " +
                                 for_example(*field->rule));
    return windows;
  }
  if (field->value->children.empty()) {
    refuse(*field->value, quoted(key) + " is empty; leave the key out" +
                              (key == "windows" ? " to run at any time" : " if there is none"));
  }
  for (auto const index : field->value->children) {
    auto const& item = node(index);
    if (item.kind != YamlKind::kScalar || is_blank(item.text)) {
      refuse(item, "a window must be a text such as \"Mon-Fri 22:00-06:00 Europe/Berlin\"");
    } else {
      windows.push_back({position_of(item), item.text});
    }
  }
  return windows;
}

bool MigrationReader::is_scalar(Field const& field) {
  if (field.value->kind == YamlKind::kScalar && !is_blank(field.value->text)) return true;
  auto const found = field.value->kind == YamlKind::kScalar ? "nothing" : kind_name(*field.value);
  refuse(place_of(field), "'" + std::string{field.rule->key} + "' must be a single value, not " + found + "; " +
                              for_example(*field.rule));
  return false;
}

std::string MigrationReader::read_name(Field const& field, std::string_view of_what) {
  if (!is_scalar(field)) return {};
  if (is_migration_name(field.value->text)) return field.value->text;
  refuse(*field.value, quoted(field.value->text) + " cannot be the name of " + std::string{of_what} +
                           "; use 1 to 63 letters, digits, '_', '-' and '.', beginning "
                           "with a letter, a digit or '_'");
  return {};
}

std::optional<TableName> MigrationReader::read_table(Field const& field) {
  if (field.value->kind == YamlKind::kMap) {
    auto const fields = read_map(field);
    TableName table;
    if (auto const* schema = fields->find("schema")) table.schema = read_identifier(*schema);
    if (auto const* name = fields->find("name")) table.name = read_identifier(*name);
    return table;
  }
  if (!is_scalar(field)) return std::nullopt;
  auto parsed = parse_table_name(field.value->text);
  if (parsed.problem.empty()) return std::move(parsed.table);
  refuse(*field.value, as_written(field) + ": " + parsed.problem + R"(; write it as in SQL, for example )" +
                           std::string{field.rule->key} + R"(: '"My.Schema"."odd name"')");
  return std::nullopt;
}

std::string MigrationReader::read_identifier(Field const& field) {
  if (!is_scalar(field)) return {};
  if (field.value->text.size() <= kMaxIdentifierBytes) return field.value->text;
  refuse(*field.value, quoted(field.value->text) + " is too long; a name has at most 63 bytes in PostgreSQL");
  return {};
}

std::string MigrationReader::read_statement(Field const& field) {
  auto sql = read_sql(*field.value, *field.key, field.rule->example);
  if (field.rule->kind != ValueKind::kBatchStatement || sql.empty()) return sql;
  refuse_semicolon(*field.value, "the statement");
  switch (placeholder_use(sql)) {
    case PlaceholderUse::kOnce:
      if (auto const wrong = misplaced_batch(sql)) refuse(*field.value, *wrong);
      break;
    case PlaceholderUse::kNone:
      refuse(*field.value,
             "the statement needs {batch} or {batch:alias} where the condition for the rows of a batch belongs; " +
                 for_example(*field.rule));
      break;
    case PlaceholderUse::kSeveral:
      refuse(*field.value, "the statement has {batch} more than once; it may stand for the rows of one batch only");
      break;
    case PlaceholderUse::kMalformed:
      refuse(*field.value,
             "'{batch' can only begin {batch} or {batch:alias}, with a plain identifier as the alias, for "
             "example {batch:o}");
      break;
  }
  return sql;
}

std::string MigrationReader::read_expression(Field const& field) {
  auto sql = read_sql(*field.value, *field.key, field.rule->example);
  if (!sql.empty()) refuse_semicolon(*field.value, "the expression");
  return sql;
}

std::vector<Assignment> MigrationReader::read_assignments(Field const& field) {
  std::vector<Assignment> assignments;
  if (field.value->kind != YamlKind::kMap || field.value->children.empty()) {
    refuse(place_of(field), "'" + std::string{field.rule->key} +
                                "' must be a map of columns and SQL expressions, not " +
                                (field.value->kind == YamlKind::kMap ? "an empty one" : kind_name(*field.value)) +
                                "; " + for_example(*field.rule));
    return assignments;
  }
  check_duplicates(*field.value);
  for (std::size_t index = 0; index + 1 < field.value->children.size(); index += 2) {
    auto const& column = node(field.value->children[index]);
    auto const& value = node(field.value->children[index + 1]);
    bool const is_word = column.kind == YamlKind::kScalar || column.kind == YamlKind::kNull;
    if (!is_word || column.text.empty() || column.text.size() > kMaxIdentifierBytes) {
      refuse(column, "a column must be a name of 1 to 63 bytes; " + for_example(*field.rule));
      continue;
    }
    auto sql = value.kind == YamlKind::kNull && !value.text.empty() ? "null" : read_sql(value, column, "upper(name)");
    if (!sql.empty()) refuse_semicolon(value, "the expression");
    assignments.push_back({position_of(value), column.text, std::move(sql)});
  }
  return assignments;
}

std::vector<std::string> MigrationReader::read_columns(Field const& field) {
  std::vector<std::string> columns;
  if (field.value->kind != YamlKind::kList || field.value->children.empty()) {
    refuse(place_of(field), "'" + std::string{field.rule->key} + "' must be a list of columns, not " +
                                (field.value->kind == YamlKind::kList ? "an empty one" : kind_name(*field.value)) +
                                "; " + for_example(*field.rule));
    return columns;
  }
  for (auto const index : field.value->children) {
    auto const& item = node(index);
    bool const is_name = item.kind == YamlKind::kScalar && !item.text.empty() && item.text.size() <= kMaxNameBytes;
    if (is_name) {
      columns.push_back(item.text);
    } else {
      refuse(item, "a column must be a name of 1 to 63 bytes; " + for_example(*field.rule));
    }
  }
  return columns;
}

std::string MigrationReader::read_flag(Field const& field) {
  if (!is_scalar(field)) return {};
  if (field.value->text == "true" || field.value->text == "false") return field.value->text;
  refuse(*field.value, as_written(field) + " must be true or false");
  return {};
}

std::string MigrationReader::read_sql(YamlNode const& value, YamlNode const& key, std::string_view example) {
  auto const hint = "; for example " + shortened(key.text) + ": \"" + std::string{example} + "\"";
  if (value.kind == YamlKind::kList || value.kind == YamlKind::kMap) {
    refuse(value, quoted(key.text) + " must be SQL text, not " + kind_name(value) +
                      " (text that begins with a bracket or a brace needs quotes)" + hint);
    return {};
  }
  if (value.kind == YamlKind::kNull || is_blank(value.text)) {
    refuse(value.text.empty() && value.kind == YamlKind::kNull ? key : value,
           quoted(key.text) + " has no SQL (in {...} a comma ends a text that is not in quotes)" + hint);
    return {};
  }
  if (value.is_cut_by_hash) {
    refuse(value, "what follows ' #' is read as a comment; put the SQL of " + quoted(key.text) +
                      " in quotes, or a space behind the # of a comment");
  }
  return value.text;
}

void MigrationReader::refuse_semicolon(YamlNode const& value, std::string_view what) {
  if (trimmed_right(value.text).ends_with(';')) {
    refuse(value,
           std::string{what} + " ends with a semicolon; leave it out, because it becomes a part of a longer statement");
  }
}

std::optional<std::int64_t> MigrationReader::read_count(Fields const& fields, std::string_view key) {
  auto const* field = fields.find(key);
  if (field == nullptr || !is_scalar(*field)) return std::nullopt;
  assert(field->rule->kind == ValueKind::kCount);
  auto const& rule = *field->rule;
  auto const parsed = parse_bounded_count(field->value->text, rule.min, rule.max, example_of(rule));
  if (parsed.value) return std::get<std::int64_t>(*parsed.value);
  refuse(*field->value, as_written(*field) + " " + parsed.problem);
  return std::nullopt;
}

std::optional<double> MigrationReader::read_number(Fields const& fields, std::string_view key) {
  auto const* field = fields.find(key);
  if (field == nullptr || !is_scalar(*field)) return std::nullopt;
  auto const& text = field->value->text;
  double number = 0;
  auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size() || !std::isfinite(number)) {
    refuse(*field->value, as_written(*field) + " is not a number; " + for_example(*field->rule));
    return std::nullopt;
  }
  if (number < static_cast<double>(field->rule->min) || number > static_cast<double>(field->rule->max)) {
    refuse(*field->value, as_written(*field) + " is out of bounds, which are " + std::to_string(field->rule->min) +
                              " and " + std::to_string(field->rule->max));
    return std::nullopt;
  }
  return number;
}

std::string MigrationReader::read_url(Field const& field) {
  if (!is_scalar(field)) return {};
  auto const& text = field.value->text;
  static constexpr std::string_view kScheme = "http://";
  bool const has_host = text.starts_with(kScheme) && text.size() > kScheme.size() && text[kScheme.size()] != '/';
  bool const is_plain = std::all_of(text.begin(), text.end(), [](unsigned char c) { return c > 0x20 && c < 0x7F; });
  if (has_host && is_plain) return text;
  std::string const why = text.starts_with("https://") ? " is https, which this version does not speak; "
                                                       : " is not a URL that begins with http://; ";
  refuse(*field.value, as_written(field) + why + for_example(*field.rule));
  return {};
}

std::optional<std::chrono::milliseconds> MigrationReader::read_duration(Fields const& fields, std::string_view key) {
  auto const* field = fields.find(key);
  if (field == nullptr || !is_scalar(*field)) return std::nullopt;
  assert(field->rule->kind == ValueKind::kDuration);
  auto const& rule = *field->rule;
  auto const parsed = parse_bounded_duration(field->value->text, rule.min, rule.max, example_of(rule));
  if (parsed.value) return std::chrono::milliseconds{std::get<std::int64_t>(*parsed.value)};
  refuse(*field->value, as_written(*field) + " " + parsed.problem);
  return std::nullopt;
}

std::string_view MigrationReader::read_word(Fields const& fields, std::string_view key) {
  auto const* field = fields.find(key);
  return field == nullptr || !is_scalar(*field) ? std::string_view{} : word_of(*field);
}

std::string_view MigrationReader::word_of(Field const& field) {
  assert(!field.rule->words.empty());
  auto const& words = field.rule->words;
  auto const found = std::find(words.begin(), words.end(), std::string_view{field.value->text});
  if (found != words.end()) return *found;
  auto const hint = did_you_mean(field.value->text, words);
  auto const other = field.rule->section == nullptr ? std::string{} : " or a map, " + for_example(*field.rule);
  refuse(*field.value, as_written(field) + " is not one of " + quoted_list(words) + other + hint);
  return {};
}

void sort_by_position(std::vector<Problem>& problems) {
  std::stable_sort(problems.begin(), problems.end(), [](Problem const& left, Problem const& right) {
    return std::tie(left.position.line, left.position.column) < std::tie(right.position.line, right.position.column);
  });
}

}  // namespace

ParsedMigration parse_migration(std::string_view text, std::string_view file_name) {
  auto const document = parse_yaml(text, file_name);
  if (document.problem) return {std::nullopt, {*document.problem}};
  MigrationReader reader{document, file_name};
  auto migration = reader.read();
  auto problems = reader.take_problems();
  sort_by_position(problems);
  if (!problems.empty()) return {std::nullopt, std::move(problems)};
  return {std::move(migration), {}};
}

std::string to_string(Problem const& problem) {
  auto const& position = problem.position;
  std::string text = position.file;
  if (position.line > 0) text += (text.empty() ? "line " : ":") + std::to_string(position.line);
  if (position.line > 0 && position.column > 0) text += ":" + std::to_string(position.column);
  return (text.empty() ? "" : text + ": ") + problem.text;
}

std::string to_lines(std::vector<Problem> const& problems) {
  std::string lines;
  for (auto const& problem : problems) lines += (lines.empty() ? "" : "\n") + to_string(problem);
  return lines;
}

}  // namespace pgbackfill::planner
