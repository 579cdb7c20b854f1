// pgbackfill.yaml: how it is read, what is refused, and how it lies under a migration.
#include "planner/file/config_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "planner/file/migration_file.h"
#include "planner/file/migration_schema.h"

namespace pgbackfill::planner {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

ConfigFile config_of(std::string const& text) {
  auto parsed = parse_config(text, "pgbackfill.yaml");
  EXPECT_TRUE(parsed.problems.empty()) << to_lines(parsed.problems);
  return parsed.config ? *parsed.config : ConfigFile();
}

std::vector<std::string> problems_of(std::string const& text) {
  std::vector<std::string> lines;
  for (auto const& problem : parse_config(text, "pgbackfill.yaml").problems) lines.push_back(to_string(problem));
  return lines;
}

Migration migration_of(std::string const& more) {
  auto parsed = parse_migration("name: m\ntable: t\nbackfill: {set: {a: \"1\"}}\n" + more, "m.yaml");
  EXPECT_TRUE(parsed.problems.empty()) << to_lines(parsed.problems);
  return std::move(*parsed.migration);
}

TEST(ConfigFile, ReadsWhatAllMigrationsHaveInCommon) {
  auto const config = config_of(R"yaml(database_url_variable: SHOP_URL
folder: migrations
throttle: {replica_lag: 2s}
before:
  contract: [{command: ./before}]
on:
  failure: [{slack: {url: "${SLACK_WEBHOOK}"}}]
)yaml");
  EXPECT_EQ(config.database_url_variable, "SHOP_URL");
  EXPECT_EQ(config.folder, "migrations");
  EXPECT_EQ(config.folder_position.line, 2);
  EXPECT_EQ(config.throttle.settings.at(0).text, "2s");
  EXPECT_EQ(config.hooks.at(0).boundary, Boundary::kBeforeContract);
  EXPECT_EQ(config.on.at(0).occasion, Occasion::kFailure);
  EXPECT_TRUE(config_of("").on.empty());
  EXPECT_TRUE(config_of("\n  # nothing yet\n").on.empty());
}

TEST(ConfigFile, SaysWhereAndWhatIsWrong) {
  EXPECT_THAT(problems_of("folders: x\n"), ElementsAre("pgbackfill.yaml:1:1: unknown key 'folders' (did you mean "
                                                       "'folder'?)"));
  EXPECT_THAT(problems_of("backfill: {workers: 2}\n"),
              ElementsAre("pgbackfill.yaml:1:1: unknown key 'backfill' (it belongs in the file of a migration)"));
  EXPECT_THAT(problems_of("throttle: {replica_lag: much}\n"), ElementsAre(HasSubstr("pgbackfill.yaml:1:25: ")));
  EXPECT_THAT(problems_of("- x\n"), ElementsAre(HasSubstr("this file is a map of keys")));
  EXPECT_THAT(problems_of("folder: [x\n"), ElementsAre(HasSubstr("pgbackfill.yaml:")));
  EXPECT_THAT(problems_of("database_url_variable: postgresql://app:hunter2@db/shop\n"),
              ElementsAre(AllOf(HasSubstr("pgbackfill.yaml:1:24: "), HasSubstr("the name of a variable"),
                                Not(HasSubstr("hunter")))));
}

TEST(ConfigFile, LiesUnderWhatAMigrationSays) {
  auto const config = config_of(R"yaml(throttle: {replica_lag: 2s, lock_wait: 20ms}
before:
  backup: {command: ./backup}
  backfill: [{command: ./common}]
  contract: [{command: ./common}]
on:
  failure: [{command: ./common}]
  done: [{command: ./common}]
)yaml");
  auto migration = migration_of(
      "throttle: {replica_lag: 5s}\nbefore: {backfill: [{command: ./own}]}\non: {failure: [{command: ./own}]}\n");
  EXPECT_THAT(lay_under(config, migration), IsEmpty());
  ASSERT_EQ(migration.throttle.settings.size(), 2U);
  EXPECT_EQ(migration.throttle.settings[0].text, "5s");
  EXPECT_EQ(migration.throttle.settings[1].text, "20ms");
  ASSERT_EQ(migration.hooks.size(), 2U) << "a migration without contract has no hook before it";
  EXPECT_EQ(migration.hooks[0].what, "./own");
  EXPECT_EQ(migration.hooks[1].what, "./backup");
  ASSERT_EQ(migration.on.size(), 2U);
  EXPECT_EQ(migration.on[0].deliveries[0].command, "./own");
  EXPECT_EQ(migration.on[1].occasion, Occasion::kDone);
  EXPECT_THAT(from_elsewhere(migration),
              ElementsAre("throttle.lock_wait: 20ms, from pgbackfill.yaml:1", "backup, from pgbackfill.yaml:3",
                          "on.done, from pgbackfill.yaml:8"));
}

TEST(ConfigFile, ItsSchemaIsPublished) {
  std::string const path = std::string(PGBACKFILL_SOURCE_DIR) + "/docs/config.schema.json";
  std::ifstream file{path, std::ios::binary};
  std::stringstream published;
  published << file.rdbuf();
  EXPECT_EQ(published.str(), config_json_schema())
      << "docs/config.schema.json is not what config_json_schema() gives; write this to it:\n"
      << config_json_schema();
}

}  // namespace
}  // namespace pgbackfill::planner
