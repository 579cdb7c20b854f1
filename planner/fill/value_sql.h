// SQL of made-up values: the k-th of so many different ones, of a type.
//
// Of most types the values are in the order of their numbers. An expression that is made of the same number gives the
// same value in each session, so that keys and what refers to them meet. Every name is pg_catalog's or qualified. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "planner/fill/table_profile.h"

namespace pgbackfill::planner {

enum class ValueFamily {
  kInteger,
  kNumber,
  kTruth,
  kText,
  kBytes,
  kDocument,  // json, jsonb
  kMoment,    // date, timestamp
  kTimeOfDay,
  kInterval,
  kUuid,
  kLabel,  // of an enum
  kAddress,
  kWords,  // tsvector
  kUnknown,
};

// Of an array, that of its elements.
ValueFamily family_of(ColumnProfile const& column);

struct ValueTerms {
  std::string number;      // SQL of a bigint from 0
  double values = 1;       // how many there are
  bool is_unique = false;  // no two numbers may have the same value
  std::int64_t seed = 0;   // of the column
  double now = 0;          // seconds since 1970
  // What a check or a partition allows: numbers, or seconds since 1970.
  std::optional<double> lowest{};
  std::optional<double> beyond{};         // the first that is too much
  std::vector<std::string> allowed = {};  // these alone; empty: any
};

// Of kUnknown: NULL.
std::string value_sql(ColumnProfile const& column, ValueTerms const& terms);

// A constant of type float8 that is this number to the last bit.
std::string real_sql(double number);

// From 0 to below 1: SQL of a float8 that looks random, and is the same for the same number and seed.
std::string random_sql(std::string const& number, std::int64_t seed);

}  // namespace pgbackfill::planner
