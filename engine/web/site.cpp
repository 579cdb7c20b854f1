#include "engine/web/site.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <charconv>
#include <cstddef>

#include "engine/base/percent_encoding.h"
#include "engine/base/text.h"
#include "engine/view/page_style.h"
#include "engine/view/safe_output.h"
#include "engine/view/site_json.h"
#include "engine/view/uplot.h"
#include "engine/web/signature.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr int kDone = 200;
constexpr int kSeeOther = 303;
constexpr int kBadRequest = 400;
constexpr int kUnauthorized = 401;
constexpr int kForbidden = 403;
constexpr int kNotFound = 404;
constexpr int kConflict = 409;
constexpr int kMisdirected = 421;
constexpr int kUnavailable = 503;

constexpr std::string_view kPages = "/migrations/";
constexpr std::string_view kApi = "/api/v1/";
constexpr std::string_view kApiPages = "/api/v1/migrations/";
constexpr std::string_view kLivePages = "/live/";
constexpr std::string_view kWords[] = {"pause",   "resume",        "cancel", "set", "retry-quarantine",
                                       "approve", "release-leases"};
// What became of the last action, for the page that comes after it.
constexpr char kNotice[] = "pgbackfill-notice";
constexpr auto kNoticeAge = 30s;
constexpr std::size_t kMostNotice = 1'500;
// Somebody who tries tokens waits for each.
constexpr auto kWrongTokenPause = 1s;
constexpr auto kDrawnFor = 60s;

// Nothing is loaded from elsewhere, framed, or sent elsewhere. Charts place their words by attributes.
constexpr char kPolicy[] =
    "default-src 'none'; style-src 'self'; style-src-attr 'unsafe-inline'; script-src 'self'; connect-src 'self'; "
    "img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

bool is_api(HttpRequest const& request) {
  return request.path.starts_with(kApi);
}

void protect(HttpAnswer& answer) {
  answer.fields.emplace_back("Content-Security-Policy", kPolicy);
  // Without it a form would say that it comes from nowhere.
  answer.fields.emplace_back("Referrer-Policy", "same-origin");
  answer.fields.emplace_back("X-Frame-Options", "DENY");
  answer.fields.emplace_back("Cross-Origin-Resource-Policy", "same-origin");
}

HttpAnswer json_answer(boost::json::object document, int status = kDone) {
  boost::json::value told(std::move(document));
  take_passwords_out(told);
  HttpAnswer answer;
  answer.status = status;
  answer.content_type = "application/json";
  answer.body = boost::json::serialize(told) + "\n";
  return answer;
}

HttpAnswer asset(std::string_view type, std::string body) {
  HttpAnswer answer;
  answer.content_type = type;
  answer.body = std::move(body);
  answer.fields.emplace_back("Cache-Control", "no-cache");
  return answer;
}

HttpAnswer see_other(std::string const& path) {
  HttpAnswer answer;
  answer.status = kSeeOther;
  answer.fields.emplace_back("Location", path);
  return answer;
}

HttpAnswer event_stream() {
  HttpAnswer answer;
  answer.content_type = "text/event-stream";
  // Proxies would keep it until they have a page of it.
  answer.fields.emplace_back("X-Accel-Buffering", "no");
  return answer;
}

std::string event_text(boost::json::object document) {
  boost::json::value told(std::move(document));
  take_passwords_out(told);
  return "data: " + boost::json::serialize(told) + "\n\n";
}

// Of this site; anything else would lead its viewers away.
std::string safe_path(std::string_view path) {
  bool const is_own = path.starts_with('/') && !path.starts_with("//") && path.find('\\') == std::string_view::npos &&
                      path.find_first_of("\r\n") == std::string_view::npos;
  return is_own ? std::string(path) : "/";
}

std::uint64_t version_in(std::string_view query) {
  auto const fields = form_fields(query);
  auto const text = field_of(fields, "since");
  std::uint64_t version = 0;
  std::from_chars(text.data(), text.data() + text.size(), version);
  return version;
}

std::string filled(std::string text, std::string const& secret) {
  for (auto at = text.find(kSecretPlace); at != std::string::npos; at = text.find(kSecretPlace, at + secret.size())) {
    text.replace(at, 1, secret);
  }
  return text;
}

