#include "tests/support/fault_proxy.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <deque>
#include <list>
#include <mutex>
#include <random>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace pgbackfill::tests {
namespace {

using Clock = std::chrono::steady_clock;

// Request codes of a client's first packet, which has no type byte.
// https://www.postgresql.org/docs/current/protocol-message-formats.html
constexpr std::uint32_t kSslRequest = 80877103;
constexpr std::uint32_t kGssRequest = 80877104;
constexpr std::size_t kFirstPacketBytes = 8;
constexpr std::size_t kHeaderBytes = 5;
// Backpressure: no more is read while this much waits to be written.
constexpr std::size_t kWaitingBytesMax = 1 << 20;

[[noreturn]] void throw_errno(std::string const& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

std::uint32_t big_endian(char const* bytes) {
  std::uint32_t number = 0;
  std::memcpy(&number, bytes, sizeof number);
  return ntohl(number);
}

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

void set_no_delay(int descriptor) {
  int const on = 1;
  setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

// A listening socket; port 0 takes any.
int listen_on(int port) {
  int const listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  int const on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  auto const address = loopback(port);
  if (bind(listener, reinterpret_cast<sockaddr const*>(&address), sizeof address) != 0 || listen(listener, 128) != 0) {
    throw_errno(fmt::format("the fault proxy cannot listen on 127.0.0.1:{}", port));
  }
  return listener;
}

// -1 when nobody listens.
int connect_to(int port) {
  int const link = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  auto const address = loopback(port);
  if (connect(link, reinterpret_cast<sockaddr const*>(&address), sizeof address) != 0) {
    close(link);
    return -1;
  }
  set_no_delay(link);
  return link;
}

// One way of a link: bytes on their way, each piece with the time from which it may be written.
struct Way {
  struct Piece {
    Clock::time_point due;
    std::string bytes;
  };
  int from = -1;
  int to = -1;
  std::deque<Piece> pieces;
  std::size_t waiting_bytes = 0;
  bool is_ended = false;

  void push(std::string bytes, Clock::time_point due) {
    if (bytes.empty()) return;
    waiting_bytes += bytes.size();
    pieces.push_back({due, std::move(bytes)});
  }
  bool has_due(Clock::time_point now) const { return !pieces.empty() && pieces.front().due <= now; }
  // False when the receiver is gone.
  bool write_due(Clock::time_point now) {
    while (has_due(now)) {
      auto& bytes = pieces.front().bytes;
      auto const sent = send(to, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent < 0) return errno == EAGAIN || errno == EINTR;
      waiting_bytes -= static_cast<std::size_t>(sent);
      bytes.erase(0, static_cast<std::size_t>(sent));
      if (!bytes.empty()) return true;
      pieces.pop_front();
    }
    return true;
  }
};

// What the server says, cut into answers: everything up to and with a ReadyForQuery.
struct AnswerReader {
  std::string partial;  // from `partial_begin`: the message that has not fully arrived
  std::size_t partial_begin = 0;
  std::string answer;        // whole messages since the last ReadyForQuery that are held back
  std::size_t ready_at = 0;  // where the ReadyForQuery begins in `answer`
  std::vector<std::string> tags;
  bool is_logged_in = false;  // the first ReadyForQuery ends the login

  struct Message {
    char type;
    std::string_view body;
  };
  // The next whole message, moved from `partial` to `answer`; false when there is none.
  bool next(Message& message) {
    auto const arrived = partial.size() - partial_begin;
    if (arrived < kHeaderBytes) return drop_read();
    std::size_t const bytes = 1 + big_endian(partial.data() + partial_begin + 1);
    if (arrived < bytes) return drop_read();
    ready_at = answer.size();
    answer.append(partial, partial_begin, bytes);
    partial_begin += bytes;
    message = {answer[ready_at], std::string_view(answer).substr(ready_at + kHeaderBytes)};
    if (message.type == 'C') tags.emplace_back(message.body.substr(0, message.body.find('\0')));
    return true;
  }
  bool drop_read() {
    partial.erase(0, std::exchange(partial_begin, 0));
    return false;
  }
  bool has_tag(std::string_view begin) const {
    if (begin.empty()) return true;
    for (auto const& tag : tags) {
      if (tag.starts_with(begin)) return true;
    }
    return false;
  }
};

// Counts the client's messages that the server answers with a ReadyForQuery.
struct RequestReader {
  std::string header;
  std::size_t body_left = 0;

  int count_answers(std::string_view bytes) {
    int answers = 0;
    while (!bytes.empty()) {
      auto const skipped = std::min(body_left, bytes.size());
      bytes.remove_prefix(skipped);
      body_left -= skipped;
      auto const taken = std::min(kHeaderBytes - header.size(), bytes.size());
      header.append(bytes.substr(0, taken));
      bytes.remove_prefix(taken);
      if (header.size() < kHeaderBytes) continue;
      body_left = big_endian(header.data() + 1) - sizeof(std::uint32_t);
      if (header[0] == 'Q' || header[0] == 'S' || header[0] == 'F') ++answers;
      header.clear();
    }
    return answers;
  }
};

struct Link {
  Way request;  // client to server
  Way answer;   // server to client
  AnswerReader reader;
  RequestReader requests;
  std::string first_packet;  // until the client's start-up packet is known
  bool is_started = false;
  int answers_due = 1;      // the login's is the first
  bool is_waiting = true;   // the client has sent something since the last answer that was due
  bool is_answered = true;  // the server has said something since the client did
  bool is_cut = false;      // by a fault: ends with a reset
  bool is_over = false;     // by its own end
};

}  // namespace

class FaultProxy::Impl {
 public:
  explicit Impl(int server_port) : server_port_(server_port), listener_(listen_on(0)), wake_(eventfd(0, EFD_CLOEXEC)) {
    sockaddr_in address{};
    socklen_t bytes = sizeof address;
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &bytes);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { run(); });
  }

