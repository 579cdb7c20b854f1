#include "engine/notice/delivery_attempt.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <cctype>
#include <variant>
#include <vector>

#include "engine/base/secret_mask.h"
#include "engine/base/secret_source.h"
#include "engine/base/text.h"
#include "engine/child/child_process.h"
#include "planner/model/duration.h"

namespace pgbackfill::engine {

namespace {

using planner::Delivery;
using planner::DeliveryKind;

constexpr std::size_t kMostAnswerShown = 200;
constexpr unsigned kTooManyRequests = 429;
constexpr unsigned kRequestTimeout = 408;

// The secrets of one attempt, so that its words can do without them.
class Secrets {
 public:
  // Empty when it is missing; then `trouble` says so.
  std::string read(planner::SecretText const& secret) {
    if (!secret.is_given()) return "";
    auto found = secret_of(secret);
    if (auto* problem = std::get_if<SecretProblem>(&found)) {
      if (trouble_.empty()) trouble_ = problem->text;
      return "";
    }
    auto& value = std::get<std::string>(found);
    if (!secret.is_literal()) keep(value);
    // Whoever echoes a part of it echoes the part that is one.
    for (auto const& part : planner::parts_of(secret.text).value_or(std::vector<planner::SecretPart>())) {
      planner::SecretText alone;
      alone.text = "${" + part.text + "}";
      if (part.is_variable) keep(std::get<std::string>(secret_of(alone)));
    }
    return value;
  }
  // Of a URL all but its host is one.
  void keep(std::string value) {
    if (value.size() >= kShortestSecret) values_.push_back(std::move(value));
  }
  std::string const& trouble() const { return trouble_; }
  std::string without(std::string text) const {
    auto values = values_;
    std::sort(values.begin(), values.end(),
              [](std::string const& left, std::string const& right) { return left.size() > right.size(); });
    return neutralised(masked(std::move(text), values));
  }

