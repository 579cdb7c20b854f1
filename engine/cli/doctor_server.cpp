// The server, the way to it, and the role.

#include <fmt/format.h>

#include <algorithm>

#include "engine/cli/doctor.h"
#include "engine/state/state_store.h"
#include "engine/state/typed_rows.h"
#include "planner/model/sql_text.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;
using planner::quote_identifier;

constexpr int kOldestMajor = 13;
constexpr int kNewestMajor = 18;
constexpr int kRoundTrips = 5;
constexpr auto kSlowRoundTrip = 50ms;

struct ServerRow {
  std::string version;
  bool is_standby = false;
  std::string database;
  std::string read_only;  // default_transaction_read_only
};

struct RoleRow {
  std::string name;
  bool is_superuser = false;
  bool may_create_schema = false;
  bool has_schema = false;
  bool may_use_schema = false;
  bool reads_all_stats = false;
  std::string database;
};

}  // namespace

asio::awaitable<void> Doctor::check_server() {
  auto const rows = co_await ask("server",
                                 "SELECT current_setting('server_version'), pg_is_in_recovery(), current_database(), "
                                 "current_setting('default_transaction_read_only')");
  if (!rows) co_return;
  auto const server = state::row_as<ServerRow>(rows->rows.at(0));
  std::string const& version = server.version;
  if (major() < kOldestMajor) {
    add("server", Finding::kFail, fmt::format("PostgreSQL {} is older than {}", version, kOldestMajor),
        "upgrade the server first: pgbackfill needs features of 13");
  } else if (major() > kNewestMajor) {
    add("server", Finding::kWarn, fmt::format("PostgreSQL {} is newer than what is tested ({})", version, kNewestMajor),
        "look for a newer pgbackfill, or try it on a copy first");
  } else {
    add("server", Finding::kPass, fmt::format("PostgreSQL {}, database {}", version, server.database));
  }
  if (server.is_standby) {
    add("writable", Finding::kFail, "this server is a standby: it accepts no changes",
        "give the primary's address, or those of all servers: the primary is found among them");
  } else if (server.read_only == "on") {
    add("writable", Finding::kWarn, "default_transaction_read_only is on for this role or database",
        "ALTER ROLE or ALTER DATABASE ... SET default_transaction_read_only = off");
  } else {
    add("writable", Finding::kPass, "it is a primary");
  }
}

asio::awaitable<void> Doctor::check_round_trip() {
  auto fastest = std::chrono::steady_clock::duration::max();
  for (int trip = 0; trip < kRoundTrips; ++trip) {
    auto const began = std::chrono::steady_clock::now();
    auto const answer = co_await connection_->query("SELECT 1", Deadlines());
    if (!answer) co_return add("connection", Finding::kFail, failure_text(answer.error()));
    fastest = std::min(fastest, std::chrono::steady_clock::now() - began);
  }
  double const taken = std::chrono::duration<double, std::milli>(fastest).count();
  bool const is_slow = fastest > kSlowRoundTrip;
  add("connection", is_slow ? Finding::kWarn : Finding::kPass,
      fmt::format("{}: {:.2f} ms a round trip", describe_target(context_.target().conninfo), taken),
      is_slow ? "each batch takes one round trip more than its work: run pgbackfill nearer to the server" : "");
}

// Poolers hand out session numbers of their own, for cancel requests to find them; the server knows the real one.
asio::awaitable<void> Doctor::check_pooler() {
  auto const rows = co_await ask("pooler", "SELECT pg_backend_pid()");
  if (!rows) co_return;
  if (state::value_as<int>(*rows) == connection_->backend_pid()) {
    co_return add("pooler", Finding::kPass, "none is seen: sessions are the server's own");
  }
  add("pooler", Finding::kPass,
      "a pooler such as PgBouncer is in front (sessions have other numbers than on the server). Batches are safe "
      "behind it, in transaction mode too; pause and cancel are found by polling",
      "a direct connection gives faster cancels, and spares the application's share of the pool");
}

asio::awaitable<void> Doctor::check_role() {
  auto const rows =
      co_await ask("role",
                   "SELECT current_user, (SELECT rolsuper FROM pg_roles WHERE rolname = current_user), "
                   "has_database_privilege(current_database(), 'CREATE'), to_regnamespace('pgbackfill') IS NOT NULL, "
                   "coalesce(has_schema_privilege(to_regnamespace('pgbackfill'), 'USAGE'), false), "
                   "pg_has_role('pg_read_all_stats', 'USAGE'), current_database()");
  if (!rows) co_return;
  auto const role = state::row_as<RoleRow>(rows->rows.at(0));
  role_ = role.name;
  std::string const who = fmt::format("role {}{}", role_, role.is_superuser ? ", a superuser," : "");
  if (role.has_schema) {
    auto const rights = co_await ask("state", state::has_state_rights());
    bool const may_write =
        rights && role.may_use_schema && state::value_as<std::optional<bool>>(*rights).value_or(true);
    add("state", may_write ? Finding::kPass : Finding::kFail,
        fmt::format("schema pgbackfill is there, and {} may {}work in it", who, may_write ? "" : "not "),
        may_write ? "" : fmt::format("`{}`", state::grants_to(quote_identifier(role_))));
    auto const strange = co_await ask("owner", state::strange_state(context_.options().trusted_owners));
    auto const found = strange ? state::first_as<state::StrangeObject>(*strange) : std::nullopt;
    if (found) {
      add("owner", Finding::kFail,
          fmt::format("{}: {} could run code of its choice with the rights of whoever uses pgbackfill", found->sentence,
                      found->remedy.empty() ? "it" : "whoever has it"),
          fmt::format("{}other commands refuse it, unless `--trust-owner ROLE` names the role",
                      found->remedy.empty() ? "" : "`" + found->remedy + "`; "));
    }
  } else {
    bool const may_create = role.may_create_schema;
    add("state", may_create ? Finding::kPass : Finding::kFail,
        fmt::format("schema pgbackfill is not there yet, and {} may {}create it", who, may_create ? "" : "not "),
        may_create ? ""
                   : fmt::format("let an owner run `pgbackfill init`, or `GRANT CREATE ON DATABASE {} TO {}`",
                                 quote_identifier(role.database), quote_identifier(role_)));
  }
  sees_all_ = role.reads_all_stats || role.is_superuser;
  add("sight", sees_all_ ? Finding::kPass : Finding::kWarn,
      sees_all_ ? "the role sees other roles' sessions, and the replicas"
                : fmt::format("role {} sees neither other roles' transactions and queries nor how far the replicas "
                              "are; checks below that need them say so",
                              role_),
      sees_all_ ? "" : "`GRANT pg_monitor TO " + quote_identifier(role_) + "`");
}

}  // namespace pgbackfill::engine
