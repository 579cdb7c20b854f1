#include "tests/support/app_traffic.h"

#include <fmt/format.h>

#include <chrono>
#include <utility>

#include "tests/support/migration_run.h"
#include "tests/support/pg_client.h"

namespace pgbackfill::tests {

AppTraffic::AppTraffic(std::string const& dsn, Change change, int version, int writers) : change_(std::move(change)) {
  for (int writer = 0; writer < writers; ++writer) {
    auto const seed = seed_of_tests() + static_cast<std::uint64_t>(100 * version + writer);
    threads_.emplace_back([this, dsn, seed] { write(dsn, std::mt19937_64(seed)); });
  }
}

AppTraffic::~AppTraffic() {
  stop();
}

void AppTraffic::write(std::string const& dsn, std::mt19937_64 random) {
  PgClient client(dsn);
  while (!is_over_) {
    try {
      // One string is one transaction.
      client.exec(change_(random));
      ++changes_;
    } catch (PgClientError const& error) {
      bool const is_usual = error.sqlstate() == "23505" || error.sqlstate() == "40P01";
      if (!is_usual) {
        std::lock_guard const lock(mutex_);
        auto& [count, message] = failures_[error.sqlstate()];
        ++count;
        message = error.what();
      }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

int AppTraffic::stop() {
  is_over_ = true;
  for (auto& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
  return changes_;
}

std::string AppTraffic::failures() const {
  std::lock_guard const lock(mutex_);
  std::string text;
  for (auto const& [state, failure] : failures_) {
    text += fmt::format("{} {} times: {}\n", state, failure.first, failure.second);
  }
  return text;
}

}  // namespace pgbackfill::tests
