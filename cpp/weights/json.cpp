// The strict JSON reader of json.h (RFC 8259) and the writer of string literals.
#include "weights/json.h"

#include <cstdio>
#include <cstdlib>
#include <limits>
#include <vector>

namespace diffmine {
namespace {

void append_utf8(std::string& out, uint32_t c) {
  const auto put = [&](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | c >> 6), put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | c >> 12), put(0x80 | (c >> 6 & 0x3F)), put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | c >> 18), put(0x80 | (c >> 12 & 0x3F)), put(0x80 | (c >> 6 & 0x3F)), put(0x80 | (c & 0x3F));
  }
}

}  // namespace

size_t utf8_length(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) -> uint32_t {
    return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0;
  };
  const auto follows = [&](size_t i) { return (byte(i) & 0xC0) == 0x80; };
  const uint32_t b = byte(0);
  if (at >= text.size()) return 0;
  if (b < 0x80) return 1;
  if (b >= 0xC2 && b <= 0xDF) return follows(1) ? 2 : 0;
  if (b >= 0xE0 && b <= 0xEF) {
    if (!follows(1) || !follows(2)) return 0;
    const uint32_t c = (b & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
    return c < 0x800 || (c >= 0xD800 && c <= 0xDFFF) ? 0 : 3;
  }
  if (b >= 0xF0 && b <= 0xF4) {
    if (!follows(1) || !follows(2) || !follows(3)) return 0;
    const uint32_t c = (b & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
    return c < 0x10000 || c > 0x10FFFF ? 0 : 4;
  }
  return 0;
}

std::string json_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(static_cast<unsigned char>(c)));
      out += escape;
    } else {
      out.push_back(c);
    }
  }
  out.push_back('"');
  return out;
}

void JsonReader::fail(const std::string& what) const {
  throw JsonError(what + " at byte " + std::to_string(at_) + " of " + where_);
}

void JsonReader::skip_space() {
  while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\r' || text_[at_] == '\t'))
    ++at_;
}

bool JsonReader::accept(char wanted) {
  skip_space();
  if (at_ >= text_.size() || text_[at_] != wanted) return false;
  ++at_;
  return true;
}

void JsonReader::expect(char wanted) {
  if (!accept(wanted)) fail(std::string("expected '") + wanted + "'");
}

uint32_t JsonReader::hex4() {
  uint32_t value = 0;
  for (int i = 0; i < 4; ++i, ++at_) {
    const char c = at_ < text_.size() ? text_[at_] : '\0';
    if (c >= '0' && c <= '9') value = value << 4 | static_cast<uint32_t>(c - '0');
    else if (c >= 'a' && c <= 'f') value = value << 4 | static_cast<uint32_t>(c - 'a' + 10);
    else if (c >= 'A' && c <= 'F') value = value << 4 | static_cast<uint32_t>(c - 'A' + 10);
    else fail("bad \\u escape");
  }
  return value;
}

std::string JsonReader::string() {
  expect('"');
  std::string out;
  while (true) {
    if (at_ >= text_.size()) fail("unfinished string");
    const unsigned char c = static_cast<unsigned char>(text_[at_]);
    if (c == '"') {
      ++at_;
      return out;
    }
    if (c < 0x20) fail("control character in a string");
    if (c != '\\') {
      const size_t n = utf8_length(text_, at_);
      if (n == 0) fail("invalid UTF-8");
      out.append(text_, at_, n);
      at_ += n;
      continue;
    }
    if (++at_ >= text_.size()) fail("unfinished string");
    switch (text_[at_++]) {
      case '"': out.push_back('"'); break;
      case '\\': out.push_back('\\'); break;
      case '/': out.push_back('/'); break;
      case 'b': out.push_back('\b'); break;
      case 'f': out.push_back('\f'); break;
      case 'n': out.push_back('\n'); break;
      case 'r': out.push_back('\r'); break;
      case 't': out.push_back('\t'); break;
      case 'u': {
        uint32_t code_point = hex4();
        if (code_point >= 0xD800 && code_point <= 0xDBFF) {  // the first half of a pair
          if (text_.substr(at_, 2) != "\\u") fail("half a surrogate pair");
          at_ += 2;
          const uint32_t low = hex4();
          if (low < 0xDC00 || low > 0xDFFF) fail("half a surrogate pair");
          code_point = 0x10000 + ((code_point - 0xD800) << 10) + (low - 0xDC00);
        } else if (code_point >= 0xDC00 && code_point <= 0xDFFF) {
          fail("half a surrogate pair");
        }
        append_utf8(out, code_point);
        break;
      }
      default: fail("unknown escape");
    }
  }
}

