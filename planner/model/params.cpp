#include "planner/model/params.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <limits>

#include "planner/model/sql_text.h"

namespace pgbackfill::planner {

namespace {

using Read = std::variant<std::string, WrongValue>;

constexpr std::string_view kOnlyKeys = "only-keys";

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool are_digits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), is_digit);
}

std::string_view without_leading_zeros(std::string_view digits) {
  auto const first = digits.find_first_not_of('0');
  return first == std::string_view::npos ? digits.substr(digits.size() - 1) : digits.substr(first);
}

bool takes_sign(std::string_view& text) {
  bool const is_negative = text.starts_with('-');
  if (is_negative || text.starts_with('+')) text.remove_prefix(1);
  return is_negative;
}

Read read_whole(std::string_view text, std::int64_t least, std::int64_t most) {
  std::string const bounds = std::to_string(least) + " to " + std::to_string(most);
  bool const is_negative = takes_sign(text);
  if (!are_digits(text)) return WrongValue{"is no whole number from " + bounds};
  std::string number(without_leading_zeros(text));
  if (is_negative && number != "0") number.insert(number.begin(), '-');
  std::int64_t value = 0;
  auto const [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
  bool const is_whole = error == std::errc{} && end == number.data() + number.size();
  if (!is_whole || value < least || value > most) return WrongValue{"is not in " + bounds};
  return number;
}

// Digits with a point in them; how many are behind the point is a part of the value.
Read read_numeric(std::string_view text) {
  constexpr std::size_t kMostDigits = 100;
  bool const is_negative = takes_sign(text);
  auto const point = text.find('.');
  auto const whole = text.substr(0, point);
  auto const fraction = point == std::string_view::npos ? std::string_view() : text.substr(point + 1);
  bool const is_number = are_digits(whole) && (point == std::string_view::npos || are_digits(fraction));
  if (!is_number || text.size() > kMostDigits) return WrongValue{"is no number such as 12 or -0.50"};
  std::string number(without_leading_zeros(whole));
  if (!fraction.empty()) number += "." + std::string(fraction);
  bool const is_zero = number.find_first_not_of("0.") == std::string::npos;
  return is_negative && !is_zero ? "-" + number : number;
}

std::string lower(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return result;
}

Read read_boolean(std::string_view text) {
  auto const word = lower(text);
  if (word == "true" || word == "false") return word;
  return WrongValue{"must be true or false"};
}

Read read_uuid(std::string_view text) {
  std::string const word = lower(text);
  bool is_uuid = word.size() == 36;
  for (std::size_t at = 0; is_uuid && at < word.size(); ++at) {
    bool const is_dash = at == 8 || at == 13 || at == 18 || at == 23;
    is_uuid = is_dash ? word[at] == '-' : std::isxdigit(static_cast<unsigned char>(word[at])) != 0;
  }
  if (is_uuid) return word;
  return WrongValue{"is no uuid such as 7d444840-9dc0-11d1-b245-5ffdce74fad2"};
}

bool is_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    auto const byte = static_cast<unsigned char>(text[at++]);
    int const more = byte < 0x80 ? 0 : byte >= 0xC2 && byte < 0xE0 ? 1 : byte >= 0xE0 && byte < 0xF0 ? 2 : 3;
    if (more == 3 && (byte < 0xF0 || byte > 0xF4)) return false;
    for (int count = 0; count < more; ++count, ++at) {
      if (at == text.size() || (static_cast<unsigned char>(text[at]) & 0xC0) != 0x80) return false;
    }
  }
  return true;
}

Read read_text_value(std::string_view text) {
  if (text.find('\0') != std::string_view::npos) return WrongValue{"has a zero byte in it, which no text can hold"};
  if (!is_utf8(text)) return WrongValue{"is no valid UTF-8"};
  return std::string(text);
}

std::optional<int> number_at(std::string_view text, std::size_t at, std::size_t length) {
  if (at + length > text.size() || !are_digits(text.substr(at, length))) return std::nullopt;
  int value = 0;
  std::from_chars(text.data() + at, text.data() + at + length, value);
  return value;
}

