#include "engine/run/kept_past.h"

#include <utility>

#include "engine/base/thinning.h"

namespace pgbackfill::engine {

namespace {

// A lock on the table may last.
constexpr std::chrono::seconds kPauseAfterFailure{60};

}  // namespace

asio::awaitable<std::optional<std::string>> KeptPast::keep_if_due(Session& session, RunPhase phase, TimePoint now) {
  std::optional<std::string> warning;
  if (!is_on_) co_return warning;
  bool const rests = failed_at_ && now - *failed_at_ < kPauseAfterFailure;
  auto const due = sampler_.due(phase, now);
  if (rests || due == Sampler::Due::kNo) co_return warning;
  auto sample = sampler_.take(phase, now);
  auto const kept = co_await session.keep_sample(std::move(sample), due == Sampler::Due::kAtTurn);
  if (!kept) co_return heed(kept.error(), now);
  failed_at_.reset();
  if (*kept < static_cast<std::int64_t>(kMostSamples)) co_return warning;
  auto const thinned = co_await session.thin_samples();
  if (!thinned) warning = heed(thinned.error(), now);
  co_return warning;
}

// A lost connection, and a server that became a standby, are met again, and told, when the job is read.
std::optional<std::string> KeptPast::heed(Failure const& failure, TimePoint now) {
  failed_at_ = now;
  bool const is_away =
      failure.trouble == planner::Trouble::kConnection || failure.trouble == planner::Trouble::kNotWritable;
  bool const is_news = !is_away && !std::exchange(is_failure_told_, true);
  if (!is_news) return std::nullopt;
  return "the past of this job is not kept for now, so `pgbackfill report` will have a gap: " + failure.message;
}

}  // namespace pgbackfill::engine
