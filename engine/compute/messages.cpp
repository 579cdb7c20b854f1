#include "engine/compute/messages.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/monotonic_resource.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/string.hpp>
#include <boost/uuid/name_generator_sha1.hpp>
#include <boost/uuid/uuid_io.hpp>
#include <charconv>
#include <utility>

#include "planner/model/key.h"

namespace pgbackfill::engine {

namespace {

namespace json = boost::json;

constexpr std::size_t kMostErrorBytes = 1'000;
constexpr std::size_t kMostShown = 80;
constexpr std::size_t kMostDepth = 200;
constexpr std::chrono::milliseconds kLongestLater{3'600'000};

std::string json_text(std::string const& text) {
  return json::serialize(json::string(text));
}

void append_json_text(std::string& json, std::string_view text) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  json += '"';
  std::size_t kept = 0;  // up to here it is in `json`
  for (std::size_t at = 0; at < text.size(); ++at) {
    char const letter = text[at];
    auto const code = static_cast<unsigned char>(letter);
    if (letter != '"' && letter != '\\' && code >= 0x20) continue;
    json += text.substr(kept, at - kept);
    kept = at + 1;
    if (letter == '"' || letter == '\\') {
      json += '\\';
      json += letter;
    } else if (letter == '\n') {
      json += "\\n";
    } else {
      json += "\\u00";
      json += kDigits[code >> 4U];
      json += kDigits[code & 15U];
    }
  }
  json += text.substr(kept);
  json += '"';
}

// The server's encoder of base64 breaks lines.
void append_base64(std::string& json, std::string_view text) {
  json += '"';
  for (char const letter : text) {
    if (letter != '\n') json += letter;
  }
  json += '"';
}

void append_input(std::string& json, std::optional<std::string> const& value, planner::ValueForm form) {
  if (!value) {
    json += "null";
  } else if (form == planner::ValueForm::kText) {
    append_json_text(json, *value);
  } else if (form == planner::ValueForm::kBase64) {
    append_base64(json, *value);
  } else {
    json += *value;
  }
}

// Four hexadecimal digits.
std::optional<unsigned> code_unit_at(std::string_view text, std::size_t at) {
  if (at + 4 > text.size()) return std::nullopt;
  unsigned code = 0;
  auto const [end, error] = std::from_chars(text.data() + at, text.data() + at + 4, code, 16);
  return error == std::errc() && end == text.data() + at + 4 ? std::optional(code) : std::nullopt;
}

void append_utf8(std::string& text, unsigned code) {
  auto const put = [&](unsigned byte) { text += static_cast<char>(byte); };
  auto const put_rest = [&](unsigned shift) { put(0x80U | (code >> shift & 0x3fU)); };
  if (code < 0x800) {
    put(0xc0U | code >> 6U);
  } else if (code < 0x10000) {
    put(0xe0U | code >> 12U);
    put_rest(6);
  } else {
    put(0xf0U | code >> 18U);
    put_rest(12);
    put_rest(6);
  }
  put_rest(0);
}

constexpr std::size_t kEscape = 6;  // \u and four digits

// The letter beyond ASCII whose escape begins at `at`, and how long that is; absent: it is none, or half of one.
std::optional<std::pair<unsigned, std::size_t>> escaped_letter(std::string_view text, std::size_t at) {
  auto const code = code_unit_at(text, at + 2);
  bool const is_low = code && *code >= 0xdc00 && *code < 0xe000;
  if (!code || *code < 0x80 || is_low) return std::nullopt;
  if (*code < 0xd800 || *code >= 0xe000) return std::pair(*code, kEscape);
  bool const goes_on = text.substr(at + kEscape, 2) == "\\u";
  auto const low = goes_on ? code_unit_at(text, at + kEscape + 2) : std::nullopt;
  if (!low || *low < 0xdc00 || *low >= 0xe000) return std::nullopt;
  return std::pair(0x10000 + ((*code - 0xd800) << 10U) + (*low - 0xdc00), 2 * kEscape);
}

// The same JSON with letters beyond ASCII as themselves.
std::string with_plain_letters(std::string const& json) {
  std::string text;
  text.reserve(json.size());
  for (std::size_t at = 0; at < json.size();) {
    if (json[at] != '\\') {
      text += json[at++];
      continue;
    }
    auto const letter = json.compare(at, 2, "\\u") == 0 ? escaped_letter(json, at) : std::nullopt;
    if (letter) {
      append_utf8(text, letter->first);
      at += letter->second;
    } else {
      text.append(json, at, 2);
      at += 2;
    }
  }
  return text;
}

std::string shortened(std::string_view text) {
  if (text.size() <= kMostShown) return std::string(text);
  return fmt::format("{}...", text.substr(0, kMostShown));
}

json::value const* member(json::object const& object, std::string_view name) {
  return object.if_contains(json::string_view(name.data(), name.size()));
}

bool may_set(planner::Compute const& compute, std::string_view column) {
  return std::find(compute.write.begin(), compute.write.end(), column) != compute.write.end();
}

std::string not_one_of_three(std::size_t number) {
  return fmt::format("row {} of it is not {{\"write\": {{...}}}}, {{\"skip\": true}} or {{\"error\": \"...\"}}",
                     number);
}

RowAnswer read_write(json::value const& value, planner::Compute const& compute, std::size_t number,
                     std::string& problem) {
  RowAnswer answer;
  if (!value.is_object()) {
    problem = fmt::format("\"write\" of row {} is not an object", number);
    return answer;
  }
  for (auto const& entry : value.get_object()) {
    if (may_set(compute, std::string_view(entry.key().data(), entry.key().size()))) continue;
    problem = fmt::format("row {} sets column '{}', which 'write' of the file does not name", number,
                          std::string(entry.key()));
    return answer;
  }
  answer.sets_all = value.get_object().size() == compute.write.size();
  return answer;
}

RowAnswer read_row(json::value const& value, planner::Compute const& compute, std::size_t number,
                   std::string& problem) {
  RowAnswer answer;
  bool const is_one = value.is_object() && value.get_object().size() == 1;
  auto const* object = is_one ? &value.get_object() : nullptr;
  if (object == nullptr) {
    problem = not_one_of_three(number);
  } else if (auto const* write = member(*object, "write")) {
    answer = read_write(*write, compute, number, problem);
  } else if (auto const* error = member(*object, "error"); error != nullptr && error->is_string()) {
    answer.kind = RowAnswerKind::kError;
    answer.error = std::string(error->get_string()).substr(0, kMostErrorBytes);
  } else if (auto const* skip = member(*object, "skip"); skip != nullptr && skip->is_bool() && skip->get_bool()) {
    answer.kind = RowAnswerKind::kSkip;
  } else {
    problem = not_one_of_three(number);
  }
  return answer;
}

std::optional<std::chrono::milliseconds> wait_of(json::value const& value) {
  auto const most = static_cast<double>(kLongestLater.count());
  if (!value.is_number()) return std::nullopt;
  double const wait = value.to_number<double>();
  if (!(wait >= 0)) return std::nullopt;
  return std::chrono::milliseconds(static_cast<std::int64_t>(std::min(wait, most)));
}

// The end of the string that begins at `at`, in JSON that has been parsed already.
std::size_t end_of_string(std::string_view text, std::size_t at) {
  for (++at; at < text.size(); at += 2) {
    auto const quote = std::min(text.find('"', at), text.size());
    auto const escape = text.substr(at, quote - at).find('\\');
    if (escape == std::string_view::npos) return std::min(quote + 1, text.size());
    at += escape;
  }
  return text.size();
}

std::size_t skip_blanks(std::string_view text, std::size_t at) {
  while (at < text.size() && std::string_view(" \t\r\n").find(text[at]) != std::string_view::npos) ++at;
  return at;
}

// The end of the value that begins at `at`.
std::size_t end_of_value(std::string_view text, std::size_t at) {
  int depth = 0;
  while (at < text.size()) {
    char const letter = text[at];
    if (letter == '"') {
      at = end_of_string(text, at);
      if (depth == 0) return at;
      continue;
    }
    if (letter == '{' || letter == '[') ++depth;
    if (letter == '}' || letter == ']') {
      if (depth == 0) return at;
      if (--depth == 0) return at + 1;
    }
    if (letter == ',' && depth == 0) return at;
    ++at;
  }
  return at;
}

// Texts of the elements of the list that begins at `at`.
std::vector<std::string_view> elements_at(std::string_view text, std::size_t at) {
  std::vector<std::string_view> elements;
  at = skip_blanks(text, at + 1);
  while (at < text.size() && text[at] != ']') {
    auto const end = end_of_value(text, at);
    elements.push_back(text.substr(at, end - at));
    at = skip_blanks(text, end);
    if (at < text.size() && text[at] == ',') at = skip_blanks(text, at + 1);
  }
  return elements;
}

// Texts of the names and the values of the object that begins at `at`.
std::vector<std::pair<std::string_view, std::string_view>> members_at(std::string_view text, std::size_t at) {
  std::vector<std::pair<std::string_view, std::string_view>> members;
  at = skip_blanks(text, at + 1);
  while (at < text.size() && text[at] == '"') {
    auto const name_end = end_of_string(text, at);
    std::string_view const name = text.substr(at, name_end - at);
    at = skip_blanks(text, skip_blanks(text, name_end) + 1);
    auto const end = end_of_value(text, at);
    auto const value = text.substr(at, end - at);
    members.emplace_back(name, value.substr(0, value.find_last_not_of(" \t\r\n") + 1));
    at = skip_blanks(text, end);
    if (at < text.size() && text[at] == ',') at = skip_blanks(text, at + 1);
  }
  return members;
}

// Of a string in JSON, with its quotes.
std::string text_of_json(std::string_view quoted) {
  if (quoted.size() < 2) return {};
  if (quoted.find('\\') == std::string_view::npos) return std::string(quoted.substr(1, quoted.size() - 2));
  return std::string(json::parse(json::string_view(quoted.data(), quoted.size())).get_string());
}

// Of an object: the texts of the elements of its last "rows", as the parser takes the last one too.
std::vector<std::string_view> texts_of_rows(std::string_view text) {
  std::vector<std::string_view> rows;
  for (auto const& [name, value] : members_at(text, skip_blanks(text, 0))) {
    if (text_of_json(name) == "rows" && value.starts_with('[')) rows = elements_at(value, 0);
  }
  return rows;
}

// Cut between characters, so that it is still UTF-8.
void cut_error(std::string& text) {
  while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0xC0U) == 0x80U) text.pop_back();
  if (!text.empty() && static_cast<unsigned char>(text.back()) >= 0xC0U) text.pop_back();
}

}  // namespace

