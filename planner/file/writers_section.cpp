// writers_gone:

#include <string>

#include "planner/file/sections.h"
#include "planner/file/wording.h"
#include "planner/model/writers.h"

namespace pgbackfill::planner::file {

std::vector<WriterName> read_writers(FileReader& reader, Fields const& fields) {
  std::vector<WriterName> writers;
  auto const* field = fields.find("writers_gone");
  if (field == nullptr || !reader.is_list(*field, "texts")) return writers;
  if (field->value->children.empty()) reader.refuse(*field->value, "'writers_gone' is empty; leave the key out");
  for (auto const index : field->value->children) {
    auto const& item = reader.node(index);
    if (item.kind != YamlKind::kScalar || is_blank(item.text)) {
      reader.refuse(item, "an application must be a name such as billing-api, or \"billing-*\"");
    } else if (auto const problem = problem_of_writer(item.text)) {
      reader.refuse(item, quoted(item.text) + " " + *problem);
    } else {
      writers.push_back(make_writer(reader.position_of(item), item.text));
    }
  }
  if (writers.size() > kMaxWriters) {
    reader.refuse(*field->value, "there are more than " + std::to_string(kMaxWriters) + " applications");
  }
  return writers;
}

}  // namespace pgbackfill::planner::file
