// docs/recipes.md: every file on it, run as it stands there on tables that fit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/database_fixtures.h"

namespace pgbackfill::tests {
namespace {

// The blocks of code below a heading.
struct Block {
  std::string language;
  std::string text;
};

std::map<std::string, std::vector<Block>> read_page() {
  std::ifstream page(std::string(PGBACKFILL_SOURCE_DIR) + "/docs/recipes.md");
  std::map<std::string, std::vector<Block>> recipes;
  std::string heading;
  bool is_code = false;
  for (std::string line; std::getline(page, line);) {
    if (!is_code && line.starts_with("## ")) {
      heading = line.substr(3);
      recipes[heading];
    } else if (line.starts_with("```")) {
      is_code = !is_code;
      if (is_code) recipes[heading].push_back({line.substr(3), ""});
    } else if (is_code) {
      recipes[heading].back().text += line + '\n';
    }
  }
  return recipes;
}

struct Case {
  std::string heading;
  std::string setup;
  std::string check;  // true when all is right
  std::map<std::string, std::string> files = {};
  std::vector<std::string> options = {};
};

// What stands for modules that a user has.
constexpr char kPlaces[] = R"py(
class NotFound(Exception): pass
class Busy(Exception): retry_after = 0.2
asked = set()
def locate(address):
    number = int(address.split()[-1])
    if number == 7: raise NotFound()
    if number % 50 == 0 and number not in asked:
        asked.add(number)
        raise Busy()
    return number / 2, -number
)py";
constexpr char kSearch[] = R"py(
def put(key, title):
    with open("store", "a") as store: store.write("%s %s\n" % (key, title))
)py";