std::string padded(int value, std::size_t width) {
  std::string const text = std::to_string(value);
  return std::string(width - std::min(width, text.size()), '0') + text;
}

std::string date_text(std::chrono::year_month_day const& day) {
  return padded(static_cast<int>(day.year()), 4) + "-" + padded(static_cast<int>(unsigned(day.month())), 2) + "-" +
         padded(static_cast<int>(unsigned(day.day())), 2);
}

// 2026-01-31 and nothing else: any other order of the parts is a question of DateStyle.
std::optional<std::chrono::year_month_day> day_of(std::string_view text) {
  auto const year = number_at(text, 0, 4);
  auto const month = number_at(text, 5, 2);
  auto const day = number_at(text, 8, 2);
  if (text.size() != 10 || text[4] != '-' || text[7] != '-' || !year || !month || !day) return std::nullopt;
  std::chrono::year_month_day const found{std::chrono::year{*year}, std::chrono::month{static_cast<unsigned>(*month)},
                                          std::chrono::day{static_cast<unsigned>(*day)}};
  if (*year == 0 || !found.ok()) return std::nullopt;
  return found;
}

struct Moment {
  std::chrono::sys_seconds seconds{};  // as the clock on the wall shows it
  std::string fraction;                // of a second, with its point, without zeros at its end
};

std::optional<std::string> fraction_of(std::string_view text) {
  if (text.empty()) return std::string();
  constexpr std::size_t kMostDigits = 6;
  if (text.front() != '.' || !are_digits(text.substr(1)) || text.size() > kMostDigits + 1) return std::nullopt;
  std::string kept(text);
  while (kept.ends_with('0')) kept.pop_back();
  return kept == "." ? "" : kept;
}

// A day, and a time behind a T or a space: 08:00, 08:00:00, 08:00:00.25.
std::optional<Moment> moment_of(std::string_view text) {
  auto const day = day_of(text.substr(0, 10));
  if (!day) return std::nullopt;
  Moment moment{std::chrono::sys_days{*day}, ""};
  if (text.size() == 10) return moment;
  auto const time = text.substr(11);
  auto const hour = number_at(time, 0, 2);
  auto const minute = number_at(time, 3, 2);
  bool const has_seconds = time.size() > 5;
  auto const second = has_seconds ? number_at(time, 6, 2) : 0;
  auto const fraction = fraction_of(time.size() > 8 ? time.substr(8) : "");
  bool const is_time = (text[10] == 'T' || text[10] == ' ') && hour && *hour < 24 && time[2] == ':' && minute &&
                       *minute < 60 && (!has_seconds || time[5] == ':') && second && *second < 60 && fraction;
  if (!is_time) return std::nullopt;
  moment.seconds += std::chrono::hours{*hour} + std::chrono::minutes{*minute} + std::chrono::seconds{*second};
  moment.fraction = *fraction;
  return moment;
}

std::string moment_text(Moment const& moment) {
  auto const day = std::chrono::floor<std::chrono::days>(moment.seconds);
  std::chrono::hh_mm_ss const time{moment.seconds - day};
  return date_text(std::chrono::year_month_day{day}) + "T" + padded(static_cast<int>(time.hours().count()), 2) + ":" +
         padded(static_cast<int>(time.minutes().count()), 2) + ":" +
         padded(static_cast<int>(time.seconds().count()), 2) + moment.fraction;
}

// Z, +02, +02:00.
std::optional<std::chrono::minutes> zone_of(std::string_view text) {
  if (text == "Z" || text == "z") return std::chrono::minutes{0};
  if (text.size() < 3 || (text[0] != '+' && text[0] != '-')) return std::nullopt;
  auto const hours = number_at(text, 1, 2);
  auto const minutes = text.size() == 6 && text[3] == ':' ? number_at(text, 4, 2) : std::optional<int>(0);
  bool const is_zone = (text.size() == 3 || text.size() == 6) && hours && *hours < 16 && minutes && *minutes < 60;
  if (!is_zone || (text.size() == 6 && text[3] != ':')) return std::nullopt;
  auto const offset = std::chrono::hours{*hours} + std::chrono::minutes{*minutes};
  return text[0] == '-' ? -offset : offset;
}

