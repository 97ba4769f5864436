// The safetensors reader and writer: what they keep, and that every kind of damage is an Error and never a crash.
#include "weights/safetensors.h"
#include "weights/weight_store.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <fstream>

#include "core/philox.h"
#include "tests/support.h"
#include "weights/json.h"

using namespace diffmine;
using namespace diffmine::test;

namespace {

void put(const std::string& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

std::string get(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// A file of this header and so many data bytes (0, 1, 2, ...).
std::string file_of(const std::string& header, size_t data) {
  std::string out(8, '\0');
  const uint64_t length = header.size();
  std::memcpy(out.data(), &length, 8);
  out += header;
  for (size_t i = 0; i < data; ++i) out.push_back(static_cast<char>(i));
  return out;
}

size_t files_in(const std::string& folder) {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder)) ++count;
  return count;
}

}  // namespace

TEST_CASE("safetensors: golden weights are read, with their metadata and numbers") {
  const auto file = SafetensorsFile::open(golden("common-golden/golden.safetensors"));
  const at::Tensor timesteps = file->tensor("ddim_timesteps_10.out.timesteps");
  CHECK(timesteps.sizes() == at::IntArrayRef{10});
  CHECK(timesteps.const_data_ptr<int64_t>()[0] == 901);
  CHECK(file->has("kmeans_0.in.X"));
  CHECK(!file->has("nothing"));
  CHECK(error_code([&] { file->tensor("nothing"); }) == code::kInvalidArgument);
}

TEST_CASE("safetensors: a tensor keeps the mapping alive and is not copied") {
  at::Tensor kept;
  const void* first = nullptr;
  {
    const auto file = SafetensorsFile::open(golden("common-golden/golden.safetensors"));
    kept = file->tensor("schedule_linear.out.betas");
    first = file->tensor("schedule_linear.out.betas").const_data_ptr();
    CHECK(kept.const_data_ptr() == first);
  }
  CHECK(kept.const_data_ptr<float>()[0] == doctest::Approx(1e-4));
}

TEST_CASE("safetensors: what is written is read back: every dtype, scalars, empty and transposed tensors, odd names") {
  const TemporaryFolder folder;
  const std::string path = folder.file("all.safetensors");
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  const at::ScalarType types[] = {at::kBool,     at::kDouble, at::kFloat, at::kHalf,
                                  at::kBFloat16, at::kLong,   at::kInt,   at::kByte};
  for (const at::ScalarType type : types) {
    tensors.emplace_back(std::string("a ") + c10::toString(type),
                         at::arange(0, 15, at::kFloat).view({3, 5}).remainder(2).to(type));
  }
  tensors.emplace_back("transposed", at::arange(0, 6, at::kFloat).view({2, 3}).t());
  tensors.emplace_back("scalar", at::ones({}, at::kDouble));
  tensors.emplace_back("empty", at::zeros({4, 0, 3}, at::kInt));
  tensors.emplace_back("quote\" back\\slash \n \xC3\xA9 \xF0\x9F\x9A\x97", at::ones({2}));
  write_safetensors(path, tensors, {{"format", "pt"}, {"note", "a\"b\t"}});

  const std::string bytes = get(path);
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), 8);
  CHECK(header % 8 == 0);
  const auto file = SafetensorsFile::open(path);
  CHECK(file->metadata() == std::map<std::string, std::string>{{"format", "pt"}, {"note", "a\"b\t"}});
  REQUIRE(file->tensors().size() == tensors.size());
  for (const auto& [name, tensor] : tensors) {
    CAPTURE(name);
    REQUIRE(file->has(name));
    const at::Tensor read = file->tensor(name);
    CHECK((read.scalar_type() == tensor.scalar_type()));
    CHECK(read.sizes() == tensor.sizes());
    CHECK(read.equal(tensor));
  }
  CHECK(files_in(folder.path()) == 1);
}

