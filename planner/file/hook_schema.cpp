#include "planner/file/hook_schema.h"

#include <array>

#include "planner/model/hook.h"

namespace pgbackfill::planner {
namespace {

constexpr std::int64_t kLongest = kMaxHookTimeout.count();

constexpr std::array<KeyRule, 7> kHookKeys{{
    {.key = "command",
     .kind = ValueKind::kText,
     .doc = "Runs in /bin/sh on the host of pgbackfill and has to exit with 0.",
     .example = "./notify.sh begins"},
    {.key = "http",
     .kind = ValueKind::kUrl,
     .doc = "A URL that has to answer.",
     .example = "http://127.0.0.1:8080/healthz"},
    {.key = "timeout",
     .kind = ValueKind::kDuration,
     .doc = "How long it may take; a command is ended then. Default: 1m.",
     .example = "30s",
     .min = 10,
     .max = kLongest},
    {.key = "expect",
     .kind = ValueKind::kText,
     .doc = "A text that the command's output, or the answer, has to contain.",
     .example = "ok"},
    {.key = "status",
     .kind = ValueKind::kCount,
     .doc = "The HTTP status that it has to answer. Default: 200.",
     .example = "204",
     .min = 100,
     .max = 599,
     .needs = "http"},
    {.key = "ca_file",
     .kind = ValueKind::kText,
     .doc = "Certificates of whom to trust, in PEM, instead of those of the system.",
     .example = "/etc/ssl/company-ca.pem",
     .needs = "http"},
    {.key = "repeat",
     .kind = ValueKind::kFlag,
     .doc = "Whether it runs each time a process comes by, not only the first time.",
     .example = "true"},
}};
constexpr std::array<std::string_view, 2> kHookKinds{"command", "http"};
constexpr Section kHookSection{"hook", kHookKeys, kHookKinds};

constexpr std::array<KeyRule, 4> kBackupKeys{{
    {.key = "pg_dump",
     .kind = ValueKind::kText,
     .doc = "The file that pg_dump writes in its custom format; it is listed afterwards, and never written over.",
     .example = "/var/backups/users.dump"},
    {.key = "tables",
     .kind = ValueKind::kTexts,
     .doc = "The tables to dump, each written as in SQL; without this key the whole database.",
     .example = R"(["public.users"])",
     .needs = "pg_dump"},
    {.key = "command",
     .kind = ValueKind::kText,
     .doc = "Makes a backup in its own way; the last line of its output is the id that is recorded.",
     .example = "snapshot create --wait main"},
    {.key = "timeout",
     .kind = ValueKind::kDuration,
     .doc = "How long it may take. Default: 6h.",
     .example = "2h",
     .min = 10,
     .max = kLongest},
}};
constexpr std::array<std::string_view, 2> kBackupKinds{"pg_dump", "command"};
constexpr Section kBackupSection{"backup", kBackupKeys, kBackupKinds};

constexpr std::string_view kHooksExample = R"([{"command": "./notify.sh", "timeout": "30s"}])";

constexpr KeyRule hooks_at(std::string_view phase, std::string_view doc) {
  return {.key = phase, .kind = ValueKind::kSections, .doc = doc, .example = kHooksExample, .section = &kHookSection};
}

constexpr std::array<KeyRule, 5> kBeforeKeys{{
    {.key = "backup",
     .kind = ValueKind::kSection,
     .doc = "A backup before anything is touched; nothing begins without it.",
     .example = R"json({"pg_dump": "/var/backups/users.dump", "tables": ["public.users"]})json",
     .section = &kBackupSection},
    hooks_at("expand", "Before the first step of 'expand'."),
    hooks_at("backfill", "Before the first batch."),
    hooks_at("contract", "When the gate is open, before the first step of 'contract'."),
    hooks_at("rollback", "Before anything is taken back."),
}};

constexpr std::array<KeyRule, 4> kAfterKeys{{
    hooks_at("expand", "After 'expand' and 'sync'."),
    hooks_at("backfill", "When all rows are done."),
    hooks_at("contract", "After the last step of 'contract'."),
    hooks_at("rollback", "When all is taken back."),
}};

}  // namespace

constexpr Section kBeforeSection{"before", kBeforeKeys};
constexpr Section kAfterSection{"after", kAfterKeys};

}  // namespace pgbackfill::planner
