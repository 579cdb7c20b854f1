#include "engine/probes/probe_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <set>

#include "engine/base/text.h"
#include "planner/model/sql_text.h"
#include "throttle/announcement.h"

namespace pgbackfill::engine {

namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;
using throttle::ReplicaKind;
using throttle::ReplicaReading;
using throttle::ReplicaState;
using throttle::Sight;
using throttle::TimePoint;
using Row = std::vector<std::optional<std::string>>;

// What PostgreSQL calls a standby whose primary_conninfo has no application_name.
constexpr char kNoNameGiven[] = "walreceiver";
constexpr std::size_t kTimelineDigits = 8;
constexpr std::size_t kWalFileDigits = 24;

bool is_true(std::optional<std::string> const& field) {
  return field == "t";
}

std::optional<std::uint64_t> number(std::optional<std::string> const& field) {
  if (!field) return std::nullopt;
  return std::stoull(*field);
}

// The number of a WAL file among all, whatever its timeline; nothing for a history file.
std::optional<std::int64_t> segment_number(std::string const& file, std::int64_t segment_bytes) {
  if (file.size() < kWalFileDigits || segment_bytes <= 0) return std::nullopt;
  std::uint64_t log = 0;
  std::uint64_t segment = 0;
  char const* const digits = file.data() + kTimelineDigits;
  auto const high = std::from_chars(digits, digits + kTimelineDigits, log, 16);
  auto const low = std::from_chars(digits + kTimelineDigits, digits + 2 * kTimelineDigits, segment, 16);
  if (high.ec != std::errc() || low.ec != std::errc()) return std::nullopt;
  std::int64_t const in_a_log = (std::int64_t{1} << 32) / segment_bytes;
  return static_cast<std::int64_t>(log) * in_a_log + static_cast<std::int64_t>(segment);
}

// Column numbers of probe_sql::replication().
constexpr std::size_t kKind = 1;
constexpr std::size_t kName = 2;
constexpr std::size_t kAddress = 3;
constexpr std::size_t kState = 4;
constexpr std::size_t kReplayed = 5;
constexpr std::size_t kReplyTime = 6;
constexpr std::size_t kSlot = 7;
constexpr std::size_t kSlotActive = 8;
constexpr std::size_t kWalStatus = 9;
constexpr std::size_t kTimeline = 11;

ReplicaState standby_state(Row const& row) {
  std::string const& state = *row[kState];
  if (state != "streaming" && state != "stopping") return ReplicaState::kJoining;
  if (row[kReplayed]) return ReplicaState::kStreaming;
  // A standby that has just come has not said anything yet; what speaks and replays nothing stores WAL only.
  return row[kReplyTime] ? ReplicaState::kReceiver : ReplicaState::kJoining;
}

ReplicaReading slot_of(Row const& row, TimePoint asked) {
  ReplicaReading slot;
  slot.name = *row[kName];
  slot.address = *row[kAddress];
  slot.kind = ReplicaKind::kLogicalSlot;
  slot.state = is_true(row[kSlotActive]) ? ReplicaState::kStreaming : ReplicaState::kInactive;
  if (row[kWalStatus] == "lost") slot.state = ReplicaState::kLost;
  slot.replayed = row[kReplayed] ? seen<throttle::Lsn>(*number(row[kReplayed]), asked)
                                 : unseen<throttle::Lsn>(Sight::kNull, asked, "the slot is not consistent yet");
  slot.reply_age = unseen<milliseconds>(Sight::kUnsupported, asked, "slots send no replies");
  return slot;
}

}  // namespace

ServerFacts server_facts_of(Rows const& rows) {
  ServerFacts facts;
  facts.is_standby = rows.at(0, 0) == "t";
  facts.sees_all = rows.at(0, 1) == "t";
  facts.may_list_archive = rows.at(0, 2) == "t";
  facts.role = rows.at(0, 3);
  facts.backend_pid = std::stoi(rows.at(0, 4));
  facts.wraparound_age = std::stoll(rows.at(0, 5));
  return facts;
}

