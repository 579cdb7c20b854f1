// Users' own signals: SQL on a real server, and URLs that answer well, badly, or not at all.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "engine/http/http_call.h"
#include "engine/sandbox/local_cluster.h"
#include "tests/support/http_server.h"
#include "tests/support/pg_client.h"
#include "tests/support/probes_run.h"
#include "tests/support/receiver.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using engine::LocalCluster;
using engine::UserProbe;
using throttle::Reading;
using throttle::Sight;

bool contains(std::string const& text, std::string const& part) {
  return text.find(part) != std::string::npos;
}

UserProbe with_sql(std::string sql, double limit = 0) {
  UserProbe probe;
  probe.name = "signal";
  probe.sql = std::move(sql);
  probe.limit = limit;
  probe.interval = 100ms;
  probe.timeout = 1s;
  return probe;
}

UserProbe with_url(std::string url, double limit = 0) {
  auto probe = with_sql("", limit);
  probe.url = std::move(url);
  return probe;
}

class ProbesUser : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    engine::LocalClusterOptions options;
    options.name = "probes-user";
    options.is_fsync_on = false;
    cluster_ = std::make_unique<LocalCluster>(options);
    cluster_->start();
    PgClient(cluster_->dsn()).exec("CREATE TABLE queue (id int); INSERT INTO queue VALUES (1), (2)");
  }
  static void TearDownTestSuite() { cluster_.reset(); }

  // Its first sample, whatever it is.
  static throttle::Sample<double> first_sample(UserProbe probe) {
    ProbesRun probes(cluster_->dsn(), {std::move(probe)});
    EXPECT_EQ(probes.reading().probes.at(0).value.sight, Sight::kNeverSampled);
    EXPECT_TRUE(
        probes.until([](Reading const& reading) { return reading.probes[0].value.sight != Sight::kNeverSampled; }));
    return probes.reading().probes[0].value;
  }

  static std::unique_ptr<LocalCluster> cluster_;
};

std::unique_ptr<LocalCluster> ProbesUser::cluster_;

TEST_F(ProbesUser, FollowsTheNumberOfAQuery) {
  PgClient client(cluster_->dsn());
  ProbesRun probes(cluster_->dsn(), {with_sql("SELECT count(*) FROM queue;", 10)});
  EXPECT_EQ(probes.reading().probes.at(0).name, "signal");
  EXPECT_EQ(probes.reading().probes.at(0).limit, 10);
  auto const shows = [&](double number) {
    return probes.until([number](Reading const& reading) {
      return reading.probes[0].value.is_seen() && reading.probes[0].value.value == number;
    });
  };
  EXPECT_TRUE(shows(2));
  client.exec("INSERT INTO queue VALUES (3)");
  EXPECT_TRUE(shows(3));
  client.exec("DELETE FROM queue WHERE id = 3");
}

TEST_F(ProbesUser, TakesNoErrorOfAQueryForAGoodSign) {
  struct Case {
    std::string sql;
    Sight sight;
    std::string why;
  };
  std::vector<Case> const cases = {
      {"SELECT count(*) FROM nowhere", Sight::kFailed, "nowhere"},
      {"SELECT 1 FROM queue WHERE false", Sight::kMissing, "no row"},
      {"SELECT max(id) FROM queue WHERE false", Sight::kNull, "NULL"},
      {"SELECT id FROM queue", Sight::kFailed, "2 rows"},
      {"SELECT 1, 2", Sight::kFailed, "2 columns"},
      {"SELECT 'much'", Sight::kFailed, "'much', which is no number"},
      {"SELECT true", Sight::kFailed, "(...)::int"},
      {"SELECT 'NaN'::float8", Sight::kFailed, "no number"},
      {"SELECT 1; SELECT 2", Sight::kFailed, "multiple commands"},
      {"SELECT pg_sleep(30)", Sight::kFailed, "did not answer"},
      {"DELETE FROM queue", Sight::kFailed, "read-only"},
  };
  for (auto const& each : cases) {
    SCOPED_TRACE(each.sql);
    auto const sample = first_sample(with_sql(each.sql));
    EXPECT_EQ(sample.sight, each.sight);
    EXPECT_TRUE(contains(sample.why, each.why)) << sample.why;
  }
  PgClient client(cluster_->dsn());
  EXPECT_EQ(client.value("SELECT count(*) FROM queue"), "2");
}

TEST_F(ProbesUser, SaysThatAQueryIsForbidden) {
  PgClient(cluster_->dsn()).exec("CREATE ROLE plain LOGIN");
  ProbesRun probes(cluster_->dsn() + " user=plain", {with_sql("SELECT count(*) FROM queue")});
  EXPECT_TRUE(
      probes.until([](Reading const& reading) { return reading.probes[0].value.sight == Sight::kNoPrivilege; }));
  EXPECT_TRUE(contains(probes.reading().probes[0].value.why, "permission denied for table queue"));
}

