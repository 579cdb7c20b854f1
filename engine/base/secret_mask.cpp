#include "engine/base/secret_mask.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <optional>

#include "engine/base/text.h"

namespace pgbackfill::engine {

namespace {

constexpr std::string_view kMask = "***";
constexpr std::string_view kScheme = "://";
constexpr std::string_view kEndsWord = " \t\r\n'\"<>`";

// A part of a text.
struct Span {
  std::size_t begin = 0;
  std::size_t end = 0;
};

std::string upper(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(),
                 [](unsigned char letter) { return static_cast<char>(std::toupper(letter)); });
  return result;
}

bool names_a_secret(std::string_view name) {
  static constexpr std::array<std::string_view, 4> kWords{"PASSWORD", "PASSWD", "SECRET", "TOKEN"};
  std::string const word = upper(name);
  return std::any_of(kWords.begin(), kWords.end(),
                     [&](std::string_view one) { return word.find(one) != std::string::npos; });
}

bool is_blank(char letter) {
  return letter == ' ' || letter == '\t' || letter == '\r' || letter == '\n';
}

bool is_of_name(char letter) {
  return std::isalnum(static_cast<unsigned char>(letter)) != 0 || letter == '_';
}

std::size_t past_blanks(std::string_view text, std::size_t at) {
  while (at < text.size() && is_blank(text[at])) ++at;
  return at;
}

std::size_t before_blanks(std::string_view text, std::size_t end) {
  while (end > 0 && is_blank(text[end - 1])) --end;
  return end;
}

// --- URLs -----------------------------------------------------------------------------------------------------------

// "%70assword" is "password" to libpq.
std::string percent_decoded(std::string_view text) {
  std::string result;
  for (std::size_t at = 0; at < text.size(); ++at) {
    bool const is_escape =
        text[at] == '%' && at + 2 < text.size() && std::isxdigit(text[at + 1]) != 0 && std::isxdigit(text[at + 2]) != 0;
    result += is_escape ? static_cast<char>(std::stoi(std::string(text.substr(at + 1, 2)), nullptr, 16)) : text[at];
    if (is_escape) at += 2;
  }
  return result;
}

// Hosts with their ports, as they stand without a user: what follows the colon is numbers.
bool are_ports(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char letter) {
    return std::isdigit(static_cast<unsigned char>(letter)) != 0 || letter == ',' || letter == ']' || letter == ':';
  });
}

// The password between user and host. With an unescaped '/', '?' or '@' in it such a URL does not work, and shows it
// all the same.
std::optional<Span> password_of_user(std::string_view text, std::size_t at, std::size_t word_end, bool is_postgres) {
  auto const authority_end = std::min(text.find_first_of("/?#", at), word_end);
  auto const colon = text.find(':', at);
  if (colon == std::string_view::npos || colon >= word_end) return std::nullopt;
  auto const first = text.find('@', at);
  bool const has_user = first < authority_end;
  bool const is_torn = !has_user && colon < authority_end && text[at] != '[' &&
                       !are_ports(text.substr(colon + 1, authority_end - colon - 1));
  if (!has_user && !is_torn) return std::nullopt;
  auto const query = std::min(text.find('?', at), word_end);
  auto limit = has_user ? authority_end : word_end;
  if (has_user && is_postgres) limit = std::max(authority_end, query);
  auto const host = text.substr(0, limit).rfind('@');
  if (host == std::string_view::npos || host <= colon) return std::nullopt;
  return Span{colon + 1, host};
}

void find_in_query(std::string_view text, std::size_t at, std::size_t word_end, std::vector<Span>& spans) {
  at = text.find('?', at);
  while (at < word_end) {
    auto const end = std::min(text.find_first_of("&#;", at + 1), word_end);
    auto const equals = text.find('=', at);
    bool const is_secret =
        equals < end && names_a_secret(percent_decoded(text.substr(at + 1, equals - at - 1))) && equals + 1 < end;
    if (is_secret) spans.push_back({equals + 1, end});
    at = end;
  }
}

void find_in_urls(std::string_view text, std::vector<Span>& spans) {
  for (auto scheme = text.find(kScheme); scheme != std::string_view::npos; scheme = text.find(kScheme, scheme + 1)) {
    auto const at = scheme + kScheme.size();
    auto const word_end = std::min(text.find_first_of(kEndsWord, at), text.size());
    auto const before = text.substr(0, scheme);
    bool const is_postgres = before.ends_with("postgres") || before.ends_with("postgresql");
    if (auto const password = password_of_user(text, at, word_end, is_postgres)) spans.push_back(*password);
    find_in_query(text, at, word_end, spans);
  }
}

