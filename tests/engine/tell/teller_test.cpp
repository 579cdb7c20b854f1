// The teller on pipes, pseudo-terminals and a full device. Tests wait for output, never for time to pass.
#include "engine/tell/teller.h"
#include "engine/base/text.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <condition_variable>
#include <cstdlib>
#include <map>
#include <mutex>
#include <optional>
#include <sstream>
#include <string>
#include <thread>

namespace pgbackfill::engine {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;

constexpr auto kPatience = 20s;

// 2024-05-01T03:12:45.678Z
constexpr std::chrono::system_clock::time_point kAt{1'714'533'165'678ms};

LogLine line(std::string text, Severity severity = Severity::kInfo) {
  return {kAt, severity, std::move(text), {}};
}

Progress users_progress() {
  Progress progress;
  progress.migration = "users_display_name";
  progress.table = "public.users";
  progress.phase = RunPhase::kBackfilling;
  progress.rows_done = 1'356'000;
  progress.rows_estimated = 3'000'000;
  progress.workers = 2;
  progress.rows_per_second = 281'000;
  return progress;
}

Summary users_summary() {
  Summary summary;
  summary.last = users_progress();
  summary.last.rows_done = 2'999'000;
  summary.complete = true;
  summary.batches = 150;
  summary.last.elapsed = 11'200ms;
  summary.headline = "users_display_name is complete.";
  summary.notes = {"Run `pgbackfill complete users_display_name`."};
  return summary;
}

// Reads a descriptor to its end on a thread of its own.
class Reader {
 public:
  explicit Reader(int fd) : fd_(fd), thread_([this] { read_all(); }) {}
  ~Reader() {
    if (thread_.joinable()) thread_.join();
    close(fd_);
  }

  bool has_seen(std::string const& part) {
    std::unique_lock lock{mutex_};
    return changed_.wait_for(lock, kPatience, [&] { return text_.find(part) != std::string::npos; });
  }

  std::string all() {
    thread_.join();
    return text_;
  }

 private:
  void read_all() {
    char buffer[4096];
    for (ssize_t count; (count = read(fd_, buffer, sizeof buffer)) > 0;) {
      std::lock_guard lock{mutex_};
      text_.append(buffer, static_cast<std::size_t>(count));
      changed_.notify_all();
    }
  }

  int fd_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string text_;
  std::thread thread_;
};

struct Pipe {
  Pipe() {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) std::abort();
    reading = fds[0];
    writing = fds[1];
  }
  int reading;
  int writing;
};

std::vector<std::string> lines_of(std::string const& text) {
  std::vector<std::string> lines;
  std::istringstream stream{text};
  for (std::string one; std::getline(stream, one);) lines.push_back(one);
  return lines;
}

TellerOptions plain_options(int fd) {
  TellerOptions options;
  options.fd = fd;
  return options;
}

// What comes out of a pipe when `emit_all` has been told.
template <typename EmitAll>
std::string told(TellerOptions options, EmitAll emit_all) {
  Pipe pipe;
  options.fd = pipe.writing;
  Reader reader{pipe.reading};
  {
    Teller teller{options};
    emit_all(teller, reader);
  }
  close(pipe.writing);
  return reader.all();
}

template <typename Condition>
bool comes_true(Condition condition) {
  for (auto const end = std::chrono::steady_clock::now() + kPatience; std::chrono::steady_clock::now() < end;) {
    if (condition()) return true;
    std::this_thread::yield();
  }
  return false;
}

TEST(Teller, WritesLogLinesWithTimeAndSeverity) {
  auto const text = told({}, [](Teller& teller, Reader&) {
    teller.emit(line("expand: column added."));
    teller.emit(line("a row\nfailed \x1b[2J", Severity::kWarning));
  });
  EXPECT_EQ(text,
            "2024-05-01T03:12:45.678Z info    expand: column added.\n"
            "2024-05-01T03:12:45.678Z warning a row failed \\x1b[2J\n");
}

