// What the API of `serve` answers, and its description.
//
// Pure. A migration has the values that `status --format json` and `report --format json` have, but for those of rows:
// what may hold one is null unless they are shown.
#pragma once

#include <boost/json/object.hpp>
#include <string>
#include <vector>

#include "engine/view/site_model.h"

namespace pgbackfill::engine {

boost::json::object migrations_json(std::vector<DatabaseSeen> const& databases);
boost::json::object status_json(MigrationSeen const& seen, bool shows_values);
boost::json::object seen_report_json(MigrationSeen const& seen);
// {"error": ...}
boost::json::object trouble_json(std::string const& text);
// OpenAPI 3.1.
boost::json::object openapi_json(std::string const& program, bool allows_control);

}  // namespace pgbackfill::engine