 private:
  std::vector<std::string> values_;
  std::string trouble_;
};

std::string body_of(Delivery const& delivery, Notice const& notice, NoticeSender const& sender,
                    boost::json::object const& document, Secrets& secrets) {
  switch (delivery.kind) {
    case DeliveryKind::kSlack:
      return slack_body(notice, sender);
    case DeliveryKind::kPagerDuty:
      return pagerduty_body(notice, sender, secrets.read(delivery.routing_key), document);
    default:
      break;
  }
  if (!delivery.body.is_given()) return boost::json::serialize(document);
  return filled_in(secrets.read(delivery.body), notice, sender, document);
}

bool is_content_type(std::string_view name) {
  constexpr std::string_view kName = "content-type";
  auto const is_same = [](char one, char other) { return std::tolower(static_cast<unsigned char>(one)) == other; };
  return std::equal(name.begin(), name.end(), kName.begin(), kName.end(), is_same);
}

bool has_line_break(std::string const& text) {
  return text.find_first_of(std::string_view("\r\n\0", 3)) != std::string::npos;
}

// The call, or why there is none.
std::variant<HttpCall, std::string> call_of(Delivery const& delivery, Notice const& notice, NoticeSender const& sender,
                                            boost::json::object const& document, Secrets& secrets) {
  HttpCall call;
  auto const url = parse_url(secrets.read(delivery.url));
  if (!secrets.trouble().empty()) return secrets.trouble();
  if (auto const* wrong = std::get_if<std::string>(&url)) return "its URL: " + *wrong;
  call.url = std::get<Url>(url);
  if (call.url.target.size() > 1) secrets.keep(call.url.target);
  call.method = delivery.method;
  call.ca_file = delivery.ca_file;
  call.timeout = delivery.timeout;
  call.body = body_of(delivery, notice, sender, document, secrets);
  bool has_type = false;
  for (auto const& [name, secret] : delivery.headers) {
    auto value = secrets.read(secret);
    if (has_line_break(value)) return "the header field " + name + " has a line break in it";
    has_type = has_type || is_content_type(name);
    call.headers.emplace_back(name, std::move(value));
  }
  if (!secrets.trouble().empty()) return secrets.trouble();
  if (!has_type) call.headers.emplace_back("Content-Type", "application/json");
  return call;
}

Attempt judge_reply(HttpReply const& reply, Secrets const& secrets) {
  Attempt attempt;
  if (reply.status >= 200 && reply.status < 300) return attempt;
  attempt.trouble = fmt::format("it answered {}", reply.status);
  if (!reply.body.empty())
    attempt.trouble += ": " + secrets.without(valid_utf8(reply.body.substr(0, kMostAnswerShown)));
  attempt.may_succeed_later =
      reply.status >= 500 || reply.status == kTooManyRequests || reply.status == kRequestTimeout;
  if (reply.retry_after) attempt.wait = *reply.retry_after;
  return attempt;
}

std::map<std::string, std::string> environment_of(Notice const& notice, NoticeSender const& sender,
                                                  boost::json::object const& document,
                                                  std::map<std::string, std::string> environment) {
  environment["PGBACKFILL_EVENT"] = planner::name_of(notice.occasion);
  environment["PGBACKFILL_TEXT"] = notice_line(notice, sender);
  environment["PGBACKFILL_MIGRATION"] = sender.migration;
  environment["PGBACKFILL_FILE"] = sender.file;
  environment["PGBACKFILL_COMMAND"] = sender.command;
  environment["PGBACKFILL_EXIT_CODE"] = notice.exit_code ? std::to_string(*notice.exit_code) : "";
  environment["PGBACKFILL_JSON"] = boost::json::serialize(document);
  return environment;
}

asio::awaitable<Attempt> run_command(Delivery const& delivery, std::map<std::string, std::string> environment,
                                     AttemptTerms const& terms) {
  Attempt attempt;
  auto const is_stopping = terms.is_stopping;
  auto secrets = secrets_in(environment);
  for (auto& secret : secrets_of_environment(terms.secret_variables)) secrets.push_back(std::move(secret));
  ChildTerms child_terms;
  child_terms.arguments = {"/bin/sh", "-c", delivery.command};
  child_terms.environment = std::move(environment);
  child_terms.timeout = delivery.timeout;
  child_terms.is_stopping = is_stopping;
  child_terms.is_urgent = is_stopping;
  auto const child = co_await run_child(std::move(child_terms));
  if (!child) {
    attempt.trouble = child.error().message;
    co_return attempt;
  }
  attempt.trouble = end_text(*child, delivery.timeout);
  std::string const said = child->output + child->errors;
  if (!attempt.trouble.empty() && !said.empty()) {
    attempt.trouble += "; it said: " + neutralised(masked(valid_utf8(said.substr(0, kMostAnswerShown)), secrets));
  }
  co_return attempt;
}

}  // namespace

asio::awaitable<Attempt> attempt_delivery(planner::Delivery delivery, Notice notice, NoticeSender sender,
                                          std::chrono::system_clock::time_point at, AttemptTerms terms) {
  auto const document = notice_document(notice, sender, at);
  Attempt attempt;
  if (delivery.kind == DeliveryKind::kCommand) {
    auto environment = environment_of(notice, sender, document, terms.environment);
    attempt = co_await run_command(delivery, std::move(environment), terms);
    co_return attempt;
  }
  Secrets secrets;
  auto built = call_of(delivery, notice, sender, document, secrets);
  if (auto* trouble = std::get_if<std::string>(&built)) {
    attempt.trouble = secrets.without(std::move(*trouble));
    co_return attempt;
  }
  auto call = std::move(std::get<HttpCall>(built));
  call.is_stopping = std::move(terms.is_stopping);
  auto const reply = co_await http_call(std::move(call));
  if (reply) co_return judge_reply(*reply, secrets);
  attempt.trouble = secrets.without(reply.error().message);
  attempt.may_succeed_later = true;
  co_return attempt;
}

}  // namespace pgbackfill::engine
