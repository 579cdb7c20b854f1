#include "engine/cli/cli.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <functional>
#include <iostream>
#include <limits>
#include <map>
#include <sstream>

#include "engine/base/command_error.h"
#include "engine/base/secret_mask.h"
#include "engine/base/text.h"
#include "engine/cli/command_serve.h"
#include "engine/cli/commands.h"
#include "engine/cli/help_text.h"
#include "engine/cli/option_variables.h"
#include "engine/cli/usage_error.h"
#include "engine/cli/version.h"
#include "engine/view/safe_output.h"
#include "planner/file/throttle_settings.h"
#include "planner/lint/lint.h"
#include "planner/model/duration.h"

namespace pgbackfill::engine {

namespace {

using std::chrono::milliseconds;

constexpr int kHelpColumns = 80;
constexpr char kFooter[] = R"(
A first migration:
  pgbackfill sandbox --rows 1000000      a throwaway server (another terminal)
  pgbackfill plan users.yaml             what it would do; changes nothing
  pgbackfill run users.yaml              do it; ^C pauses, the same goes on
  pgbackfill status users_display_name   from any host, while it runs
  pgbackfill gate users_display_name     exit 0 only when measured complete

Where to connect: --dsn, else PGBACKFILL_DATABASE_URL, else DATABASE_URL, else
libpq's own environment (PGHOST, PGSERVICE, ~/.pgpass). URLs of SQLAlchemy,
Prisma, JDBC and others are understood.

An option wins over its variable in the environment, [PGBACKFILL_...].

Exit codes:
  0  done
  1  failed
  2  wrong usage, or something is wrong with the file
  3  the gate is closed, a check did not hold, or --yes is missing
  4  stopped early; the same command goes on
  5  paused or cancelled by somebody; `pgbackfill resume` first)";

// "30s" on the command line.
milliseconds duration_of(std::string const& name, std::string const& value, milliseconds min = milliseconds{0},
                         milliseconds max = planner::kMaxDuration) {
  auto const duration = planner::parse_duration(value);
  if (!duration) throw CLI::ValidationError(name, "'" + value + "' is no duration with a unit, such as 30s or 500ms");
  if (*duration < min || *duration > max) {
    throw CLI::ValidationError(
        name, "'" + value + "' is not from " + planner::format_duration(min) + " to " + planner::format_duration(max));
  }
  return *duration;
}

void add_duration(CLI::App* command, std::string const& name, milliseconds& target, std::string const& text,
                  milliseconds min = milliseconds{0}, milliseconds max = planner::kMaxDuration) {
  command
      ->add_option_function<std::string>(
          name, [&target, name, min, max](std::string const& value) { target = duration_of(name, value, min, max); },
          text)
      ->type_name("DURATION")
      ->default_str(planner::format_duration(target));
}

constexpr char kRiskWords[] = "low|medium|high|destructive";
std::map<std::string, planner::Risk> risks() {
  using planner::Risk;
  return {{"low", Risk::kLow}, {"medium", Risk::kMedium}, {"high", Risk::kHigh}, {"destructive", Risk::kDestructive}};
}

struct Cli {
  CommonOptions common;
  InitOptions init;
  PlanOptions plan;
  RunOptions run;
  FinishOptions finish;
  StampOptions stamp;
  ApproveOptions approve;
  GateOptions gate;
  VerifyOptions verify;
  StatusOptions status;
  ReportOptions report;
  ExporterOptions exporter;
  ServeOptions serve;
  LocksOptions locks;
  LogOptions log;
  ControlOptions control;
  SetOptions set;
  DoctorOptions doctor;
  LintCommandOptions lint;
  ProfileOptions profile;
  RehearseOptions rehearse;
  SandboxOptions sandbox;
  std::string config_file;
  std::string explained;  // by `help`
  std::function<int(CommandContext&)> chosen;
};

CLI::App* add_command(CLI::App& app, Cli& cli, std::string const& name, std::string const& text,
                      std::function<int(CommandContext&)> run) {
  CLI::App* const command = app.add_subcommand(name, text);
  command->fallthrough();
  // Only what was chosen reads the environment.
  command->preparse_callback([command](std::size_t) { add_variables(*command); });
  command->callback([&cli, run = std::move(run)] { cli.chosen = run; });
  return command;
}

void add_common(CLI::App& app, CommonOptions& common, std::string& config_file) {
  static std::map<std::string, OutputFormat> const formats = {{"text", OutputFormat::kText},
                                                              {"json", OutputFormat::kJson}};
  static std::map<std::string, LogFormat> const log_formats = {{"text", LogFormat::kText}, {"json", LogFormat::kJson}};
  static std::map<std::string, Severity> const levels = {{"debug", Severity::kDebug},
                                                         {"info", Severity::kInfo},
                                                         {"warning", Severity::kWarning},
                                                         {"error", Severity::kError}};
  app.add_option("--dsn", common.dsn, "Connection string or URL of the database\n[PGBACKFILL_DATABASE_URL]")
      ->type_name("CONNINFO");
  app.add_option("--config", config_file, "What migrations have in common, else\npgbackfill.yaml beside them")
      ->type_name("FILE");
  app.add_option("--trust-owner", common.trusted_owners, "Accept a state schema of this role")->type_name("ROLE");
  app.add_option("--format", common.format, "Results as text or json")
      ->transform(word_of(formats))
      ->type_name("text|json");
  app.add_option("--log-format", common.log_format, "Log lines as text or json")
      ->transform(word_of(log_formats))
      ->type_name("text|json");
  app.add_option("--log-level", common.log_level, "Least severe line to log")
      ->transform(word_of(levels))
      ->type_name("debug|info|warning|error");
  app.add_flag_callback(
      "--no-progress", [&common] { common.show_progress = false; }, "Plain lines instead of the live block");
}

CLI::Option* add_listen_address(CLI::App* command, std::function<void(ListenAddress)> take, std::string const& text) {
  return command
      ->add_option_function<std::string>(
          "--listen",
          [take = std::move(take)](std::string const& value) {
            auto parsed = parse_listen_address(value);
            if (auto const* problem = std::get_if<std::string>(&parsed)) {
              throw CLI::ValidationError("--listen", *problem);
            }
            take(std::get<ListenAddress>(std::move(parsed)));
          },
          text)
      ->type_name("[HOST:]PORT");
}

void add_listen(CLI::App* run, RunOptions& options) {
  add_listen_address(
      run, [&options](ListenAddress address) { options.listen = std::move(address); },
      "Serve pages, /metrics, /healthz, /readyz there");
  add_duration(run, "--final-scrape", options.final_scrape, "Wait at the end for a scrape");
  run->get_option("--final-scrape")->needs(run->get_option("--listen"));
  run->add_option("--record-readings", options.record_readings, "Write what the throttle sees there")
      ->type_name("FILE");
}

void add_skip_hooks(CLI::App* command, bool& skip_hooks) {
  command->add_flag("--skip-hooks", skip_hooks, "Leave out the hooks and the backup of the file");
}

void add_subscribers_ready(CLI::App* command, bool& is_ready) {
  command->add_flag("--subscribers-ready", is_ready, "Subscribers already have what is new");
}

void add_lock_options(CLI::App* command, LockOptions& locks) {
  add_duration(command, "--lock-patience", locks.patience, "How long a step tries to get its locks");
  command->add_option("--terminate-blocker", locks.terminate_pids, "End this session if it blocks a step; repeatable")
      ->type_name("PID")
      ->check(whole_number(1, std::numeric_limits<int>::max()));
  add_duration(command, "--terminate-idle-in-transaction", locks.terminate_idle,
               "End a blocking session idle for this long");
  command->add_option("--standby", locks.standbys, "A hot standby to wait for; repeatable")->type_name("CONNINFO");
}

// Of commands that take a file, or the name of a job.
void add_params(CLI::App* command, CommonOptions& common) {
  command
      ->add_option_function<std::vector<std::string>>(
          "--param",
          [&common](std::vector<std::string> const& arguments) {
            for (auto const& argument : arguments) {
              auto param = planner::param_of_argument(argument);
              if (!param) {
                throw CLI::ValidationError("--param", "'" + argument + "' is not name=value, such as from=1");
              }
              common.params.push_back(std::move(*param));
            }
          },
          "A value of the file's params; repeatable")
      ->type_name("NAME=VALUE")
      ->allow_extra_args(false);
}

// Of commands that read what they are about from a file.
void add_only_keys(CLI::App* command, CommonOptions& common) {
  command->add_option("--only-keys", common.only_keys, "Only rows with these keys; a job of its own")
      ->type_name("FILE");
}

void add_no_exec(CLI::App* command, CommonOptions& common) {
  command->add_flag("--no-exec", common.no_exec, "Start no program; checks that need one fail");
}

void add_run_commands(CLI::App& app, Cli& cli) {
  auto* init = add_command(app, cli, "init", "Make or upgrade schema pgbackfill",
                           [&cli](CommandContext& context) { return init_command(context, cli.init); });
  add_subscribers_ready(init, cli.init.subscribers_ready);
  auto* plan = add_command(app, cli, "plan", "Show what a run would do; reads only",
                           [&cli](CommandContext& context) { return plan_command(context, cli.plan); });
  plan->add_option("FILE", cli.plan.file, "Migration file, or a folder of them\n(else the folder of pgbackfill.yaml)");
  static std::map<std::string, PlanFormat> const plan_formats = {
      {"text", PlanFormat::kText}, {"json", PlanFormat::kJson}, {"markdown", PlanFormat::kMarkdown}};
  plan->add_option("--format", cli.plan.format, "As text, json, or markdown for a pull request")
      ->transform(word_of(plan_formats))
      ->type_name("text|json|markdown");
  add_params(plan, cli.common);
  add_only_keys(plan, cli.common);
  plan->add_flag("--sample", cli.plan.sample, "Run one batch and roll it back, to measure it");
  plan->add_option("--fail-on", cli.plan.fail_on, "Exit 3 when an open part is this bad or worse")
      ->transform(word_of(risks()))
      ->type_name(kRiskWords);
  auto* run = add_command(app, cli, "run", "Run a migration up to its gate; safe to repeat",
                          [&cli](CommandContext& context) { return run_command(context, cli.run); });
  run->add_option("FILE", cli.run.file,
                  "Migration file, or a folder: each up to its gate\n(else the folder of pgbackfill.yaml)");
  add_params(run, cli.common);
  add_only_keys(run, cli.common);
  run->add_option("--workers", cli.run.workers, "Workers of a new job (later: pgbackfill set)")
      ->check(whole_number(1, planner::kMaxWorkers));
  run->add_flag("--dry-run", cli.run.is_dry_run, "Try the first rows, show them, roll back");
  run->add_option("--limit", cli.run.limit, "Change so many rows, then stop with exit code 4")
      ->check(whole_number(1, 1'000'000'000'000))
      ->type_name("ROWS");
  run->add_flag("--exit-outside-window", cli.run.exit_outside_window, "Exit 4 when the window closes; do not wait");
  run->add_flag("--accept-drift", cli.run.accept_drift, "Accept changes that others made to the table");
  add_duration(run, "--lease", cli.run.lease_time, "How long a silent process keeps its ranges", milliseconds{0},
               state::kLongestLease);
  add_duration(run, "--wait-for-rows", cli.run.deferred_patience, "How long to wait at the end for held rows");
  add_duration(run, "--wait-for-server", cli.run.reconnect_patience, "How long to try to reach a lost server");
  add_duration(run, "--poll", cli.run.poll_interval, "How often to poll for changes behind a pooler", milliseconds{100},
               milliseconds{60'000});
  add_subscribers_ready(run, cli.run.subscribers_ready);
  add_listen(run, cli.run);
  add_lock_options(run, cli.run.locks);
  add_skip_hooks(run, cli.run.skip_hooks);
  auto* complete = add_command(app, cli, "complete", "Run the contract steps, behind the gate",
                               [&cli](CommandContext& context) { return complete_command(context, cli.finish); });
  auto* rollback = add_command(app, cli, "rollback", "Undo the expand steps, until complete",
                               [&cli](CommandContext& context) { return rollback_command(context, cli.finish); });
  for (auto* command : {complete, rollback}) {
    command->add_option("NAME", cli.finish.file_or_name, "Name or file of the migration")->required();
    add_params(command, cli.common);
    add_lock_options(command, cli.finish.locks);
    add_skip_hooks(command, cli.finish.skip_hooks);
  }
  add_subscribers_ready(complete, cli.finish.subscribers_ready);
  complete->add_flag("--yes", cli.finish.yes, "Agree to destructive steps, without an approval");
  rollback->add_flag("--dry-run", cli.finish.is_dry_run, "Show what it would do; nothing is run");
  rollback->add_option("--to", cli.finish.to, "Keep this migration and all before it")->type_name("NAME");
  rollback->add_flag("--yes", cli.finish.yes, "Really do it; else nothing is run, exit 3");
  auto* stamp = add_command(app, cli, "stamp", "Record what was done by hand, if it holds",
                            [&cli](CommandContext& context) { return stamp_command(context, cli.stamp); });
  stamp->add_option("FILE", cli.stamp.file, "Migration file")->required();
  stamp->add_option("--phase", cli.stamp.phase, "How far: backfilled (up to the gate) or complete")
      ->required()
      ->check(word_of(std::vector<std::string>{"backfilled", "complete"}))
      ->type_name("backfilled|complete");
  add_params(stamp, cli.common);
  add_subscribers_ready(stamp, cli.stamp.subscribers_ready);
  stamp->add_flag("--yes", cli.stamp.yes, "Record it (without --yes: check only, exit 3)");
  auto* approve = add_command(app, cli, "approve", "Agree to what complete will destroy",
                              [&cli](CommandContext& context) { return approve_command(context, cli.approve); });
  approve->add_option("NAME", cli.approve.file_or_name, "Name or file of the migration")->required();
  add_params(approve, cli.common);
  approve->add_option("--reason", cli.approve.reason, "Kept with it and shown by status");
  auto* gate = add_command(app, cli, "gate", "Exit 0 only if measured complete, else 3",
                           [&cli](CommandContext& context) { return gate_command(context, cli.gate); });
  gate->add_option("NAME", cli.gate.file_or_name, "Name or file of the migration")->required();
  add_params(gate, cli.common);
  add_only_keys(gate, cli.common);
  add_duration(gate, "--wait", cli.gate.wait, "How long to wait for it to open");
  add_no_exec(gate, cli.common);
  auto* verify = add_command(app, cli, "verify", "Run the checks of a migration; exit 0 or 3",
                             [&cli](CommandContext& context) { return verify_command(context, cli.verify); });
  verify->add_option("NAME", cli.verify.file_or_name, "Name or file of the migration")->required();
  add_params(verify, cli.common);
  verify->add_option("--replica", cli.verify.replica, "Run the checks on a standby, once it has caught up")
      ->type_name("CONNINFO");
  verify->add_flag("--repair", cli.verify.repair, "Fix rows that differ, then verify again");
  verify->add_flag("--restart", cli.verify.restart, "Compare from the first row once more");
  add_no_exec(verify, cli.common);
  add_duration(verify, "--wait-for-server", cli.verify.reconnect_patience, "How long to try to reach a lost server");
}

void add_report(CLI::App& app, Cli& cli) {
  static std::map<std::string, ReportFormat> const formats = {{"text", ReportFormat::kText},
                                                              {"json", ReportFormat::kJson},
                                                              {"markdown", ReportFormat::kMarkdown},
                                                              {"html", ReportFormat::kHtml}};
  auto* report = add_command(app, cli, "report", "How a migration went, as one file",
                             [&cli](CommandContext& context) { return report_command(context, cli.report); });
  report->add_option("NAME", cli.report.file_or_name, "Name or file of the migration")->required();
  add_params(report, cli.common);
  report->add_option("--replay", cli.report.replay, "What --record-readings kept: seen and decided")->type_name("FILE");
  report->add_option("--output", cli.report.output, "Where to write it (-: standard output)")->type_name("FILE");
  report->add_option("--format", cli.report.format, "Else by the ending of FILE: .html .md .json .txt")
      ->transform(word_of(formats))
      ->type_name("text|json|markdown|html");
}

void add_serve(CLI::App& app, Cli& cli) {
  auto& options = cli.serve;
  auto* serve = add_command(app, cli, "serve", "Pages of all migrations, to watch and to steer",
                            [&cli](CommandContext& context) { return serve_command(context, cli.serve); });
  serve->add_option("--dsn", options.dsns, "A database; repeatable (else the usual one)")
      ->type_name("CONNINFO")
      ->allow_extra_args(false);
  add_listen_address(
      serve, [&options](ListenAddress address) { options.listen = std::move(address); }, "Where viewers connect")
      ->default_str(to_string(options.listen));
  serve->add_option("--host", options.hosts, "A name that viewers know it by; repeatable")
      ->type_name("NAME")
      ->allow_extra_args(false);
  serve->add_flag("--allow-control", options.allow_control, "Let viewers who are known pause, cancel, approve...");
  serve->add_flag("--private", options.is_private, "Show nothing to viewers who are not known");
  serve->add_option("--token-file", options.token_file, "Lines NAME TOKEN: who is known")->type_name("FILE");
  serve->add_option("--tls-cert", options.tls.certificate, "Serve by TLS, with this certificate")->type_name("FILE");
  serve->add_option("--tls-key", options.tls.key, "The key of the certificate")->type_name("FILE");
  serve->add_option("--tls-client-ca", options.tls.client_ca, "Who has a certificate of this CA is known")
      ->type_name("FILE");
  serve->add_flag("--behind-tls-proxy", options.is_behind_tls_proxy, "TLS ends at a proxy before it");
  serve->add_flag("--show-values", options.show_values, "Show keys and errors of rows that are set aside");
  serve->footer(
      "\nIt reads the state tables, at most once a second however many look, and works\n"
      "on no job. Its role needs USAGE on schema pgbackfill and SELECT on its tables;\n"
      "to steer, what the commands need. `run --listen` has the same pages, read-only.\n"
      "The API is described at /api/v1/openapi.json. ^C ends it.");
}

void add_watching_commands(CLI::App& app, Cli& cli) {
  auto* status = add_command(app, cli, "status", "Where a migration is, or all of them",
                             [&cli](CommandContext& context) { return status_command(context, cli.status); });
  status->add_option("NAME", cli.status.file_or_name, "Name or file of the migration, or a folder");
  add_params(status, cli.common);
  status->add_flag("--watch", cli.status.watch, "Show it again and again until it ends");
  add_duration(status, "--interval", cli.status.interval, "Between two looks with --watch");
  auto* locks = add_command(app, cli, "locks", "Who holds or waits for locks on its tables",
                            [&cli](CommandContext& context) { return locks_command(context, cli.locks); });
  auto* name = locks->add_option("NAME", cli.locks.file_or_name, "Name or file of the migration");
  add_params(locks, cli.common);
  auto* release = locks->add_option("--release", cli.locks.release, "Cancel what this session of the server does")
                      ->type_name("PID")
                      ->check(whole_number(1, std::numeric_limits<int>::max()))
                      ->needs(name);
  locks->add_flag("--terminate", cli.locks.terminate, "End the session instead")->needs(release);
  auto* leases = locks->add_option("--release-leases", cli.locks.release_leases, "Free the ranges of this process")
                     ->type_name("PROCESS")
                     ->needs(name)
                     ->excludes(release);
  locks->add_flag("--yes", cli.locks.yes, "Even if the process lives")->needs(leases);
  locks->footer(
      "\nWithout options it only looks. --release takes a pid of its list, and never a\n"
      "vacuum that prevents wraparound; pgbackfill's own sessions end by `cancel`.\n"
      "A process whose ranges are freed cannot commit to them any more.");
  auto* exporter = add_command(app, cli, "exporter", "Serve metrics of all jobs; reads only",
                               [&cli](CommandContext& context) { return exporter_command(context, cli.exporter); });
  add_listen_address(
      exporter, [&cli](ListenAddress address) { cli.exporter.listen = std::move(address); },
      "Serve /metrics, /healthz, /readyz there")
      ->required();
  add_duration(exporter, "--interval", cli.exporter.interval, "Between two looks at the state", milliseconds{1'000},
               milliseconds{3'600'000});
  exporter->footer(
      "\nIt reads the state tables at its own pace and works on no job, so that one\n"
      "process shows all jobs of a database while no run is alive. Its role needs\n"
      "USAGE on schema pgbackfill and SELECT on its tables. ^C ends it.");
  add_serve(app, cli);
  add_command(app, cli, "history", "What was done, when, by whom", history_command);
  add_report(app, cli);
  auto* log = add_command(app, cli, "log", "The events of a migration, oldest first",
                          [&cli](CommandContext& context) { return log_command(context, cli.log); });
  log->add_option("NAME", cli.log.file_or_name, "Name or file of the migration")->required();
  add_params(log, cli.common);
  log->add_option("--limit", cli.log.limit, "The latest events only")
      ->capture_default_str()
      ->check(whole_number(1, std::numeric_limits<int>::max()));
}

std::string keys_of_set() {
  std::string keys = "workers, batch.target";
  for (auto const& rule : planner::throttle_settings()) keys += ", throttle." + std::string(rule.name);
  std::string text = "\nKeys:\n";
  for (auto const& line : folded(keys, kHelpColumns - 2)) text += "  " + line + "\n";
  return text +
         "\n`pgbackfill set NAME` alone shows their values, units and meanings;\n"
         "KEY=default removes an earlier `set`.";
}

void add_control_commands(CLI::App& app, Cli& cli) {
  auto* pause = add_command(app, cli, "pause", "Let batches in flight end, then wait",
                            [&cli](CommandContext& context) { return pause_command(context, cli.control); });
  auto* resume = add_command(app, cli, "resume", "Go on after pause, cancel or a failure",
                             [&cli](CommandContext& context) { return resume_command(context, cli.control); });
  auto* cancel = add_command(app, cli, "cancel", "End all processes that work on it",
                             [&cli](CommandContext& context) { return cancel_command(context, cli.control); });
  for (auto* command : {pause, resume, cancel}) {
    command->add_option("NAME", cli.control.file_or_name, "Name or file of the migration")->required();
    add_params(command, cli.common);
    command->add_option("--reason", cli.control.reason, "Kept in the log and shown by status");
  }
  pause
      ->add_option_function<std::string>(
          "--for",
          [&cli](std::string const& value) {
            cli.control.pause_for = duration_of("--for", value, milliseconds{1'000});
          },
          "Go on by itself after this time")
      ->type_name("DURATION");
  resume->add_flag("--retry-quarantine", cli.control.retry_quarantine, "Try rows that were set aside again");
  auto* set = add_command(app, cli, "set", "Change a running job, or list its settings",
                          [&cli](CommandContext& context) { return set_command(context, cli.set); });
  set->add_option("NAME", cli.set.file_or_name, "Name or file of the migration")->required();
  add_params(set, cli.common);
  set->add_option("KEY=VALUE", cli.set.assignments, "What to change; none: list all");
  set->footer(keys_of_set());
}

void add_lint(CLI::App& app, Cli& cli) {
  static std::map<std::string, LintFormat> const formats = {{"text", LintFormat::kText},
                                                            {"json", LintFormat::kJson},
                                                            {"sarif", LintFormat::kSarif},
                                                            {"markdown", LintFormat::kMarkdown}};
  auto* lint = add_command(app, cli, "lint", "Find dangerous SQL in files; no server",
                           [&cli](CommandContext& context) { return lint_command(context, cli.lint); });
  lint->add_option("PATH", cli.lint.paths,
                   "Migration files, .sql files, folders; in order\n(-: SQL from standard input)")
      ->required();
  lint->add_option("--pg", cli.lint.pg_major, "Major version that the SQL will run on")
      ->capture_default_str()
      ->check(whole_number(planner::lint::kMinPgMajor, planner::lint::kMaxPgMajor))
      ->type_name("13..18");
  lint->add_option("--fail-on", cli.lint.fail_on, "Exit 3 when something is this bad or worse")
      ->transform(word_of(risks()))
      ->default_str("high")
      ->type_name(kRiskWords);
  lint->add_option("--format", cli.lint.format, "Report as text, json, sarif, markdown")
      ->transform(word_of(formats))
      ->type_name("text|json|sarif|markdown");
  lint->add_option("--schema", cli.lint.schemas, "What is there already, as pg_dump -s writes it")->type_name("FILE");
  lint->add_flag("--in-transaction", cli.lint.is_in_transaction, "Each .sql file is run in one transaction");
}

void add_profile(CLI::App& app, Cli& cli) {
  static std::map<std::string, KeptValues> const kept = {{"none", KeptValues::kNone},
                                                         {"statistics", KeptValues::kStatistics}};
  auto* profile = add_command(app, cli, "profile", "What a rehearsal needs of production; reads only",
                              [&cli](CommandContext& context) { return profile_command(context, cli.profile); });
  profile->add_option("FILE", cli.profile.file, "Migration file")->required();
  add_params(profile, cli.common);
  profile->add_option("--output", cli.profile.output, "Where to write it (-: standard output)")->type_name("FILE");
  profile->add_option("--values", cli.profile.values, "Keep no value of a row, or those of statistics")
      ->transform(word_of(kept))
      ->default_str("none")
      ->type_name("none|statistics");
  profile->add_flag("--sample", cli.profile.with_sample, "Run one batch and roll it back, to measure it");
}

void add_rehearse(CLI::App& app, Cli& cli) {
  auto& options = cli.rehearse;
  auto* rehearse = add_command(app, cli, "rehearse", "Run it on a stand-in, and say what to expect",
                               [&cli](CommandContext& context) { return rehearse_command(context, cli.rehearse); });
  rehearse->add_option("FILE", options.file, "Migration file")->required();
  add_params(rehearse, cli.common);
  rehearse->add_option("--profile", options.profile, "What `pgbackfill profile` wrote in production")
      ->required()
      ->type_name("FILE");
  auto* scale = rehearse->add_option("--scale", options.scale, "So much of production's rows, such as 0.05")
                    ->check(CLI::Range(1e-9, 1e3))
                    ->type_name("SHARE");
  rehearse->add_option("--rows", options.rows, "So many rows of the table that is worked")
      ->check(whole_number(1, 1'000'000'000'000))
      ->type_name("ROWS")
      ->excludes(scale);
  rehearse
      ->add_option_function<std::string>(
          "--traffic", [&options](std::string const& word) { options.with_traffic = word == "auto"; },
          "Traffic beside it, by the profile")
      ->check(word_of(std::vector<std::string>{"auto", "none"}))
      ->default_str("none")
      ->type_name("auto|none");
  auto* on = rehearse->add_option("--on", options.on, "An empty database instead of a sandbox")->type_name("CONNINFO");
  rehearse->add_option("--replicas", options.replicas, "Streaming replicas of the sandbox")
      ->check(whole_number(0, 4))
      ->excludes(on);
  rehearse->add_option("--pg-bin", options.bin_dir, "Where postgres and initdb are [PGBACKFILL_PG_BIN]")->excludes(on);
}

void add_server_commands(CLI::App& app, Cli& cli) {
  auto* doctor = add_command(app, cli, "doctor", "Check server, role and table beforehand",
                             [&cli](CommandContext& context) { return doctor_command(context, cli.doctor); });
  doctor->add_option("FILE", cli.doctor.file, "Migration file, to check its table as well");
  add_params(doctor, cli.common);
  auto* sandbox = add_command(app, cli, "sandbox", "A throwaway PostgreSQL with a replica",
                              [&cli](CommandContext& context) { return sandbox_command(context, cli.sandbox); });
  sandbox->add_option("--replicas", cli.sandbox.replicas, "Streaming replicas")->check(whole_number(0, 4));
  sandbox->add_option("--rows", cli.sandbox.rows, "Rows for a table public.users")
      ->check(whole_number(0, 1'000'000'000));
  sandbox->add_option("--pg-bin", cli.sandbox.bin_dir, "Where postgres and initdb are [PGBACKFILL_PG_BIN]");
  sandbox->add_option("COMMAND", cli.sandbox.command, "Run with DATABASE_URL set (write it after --)");
}

void add_explaining_commands(CLI::App& app, Cli& cli) {
  auto* help = add_command(app, cli, "help", "This text, or that of a command", [&app, &cli](CommandContext&) {
    auto const named = app.get_subcommands([&cli](CLI::App* each) { return each->get_name() == cli.explained; });
    if (named.empty() && !cli.explained.empty()) {
      throw CommandError{kExitUsage, unknown_command(app, cli.explained)};
    }
    auto* const command = named.empty() ? &app : named.front();
    add_variables(*command);
    std::cout << help_of(*command) << std::flush;
    return kExitDone;
  });
  help->add_option("COMMAND", cli.explained, "A command of pgbackfill");
  add_command(app, cli, "version", "The version of this program", [&app](CommandContext&) {
    std::cout << app.version() << std::endl;
    return kExitDone;
  });
}

// What the command is about, if it is a file or a folder; one is given at most.
std::string file_given(Cli const& cli) {
  for (auto const* given :
       {&cli.run.file, &cli.plan.file, &cli.finish.file_or_name, &cli.stamp.file, &cli.approve.file_or_name,
        &cli.gate.file_or_name, &cli.verify.file_or_name, &cli.status.file_or_name, &cli.locks.file_or_name,
        &cli.log.file_or_name, &cli.report.file_or_name, &cli.control.file_or_name, &cli.set.file_or_name,
        &cli.doctor.file, &cli.profile.file, &cli.rehearse.file}) {
    if (!given->empty()) return *given;
  }
  return "";
}

// Everybody on this host can read the command line of a process. Options are copies of it.
void hide_passwords(int argc, char** argv) {
  for (int number = 1; number < argc; ++number) {
    std::string const argument = argv[number];
    std::string hidden = masked(argument, {});
    if (hidden == argument) continue;
    hidden.resize(argument.size(), '\0');  // a mask may be longer than what it hides
    std::copy(hidden.begin(), hidden.end(), argv[number]);
  }
}

}  // namespace

int run_cli(int argc, char** argv) {
  // A closed pipe is an error of that write, not the end of a run.
  std::signal(SIGPIPE, SIG_IGN);
  Cli cli;
  CLI::App app("Changes every row of a large, live PostgreSQL table without anyone noticing.", "pgbackfill");
  app.set_version_flag("--version", version_text());
  app.require_subcommand(1);
  app.formatter(help_formatter());
  add_common(app, cli.common, cli.config_file);
  add_variables(app);
  add_run_commands(app, cli);
  add_watching_commands(app, cli);
  add_control_commands(app, cli);
  add_lint(app, cli);
  add_server_commands(app, cli);
  add_profile(app, cli);
  add_rehearse(app, cli);
  add_explaining_commands(app, cli);
  // Last, because commands take over the footer that is there when they are made.
  app.footer(kFooter);
  if (argc <= 1) {
    std::cout << help_of(app) << std::flush;
    return kExitDone;
  }
  try {
    app.parse(argc, argv);
  } catch (CLI::ParseError const& error) {
    // `pgbackfill statsu --help` asks for the help of a command that there is not.
    bool const is_unknown = app.get_subcommands().empty() && !app.remaining().empty();
    if (error.get_exit_code() != 0 || is_unknown) {
      std::cerr << for_people(usage_error(app, error, {argv + 1, argv + argc})) << '\n';
      return kExitUsage;
    }
    std::ostringstream out;
    std::ostringstream err;
    app.exit(error, out, err);
    std::cout << out.str() << std::flush;
    return kExitDone;
  }
  hide_passwords(argc, argv);
  try {
    cli.common.config_search = ConfigSearch{cli.config_file, file_given(cli)};
    CommandContext context(cli.common);
    return cli.chosen(context);
  } catch (...) {
    return report_error(std::current_exception());
  }
}

}  // namespace pgbackfill::engine
