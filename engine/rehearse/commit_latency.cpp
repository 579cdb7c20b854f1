#include "engine/rehearse/commit_latency.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "engine/probes/probe_sql.h"

namespace pgbackfill::engine {

namespace {

constexpr int kCommits = 31;

}  // namespace

asio::awaitable<Result<double>> median_commit(PgConnection& connection) {
  std::vector<double> took;
  for (int commit = 0; commit < kCommits; ++commit) {
    auto const began = std::chrono::steady_clock::now();
    auto const done = co_await connection.query(probe_sql::canary(), Deadlines());
    if (!done) co_return done.error();
    took.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - began).count());
  }
  std::nth_element(took.begin(), took.begin() + kCommits / 2, took.end());
  co_return took[kCommits / 2];
}

}  // namespace pgbackfill::engine
