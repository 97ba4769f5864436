// A strict pull reader of JSON. The caller's code is the grammar, so that nothing recurses on input; any bytes end in a
// value or in a JsonError.
#pragma once
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace diffmine {

// Never leaves cpp/weights: the reader of the file turns it into an Error with the file's name.
struct JsonError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class JsonReader {
 public:
  // `where` is what the text is called in messages.
  explicit JsonReader(std::string_view text, std::string where = "the header")
      : text_(text), where_(std::move(where)) {}

  // Calls member(key) for each member; it must read the value. Duplicate keys are the caller's to refuse.
  template <class F>
  void object(F&& member) {
    expect('{');
    if (accept('}')) return;
    do {
      const std::string key = string();
      expect(':');
      member(key);
    } while (accept(','));
    expect('}');
  }

  // Calls element() for each element; it must read it.
  template <class F>
  void array(F&& element) {
    expect('[');
    if (accept(']')) return;
    do element();
    while (accept(','));
    expect(']');
  }

  std::string string();     // valid UTF-8, escapes resolved
  uint64_t whole_number();  // no sign, fraction, exponent or leading zero; below 2^64
  double number();          // any, and what Python writes for others: NaN, Infinity, -Infinity
  bool boolean();
  bool null();                                            // false, and nothing read, where the value is another
  void skip();                                            // one value of any kind
  char peek();                                            // first character of what comes next, 0 at the end
  void end();                                             // nothing but white space may follow
  [[noreturn]] void fail(const std::string& what) const;  // adds the position

 private:
  void skip_space();
  void expect(char wanted);
  bool accept(char wanted);
  bool accept_word(std::string_view word);
  uint32_t hex4();

  std::string_view text_;
  std::string where_;
  size_t at_ = 0;
};

// Length of the valid UTF-8 sequence at `at`, 0 where there is none (overlong forms, surrogates, > U+10FFFF).
size_t utf8_length(std::string_view text, size_t at);

// A JSON string literal of valid UTF-8 text.
std::string json_string(std::string_view text);

}  // namespace diffmine
