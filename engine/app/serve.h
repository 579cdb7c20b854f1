// `serve`: the pages of all migrations of some databases, for as long as nobody stops it.
//
// Refuses at once what would let others in: throws CommandError with the remedy.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <string>
#include <vector>

#include "engine/base/listen_address.h"
#include "engine/process/command_context.h"
#include "engine/tell/http_server.h"

namespace pgbackfill::engine {

struct ServeOptions {
  std::vector<std::string> dsns;  // as they were given; empty: the one that all commands have
  ListenAddress listen{"127.0.0.1", 8377};
  std::vector<std::string> hosts;  // names that viewers know it by
  bool allow_control = false;
  bool is_private = false;
  bool show_values = false;
  std::string token_file;
  TlsFiles tls;                      // empty names: no TLS
  bool is_behind_tls_proxy = false;  // TLS ends before it
};

asio::awaitable<int> serve(CommandContext& context, ServeOptions options);

// The pages of one database beside the metrics of a run, read-only, for the thread of `io`. `options` are those of the
// run.
HttpHandler pages_of_run(asio::io_context& io, CommonOptions options, ListenAddress const& listen);

}  // namespace pgbackfill::engine
