// Who is told when something happens to a run: the section `on:` of a migration file.
//
// Pure values. An occasion is what happens; a delivery tells one receiver of it, by a command or by HTTP. What a
// receiver is reached by is a secret more often than not, and so it is kept as it is written: with ${NAME} for a
// variable of the environment, or as the name of a file. What is in them is read when something is delivered, and
// never before.
#pragma once

#include <array>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "planner/model/source_position.h"

namespace pgbackfill::planner {

enum class Occasion { kFailure, kPause, kCancel, kStall, kHeldBack, kQuarantine, kWindowClosed, kDone };

struct OccasionName {
  Occasion occasion;
  std::string_view name;  // the key in the file, and "event" for receivers
};
inline constexpr std::array<OccasionName, 8> kOccasionNames{{{Occasion::kFailure, "failure"},
                                                             {Occasion::kPause, "pause"},
                                                             {Occasion::kCancel, "cancel"},
                                                             {Occasion::kStall, "stall"},
                                                             {Occasion::kHeldBack, "held_back"},
                                                             {Occasion::kQuarantine, "quarantine"},
                                                             {Occasion::kWindowClosed, "window_closed"},
                                                             {Occasion::kDone, "done"}}};
std::string_view name_of(Occasion occasion);
// Of those that are about a time.
bool has_time(Occasion occasion);

// Either a text in which ${NAME} stands for a variable, or a file that holds it.
struct SecretText {
  SourcePosition position;
  std::string text;
  std::string file;

  bool is_given() const { return !text.empty() || !file.empty(); }
  // Nothing of it is from elsewhere.
  bool is_literal() const { return file.empty() && text.find("${") == std::string::npos; }
};

// A text cut at its variables.
struct SecretPart {
  bool is_variable = false;
  std::string text;  // or the name of the variable
};
// Nothing when a ${ has no end, or no name in it.
std::optional<std::vector<SecretPart>> parts_of(std::string_view text);

enum class DeliveryKind { kCommand, kHttp, kSlack, kPagerDuty, kWebhook };
std::string_view name_of(DeliveryKind kind);

struct Delivery {
  SourcePosition position;
  DeliveryKind kind = DeliveryKind::kCommand;
  std::string command;  // for /bin/sh
  SecretText url;
  SecretText routing_key;  // kPagerDuty
  std::string method = "POST";
  std::vector<std::pair<std::string, SecretText>> headers;
  SecretText body;  // of kHttp, instead of the usual document: {event}, {text} and so on are put in
  std::string ca_file;
  std::chrono::milliseconds timeout{10'000};  // of one attempt
};

// Where a URL leads, for people: its scheme and host, or what it is read from.
std::string place_of(SecretText const& url);

// In one line for people, without anything secret: "slack", "http to https://alerts.example:8443".
std::string to_text(Delivery const& delivery);

struct OccasionRule {
  SourcePosition position;
  Occasion occasion = Occasion::kFailure;
  std::chrono::milliseconds after{0};  // kStall, kHeldBack
  std::vector<Delivery> deliveries;
};

// The names of all variables that its secrets are in.
std::vector<std::string> variables_of(std::vector<OccasionRule> const& rules);

inline constexpr std::size_t kMaxDeliveries = 32;
inline constexpr std::chrono::milliseconds kStallAfter{std::chrono::minutes{10}};
inline constexpr std::chrono::milliseconds kHeldBackAfter{std::chrono::minutes{30}};
inline constexpr std::chrono::milliseconds kMinAfter{1'000};
inline constexpr std::chrono::milliseconds kMaxAfter{std::chrono::hours{168}};
inline constexpr std::chrono::milliseconds kMaxDeliveryTimeout{60'000};
inline constexpr std::string_view kPagerDutyUrl = "https://events.pagerduty.com/v2/enqueue";

}  // namespace pgbackfill::planner
