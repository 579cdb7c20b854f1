// status: how far migrations are, once or again and again.

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <iostream>

#include "engine/app/paces.h"
#include "engine/app/sequence.h"
#include "engine/app/status_reader.h"
#include "engine/base/command_error.h"
#include "engine/base/text.h"
#include "engine/cli/commands.h"
#include "engine/pg/stoppable_sleep.h"
#include "engine/view/console.h"
#include "engine/view/runners_view.h"
#include "engine/view/status_view.h"
#include "planner/model/sql_text.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

constexpr auto kBetweenReadings = 700ms;  // several batches of the usual 100 ms
constexpr int kMostReadings = 4;
constexpr auto kLeastInterval = 100ms;

class StatusView {
 public:
  StatusView(CommandContext& context, StatusOptions options)
      : context_(context), options_(std::move(options)), console_(standard_output()) {}

  asio::awaitable<int> go() {
    connection_ = co_await context_.connect_to_state(StateUse::kReads);
    if (!options_.file_or_name.empty()) name_ = co_await find_name(context_, *connection_, options_.file_or_name);
    if (!options_.watch) {
      co_await look_twice();
      show();
      co_return kExitDone;
    }
    co_await watch();
    co_return outcome();
  }

 private:
  asio::awaitable<void> look() {
    if (name_.empty()) {
      overviews_ = co_await read_overviews(*connection_);
    } else {
      page_ = co_await read_page(*connection_, name_, context_.owner());
      overviews_ = {page_.overview};
    }
    auto const now = std::chrono::steady_clock::now();
    for (auto const& one : overviews_) paces_.add(one, now);
  }

  asio::awaitable<void> look_around() {
    if (!name_.empty()) co_await find_growth(*connection_, page_);
    if (!name_.empty()) co_await look_back();
    if (name_.empty() || !page_.overview.is(JobStatus::kRunning)) co_return;
    co_await find_lock_holders(*connection_, page_);
    co_await find_row_holders(context_, *connection_, page_);
  }

  // A watch asks for it no more often than it changes.
  asio::awaitable<void> look_back() {
    auto const now = std::chrono::steady_clock::now();
    if (looked_back_at_ && now - *looked_back_at_ < kSampleInterval) {
      page_.last_hour = last_hour_;
    } else {
      looked_back_at_ = now;
      co_await find_last_hour(*connection_, page_);
      last_hour_ = page_.last_hour;
    }
    page_.shows_course = options_.watch && console_.is_live;
  }

  // A job with few workers and long batches may stand still between two readings.
  asio::awaitable<void> look_twice() {
    co_await look();
    for (int reading = 1; reading < kMostReadings; ++reading) {
      bool const is_measured = std::all_of(overviews_.begin(), overviews_.end(), [&](StatusOverview const& one) {
        return !one.is_worked_on() || paces_.of(one.name).rows_per_second > 0;
      });
      if (is_measured) break;
      bool const slept = co_await sleep(kBetweenReadings);
      if (!slept) throw CommandError{kExitResumable, kWasInterrupted};
      co_await look();
    }
    co_await look_around();
  }

  // False: somebody interrupted it.
  asio::awaitable<bool> sleep(milliseconds duration) {
    std::function<bool()> const is_over = [this] { return is_stopping(); };
    bool const slept = co_await sleep_unless_stopped(duration, is_over);
    co_return slept;
  }
  bool is_stopping() const { return context_.interrupts().is_asked(); }

  // As `run` would have ended. Whoever watches all of them ends it himself.
  int outcome() const {
    if (name_.empty()) return kExitDone;
    auto const& one = page_.overview;
    if (one.is(JobStatus::kFailed)) return kExitFailed;
    if (one.is(JobStatus::kCancelled)) return kExitHalted;
    return one.is(JobStatus::kComplete) ? kExitDone : kExitResumable;
  }

  asio::awaitable<void> watch() {
    paces_.is_series = true;
    co_await look();  // a wrong name ends the command
    while (true) {
      if (trouble_.empty()) co_await look_around();
      show();
      bool const has_ended = trouble_.empty() && !name_.empty() && page_.overview.has_ended();
      bool const is_read = std::cout.good();  // else the pipe's reader has gone
      if (has_ended || is_stopping() || !is_read) break;
      bool const slept = co_await sleep(std::max<milliseconds>(options_.interval, kLeastInterval));
      if (!slept) break;
      co_await look_again();
    }
  }

