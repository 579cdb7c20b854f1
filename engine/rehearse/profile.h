// What a profile holds of a production database: the schema of what a migration touches, statistics, settings and what
// one batch costs there. Pure values: profile_reader.h reads them, profile_file.h writes and reads the file.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "planner/fill/table_profile.h"

namespace pgbackfill::engine {

// What of the rows' values is kept.
enum class KeptValues { kNone, kStatistics };

// pg_dump's own text, in the order in which it is run.
struct SchemaText {
  std::string objects;  // types, functions, extensions: all but tables
  std::string tables;   // without indexes, constraints and triggers
  std::string rest;     // these
};

struct BatchCost {
  std::int64_t rows = 0;
  double milliseconds = 0;
  std::int64_t wal_bytes = 0;
  bool is_of_copy = false;  // of a temporary copy of the rows, which writes no WAL
};

struct Profile {
  std::string program;   // pgbackfill and its version
  std::string taken_at;  // 2026-12-01T08:00:00Z
  double taken_at_seconds = 0;
  std::string migration;
  KeptValues values = KeptValues::kNone;
  std::int64_t server_version = 0;
  SchemaText schema;
  std::vector<planner::TableProfile> tables;
  std::map<std::string, std::string> settings;
  std::int64_t replicas = 0;
  double commit_milliseconds = 0;  // the median of some
  std::optional<BatchCost> batch;
  std::int64_t work_rows = 0;            // of the table that the backfill goes over; 0: unknown
  std::optional<double> matching_share;  // of the rows, those that its `where` is expected to hold for
  std::vector<std::string> notes;
};

}  // namespace pgbackfill::engine