TEST_F(ProbesUser, GoesOnAfterAQueryThatTakesTooLong) {
  PgClient holder(cluster_->dsn());
  holder.exec("BEGIN; LOCK TABLE queue");
  ProbesRun probes(cluster_->dsn(), {with_sql("SELECT count(*) FROM queue")});
  EXPECT_TRUE(probes.until([](Reading const& reading) { return reading.probes[0].value.sight == Sight::kFailed; }));
  EXPECT_TRUE(probes.look_again()) << "the probe must not hold up the others";
  holder.exec("COMMIT");
  EXPECT_TRUE(probes.until([](Reading const& reading) { return reading.probes[0].value.is_seen(); }));
}

TEST_F(ProbesUser, IsContentWithAUrlThatAnswers200AndWithNothingElse) {
  HttpServer server;
  server.answer(200, "fine");
  ProbesRun probes(cluster_->dsn(), {with_url(server.url("/ready?deep=1"))});
  EXPECT_TRUE(probes.until([](Reading const& reading) { return reading.probes[0].value.is_seen(); }));
  EXPECT_EQ(probes.reading().probes[0].value.value, 0);
  EXPECT_EQ(server.request(), "GET /ready?deep=1 HTTP/1.1");
  for (unsigned const status : {500U, 503U, 404U, 204U, 302U}) {
    server.answer(status, "");
    EXPECT_TRUE(probes.until([&](Reading const& reading) {
      return reading.probes[0].value.value > reading.probes[0].limit &&
             contains(reading.probes[0].value.why, std::to_string(status));
    })) << status;
    server.answer(200, "");
    EXPECT_TRUE(probes.until([](Reading const& reading) { return reading.probes[0].value.value == 0; }));
  }
}

TEST_F(ProbesUser, TakesSilenceForABadSign) {
  HttpServer server;
  server.answer(200, "");
  ProbesRun probes(cluster_->dsn(), {with_url(server.url())});
  EXPECT_TRUE(probes.until([](Reading const& reading) { return reading.probes[0].value.is_seen(); }));
  server.say_nothing();
  EXPECT_TRUE(probes.until([](Reading const& reading) { return reading.probes[0].value.sight == Sight::kFailed; }));
  server.answer(200, "");
  EXPECT_TRUE(probes.until([](Reading const& reading) { return reading.probes[0].value.is_seen(); }));
}

TEST_F(ProbesUser, AsksOverTlsWhomItTrusts) {
  auto const folder = std::filesystem::temp_directory_path() / "pgbackfill-probes-tls";
  std::filesystem::create_directories(folder);
  auto const certificate = make_certificate(folder);
  Receiver server("200", &certificate);
  auto probe = with_url(server.url());
  auto const sample = first_sample(probe);
  EXPECT_EQ(sample.sight, Sight::kFailed);
  EXPECT_TRUE(contains(sample.why, "is not trusted")) << sample.why;
  setenv("SSL_CERT_FILE", certificate.file.c_str(), 1);
  EXPECT_EQ(first_sample(probe).sight, Sight::kSeen);
  unsetenv("SSL_CERT_FILE");
  probe.ca_file = certificate.file;
  EXPECT_EQ(first_sample(probe).sight, Sight::kSeen);
  std::filesystem::remove_all(folder);
}

TEST_F(ProbesUser, SaysThatNobodyListens) {
  int const port = engine::free_loopback_port();
  auto const sample = first_sample(with_url(fmt::format("http://127.0.0.1:{}/", port)));
  EXPECT_EQ(sample.sight, Sight::kFailed);
  EXPECT_TRUE(contains(sample.why, std::to_string(port))) << sample.why;
}

TEST_F(ProbesUser, ReadsTheValueOfAPrometheusQuery) {
  HttpServer server;
  server.answer(200, R"({"status":"success","data":{"resultType":"vector","result":[
      {"metric":{"pod":"a"},"value":[1435781451.781,"0.25"]},
      {"metric":{"pod":"b"},"value":[1435781451.781,"0.75"]}]}})");
  ProbesRun probes(cluster_->dsn(), {with_url(server.url("/api/v1/query?query=load"), 0.5)});
  EXPECT_TRUE(probes.until([](Reading const& reading) {
    return reading.probes[0].value.is_seen() && reading.probes[0].value.value == 0.75;
  }));
  server.answer(400, R"({"status":"error","errorType":"bad_data","error":"no such function"})");
  EXPECT_TRUE(probes.until([](Reading const& reading) { return reading.probes[0].value.sight == Sight::kFailed; }));
  EXPECT_TRUE(contains(probes.reading().probes[0].value.why, "no such function"));
}

TEST_F(ProbesUser, DoesNotReadAnEndlessAnswer) {
  HttpServer server;
  server.answer(200, std::string(engine::kMostAnswerBytes + 1, 'x'));
  auto const sample = first_sample(with_url(server.url()));
  EXPECT_EQ(sample.sight, Sight::kFailed);
}

}  // namespace
}  // namespace pgbackfill::tests
