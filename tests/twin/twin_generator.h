// Makes a case of the twin campaign from a seed: chooses what there is in an order that keeps it consistent, and says
// what the documentation allows for what it chose. Pure: no clock, no server.
#pragma once

#include <string>
#include <vector>

#include "tests/twin/dice.h"
#include "tests/twin/twin_case.h"
#include "tests/twin/twin_values.h"

namespace pgbackfill::tests {

enum class TableShape { kPlain, kList, kRange, kHash, kSubPartitions, kParent };

struct TwinColumn {
  std::string name;  // as it is, not as SQL
  std::string type;
  std::string value;    // of the row number g; empty: not given, as of a generated column
  std::string options;  // NOT NULL and so on
};

// A derivation with the columns that it was given.
struct TwinPair {
  Derivation const* derivation = nullptr;
  std::string source;
  std::string target;
  std::string expression;
};

class TwinMaker {
 public:
  TwinMaker(std::uint64_t seed, TwinServer const& server);
  TwinCase make();

 private:
  void choose_names();
  void choose_columns();
  void choose_derivations();
  void choose_key();
  KeyType const& choose_key_type();
  void choose_shape();
  void make_table();
  void make_partitions();
  std::string make_leaf(std::string const& leaf, std::string const& of, std::string const& bounds);
  void make_keys(std::string const& table);
  void fill_table();
  void make_rules();
  void make_policies();
  void make_triggers(std::string const& table, std::string const& event);
  void make_trigger(std::string const& table, std::string const& event, int number);
  void make_rights();

  void make_work();
  void make_set();
  void make_recount();
  void make_sql();
  void make_copy(bool is_mirrored);
  void make_delete();
  void make_sync();
  // twin_forms.cpp
  void make_changed();
  void make_move(bool is_statement);
  void make_dedupe();
  void make_prepared();
  void make_computed();
  std::string make_moved_table();  // its columns, as SQL
  void make_bad_rows(std::string& lines, std::string& statement);
  void make_moving_key();
  bool make_copy_table(bool is_mirrored);  // whether it has an identity column
  std::string choose_where(bool must_tell_done);

  void choose_settings();
  void add_setting(std::string const& name);
  void make_writers();
  void make_faults();
  void make_partition_fault();

  bool is_partitioned() const { return shape_ != TableShape::kPlain && shape_ != TableShape::kParent; }
  std::string column_list(bool is_shuffled);
  std::string insert_into(std::string const& table, std::string const& rows, std::string const& part = {}) const;
  std::string filled(std::string text, TwinPair const& pair) const;
  void note(std::string const& feature) { twin_.features.push_back(feature); }

  Dice dice_;
  TwinServer server_;
  TwinCase twin_;
  std::string work_;
  TableShape shape_ = TableShape::kPlain;
  std::string schema_ = "app";
  std::string name_;   // of the table, as SQL, without its schema
  std::string table_;  // with it
  std::vector<TwinColumn> columns_;
  std::vector<TwinPair> pairs_;
  std::vector<std::string> key_;  // columns as SQL
  std::string key_declaration_;   // within the table; {index}es come after it
  std::string key_index_;         // columns of an index, when it is not declared
  std::vector<std::string> leaves_;
  std::string mandatory_setting_;
  int rows_ = 0;
  bool is_long_ = false;  // lasts long enough for faults and writers
  bool has_triggers_ = false;
  bool tells_done_ = false;  // no changed row satisfies `where` any more
  bool has_bad_rows_ = false;
  bool has_key_ = true;
  bool can_insert_ = true;
  bool does_order_matter_ = false;  // of writes and batches
};

// As a double-quoted scalar of YAML.
std::string yaml_text(std::string const& text);
std::string quoted_name(std::string const& name);
std::string replace_all(std::string text, std::string const& from, std::string const& to);

}  // namespace pgbackfill::tests
