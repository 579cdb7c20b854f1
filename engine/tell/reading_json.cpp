#include "engine/tell/reading_json.h"

#include <array>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value_to.hpp>
#include <chrono>
#include <cmath>
#include <exception>
#include <limits>
#include <optional>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

namespace pgbackfill::engine {
namespace {

namespace json = boost::json;
using namespace throttle;

template <typename Enum>
struct Names;
template <>
struct Names<Sight> {
  static constexpr std::array kAll = {"never_sampled", "seen",        "missing", "null",
                                      "no_privilege",  "unsupported", "failed"};
};
template <>
struct Names<ReplicaKind> {
  static constexpr std::array kAll = {"standby", "logical_slot"};
};
template <>
struct Names<ReplicaState> {
  static constexpr std::array kAll = {"streaming", "joining", "receiver", "inactive", "lost", "vanished"};
};

// What the fields of each kind of value are, said once for both directions: Archive is a Writer or a Reader.
template <class Archive, typename Value>
void fields(Archive& archive, Sample<Value>& sample) {
  archive("sight", sample.sight);
  archive("at", sample.at);
  archive("value", sample.value);
  archive("why", sample.why);
}

template <class Archive>
void fields(Archive& archive, ReplicaReading& replica) {
  archive("name", replica.name);
  archive("address", replica.address);
  archive("kind", replica.kind);
  archive("state", replica.state);
  archive("replayed", replica.replayed);
  archive("reply_age", replica.reply_age);
  archive("apply_delay", replica.apply_delay);
}

template <class Archive>
void fields(Archive& archive, ReplicationReading& replication) {
  archive("at", replication.at);
  archive("flushed", replication.flushed);
  archive("replicas", replication.replicas);
  archive("timeline", replication.timeline);
}

template <class Archive>
void fields(Archive& archive, CanaryReading& canary) {
  archive("at", canary.at);
  archive("latency", canary.latency);
}

template <class Archive>
void fields(Archive& archive, WaiterReading& waiters) {
  archive("at", waiters.at);
  archive("waiters", waiters.waiters);
  archive("longest", waiters.longest);
  archive("our_pid", waiters.our_pid);
  archive("who", waiters.who);
}

template <class Archive>
void fields(Archive& archive, PresenceReading& presence) {
  archive("at", presence.at);
  archive("active", presence.active);
  archive("worked", presence.worked);
}

template <class Archive>
void fields(Archive& archive, ActivityReading& activity) {
  archive("at", activity.at);
  archive("active", activity.active);
  archive("connections_free", activity.connections_free);
  archive("oldest_xmin_age", activity.oldest_xmin_age);
  archive("oldest_xmin_holder", activity.oldest_xmin_holder);
}

template <class Archive>
void fields(Archive& archive, WalReading& wal) {
  archive("at", wal.at);
  archive("inserted", wal.inserted);
  archive("records", wal.records);
  archive("full_page_images", wal.full_page_images);
  archive("own_bytes", wal.own_bytes);
  archive("checkpoints_requested", wal.checkpoints_requested);
  archive("checkpoints_timed", wal.checkpoints_timed);
  archive("max_wal_size", wal.max_wal_size);
  archive("checkpoint_timeout", wal.checkpoint_timeout);
  archive("checkpoint_completion_target", wal.checkpoint_completion_target);
}

template <class Archive>
void fields(Archive& archive, SlotReading& slot) {
  archive("name", slot.name);
  archive("active", slot.active);
  archive("wal_status", slot.wal_status);
  archive("retained", slot.retained);
  archive("safe_wal_size", slot.safe_wal_size);
}

template <class Archive>
void fields(Archive& archive, SlotsReading& slots) {
  archive("at", slots.at);
  archive("written", slots.written);
  archive("slots", slots.slots);
}

template <class Archive>
void fields(Archive& archive, ArchiveReading& wal_archive) {
  archive("is_on", wal_archive.is_on);
  archive("segments_waiting", wal_archive.segments_waiting);
  archive("failures", wal_archive.failures);
}

template <class Archive>
void fields(Archive& archive, VacuumReading& vacuum) {
  archive("autovacuum_runs", vacuum.autovacuum_runs);
  archive("for_wraparound", vacuum.for_wraparound);
  archive("rows_live", vacuum.rows_live);
  archive("rows_dead", vacuum.rows_dead);
  archive("table_bytes", vacuum.table_bytes);
  archive("heap_bytes", vacuum.heap_bytes);
}

template <class Archive>
void fields(Archive& archive, HealthReading& health) {
  archive("at", health.at);
  archive("is_writable", health.is_writable);
  archive("archive", health.archive);
  archive("vacuum", health.vacuum);
  archive("wraparound_age", health.wraparound_age);
}

template <class Archive>
void fields(Archive& archive, ProbeReading& probe) {
  archive("name", probe.name);
  archive("value", probe.value);
  archive("limit", probe.limit);
}

template <class Archive>
void fields(Archive& archive, NeighbourReading& neighbour) {
  archive("name", neighbour.name);
  archive("weight", neighbour.weight);
  archive("wal_per_second", neighbour.wal_per_second);
  archive("wal_wanted", neighbour.wal_wanted);
  archive("workers", neighbour.workers);
  archive("workers_wanted", neighbour.workers_wanted);
  archive("database", neighbour.database);
}

template <class Archive>
void fields(Archive& archive, Reading& reading) {
  archive("replication", reading.replication);
  archive("canary", reading.canary);
  archive("canaries", reading.canaries);
  archive("waiters", reading.waiters);
  archive("presence", reading.presence);
  archive("activity", reading.activity);
  archive("wal", reading.wal);
  archive("slots", reading.slots);
  archive("health", reading.health);
  archive("probes", reading.probes);
  archive("neighbours", reading.neighbours);
  archive("elsewhere", reading.elsewhere);
}

template <class Archive>
void fields(Archive& archive, GrowthHold& hold) {
  archive("share", hold.share);
  archive("is_held", hold.is_held);
  archive("text", hold.text);
}

template <class Archive>
void fields(Archive& archive, Work& work) {
  archive("rows", work.rows);
  archive("rows_changed", work.rows_changed);
  archive("batches", work.batches);
  archive("wal_bytes", work.wal_bytes);
  archive("in_flight", work.in_flight);
  archive("busy", work.busy);
  archive("wanted", work.wanted);
  archive("processes", work.processes);
  archive("growth", work.growth);
}

template <class Archive>
void fields(Archive& archive, RecordedMoment& moment) {
  archive("at", moment.at);
  archive("clock_ms", moment.clock_ms);
  archive("work", moment.work);
  archive("reading", moment.reading);
}

template <typename T>
constexpr bool kIsDuration = false;
template <typename Rep, typename Period>
constexpr bool kIsDuration<std::chrono::duration<Rep, Period>> = true;
template <typename T>
constexpr bool kIsOptional = false;
template <typename T>
constexpr bool kIsOptional<std::optional<T>> = true;
template <typename T>
constexpr bool kIsVector = false;
template <typename T>
constexpr bool kIsVector<std::vector<T>> = true;

struct Writer {
  json::object object;

