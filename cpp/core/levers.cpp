#include "core/levers.h"

#include <algorithm>
#include <bitset>

#include "core/error.h"

namespace diffmine {
namespace {

constexpr size_t kLevers = static_cast<size_t>(Lever::kEncodeAhead) + 1;
thread_local std::bitset<kLevers> left_out;

}  // namespace

bool uses(Lever lever) { return !left_out[static_cast<size_t>(lever)]; }

WithoutLever::WithoutLever(Lever lever) : lever_(lever), was_used_(uses(lever)) { left_out.set(static_cast<size_t>(lever_)); }
WithoutLever::~WithoutLever() { left_out.set(static_cast<size_t>(lever_), !was_used_); }

const std::vector<std::string>& lever_names() {
  static const std::vector<std::string> names{"graphs", "prepacked-weights", "winograd", "group-norm", "layer-norm", "geglu", "additions", "shared-prefix", "cached-keys",
                                              "block-attention", "cudnn-attention", "host-cache", "pinned-uploads", "encode-tf32", "encode-ahead"};
  return names;
}

void leave_out(const std::vector<std::string>& names) {
  const auto& all = lever_names();
  std::bitset<kLevers> chosen;
  for (const auto& name : names) {
    const auto found = std::find(all.begin(), all.end(), name);
    if (found == all.end()) throw Error(code::kInvalidArgument, "There is no lever '" + name + "'.");
    chosen.set(static_cast<size_t>(found - all.begin()));
  }
  left_out = chosen;
}

}  // namespace diffmine
