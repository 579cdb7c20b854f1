#include "engine/child/lasting_child.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <cerrno>
#include <system_error>
#include <utility>

#include "engine/child/child_warden.h"

namespace pgbackfill::engine {

namespace {

constexpr std::size_t kMostErrorLine = 2'000;
constexpr std::size_t kReadAtOnce = 65'536;

std::string words_of(int status) {
  if (WIFSIGNALED(status)) return "was ended by signal " + std::to_string(WTERMSIG(status));
  return "exited with " + std::to_string(WEXITSTATUS(status));
}

// Up to the next line's end, or to `most` bytes.
asio::awaitable<LineRead> next_line(asio::posix::stream_descriptor& pipe, std::string& text, std::size_t most) {
  LineRead line;
  std::size_t seen = 0;
  while (true) {
    auto const end = text.find('\n', seen);
    if (end != std::string::npos) {
      line.end = end > most ? LineEnd::kTooLong : LineEnd::kLine;
      line.text = text.substr(0, end);
      text.erase(0, end + 1);
      co_return line;
    }
    if (text.size() > most) {
      line.end = LineEnd::kTooLong;
      line.text = std::exchange(text, {});
      co_return line;
    }
    seen = text.size();
    text.resize(seen + kReadAtOnce);
    boost::system::error_code error;
    auto const size = co_await pipe.async_read_some(asio::buffer(text.data() + seen, kReadAtOnce),
                                                    asio::redirect_error(asio::use_awaitable, error));
    text.resize(seen + size);
    if (error) co_return line;
  }
}

}  // namespace

LastingChild::LastingChild(asio::any_io_executor const& executor, pid_t warden, Pipe& input, Pipe& output, Pipe& errors,
                           int status_end)
    : warden_(warden),
      status_end_(status_end),
      input_(executor, input.take_writing_end()),
      output_(executor, output.take_reading_end()),
      errors_(executor, errors.take_reading_end()) {}

Result<std::unique_ptr<LastingChild>> LastingChild::start(asio::any_io_executor executor,
                                                          std::vector<std::string> const& arguments,
                                                          std::vector<std::string> const& environment) {
  Pipe input;
  Pipe output;
  Pipe errors;
  Pipe status;
  ChildEnds const ends{input.reading_end(), output.writing_end(), errors.writing_end(), status.writing_end()};
  pid_t const pid = spawn_child(arguments, environment, ends);
  if (pid < 0) {
    Failure failure;
    failure.trouble = planner::Trouble::kFatal;
    failure.message = "cannot start " + arguments.front() + ": " + std::generic_category().message(errno);
    return failure;
  }
  return std::make_unique<LastingChild>(executor, pid, input, output, errors, status.take_reading_end());
}

LastingChild::~LastingChild() {
  if (!status_) {
    kill(warden_, kEndAtOnce);
    reap(true);
  }
  ::close(status_end_);
}

asio::awaitable<bool> LastingChild::write(std::string text) {
  if (!input_.is_open()) co_return false;
  boost::system::error_code error;
  co_await asio::async_write(input_, asio::buffer(text), asio::redirect_error(asio::use_awaitable, error));
  co_return !error;
}

asio::awaitable<LineRead> LastingChild::read_line(std::size_t most_bytes) {
  return next_line(output_, output_text_, most_bytes);
}

asio::awaitable<std::optional<std::string>> LastingChild::read_error_line() {
  auto line = co_await next_line(errors_, error_text_, kMostErrorLine);
  if (line.end == LineEnd::kEnd) co_return std::nullopt;
  if (line.text.size() > kMostErrorLine) line.text.resize(kMostErrorLine);
  co_return std::move(line.text);
}

void LastingChild::close_input() {
  boost::system::error_code ignored;
  input_.close(ignored);
}

void LastingChild::close() {
  boost::system::error_code ignored;
  for (auto* pipe : {&input_, &output_, &errors_}) pipe->close(ignored);
}

void LastingChild::end(bool at_once) {
  if (!how_it_ended()) kill(warden_, at_once ? kEndAtOnce : kEndKindly);
}

std::optional<std::string> LastingChild::how_it_ended() {
  if (!status_) reap(false);
  if (!status_) return std::nullopt;
  return words_of(*status_);
}

void LastingChild::reap(bool waits) {
  int status = 0;
  pid_t const pid = waitpid(warden_, &status, waits ? 0 : WNOHANG);
  if (pid == 0) return;
  status_ = status_of(status_end_, pid == warden_ ? status : 0);
}

}  // namespace pgbackfill::engine
