// plan: what a run would do, from reading alone; the server itself holds every statement to that.

#include "engine/app/sequence.h"
#include "engine/base/command_error.h"
#include "engine/cli/commands.h"
#include "engine/plan/plan_reader.h"
#include "engine/process/listed_files.h"
#include "engine/view/console.h"
#include "engine/view/plan_verdict.h"
#include "engine/view/plan_view.h"
#include "planner/file/migration_file.h"
#include "planner/model/sql_text.h"

namespace pgbackfill::engine {

namespace {

// Connections look for the primary; a plan alone could do with a standby.
asio::awaitable<std::shared_ptr<PgConnection>> connect_to_read(CommandContext& context) {
  try {
    auto connection = co_await context.connect();
    co_return connection;
  } catch (CommandError const& error) {
    bool const is_standby = error.text.find("hot standby") != std::string::npos;
    if (!is_standby) throw;
    throw CommandError{error.exit_code,
                       error.text + "; plan only reads: to plan on a standby, add target_session_attrs=any"};
  }
}

asio::awaitable<int> plan(CommandContext& context, PlanOptions options) {
  auto loaded = load_migration(context, options.file);
  auto connection = co_await connect_to_read(context);
  co_await context.adopt_settings_aloud(*connection, loaded.migration.name);
  take_inputs(loaded);
  co_await bind_only_keys(*connection, loaded);
  auto const report = co_await read_plan(*connection, std::move(loaded), options.sample);
  switch (options.format.value_or(context.is_json() ? PlanFormat::kJson : PlanFormat::kText)) {
    case PlanFormat::kText:
      context.print(plan_text(report, standard_output().view.columns));
      break;
    case PlanFormat::kJson:
      context.print(plan_json(report));
      break;
    case PlanFormat::kMarkdown:
      context.print(plan_markdown(report));
      break;
  }
  if (!report.refused.empty()) throw CommandError{kExitUsage, planner::to_lines(report.refused)};
  auto const risks = risky_parts(report, options.fail_on);
  if (!risks.empty()) throw CommandError{kExitGateClosed, "--fail-on: " + planner::join(risks, "\n")};
  co_return kExitDone;
}

}  // namespace

int plan_command(CommandContext& context, PlanOptions const& given) {
  auto options = given;
  if (options.format == PlanFormat::kJson) context.set_json();
  options.file = file_or_folder(context, given.file, "plan");
  if (is_folder(options.file)) return context.run(plan_sequence(context, options));
  return context.run(plan(context, options));
}

}  // namespace pgbackfill::engine
