// A sleep that ends early when its owner is told to stop.
//
// The stop is a question and not an event, so the sleep is cut into pieces and asks between them. For one io_context
// thread, the one that awaits.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <functional>

namespace pgbackfill::engine {

// Whether it was slept through; false as soon as `is_stopping` says so.
boost::asio::awaitable<bool> sleep_unless_stopped(std::chrono::milliseconds duration,
                                                  std::function<bool()> is_stopping);

}  // namespace pgbackfill::engine
