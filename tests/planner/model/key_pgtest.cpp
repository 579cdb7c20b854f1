// Positions in a key's order, asked of a real server: the conditions that the planner writes against the order that the
// index has, and the plans that the server makes of them.
#include "planner/model/key.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <regex>
#include <string>
#include <utility>
#include <vector>

#include "engine/sandbox/local_cluster.h"
#include "planner/model/sql_text.h"
#include "planner/work/work_sql.h"
#include "tests/support/pg_client.h"

namespace pgbackfill::tests {
namespace {

using engine::LocalCluster;
using engine::LocalClusterOptions;
using planner::Bound;
using planner::Interval;
using planner::Key;
using planner::KeyColumn;
using planner::KeyValue;
using planner::quote_identifier;
using planner::quote_literal;
using planner::WorkTarget;

// The engine sets these for each transaction, whatever the role has.
constexpr char kTextSettings[] =
    "SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; SET extra_float_digits = 3; SET bytea_output = 'hex'; "
    "SET max_parallel_workers_per_gather = 0; SET jit = off;";

struct Column {
  std::string name;
  std::string declared;   // the type as CREATE TABLE has it, with COLLATE
  std::string collation;  // of the index, where it differs
  bool descending = false;
  bool nulls_first = false;
  std::vector<std::string> values;
};

// The index's order, written by the test itself. With an alias, for a bare name would mean the text in the select list.
std::string order_of(std::vector<Column> const& columns, std::size_t width, std::string const& alias = "t.") {
  std::string text;
  for (std::size_t index = 0; index < width; ++index) {
    auto const& column = columns[index];
    text += (index == 0 ? "" : ", ") + alias + quote_identifier(column.name) +
            (column.collation.empty() ? "" : " COLLATE " + column.collation) + (column.descending ? " DESC" : " ASC") +
            (column.nulls_first ? " NULLS FIRST" : " NULLS LAST");
  }
  return text;
}

// A table with its rows in the order of the index, and for each row and each width the place of the last row that
// agrees with it on that many columns.
struct KnownTable {
  WorkTarget target;
  std::vector<Column> columns;
  std::string qualified;
  std::vector<KeyValue> rows;
  std::vector<std::vector<std::size_t>> ends;  // [width - 1][row]: one past the last row of the same prefix

  std::string texts() const {
    std::vector<std::string> terms;
    for (auto const& column : columns) terms.push_back("t." + quote_identifier(column.name) + "::text");
    return planner::join(terms, ", ");
  }
};

struct Position {
  Bound bound;
  std::size_t place = 0;  // rows before and at it
};

class KeyTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    LocalClusterOptions options;
    options.name = "key";
    options.is_fsync_on = false;
    options.primary_settings = {"shared_buffers = 256MB", "autovacuum = off"};
    cluster_ = std::make_unique<LocalCluster>(options);
    cluster_->start();
  }
  static void TearDownTestSuite() { cluster_.reset(); }

  void SetUp() override { connect(); }
  void connect() {
    client_ = std::make_unique<PgClient>(cluster_->dsn());
    client_->exec(kTextSettings);
  }

  std::vector<KeyValue> keys(std::string const& sql) {
    std::vector<KeyValue> result;
    for (auto const& row : client_->exec(sql)) {
      auto& key = result.emplace_back();
      for (auto const& field : row) key.push_back(field.value_or("NULL"));
    }
    return result;
  }

  // Creates the table and its index, and reads the types as the engine does.
  KnownTable create(std::string const& schema, std::string const& name, std::vector<Column> columns) {
    KnownTable table;
    table.columns = std::move(columns);
    table.qualified = quote_identifier(schema) + '.' + quote_identifier(name);
    std::vector<std::string> definitions;
    for (auto const& column : table.columns) {
      definitions.push_back(quote_identifier(column.name) + ' ' + column.declared + " NOT NULL");
    }
    client_->exec(fmt::format(
        "DROP TABLE IF EXISTS {0}; CREATE TABLE {0} ({1}, \"the work\" int); CREATE UNIQUE INDEX "
        "ON {0} ({2})",
        table.qualified, planner::join(definitions, ", "), order_of(table.columns, table.columns.size(), "")));
    describe(table, schema, name);
    return table;
  }