bool is_word(std::string_view word) {
  return std::find(std::begin(kWords), std::end(kWords), word) != std::end(kWords);
}

std::vector<SiteSection> sections_of(std::vector<std::pair<SiteSection, std::uint64_t>> const& drawn) {
  std::vector<SiteSection> sections;
  for (auto const& [section, version] : drawn) sections.push_back(section);
  return sections;
}

std::vector<DatabaseSeen> values_of(DatabasesSeen const& databases) {
  std::vector<DatabaseSeen> values;
  for (auto const& one : databases) values.push_back(*one);
  return values;
}

// What the page of all has when none of the databases can be shown.
int status_of(DatabasesSeen const& databases) {
  bool const is_any =
      std::any_of(databases.begin(), databases.end(), [](auto const& one) { return one->trouble.text.empty(); });
  if (is_any) return kDone;
  bool const is_missing =
      std::all_of(databases.begin(), databases.end(), [](auto const& one) { return one->trouble.is_missing; });
  return is_missing ? kNotFound : kUnavailable;
}

}  // namespace

Site::Site(std::shared_ptr<SiteSource> source, Access access, SiteTerms terms)
    : source_(std::move(source)), access_(std::move(access)), terms_(std::move(terms)) {}

// --- answers ---------------------------------------------------------------------------------------------------------

SiteFrame Site::frame_for(HttpRequest const& request, Visitor const& visitor) const {
  SiteFrame frame;
  frame.program = terms_.program;
  frame.has_databases = source_->labels().size() > 1;
  frame.shows_values = terms_.shows_values;
  frame.allows_control = access_.terms().allows_control;
  frame.has_login = !access_.terms().tokens.empty();
  frame.who = visitor.who;
  auto const cookies = cookies_of(request.field("cookie"));
  auto const notice = percent_decoded(field_of(cookies, kNotice)).value_or("");
  if (!notice.empty()) {
    frame.is_notice_bad = notice.front() == '-';
    frame.notice = notice.substr(1);
  }
  return frame;
}

HttpAnswer Site::html(HttpRequest const& request, Visitor const& visitor, std::string body, int status) const {
  HttpAnswer answer;
  answer.status = status;
  answer.content_type = "text/html; charset=utf-8";
  answer.body = filled(std::move(body), visitor.secret);
  bool const has_notice = request.field("cookie").find(kNotice) != std::string_view::npos;
  if (has_notice) answer.fields.emplace_back("Set-Cookie", access_.cookie(kNotice, "", 0s));
  if (status == kUnavailable) answer.fields.emplace_back("Retry-After", "5");
  return answer;
}

HttpAnswer Site::trouble(HttpRequest const& request, Visitor const& visitor, SiteTrouble const& what) const {
  int const status = what.is_missing ? kNotFound : kUnavailable;
  if (is_api(request)) return json_answer(trouble_json(what.text), status);
  auto const frame = frame_for(request, visitor);
  std::string const title = what.is_missing ? "There is nothing here" : "It cannot be read now";
  return html(request, visitor, trouble_page(frame, title, what.text), status);
}

HttpAnswer Site::refusal(HttpRequest const& request, int status, std::string const& title,
                         std::string const& text) const {
  if (is_api(request)) return json_answer(trouble_json(text), status);
  SiteFrame frame;
  frame.program = terms_.program;
  return html(request, Visitor(), trouble_page(frame, title, text), status);
}

HttpAnswer Site::ask_who(HttpRequest const& request) const {
  if (!is_api(request) && !access_.terms().tokens.empty()) {
    std::string const back = request.method == "POST" ? "/" : request.path;
    return see_other("/login?back=" + percent_encoded(back, "/-._~"));
  }
  auto answer = refusal(request, kUnauthorized, "Who are you?",
                        access_.terms().tokens.empty()
                            ? "this needs a certificate of a client that the server trusts"
                            : "this needs a token: Authorization: Bearer ...; whoever runs the server has it");
  if (!access_.terms().tokens.empty()) answer.fields.emplace_back("WWW-Authenticate", "Bearer");
  return answer;
}

