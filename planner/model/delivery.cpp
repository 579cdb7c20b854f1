#include "planner/model/delivery.h"

#include <algorithm>
#include <cctype>

#include "planner/model/short_line.h"

namespace pgbackfill::planner {

namespace {

constexpr std::size_t kMostCommandBytes = 100;

bool is_variable_name(std::string_view name) {
  auto const is_word = [](unsigned char c) { return std::isalnum(c) != 0 || c == '_'; };
  return !name.empty() && std::isdigit(static_cast<unsigned char>(name.front())) == 0 &&
         std::all_of(name.begin(), name.end(), is_word);
}

// Scheme and host alone: the rest is what lets somebody in.
std::string origin_of(std::string const& url) {
  auto const scheme = url.find("://");
  if (scheme == std::string::npos) return "";
  std::string const host = url.substr(scheme + 3, url.find_first_of("/?#", scheme + 3) - scheme - 3);
  // A name and a password may stand before the host.
  return url.substr(0, scheme + 3) + host.substr(host.rfind('@') + 1);
}

}  // namespace

std::string_view name_of(Occasion occasion) {
  auto const found = std::find_if(kOccasionNames.begin(), kOccasionNames.end(),
                                  [&](OccasionName const& one) { return one.occasion == occasion; });
  return found->name;
}

bool has_time(Occasion occasion) {
  return occasion == Occasion::kStall || occasion == Occasion::kHeldBack;
}

std::optional<std::vector<SecretPart>> parts_of(std::string_view text) {
  std::vector<SecretPart> parts;
  while (!text.empty()) {
    auto const begin = text.find("${");
    if (begin != 0) parts.push_back({false, std::string(text.substr(0, begin))});
    if (begin == std::string_view::npos) return parts;
    auto const end = text.find('}', begin);
    if (end == std::string_view::npos) return std::nullopt;
    auto const name = text.substr(begin + 2, end - begin - 2);
    if (!is_variable_name(name)) return std::nullopt;
    parts.push_back({true, std::string(name)});
    text.remove_prefix(end + 1);
  }
  return parts;
}

std::string_view name_of(DeliveryKind kind) {
  switch (kind) {
    case DeliveryKind::kCommand:
      return "command";
    case DeliveryKind::kHttp:
      return "http";
    case DeliveryKind::kSlack:
      return "slack";
    case DeliveryKind::kPagerDuty:
      return "pagerduty";
    case DeliveryKind::kWebhook:
      return "webhook";
  }
  return "";
}

std::string place_of(SecretText const& url) {
  if (!url.file.empty()) return "the URL in " + url.file;
  auto const parts = parts_of(url.text);
  if (!parts || parts->empty()) return "";
  return parts->front().is_variable ? "${" + parts->front().text + "}" : origin_of(parts->front().text);
}

std::string to_text(Delivery const& delivery) {
  std::string text(name_of(delivery.kind));
  if (delivery.kind == DeliveryKind::kCommand) return text + ": " + short_line(delivery.command, kMostCommandBytes);
  if (delivery.kind == DeliveryKind::kSlack || delivery.kind == DeliveryKind::kPagerDuty) return text;
  auto const place = place_of(delivery.url);
  return place.empty() ? text : text + " to " + place;
}

std::vector<std::string> variables_of(std::vector<OccasionRule> const& rules) {
  std::vector<std::string> names;
  auto const add = [&](SecretText const& secret) {
    for (auto const& part : parts_of(secret.text).value_or(std::vector<SecretPart>())) {
      if (part.is_variable) names.push_back(part.text);
    }
  };
  for (auto const& rule : rules) {
    for (auto const& delivery : rule.deliveries) {
      add(delivery.url);
      add(delivery.routing_key);
      add(delivery.body);
      for (auto const& [name, secret] : delivery.headers) add(secret);
    }
  }
  return names;
}

}  // namespace pgbackfill::planner
