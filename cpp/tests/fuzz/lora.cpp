// Any metadata of a LoRA file gives a finite scale, or an error that says what is wrong with it.
#include "weights/lora.h"

#include <cmath>
#include <cstring>
#include <memory>

#include "core/error.h"
#include "fuzz.h"

using namespace diffmine;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // An allocation of exactly this size: AddressSanitizer sees the first byte beyond it.
  const std::unique_ptr<char[]> text(new char[size]);
  if (size) std::memcpy(text.get(), data, size);
  try {
    FUZZ_CHECK(std::isfinite(lora_scale({text.get(), size})));
  } catch (const Error& error) {
    FUZZ_CHECK(error.code() == code::kWeightsInvalid || error.code() == code::kModelUnsupported);
    FUZZ_CHECK(!error.hint().empty());
    fuzz::check_message(error.what());
  }
  return 0;
}