  ~Impl() {
    change([this] { is_ending_ = true; });
    thread_.join();
    for (auto& link : links_) close_link(link);
    if (listener_ >= 0) close(listener_);
    close(wake_);
  }

  template <typename Change>
  void change(Change&& change) {
    std::lock_guard const lock(mutex_);
    change();
    std::uint64_t const one = 1;
    [[maybe_unused]] auto const written = write(wake_, &one, sizeof one);
  }

  template <typename Value>
  Value get(Value const& value) const {
    std::lock_guard const lock(mutex_);
    return value;
  }

  void set_refusing(bool is_refusing) {
    change([this, is_refusing] {
      if (is_refusing && listener_ >= 0) {
        close(listener_);
        listener_ = -1;
      } else if (!is_refusing && listener_ < 0) {
        listener_ = listen_on(port_);
      }
    });
  }

  void cut_all() {
    change([this] {
      for (auto& link : links_) {
        link.is_cut = true;
        close_link(link);
      }
      links_.clear();
      ++generation_;
    });
  }

  int count_links() const {
    std::lock_guard const lock(mutex_);
    return static_cast<int>(links_.size());
  }

  mutable std::mutex mutex_;
  int server_port_;
  int listener_;
  int wake_;
  int port_ = 0;
  bool is_ending_ = false;
  bool is_stalled_ = false;
  bool is_next_answer_dropped_ = false;
  std::string tag_;
  double answer_probability_ = 0;
  double request_probability_ = 0;
  std::mt19937_64 answer_random_;
  std::mt19937_64 request_random_;
  std::chrono::microseconds delay_{};
  int dropped_answers_ = 0;
  int dropped_requests_ = 0;
  int round_trips_ = 0;
  std::uint64_t generation_ = 0;  // tells a poll that its links are no more

 private:
  struct Watched {
    Way* way;
    bool is_reading;
  };

  void run();
  Clock::time_point watch(std::vector<pollfd>& sockets, std::vector<Watched>& ways);
  void accept_clients();
  void obey(std::vector<pollfd> const& sockets, std::vector<Watched> const& ways);
  void read_way(Link& link, Way& way);
  void take_request(Link& link, std::string bytes);
  void take_answer(Link& link, std::string_view bytes);
  bool should_drop(Link& link, char transaction);
  void end_answer(Link& link, char transaction);
  void start_link(Link& link, std::string bytes);
  static void close_link(Link& link);

  bool is_holding() const { return is_next_answer_dropped_ || answer_probability_ > 0; }
  static bool chance(std::mt19937_64& random, double probability) {
    return probability > 0 && std::uniform_real_distribution<double>(0, 1)(random) < probability;
  }

  std::list<Link> links_;
  std::thread thread_;
};

