#include "engine/app/phase_parts.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <random>

#include "engine/base/command_error.h"
#include "engine/process/interrupts.h"
#include "engine/state/state_store.h"
#include "engine/state/typed_rows.h"
#include "planner/model/sql_text.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;

// A hook is asked to end, and killed when it does not.
constexpr auto kHookEndPatience = 8s;
constexpr auto kFarewellPatience = 8s;

}  // namespace

bool are_steps_open(RecordedSteps const& recorded, std::vector<planner::PlacedStep> const& steps) {
  return std::any_of(steps.begin(), steps.end(),
                     [&](planner::PlacedStep const& step) { return !is_recorded(recorded, step); });
}

std::vector<planner::PlacedStep> open_steps(RecordedSteps const& recorded, std::vector<planner::PlacedStep> steps) {
  std::erase_if(steps, [&](planner::PlacedStep const& step) { return is_recorded(recorded, step); });
  return steps;
}

std::vector<planner::SchemaStep> without_places(std::vector<planner::PlacedStep> const& placed) {
  std::vector<planner::SchemaStep> steps;
  for (auto const& one : placed) steps.push_back(one.step);
  return steps;
}

void refuse_conflicts(std::vector<std::string> const& conflicts) {
  if (conflicts.empty()) return;
  throw CommandError{kExitGateClosed, planner::join(conflicts, "\n") + "\nnothing was started"};
}

StepTerms step_terms(CommandContext& context, planner::Migration const& migration, std::string phase,
                     LockOptions const& locks, Interrupts const& interrupts) {
  StepTerms terms;
  terms.migration = migration.name;
  terms.phase = std::move(phase);
  terms.owner = context.owner();
  terms.patience = locks.patience;
  terms.blockers.pids = locks.terminate_pids;
  if (locks.terminate_idle > 0ms) terms.blockers.idle_in_transaction = locks.terminate_idle;
  terms.is_stopping = [&interrupts] { return interrupts.is_asked(); };
  terms.is_aborting = terms.is_stopping;
  auto random = std::make_shared<std::mt19937_64>(std::random_device{}());
  terms.random = [random] { return std::uniform_real_distribution<double>(0, 1)(*random); };
  terms.connect = [&context] { return context.open(); };
  terms.standbys = conninfos_of_hosts(context.target().conninfo);
  for (auto const& text : locks.standbys) terms.standbys.push_back(context.read_conninfo(text, "--standby"));
  terms.blocking = &context.blocking();
  return terms;
}

asio::awaitable<HooksOutcome> hooks_of(CommandContext& context, planner::Migration const& migration,
                                       planner::Boundary boundary, std::chrono::milliseconds patience,
                                       EventSink& sink) {
  auto& interrupts = context.interrupts();
  Interrupts::InOrder const in_order(interrupts, kHookEndPatience);
  HookTerms const terms{migration,
                        context.target(),
                        context.blocking(),
                        context.owner(),
                        [&context] { return context.connect(); },
                        patience,
                        [&interrupts] { return interrupts.is_asked(); },
                        [&interrupts] { return interrupts.is_urgent(); }};
  co_return co_await run_hooks(boundary, terms, sink);
}

namespace {

// The clocks of two processes, and of the server, differ by less.
constexpr std::chrono::milliseconds kClockRoom{2'000};

std::string text_of(std::optional<throttle::SystemTime> at) {
  return at ? std::to_string(std::chrono::duration_cast<std::chrono::seconds>(at->time_since_epoch()).count())
            : "never";
}

// What all processes of a migration have in common when they tell of something.
struct Claims {
  std::string migration;
  std::string command;
  throttle::Schedule schedule{{}};
  std::chrono::milliseconds held_back_after{0};
};

state::NoticeClaim claim_of(Claims const& claims, Notice const& notice) {
  state::NoticeClaim claim;
  claim.migration = claims.migration;
  claim.command = claims.command;
  claim.occasion = notice.occasion;
  if (notice.occasion == planner::Occasion::kWindowClosed) {
    claim.opens_at = text_of(claims.schedule.opens_at(std::chrono::system_clock::now()));
  }
  bool const is_bounded = notice.occasion == planner::Occasion::kQuarantine && !notice.is_last;
  if (is_bounded) claim.interval = kQuarantineInterval - kClockRoom;
  if (notice.occasion == planner::Occasion::kHeldBack) {
    claim.interval = std::max(claims.held_back_after - kClockRoom, std::chrono::milliseconds(0));
  }
  return claim;
}

asio::awaitable<Admission> admit(CommandContext* context, std::shared_ptr<Claims const> claims, Notice notice) {
  try {
    auto const connection = co_await context->connect();
    std::string statement = state::claim_notice(claim_of(*claims, notice), context->owner());
    auto const answer = co_await connection->query(std::move(statement), Deadlines());
    if (!answer) co_return Admission::kGranted;
    auto const said = state::value_as<std::string>(*answer);
    if (said == "told") co_return Admission::kTold;
    if (said == "early") co_return Admission::kEarly;
  } catch (...) {
    // Twice rather than never.
  }
  co_return Admission::kGranted;
}

}  // namespace

HeraldTerms herald_terms(CommandContext& context, LoadedMigration const& loaded, std::string command) {
  auto const& migration = loaded.migration;
  auto& interrupts = context.interrupts();
  auto const claims = std::make_shared<Claims>();
  claims->migration = migration.name;
  claims->command = command;
  claims->schedule = loaded.schedule;
  for (auto const& rule : migration.on) {
    if (rule.occasion == planner::Occasion::kHeldBack) claims->held_back_after = rule.after;
  }
  HeraldTerms terms;
  terms.admit = [where = &context, claims](Notice notice) { return admit(where, claims, std::move(notice)); };
  terms.rules = migration.on;
  terms.sender = {migration.name, migration.file, std::move(command), context.owner().host, context.owner().pid};
  terms.executor = context.io().get_executor();
  terms.environment = libpq_environment(context.target().conninfo);
  terms.is_stopping = [&interrupts] { return interrupts.is_asked(); };
  return terms;
}

asio::awaitable<void> farewell(Herald& herald, Interrupts& interrupts) {
  Interrupts::InOrder const in_order(interrupts, kFarewellPatience);
  co_await herald.finish();
}

}  // namespace pgbackfill::engine
