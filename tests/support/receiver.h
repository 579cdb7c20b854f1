// An HTTP or HTTPS server that answers as it is told, keeps what it is asked, and can hang, close and redirect: a
// program of its own (receiver.py), and a certificate that the test has made.
//
// Its folder goes with it. Belongs to one thread.
#pragma once

#include <boost/json/value.hpp>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/program.h"

namespace pgbackfill::tests {

// Of 127.0.0.1, signed by itself: file of the certificate, file of its key.
struct Certificate {
  std::string file;
  std::string key;
};
Certificate make_certificate(std::filesystem::path const& folder);

class Receiver {
 public:
  // `answers` as receiver.py says. With a certificate it speaks TLS.
  explicit Receiver(std::string const& answers, Certificate const* certificate = nullptr);
  ~Receiver();
  Receiver(Receiver const&) = delete;
  Receiver& operator=(Receiver const&) = delete;

  int port() const { return port_; }
  std::string url(std::string const& target = "/") const;
  // What it was asked so far: method, path, headers, body.
  std::vector<boost::json::value> requests() const;
  // Their bodies, each a JSON document.
  std::vector<boost::json::value> documents() const;
  bool waits_for(std::size_t requests) const;

 private:
  std::filesystem::path folder_;
  bool is_tls_ = false;
  std::unique_ptr<Program> program_;
  int port_ = 0;
};

}  // namespace pgbackfill::tests
