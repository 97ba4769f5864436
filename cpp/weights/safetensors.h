// safetensors files: read (memory-mapped, zero copy, every byte range checked) and written. Never pickle.
// Format: 8 bytes little-endian header length, a JSON header, the tensors' bytes.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace diffmine {

struct TensorInfo {
  at::ScalarType dtype;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;  // bytes after the header
};

// One mapped file. Throws WEIGHTS_INVALID for anything malformed (truncated, overlapping or unaligned
// offsets, sizes that do not match shape x dtype, unknown dtype, header over 100 MB), IO if unreadable.
class SafetensorsFile {
 public:
  static std::shared_ptr<SafetensorsFile> open(const std::string& path);
  // The same of a file's bytes in memory, which must not change; `path` names them in messages.
  static std::shared_ptr<SafetensorsFile> parse(const std::string& path, std::shared_ptr<void> memory, uint64_t size);
  ~SafetensorsFile();

  const std::string& path() const { return path_; }
  const std::map<std::string, TensorInfo>& tensors() const { return tensors_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  bool has(const std::string& name) const { return tensors_.count(name) != 0; }

  // A view of the file's bytes (read-only by contract; keeps them alive). Tensors whose offset is not
  // aligned to their dtype are copied.
  at::Tensor tensor(const std::string& name) const;

 private:
  SafetensorsFile() = default;
  std::string path_;
  std::map<std::string, TensorInfo> tensors_;
  std::map<std::string, std::string> metadata_;
  std::shared_ptr<void> memory_;
  const unsigned char* data_ = nullptr;  // first byte after the header
};

// Writes to a temporary name beside `path`, flushes, renames. Throws IO (disk full) and leaves nothing behind.
void write_safetensors(const std::string& path, const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace diffmine
