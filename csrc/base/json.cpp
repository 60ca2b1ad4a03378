#include "base/json.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>

namespace lamella {

namespace {

// Length of the well-formed UTF-8 sequence that starts at p (RFC 3629: no overlong forms, no surrogates, nothing beyond
// U+10FFFF); 0 if there is none.
size_t utf8_length(const char* p, const char* end) {
  const auto byte = [&](int i) { return static_cast<unsigned char>(p[i]); };
  const auto continues = [&](int i) { return (byte(i) & 0xc0) == 0x80; };
  const unsigned char lead = byte(0);
  const auto left = static_cast<size_t>(end - p);
  if (lead < 0x80) return 1;
  if (lead < 0xc2) return 0;
  if (lead < 0xe0) return left >= 2 && continues(1) ? 2 : 0;
  if (lead < 0xf0) {
    if (left < 3 || !continues(1) || !continues(2)) return 0;
    if (lead == 0xe0 && byte(1) < 0xa0) return 0;
    if (lead == 0xed && byte(1) >= 0xa0) return 0;
    return 3;
  }
  if (lead > 0xf4 || left < 4 || !continues(1) || !continues(2) || !continues(3)) return 0;
  if (lead == 0xf0 && byte(1) < 0x90) return 0;
  if (lead == 0xf4 && byte(1) >= 0x90) return 0;
  return 4;
}

void append_utf8(std::string& s, uint32_t code) {
  if (code < 0x80) {
    s += static_cast<char>(code);
  } else if (code < 0x800) {
    s += static_cast<char>(0xc0 | (code >> 6));
    s += static_cast<char>(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    s += static_cast<char>(0xe0 | (code >> 12));
    s += static_cast<char>(0x80 | ((code >> 6) & 0x3f));
    s += static_cast<char>(0x80 | (code & 0x3f));
  } else {
    s += static_cast<char>(0xf0 | (code >> 18));
    s += static_cast<char>(0x80 | ((code >> 12) & 0x3f));
    s += static_cast<char>(0x80 | ((code >> 6) & 0x3f));
    s += static_cast<char>(0x80 | (code & 0x3f));
  }
}

constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }

class Parser {
 public:
  Parser(std::string_view text, int max_depth)
      : begin_(text.data()), p_(text.data()), end_(text.data() + text.size()), max_depth_(max_depth) {}

  Json document() {
    Json v = value(0);
    skip_space();
    if (p_ != end_) fail("the end of the text");
    return v;
  }

 private:
  [[noreturn]] void fail(const std::string& expected) const { fail(expected, p_); }
  [[noreturn]] void fail(const std::string& expected, const char* at) const {
    std::string got = "the end of the text";
    if (at < end_) {
      const auto c = static_cast<unsigned char>(*at);
      static constexpr char kHex[] = "0123456789abcdef";
      got = c >= 0x20 && c < 0x7f ? std::string("'") + *at + "'" : std::string("byte 0x") + kHex[c >> 4] + kHex[c & 15];
    }
    fail_value("json", "byte " + std::to_string(at - begin_), expected, got);
  }

  void skip_space() {
    while (p_ < end_ && (*p_ == ' ' || *p_ == '\t' || *p_ == '\n' || *p_ == '\r')) ++p_;
  }
  bool take(char c) {
    if (p_ == end_ || *p_ != c) return false;
    ++p_;
    return true;
  }

  Json value(int depth) {
    skip_space();
    if (p_ == end_) fail("a value");
    switch (*p_) {
      case '{':
        return object(depth);
      case '[':
        return array(depth);
      case '"':
        return Json(string());
      case 't':
        return literal("true", Json(true));
      case 'f':
        return literal("false", Json(false));
      case 'n':
        return literal("null", Json());
      default:
        return number();
    }
  }

  Json literal(const char* word, Json v) {
    for (const char* w = word; *w != '\0'; ++w)
      if (!take(*w)) fail(std::string("'") + word + "'");
    return v;
  }

  void enter(int depth) const {
    if (depth >= max_depth_)
      fail_value("json", "byte " + std::to_string(p_ - begin_), "at most " + std::to_string(max_depth_) + " levels",
                 "deeper nesting");
  }

  Json array(int depth) {
    enter(depth);
    ++p_;
    Json::Array items;
    skip_space();
    if (take(']')) return Json(std::move(items));
    for (;;) {
      items.push_back(value(depth + 1));
      skip_space();
      if (take(']')) return Json(std::move(items));
      if (!take(',')) fail("',' or ']'");
    }
  }

