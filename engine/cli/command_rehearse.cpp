// rehearse: a migration on a stand-in of production, and what that foretells.
//
// Servers are tied to the thread that starts them, so everything here is on the main thread.

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <thread>

#include "engine/base/command_error.h"
#include "engine/base/text.h"
#include "engine/cli/commands.h"
#include "engine/rehearse/profile_file.h"
#include "engine/rehearse/rehearsal.h"
#include "engine/rehearse/sandbox_role.h"
#include "engine/sandbox/local_cluster.h"
#include "engine/view/console.h"
#include "engine/view/rehearsal_view.h"
#include "engine/view/safe_output.h"

namespace pgbackfill::engine {

namespace {

constexpr std::uintmax_t kMostProfileBytes = 256 * 1024 * 1024;
constexpr int kMostSessions = 16;
// Of the memory of this machine, what a server of the rehearsal may have for its buffers.
constexpr std::int64_t kBuffersPart = 4;
constexpr std::int64_t kMegabyte = 1024 * 1024;
constexpr std::int64_t kMostWalMegabytes = 4096;

// Settings that a sandbox takes over as they are; the rest belongs to the machine.
constexpr std::array kTakenOver = {
    "checkpoint_timeout",
    "checkpoint_completion_target",
    "full_page_writes",
    "autovacuum_vacuum_scale_factor",
    "autovacuum_vacuum_threshold",
    "autovacuum_vacuum_cost_limit",
    "autovacuum_vacuum_cost_delay",
    "vacuum_cost_limit",
    "maintenance_work_mem",
    "work_mem",
    "jit",
    "commit_delay",
};

Profile read_profile(std::string const& path) {
  std::error_code error;
  auto const bytes = std::filesystem::file_size(path, error);
  std::ifstream file(path, std::ios::binary);
  if (error || !file) throw CommandError{kExitUsage, fmt::format("{}: cannot be read", neutralised(path))};
  if (bytes > kMostProfileBytes) {
    throw CommandError{kExitUsage, fmt::format("{}: {} bytes are more than a profile has", neutralised(path), bytes)};
  }
  std::string const text(std::istreambuf_iterator<char>(file), {});
  auto read = read_profile_text(text);
  if (auto const* wrong = std::get_if<std::string>(&read)) {
    throw CommandError{kExitUsage, fmt::format("{}: {}", neutralised(path), *wrong)};
  }
  return std::get<Profile>(std::move(read));
}

// "8GB" as current_setting() writes it.
std::int64_t megabytes_of(std::string const& setting) {
  char* unit = nullptr;
  auto const number = std::strtoll(setting.c_str(), &unit, 10);
  std::string_view const word(unit);
  if (word == "TB") return number * 1024 * 1024;
  if (word == "GB") return number * 1024;
  if (word == "kB") return number / 1024;
  return number;
}

std::vector<std::string> settings_of(Profile const& profile) {
  std::vector<std::string> lines;
  for (char const* name : kTakenOver) {
    auto const found = profile.settings.find(name);
    if (found != profile.settings.end()) lines.push_back(fmt::format("{} = '{}'", name, found->second));
  }
  // Methods other than PostgreSQL's own need not be in this build.
  auto const compression = profile.settings.find("wal_compression");
  if (compression != profile.settings.end()) {
    lines.push_back(fmt::format("wal_compression = {}", compression->second == "off" ? "off" : "on"));
  }
  auto const memory = static_cast<std::int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE) / kMegabyte;
  auto const capped = [&](char const* name, std::int64_t most) {
    auto const found = profile.settings.find(name);
    if (found == profile.settings.end()) return;
    lines.push_back(fmt::format("{} = '{}MB'", name, std::clamp<std::int64_t>(megabytes_of(found->second), 32, most)));
  };
  capped("shared_buffers", std::max<std::int64_t>(memory / kBuffersPart, 32));
  capped("max_wal_size", kMostWalMegabytes);
  lines.emplace_back("max_connections = 200");
  return lines;
}

// A quote would end the value of a line of postgresql.conf.
void refuse_strange_settings(std::string const& file, Profile const& profile) {
  for (auto const& [name, value] : profile.settings) {
    bool const is_plain = value.find_first_of("'\\\n\r") == std::string::npos;
    if (is_plain) continue;
    throw CommandError{
        kExitUsage, fmt::format("{}: the value of setting {} is no value of it", neutralised(file), neutralised(name))};
  }
}

std::filesystem::path sandbox_parent() {
  char const* const folder = std::getenv("TMPDIR");
  return folder != nullptr && *folder != '\0' ? folder : "/tmp";
}

void refuse_full_disk(RehearsalPlan const& plan, int replicas) {
  std::error_code error;
  auto const space = std::filesystem::space(sandbox_parent(), error);
  if (error) return;
  auto const needed = plan.bytes * (replicas + 1);
  if (static_cast<std::uintmax_t>(needed) <= space.available) return;
  throw CommandError{kExitFailed,
                     fmt::format("{} has {} left, and the rehearsal may take {}; nothing was built. Give fewer rows "
                                 "(--rows, --scale), or a TMPDIR on another disk",
                                 sandbox_parent().string(), human_bytes(static_cast<std::int64_t>(space.available)),
                                 human_bytes(needed))};
}

RehearsalReport on_sandbox(RehearsalPlan plan, RehearsalTerms const& terms, RehearseOptions const& options) {
  refuse_full_disk(plan, options.replicas);
  LocalClusterOptions cluster_options;
  cluster_options.name = "rehearsal";
  cluster_options.bin_dir = options.bin_dir;
  cluster_options.replicas = options.replicas;
  cluster_options.has_password = true;
  cluster_options.primary_settings = settings_of(plan.profile);
  try {
    LocalCluster cluster(cluster_options);
    cluster.start();
    auto const server = fmt::format("PostgreSQL {}, a sandbox of this machine", cluster.major_version());
    auto const conninfo = make_sandbox_role(terms.options, cluster.dsn(), cluster.passfile(), plan.profile);
    return rehearse(std::move(plan), terms, conninfo, server);
  } catch (std::runtime_error const& error) {
    throw CommandError{kExitFailed, fmt::format("the sandbox: {}", error.what())};
  }
}

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

int rehearsed(CommandContext& context, RehearseOptions const& options) {
  auto profile = read_profile(options.profile);
  refuse_strange_settings(options.profile, profile);
  auto const loaded = load_migration(context, options.file);
  RehearsalTerms terms;
  terms.file = options.file;
  terms.options = context.options();
  terms.scale = options.scale;
  terms.rows = options.rows;
  terms.with_traffic = options.with_traffic;
  terms.sessions = std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 2, kMostSessions);
  if (context.options().show_progress) {
    terms.tell = [](std::string const& text) { std::cerr << for_people(text) << std::endl; };
  }
  auto plan = plan_rehearsal(loaded, std::move(profile), terms, seconds_now());
  RehearsalReport report;
  if (options.on.empty()) {
    report = on_sandbox(std::move(plan), terms, options);
  } else {
    auto const conninfo = context.read_conninfo(options.on, "--on");
    report = rehearse(std::move(plan), terms, conninfo, describe_target(conninfo));
  }
  if (context.is_json()) {
    context.print(rehearsal_json(report));
  } else {
    context.print(rehearsal_text(report, standard_output().view));
  }
  if (!report.trouble.empty()) return kExitFailed;
  bool const is_broken = std::any_of(report.limits.begin(), report.limits.end(), [](RehearsedLimit const& limit) {
    return limit.verdict == LimitVerdict::kBroken;
  });
  return is_broken ? kExitGateClosed : kExitDone;
}

// On the engine's thread as all commands, which it holds meanwhile: every part of it has a loop of its own.
asio::awaitable<int> rehearse_command_of(CommandContext& context, RehearseOptions options) {
  co_return rehearsed(context, options);
}

}  // namespace

int rehearse_command(CommandContext& context, RehearseOptions const& options) {
  return context.run(rehearse_command_of(context, options));
}

}  // namespace pgbackfill::engine
