// Values that a program computes, on a real server: right whatever rows, program and we ourselves do meanwhile.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <thread>

#include "tests/support/database_fixtures.h"
#include "tests/support/migration_run.h"
#include "tests/support/poll_until.h"
#include "tests/support/receiver.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// What each program begins with.
constexpr char kHead[] = R"py(import sys
sys.path.insert(0, ")py" PGBACKFILL_SOURCE_DIR R"py(/examples/compute")
import hashlib, json, os, time
from pgbackfill_compute import Later, Refuse, SKIP, answer_requests
)py";

constexpr char kFile[] = R"yaml(name: m
table: users
backfill:
  where: "h IS NULL"
  compute:
    read: {email: email}
    write: [h]
    command: [python3, program.py]
)yaml";

class ComputeTest : public DatabaseTest {
 protected:
  void make_users(int rows) {
    client_->exec(
        "CREATE TABLE users (id int PRIMARY KEY, email text, h text); INSERT INTO users SELECT g, 'u' || g || "
        "'@example.com' FROM generate_series(1, " +
        std::to_string(rows) + ") g; ANALYZE users");
  }
  void write_program(std::string const& body) const { write("program.py", kHead + body); }
  std::string value(std::string const& sql) { return client_->value(sql); }
  std::string said() const {
    std::ifstream stream(dir() / "said");
    std::stringstream text;
    text << stream.rdbuf();
    return text.str();
  }
};

constexpr char kHash[] = R"py(
def row(read):
    return {"h": hashlib.md5(read["email"].encode()).hexdigest()}
answer_requests(row)
)py";

