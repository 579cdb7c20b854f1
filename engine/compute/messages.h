// What is said to a program of the user, and what it says: JSON, one message a line. docs/compute.md is the contract.
//
// Pure: text in, values out. The numbers of an answer would be rounded here, so the server gets the text of each value
// as the program wrote it; letters that it wrote as escapes stand for themselves, as some encodings of a database know
// no escapes.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "planner/model/compute.h"
#include "planner/model/key.h"
#include "planner/work/work_sql.h"

namespace pgbackfill::engine {

struct RowToCompute {
  std::string key;     // JSON
  std::string inputs;  // JSON
  std::string seen;
};

// Of a row as the server gives it: see planner/work/compute_sql.h. Absent: it is the first that is not given any more.
std::optional<RowToCompute> row_to_compute(std::vector<std::optional<std::string>> const& fields,
                                           std::vector<planner::ComputeInput> const& read,
                                           std::vector<planner::ValueForm> const& forms);

struct ComputeRequest {
  std::string id;    // the same for the same rows with the same inputs, however often they are sent
  std::string rows;  // JSON
  std::size_t row_count = 0;
  std::string first_key;  // JSON, for people
};

// Of a key that is a JSON array of texts.
planner::KeyValue key_value_of(std::string const& key);
// The same for people: (42, 'abc').
std::string key_for_people(std::string const& key);

// Which rows go together: in their order, as many as a request may have. Numbers of rows, of each request.
std::vector<std::vector<std::size_t>> cut_into_requests(std::vector<RowToCompute> const& rows,
                                                        planner::Compute const& compute);

// `leaf`: tells the partitions of the jobs of all databases apart.
ComputeRequest make_request(std::string const& leaf, std::vector<RowToCompute> const& rows,
                            std::vector<std::size_t> const& chosen);

// What a kWrite says of each column of `write`: parts of its text.
std::vector<std::optional<std::string_view>> values_of_answer(std::string const& text, planner::Compute const& compute);

// The line, with its end. `attempt` counts from 1.
std::string request_line(ComputeRequest const& request, int attempt, std::string const& migration,
                         std::string const& table);

enum class RowAnswerKind { kWrite, kSkip, kError };

struct RowAnswer {
  RowAnswerKind kind = RowAnswerKind::kWrite;
  std::string text;      // JSON, as the program wrote it
  std::string error;     // kError
  bool sets_all = true;  // kWrite: all columns that may be set
};

struct AnswerRead {
  std::string id;  // empty: it has none that could be read
  std::optional<std::chrono::milliseconds> later;
  std::vector<RowAnswer> rows;
  std::string problem;  // what is wrong with it; empty: nothing
};

AnswerRead read_answer(std::string line, planner::Compute const& compute);
// Empty, or what is wrong with it as the answer to this request.
std::string check_answer(std::vector<RowAnswer> const& rows, ComputeRequest const& request);

}  // namespace pgbackfill::engine