std::string missing_right(ServerFacts const& facts, std::string const& what) {
  return fmt::format("role {} may not see {}: GRANT pg_monitor TO {}", facts.role, what,
                     planner::quote_identifier(facts.role));
}

// --- Replicas --------------------------------------------------------------------------------------------------------

ReplicaReading ReplicaMemory::standby_of(Row const& row, ServerFacts const& facts, TimePoint asked) {
  ReplicaReading standby;
  standby.name = *row[kName];
  standby.address = *row[kAddress];
  if (standby.name == kNoNameGiven && row[kSlot]) standby.name += fmt::format(" (slot {})", *row[kSlot]);
  // Some give all their standbys one name.
  Name key(standby.name, standby.address);
  for (int twin = 2; standbys_.contains(key) && standbys_[key].seen_at == asked; ++twin) {
    key.first = fmt::format("{} #{}", standby.name, twin);
  }
  standby.name = key.first;
  Known& known = standbys_[key];
  known.seen_at = asked;
  if (!row[kState]) {
    standby.replayed = unseen<throttle::Lsn>(Sight::kNoPrivilege, asked, missing_right(facts, "how far replicas are"));
    standby.reply_age = unseen<milliseconds>(Sight::kNoPrivilege, asked, standby.replayed.why);
    return standby;
  }
  standby.state = standby_state(row);
  if (row[kReplayed]) {
    standby.replayed = seen<throttle::Lsn>(*number(row[kReplayed]), asked);
    known.has_streamed = known.has_streamed || standby.state == ReplicaState::kStreaming;
  } else {
    standby.replayed = unseen<throttle::Lsn>(Sight::kNull, asked, "it has not said how far it is");
  }
  if (!row[kReplyTime]) {
    standby.reply_age = unseen<milliseconds>(Sight::kNull, asked, "it has sent no reply yet");
    return standby;
  }
  if (known.reply != *row[kReplyTime]) {
    known.reply = *row[kReplyTime];
    known.replied_at = asked;
  }
  standby.reply_age = seen(duration_cast<milliseconds>(asked - known.replied_at), asked);
  return standby;
}

void ReplicaMemory::add_vanished(throttle::ReplicationReading& reading, TimePoint asked) {
  for (auto const& [key, known] : standbys_) {
    if (known.seen_at == asked || !known.has_streamed) continue;
    ReplicaReading gone;
    std::tie(gone.name, gone.address) = key;
    gone.state = ReplicaState::kVanished;
    gone.replayed = unseen<throttle::Lsn>(Sight::kMissing, asked, "it is not connected to the primary any more");
    gone.reply_age = unseen<milliseconds>(Sight::kMissing, asked, gone.replayed.why);
    reading.replicas.push_back(std::move(gone));
  }
  std::erase_if(standbys_,
                [&](auto const& entry) { return entry.second.seen_at != asked && !entry.second.has_streamed; });
  while (standbys_.size() > kMostReplicas) {
    auto const first_gone = std::min_element(standbys_.begin(), standbys_.end(), [](auto const& a, auto const& b) {
      return a.second.seen_at < b.second.seen_at;
    });
    standbys_.erase(first_gone);
  }
}

throttle::ReplicationReading ReplicaMemory::read(Rows const& rows, ServerFacts const& facts, TimePoint asked) {
  throttle::ReplicationReading reading;
  reading.at = asked;
  reading.flushed = std::stoull(rows.at(0, 0));
  if (rows.at(0, kTimeline) != timeline_) standbys_.clear();
  timeline_ = rows.at(0, kTimeline);
  constexpr int kHexadecimal = 16;
  reading.timeline = static_cast<std::uint32_t>(std::stoul(timeline_, nullptr, kHexadecimal));
  for (auto const& row : rows.rows) {
    if (row[kKind] == "standby") reading.replicas.push_back(standby_of(row, facts, asked));
    if (row[kKind] == "slot") reading.replicas.push_back(slot_of(row, asked));
  }
  add_vanished(reading, asked);
  return reading;
}