TEST_CASE("safetensors: unaligned tensors are copied and equal") {
  const TemporaryFolder folder;
  const std::string path = folder.file("odd.safetensors");
  put(path,
      file_of(
          R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"F32","shape":[2],"data_offsets":[1,9]}})",
          9));
  const at::Tensor b = SafetensorsFile::open(path)->tensor("b");
  CHECK(reinterpret_cast<uintptr_t>(b.const_data_ptr()) % 4 == 0);
  CHECK(std::memcmp(b.const_data_ptr(), "\x01\x02\x03\x04\x05\x06\x07\x08", 8) == 0);
}

TEST_CASE("safetensors: the smallest files") {
  const TemporaryFolder folder;
  const std::string path = folder.file("f.safetensors");
  put(path, file_of("{}", 0));
  CHECK(SafetensorsFile::open(path)->tensors().empty());
  put(path, file_of(" {}", 0));
  CHECK(error_code([&] { SafetensorsFile::open(path); }) == code::kWeightsInvalid);  // the format: begins with {
  put(path, file_of("{\"__metadata__\":{}}   ", 0));
  CHECK(SafetensorsFile::open(path)->metadata().empty());
  write_safetensors(path, {});
  CHECK(SafetensorsFile::open(path)->tensors().empty());
}

TEST_CASE("safetensors: damaged files are WEIGHTS_INVALID and name the file and the tensor") {
  const TemporaryFolder folder;
  const std::string path = folder.file("bad.safetensors");
  struct Case {
    const char* what;
    std::string bytes;
    const char* says;
  };
  const std::string good = R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  const auto one = [](const std::string& fields, size_t data) { return file_of("{\"w\":{" + fields + "}}", data); };
  std::string ones;
  for (int i = 0; i < 32; ++i) ones += ",1";
  const std::vector<Case> cases = {
      {"empty", "", "0 bytes"},
      {"no header", std::string(8, '\0'), "8 bytes"},
      {"zero header", std::string(16, '\0'), "not a JSON"},
      {"data cut off", file_of(good, 7), "'w'"},
      {"header cut off", file_of(good, 8).substr(0, 30), "header claims"},
      {"header length over 100 MB", std::string("\xff\xff\xff\xff\xff\xff\xff\x7f{}", 10), "100 MB"},
      {"header length of 2^64 - 1", std::string(8, '\xff') + "{}", "100 MB"},
      {"data too long", file_of(good, 9), "1 bytes at the end"},
      {"not JSON", file_of("{hello world!}", 0), "malformed"},
      {"an array", file_of("[]", 0), "not a JSON object"},
      {"text after", file_of("{} x", 0), "after the closing"},
      {"unfinished", file_of("{\"w\":{\"dtype\":\"F3", 0), "malformed"},
      {"trailing comma", file_of("{\"__metadata__\":{},}", 0), "malformed"},
      {"invalid UTF-8", file_of("{\"\xC0\xAF\":{}}", 0), "UTF-8"},
      {"half a surrogate pair", file_of(R"({"\ud800":{}})", 0), "surrogate"},
      {"metadata not text", file_of(R"({"__metadata__":{"a":1}})", 0), "malformed"},
      {"metadata twice", file_of(R"({"__metadata__":{},"__metadata__":{}})", 0), "second"},
      {"metadata key twice", file_of(R"({"__metadata__":{"a":"","a":""}})", 0), "duplicate"},
      {"nested deep", file_of("{\"w\":" + std::string(100000, '[') + "}", 0), "malformed"},
      {"unknown dtype", one(R"("dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8])", 8), "F8_E4M3"},
      {"wrong dtype", one(R"("dtype":"F64","shape":[2],"data_offsets":[0,8])", 8), "needs 16 bytes"},
      {"no dtype", one(R"("shape":[2],"data_offsets":[0,8])", 8), "no dtype"},
      {"field twice", one(R"("dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8])", 8), "two 'dtype'"},
      {"unknown field", one(R"("dtype":"F32","shape":[2],"data_offsets":[0,8],"x":"y")", 8), "unknown field 'x'"},
      {"wrong size", one(R"("dtype":"F32","shape":[3],"data_offsets":[0,8])", 8), "needs 12 bytes"},
      {"negative shape", one(R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])", 8), "not negative"},
      {"fractional shape", one(R"("dtype":"F32","shape":[2.0],"data_offsets":[0,8])", 8), "whole number"},
      {"leading zero", one(R"("dtype":"F32","shape":[02],"data_offsets":[0,8])", 8), "leading zero"},
      {"shape over 2^63", one(R"("dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,8])", 8), "'w'"},
      {"shape over 2^64", one(R"("dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,8])", 8), "too large"},
      {"shape product overflows to 8", one(R"("dtype":"F32","shape":[4611686018427387905,2],"data_offsets":[0,8])", 8),
       "impossible shape"},
      {"shape product overflows beside a 0",
       one(R"("dtype":"F32","shape":[0,4611686018427387904,4],"data_offsets":[0,0])", 0), "impossible shape"},
      {"too many dimensions", one("\"dtype\":\"U8\",\"shape\":[1" + ones + "],\"data_offsets\":[0,1]", 1),
       "dimensions"},
      {"end before begin", one(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])", 8), "lies at bytes 8 to 0"},
      {"beyond the data", one(R"("dtype":"F32","shape":[2],"data_offsets":[8,16])", 8), "lies at bytes 8 to 16"},
      {"huge offsets",
       one(R"("dtype":"F32","shape":[2],"data_offsets":[18446744073709551608,18446744073709551615])", 8), "'w'"},
      {"three offsets", one(R"("dtype":"F32","shape":[2],"data_offsets":[0,4,8])", 8), "3 data_offsets"},
      {"a hole", one(R"("dtype":"F32","shape":[1],"data_offsets":[4,8])", 8), "4 bytes before tensor 'w'"},
      {"overlap",
       file_of(
           R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
           12),
       "'b' overlaps tensor 'a'"},
      {"the same bytes twice",
       file_of(
           R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
           4),
       "overlaps"},
      {"duplicate key",
       file_of(
           R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
           4),
       "duplicate tensor 'a'"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.what);
    put(path, c.bytes);
    const Error error = error_of([&] { SafetensorsFile::open(path); });
    CAPTURE(error.what());
    CHECK(error.code() == code::kWeightsInvalid);
    CHECK(std::string(error.what()).find(path) != std::string::npos);
    CHECK(std::string(error.what()).find(c.says) != std::string::npos);
    CHECK(!error.hint().empty());
  }
}

