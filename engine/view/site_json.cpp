#include "engine/view/site_json.h"

#include <boost/json/array.hpp>
#include <utility>

#include "engine/base/text.h"
#include "engine/view/json_values.h"
#include "engine/view/report_parts.h"
#include "engine/view/report_view.h"
#include "engine/view/status_view.h"

namespace pgbackfill::engine {

namespace {

namespace json = boost::json;

void take_values_out(json::object& status, StatusOverview const& one) {
  status["reason"] = text_or_null(without_values(one.reason, one.name));
  status["step_failure"] = text_or_null(without_values(one.step_failure, one.name));
}

json::object reference(char const* schema) {
  return {{"$ref", std::string("#/components/schemas/") + schema}};
}

json::object json_content(json::object schema, char const* type = "application/json") {
  return {{type, json::object{{"schema", std::move(schema)}}}};
}

json::object answers(json::object content) {
  json::object all;
  all["200"] = json::object{{"description", "what was read, at most a second ago"}, {"content", std::move(content)}};
  auto const error = [](char const* text) {
    return json::object{{"description", text}, {"content", json_content(reference("Error"))}};
  };
  all["404"] = error("there is no such migration, or the database has no schema pgbackfill");
  all["409"] = error("several databases have a migration of this name; say which by `database`");
  all["503"] = error("the database is away, or its schema is of another version");
  return all;
}

json::array of_one() {
  json::object const text{{"type", "string"}};
  return {{{"name", "name"}, {"in", "path"}, {"required", true}, {"schema", text}},
          {{"name", "database"},
           {"in", "query"},
           {"description", "which one, where several are served"},
           {"schema", text}}};
}

json::object get(char const* summary, json::object content, bool is_of_one) {
  json::object operation{{"summary", summary}, {"responses", answers(std::move(content))}};
  if (is_of_one) operation["parameters"] = of_one();
  return {{"get", std::move(operation)}};
}

struct Action {
  char const* word;
  char const* summary;
  std::vector<std::pair<char const*, char const*>> fields;
};

std::vector<Action> actions() {
  return {
      {"pause", "batches in flight end, then nothing more starts", {{"reason", "why"}, {"for", "such as 2h"}}},
      {"resume", "go on after a pause, a cancel or a failure", {}},
      {"cancel", "all processes end; rows that are done stay done", {{"reason", "why"}}},
      {"set",
       "change a setting of the job",
       {{"key", "as `pgbackfill set NAME` lists them"}, {"value", "default takes it back"}}},
      {"retry-quarantine", "try rows that are set aside again", {}},
      {"approve", "agree to the contract steps", {{"plan", "the hash of the plan that was read"}, {"reason", "why"}}},
      {"release-leases", "free the ranges of a process", {{"process", "its name"}, {"yes", "yes: although it lives"}}}};
}

json::object post(Action const& action) {
  json::object properties;
  for (auto const& [name, text] : action.fields) properties[name] = {{"type", "string"}, {"description", text}};
  json::object const schema{{"type", "object"}, {"properties", std::move(properties)}};
  json::object all = answers(json_content(reference("Done")));
  auto const error = [](char const* text) {
    return json::object{{"description", text}, {"content", json_content(reference("Error"))}};
  };
  all["400"] = error("it cannot be done; the error says why");
  all["401"] = error("no token, or an unknown one");
  all["403"] = error("the server is read-only, or the request came from another origin");
  json::object operation;
  operation["summary"] = action.summary;
  operation["parameters"] = of_one();
  operation["security"] = json::array{json::object{{"token", json::array()}}};
  operation["requestBody"] = {{"content", json_content(schema, "application/x-www-form-urlencoded")}};
  operation["responses"] = std::move(all);
  return {{"post", std::move(operation)}};
}

json::object schemas() {
  json::object const open{{"type", "object"}, {"additionalProperties", true}};
  json::object all;
  all["Status"] = json::object{{"description", "as `pgbackfill status NAME --format json`"}, {"allOf", {open}}};
  all["Report"] = json::object{{"description", "as `pgbackfill report NAME --format json`"}, {"allOf", {open}}};
  json::object const list{{"type", "array"}, {"items", reference("Status")}};
  json::object const text{{"type", "string"}};
  json::object const database{{"type", "object"},
                              {"properties", {{"database", text}, {"error", {{"type", {"string", "null"}}}}}}};
  json::object const databases{{"type", "array"}, {"items", database}};
  all["Migrations"] = {{"type", "object"}, {"properties", {{"migrations", list}, {"databases", databases}}}};
  all["Error"] = {{"type", "object"}, {"properties", {{"error", text}}}, {"required", {"error"}}};
  all["Done"] = {{"type", "object"}, {"properties", {{"text", text}}}, {"required", {"text"}}};
  return all;
}

}  // namespace

json::object migrations_json(std::vector<DatabaseSeen> const& databases) {
  json::array migrations;
  json::array states;
  for (auto const& database : databases) {
    states.push_back({{"database", valid_utf8(database.label)}, {"error", text_or_null(database.trouble.text)}});
    for (auto const& one : database.migrations) {
      auto const pace = database.paces.find(one.name);
      auto object = json_of(one, pace == database.paces.end() ? nullptr : &pace->second);
      take_values_out(object, one);
      object["database"] = valid_utf8(database.label);
      migrations.push_back(std::move(object));
    }
  }
  return {{"migrations", std::move(migrations)}, {"databases", std::move(states)}};
}

json::object status_json(MigrationSeen const& seen, bool shows_values) {
  StatusPage page = seen.report.status;
  page.bad_rows = seen.bad_rows;
  auto object = json_of(page, seen.pace.value_or(StatusPace()));
  if (!shows_values) {
    take_values_out(object, page.overview);
    json::array rows;
    for (auto const& row : seen.quarantine) {
      rows.push_back({{"id", row.id},
                      {"table", valid_utf8(row.table)},
                      {"sqlstate", row.sqlstate},
                      {"key", nullptr},
                      {"message", nullptr}});
    }
    object["quarantine"] = std::move(rows);
  }
  object["database"] = valid_utf8(seen.label);
  return object;
}

json::object seen_report_json(MigrationSeen const& seen) {
  auto object = report_json(seen.report);
  object["database"] = valid_utf8(seen.label);
  return object;
}

json::object trouble_json(std::string const& text) {
  return {{"error", valid_utf8(text)}};
}

json::object openapi_json(std::string const& program, bool allows_control) {
  json::object paths;
  paths["/api/v1/migrations"] = get("all migrations", json_content(reference("Migrations")), false);
  paths["/api/v1/migrations/{name}"] = get("where one is", json_content(reference("Status")), true);
  paths["/api/v1/migrations/{name}/report"] = get("how it went", json_content(reference("Report")), true);
  paths["/api/v1/events"] = get("server-sent events: what /api/v1/migrations answers, each time that it changes",
                                json_content(json::object{{"type", "string"}}, "text/event-stream"), false);
  paths["/api/v1/migrations/{name}/events"] =
      get("server-sent events: what /api/v1/migrations/{name} answers, each time that it changes",
          json_content(json::object{{"type", "string"}}, "text/event-stream"), true);
  json::object components{{"schemas", schemas()}};
  if (allows_control) {
    for (auto const& action : actions()) {
      paths[std::string("/api/v1/migrations/{name}/") + action.word] = post(action);
    }
    components["securitySchemes"] = {{"token", {{"type", "http"}, {"scheme", "bearer"}}}};
  }
  return {{"openapi", "3.1.0"},
          {"info", {{"title", "pgbackfill serve"}, {"version", program}}},
          {"paths", std::move(paths)},
          {"components", std::move(components)}};
}

}  // namespace pgbackfill::engine
