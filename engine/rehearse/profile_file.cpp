#include "engine/rehearse/profile_file.h"

#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <set>
#include <stdexcept>
#include <type_traits>

#include "engine/base/text.h"
#include "planner/model/fingerprint.h"

namespace pgbackfill::engine {

namespace {

namespace json = boost::json;
using planner::CheckProfile;
using planner::ColumnProfile;
using planner::ForeignKeyProfile;
using planner::TableProfile;

constexpr char kFormat[] = "pgbackfill profile";
constexpr std::string_view kBody = "\"profile\":\n";

// --- What the fields of each kind of value are, for both directions ---

template <class Archive>
void fields(Archive& archive, planner::TableName& table) {
  archive("schema", table.schema);
  archive("name", table.name);
}

template <class Archive>
void fields(Archive& archive, ColumnProfile& column) {
  archive("name", column.name);
  archive("type", column.type);
  archive("plain", column.plain);
  archive("array", column.is_array);
  archive("not_null", column.is_not_null);
  archive("generated", column.is_generated);
  archive("labels", column.labels);
  archive("max_length", column.max_length);
  archive("max_digits", column.max_digits);
  archive("analyzed", column.is_analyzed);
  archive("null_share", column.null_share);
  archive("width", column.width);
  archive("distinct", column.distinct);
  archive("correlation", column.correlation);
  archive("elements", column.elements);
  archive("common_shares", column.common_shares);
  archive("common_values", column.common_values);
  archive("bounds", column.bounds);
  archive("digits", column.digits);
  archive("decimals", column.decimals);
  archive("has_negative", column.has_negative);
  archive("span_days", column.span_days);
  archive("age_days", column.age_days);
  archive("widths", column.widths);
  archive("stored_share", column.stored_share);
}

template <class Archive>
void fields(Archive& archive, ForeignKeyProfile& key) {
  archive("name", key.name);
  archive("columns", key.columns);
  archive("parent", key.parent);
  archive("parent_columns", key.parent_columns);
}

template <class Archive>
void fields(Archive& archive, CheckProfile& check) {
  archive("name", check.name);
  archive("definition", check.definition);
  archive("columns", check.columns);
}

template <class Archive>
void fields(Archive& archive, TableProfile& table) {
  archive("table", table.table);
  archive("kind", table.kind);
  archive("parent", table.parent);
  archive("partition_bound", table.partition_bound);
  archive("partition_key", table.partition_key);
  archive("touched", table.is_touched);
  archive("rows", table.rows);
  archive("heap_bytes", table.heap_bytes);
  archive("index_bytes", table.index_bytes);
  archive("toast_bytes", table.toast_bytes);
  archive("fillfactor", table.fillfactor);
  archive("dead_rows", table.dead_rows);
  archive("inserts_per_second", table.inserts_per_second);
  archive("updates_per_second", table.updates_per_second);
  archive("deletes_per_second", table.deletes_per_second);
  archive("columns", table.columns);
  archive("unique_keys", table.unique_keys);
  archive("foreign_keys", table.foreign_keys);
  archive("checks", table.checks);
}

template <class Archive>
void fields(Archive& archive, SchemaText& schema) {
  archive("objects", schema.objects);
  archive("tables", schema.tables);
  archive("rest", schema.rest);
}

template <class Archive>
void fields(Archive& archive, BatchCost& batch) {
  archive("rows", batch.rows);
  archive("milliseconds", batch.milliseconds);
  archive("wal_bytes", batch.wal_bytes);
  archive("of_copy", batch.is_of_copy);
}

template <class Archive>
void fields(Archive& archive, Profile& profile) {
  archive("program", profile.program);
  archive("taken_at", profile.taken_at);
  archive("taken_at_seconds", profile.taken_at_seconds);
  archive("migration", profile.migration);
  archive("values", profile.values);
  archive("server_version", profile.server_version);
  archive("settings", profile.settings);
  archive("replicas", profile.replicas);
  archive("commit_milliseconds", profile.commit_milliseconds);
  archive("batch", profile.batch);
  archive("work_rows", profile.work_rows);
  archive("matching_share", profile.matching_share);
  archive("notes", profile.notes);
  archive("tables", profile.tables);
  archive("schema", profile.schema);
}

// --- Writing ---

class Writer {
 public:
  template <class T>
  void operator()(char const* key, T& value) {
    object_[key] = json_of(value);
  }
  json::object take() { return std::move(object_); }

