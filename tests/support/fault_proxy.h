// A TCP proxy on the loopback interface between a client and a PostgreSQL server that breaks the link where it hurts.
//
// Its main use: the server has committed, and the client never hears of it. The proxy follows the framing of protocol 3
// from the server, holds the answer back until its ReadyForQuery, and cuts the link instead of handing it over. It
// speaks no TLS or GSS encryption (it refuses both for the server) and never changes a byte of what it does forward.
//
// Threads: forwards in a thread of its own; every function may be called from any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

namespace pgbackfill::tests {

class FaultProxy {
 public:
  // Throws std::system_error when it cannot listen.
  explicit FaultProxy(int server_port);
  ~FaultProxy();
  FaultProxy(FaultProxy const&) = delete;
  FaultProxy& operator=(FaultProxy const&) = delete;

  int port() const;
  std::string dsn() const;

  // Cuts the link instead of forwarding the next answer that leaves no transaction open (so what was sent is committed
  // or failed), once. With a `tag`, only an answer with a CommandComplete that begins with it: "COMMIT", "UPDATE 10".
  void drop_next_answer(std::string tag = {});
  // The same by chance, from now on, for every such answer; some cuts come after all but the ReadyForQuery was
  // forwarded. 0 ends it. The seed makes the choices repeatable as far as the order of answers is.
  void drop_answers_with_probability(double probability, std::uint64_t seed);
  // Cuts the link when a client that waits for nothing sends: the server never sees it.
  void drop_requests_with_probability(double probability, std::uint64_t seed);

  // Now, both ways; new connections are welcome.
  void cut_all();
  // Refused by the operating system, as when no server listens. Connections that exist go on.
  void refuse_new(bool is_refusing);
  // Forwards nothing but keeps all connections, as a network that swallows packets.
  void stall(bool is_stalled);
  // For each way: a round trip takes twice as long.
  void set_delay(std::chrono::microseconds delay);
  // New connections go there, as after a fail-over.
  void set_server_port(int port);

  int connections() const;
  int dropped_answers() const;
  int dropped_requests() const;
  // How often a client sent something after it had been answered, on all connections so far. For the count not to
  // depend on how fast the server is, a delay has to keep its first answer until the client has sent all it had to say.
  int round_trips() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pgbackfill::tests