std::optional<RowToCompute> row_to_compute(std::vector<std::optional<std::string>> const& fields,
                                           std::vector<planner::ComputeInput> const& read,
                                           std::vector<planner::ValueForm> const& forms) {
  std::size_t const keys = fields.size() - read.size() - 1;
  RowToCompute row;
  row.key += '[';
  for (std::size_t index = 0; index < keys; ++index) {
    if (index > 0) row.key += ',';
    append_json_text(row.key, fields[index].value());
  }
  row.key += ']';
  if (!fields.back()) return std::nullopt;
  row.seen = *fields.back();
  row.inputs += '{';
  for (std::size_t index = 0; index < read.size(); ++index) {
    if (index > 0) row.inputs += ',';
    append_json_text(row.inputs, read[index].name);
    row.inputs += ':';
    auto const form = index < forms.size() ? forms[index] : planner::ValueForm::kJson;
    append_input(row.inputs, fields[keys + index], form);
  }
  row.inputs += '}';
  return row;
}

planner::KeyValue key_value_of(std::string const& key) {
  planner::KeyValue values;
  boost::system::error_code error;
  auto const value = json::parse(json::string_view(key.data(), key.size()), error);
  auto const* texts = value.if_array();
  if (texts == nullptr) return values;
  for (auto const& text : *texts) {
    if (text.is_string()) values.emplace_back(text.get_string());
  }
  return values;
}

