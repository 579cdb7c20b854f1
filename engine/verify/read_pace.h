// How fast a table may be read beside everybody else's work: the throttle of a backfill, for pages that only read.
//
// The same limits, probes and guards hold, but for those about WAL: a read writes none. It decides five times a second
// from when it was made until it is gone. Thread rule: the engine's one thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "engine/probes/probes.h"
#include "engine/run/limits.h"
#include "engine/run/pacer.h"
#include "planner/model/migration.h"

namespace pgbackfill::engine {

class ReadPace {
 public:
  // The probes look at `target`, the primary.
  ReadPace(asio::io_context& io, asio::thread_pool& blocking, ConnectTarget target,
           planner::Migration const& migration);
  ~ReadPace();
  ReadPace(ReadPace const&) = delete;
  ReadPace& operator=(ReadPace const&) = delete;

  // What was set live, over what the file says. Empty, or what cannot be read: then nothing may be read either.
  std::string heed(SettingTexts const& live);

  // Server processes of our own, which are no foreground work.
  void set_own_sessions(std::vector<int> pids) { probes_.set_own_sessions(std::move(pids)); }

  // Whether a page may be read now; else it has waited for a moment, and has to be asked again.
  asio::awaitable<bool> is_its_turn();
  void page_began(std::int64_t rows);
  void page_ended(std::int64_t rows, bool is_read);

  // How long a page should take, and how many rows it may have at most.
  std::chrono::milliseconds target() const;
  std::int64_t most_rows(std::int64_t rows) const;

  // What binds; empty if nothing does.
  std::string held_back() const;
  // Why the throttle wants the work to end; else empty.
  std::string const& must_stop() const { return must_stop_; }

 private:
  void decide();

  asio::steady_timer timer_;
  SettingTexts file_settings_;
  std::chrono::milliseconds target_;
  Probes probes_;
  Pacer pacer_;
  std::string problem_;
  std::string must_stop_;
  std::shared_ptr<bool> is_alive_;  // what a timer that fired already may look at
};

}  // namespace pgbackfill::engine
