// What a file is given from outside: params and variables of the environment.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "planner/file/migration_file.h"
#include "planner/model/params.h"

namespace pgbackfill::planner {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string read(ParamType type, std::string const& text) {
  auto const value = read_param(type, text);
  if (auto const* wrong = std::get_if<WrongValue>(&value)) return "! " + wrong->text;
  return std::get<std::string>(value);
}

TEST(Params, AreWrittenInOneWay) {
  EXPECT_EQ(read(ParamType::kBigint, "+0042"), "42");
  EXPECT_EQ(read(ParamType::kBigint, "-0"), "0");
  EXPECT_EQ(read(ParamType::kBigint, "-9223372036854775808"), "-9223372036854775808");
  EXPECT_EQ(read(ParamType::kNumeric, "-001.50"), "-1.50");
  EXPECT_EQ(read(ParamType::kNumeric, "-0.00"), "0.00");
  EXPECT_EQ(read(ParamType::kBoolean, "TRUE"), "true");
  EXPECT_EQ(read(ParamType::kUuid, "7D444840-9DC0-11D1-B245-5FFDCE74FAD2"), "7d444840-9dc0-11d1-b245-5ffdce74fad2");
  EXPECT_EQ(read(ParamType::kDate, "2024-02-29"), "2024-02-29");
  EXPECT_EQ(read(ParamType::kTimestamp, "2026-01-31 08:00"), "2026-01-31T08:00:00");
  EXPECT_EQ(read(ParamType::kTimestamp, "2026-01-31T08:00:00.250"), "2026-01-31T08:00:00.25");
  EXPECT_EQ(read(ParamType::kTimestamptz, "2026-01-31T23:30:00-02:00"), "2026-02-01T01:30:00Z");
  EXPECT_EQ(read(ParamType::kTimestamptz, "2026-01-31Z"), "2026-01-31T00:00:00Z");
  EXPECT_EQ(read(ParamType::kText, ""), "");
}

TEST(Params, OfAWrongTypeAreRefused) {
  for (auto const& [type, text] :
       std::vector<std::pair<ParamType, std::string>>{{ParamType::kBigint, "9223372036854775808"},
                                                      {ParamType::kBigint, "1e3"},
                                                      {ParamType::kBigint, "1; DROP TABLE users"},
                                                      {ParamType::kBigint, ""},
                                                      {ParamType::kSmallint, "32768"},
                                                      {ParamType::kInteger, "99999999999999999999999"},
                                                      {ParamType::kNumeric, "NaN"},
                                                      {ParamType::kNumeric, "1."},
                                                      {ParamType::kBoolean, "1"},
                                                      {ParamType::kUuid, "7d444840-9dc0-11d1-b245-5ffdce74fad"},
                                                      {ParamType::kDate, "2023-02-29"},
                                                      {ParamType::kDate, "31.01.2026"},
                                                      {ParamType::kDate, "today"},
                                                      {ParamType::kTimestamp, "2026-01-31T24:00"},
                                                      {ParamType::kTimestamp, "2026-01-31T08:00Z"},
                                                      {ParamType::kTimestamp, "now"},
                                                      {ParamType::kTimestamptz, "2026-01-31T08:00:00"},
                                                      {ParamType::kTimestamptz, "2026-01-31T08:00:00+2"},
                                                      {ParamType::kText, std::string("a\0b", 3)},
                                                      {ParamType::kText, "\xC3"}}) {
    EXPECT_THAT(read(type, text), HasSubstr("! ")) << word_of(type) << " " << text;
  }
}

TEST(Params, StandInTheNameOfTheJobAndComeBack) {
  std::vector<ParamText> const values = {
      {"from", "-1"}, {"day", "2026-01-31T08:00:00Z"}, {"note", "a b,[c]=100%\xC3\xA4"}};
  auto const name = name_with("orders", values);
  EXPECT_EQ(name, "orders[from=-1,day=2026-01-31T08:00:00Z,note=a%20b%2C%5Bc%5D%3D100%25%C3%A4]");
  auto const parts = parts_of_name(name);
  EXPECT_EQ(parts.base, "orders");
  EXPECT_EQ(parts.values, values);
  EXPECT_EQ(name_with("orders", {}), "orders");
  EXPECT_THAT(parts_of_name("orders").values, IsEmpty());
  EXPECT_EQ(parts_of_name("orders[note=]").values.at(0).text, "");
  EXPECT_EQ(arguments_of("o.yaml", "orders[from=-1,note=it%27s%20x]"),
            "o.yaml --param from=-1 --param note='it'\\''s x'");
}

constexpr char kFile[] =
    "name: m\n"
    "table: t\n"
    "params:\n"
    "  from: bigint\n"
    "  note: {type: text, default: it's}\n"
    "backfill:\n"
    "  set: {v: \"{param:note} || '{param:from'\"}\n"
    "  where: \"id >= {param:from} -- {param:nobody}\"\n";

ParsedMigration parse(std::string const& text, std::vector<ParamText> values = {}) {
  return parse_migration(text, "m.yaml", {std::move(values)});
}

std::vector<std::string> problems_of(std::string const& text, std::vector<ParamText> values = {}) {
  std::vector<std::string> texts;
  for (auto const& problem : parse(text, std::move(values)).problems) texts.push_back(to_string(problem));
  return texts;
}

TEST(Params, AreTypedConstantsInTheSql) {
  auto const parsed = parse(kFile, {{"from", "007"}});
  ASSERT_TRUE(parsed.migration) << to_lines(parsed.problems);
  EXPECT_EQ(parsed.migration->name, "m[from=7,note=it%27s]");
  EXPECT_EQ(parsed.migration->backfill->where, "id >= ('7'::pg_catalog.int8) -- {param:nobody}");
  EXPECT_EQ(parsed.migration->backfill->assignments.at(0).expression, "('it''s'::pg_catalog.text) || '{param:from'");
}

TEST(Params, WithoutAValueAreRefusedWithTheOption) {
  EXPECT_THAT(problems_of(kFile), ElementsAre("m.yaml:4:3: parameter 'from' has no value and no default; give it with "
                                              "--param from=... (bigint)"));
  EXPECT_THAT(problems_of(kFile, {{"from", "x"}}),
              ElementsAre(HasSubstr("m.yaml:4:3: the value 'x' of parameter 'from' is no whole number")));
  EXPECT_THAT(problems_of(kFile, {{"from", "1"}, {"form", "2"}}),
              ElementsAre("m.yaml: the file has no parameter 'form' (did you mean 'from'?)"));
  EXPECT_THAT(problems_of(kFile, {{"from", "1"}, {"from", "2"}}), ElementsAre(HasSubstr("more than once")));
  EXPECT_THAT(problems_of("name: m\ntable: t\nbackfill: {set: {v: '1'}}\n", {{"from", "1"}}),
              ElementsAre(HasSubstr("has no 'params'")));
  EXPECT_THAT(problems_of(kFile, {{"from", "1"}, {"note", std::string(300, 'x')}}),
              ElementsAre(HasSubstr("the name of the job has")));
}

TEST(Params, AreDeclaredByNameAndType) {
  auto const declared = [](std::string const& lines) {
    return problems_of("name: m\ntable: t\nparams: " + lines + "\nbackfill: {set: {v: '1'}}\n", {});
  };
  EXPECT_THAT(declared("{a: bigserial}"), ElementsAre(HasSubstr("m.yaml:3:13: the type of a parameter is one of")));
  EXPECT_THAT(declared("{a: bigin}"), ElementsAre(HasSubstr("did you mean 'bigint'?")));
  EXPECT_THAT(declared("{A: bigint}"), ElementsAre(HasSubstr("lower-case letters")));
  EXPECT_THAT(declared("{a: {type: bigint, default: x}}"),
              ElementsAre("m.yaml:3:37: the default of parameter 'a', 'x', is no whole number from "
                          "-9223372036854775808 to 9223372036854775807"));
  EXPECT_THAT(declared("{a: {default: 1}}"), ElementsAre(HasSubstr("'type' is missing in 'params'")));
  EXPECT_THAT(declared("{a: {type: date, fallback: 1}}"), ElementsAre(HasSubstr("unknown key 'fallback'")));
  EXPECT_THAT(declared("[a]"), ElementsAre(HasSubstr("'params' must be a map")));
}

TEST(Params, ThatNobodyDeclaredAreRefused) {
  auto const used = [](std::string const& sql) {
    return problems_of(
        "name: m\ntable: t\nparams: {from: {type: bigint, default: 1}}\nbackfill: {set: {v: '1'}, where: \"" + sql +
        "\"}\n");
  };
  EXPECT_THAT(used("id > {param:form}"),
              ElementsAre("m.yaml:4:34: there is no parameter 'form' in 'params' (did you mean 'from'?)"));
  EXPECT_THAT(used("id > {param from}"), ElementsAre(HasSubstr("can only begin {param:name}")));
  EXPECT_THAT(used("id > {param:from"), ElementsAre(HasSubstr("can only begin {param:name}")));
  EXPECT_THAT(used("id > '{param:from}'"), ElementsAre(HasSubstr("{param:from} stands between quotes")));
  EXPECT_THAT(used("id > {param:from}"), IsEmpty());
}

TEST(Params, OfALintedFileNeedNoValue) {
  GivenParams given;
  given.may_lack = true;
  auto const parsed = parse_migration(kFile, "m.yaml", given);
  ASSERT_TRUE(parsed.migration);
  EXPECT_EQ(parsed.migration->name, "m");
  EXPECT_THAT(parsed.migration->backfill->where, HasSubstr("id >= (NULL::pg_catalog.int8)"));
}

TEST(Variables, AreReadFromASettingOfTheTransaction) {
  auto const parsed =
      parse("name: m\ntable: t\nbackfill: {set: {h: 'f(email, ${SALT}) || ${SALT}'}, where: h IS NULL}\n");
  ASSERT_TRUE(parsed.migration) << to_lines(parsed.problems);
  auto const& sql = parsed.migration->backfill->assignments.at(0).expression;
  EXPECT_EQ(sql,
            "f(email, pg_catalog.current_setting('pgbackfill.env_SALT')) || "
            "pg_catalog.current_setting('pgbackfill.env_SALT')");
  EXPECT_THAT(variables_in_sql(sql), ElementsAre("SALT"));
  ASSERT_EQ(parsed.environment.size(), 1U);
  EXPECT_EQ(parsed.environment.at(0).name, "SALT");
  EXPECT_EQ(parsed.environment.at(0).position.column, 21);
}

TEST(Variables, ThatCannotBeMeantSoAreRefused) {
  auto const used = [](std::string const& sql) {
    return problems_of("name: m\ntable: t\nbackfill: {set: {v: \"" + sql + "\"}}\n");
  };
  EXPECT_THAT(used("f('${SALT}')"), ElementsAre(HasSubstr("${SALT} stands between quotes, where it is text")));
  EXPECT_THAT(used("f('${not this}', $$ ${SALT} $$)"), IsEmpty());
  EXPECT_THAT(used("f(${})"), ElementsAre(HasSubstr("'${' can only begin ${NAME}")));
  EXPECT_THAT(used("f(${SALT)"), ElementsAre(HasSubstr("'${' can only begin ${NAME}")));
  EXPECT_THAT(used("f(${Salt}, ${SALT})"), ElementsAre(HasSubstr("differ in upper and lower case alone")));
}

TEST(Variables, AreRefusedWhereTheirValueWouldBeKept) {
  EXPECT_THAT(
      problems_of("name: m\ntable: t\nsync: {set: {h: 'f(a, ${SALT})'}}\nbackfill: {set: {h: 'f(a, ${SALT})'}}\n"),
      ElementsAre(HasSubstr("m.yaml:3:17: ${SALT} cannot stand here: the trigger of 'sync'")));
  EXPECT_THAT(problems_of("name: m\ntable: t\nsync: {mirror: [id]}\nbackfill: {copy_to: u, columns: {id: id, h: 'f(a, "
                          "${SALT})'}}\n"),
              ElementsAre(HasSubstr("m.yaml:4:45: ${SALT} cannot stand here: the trigger of 'sync'")));
  EXPECT_THAT(problems_of("name: m\ntable: t\nexpand: [{sql: 'UPDATE u SET v = ${SALT}'}]\n"),
              ElementsAre(HasSubstr("m.yaml:3:16: ${SALT} cannot stand here: the catalog")));
}

}  // namespace
}  // namespace pgbackfill::planner
