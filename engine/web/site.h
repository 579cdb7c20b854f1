// The site of `serve`, and of `run --listen`: which page or value answers which request, who may ask for it, and what
// is done for whom.
//
// It reads and changes nothing itself: a SiteSource does. What it draws is drawn once for all viewers of the same
// values. Thread rule: the thread of the io_context that calls it. It is held by shared_ptr, since streams of events
// outlive the request that began them.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/tell/http_server.h"
#include "engine/view/site_model.h"
#include "engine/view/site_pages.h"
#include "engine/web/access.h"
#include "engine/web/form.h"

namespace pgbackfill::engine {

using DatabasesSeen = std::vector<std::shared_ptr<DatabaseSeen const>>;

// One of them is there.
struct MigrationLook {
  std::shared_ptr<MigrationSeen const> seen;
  SiteTrouble trouble;
};

struct ContractLook {
  std::optional<ContractSeen> seen;
  SiteTrouble trouble;
};

struct SiteOrder {
  std::string label;
  std::string name;
  std::string word;  // "pause" and so on, as in the path
  Fields fields;
  std::string who;
  std::string host;  // where he is
};

struct SiteOutcome {
  bool is_done = false;
  std::string text;
  bool is_missing = false;  // there is no such migration
  bool is_away = false;     // the database
};

// What is shown, and who does what is asked. All of it as fresh as a second, waited for if need be.
class SiteSource {
 public:
  virtual ~SiteSource() = default;

  virtual std::vector<std::string> labels() const = 0;
  virtual asio::awaitable<DatabasesSeen> databases() = 0;
  virtual asio::awaitable<MigrationLook> migration(std::string label, std::string name) = 0;
  // What was read last, at once; it is read again for as long as somebody asks. Null: nothing yet, or not any more.
  virtual DatabasesSeen latest_databases() = 0;
  virtual MigrationLook latest_migration(std::string const& label, std::string const& name) = 0;
  // Only of sites that allow control.
  virtual asio::awaitable<ContractLook> contract(std::string label, std::string name) = 0;
  virtual asio::awaitable<SiteOutcome> act(SiteOrder order) = 0;
};

struct SiteTerms {
  std::string program;  // and its version
  bool shows_values = false;
};

class Site : public std::enable_shared_from_this<Site> {
 public:
  Site(std::shared_ptr<SiteSource> source, Access access, SiteTerms terms);

  asio::awaitable<HttpAnswer> answer(HttpRequest request);

 private:
  struct Place {  // of a path below /migrations/ or /api/v1/migrations/
    std::string name;
    std::string word;
    std::string label;
    std::optional<HttpAnswer> refusal;
  };
  struct Drawn {
    std::shared_ptr<void const> of;
    std::uint64_t version = 0;
    std::vector<std::pair<SiteSection, std::uint64_t>> sections;  // with the version in which each changed
    std::chrono::steady_clock::time_point used_at;
  };
  using DrawnKey = std::pair<std::string, bool>;  // which page, and whether it has forms

  asio::awaitable<HttpAnswer> page(HttpRequest request, Visitor visitor);
  asio::awaitable<HttpAnswer> overview(HttpRequest request, Visitor visitor);
  asio::awaitable<HttpAnswer> migration(HttpRequest request, Visitor visitor, Place place);
  asio::awaitable<HttpAnswer> contract(HttpRequest request, Visitor visitor, Place place);
  asio::awaitable<HttpAnswer> api(HttpRequest request, Visitor visitor);
  asio::awaitable<HttpAnswer> api_of_one(HttpRequest request, Visitor visitor, Place place);
  asio::awaitable<HttpAnswer> change(HttpRequest request, Visitor visitor);
  asio::awaitable<HttpAnswer> act(HttpRequest request, Visitor visitor, Place place, Fields form);
  asio::awaitable<HttpAnswer> log_in(HttpRequest request, Fields form);

  HttpAnswer live(HttpRequest const& request, Visitor const& visitor);
  HttpAnswer live_of_one(HttpRequest const& request, Visitor const& visitor, Place const& place);
  HttpAnswer api_events(std::optional<Place> place);

  Place place_of(HttpRequest const& request, std::string_view prefix) const;
  SiteFrame frame_for(HttpRequest const& request, Visitor const& visitor) const;
  // Draws what has changed since it was drawn last.
  Drawn const& drawn_overview(DatabasesSeen const& databases, SiteFrame const& frame);
  Drawn const& drawn_migration(std::shared_ptr<MigrationSeen const> const& seen, SiteFrame const& frame);
  Drawn& drawn_of(DrawnKey const& key);
  static void take(Drawn& drawn, std::vector<SiteSection> sections, std::uint64_t version);
  std::string news_of(Drawn const& drawn, std::uint64_t since, Visitor const& visitor) const;
  void forget_unused();

  HttpAnswer html(HttpRequest const& request, Visitor const& visitor, std::string body, int status = 200) const;
  HttpAnswer trouble(HttpRequest const& request, Visitor const& visitor, SiteTrouble const& what) const;
  HttpAnswer refusal(HttpRequest const& request, int status, std::string const& title, std::string const& text) const;
  HttpAnswer ask_who(HttpRequest const& request) const;

  std::shared_ptr<SiteSource> source_;
  Access access_;
  SiteTerms terms_;
  std::map<DrawnKey, Drawn> drawn_;
  std::uint64_t version_ = 0;
};

// Answers by the site, for as long as somebody asks.
HttpHandler handler_of_site(std::shared_ptr<Site> site);

}  // namespace pgbackfill::engine