  Json object(int depth) {
    enter(depth);
    const char* start = p_++;
    Json::Object members;
    skip_space();
    if (take('}')) return Json(std::move(members));
    for (;;) {
      skip_space();
      if (p_ == end_ || *p_ != '"') fail("a key in quotes");
      std::string key = string();
      skip_space();
      if (!take(':')) fail("':'");
      members.emplace_back(std::move(key), value(depth + 1));
      skip_space();
      if (take('}')) break;
      if (!take(',')) fail("',' or '}'");
    }
    refuse_duplicates(members, start);
    return Json(std::move(members));
  }

  // Readers disagree on which of two equal keys counts, which is how a file can show one thing to a checker and another
  // to a loader. Sorting keeps a header of a million keys from costing a million squared.
  void refuse_duplicates(const Json::Object& members, const char* start) const {
    std::vector<std::string_view> keys;
    keys.reserve(members.size());
    for (const auto& m : members) keys.push_back(m.first);
    std::sort(keys.begin(), keys.end());
    const auto twin = std::adjacent_find(keys.begin(), keys.end());
    if (twin != keys.end())
      fail_value("json", "object at byte " + std::to_string(start - begin_), "every key once",
                 "'" + std::string(*twin) + "' twice");
  }

  std::string string() {
    ++p_;
    std::string s;
    for (;;) {
      const char* run = p_;
      while (p_ < end_ && *p_ != '"' && *p_ != '\\') {
        if (static_cast<unsigned char>(*p_) < 0x20) fail("no control character inside a string");
        const size_t length = utf8_length(p_, end_);
        if (length == 0) fail("valid UTF-8");
        p_ += length;
      }
      s.append(run, p_);
      if (p_ == end_) fail("'\"'");
      if (*p_++ == '"') return s;
      escape(s);
    }
  }

  void escape(std::string& s) {
    if (p_ == end_) fail("an escaped character");
    static constexpr char kFrom[] = "\"\\/bfnrt";
    static constexpr char kTo[] = "\"\\/\b\f\n\r\t";
    if (const char* hit = static_cast<const char*>(std::memchr(kFrom, *p_, sizeof(kFrom) - 1))) {
      ++p_;
      s += kTo[hit - kFrom];
      return;
    }
    const char* start = p_;
    if (!take('u')) fail("one of \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\u");
    uint32_t code = hex4();
    if (code >= 0xd800 && code < 0xdc00) {
      if (!take('\\') || !take('u')) fail("the second half of a surrogate pair");
      const uint32_t low = hex4();
      if (low < 0xdc00 || low > 0xdfff) fail("the second half of a surrogate pair", start);
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    } else if (code >= 0xdc00 && code < 0xe000) {
      fail("no lone surrogate", start);
    }
    append_utf8(s, code);
  }

  uint32_t hex4() {
    uint32_t code = 0;
    for (int i = 0; i < 4; ++i, ++p_) {
      const char c = p_ < end_ ? *p_ : '\0';
      const char lower = static_cast<char>(c | 0x20);
      if (is_digit(c))
        code = code * 16 + static_cast<uint32_t>(c - '0');
      else if (lower >= 'a' && lower <= 'f')
        code = code * 16 + static_cast<uint32_t>(lower - 'a' + 10);
      else
        fail("four hexadecimal digits");
    }
    return code;
  }

  void digits() {
    if (p_ == end_ || !is_digit(*p_)) fail("a digit");
    while (p_ < end_ && is_digit(*p_)) ++p_;
  }

  Json number() {
    const char* start = p_;
    take('-');
    if (p_ == end_ || !is_digit(*p_)) fail(p_ == start ? "a value" : "a digit");
    if (*p_ == '0')
      ++p_;  // no leading zeros: a digit that follows is refused by whoever reads on
    else
      digits();
    bool integral = true;
    if (take('.')) {
      integral = false;
      digits();
    }
    if (p_ < end_ && (*p_ == 'e' || *p_ == 'E')) {
      integral = false;
      ++p_;
      if (!take('+')) take('-');
      digits();
    }
    if (integral) {
      int64_t v = 0;
      if (std::from_chars(start, p_, v).ec == std::errc()) return Json(v);
    }
    double v = 0.0;
    if (std::from_chars(start, p_, v).ec != std::errc()) fail("a number within double's range", start);
    return Json(v);
  }

