// A YAML text as a flat list of nodes with their positions.
//
// Built from yaml-cpp's events and not from its own tree, because that tree drops what a checker needs: whether a null
// was written or is a value left out, whether a quote was closed, and a bound on nesting and on what aliases multiply.
// Knows nothing of migrations and never reads a file. Pure function, safe from any thread.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "planner/model/migration.h"

namespace pgbackfill::planner {

inline constexpr std::size_t kMaxFileBytes = 1024 * 1024;
inline constexpr std::size_t kMaxYamlDepth = 32;
inline constexpr std::size_t kMaxYamlNodes = 100'000;
// Counts a node again for each alias that names it.
inline constexpr std::size_t kMaxExpandedBytes = 4 * kMaxFileBytes;

enum class YamlKind { kNull, kScalar, kList, kMap };

struct YamlNode {
  YamlKind kind = YamlKind::kNull;
  int line = 0;  // line and column count from 1, the column in bytes
  int column = 0;
  std::string text;  // kScalar; kNull: as written ("null", "~"), empty if nothing was written
  // An SQL operator such as #> or #- follows the text and was taken for a comment.
  bool is_cut_by_hash = false;
  std::vector<std::size_t> children;  // kList: items; kMap: key, value, key, value, ...
};

struct YamlDocument {
  std::vector<YamlNode> nodes;     // the first is the root; empty if there is a problem
  std::optional<Problem> problem;  // YAML cannot be read on behind its first error, so there is one at most
};

YamlDocument parse_yaml(std::string_view text, std::string_view file_name);

}  // namespace pgbackfill::planner
