// The sections of a migration file: each is read in the file of its name, `backfill:` in backfill_section.cpp.
//
// They take the keys of the file's top level and give what the section says; without the section, what holds then.
// What is wrong is noted with the reader. For one thread at a time, as the reader is.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "planner/file/file_reader.h"
#include "planner/model/migration.h"
#include "planner/model/rehearsal_limits.h"

namespace pgbackfill::planner::file {

// What stands at the top of the file for all sections.
struct Top {
  std::string migration;
  // Empty when there is a table and it is wrong: that is one problem, not one more a section.
  std::optional<TableName> table;
};

// What the file is given, by `params:`. Values that are wrong, missing or of no parameter are problems.
std::vector<Param> read_params(FileReader& reader, Fields const& fields, GivenParams const& given);
// Of a parameter, or of what else has one of these types: `of_what`.
std::optional<ParamType> read_param_type(FileReader& reader, YamlNode const& value, std::string const& of_what);
// The name of the migration with the values in it.
std::string name_of_instance(FileReader& reader, std::string const& base, std::vector<Param> const& params,
                             std::string const& only_keys);

// `key`: expand or contract.
std::vector<SchemaStep> read_steps(FileReader& reader, Fields const& fields, std::string_view key, Top const& top);
std::optional<Backfill> read_backfill(FileReader& reader, Fields const& fields, Top const& top);
// `prepare` of a backfill.
std::vector<Prepared> read_prepare(FileReader& reader, Fields const& fields);
// `compute` of a backfill.
std::optional<Compute> read_compute(FileReader& reader, Field const& section);
// What stands for its values until a program has computed them: each column itself.
std::vector<Assignment> placeholders_of(Compute const& compute);
// Beside `mirror` the backfill learns by which columns its copy is kept.
std::optional<Sync> read_sync(FileReader& reader, Fields const& fields, Top const& top,
                              std::optional<Backfill>& backfill);
std::vector<Check> read_verify(FileReader& reader, Fields const& fields, Top const& top);
// Those of one migration are beside the phases that it has.
enum class HooksOf { kOneMigration, kEveryMigration };
std::vector<Hook> read_hooks(FileReader& reader, Fields const& fields, HooksOf whose = HooksOf::kOneMigration);
std::vector<OccasionRule> read_on(FileReader& reader, Fields const& fields);
ThrottleOptions read_throttle(FileReader& reader, Fields const& fields);
std::vector<ProbeOptions> read_probes(FileReader& reader, Fields const& fields);
std::vector<WriterName> read_writers(FileReader& reader, Fields const& fields);
// `key`: windows or blackout.
std::vector<WindowText> read_windows(FileReader& reader, Fields const& fields, std::string_view key);

// What holds for a rehearsal alone; a run has no use of it.
RehearsalLimits read_rehearse(FileReader& reader, Fields const& fields);

}  // namespace pgbackfill::planner::file
