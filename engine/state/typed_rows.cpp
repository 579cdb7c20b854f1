#include "engine/state/typed_rows.h"

#include <fmt/format.h>

#include <charconv>
#include <system_error>

namespace pgbackfill::engine::state {

planner::Page page_of(Fields const& fields) {
  planner::Page page;
  page.rows = typed::value_of<std::int64_t>(fields.at(0), typed::place(0, fields.size()));
  if (!fields.at(1)) return page;
  page.last.emplace();
  for (std::size_t column = 1; column < fields.size(); ++column) {
    page.last->push_back(typed::text_of(fields[column], typed::place(column, fields.size())));
  }
  return page;
}

namespace typed {

std::string place(std::size_t column, std::size_t columns, std::string_view from) {
  return fmt::format("column {} of {} of {}", column + 1, columns, from);
}

namespace {

[[noreturn]] void refuse(std::string const& where, std::string const& text) {
  throw BrokenState(fmt::format("{} is '{}', which cannot be", where, text.substr(0, 80)));
}

}  // namespace

std::string text_of(std::optional<std::string> const& field, std::string const& where) {
  if (!field) throw BrokenState(where + " is NULL");
  return *field;
}

bool truth_of(std::optional<std::string> const& field, std::string const& where) {
  auto const text = text_of(field, where);
  if (text != "t" && text != "f") refuse(where, text);
  return text == "t";
}

std::uint64_t unsigned_of(std::optional<std::string> const& field, std::string const& where) {
  auto const text = text_of(field, where);
  std::uint64_t number = 0;
  auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) refuse(where, text);
  return number;
}

std::int64_t bounded(std::int64_t number, std::int64_t lowest, std::int64_t highest, std::string const& where) {
  if (number < lowest || number > highest) refuse(where, std::to_string(number));
  return number;
}

std::vector<std::string> list_of(std::optional<std::string> const& field, std::string const& where) {
  auto list = parse_text_array(text_of(field, where));
  return std::move(*list);
}

}  // namespace typed
}  // namespace pgbackfill::engine::state