// --- Sessions --------------------------------------------------------------------------------------------------------

probe_sql::KnownWaiters WaiterMemory::known(TimePoint now) const {
  probe_sql::KnownWaiters waiters;
  for (auto const& [pid, since] : since_) waiters.emplace_back(pid, duration_cast<milliseconds>(now - since));
  return waiters;
}

throttle::WaiterReading WaiterMemory::read(Rows const& rows, TimePoint asked) {
  throttle::WaiterReading reading;
  reading.at = asked;
  Row const& row = rows.rows.at(0);
  reading.waiters = std::stoi(row[0].value());
  if (row[1]) {
    reading.longest = milliseconds(std::stoll(*row[1]));
    reading.our_pid = std::stoi(row[2].value());
    std::string const application = row[4].value_or("");
    reading.who = fmt::format("pid {} ({}, {}): {}", row[3].value_or("?"),
                              application.empty() ? "no application name" : application, row[5].value_or("?"),
                              row[6].value_or("its query is not visible to this role"));
  }
  std::map<int, TimePoint> still;
  std::string const waiting = row[7].value_or("");
  for (std::size_t begin = 0; begin < waiting.size();) {
    std::size_t const end = std::min(waiting.find(',', begin), waiting.size());
    int const pid = std::stoi(waiting.substr(begin, end - begin));
    auto const before = since_.find(pid);
    still[pid] = before == since_.end() ? asked : before->second;
    begin = end + 1;
  }
  since_ = std::move(still);
  return reading;
}

throttle::ActivityReading ActivityMemory::read(Rows const& rows, TimePoint asked) {
  throttle::ActivityReading reading;
  reading.at = asked;
  Row const& row = rows.rows.at(0);
  reading.active = std::stoi(row[0].value());
  reading.connections_free = std::max(0, std::stoi(row[1].value()));
  if (!row[3]) {
    holder_.clear();
    return reading;
  }
  std::string const transaction = row[5].value_or("");
  if (holder_ != *row[3] || transaction_ != transaction) since_ = asked;
  holder_ = *row[3];
  transaction_ = transaction;
  reading.oldest_xmin_holder = holder_;
  reading.oldest_xmin_age =
      row[4] ? std::chrono::seconds(std::stoll(*row[4])) : duration_cast<std::chrono::seconds>(asked - since_);
  return reading;
}

std::vector<throttle::NeighbourReading> neighbours_elsewhere(Rows const& rows) {
  std::vector<throttle::NeighbourReading> neighbours;
  for (auto const& row : rows.rows) {
    auto neighbour = throttle::neighbour_of(row.at(1).value_or(""));
    if (!neighbour) continue;
    // In the encoding of whoever made it.
    neighbour->database = valid_utf8(row.at(0).value_or("?"));
    neighbours.push_back(std::move(*neighbour));
  }
  return neighbours;
}

// --- WAL -------------------------------------------------------------------------------------------------------------

throttle::WalReading WalMemory::read(Rows const& rows, throttle::Lsn inserted, TimePoint asked) {
  throttle::WalReading reading;
  reading.at = asked;
  reading.inserted = inserted;
  Row const& row = rows.rows.at(0);
  reading.records = number(row[0]);
  reading.full_page_images = number(row[1]);
  reading.checkpoints_requested = number(row[2]).value_or(0);
  reading.checkpoints_timed = number(row[3]).value_or(0);
  reading.max_wal_size = number(row[4]).value_or(0);
  reading.checkpoint_timeout = milliseconds(number(row[5]).value_or(0));
  reading.checkpoint_completion_target = std::stod(row[6].value());
  if (!row[7]) return reading;
  std::map<int, std::uint64_t> now;
  for (std::size_t begin = 0; begin < row[7]->size();) {
    std::size_t const end = std::min(row[7]->find(',', begin), row[7]->size());
    std::size_t const colon = row[7]->find(':', begin);
    int const pid = std::stoi(row[7]->substr(begin, colon - begin));
    std::uint64_t const bytes = std::stoull(row[7]->substr(colon + 1, end - colon - 1));
    std::uint64_t const before = by_pid_.contains(pid) ? by_pid_[pid] : 0;
    own_ += bytes >= before ? bytes - before : bytes;
    now[pid] = bytes;
    begin = end + 1;
  }
  by_pid_ = std::move(now);
  reading.own_bytes = own_;
  return reading;
}

