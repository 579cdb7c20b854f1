// doctor: what an operator would check by hand before a migration, each with what to do about it. Reads only.

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>

#include "engine/base/command_error.h"
#include "engine/base/secret_source.h"
#include "engine/base/text.h"
#include "engine/cli/commands.h"
#include "engine/cli/doctor.h"
#include "engine/pg/catalog.h"
#include "engine/process/listed_files.h"
#include "engine/view/console.h"
#include "planner/file/config_file.h"
#include "planner/model/sql_text.h"

namespace pgbackfill::engine {

namespace {

std::string_view word_of(Finding finding) {
  switch (finding) {
    case Finding::kPass:
      return "pass";
    case Finding::kWarn:
      return "warn";
    case Finding::kFail:
      return "fail";
    case Finding::kUnseen:
      return "unseen";
  }
  return "fail";
}

}  // namespace

std::string failure_text(Failure const& failure) {
  return fmt::format("could not be looked at: {} ({})", failure.message, failure.sqlstate);
}

void Doctor::add(std::string name, Finding finding, std::string text, std::string advice) {
  checks_.push_back({std::move(name), finding, neutralised(text), neutralised(advice)});
}

// What cannot be seen is a warning of its own, and the rest goes on.
asio::awaitable<std::optional<Rows>> Doctor::ask(std::string name, std::string statement) {
  auto rows = co_await query_read_only(*connection_, std::move(statement));
  if (rows) co_return std::move(*rows);
  add(std::move(name), Finding::kWarn, failure_text(rows.error()));
  co_return std::nullopt;
}

int Doctor::count(Finding finding) const {
  return static_cast<int>(
      std::count_if(checks_.begin(), checks_.end(), [&](Check const& check) { return check.finding == finding; }));
}

void Doctor::print() const {
  if (context_.is_json()) {
    boost::json::array array;
    for (auto const& check : checks_) {
      array.push_back({{"name", check.name},
                       {"result", word_of(check.finding)},
                       {"text", valid_utf8(check.text)},
                       {"advice", valid_utf8(check.advice)}});
    }
    return context_.print(boost::json::object{{"checks", std::move(array)}});
  }
  constexpr int kWordWidth = 8;
  constexpr int kNameWidth = 14;
  auto const view = standard_output().view;
  std::string text;
  for (auto const& check : checks_) {
    std::string_view const color = check.finding == Finding::kPass   ? kGood
                                   : check.finding == Finding::kFail ? kBad
                                                                     : kDoubtful;
    auto narrow = view;
    narrow.columns -= kWordWidth;
    auto const word = word_of(check.finding);
    std::string prefix = coloured(word, color, view) + std::string(kWordWidth - word.size(), ' ');
    for (auto const& line : labelled(check.name, kNameWidth, check.text, narrow)) {
      text += prefix + line + "\n";
      prefix = std::string(kWordWidth, ' ');
    }
    if (check.advice.empty()) continue;
    for (auto const& line : labelled("", kNameWidth, "-> " + check.advice, narrow)) text += prefix + line + "\n";
  }
  text += fmt::format("{} pass, {} warn, {} fail", count(Finding::kPass), count(Finding::kWarn), count(Finding::kFail));
  if (count(Finding::kUnseen) > 0) text += fmt::format(", {} cannot be seen from here", count(Finding::kUnseen));
  text += "\n";
  context_.print(text);
}

asio::awaitable<void> Doctor::connect() {
  CommandError refused;
  try {
    connection_ = co_await context_.connect_to_look();
    co_return;
  } catch (CommandError const& error) {
    refused = error;
  }
  if (refused.exit_code == kExitUsage) throw refused;
  ConnectTarget target = context_.target();
  // Other commands refuse a standby; here it is worth a look.
  target.accepts_standby = true;
  auto opened = co_await PgConnection::open(std::move(target), context_.blocking());
  if (opened) {
    connection_ = *opened;
  } else {
    add("connection", Finding::kFail, refused.text, "check address, server, firewall, pg_hba.conf and password");
  }
}

void Doctor::check_configuration(planner::Migration const* migration) {
  auto const* const config = context_.config();
  if (config == nullptr) return;
  std::vector<std::string> parts;
  if (!config->database_url_variable.empty()) {
    parts.push_back(fmt::format("database_url_variable: {}, from {}:{}", config->database_url_variable, config->file,
                                config->database_url_variable_position.line));
  }
  if (migration != nullptr) {
    auto const lines = planner::from_elsewhere(*migration);
    parts.insert(parts.end(), lines.begin(), lines.end());
  }
  add("configuration", Finding::kPass,
      parts.empty() ? config->file + " is read; nothing of it matters here" : planner::join(parts, "; "));
}

void Doctor::check_receivers(planner::Migration const& migration) {
  int receivers = 0;
  for (auto const& rule : migration.on) {
    for (auto const& delivery : rule.deliveries) {
      ++receivers;
      auto const missing = missing_of(delivery);
      if (missing.empty()) continue;
      auto const& place = delivery.position;
      add("receivers", Finding::kWarn,
          fmt::format("on {}: {} would not be told: {}", planner::name_of(rule.occasion), planner::to_text(delivery),
                      missing),
          fmt::format("set it where the migration runs; see {}:{}", place.file, place.line));
    }
  }
  bool const is_whole = receivers > 0 && std::none_of(checks_.begin(), checks_.end(),
                                                      [](Check const& check) { return check.name == "receivers"; });
  if (is_whole) add("receivers", Finding::kPass, fmt::format("{} to be told; their secrets are there", receivers));
}

asio::awaitable<int> Doctor::go(std::string file) {
  std::optional<LoadedMigration> loaded;
  if (!file.empty()) loaded = load_migration(context_, file);
  check_configuration(loaded ? &loaded->migration : nullptr);
  if (loaded) check_receivers(loaded->migration);
  co_await connect();
  if (!connection_) {
    print();
    co_return kExitGateClosed;
  }
  if (loaded) {
    co_await context_.adopt_settings_aloud(*connection_, loaded->migration.name);
    take_inputs(*loaded);
  }
  co_await check_server();
  co_await check_round_trip();
  co_await check_pooler();
  co_await check_role();
  co_await check_replicas();
  co_await check_slots();
  std::vector<planner::SchemaStep> steps;
  if (loaded) steps = loaded->migration.expand;
  if (loaded) steps.insert(steps.end(), loaded->migration.contract.begin(), loaded->migration.contract.end());
  co_await check_publications(std::move(steps));
  co_await check_archiver();
  co_await check_transactions();
  co_await check_prepared();
  co_await check_locks();
  co_await check_horizon();
  co_await check_wraparound();
  co_await check_connections();
  co_await check_settings();
  co_await check_checkpoints();
  co_await check_indexes();
  co_await check_jobs();
  if (loaded) co_await check_file(std::move(*loaded));
  print();
  co_return count(Finding::kFail) > 0 ? kExitGateClosed : kExitDone;
}

int doctor_command(CommandContext& context, DoctorOptions const& options) {
  Doctor doctor(context);
  return context.run(doctor.go(options.file));
}

}  // namespace pgbackfill::engine