std::string key_for_people(std::string const& key) {
  return planner::to_string(key_value_of(key));
}

std::vector<std::optional<std::string_view>> values_of_answer(std::string const& text,
                                                              planner::Compute const& compute) {
  std::vector<std::optional<std::string_view>> values(compute.write.size());
  std::string_view const answer = text;
  auto const written = members_at(answer, skip_blanks(answer, 0));
  if (written.empty()) return values;
  std::string_view const write = written.back().second;
  for (auto const& [name, value] : members_at(write, 0)) {
    auto const column = std::find(compute.write.begin(), compute.write.end(), text_of_json(name));
    if (column != compute.write.end()) values[static_cast<std::size_t>(column - compute.write.begin())] = value;
  }
  return values;
}

std::vector<std::vector<std::size_t>> cut_into_requests(std::vector<RowToCompute> const& rows,
                                                        planner::Compute const& compute) {
  std::vector<std::vector<std::size_t>> requests;
  std::int64_t bytes = 0;
  for (std::size_t number = 0; number < rows.size(); ++number) {
    auto const own = static_cast<std::int64_t>(rows[number].key.size() + rows[number].inputs.size());
    bool const is_full = !requests.empty() && (static_cast<std::int64_t>(requests.back().size()) >= compute.rows ||
                                               bytes + own > compute.bytes);
    if (requests.empty() || is_full) {
      requests.emplace_back();
      bytes = 0;
    }
    requests.back().push_back(number);
    bytes += own;
  }
  return requests;
}

