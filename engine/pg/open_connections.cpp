#include "engine/pg/open_connections.h"

#include "engine/pg/pg_connection.h"

namespace pgbackfill::engine {

asio::execution_context::id OpenConnections::id;

OpenConnections& OpenConnections::of(asio::any_io_executor const& executor) {
  return asio::use_service<OpenConnections>(asio::query(executor, asio::execution::context));
}

void OpenConnections::cut_short() {
  is_cut_short_ = true;
  for (auto* connection : connections_) {
    if (connection->is_waiting()) connection->cancel_on_server();
  }
}

}  // namespace pgbackfill::engine