void FaultProxy::Impl::close_link(Link& link) {
  if (link.is_cut) {
    linger const reset{1, 0};
    setsockopt(link.request.from, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  }
  close(link.request.from);
  close(link.request.to);
}

void FaultProxy::Impl::run() {
  std::vector<pollfd> sockets;
  std::vector<Watched> ways;
  for (;;) {
    std::uint64_t generation = 0;
    Clock::time_point wake_at;
    {
      std::lock_guard const lock(mutex_);
      if (is_ending_) return;
      generation = generation_;
      wake_at = watch(sockets, ways);
    }
    auto const left = std::chrono::duration_cast<std::chrono::nanoseconds>(wake_at - Clock::now()).count();
    auto const wait = std::max<decltype(left)>(left, 0);
    timespec const timeout{static_cast<time_t>(wait / 1'000'000'000), static_cast<long>(wait % 1'000'000'000)};
    ppoll(sockets.data(), sockets.size(), wake_at == Clock::time_point::max() ? nullptr : &timeout, nullptr);
    std::lock_guard const lock(mutex_);
    if (sockets[0].revents != 0) {
      std::uint64_t count = 0;
      [[maybe_unused]] auto const bytes = read(wake_, &count, sizeof count);
    }
    if (generation == generation_ && !is_stalled_) obey(sockets, ways);
    if (listener_ >= 0) accept_clients();
  }
}

// What to poll for, and until when.
Clock::time_point FaultProxy::Impl::watch(std::vector<pollfd>& sockets, std::vector<Watched>& ways) {
  auto wake_at = Clock::time_point::max();
  auto const now = Clock::now();
  sockets = {{wake_, POLLIN, 0}, {listener_, POLLIN, 0}};
  ways.clear();
  if (is_stalled_) return wake_at;
  for (auto& link : links_) {
    for (Way* way : {&link.request, &link.answer}) {
      if (!way->is_ended && way->waiting_bytes < kWaitingBytesMax) {
        sockets.push_back({way->from, POLLIN, 0});
        ways.push_back({way, true});
      }
      if (way->has_due(now)) {
        sockets.push_back({way->to, POLLOUT, 0});
        ways.push_back({way, false});
      } else if (!way->pieces.empty()) {
        wake_at = std::min(wake_at, way->pieces.front().due);
      }
    }
  }
  return wake_at;
}

void FaultProxy::Impl::accept_clients() {
  for (;;) {
    int const client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0) return;
    set_no_delay(client);
    int const server = connect_to(server_port_);
    if (server < 0) {
      close(client);
      continue;
    }
    auto& link = links_.emplace_back();
    link.request.from = link.answer.to = client;
    link.request.to = link.answer.from = server;
  }
}

void FaultProxy::Impl::obey(std::vector<pollfd> const& sockets, std::vector<Watched> const& ways) {
  auto const is_readable = [&](Way const& way) {
    for (std::size_t entry = 0; entry < ways.size(); ++entry) {
      if (ways[entry].way == &way && ways[entry].is_reading) return sockets[entry + 2].revents != 0;
    }
    return false;
  };
  for (auto link = links_.begin(); link != links_.end();) {
    for (Way* way : {&link->request, &link->answer}) {
      if (!link->is_cut && is_readable(*way)) read_way(*link, *way);
    }
    auto const now = Clock::now();
    for (Way* way : {&link->request, &link->answer}) {
      if (link->is_cut || link->is_over) break;
      bool const is_written = way->write_due(now);
      link->is_over = !is_written || (way->is_ended && way->pieces.empty());
    }
    if (link->is_cut || link->is_over) {
      close_link(*link);
      link = links_.erase(link);
    } else {
      ++link;
    }
  }
}