ComputeRequest make_request(std::string const& leaf, std::vector<RowToCompute> const& rows,
                            std::vector<std::size_t> const& chosen) {
  // A namespace of this program's own, made once at random.
  static constexpr boost::uuids::uuid kNamespace{
      {0x5b, 0x0e, 0x3f, 0x9c, 0x61, 0x7d, 0x4c, 0x27, 0x9a, 0x44, 0xd3, 0x1f, 0x86, 0x20, 0xe8, 0x75}};
  ComputeRequest request;
  request.row_count = chosen.size();
  std::string content = leaf + '\n';
  request.rows = "[";
  for (auto const number : chosen) {
    auto const& row = rows[number];
    if (request.rows.size() > 1) request.rows += ',';
    request.rows += "{\"key\":" + row.key + ",\"read\":" + row.inputs + '}';
    content += row.key + row.inputs + '\n';
  }
  request.rows += ']';
  if (!chosen.empty()) request.first_key = rows[chosen.front()].key;
  boost::uuids::name_generator_sha1 const generator(kNamespace);
  request.id = boost::uuids::to_string(generator(content));
  return request;
}

std::string request_line(ComputeRequest const& request, int attempt, std::string const& migration,
                         std::string const& table) {
  return fmt::format(R"({{"pgbackfill":1,"id":"{}","attempt":{},"migration":{},"table":{},"rows":{}}})", request.id,
                     attempt, json_text(migration), json_text(table), request.rows) +
         '\n';
}

AnswerRead read_answer(std::string line, planner::Compute const& compute) {
  AnswerRead read;
  if (line.find("\\u") != std::string::npos) line = with_plain_letters(line);
  json::parse_options options;
  options.max_depth = kMostDepth;
  boost::system::error_code error;
  json::monotonic_resource memory;  // what is parsed is forgotten at once
  auto const value = json::parse(json::string_view(line.data(), line.size()), error, &memory, options);
  if (error) {
    read.problem = fmt::format("it is not JSON ({}): {}", error.message(), shortened(line));
    return read;
  }
  auto const* object = value.if_object();
  auto const* id = object == nullptr ? nullptr : member(*object, "id");
  if (id == nullptr || !id->is_string()) {
    read.problem = "it is not an object with the \"id\" of a request: " + shortened(line);
    return read;
  }
  read.id = std::string(id->get_string());
  if (auto const* later = member(*object, "later")) {
    read.later = wait_of(*later);
    if (!read.later) read.problem = "\"later\" is not a number of milliseconds";
    return read;
  }
  auto const* rows = member(*object, "rows");
  if (rows == nullptr || !rows->is_array()) {
    read.problem = "it has neither \"rows\", a list, nor \"later\", a number of milliseconds";
    return read;
  }
  auto const texts = texts_of_rows(line);
  read.rows.reserve(texts.size());
  for (std::size_t number = 0; read.problem.empty() && number < texts.size(); ++number) {
    auto answer = read_row(rows->get_array()[number], compute, number + 1, read.problem);
    if (answer.error.size() == kMostErrorBytes) cut_error(answer.error);
    answer.text = texts[number];
    read.rows.push_back(std::move(answer));
  }
  return read;
}

std::string check_answer(std::vector<RowAnswer> const& rows, ComputeRequest const& request) {
  if (rows.size() == request.row_count) return "";
  return fmt::format("it has {} rows, and {} were asked for", rows.size(), request.row_count);
}

}  // namespace pgbackfill::engine
