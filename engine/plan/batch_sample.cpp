#include "engine/plan/batch_sample.h"

#include <boost/json/parse.hpp>

namespace pgbackfill::engine {

PlannedSample sample_of(std::string const& explained) {
  auto const document = boost::json::parse(explained);
  auto const& top = document.as_array().at(0).as_object();
  PlannedSample sample;
  sample.milliseconds = top.at("Execution Time").as_double();
  auto const number = [](boost::json::object const& node, char const* key) -> std::int64_t {
    auto const* value = node.if_contains(key);
    return value == nullptr ? 0 : value->to_number<std::int64_t>();
  };
  auto const& plan = top.at("Plan").as_object();
  sample.wal_bytes = number(plan, "WAL Bytes");
  sample.full_page_images = number(plan, "WAL FPI");
  // The work by itself returns no rows; what it changes comes from the node below it.
  bool const is_alone = plan.at("Node Type").as_string() == "ModifyTable";
  if (auto const* children = plan.if_contains("Plans")) {
    for (auto const& child : children->as_array()) {
      auto const& node = child.as_object();
      auto const* subplan = node.if_contains("Subplan Name");
      bool const is_work = subplan != nullptr && subplan->as_string() == "CTE pgbackfill_work";
      if (is_work || (is_alone && subplan == nullptr)) sample.rows = number(node, "Actual Rows");
    }
  }
  return sample;
}

}  // namespace pgbackfill::engine