 private:
  template <class T>
  static json::value json_of(T& value) {
    if constexpr (std::is_same_v<T, std::string>) {
      return json::value(valid_utf8(value));
    } else if constexpr (std::is_same_v<T, bool> || std::is_arithmetic_v<T>) {
      return json::value(value);
    } else {
      Writer writer;
      fields(writer, value);
      return writer.take();
    }
  }
  template <class T>
  static json::value json_of(std::vector<T>& values) {
    json::array list;
    for (auto& value : values) list.push_back(json_of(value));
    return list;
  }
  static json::value json_of(std::map<std::string, std::string>& values) {
    json::object object;
    for (auto& [name, value] : values) object[name] = valid_utf8(value);
    return object;
  }
  template <class T>
  static json::value json_of(std::optional<T>& value) {
    return value ? json_of(*value) : json::value(nullptr);
  }
  static json::value json_of(KeptValues& values) { return values == KeptValues::kNone ? "none" : "statistics"; }

  json::object object_;
};

// A line for each part: who is to send it to somebody wants to read it first.
void write_lines(json::value const& value, int depth, std::string& text) {
  std::string const indent(static_cast<std::size_t>(depth + 1) * 2, ' ');
  std::string const closing(static_cast<std::size_t>(depth) * 2, ' ');
  bool is_first = true;
  auto const next = [&] {
    text += is_first ? "\n" : ",\n";
    text += indent;
    is_first = false;
  };
  if (auto const* object = value.if_object(); object != nullptr && !object->empty()) {
    text += '{';
    for (auto const& [key, member] : *object) {
      next();
      text += json::serialize(json::string(key)) + ": ";
      write_lines(member, depth + 1, text);
    }
    text += "\n" + closing + '}';
    return;
  }
  auto const* list = value.if_array();
  if (list == nullptr || list->empty() || !list->front().is_object()) {
    text += json::serialize(value);
    return;
  }
  text += '[';
  for (auto const& member : *list) {
    next();
    write_lines(member, depth + 1, text);
  }
  text += "\n" + closing + ']';
}

// --- Reading ---

struct Unreadable : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Reader {
 public:
  Reader(json::object const& object, std::string path) : object_(object), path_(std::move(path)) {}

  template <class T>
  void operator()(char const* key, T& value) {
    known_.insert(key);
    auto const* found = object_.if_contains(key);
    auto const place = path_.empty() ? std::string(key) : path_ + "." + key;
    if (found == nullptr) throw Unreadable(place + " is missing");
    take(*found, value, place);
  }

  void refuse_unknown() const {
    for (auto const& [key, unused] : object_) {
      if (!known_.contains(std::string(key))) {
        throw Unreadable(fmt::format("{}{}{} is no key of a profile", path_, path_.empty() ? "" : ".",
                                     neutralised(std::string(key))));
      }
    }
  }

  template <class T>
  static void take_object(json::value const& from, T& value, std::string const& place) {
    auto const* object = from.if_object();
    if (object == nullptr) throw Unreadable(place + " is no object");
    Reader reader(*object, place);
    fields(reader, value);
    reader.refuse_unknown();
  }

