// on:, who is told of what.

#include <algorithm>
#include <cctype>
#include <string>
#include <utility>

#include "planner/file/sections.h"
#include "planner/file/values.h"
#include "planner/file/wording.h"
#include "planner/model/delivery.h"

namespace pgbackfill::planner::file {
namespace {

constexpr std::string_view kFromElsewhere = "write ${NAME} for a variable of the environment, or {file: PATH}";

SecretText read_secret_at(FileReader& reader, YamlNode const& value, KeyRule const& rule, std::string_view key) {
  SecretText secret;
  secret.position = reader.position_of(value);
  if (value.kind == YamlKind::kMap) {
    auto const fields = reader.read_section(value, *rule.section, value);
    secret.file = read_text(reader, fields, "file");
    return secret;
  }
  if (value.kind != YamlKind::kScalar || is_blank(value.text)) {
    reader.refuse(value, quoted(key) + " must be a text, or {file: PATH}, not " +
                             (value.kind == YamlKind::kScalar ? "nothing" : kind_name(value)) + "; " +
                             for_example(rule));
    return secret;
  }
  if (!parts_of(value.text)) {
    reader.refuse(value, quoted(key) + " has a '${' without a name and a '}' behind it; write ${NAME}");
    return secret;
  }
  secret.text = value.text;
  return secret;
}

SecretText read_secret(FileReader& reader, Fields const& fields, std::string_view key) {
  auto const* field = fields.find(key);
  return field == nullptr ? SecretText{} : read_secret_at(reader, *field->value, *field->rule, key);
}

// The file is in version control, and a copy of it in the database.
SecretText read_hidden(FileReader& reader, Fields const& fields, std::string_view key) {
  auto secret = read_secret(reader, fields, key);
  auto const* field = fields.find(key);
  if (field == nullptr || !secret.is_given() || !secret.is_literal()) return secret;
  reader.refuse(*field->value,
                quoted(key) + " is a secret and must not stand in this file; " + std::string{kFromElsewhere});
  return SecretText{};
}

SecretText read_secret_url(FileReader& reader, Fields const& fields) {
  auto secret = read_secret(reader, fields, "url");
  auto const* field = fields.find("url");
  // One that begins with a variable is looked at when it is used.
  if (field == nullptr || secret.text.empty() || secret.text.starts_with("${")) return secret;
  // Not shown: whoever left the scheme out has written the rest all the same.
  if (!is_url(secret.text)) {
    reader.refuse(*field->value,
                  "'url' is not a URL that begins with http:// or https://; " + for_example(*field->rule));
  }
  return secret;
}

bool names_a_key(std::string_view header) {
  std::string name(header);
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (std::string_view const word : {"auth", "key", "token", "secret", "password", "cookie", "signature"}) {
    if (name.find(word) != std::string::npos) return true;
  }
  return false;
}

bool is_header_name(std::string_view name) {
  auto const is_part = [](unsigned char c) {
    return std::isalnum(c) != 0 || std::string_view("!#$%&'*+-.^_`|~").find(static_cast<char>(c)) != std::string::npos;
  };
  return !name.empty() && std::all_of(name.begin(), name.end(), is_part);
}

void read_headers(FileReader& reader, Fields const& fields, Delivery& delivery) {
  auto const* field = fields.find("headers");
  if (field == nullptr) return;
  if (field->value->kind != YamlKind::kMap) {
    return reader.refuse(FileReader::place_of(*field), "'headers' must be a map of header fields, not " +
                                                           kind_name(*field->value) + "; " + for_example(*field->rule));
  }
  reader.refuse_duplicates(*field->value);
  for (std::size_t index = 0; index + 1 < field->value->children.size(); index += 2) {
    auto const& name = reader.node(field->value->children[index]);
    auto const& value = reader.node(field->value->children[index + 1]);
    if (name.kind != YamlKind::kScalar || !is_header_name(name.text)) {
      reader.refuse(name, quoted(name.text) + " is no name of a header field; " + for_example(*field->rule));
      continue;
    }
    auto secret = read_secret_at(reader, value, *field->rule, name.text);
    if (secret.is_given() && secret.is_literal() && names_a_key(name.text)) {
      reader.refuse(value,
                    quoted(name.text) + " is a secret and must not stand in this file; " + std::string{kFromElsewhere});
      continue;
    }
    delivery.headers.emplace_back(name.text, std::move(secret));
  }
}

// What the section of its kind says.
void read_way(FileReader& reader, Fields const& fields, Delivery& delivery) {
  struct Kind {
    std::string_view key;
    DeliveryKind kind;
  };
  for (auto const& each : {Kind{"http", DeliveryKind::kHttp}, Kind{"slack", DeliveryKind::kSlack},
                           Kind{"pagerduty", DeliveryKind::kPagerDuty}, Kind{"webhook", DeliveryKind::kWebhook}}) {
    auto const* field = fields.find(each.key);
    if (field == nullptr) continue;
    delivery.kind = each.kind;
    auto const way = reader.read_map(*field);
    if (!way) continue;
    delivery.url = each.kind == DeliveryKind::kSlack ? read_hidden(reader, *way, "url") : read_secret_url(reader, *way);
    delivery.routing_key = read_hidden(reader, *way, "routing_key");
    delivery.body = read_secret(reader, *way, "body");
    auto const method = read_word(reader, *way, "method");
    if (!method.empty()) delivery.method = method;
    read_headers(reader, *way, delivery);
  }
  if (delivery.kind == DeliveryKind::kPagerDuty && !delivery.url.is_given()) {
    delivery.url.text = kPagerDutyUrl;
    delivery.url.position = delivery.position;
  }
}

Delivery read_delivery(FileReader& reader, YamlNode const& item, Section const& section) {
  Delivery delivery;
  delivery.position = reader.position_of(item);
  auto const fields = reader.read_section(item, section, item);
  delivery.command = read_text(reader, fields, "command");
  read_way(reader, fields, delivery);
  delivery.timeout = read_duration(reader, fields, "timeout").value_or(delivery.timeout);
  delivery.ca_file = read_text(reader, fields, "ca_file");
  auto const* ca_file = fields.find("ca_file");
  if (ca_file != nullptr && fields.find("command") != nullptr) {
    reader.refuse(*ca_file->key, "'ca_file' is for deliveries by HTTP, not for a command");
  }
  return delivery;
}

std::vector<Delivery> read_deliveries(FileReader& reader, Field const& field) {
  std::vector<Delivery> deliveries;
  if (!reader.is_filled_list(field, "deliveries")) return deliveries;
  for (auto const index : field.value->children) {
    auto const& item = reader.node(index);
    if (item.kind == YamlKind::kMap) {
      deliveries.push_back(read_delivery(reader, item, *field.rule->section));
    } else {
      reader.refuse(item, "a delivery must be a map, not " + kind_name(item) + "; " + for_example(*field.rule));
    }
  }
  return deliveries;
}

}  // namespace

std::vector<OccasionRule> read_on(FileReader& reader, Fields const& fields) {
  std::vector<OccasionRule> rules;
  auto const* section = fields.find("on");
  if (section == nullptr) return rules;
  auto const occasions = reader.read_map(*section);
  if (!occasions) return rules;
  std::size_t count = 0;
  for (auto const& [occasion, name] : kOccasionNames) {
    auto const* field = occasions->find(name);
    if (field == nullptr) continue;
    OccasionRule rule;
    rule.position = reader.position_of(*field->key);
    rule.occasion = occasion;
    if (!has_time(occasion)) {
      rule.deliveries = read_deliveries(reader, *field);
    } else if (auto const parts = reader.read_map(*field)) {
      rule.after =
          read_duration(reader, *parts, "after").value_or(occasion == Occasion::kStall ? kStallAfter : kHeldBackAfter);
      if (auto const* deliver = parts->find("deliver")) rule.deliveries = read_deliveries(reader, *deliver);
    }
    count += rule.deliveries.size();
    rules.push_back(std::move(rule));
  }
  if (count > kMaxDeliveries) {
    reader.refuse(*section->key, "there are more than " + std::to_string(kMaxDeliveries) + " deliveries");
  }
  return rules;
}

}  // namespace pgbackfill::planner::file