TEST_F(ComputeTest, WritesWhatTheProgramSaysOfEachRow) {
  make_users(2'500);
  client_->exec("INSERT INTO users VALUES (-1, 'done@example.com', 'as it was')");
  write_program(kHash);
  write("m.yaml", kFile);
  auto const result = run({"run", "m.yaml"});
  ASSERT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(value("SELECT count(*) FROM users WHERE h = md5(email)"), "2500");
  EXPECT_EQ(value("SELECT h FROM users WHERE id = -1"), "as it was");
  EXPECT_EQ(run({"gate", "m.yaml"}).exit_code, kDone);
  // Another definition under the same name is refused as for any other work.
  write("m.yaml", std::string(kFile) + "    unless_changed: []\n");
  EXPECT_NE(run({"run", "m.yaml"}).exit_code, kDone);
}

TEST_F(ComputeTest, PlanShowsWhatTheProgramGetsAndWithASampleWhatItAnswers) {
  make_users(100);
  write_program(std::string("open('began', 'w').close()\n") + kHash);
  write("m.yaml", kFile);
  auto const plan = run({"plan", "m.yaml"});
  ASSERT_EQ(plan.exit_code, kDone) << plan.err;
  EXPECT_THAT(plan.out, AllOf(HasSubstr("python3 program.py, up to 200 rows a request, 4 in flight, 2 process(es)"),
                              HasSubstr("(email\n)::pg_catalog.text")));
  EXPECT_FALSE(std::filesystem::exists(dir() / "began")) << "plan alone starts no program";
  auto const sampled = run({"plan", "m.yaml", "--sample"});
  ASSERT_EQ(sampled.exit_code, kDone) << sampled.err;
  EXPECT_THAT(sampled.out, HasSubstr("1: {\"email\":\"u1@example.com\"} gives {\"write\": {\"h\": \""));
  EXPECT_EQ(value("SELECT count(*) FROM users WHERE h IS NOT NULL"), "0");
  write_program("sys.exit('no key')\n");
  EXPECT_THAT(run({"plan", "m.yaml", "--sample"}).out, HasSubstr("exited with 1; no key"));
}

TEST_F(ComputeTest, LeavesARowThatItSkipsAndSetsAsideOneThatItRefuses) {
  make_users(900);
  write_program(R"py(
def row(read):
    number = int(read["email"][1:].split("@")[0])
    if number == 7: return SKIP
    if number in (8, 500): raise Refuse("no \"good\" address\nat all")
    return {"h": str(number)}
answer_requests(row)
)py");
  write("m.yaml", kFile);
  auto const stopped = run({"run", "m.yaml"});
  EXPECT_EQ(stopped.exit_code, kFailed);
  EXPECT_THAT(stopped.err, AllOf(HasSubstr("no \"good\" address"), HasSubstr("on_bad_row")));
  write("m.yaml", std::string(kFile) + "  on_bad_row: {quarantine: 2}\n");
  auto const result = run({"run", "m.yaml"});
  EXPECT_THAT(result.err, HasSubstr("refuses row 8 of"));
  EXPECT_EQ(value("SELECT count(*) FROM users WHERE h IS NULL"), "3");
  EXPECT_EQ(value("SELECT string_agg(key[1] || ' ' || sqlstate || ' ' || message, ',' ORDER BY key) FROM "
                  "pgbackfill.quarantine"),
            "500 BF008 no \"good\" address\nat all,8 BF008 no \"good\" address\nat all");
  EXPECT_EQ(value("SELECT count(*) FROM users WHERE h = id::text"), "897");
}

// What a trigger skips is done, as by one UPDATE, and no row is computed for it again.
TEST_F(ComputeTest, ATriggerThatSkipsRowsFiresOnceForEach) {
  make_users(300);
  client_->exec(
      "CREATE TABLE fired (id int); CREATE FUNCTION skip_some() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT "
      "INTO "
      "fired VALUES (OLD.id); IF OLD.id % 3 = 0 THEN RETURN NULL; END IF; RETURN NEW; END $$; CREATE TRIGGER skip_some "
      "BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION skip_some()");
  write_program(kHash);
  write("m.yaml", std::string(kFile) + "  workers: 1\n");
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(value("SELECT count(*) FROM users WHERE h IS NOT NULL"), "200");
  EXPECT_EQ(value("SELECT count(*) || ' ' || count(DISTINCT id) FROM fired"), "300 300");
}

TEST_F(ComputeTest, ReadsAgainARowThatChangedWhileItWasComputed) {
  make_users(400);
  // The program stops in the middle of the first request until it is told to go on.
  write_program(R"py(
def row(read):
    if read["email"] == "u5@example.com" and not os.path.exists("go"):
        open("there", "w").close()
        while not os.path.exists("go"): time.sleep(0.02)
    return {"h": hashlib.md5(read["email"].encode()).hexdigest()}
answer_requests(row)
)py");
  write("m.yaml", kFile);
  ProgramOptions options;
  options.working_dir = dir();
  Program program({PGBACKFILL_PROGRAM, "--dsn", dsn(), "run", "m.yaml"}, options);
  ASSERT_TRUE(poll_until([&] { return std::filesystem::exists(dir() / "there"); })) << program.err();
  // No transaction is open meanwhile: nobody waits for one that computes.
  client_->exec("SET lock_timeout = '1s'; ALTER TABLE users ADD COLUMN more int");
  EXPECT_EQ(value("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pgbackfill%' AND state LIKE "
                  "'idle in transaction%'"),
            "0");
  client_->exec(
      "UPDATE users SET email = 'new@example.com' WHERE id = 5; UPDATE users SET h = 'by hand' WHERE id = 6; DELETE "
      "FROM users WHERE id = 7; INSERT INTO users VALUES (0, 'zero@example.com'); UPDATE users SET more = 1 WHERE id = "
      "8");
  write("go", "");
  auto const result = program.wait();
  ASSERT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(value("SELECT count(*) FROM users WHERE h IS DISTINCT FROM md5(email)"), "1");
  EXPECT_EQ(value("SELECT h FROM users WHERE id = 6"), "by hand");
  EXPECT_EQ(value("SELECT count(*) FROM users"), "400");
}

TEST_F(ComputeTest, WithoutAConditionMissesNoRowThatComesInsideABatch) {
  make_users(10);
  write_program(R"py(
def row(read):
    if not os.path.exists("go"):
        open("there", "w").close()
        while not os.path.exists("go"): time.sleep(0.02)
    return {"h": hashlib.md5(read["email"].encode()).hexdigest()}
answer_requests(row)
)py");
  std::string file = kFile;
  file.erase(file.find("  where:"), std::string("  where: \"h IS NULL\"\n").size());
  write("m.yaml", file);
  client_->exec("DELETE FROM users WHERE id = 5");
  ProgramOptions options;
  options.working_dir = dir();
  Program program({PGBACKFILL_PROGRAM, "--dsn", dsn(), "run", "m.yaml"}, options);
  ASSERT_TRUE(poll_until([&] { return std::filesystem::exists(dir() / "there"); })) << program.err();
  client_->exec("INSERT INTO users VALUES (5, 'five@example.com')");
  write("go", "");
  auto const result = program.wait();
  ASSERT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(value("SELECT count(*) FROM users WHERE h = md5(email)"), "10");
}

TEST_F(ComputeTest, StartsAProgramAgainThatFailsAndSendsTheSameRequest) {
  make_users(600);
  // Each way to fail once, each in a process of its own.
  write_program(R"py(
for line in sys.stdin:
    request = json.loads(line)
    with open("said", "a") as said:
        said.write("%s %d %d\n" % (request["id"], request["attempt"], len(request["rows"])))
    step = sum(1 for _ in open("said"))
    rows = [{"write": {"h": hashlib.md5(r["read"]["email"].encode()).hexdigest()}} for r in request["rows"]]
    answer = {"id": request["id"], "rows": rows}
    if step == 1: sys.exit("out of luck")
    if step == 2: print("Traceback: this is no JSON", flush=True); continue
    if step == 3: answer["rows"] = rows[1:]
    if step == 4: answer["rows"][0] = {"write": {"id": 5}}
    if step == 5: time.sleep(60)
    if step == 6: answer["id"] = "another"
    print(json.dumps(answer), flush=True)
)py");
  write("m.yaml", std::string(kFile) + "    processes: 1\n    in_flight: 1\n    timeout: 5s\n  workers: 1\n");
  auto const result = run({"run", "m.yaml"});
  ASSERT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_THAT(result.err,
              AllOf(HasSubstr("exited with 1; out of luck"), HasSubstr("it is not JSON"),
                    HasSubstr("it has 199 rows, and 200 were asked for"), HasSubstr("column 'id'"),
                    HasSubstr("did not answer within 5s"), HasSubstr("no request with id another is waiting")));
  EXPECT_EQ(value("SELECT count(*) FROM users WHERE h = md5(email)"), "600");
  // Three requests, and six that were sent again: each under its own id, and counted.
  std::istringstream lines(said());
  std::map<std::string, int> attempts;
  std::string id;
  int attempt = 0;
  int rows = 0;
  int sent = 0;
  for (; lines >> id >> attempt >> rows; ++sent) {
    // A program that was not up in time has noted nothing.
    EXPECT_GT(attempt, attempts[id]);
    attempts[id] = attempt;
    EXPECT_EQ(rows, 200);
  }
  EXPECT_EQ(sent, 9);
  EXPECT_EQ(attempts.size(), 3U);
}

TEST_F(ComputeTest, AProgramThatEndsAfterItsAnswerIsStartedAgainAtOnce) {
  make_users(1'000);
  write_program(R"py(
request = json.loads(sys.stdin.readline())
print(json.dumps({"id": request["id"], "rows": [{"write": {"h": "x"}} for row in request["rows"]]}), flush=True)
)py");
  write("m.yaml", std::string(kFile) + "    timeout: 1m\n");
  auto const began = std::chrono::steady_clock::now();
  auto const result = run({"run", "m.yaml"});
  ASSERT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_LT(std::chrono::steady_clock::now() - began, 50s) << "a request went to one that had ended";
  EXPECT_EQ(value("SELECT count(*) FROM users WHERE h = 'x'"), "1000");
}

TEST_F(ComputeTest, RowsOfTwoPartitionsAreNotTakenForEachOther) {
  client_->exec(
      "CREATE TABLE users (id int NOT NULL, part int NOT NULL, email text, h text) PARTITION BY LIST (part); CREATE "
      "TABLE users_1 PARTITION OF users FOR VALUES IN (1); CREATE TABLE users_2 PARTITION OF users FOR VALUES IN (2); "
      "ALTER TABLE users_1 ADD PRIMARY KEY (id); ALTER TABLE users_2 ADD PRIMARY KEY (id); INSERT INTO users SELECT g, "
      "p, 'same' FROM generate_series(1, 600) g, generate_series(1, 2) p; ANALYZE users");
  write_program(R"py(
for line in sys.stdin:
    request = json.loads(line)
    with open("said", "a") as said: said.write(request["id"] + "\n")
    time.sleep(0.2)
    print(json.dumps({"id": request["id"], "rows": [{"write": {"h": "x"}} for row in request["rows"]]}), flush=True)
)py");
  write("m.yaml", kFile);
  auto const result = run({"run", "m.yaml"});
  ASSERT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(value("SELECT count(*) FROM users WHERE h = 'x'"), "1200");
  std::istringstream lines(said());
  std::multiset<std::string> const ids{std::istream_iterator<std::string>(lines), {}};
  std::set<std::string> const different(ids.begin(), ids.end());
  EXPECT_EQ(ids.size(), different.size()) << result.err;
}

TEST_F(ComputeTest, EndsWhenTheProgramNeverWorksAndGoesOnLater) {
  make_users(10);
  write_program("sys.exit(3)\n");
  write("m.yaml", kFile);
  auto const stopped = run({"run", "m.yaml"});
  EXPECT_EQ(stopped.exit_code, kFailed);
  EXPECT_THAT(stopped.err, AllOf(HasSubstr("python3 program.py failed 8 times in a row"), HasSubstr("exited with 3"),
                                 HasSubstr("from key 1 on")));
  write_program(kHash);
  EXPECT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  EXPECT_EQ(value("SELECT count(*) FROM users WHERE h = md5(email)"), "10");
}

TEST_F(ComputeTest, AProgramThatIsNotThereIsNamedAtOnce) {
  make_users(10);
  std::string file = kFile;
  file.replace(file.find("python3"), 7, "pythonic");
  write("m.yaml", file);
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(result.exit_code, kFailed);
  EXPECT_THAT(result.err, HasSubstr("there is no program 'pythonic' in PATH"));
  EXPECT_EQ(value("SELECT count(*) FROM users WHERE h IS NULL"), "10");
}

TEST_F(ComputeTest, AValueThatItsColumnDoesNotTakeIsABadRow) {
  make_users(300);
  client_->exec("ALTER TABLE users ADD COLUMN n int, ADD CHECK (n <> 13)");
  write_program(R"py(
with open("said", "a") as said: said.write("began\n")
def row(read):
    number = int(read["email"][1:].split("@")[0])
    with open("asked", "a") as asked: asked.write("%d\n" % number)
    return {"n": "many" if number == 5 else "\0" if number == 77 else number}
answer_requests(row)
)py");
  write("m.yaml", R"yaml(name: m
table: users
backfill:
  where: "n IS NULL"
  compute: {read: {email: email}, write: [n], command: [python3, program.py]}
  on_bad_row: {quarantine: 3}
)yaml");
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(value("SELECT string_agg(key[1] || ' ' || sqlstate, ',' ORDER BY key[1]::int) FROM pgbackfill.quarantine"),
            "5 22P02,13 23514,77 22P05")
      << result.err;
  EXPECT_EQ(value("SELECT count(*) FROM users WHERE n = id"), "297");
  // The rows around a bad one are not computed again for its sake.
  std::ifstream asked(dir() / "asked");
  int count = 0;
  for (std::string line; std::getline(asked, line);) ++count;
  EXPECT_LE(count, 330);
}

TEST_F(ComputeTest, WaitsWhenItIsAskedTo) {
  make_users(10);
  write_program(R"py(
def row(read):
    if not os.path.exists("asked"):
        open("asked", "w").close()
        raise Later(1500)
    return {"h": "x"}
answer_requests(row)
)py");
  write("m.yaml", kFile);
  auto const began = std::chrono::steady_clock::now();
  auto const result = run({"run", "m.yaml"});
  ASSERT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_GE(std::chrono::steady_clock::now() - began, 1500ms);
  EXPECT_EQ(value("SELECT count(*) FROM users WHERE h = 'x'"), "10");
}

TEST_F(ComputeTest, HandsValuesOverAndTakesThemAsTheDocsSay) {
  client_->exec(R"sql(
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE DOMAIN big AS bigint;
CREATE TABLE users (id bigint PRIMARY KEY, b bytea, n numeric, d big, a bigint[], t timestamptz, j jsonb, e mood,
                    f float8, v varchar(5), x text);
INSERT INTO users VALUES (9007199254740993, '\x00ff01', 12345678901234567890.123456789, 9007199254740993,
                          '{9007199254740993,NULL}', '2024-02-29 12:00+00', '{"a": [1.10, null]}', 'ok', 0.1, 'abc',
                          NULL),
                         (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL))sql");
  client_->exec("ALTER DATABASE " + database_ + " SET timezone = 'UTC'");
  write_program(R"py(
def row(read):
    with open("said", "a") as said: said.write(json.dumps(read, sort_keys=True) + "\n")
    if read["n"] is None: return {"x": "all null"}
    return {"x": json.dumps(read, sort_keys=True), **{name: read[name] for name in "bndtjefv"}, "a": read["a"]}
answer_requests(row)
)py");
  write("m.yaml", R"yaml(name: m
table: users
backfill:
  where: "x IS NULL"
  compute:
    read: {b: b, n: n, d: d, a: a, t: t, j: j, e: e, f: f, v: v}
    write: [b, n, d, a, t, j, e, f, v, x]
    command: [python3, program.py]
)yaml");
  client_->exec("CREATE TABLE before AS SELECT * FROM users");
  auto const result = run({"run", "m.yaml"});
  ASSERT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(
      value("SELECT x FROM users WHERE id = 9007199254740993"),
      R"({"a": ["9007199254740993", null], "b": "AP8B", "d": "9007199254740993", "e": "ok", "f": 0.1, "j": {"a": )"
      R"([1.1, null]}, "n": "12345678901234567890.123456789", "t": "2024-02-29T12:00:00+00:00", "v": "abc"})");
  EXPECT_EQ(
      value("SELECT count(*) FROM users u JOIN before old USING (id) WHERE (to_jsonb(u) - 'x') = (to_jsonb(old) - "
            "'x')"),
      "2");
}

// The server would hand over what the type's cast to json gives, which the type does not read.
TEST_F(ComputeTest, ATypeWithACastToJsonIsHandedOverAsItsText) {
  client_->exec(R"sql(
CREATE EXTENSION hstore;
CREATE DOMAIN tags AS hstore;
CREATE TABLE users (id int PRIMARY KEY, h hstore, d tags, hs hstore[], h2 hstore, d2 tags, hs2 hstore[]);
INSERT INTO users VALUES (1, 'a=>1, "b c"=>NULL', 'x=>y', '{"a=>1",NULL}'), (2, NULL, NULL, NULL))sql");
  write_program(R"py(
def row(read):
    with open("said", "a") as said: said.write(json.dumps(read, sort_keys=True) + "\n")
    return {"h2": read["h"], "d2": read["d"], "hs2": read["hs"]}
answer_requests(row)
)py");
  write("m.yaml", R"yaml(name: m
table: users
backfill:
  compute:
    read: {h: h, d: d, hs: hs}
    write: [h2, d2, hs2]
    command: [python3, program.py]
)yaml");
  auto const result = run({"run", "m.yaml"});
  ASSERT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(value("SELECT count(*) FROM users WHERE (h, d, hs) IS NOT DISTINCT FROM (h2, d2, hs2)"), "2");
}

// Each way in which a service may fail, once.
constexpr char kService[] = R"py(
import hashlib, http.server, json, sys, time
steps = []
class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_): pass
    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        steps.append(request["id"])
        with open("said", "a") as said:
            said.write("%s %d %s %s\n" % (request["id"], request["attempt"], self.headers["Authorization"],
                                          self.headers["Idempotency-Key"] == request["id"]))
        step = len(steps)
        if step == 1:
            self.send_response(429); self.send_header("Retry-After", "1"); self.end_headers(); return
        if step == 2:
            self.send_response(500); self.end_headers(); return
        if step == 4: time.sleep(5)
        rows = [{"write": {"h": hashlib.md5(row["read"]["email"].encode()).hexdigest()}} for row in request["rows"]]
        body = json.dumps({"id": request["id"], "rows": rows}).encode() if step != 3 else b"<html>"
        self.send_response(200); self.end_headers(); self.wfile.write(body)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
)py";