uint64_t JsonReader::whole_number() {
  skip_space();
  const size_t begin = at_;
  uint64_t value = 0;
  for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
    const uint64_t digit = static_cast<uint64_t>(text_[at_] - '0');
    if (value > (UINT64_MAX - digit) / 10) fail("number too large");
    value = value * 10 + digit;
  }
  if (at_ == begin) fail("expected a whole number, not negative");
  if (at_ - begin > 1 && text_[begin] == '0') fail("leading zero");
  if (at_ < text_.size() && (text_[at_] == '.' || text_[at_] == 'e' || text_[at_] == 'E'))
    fail("expected a whole number");
  return value;
}

bool JsonReader::accept_word(std::string_view word) {
  skip_space();
  if (text_.substr(at_, word.size()) != word) return false;
  const char next = at_ + word.size() < text_.size() ? text_[at_ + word.size()] : ' ';
  if ((next >= 'a' && next <= 'z') || (next >= 'A' && next <= 'Z') || (next >= '0' && next <= '9')) return false;
  at_ += word.size();
  return true;
}

bool JsonReader::null() { return accept_word("null"); }

bool JsonReader::boolean() {
  if (accept_word("true")) return true;
  if (!accept_word("false")) fail("expected true or false");
  return false;
}

double JsonReader::number() {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (accept_word("NaN")) return std::numeric_limits<double>::quiet_NaN();
  if (accept_word("Infinity")) return kInfinity;
  if (accept_word("-Infinity")) return -kInfinity;
  // -? (0 | [1-9] digits) (. digits)? ([eE] [+-]? digits)?, which is less than strtod takes.
  const size_t begin = at_;
  const auto next = [&] { return at_ < text_.size() ? text_[at_] : '\0'; };
  const auto digits = [&] {
    if (next() < '0' || next() > '9') fail("expected a number");
    while (next() >= '0' && next() <= '9') ++at_;
  };
  if (next() == '-') ++at_;
  if (next() == '0') ++at_;
  else digits();
  if (next() >= '0' && next() <= '9') fail("leading zero");
  if (next() == '.') ++at_, digits();
  if (next() == 'e' || next() == 'E') {
    ++at_;
    if (next() == '+' || next() == '-') ++at_;
    digits();
  }
  return std::strtod(std::string(text_.substr(begin, at_ - begin)).c_str(),
                     nullptr);  // not every C++ library has from_chars of a double
}

char JsonReader::peek() {
  skip_space();
  return at_ < text_.size() ? text_[at_] : '\0';
}

// Without recursion: depth costs a byte for each level.
void JsonReader::skip() {
  std::vector<char> closing;
  const auto key = [&] {
    string();
    expect(':');
  };
  do {
    const char first = peek();
    if (first == '{' || first == '[') {
      ++at_;
      closing.push_back(first == '{' ? '}' : ']');
      if (!accept(closing.back())) {
        if (first == '{') key();
        continue;
      }
      closing.pop_back();
    } else if (first == '"') {
      string();
    } else if (first == 't' || first == 'f') {
      boolean();
    } else if (first == 'n') {
      if (!null()) fail("expected a value");
    } else {
      number();
    }
    // After a value: its array or object continues or ends.
    while (!closing.empty() && !accept(',')) {
      expect(closing.back());
      closing.pop_back();
    }
    if (!closing.empty() && closing.back() == '}') key();
  } while (!closing.empty());
}

void JsonReader::end() {
  skip_space();
  if (at_ != text_.size()) fail("unexpected text after the closing brace");
}

}  // namespace diffmine
