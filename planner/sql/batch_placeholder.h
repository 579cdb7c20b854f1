// Where {batch}, {param:name}, {prepare:name} and ${NAME} stand in the SQL of a file.
//
// Pure. No parser: it knows strings, comments, quoted names and words. The same letters in a string, a quoted name or a
// comment are no placeholder, and stay as they are.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace pgbackfill::planner {

struct BatchPlaceholder {
  std::size_t begin = 0;
  std::size_t length = 0;
};

// From "{batch" to the next "}", whatever is between them.
std::vector<BatchPlaceholder> batch_placeholders(std::string_view sql);

// From "{param", "{prepare" or "${" to the next "}", whatever is between them; or to the end of the text.
enum class ValueKindInSql { kParam, kPrepared, kVariable };
struct ValuePlaceholder {
  std::size_t begin = 0;
  std::size_t length = 0;
  ValueKindInSql kind = ValueKindInSql::kParam;
  // Between the quotes of a string, where it is text and no placeholder, which it was probably meant to be.
  bool is_quoted = false;
};
std::vector<ValuePlaceholder> value_placeholders(std::string_view sql);

// The statement with each of them replaced.
std::string with_batch_as(std::string const& sql, std::string const& condition);

// The text as words in lower case, single symbols and kBatchToken; strings and quoted names are one symbol each, and
// comments are dropped.
inline constexpr char kBatchToken[] = "{batch}";
std::vector<std::string> tokens_with_batch(std::string_view sql);

}  // namespace pgbackfill::planner