TEST_F(ComputeTest, AsksAServiceAndBearsWithIt) {
  make_users(700);
  write("service.py", kService);
  ProgramOptions options;
  options.working_dir = dir();
  Program service({"python3", "service.py"}, options);
  ASSERT_TRUE(service.wait_for_output("\n"));
  options.environment = {{"TOKEN", "hunter22"},
                         {"URL", "http://127.0.0.1:" + std::to_string(std::stoi(service.out()))}};
  write("m.yaml", R"yaml(name: m
table: users
backfill:
  where: "h IS NULL"
  workers: 1
  compute:
    read: {email: email}
    write: [h]
    http: {url: "${URL}/rows", headers: {Authorization: "Bearer ${TOKEN}"}}
    in_flight: 1
    timeout: 2s
)yaml");
  auto const result = run_program({PGBACKFILL_PROGRAM, "--dsn", dsn(), "run", "m.yaml"}, 60s, options);
  ASSERT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(value("SELECT count(*) FROM users WHERE h = md5(email)"), "700");
  EXPECT_THAT(result.err, AllOf(HasSubstr("answered 500"), HasSubstr("it is not JSON"), HasSubstr("took too long"),
                                Not(HasSubstr("hunter22"))));
  EXPECT_EQ(value("SELECT count(*) FROM pgbackfill.migrations WHERE to_jsonb(migrations)::text LIKE '%hunter22%'"),
            "0");
  std::istringstream lines(said());
  std::map<std::string, int> attempts;
  std::string id, attempt, scheme, token, is_key;
  int sent = 0;
  for (; lines >> id >> attempt >> scheme >> token >> is_key; ++sent) {
    EXPECT_EQ(attempt + scheme + token + is_key, std::to_string(++attempts[id]) + "Bearerhunter22True");
  }
  EXPECT_EQ(sent, 8);
  EXPECT_EQ(attempts.size(), 4U);
  // Without the variable nothing is sent, and it is named.
  client_->exec("UPDATE users SET h = NULL");
  write("n.yaml",
        "name: n\ntable: users\nbackfill:\n  where: h IS NULL\n  compute: {read: {email: email}, write: [h], "
        "http: {url: \"${NOT_THERE}\"}}\n");
  auto const missing = run({"run", "n.yaml"});
  EXPECT_NE(missing.exit_code, kDone);
  EXPECT_THAT(missing.err, HasSubstr("NOT_THERE"));
}

