// on:, who is told of what.

#include <algorithm>
#include <cctype>
#include <string>
#include <utility>

#include "planner/file/secret_values.h"
#include "planner/file/sections.h"
#include "planner/file/values.h"
#include "planner/file/wording.h"
#include "planner/model/delivery.h"

namespace pgbackfill::planner::file {
namespace {

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
    delivery.headers = read_headers(reader, *way);
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
