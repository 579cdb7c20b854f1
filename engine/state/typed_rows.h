// Rows of a result as structs: a member a column, in the order of the SELECT.
//
//   struct Holder {
//     int pid = 0;
//     std::string user;
//     std::optional<std::string> query;  // may be NULL
//   };
//   for (auto const& holder : state::rows_as<Holder>(result)) ...
//
// A member is a text, an integer, a double, a bool, milliseconds, a list of texts (text[]), or std::optional of one of
// these. Throws BrokenState when a column is not what its member says (NULL included, and a column that is not there);
// it says which column of what: `static constexpr char kFrom[]` of the struct. Pure; any thread.
#pragma once

#include <boost/pfr/core.hpp>
#include <boost/pfr/tuple_size.hpp>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "engine/state/state_store.h"
#include "planner/work/batch.h"

namespace pgbackfill::engine::state {

using Fields = std::vector<std::optional<std::string>>;

namespace typed {

template <class T>
inline constexpr bool is_optional = false;
template <class T>
inline constexpr bool is_optional<std::optional<T>> = true;

// Where in the result: "column 3 of 8 of pgbackfill.jobs".
std::string place(std::size_t column, std::size_t columns, std::string_view from = "what was read");
template <class Row>
constexpr std::string_view source_of() {
  if constexpr (requires { Row::kFrom; }) {
    return Row::kFrom;
  } else {
    return "what was read";
  }
}

std::string text_of(std::optional<std::string> const& field, std::string const& where);
bool truth_of(std::optional<std::string> const& field, std::string const& where);
std::uint64_t unsigned_of(std::optional<std::string> const& field, std::string const& where);
std::int64_t bounded(std::int64_t number, std::int64_t lowest, std::int64_t highest, std::string const& where);
std::vector<std::string> list_of(std::optional<std::string> const& field, std::string const& where);

template <class T>
T value_of(std::optional<std::string> const& field, std::string const& where) {
  if constexpr (is_optional<T>) {
    if (!field) return std::nullopt;
    return value_of<typename T::value_type>(field, where);
  } else if constexpr (std::same_as<T, std::string>) {
    return text_of(field, where);
  } else if constexpr (std::same_as<T, bool>) {
    return truth_of(field, where);
  } else if constexpr (std::same_as<T, double>) {
    return real_of(field, where);
  } else if constexpr (std::same_as<T, std::uint64_t>) {
    return unsigned_of(field, where);
  } else if constexpr (std::integral<T>) {
    return static_cast<T>(
        bounded(number_of(field, where), std::numeric_limits<T>::min(), std::numeric_limits<T>::max(), where));
  } else if constexpr (std::same_as<T, std::chrono::milliseconds>) {
    return std::chrono::milliseconds(number_of(field, where));
  } else {
    static_assert(std::same_as<T, std::vector<std::string>>, "no column can be this");
    return list_of(field, where);
  }
}

}  // namespace typed

template <class Row>
Row row_as(Fields const& fields) {
  Row row;
  static std::optional<std::string> const missing;
  boost::pfr::for_each_field(row, [&](auto& member, std::size_t column) {
    member = typed::value_of<std::remove_reference_t<decltype(member)>>(
        column < fields.size() ? fields[column] : missing,
        typed::place(column, fields.size(), typed::source_of<Row>()));
  });
  return row;
}

// `Result` has `rows`, each of them Fields.
template <class Row, class Result>
std::vector<Row> rows_as(Result const& result) {
  std::vector<Row> rows;
  rows.reserve(result.rows.size());
  for (auto const& fields : result.rows) rows.push_back(row_as<Row>(fields));
  return rows;
}

// The first row, where there is one.
template <class Row, class Result>
std::optional<Row> first_as(Result const& result) {
  if (result.rows.empty()) return std::nullopt;
  return row_as<Row>(result.rows.front());
}

// Of planner::look_ahead_sql(): how many rows there are, then the key of the last, NULL where it is the end.
planner::Page page_of(Fields const& fields);

// The columns behind those of `Row`, all of one type.
template <class T, class Row>
std::vector<T> rest_as(Fields const& fields) {
  std::vector<T> rest;
  for (std::size_t column = boost::pfr::tuple_size_v<Row>; column < fields.size(); ++column) {
    rest.push_back(typed::value_of<T>(fields[column], typed::place(column, fields.size())));
  }
  return rest;
}

// The first column of each row.
template <class T, class Result>
std::vector<T> column_as(Result const& result) {
  std::vector<T> values;
  values.reserve(result.rows.size());
  for (auto const& fields : result.rows) {
    values.push_back(typed::value_of<T>(fields.at(0), typed::place(0, fields.size())));
  }
  return values;
}

// The first column of the only row.
template <class T, class Result>
T value_as(Result const& result) {
  auto values = column_as<T>(result);
  if (values.size() != 1) throw BrokenState("one row was asked for, not " + std::to_string(values.size()));
  return std::move(values.front());
}

}  // namespace pgbackfill::engine::state
