// The words between us and a program that computes values.
#include "engine/compute/messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace pgbackfill::engine {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

planner::Compute compute_of(std::int64_t rows, std::int64_t bytes = 1'000'000) {
  planner::Compute compute;
  compute.write = {"a", "b"};
  compute.rows = rows;
  compute.bytes = bytes;
  return compute;
}

std::vector<RowToCompute> rows(int count) {
  std::vector<RowToCompute> all;
  for (int number = 0; number < count; ++number) {
    all.push_back({"[\"" + std::to_string(number) + "\"]", "{\"x\": 1}", "seen"});
  }
  return all;
}

TEST(CutIntoRequests, KeepsToRowsAndBytesAndTheOrder) {
  EXPECT_THAT(cut_into_requests({}, compute_of(2)), IsEmpty());
  EXPECT_THAT(cut_into_requests(rows(5), compute_of(2)),
              ElementsAre(ElementsAre(0, 1), ElementsAre(2, 3), ElementsAre(4)));
  // A row of 13 bytes; one that is longer than all allowed goes alone.
  EXPECT_THAT(cut_into_requests(rows(4), compute_of(100, 30)), ElementsAre(ElementsAre(0, 1), ElementsAre(2, 3)));
  EXPECT_THAT(cut_into_requests(rows(2), compute_of(100, 5)), ElementsAre(ElementsAre(0), ElementsAre(1)));
}

TEST(Request, HasTheSameIdForTheSameRowsOfTheSameJobAlone) {
  auto const all = rows(3);
  auto const request = make_request("1/17.5", all, {0, 1});
  EXPECT_EQ(make_request("1/17.5", all, {0, 1}).id, request.id);
  EXPECT_NE(make_request("2/17.5", all, {0, 1}).id, request.id);
  EXPECT_NE(make_request("1/17.5", all, {0, 2}).id, request.id);
  auto changed = all;
  changed[1].inputs = "{\"x\": 2}";
  EXPECT_NE(make_request("1/17.5", changed, {0, 1}).id, request.id);
  EXPECT_EQ(request.row_count, 2U);
  EXPECT_EQ(request_line(request, 3, "the \"m\"", "public.t"),
            "{\"pgbackfill\":1,\"id\":\"" + request.id +
                "\",\"attempt\":3,\"migration\":\"the \\\"m\\\"\",\"table\":\"public.t\",\"rows\":[{\"key\":[\"0\"],"
                "\"read\":{\"x\": 1}},{\"key\":[\"1\"],\"read\":{\"x\": 1}}]}\n");
}

TEST(Answer, KeepsEachRowAsItIsWritten) {
  auto const read = read_answer(
      R"( {"rows" : [ {"write":{"a":12345678901234567890.5,"b":"],}\"{["}}, {"skip":true},{"error":"no"} , )"
      R"({"write":{"a":[1,{"x":2}]}}],"id":"i"} )",
      compute_of(9));
  ASSERT_EQ(read.problem, "");
  EXPECT_EQ(read.id, "i");
  ASSERT_EQ(read.rows.size(), 4U);
  EXPECT_EQ(read.rows[0].text, R"({"write":{"a":12345678901234567890.5,"b":"],}\"{["}})");
  EXPECT_TRUE(read.rows[0].sets_all);
  EXPECT_EQ(read.rows[1].kind, RowAnswerKind::kSkip);
  EXPECT_EQ(read.rows[2].kind, RowAnswerKind::kError);
  EXPECT_EQ(read.rows[2].error, "no");
  EXPECT_EQ(read.rows[3].text, R"({"write":{"a":[1,{"x":2}]}})");
  EXPECT_FALSE(read.rows[3].sets_all);
}

// A service answers as it likes to lay out JSON.
TEST(Answer, MayHaveSeveralLines) {
  auto const read = read_answer(
      "{\n  \"id\": \"i\",\n  \"rows\": [\n    {\n      \"write\": {\"a\": 1}\n    },\r\n\t{\"skip\": true}\n  ]\n}\n",
      compute_of(9));
  ASSERT_EQ(read.problem, "");
  ASSERT_EQ(read.rows.size(), 2U);
  EXPECT_EQ(read.rows[0].text, "{\n      \"write\": {\"a\": 1}\n    }");
  EXPECT_EQ(read.rows[1].kind, RowAnswerKind::kSkip);
}

TEST(Answer, GivesTheTextOfEachValueForItsColumn) {
  auto const compute = compute_of(9);
  auto const read = read_answer(
      R"({"id":"i","r\u006fws":[{"write":{"b" : 1e400 ,"\u0061":"x"}},{"wri\u0074e":{"a":[1, {"a":2}],"a":null}}]})",
      compute);
  ASSERT_EQ(read.problem, "");
  ASSERT_EQ(read.rows.size(), 2U);
  EXPECT_THAT(values_of_answer(read.rows[0].text, compute), ElementsAre("\"x\"", "1e400"));
  EXPECT_THAT(values_of_answer(read.rows[1].text, compute), ElementsAre("null", std::nullopt));
}

