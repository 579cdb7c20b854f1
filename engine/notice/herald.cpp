#include "engine/notice/herald.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <deque>
#include <set>
#include <utility>

#include "engine/base/command_error.h"
#include "engine/base/secret_mask.h"
#include "engine/base/secret_source.h"
#include "engine/base/text.h"
#include "engine/notice/delivery_attempt.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using planner::Delivery;
using planner::Occasion;

constexpr int kMostAttempts = 6;
constexpr std::chrono::milliseconds kFirstWait = 1s;
constexpr std::chrono::milliseconds kLongestWait = 30s;  // whatever a receiver asks for
constexpr std::chrono::milliseconds kMostPerDelivery = 120s;
constexpr std::chrono::milliseconds kGlance = 20ms;
constexpr std::chrono::milliseconds kTick = 200ms;
constexpr std::chrono::milliseconds kMostForAdmission = 2s;
constexpr std::chrono::milliseconds kFarewell = 5s;
constexpr std::chrono::milliseconds kFarewellAfterInterrupt = 700ms;

std::string place_of(planner::SourcePosition const& position) {
  return fmt::format("{}:{}:{}", position.file, position.line, position.column);
}

// Those to one receiver come in their order, and one that hangs delays no other.
std::string receiver_of(Delivery const& delivery) {
  return fmt::format("{}\n{}\n{}\n{}\n{}\n{}", planner::name_of(delivery.kind), delivery.command, delivery.url.text,
                     delivery.url.file, delivery.routing_key.text, delivery.routing_key.file);
}

WatchTimes times_of(std::vector<planner::OccasionRule> const& rules) {
  WatchTimes times;
  for (auto const& rule : rules) {
    if (rule.occasion == Occasion::kStall) times.stall_after = rule.after;
    if (rule.occasion == Occasion::kHeldBack) times.held_back_after = rule.after;
  }
  return times;
}

struct Task {
  Delivery delivery;
  Notice notice;
  std::chrono::system_clock::time_point at;

  std::string name() const {
    return fmt::format("{}: on {}: {}", place_of(delivery.position), planner::name_of(notice.occasion),
                       masked(planner::to_text(delivery), {}));
  }
};

// A notice that waits to be told; the first one is asked about.
struct Coming {
  Notice notice;
  std::chrono::system_clock::time_point at;
};

struct Asked {
  std::optional<Admission> answer;
};

struct Lane {
  std::deque<Task> tasks;  // the first one is under way
  std::string trouble;     // of its latest attempt
  bool is_busy = false;
};

}  // namespace

// Shared with the coroutines, which may outlive the herald by the end of a wait.
struct Herald::Office : std::enable_shared_from_this<Herald::Office> {
  Office(HeraldTerms its_terms, EventSink& next_sink)
      : terms(std::move(its_terms)), next(next_sink), watch(times_of(terms.rules)) {}

  void warn(std::string text) {
    if (is_closed) return;
    next.emit(log_line(Severity::kWarning, std::move(text), {{"migration", terms.sender.migration}}));
  }

  void take(std::vector<Notice> notices) {
    for (auto& notice : notices) take(std::move(notice));
  }

  // In their order, and so each waits for the one before it.
  void take(Notice notice) {
    bool const has_receiver =
        std::any_of(terms.rules.begin(), terms.rules.end(),
                    [&](planner::OccasionRule const& rule) { return rule.occasion == notice.occasion; });
    if (!has_receiver) return;
    Coming one{std::move(notice), std::chrono::system_clock::now()};
    if (coming.empty() && !needs_admission(one.notice)) {
      deliver_all(one);
      return;
    }
    if (coming.size() >= kMostQueued) {
      leave_out(fmt::format("on {}", planner::name_of(one.notice.occasion)), coming.size());
      return;
    }
    coming.push_back(std::move(one));
    if (std::exchange(is_admitting, true)) return;
    asio::co_spawn(terms.executor, admit_coming(shared_from_this()), asio::detached);
  }

  bool needs_admission(Notice const& notice) const {
    return terms.admit != nullptr && notice.occasion != Occasion::kFailure;
  }

