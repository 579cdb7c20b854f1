// What a process tells of itself to jobs in other databases of its server: as the application_name of one of its
// sessions, which every role sees in pg_stat_activity, whatever the database.
//
//   pgbackfill w=0.8 wal=31200/* b=3/4 users_display_name
//
// The process's part of its job's weight; kB (1000 B) of WAL that it writes a second, and would write if it were let;
// its batches in flight, and how many it would run; the job. An asterisk is all that can be had. It is printable ASCII
// of at most 63 bytes, because the server cuts it there and turns what is not ASCII into question marks; a name that
// was cut ends with a tilde. Anybody may call a session so: what is read here is bounded, and everything else is no
// announcement. Pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "throttle/reading.h"

namespace pgbackfill::throttle {

inline constexpr std::size_t kMostAnnouncementBytes = 63;
// A nice of -20 is a weight of 87.
inline constexpr double kMostAnnouncedWeight = 100;
// What every announcement begins with, and no other name of ours.
inline constexpr char kAnnouncementBegin[] = "pgbackfill w=";

std::string announcement_of(NeighbourReading const& self);

// Without its database, which the name does not say.
std::optional<NeighbourReading> neighbour_of(std::string_view announcement);

}  // namespace pgbackfill::throttle
