// examples/embeddings on a real server with its real model, which tools/fetch-embedding-model has fetched.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/database_fixtures.h"
#include "tests/support/poll_until.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

constexpr char kSource[] = PGBACKFILL_SOURCE_DIR;

class EmbeddingsTest : public DatabaseTest {
 protected:
  void SetUp() override {
    auto const fetched = run_program({std::string(kSource) + "/tools/fetch-embedding-model"}, 300s);
    if (fetched.exit_code != 0) GTEST_SKIP() << "the model cannot be fetched: " << fetched.err;
    auto const python = fetched.out.substr(0, fetched.out.find('\n'));
    path_ = std::filesystem::path(python).parent_path().string() + ":" + std::getenv("PATH");
    DatabaseTest::SetUp();
    for (char const* file : {"embeddings/embed.py", "embeddings/embeddings.yaml", "compute/pgbackfill_compute.py"}) {
      std::filesystem::path const from = std::filesystem::path(kSource) / "examples" / file;
      std::filesystem::copy_file(from, dir() / from.filename());
    }
    client_->exec(
        "CREATE TABLE documents (id int PRIMARY KEY, body text NOT NULL); INSERT INTO documents VALUES (1, 'How do I "
        "get a refund?'), (2, 'I want my money back'), (3, 'The weather is nice today'), (4, ''); INSERT INTO "
        "documents "
        "SELECT g, 'document ' || g FROM generate_series(5, 60) g");
  }
  ProgramOptions here() const {
    ProgramOptions options;
    options.working_dir = dir();
    options.environment = {{"PATH", path_}};
    return options;
  }
  ProgramResult command(std::vector<std::string> words) const {
    words.insert(words.begin(), {PGBACKFILL_PROGRAM, "--dsn", dsn()});
    return run_program(words, 120s, here());
  }
  void run_and_complete() const {
    Program run({PGBACKFILL_PROGRAM, "--dsn", dsn(), "run", "embeddings.yaml"}, here());
    ASSERT_TRUE(run.wait_for_output("following documents_embedding", 120s)) << run.err();
    EXPECT_EQ(command({"complete", "embeddings.yaml"}).exit_code, kDone);
    EXPECT_EQ(run.wait(60s).exit_code, kDone) << run.err();
  }
  // Of two documents: 1 if they mean the same.
  std::string nearness(int one, int other) const {
    return "(SELECT sum(x * y) FROM documents a, documents b, unnest(a.embedding, b.embedding) u (x, y) WHERE a.id = " +
           std::to_string(one) + " AND b.id = " + std::to_string(other) + ")";
  }

  std::string path_;
};

TEST_F(EmbeddingsTest, ADocumentGetsTheMeaningOfItsText) {
  Program run({PGBACKFILL_PROGRAM, "--dsn", dsn(), "run", "embeddings.yaml"}, here());
  ASSERT_TRUE(run.wait_for_output("following documents_embedding", 120s)) << run.err();
  std::string const open = "SELECT count(*) FROM documents WHERE embedding IS NULL";
  EXPECT_EQ(client_->value(open + " AND body <> ''"), "0");
  EXPECT_EQ(client_->value("SELECT DISTINCT cardinality(embedding) FROM documents WHERE body <> ''"), "384");
  EXPECT_EQ(client_->value("SELECT " + nearness(1, 2) + " > 0.5 AND abs(" + nearness(1, 3) + ") < 0.2"), "t");
  // As the application writes that does not know the column yet.
  client_->exec("INSERT INTO documents VALUES (1000, 'A later document')");
  EXPECT_TRUE(poll_until([&] { return client_->value(open + " AND body <> ''") == "0"; }, 60s)) << run.err();
  EXPECT_EQ(command({"complete", "embeddings.yaml"}).exit_code, kDone);
  EXPECT_EQ(run.wait(60s).exit_code, kDone) << run.err();

  auto const verified = command({"verify", "embeddings.yaml"});
  EXPECT_EQ(verified.exit_code, kDone) << verified.out << verified.err;
  client_->exec("UPDATE documents SET embedding[1] = 2");
  auto const differs = command({"verify", "embeddings.yaml"});
  EXPECT_EQ(differs.exit_code, kGateClosed) << differs.out;
  EXPECT_THAT(differs.out, HasSubstr("do not have what the program says"));
}

TEST_F(EmbeddingsTest, IsStampedWhereItsStateIsGone) {
  run_and_complete();
  client_->exec("DROP SCHEMA pgbackfill CASCADE");
  auto const stamped = command({"stamp", "embeddings.yaml", "--phase", "complete", "--yes"});
  EXPECT_EQ(stamped.exit_code, kDone) << stamped.err;
}

TEST_F(EmbeddingsTest, IsRolledBack) {
  run_and_complete();
  auto const back = command({"rollback", "documents_embedding", "--yes"});
  EXPECT_EQ(back.exit_code, kDone) << back.err;
  EXPECT_EQ(client_->value("SELECT count(*) FROM pg_attribute WHERE attrelid = 'documents'::regclass AND attname = "
                           "'embedding'"),
            "0");
}

}  // namespace
}  // namespace pgbackfill::tests
