// All that is kept of one migration, as values: app/report_reader.h reads them, report_view.h shows them.
//
// Complete: whoever shows it asks nobody. No value of a row is in it: neither keys of rows that are set aside nor what
// the server said of them. Times are UTC as the server writes them, or milliseconds since 1970.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/sample.h"
#include "engine/view/status_report.h"
#include "engine/view/throttle_replay.h"

namespace pgbackfill::engine {

struct ReportedStep {
  std::string phase;  // expand, sync, contract
  std::int64_t number = 0;
  std::string text;
  std::string done_at;  // empty: it is not done
  std::optional<std::int64_t> took_ms;
  std::optional<std::int64_t> lock_wait_ms;
  std::string waited_for;
};

struct ReportedHook {
  std::string boundary;
  std::string hook;
  std::string result;
  std::string ran_at;
};

struct ReportedEvent {
  std::int64_t at_ms = 0;
  std::string kind;
  std::string detail;
  std::string who;  // user@host, or the role
  std::string host;
  std::optional<std::int64_t> pid;
};

struct ReportedGate {
  bool is_open = false;
  std::vector<std::string> reasons;
  std::string measured_at;
  std::string measured_by;
};

struct SetAside {  // rows of one table that fail alike
  std::string table;
  std::string sqlstate;
  std::int64_t rows = 0;
};

struct JobReport {
  std::string program;  // pgbackfill and its version
  std::string database;
  std::string server_version;
  std::string read_at;
  std::int64_t read_at_ms = 0;
  std::optional<std::int64_t> began_ms;  // the backfill
  std::optional<std::int64_t> completed_ms;
  StatusPage status;  // without bad_rows
  std::vector<ReportedStep> steps;
  std::vector<std::string> checks;  // of `verify:`
  std::vector<ReportedHook> hooks;
  std::vector<Approval> approvals;
  std::optional<ReportedGate> gate;
  std::vector<SetAside> set_aside;
  std::vector<ReportedEvent> events;
  bool has_all_events = true;
  std::vector<StoredSample> samples;
  std::optional<ThrottleReplay> replay;  // where a recording was given
  std::vector<std::string> notes;        // what could not be read, and why
};

}  // namespace pgbackfill::engine
