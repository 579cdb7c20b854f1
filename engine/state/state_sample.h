// The past of a job: a row a moment, written by whichever of its processes comes first.
//
// Pure text, as in state_store.h, and the decoding of its rows.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/sample.h"
#include "engine/base/thinning.h"

namespace pgbackfill::engine::state {

// One row: how many the job has now. With `is_turn` it takes the place of what is there of the same moment; else that
// stays.
std::string keep_sample(std::int64_t job, JobSample const& sample, bool is_turn);
// moment; ascending
std::string sample_moments(std::int64_t job);
std::string thin_samples(std::int64_t job, Thinning const& thinning);

// Rows for stored_samples_of(), oldest first. `within`: none that are older.
std::string list_samples(std::int64_t job, std::optional<std::chrono::milliseconds> within);
// Without those that somebody changed by hand so that they cannot be.
std::vector<StoredSample> stored_samples_of(std::vector<std::vector<std::optional<std::string>>> const& rows);

}  // namespace pgbackfill::engine::state
