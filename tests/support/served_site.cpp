#include "tests/support/served_site.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <sstream>

#include "engine/base/percent_encoding.h"

namespace pgbackfill::tests {

namespace {

std::string lowered(std::string text) {
  for (char& letter : text) letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  return text;
}

}  // namespace

ServedSite::ServedSite(std::vector<std::string> const& options) {
  std::vector<std::string> words = {PGBACKFILL_PROGRAM, "serve", "--listen", "0"};
  words.insert(words.end(), options.begin(), options.end());
  program_ = std::make_unique<Program>(words);
  std::string const before = "://127.0.0.1:";
  EXPECT_TRUE(program_->wait_for_output(before)) << program_->err();
  auto const log = program_->err();
  auto const at = log.find(before);
  if (at != std::string::npos) port_ = static_cast<std::uint16_t>(std::atoi(log.c_str() + at + before.size()));
}

std::string ServedSite::origin() const {
  return "http://127.0.0.1:" + std::to_string(port_);
}

HttpReply ServedSite::get(std::string const& path, Head const& head) const {
  return ask("GET", path, "", head);
}

HttpReply ServedSite::post(std::string const& path, Form const& form, Head const& head) const {
  std::string body;
  for (auto const& [name, value] : form) {
    body += (body.empty() ? "" : "&") + name + "=" + engine::percent_encoded(value, "");
  }
  return ask("POST", path, body, head);
}

HttpReply ServedSite::ask(std::string const& method, std::string const& path, std::string const& body,
                          Head const& head) const {
  std::string text = method + " " + path + " HTTP/1.1\r\nConnection: close\r\n";
  bool const has_host =
      std::any_of(head.begin(), head.end(), [](auto const& field) { return lowered(field.first) == "host"; });
  if (!has_host) text += "Host: 127.0.0.1:" + std::to_string(port_) + "\r\n";
  for (auto const& [name, value] : head) text += name + ": " + value + "\r\n";
  if (method == "POST") {
    text +=
        "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: " + std::to_string(body.size()) + "\r\n";
  }
  return http_request(port_, text + "\r\n" + body);
}

std::string head_field(HttpReply const& reply, std::string const& name) {
  std::istringstream lines(reply.head);
  for (std::string line; std::getline(lines, line);) {
    auto const colon = line.find(": ");
    if (colon == std::string::npos || lowered(line.substr(0, colon)) != lowered(name)) continue;
    auto value = line.substr(colon + 2);
    if (value.ends_with('\r')) value.pop_back();
    return value;
  }
  return "";
}

Head with_token() {
  return {{"Authorization", std::string("Bearer ") + kToken}};
}

}  // namespace pgbackfill::tests
