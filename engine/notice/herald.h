// Tells whom `on:` names of what happens to a run.
//
// A sink that hands every event on to the next one and keeps a copy of progress and summaries; coroutines of the
// engine's thread deliver, so that no batch waits for a receiver. What fails is tried again for a while, and then is
// one warning: it never ends a run, nor changes its exit code. At the end what is still queued gets a few seconds.
// Several processes may work on a job, and see the same things: who may tell of one is asked of all of them first, and
// where nobody answers it is told, twice rather than never. How a process fails is its own.
// Thread rule: emit() from any thread; the rest from the engine's.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/events.h"
#include "engine/notice/notice_document.h"
#include "planner/model/delivery.h"

namespace pgbackfill::engine {

namespace asio = boost::asio;

// Whether this process is to tell of something.
enum class Admission {
  kGranted,
  kTold,   // another one has
  kEarly,  // another one told of it less than a while ago; what is new since then comes later
};

struct HeraldTerms {
  std::vector<planner::OccasionRule> rules;
  NoticeSender sender;
  asio::any_io_executor executor;
  std::map<std::string, std::string> environment;  // of commands: where the database is
  std::function<bool()> is_stopping;               // ^C
  // Asked of all but failures; throws nothing. Empty: nobody else is there.
  std::function<asio::awaitable<Admission>(Notice)> admit{};
};

class Herald final : public EventSink {
 public:
  // Above this, newer deliveries are dropped, and a warning says so.
  static constexpr std::size_t kMostQueued = 64;

  // Warns at once of secrets that are missing. `next` is borrowed.
  Herald(HeraldTerms terms, EventSink& next);
  ~Herald() override;  // what is under way is cut off

  Herald(Herald const&) = delete;
  Herald& operator=(Herald const&) = delete;

  void emit(Event event) override;

  // How a command ends that has no summary.
  void failed(int exit_code, std::string text);
  void done(std::string text);

  // Until all is delivered, or a few seconds are over; a second at most after ^C.
  asio::awaitable<void> finish();

 private:
  struct Office;
  std::shared_ptr<Office> office_;
};

}  // namespace pgbackfill::engine
