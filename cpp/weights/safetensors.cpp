// The mapped reader and the atomic writer of safetensors.h.
//
// The size is taken by fstat when the file is opened, and everything is checked against it. A file that another
// process truncates while it is mapped ends this process with SIGBUS, as with every mapped file: files in use
// are replaced (renamed over, as write_safetensors does), not rewritten in place.
#include "weights/safetensors.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstring>

#include "core/error.h"
#include "weights/json.h"
#include "weights/names.h"

namespace diffmine {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors are little-endian");

constexpr uint64_t kMaxHeader = 100'000'000;
constexpr size_t kMaxDimensions = 32;

struct DtypeName {
  const char* name;
  at::ScalarType type;
};
constexpr DtypeName kDtypes[] = {{"F64", at::kDouble}, {"F32", at::kFloat}, {"F16", at::kHalf}, {"BF16", at::kBFloat16},
                                 {"I64", at::kLong},   {"I32", at::kInt},   {"U8", at::kByte},  {"BOOL", at::kBool}};

[[noreturn]] void damaged(const std::string& path, const std::string& what, const std::string& hint = {}) {
  throw Error(code::kWeightsInvalid, path + ": " + what + ".",
              hint.empty() ? "The file is damaged: copy or download it again." : hint);
}

[[noreturn]] void io_error(const std::string& what, const std::string& path, int number) {
  const bool full = number == ENOSPC || number == EDQUOT;
  throw Error(
      code::kIo, what + " " + path + ": " + std::strerror(number) + ".",
      full ? "Free some space and run the same command again." : "Check that the path exists and that you may use it.");
}

// What else people name .safetensors.
std::string hint_for(std::string_view head) {
  if (head.substr(0, 8) == "version ") return "This is a Git LFS pointer: run `git lfs pull` to get the file itself.";
  if (head.substr(0, 2) == "PK" || head.substr(0, 1) == "\x80") {
    return "This looks like a PyTorch pickle, which is never read: convert it with save_pretrained(..., "
           "safe_serialization=True).";
  }
  if (head.substr(0, 1) == "<") return "This looks like a web page: the download went wrong.";
  return "The file is not a safetensors file, or is damaged: copy or download it again.";
}

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

TensorInfo read_info(JsonReader& json, const std::string& path, const std::string& name) {
  TensorInfo info{at::kFloat, {}, 0, 0};
  std::set<std::string> seen;
  json.object([&](const std::string& key) {
    if (!seen.insert(key).second) damaged(path, "tensor " + quoted_name(name) + " has two " + quoted_name(key));
    if (key == "dtype") {
      const std::string dtype = json.string();
      const auto* found =
          std::find_if(std::begin(kDtypes), std::end(kDtypes), [&](const DtypeName& d) { return dtype == d.name; });
      if (found == std::end(kDtypes)) {
        damaged(path, "tensor " + quoted_name(name) + " has the dtype " + quoted_name(dtype),
                "Supported dtypes are F64, F32, F16, BF16, I64, I32, U8 and BOOL: convert the tensor to one of them.");
      }
      info.dtype = found->type;
    } else if (key == "shape") {
      json.array([&] {
        const uint64_t size = json.whole_number();
        if (size > INT64_MAX)
          damaged(path, "tensor " + quoted_name(name) + " has a dimension of " + std::to_string(size));
        if (info.shape.size() >= kMaxDimensions) {
          damaged(path,
                  "tensor " + quoted_name(name) + " has more than " + std::to_string(kMaxDimensions) + " dimensions");
        }
        info.shape.push_back(static_cast<int64_t>(size));
      });
    } else if (key == "data_offsets") {
      int count = 0;
      json.array([&] {
        const uint64_t offset = json.whole_number();
        if (count < 2) (count == 0 ? info.begin : info.end) = offset;
        ++count;
      });
      if (count != 2)
        damaged(path, "tensor " + quoted_name(name) + " has " + std::to_string(count) + " data_offsets, not 2");
    } else {
      damaged(path, "tensor " + quoted_name(name) + " has the unknown field " + quoted_name(key));
    }
  });
  for (const char* key : {"dtype", "shape", "data_offsets"}) {
    if (!seen.count(key)) damaged(path, "tensor " + quoted_name(name) + " has no " + key);
  }
  return info;
}

// Bytes the tensor must have. The product counts 0 as 1 as well, so that strides cannot overflow either.
void check_size(const std::string& path, const std::string& name, const TensorInfo& info, uint64_t data_size) {
  if (info.begin > info.end || info.end > data_size) {
    damaged(path, "tensor " + quoted_name(name) + " lies at bytes " + std::to_string(info.begin) + " to " +
                      std::to_string(info.end) + " of " + std::to_string(data_size));
  }
  int64_t bytes = static_cast<int64_t>(c10::elementSize(info.dtype));
  bool empty = false;
  for (const int64_t size : info.shape) {
    empty = empty || size == 0;
    if (__builtin_mul_overflow(bytes, std::max<int64_t>(size, 1), &bytes)) {
      damaged(path, "tensor " + quoted_name(name) + " has the impossible shape " + shape_text(info.shape));
    }
  }
  const uint64_t wanted = empty ? 0 : static_cast<uint64_t>(bytes);
  if (wanted != info.end - info.begin) {
    damaged(path, "tensor " + quoted_name(name) + " of shape " + shape_text(info.shape) + " needs " +
                      std::to_string(wanted) + " bytes and has " + std::to_string(info.end - info.begin));
  }
}

// The format wants the tensors to cover the data exactly: no byte twice, none left out.
void check_coverage(const std::string& path, const std::map<std::string, TensorInfo>& tensors, uint64_t data_size) {
  std::vector<std::pair<const std::string*, const TensorInfo*>> order;
  for (const auto& [name, info] : tensors) order.emplace_back(&name, &info);
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return std::pair(a.second->begin, a.second->end) < std::pair(b.second->begin, b.second->end);
  });
  uint64_t covered = 0;
  const std::string* before = nullptr;
  for (const auto& [name, info] : order) {
    if (info->begin < covered)
      damaged(path, "tensor " + quoted_name(*name) + " overlaps tensor " + quoted_name(*before));
    if (info->begin > covered) {
      damaged(path, std::to_string(info->begin - covered) + " bytes before tensor " + quoted_name(*name) +
                        " belong to no tensor");
    }
    covered = info->end;
    before = name;
  }
  if (covered != data_size)
    damaged(path, std::to_string(data_size - covered) + " bytes at the end belong to no tensor");
}

}  // namespace

