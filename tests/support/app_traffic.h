// An application's writers: threads that make one seeded transaction after another until they are stopped.
//
// What goes wrong is counted by SQLSTATE, so that a test can say which failures an application would have had. Keys
// that are taken (23505) and deadlocks (40P01) are part of such a life and count as no change. The object belongs to
// one thread.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace pgbackfill::tests {

class AppTraffic {
 public:
  // The statements of one transaction. Called from several threads, each with a generator of its own.
  using Change = std::function<std::string(std::mt19937_64&)>;

  // `version` keeps the generators of an old and a new application apart.
  AppTraffic(std::string const& dsn, Change change, int version, int writers = 2);
  ~AppTraffic();
  AppTraffic(AppTraffic const&) = delete;
  AppTraffic& operator=(AppTraffic const&) = delete;

  // Ends the writers, after the transaction that each is at. Gives the number of changes.
  int stop();
  int changes() const { return changes_; }
  // SQLSTATE: how often, and a message. To be read after stop().
  std::string failures() const;

 private:
  void write(std::string const& dsn, std::mt19937_64 random);

  Change change_;
  std::atomic<bool> is_over_{false};
  std::atomic<int> changes_{0};
  mutable std::mutex mutex_;
  std::map<std::string, std::pair<int, std::string>> failures_;
  std::vector<std::thread> threads_;
};

}  // namespace pgbackfill::tests
