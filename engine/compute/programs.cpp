#include "engine/compute/programs.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cmath>
#include <cstdlib>
#include <deque>
#include <map>
#include <sstream>
#include <stdexcept>
#include <utility>

#include "engine/base/secret_source.h"
#include "engine/child/lasting_child.h"
#include "engine/http/http_call.h"
#include "planner/model/duration.h"
#include "throttle/backoff.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

// An answer may be longer than its request, but not without end.
constexpr std::size_t kMostAnswer = 64'000'000;
// Sleeps are cut into pieces this long, so that the end of the run is heard soon.
constexpr auto kPatience = 100ms;
constexpr auto kGlance = 10ms;
// Between the end of its input and SIGTERM.
constexpr auto kGrace = 2s;
constexpr double kWeightOfLatest = 0.2;
constexpr double kMostRounds = 100;  // that all requests in flight are thought to make in one batch
constexpr std::size_t kErrorsKept = 3;
constexpr unsigned kOk = 200;
constexpr unsigned kTooManyRequests = 429;
constexpr unsigned kUnavailable = 503;

// What every program needs to find its way, and nothing that is a secret of ours.
std::vector<std::string> variables_of(planner::Compute const& compute) {
  std::vector<std::string> names = {"PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR"};
  names.insert(names.end(), compute.environment.begin(), compute.environment.end());
  return names;
}

// As execvp() looks for it.
bool is_program(std::string const& name) {
  if (name.find('/') != std::string::npos) return access(name.c_str(), X_OK) == 0;
  char const* const variable = std::getenv("PATH");
  std::istringstream folders(variable == nullptr ? "/bin:/usr/bin" : variable);
  for (std::string folder; std::getline(folders, folder, ':');) {
    std::string const path = (folder.empty() ? "." : folder) + '/' + name;
    if (access(path.c_str(), X_OK) == 0) return true;
  }
  return false;
}

// `problem`: what is missing for it.
HttpCall call_of(planner::ComputeService const& service, std::string& problem) {
  HttpCall call;
  call.method = "POST";
  call.ca_file = service.ca_file;
  call.most_bytes = kMostAnswer;
  call.headers = {{"Content-Type", "application/json"}};
  auto const value_of = [&](planner::SecretText const& secret) {
    auto value = secret_of(secret);
    if (auto const* missing = std::get_if<SecretProblem>(&value)) problem = "cannot be asked: " + missing->text;
    return problem.empty() ? std::get<std::string>(std::move(value)) : std::string();
  };
  std::string const url = value_of(service.url);
  for (auto const& [name, secret] : service.headers) call.headers.emplace_back(name, value_of(secret));
  if (!problem.empty()) return call;
  auto parsed = parse_url(url);
  if (auto const* wrong = std::get_if<std::string>(&parsed)) problem = "cannot be asked: its URL: " + *wrong;
  if (problem.empty()) call.url = std::get<Url>(std::move(parsed));
  return call;
}

}  // namespace

// One that waits for its answer.
struct Programs::Request {
  explicit Request(asio::any_io_executor const& executor) : answered(executor, Clock::time_point::max()) {}

  asio::steady_timer answered;
  std::optional<AnswerRead> answer;
  std::string failure;
};

// One process, and what it is asked. Shared with the coroutines that read from it and write to it.
struct Programs::Running {
  Running(asio::any_io_executor const& executor, planner::Compute of, std::unique_ptr<LastingChild> started)
      : compute(std::move(of)), child(std::move(started)), wake(executor, Clock::time_point::max()) {}

  // Nothing more comes from it; whoever waits is told.
  void fail(std::string const& why) {
    if (is_over) return;
    is_over = true;
    ended_by = why;
    for (auto& [id, request] : waiting) {
      request->failure = why;
      request->answered.cancel();
    }
    waiting.clear();
    wake.cancel();
  }

  planner::Compute compute;
  std::unique_ptr<LastingChild> child;
  std::map<std::string, std::shared_ptr<Request>> waiting;  // by id
  std::deque<std::string> to_write;
  asio::steady_timer wake;         // cancelled when there is something to write, or no more
  std::deque<std::string> errors;  // the last lines of its standard error
  bool is_over = false;
  std::string ended_by;
  int coroutines = 0;
};