TEST(Teller, DropsLinesBelowItsLevel) {
  TellerOptions options;
  options.level = Severity::kWarning;
  auto const text = told(options, [](Teller& teller, Reader&) {
    teller.emit(line("quiet", Severity::kInfo));
    teller.emit(line("loud", Severity::kError));
  });
  EXPECT_EQ(text, "2024-05-01T03:12:45.678Z error   loud\n");
}

TEST(Teller, LosesNoLogLineOfTenThreads) {
  constexpr int kThreads = 10;
  constexpr int kLines = 5'000;
  Teller::Losses losses;
  auto const text = told({}, [&](Teller& teller, Reader&) {
    std::vector<std::thread> threads;
    for (int thread = 0; thread < kThreads; ++thread)
      threads.emplace_back([&teller, thread] {
        for (int i = 0; i < kLines; ++i) {
          teller.emit(line(std::to_string(thread) + ":" + std::to_string(i)));
          if (i % 10 == 0) teller.emit(users_progress());
        }
      });
    for (auto& thread : threads) thread.join();
    losses = teller.losses();
  });
  EXPECT_EQ(losses.lines, 0);
  EXPECT_EQ(losses.writes, 0);
  std::map<int, int> next;
  for (auto const& one : lines_of(text)) {
    auto const word = one.substr(one.rfind(' ') + 1);
    auto const colon = word.find(':');
    if (colon == std::string::npos) continue;
    ASSERT_EQ(std::stoi(word.substr(colon + 1)), next[std::stoi(word)]++) << one;
  }
  ASSERT_EQ(next.size(), static_cast<std::size_t>(kThreads));
  for (auto const& [thread, count] : next) EXPECT_EQ(count, kLines) << thread;
}

TEST(Teller, RepeatsProgressAtItsInterval) {
  TellerOptions options;
  options.line_interval = 1ms;
  auto const text = told(options, [](Teller& teller, Reader& reader) {
    teller.emit(users_progress());
    ASSERT_TRUE(reader.has_seen("rows/s, 2 workers"));
    auto later = users_progress();
    later.rows_done = 2'000'000;
    teller.emit(later);
    ASSERT_TRUE(reader.has_seen("66.6 % 2,000,000 of ~3,000,000 rows"));
  });
  EXPECT_THAT(text, HasSubstr("Z info    users_display_name: 45.2 % 1,356,000 of ~3,000,000 rows, 281,000 rows/s"));
}

TEST(Teller, SumsUpInALog) {
  auto const lines = lines_of(told({}, [](Teller& teller, Reader&) { teller.emit(users_summary()); }));
  EXPECT_THAT(lines, ElementsAre(EndsWith("Z info    users_display_name is complete."),
                                 EndsWith("Z info      150 batches in 11.2 s"),
                                 EndsWith("Z info      - Run `pgbackfill complete users_display_name`.")));
}

TEST(Teller, WritesOneJsonObjectALine) {
  TellerOptions options;
  options.format = LogFormat::kJson;
  options.line_interval = 1ms;
  options.live = true;
  auto const text = told(options, [](Teller& teller, Reader& reader) {
    auto hostile = line("broken \xff \"quoted\"\n\x1b[2J");
    hostile.fields = {{"key", "(1,\"a\nb\")"}, {"\xfe", "\x01"}};
    teller.emit(hostile);
    auto progress = users_progress();
    progress.rows_per_second = std::numeric_limits<double>::quiet_NaN();
    teller.emit(progress);
    ASSERT_TRUE(reader.has_seen("\"progress\""));
    teller.emit(users_summary());
  });
  std::map<std::string, boost::json::object> last;
  for (auto const& one : lines_of(text)) {
    auto const object = boost::json::parse(one).as_object();
    last[object.at("event").as_string().c_str()] = object;
  }
  ASSERT_EQ(last.size(), 3u);
  EXPECT_EQ(last["log"].at("at").as_string(), "2024-05-01T03:12:45.678Z");
  EXPECT_EQ(last["log"].at("level").as_string(), "info");
  EXPECT_EQ(last["log"].at("message").as_string(), "broken \xef\xbf\xbd \"quoted\"\n\x1b[2J");
  EXPECT_EQ(last["log"].at("fields").at("key").as_string(), "(1,\"a\nb\")");
  EXPECT_EQ(last["progress"].at("rows_done").as_int64(), 1'356'000);
  EXPECT_EQ(last["progress"].at("rows_per_second").as_int64(), 0);
  EXPECT_TRUE(last["progress"].at("eta_ms").is_null());
  EXPECT_TRUE(last["summary"].at("complete").as_bool());
  EXPECT_EQ(last["summary"].at("notes").as_array().size(), 1u);
}

