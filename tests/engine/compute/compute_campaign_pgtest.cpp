// Two columns encrypted by a Python program, with the library that people use for it, under writers that change, insert
// and delete, while pgbackfill, the program and the server are killed: a hundred strikes chosen by the seed, and then
// every row is decrypted. PGBACKFILL_STRIKES changes their number.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "engine/sandbox/local_cluster.h"
#include "tests/support/migration_run.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;

constexpr std::int64_t kRows = 20'000;

int strikes_wanted() {
  char const* const given = std::getenv("PGBACKFILL_STRIKES");
  return given != nullptr ? std::atoi(given) : 100;
}

// AES-GCM with a nonce of its own for each value, and the id of the row as what it belongs to.
constexpr char kEncrypt[] = R"py(import sys
sys.path.insert(0, ")py" PGBACKFILL_SOURCE_DIR R"py(/examples/compute")
import base64, os
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pgbackfill_compute import answer_requests

cipher = AESGCM(bytes.fromhex(os.environ["KEY"]))

def seal(text, row):
    nonce = os.urandom(12)
    return base64.b64encode(nonce + cipher.encrypt(nonce, text.encode(), row.encode())).decode()

with open("pids", "a") as pids:
    pids.write("%d\n" % os.getpid())
answer_requests(lambda read: {"email_sealed": seal(read["email"], read["id"]),
                              "phone_sealed": seal(read["phone"], read["id"])})
)py";

// Rows as lines of JSON; says how many of them are not what they were made of.
constexpr char kDecrypt[] = R"py(import json, os, sys
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

cipher = AESGCM(bytes.fromhex(os.environ["KEY"]))
wrong = 0
for line in open("rows"):
    row = json.loads(line)
    for name in ("email", "phone"):
        sealed = bytes.fromhex(row[name + "_sealed"][2:])
        try:
            text = cipher.decrypt(sealed[:12], sealed[12:], row["id"].encode()).decode()
        except InvalidTag:
            text = None
        wrong += text != row[name]
print(wrong)
)py";

