// Values of a file that are secrets, or may hold some: they are kept as they are written, see planner/model/delivery.h.
//
// As planner/file/values.h.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "planner/file/file_reader.h"
#include "planner/model/delivery.h"

namespace pgbackfill::planner::file {

SecretText read_secret(FileReader& reader, Fields const& fields, std::string_view key);
// One that must not stand in the file itself.
SecretText read_hidden(FileReader& reader, Fields const& fields, std::string_view key);
// The key `url`.
SecretText read_secret_url(FileReader& reader, Fields const& fields);
// The key `headers`.
std::vector<std::pair<std::string, SecretText>> read_headers(FileReader& reader, Fields const& fields);

}  // namespace pgbackfill::planner::file