  const char* begin_;
  const char* p_;
  const char* end_;
  int max_depth_;
};

void dump_string(std::string& out, const std::string& s) {
  out += '"';
  const char* p = s.data();
  const char* end = p + s.size();
  while (p < end) {
    const auto c = static_cast<unsigned char>(*p);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += *p++;
    } else if (c < 0x20) {
      static constexpr char kHex[] = "0123456789abcdef";
      out += "\\u00";
      out += kHex[c >> 4];
      out += kHex[c & 15];
      ++p;
    } else {
      const size_t length = utf8_length(p, end);
      if (length == 0) fail_value("json", "string", "valid UTF-8", "byte " + std::to_string(c));
      out.append(p, length);
      p += length;
    }
  }
  out += '"';
}

void dump_double(std::string& out, double v) {
  if (!std::isfinite(v)) fail_value("json", "number", "a finite number", std::isnan(v) ? "nan" : "an infinity");
  char text[32];
  const auto result = std::to_chars(text, text + sizeof(text), v);
  const std::string_view shortest(text, static_cast<size_t>(result.ptr - text));
  out += shortest;
  if (shortest.find_first_of(".e") == std::string_view::npos) out += ".0";  // else it would come back as an integer
}

void dump_value(std::string& out, const Json& v) {
  if (v.is_null()) {
    out += "null";
  } else if (v.is_bool()) {
    out += v.as_bool() ? "true" : "false";
  } else if (v.is_int()) {
    out += std::to_string(v.as_int());
  } else if (v.is_number()) {
    dump_double(out, v.as_double());
  } else if (v.is_string()) {
    dump_string(out, v.as_string());
  } else if (v.is_array()) {
    out += '[';
    const char* separator = "";
    for (const Json& item : v.as_array()) {
      out += separator;
      dump_value(out, item);
      separator = ",";
    }
    out += ']';
  } else {
    out += '{';
    const char* separator = "";
    for (const auto& [key, item] : v.as_object()) {
      out += separator;
      dump_string(out, key);
      out += ':';
      dump_value(out, item);
      separator = ",";
    }
    out += '}';
  }
}

const char* kind_name(const Json& v) {
  if (v.is_null()) return "null";
  if (v.is_bool()) return "a boolean";
  if (v.is_int()) return "an integer";
  if (v.is_number()) return "a number";
  if (v.is_string()) return "a string";
  return v.is_array() ? "an array" : "an object";
}

[[noreturn]] void mismatch(const char* expected, const Json& v) { fail_type("json", "value", expected, kind_name(v)); }

}  // namespace

Json Json::parse(std::string_view text, int max_depth) { return Parser(text, max_depth).document(); }

std::string Json::dump() const {
  std::string out;
  dump_value(out, *this);
  return out;
}

bool Json::as_bool() const {
  const bool* v = std::get_if<bool>(&value_);
  if (v == nullptr) mismatch("a boolean", *this);
  return *v;
}

int64_t Json::as_int() const {
  if (const int64_t* v = std::get_if<int64_t>(&value_)) return *v;
  // -2^63 is a double, 2^63 - 1 is not: the upper bound is exclusive.
  const double* d = std::get_if<double>(&value_);
  if (d == nullptr || !(*d >= -0x1p63 && *d < 0x1p63) || *d != std::trunc(*d)) mismatch("an integer", *this);
  return static_cast<int64_t>(*d);
}

double Json::as_double() const {
  if (const double* v = std::get_if<double>(&value_)) return *v;
  const int64_t* i = std::get_if<int64_t>(&value_);
  if (i == nullptr) mismatch("a number", *this);
  return static_cast<double>(*i);
}

const std::string& Json::as_string() const {
  const std::string* v = std::get_if<std::string>(&value_);
  if (v == nullptr) mismatch("a string", *this);
  return *v;
}

const Json::Array& Json::as_array() const {
  const Array* v = std::get_if<Array>(&value_);
  if (v == nullptr) mismatch("an array", *this);
  return *v;
}

const Json::Object& Json::as_object() const {
  const Object* v = std::get_if<Object>(&value_);
  if (v == nullptr) mismatch("an object", *this);
  return *v;
}

const Json* Json::find(std::string_view key) const {
  const Object* object = std::get_if<Object>(&value_);
  if (object == nullptr) return nullptr;
  for (const auto& member : *object)
    if (member.first == key) return &member.second;
  return nullptr;
}

const Json& Json::at(std::string_view key) const {
  const Json* v = find(key);
  if (v == nullptr) fail_value("json", std::string(key), "a value", is_object() ? "no such key" : kind_name(*this));
  return *v;
}

Json& Json::set(std::string key, Json v) {
  if (is_null()) value_ = Object();
  Object* object = std::get_if<Object>(&value_);
  if (object == nullptr) mismatch("an object", *this);
  for (auto& member : *object)
    if (member.first == key) {
      member.second = std::move(v);
      return *this;
    }
  object->emplace_back(std::move(key), std::move(v));
  return *this;
}

}  // namespace lamella
