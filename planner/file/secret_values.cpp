#include "planner/file/secret_values.h"

#include <algorithm>
#include <cctype>

#include "planner/file/values.h"
#include "planner/file/wording.h"

namespace pgbackfill::planner::file {
namespace {

constexpr std::string_view kFromElsewhere = "write ${NAME} for a variable of the environment, or {file: PATH}";

SecretText read_secret_at(FileReader& reader, YamlNode const& value, KeyRule const& rule, std::string_view key) {
  SecretText secret;
  secret.position = reader.position_of(value);
  if (value.kind == YamlKind::kMap) {
    auto const fields = reader.read_section(value, *rule.section, value);
    secret.file = read_text(reader, fields, "file");
    return secret;
  }
  if (value.kind != YamlKind::kScalar || is_blank(value.text)) {
    reader.refuse(value, quoted(key) + " must be a text, or {file: PATH}, not " +
                             (value.kind == YamlKind::kScalar ? "nothing" : kind_name(value)) + "; " +
                             for_example(rule));
    return secret;
  }
  if (!parts_of(value.text)) {
    reader.refuse(value, quoted(key) + " has a '${' without a name and a '}' behind it; write ${NAME}");
    return secret;
  }
  secret.text = value.text;
  return secret;
}

bool names_a_key(std::string_view header) {
  std::string name(header);
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (std::string_view const word : {"auth", "key", "token", "secret", "password", "cookie", "signature"}) {
    if (name.find(word) != std::string::npos) return true;
  }
  return false;
}

bool is_header_name(std::string_view name) {
  auto const is_part = [](unsigned char c) {
    return std::isalnum(c) != 0 || std::string_view("!#$%&'*+-.^_`|~").find(static_cast<char>(c)) != std::string::npos;
  };
  return !name.empty() && std::all_of(name.begin(), name.end(), is_part);
}

}  // namespace

SecretText read_secret(FileReader& reader, Fields const& fields, std::string_view key) {
  auto const* field = fields.find(key);
  return field == nullptr ? SecretText{} : read_secret_at(reader, *field->value, *field->rule, key);
}

// The file is in version control, and a copy of it in the database.
SecretText read_hidden(FileReader& reader, Fields const& fields, std::string_view key) {
  auto secret = read_secret(reader, fields, key);
  auto const* field = fields.find(key);
  if (field == nullptr || !secret.is_given() || !secret.is_literal()) return secret;
  reader.refuse(*field->value,
                quoted(key) + " is a secret and must not stand in this file; " + std::string{kFromElsewhere});
  return SecretText{};
}

SecretText read_secret_url(FileReader& reader, Fields const& fields) {
  auto secret = read_secret(reader, fields, "url");
  auto const* field = fields.find("url");
  // One that begins with a variable is looked at when it is used.
  if (field == nullptr || secret.text.empty() || secret.text.starts_with("${")) return secret;
  // Not shown: whoever left the scheme out has written the rest all the same.
  if (!is_url(secret.text)) {
    reader.refuse(*field->value,
                  "'url' is not a URL that begins with http:// or https://; " + for_example(*field->rule));
  }
  return secret;
}

std::vector<std::pair<std::string, SecretText>> read_headers(FileReader& reader, Fields const& fields) {
  std::vector<std::pair<std::string, SecretText>> headers;
  auto const* field = fields.find("headers");
  if (field == nullptr) return headers;
  if (field->value->kind != YamlKind::kMap) {
    reader.refuse(FileReader::place_of(*field), "'headers' must be a map of header fields, not " +
                                                    kind_name(*field->value) + "; " + for_example(*field->rule));
    return headers;
  }
  reader.refuse_duplicates(*field->value);
  for (std::size_t index = 0; index + 1 < field->value->children.size(); index += 2) {
    auto const& name = reader.node(field->value->children[index]);
    auto const& value = reader.node(field->value->children[index + 1]);
    if (name.kind != YamlKind::kScalar || !is_header_name(name.text)) {
      reader.refuse(name, quoted(name.text) + " is no name of a header field; " + for_example(*field->rule));
      continue;
    }
    auto secret = read_secret_at(reader, value, *field->rule, name.text);
    if (secret.is_given() && secret.is_literal() && names_a_key(name.text)) {
      reader.refuse(value,
                    quoted(name.text) + " is a secret and must not stand in this file; " + std::string{kFromElsewhere});
      continue;
    }
    headers.emplace_back(name.text, std::move(secret));
  }
  return headers;
}

}  // namespace pgbackfill::planner::file
