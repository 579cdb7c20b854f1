// ^C and SIGTERM. The first one ends a command within a second: after a moment in which it may end by itself, what runs
// on the server is cancelled and the command is cut short; and if even that is not answered, the process leaves, for
// the database needs no clean-up.
//
// Who ends in order when asked (a pool of workers, a step, a hook) says so for as long as he works, and is not cut
// short. Thread rule: the engine's one thread.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <optional>
#include <vector>

namespace pgbackfill::engine {

namespace asio = boost::asio;

class WorkerPool;

class Interrupts {
 public:
  // How long he may take from the signal that ends him; of a pool that is the second one.
  class InOrder {
   public:
    InOrder(Interrupts& interrupts, std::chrono::milliseconds patience);
    InOrder(Interrupts& interrupts, WorkerPool& pool);
    ~InOrder();
    InOrder(InOrder const&) = delete;
    InOrder& operator=(InOrder const&) = delete;

    // The pool has ended; what is left is to say so.
    void let_go_of_pool() { pool_ = nullptr; }

   private:
    friend class Interrupts;
    Interrupts& interrupts_;
    std::chrono::milliseconds patience_;
    WorkerPool* pool_ = nullptr;
    int ending_signal_ = 1;
  };

  explicit Interrupts(asio::io_context& io);

  // Signals are heard from here on; before, they end the process.
  void listen();
  // As a signal does.
  void ask() { hear(); }
  // Whether the process leaves where the server does not answer, or is asked three times. A program that embeds the
  // engine goes on after it.
  void set_may_leave(bool may_leave) { may_leave_ = may_leave; }
  // From here on signals do again what they do by default.
  void stop_listening();
  bool is_asked() const { return count_ > 0; }
  bool is_urgent() const { return count_ > 1; }
  bool has_cut_short() const { return has_cut_short_; }

 private:
  void wait();
  void hear();
  void look();
  void leave() const;

  asio::io_context& io_;
  asio::signal_set signals_;
  asio::steady_timer timer_;
  std::vector<InOrder*> in_order_;  // the innermost last
  std::chrono::steady_clock::time_point since_;
  int count_ = 0;
  bool has_cut_short_ = false;
  bool may_leave_ = true;
};

}  // namespace pgbackfill::engine
