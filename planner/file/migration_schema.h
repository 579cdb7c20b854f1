// The one description of what a migration file may hold: sections, keys, kinds of values, bounds and a sentence each.
//
// The parser (planner/file/) looks keys, bounds and words up here, and the JSON Schema for editors is
// made from it, so that the two cannot drift. Says nothing about how a value is run. Constant data, safe from any
// thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace pgbackfill::planner {

enum class ValueKind {
  kName,            // letters, digits and a few marks: of a migration or a probe
  kIdentifier,      // a name taken literally
  kTable,           // SQL text, or a map with `section`
  kExpression,      // SQL
  kExpressions,     // map: column -> SQL
  kStatement,       // SQL, any
  kBatchStatement,  // SQL with {batch}
  kTrue,
  kCount,
  kNumber,
  kDuration,
  kSetting,  // of planner/file/throttle_settings.h, by the name of the key
  kText,
  kUrl,            // http:// or https://
  kWord,           // one of `words`
  kWordOrSection,  // one of `words`, or a map with `section`
  kSection,
  kSteps,        // list of maps with `section`
  kSections,     // the same, of anything but steps
  kStep,         // of one step: a map with `section`, or a text that stands for its key `shorthand`
  kColumns,      // list of names taken literally
  kFlag,         // true or false
  kTexts,        // list of texts
  kSecretText,   // a text with ${NAME}, or a map with `section`
  kSecretTexts,  // map: name -> the same
  kScalar,       // a text, a number or a truth value
  kPrepare,      // map: name -> a map with `section`
  kTypes,        // map: name -> one of `words`
  kParams,       // map: name -> one of `words`, or a map with `section`
  kUnsupported   // a known word that this version does not run; not in the JSON Schema
};

struct Section;

struct KeyRule {
  std::string_view key;
  ValueKind kind;
  std::string_view doc;      // one sentence; kUnsupported: what to write instead
  std::string_view example;  // text of a scalar; JSON, which is YAML too, of a map or list
  bool is_required = false;
  std::int64_t min = 0;  // kCount; kDuration in milliseconds
  std::int64_t max = 0;
  std::span<std::string_view const> words = {};
  Section const* section = nullptr;
  std::string_view needs = {};          // a key that must stand beside this one
  std::string_view excludes = {};       // a key that must not
  std::string_view excludes_hint = {};  // what to do then
  std::string_view shorthand = {};      // kStep
};

struct Section {
  std::string_view name;  // as the messages call it, empty for the file itself
  std::span<KeyRule const> keys;
  std::span<std::string_view const> one_of = {};  // exactly one of these must be there
  std::string_view joins = {};                    // but this one of them may stand beside `joined`, which then counts
  std::string_view joined = {};
};

// The file itself; the other sections hang on its keys.
Section const& migration_section();

// pgbackfill.yaml, which all migrations of a project have in common.
Section const& config_section();

// JSON Schema, draft 2020-12, published as docs/migration.schema.json and docs/config.schema.json.
std::string migration_json_schema();
std::string config_json_schema();

}  // namespace pgbackfill::planner