TEST_F(ComputeTest, AsksAServiceOverTlsThatItsFileVouchesFor) {
  make_users(30);
  auto const certificate = make_certificate(dir());
  write("service.py", R"py(
import hashlib, http.server, json, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_): pass
    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        rows = [{"write": {"h": hashlib.md5(row["read"]["email"].encode()).hexdigest()}} for row in request["rows"]]
        self.send_response(200); self.end_headers()
        self.wfile.write(json.dumps({"id": request["id"], "rows": rows}).encode())
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("certificate.pem", "key.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
)py");
  ProgramOptions options;
  options.working_dir = dir();
  Program service({"python3", "service.py"}, options);
  ASSERT_TRUE(service.wait_for_output("\n"));
  std::string const url = "https://127.0.0.1:" + std::to_string(std::stoi(service.out()));
  auto const file = [&](std::string const& name, std::string const& more) {
    write(name + ".yaml", "name: " + name +
                              "\ntable: users\nbackfill:\n  where: h IS NULL\n  compute: {read: {email: email}, "
                              "write: [h], http: {url: \"" +
                              url + "\"" + more + "}}\n");
  };
  file("refused", "");
  auto const refused = run({"run", "refused.yaml"});
  EXPECT_NE(refused.exit_code, kDone);
  EXPECT_THAT(refused.err, HasSubstr("is not trusted"));
  file("m", ", ca_file: certificate.pem");
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(value("SELECT count(*) FROM users WHERE h = md5(email)"), "30");
}

TEST_F(ComputeTest, APasswordInAUrlIsNotKept) {
  make_users(1);
  write("m.yaml", R"yaml(name: m
table: users
backfill:
  where: "h IS NULL"
  compute:
    read: {email: email}
    write: [h]
    http:
      url: http://app:hunter2hunter2@127.0.0.1:1/rows
)yaml");
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(result.exit_code, kFailed) << result.err;
  EXPECT_THAT(result.err, Not(HasSubstr("hunter2")));
  EXPECT_EQ(value("SELECT count(*) FROM pgbackfill.migrations m WHERE m::text ~ 'hunter2'"), "0");
  EXPECT_EQ(value("SELECT count(*) FROM pgbackfill.migrations"), "1");
}

