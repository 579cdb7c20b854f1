// The schema of a profile, in the words of the server's pg_dump.
//
// Of all but tables only what is made by CREATE and ALTER of types, functions and their like is kept: servers and user
// mappings of foreign data hold passwords. Throws CommandError with pg_dump's own words. Thread rule: that of
// engine/child/child_process.h.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>
#include <vector>

#include "engine/base/command_error.h"
#include "engine/rehearse/profile.h"
#include "planner/model/table_name.h"

namespace pgbackfill::engine {

namespace asio = boost::asio;

// The password, if the connection string has one, goes by the environment of the program and not by its arguments.
asio::awaitable<SchemaText> dump_schema(std::string conninfo, std::vector<planner::TableName> tables);

// The statements of a text, one by one, that `is_kept` lets through, each with its semicolon.
std::string kept_objects(std::string const& dump);

}  // namespace pgbackfill::engine