// Not every database knows them as escapes.
TEST(Answer, HasItsLettersAsThemselves) {
  auto const text = [](std::string const& value) {
    return read_answer(R"({"id":"i","rows":[{"write":{"a":)" + value + "}}]}", compute_of(9)).rows.at(0).text;
  };
  EXPECT_EQ(text(R"("\u00e9\u20AC\ud83d\ude00")"), "{\"write\":{\"a\":\"é€😀\"}}");
  // What ends a string or a line, a NUL, and a backslash before a u.
  for (std::string const kept : {R"("\u0022\u000a\u0000")", R"("\\u00e9")"}) {
    EXPECT_EQ(text(kept), "{\"write\":{\"a\":" + kept + "}}");
  }
}

// As the server gives the columns of a row.
TEST(RowToCompute, IsJsonByTheFormOfEachValue) {
  using planner::ValueForm;
  std::vector<planner::ComputeInput> read(5);
  for (std::size_t index = 0; index < read.size(); ++index)
    read[index].name = std::string(1, static_cast<char>('a' + index));
  read[0].name = "\"a";
  std::vector<ValueForm> const forms = {ValueForm::kText, ValueForm::kPlain, ValueForm::kBase64, ValueForm::kJson,
                                        ValueForm::kText};
  auto const row =
      row_to_compute({"1", "x\"", "é\\\n\x01", "true", "QUJD\nREVG", "[1]", std::nullopt, "7/8"}, read, forms);
  ASSERT_TRUE(row.has_value());
  EXPECT_EQ(row->key, R"(["1","x\""])");
  EXPECT_EQ(row->seen, "7/8");
  EXPECT_EQ(row->inputs, "{\"\\\"a\":\"é\\\\\\n\\u0001\",\"b\":true,\"c\":\"QUJDREVG\",\"d\":[1],\"e\":null}");
  std::vector<std::optional<std::string>> const none = {"1", "x", {}, {}, {}, {}, {}, {}};
  EXPECT_FALSE(row_to_compute(none, read, forms).has_value());
}

TEST(Answer, CanBeLater) {
  auto const read = read_answer(R"({"id":"i","later":1500})", compute_of(9));
  EXPECT_EQ(read.problem, "");
  EXPECT_EQ(read.later, std::chrono::milliseconds(1500));
  EXPECT_THAT(read_answer(R"({"id":"i","later":"soon"})", compute_of(9)).problem, HasSubstr("milliseconds"));
  EXPECT_THAT(read_answer(R"({"id":"i","later":-1})", compute_of(9)).problem, HasSubstr("milliseconds"));
}

TEST(Answer, SaysWhatIsWrongWithIt) {
  auto const problem = [](std::string const& line) { return read_answer(line, compute_of(9)).problem; };
  EXPECT_THAT(problem("Traceback (most recent call last):"), StartsWith("it is not JSON"));
  EXPECT_THAT(problem(""), StartsWith("it is not JSON"));
  EXPECT_THAT(problem("{\"id\":\"i\",\"rows\":[\"\xff\"]}"), StartsWith("it is not JSON"));
  EXPECT_THAT(problem(R"({"id":"i","rows":[{"write":{"a":"\ud83d"}}]})"), StartsWith("it is not JSON"));
  EXPECT_THAT(problem("[1]"), HasSubstr("\"id\""));
  EXPECT_THAT(problem(R"({"rows":[]})"), HasSubstr("\"id\""));
  EXPECT_THAT(problem(R"({"id":"i"})"), HasSubstr("neither \"rows\""));
  EXPECT_THAT(problem(R"({"id":"i","rows":[{"write":{"c":1}}]})"), HasSubstr("column 'c'"));
  EXPECT_THAT(problem(R"({"id":"i","rows":[{"write":[]}]})"), HasSubstr("not an object"));
  EXPECT_THAT(problem(R"({"id":"i","rows":[{"skip":true},{"skip":false}]})"), StartsWith("row 2"));
  EXPECT_THAT(problem(R"({"id":"i","rows":[{"write":{},"skip":true}]})"), StartsWith("row 1"));
  auto const few = read_answer(R"({"id":"i","rows":[{"skip":true}]})", compute_of(9));
  EXPECT_EQ(check_answer(few.rows, make_request("j", rows(1), {0})), "");
  EXPECT_EQ(check_answer(few.rows, make_request("j", rows(2), {0, 1})), "it has 1 rows, and 2 were asked for");
}

TEST(NameOfAProgram, IsShort) {
  auto const name = [](std::vector<std::string> command) {
    planner::Compute compute;
    compute.command = std::move(command);
    return planner::name_of(compute);
  };
  EXPECT_EQ(name({"/usr/bin/python3", "-u", "/srv/jobs/encrypt.py", "--key", "x"}), "python3 encrypt.py");
  EXPECT_EQ(name({"./hash"}), "hash");
  planner::Compute service;
  service.service.emplace();
  service.service->url.text = "https://user:secret@embed.example/v1?key=secret";
  EXPECT_EQ(planner::name_of(service).find("secret"), std::string::npos);
}

}  // namespace
}  // namespace pgbackfill::engine