 private:
  template <class T>
  static void take(json::value const& from, T& value, std::string const& place) {
    if constexpr (std::is_same_v<T, std::string>) {
      if (!from.is_string()) throw Unreadable(place + " is no text");
      value = std::string(from.get_string());
    } else if constexpr (std::is_same_v<T, bool>) {
      if (!from.is_bool()) throw Unreadable(place + " is neither true nor false");
      value = from.get_bool();
    } else if constexpr (std::is_arithmetic_v<T>) {
      take_number(from, value, place);
    } else {
      take_object(from, value, place);
    }
  }
  template <class T>
  static void take_number(json::value const& from, T& value, std::string const& place) {
    json::error_code error;
    auto const number = from.to_number<T>(error);
    if (error) throw Unreadable(place + " is no number that fits");
    value = number;
  }
  template <class T>
  static void take(json::value const& from, std::vector<T>& values, std::string const& place) {
    auto const* list = from.if_array();
    if (list == nullptr) throw Unreadable(place + " is no list");
    for (auto const& member : *list) take(member, values.emplace_back(), fmt::format("{}[{}]", place, values.size()));
  }
  static void take(json::value const& from, std::map<std::string, std::string>& values, std::string const& place) {
    auto const* object = from.if_object();
    if (object == nullptr) throw Unreadable(place + " is no object");
    for (auto const& [key, member] : *object) take(member, values[std::string(key)], place + "." + std::string(key));
  }
  template <class T>
  static void take(json::value const& from, std::optional<T>& value, std::string const& place) {
    if (!from.is_null()) take(from, value.emplace(), place);
  }
  static void take(json::value const& from, KeptValues& values, std::string const& place) {
    std::string text;
    take(from, text, place);
    if (text != "none" && text != "statistics") throw Unreadable(place + " is neither none nor statistics");
    values = text == "none" ? KeptValues::kNone : KeptValues::kStatistics;
  }

  json::object const& object_;
  std::string path_;
  std::set<std::string> known_;
};

Profile profile_of(std::string_view text) {
  json::error_code error;
  auto const document = json::parse(text, error);
  if (error) throw Unreadable("it is no JSON: " + error.message());
  auto const* top = document.if_object();
  auto const* format = top == nullptr ? nullptr : top->if_contains("format");
  bool const is_profile = format != nullptr && format->is_string() && format->get_string() == kFormat;
  if (!is_profile) throw Unreadable("it is no profile: `pgbackfill profile FILE --output ...` writes one");
  auto const* version = top->if_contains("version");
  if (version == nullptr || !version->is_int64()) throw Unreadable("it has no version");
  if (version->get_int64() > kProfileVersion) {
    throw Unreadable(
        fmt::format("it has version {}, and this program reads up to {}: a newer pgbackfill wrote it; "
                    "use that one, or take the profile again",
                    version->get_int64(), kProfileVersion));
  }
  auto const* fingerprint = top->if_contains("fingerprint");
  auto const* body = top->if_contains("profile");
  auto const begin = text.find(kBody);
  if (fingerprint == nullptr || !fingerprint->is_string() || body == nullptr || begin == std::string_view::npos) {
    throw Unreadable("it was changed since it was written; take the profile again");
  }
  if (fingerprint->get_string() != planner::fingerprint(text.substr(begin))) {
    throw Unreadable("it was changed since it was written: its fingerprint is another; take the profile again");
  }
  Profile profile;
  Reader::take_object(*body, profile, "profile");
  return profile;
}

}  // namespace

std::string profile_text(Profile const& profile) {
  Writer writer;
  auto copy = profile;
  fields(writer, copy);
  std::string body(kBody);
  write_lines(writer.take(), 0, body);
  body += "\n}\n";
  return fmt::format("{{\"format\": \"{}\", \"version\": {}, \"fingerprint\": \"{}\",\n{}", kFormat, kProfileVersion,
                     planner::fingerprint(body), body);
}

std::variant<Profile, std::string> read_profile_text(std::string_view text) {
  try {
    return profile_of(text);
  } catch (Unreadable const& error) {
    return std::string(error.what());
  }
}

}  // namespace pgbackfill::engine
