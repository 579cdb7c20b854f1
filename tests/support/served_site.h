// `pgbackfill serve` under test, and requests to it.
//
// The process goes with the object. Belongs to one thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/http_client.h"
#include "tests/support/program.h"

namespace pgbackfill::tests {

using Form = std::vector<std::pair<std::string, std::string>>;
using Head = std::vector<std::pair<std::string, std::string>>;

class ServedSite {
 public:
  // `serve --listen 0 OPTIONS`; waits until it listens.
  explicit ServedSite(std::vector<std::string> const& options);

  std::uint16_t port() const { return port_; }
  std::string origin() const;
  Program& program() { return *program_; }

  HttpReply get(std::string const& path, Head const& head = {}) const;
  HttpReply post(std::string const& path, Form const& form, Head const& head = {}) const;

 private:
  HttpReply ask(std::string const& method, std::string const& path, std::string const& body, Head const& head) const;

  std::unique_ptr<Program> program_;
  std::uint16_t port_ = 0;
};

// Of a reply's head; empty if it is not there.
std::string head_field(HttpReply const& reply, std::string const& name);

// A folder with a file of tokens: "alice" has kToken.
inline constexpr char kToken[] = "0123456789abcdef0123456789abcdef";
inline constexpr char kTokenLine[] = "alice 0123456789abcdef0123456789abcdef\n";
Head with_token();

}  // namespace pgbackfill::tests