class ComputeCampaign : public testing::Test {
 protected:
  void SetUp() override {
    std::string dir = (std::filesystem::temp_directory_path() / "pgbackfill-sealed-XXXXXX").string();
    ASSERT_NE(mkdtemp(dir.data()), nullptr);
    dir_ = dir;
    engine::LocalClusterOptions options;
    options.name = "compute-campaign";
    options.is_fsync_on = false;
    options.primary_settings = {"max_wal_size = 2GB"};
    cluster_ = std::make_unique<engine::LocalCluster>(options);
    cluster_->start();
    PgClient client(cluster_->dsn());
    client.exec(
        "CREATE TABLE users (id bigint PRIMARY KEY, email text NOT NULL, phone text NOT NULL, seen int NOT NULL "
        "DEFAULT 0, email_sealed bytea, phone_sealed bytea)");
    client.exec(
        fmt::format("INSERT INTO users SELECT g, 'é' || g || '@example.com', '+49' || g FROM generate_series(1, {}) g; "
                    "ANALYZE users",
                    kRows));
    write("encrypt.py", kEncrypt);
    write("decrypt.py", kDecrypt);
    program_.working_dir = dir_;
    program_.environment = {{"KEY", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"}};
  }

  void TearDown() override {
    std::error_code error;
    std::filesystem::remove_all(dir_, error);
  }

  void write(std::string const& name, std::string const& text) const { std::ofstream(dir_ / name) << text; }

  // The old version of the application, which knows nothing of sealed columns but to empty them.
  void write_as_application(std::stop_token const& stop, std::uint64_t seed) const {
    std::mt19937_64 random(seed);
    while (!stop.stop_requested()) {
      try {
        PgClient client(cluster_->dsn());
        while (!stop.stop_requested()) write_once(client, random);
      } catch (std::exception const&) {
        std::this_thread::sleep_for(20ms);  // the server is down
      }
    }
  }

  static void write_once(PgClient& client, std::mt19937_64& random) {
    auto const id = std::to_string(between(random, 1, kRows + 500));
    auto const text = std::to_string(between(random, 0, 1'000'000'000));
    switch (between(random, 0, 5)) {
      case 0:
        client.exec("UPDATE users SET email = '" + text + "', email_sealed = NULL WHERE id = " + id);
        break;
      case 1:
        client.exec("UPDATE users SET phone = '" + text + "', phone_sealed = NULL WHERE id = " + id);
        break;
      case 2:
        client.exec("DELETE FROM users WHERE id = " + id);
        break;
      case 3:
        client.exec("INSERT INTO users VALUES (" + id + ", 'new', '" + text + "') ON CONFLICT DO NOTHING");
        break;
      case 4:
        client.exec("UPDATE users SET seen = seen + 1 WHERE id = " + id);
        break;
      default:
        client.exec("BEGIN; SELECT FROM users WHERE id = " + id +
                    " FOR UPDATE; SELECT pg_sleep(0.01); UPDATE users "
                    "SET email = '" +
                    text + "', email_sealed = NULL WHERE id = " + id + "; COMMIT");
    }
    std::this_thread::sleep_for(2ms);
  }

  std::unique_ptr<Program> start() const {
    return std::make_unique<Program>(std::vector<std::string>{PGBACKFILL_PROGRAM, "--dsn", cluster_->dsn(), "run",
                                                              "m.yaml", "--lease", "1s", "--no-progress"},
                                     program_);
  }

  std::string strike(std::unique_ptr<Program>& process) {
    switch (between(random_, 0, 3)) {
      case 0:
        cluster_->kill9();
        std::this_thread::sleep_for(std::chrono::milliseconds(between(random_, 0, 200)));
        cluster_->start_primary();
        return "the server";
      case 1:
        process->signal(SIGKILL);
        process->wait();
        process = start();
        return "pgbackfill";
      default:
        std::ifstream file(dir_ / "pids");
        std::vector<int> const pids{std::istream_iterator<int>(file), {}};
        auto const newest = static_cast<std::int64_t>(pids.size());
        if (newest > 0)
          kill(pids[static_cast<std::size_t>(between(random_, std::max<std::int64_t>(newest - 2, 0), newest - 1))],
               SIGKILL);
        return "the program";
    }
  }

  void begin_round() {
    ++rounds_;
    std::filesystem::remove(dir_ / "pids");
    PgClient client(cluster_->dsn());
    client.exec("UPDATE users SET email_sealed = NULL, phone_sealed = NULL");
    client.exec("VACUUM ANALYZE users");
    work_ = fmt::format(R"yaml(
table: users
backfill:
  where: "email_sealed IS NULL OR phone_sealed IS NULL"
  compute:
    read: {{id: id, email: email, phone: phone}}
    write: [email_sealed, phone_sealed]
    command: [python3, encrypt.py]
    environment: [KEY]
    rows: {}
    processes: {}
)yaml",
                        between(random_, 20, 200), between(random_, 1, 3));
    write("m.yaml", fmt::format("name: seal_{}{}", rounds_, work_));
  }

  void check_every_row() {
    PgClient client(cluster_->dsn());
    EXPECT_EQ(client.value("SELECT count(*) FROM users WHERE email_sealed IS NULL OR phone_sealed IS NULL"), "0");
    std::ofstream rows(dir_ / "rows");
    rows << client.value(
        "SELECT string_agg(json_build_object('id', id::text, 'email', email, 'phone', phone, 'email_sealed', "
        "email_sealed, 'phone_sealed', phone_sealed)::text, chr(10)) FROM users");
    rows.close();
    auto const decrypted = run_program({"python3", "decrypt.py"}, 120s, program_);
    EXPECT_EQ(decrypted.out, "0\n") << decrypted.err;
  }

  std::filesystem::path dir_;
  std::mt19937_64 random_ = random_of_test();
  std::unique_ptr<engine::LocalCluster> cluster_;
  ProgramOptions program_;
  std::string work_;  // the file but for its name
  int rounds_ = 0;
};

TEST_F(ComputeCampaign, EveryRowDecryptsToWhatItIsNow) {
  std::map<std::string, int> struck;
  int strikes = 0;
  while (strikes < strikes_wanted()) {
    begin_round();
    std::vector<std::jthread> writers;
    for (int number = 0; number < 2; ++number) {
      writers.emplace_back([this, seed = random_()](std::stop_token const& stop) { write_as_application(stop, seed); });
    }
    auto process = start();
    for (int count = 0; count < 20 && strikes < strikes_wanted() && process->is_running(); ++count, ++strikes) {
      std::this_thread::sleep_for(std::chrono::milliseconds(between(random_, 50, 600)));
      ++struck[strike(process)];
    }
    writers.clear();
    // As a supervisor would: again, until it is done.
    auto result = process->wait(120s);
    for (int again = 0; again < 20 && result.exit_code != kDone; ++again) result = start()->wait(120s);
    ASSERT_EQ(result.exit_code, kDone) << result.err;
    // What was written behind its last pass is for another one.
    write("rest.yaml", fmt::format("name: rest_{}{}", rounds_, work_));
    result = run_program({PGBACKFILL_PROGRAM, "--dsn", cluster_->dsn(), "run", "rest.yaml", "--no-progress"}, 120s,
                         program_);
    ASSERT_EQ(result.exit_code, kDone) << result.err;
    check_every_row();
    ASSERT_FALSE(HasFailure()) << "after " << strikes << " strikes; seed of the test: see above";
  }
  for (auto const& [what, times] : struck) std::cout << what << " killed " << times << " times\n";
  std::cout << strikes << " strikes in " << rounds_ << " rounds\n";
}

}  // namespace
}  // namespace pgbackfill::tests
