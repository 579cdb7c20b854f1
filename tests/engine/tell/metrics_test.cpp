// The text of a scrape from given events: names, units, labels, and what is left out.
#include "engine/tell/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <limits>
#include <map>
#include <optional>
#include <regex>
#include <set>
#include <span>
#include <sstream>
#include <string>

#include "tests/support/told_health.h"

namespace pgbackfill::engine {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using throttle::CauseKind;
using throttle::Grip;
using throttle::Sight;

constexpr std::chrono::steady_clock::time_point kStart{1'000s};

std::vector<std::string> lines_of(std::string const& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

// Of a series as it is printed; the label `migration` is understood.
std::optional<double> value_of(std::string const& text, std::string const& name, std::string const& labels = "") {
  std::string const series = name + "{migration=\"users\"" + (labels.empty() ? "" : "," + labels) + "} ";
  for (auto const& line : lines_of(text)) {
    if (!line.starts_with(series)) continue;
    auto const number = line.substr(series.size());
    return number == "+Inf" ? std::numeric_limits<double>::infinity() : std::stod(number);
  }
  return std::nullopt;
}

bool has_any(std::string const& text, std::string const& name) {
  return text.find("\n" + name + "{") != std::string::npos;
}

Progress users_progress() {
  Progress progress;
  progress.migration = "users";
  progress.table = "public.users";
  progress.phase = RunPhase::kBackfilling;
  progress.rows_done = 1'356'000;
  progress.rows_estimated = 3'000'000;
  progress.rows_changed = 1'300'000;
  progress.ranges_open = 12;
  progress.ranges_total = 64;
  progress.deferred = 3;
  progress.quarantined = 1;
  progress.workers = 2;
  progress.rows_per_second = 281'000.5;
  progress.batch_target = 100ms;
  progress.may_start = true;
  return progress;
}

std::shared_ptr<HealthTold const> shared(HealthTold told) {
  return std::make_shared<HealthTold const>(std::move(told));
}

// Events of every kind, so that everything is shown.
Metrics& fill(Metrics& metrics) {
  Summary summary;
  summary.last = users_progress();
  metrics.take_beat(kStart);
  metrics.take(BatchTold{500, 80ms, std::nullopt, ""}, kStart);
  metrics.take(TroubleTold{"55P03", planner::Trouble::kLockTimeout}, kStart);
  metrics.take(shared(tests::told_health(kStart)), kStart);
  metrics.take(summary, kStart);
  return metrics;
}

std::vector<MetricDefinition> all_definitions() {
  std::vector<MetricDefinition> all(metric_definitions().begin(), metric_definitions().end());
  all.insert(all.end(), exporter_metric_definitions().begin(), exporter_metric_definitions().end());
  return all;
}

TEST(Metrics, AreNamedByTheRulesOfPrometheus) {
  std::set<std::string_view> names;
  for (auto const& definition : all_definitions()) {
    std::string const name(definition.name);
    EXPECT_TRUE(names.insert(definition.name).second) << name << " is there twice";
    EXPECT_TRUE(std::regex_match(name, std::regex("pgbackfill(_[a-z][a-z0-9]*)+"))) << name;
    EXPECT_EQ(name.ends_with("_total"), definition.type == MetricType::kCounter) << name;
    EXPECT_FALSE(std::regex_search(name, std::regex("_(count|sum|bucket|ms|milliseconds|kb|mb|percent)(_|$)"))) << name;
    for (auto const& label : {"le", "quantile", "job", "instance", "migration"}) {
      EXPECT_FALSE(std::regex_search(std::string(definition.labels), std::regex("\\b" + std::string(label) + "\\b")))
          << name << " has a label that somebody else sets: " << label;
    }
  }
}

TEST(Metrics, SayUnitAndMeaning) {
  for (auto const& [name, type, labels, help] : all_definitions()) {
    EXPECT_TRUE(help.ends_with('.') && help.size() > 15) << name << ": " << help;
    std::string const text(help);
    std::pair<char const*, char const*> const units[] = {{"_seconds", "econds"},
                                                         {"_bytes", "ytes"},
                                                         {"_ratio", "hare"},
                                                         {"_rows", "ows"},
                                                         {"_transactions", "ransactions"}};
    for (auto const& [part, word] : units) {
      if (name.find(part) != std::string_view::npos) {
        EXPECT_THAT(text, HasSubstr(word)) << name;
      }
    }
  }
}

TEST(Metrics, AreAllShownWhenAllIsKnownAndNothingElseIs) {
  Metrics metrics("users");
  auto const text = fill(metrics).text(kStart);
  std::set<std::string> shown;
  for (auto const& line : lines_of(text)) {
    if (line.starts_with("# TYPE ")) shown.insert(line.substr(7, line.find(' ', 7) - 7));
  }
  std::set<std::string> defined;
  for (auto const& definition : metric_definitions()) {
    defined.insert(std::string(definition.name));
    EXPECT_THAT(text, HasSubstr("# HELP " + std::string(definition.name) + " " + std::string(definition.help) + "\n"));
  }
  EXPECT_EQ(shown, defined);
}

TEST(Metrics, NameTheLabelsThatTheyHave) {
  Metrics metrics("users");
  auto const text = fill(metrics).text(kStart);
  for (auto const& definition : metric_definitions()) {
    std::string const begin =
        "\n" + std::string(definition.name) + (definition.type == MetricType::kHistogram ? "_count" : "") + "{";
    auto const at = text.find(begin);
    ASSERT_NE(at, std::string::npos) << definition.name;
    std::string const series = text.substr(at, text.find('}', at) - at);
    std::string names;
    std::regex const label("([a-z_]+)=\"");
    for (std::sregex_iterator found(series.begin(), series.end(), label); found != std::sregex_iterator(); ++found) {
      if ((*found)[1] == "migration") continue;
      names += (names.empty() ? "" : ", ") + (*found)[1].str();
    }
    EXPECT_EQ(names, definition.labels) << definition.name;
  }
}

TEST(Metrics, ShowProgressAsItWasTold) {
  Metrics metrics("users");
  metrics.take(users_progress(), kStart);
  auto const text = metrics.text(kStart + 3s);
  EXPECT_EQ(value_of(text, "pgbackfill_job_rows_done"), 1'356'000);
  EXPECT_EQ(value_of(text, "pgbackfill_job_rows_estimated"), 3'000'000);
  EXPECT_EQ(value_of(text, "pgbackfill_job_rows_changed"), 1'300'000);
  EXPECT_EQ(value_of(text, "pgbackfill_job_rows_per_second"), 281'000.5);
  EXPECT_EQ(value_of(text, "pgbackfill_job_ranges_open"), 12);
  EXPECT_EQ(value_of(text, "pgbackfill_job_rows_deferred"), 3);
  EXPECT_EQ(value_of(text, "pgbackfill_job_rows_quarantined"), 1);
  EXPECT_EQ(value_of(text, "pgbackfill_batch_target_seconds"), 0.1);
  EXPECT_EQ(value_of(text, "pgbackfill_may_start"), 1);
  EXPECT_EQ(value_of(text, "pgbackfill_phase", "phase=\"backfilling\""), 1);
  EXPECT_EQ(value_of(text, "pgbackfill_phase", "phase=\"paused\""), 0);
  EXPECT_EQ(value_of(text, "pgbackfill_job_info", "table=\"public.users\""), 1);
  EXPECT_EQ(value_of(text, "pgbackfill_progress_age_seconds"), 3);
  EXPECT_FALSE(has_any(text, "pgbackfill_run_exit_code"));
}

JobShown job_shown(std::string migration) {
  JobShown job;
  job.migration = std::move(migration);
  job.status = "paused";
  job.table = "public.users";
  job.rows_done = 300;
  job.last_batch_age = 1'500ms;
  return job;
}

TEST(ExporterMetrics, ShowEachJobUnderItsOwnName) {
  JobsShown shown{kStart, 20ms, {job_shown("users"), job_shown("orders")}};
  shown.jobs.back().rows_done = 7;
  auto const text = exporter_text(&shown, kStart + 4s);
  EXPECT_EQ(value_of(text, "pgbackfill_job_rows_done"), 300);
  EXPECT_THAT(text, HasSubstr("pgbackfill_job_rows_done{migration=\"orders\"} 7\n"));
  EXPECT_EQ(value_of(text, "pgbackfill_job_status", "status=\"paused\""), 1);
  EXPECT_EQ(value_of(text, "pgbackfill_job_status", "status=\"running\""), 0);
  EXPECT_EQ(value_of(text, "pgbackfill_job_info", "table=\"public.users\""), 1);
  EXPECT_EQ(value_of(text, "pgbackfill_job_last_batch_age_seconds"), 1.5);
  EXPECT_THAT(text, HasSubstr("\npgbackfill_exporter_can_read 1\n"));
  EXPECT_THAT(text, HasSubstr("\npgbackfill_exporter_read_age_seconds 4\n"));
  EXPECT_THAT(text, HasSubstr("\npgbackfill_exporter_read_duration_seconds 0.02\n"));
  for (auto const& definition : exporter_metric_definitions()) {
    EXPECT_THAT(text, HasSubstr("# TYPE " + std::string(definition.name) + " ")) << definition.name;
  }
}

TEST(ExporterMetrics, ShowNoJobWhenTheStateCannotBeRead) {
  auto const text = exporter_text(nullptr, kStart);
  EXPECT_THAT(text, HasSubstr("\npgbackfill_exporter_can_read 0\n"));
  EXPECT_THAT(text, Not(HasSubstr("migration=")));
  EXPECT_THAT(text, Not(HasSubstr("pgbackfill_exporter_read_age_seconds ")));
}

TEST(ExporterMetrics, ShowOnlyTheNameOfWhatIsBrokenAndOfWhatHasNoBackfill) {
  JobsShown shown{kStart, 20ms, {job_shown("users"), job_shown("steps")}};
  shown.jobs.front().is_readable = false;
  shown.jobs.back().status.clear();
  auto const text = exporter_text(&shown, kStart);
  EXPECT_EQ(value_of(text, "pgbackfill_job_readable"), 0);
  EXPECT_THAT(text, HasSubstr("pgbackfill_job_readable{migration=\"steps\"} 1\n"));
  EXPECT_FALSE(has_any(text, "pgbackfill_job_rows_done"));
  EXPECT_FALSE(has_any(text, "pgbackfill_job_status"));
}

TEST(Metrics, NameTheTableWithoutQuotes) {
  for (auto const& [quoted, plain] : std::map<std::string, std::string>{{R"("public"."users")", "public.users"},
                                                                        {R"("a.b"."c""d")", R"(a.b.c\"d)"},
                                                                        {R"("""x"".""y""")", R"(\"x\".\"y\")"}}) {
    Metrics metrics("users");
    auto progress = users_progress();
    progress.table = quoted;
    metrics.take(progress, kStart);
    EXPECT_EQ(value_of(metrics.text(kStart), "pgbackfill_job_info", "table=\"" + plain + "\""), 1) << quoted;
  }
}

TEST(Metrics, CountNothingBeforeTheJobIsKnown) {
  Metrics metrics("users");
  Progress progress;
  progress.phase = RunPhase::kStarting;
  metrics.take(progress, kStart);
  auto const text = metrics.text(kStart);
  EXPECT_EQ(value_of(text, "pgbackfill_phase", "phase=\"starting\""), 1);
  EXPECT_FALSE(has_any(text, "pgbackfill_job_rows_done"));
  EXPECT_FALSE(has_any(text, "pgbackfill_throttle_mode"));
  EXPECT_EQ(value_of(text, "pgbackfill_batches_total"), 0);
}

TEST(Metrics, EndWithWhatTheSummarySays) {
  Metrics metrics("users");
  metrics.take(users_progress(), kStart);
  Summary summary;
  summary.last = users_progress();
  summary.last.rows_done = 2'999'000;
  summary.exit_code = 4;
  metrics.take(summary, kStart);
  auto const text = metrics.text(kStart);
  EXPECT_EQ(value_of(text, "pgbackfill_job_rows_done"), 2'999'000);
  EXPECT_EQ(value_of(text, "pgbackfill_run_exit_code"), 4);
  EXPECT_EQ(value_of(text, "pgbackfill_phase", "phase=\"ended\""), 1);
  EXPECT_EQ(value_of(text, "pgbackfill_may_start"), 0);
}

TEST(Metrics, CountBatchesAndTheirTimes) {
  Metrics metrics("users");
  metrics.take(BatchTold{500, 80ms, std::nullopt, ""}, kStart);
  metrics.take(BatchTold{700, 400ms, std::nullopt, ""}, kStart);
  metrics.take(BatchTold{0, 52ms, 52ms, "55P03"}, kStart);
  auto const text = metrics.text(kStart);
  EXPECT_EQ(value_of(text, "pgbackfill_batches_total"), 2);
  EXPECT_EQ(value_of(text, "pgbackfill_batch_rows_total"), 1'200);
  EXPECT_EQ(value_of(text, "pgbackfill_batch_failures_total"), 1);
  EXPECT_EQ(value_of(text, "pgbackfill_batch_duration_seconds_count"), 2);
  EXPECT_DOUBLE_EQ(value_of(text, "pgbackfill_batch_duration_seconds_sum").value_or(-1), 0.48);
  EXPECT_EQ(value_of(text, "pgbackfill_batch_duration_seconds_bucket", "le=\"0.1\""), 1);
  EXPECT_EQ(value_of(text, "pgbackfill_batch_duration_seconds_bucket", "le=\"0.5\""), 2);
  EXPECT_EQ(value_of(text, "pgbackfill_batch_duration_seconds_bucket", "le=\"+Inf\""), 2);
  EXPECT_EQ(value_of(text, "pgbackfill_batch_lock_wait_seconds_count"), 1);
  EXPECT_DOUBLE_EQ(value_of(text, "pgbackfill_batch_lock_wait_seconds_sum").value_or(-1), 0.052);
}

TEST(Metrics, CountFailuresBySqlstateWithoutGrowingForEver) {
  Metrics metrics("users");
  for (int i = 0; i < 3; ++i) metrics.take(TroubleTold{"40P01", planner::Trouble::kConflict}, kStart);
  for (int i = 10'000; i < 10'500; ++i)
    metrics.take(TroubleTold{std::to_string(i), planner::Trouble::kRowData}, kStart);
  auto const text = metrics.text(kStart);
  EXPECT_EQ(value_of(text, "pgbackfill_failures_total", "sqlstate=\"40P01\",class=\"40\""), 3);
  EXPECT_GT(value_of(text, "pgbackfill_failures_total", "sqlstate=\"other\",class=\"other\"").value_or(0), 0);
  auto const lines = lines_of(text);
  auto const is_failure = [](std::string const& line) { return line.starts_with("pgbackfill_failures_total"); };
  EXPECT_LT(std::count_if(lines.begin(), lines.end(), is_failure), 100);
}

TEST(Metrics, ShowEveryReadingThatWasSeen) {
  Metrics metrics("users");
  metrics.take(shared(tests::told_health(kStart)), kStart);
  auto const text = metrics.text(kStart + 2s);
  EXPECT_EQ(value_of(text, "pgbackfill_replica_lag_bytes", "replica=\"db-2\",address=\"10.0.0.2\",kind=\"standby\""),
            3'000'000);
  EXPECT_EQ(
      value_of(text, "pgbackfill_replica_reply_age_seconds", "replica=\"db-2\",address=\"10.0.0.2\",kind=\"standby\""),
      0.12);
  EXPECT_EQ(value_of(text, "pgbackfill_replica_state",
                     "replica=\"search\",address=\"\",kind=\"logical_slot\",state=\"inactive\""),
            1);
  EXPECT_EQ(value_of(text, "pgbackfill_canary_latest_seconds"), 0.0007);
  EXPECT_EQ(value_of(text, "pgbackfill_lock_waiters"), 2);
  EXPECT_EQ(value_of(text, "pgbackfill_lock_waiter_longest_seconds"), 0.03);
  EXPECT_EQ(value_of(text, "pgbackfill_server_active_sessions"), 7);
  EXPECT_EQ(value_of(text, "pgbackfill_server_free_connections"), 80);
  EXPECT_EQ(value_of(text, "pgbackfill_server_xmin_age_seconds"), 12);
  EXPECT_EQ(value_of(text, "pgbackfill_server_wal_bytes_total"), 51'000'000);
  EXPECT_EQ(value_of(text, "pgbackfill_server_full_page_images_total"), 4'000);
  EXPECT_EQ(value_of(text, "pgbackfill_server_checkpoints_requested_total"), 3);
  EXPECT_EQ(value_of(text, "pgbackfill_archive_waiting_segments"), 5);
  EXPECT_EQ(value_of(text, "pgbackfill_slot_retained_bytes", "slot=\"search\""), 40'000'000);
  EXPECT_EQ(value_of(text, "pgbackfill_slot_safe_wal_size_bytes", "slot=\"search\""), 2'000'000'000);
  EXPECT_EQ(value_of(text, "pgbackfill_table_dead_rows"), 250'000);
  EXPECT_EQ(value_of(text, "pgbackfill_table_bytes"), 700'000'000);
  EXPECT_EQ(value_of(text, "pgbackfill_server_wraparound_age_transactions"), 150'000'000);
  EXPECT_EQ(value_of(text, "pgbackfill_probe_value", "probe=\"queue_length\""), 12.5);
  EXPECT_EQ(value_of(text, "pgbackfill_reading_age_seconds", "reading=\"canary\""), 2);
  EXPECT_EQ(value_of(text, "pgbackfill_reading_state", "reading=\"canary\",state=\"seen\""), 1);
}

TEST(Metrics, LeaveOutWhatWasNotSeenAndNeverShowItAsZero) {
  std::pair<Sight, std::string> const sights[] = {
      {Sight::kNeverSampled, "never_sampled"}, {Sight::kMissing, "missing"},         {Sight::kNull, "null"},
      {Sight::kNoPrivilege, "no_privilege"},   {Sight::kUnsupported, "unsupported"}, {Sight::kFailed, "failed"}};
  for (auto const& [sight, word] : sights) {
    auto told = tests::told_health(kStart);
    for (auto& replica : told.reading.replication.value.replicas) replica.replayed.sight = sight;
    told.reading.replication.value.replicas.front().reply_age.sight = sight;
    told.reading.canary.sight = sight;
    told.reading.waiters.sight = sight;
    told.reading.activity.sight = sight;
    told.reading.wal.sight = sight;
    told.reading.slots.sight = sight;
    auto& health = told.reading.health.value;
    health.archive.sight = health.vacuum.sight = health.wraparound_age.sight = sight;
    told.reading.probes.front().value.sight = sight;
    Metrics metrics("users");
    metrics.take(shared(told), kStart);
    auto const text = metrics.text(kStart);
    for (auto const* name :
         {"pgbackfill_replica_lag_bytes", "pgbackfill_replica_lag_seconds", "pgbackfill_replica_reply_age_seconds",
          "pgbackfill_canary_latest_seconds", "pgbackfill_lock_waiters", "pgbackfill_server_active_sessions",
          "pgbackfill_server_free_connections", "pgbackfill_server_wal_bytes_total", "pgbackfill_slot_retained_bytes",
          "pgbackfill_archive_waiting_segments", "pgbackfill_table_dead_rows",
          "pgbackfill_server_wraparound_age_transactions", "pgbackfill_probe_value"}) {
      EXPECT_FALSE(has_any(text, name)) << name << ' ' << word;
    }
    for (auto const* reading : {"canary", "waiters", "activity", "wal", "slots", "archive", "vacuum", "wraparound_age",
                                "probe queue_length"}) {
      std::string const label = "reading=\"" + std::string(reading) + "\",state=\"";
      EXPECT_EQ(value_of(text, "pgbackfill_reading_state", label + word + "\""), 1) << reading;
      EXPECT_EQ(value_of(text, "pgbackfill_reading_state", label + "seen\""), 0) << reading;
    }
  }
}

TEST(Metrics, LeaveOutWhatTheServerGaveAsNull) {
  auto told = tests::told_health(kStart);
  told.reading.activity.value.oldest_xmin_age.reset();
  told.reading.wal.value.own_bytes.reset();
  told.reading.slots.value.slots.front().retained.reset();
  told.reading.slots.value.slots.front().safe_wal_size.reset();
  told.reading.health.value.archive.value.is_on = false;
  Metrics metrics("users");
  metrics.take(shared(told), kStart);
  auto const text = metrics.text(kStart);
  EXPECT_FALSE(has_any(text, "pgbackfill_server_xmin_age_seconds"));
  EXPECT_FALSE(has_any(text, "pgbackfill_server_own_wal_bytes_total"));
  EXPECT_FALSE(has_any(text, "pgbackfill_slot_retained_bytes"));
  EXPECT_FALSE(has_any(text, "pgbackfill_slot_safe_wal_size_bytes"));
  EXPECT_FALSE(has_any(text, "pgbackfill_archive_waiting_segments"));
  EXPECT_TRUE(has_any(text, "pgbackfill_slot_active"));
}

TEST(Metrics, LetAReadingGrowOldWhileItsQuestionFails) {
  Metrics metrics("users");
  auto told = tests::told_health(kStart);
  told.reading.canary.sight = Sight::kFailed;
  told.reading.canary.at = kStart + 8s;
  told.decision.at = kStart + 8s;
  metrics.take(shared(told), kStart + 8s);
  auto const text = metrics.text(kStart + 10s);
  EXPECT_EQ(value_of(text, "pgbackfill_reading_age_seconds", "reading=\"canary\""), 10);
  EXPECT_EQ(value_of(text, "pgbackfill_throttle_decision_age_seconds"), 2);

  throttle::Reading const nothing;
  told.reading = nothing;
  metrics.take(shared(told), kStart + 8s);
  EXPECT_FALSE(has_any(metrics.text(kStart + 10s), "pgbackfill_reading_age_seconds"));
}

TEST(Metrics, ShowAReplicasLagInTime) {
  Metrics metrics("users");
  auto told = tests::told_health(kStart);
  told.reading.replication.value.replicas.resize(1);
  for (int second = 0; second <= 5; ++second) {
    auto& replication = told.reading.replication.value;
    replication.at = kStart + second * 1s;
    replication.flushed = 100'000'000 + static_cast<throttle::Lsn>(second) * 10'000'000;
    replication.replicas.front().replayed.value = std::min<throttle::Lsn>(replication.flushed, 120'000'000);
    metrics.take(shared(told), replication.at);
  }
  // It stopped at 120 MB, which was written at second 2.
  auto const lag = value_of(metrics.text(kStart + 5s), "pgbackfill_replica_lag_seconds",
                            "replica=\"db-2\",address=\"10.0.0.2\",kind=\"standby\"");
  ASSERT_TRUE(lag);
  EXPECT_GE(*lag, 2.0);
  EXPECT_LE(*lag, 3.0);
}

TEST(Metrics, ShowTheWorseOfTwoReplicasThatCannotBeToldApart) {
  Metrics metrics("users");
  auto told = tests::told_health(kStart);
  auto& replicas = told.reading.replication.value.replicas;
  replicas[1] = replicas[0];
  replicas[1].replayed.value = 20'000'000;
  replicas[1].state = throttle::ReplicaState::kJoining;
  metrics.take(shared(told), kStart);
  auto const lines = lines_of(metrics.text(kStart));
  std::set<std::string> series;
  for (auto const& line : lines) {
    if (line.starts_with('#')) continue;
    EXPECT_TRUE(series.insert(line.substr(0, line.rfind(' '))).second) << line;
  }
  EXPECT_EQ(value_of(metrics.text(kStart), "pgbackfill_replica_lag_bytes",
                     "replica=\"db-2\",address=\"10.0.0.2\",kind=\"standby\""),
            30'000'000);
}

TEST(Metrics, ForgetAReplicaThatIsNoLongerTold) {
  Metrics metrics("users");
  auto told = tests::told_health(kStart);
  metrics.take(shared(told), kStart);
  told.reading.replication.value.replicas.clear();
  metrics.take(shared(told), kStart);
  EXPECT_FALSE(has_any(metrics.text(kStart), "pgbackfill_replica_lag_bytes"));
  EXPECT_FALSE(has_any(metrics.text(kStart), "pgbackfill_replica_state"));
}

TEST(Metrics, ShowLimitsAndWhatBinds) {
  Metrics metrics("users");
  auto told = tests::told_health(kStart);
  metrics.take(shared(told), kStart);
  auto text = metrics.text(kStart);
  EXPECT_EQ(value_of(text, "pgbackfill_throttle_wal_limit_bytes_per_second"), 31'000'000);
  EXPECT_EQ(value_of(text, "pgbackfill_throttle_workers_limit"), 2.5);
  EXPECT_EQ(value_of(text, "pgbackfill_batches_in_flight"), 3);
  EXPECT_EQ(value_of(text, "pgbackfill_throttle_mode", "mode=\"observe\""), 1);
  EXPECT_EQ(value_of(text, "pgbackfill_throttle_mode", "mode=\"on\""), 0);
  EXPECT_EQ(value_of(text, "pgbackfill_throttle_causes", "cause=\"replica_lag\",grip=\"slows\""), 1);
  EXPECT_EQ(value_of(text, "pgbackfill_throttle_causes", "cause=\"dead_rows\",grip=\"warns\""), 1);
  EXPECT_EQ(value_of(text, "pgbackfill_throttle_causes", "cause=\"dead_rows\",grip=\"stops\""), 0);
  EXPECT_EQ(value_of(text, "pgbackfill_throttle_withheld_workers_limit"), 2.5);

  told.decision.wal_per_second = throttle::kUnlimited;
  told.decision.withheld.reset();
  metrics.take(shared(told), kStart);
  text = metrics.text(kStart);
  EXPECT_TRUE(std::isinf(value_of(text, "pgbackfill_throttle_wal_limit_bytes_per_second").value_or(0)));
  EXPECT_FALSE(has_any(text, "pgbackfill_throttle_withheld_workers_limit"));
}

TEST(Metrics, CountTheTimeThatEachCauseHeldTheWorkBack) {
  Metrics metrics("users");
  auto told = tests::told_health(kStart);
  // A warning holds nothing back; two that bind do so both, and two of one kind are one.
  told.decision.causes = {{CauseKind::kDeadRows, Grip::kWarns, "", kStart},
                          {CauseKind::kReplicaLag, Grip::kSlows, "", kStart},
                          {CauseKind::kArchive, Grip::kSlows, "", kStart},
                          {CauseKind::kArchive, Grip::kStops, "", kStart}};
  metrics.take(shared(told), kStart);
  told.decision.at = kStart + 250ms;
  told.decision.causes = {{CauseKind::kServerRole, Grip::kStops, "", kStart}};
  metrics.take(shared(told), told.decision.at);
  told.decision.at = kStart + 1'000ms;
  told.decision.causes = {};
  metrics.take(shared(told), told.decision.at);
  told.decision.at = kStart + 2'000ms;
  metrics.take(shared(told), told.decision.at);
  auto const text = metrics.text(kStart + 2s);
  constexpr char kName[] = "pgbackfill_throttle_held_back_seconds_total";
  EXPECT_EQ(value_of(text, kName, "cause=\"replica_lag\",grip=\"slows\""), 0.25);
  EXPECT_EQ(value_of(text, kName, "cause=\"server_role\",grip=\"stops\""), 0.75);
  EXPECT_EQ(value_of(text, kName, "cause=\"archive\",grip=\"stops\""), 0.25);
  EXPECT_EQ(value_of(text, kName, "cause=\"archive\",grip=\"slows\""), 0);
  EXPECT_FALSE(value_of(text, kName, "cause=\"dead_rows\",grip=\"warns\""));
}

TEST(Metrics, DoNotTakeAProcessThatStoodStillForOneThatWasHeldBack) {
  Metrics metrics("users");
  auto told = tests::told_health(kStart);
  metrics.take(shared(told), kStart);
  told.decision.at = kStart + 1h;
  metrics.take(shared(told), told.decision.at);
  auto const held = value_of(metrics.text(kStart + 1h), "pgbackfill_throttle_held_back_seconds_total",
                             "cause=\"replica_lag\",grip=\"slows\"");
  EXPECT_EQ(held, 5);
}

TEST(Metrics, CountEachCanaryOnceAndTheWalOfEachDecision) {
  Metrics metrics("users");
  auto told = tests::told_health(kStart);
  told.reading.canaries = {{kStart - 200ms, 400us}, {kStart - 100ms, 3ms}, {kStart, 700us}};
  metrics.take(shared(told), kStart);
  told.reading.canaries = {{kStart - 100ms, 3ms}, {kStart, 700us}, {kStart + 100ms, 1ms}};
  told.reading.canary.value = told.reading.canaries.back();
  metrics.take(shared(told), kStart + 100ms);
  auto const text = metrics.text(kStart + 100ms);
  EXPECT_EQ(value_of(text, "pgbackfill_canary_commit_seconds_count"), 4);
  EXPECT_EQ(value_of(text, "pgbackfill_wal_bytes_total"), 5'000'000);
}

TEST(Metrics, KeepHostileNamesInTheirLabels) {
  Metrics metrics("a\"} 1\nfake_metric{x=\"\\\xff\xc3");
  auto told = tests::told_health(kStart);
  told.reading.replication.value.replicas.front().name = "r\"\n# TYPE pgbackfill_phase counter\n\\";
  told.reading.probes.front().name = "\"} NaN\r\n\x80";
  metrics.take(shared(told), kStart);
  metrics.take(users_progress(), kStart);
  auto const text = metrics.text(kStart);
  std::regex const comment("# (HELP|TYPE) pgbackfill_[a-z_]+ .*");
  std::regex const sample("pgbackfill_[a-z_]+(\\{([a-z_]+=\"([^\"\\\\]|\\\\[\\\\n\"])*\",?)*\\})? [-+0-9.eInf]+");
  for (auto const& line : lines_of(text)) {
    EXPECT_TRUE(std::regex_match(line, line.starts_with('#') ? comment : sample)) << line;
  }
  EXPECT_THAT(text, HasSubstr("migration=\"a\\\"} 1\\nfake_metric{x=\\\"\\\\\xEF\xBF\xBD"));
  EXPECT_THAT(text, Not(HasSubstr("\xff")));
}

TEST(Metrics, TellWhatWasLost) {
  Metrics metrics("users");
  metrics.set_events_lost(7);
  metrics.take_beat(kStart);
  auto const text = metrics.text(kStart + 4s);
  EXPECT_EQ(value_of(text, "pgbackfill_events_lost_total"), 7);
  EXPECT_EQ(value_of(text, "pgbackfill_engine_silent_seconds"), 4);
}

std::string table_of_definitions(std::span<MetricDefinition const> definitions) {
  std::string table = "| metric | type | labels | unit and meaning |\n| --- | --- | --- | --- |\n";
  for (auto const& [name, type, labels, help] : definitions) {
    char const* const word = type == MetricType::kCounter ? "counter"
                             : type == MetricType::kGauge ? "gauge"
                                                          : "histogram";
    table +=
        "| `" + std::string(name) + "` | " + word + " | " + std::string(labels) + " | " + std::string(help) + " |\n";
  }
  return table;
}

TEST(Metrics, AreDescribedInTheDocs) {
  std::ifstream file(PGBACKFILL_SOURCE_DIR "/docs/operations.md");
  std::string const docs{std::istreambuf_iterator<char>(file), {}};
  for (auto const definitions : {metric_definitions(), exporter_metric_definitions()}) {
    auto const table = table_of_definitions(definitions);
    EXPECT_TRUE(docs.find(table) != std::string::npos) << "docs/operations.md should have this table:\n" << table;
  }
}

}  // namespace
}  // namespace pgbackfill::engine
