// profile: what of a production database a rehearsal needs, as one file. Reads only.

#include <fmt/format.h>

#include <iostream>

#include "engine/base/command_error.h"
#include "engine/base/text.h"
#include "engine/cli/commands.h"
#include "engine/cli/output_file.h"
#include "engine/cli/version.h"
#include "engine/process/listed_files.h"
#include "engine/rehearse/profile_file.h"
#include "engine/rehearse/profile_reader.h"
#include "engine/view/console.h"
#include "planner/model/table_name.h"

namespace pgbackfill::engine {

namespace {

// What of production is in the file, for whoever passes it on.
std::string told(Profile const& profile, std::string const& output) {
  std::int64_t rows = 0;
  for (auto const& table : profile.tables) rows += table.kind == "p" ? 0 : table.rows;
  std::string text = fmt::format(
      "{} holds the schema of {} with {} rows, their statistics{}, and the settings of the server\n",
      neutralised(output), counted(static_cast<std::int64_t>(profile.tables.size()), "table", "tables"),
      human_count(rows), profile.values == KeptValues::kNone ? " without any value of a row" : " with common values");
  for (auto const& note : profile.notes) text += "note: " + note + "\n";
  return text;
}

asio::awaitable<int> profile(CommandContext& context, ProfileOptions options) {
  auto loaded = load_migration(context, options.file);
  auto connection = co_await context.connect();
  co_await context.adopt_settings_aloud(*connection, loaded.migration.name);
  take_inputs(loaded);
  co_await bind_only_keys(*connection, loaded);
  ProfileTerms terms;
  terms.values = options.values;
  terms.with_sample = options.with_sample;
  auto taken = co_await take_profile(context, *connection, std::move(loaded), terms);
  taken.program = program_text();
  auto const text = profile_text(taken);
  if (is_standard_output(options.output)) {
    context.draw(text);
    co_return kExitDone;
  }
  write_output(options.output, text);
  std::cerr << told(taken, options.output);
  co_return kExitDone;
}

}  // namespace

int profile_command(CommandContext& context, ProfileOptions const& options) {
  return context.run(profile(context, options));
}

}  // namespace pgbackfill::engine