  void describe(KnownTable& table, std::string const& schema, std::string const& name) {
    table.target.relation = table.qualified;
    table.target.alias = quote_identifier(name);
    table.target.server_major = cluster_->major_version();
    client_->exec("SET search_path = pg_catalog");
    for (auto const& column : table.columns) {
      KeyColumn key_column;
      key_column.name = column.name;
      key_column.type = client_->value(fmt::format(
          "SELECT format_type(atttypid, -1) FROM pg_attribute WHERE attrelid = {}::regclass AND attname = {}",
          quote_literal(table.qualified), quote_literal(column.name)));
      key_column.collation = column.collation;
      key_column.descending = column.descending;
      key_column.nulls_first = column.nulls_first;
      table.target.key.columns.push_back(key_column);
    }
    client_->exec("RESET search_path");
    table.target.backfill.table = {schema, name};
    table.target.backfill.assignments = {{{}, "the work", "1"}};
  }

  void insert(KnownTable const& table, std::vector<KeyValue> const& values) {
    std::vector<std::string> rows;
    for (auto const& value : values) {
      std::vector<std::string> literals;
      for (auto const& text : value) literals.push_back(quote_literal(text));
      rows.push_back('(' + planner::join(literals, ", ") + ')');
    }
    client_->exec("INSERT INTO " + table.qualified + " VALUES " + planner::join(rows, ", ") +
                  " ON CONFLICT DO NOTHING");
  }

  void read_order(KnownTable& table) {
    std::size_t const width = table.columns.size();
    table.rows = keys(fmt::format("SELECT {} FROM {} AS t ORDER BY {}", table.texts(), table.qualified,
                                  order_of(table.columns, width)));
    table.ends.clear();
    for (std::size_t prefix = 1; prefix <= width; ++prefix) {
      auto& ends = table.ends.emplace_back();
      for (auto const& row : client_->exec(fmt::format("SELECT count(*) OVER (ORDER BY {}) FROM {} AS t ORDER BY {}",
                                                       order_of(table.columns, prefix), table.qualified,
                                                       order_of(table.columns, width)))) {
        ends.push_back(std::stoul(*row[0]));
      }
    }
  }

  Position position_at(KnownTable const& table, std::size_t row, std::size_t width) {
    auto const& value = table.rows[row];
    return {KeyValue(value.begin(), value.begin() + static_cast<std::ptrdiff_t>(width)), table.ends[width - 1][row]};
  }

  std::string select(KnownTable const& table, std::string const& condition) {
    return fmt::format("SELECT {} FROM {} AS t WHERE {} ORDER BY {}", table.texts(), table.qualified, condition,
                       order_of(table.columns, table.columns.size()));
  }

  void check_interval(KnownTable const& table, Position const& lo, Position const& hi, std::size_t page_rows) {
    Interval const interval{lo.bound, hi.bound};
    std::size_t const begin = std::min(lo.place, hi.place);
    std::vector<KeyValue> const expected(table.rows.begin() + static_cast<std::ptrdiff_t>(begin),
                                         table.rows.begin() + static_cast<std::ptrdiff_t>(hi.place));
    std::string const condition = planner::interval_condition(table.target.key, interval, "t");
    EXPECT_EQ(keys(select(table, condition)), expected) << condition;
    std::vector<KeyValue> scanned;
    for (auto const& scan : planner::interval_scans(table.target.key, interval, "t")) {
      auto const part = keys(select(table, scan));
      scanned.insert(scanned.end(), part.begin(), part.end());
    }
    EXPECT_EQ(scanned, expected) << condition;
    auto const page = keys(planner::look_ahead_sql(table.target, interval, static_cast<std::int64_t>(page_rows)));
    KeyValue expected_page{std::to_string(std::min(page_rows, expected.size()))};
    for (std::size_t index = 0; index < table.columns.size(); ++index) {
      expected_page.push_back(page_rows <= expected.size() ? expected[page_rows - 1][index] : "NULL");
    }
    EXPECT_EQ(page, std::vector<KeyValue>{expected_page}) << condition;
  }

  // Pages through the table as a job does, reading each boundary back as text.
  std::vector<KeyValue> walk(KnownTable const& table, std::int64_t page_rows) {
    std::vector<KeyValue> walked;
    auto const last = keys(planner::last_key_sql(table.target));
    if (last.empty()) return walked;
    Interval interval{std::nullopt, last.front()};
    for (std::size_t pages = 0; pages <= table.rows.size(); ++pages) {
      auto page = keys(planner::look_ahead_sql(table.target, interval, page_rows)).at(0);
      bool const ends = page[1] == "NULL" && page[0] != std::to_string(page_rows);
      KeyValue const boundary = ends ? last.front() : KeyValue(page.begin() + 1, page.end());
      auto const part =
          keys(select(table, planner::interval_condition(table.target.key, {interval.lo, boundary}, "t")));
      EXPECT_EQ(std::to_string(part.size()), page[0]);
      walked.insert(walked.end(), part.begin(), part.end());
      if (ends) break;
      interval.lo = boundary;
    }
    return walked;
  }

