#include "tests/support/probes_run.h"

#include "tests/support/poll_until.h"

namespace pgbackfill::tests {
namespace {

constexpr auto kSlice = std::chrono::milliseconds(10);

engine::ConnectTarget target_of(std::string const& dsn) {
  engine::ConnectTarget target;
  target.conninfo = dsn;
  return target;
}

}  // namespace

ProbesRun::ProbesRun(std::string const& dsn, std::vector<engine::UserProbe> user_probes)
    : probes_(io_.get_executor(), blocking_, target_of(dsn), std::move(user_probes)) {
  probes_.start();
}

ProbesRun::~ProbesRun() {
  probes_.stop();
  // Their coroutines end by themselves.
  io_.restart();
  io_.run_for(std::chrono::seconds(20));
}

bool ProbesRun::until(std::function<bool(throttle::Reading const&)> const& condition,
                      std::chrono::milliseconds timeout) {
  return poll_until(
      [&] {
        turn(kSlice);
        return condition(reading());
      },
      timeout, std::chrono::milliseconds(0));
}

bool ProbesRun::look_again() {
  auto const now = std::chrono::steady_clock::now();
  return until([&](throttle::Reading const& reading) {
    return reading.replication.at > now && reading.canary.at > now && reading.waiters.at > now &&
           reading.activity.at > now && reading.presence.at > now && reading.wal.at > now && reading.health.at > now;
  });
}

void ProbesRun::turn(std::chrono::milliseconds duration) {
  io_.restart();
  io_.run_for(duration);
}

throttle::ReplicaReading ProbesRun::replica(std::string const& name) const {
  return find_replica(reading(), name);
}

throttle::ReplicaReading find_replica(throttle::Reading const& reading, std::string const& name) {
  for (auto const& replica : reading.replication.value.replicas) {
    if (replica.name == name) return replica;
  }
  return {};
}

}  // namespace pgbackfill::tests
