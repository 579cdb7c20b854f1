// Values that a program of the user computes: what it is given of a row, what it may set, and how it is asked.
//
// Pure values, checked by planner/file. The expressions of `read` are SQL of the file; names of columns are data.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "planner/model/delivery.h"
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

// A service that is asked by POST, instead of a program.
struct ComputeService {
  SecretText url;
  std::vector<std::pair<std::string, SecretText>> headers;
  std::string ca_file;  // whom to trust; empty: what the system trusts
};

struct Compute {
  SourcePosition position;
  std::vector<ComputeInput> read;
  std::vector<std::string> write;  // columns that an answer may set
  std::vector<SourcePosition> write_positions;
  std::vector<std::string> command;         // the program, looked up in PATH without a slash, and its arguments
  std::vector<std::string> environment;     // names of variables that it gets beside the usual ones
  std::optional<ComputeService> service{};  // then there is no command
  std::int64_t rows = 200;                  // at most, in one request
  std::int64_t bytes = 1'000'000;           // of a request; one row may be longer
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

// For messages: the name of the program and of its first argument, without folders; or where the service is.
std::string name_of(Compute const& compute);

}  // namespace pgbackfill::planner
