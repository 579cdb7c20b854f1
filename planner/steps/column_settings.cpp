#include "planner/steps/column_settings.h"

namespace pgbackfill::planner {
namespace {

constexpr int kVersionWithCompression = 140000;

}  // namespace

std::vector<ColumnSetting> column_settings(int server_version) {
  std::vector<ColumnSetting> settings = {
      {"the comment", "col_description(a.attrelid, a.attnum)", "COMMENT ON COLUMN %1$s.%2$I IS %3$L"},
      // NULL from 17 on, -1 before: the default.
      {"SET STATISTICS", "nullif(coalesce(a.attstattarget, -1), -1)::text",
       "ALTER TABLE %1$s ALTER COLUMN %2$I SET STATISTICS %3$s"},
      {"SET (n_distinct)", "(SELECT split_part(o, '=', 2) FROM unnest(a.attoptions) o WHERE o LIKE 'n\\_distinct=%')",
       "ALTER TABLE %1$s ALTER COLUMN %2$I SET (n_distinct = %3$s)"},
      {"SET (n_distinct_inherited)",
       "(SELECT split_part(o, '=', 2) FROM unnest(a.attoptions) o WHERE o LIKE 'n\\_distinct\\_inherited=%')",
       "ALTER TABLE %1$s ALTER COLUMN %2$I SET (n_distinct_inherited = %3$s)"},
      {"SET STORAGE",
       "CASE WHEN a.attstorage <> t.typstorage THEN CASE a.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' "
       "WHEN 'x' THEN 'EXTENDED' WHEN 'm' THEN 'MAIN' END END",
       "ALTER TABLE %1$s ALTER COLUMN %2$I SET STORAGE %3$s", true}};
  if (server_version >= kVersionWithCompression) {
    settings.push_back({"SET COMPRESSION", "CASE a.attcompression WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' END",
                        "ALTER TABLE %1$s ALTER COLUMN %2$I SET COMPRESSION %3$s", true});
  }
  return settings;
}

}  // namespace pgbackfill::planner
