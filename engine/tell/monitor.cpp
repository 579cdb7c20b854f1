#include "engine/tell/monitor.h"

#include <concurrentqueue/concurrentqueue.h>

#include <array>
#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <thread>
#include <utility>

#include "engine/base/thread_signals.h"
#include "engine/tell/http_server.h"
#include "engine/tell/metrics.h"
#include "engine/tell/vital_signs.h"

namespace pgbackfill::engine {

namespace {

using Clock = std::chrono::steady_clock;

// The queue is emptied before each answer, and this often while nobody asks.
constexpr std::chrono::milliseconds kTakeInterval{250};
constexpr std::size_t kTakenMax = 256;
constexpr int kMostViewers = 128;

struct Told {
  Event event;
  Clock::time_point at;
};

HttpAnswer answer_of(Verdict const& verdict) {
  constexpr int kOk = 200;
  constexpr int kUnavailable = 503;
  HttpAnswer answer;
  answer.status = verdict.is_good ? kOk : kUnavailable;
  answer.body = verdict.text + '\n';
  return answer;
}

}  // namespace

struct Monitor::Workshop {
  Workshop(ListenAddress const& wanted, std::string const& migration, EventSink& next_sink, SiteMaker const& make_site)
      : next(next_sink),
        metrics(migration),
        beat_at(Clock::now()),
        site(make_site ? make_site(io) : HttpHandler()),
        server(io, wanted, handler(), terms()),
        timer(io),
        host(wanted.host) {
    wait();
    thread = std::thread([this] {
      block_all_signals();
      io.run();
    });
  }

  ~Workshop() {
    io.stop();
    thread.join();
  }

  HttpTerms terms() const {
    HttpTerms terms;
    if (!site) return terms;
    terms.connections_max = kMostViewers;
    terms.streams_max = kMostViewers / 2;
    return terms;
  }

  // Own pages are answered at once; those of the site when they are read.
  HttpHandler handler() {
    return [this](HttpRequest request) -> asio::awaitable<HttpAnswer> {
      bool const is_own =
          !site || request.path == "/metrics" || request.path == "/healthz" || request.path == "/readyz";
      if (is_own) co_return answer(request.path);
      co_return co_await site(std::move(request));
    };
  }

  void wait() {
    timer.expires_after(kTakeInterval);
    timer.async_wait([this](boost::system::error_code error) {
      if (error) return;
      take_all();
      wait();
    });
  }

  void take_all() {
    std::array<Told, kTakenMax> taken;
    // No more than were there at first: an engine that tells without end must not keep an answer from being made.
    for (auto left = queued.load(); left > 0;) {
      auto const count = queue.try_dequeue_bulk(taken.begin(), taken.size());
      if (count == 0) break;
      for (std::size_t i = 0; i < count; ++i) take(std::exchange(taken[i], Told{}));
      queued -= static_cast<std::int64_t>(count);
      left -= static_cast<std::int64_t>(count);
    }
    signs.beat_at = beat_at;
    metrics.take_beat(signs.beat_at);
    metrics.set_events_lost(lost);
  }

  void take(Told told) {
    metrics.take(told.event, told.at);
    if (auto* progress = std::get_if<Progress>(&told.event)) {
      signs.progress = std::move(*progress);
      signs.progress_at = told.at;
    } else if (auto* summary = std::get_if<Summary>(&told.event)) {
      signs.progress = std::move(summary->last);
      signs.progress->phase = RunPhase::kEnded;
      has_ended = true;
    }
  }

  HttpAnswer answer(std::string_view path) {
    take_all();
    auto const now = Clock::now();
    if (path == "/healthz") return answer_of(liveness(signs, now));
    if (path == "/readyz") return answer_of(readiness(signs, now));
    HttpAnswer answer;
    if (path == "/metrics") {
      answer.content_type = Metrics::kContentType;
      answer.body = metrics.text(now);
      if (has_ended) answer.sent = [this] { has_shown_end = true; };
      return answer;
    }
    constexpr int kNotFound = 404;
    answer.status = path == "/" ? answer.status : kNotFound;
    answer.body = "pgbackfill: /metrics, /healthz, /readyz\n";
    return answer;
  }

  EventSink& next;
  moodycamel::ConcurrentQueue<Told> queue;
  std::atomic<std::int64_t> queued{0};
  std::atomic<std::int64_t> lost{0};
  std::atomic<bool> has_shown_end{false};

  // Of the thread alone.
  Metrics metrics;
  VitalSigns signs;
  bool has_ended = false;

  std::atomic<Clock::time_point> beat_at;
  asio::io_context io{1};
  HttpHandler const site;
  HttpServer server;
  asio::steady_timer timer;
  std::string const host;
  std::thread thread;
};

Monitor::Monitor(ListenAddress const& address, std::string const& migration, EventSink& next, SiteMaker const& site)
    : workshop_(std::make_unique<Workshop>(address, migration, next, site)) {}

Monitor::~Monitor() = default;

void Monitor::emit(Event event) {
  auto& shop = *workshop_;
  bool const is_for_metrics = !std::holds_alternative<LogLine>(event);
  bool const is_end = std::holds_alternative<Summary>(event);
  if (is_for_metrics) {
    if (shop.queued.fetch_add(1) < kQueuedMax || is_end) {
      shop.queue.enqueue(Told{event, Clock::now()});
    } else {
      --shop.queued;
      ++shop.lost;
    }
  }
  shop.next.emit(std::move(event));
}

void Monitor::beat() {
  workshop_->beat_at = Clock::now();
}

ListenAddress Monitor::address() const {
  return {workshop_->host, workshop_->server.port()};
}

bool Monitor::has_shown_end() const {
  return workshop_->has_shown_end;
}

}  // namespace pgbackfill::engine