std::shared_ptr<SafetensorsFile> SafetensorsFile::open(const std::string& path) {
  // O_NONBLOCK: a named pipe must not hold us up
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  struct stat status {};
  if (file.fd < 0 || ::fstat(file.fd, &status) != 0) io_error("Cannot open", path, errno);
  if (S_ISDIR(status.st_mode)) io_error("Cannot read", path, EISDIR);
  if (!S_ISREG(status.st_mode))
    throw Error(code::kIo, path + " is not a regular file.", "Weights can only be read from regular files.");
  const uint64_t size = static_cast<uint64_t>(status.st_size);
  if (size == 0) damaged(path, "the file has only 0 bytes");  // mmap refuses an empty range
  void* bytes = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.fd, 0);
  if (bytes == MAP_FAILED) io_error("Cannot map", path, errno);
  return parse(path, std::shared_ptr<void>(bytes, [size](void* p) { ::munmap(p, size); }), size);
}

std::shared_ptr<SafetensorsFile> SafetensorsFile::parse(const std::string& path, std::shared_ptr<void> memory,
                                                        uint64_t size) {
  if (size < 10) damaged(path, "the file has only " + std::to_string(size) + " bytes");
  std::shared_ptr<SafetensorsFile> out(new SafetensorsFile);
  out->path_ = path;
  out->memory_ = std::move(memory);

  const char* text = static_cast<const char*>(out->memory_.get());
  const std::string_view head(text, std::min<uint64_t>(size, 16));
  uint64_t header = 0;
  std::memcpy(&header, text, 8);
  if (header > kMaxHeader)
    damaged(path, "the header claims " + std::to_string(header) + " bytes, over 100 MB", hint_for(head));
  if (header > size - 8) {
    damaged(path, "the header claims " + std::to_string(header) + " bytes, the file has " + std::to_string(size),
            hint_for(head));
  }
  if (header == 0 || text[8] != '{') damaged(path, "the header is not a JSON object", hint_for(head));
  const uint64_t data_size = size - 8 - header;
  out->data_ = reinterpret_cast<const unsigned char*>(text) + 8 + header;

  try {
    JsonReader json(std::string_view(text + 8, header));
    bool has_metadata = false;
    json.object([&](const std::string& name) {
      if (name == "__metadata__") {
        if (has_metadata) json.fail("a second __metadata__");
        has_metadata = true;
        json.object([&](const std::string& key) {
          if (!out->metadata_.emplace(key, json.string()).second) json.fail("duplicate key " + quoted_name(key));
        });
        return;
      }
      TensorInfo info = read_info(json, path, name);
      check_size(path, name, info, data_size);
      if (!out->tensors_.emplace(name, std::move(info)).second) json.fail("duplicate tensor " + quoted_name(name));
    });
    json.end();
  } catch (const JsonError& error) {
    damaged(path, std::string("the header is malformed: ") + error.what());
  }
  check_coverage(path, out->tensors_, data_size);
  return out;
}

SafetensorsFile::~SafetensorsFile() = default;

