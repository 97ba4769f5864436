// Any bytes are a safetensors file or WEIGHTS_INVALID, and every byte that a tensor shows lies in the file.
#include "weights/safetensors.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/error.h"
#include "fuzz.h"

using namespace diffmine;

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // An allocation of exactly this size: AddressSanitizer sees the first byte beyond it. In a mapped file it would be a
  // valid address.
  const std::shared_ptr<void> memory(std::malloc(size), std::free);
  if (size) std::memcpy(memory.get(), data, size);
  try {
    const auto file = SafetensorsFile::parse("x", memory, size);
    uint64_t covered = 0;
    for (const auto& [name, info] : file->tensors()) {
      FUZZ_CHECK(fuzz::is_utf8(name));
      const at::Tensor tensor = file->tensor(name);
      FUZZ_CHECK(tensor.nbytes() == info.end - info.begin && tensor.is_contiguous());
      const auto* bytes = static_cast<const unsigned char*>(tensor.const_data_ptr());
      volatile unsigned sum = 0;
      for (size_t i = 0; i < tensor.nbytes(); ++i) sum = sum + bytes[i];
      covered += tensor.nbytes();
    }
    uint64_t header = 0;
    std::memcpy(&header, data, 8);
    FUZZ_CHECK(covered == size - 8 - header);
    for (const auto& [key, value] : file->metadata()) FUZZ_CHECK(fuzz::is_utf8(key) && fuzz::is_utf8(value));
  } catch (const Error& error) {
    FUZZ_CHECK(error.code() == code::kWeightsInvalid && !error.hint().empty());
    fuzz::check_message(error.what());
  }
  return 0;
}

// Mostly the header alone is changed and its length is corrected, or hardly any input would get beyond the first check.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  uint64_t header = 0;
  if (size >= 10) std::memcpy(&header, data, 8);
  if (seed % 8 == 0 || header == 0 || header > size - 8) return LLVMFuzzerMutate(data, size, max_size);
  const std::vector<uint8_t> rest(data + 8 + header, data + size);
  const uint64_t changed = LLVMFuzzerMutate(data + 8, header, max_size - 8);
  const size_t kept = std::min<size_t>(rest.size(), max_size - 8 - changed);
  std::memcpy(data, &changed, 8);
  std::copy_n(rest.begin(), kept, data + 8 + changed);
  return 8 + changed + kept;
}
