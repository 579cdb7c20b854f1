// Serves what the engine tells over HTTP: /metrics for Prometheus, /healthz and /readyz for supervisors and people.
//
// A sink that hands every event on to the next one, and keeps a copy for a thread of its own, by a bounded lock-free
// queue: a scrape never delays a batch, and a terminal that stands still does not delay a scrape. The pages of a site
// are made on the same thread, and read by its own connections. Thread rule: emit(), beat() and has_shown_end() from
// any thread; construction and destruction from one.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "engine/base/events.h"
#include "engine/base/listen_address.h"
#include "engine/tell/http_server.h"

namespace pgbackfill::engine {

// Makes what answers for all other addresses, on the thread that runs this io_context.
using SiteMaker = std::function<HttpHandler(asio::io_context& io)>;

class Monitor final : public EventSink {
 public:
  // Above this, events for the metrics are dropped and counted. The summary is never dropped.
  static constexpr std::int64_t kQueuedMax = 20'000;

  // Listens at once; throws boost::system::system_error when that is refused. `next` is borrowed.
  Monitor(ListenAddress const& address, std::string const& migration, EventSink& next, SiteMaker const& site = nullptr);
  ~Monitor() override;

  Monitor(Monitor const&) = delete;
  Monitor& operator=(Monitor const&) = delete;

  void emit(Event event) override;

  // The engine's thread is alive; to be called by it every second.
  void beat();

  // Where it listens, with the port that the system chose if it was asked for any.
  ListenAddress address() const;

  // Whether somebody has got metrics with the summary in them.
  bool has_shown_end() const;

 private:
  struct Workshop;
  std::unique_ptr<Workshop> workshop_;
};

}  // namespace pgbackfill::engine
