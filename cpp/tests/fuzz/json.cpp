// Any text is a value of the grammar the caller asks for, or a JsonError; what is read, written again and read again is
// the same. The first byte chooses the grammar, the rest is the text.
#include "weights/json.h"

#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <vector>

#include "fuzz.h"

using namespace diffmine;

namespace {

std::string read_string(std::string_view text) {
  JsonReader json(text);
  const std::string value = json.string();
  json.end();
  return value;
}

uint64_t read_number(std::string_view text) {
  JsonReader json(text);
  const uint64_t value = json.whole_number();
  json.end();
  return value;
}

std::vector<uint64_t> read_numbers(std::string_view text) {
  JsonReader json(text);
  std::vector<uint64_t> values;
  json.array([&] { values.push_back(json.whole_number()); });
  json.end();
  return values;
}

// Any value, skipped. The grammar is recursive, the reader is not: depth must not cost stack.
void skip(std::string_view text) {
  JsonReader json(text);
  json.skip();
  json.end();
}

double read_double(std::string_view text) {
  JsonReader json(text);
  const double value = json.number();
  json.end();
  return value;
}

// {"name": {"key": "value", ...}, ...}, the last of equal names counts
std::map<std::string, std::map<std::string, std::string>> read_objects(std::string_view text) {
  JsonReader json(text);
  std::map<std::string, std::map<std::string, std::string>> values;
  json.object([&](const std::string& name) {
    json.object([&](const std::string& key) { values[name][key] = json.string(); });
  });
  json.end();
  return values;
}

void round_trips(int grammar, std::string_view text) {
  if (grammar == 0) {
    const std::string value = read_string(text);
    FUZZ_CHECK(fuzz::is_utf8(value) && read_string(json_string(value)) == value);
  } else if (grammar == 1) {
    const uint64_t value = read_number(text);
    FUZZ_CHECK(read_number(std::to_string(value)) == value);
  } else if (grammar == 2) {
    const auto values = read_numbers(text);
    std::string written = "[";
    for (const uint64_t value : values) written += (written.size() > 1 ? "," : "") + std::to_string(value);
    FUZZ_CHECK(read_numbers(written + "]") == values);
  } else if (grammar == 3) {
    const double value = read_double(text);
    char digits[40];
    std::snprintf(digits, sizeof digits, "%.17g", value);
    if (std::isfinite(value)) FUZZ_CHECK(read_double(digits) == value);
  } else if (grammar == 4) {
    skip(text);
    // What is a value is one in an array, too, and as a member.
    const std::string whole(text);
    skip("[" + whole + "," + whole + "]");
    skip("{\"a\":" + whole + "}");
  } else {
    const auto values = read_objects(text);
    skip(text);  // whatever is read can be skipped
    std::string written = "{";
    for (const auto& [name, members] : values) {
      written += (written.size() > 1 ? "," : "") + json_string(name) + ":{";
      bool first = true;
      for (const auto& [key, value] : members)
        written += (first ? "" : ",") + json_string(key) + ":" + json_string(value), first = false;
      written += "}";
    }
    auto again = read_objects(written + "}");
    for (const auto& [name, members] : values) FUZZ_CHECK(again[name] == members);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return -1;
  // An allocation of exactly this size: AddressSanitizer sees the first byte beyond it.
  const std::unique_ptr<char[]> text(new char[size - 1]);
  std::memcpy(text.get(), data + 1, size - 1);
  try {
    round_trips(data[0] % 6, {text.get(), size - 1});
  } catch (const JsonError& error) {
    fuzz::check_message(error.what());
  }
  return 0;
}
