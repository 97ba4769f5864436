// Dynamic loss scaling (Micikevicius et al. 2018): gradients of fp16 activations are computed of a multiple of the
// loss, large enough that small ones do not vanish; where that overflows, the step is left out and the multiple halved.
#pragma once
#include <cstdint>

namespace diffmine {

struct LossScale {
  static constexpr double kStart = 65536;
  static constexpr int64_t kGrowAfter = 2000;  // good steps in a row, as torch.amp.GradScaler
  static constexpr int64_t kMaxSkipped = 20;   // in a row: no scale would help

  double value = 1;     // a power of two, so that scaling is exact
  int64_t good = 0;     // steps in a row since the last change
  int64_t skipped = 0;  // in a row

  void stepped() {
    skipped = 0;
    if (++good < kGrowAfter) return;
    value *= 2;
    good = 0;
  }
  void skip() {
    value /= 2;
    good = 0;
    ++skipped;
  }
};

}  // namespace diffmine
