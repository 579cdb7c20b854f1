#include "engine/rehearse/sandbox_role.h"

#include <fmt/format.h>

#include <fstream>
#include <string>
#include <vector>

#include "engine/base/command_error.h"
#include "planner/model/sql_text.h"
#include "planner/sql/sql_script.h"

namespace pgbackfill::engine {

namespace {

constexpr char kRole[] = "rehearsal";
constexpr int kHasParameterRights = 150'000;

// The last field of its line.
std::string password_in(std::filesystem::path const& passfile) {
  std::ifstream file(passfile);
  std::string line;
  std::getline(file, line);
  auto const colon = line.rfind(':');
  if (colon == std::string::npos) throw CommandError{kExitFailed, passfile.string() + ": cannot be read"};
  return line.substr(colon + 1);
}

std::vector<std::string> role_sql(std::string const& password, int server_version) {
  std::vector<std::string> statements = {
      fmt::format("CREATE ROLE {} LOGIN PASSWORD {}", kRole, planner::quote_literal(password)),
      fmt::format("GRANT pg_monitor TO {}", kRole),
      fmt::format("ALTER DATABASE postgres OWNER TO {}", kRole),
  };
  if (server_version >= kHasParameterRights) {
    statements.push_back(fmt::format("GRANT pg_checkpoint TO {}", kRole));
    // For `triggers: skip`.
    statements.push_back(fmt::format("GRANT SET ON PARAMETER session_replication_role TO {}", kRole));
  }
  return statements;
}

asio::awaitable<int> make_role(CommandContext& context, std::string password, Profile const& profile) {
  auto connection = co_await context.connect();
  for (auto& statement : role_sql(password, connection->server_version())) {
    value_or_throw(co_await connection->query(std::move(statement), Deadlines()), "making the role of the rehearsal");
  }
  auto const& script = profile.schema.objects;
  for (auto const& statement : planner::lint::split_script(script).statements) {
    auto sql = script.substr(statement.span.begin, statement.span.end - statement.span.begin);
    bool const is_schema = sql.starts_with("CREATE SCHEMA ");
    if (is_schema) sql += fmt::format(" AUTHORIZATION {}", kRole);
    // One that is not installed here is noted when the stand-in is built.
    if (is_schema || sql.starts_with("CREATE EXTENSION ")) co_await connection->query(std::move(sql), Deadlines());
  }
  co_return kExitDone;
}

}  // namespace

std::string make_sandbox_role(CommonOptions options, std::string const& conninfo, std::filesystem::path const& passfile,
                              Profile const& profile) {
  auto const password = password_in(passfile);
  options.dsn = conninfo;
  options.show_progress = false;
  CommandContext context(std::move(options));
  context.run_or_throw(make_role(context, password, profile));
  std::ofstream file(passfile, std::ios::app);
  file << fmt::format("*:*:*:{}:{}\n", kRole, password);
  file.close();
  if (!file) throw CommandError{kExitFailed, passfile.string() + ": cannot be written"};
  return conninfo + " user=" + kRole;
}

}  // namespace pgbackfill::engine
