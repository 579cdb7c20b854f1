// params:, what a file is given from outside; and what stands for it in the file's SQL.

#include <algorithm>
#include <cctype>
#include <string>
#include <utility>

#include "planner/file/sections.h"
#include "planner/file/sql_inputs.h"
#include "planner/file/values.h"
#include "planner/file/wording.h"
#include "planner/model/suggestion.h"
#include "planner/sql/batch_placeholder.h"

namespace pgbackfill::planner::file {

std::optional<ParamType> read_param_type(FileReader& reader, YamlNode const& value, std::string const& of_what) {
  auto const found = std::find(kParamTypeWords.begin(), kParamTypeWords.end(), std::string_view{value.text});
  if (value.kind == YamlKind::kScalar && found != kParamTypeWords.end()) {
    return static_cast<ParamType>(found - kParamTypeWords.begin());
  }
  std::string const is = value.kind == YamlKind::kScalar ? quoted(value.text) : kind_name(value);
  bool const is_param = of_what == "a parameter";
  reader.refuse(value, "the type of " + of_what + " is one of " + quoted_list(kParamTypeWords) + ", not " + is +
                           did_you_mean(value.text, kParamTypeWords) +
                           ". A value of another type is written as text, and cast where it is used: " +
                           (is_param ? "{param:name}::the_type" : "name::the_type"));
  return std::nullopt;
}

namespace {

constexpr char kOfParam[] = "a parameter";

void take_value(FileReader& reader, Param& param, std::string_view text, YamlNode const& place,
                std::string const& what) {
  auto read = read_param(param.type, text);
  if (auto* value = std::get_if<std::string>(&read)) {
    param.value = std::move(*value);
  } else {
    reader.refuse(place, what + " of parameter " + quoted(param.name) + ", " + quoted(text) + ", " +
                             std::get<WrongValue>(read).text);
  }
}

// `type` alone, or a map.
std::optional<Param> read_declaration(FileReader& reader, Field const& section, YamlNode const& name,
                                      YamlNode const& value) {
  Param param;
  param.position = reader.position_of(name);
  param.name = name.text;
  if (!is_param_name(name.text)) {
    reader.refuse(name, "a parameter has a name of lower-case letters, digits and '_', up to " +
                            std::to_string(kMaxParamName) + ", that begins with no digit; not " + quoted(name.text));
    return std::nullopt;
  }
  if (value.kind != YamlKind::kMap) {
    auto const type = read_param_type(reader, value, kOfParam);
    param.type = type.value_or(param.type);
    return type ? std::optional(param) : std::nullopt;
  }
  auto const fields = reader.read_section(value, *section.rule->section, value);
  auto const* type_field = fields.find("type");
  auto const type = type_field == nullptr ? std::nullopt : read_param_type(reader, *type_field->value, kOfParam);
  if (!type) return std::nullopt;
  param.type = *type;
  auto const* fallback = fields.find("default");
  if (fallback == nullptr) return param;
  if (fallback->value->kind != YamlKind::kScalar) {
    reader.refuse(FileReader::place_of(*fallback),
                  "'default' must be a single value, not " + kind_name(*fallback->value));
    return std::nullopt;
  }
  take_value(reader, param, fallback->value->text, *fallback->value, "the default");
  param.is_default = true;
  return param;
}

std::vector<Param> read_declarations(FileReader& reader, Field const& field) {
  std::vector<Param> params;
  if (field.value->kind != YamlKind::kMap || field.value->children.empty()) {
    reader.refuse(FileReader::place_of(field),
                  "'params' must be a map of names and types; " + for_example(*field.rule));
    return params;
  }
  reader.refuse_duplicates(*field.value);
  for (std::size_t index = 0; index + 1 < field.value->children.size(); index += 2) {
    auto const& name = reader.node(field.value->children[index]);
    auto param = read_declaration(reader, field, name, reader.node(field.value->children[index + 1]));
    if (param) params.push_back(std::move(*param));
  }
  if (params.size() > kMaxParams) {
    reader.refuse(*field.key, "there are more than " + std::to_string(kMaxParams) + " parameters");
  }
  return params;
}

Problem without_place(FileReader const& reader, std::string text) {
  return {{reader.position_of(reader.root()).file, 0, 0}, std::move(text)};
}

void give(FileReader& reader, std::vector<Param>& params, ParamText const& given) {
  auto const found =
      std::find_if(params.begin(), params.end(), [&](Param const& param) { return param.name == given.name; });
  if (found != params.end()) {
    auto read = read_param(found->type, given.text);
    if (auto* value = std::get_if<std::string>(&read)) {
      found->value = std::move(*value);
      found->is_default = false;
      return;
    }
    return reader.refuse({found->position, "the value " + quoted(given.text) + " of parameter " + quoted(given.name) +
                                               " " + std::get<WrongValue>(read).text});
  }
  std::vector<std::string_view> names;
  for (auto const& param : params) names.push_back(param.name);
  std::string const has = params.empty() ? "has no 'params', so that no value can be given to it"
                                         : "has no parameter " + quoted(given.name) + did_you_mean(given.name, names);
  reader.refuse(without_place(reader, "the file " + has));
}

std::string problem_of_name(std::string const& name) {
  if (name.size() <= kMaxNameWithParams) return "";
  return "with these values the name of the job has " + std::to_string(name.size()) + " bytes, and may have " +
         std::to_string(kMaxNameWithParams) + "; give it shorter values, or rows of a table that it joins";
}

}  // namespace

std::vector<Param> read_params(FileReader& reader, Fields const& fields, GivenParams const& given) {
  auto const* field = fields.find("params");
  auto params = field == nullptr ? std::vector<Param>() : read_declarations(reader, *field);
  // What is declared wrongly is not reported as missing as well.
  if (!reader.problems().empty()) return params;
  for (auto const& value : given.values) {
    auto const count = std::count_if(given.values.begin(), given.values.end(),
                                     [&](ParamText const& other) { return other.name == value.name; });
    if (count > 1) {
      reader.refuse(without_place(reader, "parameter " + quoted(value.name) + " is given more than once"));
      return params;
    }
    give(reader, params, value);
  }
  if (!reader.problems().empty()) return params;
  for (auto const& param : params) {
    if (param.value || given.may_lack) continue;
    reader.refuse({param.position, "parameter " + quoted(param.name) + " has no value and no default; give it with " +
                                       "--param " + param.name + "=... (" + std::string(word_of(param.type)) + ")"});
  }
  return params;
}

std::string name_of_instance(FileReader& reader, std::string const& base, std::vector<Param> const& params,
                             std::string const& only_keys) {
  std::vector<ParamText> values;
  for (auto const& param : params) {
    if (!param.value) return base;
    values.push_back({param.name, *param.value});
  }
  auto name = name_with(base, std::move(values), only_keys);
  auto const problem = problem_of_name(name);
  if (!problem.empty()) reader.refuse(without_place(reader, problem));
  return name;
}

namespace {

std::string name_in(std::string_view text, std::string_view opening) {
  bool const has_end = text.starts_with(opening) && text.ends_with('}');
  return has_end ? std::string(text.substr(opening.size(), text.size() - opening.size() - 1)) : std::string();
}

bool is_variable_name(std::string_view name) {
  constexpr std::size_t kMostBytes = 50;  // the name of a setting has at most 63
  auto const is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  return !name.empty() && name.size() <= kMostBytes && is_letter(name.front()) &&
         std::all_of(name.begin(), name.end(), [&](char c) { return is_letter(c) || (c >= '0' && c <= '9'); });
}

bool is_same_setting(std::string const& left, std::string const& right) {
  return std::equal(left.begin(), left.end(), right.begin(), right.end(),
                    [](unsigned char one, unsigned char other) { return std::tolower(one) == std::tolower(other); });
}

std::string sql_of_param(FileReader& reader, YamlNode const& value, std::string const& name) {
  auto const& params = reader.inputs().params;
  auto const found = std::find_if(params.begin(), params.end(), [&](Param const& param) { return param.name == name; });
  if (found != params.end()) return sql_of(*found);
  std::vector<std::string_view> names;
  for (auto const& param : params) names.push_back(param.name);
  reader.refuse(value, "there is no parameter " + quoted(name) + " in 'params'" + did_you_mean(name, names));
  return "NULL";
}

std::string sql_of_environment(FileReader& reader, YamlNode const& value, std::string const& name) {
  auto& inputs = reader.inputs();
  if (!inputs.why_no_environment.empty()) {
    reader.refuse(value, "${" + name + "} cannot stand here: " + inputs.why_no_environment);
    return "NULL";
  }
  for (auto const& known : inputs.environment) {
    if (known.name == name) return sql_of_variable(name);
    if (!is_same_setting(known.name, name)) continue;
    reader.refuse(value, "${" + name + "} and ${" + known.name +
                             "} differ in upper and lower case alone, and become one setting of the server");
    return "NULL";
  }
  inputs.environment.push_back({reader.position_of(value), name});
  return sql_of_variable(name);
}

std::string sql_of_prepared(FileReader& reader, YamlNode const& value, std::string const& name) {
  auto const& inputs = reader.inputs();
  if (!inputs.knows_prepared) {
    reader.refuse(value, "{prepare:" + name +
                             "} stands in the SQL of the backfill alone: its table is there while the "
                             "backfill runs, and no longer");
    return "NULL";
  }
  auto const found = std::find_if(inputs.prepared.begin(), inputs.prepared.end(),
                                  [&](Prepared const& prepared) { return prepared.name == name; });
  if (found != inputs.prepared.end()) return in_place_of(*found);
  std::vector<std::string_view> names;
  for (auto const& prepared : inputs.prepared) names.push_back(prepared.name);
  reader.refuse(value, "there is no " + quoted(name) + " in 'prepare'" + did_you_mean(name, names));
  return "NULL";
}

struct PlaceholderForm {
  std::string_view opening;
  bool (*is_name)(std::string_view);
  std::string (*sql_of)(FileReader&, YamlNode const&, std::string const&);
  std::string_view right_form;
};

PlaceholderForm const& form_of(ValueKindInSql kind) {
  static constexpr PlaceholderForm kParam{"{param:", &is_param_name, &sql_of_param,
                                          "'{param' can only begin {param:name}, with the name of one of 'params'"};
  static constexpr PlaceholderForm kPrepared{
      "{prepare:", &is_param_name, &sql_of_prepared,
      "'{prepare' can only begin {prepare:name}, with the name of one of 'prepare'"};
  static constexpr PlaceholderForm kVariable{"${", &is_variable_name, &sql_of_environment,
                                             "'${' can only begin ${NAME}, a variable of the environment, with a name "
                                             "of up to 50 letters, digits and '_'"};
  if (kind == ValueKindInSql::kParam) return kParam;
  return kind == ValueKindInSql::kPrepared ? kPrepared : kVariable;
}

std::string sql_of_placeholder(FileReader& reader, YamlNode const& value, std::string_view text, ValueKindInSql kind) {
  auto const& form = form_of(kind);
  auto const name = name_in(text, form.opening);
  if (form.is_name(name)) return form.sql_of(reader, value, name);
  reader.refuse(value, std::string(form.right_form));
  return "NULL";
}

void refuse_quoted(FileReader& reader, YamlNode const& value, std::string_view text, ValueKindInSql kind) {
  auto const& form = form_of(kind);
  if (!form.is_name(name_in(text, form.opening))) return;
  reader.refuse(value, std::string(text) + " stands between quotes, where it is text and no value; write it without " +
                           "quotes. Where the text itself is meant: '" + std::string(text.substr(0, 1)) + "' || '" +
                           std::string(text.substr(1)) + "'");
}

}  // namespace

std::string with_values(FileReader& reader, YamlNode const& value, std::string sql) {
  bool const is_of_steps = reader.inputs().is_of_steps;
  auto const found = value_placeholders(sql);
  for (auto each = found.rbegin(); each != found.rend(); ++each) {
    auto const text = sql.substr(each->begin, each->length);
    if (!each->is_quoted) {
      sql.replace(each->begin, each->length, sql_of_placeholder(reader, value, text, each->kind));
    } else if (!is_of_steps) {
      refuse_quoted(reader, value, text, each->kind);
    }
  }
  return sql;
}

}  // namespace pgbackfill::planner::file
