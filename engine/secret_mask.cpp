#include "engine/secret_mask.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace pgbackfill::engine {

namespace {

constexpr std::string_view kMask = "***";

bool names_a_secret(std::string name) {
  static constexpr std::array<std::string_view, 4> kWords{"PASSWORD", "PASSWD", "SECRET", "TOKEN"};
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char letter) { return std::toupper(letter); });
  return std::any_of(kWords.begin(), kWords.end(),
                     [&](std::string_view word) { return name.find(word) != std::string::npos; });
}

// The password between the scheme's user and the host.
void mask_urls(std::string& text) {
  constexpr std::string_view kScheme = "://";
  for (auto at = text.find(kScheme); at != std::string::npos; at = text.find(kScheme, at)) {
    at += kScheme.size();
    auto const end = std::min(text.find_first_of("/? \t\n'\"<>", at), text.size());
    auto const host = text.rfind('@', end);
    auto const colon = text.find(':', at);
    if (host == std::string::npos || host < at || colon > host) continue;
    text.replace(colon + 1, host - colon - 1, kMask);
  }
}

}  // namespace

std::vector<std::string> secrets_in(std::map<std::string, std::string> const& environment) {
  std::vector<std::string> secrets;
  for (auto const& [name, value] : environment) {
    if (names_a_secret(name) && value.size() >= kShortestSecret) secrets.push_back(value);
  }
  // One may contain another.
  std::sort(secrets.begin(), secrets.end(),
            [](std::string const& left, std::string const& right) { return left.size() > right.size(); });
  return secrets;
}

std::string masked(std::string text, std::vector<std::string> const& secrets) {
  for (auto const& secret : secrets) {
    for (auto at = text.find(secret); at != std::string::npos; at = text.find(secret, at + kMask.size())) {
      text.replace(at, secret.size(), kMask);
    }
  }
  mask_urls(text);
  return text;
}

}  // namespace pgbackfill::engine