TEST_F(ComputeTest, TheProgramGetsTheEnvironmentThatIsNamedAndNoOther) {
  make_users(1);
  write_program(R"py(
def row(read):
    return {"h": " ".join(name for name in ("PATH", "GIVEN", "PGPASSWORD", "SECRET") if name in os.environ)}
answer_requests(row)
)py");
  write("m.yaml", std::string(kFile) + "    environment: [GIVEN]\n");
  ProgramOptions options;
  options.working_dir = dir();
  options.environment = {{"GIVEN", "1"}, {"PGPASSWORD", "2"}, {"SECRET", "3"}};
  auto const result = run_program({PGBACKFILL_PROGRAM, "--dsn", dsn(), "run", "m.yaml"}, 60s, options);
  ASSERT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(value("SELECT h FROM users"), "PATH GIVEN");
}

TEST_F(ComputeTest, AfterSigkillNoProgramIsLeftAndEveryRowIsDoneOnce) {
  make_users(6'000);
  client_->exec("ALTER TABLE users ADD COLUMN writes int NOT NULL DEFAULT 0");
  client_->exec(
      "CREATE FUNCTION count_write() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.writes := OLD.writes + 1; RETURN "
      "NEW; END'; CREATE TRIGGER count_write BEFORE UPDATE OF h ON users FOR EACH ROW EXECUTE FUNCTION count_write()");
  write_program(R"py(
with open("said", "a") as said: said.write("%d\n" % os.getpid())
def row(read):
    time.sleep(0.0005)
    return {"h": hashlib.md5(read["email"].encode()).hexdigest()}
answer_requests(row)
)py");
  write("m.yaml", std::string(kFile) + "    rows: 50\n");
  ProgramOptions options;
  options.working_dir = dir();
  auto random = random_of_test();
  for (int round = 0; round < 6; ++round) {
    Program program({PGBACKFILL_PROGRAM, "--dsn", dsn(), "run", "m.yaml"}, options);
    std::this_thread::sleep_for(std::chrono::milliseconds(between(random, 300, 900)));
    program.signal(SIGKILL);
    program.wait();
  }
  auto const result = run({"run", "m.yaml"});
  ASSERT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(value("SELECT count(*) FROM users WHERE h = md5(email) AND writes = 1"), "6000");
  std::istringstream pids(said());
  for (int pid = 0; pids >> pid;) {
    EXPECT_TRUE(poll_until([&] { return kill(pid, 0) != 0; })) << pid;
  }
}

TEST_F(ComputeTest, AnInterruptLetsTheRequestEnd) {
  make_users(2'000);
  write_program(R"py(
def row(read):
    open("there", "w").close()
    time.sleep(0.005)
    return {"h": hashlib.md5(read["email"].encode()).hexdigest()}
answer_requests(row)
)py");
  write("m.yaml", kFile);
  ProgramOptions options;
  options.working_dir = dir();
  Program program({PGBACKFILL_PROGRAM, "--dsn", dsn(), "run", "m.yaml"}, options);
  ASSERT_TRUE(poll_until([&] { return std::filesystem::exists(dir() / "there"); })) << program.err();
  program.signal(SIGINT);
  auto const result = program.wait();
  EXPECT_EQ(result.exit_code, kResumable) << result.err;
  EXPECT_EQ(value("SELECT count(*) > 0 FROM users WHERE h = md5(email)"), "t");
  // A program that hangs does not outlive the second signal.
  write_program("time.sleep(1000)\n");
  Program hanging({PGBACKFILL_PROGRAM, "--dsn", dsn(), "run", "m.yaml"}, options);
  ASSERT_TRUE(hanging.wait_for_output("rows")) << hanging.err();
  hanging.signal(SIGINT);
  std::this_thread::sleep_for(200ms);
  hanging.signal(SIGINT);
  EXPECT_EQ(hanging.wait(15s).exit_code, kResumable);
}

TEST_F(ComputeTest, AnInterruptEndsAWaitThatTheProgramAskedFor) {
  make_users(100);
  write_program(R"py(
def row(read):
    open("there", "w").close()
    raise Later(3600000)
answer_requests(row)
)py");
  write("m.yaml", kFile);
  ProgramOptions options;
  options.working_dir = dir();
  Program program({PGBACKFILL_PROGRAM, "--dsn", dsn(), "run", "m.yaml"}, options);
  ASSERT_TRUE(poll_until([&] { return std::filesystem::exists(dir() / "there"); })) << program.err();
  std::this_thread::sleep_for(200ms);
  program.signal(SIGINT);
  EXPECT_EQ(program.wait(15s).exit_code, kResumable) << program.err();
}

TEST_F(ComputeTest, IsRefusedWhereItCannotBeRight) {
  make_users(1);
  auto const refusal = [&](std::string const& text) {
    write("m.yaml", text);
    auto const result = run({"run", "m.yaml"});
    EXPECT_EQ(result.exit_code, kUsage) << result.err;
    return result.err;
  };
  std::string const head = "name: m\ntable: users\nbackfill:\n  compute:\n    command: [python3, program.py]\n";
  EXPECT_THAT(refusal(head + "    read: {at: now()}\n    write: [h]\n"),
              AllOf(HasSubstr("m.yaml:6:"), HasSubstr("'at' reads")));
  EXPECT_THAT(refusal(head + "    read: {email: emial}\n    write: [h]\n"), HasSubstr("m.yaml:6:"));
  EXPECT_THAT(refusal(head + "    read: {n: count(*)}\n    write: [h]\n"), HasSubstr("m.yaml:6:"));
  EXPECT_THAT(refusal(head + "    read: {email: email}\n    write: [hh]\n"),
              AllOf(HasSubstr("m.yaml:7:"), HasSubstr("'hh'")));
  EXPECT_THAT(refusal(head + "    read: {email: email}\n    write: [id]\n"), HasSubstr("m.yaml:7:"));
  EXPECT_THAT(refusal(head + "    read: {email: email}\n    write: [h]\n    unless_changed: [mail]\n"),
              HasSubstr("'mail' is not one of the names in 'read'"));
  EXPECT_THAT(refusal(head + "    read: {email: email}\n    write: [h]\nsync:\n  set: {h: upper(email)}\n"),
              HasSubstr("'sync' needs an expression"));
  client_->exec("ALTER TABLE users DROP CONSTRAINT users_pkey");
  EXPECT_THAT(refusal(head + "    read: {email: email}\n    write: [h]\n  where: h IS NULL\n"),
              HasSubstr("written by the keys of the rows"));
  EXPECT_EQ(value("SELECT to_regclass('pgbackfill.jobs') IS NULL OR (SELECT count(*) FROM users WHERE h IS NULL) = 1"),
            "t");
}

// A request is written while the next one is computed, and an interrupt loses neither.
TEST_F(ComputeTest, AsksForTheNextRowsWhileItWritesAndWritesThemWhenInterrupted) {
  make_users(4'000);
  write_program(R"py(
def row(read):
    with open("said", "a") as said: said.write(read["email"] + "\n")
    time.sleep(0.001)
    return {"h": hashlib.md5(read["email"].encode()).hexdigest()}
answer_requests(row)
)py");
  write("m.yaml", std::string(kFile) + "    rows: 100\n    processes: 1\n    in_flight: 1\n  workers: 1\n");
  ProgramOptions options;
  options.working_dir = dir();
  Program program({PGBACKFILL_PROGRAM, "--dsn", dsn(), "run", "m.yaml"}, options);
  ASSERT_TRUE(poll_until([&] { return value("SELECT count(*) > 0 FROM users WHERE h IS NOT NULL") == "t"; }));
  program.signal(SIGINT);
  auto const result = program.wait();
  EXPECT_EQ(result.exit_code, kResumable) << result.err;
  std::istringstream lines(said());
  std::set<std::string> const asked{std::istream_iterator<std::string>(lines), {}};
  EXPECT_EQ(std::to_string(asked.size()), value("SELECT count(*) FROM users WHERE h = md5(email)"));
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  EXPECT_EQ(value("SELECT count(*) FROM users WHERE h = md5(email)"), "4000");
}

// 150 MB, of which a few are in hand at a time.
TEST_F(ComputeTest, LongRowsAreTakenAFewAtATime) {
  client_->exec(
      "CREATE TABLE users (id int PRIMARY KEY, email text, h text); ALTER TABLE users ALTER email SET STORAGE "
      "EXTERNAL; INSERT INTO users SELECT g, repeat(md5(g::text), CASE WHEN g % 10 = 0 THEN 1 ELSE 31250 END) FROM "
      "generate_series(1, 150) g; ANALYZE users");
  write_program(R"py(
for line in sys.stdin:
    request = json.loads(line)
    with open("said", "a") as said: said.write("%d\n" % len(request["rows"]))
    rows = [{"write": {"h": hashlib.md5(r["read"]["email"].encode()).hexdigest()}} for r in request["rows"]]
    parent = os.getppid()
    while "pgbackfill" not in open("/proc/%d/status" % parent).readline() or parent == os.getppid():
        parent = int(open("/proc/%d/stat" % parent).read().split(") ")[1].split()[1])
    peak = [text for text in open("/proc/%d/status" % parent) if text.startswith("VmHWM")][0].split()[1]
    with open("peak", "w") as file: file.write(peak)
    print(json.dumps({"id": request["id"], "rows": rows}), flush=True)
)py");
  write("m.yaml", kFile);
  auto const result = run({"run", "m.yaml"});
  ASSERT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(value("SELECT count(*) FROM users WHERE h = md5(email)"), "150");
  std::ifstream peak(dir() / "peak");
  int kilobytes = 0;
  peak >> kilobytes;
  EXPECT_GT(kilobytes, 0);
  EXPECT_LT(kilobytes, 64 * 1024);
  std::istringstream lines(said());
  for (int rows = 0; lines >> rows;) EXPECT_LE(rows, 2);
}

TEST_F(ComputeTest, ItsPaceIsSetWhileItRuns) {
  make_users(4'000);
  write_program(R"py(
with open("began", "a") as began: began.write("%d\n" % os.getpid())
def row(read):
    if not os.path.exists("fast"): time.sleep(0.05)
    return {"h": hashlib.md5(read["email"].encode()).hexdigest()}
answer_requests(row)
with open("ended", "a") as ended: ended.write("%d\n" % os.getpid())
)py");
  // At this pace it would take minutes.
  write("m.yaml", std::string(kFile) + "    rows: 10\n    processes: 1\n    per_second: 2\n");
  auto const lines = [&](char const* name) {
    std::ifstream stream(dir() / name);
    int count = 0;
    for (std::string line; std::getline(stream, line);) ++count;
    return count;
  };
  ProgramOptions options;
  options.working_dir = dir();
  Program program({PGBACKFILL_PROGRAM, "--dsn", dsn(), "run", "m.yaml"}, options);
  ASSERT_TRUE(poll_until([&] { return lines("began") == 1; })) << program.err();
  EXPECT_EQ(run({"set", "m", "compute.processes=0"}).exit_code, 2);
  EXPECT_THAT(run({"set", "m", "compute.procesess=3"}).err, HasSubstr("did you mean 'compute.processes'"));
  ASSERT_EQ(run({"set", "m", "compute.processes=3", "compute.per_second=20"}).exit_code, kDone);
  EXPECT_TRUE(program.wait_for_output("compute.per_second: 2 -> 20")) << program.err();
  EXPECT_TRUE(program.wait_for_output("compute.in_flight: 2 -> 6")) << "they follow the processes";
  EXPECT_TRUE(poll_until([&] { return lines("began") == 3; })) << program.err();
  EXPECT_THAT(run({"set", "m"}).out, AllOf(HasSubstr("compute.processes"), HasSubstr("live")));
  // Those that are too many end by themselves, and in peace.
  ASSERT_EQ(run({"set", "m", "compute.processes=default"}).exit_code, kDone);
  EXPECT_TRUE(poll_until([&] { return lines("ended") == 2; })) << program.err();
  write("fast", "");
  ASSERT_EQ(run({"set", "m", "compute.per_second=none"}).exit_code, kDone);
  auto const result = program.wait();
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(value("SELECT count(*) FROM users WHERE h = md5(email)"), "4000");
  EXPECT_EQ(value("SELECT count(*) FROM pgbackfill.events WHERE kind = 'set'"), "4");
}

TEST_F(ComputeTest, APaceOfProgramsIsSetOnlyWhereThereAreSome) {
  make_users(10);
  write("m.yaml", "name: m\ntable: users\nbackfill:\n  set: {h: \"'x'\"}\n");
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  EXPECT_THAT(run({"set", "m", "compute.per_second=5"}).err, HasSubstr("this is not"));
  EXPECT_THAT(run({"set", "m"}).out, Not(HasSubstr("compute.")));
}

TEST_F(ComputeTest, WithoutColumnsToWriteTheProgramIsToldOfEachRow) {
  make_users(1'000);
  write_program(R"py(
def row(read):
    if read["email"] == "u3@example.com": return SKIP
    if read["email"] == "u5@example.com" and not os.path.exists("go"):
        open("there", "w").close()
        while not os.path.exists("go"): time.sleep(0.02)
    with open("said", "a") as said: said.write(read["email"] + "\n")
    return {}
answer_requests(row)
)py");
  write("m.yaml", R"yaml(name: m
table: users
backfill:
  where: "id > 0"
  compute:
    read: {email: email}
    command: [python3, program.py]
)yaml");
  EXPECT_THAT(run({"plan", "m.yaml"}).out, HasSubstr("the table stays as it is"));
  ProgramOptions options;
  options.working_dir = dir();
  Program program({PGBACKFILL_PROGRAM, "--dsn", dsn(), "run", "m.yaml"}, options);
  ASSERT_TRUE(poll_until([&] { return std::filesystem::exists(dir() / "there"); })) << program.err();
  // What it was told of this row is out of date.
  client_->exec("UPDATE users SET email = 'new@example.com' WHERE id = 7");
  write("go", "");
  auto const result = program.wait();
  ASSERT_EQ(result.exit_code, kDone) << result.err;
  std::istringstream lines(said());
  std::multiset<std::string> const told{std::istream_iterator<std::string>(lines), {}};
  EXPECT_EQ(told.size(), 1'000U);  // one skipped, one twice
  EXPECT_EQ(told.count("new@example.com"), 1U);
  EXPECT_EQ(told.count("u3@example.com"), 0U);
  EXPECT_EQ(value("SELECT count(*) FROM users WHERE h IS NOT NULL"), "0");
  EXPECT_EQ(value("SELECT count(*) FROM pg_stat_user_tables WHERE relname = 'users' AND n_tup_upd > 1"), "0");
  EXPECT_EQ(run({"gate", "m.yaml"}).exit_code, kDone);
  // All of it is done: nobody is told again.
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  std::istringstream after(said());
  EXPECT_EQ(std::distance(std::istream_iterator<std::string>(after), {}), 1'000);
}

TEST_F(ComputeTest, FillsAnotherTableWithWhatTheProgramMakesOfEachRow) {
  make_users(900);
  client_->exec(
      "CREATE TABLE hashes (user_id bigint PRIMARY KEY, email varchar(40), hash bytea NOT NULL, made timestamptz "
      "DEFAULT now()); INSERT INTO hashes VALUES (4, 'kept', 'kept')");
  write_program(R"py(
import base64
def row(read):
    if read["email"] == "u3@example.com": return SKIP
    if read["email"] == "u9@example.com" and not os.path.exists("go"):
        open("there", "w").close()
        while not os.path.exists("go"): time.sleep(0.02)
    return {"hash": base64.b64encode(hashlib.md5(read["email"].encode()).digest()).decode()}
answer_requests(row)
)py");
  std::string const file = R"yaml(name: m
table: users
backfill:
  copy_to: hashes
  columns: {user_id: id, email: email}
  compute:
    read: {email: email}
    write: [hash]
    command: [python3, program.py]
)yaml";
  write("m.yaml", file);
  ProgramOptions options;
  options.working_dir = dir();
  Program program({PGBACKFILL_PROGRAM, "--dsn", dsn(), "run", "m.yaml"}, options);
  ASSERT_TRUE(poll_until([&] { return std::filesystem::exists(dir() / "there"); })) << program.err();
  client_->exec("UPDATE users SET email = 'new@example.com' WHERE id = 7; DELETE FROM users WHERE id = 8");
  write("go", "");
  auto const result = program.wait();
  ASSERT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(value("SELECT count(*) FROM users JOIN hashes ON id = user_id WHERE hash = decode(md5(users.email), 'hex') "
                  "AND users.email = hashes.email AND made IS NOT NULL"),
            "897");
  EXPECT_EQ(value("SELECT email || ' ' || convert_from(hash, 'UTF8') FROM hashes WHERE user_id = 4"), "kept kept");
  EXPECT_EQ(value("SELECT count(*) FROM hashes"), "898");
  // A column comes from one of the two.
  auto twice = file;
  twice.replace(twice.find("[hash]"), 6, "[email]");
  write("n.yaml", "name: n" + twice.substr(7));
  EXPECT_THAT(run({"run", "n.yaml"}).err, HasSubstr("column 'email' stands in 'columns' and in 'write'"));
  twice.erase(twice.find("    write:"), std::string("    write: [email]\n").size());
  write("n.yaml", "name: n" + twice.substr(7));
  EXPECT_THAT(run({"run", "n.yaml"}).err, HasSubstr("beside 'copy_to' 'compute' needs 'write'"));
}

// Where the server knows no escapes beyond ASCII.
TEST_F(ComputeTest, LettersBeyondAsciiReachADatabaseWithoutEncoding) {
  client_->exec("CREATE DATABASE bytes ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0");
  std::string const elsewhere = dsn() + " dbname=bytes";
  {
    PgClient other(elsewhere);
    other.exec(
        "CREATE TABLE users (id int PRIMARY KEY, email text, h text); INSERT INTO users VALUES (1, 'é'), (2, 'x')");
    write_program(R"py(
def row(read):
    return {"h": read["email"] + "\u00fc\u20ac\U0001f600\n\""}
answer_requests(row)
)py");
    write("m.yaml", kFile);
    auto const result =
        run_program({PGBACKFILL_PROGRAM, "--dsn", elsewhere, "run", (dir() / "m.yaml").string()}, 60s, [&] {
          ProgramOptions options;
          options.working_dir = dir();
          return options;
        }());
    EXPECT_EQ(result.exit_code, kDone) << result.err;
    EXPECT_EQ(other.value("SELECT h FROM users WHERE id = 1"), "éü€😀\n\"");
  }
  client_->exec("DROP DATABASE bytes");
}

// Each in a run of its own: what is said of it, and that the run goes on once the program is well.
TEST_F(ComputeTest, SaysWhatIsWrongWithAnAnswerAndGoesOnWithoutIt) {
  make_users(5);
  struct BadAnswer {
    std::string name;
    std::string python;  // for the answer to the first request
    std::string said;
  };
  std::vector<BadAnswer> const answers = {
      {"dies", "sys.exit(7)", "exited with 7"},
      {"is killed", "os.kill(os.getpid(), 9)", "was ended by signal 9"},
      {"hangs", "time.sleep(60)", "did not answer within 2s"},
      {"closes its output", "os.close(1); time.sleep(60)", "closed its standard output"},
      {"garbage", "out(b'\\x00\\x01\\x02\\n')", "it is not JSON"},
      {"invalid utf-8", "out(good.replace(b'hash', b'\\xff\\xfe'))", "it is not JSON"},
      {"a list", "out(b'[]\\n')", "it is not an object"},
      {"no rows", "out(b'{\"id\":\"%s\"}\\n' % request['id'].encode())", "neither \"rows\""},
      {"too few rows", "answer['rows'].pop(); say(answer)", "it has 4 rows, and 5 were asked for"},
      {"too many rows", "answer['rows'] *= 2; say(answer)", "it has 10 rows, and 5 were asked for"},
      {"unknown column", "answer['rows'][2] = {'write': {'nope': 1}}; say(answer)", "row 3 sets column 'nope'"},
      {"neither of three", "answer['rows'][0] = {}; say(answer)", "row 1 of it is not"},
      {"another id", "answer['id'] = 'x'; say(answer)", "no request with id x is waiting"},
      {"100 MB", "answer['rows'][0] = {'write': {'h': 'x' * 100000000}}; say(answer)", "more than 64 MB"},
      {"deep", "out(b'[' * 100000 + b'\\n')", "it is not JSON"},
  };
  for (auto const& bad : answers) {
    client_->exec("UPDATE users SET h = NULL; DROP SCHEMA IF EXISTS pgbackfill CASCADE");
    std::filesystem::remove(dir() / "told");
    write_program(R"py(
def out(line): sys.stdout.buffer.write(line); sys.stdout.buffer.flush()
def say(answer): print(json.dumps(answer), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    answer = {"id": request["id"], "rows": [{"write": {"h": "hash"}} for _ in request["rows"]]}
    good = json.dumps(answer).encode() + b"\n"
    if os.path.exists("told"):
        out(good)
        continue
    open("told", "w").close()
    )py" + bad.python +
                  "\n");
    write("m.yaml", std::string(kFile) + (bad.name == "hangs" ? "    timeout: 2s\n" : "    timeout: 50s\n"));
    auto const result = run({"run", "m.yaml"});
    EXPECT_EQ(result.exit_code, kDone) << bad.name << ": " << result.err;
    EXPECT_THAT(result.err, AllOf(HasSubstr(bad.said), HasSubstr("program.py"), HasSubstr("from key 1 on")))
        << bad.name;
    EXPECT_EQ(value("SELECT count(*) FROM users WHERE h = 'hash'"), "5") << bad.name;
  }
}

// In a container the first process is the parent of whatever has lost its own.
TEST_F(ComputeTest, AsTheFirstProcessItReapsWhatProgramsLeaveBehind) {
  if (run_program({"unshare", "--pid", "--fork", "true"}).exit_code != 0) GTEST_SKIP() << "no rights for a namespace";
  make_users(10);
  // It outlives its parent and pgbackfill's warden of that, and ends while the next program computes.
  write_program(R"py(
import subprocess
first = not os.path.exists("left")
if first:
    open("left", "w").close()
    subprocess.Popen(["bash", "-c", "exec -a left sleep 0.5"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                     stderr=subprocess.DEVNULL, start_new_session=True)
    sys.exit(1)
def zombies():
    names = [open("/proc/%s/stat" % pid).read() for pid in os.listdir("/proc") if pid.isdigit() and alive(pid)]
    return [name for name in names if "(sleep) Z" in name]
def alive(pid): return os.path.exists("/proc/%s/stat" % pid)
def row(read):
    return {"h": "x"}
time.sleep(1.5)
with open("said", "w") as said: said.write("%d" % len(zombies()))
answer_requests(row)
)py");
  write("m.yaml", kFile);
  ProgramOptions options;
  options.working_dir = dir();
  auto const result =
      run_program({"unshare", "--pid", "--fork", "--mount-proc", PGBACKFILL_PROGRAM, "--dsn", dsn(), "run", "m.yaml"},
                  60s, options);
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(said(), "0");
}

// Changes from all sides while programs compute; then every row has the value of what it is now.
TEST_F(ComputeTest, IsRightBesideWriters) {
  make_users(5'000);
  client_->exec("ALTER TABLE users ADD COLUMN by_us int NOT NULL DEFAULT 0");
  write_program(kHash);
  write("m.yaml", std::string(kFile) + "    rows: 100\n");
  std::atomic<bool> is_over = false;
  std::thread writer([&] {
    PgClient other(dsn());
    auto random = random_of_test();
    while (!is_over) {
      std::string const id = std::to_string(between(random, 1, 5'000));
      switch (between(random, 0, 3)) {
        case 0:
          other.exec("UPDATE users SET email = 'w' || random(), h = NULL WHERE id = " + id);
          break;
        case 1:
          other.exec("DELETE FROM users WHERE id = " + id);
          break;
        case 2:
          other.exec("INSERT INTO users VALUES (" + id + ", 'i' || random()) ON CONFLICT DO NOTHING");
          break;
        default:
          // Holds a row for a moment.
          other.exec("BEGIN; UPDATE users SET by_us = by_us + 1 WHERE id = " + id + "; SELECT pg_sleep(0.02); COMMIT");
      }
    }
  });
  auto const result = run({"run", "m.yaml"});
  is_over = true;
  writer.join();
  ASSERT_EQ(result.exit_code, kDone) << result.err;
  // What was written behind the last pass is still to be done, and nothing is wrong.
  EXPECT_EQ(value("SELECT count(*) FROM users WHERE h <> md5(email)"), "0");
}

}  // namespace
}  // namespace pgbackfill::tests
