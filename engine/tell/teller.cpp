#include "engine/tell/teller.h"

#include <concurrentqueue/blockingconcurrentqueue.h>
#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <boost/json.hpp>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "engine/base/eta.h"
#include "engine/base/secret_mask.h"
#include "engine/base/terminal.h"
#include "engine/base/text.h"
#include "engine/base/thread_signals.h"
#include "engine/view/progress_view.h"

namespace pgbackfill::engine {

namespace {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::milliseconds;
using TimePoint = Clock::time_point;

constexpr Milliseconds kDrawInterval{100};
constexpr Milliseconds kGlanceInterval{250};  // how soon a changed window size or a silent engine is noticed
constexpr Milliseconds kFirstLineAfter{1'000};
constexpr int kLinesOfRest = 12;  // intervals between lines of a run that only follows
constexpr Milliseconds kPollSlice{100};
constexpr std::size_t kWriteMax = 4'096;  // what POLLOUT promises of a pipe (PIPE_BUF)
constexpr std::size_t kTakenMax = 256;
constexpr std::size_t kUnwrittenMax = 256 * 1024;

// --- The way out ----------------------------------------------------------------------------------------------------

// A terminal opened anew gets flags of its own: making the inherited one non-blocking would hit the user's shell too.
int nonblocking_terminal(int fd) {
  if (isatty(fd) == 0) return -1;
  return open(fmt::format("/proc/self/fd/{}", fd).c_str(), O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

// Writes all or gives up: at once on an error, after `patience` on a reader that is stuck once the end has come. Before
// the end it waits, so that a pager that stands still for a minute misses nothing.
class Outlet {
 public:
  Outlet(int fd, Milliseconds patience, std::atomic<bool> const& is_ending)
      : own_fd_(nonblocking_terminal(fd)),
        fd_(own_fd_ >= 0 ? own_fd_ : fd),
        patience_(patience),
        is_ending_(is_ending) {}
  ~Outlet() {
    if (own_fd_ >= 0) close(own_fd_);
  }
  Outlet(Outlet const&) = delete;
  Outlet& operator=(Outlet const&) = delete;

  bool write(std::string_view text) {
    // What follows a line that broke off starts on a line of its own.
    if (!text.empty() && std::exchange(is_torn_, false)) write("\n");
    while (!text.empty()) {
      auto const written = is_writable_in_time() ? ::write(fd_, text.data(), std::min(text.size(), kWriteMax)) : -1;
      if (written > 0) {
        last_written_ = text[static_cast<std::size_t>(written) - 1];
        text.remove_prefix(static_cast<std::size_t>(written));
      } else if (is_given_up() || (errno != EAGAIN && errno != EINTR)) {
        is_torn_ = last_written_ != '\n';
        return false;
      }
    }
    return true;
  }

 private:
  bool is_writable_in_time() {
    for (;;) {
      pollfd poll_fd{fd_, POLLOUT, 0};
      bool const is_hopeless = is_given_up();
      if (poll(&poll_fd, 1, is_hopeless ? 0 : static_cast<int>(kPollSlice.count())) != 0) return true;
      if (is_hopeless) return false;
      if (is_ending_ && !give_up_at_) give_up_at_ = Clock::now() + patience_;
    }
  }

  bool is_given_up() const { return give_up_at_ && Clock::now() >= *give_up_at_; }

  int const own_fd_;
  int const fd_;
  Milliseconds const patience_;
  std::atomic<bool> const& is_ending_;
  std::optional<TimePoint> give_up_at_;
  char last_written_ = '\n';
  bool is_torn_ = false;
};

// --- Pieces of text -------------------------------------------------------------------------------------------------

std::string_view severity_name(Severity severity) {
  switch (severity) {
    case Severity::kDebug:
      return "debug";
    case Severity::kInfo:
      return "info";
    case Severity::kWarning:
      return "warning";
    case Severity::kError:
      return "error";
  }
  return "unknown";
}

std::string_view severity_paint(Severity severity) {
  switch (severity) {
    case Severity::kDebug:
      return "2";
    case Severity::kInfo:
      return "";
    case Severity::kWarning:
      return "33";
    case Severity::kError:
      return "31";
  }
  return "";
}

Severity severity_of(Summary const& summary) {
  if (summary.exit_code == 0) return Severity::kInfo;
  bool const is_resumable = summary.exit_code == 4;
  return is_resumable ? Severity::kWarning : Severity::kError;
}

std::string rfc3339(std::chrono::system_clock::time_point at) {
  auto const seconds = std::chrono::floor<std::chrono::seconds>(at);
  auto const ms = std::chrono::floor<Milliseconds>(at - seconds).count();
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(seconds), ms);
}

std::string text_line(std::chrono::system_clock::time_point at, Severity severity, std::string_view text) {
  return fmt::format("{} {:<7} {}\n", rfc3339(at), severity_name(severity), neutralised(text));
}

// Folded here at words, because a terminal would fold inside them; hopeless on very narrow ones.
std::string terminal_line(LogLine const& line, ViewOptions const& view) {
  constexpr int kFoldMin = 50;
  auto const time = fmt::gmtime(std::chrono::floor<std::chrono::seconds>(line.at));
  auto const paint = view.color ? severity_paint(line.severity) : "";
  auto const start = paint.empty() ? "" : fmt::format("\x1b[{}m", paint);
  auto const end = paint.empty() ? "" : "\x1b[0m";
  auto prefix = fmt::format("{:%H:%M:%S}Z {}{:<7}{} ", time, start, severity_name(line.severity), end);
  auto const indent = display_width(prefix);
  auto const text = neutralised(line.text, view.unicode);
  std::string result;
  for (auto const& part : view.columns < kFoldMin ? std::vector{text} : folded(text, view.columns - indent)) {
    result += fmt::format("{}{}{}{}\r\n", prefix, start, part, end);
    prefix.assign(static_cast<std::size_t>(indent), ' ');
  }
  return result;
}

// JSON must be UTF-8, and text from a server with another encoding need not be.
boost::json::string json_text(std::string_view text) {
  return boost::json::string{valid_utf8(text)};
}

boost::json::object json_start(std::string_view event, std::chrono::system_clock::time_point at, Severity severity) {
  return {{"at", rfc3339(at)}, {"event", event}, {"level", severity_name(severity)}};
}

void add_progress(boost::json::object& object, Progress const& progress) {
  auto const rate = std::isfinite(progress.rows_per_second) ? progress.rows_per_second : 0.0;
  object["migration"] = json_text(progress.migration);
  object["table"] = json_text(progress.table);
  object["phase"] = phase_name(progress.phase);
  object["rows_done"] = progress.rows_done;
  object["rows_estimated"] = progress.rows_estimated;
  object["rows_changed"] = progress.rows_changed;
  object["ranges_open"] = progress.ranges_open;
  object["ranges_total"] = progress.ranges_total;
  object["deferred"] = progress.deferred;
  object["quarantined"] = progress.quarantined;
  object["retries"] = progress.retries;
  object["workers"] = progress.workers;
  object["rows_per_second"] = static_cast<std::int64_t>(std::clamp(rate, 0.0, 1e15));
  object["batch_rows"] = progress.batch_rows;
  object["batch_ms"] = progress.batch_duration.count();
  object["batch_target_ms"] = progress.batch_target.count();
  object["elapsed_ms"] = progress.elapsed.count();
  object["held_back"] = json_text(progress.held_back);
}

void add_eta(boost::json::object& object, std::optional<Eta> const& eta) {
  object["eta_ms"] = nullptr;
  object["eta_early_ms"] = nullptr;
  object["eta_late_ms"] = nullptr;
  if (!eta) return;
  object["eta_ms"] = eta->likely.count();
  object["eta_early_ms"] = eta->early.count();
  if (eta->late) object["eta_late_ms"] = eta->late->count();
}

// --- What is known of the job ---------------------------------------------------------------------------------------

bool is_working(RunPhase phase) {
  return phase == RunPhase::kBackfilling || phase == RunPhase::kSweeping || phase == RunPhase::kDeferred;
}

class Job {
 public:
  void hear(Progress progress, TimePoint now) {
    // Pauses and preparations say nothing of how fast the work goes; a closed window is not counted at all.
    if (is_working(progress.phase)) {
      history_.add(progress.worked, progress.rows_done);
    } else if (progress.phase != RunPhase::kOutsideWindow) {
      history_.clear();
    }
    progress_ = std::move(progress);
    heard_at_ = now;
  }

  void forget() { *this = Job{}; }

  std::optional<Progress> const& progress() const { return progress_; }

  Outlook outlook(TimePoint now) const {
    if (!progress_) return {};
    auto const silent_for = std::chrono::floor<Milliseconds>(now - heard_at_);
    // Below a second it is the rhythm of the reports, not silence.
    return {eta(), silent_for < std::chrono::seconds{1} ? Milliseconds{0} : silent_for};
  }

 private:
  std::optional<Eta> eta() const {
    auto const eta = history_.eta(progress_->rows_estimated - progress_->rows_done, progress_->max_rows_per_second);
    if (!eta || !progress_->schedule) return eta;
    return on_calendar(*eta, *progress_->schedule, progress_->at);
  }

  std::optional<Progress> progress_;
  TimePoint heard_at_;
  RateHistory history_;
};

// The true total is known once all is done; the estimate need not be shown any longer.
Progress last_state(Summary const& summary) {
  auto last = summary.last;
  last.phase = RunPhase::kEnded;
  if (summary.complete) last.rows_estimated = last.rows_done;
  return last;
}

void add_summary(boost::json::object& object, Summary const& summary) {
  object["message"] = json_text(summary.headline);
  object["complete"] = summary.complete;
  object["exit_code"] = summary.exit_code;
  object["batches"] = summary.batches;
  boost::json::array notes;
  for (auto const& note : summary.notes) notes.emplace_back(json_text(note));
  object["notes"] = std::move(notes);
  add_progress(object, last_state(summary));
}

// --- Voices: events and time in, bytes out --------------------------------------------------------------------------

class Voice {
 public:
  virtual ~Voice() = default;
  virtual void hear(LogLine const& line) = 0;
  virtual void hear(Progress progress, TimePoint now) = 0;
  virtual void hear(Summary const& summary, TimePoint now) = 0;
  virtual std::string speak(TimePoint now) = 0;  // what is due
  virtual std::string end(TimePoint now) = 0;    // what is left, at the very end
  virtual TimePoint speaks_next(TimePoint now) const = 0;
};

class LineVoice final : public Voice {
 public:
  explicit LineVoice(TellerOptions const& options) : options_(options) {}

  void hear(LogLine const& line) override {
    if (!is_json()) {
      said_ += text_line(line.at, line.severity, line.text);
      return;
    }
    auto object = json_start("log", line.at, line.severity);
    object["message"] = json_text(line.text);
    boost::json::object fields;
    for (auto const& [name, value] : line.fields) fields[json_text(name)] = json_text(value);
    object["fields"] = std::move(fields);
    say(object);
  }

  void hear(Progress progress, TimePoint now) override {
    if (!job_.progress()) next_line_at_ = now + std::min(kFirstLineAfter, options_.line_interval);
    job_.hear(std::move(progress), now);
  }

  void hear(Summary const& summary, TimePoint) override {
    auto const at = std::chrono::system_clock::now();
    auto const severity = severity_of(summary);
    job_.forget();
    if (!is_json()) {
      constexpr int kUnfolded = 1'000'000;
      for (auto const& line : render_summary(summary, {kUnfolded, false, true})) said_ += text_line(at, severity, line);
      return;
    }
    auto object = json_start("summary", at, severity);
    add_summary(object, summary);
    say(object);
  }

  std::string speak(TimePoint now) override {
    if (job_.progress() && now >= next_line_at_) {
      bool const is_resting = job_.progress()->phase == RunPhase::kFollowing;
      next_line_at_ = now + (is_resting ? kLinesOfRest : 1) * options_.line_interval;
      if (options_.level <= Severity::kInfo) say_progress(now);
    }
    return std::exchange(said_, {});
  }

  std::string end(TimePoint) override { return std::exchange(said_, {}); }

  TimePoint speaks_next(TimePoint now) const override {
    return job_.progress() ? next_line_at_ : now + std::chrono::seconds{1};
  }

 private:
  bool is_json() const { return options_.format == LogFormat::kJson; }

  void say(boost::json::object const& object) {
    said_ += boost::json::serialize(object);
    said_ += '\n';
  }

  void say_progress(TimePoint now) {
    auto const at = std::chrono::system_clock::now();
    auto const outlook = job_.outlook(now);
    auto const text = render_line(*job_.progress(), outlook);
    if (!is_json()) {
      said_ += text_line(at, Severity::kInfo, text);
      return;
    }
    auto object = json_start("progress", at, Severity::kInfo);
    object["message"] = json_text(text);
    add_progress(object, *job_.progress());
    add_eta(object, outlook.eta);
    object["silent_ms"] = outlook.silent_for.count();
    say(object);
  }

  TellerOptions const options_;
  Job job_;
  TimePoint next_line_at_;
  std::string said_;
};

struct WindowSize {
  int columns = 80;
  int rows = 24;

  bool operator==(WindowSize const&) const = default;
};

WindowSize window_size(int fd) {
  winsize size{};
  if (ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) return {};
  return {size.ws_col, size.ws_row};
}

// Redraws a block in place. The cursor rests at the start of the block's last line, where an echoed ^C does no harm.
class LiveVoice final : public Voice {
 public:
  explicit LiveVoice(TellerOptions const& options) : options_(options) {}

  void hear(LogLine const& line) override { above_ += terminal_line(line, view(window_size(options_.fd))); }

  void hear(Progress progress, TimePoint now) override { job_.hear(std::move(progress), now); }

  void hear(Summary const& summary, TimePoint now) override {
    job_.hear(last_state(summary), now);
    auto const size = window_size(options_.fd);
    finished_ += frame(block(size, now), size);
    finished_ += settled();
    for (auto const& line : render_summary(summary, view(size))) finished_ += line + "\r\n";
    job_.forget();
  }

  std::string speak(TimePoint now) override {
    auto said = std::exchange(finished_, {});
    if (now < draw_at_ && above_.size() < kUnwrittenMax) return said;
    auto const size = window_size(options_.fd);
    auto lines = block(size, now);
    bool const is_same = above_.empty() && lines == drawn_ && size == drawn_size_;
    if (!is_same) {
      draw_at_ = now + kDrawInterval;
      said += frame(std::move(lines), size);
    }
    return said;
  }

  std::string end(TimePoint now) override {
    draw_at_ = now;
    auto said = speak(now);
    return said += settled();
  }

  TimePoint speaks_next(TimePoint now) const override {
    return !above_.empty() || draw_at_ > now ? std::max(draw_at_, now) : now + kGlanceInterval;
  }

 private:
  // The last column stays free: what a terminal does after a character there is not the same everywhere.
  ViewOptions view(WindowSize size) const { return {std::max(size.columns - 1, 1), options_.color, options_.unicode}; }

  std::vector<std::string> block(WindowSize size, TimePoint now) const {
    if (!job_.progress()) return {};
    auto lines = render_block(*job_.progress(), job_.outlook(now), view(size));
    if (static_cast<int>(lines.size()) >= size.rows) lines.resize(static_cast<std::size_t>(std::max(size.rows - 1, 1)));
    return lines;
  }

  // A terminal that became narrower has folded the lines of the old block.
  int rows_above_cursor(WindowSize size) const {
    int rows = 0;
    for (std::size_t i = 0; i + 1 < drawn_.size(); ++i)
      rows += std::max((display_width(drawn_[i]) + size.columns - 1) / size.columns, 1);
    return rows;
  }

  std::string frame(std::vector<std::string> lines, WindowSize size) {
    std::string text;
    if (drawn_.empty() && !lines.empty()) text += "\x1b[?25l";
    if (!drawn_.empty()) text += '\r';
    if (int const rows = rows_above_cursor(size); rows > 0) text += fmt::format("\x1b[{}A", rows);
    bool const is_clean_start = !above_.empty() || size != drawn_size_;
    if (is_clean_start && !drawn_.empty()) text += "\x1b[J";
    text += std::exchange(above_, {});
    // Without wrapping, a name that is wider than estimated is cut instead of breaking the block.
    if (!lines.empty()) text += "\x1b[?7l";
    for (auto const& line : lines) text += line + (&line == &lines.back() ? "\x1b[J\r\x1b[?7h" : "\x1b[K\r\n");
    drawn_ = std::move(lines);
    drawn_size_ = size;
    return text;
  }

  // Leaves the block where it is and goes on below it.
  std::string settled() {
    if (drawn_.empty()) return "";
    drawn_.clear();
    return "\r\n\x1b[?25h";
  }

  TellerOptions const options_;
  Job job_;
  std::string above_;     // log lines that wait for the next frame
  std::string finished_;  // an ended job's last state and summary
  std::vector<std::string> drawn_;
  WindowSize drawn_size_;
  TimePoint draw_at_;
};

std::unique_ptr<Voice> voice_for(TellerOptions const& options) {
  if (options.live && options.format == LogFormat::kText) return std::make_unique<LiveVoice>(options);
  return std::make_unique<LineVoice>(options);
}

}  // namespace

// --- The thread -----------------------------------------------------------------------------------------------------

struct Teller::Workshop {
  explicit Workshop(TellerOptions const& teller_options)
      : options(teller_options),
        outlet(options.fd, options.farewell_patience, is_ending),
        voice(voice_for(options)),
        thread([this] { run(); }) {}

  void run() {
    block_all_signals();
    while (!is_ending) {
      take_some(std::max(voice->speaks_next(Clock::now()) - Clock::now(), Clock::duration{0}));
      write(voice->speak(Clock::now()));
      confess();
    }
    while (take_some(Clock::duration{0}) > 0) write(voice->speak(Clock::now()));
    confess();
    write(voice->end(Clock::now()));
  }

  std::size_t take_some(Clock::duration wait_max) {
    std::array<std::optional<Event>, kTakenMax> taken;
    auto const wait = std::chrono::ceil<std::chrono::microseconds>(wait_max);
    auto const count = queue.wait_dequeue_bulk_timed(taken.begin(), taken.size(), wait);
    for (std::size_t i = 0; i < count; ++i)
      if (taken[i]) take(*taken[i]);
    return count;
  }

  void take(Event& event) {
    auto const now = Clock::now();
    if (auto* line = std::get_if<LogLine>(&event)) {
      --queued_lines;
      voice->hear(*line);
    } else if (auto* progress = std::get_if<Progress>(&event)) {
      --queued_progress;
      voice->hear(std::move(*progress), now);
    } else if (auto* summary = std::get_if<Summary>(&event)) {
      voice->hear(*summary, now);
    }
  }

  void write(std::string const& text) {
    if (!outlet.write(text)) ++lost_writes;
  }

  // A log with a hole must say so.
  void confess() {
    auto const lost = lost_lines.load();
    if (lost == confessed_lines) return;
    auto const text = fmt::format("{} log lines are missing here: the output did not keep up.", lost - confessed_lines);
    confessed_lines = lost;
    voice->hear(log_line(Severity::kWarning, text));
  }

  TellerOptions const options;
  std::atomic<bool> is_ending{false};
  std::atomic<std::int64_t> queued_progress{0};
  std::atomic<std::int64_t> queued_lines{0};
  std::atomic<std::int64_t> lost_progress{0};
  std::atomic<std::int64_t> lost_lines{0};
  std::atomic<std::int64_t> lost_writes{0};
  std::int64_t confessed_lines = 0;
  moodycamel::BlockingConcurrentQueue<std::optional<Event>> queue;  // an empty one only wakes the thread
  Outlet outlet;
  std::unique_ptr<Voice> voice;
  std::thread thread;
};

TellerOptions detect_teller_options(int fd) {
  auto const terminal = look_at_terminal(fd);
  TellerOptions options;
  options.fd = fd;
  options.live = terminal.is_live;
  options.color = terminal.has_color;
  options.unicode = terminal.has_unicode;
  return options;
}

namespace {

void take_passwords_out(Event& event) {
  if (auto* line = std::get_if<LogLine>(&event)) {
    line->text = without_passwords(std::move(line->text));
  } else if (auto* summary = std::get_if<Summary>(&event)) {
    summary->headline = without_passwords(std::move(summary->headline));
    for (auto& note : summary->notes) note = without_passwords(std::move(note));
  } else if (auto* progress = std::get_if<Progress>(&event)) {
    progress->step = without_passwords(std::move(progress->step));
  }
}

}  // namespace

Teller::Teller(TellerOptions const& options) : workshop_(std::make_unique<Workshop>(options)) {}

Teller::~Teller() {
  workshop_->is_ending = true;
  workshop_->queue.enqueue(std::nullopt);
  workshop_->thread.join();
}

void Teller::emit(Event event) {
  auto const dropped = [](std::atomic<std::int64_t>& queued, std::int64_t queued_max, std::atomic<std::int64_t>& lost) {
    if (queued.fetch_add(1) < queued_max) return false;
    --queued;
    ++lost;
    return true;
  };
  auto& shop = *workshop_;
  take_passwords_out(event);
  // Batches, troubles and health are for the metrics; what people should know of them comes as lines and progress.
  bool const is_for_people = std::holds_alternative<LogLine>(event) || std::holds_alternative<Progress>(event) ||
                             std::holds_alternative<Summary>(event);
  if (!is_for_people) return;
  if (auto const* line = std::get_if<LogLine>(&event)) {
    if (line->severity < shop.options.level) return;
    if (dropped(shop.queued_lines, kQueuedLinesMax, shop.lost_lines)) return;
  } else if (std::holds_alternative<Progress>(event)) {
    if (dropped(shop.queued_progress, kQueuedProgressMax, shop.lost_progress)) return;
  }
  shop.queue.enqueue(std::optional<Event>{std::move(event)});
}

Teller::Losses Teller::losses() const {
  return {workshop_->lost_progress, workshop_->lost_lines, workshop_->lost_writes};
}

boost::json::object json_of(Summary const& summary) {
  boost::json::object object;
  add_summary(object, summary);
  return object;
}

}  // namespace pgbackfill::engine