asio::awaitable<HttpAnswer> Site::answer(HttpRequest request) {
  bool const is_change = request.method == "POST";
  auto const why_not = access_.refusal(request, is_change);
  HttpAnswer answer;
  if (!why_not.empty()) {
    bool const is_host = why_not.starts_with("this server");
    answer = refusal(request, is_host ? kMisdirected : kForbidden, "Refused", why_not);
  } else if (request.path == "/style.css") {
    answer = asset("text/css; charset=utf-8",
                   std::string(page_style()) + std::string(uplot_style()) + std::string(site_style()));
  } else if (request.path == "/uplot.js") {
    answer = asset("text/javascript; charset=utf-8", std::string(uplot_script()));
  } else if (request.path == "/charts.js") {
    answer = asset("text/javascript; charset=utf-8", std::string(site_charts()));
  } else if (request.path == "/live.js") {
    answer = asset("text/javascript; charset=utf-8", std::string(site_script()));
  } else {
    auto visitor = access_.visitor(request, std::chrono::system_clock::now());
    bool const is_open = !access_.terms().is_private || !visitor.who.empty() || request.path == "/login";
    if (!is_open) {
      answer = ask_who(request);
    } else if (is_change) {
      answer = co_await change(std::move(request), std::move(visitor));
    } else if (is_api(request)) {
      answer = co_await api(std::move(request), std::move(visitor));
    } else {
      answer = co_await page(std::move(request), std::move(visitor));
    }
  }
  protect(answer);
  co_return answer;
}

// --- pages -----------------------------------------------------------------------------------------------------------

Site::Place Site::place_of(HttpRequest const& request, std::string_view prefix) const {
  Place place;
  std::string_view rest = request.path;
  rest.remove_prefix(prefix.size());
  auto const slash = rest.find('/');
  place.name = percent_decoded(rest.substr(0, slash)).value_or("");
  if (slash != std::string_view::npos) place.word = rest.substr(slash + 1);
  if (place.name.empty()) {
    place.refusal = refusal(request, kNotFound, "There is nothing here", "the address names no migration");
    return place;
  }
  auto const fields = form_fields(request.query);
  place.label = field_of(fields, "database");
  auto const labels = source_->labels();
  if (place.label.empty() && labels.size() == 1) place.label = labels.front();
  bool const is_known = std::find(labels.begin(), labels.end(), place.label) != labels.end();
  if (is_known) return place;
  if (place.label.empty()) {
    std::vector<std::string> having;
    for (auto const& one : source_->latest_databases()) {
      bool const has = one && std::any_of(one->migrations.begin(), one->migrations.end(),
                                          [&](StatusOverview const& each) { return each.name == place.name; });
      if (has) having.push_back(one->label);
    }
    if (having.size() == 1) place.label = having.front();
    if (having.size() == 1) return place;
  }
  std::string known;
  for (auto const& label : labels) known += (known.empty() ? "" : ", ") + label;
  place.refusal = place.label.empty()
                      ? refusal(request, kConflict, "Which database?",
                                "several databases are served: say which with ?database=, one of " + known)
                      : refusal(request, kNotFound, "There is nothing here",
                                "no database '" + place.label + "' is served, but " + known);
  return place;
}

asio::awaitable<HttpAnswer> Site::page(HttpRequest request, Visitor visitor) {
  if (request.path == "/") co_return co_await overview(std::move(request), std::move(visitor));
  if (request.path == "/login" && !access_.terms().tokens.empty()) {
    auto const fields = form_fields(request.query);
    co_return html(request, visitor, login_page(frame_for(request, visitor), safe_path(field_of(fields, "back")), ""));
  }
  if (request.path == "/live") co_return live(request, visitor);
  bool const is_live = request.path.starts_with(kLivePages);
  if (is_live || request.path.starts_with(kPages)) {
    auto place = place_of(request, is_live ? kLivePages : kPages);
    if (place.refusal) co_return *place.refusal;
    if (is_live && place.word.empty()) co_return live_of_one(request, visitor, place);
    if (place.word.empty()) co_return co_await migration(std::move(request), std::move(visitor), std::move(place));
    bool const is_contract = !is_live && place.word == "approve" && access_.terms().allows_control;
    if (is_contract) co_return co_await contract(std::move(request), std::move(visitor), std::move(place));
  }
  SiteTrouble nothing{"there is no page of this address", true};
  co_return trouble(request, visitor, nothing);
}