  void check_all_ways(KnownTable& table, std::string const& seed_text = "") {
    SCOPED_TRACE(seed_text);
    read_order(table);
    EXPECT_EQ(keys(planner::last_key_sql(table.target)), std::vector<KeyValue>{table.rows.back()});
    for (std::int64_t const page_rows : {1, 2, 3, 1000}) EXPECT_EQ(walk(table, page_rows), table.rows);
    Position const start;
    for (std::size_t row = 0; row < table.rows.size(); ++row) {
      auto const at = position_at(table, row, table.columns.size());
      check_interval(table, start, at, 2);
      check_interval(table, at, {std::nullopt, table.rows.size()}, 2);
    }
  }

  static std::unique_ptr<LocalCluster> cluster_;
  std::unique_ptr<PgClient> client_;
};

std::unique_ptr<LocalCluster> KeyTest::cluster_;

std::size_t pick(std::mt19937_64& random, std::size_t end) {
  return std::uniform_int_distribution<std::size_t>(0, end - 1)(random);
}

std::vector<Column> random_columns(std::mt19937_64& random) {
  std::vector<Column> const kinds = {
      {"i", "int", "", false, false, {"-1", "0", "1", "2", "30"}},
      {"t", "text COLLATE \"C\"", "", false, false, {"", "A", "a", "b'\\", "Ä"}},
      {"u",
       "uuid",
       "",
       false,
       false,
       {"00000000-0000-0000-0000-000000000000", "7fffffff-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff"}},
      // 1.0 and 1.00 are one value with two texts.
      {"n", "numeric", "", false, false, {"1", "1.0", "1.00", "-3", "NaN", "2.5"}},
      {"x", "text", "\"C\"", false, false, {"", "A", "a", "B", "b"}},
  };
  std::vector<Column> columns;
  std::size_t const width = 1 + pick(random, 4);
  for (std::size_t index = 0; index < width; ++index) {
    auto column = kinds[pick(random, kinds.size())];
    column.name += std::to_string(index);
    column.descending = pick(random, 2) == 1;
    column.nulls_first = pick(random, 2) == 1;
    columns.push_back(column);
  }
  return columns;
}

TEST_F(KeyTest, IntervalsAreWhatTheIndexListsBetweenTheirEnds) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    std::mt19937_64 random(seed);
    auto table = create("public", "random", random_columns(random));
    std::vector<KeyValue> values(1 + pick(random, 60));
    for (auto& value : values) {
      for (auto const& column : table.columns) value.push_back(column.values[pick(random, column.values.size())]);
    }
    insert(table, values);
    read_order(table);
    EXPECT_EQ(keys(planner::last_key_sql(table.target)), std::vector<KeyValue>{table.rows.back()});
    EXPECT_EQ(walk(table, static_cast<std::int64_t>(1 + pick(random, 10))), table.rows);
    for (int trial = 0; trial < 40; ++trial) {
      auto const any_position = [&](std::size_t place_of_none) {
        if (pick(random, 8) == 0) return Position{std::nullopt, place_of_none};
        return position_at(table, pick(random, table.rows.size()), 1 + pick(random, table.columns.size()));
      };
      auto const lo = any_position(0);
      auto const hi = any_position(table.rows.size());
      check_interval(table, lo, hi, 1 + pick(random, 12));
    }
    if (HasFailure()) return;
  }
}

