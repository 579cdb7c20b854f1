// Reads the state of databases for a site, and does what its viewers ask for.
//
// Of each database one connection reads, at most every second however many viewers there are, what somebody has asked
// for in the last seconds, and nothing while nobody does. It needs SELECT on the state alone. What somebody does goes
// by a connection of its own, made for it. Thread rule: the thread of the io_context; made before it runs.
#pragma once

#include <boost/asio/io_context.hpp>
#include <memory>
#include <string>
#include <vector>

#include "engine/process/command_context.h"
#include "engine/web/site.h"

namespace pgbackfill::engine {

struct WatchTerms {
  std::string program;
  bool shows_values = false;
  bool allows_control = false;
};

// What a database is called, and how it is reached: with the options that all commands share.
struct WatchedDatabase {
  std::string label;
  CommonOptions options;
};

// Begins to read when it is asked; ends with the io_context, or by stop().
class StateWatch : public SiteSource {
 public:
  static std::shared_ptr<StateWatch> start(asio::io_context& io, std::vector<WatchedDatabase> databases,
                                           WatchTerms terms);
  virtual void stop() = 0;
};

// The name of its database, as the connection string or libpq's environment has it; unlike all of `others`.
std::string label_of(std::string const& conninfo, std::vector<std::string> const& others);

}  // namespace pgbackfill::engine
