#include "tests/twin/twin_generator.h"

#include <fmt/format.h>

#include <algorithm>

namespace pgbackfill::tests {
namespace {

constexpr char const* kWorks[] = {"set",     "set",  "set",     "set",    "set",     "set",    "set",    "sql",
                                  "sql",     "copy", "copy",    "delete", "delete",  "sync",   "mirror", "recount",
                                  "changed", "move", "archive", "dedupe", "prepare", "compute"};
constexpr char const* kTableNames[] = {"items", "items", "items", "Odd \"Items\"", "été", "order", "a.b c"};
constexpr char const* kColumnNames[] = {"{}", "{}", "{}", "{}", "Col {}", "q\"{}", "né{}", "select{}"};

}  // namespace

std::string replace_all(std::string text, std::string const& from, std::string const& to) {
  for (auto at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

std::string quoted_name(std::string const& name) {
  return "\"" + replace_all(name, "\"", "\"\"") + "\"";
}

std::string yaml_text(std::string const& text) {
  std::string quoted = replace_all(text, "\\", "\\\\");
  quoted = replace_all(std::move(quoted), "\"", "\\\"");
  quoted = replace_all(std::move(quoted), "\n", "\\n");
  return "\"" + replace_all(std::move(quoted), "\t", "\\t") + "\"";
}

TwinCase make_twin_case(std::uint64_t seed, TwinServer const& server) {
  return TwinMaker(seed, server).make();
}

TwinMaker::TwinMaker(std::uint64_t seed, TwinServer const& server) : dice_(seed), server_(server) {
  twin_.seed = seed;
}

// --- the table -------------------------------------------------------------------------------------------------------

TwinCase TwinMaker::make() {
  work_ = dice_.pick(kWorks);
  twin_.work = work_;
  is_long_ = work_ == "sync" || work_ == "mirror" || work_ == "recount" || dice_.chance(35);
  rows_ = is_long_ ? dice_.number(400, 1'000) : dice_.chance(4) ? dice_.number(0, 1) : dice_.number(40, 400);
  twin_.role = dice_.pick(std::vector{TwinRole::kSuperuser, TwinRole::kOwner, TwinRole::kGrantee});
  // Mirrors and triggers need the right to make functions.
  if (work_ == "sync" || work_ == "mirror") twin_.role = TwinRole::kSuperuser;
  choose_names();
  choose_columns();
  choose_derivations();
  choose_shape();
  choose_key();
  twin_.setup.push_back(furniture(server_));
  make_table();
  fill_table();
  twin_.rows = {fmt::format("SELECT tableoid::regclass, t FROM {} t", table_), "SELECT * FROM side.audit",
                "SELECT * FROM side.totals", "SELECT 'app1', * FROM app1.heard", "SELECT 'app2', * FROM app2.heard"};
  make_work();
  make_rules();
  make_policies();
  make_rights();
  choose_settings();
  if (is_long_) {
    make_writers();
    make_faults();
  }
  return twin_;
}

void TwinMaker::choose_names() {
  name_ = quoted_name(dice_.pick(kTableNames));
  table_ = schema_ + "." + name_;
}

void TwinMaker::choose_columns() {
  columns_ = {{"no", "int", "g", "NOT NULL"},
              {"day", "date", "'2024-01-01'::date + g % 60", ""},
              {"hits", "int", "0", "NOT NULL DEFAULT 0"},
              {"touched", "int", "0", "NOT NULL DEFAULT 0"},
              {"done", "boolean", "false", "NOT NULL DEFAULT false"}};
  if (dice_.chance(20)) columns_.push_back({"pad", "text", "repeat(md5(g::text), g % 9 * 60)", ""});
  if (dice_.chance(20)) columns_.push_back({"made", "int", "", "GENERATED ALWAYS AS (no * 2 + hits) STORED"});
  if (dice_.chance(15)) columns_.push_back({"one_of", "int", "g % 3", "CONSTRAINT few CHECK (one_of < 10)"});
}

void TwinMaker::choose_derivations() {
  int const pairs = dice_.chance(70) ? 1 : dice_.number(2, 4);
  for (int number = 1; number <= pairs; ++number) {
    auto const* derivation = &dice_.pick(derivations());
    while (!is_there(derivation->needs, server_)) derivation = &dice_.pick(derivations());
    TwinPair pair;
    pair.derivation = derivation;
    pair.source = fmt::format(fmt::runtime(dice_.pick(kColumnNames)), "s" + std::to_string(number));
    pair.target = fmt::format(fmt::runtime(dice_.pick(kColumnNames)), "t" + std::to_string(number));
    pair.expression = filled(derivation->expression, pair);
    std::string value = derivation->source_value;
    if (dice_.chance(25)) value = fmt::format("CASE WHEN g % 7 > 0 THEN {} END", value);
    columns_.push_back({pair.source, derivation->source_type, value, ""});
    columns_.push_back({pair.target, derivation->target_type, derivation->target_value, ""});
    if (std::string_view(derivation->setting) == "search_path") mandatory_setting_ = "search_path";
    note(derivation->name);
    pairs_.push_back(pair);
  }
}

std::string TwinMaker::filled(std::string text, TwinPair const& pair) const {
  text = replace_all(std::move(text), "{s}", quoted_name(pair.source));
  text = replace_all(std::move(text), "{t}", quoted_name(pair.target));
  text = replace_all(std::move(text), "{table}", table_);
  return replace_all(std::move(text), "{bare}", name_);
}

void TwinMaker::choose_shape() {
  if (work_ == "recount" || dice_.chance(65)) return;
  shape_ = dice_.pick(std::vector{TableShape::kList, TableShape::kRange, TableShape::kHash, TableShape::kSubPartitions,
                                  TableShape::kParent});
  if (shape_ == TableShape::kParent && (work_ == "sync" || work_ == "mirror")) shape_ = TableShape::kPlain;
  if (shape_ == TableShape::kParent) {
    note("inheritance");
    // They are left alone, and the gate says so.
    twin_.may_stay_closed = "rows of tables that inherit";
    return;
  }
  if (shape_ == TableShape::kPlain) return;
  note("partitions");
  columns_.push_back({"part", "int", "g % 4", "NOT NULL"});
}

KeyType const& TwinMaker::choose_key_type() {
  auto const* type = &dice_.pick(key_types());
  while (!is_there(type->needs, server_)) type = &dice_.pick(key_types());
  note(std::string("key ") + type->name);
  bool const is_of_others = std::string_view(type->type).find("side.") != std::string_view::npos ||
                            std::string_view(type->type).find("ext.") != std::string_view::npos;
  // Its check refuses new rows such as the old ones.
  if (std::string_view(type->name) == "domain_not_valid") can_insert_ = false;
  if (work_ == "mirror" && is_of_others) twin_.may_refuse = "a key that a mirror cannot rely on";
  return *type;
}

void TwinMaker::choose_key() {
  has_key_ = is_partitioned() || work_ == "copy" || work_ == "mirror" || work_ == "sync" || !dice_.chance(7);
  int const leading = dice_.chance(65) ? 0 : dice_.number(1, 3);
  std::vector<std::string> keys;
  for (int number = 1; number <= leading + 1; ++number) {
    auto const& type = choose_key_type();
    auto const name = fmt::format(fmt::runtime(dice_.pick(kColumnNames)), "k" + std::to_string(number));
    columns_.push_back({name, type.type, number > leading ? type.value : type.few, "NOT NULL"});
    keys.push_back(quoted_name(name));
  }
  if (is_partitioned()) keys.insert(keys.begin() + dice_.number(0, leading), "part");
  dice_.shuffle(columns_);
  key_ = keys;
  if (!has_key_) {
    note("no key");
    return;
  }
  std::string list;
  for (auto const& key : keys) list += (list.empty() ? "" : ", ") + key;
  if (dice_.chance(55)) {
    key_declaration_ = fmt::format(", PRIMARY KEY ({})", list);
    return;
  }
  if (dice_.chance(20)) {
    key_declaration_ = fmt::format(", UNIQUE ({})", list);
    return;
  }
  note("directions");
  for (auto const& key : keys) {
    constexpr char const* kOrders[] = {"", "", " DESC", " DESC NULLS LAST", " NULLS FIRST"};
    key_index_ += (key_index_.empty() ? "" : ", ") + key + dice_.pick(kOrders);
  }
}

std::string TwinMaker::column_list(bool is_shuffled) {
  auto columns = columns_;
  if (is_shuffled) dice_.shuffle(columns);
  std::string list;
  for (auto const& column : columns) {
    if (!list.empty()) list += ", ";
    list += quoted_name(column.name) + " " + column.type + " " + column.options;
  }
  return list;
}

void TwinMaker::make_table() {
  if (is_partitioned()) {
    make_partitions();
  } else {
    bool const has_gap = dice_.chance(20);
    twin_.setup.push_back(fmt::format("CREATE TABLE {} ({}{}{})", table_, has_gap ? "gone text, " : "",
                                      column_list(false), key_declaration_));
    if (has_gap) twin_.setup.push_back(fmt::format("ALTER TABLE {} DROP COLUMN gone", table_));
  }
  if (!key_index_.empty()) {
    twin_.setup.push_back(fmt::format("CREATE UNIQUE INDEX the_key ON {} ({})", table_, key_index_));
  }
  if (shape_ == TableShape::kParent) {
    twin_.setup.push_back(fmt::format("CREATE TABLE app.heir (own text) INHERITS ({})", table_));
  }
  // For writers and triggers, which look for rows by their number.
  twin_.setup.push_back(fmt::format("CREATE INDEX ON {} (no)", table_));
}

std::string TwinMaker::make_leaf(std::string const& leaf, std::string const& of, std::string const& bounds) {
  leaves_.push_back("app." + leaf);
  if (dice_.chance(50)) return fmt::format("CREATE TABLE app.{} PARTITION OF {} {}", leaf, of, bounds);
  // In another order of columns, as it comes of years of changes.
  return fmt::format(
      "CREATE TABLE app.{0} (gone int, {1}); ALTER TABLE app.{0} DROP COLUMN gone; ALTER TABLE {2} ATTACH "
      "PARTITION app.{0} {3}",
      leaf, column_list(true), of, bounds);
}

void TwinMaker::make_partitions() {
  auto const begin = fmt::format("CREATE TABLE {} ({}{}) PARTITION BY ", table_, column_list(false), key_declaration_);
  bool const has_default = dice_.chance(40);
  if (shape_ == TableShape::kHash) {
    twin_.setup.push_back(begin + "HASH (part)");
    for (int number = 0; number < 3; ++number) {
      twin_.setup.push_back(make_leaf(fmt::format("leaf_{}", number), table_,
                                      fmt::format("FOR VALUES WITH (MODULUS 3, REMAINDER {})", number)));
    }
    return;
  }
  bool const is_range = shape_ == TableShape::kRange;
  twin_.setup.push_back(begin + (is_range ? "RANGE (part)" : "LIST (part)"));
  for (int number = 0; number < (has_default ? 3 : 4); ++number) {
    auto const bounds = is_range ? fmt::format("FOR VALUES FROM ({}) TO ({})", number, number + 1)
                                 : fmt::format("FOR VALUES IN ({})", number);
    if (shape_ == TableShape::kSubPartitions && number == 0) {
      twin_.setup.push_back(
          fmt::format("CREATE TABLE app.branch PARTITION OF {} {} PARTITION BY HASH (part)", table_, bounds));
      twin_.setup.push_back(make_leaf("leaf_0", "app.branch", "FOR VALUES WITH (MODULUS 2, REMAINDER 0)"));
      twin_.setup.push_back(make_leaf("leaf_00", "app.branch", "FOR VALUES WITH (MODULUS 2, REMAINDER 1)"));
    } else {
      twin_.setup.push_back(make_leaf(fmt::format("leaf_{}", number), table_, bounds));
    }
  }
  if (has_default) twin_.setup.push_back(make_leaf("leaf_other", table_, "DEFAULT"));
}

std::string TwinMaker::insert_into(std::string const& table, std::string const& rows, std::string const& part) const {
  std::string names;
  std::string values;
  for (auto const& column : columns_) {
    if (column.value.empty()) continue;
    names += (names.empty() ? "" : ", ") + quoted_name(column.name);
    values += (values.empty() ? "" : ", ") + (column.name == "part" && !part.empty() ? part : column.value);
  }
  return fmt::format("INSERT INTO {} ({}) SELECT {} FROM generate_series({}) g ORDER BY g * 7919 % 1009, g", table,
                     names, values, rows);
}

void TwinMaker::fill_table() {
  twin_.setup.push_back(insert_into(table_, "1, " + std::to_string(rows_)));
  if (shape_ == TableShape::kParent) twin_.setup.push_back(insert_into("app.heir", "5001, 5040"));
  twin_.setup.push_back("ALTER DOMAIN side.unchecked ADD CONSTRAINT large CHECK (value > 1000000) NOT VALID");
  if (dice_.chance(70)) twin_.setup.push_back("ANALYZE " + table_);
  // As many ranges as of a large table. Without a key pages are counted by these, and a ceiling would hold them back.
  bool const looks_large = !is_partitioned() && dice_.chance(50);
  if (looks_large && has_key_) {
    twin_.setup.push_back(fmt::format(
        "UPDATE pg_class SET reltuples = 1000000, relpages = pg_relation_size(oid) / 8192 WHERE oid = '{}'::regclass",
        replace_all(table_, "'", "''")));
  }
}

void TwinMaker::make_rules() {
  if (!dice_.chance(4) || work_ == "sync" || work_ == "mirror" || work_ == "recount") return;
  std::string const event = work_ == "copy" ? "INSERT" : twin_.statement.find("DELETE") == 0 ? "DELETE" : "UPDATE";
  auto const* const row = event == "DELETE" ? "OLD" : "NEW";
  note("rule");
  twin_.setup.push_back(
      dice_.chance(70)
          ? fmt::format("CREATE RULE also AS ON {} TO {} DO ALSO INSERT INTO side.audit VALUES ({}.no, 'rule')", event,
                        work_ == "copy" ? "app.copy" : table_, row)
          : fmt::format("CREATE RULE never AS ON {} TO {} WHERE {}.no % 5 = 0 DO INSTEAD NOTHING", event,
                        work_ == "copy" ? "app.copy" : table_, row));
  twin_.may_refuse = "a rule";
  twin_.may_stay_closed = "a rule";
  does_order_matter_ = true;
}

void TwinMaker::make_policies() {
  if (!dice_.chance(6)) return;
  note("policies");
  bool const is_forced = dice_.chance(30);
  twin_.setup.push_back(
      fmt::format("ALTER TABLE {0} ENABLE ROW LEVEL SECURITY; {1}CREATE POLICY even ON {0} USING (no % 2 = 0)", table_,
                  is_forced ? fmt::format("ALTER TABLE {} FORCE ROW LEVEL SECURITY; ", table_) : ""));
  if (twin_.role == TwinRole::kGrantee || is_forced) twin_.may_refuse = "row level security that hides rows";
}

void TwinMaker::make_rights() {
  twin_.setup.push_back(
      "GRANT USAGE ON SCHEMA app, app1, app2, side, pgbackfill TO {role}; GRANT ALL ON ALL TABLES IN SCHEMA side, "
      "app1, "
      "app2 TO {role}; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA pgbackfill TO {role}; GRANT "
      "EXECUTE ON ALL FUNCTIONS IN SCHEMA pgbackfill TO {role}");
  if (server_.has_citext) twin_.setup.push_back("GRANT USAGE ON SCHEMA ext TO {role}");
  if (twin_.role == TwinRole::kOwner) {
    twin_.setup.push_back(
        "DO $$ DECLARE r regclass; BEGIN FOR r IN SELECT oid FROM pg_class WHERE relnamespace = 'app'::regnamespace "
        "AND "
        "relkind IN ('r', 'p') LOOP EXECUTE format('ALTER TABLE %s OWNER TO {role}', r); END LOOP; END $$");
  }
  if (twin_.role != TwinRole::kGrantee) return;
  twin_.setup.push_back("GRANT SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA app TO {role}");
  if (is_partitioned() && work_ != "copy" && dice_.chance(60)) {
    note("rights on the parent alone");
    twin_.setup.push_back(fmt::format("GRANT SELECT, INSERT, UPDATE, DELETE ON {} TO {{role}}", table_));
  } else if (work_ == "set" && !has_triggers_ && dice_.chance(15)) {
    note("rights on columns");
    std::string columns;
    for (auto const& column : columns_) columns += (columns.empty() ? "" : ", ") + quoted_name(column.name);
    twin_.setup.push_back(fmt::format("GRANT SELECT ({0}), UPDATE ({0}) ON {1} TO {{role}}", columns, table_));
    twin_.may_refuse = "rights on columns alone";
  } else {
    twin_.setup.push_back("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA app TO {role}");
  }
}

// --- settings --------------------------------------------------------------------------------------------------------

void TwinMaker::add_setting(std::string const& name) {
  auto const of =
      std::find_if(settings().begin(), settings().end(), [&](auto const& setting) { return setting.name == name; });
  if (of == settings().end()) return;
  if (of->is_for_superuser && twin_.role != TwinRole::kSuperuser) return;
  constexpr SettingLevel kLevels[] = {SettingLevel::kDatabase, SettingLevel::kDatabase, SettingLevel::kRole,
                                      SettingLevel::kRoleInDatabase, SettingLevel::kOptions};
  twin_.settings.push_back({dice_.pick(kLevels), name, dice_.pick(of->values)});
  note(name);
}

void TwinMaker::choose_settings() {
  if (!mandatory_setting_.empty()) add_setting(mandatory_setting_);
  for (auto const& pair : pairs_) {
    std::string const setting = pair.derivation->setting;
    if (!setting.empty() && setting != mandatory_setting_ && dice_.chance(80)) add_setting(setting);
  }
  for (int more = dice_.number(0, 3); more > 0; --more) {
    auto const& setting = dice_.pick(settings());
    if (setting.name != mandatory_setting_ && std::string_view(setting.name) != "session_replication_role") {
      add_setting(setting.name);
    }
  }
  if (has_triggers_ && dice_.chance(8)) add_setting("session_replication_role");
  auto const has = [&](std::string const& feature) {
    return std::find(twin_.features.begin(), twin_.features.end(), feature) != twin_.features.end();
  };
  bool const has_array_key = has("key int_array") || has("key text_array") || has("key enum_array");
  if (has_array_key && has("array_nulls")) twin_.may_refuse = "arrays in the key, and array_nulls off";
}

// --- what goes on beside it ------------------------------------------------------------------------------------------

void TwinMaker::make_writers() {
  bool const is_carried = work_ == "sync" || work_ == "mirror";
  if (work_ == "recount" || rows_ < 10 || !(is_carried || dice_.chance(50))) return;
  // A row that has moved is not there to be changed.
  if (work_ == "move" || work_ == "archive") return;
  if (work_ == "copy" || has_bad_rows_ || does_order_matter_) return;
  // What reads the whole row reads what the writers count, and what a trigger has computed before the batch.
  for (auto const& pair : pairs_) {
    if (std::string_view(pair.derivation->name) == "whole_row") return;
  }
  note("writers");
  if (mandatory_setting_ == "search_path") twin_.writer_options = {"search_path=app1"};
  if (mandatory_setting_.empty() && dice_.chance(60))
    twin_.writer_options = {"DateStyle=German", "TimeZone=Asia/Tokyo", "IntervalStyle=iso_8601",
                            "quote_all_identifiers=on", "app.tenant=other"};
  // Of duplicates the one that stays is another where one has gone before.
  bool const may_delete = work_ == "mirror" || (work_ != "dedupe" && !has_triggers_ && shape_ != TableShape::kParent);
  int const writes = dice_.number(20, 50);
  for (int number = 0; number < writes; ++number) {
    int const no = dice_.number(1, rows_);
    auto const pause = dice_.chance(5) ? "; SELECT pg_sleep(0.15)" : "";
    if (is_carried && dice_.chance(40)) {
      twin_.writes.push_back(
          fmt::format("UPDATE {0} SET {1} = (SELECT {1} FROM {0} o WHERE o.no = {2}) WHERE no = {3}{4}", table_,
                      quoted_name(pairs_[0].source), number % 20 + 1, no, pause));
    } else if (may_delete && dice_.chance(20)) {
      twin_.writes.push_back(fmt::format("DELETE FROM {} WHERE no = {}{}", table_, no, pause));
    } else if (is_carried && can_insert_ && dice_.chance(30)) {
      twin_.writes.push_back(insert_into(table_, fmt::format("{0}, {0}", rows_ + 1 + number)));
    } else {
      twin_.writes.push_back(fmt::format("UPDATE {} SET hits = hits + 1 WHERE no = {}{}", table_, no, pause));
    }
  }
}

void TwinMaker::make_faults() {
  if (!dice_.chance(60)) return;
  if (is_partitioned() && !has_triggers_ && work_ == "set" && dice_.chance(60)) make_partition_fault();
  for (int faults = dice_.number(1, 3); faults > 0; --faults) {
    TwinFault fault;
    fault.wait_ms = dice_.number(20, 250);
    int const kind = dice_.number(1, 10);
    if (kind <= 5) {
      fault.kind = FaultKind::kKill;
    } else if (kind <= 7) {
      fault.kind = FaultKind::kTerminate;
    } else if (kind <= 9 || !twin_.writes.empty()) {
      auto const& setting = dice_.pick(settings().first(7));
      fault.kind = FaultKind::kSetting;
      fault.sql = fmt::format("SET {} = {}", setting.name,
                              std::string_view(setting.name) == "search_path"
                                  ? std::string(dice_.pick(setting.values))
                                  : fmt::format("'{}'", dice_.pick(setting.values)));
    } else {
      fault.kind = FaultKind::kRestart;
    }
    twin_.faults.push_back(fault);
  }
  note("faults");
}

void TwinMaker::make_partition_fault() {
  TwinFault fault;
  fault.wait_ms = dice_.number(20, 200);
  bool const is_at_rest = dice_.chance(50);
  fault.kind = is_at_rest ? FaultKind::kSqlAtRest : FaultKind::kSql;
  bool const can_attach =
      is_at_rest && tells_done_ && shape_ != TableShape::kHash && leaves_.back() != "app.leaf_other";
  if (can_attach && can_insert_ && dice_.chance(50)) {
    note("attached partition");
    auto const bounds = shape_ == TableShape::kRange ? "FOR VALUES FROM (9) TO (10)" : "FOR VALUES IN (9)";
    fault.sql = fmt::format("CREATE TABLE app.leaf_9 PARTITION OF {} {}; {}; GRANT ALL ON app.leaf_9 TO PUBLIC", table_,
                            bounds, insert_into("app.leaf_9", "7001, 7030", "9"));
  } else if (dice_.chance(50)) {
    note("dropped partition");
    fault.sql = "DROP TABLE app.leaf_1";
  } else {
    note("detached partition");
    fault.sql = fmt::format("ALTER TABLE {} DETACH PARTITION app.leaf_1", table_);
  }
  twin_.faults.push_back(fault);
}

}  // namespace pgbackfill::tests