TEST_F(KeyTest, EveryTypeComesBackFromItsText) {
  client_->exec(
      "DROP SCHEMA IF EXISTS \"My App\" CASCADE; CREATE SCHEMA \"My App\"; CREATE TYPE \"My App\".\"Mood\" AS ENUM "
      "('sad', 'it''s ok', 'Happy', 'a\"b'); CREATE DOMAIN \"My App\".even AS int CHECK (VALUE % 2 = 0); CREATE DOMAIN "
      "\"My App\".code AS varchar(5) CHECK (VALUE <> 'none')");
  std::vector<std::pair<std::string, std::vector<std::string>>> const types = {
      {"\"My App\".\"Mood\"", {"a\"b", "Happy", "sad", "it's ok"}},
      {"\"My App\".even", {"2", "-4", "100", "12"}},
      {"\"My App\".code", {"b", "A", "", "abcde"}},
      {"bytea", {"\\x", "\\x00", "\\xff00", "\\x5c27", "\\x61"}},
      {"numeric", {"NaN", "-1.50", "1e100", "0.000000000000000000001", "3"}},
      {"numeric(10,3)", {"NaN", "-1.5", "2", "2.001"}},
      {"char(4)", {"a", "a  b", "", "zzzz", "A"}},
      {"varchar(4)", {"a", "a ", "", "zzzz", " a"}},
      {"\"char\"", {"a", "B", " ", "\\"}},
      {"boolean", {"true", "false"}},
      {"float8", {"NaN", "-Infinity", "0.1", "1e-300", "0.30000000000000004"}},
      {"float4", {"NaN", "0.1", "16777216", "-2"}},
      {"date", {"infinity", "-infinity", "0044-03-15 BC", "2024-02-29"}},
      {"time", {"00:00", "24:00", "12:00:00.000001"}},
      {"timestamp", {"infinity", "1999-12-31 23:59:59.999999", "4714-11-24 00:00:00 BC"}},
      {"interval", {"1 mon", "29 days", "-1 day 3 hours", "100 years"}},
      {"inet", {"10.0.0.1", "10.0.0.0/8", "::1", "192.168.0.0/16"}},
      {"bit(3)", {"101", "000", "111"}},
      {"varbit", {"1", "10", "0"}},
      {"int[]", {"{1,2}", "{}", "{1}", "{1,NULL}"}},
      {"int8range", {"[1,5)", "empty", "(,)", "[2,)"}},
      {"jsonb", {"{\"a\": \"b'c\"}", "[]", "1", "\"x\\\\y\""}},
      {"name", {"a", "B", "b"}},
      {"uuid", {"00000000-0000-0000-0000-000000000001", "ffffffff-ffff-ffff-ffff-ffffffffffff"}},
      {"pg_lsn", {"0/1", "1/0", "FFFFFFFF/0"}},
      {"oid", {"1", "4294967295"}},
  };
  for (auto const& [type, values] : types) {
    for (bool const descending : {false, true}) {
      SCOPED_TRACE(type);
      auto table = create("My App", "of type", {{"k", type, "", descending, descending, {}}});
      for (auto const& value : values) insert(table, {{value}});
      check_all_ways(table);
    }
  }
}

TEST_F(KeyTest, TimesComeBackWhateverTheRolesSettings) {
  auto table = create("public", "moments", {{"at", "timestamptz", "", false, false, {}}});
  insert(table, {{"infinity"},
                 {"-infinity"},
                 {"1880-01-01 00:00:00.5+00"},
                 {"0044-03-15 12:00:00+00 BC"},
                 {"2024-03-31 00:59:59.999999+00"},
                 {"2024-03-31 01:00:00+00"},
                 {"2024-10-27 00:30:00+00"},
                 {"2024-10-27 01:30:00+00"}});
  for (char const* zone : {"Europe/Berlin", "Asia/Kolkata", "America/St_Johns", "Pacific/Apia", "<odd>5:07"}) {
    for (char const* style : {"SQL, DMY", "German", "Postgres, MDY"}) {
      SCOPED_TRACE(fmt::format("{} {}", zone, style));
      client_->exec(fmt::format("ALTER ROLE CURRENT_USER SET TimeZone = {}; ALTER ROLE CURRENT_USER SET DateStyle = {}",
                                quote_literal(zone), quote_literal(style)));
      connect();
      check_all_ways(table);
    }
  }
  client_->exec("ALTER ROLE CURRENT_USER RESET ALL");
}

TEST_F(KeyTest, CollationsOfTheIndexDecideTheOrder) {
  bool const has_icu = client_->value("SELECT count(*) > 0 FROM pg_collation WHERE collname = 'und-x-icu'") == "t";
  std::vector<Column> columns = {
      {"k", "text COLLATE \"C\"", "", false, false, {}},
      {"k", "text", "\"C\"", true, false, {}},
      {"k", "varchar(9) COLLATE \"C\"", "\"default\"", false, false, {}},
  };
  if (has_icu) {
    client_->exec(
        "DROP COLLATION IF EXISTS public.\"Any Case\" CASCADE; CREATE COLLATION public.\"Any Case\" (provider = icu, "
        "locale = 'und-u-ks-level2', deterministic = false)");
    columns.push_back({"k", "text COLLATE \"und-x-icu\"", "", false, true, {}});
    columns.push_back({"k", "text COLLATE \"C\"", "\"und-x-icu\"", true, true, {}});
    columns.push_back({"k", "text COLLATE public.\"Any Case\"", "", false, false, {}});
    columns.push_back({"k", "text COLLATE \"C\"", "public.\"Any Case\"", true, false, {}});
    columns.push_back({"k", "text COLLATE public.\"Any Case\"", "\"C\"", false, false, {}});
  }
  for (auto const& column : columns) {
    SCOPED_TRACE(column.declared + " / " + column.collation);
    auto table = create("public", "collated", {column, {"n", "int", "", column.nulls_first, false, {}}});
    for (char const* text : {"", "a", "A", "b", "B", "ä", "Z", "z", "'", "\\", "a b", "ab", "a-b", "ß", "ss", "é"}) {
      insert(table, {{text, "1"}, {text, "2"}});
    }
    check_all_ways(table);
  }
}

