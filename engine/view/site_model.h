// What the pages of `serve` show, as values: app/state_watch.h reads them, site_pages.h and site_json.h show them.
//
// Complete: whoever shows them asks nobody. Texts are raw.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/state/state_pages.h"
#include "engine/view/job_report.h"
#include "engine/view/setting_line.h"
#include "engine/view/status_report.h"

namespace pgbackfill::engine {

// Why a database, or a migration of it, cannot be shown.
struct SiteTrouble {
  std::string text;         // what is wrong, and what to do; empty: nothing is
  bool is_missing = false;  // there is no such thing, else it may be there later
};

struct DatabaseSeen {
  std::string label;  // what its pages and the API call it
  SiteTrouble trouble;
  std::vector<StatusOverview> migrations;
  std::map<std::string, StatusPace> paces;  // of those that were read twice
};

struct LeaseSeen {  // a process that holds ranges
  std::string process;
  std::string host;
  std::int64_t pid = 0;
  std::int64_t ranges = 0;
  std::int64_t left_ms = 0;  // negative: the leases have run out
  bool is_alive = false;
  std::string text;  // the same as a sentence
};

struct MigrationSeen {
  std::string label;  // of its database
  JobReport report;
  std::optional<StatusPace> pace;  // none: it was read once only
  std::vector<state::RangeRow> ranges;
  bool has_all_ranges = true;
  std::vector<LeaseSeen> leases;
  std::vector<state::DeferredRows> deferred;
  std::vector<state::QuarantineRow> quarantine;
  std::vector<SettingLine> settings;  // empty: they are not shown
  std::vector<BadRow> bad_rows;       // with their values, for whoever may see them
};

// What one viewer may see and do.
struct SiteFrame {
  std::string program;          // pgbackfill and its version
  bool has_databases = false;   // more than one
  bool shows_values = false;    // keys and messages of rows
  bool allows_control = false;  // of the site
  bool has_login = false;       // by a token
  std::string who;              // empty: nobody is known
  std::string notice;           // what became of what he did last
  bool is_notice_bad = false;

  bool may_control() const { return allows_control && !who.empty(); }
};

}  // namespace pgbackfill::engine
