// windows: and blackout:

#include "planner/file/sections.h"
#include "planner/file/wording.h"

namespace pgbackfill::planner::file {

std::vector<WindowText> read_windows(FileReader& reader, Fields const& fields, std::string_view key) {
  std::vector<WindowText> windows;
  auto const* field = fields.find(key);
  if (field == nullptr || !reader.is_list(*field, "texts")) return windows;
  if (field->value->children.empty()) {
    reader.refuse(*field->value, quoted(key) + " is empty; leave the key out" +
                                     (key == "windows" ? " to run at any time" : " if there is none"));
  }
  for (auto const index : field->value->children) {
    auto const& item = reader.node(index);
    if (item.kind != YamlKind::kScalar || is_blank(item.text)) {
      reader.refuse(item, "a window must be a text such as \"Mon-Fri 22:00-06:00 Europe/Berlin\"");
    } else {
      windows.push_back({reader.position_of(item), item.text});
    }
  }
  return windows;
}

}  // namespace pgbackfill::planner::file
