// Takes the profile of a production database for one migration. Reads only, bounded whatever the size of the tables:
// the catalog, statistics, and the widths of some thousand rows; the sample batch, where it is asked for, is rolled
// back.
//
// Throws CommandError for what the server refuses and for a migration whose tables are not there. Belongs to the
// engine's thread, which has to be the main thread (engine/child/child_process.h).
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>

#include "engine/process/command_context.h"
#include "engine/rehearse/profile.h"

namespace pgbackfill::engine {

struct ProfileTerms {
  KeptValues values = KeptValues::kNone;
  bool with_sample = false;
  std::chrono::milliseconds between_readings{2'000};  // of the counters that write rates come from
};

asio::awaitable<Profile> take_profile(CommandContext& context, PgConnection& connection, LoadedMigration loaded,
                                      ProfileTerms terms);

}  // namespace pgbackfill::engine
