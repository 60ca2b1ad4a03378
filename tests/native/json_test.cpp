#include "base/json.h"

#include <cmath>
#include <limits>
#include <random>

#include "testing.h"

namespace lamella {
namespace {

using testing::contains;
using testing::error_of;

std::string parse_error(std::string_view text) {
  CAPTURE(std::string(text));
  return error_of(ErrorKind::kValue, [&] { Json::parse(text); });
}

TEST_CASE("json reads every kind of value") {
  const Json v = Json::parse(
      " {\"n\": null, \"t\": true, \"f\":false, \"i\": -12, \"d\": 2.5e-3, \"s\": \"a\\u00e9\\n\","
      " \"a\": [1, [], {}]} ");
  CHECK(v.at("n").is_null());
  CHECK(v.at("t").as_bool());
  CHECK(!v.at("f").as_bool());
  CHECK(v.at("i").as_int() == -12);
  CHECK(v.at("d").as_double() == 2.5e-3);
  CHECK(v.at("s").as_string() == "a\xc3\xa9\n");
  CHECK(v.at("a").as_array().size() == 3);
  CHECK(v.find("missing") == nullptr);
  CHECK(v.dump() ==
        "{\"n\":null,\"t\":true,\"f\":false,\"i\":-12,\"d\":0.0025,\"s\":\"a\xc3\xa9\\u000a\",\"a\":[1,[],{}]}");
}

TEST_CASE("json keeps integers and doubles apart") {
  CHECK(Json::parse("9223372036854775807").as_int() == std::numeric_limits<int64_t>::max());
  CHECK(Json::parse("-9223372036854775808").as_int() == std::numeric_limits<int64_t>::min());
  CHECK(!Json::parse("9223372036854775808").is_int());
  CHECK(Json::parse("9223372036854775808").as_double() == 0x1p63);
  CHECK(Json(1.0).dump() == "1.0");
  CHECK(Json(int64_t{1}).dump() == "1");
  CHECK(Json(3.0).as_int() == 3);
  CHECK(Json(-0x1p63).as_int() == std::numeric_limits<int64_t>::min());
  for (double d : {0.5, 0x1p63, 1e300, std::nan(""), HUGE_VAL})
    CHECK(contains(error_of(ErrorKind::kType, [&] { Json(d).as_int(); }), "expected an integer"));
}

TEST_CASE("json doubles survive a round trip bit for bit") {
  std::mt19937_64 random(1);
  for (int i = 0; i < 20000; ++i) {
    const uint64_t bits = random();
    double v = 0.0;
    static_assert(sizeof(v) == sizeof(bits));
    __builtin_memcpy(&v, &bits, sizeof(v));
    if (!std::isfinite(v)) continue;
    const Json back = Json::parse(Json(v).dump());
    REQUIRE(!back.is_int());
    REQUIRE(back.as_double() == v);
  }
  CHECK(std::signbit(Json::parse(Json(-0.0).dump()).as_double()));
  CHECK(Json::parse("5e-324").as_double() == 5e-324);
  CHECK_THROWS_AS(Json(std::nan("")).dump(), const Error&);
  CHECK_THROWS_AS(Json(-HUGE_VAL).dump(), const Error&);
}

TEST_CASE("json refuses what is not JSON, with the place") {
  for (const char* text : {"",
                           " ",
                           "nul",
                           "tru",
                           "True",
                           "nan",
                           "NaN",
                           "Infinity",
                           "-",
                           "+1",
                           "01",
                           "-01",
                           "1.",
                           ".5",
                           "1e",
                           "1e+",
                           "0x10",
                           "1 2",
                           "[1,]",
                           "[,1]",
                           "[1 2]",
                           "[1",
                           "[",
                           "{",
                           "{]",
                           "{\"a\"}",
                           "{\"a\":}",
                           "{\"a\":1,}",
                           "{a:1}",
                           "{1:2}",
                           "'a'",
                           "{\"a\":1 \"b\":2}",
                           "\"",
                           "\"\\",
                           "\"\\x\"",
                           "\"\\u12\"",
                           "\"\\u12g4\"",
                           "\"a\nb\"",
                           "\"\\ud800\"",
                           "\"\\ud800\\u0041\"",
                           "\"\\udc00\"",
                           "\"\\ud800x\"",
                           "1e999",
                           "-1e999",
                           "// x\n1",
                           "[1]]",
                           "\xef\xbb\xbf[]",
                           "\f1"})
    CHECK(contains(parse_error(text), "json: byte "));
  CHECK(parse_error("[1, x]") == "json: byte 4: expected a value, got 'x'");
  CHECK(parse_error("{\"a\": [1, 2}") == "json: byte 11: expected ',' or ']', got '}'");
  CHECK(parse_error("[1") == "json: byte 2: expected ',' or ']', got the end of the text");
  CHECK(parse_error("[\x01]") == "json: byte 1: expected a value, got byte 0x01");
  CHECK(contains(parse_error("{\"b\":1,\"a\":1,\"b\":2}"), "'b' twice"));
  CHECK(contains(parse_error("[0,{\"a\":{\"x\":1,\"x\":1}}]"), "object at byte 8"));
  CHECK(contains(parse_error(std::string_view("[1]\0", 4)), "byte 3"));
}

TEST_CASE("json checks UTF-8") {
  for (const char* good : {"\"\xc2\x80\"", "\"\xdf\xbf\"", "\"\xe0\xa0\x80\"", "\"\xed\x9f\xbf\"", "\"\xee\x80\x80\"",
                           "\"\xf0\x90\x80\x80\"", "\"\xf4\x8f\xbf\xbf\""})
    CHECK(Json::parse(Json::parse(good).dump()).dump() == good);
  for (const char* bad :
       {"\"\x80\"", "\"\xc0\x80\"", "\"\xc1\xbf\"", "\"\xc2\"", "\"\xe0\x9f\xbf\"", "\"\xed\xa0\x80\"", "\"\xe1\x80\"",
        "\"\xf0\x8f\xbf\xbf\"", "\"\xf4\x90\x80\x80\"", "\"\xf5\x80\x80\x80\"", "\"\xff\"", "{\"\xff\":1}"})
    CHECK(contains(parse_error(bad), "valid UTF-8"));
  CHECK(contains(parse_error(std::string_view("\"\xf0\x90", 3)), "valid UTF-8"));  // cut inside a sequence
  CHECK(Json::parse("\"\\ud834\\udd1e\"").as_string() == "\xf0\x9d\x84\x9e");
  CHECK_THROWS_AS(Json("\xff").dump(), const Error&);
  std::string control;
  for (char c = 0; c < 0x20; ++c) control += c;
  CHECK(Json::parse(Json(control).dump()).as_string() == control);
}

TEST_CASE("json bounds the depth") {
  const auto nested = [](int depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  CHECK_NOTHROW(Json::parse(nested(64)));
  CHECK(contains(parse_error(nested(65)), "at most 64 levels"));
  CHECK(contains(parse_error(std::string(10'000'000, '[')), "at most 64 levels"));
  CHECK_NOTHROW(Json::parse("[1]", 1));
  CHECK_THROWS_AS(Json::parse("[[]]", 1), const Error&);
  CHECK_NOTHROW(Json::parse("1", 0));
}

TEST_CASE("json does not take quadratic time for many keys") {
  std::string text = "{";
  for (int i = 0; i < 300'000; ++i) text += (i ? ",\"" : "\"") + std::to_string(i) + "\":0";
  CHECK(Json::parse(text + "}").as_object().size() == 300'000);
  CHECK(contains(parse_error(text + ",\"299999\":1}"), "'299999' twice"));
}

TEST_CASE("json set replaces and keeps the order") {
  Json v;
  v.set("b", 1).set("a", "x").set("b", Json::Array{1, 2.5});
  CHECK(v.dump() == "{\"b\":[1,2.5],\"a\":\"x\"}");
  CHECK(v == Json::parse(v.dump()));
  CHECK(contains(error_of(ErrorKind::kValue, [&] { v.at("c"); }), "json: c"));
  CHECK(contains(error_of(ErrorKind::kType, [] { Json(1).set("a", 1); }), "expected an object, got an integer"));
  CHECK(contains(error_of(ErrorKind::kType, [] { Json("x").as_bool(); }), "expected a boolean, got a string"));
}

TEST_CASE("json survives mutated text") {
  const std::string seed =
      "{\"class\":\"conv2d\",\"attrs\":{\"stride\":[1,2],\"alpha\":-0.01e+2,\"name\":"
      "\"\\u00e9\\ud834\\udd1e\\n\xc3\xa9\"},"
      "\"x\":[null,true,false,{\"y\":9223372036854775807}]}";
  std::mt19937 random(2);
  int parsed = 0;
  for (int i = 0; i < 30000; ++i) {
    std::string text = seed;
    for (int edits = static_cast<int>(random() % 3); edits >= 0; --edits) {
      const size_t at = random() % text.size();
      switch (random() % 3) {
        case 0:
          text[at] = static_cast<char>(random());
          break;
        case 1:
          text.erase(at, 1 + random() % 4);
          break;
        default:
          text.insert(at, 1, "{}[]\",:\\0e-."[random() % 12]);
      }
      if (text.empty()) text = "0";
    }
    const std::vector<char> exact(text.begin(), text.end());  // no slack behind it: a sanitizer sees any overrun
    try {
      const Json v = Json::parse({exact.data(), exact.size()});
      REQUIRE(Json::parse(v.dump()) == v);
      ++parsed;
    } catch (const Error& e) {
      REQUIRE(e.kind() == ErrorKind::kValue);
    }
  }
  CHECK(parsed > 100);
}

}  // namespace
}  // namespace lamella
