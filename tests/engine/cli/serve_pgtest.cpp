// `pgbackfill serve` on a real server: what it shows, to whom, what it does for whom, and what it refuses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <boost/json/parse.hpp>
#include <chrono>
#include <string>
#include <vector>

#include "tests/support/database_fixtures.h"
#include "tests/support/html_check.h"
#include "tests/support/poll_until.h"
#include "tests/support/served_site.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

constexpr int kOk = 200;
constexpr int kSeeOther = 303;
constexpr int kBadRequest = 400;
constexpr int kUnauthorized = 401;
constexpr int kForbidden = 403;
constexpr int kNotFound = 404;
constexpr int kConflict = 409;
constexpr int kTooLarge = 413;
constexpr int kMisdirected = 421;
constexpr int kHeaderTooLarge = 431;
constexpr int kUnavailable = 503;

boost::json::object json_of(HttpReply const& reply) {
  boost::system::error_code error;
  auto const value = boost::json::parse(reply.body, error);
  EXPECT_FALSE(error) << reply.head << reply.body;
  return value.is_object() ? value.get_object() : boost::json::object();
}

std::string text_at(boost::json::object const& object, char const* key) {
  auto const* value = object.if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : "";
}

class ServeTest : public DatabaseTest {
 protected:
  void make_table(std::string const& name = "t") {
    client_->exec(
        "CREATE TABLE " + name + " (id int PRIMARY KEY, n int, note text); INSERT INTO " + name +
        " SELECT g, g, CASE WHEN g = 7 THEN 'secret of seven' ELSE g::text END FROM generate_series(1, 100) g");
  }

  // One that is complete.
  void make_migration(std::string const& name = "m", std::string const& more = "") {
    make_table("t_" + name);
    write(name + ".yaml", "name: " + name + "\ntable: t_" + name + "\nbackfill:\n  set: {n: n + 1}\n" + more);
    ASSERT_EQ(run({"run", name + ".yaml"}).exit_code, kDone);
  }

  // One that has only begun, and nobody works on.
  void make_half_done() {
    make_table("t_half");
    write("half.yaml",
          "name: half\ntable: t_half\nbackfill:\n  set: {n: \"note::int\"}\n  on_bad_row: {quarantine: 5}\n"
          "  batch: {min_rows: 10, max_rows: 10}\ncontract:\n  - set_not_null: n\n  - drop_column: note\n");
    ASSERT_EQ(run({"run", "half.yaml", "--limit", "20"}).exit_code, kResumable);
  }

  ServedSite reader(std::vector<std::string> options = {}) const {
    options.insert(options.end(), {"--dsn", dsn()});
    return ServedSite(options);
  }

  ServedSite steerable(std::vector<std::string> options = {}) const {
    write("tokens", kTokenLine);
    options.insert(options.end(), {"--dsn", dsn(), "--allow-control", "--token-file", (dir() / "tokens").string()});
    return ServedSite(options);
  }

  std::string latest_event() const {
    return client_->value(
        "SELECT kind || ' by ' || os_user || '@' || host FROM pgbackfill.events ORDER BY id DESC LIMIT 1");
  }
  std::string status_of(std::string const& name) const {
    return client_->value("SELECT status FROM pgbackfill.jobs WHERE name = '" + name + "'");
  }
};

// --- reading ---------------------------------------------------------------------------------------------------------

