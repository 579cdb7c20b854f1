// The connections that are open on an io_context, so that whoever ends a command finds what it waits for.
//
// Knows them and owns none. Belongs to the engine's thread.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/execution_context.hpp>
#include <set>

namespace pgbackfill::engine {

namespace asio = boost::asio;

class PgConnection;

// What a call to the server throws once the command was cut short: it ends the command, and nothing catches it before.
struct CutShort {};

class OpenConnections : public asio::execution_context::service {
 public:
  using key_type = OpenConnections;
  static asio::execution_context::id id;  // NOLINT(readability-identifier-naming): Asio's name for it

  explicit OpenConnections(asio::execution_context& context) : service(context) {}
  static OpenConnections& of(asio::any_io_executor const& executor);

  void add(PgConnection* connection) { connections_.insert(connection); }
  void remove(PgConnection* connection) { connections_.erase(connection); }

  // Cancels on the server what runs there. From now on calls throw CutShort, those that wait for an answer among them.
  void cut_short();
  bool is_cut_short() const { return is_cut_short_; }

 private:
  void shutdown() override { connections_.clear(); }

  std::set<PgConnection*> connections_;
  bool is_cut_short_ = false;
};

}  // namespace pgbackfill::engine