  static asio::awaitable<void> admit_coming(std::shared_ptr<Office> self) {
    while (!self->coming.empty() && !self->is_closed) {
      Coming const first = self->coming.front();
      auto const answer = co_await self->admission_of(first.notice);
      if (self->is_closed) co_return;
      self->coming.pop_front();
      if (answer == Admission::kGranted) self->deliver_all(first);
      if (answer == Admission::kEarly) self->watch.was_too_early(first.notice);
    }
    self->is_admitting = false;
  }

  // Nobody is waited for long.
  asio::awaitable<Admission> admission_of(Notice notice) {
    if (!needs_admission(notice)) co_return Admission::kGranted;
    auto const asked = std::make_shared<Asked>();
    asio::co_spawn(terms.executor, ask(terms.admit, std::move(notice), asked), asio::detached);
    auto const give_up_at = Clock::now() + kMostForAdmission;
    while (!asked->answer && !is_closed && Clock::now() < give_up_at) co_await sleep(kGlance);
    co_return asked->answer.value_or(Admission::kGranted);
  }

  static asio::awaitable<void> ask(std::function<asio::awaitable<Admission>(Notice)> admit, Notice notice,
                                   std::shared_ptr<Asked> asked) {
    auto const answer = co_await admit(std::move(notice));
    asked->answer = answer;
  }

  void deliver_all(Coming const& one) {
    for (auto const& rule : terms.rules) {
      if (rule.occasion != one.notice.occasion) continue;
      for (auto const& delivery : rule.deliveries) enqueue(Task{delivery, one.notice, one.at});
    }
  }

  void leave_out(std::string const& name, std::size_t waiting) {
    if (std::exchange(is_full_told, true)) return;
    warn(name + fmt::format(": left out, because {} deliveries wait already; nobody is told again of such a loss in "
                            "this run",
                            waiting));
  }

  void enqueue(Task task) {
    if (queued >= kMostQueued) {
      leave_out(task.name(), queued);
      return;
    }
    auto& lane = lanes[receiver_of(task.delivery)];
    lane.tasks.push_back(std::move(task));
    ++queued;
    if (std::exchange(lane.is_busy, true)) return;
    asio::co_spawn(terms.executor, work(shared_from_this(), &lane), asio::detached);
  }

  // A lane stays where it is for as long as the office does.
  static asio::awaitable<void> work(std::shared_ptr<Office> self, Lane* lane) {
    while (!lane->tasks.empty() && !self->is_closed) {
      Task const task = lane->tasks.front();
      lane->trouble.clear();
      auto const trouble = co_await self->deliver(task, *lane);
      if (self->is_closed) co_return;
      lane->tasks.pop_front();
      --self->queued;
      if (!trouble.empty())
        self->warn(task.name() + ": nobody was told: " + trouble + "; the migration is not affected");
    }
    lane->is_busy = false;
  }

  asio::awaitable<std::string> deliver(Task const& task, Lane& lane) {
    auto const began = Clock::now();
    std::string trouble;
    auto wait = kFirstWait;
    for (int attempt = 1; attempt <= kMostAttempts; ++attempt) {
      AttemptTerms attempt_terms;
      attempt_terms.environment = terms.environment;
      attempt_terms.secret_variables = planner::variables_of(terms.rules);
      attempt_terms.is_stopping = [this] { return is_closed; };
      auto const outcome =
          co_await attempt_delivery(task.delivery, task.notice, terms.sender, task.at, std::move(attempt_terms));
      if (outcome.trouble.empty() || is_closed) co_return outcome.trouble;
      trouble = outcome.trouble;
      if (attempt > 1) trouble += fmt::format(" ({} attempts)", attempt);
      lane.trouble = outcome.trouble;
      if (!outcome.may_succeed_later) co_return trouble;
      auto const asked = std::min(outcome.wait.value_or(wait), kLongestWait);
      wait = std::min(wait * 2, kLongestWait);
      if (Clock::now() + asked - began > kMostPerDelivery) co_return trouble;
      co_await sleep(asked);
    }
    co_return trouble;
  }

