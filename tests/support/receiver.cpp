#include "tests/support/receiver.h"

#include <fmt/format.h>
#include <unistd.h>

#include <boost/json/parse.hpp>
#include <cstdlib>
#include <fstream>
#include <stdexcept>

#include "tests/support/poll_until.h"

namespace pgbackfill::tests {

namespace fs = std::filesystem;

namespace {

fs::path new_folder() {
  std::string pattern = (fs::temp_directory_path() / "pgbackfill-receiver-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary folder");
  return pattern;
}

}  // namespace

Certificate make_certificate(fs::path const& folder) {
  Certificate made{(folder / "certificate.pem").string(), (folder / "key.pem").string()};
  auto const result =
      run_program({"openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                   "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", made.key, "-out", made.file});
  if (result.exit_code != 0) throw std::runtime_error("openssl: " + result.err);
  return made;
}

Receiver::Receiver(std::string const& answers, Certificate const* certificate)
    : folder_(new_folder()), is_tls_(certificate != nullptr) {
  std::vector<std::string> arguments = {"python3", PGBACKFILL_SOURCE_DIR "/tests/support/receiver.py", folder_.string(),
                                        answers};
  if (certificate != nullptr) arguments.insert(arguments.end(), {certificate->file, certificate->key});
  program_ = std::make_unique<Program>(arguments);
  if (!poll_until([&] { return fs::exists(folder_ / "port"); })) {
    throw std::runtime_error("receiver.py: " + program_->err());
  }
  std::ifstream(folder_ / "port") >> port_;
}

Receiver::~Receiver() {
  program_.reset();
  std::error_code error;
  fs::remove_all(folder_, error);
}

std::string Receiver::url(std::string const& target) const {
  return fmt::format("{}://127.0.0.1:{}{}", is_tls_ ? "https" : "http", port_, target);
}

std::vector<boost::json::value> Receiver::requests() const {
  std::vector<boost::json::value> all;
  std::ifstream stream(folder_ / "requests");
  for (std::string line; std::getline(stream, line);) {
    boost::system::error_code error;
    auto request = boost::json::parse(line, error);
    if (!error) all.push_back(std::move(request));
  }
  return all;
}

std::vector<boost::json::value> Receiver::documents() const {
  std::vector<boost::json::value> all;
  for (auto const& request : requests()) all.push_back(boost::json::parse(request.at("body").as_string()));
  return all;
}

bool Receiver::waits_for(std::size_t count) const {
  return poll_until([&] { return requests().size() >= count; });
}

}  // namespace pgbackfill::tests
