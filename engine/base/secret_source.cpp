#include "engine/base/secret_source.h"

#include <cstdlib>
#include <fstream>
#include <iterator>

#include "engine/base/text.h"

namespace pgbackfill::engine {

namespace {

constexpr std::size_t kMostSecretBytes = 65'536;

std::variant<std::string, SecretProblem> read_file(std::string const& path) {
  std::ifstream stream(path, std::ios::binary);
  std::string text(kMostSecretBytes + 1, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  auto const length = static_cast<std::size_t>(stream.gcount());
  if (stream.bad() || length == 0) return SecretProblem{neutralised(path) + " cannot be read, or is empty"};
  if (length > kMostSecretBytes) return SecretProblem{neutralised(path) + " is too long for a secret"};
  text.resize(length);
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  if (text.empty()) return SecretProblem{neutralised(path) + " is empty"};
  return text;
}

}  // namespace

std::variant<std::string, SecretProblem> secret_of(planner::SecretText const& secret) {
  if (!secret.file.empty()) return read_file(secret.file);
  auto const parts = planner::parts_of(secret.text);
  if (!parts) return SecretProblem{"a '${' has no name and no '}' behind it"};
  std::string text;
  for (auto const& part : *parts) {
    if (!part.is_variable) {
      text += part.text;
      continue;
    }
    char const* const value = std::getenv(part.text.c_str());
    if (value == nullptr || *value == '\0') return SecretProblem{"the variable " + part.text + " is not set"};
    text += value;
  }
  return text;
}

std::string missing_of(planner::Delivery const& delivery) {
  auto const look = [](planner::SecretText const& secret) -> std::string {
    if (!secret.is_given()) return "";
    auto const found = secret_of(secret);
    auto const* const problem = std::get_if<SecretProblem>(&found);
    return problem == nullptr ? "" : problem->text;
  };
  for (auto const* secret : {&delivery.url, &delivery.routing_key, &delivery.body}) {
    auto problem = look(*secret);
    if (!problem.empty()) return problem;
  }
  for (auto const& [name, secret] : delivery.headers) {
    auto problem = look(secret);
    if (!problem.empty()) return problem;
  }
  return "";
}

}  // namespace pgbackfill::engine