  asio::awaitable<void> sleep(std::chrono::milliseconds duration) {
    auto const until = Clock::now() + duration;
    asio::steady_timer timer(terms.executor);
    while (!is_closed && Clock::now() < until) {
      timer.expires_after(kGlance);
      co_await timer.async_wait(asio::use_awaitable);
    }
  }

  // An engine that waits tells nothing, and time passes all the same.
  static asio::awaitable<void> keep_time(std::shared_ptr<Office> self) {
    while (!self->is_closed) {
      co_await self->sleep(kTick);
      if (!self->is_closed) self->take(self->watch.tick(Clock::now()));
    }
  }

  // Once for each receiver, whatever he is to be told of.
  void warn_of_missing() {
    std::map<std::string, std::string> events_of;
    for (auto const& rule : terms.rules) {
      for (auto const& delivery : rule.deliveries) {
        auto const missing = missing_of(delivery);
        if (missing.empty()) continue;
        auto& events = events_of[fmt::format("{}: {} will not be told, because {}, of ", place_of(delivery.position),
                                             masked(planner::to_text(delivery), {}), missing)];
        events += fmt::format("{}{}", events.empty() ? "" : ", ", planner::name_of(rule.occasion));
      }
    }
    for (auto const& [receiver, events] : events_of) warn(receiver + events);
  }

  HeraldTerms const terms;
  EventSink& next;
  OccasionWatch watch;
  std::deque<Coming> coming;
  bool is_admitting = false;
  std::map<std::string, Lane> lanes;
  std::size_t queued = 0;
  bool is_full_told = false;
  bool is_closed = false;
};

Herald::Herald(HeraldTerms terms, EventSink& next) : office_(std::make_shared<Office>(std::move(terms), next)) {
  office_->warn_of_missing();
  asio::co_spawn(office_->terms.executor, Office::keep_time(office_), asio::detached);
}

Herald::~Herald() {
  office_->is_closed = true;
}

void Herald::emit(Event event) {
  auto const hand_over = [this](auto heard) {
    asio::post(office_->terms.executor, [office = office_, heard = std::move(heard)] {
      if (office->is_closed) return;
      if constexpr (std::is_same_v<std::decay_t<decltype(heard)>, Progress>) {
        office->take(office->watch.hear(heard, Clock::now()));
      } else {
        office->take(office->watch.hear(heard));
      }
    });
  };
  if (auto const* progress = std::get_if<Progress>(&event)) hand_over(*progress);
  if (auto const* summary = std::get_if<Summary>(&event)) hand_over(*summary);
  office_->next.emit(std::move(event));
}

void Herald::failed(int exit_code, std::string text) {
  Notice notice;
  notice.occasion = Occasion::kFailure;
  notice.text = std::move(text);
  notice.exit_code = exit_code;
  office_->take(std::move(notice));
}

void Herald::done(std::string text) {
  Notice notice;
  notice.occasion = Occasion::kDone;
  notice.text = std::move(text);
  notice.exit_code = kExitDone;
  office_->take(std::move(notice));
}

asio::awaitable<void> Herald::finish() {
  // What was told before is heard before.
  co_await asio::post(office_->terms.executor, asio::use_awaitable);
  auto const began = Clock::now();
  auto& office = *office_;
  while (office.queued > 0 || !office.coming.empty()) {
    bool const is_asked = office.terms.is_stopping && office.terms.is_stopping();
    if (Clock::now() - began >= (is_asked ? kFarewellAfterInterrupt : kFarewell)) break;
    co_await office.sleep(kGlance);
  }
  if (office.queued > 0 || !office.coming.empty()) {
    std::set<std::string> names;
    for (auto const& [receiver, lane] : office.lanes) {
      for (auto const& task : lane.tasks) {
        names.insert(lane.trouble.empty() ? task.name() : fmt::format("{}: {}", task.name(), lane.trouble));
      }
    }
    for (auto const& one : office.coming) names.insert(fmt::format("on {}", planner::name_of(one.notice.occasion)));
    office.warn(fmt::format("{} message(s) could not be delivered before the command ended: {}",
                            office.queued + office.coming.size(), fmt::join(names, "; ")));
  }
  office.is_closed = true;
}

}  // namespace pgbackfill::engine
