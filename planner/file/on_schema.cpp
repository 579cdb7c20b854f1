#include "planner/file/on_schema.h"

#include <array>

#include "planner/model/delivery.h"

namespace pgbackfill::planner {
namespace {

constexpr std::array<KeyRule, 1> kSecretKeys{{
    {.key = "file",
     .kind = ValueKind::kText,
     .doc = "A file whose text it is, without the line break at its end.",
     .example = "/run/secrets/webhook",
     .is_required = true},
}};
}  // namespace

constexpr Section kSecretSection{"a secret", kSecretKeys};

namespace {

constexpr std::string_view kUrlDoc = "The URL; ${NAME} stands for a variable of the environment.";
constexpr std::string_view kHeadersDoc = "Header fields by name; ${NAME} stands for a variable of the environment.";
constexpr std::string_view kHeadersExample = R"json({"Authorization": "Bearer ${ALERT_TOKEN}"})json";

constexpr std::array<std::string_view, 3> kMethods{"POST", "PUT", "PATCH"};
constexpr std::array<KeyRule, 4> kHttpKeys{{
    {.key = "url",
     .kind = ValueKind::kSecretText,
     .doc = kUrlDoc,
     .example = "https://alerts.example/pgbackfill",
     .is_required = true,
     .section = &kSecretSection},
    {.key = "method",
     .kind = ValueKind::kWord,
     .doc = "How it is asked. Default: POST.",
     .example = "POST",
     .words = kMethods},
    {.key = "headers",
     .kind = ValueKind::kSecretTexts,
     .doc = kHeadersDoc,
     .example = kHeadersExample,
     .section = &kSecretSection},
    {.key = "body",
     .kind = ValueKind::kSecretText,
     .doc = "The body, in which {event}, {text}, {migration}, {table}, {host}, {exit_code} and {json} are put in. "
            "Default: the JSON document.",
     .example = R"({"title": "{event}", "message": "{text}"})",
     .section = &kSecretSection},
}};
constexpr Section kHttpSection{"http", kHttpKeys};

constexpr std::array<KeyRule, 2> kWebhookKeys{{
    {.key = "url",
     .kind = ValueKind::kSecretText,
     .doc = kUrlDoc,
     .example = "${ALERT_URL}",
     .is_required = true,
     .section = &kSecretSection},
    {.key = "headers",
     .kind = ValueKind::kSecretTexts,
     .doc = kHeadersDoc,
     .example = kHeadersExample,
     .section = &kSecretSection},
}};
constexpr Section kWebhookSection{"webhook", kWebhookKeys};

constexpr std::array<KeyRule, 1> kSlackKeys{{
    {.key = "url",
     .kind = ValueKind::kSecretText,
     .doc = "The URL of an incoming webhook, from a variable or a file: whoever knows it can write to the channel.",
     .example = "${SLACK_WEBHOOK}",
     .is_required = true,
     .section = &kSecretSection},
}};
constexpr Section kSlackSection{"slack", kSlackKeys};

constexpr std::array<KeyRule, 2> kPagerDutyKeys{{
    {.key = "routing_key",
     .kind = ValueKind::kSecretText,
     .doc = "The integration key of a service (Events API v2), from a variable or a file.",
     .example = "${PD_KEY}",
     .is_required = true,
     .section = &kSecretSection},
    {.key = "url",
     .kind = ValueKind::kSecretText,
     .doc = "Where its events go. Default: https://events.pagerduty.com/v2/enqueue.",
     .example = "https://events.eu.pagerduty.com/v2/enqueue",
     .section = &kSecretSection},
}};
constexpr Section kPagerDutySection{"pagerduty", kPagerDutyKeys};

constexpr std::array<KeyRule, 7> kDeliveryKeys{{
    {.key = "command",
     .kind = ValueKind::kText,
     .doc = "Runs in /bin/sh on the host of pgbackfill, with PGBACKFILL_EVENT, PGBACKFILL_TEXT and others.",
     .example = "./notify.sh"},
    {.key = "http",
     .kind = ValueKind::kSection,
     .doc = "A request with a JSON document, or with a body of your own.",
     .example = R"json({"url": "https://alerts.example/pgbackfill"})json",
     .section = &kHttpSection},
    {.key = "slack",
     .kind = ValueKind::kSection,
     .doc = "A message to a channel of Slack, or of what understands the same webhooks.",
     .example = R"json({"url": "${SLACK_WEBHOOK}"})json",
     .section = &kSlackSection},
    {.key = "pagerduty",
     .kind = ValueKind::kSection,
     .doc = "An incident of PagerDuty; 'done' resolves it.",
     .example = R"json({"routing_key": "${PD_KEY}"})json",
     .section = &kPagerDutySection},
    {.key = "webhook",
     .kind = ValueKind::kSection,
     .doc = "POST with the JSON document.",
     .example = R"json({"url": "${ALERT_URL}"})json",
     .section = &kWebhookSection},
    {.key = "timeout",
     .kind = ValueKind::kDuration,
     .doc = "How long one attempt may take. Default: 10s.",
     .example = "5s",
     .min = 100,
     .max = kMaxDeliveryTimeout.count()},
    {.key = "ca_file",
     .kind = ValueKind::kText,
     .doc = "Certificates of whom to trust, in PEM, instead of those of the system.",
     .example = "/etc/ssl/company-ca.pem"},
}};
constexpr std::array<std::string_view, 5> kDeliveryKinds{"command", "http", "slack", "pagerduty", "webhook"};
constexpr Section kDeliverySection{"delivery", kDeliveryKeys, kDeliveryKinds};

constexpr std::string_view kDeliveriesExample = R"json([{"slack": {"url": "${SLACK_WEBHOOK}"}}])json";

constexpr KeyRule after_rule(std::string_view doc, std::string_view example) {
  return {.key = "after",
          .kind = ValueKind::kDuration,
          .doc = doc,
          .example = example,
          .min = kMinAfter.count(),
          .max = kMaxAfter.count()};
}
constexpr KeyRule kDeliverRule{.key = "deliver",
                               .kind = ValueKind::kSections,
                               .doc = "Who is told.",
                               .example = kDeliveriesExample,
                               .is_required = true,
                               .section = &kDeliverySection};
constexpr std::array<KeyRule, 2> kStallKeys{
    {after_rule("How long no row was done. Default: 10m.", "10m"), kDeliverRule}};
constexpr Section kStallSection{"stall", kStallKeys};
constexpr std::array<KeyRule, 2> kHeldBackKeys{
    {after_rule("How long the throttle holds it back without a break. Default: 30m.", "30m"), kDeliverRule}};
constexpr Section kHeldBackSection{"held_back", kHeldBackKeys};

constexpr KeyRule told_at(std::string_view occasion, std::string_view doc) {
  return {.key = occasion,
          .kind = ValueKind::kSections,
          .doc = doc,
          .example = kDeliveriesExample,
          .section = &kDeliverySection};
}

constexpr std::array<KeyRule, 8> kOnKeys{{
    told_at("failure", "A command ended and neither was done nor was it stopped by somebody."),
    told_at("pause", "Somebody has paused it."),
    told_at("cancel", "Somebody has cancelled it or rolled it back."),
    {.key = "stall",
     .kind = ValueKind::kSection,
     .doc = "No row was done for a time, though it is neither paused nor outside its windows.",
     .example = R"json({"after": "10m", "deliver": [{"slack": {"url": "${SLACK_WEBHOOK}"}}]})json",
     .section = &kStallSection},
    {.key = "held_back",
     .kind = ValueKind::kSection,
     .doc = "The throttle has held it back for a time.",
     .example = R"json({"after": "30m", "deliver": [{"slack": {"url": "${SLACK_WEBHOOK}"}}]})json",
     .section = &kHeldBackSection},
    told_at("quarantine", "Rows were set aside; at most once a minute."),
    told_at("window_closed", "Its window has closed before it was done."),
    told_at("done", "It is done."),
}};

}  // namespace

constexpr Section kOnSection{"on", kOnKeys};

}  // namespace pgbackfill::planner
