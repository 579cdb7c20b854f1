#include "tests/support/told_health.h"

#include <chrono>

namespace pgbackfill::tests {

namespace {

using namespace std::chrono_literals;
using namespace throttle;

template <class Value>
Sample<Value> seen(Value value, TimePoint at) {
  return {Sight::kSeen, std::move(value), at, ""};
}

ReplicationReading replication(TimePoint at) {
  ReplicaReading standby;
  standby.name = "db-2";
  standby.address = "10.0.0.2";
  standby.replayed = seen(Lsn{47'000'000}, at);
  standby.reply_age = seen(120ms, at);
  ReplicaReading slot;
  slot.name = "search";
  slot.kind = ReplicaKind::kLogicalSlot;
  slot.state = ReplicaState::kInactive;
  slot.replayed = seen(Lsn{10'000'000}, at);
  return {at, 50'000'000, {standby, slot}};
}

WalReading wal(TimePoint at) {
  WalReading reading;
  reading.at = at;
  reading.inserted = 51'000'000;
  reading.records = 900'000;
  reading.full_page_images = 4'000;
  reading.own_bytes = 20'000'000;
  reading.checkpoints_requested = 3;
  reading.checkpoints_timed = 17;
  reading.max_wal_size = 1 << 30;
  reading.checkpoint_timeout = 300s;
  return reading;
}

HealthReading health(TimePoint at) {
  HealthReading reading;
  reading.at = at;
  reading.archive = seen(ArchiveReading{true, 5, 2}, at);
  reading.vacuum = seen(VacuumReading{true, false, 3'000'000, 250'000, 700'000'000, 600'000'000}, at);
  reading.wraparound_age = seen(std::int64_t{150'000'000}, at);
  return reading;
}

}  // namespace

engine::HealthTold told_health(TimePoint at) {
  engine::HealthTold told;
  told.reading.replication = seen(replication(at), at);
  told.reading.canary = seen(CanaryReading{at, 700us}, at);
  told.reading.waiters = seen(WaiterReading{at, 2, 30ms, 4711, "pid 815 (app)"}, at);
  told.reading.activity = seen(ActivityReading{at, 7, 80, 12s, "pid 99"}, at);
  told.reading.presence = seen(PresenceReading{at, 2, 3}, at);
  told.reading.wal = seen(wal(at), at);
  told.reading.slots =
      seen(SlotsReading{at, 51'000'000, {{"search", false, "extended", 40'000'000, 2'000'000'000}}}, at);
  told.reading.health = seen(health(at), at);
  told.reading.probes = {{"queue_length", seen(12.5, at), 100}};
  told.reading.neighbours = seen(std::vector<NeighbourReading>{{"other_job", 2, 1e6, 2e6, 1.5, 4}}, at);
  told.work = {5'000, 5'000, 4, 2'500'000, 3, 2.5, 4};
  told.decision.at = at;
  told.decision.may_start = true;
  told.decision.wal_per_second = 31'000'000;
  told.decision.workers = 2.5;
  told.decision.batch_scale = 0.5;
  told.decision.causes = {{CauseKind::kReplicaLag, Grip::kSlows, "replica db-2 is 0.48 s behind (2 s allowed)", at},
                          {CauseKind::kDeadRows, Grip::kWarns, "8 % of the rows are dead", at}};
  told.decision.withheld = Pace{true, 31'000'000, 2.5, 0.5};
  told.mode = Mode::kObserve;
  return told;
}

}  // namespace pgbackfill::tests
