#include "engine/http/http_call.h"

#include <curl/curl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <thread>

#include "engine/base/text.h"
#include "engine/base/thread_signals.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;

constexpr int kMostRedirections = 3;
// How soon an answer is seen: at first at once, then in steps that cost nothing.
constexpr auto kFirstGlance = 1ms;
constexpr auto kLastGlance = 20ms;
// libcurl keeps the time; this is for when it does not.
constexpr auto kOverdue = 500ms;
constexpr int kIdleMs = 1'000;
constexpr int kBusyMs = 100;

// Where systems keep whom they trust. A libcurl that was built for one does not know the others.
constexpr std::array<char const*, 5> kTrustFiles = {
    "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem"};

std::string variable(char const* name) {
  char const* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string trust_file(std::string const& of_call) {
  if (!of_call.empty()) return of_call;
  auto named = variable("SSL_CERT_FILE");
  if (!named.empty()) return named;
  auto const found =
      std::find_if(kTrustFiles.begin(), kTrustFiles.end(), [](char const* path) { return access(path, R_OK) == 0; });
  return found == kTrustFiles.end() ? "" : *found;
}

bool is_loopback(std::string const& host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

Failure failure(std::string text) {
  Failure failed;
  failed.trouble = planner::Trouble::kConnection;
  failed.message = std::move(text);
  return failed;
}

// Shared by whoever waits and the thread that calls.
struct Pending {
  explicit Pending(HttpCall what) : call(std::move(what)), trust(trust_file(call.ca_file)) {}

  HttpCall const call;
  std::string const trust;
  std::atomic<bool> is_cancelled{false};
  std::atomic<bool> is_done{false};
  std::optional<Result<HttpReply>> result;  // once it is done
};

// Of the thread alone.
class Transfer {
 public:
  explicit Transfer(std::shared_ptr<Pending> pending)
      : pending_(std::move(pending)),
        easy_(curl_easy_init()),
        url_(pending_->call.url),
        give_up_at_(std::chrono::steady_clock::now() + pending_->call.timeout) {
    for (auto const& [name, value] : pending_->call.headers) add_header(name + ": " + value);
    // No answer is waited for before the body is sent.
    add_header("Expect:");
  }
  ~Transfer() {
    curl_easy_cleanup(easy_);
    curl_slist_free_all(headers_);
  }
  Transfer(Transfer const&) = delete;
  Transfer& operator=(Transfer const&) = delete;

  CURL* easy() const { return easy_; }
  Pending& pending() const { return *pending_; }

  void prepare() {
    auto const& call = pending_->call;
    reply_ = HttpReply();
    is_too_long_ = false;
    error_[0] = '\0';
    auto const left =
        std::chrono::duration_cast<std::chrono::milliseconds>(give_up_at_ - std::chrono::steady_clock::now());
    curl_easy_setopt(easy_, CURLOPT_URL, url_.text().c_str());
    curl_easy_setopt(easy_, CURLOPT_TIMEOUT_MS, static_cast<long>(std::max<std::int64_t>(left.count(), 1)));
    curl_easy_setopt(easy_, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(std::max<std::int64_t>(left.count(), 1)));
    curl_easy_setopt(easy_, CURLOPT_NOSIGNAL, 1L);
    // A name that nobody answers for holds no end of this process up.
    curl_easy_setopt(easy_, CURLOPT_QUICK_EXIT, 1L);
    curl_easy_setopt(easy_, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy_, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy_, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(easy_, CURLOPT_USERAGENT, "pgbackfill");
    curl_easy_setopt(easy_, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
    if (!pending_->trust.empty()) curl_easy_setopt(easy_, CURLOPT_CAINFO, pending_->trust.c_str());
    auto const folder = variable("SSL_CERT_DIR");
    // Whoever names whom to trust trusts nobody else.
    if (!call.ca_file.empty()) curl_easy_setopt(easy_, CURLOPT_CAPATH, nullptr);
    if (call.ca_file.empty() && !folder.empty()) curl_easy_setopt(easy_, CURLOPT_CAPATH, folder.c_str());
    // A proxy's own loopback is another one.
    if (is_loopback(url_.host)) curl_easy_setopt(easy_, CURLOPT_PROXY, "");
    curl_easy_setopt(easy_, CURLOPT_ERRORBUFFER, error_.data());
    curl_easy_setopt(easy_, CURLOPT_WRITEFUNCTION, &Transfer::take_body);
    curl_easy_setopt(easy_, CURLOPT_WRITEDATA, this);
    curl_easy_setopt(easy_, CURLOPT_OPENSOCKETFUNCTION, &Transfer::open_socket);
    curl_easy_setopt(easy_, CURLOPT_HTTPHEADER, headers_);
    curl_easy_setopt(easy_, CURLOPT_PRIVATE, this);
    bool const has_body = call.method != "GET";
    if (has_body) {
      curl_easy_setopt(easy_, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(call.body.size()));
      curl_easy_setopt(easy_, CURLOPT_POSTFIELDS, call.body.data());
    } else {
      curl_easy_setopt(easy_, CURLOPT_HTTPGET, 1L);
    }
    curl_easy_setopt(easy_, CURLOPT_CUSTOMREQUEST, has_body ? call.method.c_str() : nullptr);
  }

  // False: it goes on with another place of the same host.
  bool is_over(CURLcode code) {
    if (code != CURLE_OK) {
      finish(failure(words_of(code)));
      return true;
    }
    long status = 0;
    curl_easy_getinfo(easy_, CURLINFO_RESPONSE_CODE, &status);
    reply_.status = static_cast<unsigned>(status);
    if (may_follow()) return false;
    curl_off_t seconds = 0;
    curl_easy_getinfo(easy_, CURLINFO_RETRY_AFTER, &seconds);
    if (seconds > 0) reply_.retry_after = std::chrono::seconds(seconds);
    finish(std::move(reply_));
    return true;
  }

  void finish(Result<HttpReply> result) {
    pending_->result = std::move(result);
    pending_->is_done = true;
  }

 private:
  void add_header(std::string const& line) { headers_ = curl_slist_append(headers_, line.c_str()); }

  bool may_follow() {
    char* target = nullptr;
    curl_easy_getinfo(easy_, CURLINFO_REDIRECT_URL, &target);
    if (target == nullptr || ++redirections_ > kMostRedirections) return false;
    // What changes something is sent again only where the server says that it was not taken.
    bool const keeps_method = reply_.status == 307 || reply_.status == 308;
    if (pending_->call.method != "GET" && !keeps_method) return false;
    auto const parsed = parse_url(target);
    auto const* const to = std::get_if<Url>(&parsed);
    if (to == nullptr || !stays_with_host(url_, *to)) return false;
    url_ = *to;
    return true;
  }

  std::string words_of(CURLcode code) const {
    auto const where = fmt::format("{}:{}", url_.host, url_.port);
    std::string const said = neutralised(error_[0] == '\0' ? curl_easy_strerror(code) : error_.data());
    switch (code) {
      case CURLE_OPERATION_TIMEDOUT:
        return where + " took too long";
      case CURLE_WRITE_ERROR:
        if (!is_too_long_) break;
        return fmt::format("the answer of {} is longer than {} bytes", where, pending_->call.most_bytes);
      case CURLE_PEER_FAILED_VERIFICATION:
        return fmt::format(
            "the certificate of {} is not trusted ({}); name the authority that signed it in ca_file or SSL_CERT_FILE",
            where, said);
      case CURLE_SSL_CACERT_BADFILE:
        return fmt::format("{} holds no certificates that can be read ({})", pending_->trust, said);
      default:
        break;
    }
    return where + ": " + said;
  }

  static std::size_t take_body(char* data, std::size_t size, std::size_t count, void* self) {
    auto& transfer = *static_cast<Transfer*>(self);
    auto& body = transfer.reply_.body;
    std::size_t const bytes = size * count;
    transfer.is_too_long_ = body.size() + bytes > transfer.pending_->call.most_bytes;
    if (transfer.is_too_long_) return 0;
    body.append(data, bytes);
    return bytes;
  }

  // Not for the children that hooks are.
  static curl_socket_t open_socket(void* /*self*/, curlsocktype /*purpose*/, curl_sockaddr* address) {
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
  }

  std::shared_ptr<Pending> pending_;
  CURL* easy_;
  curl_slist* headers_ = nullptr;
  Url url_;
  std::chrono::steady_clock::time_point give_up_at_;
  int redirections_ = 0;
  bool is_too_long_ = false;
  HttpReply reply_;
  std::array<char, CURL_ERROR_SIZE> error_{};
};

// The thread. It begins with the first call, and ends with the process.
class Caller {
 public:
  static Caller& of_process() {
    static Caller caller;
    return caller;
  }

  // False: there are too many.
  bool take(std::shared_ptr<Pending> pending) {
    if (count_.fetch_add(1) >= kMostHttpCalls) {
      --count_;
      return false;
    }
    {
      std::lock_guard const guard(mutex_);
      coming_.push_back(std::move(pending));
    }
    curl_multi_wakeup(multi_);
    return true;
  }

 private:
  Caller() {
    curl_global_init(CURL_GLOBAL_DEFAULT);
    multi_ = curl_multi_init();
    thread_ = std::thread([this] {
      block_all_signals();
      run();
    });
  }
  ~Caller() {
    is_ending_ = true;
    curl_multi_wakeup(multi_);
    thread_.join();
    curl_multi_cleanup(multi_);
  }

  void run() {
    while (!is_ending_) {
      begin_coming();
      end_cancelled();
      int running = 0;
      curl_multi_perform(multi_, &running);
      end_finished();
      curl_multi_poll(multi_, nullptr, 0, transfers_.empty() ? kIdleMs : kBusyMs, nullptr);
    }
    for (auto const& transfer : transfers_) curl_multi_remove_handle(multi_, transfer->easy());
    transfers_.clear();
  }

  void begin_coming() {
    std::vector<std::shared_ptr<Pending>> coming;
    {
      std::lock_guard const guard(mutex_);
      coming.swap(coming_);
    }
    for (auto& pending : coming) {
      auto& transfer = *transfers_.emplace_back(std::make_unique<Transfer>(std::move(pending)));
      transfer.prepare();
      curl_multi_add_handle(multi_, transfer.easy());
    }
  }

  void end_cancelled() {
    for (std::size_t at = transfers_.size(); at-- > 0;) {
      if (!transfers_[at]->pending().is_cancelled) continue;
      transfers_[at]->finish(failure("interrupted"));
      remove(at);
    }
  }

  void end_finished() {
    int left = 0;
    while (CURLMsg* const message = curl_multi_info_read(multi_, &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      CURLcode const code = message->data.result;
      CURL* const easy = message->easy_handle;
      auto const found = std::find_if(transfers_.begin(), transfers_.end(),
                                      [easy](auto const& transfer) { return transfer->easy() == easy; });
      if ((*found)->is_over(code)) {
        remove(static_cast<std::size_t>(found - transfers_.begin()));
        continue;
      }
      curl_multi_remove_handle(multi_, easy);
      (*found)->prepare();
      curl_multi_add_handle(multi_, easy);
      curl_multi_wakeup(multi_);
    }
  }

  void remove(std::size_t at) {
    curl_multi_remove_handle(multi_, transfers_[at]->easy());
    transfers_.erase(transfers_.begin() + static_cast<std::ptrdiff_t>(at));
    --count_;
  }

  CURLM* multi_ = nullptr;
  std::atomic<bool> is_ending_{false};
  std::atomic<std::size_t> count_{0};
  std::mutex mutex_;
  std::vector<std::shared_ptr<Pending>> coming_;
  std::vector<std::unique_ptr<Transfer>> transfers_;  // of the thread alone
  std::thread thread_;
};

// However the one who waits ends, nobody goes on for him.
struct Asker {
  explicit Asker(std::shared_ptr<Pending> its_pending) : pending(std::move(its_pending)) {}
  ~Asker() { pending->is_cancelled = true; }
  Asker(Asker const&) = delete;
  Asker& operator=(Asker const&) = delete;

  std::shared_ptr<Pending> pending;
};

}  // namespace

asio::awaitable<Result<HttpReply>> http_call(HttpCall call) {
  auto const executor = co_await asio::this_coro::executor;
  auto const overdue_at = std::chrono::steady_clock::now() + call.timeout + kOverdue;
  // Belongs to this thread, as what it holds does.
  auto const is_stopping = std::exchange(call.is_stopping, nullptr);
  Asker const asker(std::make_shared<Pending>(std::move(call)));
  auto& pending = *asker.pending;
  if (!Caller::of_process().take(asker.pending)) {
    co_return failure(fmt::format("more than {} HTTP calls are under way", kMostHttpCalls));
  }
  asio::steady_timer timer(executor);
  std::chrono::milliseconds glance = kFirstGlance;
  while (!pending.is_done) {
    if (is_stopping && is_stopping()) co_return failure("it was interrupted");
    if (std::chrono::steady_clock::now() >= overdue_at) {
      co_return failure(fmt::format("{}:{} took too long", pending.call.url.host, pending.call.url.port));
    }
    timer.expires_after(glance);
    co_await timer.async_wait(asio::use_awaitable);
    glance = std::min<std::chrono::milliseconds>(glance * 2, kLastGlance);
  }
  co_return std::move(*pending.result);
}

}  // namespace pgbackfill::engine