TEST_CASE("safetensors: BOOL bytes other than 0 and 1 are refused") {
  const TemporaryFolder folder;
  const std::string path = folder.file("bool.safetensors");
  put(path, file_of(R"({"w":{"dtype":"BOOL","shape":[3],"data_offsets":[0,3]}})", 3));  // 0, 1, 2
  CHECK(error_code([&] { SafetensorsFile::open(path)->tensor("w"); }) == code::kWeightsInvalid);
}

TEST_CASE("safetensors: files of another kind get a hint, absent ones and folders are IO") {
  const TemporaryFolder folder;
  const std::string path = folder.file("f.safetensors");
  put(path, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n");
  CHECK(error_of([&] { SafetensorsFile::open(path); }).hint().find("git lfs pull") != std::string::npos);
  put(path, std::string("PK\x03\x04", 4) + std::string(100, '\x7f'));
  CHECK(error_of([&] { SafetensorsFile::open(path); }).hint().find("pickle") != std::string::npos);
  CHECK(error_code([&] { SafetensorsFile::open(folder.file("absent")); }) == code::kIo);
  CHECK(error_code([&] { SafetensorsFile::open(folder.path()); }) == code::kIo);
  REQUIRE(::mkfifo(folder.file("pipe").c_str(), 0600) == 0);
  CHECK(error_code([&] { SafetensorsFile::open(folder.file("pipe")); }) == code::kIo);
}

TEST_CASE("safetensors: control characters of a file do not reach messages") {
  const TemporaryFolder folder;
  const std::string path = folder.file("f.safetensors");
  put(path,
      file_of(R"({"\u001b[31m)" + std::string(5000, 'x') + R"(":{"dtype":"F8","shape":[1],"data_offsets":[0,1]}})", 1));
  const std::string message = error_of([&] { SafetensorsFile::open(path); }).what();
  CHECK(message.find('\x1b') == std::string::npos);
  CHECK(message.size() < 600);
}

TEST_CASE("safetensors: random damage ends in a result or an Error (deterministic fuzzing)") {
  const TemporaryFolder folder;
  const std::string path = folder.file("fuzz.safetensors");
  write_safetensors(path,
                    {{"conv.weight", at::arange(0, 24, at::kFloat).view({2, 3, 4})},
                     {"mask", at::ones({5}, at::kBool)},
                     {"ids", at::arange(0, 3, at::kLong)},
                     {"none", at::zeros({0}, at::kHalf)}},
                    {{"format", "pt"}});
  const std::string good = get(path);
  uint64_t length = 0;
  std::memcpy(&length, good.data(), 8);
  int opened = 0, refused = 0;
  const int rounds = test::nightly() ? 4000 : 1000;  // libFuzzer has the same reader in scripts/fuzz.mjs
  for (int round = 0; round < rounds; ++round) {
    std::string bytes = good;
    const Uint4 r = philox_block(7, round, Stream::kScan, 0);
    const size_t span = round % 4 == 0 ? bytes.size() : 8 + length;  // mostly the header
    for (uint32_t flip = 0; flip <= r.x % 3; ++flip) {
      const Uint4 f = philox_block(7, round, Stream::kScan, 1 + flip);
      char& byte = bytes[f.x % span];
      const char alphabet[] = "0123456789{}[]\",:\\-.eE \x00\xff";
      byte = f.y % 2 ? static_cast<char>(byte ^ (1 << f.z % 8)) : alphabet[f.z % (sizeof alphabet - 1)];
    }
    if (r.y % 8 == 0) bytes.resize(r.z % (bytes.size() + 1));
    put(path, bytes);
    try {
      const auto file = SafetensorsFile::open(path);
      for (const auto& entry : file->tensors()) {
        const at::Tensor tensor = file->tensor(entry.first);
        CHECK(tensor.nbytes() == entry.second.end - entry.second.begin);
        CHECK(tensor.equal(tensor.clone()) == !tensor.ne(tensor).any().item<bool>());
      }
      ++opened;
    } catch (const Error& error) {
      const bool known = error.code() == code::kWeightsInvalid;
      CHECK(known);
      ++refused;
    }
  }
  CHECK(opened > rounds / 40);
  CHECK(refused > rounds / 4);
}

TEST_CASE("write_safetensors: what cannot be written is refused before anything is") {
  const TemporaryFolder folder;
  const std::string path = folder.file("f.safetensors");
  const at::Tensor x = at::ones({2});
  CHECK(error_code([&] { write_safetensors(path, {{"a", x}, {"a", x}}); }) == code::kInvalidArgument);
  CHECK(error_code([&] { write_safetensors(path, {{"__metadata__", x}}); }) == code::kInvalidArgument);
  CHECK(error_code([&] { write_safetensors(path, {{"\xff", x}}); }) == code::kInvalidArgument);
  CHECK(error_code([&] { write_safetensors(path, {{"a", at::Tensor()}}); }) == code::kInvalidArgument);
  CHECK(error_code([&] { write_safetensors(path, {{"a", at::ones({1}, at::kShort)}}); }) == code::kInvalidArgument);
  CHECK(files_in(folder.path()) == 0);
  CHECK(error_code([&] { write_safetensors(folder.file("absent/f"), {{"a", x}}); }) == code::kIo);
}

TEST_CASE("write_safetensors: a failed write is IO, keeps the old file and leaves no other") {
  const TemporaryFolder folder;
  const std::string path = folder.file("f.safetensors");
  write_safetensors(path, {{"a", at::ones({4})}});
  // A limit on file sizes stands in for a full disk: write(2) then fails after a part.
  struct rlimit before {};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  struct rlimit small = before;
  small.rlim_cur = 4096;
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
  const Error error = error_of([&] { write_safetensors(path, {{"a", at::zeros({100000})}}); });
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &before) == 0);
  std::signal(SIGXFSZ, handler);
  CHECK(error.code() == code::kIo);
  CHECK(files_in(folder.path()) == 1);
  CHECK(SafetensorsFile::open(path)->tensor("a").equal(at::ones({4})));
}

