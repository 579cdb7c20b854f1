// Looks at the server's and the replicas' health, all the time, on connections of its own, and keeps the latest
// reading.
//
// Three sessions: one commits a canary ten times a second and does nothing else; one asks for replicas, waiters,
// sessions and WAL; one for what is slow to change and for users' own SQL. None holds a transaction between questions.
// The second one's application_name tells jobs in other databases of this one, unless a pooler is in between, which
// would leave the name to others. Lost connections come back by themselves, and what they could not see meanwhile says
// so. Cost: see docs/how-it-works.md. What is asked is in probe_sql.h, what is made of the answers in probe_rows.h; how
// good or bad it is, the throttle judges. Thread rule: one io_context thread, which has to outlive this.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/pg/pg_connection.h"
#include "engine/probes/health.h"
#include "planner/model/migration.h"

namespace pgbackfill::engine {

inline constexpr std::chrono::milliseconds kCanaryPeriod{50};
inline constexpr std::chrono::milliseconds kListeningCanaryPeriod{25};
inline constexpr std::chrono::milliseconds kPresencePeriod{100};
inline constexpr std::chrono::milliseconds kReplicationPeriod{500};
inline constexpr std::chrono::milliseconds kCloseReplicationPeriod{250};  // for a replica_lag below a second
inline constexpr std::chrono::milliseconds kWaiterPeriod{250};
inline constexpr std::chrono::milliseconds kActivityPeriod{1'000};
inline constexpr std::chrono::milliseconds kHealthPeriod{5'000};

// A signal of the user's own. Above `limit` nothing starts; and an error is no good sign either.
struct UserProbe {
  std::string name;
  std::string sql;  // gives one number; or
  std::string url;  // http://...: 200 is good; or a Prometheus instant query, whose value counts
  double limit = 0;
  std::chrono::milliseconds interval{5'000};
  std::chrono::milliseconds timeout{2'000};
  std::string ca_file;  // as HttpCall has it
};

// Those of the file.
std::vector<UserProbe> user_probes(planner::Migration const& migration);

class Probes final : public Health {
 public:
  Probes(asio::any_io_executor executor, asio::thread_pool& blocking, ConnectTarget target,
         std::vector<UserProbe> user_probes = {});
  ~Probes() override;
  Probes(Probes const&) = delete;
  Probes& operator=(Probes const&) = delete;

  void start() override;
  void stop() override;
  throttle::Reading const& reading() const override;
  void set_own_sessions(std::vector<int> pids) override;
  void set_batches_running(bool are_running) override;
  void set_listening(bool is_listening) override;
  void set_limits(throttle::Limits const& limits) override;
  void announce(throttle::NeighbourReading const& self) override;

  // The leaves that the job changes, by oid: whose vacuum and growth to look at.
  void set_tables(std::vector<std::uint32_t> tables);

 private:
  struct Board;
  class Watch;

  asio::any_io_executor executor_;
  asio::thread_pool& blocking_;
  std::shared_ptr<Board> board_;  // shared with the coroutines, which may outlive this by the end of a question
  std::shared_ptr<Watch> watch_;
};

}  // namespace pgbackfill::engine