  // A watch outlives restarts and fail-overs of the server.
  asio::awaitable<void> look_again() {
    std::string trouble;
    try {
      if (!connection_->is_usable()) connection_ = co_await context_.connect();
      co_await look();
    } catch (CommandError const& error) {
      trouble = error.text;
    }
    trouble_ = trouble;
  }

  void show() {
    if (context_.is_json()) {
      show_json();
    } else if (options_.watch && console_.is_live) {
      redraw();
    } else if (options_.watch) {
      show_line();
    } else {
      context_.print(planner::join(lines(), "\n") + "\n");
    }
  }

  std::vector<std::string> lines() const {
    if (name_.empty()) return overview_lines(overviews_, paces_.all(), console_.view);
    StatusPace const pace = paces_.of(name_);
    return page_lines(page_, pace, console_.view);
  }

  void show_json() const {
    if (!trouble_.empty()) return context_.print(boost::json::object{{"error", valid_utf8(trouble_)}});
    if (!name_.empty()) return context_.print(json_of(page_, paces_.of(name_)));
    boost::json::array migrations;
    for (auto const& one : overviews_) {
      StatusPace const pace = paces_.of(one.name);
      migrations.push_back(json_of(one, &pace));
    }
    context_.print(boost::json::object{{"migrations", std::move(migrations)}});
  }

  void show_line() const {
    if (!trouble_.empty()) return context_.print(fmt::format("trying again: {}\n", neutralised(trouble_)));
    std::string text;
    for (auto const& one : overviews_) {
      if (!one.job) continue;
      StatusPace const pace = paces_.of(one.name);
      Outlook outlook;
      outlook.eta = pace.eta;
      auto progress = progress_of(one, pace);
      auto const cause = name_.empty() ? std::string() : first_cause(page_.runners);
      if (!cause.empty()) progress.held_back = cause;
      text += fmt::format("{}, {}{}\n", render_line(progress, outlook), one.status,
                          one.reason.empty() ? "" : ": " + neutralised(one.reason));
    }
    context_.print(text);
  }

  // Every line is cut, so that the terminal wraps none and the next drawing covers this one.
  void redraw() {
    console_ = standard_output();
    auto shown = lines();
    if (!trouble_.empty()) {
      shown.insert(shown.begin(), coloured("trying again: " + neutralised(trouble_), kBad, console_.view));
    }
    auto const room = static_cast<std::size_t>(std::max(console_.lines - 2, 1));
    if (console_.lines > 0 && shown.size() > room) {
      shown.resize(room - 1);
      shown.emplace_back("... the rest needs a taller window");
    }
    std::string text = is_drawn_ ? "\x1b[H" : "\x1b[2J\x1b[H";
    for (auto const& line : shown) text += line + "\x1b[K\n";
    text += coloured(fmt::format("every {} ms; ^C ends the watch, not the job", options_.interval.count()), kFaint,
                     console_.view) +
            "\x1b[K\n\x1b[J";
    is_drawn_ = true;
    context_.draw(text);
  }

  CommandContext& context_;
  StatusOptions options_;
  Console console_;
  std::string name_;  // empty: all
  std::shared_ptr<PgConnection> connection_;
  std::vector<StatusOverview> overviews_;
  StatusPage page_;
  Paces paces_;
  std::optional<std::chrono::steady_clock::time_point> looked_back_at_;
  std::vector<StoredSample> last_hour_;
  std::string trouble_;  // why the latest look failed
  bool is_drawn_ = false;
};

}  // namespace

int status_command(CommandContext& context, StatusOptions const& options) {
  if (is_folder(options.file_or_name)) {
    if (options.watch) throw CommandError{kExitUsage, "--watch is of one migration, or of all without a name"};
    return context.run(show_sequence(context, options.file_or_name));
  }
  StatusView view(context, options);
  return context.run(view.go());
}

}  // namespace pgbackfill::engine
