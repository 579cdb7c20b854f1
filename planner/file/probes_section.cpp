// probes:

#include <algorithm>
#include <string>
#include <utility>

#include "planner/file/sections.h"
#include "planner/file/values.h"
#include "planner/file/wording.h"
#include "planner/model/duration.h"

namespace pgbackfill::planner::file {
namespace {

// What it asks: a query, a URL, or a Prometheus server.
void read_question(FileReader& reader, Fields const& fields, ProbeOptions& probe) {
  if (auto const* sql = fields.find("sql")) {
    probe.sql = read_statement(reader, *sql);
    if (!probe.sql.empty()) refuse_semicolon(reader, *sql->value, "the query");
    probe.sql_position = reader.position_of(*sql->value);
  }
  if (auto const* url = fields.find("url")) probe.url = read_url(reader, *url);
  probe.query = read_text(reader, fields, "query");
  probe.ca_file = read_text(reader, fields, "ca_file");
  auto const* query = fields.find("query");
  if (query != nullptr && fields.find("sql") != nullptr) {
    reader.refuse(*query->key, "'query' is for a Prometheus server, with 'url'");
  }
}

ProbeOptions read_probe(FileReader& reader, YamlNode const& item, Section const& section) {
  ProbeOptions probe;
  probe.position = reader.position_of(item);
  auto const fields = reader.read_section(item, section, item);
  if (auto const* name = fields.find("name")) probe.name = read_name(reader, *name, "a probe");
  read_question(reader, fields, probe);
  probe.max = read_number(reader, fields, "max");
  bool const has_number = fields.is_given_or_meant("sql") || fields.is_given_or_meant("query");
  if (auto const* max = fields.find("max"); max != nullptr && !has_number) {
    reader.refuse(*max->key,
                  "'max' needs a number to compare: 'sql', or 'query' beside 'url'; a url alone has to answer 200");
  }
  probe.interval = read_duration(reader, fields, "interval").value_or(probe.interval);
  probe.timeout = read_duration(reader, fields, "timeout").value_or(probe.timeout);
  if (probe.timeout > probe.interval) {
    reader.refuse(item, "timeout " + format_duration(probe.timeout) + " is more than interval " +
                            format_duration(probe.interval));
  }
  return probe;
}

}  // namespace

std::vector<ProbeOptions> read_probes(FileReader& reader, Fields const& fields) {
  std::vector<ProbeOptions> probes;
  auto const* field = fields.find("probes");
  if (field == nullptr || !reader.is_list(*field, "maps")) return probes;
  for (auto const index : field->value->children) {
    auto const& item = reader.node(index);
    if (item.kind != YamlKind::kMap) {
      reader.refuse(item, "a probe must be a map, not " + kind_name(item) + "; " + for_example(*field->rule));
      continue;
    }
    auto probe = read_probe(reader, item, *field->rule->section);
    bool const is_known = std::any_of(probes.begin(), probes.end(), [&](ProbeOptions const& other) {
      return !probe.name.empty() && other.name == probe.name;
    });
    if (is_known) {
      reader.refuse(item, "there is a probe " + quoted(probe.name) + " already; give this one a name of its own");
    }
    probes.push_back(std::move(probe));
  }
  if (probes.size() > kMaxProbes) {
    reader.refuse(*field->value, "there are more than " + std::to_string(kMaxProbes) + " probes");
  }
  return probes;
}

}  // namespace pgbackfill::planner::file