TEST_F(KeyTest, HostileNamesAreJustNames) {
  std::string const longest(63, 'x');
  client_->exec("DROP SCHEMA IF EXISTS \"se\"\"lect.\" CASCADE; CREATE SCHEMA \"se\"\"lect.\"");
  for (std::string const& name : std::vector<std::string>{"user", "A b", "a\"b", "a.b", "a'b", "\\", "🐘", "$1",
                                                          "{batch}", "rows", "rest", "pages", longest}) {
    SCOPED_TRACE(name);
    auto table = create("se\"lect.", name,
                        {{name, "int", "", false, false, {}}, {"count(*)", "text COLLATE \"C\"", "", true, false, {}}});
    insert(table, {{"1", "a"}, {"1", "b"}, {"2", "a'"}, {"2", "\\"}, {"3", "\"x\""}});
    check_all_ways(table);
  }
}

TEST_F(KeyTest, NullsFirstAndLastAreMatchedToTheIndex) {
  for (bool const descending : {false, true}) {
    for (bool const nulls_first : {false, true}) {
      SCOPED_TRACE(fmt::format("descending {} nulls first {}", descending, nulls_first));
      auto table = create("public", "nulls", {{"k", "int", "", descending, nulls_first, {}}});
      client_->exec("INSERT INTO public.nulls SELECT generate_series(1, 5000); ANALYZE public.nulls");
      for (std::string const& sql : {planner::look_ahead_sql(table.target, {KeyValue{"2500"}, std::nullopt}, 10),
                                     planner::last_key_sql(table.target)}) {
        std::string const plan = client_->exec("EXPLAIN (FORMAT JSON) " + sql).at(0).at(0).value();
        EXPECT_EQ(plan.find("\"Sort"), std::string::npos) << sql << plan;
        EXPECT_EQ(plan.find("Seq Scan"), std::string::npos) << sql << plan;
      }
    }
  }
}

// What a statement costs, in pages touched, and how it is done.
struct Cost {
  std::int64_t buffers = 0;
  std::string plan;
};

class KeyPlanTest : public KeyTest {
 protected:
  Cost cost_of(std::string const& sql, std::string const& setting = "") {
    client_->exec("BEGIN");
    if (!setting.empty()) client_->exec(setting);
    Cost cost;
    for (auto const& row : client_->exec("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, SUMMARY OFF) " + sql)) {
      cost.plan += *row[0] + "\n";
    }
    client_->exec("ROLLBACK");
    std::smatch found;
    static std::regex const buffers("Buffers:[^\n]*");
    if (std::regex_search(cost.plan, found, buffers)) {
      std::string const line = found[0];
      static std::regex const number("(?:hit|read)=([0-9]+)");
      for (auto at = std::sregex_iterator(line.begin(), line.end(), number); at != std::sregex_iterator(); ++at) {
        cost.buffers += std::stoll((*at)[1]);
      }
    }
    return cost;
  }

  static void expect_index_plan(Cost const& cost) {
    EXPECT_EQ(cost.plan.find("Sort"), std::string::npos) << cost.plan;
    EXPECT_EQ(cost.plan.find("Seq Scan"), std::string::npos) << cost.plan;
    EXPECT_NE(cost.plan.find("Index Cond"), std::string::npos) << cost.plan;
  }

