// Values that a program of the user computes: what it is given of a row, what it may set, and how it is asked.
//
// Pure values, checked by planner/file. The expressions of `read` are SQL of the file; names of columns are data.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "planner/model/source_position.h"

namespace pgbackfill::planner {

// What of a row is handed to the program, under this name.
struct ComputeInput {
  SourcePosition position;
  std::string name;
  std::string expression;  // SQL
  // Whether the answer counts only while the row still has the value that was handed over.
  bool is_guarded = true;
};

struct Compute {
  SourcePosition position;
  std::vector<ComputeInput> read;
  std::vector<std::string> write;  // columns that an answer may set
  std::vector<SourcePosition> write_positions;
  std::vector<std::string> command;      // the program, looked up in PATH without a slash, and its arguments
  std::vector<std::string> environment;  // names of variables that it gets beside the usual ones
  std::int64_t rows = 200;               // at most, in one request
  std::int64_t bytes = 1'000'000;        // of a request; one row may be longer
  std::chrono::milliseconds timeout{30'000};
  int processes = 2;
  int in_flight = 4;                         // requests, of all processes together
  std::optional<std::int64_t> per_second{};  // requests
};

// jsonb_build_object() takes 100 arguments, two for each.
inline constexpr std::size_t kMostComputeInputs = 50;
inline constexpr std::int64_t kMostComputeRows = 10'000;
inline constexpr std::int64_t kMostComputeBytes = 16'000'000;
inline constexpr std::int64_t kMostProcesses = 64;
inline constexpr std::int64_t kMostInFlight = 256;

// Of a program in messages: its name and that of its first argument, without folders.
std::string program_name(std::vector<std::string> const& command);

}  // namespace pgbackfill::planner