TEST_F(ServeTest, ShowsAllMigrationsAndOneOfThem) {
  make_migration();
  make_half_done();
  auto const site = reader();
  auto const all = site.get("/");
  EXPECT_EQ(all.status, kOk);
  EXPECT_EQ(html_trouble(all.body, PageKind::kServed), "");
  EXPECT_THAT(html_words(all.body), AllOf(HasSubstr("half"), HasSubstr("complete"), HasSubstr("read-only")));
  auto const one = site.get("/migrations/half");
  EXPECT_EQ(one.status, kOk) << one.body;
  EXPECT_EQ(html_trouble(one.body, PageKind::kServed), "");
  EXPECT_THAT(html_words(one.body), AllOf(HasSubstr("22P02"), HasSubstr("public.t_half"), HasSubstr("set_not_null: n"),
                                          Not(HasSubstr("secret of seven")), HasSubstr("no process")));
  EXPECT_THAT(one.body, Not(HasSubstr("<form")));
  auto const policy = head_field(one, "Content-Security-Policy");
  EXPECT_THAT(policy, AllOf(HasSubstr("default-src 'none'"), HasSubstr("frame-ancestors 'none'")));
  EXPECT_EQ(head_field(one, "Referrer-Policy"), "same-origin");
  auto const style = site.get("/style.css");
  EXPECT_EQ(style.status, kOk);
  std::size_t bytes = one.body.size() + style.body.size();
  for (char const* path : {"/live.js", "/charts.js", "/uplot.js"}) {
    auto const script = site.get(path);
    EXPECT_EQ(script.status, kOk) << path;
    EXPECT_THAT(one.body, HasSubstr(std::string("<script src=\"") + path)) << path;
    bytes += script.body.size();
  }
  EXPECT_LT(bytes, 300'000U);
}

TEST_F(ServeTest, HasTheValuesOfTheCommandsAsJson) {
  make_migration();
  auto const site = reader();
  auto const all = json_of(site.get("/api/v1/migrations")).at("migrations").as_array();
  ASSERT_EQ(all.size(), 1U);
  auto const shown = boost::json::parse(run({"status", "m", "--format", "json"}).out).as_object();
  auto const one = json_of(site.get("/api/v1/migrations/m"));
  for (auto const& [key, value] : shown) {
    // Of a moment, or with what may be in a row.
    if (key == "last_batch_age_ms" || key == "quarantine" || key == "costs") continue;
    ASSERT_TRUE(one.contains(key)) << key;
    EXPECT_EQ(one.at(key), value) << key;
  }
  auto const report = boost::json::parse(run({"report", "m", "--format", "json"}).out).as_object();
  auto const served = json_of(site.get("/api/v1/migrations/m/report"));
  for (char const* key : {"steps", "marks", "file", "rows_done"}) {
    ASSERT_TRUE(report.contains(key)) << key;
    EXPECT_EQ(served.at(key), report.at(key)) << key;
  }
  EXPECT_EQ(text_at(json_of(site.get("/api/v1/openapi.json")), "openapi"), "3.1.0");
}

TEST_F(ServeTest, ShowsKeysAndErrorsOfRowsOnlyIfItIsToldTo) {
  make_half_done();
  for (char const* path :
       {"/migrations/half", "/api/v1/migrations/half", "/api/v1/migrations/half/report", "/", "/api/v1/migrations"}) {
    EXPECT_THAT(reader().get(path).body, Not(HasSubstr("secret of seven"))) << path;
  }
  auto const open = reader({"--show-values"});
  EXPECT_THAT(html_words(open.get("/migrations/half").body), HasSubstr("secret of seven"));
  EXPECT_THAT(open.get("/api/v1/migrations/half").body, AllOf(HasSubstr("secret of seven"), HasSubstr("\"id\":\"7\"")));
}

TEST_F(ServeTest, SaysWhatToDoWhereThereIsNothing) {
  auto const empty = reader();
  auto const page = empty.get("/");
  EXPECT_EQ(page.status, kNotFound);
  EXPECT_THAT(html_words(page.body), AllOf(HasSubstr("has no schema pgbackfill yet"), HasSubstr("pgbackfill init")));
  EXPECT_EQ(empty.get("/migrations/m").status, kNotFound);
  make_migration("month");
  auto const site = reader();
  auto const unknown = site.get("/migrations/mont");
  EXPECT_EQ(unknown.status, kNotFound);
  EXPECT_THAT(html_words(unknown.body), AllOf(HasSubstr("no migration 'mont'"), HasSubstr("month")));
  EXPECT_THAT(text_at(json_of(site.get("/api/v1/migrations/mont")), "error"), HasSubstr("no migration 'mont'"));
  auto const file = site.get("/migrations/%2Fetc%2Fpasswd");
  EXPECT_EQ(file.status, kNotFound);
  EXPECT_THAT(html_words(file.body), HasSubstr("no migration '/etc/passwd'"));
  for (char const* path : {"/nothing", "/migrations/", "/migrations/month/nothing", "/live/month/nothing",
                           "/api/v1/nothing", "/api/v1/migrations/"}) {
    EXPECT_EQ(site.get(path).status, kNotFound) << path;
  }
}

TEST_F(ServeTest, SeesASchemaThatComesLater) {
  auto const site = reader();
  EXPECT_EQ(site.get("/").status, kNotFound);
  make_migration();
  auto const is_there = [&] { return site.get("/migrations/m").status == kOk; };
  EXPECT_TRUE(poll_until(is_there, 30s, 100ms));
}

TEST_F(ServeTest, DoesNotReadAnotherVersionsState) {
  make_migration();
  client_->exec("INSERT INTO pgbackfill.meta (version) VALUES (1000)");
  auto const page = reader().get("/");
  EXPECT_EQ(page.status, kUnavailable);
  EXPECT_THAT(html_words(page.body), HasSubstr("schema pgbackfill has version 1000"));
}

TEST_F(ServeTest, ShowsTheOthersWhileADatabaseIsAway) {
  make_migration();
  auto const site = reader({"--dsn", "host=127.0.0.1 port=1 dbname=gone user=x connect_timeout=2"});
  auto const all = site.get("/");
  EXPECT_EQ(all.status, kOk);
  EXPECT_THAT(html_words(all.body), AllOf(HasSubstr("cannot connect to"), HasSubstr("complete")));
  EXPECT_EQ(site.get("/migrations/m?database=" + database_).status, kOk);
  auto const gone = site.get("/migrations/m?database=gone");
  EXPECT_EQ(gone.status, kUnavailable);
  EXPECT_THAT(html_words(gone.body), HasSubstr("cannot connect to"));
  EXPECT_EQ(site.get("/migrations/m?database=unknown").status, kNotFound);
  EXPECT_EQ(site.get("/api/v1/migrations/m").status, kOk) << "only one has it";
  EXPECT_EQ(site.get("/api/v1/migrations/unknown").status, kConflict);
}

TEST_F(ServeTest, ComesBackWhenItsSessionIsEnded) {
  make_migration();
  auto const site = reader();
  EXPECT_EQ(site.get("/").status, kOk);
  client_->exec(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pgbackfill' AND datname = "
      "current_database()");
  auto const is_back = [&] { return site.get("/migrations/m").status == kOk; };
  EXPECT_TRUE(poll_until(is_back, 30s, 100ms));
}

TEST_F(ServeTest, NeedsOnlyToRead) {
  make_half_done();
  client_->exec(
      "DROP ROLE IF EXISTS looker; CREATE ROLE looker LOGIN; GRANT USAGE ON SCHEMA pgbackfill TO looker; GRANT SELECT "
      "ON "
      "ALL TABLES IN SCHEMA pgbackfill TO looker");
  ServedSite const site({"--dsn", dsn("looker")});
  auto const page = site.get("/migrations/half");
  EXPECT_EQ(page.status, kOk) << page.body;
  EXPECT_THAT(page.body, HasSubstr("<section aria-labelledby=\"h-notes\" hidden=\"hidden\">"));
  client_->exec("DROP OWNED BY looker; DROP ROLE looker");
}

TEST_F(ServeTest, HasOneConnectionHoweverManyLook) {
  make_migration();
  make_half_done();
  auto const site = reader();
  for (int round = 0; round < 30; ++round) {
    EXPECT_EQ(site.get(round % 2 == 0 ? "/migrations/m" : "/migrations/half").status, kOk);
  }
  EXPECT_EQ(client_->value("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbackfill' AND datname = "
                           "current_database()"),
            "1");
}

TEST_F(ServeTest, NobodyBreaksOutOfItByAName) {
  std::string const evil = "\"</td><script>alert(1)</script>\"";
  make_table(evil);
  write("m.yaml",
        "name: m\ntable: '" + evil + "'\nbackfill:\n  set: {n: n + 1}\n  where: \"note <> '</pre><script>'\"\n");
  ASSERT_EQ(run({"run", "m.yaml", "--limit", "10"}).exit_code, kResumable);
  ASSERT_EQ(run({"cancel", "m", "--reason", "</li><script>alert(2)</script>\x1b[31m"}).exit_code, kDone);
  auto const site = steerable();
  for (char const* path : {"/", "/migrations/m", "/migrations/%3Cscript%3E"}) {
    auto const page = site.get(path, with_token());
    EXPECT_EQ(html_trouble(page.body, PageKind::kServed), "") << path;
    EXPECT_EQ(page.body.find("<script>"), std::string::npos) << path;
  }
}

// --- live ------------------------------------------------------------------------------------------------------------

// The first events of a stream, until it has said this, or nothing for a while.
std::string events_of(std::uint16_t port, std::string const& path, std::string const& until) {
  namespace asio = boost::asio;
  asio::io_context io;
  asio::ip::tcp::socket socket(io);
  socket.connect({asio::ip::make_address("127.0.0.1"), port});
  timeval const patience{30, 0};
  setsockopt(socket.native_handle(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  asio::write(socket, asio::buffer("GET " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  std::string text;
  char part[65536];
  while (text.find(until) == std::string::npos) {
    boost::system::error_code error;
    auto const got = socket.read_some(asio::buffer(part), error);
    if (error) break;
    text.append(part, got);
  }
  return text;
}

TEST_F(ServeTest, TellsWhatChangesWhileItChanges) {
  make_half_done();
  auto const site = reader();
  ASSERT_EQ(site.get("/migrations/half").status, kOk);
  auto const first = events_of(site.port(), "/live/half?since=0", "\"progress\"");
  EXPECT_THAT(first, AllOf(HasSubstr("Content-Type: text/event-stream"), HasSubstr("data: {\"version\":")));
  ASSERT_EQ(run({"pause", "half", "--reason", "incident"}).exit_code, kDone);
  EXPECT_THAT(events_of(site.port(), "/live/half?since=0", "incident"), HasSubstr("incident"));
  EXPECT_THAT(events_of(site.port(), "/live", "\"migrations\""), HasSubstr("\"troubles\""));
  EXPECT_THAT(events_of(site.port(), "/api/v1/events", "paused"), HasSubstr("\"status\":\"paused\""));
  EXPECT_THAT(events_of(site.port(), "/api/v1/migrations/half/events", "paused"), HasSubstr("\"migration\":\"half\""));
}

// --- who may come ----------------------------------------------------------------------------------------------------

TEST_F(ServeTest, AnswersToItsOwnNamesAlone) {
  make_migration();
  auto const site = reader({"--host", "watch.example"});
  EXPECT_EQ(site.get("/", {{"Host", "watch.example:80"}}).status, kOk);
  EXPECT_EQ(site.get("/", {{"Host", "localhost"}}).status, kOk);
  auto const foreign = site.get("/migrations/m", {{"Host", "evil.example"}});
  EXPECT_EQ(foreign.status, kMisdirected);
  EXPECT_THAT(foreign.body, AllOf(HasSubstr("--host NAME"), Not(HasSubstr("public.t_m"))));
  EXPECT_EQ(site.get("/api/v1/migrations", {{"Host", "evil.example"}}).status, kMisdirected);
  EXPECT_EQ(site.get("/live", {{"Host", "evil.example"}}).status, kMisdirected);
}

TEST_F(ServeTest, ChangesNothingUnlessItIsAllowedTo) {
  make_half_done();
  auto const site = reader();
  auto const refused = site.post("/api/v1/migrations/half/pause", {}, with_token());
  EXPECT_EQ(refused.status, kForbidden);
  EXPECT_THAT(text_at(json_of(refused), "error"), HasSubstr("--allow-control"));
  EXPECT_EQ(status_of("half"), "running");
}

TEST_F(ServeTest, RefusesAChangeWithoutATokenOrFromAnotherOrigin) {
  make_half_done();
  auto const site = steerable();
  auto const anonymous = site.post("/api/v1/migrations/half/pause", {});
  EXPECT_EQ(anonymous.status, kUnauthorized);
  EXPECT_EQ(head_field(anonymous, "WWW-Authenticate"), "Bearer");
  EXPECT_EQ(site.post("/api/v1/migrations/half/pause", {}, {{"Authorization", "Bearer wrong"}}).status, kUnauthorized);
  auto const page = site.post("/migrations/half/pause", {});
  EXPECT_EQ(page.status, kSeeOther);
  EXPECT_THAT(head_field(page, "Location"), StartsWith("/login"));
  for (char const* origin : {"http://evil.example", "null", "https://127.0.0.1"}) {
    auto head = with_token();
    head.emplace_back("Origin", origin);
    EXPECT_EQ(site.post("/api/v1/migrations/half/pause", {}, head).status, kForbidden) << origin;
  }
  auto foreign = with_token();
  foreign.emplace_back("Host", "evil.example");
  EXPECT_EQ(site.post("/api/v1/migrations/half/pause", {}, foreign).status, kMisdirected);
  EXPECT_EQ(status_of("half"), "running");
}

TEST_F(ServeTest, ASessionNeedsTheSecretOfItsForm) {
  make_half_done();
  auto const site = steerable();
  auto const wrong = site.post("/login", {{"token", "not this one, not this one"}, {"back", "/"}});
  EXPECT_EQ(wrong.status, kUnauthorized);
  auto const elsewhere = site.post("/login", {{"token", kToken}, {"back", "//evil.example/"}});
  EXPECT_EQ(head_field(elsewhere, "Location"), "/");
  auto const login =
      site.post("/login", {{"token", kToken}, {"back", "/migrations/half"}}, {{"Origin", site.origin()}});
  ASSERT_EQ(login.status, kSeeOther) << login.body;
  EXPECT_EQ(head_field(login, "Location"), "/migrations/half");
  auto const set = head_field(login, "Set-Cookie");
  EXPECT_THAT(set, AllOf(HasSubstr("HttpOnly"), HasSubstr("SameSite=Strict")));
  Head const session = {{"Cookie", set.substr(0, set.find(';'))}, {"Origin", site.origin()}};
  auto const page = site.get("/migrations/half", session);
  EXPECT_EQ(html_trouble(page.body, PageKind::kServed), "");
  EXPECT_THAT(page.body, HasSubstr("alice"));
  std::string const before = "name=\"csrf\" value=\"";
  auto const at = page.body.find(before);
  ASSERT_NE(at, std::string::npos);
  auto const secret = page.body.substr(at + before.size(), 64);

  EXPECT_EQ(site.post("/migrations/half/pause", {{"reason", "x"}}, session).status, kForbidden);
  EXPECT_EQ(site.post("/migrations/half/pause", {{"csrf", std::string(64, '0')}}, session).status, kForbidden);
  EXPECT_EQ(status_of("half"), "running");
  auto const paused = site.post("/migrations/half/pause", {{"csrf", secret}, {"reason", "lunch"}}, session);
  EXPECT_EQ(paused.status, kSeeOther);
  EXPECT_EQ(head_field(paused, "Location"), "/migrations/half");
  EXPECT_EQ(status_of("half"), "paused");
  auto const notice = head_field(paused, "Set-Cookie");
  auto const after = site.get("/migrations/half", {{"Cookie", notice.substr(0, notice.find(';'))}});
  EXPECT_THAT(html_words(after.body), AllOf(HasSubstr("half is paused"), HasSubstr("lunch")));
  EXPECT_THAT(head_field(after, "Set-Cookie"), HasSubstr("Max-Age=0"));
  EXPECT_EQ(site.post("/logout", {{"csrf", secret}}, session).status, kSeeOther);
}

TEST_F(ServeTest, ShowsNothingToStrangersIfItIsPrivate) {
  make_migration();
  auto const site = steerable({"--private"});
  auto const page = site.get("/migrations/m");
  EXPECT_EQ(page.status, kSeeOther);
  EXPECT_EQ(site.get("/login").status, kOk);
  EXPECT_EQ(site.get("/api/v1/migrations").status, kUnauthorized);
  EXPECT_EQ(site.get("/live/m").status, kSeeOther);
  EXPECT_EQ(site.get("/api/v1/migrations", with_token()).status, kOk);
}

// --- what is done ----------------------------------------------------------------------------------------------------

TEST_F(ServeTest, DoesEachThingThatItCanBeAsked) {
  make_half_done();
  auto const site = steerable();
  auto const ask = [&](std::string const& word, Form const& form = {}) {
    return site.post("/api/v1/migrations/half/" + word, form, with_token());
  };
  EXPECT_EQ(ask("pause", {{"reason", "incident 4711"}, {"for", "2h"}}).status, kOk);
  EXPECT_EQ(status_of("half"), "paused");
  EXPECT_EQ(latest_event(), "paused by alice@127.0.0.1");
  EXPECT_EQ(client_->value("SELECT paused_until IS NOT NULL FROM pgbackfill.jobs"), "t");
  EXPECT_EQ(client_->value("SELECT status_reason FROM pgbackfill.jobs"), "incident 4711 (by alice@127.0.0.1)");
  EXPECT_EQ(ask("resume").status, kOk);
  EXPECT_EQ(latest_event(), "resumed by alice@127.0.0.1");
  EXPECT_EQ(ask("set", {{"key", "throttle.max_rows_per_second"}, {"value", "50"}}).status, kOk);
  EXPECT_EQ(client_->value("SELECT settings ->> 'throttle.max_rows_per_second' FROM pgbackfill.jobs"), "50");
  EXPECT_EQ(ask("retry-quarantine").status, kOk);
  EXPECT_EQ(client_->value("SELECT count(*) FROM pgbackfill.quarantine"), "0");
  EXPECT_EQ(ask("cancel", {{"reason", "enough"}}).status, kOk);
  EXPECT_EQ(status_of("half"), "cancelled");
  EXPECT_EQ(latest_event(), "cancelled by alice@127.0.0.1");
}

TEST_F(ServeTest, SaysWhyAThingCannotBeDone) {
  make_half_done();
  auto const site = steerable();
  auto const error = [&](std::string const& word, Form const& form, int status) {
    auto const reply = site.post("/api/v1/migrations/" + word, form, with_token());
    EXPECT_EQ(reply.status, status) << word << reply.body;
    return text_at(json_of(reply), "error");
  };
  EXPECT_THAT(error("half/pause", {{"for", "soon"}}, kBadRequest), HasSubstr("'soon' is no time to pause for"));
  EXPECT_THAT(error("half/set", {{"key", "workrs"}, {"value", "2"}}, kBadRequest), HasSubstr("unknown key 'workrs'"));
  EXPECT_THAT(error("half/set", {{"key", "workers"}, {"value", "-1"}}, kBadRequest), HasSubstr("a number from 1 to"));
  EXPECT_THAT(error("half/release-leases", {{"process", "ab"}}, kBadRequest), HasSubstr("no process 'ab' holds"));
  EXPECT_THAT(error("half/approve", {}, kBadRequest), HasSubstr("'plan' is missing"));
  EXPECT_THAT(error("half/explode", {}, kNotFound), HasSubstr("nothing can be done"));
  EXPECT_THAT(error("nobody/pause", {}, kBadRequest), HasSubstr("no backfill 'nobody'"));
  EXPECT_THAT(error("nobody/approve", {{"plan", "x"}}, kNotFound), HasSubstr("no migration 'nobody'"));
  EXPECT_EQ(status_of("half"), "running");
  EXPECT_EQ(client_->value("SELECT count(*) FROM pgbackfill.approvals"), "0");
}

TEST_F(ServeTest, AnApprovalIsOfTheStepsThatWereShown) {
  make_half_done();
  auto const site = steerable();
  auto const page = site.get("/migrations/half/approve", with_token());
  ASSERT_EQ(page.status, kOk) << page.body;
  EXPECT_EQ(html_trouble(page.body, PageKind::kServed), "");
  EXPECT_THAT(html_words(page.body), AllOf(HasSubstr("set_not_null"), HasSubstr("drop_column")));
  auto const contract = json_of(site.get("/api/v1/migrations/half/contract", with_token()));
  auto const hash = text_at(contract, "plan_hash");
  EXPECT_THAT(page.body, HasSubstr(hash));
  auto const stale = site.post("/api/v1/migrations/half/approve", {{"plan", std::string(64, '0')}}, with_token());
  EXPECT_EQ(stale.status, kBadRequest);
  EXPECT_THAT(text_at(json_of(stale), "error"), HasSubstr("nothing was approved"));
  EXPECT_EQ(client_->value("SELECT count(*) FROM pgbackfill.approvals"), "0");
  auto const approved =
      site.post("/api/v1/migrations/half/approve", {{"plan", hash}, {"reason", "it is Friday"}}, with_token());
  EXPECT_EQ(approved.status, kOk) << approved.body;
  EXPECT_EQ(client_->value("SELECT reason || ' ' || os_user || ' ' || plan_hash FROM pgbackfill.approvals"),
            "it is Friday alice " + hash);
  EXPECT_THAT(html_words(site.get("/migrations/half", with_token()).body), HasSubstr("it is Friday"));
  EXPECT_EQ(site.get("/migrations/half/approve").status, kSeeOther) << "of nobody";
}

TEST_F(ServeTest, FreesTheRangesOfAProcessThatIsGone) {
  make_half_done();
  client_->exec(
      "UPDATE pgbackfill.ranges SET owner = 'gone42/0', host = 'elsewhere', machine = 'another', pid = 5, "
      "lease_expires "
      "= clock_timestamp() + interval '5 minutes' WHERE NOT done");
  auto const site = steerable();
  EXPECT_THAT(site.get("/migrations/half", with_token()).body,
              AllOf(HasSubstr("name=\"process\" value=\"gone42\""), HasSubstr("not heard of")));
  auto const freed = site.post("/api/v1/migrations/half/release-leases", {{"process", "gone42"}}, with_token());
  EXPECT_EQ(freed.status, kOk) << freed.body;
  EXPECT_EQ(client_->value("SELECT count(*) FROM pgbackfill.ranges WHERE owner IS NOT NULL"), "0");
  EXPECT_EQ(latest_event(), "leases taken by alice@127.0.0.1");
}

// --- how it is started -----------------------------------------------------------------------------------------------

TEST_F(ServeTest, RefusesToStartWhereItWouldLetOthersIn) {
  write("tokens", kTokenLine);
  write("short", "alice 123\n");
  write("odd", "alice 0123456789abcdef more\n");
  write("none", "# nobody\n");
  auto const refused = [&](std::vector<std::string> words) {
    words.insert(words.begin(), "serve");
    auto const result = run(words);
    EXPECT_EQ(result.exit_code, kUsage) << result.err;
    return result.err;
  };
  EXPECT_THAT(refused({"--listen", "0", "--allow-control"}), HasSubstr("--token-file FILE"));
  EXPECT_THAT(refused({"--listen", "0", "--private"}), HasSubstr("--token-file FILE"));
  EXPECT_THAT(refused({"--listen", "0.0.0.0:0", "--allow-control", "--token-file", "tokens"}),
              AllOf(HasSubstr("plain text"), HasSubstr("--tls-cert"), HasSubstr("--behind-tls-proxy")));
  EXPECT_THAT(refused({"--listen", "0", "--token-file", "short"}), HasSubstr("short:1: the token has less than 16"));
  EXPECT_THAT(refused({"--listen", "0", "--token-file", "odd"}), HasSubstr("odd:1: a line is NAME TOKEN"));
  EXPECT_THAT(refused({"--listen", "0", "--token-file", "none"}), HasSubstr("has no token"));
  EXPECT_THAT(refused({"--listen", "0", "--token-file", "missing"}), HasSubstr("missing: cannot be read"));
  EXPECT_THAT(refused({"--listen", "0", "--tls-cert", "x"}), HasSubstr("both --tls-cert and --tls-key"));
  EXPECT_THAT(refused({"--listen", "0", "--tls-cert", "x.pem", "--tls-key", "y.pem"}),
              HasSubstr("x.pem cannot be used"));
  EXPECT_THAT(refused({"--listen", "0", "--dsn", "host=/tmp user"}), HasSubstr("--dsn"));
}

// Asks for a page, and for a pause by the form that is on it; with the certificate that it is given, or none.
constexpr char kTlsClient[] = R"py(
import http.client, re, ssl, sys, urllib.parse
port, ca, certificate, key = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
context.check_hostname = False
if certificate:
    context.load_cert_chain(certificate, key)
def ask(method, body=None):
    connection = http.client.HTTPSConnection("127.0.0.1", int(port), context=context, timeout=30)
    connection.request(method, "/migrations/half" + ("/pause" if body is not None else ""), body)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()
status, page = ask("GET")
form = re.search(r'name="csrf" value="([0-9a-f]{64})"', page)
print("page", status, "carol" in page)
print("without", ask("POST", "")[0])
if form:
    print("with", ask("POST", urllib.parse.urlencode({"csrf": form[1], "reason": "lunch"}))[0])
)py";

TEST_F(ServeTest, KnowsSomebodyByACertificate) {
  make_half_done();
  write("client.py", kTlsClient);
  auto const in_dir = [&](std::vector<std::string> const& words) {
    ProgramOptions options;
    options.working_dir = dir();
    auto const result = run_program(words, 60s, options);
    EXPECT_EQ(result.exit_code, 0) << words[0] << result.err;
    return result.out;
  };
  in_dir({"openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-subj",
          "/CN=ca", "-days", "2"});
  for (std::string const name : {"server", "carol"}) {
    in_dir({"openssl", "req", "-newkey", "rsa:2048", "-nodes", "-keyout", name + ".key", "-out", name + ".csr", "-subj",
            "/CN=" + name});
    in_dir({"openssl", "x509", "-req", "-in", name + ".csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-out", name + ".pem", "-days", "2"});
  }
  auto const file = [&](char const* name) { return (dir() / name).string(); };
  ServedSite const site({"--dsn", dsn(), "--allow-control", "--tls-cert", file("server.pem"), "--tls-key",
                         file("server.key"), "--tls-client-ca", file("ca.pem")});
  auto const port = std::to_string(site.port());
  EXPECT_EQ(in_dir({"python3", "client.py", port, "ca.pem", "", ""}), "page 200 False\nwithout 401\n");
  EXPECT_EQ(status_of("half"), "running");
  EXPECT_EQ(in_dir({"python3", "client.py", port, "ca.pem", "carol.pem", "carol.key"}),
            "page 200 True\nwithout 403\nwith 303\n");
  EXPECT_EQ(status_of("half"), "paused");
  EXPECT_EQ(latest_event(), "paused by carol@127.0.0.1");
  EXPECT_EQ(http_get(site.port(), "/").status, 0) << "no TLS";
}

TEST_F(ServeTest, EndsWhenItIsAskedTo) {
  make_migration();
  auto site = reader();
  EXPECT_EQ(site.get("/").status, kOk);
  site.program().signal(SIGTERM);
  EXPECT_EQ(site.program().wait(20s).exit_code, kDone);
}

TEST_F(ServeTest, RefusesWhatIsTooLarge) {
  make_half_done();
  auto const site = steerable();
  auto const large = site.post("/api/v1/migrations/half/pause", {{"reason", std::string(40'000, 'x')}}, with_token());
  EXPECT_EQ(large.status, kTooLarge);
  EXPECT_EQ(site.get("/", {{"X-Large", std::string(20'000, 'x')}}).status, kHeaderTooLarge);
  EXPECT_EQ(http_request(site.port(), "this is no HTTP\r\n\r\n").status, kBadRequest);
  EXPECT_EQ(status_of("half"), "running");
}

TEST_F(ServeTest, AnswersBesideThousandsOfConnectionsThatSayNothing) {
  make_migration();
  auto const site = reader();
  boost::asio::io_context io;
  std::vector<boost::asio::ip::tcp::socket> silent;
  boost::asio::ip::tcp::endpoint const there(boost::asio::ip::make_address("127.0.0.1"), site.port());
  for (int number = 0; number < 900; ++number) {
    silent.emplace_back(io).connect(there);
    // Half of them begin and never end.
    if (number % 2 == 0) silent.back().send(boost::asio::buffer("GET / HTTP/1.1\r\nX: ", 19));
    if (number % 100 != 99) continue;
    EXPECT_EQ(site.get("/migrations/m").status, kOk) << number;
  }
}

// --- run --listen ----------------------------------------------------------------------------------------------------

TEST_F(ServeTest, ARunServesTheSamePagesReadOnly) {
  make_table();
  write("m.yaml",
        "name: m\ntable: t\nbackfill:\n  set: {n: n + 1}\n  batch: {min_rows: 1, max_rows: 1}\nthrottle:\n  "
        "max_rows_per_second: 5\n");
  Program running({PGBACKFILL_PROGRAM, "run", (dir() / "m.yaml").string(), "--listen", "0", "--dsn", dsn()});
  std::string const before = "pages at http://127.0.0.1:";
  ASSERT_TRUE(running.wait_for_output(before)) << running.err();
  auto const log = running.err();
  auto const port = static_cast<std::uint16_t>(std::atoi(log.c_str() + log.find(before) + before.size()));
  auto const is_there = [&] { return http_get(port, "/migrations/m").status == kOk; };
  ASSERT_TRUE(poll_until(is_there, 30s, 100ms));
  auto const page = http_get(port, "/migrations/m");
  EXPECT_EQ(html_trouble(page.body, PageKind::kServed), "");
  EXPECT_THAT(page.body, AllOf(HasSubstr("read-only"), HasSubstr("aria-current=\"step\"")));
  EXPECT_EQ(http_get(port, "/metrics").status, kOk);
  EXPECT_EQ(http_get(port, "/healthz").status, kOk);
  EXPECT_EQ(http_request(port, "GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n").status,
            kMisdirected);
  running.signal(SIGTERM);
  EXPECT_EQ(running.wait(30s).exit_code, kResumable) << running.err();
}

}  // namespace
}  // namespace pgbackfill::tests
