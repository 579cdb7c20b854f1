#include "planner/lint/lint_terms.h"

#include <array>
#include <cstddef>

namespace pgbackfill::planner::lint {
namespace {

constexpr std::array<std::string_view, 6> kWork{"none", "sample", "scan", "index build", "rewrite", "all rows"};
constexpr std::array<std::string_view, 6> kWorkSentences{"the catalog only",
                                                         "reads a sample of the table",
                                                         "reads the whole table",
                                                         "reads the whole table and builds an index",
                                                         "writes the whole table and its indexes anew",
                                                         "changes the rows one by one, in one transaction"};

}  // namespace

std::string_view work_word(Work work) {
  return kWork[static_cast<std::size_t>(work)];
}

std::string_view work_words(Work work) {
  return kWorkSentences[static_cast<std::size_t>(work)];
}

}  // namespace pgbackfill::planner::lint