  template <typename T>
  void operator()(char const* name, T& value) {
    object[name] = written(value);
  }

  template <typename T>
  static json::value written(T& value) {
    if constexpr (std::is_enum_v<T>) {
      return json::value(Names<T>::kAll.at(static_cast<std::size_t>(value)));
    } else if constexpr (std::is_same_v<T, double>) {
      return std::isfinite(value) ? json::value(value) : json::value(nullptr);
    } else if constexpr (std::is_arithmetic_v<T> || std::is_same_v<T, std::string>) {
      return json::value(value);
    } else if constexpr (std::is_same_v<T, TimePoint>) {
      return json::value(std::chrono::nanoseconds(value.time_since_epoch()).count());
    } else if constexpr (kIsDuration<T>) {
      return json::value(std::chrono::nanoseconds(value).count());
    } else if constexpr (kIsOptional<T>) {
      return value ? written(*value) : json::value(nullptr);
    } else if constexpr (kIsVector<T>) {
      json::array array;
      for (auto& each : value) array.push_back(written(each));
      return array;
    } else {
      Writer inner;
      fields(inner, value);
      return std::move(inner.object);
    }
  }
};

struct Reader {
  json::object const& object;

  template <typename T>
  void operator()(char const* name, T& value) {
    if (auto const* found = object.if_contains(name)) read(*found, value, name);
  }

  template <typename T>
  static void read(json::value const& from, T& value, char const* name) {
    if constexpr (std::is_enum_v<T>) {
      value = read_enum<T>(from, name);
    } else if constexpr (std::is_same_v<T, double>) {
      value = from.is_null() ? std::numeric_limits<double>::infinity() : json::value_to<double>(from);
    } else if constexpr (std::is_arithmetic_v<T> || std::is_same_v<T, std::string>) {
      value = json::value_to<T>(from);
    } else if constexpr (std::is_same_v<T, TimePoint>) {
      value = TimePoint(std::chrono::nanoseconds(json::value_to<std::int64_t>(from)));
    } else if constexpr (kIsDuration<T>) {
      value = std::chrono::duration_cast<T>(std::chrono::nanoseconds(json::value_to<std::int64_t>(from)));
    } else if constexpr (kIsOptional<T>) {
      value.reset();
      if (!from.is_null()) read(from, value.emplace(), name);
    } else if constexpr (kIsVector<T>) {
      value.clear();
      for (auto const& each : from.as_array()) read(each, value.emplace_back(), name);
    } else {
      Reader inner{from.as_object()};
      fields(inner, value);
    }
  }

  template <typename Enum>
  static Enum read_enum(json::value const& from, char const* name) {
    auto const text = json::value_to<std::string>(from);
    for (std::size_t at = 0; at < Names<Enum>::kAll.size(); ++at) {
      if (text == Names<Enum>::kAll[at]) return static_cast<Enum>(at);
    }
    throw std::invalid_argument("'" + text + "' is no " + name);
  }
};

}  // namespace

std::string to_json_line(RecordedMoment const& moment) {
  // The fields are named once for both directions, and reading needs them to be writable.
  RecordedMoment copy = moment;
  return json::serialize(Writer::written(copy));
}

std::variant<RecordedMoment, std::string> moment_from_json(std::string_view line) {
  RecordedMoment moment;
  try {
    Reader::read(json::parse(json::string_view(line.data(), line.size())), moment, "moment");
  } catch (std::exception const& error) {
    return std::string("not a recorded reading: ") + error.what();
  }
  return moment;
}

}  // namespace pgbackfill::engine
