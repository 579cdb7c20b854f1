// ^C and SIGTERM: once asks for a stop between batches, twice cancels on the server, three times leaves at once, for
// the database needs no clean-up.
//
// Thread rule: the engine's one thread. Until close(), the io_context has something to wait for.
#pragma once

#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>

#include "engine/worker_pool.h"

namespace pgbackfill::engine {

class Interrupts {
 public:
  explicit Interrupts(asio::io_context& io) : signals_(io, SIGINT, SIGTERM) { wait(); }

  bool is_asked() const { return count_ > 0; }
  bool is_urgent() const { return count_ > 1; }
  void attach(WorkerPool* pool) {
    pool_ = pool;
    if (pool_ != nullptr && count_ > 0) pool_->request_stop();
  }
  void close() { signals_.cancel(); }

 private:
  void wait() {
    signals_.async_wait([this](boost::system::error_code error, int) {
      if (error) return;
      ++count_;
      if (count_ >= 3) _exit(130);
      if (pool_ != nullptr) count_ == 1 ? pool_->request_stop() : pool_->request_abort();
      wait();
    });
  }

  asio::signal_set signals_;
  WorkerPool* pool_ = nullptr;
  int count_ = 0;
};

}  // namespace pgbackfill::engine