at::Tensor SafetensorsFile::tensor(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) throw Error(code::kInvalidArgument, path_ + " has no tensor " + quoted_name(name) + ".");
  const TensorInfo& info = found->second;
  const unsigned char* bytes = data_ + info.begin;
  const uint64_t size = info.end - info.begin;
  if (info.dtype == at::kBool && std::any_of(bytes, bytes + size, [](unsigned char b) { return b > 1; })) {
    damaged(path_, "tensor " + quoted_name(name) + " is BOOL and has bytes other than 0 and 1");
  }
  if (size == 0 || reinterpret_cast<uintptr_t>(bytes) % c10::elementSize(info.dtype) != 0) {
    at::Tensor copy = at::empty(info.shape, at::TensorOptions().dtype(info.dtype));
    if (size) std::memcpy(copy.mutable_data_ptr(), bytes, size);
    return copy;
  }
  return at::from_blob(
      const_cast<unsigned char*>(bytes), info.shape, [keep = memory_](void*) {}, at::TensorOptions().dtype(info.dtype));
}

// --- writing ---

namespace {

void check_utf8(const std::string& text, const char* what) {
  for (size_t at = 0, n = 0; at < text.size(); at += n) {
    n = utf8_length(text, at);
    if (n == 0)
      throw Error(code::kInvalidArgument, std::string(what) + " " + quoted_name(text) + " is not valid UTF-8.");
  }
}

std::string header_of(const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                      const std::map<std::string, std::string>& metadata) {
  std::string header = "{";
  if (!metadata.empty()) {
    header += "\"__metadata__\":{";
    bool first = true;
    for (const auto& [key, value] : metadata) {
      check_utf8(key, "Metadata key");
      check_utf8(value, "Metadata value");
      header.append(first ? "" : ",").append(json_string(key)).append(":").append(json_string(value));
      first = false;
    }
    header += "}";
  }
  std::set<std::string> names;
  uint64_t offset = 0;
  for (const auto& entry : tensors) {
    const std::string& name = entry.first;
    const at::Tensor& tensor = entry.second;
    check_utf8(name, "Tensor name");
    if (name == "__metadata__" || !names.insert(name).second) {
      throw Error(code::kInvalidArgument,
                  "The tensor name " + quoted_name(name) + " is " + (names.count(name) ? "used twice." : "reserved."));
    }
    const auto* dtype = tensor.defined()
                            ? std::find_if(std::begin(kDtypes), std::end(kDtypes),
                                           [&](const DtypeName& d) { return tensor.scalar_type() == d.type; })
                            : std::end(kDtypes);
    if (dtype == std::end(kDtypes)) {
      throw Error(code::kInvalidArgument,
                  "Tensor " + quoted_name(name) + " cannot be written: " +
                      (tensor.defined() ? std::string("dtype ") + c10::toString(tensor.scalar_type()) : "undefined") +
                      ".");
    }
    std::string shape;
    for (const int64_t size : tensor.sizes()) shape.append(shape.empty() ? "" : ",").append(std::to_string(size));
    const uint64_t end = offset + tensor.nbytes();
    header.append(header.size() > 1 ? "," : "").append(json_string(name)).append(":{\"dtype\":\"").append(dtype->name);
    header.append("\",\"shape\":[").append(shape).append("],\"data_offsets\":[").append(std::to_string(offset));
    header.append(",").append(std::to_string(end)).append("]}");
    offset = end;
  }
  header += "}";
  header.resize((header.size() + 7) / 8 * 8, ' ');  // the data begins aligned
  if (header.size() > kMaxHeader)
    throw Error(code::kInvalidArgument, "The safetensors header would be over 100 MB.", "Write several files.");
  return header;
}

// Removes the temporary file unless it was renamed.
struct TemporaryFile {
  std::string path;
  int fd = -1;
  bool kept = false;
  ~TemporaryFile() {
    if (fd >= 0) ::close(fd);
    if (fd != -1 && !kept) ::unlink(path.c_str());
  }
  void write(const void* data, uint64_t size, const std::string& target) const {
    const char* from = static_cast<const char*>(data);
    while (size > 0) {
      const ssize_t n = ::write(fd, from, std::min<uint64_t>(size, 1u << 30));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) io_error("Cannot write", target, errno);
      from += n;
      size -= static_cast<uint64_t>(n);
    }
  }
};

}  // namespace

void write_safetensors(const std::string& path, const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  static std::atomic<uint64_t> counter{0};
  const std::string header = header_of(tensors, metadata);
  TemporaryFile file{path + ".tmp-" + std::to_string(::getpid()) + "-" + std::to_string(counter++)};
  file.fd = ::open(file.path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (file.fd < 0) io_error("Cannot write", path, errno);
  const uint64_t length = header.size();
  file.write(&length, 8, path);
  file.write(header.data(), length, path);
  for (const auto& entry : tensors) {
    const at::Tensor bytes = entry.second.detach().cpu().contiguous();  // one at a time
    file.write(bytes.const_data_ptr(), bytes.nbytes(), path);
  }
  if (::fsync(file.fd) != 0) io_error("Cannot write", path, errno);
  if (::rename(file.path.c_str(), path.c_str()) != 0) io_error("Cannot write", path, errno);
  file.kept = true;

  // The rename itself must reach the disk; file systems that cannot sync a folder are left at that.
  const size_t slash = path.find_last_of('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const Descriptor directory{::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (directory.fd >= 0) ::fsync(directory.fd);
}

}  // namespace diffmine