// --- name=value -----------------------------------------------------------------------------------------------------

// Past what is quoted, its end included. Conninfo and shells escape by a backslash, SQL by doubling.
std::size_t past_quoted(std::string_view text, std::size_t at) {
  char const quote = text[at++];
  while (at < text.size()) {
    bool const is_doubled = text[at] == quote && at + 1 < text.size() && text[at + 1] == quote;
    if (text[at] == quote && !is_doubled) break;
    at += text[at] == '\\' || is_doubled ? 2 : 1;
  }
  return std::min(at + 1, text.size());
}

std::size_t past_value(std::string_view text, std::size_t at) {
  if (at < text.size() && (text[at] == '\'' || text[at] == '"')) return past_quoted(text, at);
  while (at < text.size() && !is_blank(text[at]) &&
         std::string_view("'\"&;|<>)`").find(text[at]) == std::string::npos) {
    at += text[at] == '\\' ? 2 : 1;
  }
  return std::min(at, text.size());
}

// What a shell puts in there is not in the text.
bool is_reference(std::string_view text, std::size_t at) {
  if (at < text.size() && text[at] == '"') ++at;
  return at < text.size() && text[at] == '$';
}

struct Assignment {
  Span name;
  Span value;
};

// The assignment around an equals sign, if it is one.
std::optional<Assignment> assignment_at(std::string_view text, std::size_t equals) {
  auto const name_end = before_blanks(text, equals);
  auto name = name_end;
  while (name > 0 && is_of_name(text[name - 1])) --name;
  auto const value = past_blanks(text, equals + 1);
  if (name == name_end || value >= text.size()) return std::nullopt;
  return Assignment{{name, name_end}, {value, past_value(text, value)}};
}

void find_assignments(std::string_view text, std::vector<Span>& spans) {
  for (auto equals = text.find('='); equals != std::string_view::npos; equals = text.find('=', equals + 1)) {
    auto const found = assignment_at(text, equals);
    if (!found || found->value.begin == found->value.end) continue;
    if (!names_a_secret(text.substr(found->name.begin, found->name.end - found->name.begin))) continue;
    if (!is_reference(text, found->value.begin)) spans.push_back(found->value);
  }
}

bool is_keyword(std::string_view name) {
  static constexpr std::array<std::string_view, 14> kKeywords{
      "HOST",     "HOSTADDR",        "PORT",        "DBNAME",           "USER",    "SERVICE",     "PASSFILE",
      "PASSWORD", "CONNECT_TIMEOUT", "SSLPASSWORD", "APPLICATION_NAME", "OPTIONS", "SSLROOTCERT", "SSLMODE"};
  std::string const word = upper(name);
  return std::find(kKeywords.begin(), kKeywords.end(), word) != kKeywords.end();
}

// Passwords of conninfo strings: with another keyword beside it, or at the beginning of a literal.
void find_in_conninfo(std::string_view text, std::vector<Span>& spans) {
  std::optional<Assignment> before;
  for (auto equals = text.find('='); equals != std::string_view::npos;) {
    auto const found = assignment_at(text, equals);
    auto const next = text.find('=', found ? std::max(found->value.end, equals + 1) : equals + 1);
    bool const is_known = found && is_keyword(text.substr(found->name.begin, found->name.end - found->name.begin));
    if (!is_known) {
      before.reset();
      equals = next;
      continue;
    }
    bool const is_secret = names_a_secret(text.substr(found->name.begin, found->name.end - found->name.begin));
    bool const follows = before && past_blanks(text, before->value.end) == found->name.begin &&
                         before->value.end < found->name.begin && text[before->value.end - 1] != ',';
    bool const begins =
        found->name.begin > 0 && (text[found->name.begin - 1] == '\'' || text[found->name.begin - 1] == '"');
    auto const after = next == std::string_view::npos ? std::nullopt : assignment_at(text, next);
    bool const precedes = after && past_blanks(text, found->value.end) == after->name.begin &&
                          found->value.end < after->name.begin && text[found->value.end - 1] != ',' &&
                          is_keyword(text.substr(after->name.begin, after->name.end - after->name.begin));
    bool const is_whole = found->name.begin == 0 && found->value.end == text.size();
    if (is_secret && (follows || begins || precedes || is_whole) && found->value.begin < found->value.end) {
      spans.push_back(found->value);
    }
    before = found;
    equals = next;
  }
}

