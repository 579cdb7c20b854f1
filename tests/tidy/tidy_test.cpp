// The rules of the house that a reader of the sources can check: who includes what, where SQL and effects live, and
// what GCC 12 makes wrong code of. Each rule is tested to fail as well, on a snippet that breaks it.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pgbackfill::tests {
namespace {

namespace fs = std::filesystem;

constexpr std::array kFolders = {"planner", "throttle", "engine", "bench", "tests", "examples"};
constexpr std::size_t kMostColumns = 120;

struct Source {
  std::string path;  // from the root of the sources, with '/'
  std::string text;
};

using Findings = std::vector<std::string>;  // file:line: what
using Rule = std::function<Findings(Source const&)>;

bool is_in(Source const& source, std::string_view folder) {
  return source.path.starts_with(std::string(folder) + '/');
}

bool is_code(std::string_view path) {
  return path.ends_with(".h") || path.ends_with(".cpp");
}

std::string finding(Source const& source, std::size_t offset, std::string const& what) {
  auto const end = source.text.begin() + static_cast<std::ptrdiff_t>(std::min(offset, source.text.size()));
  return source.path + ':' + std::to_string(1 + std::count(source.text.begin(), end, '\n')) + ": " + what;
}

std::string read(fs::path const& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<Source> const& sources() {
  static std::vector<Source> const all = [] {
    std::vector<Source> found;
    fs::path const root = PGBACKFILL_SOURCE_DIR;
    for (char const* folder : kFolders) {
      if (!fs::exists(root / folder)) continue;
      for (auto const& entry : fs::recursive_directory_iterator(root / folder)) {
        if (entry.is_regular_file()) {
          found.push_back({fs::relative(entry.path(), root).generic_string(), read(entry.path())});
        }
      }
    }
    std::sort(found.begin(), found.end(), [](Source const& a, Source const& b) { return a.path < b.path; });
    return found;
  }();
  return all;
}

// ---- reading C++ well enough

enum class Keep { kCode, kStrings };

// The text with everything else turned to blanks, line for line: comments always; string and character literals or,
// for kStrings, everything but them.
class Blanked {
 public:
  Blanked(std::string const& text, Keep keep) : text_(text), keep_(keep), result_(text) {
    while (at_ < text_.size()) step();
  }
  std::string const& result() const { return result_; }

 private:
  void step() {
    std::string_view const rest = std::string_view(text_).substr(at_);
    if (rest.starts_with("//")) return skip_to(text_.find('\n', at_), false);
    if (rest.starts_with("/*")) return skip_to(past(text_.find("*/", at_), 2), false);
    if (rest.starts_with("R\"") && !is_word_before()) return raw_string();
    if (rest.front() == '"') return quoted('"');
    // 1'000 has a separator, not a character literal.
    if (rest.front() == '\'' && !is_word_before()) return quoted('\'');
    skip_to(at_ + 1, keep_ == Keep::kCode);
  }

  void raw_string() {
    std::size_t const open = text_.find('(', at_);
    if (open == std::string::npos) return skip_to(open, false);
    std::string const close = ')' + text_.substr(at_ + 2, open - at_ - 2) + '"';
    skip_to(past(text_.find(close, open), close.size()), keep_ == Keep::kStrings);
  }

  void quoted(char quote) {
    std::size_t end = at_ + 1;
    while (end < text_.size() && text_[end] != quote && text_[end] != '\n') end += text_[end] == '\\' ? 2 : 1;
    skip_to(end + 1, keep_ == Keep::kStrings);
  }

  bool is_word_before() const { return at_ > 0 && std::isalnum(static_cast<unsigned char>(text_[at_ - 1])) != 0; }

  static std::size_t past(std::size_t found, std::size_t length) {
    return found == std::string::npos ? found : found + length;
  }

  void skip_to(std::size_t end, bool is_kept) {
    end = std::min(end, text_.size());
    for (; at_ < end; ++at_) {
      if (!is_kept && text_[at_] != '\n') result_[at_] = ' ';
    }
  }

  std::string const& text_;
  Keep const keep_;
  std::string result_;
  std::size_t at_ = 0;
};

std::string blanked(std::string const& text, Keep keep) {
  return Blanked(text, keep).result();
}

Findings matches(Source const& source, std::string const& text, std::regex const& pattern, std::string const& what) {
  Findings findings;
  for (auto at = std::sregex_iterator(text.begin(), text.end(), pattern); at != std::sregex_iterator(); ++at) {
    findings.push_back(finding(source, static_cast<std::size_t>(at->position()), what + ": " + at->str()));
  }
  return findings;
}

struct Include {
  std::string name;  // with <> or ""
  std::size_t offset = 0;
};

std::vector<Include> includes(Source const& source) {
  std::vector<Include> found;
  // A line at a time: the lines of a raw string could look like one, and do not matter.
  static std::regex const pattern("(^|\n)[ \t]*#[ \t]*include[ \t]*([<\"][^>\"\n]*[>\"])");
  for (auto at = std::sregex_iterator(source.text.begin(), source.text.end(), pattern); at != std::sregex_iterator();
       ++at) {
    found.push_back({(*at)[2], static_cast<std::size_t>(at->position(2))});
  }
  return found;
}

Findings includes_that(Source const& source, std::function<bool(std::string const&)> const& is_refused,
                       std::string const& what) {
  Findings findings;
  for (auto const& include : includes(source)) {
    if (is_refused(include.name)) findings.push_back(finding(source, include.offset, what + ' ' + include.name));
  }
  return findings;
}

// ---- the rules

bool is_std_header(std::string const& name) {
  static std::regex const pattern("<[a-z_]+>");
  // Effects, by whatever name.
  static std::set<std::string> const effects = {"<thread>",   "<mutex>",      "<condition_variable>",
                                                "<future>",   "<random>",     "<fstream>",
                                                "<iostream>", "<filesystem>", "<atomic>"};
  return std::regex_match(name, pattern) && !effects.contains(name);
}

Findings planner_includes(Source const& source) {
  if (!is_in(source, "planner")) return {};
  return includes_that(
      source,
      [&](std::string const& name) {
        bool const is_sql_parser =
            source.path == "planner/sql/sql_syntax.cpp" && (name == "<pg_query.h>" || name.starts_with("<boost/json/"));
        bool const is_parser = name.starts_with("<yaml-cpp/") || is_sql_parser;
        return !is_std_header(name) && !is_parser && !name.starts_with("\"planner/");
      },
      "planner must not include");
}

Findings throttle_includes(Source const& source) {
  if (!is_in(source, "throttle")) return {};
  return includes_that(
      source,
      [&](std::string const& name) {
        bool const is_time_zone = name == "<date/tz.h>" && source.path == "throttle/windows.cpp";
        return !is_std_header(name) && !is_time_zone && !name.starts_with("\"throttle/");
      },
      "throttle must not include");
}

Findings clocks(Source const& source) {
  if (!is_in(source, "planner") && !is_in(source, "throttle")) return {};
  static std::regex const pattern("\\b(\\w+_clock\\s*::\\s*now|time\\s*\\(\\s*(nullptr|NULL|0)\\s*\\))");
  return matches(source, blanked(source.text, Keep::kCode), pattern, "time is an argument here");
}

Findings libpq_includes(Source const& source) {
  static std::set<std::string> const allowed = {"engine/pg/pg_connection.cpp", "tests/support/pg_client.cpp"};
  if (allowed.contains(source.path) || is_in(source, "bench")) return {};
  return includes_that(
      source, [](std::string const& name) { return name.find("libpq") != std::string::npos; },
      "libpq belongs in engine/pg/pg_connection.cpp, not");
}

Findings curl_includes(Source const& source) {
  if (source.path == "engine/http/http_call.cpp") return {};
  return includes_that(
      source, [](std::string const& name) { return name.starts_with("<curl/"); },
      "libcurl belongs in engine/http/http_call.cpp, not");
}

// What each room may include besides itself; of the engine's, planner/ and throttle/ too. docs/architecture.md says
// why.
using Rooms = std::map<std::string, std::set<std::string>>;

Rooms const& rooms_of(std::string const& folder) {
  static std::map<std::string, Rooms> const all = {
      {"planner",
       {
           {"sql", {}},
           {"model", {"sql"}},
           {"work", {"sql", "model"}},
           {"keys", {"sql", "model", "work"}},
           {"checks", {"sql", "model", "work", "keys"}},
           {"steps", {"sql", "model", "work", "keys"}},
           {"fill", {"sql", "model", "work", "keys", "checks", "steps"}},
           {"file", {"sql", "model", "work", "keys", "checks", "steps"}},
           {"lint", {"sql", "model", "work", "keys", "checks", "steps", "file"}},
       }},
      {"engine",
       {
           {"base", {}},
           {"http", {"base"}},
           {"state", {"base"}},
           {"pg", {"base", "state"}},
           {"child", {"base"}},
           {"compute", {"base", "http", "child"}},
           {"probes", {"base", "http", "pg"}},
           {"run", {"base", "state", "pg", "compute", "probes"}},
           {"view", {"base", "state"}},
           {"tell", {"base", "view"}},
           {"web", {"base", "view", "tell"}},
           {"process", {"base", "state", "pg", "run", "view", "tell"}},
           {"steps", {"base", "http", "state", "pg", "child", "probes", "run"}},
           {"notice", {"base", "http", "child"}},
           {"verify", {"base", "state", "pg", "compute", "probes", "run", "steps", "process"}},
           {"plan", {"base", "state", "pg", "compute", "probes", "run", "steps", "verify", "process", "view"}},
           {"app",
            {"base", "state", "pg", "probes", "run", "steps", "verify", "process", "plan", "view", "tell", "web",
             "notice"}},
           {"sandbox", {"base"}},
           {"rehearse",
            {"base", "state", "pg", "child", "probes", "run", "steps", "verify", "process", "plan", "view", "app"}},
           {"cli",
            {"base", "state", "pg", "probes", "run", "steps", "verify", "process", "plan", "view", "tell", "web",
             "notice", "app", "sandbox", "rehearse"}},
       }},
  };
  return all.at(folder);
}

Findings room_includes(Source const& source) {
  static std::regex const pattern("(planner|engine)/([a-z]+)/[a-z0-9_]+\\.(h|cpp)");
  static std::regex const included("\"(planner|engine)/([a-z]+/)?[a-z0-9_]+\\.h\"");
  if (!is_in(source, "planner") && !is_in(source, "engine")) return {};
  std::smatch place;
  bool const has_room = std::regex_match(source.path, place, pattern) && rooms_of(place[1]).contains(place[2]);
  if (!has_room) return {source.path + ":1: there is no such room"};
  std::string const folder = place[1];
  std::string const room = place[2];
  bool const is_silent = folder == "engine" && (room == "base" || room == "state" || room == "view");
  return includes_that(
      source,
      [&](std::string const& name) {
        std::smatch other;
        if (is_silent && name.starts_with("<boost/asio")) return true;
        if (!std::regex_match(name, other, included) || other[1] != folder) return false;
        std::string const from = other[2].length() == 0 ? "" : other[2].str().substr(0, other[2].length() - 1);
        return from != room && !rooms_of(folder).at(room).contains(from);
      },
      folder + '/' + room + " must not include");
}

bool includes_prometheus(Source const& source) {
  auto const found = includes(source);
  return std::any_of(found.begin(), found.end(),
                     [](Include const& include) { return include.name.starts_with("<prometheus/"); });
}

Findings prometheus_files(std::vector<Source> const& all) {
  Findings findings;
  std::set<std::string> units;
  for (auto const& source : all) {
    if (!includes_prometheus(source)) continue;
    units.insert(fs::path(source.path).replace_extension().generic_string());
    if (!is_in(source, "engine")) findings.push_back(source.path + ":1: prometheus belongs in engine");
  }
  for (auto const& unit : units) {
    if (units.size() > 1) findings.push_back(unit + ".cpp:1: prometheus belongs in one place");
  }
  return findings;
}

// Messages that tell people where to look.
bool is_message_about_state(std::string const& path, std::string const& name) {
  static std::set<std::pair<std::string, std::string>> const messages = {
      {"engine/run/pg_database.cpp", "pgbackfill.jobs"},
      {"engine/process/command_context.cpp", "pgbackfill.meta"},
      {"engine/process/command_context.cpp", "pgbackfill.migrations"},
      // Where what is stored cannot be, the row is named.
      {"engine/verify/comparison.cpp", "pgbackfill.comparisons"},
      {"engine/run/pg_database.cpp", "pgbackfill.deferred"},
      {"engine/run/pg_database.cpp", "pgbackfill.leaves"},
      {"engine/run/pg_database.cpp", "pgbackfill.ranges"},
      {"engine/steps/step_runner.cpp", "pgbackfill.claims"},
      {"engine/app/run_one.cpp", "pgbackfill.quarantine"},
      {"engine/app/finish_one.cpp", "pgbackfill.steps"},
      {"engine/app/finish_one.cpp", "pgbackfill.claims"},
      {"engine/view/status_text.cpp", "pgbackfill.quarantine"},
  };
  return messages.contains({path, name});
}

// Rows become structs where their statement is (state/typed_rows.h), and nobody else counts columns.
Findings counted_columns(Source const& source) {
  static std::set<std::string> const decoders = {"state", "pg", "probes"};
  static std::regex const room("engine/([a-z]+)/.*");
  static std::regex const pattern(
      "\\.at\\(\\w+, \\d+\\)|\\b(row|found|front\\(\\))(\\[\\d+\\]|\\.at\\(\\d+\\))|->at\\(0, \\d+\\)");
  std::smatch place;
  bool const is_looked_at = std::regex_match(source.path, place, room) && !decoders.contains(place[1]);
  if (!is_looked_at) return {};
  return matches(source, blanked(source.text, Keep::kCode), pattern,
                 "columns are not counted here: give the row a struct (engine/state/typed_rows.h)");
}

Findings state_tables(Source const& source) {
  bool const is_product = is_in(source, "engine") || is_in(source, "planner") || is_in(source, "throttle");
  if (!is_product || source.path.starts_with("engine/state/")) return {};
  std::string const strings = blanked(source.text, Keep::kStrings);
  static std::regex const pattern(
      "pgbackfill\\.(meta|migrations|jobs|leaves|ranges|deferred|quarantine|steps|claims|events|facts|runners|"
      "approvals|hooks|hook_turns|comparisons|samples)\\b");
  Findings findings;
  for (auto at = std::sregex_iterator(strings.begin(), strings.end(), pattern); at != std::sregex_iterator(); ++at) {
    if (is_message_about_state(source.path, at->str())) continue;
    findings.push_back(finding(source, static_cast<std::size_t>(at->position()),
                               "SQL of state tables belongs in engine/state/*.cpp: " + at->str()));
  }
  return findings;
}

char last_letter_before(std::string const& code, std::size_t at) {
  while (at > 0 && std::isspace(static_cast<unsigned char>(code[at - 1])) != 0) --at;
  return at == 0 ? '\0' : code[at - 1];
}

bool ends_line(std::string const& code, std::size_t at) {
  std::size_t const next = code.find_first_not_of(" \t", at + 1);
  return next == std::string::npos || code[next] == '\n';
}

// Where the statement around `at` begins: after a semicolon, or after a brace that ends its line.
std::size_t statement_begin(std::string const& code, std::size_t at) {
  int depth = 0;  // of what was opened before and closed since; negative: within parentheses
  while (at > 0) {
    char const letter = code[at - 1];
    if (letter == ')') ++depth;
    if (letter == '(') --depth;
    if (letter == ';' && depth <= 0) return at;
    if ((letter == '{' || letter == '}') && ends_line(code, at - 1) && depth <= 0) return at;
    --at;
  }
  return 0;
}

// GCC 12 destroys an aggregate, a lambda or the chosen side of a conditional in the expression of a co_await twice. A
// brace is the mark of the first two.
std::size_t trap_in_statement(std::string const& code, std::size_t begin) {
  int depth = 0;
  for (std::size_t at = begin; at < code.size(); ++at) {
    char const letter = code[at];
    if (letter == '(' || letter == '[') ++depth;
    if (letter == ')' || letter == ']') --depth;
    if (letter == ';' && depth <= 0) return std::string::npos;
    if (letter == '?') return at;
    if (letter != '{') continue;
    // if (co_await ...) {
    char const before = last_letter_before(code, at);
    if (depth == 0 && (before == ')' || before == ':') && ends_line(code, at)) return std::string::npos;
    return at;
  }
  return std::string::npos;
}

Findings traps_beside_co_await(Source const& source) {
  std::string const code = blanked(source.text, Keep::kCode);
  Findings findings;
  static std::regex const pattern("\\bco_await\\b");
  for (auto at = std::sregex_iterator(code.begin(), code.end(), pattern); at != std::sregex_iterator(); ++at) {
    auto const offset = static_cast<std::size_t>(at->position());
    if (trap_in_statement(code, statement_begin(code, offset)) != std::string::npos) {
      findings.push_back(
          finding(source, offset, "name it, then await it: a brace, lambda or conditional with co_await"));
    }
  }
  return findings;
}

Findings co_await_in_catch(Source const& source) {
  std::string const code = blanked(source.text, Keep::kCode);
  Findings findings;
  static std::regex const pattern("\\bcatch\\s*\\([^)]*\\)\\s*\\{");
  for (auto at = std::sregex_iterator(code.begin(), code.end(), pattern); at != std::sregex_iterator(); ++at) {
    auto const begin = static_cast<std::size_t>(at->position() + at->length());
    int depth = 1;
    std::size_t end = begin;
    for (; end < code.size() && depth > 0; ++end) depth += code[end] == '{' ? 1 : code[end] == '}' ? -1 : 0;
    auto const found = code.substr(begin, end - begin).find("co_await");
    if (found != std::string::npos) findings.push_back(finding(source, begin + found, "co_await in a catch block"));
  }
  return findings;
}

Findings using_namespace_std(Source const& source) {
  static std::regex const pattern("using\\s+namespace\\s+std\\s*;");
  return matches(source, blanked(source.text, Keep::kCode), pattern, "say what you use");
}

std::size_t columns_of(std::string_view line) {
  return static_cast<std::size_t>(
      std::count_if(line.begin(), line.end(), [](char letter) { return (letter & '\xC0') != '\x80'; }));
}

Findings layout(Source const& source) {
  if (!is_code(source.path)) return {};
  Findings findings;
  if (source.text.empty() || source.text.back() != '\n') {
    findings.push_back(finding(source, source.text.size(), "the file does not end with a line feed"));
  }
  for (std::size_t begin = 0; begin < source.text.size();) {
    std::size_t const end = std::min(source.text.find('\n', begin), source.text.size());
    std::string_view const line = std::string_view(source.text).substr(begin, end - begin);
    if (line.find('\t') != std::string_view::npos) findings.push_back(finding(source, begin, "a tab"));
    if (line.ends_with(' ') || line.ends_with('\r')) findings.push_back(finding(source, begin, "trailing blanks"));
    if (columns_of(line) > kMostColumns) findings.push_back(finding(source, begin, "longer than 120 columns"));
    begin = end + 1;
  }
  return findings;
}

Findings header_form(Source const& source) {
  if (!source.path.ends_with(".h")) return {};
  Findings findings;
  if (!source.text.starts_with("// ")) findings.push_back(source.path + ":1: a header begins with what it is for");
  if (source.text.find("\n#pragma once\n") == std::string::npos)
    findings.push_back(source.path + ":1: no #pragma once");
  return findings;
}

Findings file_names(Source const& source) {
  static std::regex const pattern("util|helper|common|manager", std::regex::icase);
  std::string const name = fs::path(source.path).filename().string();
  if (!std::regex_search(name, pattern)) return {};
  return {source.path + ":1: a name that says nothing of what is in it"};
}

Findings open_ends(Source const& source) {
  // Apart, so that this file keeps its own rule.
  static std::regex const pattern(
      "\\b(TO"
      "DO|FIX"
      "ME|XX"
      "X)\\b");
  return matches(source, source.text, pattern, "an issue has a number");
}

Findings test_names(Source const& source) {
  if (!is_in(source, "tests") || !is_code(source.path)) return {};
  if (source.path.ends_with("_test.cpp") || source.path.ends_with("_pgtest.cpp")) return {};
  static std::regex const pattern("(^|\n)(TEST|TEST_F|TEST_P|TYPED_TEST|RC_GTEST_PROP|RC_GTEST_FIXTURE_PROP)\\(");
  return matches(source, blanked(source.text, Keep::kCode), pattern, "tests are named *_test.cpp or *_pgtest.cpp");
}

// ---- the tests

std::string text_of(Findings const& findings) {
  std::string text;
  for (auto const& each : findings) text += each + '\n';
  return text;
}

void expect_kept(Rule const& rule) {
  ASSERT_FALSE(sources().empty()) << PGBACKFILL_SOURCE_DIR;
  Findings all;
  for (auto const& source : sources()) {
    auto const findings = rule(source);
    all.insert(all.end(), findings.begin(), findings.end());
  }
  EXPECT_TRUE(all.empty()) << text_of(all);
}

void expect_found(Rule const& rule, std::string const& path, std::string const& text, int line = 1) {
  auto const findings = rule({path, text});
  ASSERT_FALSE(findings.empty()) << path << '\n' << text;
  EXPECT_TRUE(findings.front().starts_with(path + ':' + std::to_string(line) + ": ")) << findings.front();
}

void expect_clean(Rule const& rule, std::string const& path, std::string const& text) {
  EXPECT_TRUE(rule({path, text}).empty()) << text << text_of(rule({path, text}));
}

TEST(Tidy, PlannerIncludesOnlyTheLibraryItselfAndItsParsers) {
  expect_kept(planner_includes);
  for (char const* name : {"<boost/asio.hpp>", "<libpq-fe.h>", "\"throttle/backoff.h\"", "\"engine/verify/gate.h\"",
                           "<thread>", "<random>", "<unistd.h>", "<spdlog/spdlog.h>"}) {
    expect_found(planner_includes, "planner/model/key.cpp", "\n# include " + std::string(name) + "\n", 2);
  }
  expect_found(planner_includes, "planner/lint/lint.cpp", "#include <pg_query.h>\n");
  expect_clean(planner_includes, "planner/sql/sql_syntax.cpp",
               "#include <pg_query.h>\n#include <boost/json/value.hpp>\n");
  expect_clean(planner_includes, "planner/model/key.h",
               "#include <chrono>\n#include <yaml-cpp/parser.h>\n#include \"planner/model/key.h\"\n");
  expect_clean(planner_includes, "engine/verify/gate.h", "#include <thread>\n");
}

TEST(Tidy, ThrottleIncludesOnlyTheLibraryItselfAndTimeZones) {
  expect_kept(throttle_includes);
  expect_found(throttle_includes, "throttle/backoff.h", "#include \"planner/model/key.h\"\n");
  expect_found(throttle_includes, "throttle/backoff.h", "#include <date/tz.h>\n");
  expect_clean(throttle_includes, "throttle/windows.cpp", "#include <date/tz.h>\n#include \"throttle/windows.h\"\n");
}

TEST(Tidy, PlannerAndThrottleNeverAskForTheTime) {
  expect_kept(clocks);
  expect_found(clocks, "throttle/backoff.cpp", "auto now = std::chrono::steady_clock::now();\n");
  expect_clean(clocks, "throttle/backoff.cpp", "// steady_clock::now()\n");
  expect_clean(clocks, "engine/verify/gate.cpp", "steady_clock::now();\n");
}

TEST(Tidy, LibpqAppearsInOnePlace) {
  expect_kept(libpq_includes);
  expect_found(libpq_includes, "engine/verify/gate.cpp", "#include <libpq-fe.h>\n");
  expect_found(libpq_includes, "tests/engine/verify/gate_pgtest.cpp", "\n\n#include <postgresql/libpq-fe.h>\n", 3);
  expect_clean(libpq_includes, "engine/pg/pg_connection.cpp", "#include <libpq-fe.h>\n");
}

TEST(Tidy, LibcurlAppearsInOnePlace) {
  expect_kept(curl_includes);
  expect_found(curl_includes, "engine/http/url.cpp", "#include <curl/curl.h>\n");
  expect_found(curl_includes, "tests/engine/http/http_call_pgtest.cpp", "\n#include <curl/multi.h>\n", 2);
  expect_clean(curl_includes, "engine/http/http_call.cpp", "#include <curl/curl.h>\n");
}

TEST(Tidy, ARoomIncludesOnlyWhatStandsBelowIt) {
  expect_kept(room_includes);
  for (std::string const folder : {"planner", "engine"}) {
    for (auto const& [room, below] : rooms_of(folder)) {
      for (auto const& [other, unused] : rooms_of(folder)) {
        std::string const path = folder + '/' + room + "/gate.cpp";
        std::string const include = "#include \"" + folder + '/' + other + "/gate.h\"\n";
        if (room == other || below.contains(other)) {
          expect_clean(room_includes, path, include);
        } else {
          expect_found(room_includes, path, include);
        }
      }
    }
    expect_found(room_includes, folder + "/gate.cpp", "");
    expect_found(room_includes, folder + "/kitchen/gate.cpp", "");
  }
  expect_found(room_includes, "engine/cli/gate.cpp", "#include \"engine/gate.h\"\n");
  expect_clean(room_includes, "engine/base/gate.cpp", "#include \"planner/lint/gate.h\"\n");
  for (char const* silent : {"base", "state", "view"}) {
    expect_found(room_includes, "engine/" + std::string(silent) + "/gate.h", "#include <boost/asio/awaitable.hpp>\n");
  }
}

TEST(Tidy, PrometheusAppearsInOnePlace) {
  auto const found = prometheus_files(sources());
  EXPECT_TRUE(found.empty()) << text_of(found);
  std::string const text = "#include <prometheus/counter.h>\n";
  EXPECT_EQ(prometheus_files({{"engine/a.h", text}, {"engine/a.cpp", text}}).size(), 0U);
  EXPECT_EQ(prometheus_files({{"engine/a.cpp", text}, {"engine/b.cpp", text}}).size(), 2U);
  EXPECT_EQ(prometheus_files({{"planner/a.cpp", text}}).size(), 1U);
}

TEST(Tidy, StateTablesAreNamedByTheStateStoreAlone) {
  expect_kept(state_tables);
  expect_clean(state_tables, "engine/state/state_job.cpp", "auto s = \"SELECT 1 FROM pgbackfill.jobs\";\n");
  expect_found(state_tables, "engine/verify/gate.cpp", "\nauto s = \"SELECT 1 FROM pgbackfill.jobs\";\n", 2);
  expect_found(state_tables, "engine/verify/gate.cpp", "auto s = R\"sql(\nUPDATE pgbackfill.ranges)sql\";\n", 2);
  expect_clean(state_tables, "engine/verify/gate.cpp", "// pgbackfill.jobs\nauto s = \"pgbackfill.batch\";\n");
  expect_clean(state_tables, "engine/app/run_one.cpp", "auto s = \"see pgbackfill.quarantine\";\n");
}

TEST(Tidy, ColumnsAreCountedWhereRowsAreDecodedAlone) {
  expect_kept(counted_columns);
  for (char const* line : {"auto a = rows->at(0, 1);", "auto a = rows.at(row, 0);", "auto a = *row[3];",
                           "auto a = row.at(2);", "auto a = rows->rows.front()[1];"}) {
    expect_found(counted_columns, "engine/verify/gate.cpp", std::string(line) + '\n');
    expect_clean(counted_columns, "engine/state/state_job.cpp", std::string(line) + '\n');
  }
  expect_clean(counted_columns, "engine/verify/gate.cpp",
               "auto a = rows.rows.at(0);\nauto b = document.at(\"plan\");\n");
}

TEST(Tidy, NothingWithBracesAndNoConditionalStandsBesideACoAwait) {
  expect_kept(traps_beside_co_await);
  for (char const* line :
       {"co_await run({.rows = 1});", "auto x = co_await run(Request{1});", "co_await run(Request{1},\n  two);",
        "co_await run([request] { return request; });", "co_await run([=]() { go(); });",
        "f(Request{1}, co_await g());", "if (Request{1} == co_await g()) {\n}",
        "co_return co_await run(std::vector<int>{1, 2});", "auto x = co_await (is_new ? run(a) : walk(a));",
        "x = is_new ? co_await run(a) : 0;", "co_await run(is_new ? one : other);"}) {
    auto const findings = traps_beside_co_await({"engine/a.cpp", "void f() {\n  " + std::string(line) + "\n}\n"});
    EXPECT_FALSE(findings.empty()) << line;
  }
  for (char const* line :
       {"co_await run(request);", "if (co_await run(request)) {\n    go();\n  }",
        "auto r = Request{1};\n  co_await run(std::move(r));", "for (auto const& row : (co_await rows()).all) {\n  }",
        "while (!co_await done()) {\n  }", "co_await tell(format(\"{} rows\", rows));",
        "co_await run(r);  // never {.rows = 1}", "if (is_new) {\n    co_await run(1'000);\n  }\n  auto c = '{';",
        "switch (kind) {\n    case kOne: {\n      co_await run(r);\n    }\n  }"}) {
    expect_clean(traps_beside_co_await, "engine/a.cpp", "void f() {\n  " + std::string(line) + "\n}\n");
  }
}

TEST(Tidy, NothingIsAwaitedInACatchBlock) {
  expect_kept(co_await_in_catch);
  expect_found(co_await_in_catch, "engine/a.cpp",
               "try {\n} catch (E const& e) {\n  if (x) {\n  }\n  co_await f();\n}\n", 5);
  expect_clean(co_await_in_catch, "engine/a.cpp", "try {\n  co_await f();\n} catch (...) {\n}\nco_await f();\n");
}

TEST(Tidy, NobodyUsesTheWholeOfStd) {
  expect_kept(using_namespace_std);
  expect_found(using_namespace_std, "engine/a.cpp", "\nusing  namespace std;\n", 2);
  expect_clean(using_namespace_std, "engine/a.cpp", "using namespace std::chrono_literals;\n");
}

TEST(Tidy, LinesAreShortAndClean) {
  expect_kept(layout);
  expect_found(layout, "engine/a.cpp", "int a;\nint b;", 2);
  expect_found(layout, "engine/a.cpp", "int a;\n\tint b;\n", 2);
  expect_found(layout, "engine/a.cpp", "int a; \n");
  expect_found(layout, "engine/a.cpp", "int a;\r\n");
  expect_found(layout, "engine/a.cpp", std::string(121, 'x') + '\n');
  std::string wide;
  for (int column = 0; column < 120; ++column) wide += "ä";
  expect_clean(layout, "engine/a.cpp", wide + '\n');
}

TEST(Tidy, HeadersSayWhatTheyAreForAndAreReadOnce) {
  expect_kept(header_form);
  expect_found(header_form, "engine/a.h", "#pragma once\n");
  expect_found(header_form, "engine/a.h", "// What it is for.\nint a;\n");
  expect_clean(header_form, "engine/a.h", "// What it is for.\n#pragma once\n");
}

TEST(Tidy, FilesAreNamedAfterWhatIsInThem) {
  expect_kept(file_names);
  for (char const* name : {"engine/utils.h", "planner/sql_helpers.cpp", "tests/common.h", "engine/RangeManager.cpp"}) {
    expect_found(file_names, name, "");
  }
  expect_clean(file_names, "engine/common/gate.h", "");
}

TEST(Tidy, NothingIsLeftToDo) {
  expect_kept(open_ends);
  expect_found(open_ends, "engine/a.h",
               "\n// TO"
               "DO: more\n",
               2);
  expect_found(open_ends, "engine/a.h",
               "// FIX"
               "ME\n");
}

TEST(Tidy, TestsAreNamedSoThatTheyAreFound) {
  expect_kept(test_names);
  expect_found(test_names, "tests/engine/verify/gate.cpp", "\nTEST(Gate, Opens) {}\n");
  expect_clean(test_names, "tests/engine/verify/gate_test.cpp", "TEST(Gate, Opens) {}\n");
}

TEST(Tidy, DocsNameTestsAndExamplesThatExist) {
  fs::path const root = PGBACKFILL_SOURCE_DIR;
  std::string const text = read(root / "docs" / "from-a-runbook.md");
  ASSERT_FALSE(text.empty());
  std::regex const name("`(examples/[^`]+|[A-Z][A-Za-z]+(\\.[A-Za-z]+)?)`");
  std::size_t names = 0;
  for (std::sregex_iterator at(text.begin(), text.end(), name), end; at != end; ++at, ++names) {
    std::string const found = (*at)[1];
    if (found.starts_with("examples/")) {
      EXPECT_TRUE(fs::exists(root / found)) << found;
      continue;
    }
    auto const dot = found.find('.');
    std::string test = '(' + found.substr(0, dot) + ", ";
    if (dot != std::string::npos) test += found.substr(dot + 1) + ')';
    EXPECT_TRUE(std::any_of(sources().begin(), sources().end(),
                            [&](Source const& source) {
                              return source.path.starts_with("tests/") &&
                                     source.text.find("TEST") != std::string::npos &&
                                     source.text.find(test) != std::string::npos;
                            }))
        << "there is no test " << found;
  }
  EXPECT_GT(names, 20U);
}

// "Which key it pages by" is #which-key-it-pages-by.
std::string anchor_of(std::string const& heading) {
  std::string anchor;
  for (char const letter : heading) {
    bool const is_kept = std::isalnum(static_cast<unsigned char>(letter)) != 0 || letter == '-' || letter == '_';
    if (is_kept) anchor += static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
    if (letter == ' ') anchor += '-';
  }
  return anchor;
}

bool has_section(std::string const& page, std::string const& anchor) {
  std::regex const heading("(^|\n)#+ ([^\n]+)");
  for (std::sregex_iterator at(page.begin(), page.end(), heading), end; at != end; ++at) {
    if (anchor_of((*at)[2]) == anchor) return true;
  }
  return false;
}

// Empty, or what is wrong with a link such as "docs/steps.md#locks", by the folder of the page that it stands on.
std::string broken_link(fs::path const& folder, std::string const& link) {
  auto const hash = link.find('#');
  fs::path const page = folder / link.substr(0, hash);
  if (!fs::exists(page)) return "there is no " + page.string();
  if (hash == std::string::npos || fs::is_directory(page)) return "";
  bool const is_there = has_section(read(page), link.substr(hash + 1));
  return is_there ? "" : page.string() + " has no section #" + link.substr(hash + 1);
}

TEST(Tidy, LinksAndCitedSectionsExist) {
  fs::path const root = PGBACKFILL_SOURCE_DIR;
  std::vector<fs::path> pages = {root / "README.md", root / "CONTRIBUTING.md", root / "CHANGELOG.md"};
  for (auto const& entry : fs::directory_iterator(root / "docs")) {
    if (entry.path().extension() == ".md") pages.push_back(entry.path());
  }
  std::regex const link("\\]\\(([^)#:]*)(#[^)]*)?\\)");
  std::size_t links = 0;
  for (auto const& page : pages) {
    std::string const text = read(page);
    for (std::sregex_iterator at(text.begin(), text.end(), link), end; at != end; ++at, ++links) {
      std::string const target = (*at)[1].length() > 0 ? std::string((*at)[1]) : page.filename().string();
      EXPECT_EQ(broken_link(page.parent_path(), target + std::string((*at)[2])), "") << page;
    }
  }
  EXPECT_GT(links, 50U);
  std::regex const cited("docs/[a-z-]+\\.md#[a-z0-9-]+");
  std::size_t cites = 0;
  for (auto const& source : sources()) {
    if (source.path.starts_with("tests/tidy/")) continue;
    for (std::sregex_iterator at(source.text.begin(), source.text.end(), cited), end; at != end; ++at, ++cites) {
      EXPECT_EQ(broken_link(root, at->str()), "") << source.path;
    }
  }
  EXPECT_GT(cites, 10U);
  EXPECT_NE(broken_link(root, "docs/throttle.md#nothing"), "");
  EXPECT_NE(broken_link(root, "docs/nothing.md"), "");
}

}  // namespace
}  // namespace pgbackfill::tests