throttle::SlotsReading slots_of(Rows const& rows, TimePoint asked) {
  throttle::SlotsReading reading;
  reading.at = asked;
  reading.written = std::stoull(rows.at(0, 0));
  for (auto const& row : rows.rows) {
    if (!row[1]) continue;
    throttle::SlotReading slot;
    slot.name = *row[1];
    slot.active = is_true(row[2]);
    slot.wal_status = *row[3];
    if (row[4]) slot.retained = static_cast<std::uint64_t>(std::max<std::int64_t>(0, std::stoll(*row[4])));
    if (row[5]) slot.safe_wal_size = std::stoll(*row[5]);
    reading.slots.push_back(std::move(slot));
  }
  return reading;
}

throttle::Sample<throttle::ArchiveReading> archive_of(Rows const& rows, ServerFacts const& facts, TimePoint asked) {
  Row const& row = rows.rows.at(0);
  throttle::ArchiveReading archive;
  archive.is_on = is_true(row[0]);
  archive.failures = std::stoll(row[1].value());
  if (!archive.is_on) return seen(archive, asked);
  if (row[5]) {
    archive.segments_waiting = std::stoll(*row[5]);
    return seen(archive, asked);
  }
  // Without the right to list the files, the distance of the latest archived one from the one that is written.
  std::int64_t const segment_bytes = std::stoll(row[4].value());
  auto const archived = segment_number(row[2].value_or(""), segment_bytes);
  auto const written = segment_number(row[3].value_or(""), segment_bytes);
  if (!archived || !written) {
    return unseen<throttle::ArchiveReading>(Sight::kNoPrivilege, asked,
                                            missing_right(facts, "which WAL files wait for the archiver"));
  }
  archive.segments_waiting = std::max<std::int64_t>(0, *written - *archived - 1);
  return seen(archive, asked);
}

throttle::Sample<throttle::VacuumReading> vacuum_of(Rows const& rows, TimePoint asked) {
  Row const& row = rows.rows.at(0);
  if (row[6] == "0") {
    return unseen<throttle::VacuumReading>(Sight::kMissing, asked, "none of the job's tables is there");
  }
  throttle::VacuumReading reading;
  reading.autovacuum_runs = is_true(row[0]);
  reading.for_wraparound = is_true(row[1]);
  reading.rows_live = std::stoll(row[2].value());
  reading.rows_dead = std::stoll(row[3].value());
  reading.table_bytes = std::stoull(row[4].value());
  reading.heap_bytes = std::stoull(row[5].value());
  return seen(reading, asked);
}

throttle::Sample<double> number_of(Rows const& rows, TimePoint asked) {
  if (rows.rows.empty()) return unseen<double>(Sight::kMissing, asked, "its query gave no row");
  if (rows.rows.size() > 1 || rows.rows.front().size() != 1) {
    return unseen<double>(Sight::kFailed, asked,
                          fmt::format("its query gave {} rows of {} columns, and has to give one number",
                                      rows.rows.size(), rows.rows.front().size()));
  }
  auto const& field = rows.rows.front().front();
  if (!field) return unseen<double>(Sight::kNull, asked, "its query gave NULL");
  double value = 0;
  auto const [end, error] = std::from_chars(field->data(), field->data() + field->size(), value);
  if (error != std::errc() || end != field->data() + field->size() || std::isnan(value)) {
    constexpr std::size_t kShown = 40;
    return unseen<double>(Sight::kFailed, asked,
                          fmt::format("its query gave '{}', which is no number (write a condition as (...)::int)",
                                      field->substr(0, kShown)));
  }
  return seen(value, asked);
}

}  // namespace pgbackfill::engine
