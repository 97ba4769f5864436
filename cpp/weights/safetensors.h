// safetensors files: read (memory-mapped, zero copy, every byte range checked) and written. Never pickle.
// Format: 8 bytes little-endian header length, a JSON header, the tensors' bytes.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
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

// The tensors of one model part, possibly over several files (shards). Tracks what was taken, so that
// a loader can name what it did not know.
class WeightStore {
 public:
  explicit WeightStore(const std::vector<std::string>& files);  // a name in two files: WEIGHTS_INVALID
  explicit WeightStore(std::map<std::string, at::Tensor> tensors);
  // Tensors made as they are asked for (weights/random.h): has every name, and names() none.
  using Maker = std::function<at::Tensor(const std::string& name, at::IntArrayRef shape)>;
  explicit WeightStore(Maker make) : make_(std::move(make)) {}

  bool has(const std::string& name) const;
  // The tensor, its shape checked. Throws MODEL_INVALID naming tensor, wanted and found shape.
  at::Tensor take(const std::string& name, at::IntArrayRef shape);
  // As take, any shape (the loader checks it).
  at::Tensor take(const std::string& name);
  // Rename tensors before loading (older key names): f(old) -> new.
  void rename(const std::function<std::string(const std::string&)>& f);
  // What take returns goes through f(name, tensor), of the same shape.
  using Adapter = std::function<at::Tensor(const std::string& name, const at::Tensor& tensor)>;
  void adapt(Adapter f) { adapt_ = std::move(f); }
  // Throws MODEL_INVALID naming up to five tensors never taken; `ignored` are suffixes to overlook (".position_ids").
  void expect_all_taken(const std::vector<std::string>& ignored) const;
  uint64_t bytes() const;  // stored size of all tensors
  std::vector<std::string> names() const;

 private:
  at::Tensor stored(const std::string& name);
  std::vector<std::shared_ptr<SafetensorsFile>> files_;
  std::map<std::string, std::pair<int, std::string>> where_;  // name -> (file, name in it); file -1: memory_
  std::map<std::string, at::Tensor> memory_;
  Maker make_;
  Adapter adapt_;
  std::set<std::string> taken_;
};

// Writes to a temporary name beside `path`, flushes, renames. Throws IO (disk full) and leaves nothing behind.
void write_safetensors(const std::string& path, const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace diffmine
