// The commands of the program, one function each; the command line (cli.h) fills in their options.
//
// Each returns the exit code. They print results on standard output and progress, logs and errors on standard error.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/app/options.h"
#include "engine/base/listen_address.h"
#include "engine/process/command_context.h"
#include "engine/rehearse/profile.h"
#include "planner/lint/lint_terms.h"

namespace pgbackfill::engine {

struct InitOptions {
  bool subscribers_ready = false;  // logical replication: they have what they will be sent
};
int init_command(CommandContext& context, InitOptions const& options);

int plan_command(CommandContext& context, PlanOptions const& options);

// What `run` and `plan` are about: the file or folder given, else the folder that pgbackfill.yaml names.
std::string file_or_folder(CommandContext const& context, std::string const& given, std::string const& command);
int run_command(CommandContext& context, RunOptions const& options);

int complete_command(CommandContext& context, FinishOptions const& options);
int rollback_command(CommandContext& context, FinishOptions const& options);

struct StampOptions {
  std::string file;
  std::string phase;  // backfilled or complete
  bool yes = false;
  bool subscribers_ready = false;
};
int stamp_command(CommandContext& context, StampOptions const& options);

struct ApproveOptions {
  std::string file_or_name;
  std::string reason;
};
int approve_command(CommandContext& context, ApproveOptions const& options);

struct GateOptions {
  std::string file_or_name;
  std::chrono::milliseconds wait{0};  // for it to open
};
int gate_command(CommandContext& context, GateOptions const& options);

struct VerifyOptions {
  std::string file_or_name;
  bool repair = false;
  std::string replica;   // conninfo of the standby that is asked; empty: the primary
  bool restart = false;  // begin with the first row, wherever an earlier one was cut short
  std::chrono::milliseconds reconnect_patience{300'000};
};
int verify_command(CommandContext& context, VerifyOptions const& options);

struct StatusOptions {
  std::string file_or_name;  // empty: all migrations
  bool watch = false;
  std::chrono::milliseconds interval{1'000};
};
int status_command(CommandContext& context, StatusOptions const& options);

int history_command(CommandContext& context);

enum class ReportFormat { kText, kJson, kMarkdown, kHtml };
struct ReportOptions {
  std::string file_or_name;
  std::string output;                  // "" or "-": standard output
  std::string replay;                  // a recording of readings; empty: none
  std::optional<ReportFormat> format;  // absent: by the ending of the file, else as for all commands
};
int report_command(CommandContext& context, ReportOptions const& options);

struct ExporterOptions {
  ListenAddress listen{"127.0.0.1", 9187};
  std::chrono::milliseconds interval{10'000};  // between two looks at the state
};
int exporter_command(CommandContext& context, ExporterOptions const& options);

struct LocksOptions {
  std::string file_or_name;    // empty: all migrations
  std::optional<int> release;  // a session of the server
  bool terminate = false;      // ends it instead of cancelling what it does
  std::string release_leases;  // a process that holds ranges
  bool yes = false;            // takes them from one that lives, too
};
int locks_command(CommandContext& context, LocksOptions const& options);

struct LogOptions {
  std::string file_or_name;
  std::int64_t limit = 200;
};
int log_command(CommandContext& context, LogOptions const& options);

struct ControlOptions {
  std::string file_or_name;
  std::string reason;
  bool retry_quarantine = false;  // resume only
  std::optional<std::chrono::milliseconds> pause_for;
};
int pause_command(CommandContext& context, ControlOptions const& options);
int resume_command(CommandContext& context, ControlOptions const& options);
int cancel_command(CommandContext& context, ControlOptions const& options);

struct SetOptions {
  std::string file_or_name;
  std::vector<std::string> assignments;  // key=value; none: lists what can be set
};
int set_command(CommandContext& context, SetOptions const& options);

struct DoctorOptions {
  std::string file;  // empty: the server alone
};
int doctor_command(CommandContext& context, DoctorOptions const& options);

enum class LintFormat { kText, kJson, kSarif, kMarkdown };
struct LintCommandOptions {
  std::vector<std::string> paths;
  std::vector<std::string> schemas;  // pg_dump -s: what is there, not judged
  std::optional<LintFormat> format;  // absent: as for all commands
  int pg_major = 15;
  planner::lint::Risk fail_on = planner::lint::Risk::kHigh;
  bool is_in_transaction = false;
};
int lint_command(CommandContext& context, LintCommandOptions const& options);

struct ProfileOptions {
  std::string file;
  std::string output;  // "" or "-": standard output
  KeptValues values = KeptValues::kNone;
  bool with_sample = false;
};
int profile_command(CommandContext& context, ProfileOptions const& options);

struct RehearseOptions {
  std::string file;
  std::string profile;
  std::optional<double> scale;       // of production's rows
  std::optional<std::int64_t> rows;  // of the table that is worked
  std::string on;                    // conninfo of an empty server; empty: a sandbox of this machine
  int replicas = 0;                  // of the sandbox
  bool with_traffic = false;
  std::string bin_dir;
};
int rehearse_command(CommandContext& context, RehearseOptions const& options);

struct SandboxOptions {
  int replicas = 1;
  std::int64_t rows = 0;  // of a table public.users to play with; 0: none
  std::string bin_dir;
  std::vector<std::string> command;  // run with DATABASE_URL set, then stop; empty: until ^C
};
int sandbox_command(CommandContext& context, SandboxOptions const& options);

}  // namespace pgbackfill::engine
