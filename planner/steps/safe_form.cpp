#include "planner/steps/safe_form.h"

#include <variant>

#include "planner/model/step_detail.h"

namespace pgbackfill::planner {
namespace {

constexpr int kVersionWithNotNullNotValid = 180000;
constexpr int kVersionWithDetachConcurrently = 140000;

// Steps that are not here are one statement in any case.
template <class Detail>
std::string form_of(Detail const& /*step*/, StepFacts const& /*facts*/) {
  return {};
}

std::string form_of(AddColumn const& step, StepFacts const& /*facts*/) {
  if (step.default_value.empty()) return {};
  return "the default is kept in the catalog; one that differs from row to row would write every row anew, and is "
         "refused";
}

std::string form_of(SetNotNull const& /*step*/, StepFacts const& facts) {
  std::string const why = "; SET NOT NULL alone would read the table while it stops reads and writes";
  if (facts.server_version >= kVersionWithNotNullNotValid) {
    return "a NOT NULL constraint NOT VALID, validated beside reads and writes" + why;
  }
  return "a CHECK NOT VALID, validated beside reads and writes, spares SET NOT NULL the reading" + why;
}

std::string form_of(CreateIndex const& /*step*/, StepFacts const& /*facts*/) {
  return "CONCURRENTLY: writes go on; a plain CREATE INDEX would stop them until it is built";
}

std::string form_of(Reindex const& /*step*/, StepFacts const& /*facts*/) {
  return "CONCURRENTLY: reads and writes go on; a plain REINDEX would stop writes, and reads by this index";
}

std::string form_of(DropIndex const& /*step*/, StepFacts const& /*facts*/) {
  return "CONCURRENTLY: it waits for queries that use the index instead of stopping all that come after them";
}

std::string form_of(AddCheck const& /*step*/, StepFacts const& /*facts*/) {
  return "NOT VALID, then validated beside reads and writes; in one statement it would read the table while it stops "
         "them";
}

std::string form_of(AddForeignKey const& /*step*/, StepFacts const& /*facts*/) {
  return "NOT VALID, then validated beside reads and writes; in one statement it would read both tables while it stops "
         "writes to both";
}

std::string form_of(AddKey const& step, StepFacts const& /*facts*/) {
  std::string const columns = step.is_primary ? "; its columns are made NOT NULL beforehand, by way of a check" : "";
  return "a unique index built CONCURRENTLY, or one that is there, and then taken over; in one statement it would be "
         "built while reads and "
         "writes are stopped" +
         columns;
}

std::string form_of(ChangeType const& /*step*/, StepFacts const& /*facts*/) {
  return "tried on an empty copy first: it is run only if no row and no index entry has to be written anew";
}

std::string form_of(DetachPartition const& /*step*/, StepFacts const& facts) {
  if (facts.server_version < kVersionWithDetachConcurrently) return {};
  return "CONCURRENTLY, unless there is a default partition: a plain DETACH would stop reads and writes of the whole "
         "table for a moment";
}

std::string form_of(InstallSync const& /*step*/, StepFacts const& /*facts*/) {
  return "the function first, then the trigger: only the trigger needs a lock on the table, for milliseconds";
}

}  // namespace

std::string safe_form(SchemaStep const& step, StepFacts const& facts) {
  return std::visit([&](auto const& detail) { return form_of(detail, facts); }, step.detail->kind);
}

}  // namespace pgbackfill::planner
