#include "throttle/row_pace.h"

#include <algorithm>
#include <limits>

namespace pgbackfill::throttle {
namespace {

std::optional<std::int64_t> at_least_one(std::optional<std::int64_t> limit) {
  return limit ? std::optional{std::max<std::int64_t>(*limit, 1)} : std::nullopt;
}

double rate_of(std::optional<std::int64_t> limit) {
  return limit ? static_cast<double>(*limit) : std::numeric_limits<double>::infinity();
}

}  // namespace

RowPace::RowPace(std::optional<std::int64_t> limit) : limit_(at_least_one(limit)), bucket_(rate_of(limit_)) {}

void RowPace::set_limit(std::optional<std::int64_t> limit) {
  limit_ = at_least_one(limit);
  bucket_.set_rate(rate_of(limit_));
}

std::int64_t RowPace::most_rows() const {
  return limit_.value_or(std::numeric_limits<std::int64_t>::max());
}

}  // namespace pgbackfill::throttle