Read read_date(std::string_view text) {
  auto const day = day_of(text);
  if (day) return date_text(*day);
  return WrongValue{"is no date such as 2026-01-31"};
}

Read read_timestamp(std::string_view text) {
  auto const moment = moment_of(text);
  if (moment) return moment_text(*moment);
  return WrongValue{"is no timestamp such as 2026-01-31T08:00:00"};
}

Read read_timestamptz(std::string_view text) {
  // What begins the zone is also in the date.
  auto const zone_at = text.size() > 10 ? text.find_first_of("Zz+-", 10) : std::string_view::npos;
  auto const zone = zone_at == std::string_view::npos ? std::nullopt : zone_of(text.substr(zone_at));
  auto moment = moment_of(text.substr(0, std::min(zone_at, text.size())));
  if (!zone || !moment) {
    return WrongValue{"is no timestamp with its zone such as 2026-01-31T08:00:00Z or 2026-01-31T08:00:00+02:00"};
  }
  moment->seconds -= *zone;
  if (moment->seconds < std::chrono::sys_days{std::chrono::year{1} / 1 / 1}) return WrongValue{"is before the year 1"};
  return moment_text(*moment) + "Z";
}

std::string_view sql_type(ParamType type) {
  switch (type) {
    case ParamType::kSmallint:
      return "int2";
    case ParamType::kInteger:
      return "int4";
    case ParamType::kBigint:
      return "int8";
    case ParamType::kNumeric:
      return "numeric";
    case ParamType::kBoolean:
      return "bool";
    case ParamType::kText:
      return "text";
    case ParamType::kUuid:
      return "uuid";
    case ParamType::kDate:
      return "date";
    case ParamType::kTimestamp:
      return "timestamp";
    case ParamType::kTimestamptz:
      return "timestamptz";
  }
  return "text";
}

bool is_plain_in_name(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
         std::string_view("_-.:+").find(c) != std::string_view::npos;
}