asio::awaitable<HttpAnswer> Site::overview(HttpRequest request, Visitor visitor) {
  auto const databases = co_await source_->databases();
  auto const frame = frame_for(request, visitor);
  auto const& drawn = drawn_overview(databases, frame);
  auto body = overview_page(sections_of(drawn.sections), frame, fmt::format("/live?since={}", drawn.version));
  co_return html(request, visitor, std::move(body), status_of(databases));
}

asio::awaitable<HttpAnswer> Site::migration(HttpRequest request, Visitor visitor, Place place) {
  auto const look = co_await source_->migration(place.label, place.name);
  if (!look.seen) co_return trouble(request, visitor, look.trouble);
  auto const frame = frame_for(request, visitor);
  auto const& drawn = drawn_migration(look.seen, frame);
  auto const live = fmt::format("/live/{}?database={}&since={}", percent_encoded(place.name, "-._~"),
                                percent_encoded(place.label, "-._~"), drawn.version);
  co_return html(request, visitor, migration_page(*look.seen, sections_of(drawn.sections), frame, live));
}

asio::awaitable<HttpAnswer> Site::contract(HttpRequest request, Visitor visitor, Place place) {
  if (visitor.who.empty()) co_return ask_who(request);
  auto const look = co_await source_->contract(place.label, place.name);
  if (!look.seen) co_return trouble(request, visitor, look.trouble);
  co_return html(request, visitor, approval_page(*look.seen, frame_for(request, visitor)));
}

// --- what has changed ------------------------------------------------------------------------------------------------

void Site::forget_unused() {
  auto const now = Clock::now();
  std::erase_if(drawn_, [&](auto const& one) { return now - one.second.used_at > kDrawnFor; });
}

Site::Drawn& Site::drawn_of(DrawnKey const& key) {
  if (!drawn_.contains(key)) forget_unused();
  auto& drawn = drawn_[key];
  drawn.used_at = Clock::now();
  return drawn;
}

void Site::take(Drawn& drawn, std::vector<SiteSection> sections, std::uint64_t version) {
  std::vector<std::pair<SiteSection, std::uint64_t>> taken;
  for (std::size_t at = 0; at < sections.size(); ++at) {
    bool const is_same = at < drawn.sections.size() && drawn.sections[at].first.html == sections[at].html;
    auto const since = is_same ? drawn.sections[at].second : version;
    taken.emplace_back(std::move(sections[at]), since);
  }
  drawn.sections = std::move(taken);
  drawn.version = version;
}

Site::Drawn const& Site::drawn_overview(DatabasesSeen const& databases, SiteFrame const& frame) {
  auto& drawn = drawn_of({"", false});
  // Of several databases one new reading is enough; each has a pointer of its own.
  auto const key = std::make_shared<DatabasesSeen const>(databases);
  auto const known = std::static_pointer_cast<DatabasesSeen const>(drawn.of);
  if (!known || *known != databases) {
    drawn.of = key;
    take(drawn, overview_sections(values_of(databases), frame), ++version_);
  }
  return drawn;
}

Site::Drawn const& Site::drawn_migration(std::shared_ptr<MigrationSeen const> const& seen, SiteFrame const& frame) {
  auto& drawn = drawn_of({seen->label + "\n" + seen->report.status.overview.name, frame.may_control()});
  if (drawn.of != seen) {
    drawn.of = seen;
    take(drawn, migration_sections(*seen, frame), ++version_);
  }
  return drawn;
}

std::string Site::news_of(Drawn const& drawn, std::uint64_t since, Visitor const& visitor) const {
  boost::json::object sections;
  // A server that was started anew counts from the beginning.
  bool const is_other_server = since > version_;
  for (auto const& [section, version] : drawn.sections) {
    if (version > since || is_other_server) sections[section.id] = filled(section.html, visitor.secret);
  }
  // Texts in it are masked already; what is masked as a whole may lose its tags.
  boost::json::object const news{{"version", drawn.version}, {"sections", std::move(sections)}};
  return "data: " + boost::json::serialize(news) + "\n\n";
}