TEST_CASE("WeightStore: several files, shapes, names never taken, older names") {
  const TemporaryFolder folder;
  write_safetensors(folder.file("1"), {{"a.weight", at::ones({2, 3})}, {"position_ids", at::zeros({4}, at::kLong)}});
  write_safetensors(folder.file("2"), {{"b.weight", at::zeros({5})}});
  WeightStore store(std::vector<std::string>{folder.file("1"), folder.file("2")});
  CHECK(store.bytes() == 24 + 32 + 20);
  CHECK(store.names() == std::vector<std::string>{"a.weight", "b.weight", "position_ids"});
  CHECK(store.take("a.weight", {2, 3}).equal(at::ones({2, 3})));
  const Error shape = error_of([&] { store.take("b.weight", {5, 1}); });
  CHECK(shape.code() == code::kModelInvalid);
  CHECK(std::string(shape.what()).find("'b.weight'") != std::string::npos);
  CHECK(std::string(shape.what()).find("[5, 1]") != std::string::npos);
  const Error missing = error_of([&] { store.take("c.weight"); });
  CHECK(missing.code() == code::kModelInvalid);
  CHECK(std::string(missing.what()).find("'c.weight'") != std::string::npos);
  store.expect_all_taken({"position_ids"});
  CHECK(std::string(error_of([&] { store.expect_all_taken({}); }).what()).find("'position_ids'") != std::string::npos);

  CHECK(error_code([&] { WeightStore store(std::vector<std::string>(2, folder.file("1"))); }) == code::kWeightsInvalid);

  WeightStore older(std::map<std::string, at::Tensor>{{"query.weight", at::ones({2})}, {"x", at::ones({1})}});
  older.rename([](const std::string& name) { return name == "query.weight" ? "to_q.weight" : name; });
  CHECK(older.has("to_q.weight"));
  CHECK(!older.has("query.weight"));
  CHECK(older.take("to_q.weight", {2}).equal(at::ones({2})));
  CHECK(error_code([&] { older.rename([](const std::string&) { return "same"; }); }) == code::kModelInvalid);
}

TEST_CASE("json: numbers and strings") {
  const auto text = [](const char* json) { return JsonReader(json).string(); };
  CHECK(text(R"("\u00e9\ud83d\ude97\/\n")") == "\xC3\xA9\xF0\x9F\x9A\x97/\n");
  CHECK(JsonReader("18446744073709551615").whole_number() == UINT64_MAX);
  for (const char* bad : {"18446744073709551616", "-1", "+1", "1.5", "1e3", "00", "", "x"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(JsonReader(bad).whole_number(), JsonError);
  }
  for (const char* bad : {"\"", "\"\\", "\"\\x\"", "\"\\u12\"", "\"\\udc00\"", "\"\n\"", "\"\xED\xA0\x80\"",
                          "\"\xF5\x80\x80\x80\"", "\"\xE2\x82\"", "'a'"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(text(bad), JsonError);
  }
}