std::string in_name(std::string_view value) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string text;
  for (char const c : value) {
    auto const byte = static_cast<unsigned char>(c);
    bool const is_plain = byte < 0x80 && is_plain_in_name(c);
    if (is_plain) {
      text += c;
    } else {
      text += {'%', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return text;
}

std::string from_name(std::string_view text) {
  std::string value;
  for (std::size_t at = 0; at < text.size(); ++at) {
    int byte = 0;
    bool const is_code = text[at] == '%' && at + 2 < text.size() &&
                         std::from_chars(text.data() + at + 1, text.data() + at + 3, byte, 16).ec == std::errc{};
    value += is_code ? static_cast<char>(byte) : text[at];
    if (is_code) at += 2;
  }
  return value;
}

}  // namespace

std::string_view word_of(ParamType type) {
  return kParamTypeWords[static_cast<std::size_t>(type)];
}

bool is_param_name(std::string_view name) {
  auto const is_letter = [](char c) { return (c >= 'a' && c <= 'z') || c == '_'; };
  return !name.empty() && name.size() <= kMaxParamName && is_letter(name.front()) &&
         std::all_of(name.begin(), name.end(), [&](char c) { return is_letter(c) || is_digit(c); });
}

Read read_param(ParamType type, std::string_view text) {
  switch (type) {
    case ParamType::kSmallint:
      return read_whole(text, std::numeric_limits<std::int16_t>::min(), std::numeric_limits<std::int16_t>::max());
    case ParamType::kInteger:
      return read_whole(text, std::numeric_limits<std::int32_t>::min(), std::numeric_limits<std::int32_t>::max());
    case ParamType::kBigint:
      return read_whole(text, std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max());
    case ParamType::kNumeric:
      return read_numeric(text);
    case ParamType::kBoolean:
      return read_boolean(text);
    case ParamType::kText:
      return read_text_value(text);
    case ParamType::kUuid:
      return read_uuid(text);
    case ParamType::kDate:
      return read_date(text);
    case ParamType::kTimestamp:
      return read_timestamp(text);
    case ParamType::kTimestamptz:
      return read_timestamptz(text);
  }
  return WrongValue{"is of no type"};
}

std::string sql_of(ParamType type) {
  return "pg_catalog." + std::string(sql_type(type));
}

std::string sql_of(Param const& param) {
  std::string const value = param.value ? quote_literal(*param.value) : "NULL";
  return "(" + value + "::" + sql_of(param.type) + ")";
}

std::string name_with(std::string_view base, std::vector<ParamText> values, std::string const& only_keys) {
  if (!only_keys.empty()) values.push_back({std::string(kOnlyKeys), only_keys});
  std::string text(base);
  for (auto const& value : values) {
    text += (&value == &values.front() ? "[" : ",") + value.name + "=" + in_name(value.text);
  }
  return values.empty() ? text : text + "]";
}

NameWithParams parts_of_name(std::string_view name) {
  NameWithParams parts;
  auto const open = name.find('[');
  parts.base = name.substr(0, open);
  if (open == std::string_view::npos || !name.ends_with(']')) return parts;
  auto rest = name.substr(open + 1, name.size() - open - 2);
  while (!rest.empty()) {
    auto const end = std::min(rest.find(','), rest.size());
    auto const one = rest.substr(0, end);
    auto const equals = std::min(one.find('='), one.size());
    std::string value = equals < one.size() ? from_name(one.substr(equals + 1)) : std::string();
    if (one.substr(0, equals) == kOnlyKeys) {
      parts.only_keys = std::move(value);
    } else {
      parts.values.push_back({std::string(one.substr(0, equals)), std::move(value)});
    }
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return parts;
}

GivenParams given_of_name(std::string_view name) {
  auto parts = parts_of_name(name);
  return {std::move(parts.values), false, std::move(parts.only_keys)};
}

std::optional<ParamText> param_of_argument(std::string_view argument) {
  auto const equals = argument.find('=');
  if (equals == std::string_view::npos || !is_param_name(argument.substr(0, equals))) return std::nullopt;
  return ParamText{std::string(argument.substr(0, equals)), std::string(argument.substr(equals + 1))};
}

std::string arguments_of(std::string_view file, std::string_view name) {
  std::string text(file);
  auto const parts = parts_of_name(name);
  if (!parts.only_keys.empty()) text += " --only-keys FILE";
  for (auto const& value : parts.values) {
    bool const is_plain = std::all_of(value.text.begin(), value.text.end(), is_plain_in_name);
    std::string quoted = "'";
    for (char const c : value.text) quoted += c == '\'' ? "'\\''" : std::string(1, c);
    text += " --param " + value.name + "=" + (is_plain ? value.text : quoted + "'");
  }
  return text;
}

std::string setting_of_variable(std::string_view name) {
  return "pgbackfill.env_" + std::string(name);
}

std::string sql_of_variable(std::string_view name) {
  return "pg_catalog.current_setting(" + quote_literal(setting_of_variable(name)) + ")";
}

// Also within a literal, where a statement is handed over as text and its quotes are doubled.
std::vector<std::string> variables_in_sql(std::string_view sql) {
  std::string const prefix = setting_of_variable("");
  auto const is_of_name = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; };
  std::vector<std::string> names;
  for (auto at = sql.find(prefix); at != std::string_view::npos; at = sql.find(prefix, at)) {
    at += prefix.size();
    auto end = at;
    while (end < sql.size() && is_of_name(sql[end])) ++end;
    std::string name(sql.substr(at, end - at));
    bool const is_new = !name.empty() && std::find(names.begin(), names.end(), name) == names.end();
    if (is_new) names.push_back(std::move(name));
  }
  return names;
}

}  // namespace pgbackfill::planner