TEST(Teller, SurvivesAClosedPipe) {
  Pipe pipe;
  close(pipe.reading);
  {
    Teller teller{plain_options(pipe.writing)};
    teller.emit(line("to nobody"));
    EXPECT_TRUE(comes_true([&] { return teller.losses().writes > 0; }));
    teller.emit(line("still to nobody"));
  }
  close(pipe.writing);
}

TEST(Teller, SurvivesAFullDisk) {
  int const fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  {
    Teller teller{plain_options(fd)};
    teller.emit(line("no space left"));
    EXPECT_TRUE(comes_true([&] { return teller.losses().writes > 0; }));
  }
  close(fd);
}

TEST(Teller, EndsAlthoughItsReaderIsStuck) {
  Pipe pipe;
  auto options = plain_options(pipe.writing);
  options.farewell_patience = 10ms;
  auto const begin = std::chrono::steady_clock::now();
  {
    Teller teller{options};
    for (int i = 0; i < 10'000; ++i) teller.emit(line("nobody reads this"));
    for (int i = 0; i < 1'000; ++i) teller.emit(users_progress());
    EXPECT_EQ(teller.losses().lines, 0);
    EXPECT_GE(teller.losses().progress, 1'000 - Teller::kQueuedProgressMax);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, kPatience);
  close(pipe.reading);
  close(pipe.writing);
}

TEST(Teller, AdmitsAHoleInTheLog) {
  Pipe pipe;
  std::optional<Teller> teller{plain_options(pipe.writing)};
  for (int i = 0; i < Teller::kQueuedLinesMax + 5'000; ++i) teller->emit(line("x"));
  auto const lost = teller->losses().lines;
  EXPECT_GT(lost, 0);
  Reader reader{pipe.reading};
  EXPECT_TRUE(reader.has_seen(std::to_string(lost) + " log lines are missing here"));
  teller.reset();
  close(pipe.writing);
}

// --- On a terminal --------------------------------------------------------------------------------------------------

struct Terminal {
  explicit Terminal(unsigned short columns) {
    winsize const size{24, columns, 0, 0};
    if (openpty(&outside, &inside, nullptr, nullptr, &size) != 0) std::abort();
  }
  void resize(unsigned short columns) const {
    winsize const size{24, columns, 0, 0};
    ioctl(inside, TIOCSWINSZ, &size);
  }
  TellerOptions options() const {
    TellerOptions live;
    live.fd = inside;
    live.live = true;
    return live;
  }
  int outside = -1;
  int inside = -1;
};

// Just enough of a terminal to see what stays on it: carriage return, line feed, cursor up, erase. One byte is a cell,
// so lines must not wrap.
class Screen {
 public:
  explicit Screen(std::string_view text) {
    while (!text.empty()) {
      if (text.starts_with("\x1b["))
        obey(text);
      else
        show(text);
    }
    while (!rows_.empty() && rows_.back().empty()) rows_.pop_back();
  }

  std::vector<std::string> const& rows() const { return rows_; }
  bool is_cursor_visible() const { return is_cursor_visible_; }

 private:
  void obey(std::string_view& text) {
    auto const end = std::min(text.find_first_of("ABCDHJKhlm"), text.size() - 1);
    auto const argument = std::string{text.substr(2, end - 2)};
    switch (text[end]) {
      case 'A':
        row_ -= std::min<std::size_t>(row_, std::stoul(argument));
        break;
      case 'J':
        row().resize(std::min(column_, row().size())), rows_.resize(row_ + 1);
        break;
      case 'K':
        row().resize(std::min(column_, row().size()));
        break;
      case 'h':
        is_cursor_visible_ |= argument == "?25";
        break;
      case 'l':
        is_cursor_visible_ &= argument != "?25";
        break;
      default:
        break;
    }
    text.remove_prefix(end + 1);
  }

  void show(std::string_view& text) {
    char const c = text[0];
    text.remove_prefix(1);
    if (c == '\r') {
      column_ = 0;
    } else if (c == '\n') {
      ++row_;
    } else {
      if (row().size() <= column_) row().resize(column_ + 1, ' ');
      row()[column_++] = c;
    }
  }

  std::string& row() {
    if (rows_.size() <= row_) rows_.resize(row_ + 1);
    return rows_[row_];
  }

  std::vector<std::string> rows_;
  std::size_t row_ = 0;
  std::size_t column_ = 0;
  bool is_cursor_visible_ = true;
};

// What a terminal got when `emit_all` has been told.
template <typename EmitAll>
std::string told_live(Terminal const& terminal, TellerOptions const& options, EmitAll emit_all) {
  Reader reader{terminal.outside};
  {
    Teller teller{options};
    emit_all(teller, reader);
  }
  close(terminal.inside);
  return reader.all();
}

std::size_t frames_of(std::string const& text) {
  std::size_t frames = 0;
  for (std::size_t at = 0; (at = text.find("\x1b[?7l", at)) != std::string::npos; ++at) ++frames;
  return frames;
}

TEST(TellerOnATerminal, RedrawsInPlaceBelowTheLogLines) {
  Terminal const terminal{80};
  auto options = terminal.options();
  options.unicode = false;
  auto const text = told_live(terminal, options, [](Teller& teller, Reader& reader) {
    auto progress = users_progress();
    teller.emit(progress);
    ASSERT_TRUE(reader.has_seen("45.2 %"));
    teller.emit(line("first"));
    ASSERT_TRUE(reader.has_seen("first"));
    progress.rows_done = 2'000'000;
    teller.emit(progress);
    ASSERT_TRUE(reader.has_seen("66.6 %"));
    teller.emit(line("second, which is so long that it has to be folded at a word to fit into eighty columns."));
  });
  Screen const screen{text};
  EXPECT_TRUE(screen.is_cursor_visible());
  EXPECT_THAT(
      screen.rows(),
      ElementsAre("03:12:45Z info    first",
                  "03:12:45Z info    second, which is so long that it has to be folded at a word",
                  "                  to fit into eighty columns.", "users_display_name  public.users  backfilling",
                  "##########################--------------   66.6 %  2,000,000 of ~3,000,000 rows",
                  "281 k rows/s        2 workers", "elapsed 0 s         ETA unknown", "not held back"));
}

TEST(TellerOnATerminal, LeavesTheLastStateAndTheSummary) {
  Terminal const terminal{60};
  auto options = terminal.options();
  options.unicode = false;
  auto const text = told_live(terminal, options, [](Teller& teller, Reader& reader) {
    teller.emit(users_progress());
    ASSERT_TRUE(reader.has_seen("45.2 %"));
    teller.emit(users_summary());
    teller.emit(line("bye"));
  });
  Screen const screen{text};
  EXPECT_TRUE(screen.is_cursor_visible());
  EXPECT_THAT(screen.rows(), ElementsAre("users_display_name  public.users  complete",
                                         "##################################  100.0 %  2,999,000 rows",
                                         "users_display_name is complete.", "  150 batches in 11.2 s",
                                         "  - Run `pgbackfill complete users_display_name`.", "03:12:45Z info    bye"));
}

TEST(TellerOnATerminal, DrawsAtMostTenTimesASecond) {
  Terminal const terminal{80};
  auto const begin = std::chrono::steady_clock::now();
  auto const text = told_live(terminal, terminal.options(), [](Teller& teller, Reader&) {
    auto progress = users_progress();
    for (int i = 0; i < 20'000; ++i) {
      ++progress.rows_done;
      teller.emit(progress);
    }
  });
  auto const tenths = (std::chrono::steady_clock::now() - begin) / 100ms;
  EXPECT_GE(frames_of(text), 1u);
  EXPECT_LE(frames_of(text), static_cast<std::size_t>(tenths) + 2);
}

TEST(TellerOnATerminal, FollowsTheWindowSize) {
  Terminal const terminal{80};
  auto options = terminal.options();
  options.unicode = false;
  auto const text = told_live(terminal, options, [&](Teller& teller, Reader& reader) {
    teller.emit(users_progress());
    ASSERT_TRUE(reader.has_seen("45.2 %  1,356,000 of ~3,000,000 rows"));
    terminal.resize(30);
    ASSERT_TRUE(reader.has_seen("\x1b[?7lusers_display...  backfilling\x1b[K"));
  });
  EXPECT_THAT(text, HasSubstr("\r\n#########-----------   45.2 %\x1b[K"));
}

TEST(TellerOnATerminal, IsNotLedAstrayByNames) {
  Terminal const terminal{80};
  auto const text = told_live(terminal, terminal.options(), [](Teller& teller, Reader&) {
    auto progress = users_progress();
    progress.migration = "\x1b[2J\x1b]0;title\x07";
    progress.held_back = "\x1b[1;1Hgotcha\n\n";
    teller.emit(progress);
    teller.emit(line("\x1b[5A"));
  });
  EXPECT_THAT(text, Not(HasSubstr("\x1b[2J")));
  EXPECT_THAT(text, Not(HasSubstr("\x1b]")));
  EXPECT_THAT(text, Not(HasSubstr("\x1b[1;1H")));
  EXPECT_THAT(text, Not(HasSubstr("\x1b[5A")));
}

// --- What suits the environment -------------------------------------------------------------------------------------

class Environment {
 public:
  Environment(std::initializer_list<std::pair<char const*, char const*>> values) {
    for (auto const* name : {"TERM", "NO_COLOR", "LC_ALL", "LC_CTYPE", "LANG"}) {
      char const* const before = std::getenv(name);
      before_[name] = before == nullptr ? std::nullopt : std::optional<std::string>{before};
      unsetenv(name);
    }
    for (auto const& [name, value] : values) setenv(name, value, 1);
  }
  ~Environment() {
    for (auto const& [name, value] : before_)
      if (value)
        setenv(name.c_str(), value->c_str(), 1);
      else
        unsetenv(name.c_str());
  }

 private:
  std::map<std::string, std::optional<std::string>> before_;
};

TEST(TellerOptions, AreLiveOnACapableTerminalOnly) {
  Terminal const terminal{80};
  auto const detected = [&](std::initializer_list<std::pair<char const*, char const*>> values) {
    Environment const environment{values};
    return detect_teller_options(terminal.inside);
  };
  auto const full = detected({{"TERM", "xterm-256color"}, {"LANG", "de_DE.UTF-8"}});
  EXPECT_TRUE(full.live && full.color && full.unicode);
  EXPECT_FALSE(detected({{"TERM", "dumb"}}).live);
  EXPECT_FALSE(detected({}).live);
  EXPECT_FALSE(detected({{"TERM", "xterm"}, {"NO_COLOR", "1"}}).color);
  EXPECT_TRUE(detected({{"TERM", "xterm"}, {"NO_COLOR", "1"}}).live);
  EXPECT_FALSE(detected({{"TERM", "xterm"}, {"LC_ALL", "C"}, {"LANG", "de_DE.UTF-8"}}).unicode);
  EXPECT_FALSE(detected({{"TERM", "linux"}, {"LANG", "C.utf8"}}).unicode);
  close(terminal.inside);
  close(terminal.outside);
}

TEST(TellerOptions, ArePlainOnAPipe) {
  Environment const environment{{"TERM", "xterm"}};
  Pipe const pipe;
  auto const options = detect_teller_options(pipe.writing);
  EXPECT_FALSE(options.live || options.color);
  EXPECT_TRUE(options.unicode);
  close(pipe.reading);
  close(pipe.writing);
}

}  // namespace
}  // namespace pgbackfill::engine
