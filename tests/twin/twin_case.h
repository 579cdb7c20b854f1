// One case of the twin campaign, as values: a table with all that hangs on it, settings, one piece of work as a
// migration file and as the plain statement that it stands for, and what goes on beside it.
//
// pgbackfill works in one database and the plain statement in its twin; afterwards both hold the same rows. What the
// documentation allows besides (a refusal, rows set aside) is said here, with its reason. In SQL, {role} stands for the
// role that does the work.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace pgbackfill::tests {

// What the server has: not every build has ICU or contrib.
struct TwinServer {
  int major_version = 15;
  bool has_icu = true;
  bool has_citext = true;
};

enum class SettingLevel { kDatabase, kRole, kRoleInDatabase, kOptions };

struct TwinSetting {
  SettingLevel level = SettingLevel::kDatabase;
  std::string name;
  std::string value;
};

enum class TwinRole {
  kSuperuser,
  kOwner,    // of the tables
  kGrantee,  // has what docs/privileges.md says that the work needs
};

enum class FaultKind {
  kKill,       // SIGKILL, and the same command again
  kTerminate,  // all its sessions on the server
  kRestart,    // of the server, as a crash
  kSetting,  // ALTER DATABASE in pgbackfill's database alone, then kKill: the job keeps the settings that it began with
  kSql,      // beside the run; the twin does it as well
  kSqlAtRest,  // the same between kill and resume, unless the job is complete by then
};

struct TwinFault {
  FaultKind kind = FaultKind::kKill;
  int wait_ms = 0;  // before it
  std::string sql;
};

struct TwinCase {
  std::uint64_t seed = 0;
  std::string work;                   // set, sql, copy, delete, sync, mirror, changed, move, dedupe, compute, ...
  std::vector<std::string> features;  // in a word each, for the counts

  std::vector<std::string> setup;  // by a superuser, in both databases
  TwinRole role = TwinRole::kSuperuser;
  std::vector<TwinSetting> settings;

  std::string yaml;                          // {name} stands for the migration's name
  std::map<std::string, std::string> files;  // beside it
  std::string statement;                     // the plain one
  // Queries of what has to be equal. Each row is compared as text under fixed settings.
  std::vector<std::string> rows;
  // Queries of pgbackfill's database that then give true.
  std::vector<std::string> probes;

  std::vector<std::string> writes;          // transactions of an application beside the run; the twin does them first
  std::vector<std::string> writer_options;  // of its sessions, as in PGOPTIONS
  std::vector<TwinFault> faults;

  // Why pgbackfill may refuse it by name before anything is touched. Empty: it has to do it.
  std::string may_refuse;
  // Why it may stop by name at the first rows, with each row as before or as after.
  std::string may_stop;
  // Why the gate may stay closed when all is done.
  std::string may_stay_closed;
  // Why it has to fail: `statement` is then what would be right for the other rows, and each row is as before or as
  // that.
  std::string has_to_fail;
  // Why neither the run nor the gate may both say that all is well; rows are not compared then.
  std::string has_to_tell;
};

// Everything about it that a person needs to repeat it by hand.
std::string describe(TwinCase const& twin);

// The same for the same seed and server.
TwinCase make_twin_case(std::uint64_t seed, TwinServer const& server);

}  // namespace pgbackfill::tests