  // Looks ahead and updates at the start, in the middle and at the end of the table, across the values of the leading
  // column and at the end of a range; a batch of 1 000 rows touches at most as many pages as it needs.
  void check_costs(KnownTable const& table, std::string const& qualified) {
    constexpr std::int64_t kRows = 200'000;
    constexpr std::int64_t kBatch = 1'000;
    auto const at = [&](std::int64_t place) {
      return keys(fmt::format("SELECT {} FROM {} AS t ORDER BY {} LIMIT 1 OFFSET {}", table.texts(), qualified,
                              order_of(table.columns, table.columns.size()), place))
          .at(0);
    };
    auto const last = at(kRows - 1);
    std::string const setting = planner::look_ahead_setting(table.target);
    for (std::int64_t const place : {5'000, 19'500, 100'100, 150'000, 198'000}) {
      SCOPED_TRACE(fmt::format("place {}", place));
      auto const lo = at(place);
      auto const hi = at(place + kBatch);
      auto const ahead = cost_of(planner::look_ahead_sql(table.target, {lo, last}, kBatch), setting);
      expect_index_plan(ahead);
      EXPECT_LT(ahead.buffers, 1'200) << ahead.plan;
      // Fewer rows are left in the range than are asked for.
      auto const range_end = cost_of(planner::look_ahead_sql(table.target, {lo, hi}, 5 * kBatch), setting);
      expect_index_plan(range_end);
      EXPECT_LT(range_end.buffers, 12'000) << range_end.plan;
      // Of the update's own cost, only the search for the rows is of interest.
      auto const condition = planner::interval_condition(table.target.key, {lo, hi}, table.target.alias);
      auto const search = cost_of(
          fmt::format("SELECT * FROM ONLY {} AS {} WHERE {}", table.target.relation, table.target.alias, condition));
      expect_index_plan(search);
      EXPECT_LT(search.buffers, 1'200) << search.plan;
      auto const update = cost_of(planner::plain_work(table.target, {lo, hi}));
      expect_index_plan(update);
    }
    auto const first = cost_of(planner::look_ahead_sql(table.target, {std::nullopt, last}, kBatch), setting);
    EXPECT_EQ(first.plan.find("Sort"), std::string::npos) << first.plan;
    EXPECT_EQ(first.plan.find("Seq Scan"), std::string::npos) << first.plan;
    EXPECT_LT(first.buffers, 1'200) << first.plan;
    auto const last_key = cost_of(planner::last_key_sql(table.target));
    EXPECT_EQ(last_key.plan.find("Sort"), std::string::npos) << last_key.plan;
    EXPECT_LT(last_key.buffers, 10) << last_key.plan;
  }

  // With statistics and without: a table that was just loaded has none.
  void check(std::vector<Column> columns, std::string const& select_list) {
    for (bool const analyzed : {true, false}) {
      SCOPED_TRACE(analyzed ? "analyzed" : "never analyzed");
      auto table = create("public", "large", columns);
      client_->exec("INSERT INTO public.large SELECT " + select_list + " FROM generate_series(1, 200000) AS g");
      if (analyzed) client_->exec("VACUUM ANALYZE public.large");
      check_costs(table, "public.large");
    }
  }
};

TEST_F(KeyPlanTest, OneColumnIsAnIndexScan) {
  check({{"id", "bigint", "", false, false, {}}}, "g");
  check({{"id", "uuid", "", true, true, {}}}, "md5(g::text)::uuid");
}

TEST_F(KeyPlanTest, ColumnsOfOneDirectionAreAnIndexScan) {
  check({{"tenant", "int", "", false, false, {}}, {"id", "bigint", "", false, false, {}}}, "g % 10, g");
  check({{"day", "date", "", true, true, {}}, {"id", "bigint", "", true, true, {}}}, "date '2020-01-01' + g / 50, g");
  check({{"id", "bigint", "", false, false, {}}, {"line", "int", "", false, false, {}}}, "g / 4, g % 4");
}

TEST_F(KeyPlanTest, ColumnsOfMixedDirectionsAreIndexScans) {
  check({{"tenant", "int", "", false, false, {}}, {"id", "bigint", "", true, true, {}}}, "g % 10, g");
  check({{"day", "date", "", true, true, {}}, {"id", "bigint", "", false, false, {}}}, "date '2020-01-01' + g / 50, g");
  check({{"id", "bigint", "", false, false, {}}, {"line", "int", "", true, true, {}}}, "g / 4, g % 4");
}

TEST_F(KeyPlanTest, ThreeColumnsOfMixedDirectionsAreIndexScans) {
  check({{"tenant", "int", "", false, false, {}},
         {"kind", "text", "", true, true, {}},
         {"id", "bigint", "", false, false, {}}},
        "g % 5, (g / 5 % 7)::text, g");
}

}  // namespace
}  // namespace pgbackfill::tests
