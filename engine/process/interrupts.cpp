#include "engine/process/interrupts.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iostream>

#include "engine/base/command_error.h"
#include "engine/pg/open_connections.h"
#include "engine/process/command_context.h"
#include "engine/run/worker_pool.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

// What looks between its statements whether it is asked to end, does so in this time.
constexpr auto kGrace = 400ms;
constexpr auto kLeave = 900ms;
constexpr auto kGlance = 50ms;
// Of a pool whose batches are cancelled: each is rolled back, and its range given back.
constexpr auto kPoolPatience = 3s;
constexpr int kMostSignals = 3;

}  // namespace

Interrupts::InOrder::InOrder(Interrupts& interrupts, std::chrono::milliseconds patience)
    : interrupts_(interrupts), patience_(patience) {
  interrupts_.in_order_.push_back(this);
}

Interrupts::InOrder::InOrder(Interrupts& interrupts, WorkerPool& pool)
    : interrupts_(interrupts), patience_(kPoolPatience), pool_(&pool), ending_signal_(2) {
  interrupts_.in_order_.push_back(this);
  if (interrupts_.is_asked()) pool_->request_stop();
}

Interrupts::InOrder::~InOrder() {
  std::erase(interrupts_.in_order_, this);
  interrupts_.since_ = Clock::now();
}

Interrupts::Interrupts(asio::io_context& io) : io_(io), signals_(io), timer_(io) {}

void Interrupts::stop_listening() {
  boost::system::error_code error;
  signals_.clear(error);
}

void Interrupts::listen() {
  signals_.add(SIGINT);
  signals_.add(SIGTERM);
  wait();
}

void Interrupts::wait() {
  signals_.async_wait([this](boost::system::error_code error, int) {
    if (error) return;
    hear();
    wait();
  });
}

void Interrupts::leave() const {
  if (!may_leave_) return;
  std::cout.flush();
  std::fflush(stdout);
  // The cursor is hidden while a live block is drawn.
  char const* const begin = isatty(STDERR_FILENO) != 0 ? "\r\n\x1b[?25h" : "";
  std::fprintf(stderr, "%s%s; the server did not answer in time\n", begin, kWasInterrupted);
  _exit(kExitResumable);
}

void Interrupts::hear() {
  ++count_;
  if (count_ >= kMostSignals) leave();
  since_ = Clock::now();
  if (!in_order_.empty() && in_order_.back()->pool_ != nullptr) {
    auto& pool = *in_order_.back()->pool_;
    count_ == 1 ? pool.request_stop() : pool.request_abort();
  }
  if (count_ == 1) look();
}

void Interrupts::look() {
  auto const waited = Clock::now() - since_;
  if (in_order_.empty()) {
    if (!has_cut_short_ && (waited >= kGrace || is_urgent())) {
      has_cut_short_ = true;
      OpenConnections::of(io_.get_executor()).cut_short();
    }
    if (waited >= kLeave) leave();
  } else {
    auto const& innermost = *in_order_.back();
    if (count_ >= innermost.ending_signal_ && waited >= innermost.patience_) leave();
  }
  timer_.expires_after(kGlance);
  timer_.async_wait([this](boost::system::error_code error) {
    if (!error) look();
  });
}

}  // namespace pgbackfill::engine