struct Programs::Outcome {
  std::optional<AnswerRead> answer;
  std::string failure;
};

namespace {

template <class Running>
asio::awaitable<void> write_requests(std::shared_ptr<Running> running) {
  while (!running->is_over) {
    if (running->to_write.empty()) {
      boost::system::error_code ignored;
      co_await running->wake.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
      continue;
    }
    std::string line = std::move(running->to_write.front());
    running->to_write.pop_front();
    bool const is_read = co_await running->child->write(std::move(line));
    // Its end is met, and told, by who reads.
    if (!is_read) break;
  }
  --running->coroutines;
}

// How it ended is known a moment after its output has ended.
template <class Running>
asio::awaitable<std::string> end_of(std::shared_ptr<Running> running) {
  auto const executor = running->wake.get_executor();
  asio::steady_timer timer(executor);
  for (auto waited = 0ms; waited < 500ms && !running->child->how_it_ended(); waited += kGlance) {
    timer.expires_after(kGlance);
    boost::system::error_code ignored;
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  std::string why = running->child->how_it_ended().value_or("closed its standard output");
  for (auto const& line : running->errors) why += "; " + line;
  co_return why;
}

template <class Running>
asio::awaitable<void> read_answers(std::shared_ptr<Running> running) {
  while (!running->is_over) {
    auto line = co_await running->child->read_line(kMostAnswer);
    if (line.end == LineEnd::kEnd) {
      // With nobody to be told why, the next request must not go to it while that is found out.
      if (running->waiting.empty()) running->fail("has ended");
      auto const why = co_await end_of(running);
      running->fail(why);
      running->ended_by = why;
      break;
    }
    if (line.end == LineEnd::kTooLong) {
      running->fail(fmt::format("sent an answer of more than {} MB", kMostAnswer / 1'000'000));
      break;
    }
    auto answer = read_answer(line.text, running->compute);
    auto const found = running->waiting.find(answer.id);
    if (found == running->waiting.end()) {
      std::string const what = answer.id.empty() ? answer.problem : "no request with id " + answer.id + " is waiting";
      running->fail("sent an answer that cannot be used: " + what);
      break;
    }
    auto const request = found->second;
    running->waiting.erase(found);
    request->answer = std::move(answer);
    request->answered.cancel();
  }
  --running->coroutines;
}

template <class Running, class Tell>
asio::awaitable<void> read_errors(std::shared_ptr<Running> running, Tell tell) {
  while (true) {
    auto line = co_await running->child->read_error_line();
    if (!line) break;
    if (line->empty()) continue;
    running->errors.push_back(*line);
    if (running->errors.size() > kErrorsKept) running->errors.pop_front();
    tell(std::move(*line));
  }
  --running->coroutines;
}

}  // namespace

Programs::Programs(asio::any_io_executor executor, planner::Compute compute, std::string migration, std::string table,
                   EventSink& sink)
    : executor_(std::move(executor)),
      compute_(std::move(compute)),
      migration_(std::move(migration)),
      table_(std::move(table)),
      name_(planner::name_of(compute_)),
      sink_(sink),
      seats_(static_cast<std::size_t>(compute_.processes)),
      changed_(executor_, Clock::time_point::max()),
      random_(std::random_device{}()) {}

Programs::~Programs() = default;

void Programs::tell(Severity severity, std::string text) {
  sink_.emit(log_line(severity, std::move(text), {{"migration", migration_}, {"program", name_}}));
}

Failure Programs::failure_of(ComputeRequest const& request, std::string const& why) const {
  Failure failure;
  failure.trouble = planner::Trouble::kFatal;
  failure.sqlstate = planner::kProgramState;
  std::string const times = most_failures_ == 1 ? "" : fmt::format("{} times in a row ", most_failures_);
  failure.message = fmt::format("{} failed {}with the request of {} row(s) from key {} on: it {}", name_, times,
                                request.row_count, key_for_people(request.first_key), why);
  return failure;
}

std::string Programs::missing() const {
  if (compute_.service) {
    std::string problem;
    call_of(*compute_.service, problem);
    return problem.empty() ? problem : name_ + ' ' + problem;
  }
  auto const& program = compute_.command.front();
  if (is_program(program)) return "";
  return fmt::format("there is no program '{}'{}, or it may not be run", program,
                     program.find('/') == std::string::npos ? " in PATH" : "");
}

// Requests are spread over the second; a wait that the program asks for is a wait of all, also of who waited for room
// meanwhile. Whoever has the turn sends before anybody else looks.
asio::awaitable<bool> Programs::wait_for_turn() {
  asio::steady_timer timer(executor_);
  while (!is_abandoned_) {
    boost::system::error_code ignored;
    auto const now = Clock::now();
    if (is_winding_down_ && not_before_ > now) co_return false;
    if (in_flight_ >= compute_.in_flight) {
      co_await changed_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
      continue;
    }
    auto const due = std::max(not_before_, next_at_);
    if (due <= now) break;
    timer.expires_after(std::min(std::chrono::ceil<milliseconds>(due - now), milliseconds(kPatience)));
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  if (compute_.per_second) {
    next_at_ = std::max(next_at_, Clock::now()) + std::chrono::nanoseconds(1'000'000'000 / *compute_.per_second);
  }
  co_return !is_abandoned_;
}

void Programs::set_pace(planner::ComputePace const& pace) {
  compute_.processes = pace.processes;
  compute_.in_flight = pace.in_flight;
  compute_.per_second = pace.per_second;
  // What was sent at the old pace has earned no wait at the new one.
  next_at_ = std::min(next_at_, Clock::now());
  auto const wanted = static_cast<std::size_t>(compute_.processes);
  if (seats_.size() < wanted) seats_.resize(wanted);
  let_go_of_idle_seats();
  changed_.cancel();
}

// Those beyond the number that is wanted, once they have answered. They end with their input.
void Programs::let_go_of_idle_seats() {
  auto const wanted = static_cast<std::size_t>(compute_.processes);
  for (std::size_t place = wanted; place < seats_.size(); ++place) {
    auto& seat = seats_[place];
    if (!seat || !seat->waiting.empty()) continue;
    seat->child->close_input();
    seat->wake.cancel();
    retired_.push_back(std::exchange(seat, nullptr));
  }
  while (seats_.size() > wanted && !seats_.back()) seats_.pop_back();
}

void Programs::start(std::shared_ptr<Running>& seat) {
  auto child = LastingChild::start(executor_, compute_.command, environment_of(variables_of(compute_)));
  if (!child) throw std::runtime_error(child.error().message);
  seat = std::make_shared<Running>(executor_, compute_, std::move(*child));
  seat->coroutines = 3;
  asio::co_spawn(executor_, write_requests(seat), asio::detached);
  asio::co_spawn(executor_, read_answers(seat), asio::detached);
  auto const say = [sink = &sink_, migration = migration_, name = name_](std::string line) {
    sink->emit(log_line(Severity::kInfo, name + ": " + line, {{"migration", migration}, {"program", name}}));
  };
  asio::co_spawn(executor_, read_errors(seat, say), asio::detached);
}

// Takes its place away, so that the next request starts another one.
void Programs::retire(std::shared_ptr<Running> const& running) {
  running->fail("was ended");
  running->child->end(true);
  auto const seat = std::find(seats_.begin(), seats_.end(), running);
  if (seat == seats_.end()) return;
  retired_.push_back(std::move(*seat));
  seat->reset();
  // Those that have ended altogether need not be waited for.
  std::erase_if(retired_, [](auto const& one) { return one->coroutines == 0 && one->child->how_it_ended(); });
}

// Those that have ended since their last answer: nobody waits for them, so nobody has met it.
void Programs::clear_seats() {
  for (std::size_t place = 0; place < seats_.size(); ++place) {
    auto const running = seats_[place];
    if (!running || !running->is_over) continue;
    if (!std::exchange(is_end_told_, true)) {
      tell(Severity::kWarning, fmt::format("{} {}, with no request unanswered; another one is started, and so "
                                           "whenever that happens",
                                           name_, running->ended_by));
    }
    retire(running);
  }
}

// The one with the fewest requests that wait; a process is started only when all others have some.
std::shared_ptr<Programs::Running> Programs::find_program() {
  clear_seats();
  auto const load = [](std::shared_ptr<Running> const& seat) { return seat ? seat->waiting.size() : 0; };
  auto const end = seats_.begin() + std::min<std::ptrdiff_t>(compute_.processes, std::ssize(seats_));
  auto const least = std::min_element(seats_.begin(), end, [&](auto const& left, auto const& right) {
    return std::pair(load(left), !left) < std::pair(load(right), !right);
  });
  if (!*least) start(*least);
  return *least;
}

void Programs::learn_pace(Clock::time_point began) {
  double const seconds = std::chrono::duration<double>(Clock::now() - began).count();
  seconds_a_request_ += (seconds_a_request_ > 0 ? kWeightOfLatest : 1) * (seconds - seconds_a_request_);
}

asio::awaitable<Programs::Outcome> Programs::send(ComputeRequest const& request, int attempt) {
  Outcome outcome;
  bool const may_go = co_await wait_for_turn();
  if (may_go && compute_.service) outcome = co_await post(request, attempt);
  if (may_go && !compute_.service) outcome = co_await write(request, attempt);
  co_return outcome;
}

asio::awaitable<Programs::Outcome> Programs::post(ComputeRequest const& request, int attempt) {
  Outcome outcome;
  auto call = call_of(*compute_.service, outcome.failure);
  if (!outcome.failure.empty()) co_return outcome;
  call.headers.emplace_back("Idempotency-Key", request.id);
  call.body = request_line(request, attempt, migration_, table_);
  call.timeout = compute_.timeout;
  call.is_stopping = [this] { return is_abandoned_; };
  auto const began = Clock::now();
  ++in_flight_;
  auto const reply = co_await http_call(std::move(call));
  --in_flight_;
  changed_.cancel();
  if (!reply) {
    outcome.failure = "did not answer: " + reply.error().message;
    co_return outcome;
  }
  bool const is_busy = reply->status == kTooManyRequests || reply->status == kUnavailable;
  if (is_busy && reply->retry_after) {
    outcome.answer.emplace();
    outcome.answer->later = *reply->retry_after;
  } else if (reply->status != kOk) {
    outcome.failure = fmt::format("answered {}", reply->status);
  } else {
    learn_pace(began);
    outcome.answer = read_answer(reply->body, compute_);
    bool const is_other = outcome.answer->problem.empty() && outcome.answer->id != request.id;
    if (is_other) outcome.answer->problem = "it has the id of another request";
  }
  co_return outcome;
}

asio::awaitable<Programs::Outcome> Programs::write(ComputeRequest const& request, int attempt) {
  Outcome outcome;
  std::shared_ptr<Running> running;
  try {
    running = find_program();
  } catch (std::exception const& error) {
    outcome.failure = std::string("cannot be started: ") + error.what();
  }
  if (!running) co_return outcome;
  auto const began = Clock::now();
  auto const waiting = std::make_shared<Request>(executor_);
  ++in_flight_;
  // Nobody else has these rows in hand, so no other request that waits has this id.
  running->waiting.insert_or_assign(request.id, waiting);
  running->to_write.push_back(request_line(request, attempt, migration_, table_));
  running->wake.cancel();
  waiting->answered.expires_after(compute_.timeout);
  boost::system::error_code ignored;
  co_await waiting->answered.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  --in_flight_;
  if (waiting->answer) {
    outcome.answer = std::move(waiting->answer);
    learn_pace(began);
  } else if (!waiting->failure.empty()) {
    outcome.failure = waiting->failure;
    retire(running);
  } else {
    outcome.failure = "did not answer within " + planner::format_duration(compute_.timeout);
    running->fail("was ended, because it did not answer another request in time");
    retire(running);
  }
  let_go_of_idle_seats();
  changed_.cancel();
  co_return outcome;
}

asio::awaitable<Result<std::vector<RowAnswer>>> Programs::ask(ComputeRequest request) {
  int failures = 0;
  for (int attempt = 1; !is_abandoned_; ++attempt) {
    auto outcome = co_await send(request, attempt);
    bool const was_sent = outcome.answer || !outcome.failure.empty();
    if (is_abandoned_ || !was_sent) break;
    if (outcome.answer && outcome.answer->problem.empty() && !outcome.answer->later) {
      outcome.answer->problem = check_answer(outcome.answer->rows, request);
    }
    bool const is_good = outcome.answer && outcome.answer->problem.empty();
    if (is_good && outcome.answer->later) {
      not_before_ = std::max(not_before_, Clock::now() + *outcome.answer->later);
      is_asked_to_wait_ = true;
      failures = 0;
      continue;
    }
    if (is_good) {
      is_asked_to_wait_ = false;
      trouble_.clear();
      co_return std::move(outcome.answer->rows);
    }
    std::string const why =
        outcome.answer ? "sent an answer that cannot be used: " + outcome.answer->problem : outcome.failure;
    if (++failures >= most_failures_) co_return failure_of(request, why);
    trouble_ = why;
    throttle::BackoffOptions const backoff{100ms, 10'000ms};
    double const chance = std::uniform_real_distribution<double>(0, 1)(random_);
    auto const wait = throttle::backoff_delay(failures - 1, backoff, chance);
    not_before_ = std::max(not_before_, Clock::now() + wait);
    tell(Severity::kWarning,
         fmt::format("{} {}; its request of {} row(s) from key {} on is sent again in {}", name_, why,
                     request.row_count, key_for_people(request.first_key), planner::format_duration(wait)));
  }
  Failure failure;
  failure.trouble = planner::Trouble::kCancelled;
  failure.message = "the run ends";
  co_return failure;
}

void Programs::abandon() {
  is_abandoned_ = true;
  for (auto const& seat : seats_) {
    if (!seat) continue;
    seat->fail("was ended");
    seat->child->end(true);
  }
  changed_.cancel();
}

asio::awaitable<void> Programs::stop() {
  is_abandoned_ = true;
  auto all = std::exchange(retired_, {});
  for (auto& seat : seats_) {
    if (seat) all.push_back(std::exchange(seat, nullptr));
  }
  for (auto const& running : all) {
    running->child->close_input();
    running->wake.cancel();
  }
  asio::steady_timer timer(executor_);
  auto const has_ended = [](std::shared_ptr<Running> const& running) {
    return running->child->how_it_ended().has_value();
  };
  auto const began = Clock::now();
  while (!std::all_of(all.begin(), all.end(), has_ended)) {
    bool const is_kind = Clock::now() - began < 2 * kGrace;
    if (Clock::now() - began >= kGrace) {
      for (auto const& running : all) running->child->end(!is_kind);
    }
    timer.expires_after(kGlance);
    boost::system::error_code ignored;
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  // What they have left in the background may hold the pipes open.
  for (auto const& running : all) {
    running->fail("has ended");
    running->child->close();
  }
  while (std::any_of(all.begin(), all.end(), [](auto const& running) { return running->coroutines > 0; })) {
    timer.expires_after(kGlance);
    boost::system::error_code ignored;
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
}

std::int64_t Programs::requests_in(std::chrono::milliseconds time) const {
  if (seconds_a_request_ <= 0) return compute_.in_flight;
  double const at_once = std::chrono::duration<double>(time).count() / seconds_a_request_;
  return std::max<std::int64_t>(compute_.in_flight, std::llround(std::min(at_once, kMostRounds) * compute_.in_flight));
}

std::string Programs::held_back() const {
  auto const now = Clock::now();
  if (is_asked_to_wait_ && not_before_ > now) {
    return fmt::format("{} asked to wait; it goes on in {}", name_,
                       planner::format_duration(std::chrono::ceil<milliseconds>(not_before_ - now)));
  }
  if (!trouble_.empty()) return fmt::format("{} {}", name_, trouble_);
  if (in_flight_ == 0) return "";
  return fmt::format("waiting for {}: {:.1f} s a request, {} in flight", name_, seconds_a_request_, in_flight_);
}

}  // namespace pgbackfill::engine
