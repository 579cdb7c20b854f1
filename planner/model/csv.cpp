#include "planner/model/csv.h"

#include <utility>

namespace pgbackfill::planner {

namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

class CsvReader {
 public:
  CsvReader(std::string_view text, std::string const& file) : text_(text), file_(file) {
    if (text_.starts_with(kByteOrderMark)) text_.remove_prefix(kByteOrderMark.size());
  }

  CsvFile read() {
    while (at_ < text_.size() && found_.problems.size() < kMostCsvProblems) {
      if (is_end_of_line()) {
        pass_end_of_line();
        continue;
      }
      if (found_.rows.size() == kMostCsvRows) {
        refuse(line_, 1,
               "the file has more than " + std::to_string(kMostCsvRows) +
                   " rows; put them into a table of your own, and read that");
        break;
      }
      found_.rows.push_back(read_row());
    }
    return std::move(found_);
  }

 private:
  bool is_end_of_line() const { return at_ == text_.size() || text_[at_] == '\n' || text_.substr(at_, 2) == "\r\n"; }

  void pass_end_of_line() {
    if (at_ == text_.size()) return;
    at_ += text_[at_] == '\r' ? 2 : 1;
    begin_line(at_);
  }

  void begin_line(std::size_t at) {
    ++line_;
    line_begin_ = at;
  }

  int column() const { return static_cast<int>(at_ - line_begin_) + 1; }

  void refuse(int line, int column, std::string text) {
    found_.problems.push_back({{file_, line, column}, std::move(text)});
  }

  CsvRow read_row() {
    CsvRow row;
    while (true) {
      row.push_back(read_field());
      if (at_ == text_.size() || text_[at_] != ',') break;
      ++at_;
    }
    pass_end_of_line();
    return row;
  }

  CsvField read_field() {
    CsvField field;
    field.line = line_;
    field.column = column();
    if (at_ < text_.size() && text_[at_] == '"') {
      read_quoted(field);
    } else {
      read_plain(field);
    }
    if (is_end_of_line() || text_[at_] == ',') return field;
    refuse(line_, column(), "behind the closing quote of a value there can only be a comma or the end of the line");
    pass_rest_of_line();
    return field;
  }

  void read_plain(CsvField& field) {
    std::size_t const begin = at_;
    while (!is_end_of_line() && text_[at_] != ',') {
      if (text_[at_] == '"') {
        refuse(line_, column(),
               "a quote in the middle of a value; put the whole value in quotes, and \"\" for this one");
        pass_rest_of_line();
        break;
      }
      ++at_;
    }
    field.text = text_.substr(begin, at_ - begin);
  }

  void read_quoted(CsvField& field) {
    field.is_quoted = true;
    for (++at_; at_ < text_.size(); ++at_) {
      if (text_[at_] == '"' && text_.substr(at_, 2) != "\"\"") {
        ++at_;
        return;
      }
      if (text_[at_] == '"') ++at_;
      field.text += text_[at_];
      if (text_[at_] == '\n') begin_line(at_ + 1);
    }
    refuse(field.line, field.column, "the quote that begins this value is never closed");
  }

  void pass_rest_of_line() {
    while (!is_end_of_line()) ++at_;
  }

  std::string_view text_;
  std::string const& file_;
  std::size_t at_ = 0;
  std::size_t line_begin_ = 0;
  int line_ = 1;
  CsvFile found_;
};

}  // namespace

CsvFile parse_csv(std::string_view text, std::string const& file) {
  return CsvReader(text, file).read();
}

}  // namespace pgbackfill::planner