std::vector<Case> const& cases() {
  static std::vector<Case> const all = {
      {"One UPDATE",
       "CREATE TABLE users (id int PRIMARY KEY, name text, display_name text); INSERT INTO users SELECT g, 'ada ' || g "
       "FROM generate_series(1, 500) g",
       "SELECT bool_and(display_name = initcap(name)) FROM users"},
      {"From another table",
       "CREATE TABLE customers (id int PRIMARY KEY, region text); CREATE TABLE orders (id int PRIMARY KEY, customer_id "
       "int, region text); INSERT INTO customers SELECT g, 'r' || g FROM generate_series(1, 20) g; INSERT INTO orders "
       "SELECT g, 1 + g % 20 FROM generate_series(1, 500) g",
       "SELECT bool_and(region = 'r' || customer_id) FROM orders"},
      {"JSON",
       "CREATE TABLE accounts (id int PRIMARY KEY, settings jsonb); INSERT INTO accounts SELECT g, "
       "jsonb_build_object('mail', 'm' || g, 'x', g) FROM generate_series(1, 300) g",
       "SELECT bool_and(settings = jsonb_build_object('email', 'm' || id, 'x', id, 'version', 2)) FROM accounts"},
      {"Counters",
       "CREATE TABLE posts (id int PRIMARY KEY, comment_count int); CREATE TABLE comments (post_id int); CREATE INDEX "
       "ON comments (post_id); INSERT INTO posts SELECT g FROM generate_series(1, 200) g; INSERT INTO comments SELECT "
       "g % 150 FROM generate_series(1, 3000) g",
       "SELECT bool_and(comment_count = (SELECT count(*) FROM comments WHERE post_id = posts.id)) FROM posts"},
      {"Order",
       "CREATE TABLE items (id int PRIMARY KEY, list_id int, created_at timestamptz, position int); CREATE INDEX ON "
       "items (list_id, created_at, id); INSERT INTO items SELECT g, g % 7, '2024-01-01'::timestamptz + (g % 11) * "
       "interval '1 day' FROM generate_series(1, 300) g",
       "SELECT bool_and(position = n) FROM (SELECT position, row_number() OVER (PARTITION BY list_id ORDER BY "
       "created_at, id) AS n FROM items) i"},
      {"Trees",
       "CREATE TABLE nodes (id int PRIMARY KEY, parent_id int, name text, path text); INSERT INTO nodes SELECT g, "
       "nullif(g / 3, 0), 'n' || g FROM generate_series(1, 100) g",
       "SELECT bool_and(path = CASE WHEN parent_id IS NULL THEN name ELSE (SELECT path FROM nodes p WHERE p.id = "
       "nodes.parent_id) || '/' || name END) FROM nodes"},
      {"A copy with new ids",
       "CREATE TABLE users (id int PRIMARY KEY, email text); CREATE TABLE accounts (id bigint GENERATED ALWAYS AS "
       "IDENTITY PRIMARY KEY, old_user_id int NOT NULL UNIQUE, email text); INSERT INTO users SELECT g, 'U' || g FROM "
       "generate_series(1, 400) g",
       "SELECT count(*) = 400 FROM accounts a JOIN users u ON u.id = a.old_user_id AND a.email = lower(u.email)"},
      {"Split a column off",
       "CREATE TABLE users (id int PRIMARY KEY, street text, address_id bigint); CREATE TABLE addresses (id bigint "
       "GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id int, street text); INSERT INTO users SELECT g, 's' || g FROM "
       "generate_series(1, 300) g",
       "SELECT count(*) = 300 FROM users u JOIN addresses a ON a.id = u.address_id AND a.street = u.street"},
      {"Archive",
       "CREATE TABLE orders (id int PRIMARY KEY, closed_on date); CREATE TABLE orders_archive (LIKE orders); INSERT "
       "INTO orders SELECT g, '2019-07-01'::date + g FROM generate_series(1, 400) g",
       "SELECT (SELECT max(closed_on) FROM orders_archive) < '2020-01-01' AND (SELECT min(closed_on) FROM orders) >= "
       "'2020-01-01' AND (SELECT count(*) FROM orders) + (SELECT count(*) FROM orders_archive) = 400"},
      {"Duplicates",
       "CREATE TABLE subscribers (id int PRIMARY KEY, email text); CREATE INDEX ON subscribers (email); INSERT INTO "
       "subscribers SELECT g, 'e' || g % 90 FROM generate_series(1, 500) g",
       "SELECT count(*) = 90 AND max(id) = 90 FROM subscribers"},
      {"Application code",
       "CREATE TABLE users (id int PRIMARY KEY, email text, email_hash text); INSERT INTO users SELECT g, 'u' || g "
       "FROM "
       "generate_series(1, 700) g",
       "SELECT bool_and(email_hash = encode(sha256(convert_to(email, 'UTF8')), 'hex')) FROM users"},
      {"A service",
       "CREATE TABLE places (id int PRIMARY KEY, address text, latitude float8, longitude float8); INSERT INTO places "
       "SELECT g, 'street ' || g FROM generate_series(1, 120) g",
       "SELECT bool_and(latitude = id / 2.0 AND longitude = -id) AND count(*) = 119 AND (SELECT string_agg(key[1], "
       "',') "
       "FROM pgbackfill.quarantine) = '7' FROM places WHERE latitude IS NOT NULL",
       {{"places_service.py", kPlaces}}},
      {"Another store",
       "CREATE TABLE articles (id int PRIMARY KEY, title text, updated_at timestamptz, indexed_at timestamptz); INSERT "
       "INTO articles SELECT g, 't' || g, '2024-01-01', CASE WHEN g % 2 = 0 THEN '2024-01-01'::timestamptz END FROM "
       "generate_series(1, 100) g",
       "SELECT bool_and(indexed_at = updated_at) FROM articles",
       {{"search.py", kSearch}}},
      {"One tenant",
       "CREATE TABLE invoices (id int PRIMARY KEY, tenant_id int, currency text); INSERT INTO invoices SELECT g, g % "
       "10 "
       "FROM generate_series(1, 200) g",
       "SELECT bool_and((currency IS NOT NULL) = (tenant_id = 7)) FROM invoices"},
      {"Arguments",
       "CREATE TABLE prices (id int PRIMARY KEY, amount numeric); INSERT INTO prices SELECT g, g + 0.125 FROM "
       "generate_series(1, 300) g",
       "SELECT bool_and((amount = round(amount, 2)) = (id BETWEEN 100 AND 199)) FROM prices",
       {},
       {"--param", "from=100", "--param", "to=200"}},
      {"Rows from a file",
       "CREATE TABLE users (id int PRIMARY KEY, email text); INSERT INTO users SELECT g, 'u' || g FROM "
       "generate_series(1, 300) g",
       "SELECT string_agg(id || email, ' ' ORDER BY id) = '5new 7o\"ther' FROM users WHERE email <> 'u' || id",
       {{"folder/fixes.csv", "id,email,why\n7,\"o\"\"ther\",x\n5,new,\n900,none,\n"}}},
      {"Dependent tables",
       "CREATE TABLE users (id int PRIMARY KEY, organization_id int); CREATE TABLE projects (id int PRIMARY KEY, "
       "owner_id int, organization_id int); CREATE TABLE tasks (id int PRIMARY KEY, project_id int, organization_id "
       "int); INSERT INTO users SELECT g, g % 3 FROM generate_series(1, 10) g; INSERT INTO projects SELECT g, 1 + g % "
       "10 FROM generate_series(1, 50) g; INSERT INTO tasks SELECT g, 1 + g % 50 FROM generate_series(1, 200) g",
       "SELECT bool_and(t.organization_id = u.organization_id) FROM tasks t JOIN projects p ON p.id = t.project_id "
       "JOIN "
       "users u ON u.id = p.owner_id"},
      {"Events",
       "CREATE TABLE users (id int PRIMARY KEY, created_at timestamptz); CREATE TABLE events (user_id int, kind text, "
       "at "
       "timestamptz, PRIMARY KEY (user_id, kind)); INSERT INTO users SELECT g, '2024-01-01' FROM generate_series(1, "
       "150) g; INSERT INTO events VALUES (3, 'signed_up', '2023-01-01')",
       "SELECT count(*) = 150 AND count(*) FILTER (WHERE at < '2024-01-01') = 1 FROM events"},
  };
  return all;
}

