// Outcomes of calls to the server: a value, or the failure as a value. Exceptions are for bad configuration only.
#pragma once

#include <boost/assert/source_location.hpp>
#include <boost/system/result.hpp>
#include <stdexcept>

#include "planner/work/batch.h"

namespace pgbackfill::planner {

// Boost's customisation point: called when .value() is asked of a failure, which is a bug of ours.
[[noreturn]] inline void throw_exception_from_error(Failure const& failure, boost::source_location const& /*where*/) {
  throw std::logic_error("value of a failed call was used: " + failure.sqlstate + " " + failure.message);
}

}  // namespace pgbackfill::planner

namespace pgbackfill::engine {

using planner::Failure;

template <class T>
using Result = boost::system::result<T, Failure>;

struct Done {};

}  // namespace pgbackfill::engine
