// What belongs to an index, and how it is given back to one that is built in its place.
//
// | part | how |
// | --- | --- |
// | method, columns, expressions, operator classes, INCLUDE, WHERE, storage parameters, tablespace | in its definition
// | | comment, statistics targets, DEPENDS ON EXTENSION, CLUSTER ON, REPLICA IDENTITY | statements that come after it |
//
// Pure text. Questions go by pg_index i and pg_class c of the index, as index_named() has them.
#pragma once

#include <string>
#include <vector>

#include "planner/model/table_name.h"

namespace pgbackfill::planner::recipes {

// FROM and WHERE: an index of the table, by its name.
std::string index_named(TableName const& table, std::string const& name);
// FROM and WHERE: the index of its primary key.
std::string index_of_primary_key(TableName const& table);
// FROM and WHERE: the indexes of the table, and of those that inherit from it, that a column may be in.
std::string indexes_over(TableName const& table, std::string const& column);

// CREATE INDEX, which the server spells without the tablespace; and all of it behind the name of the table.
std::string index_definition();
std::string index_tail();
// Of the tail, what the columns of its key are not: INCLUDE without these columns, storage parameters, tablespace.
std::string index_storage(std::vector<std::string> const& columns);

// Rows (place, sql): the statements of the second row of the table above. `from` is one of those above.
std::string index_marks(std::string const& from);
// The same as one SQL text, NULL where there are none.
std::string index_marks_text(std::string const& from);

// A text of Recipe::before with its length in bytes and a blank before it, so that several can stand in a row; NULL is
// empty. The argument is an SQL expression.
std::string counted(std::string const& text);
// Those texts. What was recorded without a length is one text.
std::vector<std::string> counted_texts(std::string const& before);

}  // namespace pgbackfill::planner::recipes