namespace {

std::string trouble_news(std::uint64_t since, std::string const& text) {
  return event_text({{"version", since}, {"trouble", valid_utf8(text)}});
}

}  // namespace

HttpAnswer Site::live(HttpRequest const& request, Visitor const& visitor) {
  auto answer = event_stream();
  answer.next_events = [site = shared_from_this(), visitor, frame = frame_for(request, visitor),
                        since = version_in(request.query)]() mutable -> std::optional<std::string> {
    auto const databases = site->source_->latest_databases();
    if (std::find(databases.begin(), databases.end(), nullptr) != databases.end()) return "";
    auto const& drawn = site->drawn_overview(databases, frame);
    if (drawn.version == since) return "";
    auto news = site->news_of(drawn, since, visitor);
    since = drawn.version;
    return news;
  };
  return answer;
}

HttpAnswer Site::live_of_one(HttpRequest const& request, Visitor const& visitor, Place const& place) {
  auto answer = event_stream();
  answer.next_events = [site = shared_from_this(), visitor, frame = frame_for(request, visitor), place,
                        since = version_in(request.query),
                        told = std::string()]() mutable -> std::optional<std::string> {
    auto const look = site->source_->latest_migration(place.label, place.name);
    if (!look.seen) {
      bool const is_new = !look.trouble.text.empty() && look.trouble.text != told;
      told = look.trouble.text;
      return is_new ? trouble_news(since, told) : "";
    }
    bool const was_away = !std::exchange(told, "").empty();
    auto const& drawn = site->drawn_migration(look.seen, frame);
    if (drawn.version == since && !was_away) return "";
    auto news = site->news_of(drawn, since, visitor);
    since = drawn.version;
    return news;
  };
  return answer;
}

HttpAnswer Site::api_events(std::optional<Place> place) {
  auto answer = event_stream();
  answer.next_events = [site = shared_from_this(), place = std::move(place),
                        last = std::string()]() mutable -> std::optional<std::string> {
    std::string text;
    if (place) {
      auto const look = site->source_->latest_migration(place->label, place->name);
      if (look.seen) text = event_text(status_json(*look.seen, site->terms_.shows_values));
      if (!look.seen && !look.trouble.text.empty()) text = event_text(trouble_json(look.trouble.text));
    } else {
      auto const databases = site->source_->latest_databases();
      bool const is_read = std::find(databases.begin(), databases.end(), nullptr) == databases.end();
      if (is_read) text = event_text(migrations_json(values_of(databases)));
    }
    if (text == last) return "";
    last = text;
    return text;
  };
  return answer;
}

// --- the API ---------------------------------------------------------------------------------------------------------

asio::awaitable<HttpAnswer> Site::api(HttpRequest request, Visitor visitor) {
  if (request.path == "/api/v1/openapi.json") {
    co_return json_answer(openapi_json(terms_.program, access_.terms().allows_control));
  }
  if (request.path == "/api/v1/events") co_return api_events(std::nullopt);
  if (request.path == "/api/v1/migrations") {
    auto const databases = co_await source_->databases();
    co_return json_answer(migrations_json(values_of(databases)), status_of(databases));
  }
  if (request.path.starts_with(kApiPages)) {
    auto place = place_of(request, kApiPages);
    if (place.refusal) co_return *place.refusal;
    co_return co_await api_of_one(std::move(request), std::move(visitor), std::move(place));
  }
  SiteTrouble nothing{"there is nothing at this address; /api/v1/openapi.json describes what there is", true};
  co_return trouble(request, visitor, nothing);
}

