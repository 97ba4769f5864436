#include "convert.h"

#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>
#include <iterator>
#include <new>

namespace diffmine::binding {
namespace {

struct DType {
  const char* name;
  at::ScalarType type;
};
constexpr DType kDTypes[] = {{"F64", at::kDouble}, {"F32", at::kFloat}, {"F16", at::kHalf}, {"BF16", at::kBFloat16},
                             {"I64", at::kLong},   {"I32", at::kInt},   {"U8", at::kByte},  {"BOOL", at::kBool}};

// A short text of a value for a message.
std::string describe(const Napi::Value& value) {
  switch (value.Type()) {
    case napi_undefined: return "undefined";
    case napi_null: return "null";
    case napi_string: {
      const std::string text = value.As<Napi::String>();
      return "'" + (text.size() > 60 ? text.substr(0, 57) + "..." : text) + "'";
    }
    case napi_number:
    case napi_boolean: return value.ToString();
    case napi_bigint: return value.ToString().Utf8Value() + "n";
    case napi_symbol: return "a symbol";
    case napi_function: return "a function";
    case napi_external: return "a native handle";
    default: break;
  }
  if (value.IsArray()) return "an array of " + std::to_string(value.As<Napi::Array>().Length());
  if (value.IsTypedArray())
    return "a typed array of " + std::to_string(value.As<Napi::TypedArray>().ByteLength()) + " bytes";
  return "an object";
}

std::string to_text(at::IntArrayRef shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

struct Bytes {
  const uint8_t* data;
  size_t length;
};

Bytes bytes_of(const Arg& arg) {
  if (!arg.value().IsTypedArray() || arg.value().As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array)
    arg.fail("a Uint8Array");
  const auto array = arg.value().As<Napi::Uint8Array>();
  return {array.Data(), array.ByteLength()};
}

}  // namespace

const char* dtype_name(at::ScalarType dtype) {
  for (const DType& d : kDTypes) {
    if (d.type == dtype) return d.name;
  }
  throw Error(code::kInternal, std::string("No name for tensors of ") + c10::toString(dtype) + ".");
}

void Arg::fail(const std::string& expected) const {
  throw Error(code::kInvalidArgument, "Expected " + expected + " for " + name_ + ", got " + describe(value_) + ".");
}

Arg Arg::operator[](const char* field) const {
  if (!value_.IsObject()) fail("an object");
  return {value_.As<Napi::Object>().Get(field), name_ + "." + field};
}

std::vector<Arg> Arg::items() const {
  if (!value_.IsArray()) fail("an array");
  const auto array = value_.As<Napi::Array>();
  const uint32_t length = array.Length();
  std::vector<Arg> items;
  items.reserve(length);
  for (uint32_t i = 0; i < length; ++i) items.emplace_back(array.Get(i), name_ + "[" + std::to_string(i) + "]");
  return items;
}

int64_t Arg::integer(int64_t min, int64_t max) const {
  const double number = value_.IsNumber() ? value_.As<Napi::Number>().DoubleValue() : std::nan("");
  if (!(number >= static_cast<double>(min) && number <= static_cast<double>(max)) || number != std::floor(number)) {
    if (min == -kMaxSafeInteger) fail("an integer");
    if (max == kMaxSafeInteger) fail("an integer of at least " + std::to_string(min));
    fail("an integer from " + std::to_string(min) + " to " + std::to_string(max));
  }
  return static_cast<int64_t>(number);
}

uint64_t Arg::uint64() const {
  if (value_.IsBigInt()) {
    bool lossless = false;
    const uint64_t number = value_.As<Napi::BigInt>().Uint64Value(&lossless);
    if (lossless) return number;
  } else if (value_.IsNumber()) {
    const double number = value_.As<Napi::Number>();
    if (number >= 0 && number <= static_cast<double>(kMaxSafeInteger) && number == std::floor(number))
      return static_cast<uint64_t>(number);
  }
  fail("a safe integer or a bigint from 0 to 2^64 - 1");
}

double Arg::number() const {
  const double number = value_.IsNumber() ? value_.As<Napi::Number>().DoubleValue() : std::nan("");
  if (!std::isfinite(number)) fail("a finite number");
  return number;
}

bool Arg::boolean(bool absent) const {
  if (!present()) return absent;
  if (!value_.IsBoolean()) fail("true or false");
  return value_.As<Napi::Boolean>();
}

std::string Arg::string() const {
  if (!value_.IsString()) fail("a string");
  return value_.As<Napi::String>();
}

Napi::Function Arg::function() const {
  if (!value_.IsFunction()) fail("a function");
  return value_.As<Napi::Function>();
}

std::vector<int64_t> Arg::integers(int64_t min, int64_t max) const {
  std::vector<int64_t> numbers;
  for (const Arg& item : items()) numbers.push_back(item.integer(min, max));
  return numbers;
}

std::vector<double> Arg::numbers() const {
  std::vector<double> numbers;
  for (const Arg& item : items()) numbers.push_back(item.number());
  return numbers;
}

std::vector<std::string> Arg::strings() const {
  std::vector<std::string> texts;
  for (const Arg& item : items()) texts.push_back(item.string());
  return texts;
}

at::Tensor Arg::tensor() const {
  const std::string name = (*this)["dtype"].string();
  const DType* dtype = nullptr;
  for (const DType& d : kDTypes) {
    if (name == d.name) dtype = &d;
  }
  if (!dtype) (*this)["dtype"].fail("'F64', 'F32', 'F16', 'BF16', 'I64', 'I32', 'U8' or 'BOOL'");

  const std::vector<int64_t> shape = (*this)["shape"].integers(0);
  double elements = 1;  // a double, so that a huge shape cannot wrap around
  for (const int64_t side : shape) elements *= static_cast<double>(side);
  const double expected = elements * static_cast<double>(c10::elementSize(dtype->type));
  const Bytes bytes = bytes_of((*this)["data"]);
  if (expected != static_cast<double>(bytes.length)) {
    throw Error(code::kInvalidArgument, "Expected as many bytes as " + name + " " + to_text(shape) + " takes for " +
                                            name_ + ".data, got " + std::to_string(bytes.length) + ".");
  }
  at::Tensor copy = at::empty(shape, at::TensorOptions().dtype(dtype->type));
  if (bytes.length) std::memcpy(copy.mutable_data_ptr(), bytes.data, bytes.length);
  return copy;
}

at::Tensor Arg::tensor(at::ScalarType dtype, int rank) const {
  const at::Tensor result = tensor();
  if (result.scalar_type() != dtype || (rank != kAnyRank && result.dim() != rank)) {
    throw Error(code::kInvalidArgument, std::string("Expected a tensor of ") + dtype_name(dtype) +
                                            (rank == kAnyRank ? "" : " with " + std::to_string(rank) + " dimensions") +
                                            " for " + name_ + ", got " + dtype_name(result.scalar_type()) + " " +
                                            to_text(result.sizes()) + ".");
  }
  return result;
}

at::Tensor Arg::images() const {
  struct Image {
    Arg item, pixels;
    int64_t height, width;
  };
  std::vector<Image> images;  // all that getters may answer comes before the first byte is looked at
  for (const Arg& item : items())
    images.push_back({item, item["pixels"], item["height"].integer(1, INT32_MAX), item["width"].integer(1, INT32_MAX)});
  if (images.empty()) fail("at least one image");
  const Image& first = images.front();
  at::Tensor all;
  for (size_t i = 0; i < images.size(); ++i) {
    const auto& [item, pixels, height, width] = images[i];
    const Bytes bytes = bytes_of(pixels);
    if (bytes.length != static_cast<uint64_t>(height) * static_cast<uint64_t>(width) * 3) {
      throw Error(code::kInvalidArgument, "Expected height x width x 3 bytes (" + std::to_string(height) + " x " +
                                              std::to_string(width) + " x 3) for " + pixels.name() + ", got " +
                                              std::to_string(bytes.length) + ".");
    }
    if (height != first.height || width != first.width) {
      throw Error(code::kInvalidArgument, "Expected images of the same size, but " + item.name() + " is " +
                                              std::to_string(height) + " x " + std::to_string(width) + " and " + name_ +
                                              "[0] is " + std::to_string(first.height) + " x " +
                                              std::to_string(first.width) + ".");
    }
    if (!all.defined())
      all = at::empty({static_cast<int64_t>(images.size()), height, width, 3}, at::TensorOptions().dtype(at::kByte));
    std::memcpy(all.mutable_data_ptr<uint8_t>() + i * bytes.length, bytes.data, bytes.length);
  }
  return all;
}

at::Tensor own(at::Tensor tensor) {
  tensor = tensor.to(at::kCPU).contiguous();
  const bool whole = tensor.storage_offset() == 0 && tensor.storage().nbytes() == tensor.nbytes();
  const bool alone = tensor.use_count() == 1 && tensor.storage().use_count() == 1;
  return whole && alone ? tensor : tensor.clone(at::MemoryFormat::Contiguous);
}

Napi::Object to_js(Napi::Env env, const at::Tensor& owned) {
  const size_t bytes = owned.nbytes();
  napi_value buffer = nullptr;
  bool external = false;
  if (bytes) {
    auto* hold = new at::Tensor(owned);
    const auto release = [](napi_env, void*, void* hint) { delete static_cast<at::Tensor*>(hint); };
    external =
        napi_create_external_arraybuffer(env, owned.mutable_data_ptr(), bytes, release, hold, &buffer) == napi_ok;
    if (!external) delete hold;
  }
  if (!external) {  // empty, or a runtime that forbids external memory (Electron)
    Napi::ArrayBuffer copy = Napi::ArrayBuffer::New(env, bytes);
    if (bytes) std::memcpy(copy.Data(), owned.const_data_ptr(), bytes);
    buffer = copy;
  }
  Napi::Object object = Napi::Object::New(env);
  object["dtype"] = Napi::String::New(env, dtype_name(owned.scalar_type()));
  object["shape"] = to_js(env, owned.sizes().vec());
  object["data"] = Napi::Uint8Array::New(env, bytes, Napi::ArrayBuffer(env, buffer), 0);
  return object;
}

Napi::Array to_js(Napi::Env env, const std::vector<double>& numbers) {
  Napi::Array array = Napi::Array::New(env, numbers.size());
  for (size_t i = 0; i < numbers.size(); ++i) array.Set(static_cast<uint32_t>(i), Napi::Number::New(env, numbers[i]));
  return array;
}

Napi::Array to_js(Napi::Env env, const std::vector<int64_t>& numbers) {
  Napi::Array array = Napi::Array::New(env, numbers.size());
  for (size_t i = 0; i < numbers.size(); ++i)
    array.Set(static_cast<uint32_t>(i), Napi::Number::New(env, static_cast<double>(numbers[i])));
  return array;
}

namespace {

// cudaError_t of kernels that failed while they ran; by number, as this file is compiled without CUDA: launch timeout,
// ECC, illegal address, assert, hardware stack, illegal instruction, misaligned address, address space, program
// counter, launch failure, and whatever is unknown.
bool breaks_context(int32_t cuda_error) {
  static constexpr int32_t kErrors[] = {214, 220, 700, 702, 710, 714, 715, 716, 717, 718, 719, 721, 999};
  return std::find(std::begin(kErrors), std::end(kErrors), cuda_error) != std::end(kErrors);
}

}  // namespace

Failure current_failure() noexcept {
  static constexpr const char* kMemoryHint = "Use a smaller batch, smaller images, or a device with more memory.";
  static constexpr const char* kBugHint = "This is a bug in diffmine: please report it with the command that led here.";
  static constexpr const char* kLostDeviceHint =
      "Restart the process: every further call on this GPU would fail. With CUDA_LAUNCH_BLOCKING=1 the error "
      "comes where the kernel failed.";
  try {
    throw;
  } catch (const Error& e) {
    return {e.code(), e.what(), e.hint()};
  } catch (const c10::OutOfMemoryError&) {
    return {code::kOutOfMemory, "The device has too little free memory.", kMemoryHint};
  } catch (const c10::Error& e) {
    const std::string text = e.what_without_backtrace();
    // Neither the CPU's allocator nor CUDA's libraries throw a type of their own.
    if (text.find("DefaultCPUAllocator") != std::string::npos)
      return {code::kOutOfMemory, "The machine has too little free memory.", kMemoryHint};
    if (text.find("CUDA error: out of memory") != std::string::npos ||
        text.find("_STATUS_ALLOC_FAILED") != std::string::npos ||
        text.find("_ALLOCATION_FAILED") != std::string::npos) {
      return {code::kOutOfMemory, "The device has too little free memory.", kMemoryHint};
    }
    // LibTorch drops each of cuDNN's algorithms that runs out of memory, and says only that it has none left.
    if (text.find("unable to find an engine to execute this computation") != std::string::npos) {
      return {code::kOutOfMemory,
              "cuDNN has no algorithm for a convolution, or none that the free memory suffices for.", kMemoryHint};
    }
    const std::string first = text.substr(0, text.find('\n'));
    // Kernels run after the call that launched them: an error that breaks the device's context is told to whichever
    // call comes next.
    if (const auto* device = dynamic_cast<const c10::AcceleratorError*>(&e);
        device && breaks_context(device->get_error_code())) {
      return {code::kInternal, "A CUDA kernel failed earlier: " + first + ".", kLostDeviceHint};
    }
    return {code::kInternal, first, kBugHint};
  } catch (const std::bad_alloc&) {
    return {code::kOutOfMemory, "The machine has too little free memory.", kMemoryHint};
  } catch (const std::exception& e) {
    const std::string text = e.what();
    // oneDNN says no more than this where it gets no memory for the code of a primitive or for its scratchpad. What it
    // does not support fails earlier, at the "primitive descriptor".
    if (text == "could not create a primitive" || text == "could not execute a primitive")
      return {code::kOutOfMemory, "The machine has too little free memory.", kMemoryHint};
    return {code::kInternal, text.substr(0, text.find('\n')), kBugHint};
  } catch (...) {
    return {code::kInternal, "An exception of an unknown type was thrown.", kBugHint};
  }
}

Napi::Error to_js_error(Napi::Env env, const Failure& failure) {
  Napi::Error error = Napi::Error::New(env, failure.message);
  error.Value()["code"] = Napi::String::New(env, failure.code);
  error.Value()["hint"] = Napi::String::New(env, failure.hint);
  return error;
}

}  // namespace diffmine::binding
