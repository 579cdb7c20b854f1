// Who is let in: hosts, origins, tokens, sessions, and the secret of a form.
#include "engine/web/access.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "engine/web/signature.h"

namespace pgbackfill::engine {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr Access::Time kNow{std::chrono::hours(490'000)};

AccessTerms terms() {
  AccessTerms all;
  all.allows_control = true;
  all.hosts = {"Watch.example"};
  all.tokens = {{"alice", "0123456789abcdef"}, {"bob", "fedcba9876543210"}};
  all.secret = "s";
  return all;
}

HttpRequest request(std::string const& host, HttpRequest given = {}) {
  given.fields["host"] = host;
  return given;
}

HttpRequest with(std::string const& name, std::string const& value) {
  HttpRequest given;
  given.fields[name] = value;
  return given;
}

// What a browser would send of a field Set-Cookie.
std::string cookie_of(std::string const& set) {
  return set.substr(0, set.find(';'));
}

TEST(Access, KnowsItsOwnNamesAndAllAddresses) {
  Access const access(terms());
  for (char const* host :
       {"localhost:8377", "LOCALHOST", "127.0.0.1:8377", "[::1]:8377", "10.1.2.3", "watch.example"}) {
    EXPECT_EQ(access.refusal(request(host), false), "") << host;
  }
  for (char const* host : {"", "evil.example", "evil.example:8377", "watch.example.evil.example", "localhost.evil",
                           "[::1", "127.0.0.1.evil.example", "watch.example, evil.example"}) {
    EXPECT_THAT(access.refusal(request(host), false), HasSubstr("does not go by the name")) << host;
  }
}

TEST(Access, RefusesAChangeThatComesFromAnotherOrigin) {
  Access const access(terms());
  auto const refusal = [&](HttpRequest given) { return access.refusal(request("localhost:8377", given), true); };
  EXPECT_EQ(refusal(with("origin", "http://localhost:8377")), "");
  EXPECT_EQ(refusal({}), "") << "no browser";
  EXPECT_EQ(refusal(with("sec-fetch-site", "same-origin")), "");
  for (char const* origin : {"http://evil.example", "null", "https://localhost:8377", "http://localhost:9999",
                             "http://localhost:8377.evil.example"}) {
    EXPECT_THAT(refusal(with("origin", origin)), HasSubstr("another origin")) << origin;
  }
  EXPECT_THAT(refusal(with("sec-fetch-site", "cross-site")), HasSubstr("another origin"));
  EXPECT_THAT(refusal(with("sec-fetch-site", "same-site")), HasSubstr("another origin"));
}

TEST(Access, KnowsWhoseATokenIs) {
  Access const access(terms());
  EXPECT_EQ(access.visitor(with("authorization", "Bearer 0123456789abcdef"), kNow).who, "alice");
  EXPECT_EQ(access.visitor(with("authorization", "bearer fedcba9876543210"), kNow).who, "bob");
  for (char const* wrong : {"Bearer ", "Bearer x", "Bearer 0123456789abcdeg", "Basic 0123456789abcdef", ""}) {
    EXPECT_EQ(access.visitor(with("authorization", wrong), kNow).who, "") << wrong;
  }
}

TEST(Access, ABearerNeedsNoSecretOfAForm) {
  Access const access(terms());
  EXPECT_TRUE(Access::has_secret(access.visitor(with("authorization", "Bearer 0123456789abcdef"), kNow), {}));
}

TEST(Access, ASessionIsOfWhoeverLoggedInAndEnds) {
  Access const access(terms());
  auto const set = access.new_session("al.ice é", kNow);
  EXPECT_THAT(set, AllOf(HasSubstr("HttpOnly"), HasSubstr("SameSite=Strict"), Not(HasSubstr("Secure"))));
  auto const cookie = cookie_of(set);
  auto const visitor = access.visitor(with("cookie", "a=b; " + cookie), kNow + 11h);
  EXPECT_EQ(visitor.who, "al.ice é");
  EXPECT_EQ(access.visitor(with("cookie", cookie), kNow + 13h).who, "");
  auto forged = cookie;
  forged[forged.find('=') + 1] = 'x';
  EXPECT_EQ(access.visitor(with("cookie", forged), kNow).who, "");
  auto other = terms();
  other.secret = "another process";
  EXPECT_EQ(Access(other).visitor(with("cookie", cookie), kNow).who, "");
}

TEST(Access, ASessionNeedsTheSecretOfItsForms) {
  Access const access(terms());
  auto const visitor = access.visitor(with("cookie", cookie_of(access.new_session("alice", kNow))), kNow);
  ASSERT_FALSE(visitor.secret.empty());
  EXPECT_FALSE(Access::has_secret(visitor, {}));
  EXPECT_FALSE(Access::has_secret(visitor, {{"csrf", "x"}}));
  EXPECT_TRUE(Access::has_secret(visitor, {{"csrf", visitor.secret}}));
  auto const other = access.visitor(with("cookie", cookie_of(access.new_session("bob", kNow))), kNow);
  EXPECT_FALSE(Access::has_secret(visitor, {{"csrf", other.secret}}));
}

TEST(Access, ACertificateIsKnownByItsNameAndNeedsTheSecretToo) {
  Access const access(terms());
  HttpRequest given;
  given.certificate = "carol";
  auto const visitor = access.visitor(given, kNow);
  EXPECT_EQ(visitor.who, "carol");
  EXPECT_FALSE(Access::has_secret(visitor, {}));
}

TEST(Access, CookiesOfTlsAreForTlsAlone) {
  auto all = terms();
  all.is_https = true;
  EXPECT_THAT(Access(all).new_session("alice", kNow), AllOf(HasSubstr("__Host-pgbackfill="), HasSubstr("; Secure")));
}

TEST(Form, ReadsWhatABrowserSendsAndNothingElse) {
  auto const fields = form_fields("reason=incident+4711%21&for=2h&for=3h&bad=%zz&zero=%00&utf=%ff&=x&empty=");
  EXPECT_EQ(field_of(fields, "reason"), "incident 4711!");
  EXPECT_EQ(field_of(fields, "for"), "2h");
  EXPECT_EQ(fields.size(), 3U);
  EXPECT_EQ(field_of(cookies_of("a=1; b=2"), "b"), "2");
  EXPECT_EQ(percent_decoded("a%2Fb"), "a/b");
  EXPECT_EQ(percent_decoded("a%2"), std::nullopt);
}

TEST(Signature, IsOfTheSecretAndTheText) {
  // RFC 4231, test case 2
  EXPECT_EQ(signature_of("Jefe", "what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  EXPECT_NE(random_secret(), random_secret());
}

}  // namespace
}  // namespace pgbackfill::engine
