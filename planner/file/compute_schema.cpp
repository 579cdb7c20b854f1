#include "planner/file/compute_schema.h"

#include <array>

#include "planner/file/on_schema.h"
#include "planner/model/compute.h"

namespace pgbackfill::planner {
namespace {

constexpr std::array<KeyRule, 3> kServiceKeys{{
    {.key = "url",
     .kind = ValueKind::kSecretText,
     .doc = "Where requests are sent by POST; ${NAME} stands for a variable of the environment.",
     .example = "https://embed.example/v1/rows",
     .is_required = true,
     .section = &kSecretSection},
    {.key = "headers",
     .kind = ValueKind::kSecretTexts,
     .doc = "Header fields by name; ${NAME} stands for a variable of the environment.",
     .example = R"json({"Authorization": "Bearer ${EMBED_TOKEN}"})json",
     .section = &kSecretSection},
    {.key = "ca_file",
     .kind = ValueKind::kText,
     .doc = "Certificates of whom to trust, in PEM, instead of those of the system.",
     .example = "/etc/ssl/company-ca.pem"},
}};
constexpr Section kServiceSection{"a service", kServiceKeys};

constexpr std::array<std::string_view, 2> kComputeForms{"command", "http"};
constexpr std::array<KeyRule, 12> kComputeKeys{{
    {.key = "read",
     .kind = ValueKind::kExpressions,
     .doc = "What the program is given of each row: a name and an SQL expression each.",
     .example = R"json({"email": "email", "tenant": "tenant_id"})json",
     .is_required = true},
    {.key = "write",
     .kind = ValueKind::kColumns,
     .doc = "The columns that an answer may set, of the table or of the one that 'copy_to' names. Without it the "
            "program is told of the rows, and nothing is written.",
     .example = R"json(["email_ciphertext", "email_index"])json"},
    {.key = "command",
     .kind = ValueKind::kTexts,
     .doc = "The program and its arguments, without a shell; it reads requests from standard input, one a line, and "
            "writes answers to standard output.",
     .example = R"json(["python3", "encrypt.py"])json"},
    {.key = "http",
     .kind = ValueKind::kSection,
     .doc = "A service that answers each request, sent by POST.",
     .example = R"json({"url": "https://embed.example/v1/rows"})json",
     .section = &kServiceSection},
    {.key = "environment",
     .kind = ValueKind::kTexts,
     .doc = "Environment variables that the program gets beside PATH, HOME, LANG, LC_ALL, TZ and TMPDIR.",
     .example = R"json(["ENCRYPTION_KEY"])json",
     .needs = "command"},
    {.key = "rows",
     .kind = ValueKind::kCount,
     .doc = "How many rows a request may have.",
     .example = "200",
     .min = 1,
     .max = kMostComputeRows},
    {.key = "bytes",
     .kind = ValueKind::kCount,
     .doc = "How long a request may be; a single row may be longer.",
     .example = "1000000",
     .min = 1'000,
     .max = kMostComputeBytes},
    {.key = "timeout",
     .kind = ValueKind::kDuration,
     .doc = "How long the program may take for a request; then it is ended and started again.",
     .example = "30s",
     .min = 10,
     .max = 3'600'000},
    {.key = "processes",
     .kind = ValueKind::kCount,
     .doc = "How many copies of the program run at the same time.",
     .example = "4",
     .min = 1,
     .max = kMostProcesses,
     .needs = "command"},
    {.key = "in_flight",
     .kind = ValueKind::kCount,
     .doc = "How many requests may be waiting for their answers, of all copies together; twice 'processes' by default, "
            "8 of a service.",
     .example = "8",
     .min = 1,
     .max = kMostInFlight},
    {.key = "per_second",
     .kind = ValueKind::kCount,
     .doc = "How many requests may be sent in a second.",
     .example = "40",
     .min = 1,
     .max = 1'000'000},
    {.key = "unless_changed",
     .kind = ValueKind::kColumns,
     .doc = "The names in 'read' whose values must still be the same when the answer is written; all of them by "
            "default. A row that has changed is read and computed again.",
     .example = R"json(["email"])json"},
}};

}  // namespace

constexpr Section kComputeSection{"compute", kComputeKeys, kComputeForms};

}  // namespace pgbackfill::planner
