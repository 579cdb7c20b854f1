// A connection for work that can be repeated: when it was lost it is made anew, with backoff and jitter, for as long as
// the patience lasts.
//
// It repeats nothing by itself: whoever asked asks again, because only he knows that it may be asked twice. Belongs to
// the engine's thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "engine/base/command_error.h"
#include "engine/pg/pg_connection.h"

namespace pgbackfill::engine {

struct LastingTerms {
  // Throws CommandError; one that is passing is tried again.
  std::function<asio::awaitable<std::shared_ptr<PgConnection>>()> open;
  std::chrono::milliseconds patience{300'000};
  std::function<bool()> is_stopping;
  std::function<void(std::string)> tell;
};

class LastingConnection {
 public:
  LastingConnection(std::shared_ptr<PgConnection> connection, LastingTerms terms);
  // One that is gone when it is lost.
  explicit LastingConnection(PgConnection& connection);

  PgConnection& operator*() const { return *connection_; }
  PgConnection* operator->() const { return connection_.get(); }

  // Whether it can be asked, if need be after it was made anew. False: never again, and why() says so.
  asio::awaitable<bool> is_there();
  std::string const& why() const { return why_; }

 private:
  asio::awaitable<bool> come_back();

  std::shared_ptr<PgConnection> connection_;
  LastingTerms terms_;
  std::string why_;
};

}  // namespace pgbackfill::engine