void FaultProxy::Impl::read_way(Link& link, Way& way) {
  std::array<char, 65536> buffer;
  auto const bytes = recv(way.from, buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (bytes < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (bytes <= 0) {
    // The held back part of an answer whose end will not come.
    if (&way == &link.answer) {
      way.push(std::exchange(link.reader.answer, {}) + std::exchange(link.reader.partial, {}), Clock::now() + delay_);
    }
    way.is_ended = true;
    return;
  }
  std::string_view const received(buffer.data(), static_cast<std::size_t>(bytes));
  if (&way == &link.answer) {
    take_answer(link, received);
  } else {
    take_request(link, std::string(received));
  }
}

void FaultProxy::Impl::take_request(Link& link, std::string bytes) {
  if (!link.is_started) {
    start_link(link, std::move(bytes));
    return;
  }
  if (std::exchange(link.is_answered, false)) ++round_trips_;
  bool const is_new = !std::exchange(link.is_waiting, true);
  bool const is_farewell = bytes[0] == 'X';
  if (is_new && !is_farewell && chance(request_random_, request_probability_)) {
    ++dropped_requests_;
    link.is_cut = true;
    return;
  }
  link.answers_due += link.requests.count_answers(bytes);
  link.request.push(std::move(bytes), Clock::now() + delay_);
}

// The offers of encryption are declined here, so that everything after is readable.
void FaultProxy::Impl::start_link(Link& link, std::string bytes) {
  link.first_packet += bytes;
  if (link.first_packet.size() < kFirstPacketBytes) return;
  auto const code = big_endian(link.first_packet.data() + 4);
  if (code == kSslRequest || code == kGssRequest) {
    link.first_packet.erase(0, kFirstPacketBytes);
    link.answer.push("N", Clock::now() + delay_);
    return;
  }
  link.is_started = true;
  link.requests.body_left = big_endian(link.first_packet.data());
  link.requests.count_answers(link.first_packet);
  link.request.push(std::exchange(link.first_packet, {}), Clock::now() + delay_);
}

void FaultProxy::Impl::take_answer(Link& link, std::string_view bytes) {
  auto& reader = link.reader;
  link.is_answered = true;
  reader.partial.append(bytes);
  AnswerReader::Message message{};
  bool is_client_asked = false;
  while (!link.is_cut && reader.next(message)) {
    if (message.type == 'Z') end_answer(link, message.body.empty() ? 'I' : message.body[0]);
    is_client_asked = is_client_asked || message.type == 'G' || message.type == 'W';
  }
  // Not held back: what belongs to no answer (notifications), and COPY's invitation to send.
  bool const is_held = is_holding() && reader.is_logged_in && link.is_waiting && !is_client_asked;
  if (link.is_cut || is_held) return;
  link.answer.push(std::exchange(reader.answer, {}), Clock::now() + delay_);
}

bool FaultProxy::Impl::should_drop(Link& link, char transaction) {
  if (!link.reader.is_logged_in || transaction != 'I') return false;
  if (is_next_answer_dropped_ && link.reader.has_tag(tag_)) {
    is_next_answer_dropped_ = false;
    return true;
  }
  if (!chance(answer_random_, answer_probability_)) return false;
  // Some clients trust a CommandComplete; so some of the cuts come right behind it.
  if ((answer_random_() & 1) != 0 && link.answer.pieces.empty()) {
    auto const& held = link.reader;
    [[maybe_unused]] auto const sent =
        send(link.answer.to, held.answer.data(), held.ready_at, MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  return true;
}

void FaultProxy::Impl::end_answer(Link& link, char transaction) {
  if (should_drop(link, transaction)) {
    ++dropped_answers_;
    link.is_cut = true;
    return;
  }
  link.reader.is_logged_in = true;
  link.reader.tags.clear();
  link.is_waiting = --link.answers_due > 0;
  link.answer.push(std::exchange(link.reader.answer, {}), Clock::now() + delay_);
}

FaultProxy::FaultProxy(int server_port) : impl_(std::make_unique<Impl>(server_port)) {}

FaultProxy::~FaultProxy() = default;

int FaultProxy::port() const {
  return impl_->port_;
}

std::string FaultProxy::dsn() const {
  return fmt::format("host=127.0.0.1 port={} user=postgres dbname=postgres sslmode=disable", port());
}

void FaultProxy::drop_next_answer(std::string tag) {
  impl_->change([&] {
    impl_->is_next_answer_dropped_ = true;
    impl_->tag_ = std::move(tag);
  });
}

void FaultProxy::drop_answers_with_probability(double probability, std::uint64_t seed) {
  impl_->change([&] {
    impl_->answer_probability_ = probability;
    impl_->answer_random_.seed(seed);
  });
}

void FaultProxy::drop_requests_with_probability(double probability, std::uint64_t seed) {
  impl_->change([&] {
    impl_->request_probability_ = probability;
    impl_->request_random_.seed(seed);
  });
}

void FaultProxy::cut_all() {
  impl_->cut_all();
}

void FaultProxy::refuse_new(bool is_refusing) {
  impl_->set_refusing(is_refusing);
}

void FaultProxy::stall(bool is_stalled) {
  impl_->change([&] { impl_->is_stalled_ = is_stalled; });
}

void FaultProxy::set_delay(std::chrono::microseconds delay) {
  impl_->change([&] { impl_->delay_ = delay; });
}

void FaultProxy::set_server_port(int port) {
  impl_->change([&] { impl_->server_port_ = port; });
}

int FaultProxy::connections() const {
  return impl_->count_links();
}

int FaultProxy::dropped_answers() const {
  return impl_->get(impl_->dropped_answers_);
}

int FaultProxy::dropped_requests() const {
  return impl_->get(impl_->dropped_requests_);
}

int FaultProxy::round_trips() const {
  return impl_->get(impl_->round_trips_);
}

}  // namespace pgbackfill::tests