asio::awaitable<HttpAnswer> Site::api_of_one(HttpRequest request, Visitor visitor, Place place) {
  if (place.word == "events") co_return api_events(std::move(place));
  bool const is_contract = place.word == "contract" && access_.terms().allows_control;
  if (is_contract) {
    if (visitor.who.empty()) co_return ask_who(request);
    auto const look = co_await source_->contract(place.label, place.name);
    if (!look.seen) co_return trouble(request, visitor, look.trouble);
    boost::json::object contract;
    contract["plan"] = valid_utf8(look.seen->plan);
    contract["plan_hash"] = look.seen->plan_hash;
    co_return json_answer(std::move(contract));
  }
  if (!place.word.empty() && place.word != "report") {
    SiteTrouble nothing{"a migration has no '" + place.word + "' to be read", true};
    co_return trouble(request, visitor, nothing);
  }
  auto const look = co_await source_->migration(place.label, place.name);
  if (!look.seen) co_return trouble(request, visitor, look.trouble);
  if (place.word == "report") co_return json_answer(seen_report_json(*look.seen));
  co_return json_answer(status_json(*look.seen, terms_.shows_values));
}

// --- changes ---------------------------------------------------------------------------------------------------------

asio::awaitable<HttpAnswer> Site::change(HttpRequest request, Visitor visitor) {
  if (!access_.terms().allows_control) {
    co_return refusal(request, kForbidden, "Refused",
                      "this server is read-only; one that is started with --allow-control can be asked");
  }
  auto form = form_fields(request.body);
  if (request.path == "/login") co_return co_await log_in(std::move(request), std::move(form));
  if (visitor.who.empty()) co_return ask_who(request);
  if (!Access::has_secret(visitor, form)) {
    co_return refusal(
        request, kForbidden, "Refused",
        "the form is not one that this server gave you, or too old; nothing was done. Load the page again");
  }
  if (request.path == "/logout") {
    auto answer = see_other("/");
    answer.fields.emplace_back("Set-Cookie", access_.ended_session());
    co_return answer;
  }
  std::string_view const prefix = is_api(request) ? kApiPages : kPages;
  if (request.path.starts_with(prefix)) {
    auto place = place_of(request, prefix);
    if (place.refusal) co_return *place.refusal;
    bool const is_known = is_word(place.word);
    if (is_known) co_return co_await act(std::move(request), std::move(visitor), std::move(place), std::move(form));
  }
  SiteTrouble nothing{"nothing can be done at this address", true};
  co_return trouble(request, visitor, nothing);
}

asio::awaitable<HttpAnswer> Site::log_in(HttpRequest request, Fields form) {
  auto const back = safe_path(field_of(form, "back"));
  auto const who = access_.owner_of(field_of(form, "token"));
  if (who.empty()) {
    auto const executor = co_await asio::this_coro::executor;
    asio::steady_timer timer(executor, kWrongTokenPause);
    co_await timer.async_wait(asio::use_awaitable);
    Visitor const nobody;
    co_return html(request, nobody, login_page(frame_for(request, nobody), back, "there is no such token"),
                   kUnauthorized);
  }
  auto answer = see_other(back);
  answer.fields.emplace_back("Set-Cookie", access_.new_session(who, std::chrono::system_clock::now()));
  co_return answer;
}

asio::awaitable<HttpAnswer> Site::act(HttpRequest request, Visitor visitor, Place place, Fields form) {
  SiteOrder order;
  order.label = place.label;
  order.name = place.name;
  order.word = place.word;
  order.fields = std::move(form);
  order.who = visitor.who;
  order.host = request.peer;
  auto const outcome = co_await source_->act(std::move(order));
  int status = kDone;
  if (!outcome.is_done) status = kBadRequest;
  if (outcome.is_missing) status = kNotFound;
  if (outcome.is_away) status = kUnavailable;
  if (is_api(request)) {
    if (outcome.is_done) co_return json_answer(boost::json::object({{"text", valid_utf8(outcome.text)}}));
    co_return json_answer(trouble_json(outcome.text), status);
  }
  // A repeat of the page that comes next repeats no action.
  auto answer = see_other(migration_path(place.name, place.label, frame_for(request, visitor)));
  auto const text = (outcome.is_done ? "+" : "-") + outcome.text.substr(0, kMostNotice);
  answer.fields.emplace_back("Set-Cookie",
                             access_.cookie(kNotice, percent_encoded(valid_utf8(text), "-_"), kNoticeAge));
  co_return answer;
}

HttpHandler handler_of_site(std::shared_ptr<Site> site) {
  return [site = std::move(site)](HttpRequest request) { return site->answer(std::move(request)); };
}

}  // namespace pgbackfill::engine