// CREATE ROLE app PASSWORD 'x', OPTIONS (user 'u', password 'x').
void find_in_sql(std::string_view text, std::vector<Span>& spans) {
  constexpr std::string_view kWord = "PASSWORD";
  std::string const folded = upper(text);
  for (auto at = folded.find(kWord); at != std::string::npos; at = folded.find(kWord, at + 1)) {
    auto const end = at + kWord.size();
    auto value = past_blanks(text, end);
    if (value == end || (at > 0 && is_of_name(text[at - 1]))) continue;
    if (value < text.size() && (text[value] == 'E' || text[value] == 'e')) ++value;
    if (value < text.size() && text[value] == '\'') spans.push_back({value, past_quoted(text, value)});
  }
}

// --------------------------------------------------------------------------------------------------------------------

// In their order and apart from each other.
std::vector<Span> in_order(std::vector<Span> spans) {
  std::sort(spans.begin(), spans.end(), [](Span left, Span right) { return left.begin < right.begin; });
  std::vector<Span> apart;
  for (auto const& span : spans) {
    if (apart.empty() || span.begin >= apart.back().end) {
      apart.push_back(span);
    } else {
      apart.back().end = std::max(apart.back().end, span.end);
    }
  }
  return apart;
}

std::string replaced(std::string_view text, std::vector<Span> const& spans) {
  std::string result;
  std::size_t at = 0;
  for (auto const& span : spans) {
    result += text.substr(at, span.begin - at);
    result += kMask;
    at = span.end;
  }
  result += text.substr(at);
  return result;
}

std::vector<Span> secrets_of_shells(std::string_view text) {
  std::vector<Span> spans;
  find_in_urls(text, spans);
  find_assignments(text, spans);
  find_in_sql(text, spans);
  return in_order(std::move(spans));
}

}  // namespace

std::vector<std::string> secrets_in(std::map<std::string, std::string> const& environment) {
  std::vector<std::string> secrets;
  for (auto const& [name, value] : environment) {
    if (names_a_secret(name) && value.size() >= kShortestSecret) secrets.push_back(value);
  }
  // One may contain another.
  std::sort(secrets.begin(), secrets.end(),
            [](std::string const& left, std::string const& right) { return left.size() > right.size(); });
  return secrets;
}

std::vector<std::string> secrets_of_environment(std::vector<std::string> const& variables) {
  std::map<std::string, std::string> inherited;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    std::string const one = *entry;
    auto const equals = one.find('=');
    if (equals != std::string::npos) inherited[one.substr(0, equals)] = one.substr(equals + 1);
  }
  auto secrets = secrets_in(inherited);
  for (auto const& name : variables) {
    auto const found = inherited.find(name);
    if (found != inherited.end() && found->second.size() >= kShortestSecret) secrets.push_back(found->second);
  }
  return secrets;
}

std::string masked(std::string text, std::vector<std::string> const& secrets) {
  for (auto const& secret : secrets) {
    for (auto at = text.find(secret); at != std::string::npos; at = text.find(secret, at + kMask.size())) {
      text.replace(at, secret.size(), kMask);
    }
  }
  return replaced(text, secrets_of_shells(text));
}

std::string without_passwords(std::string text) {
  std::vector<Span> spans;
  find_in_urls(text, spans);
  find_in_conninfo(text, spans);
  find_in_sql(text, spans);
  return spans.empty() ? text : replaced(text, in_order(std::move(spans)));
}

std::vector<FoundSecret> find_secrets(std::string const& text) {
  std::vector<FoundSecret> found;
  for (auto const& span : secrets_of_shells(text)) {
    auto begin = before_blanks(text, span.begin);
    if (begin > 0) begin = before_blanks(text, begin - 1);  // past the colon or the equals sign
    while (begin > 0 && is_of_name(text[begin - 1])) --begin;
    std::string const before = text.substr(begin, span.begin - begin);
    std::string const after = text.substr(span.end, 1);
    std::string const secret = text.substr(span.begin, span.end - span.begin);
    bool const is_quoted = secret.size() > 2 && (secret.front() == '\'' || secret.front() == '"');
    found.push_back({is_quoted ? secret.substr(1, secret.size() - 2) : secret, before + secret + after,
                     before + std::string(kMask) + after});
  }
  return found;
}

}  // namespace pgbackfill::engine
