// One attempt to tell one receiver: a command or a request, and what its answer means.
//
// Reads the secrets, uses them and forgets them; what it says of a failure holds none of them. Belongs to the engine's
// thread, and never waits on it.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/http/http_call.h"
#include "engine/notice/notice_document.h"
#include "planner/model/delivery.h"

namespace pgbackfill::engine {

struct AttemptTerms {
  std::map<std::string, std::string> environment;  // of commands: where the database is
  std::vector<std::string> secret_variables;       // that `on:` names, for what commands print
  std::function<bool()> is_stopping;
};

struct Attempt {
  std::string trouble;  // empty: told
  bool may_succeed_later = false;
  std::optional<std::chrono::milliseconds> wait;  // that the receiver asks for
};

asio::awaitable<Attempt> attempt_delivery(planner::Delivery delivery, Notice notice, NoticeSender sender,
                                          std::chrono::system_clock::time_point at, AttemptTerms terms);

}  // namespace pgbackfill::engine