class RecipesTest : public DatabaseTest {};

TEST_F(RecipesTest, EachOneDoesWhatItSays) {
  auto const page = read_page();
  std::set<std::string> tried;
  for (auto const& one : cases()) {
    SCOPED_TRACE(one.heading);
    tried.insert(one.heading);
    ASSERT_TRUE(page.contains(one.heading));
    client_->exec("DROP SCHEMA public CASCADE; CREATE SCHEMA public");
    client_->exec(one.setup);
    client_->exec("ANALYZE");
    std::filesystem::remove_all(dir() / "folder");
    std::filesystem::create_directory(dir() / "folder");
    std::filesystem::copy(std::string(PGBACKFILL_SOURCE_DIR) + "/examples/compute/pgbackfill_compute.py", dir(),
                          std::filesystem::copy_options::overwrite_existing);
    for (auto const& [name, text] : one.files) write(name, text);
    int number = 0;
    for (auto const& block : page.at(one.heading)) {
      if (block.language == "yaml") write("folder/" + std::to_string(++number) + ".yaml", block.text);
      if (block.language != "python") continue;
      auto const& yaml = page.at(one.heading).front().text;
      auto const begin = yaml.find("[python3, ") + 10;
      write(yaml.substr(begin, yaml.find(']', begin) - begin), block.text);
    }
    std::vector<std::string> words = {"run", number == 1 ? "folder/1.yaml" : "folder"};
    words.insert(words.end(), one.options.begin(), one.options.end());
    auto const result = run(words);
    EXPECT_EQ(result.exit_code, kDone) << result.err;
    EXPECT_EQ(client_->value(one.check), "t") << result.err;
    if (testing::Test::HasFailure()) break;
  }
  for (auto const& [heading, blocks] : page) {
    EXPECT_TRUE(blocks.empty() || tried.contains(heading)) << heading;
  }
}

}  // namespace
}  // namespace pgbackfill::tests
