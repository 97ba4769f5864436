#include "weights/weight_store.h"

#include <algorithm>

#include "core/error.h"
#include "weights/names.h"

namespace diffmine {

WeightStore::WeightStore(const std::vector<std::string>& files) {
  for (const std::string& path : files) {
    const int index = static_cast<int>(files_.size());
    files_.push_back(SafetensorsFile::open(path));
    for (const auto& entry : files_.back()->tensors()) {
      const auto [there, added] = where_.emplace(entry.first, std::pair(index, entry.first));
      if (added) continue;
      throw Error(
          code::kWeightsInvalid,
          path + ": tensor " + quoted_name(entry.first) + " is also in " + files_[there->second.first]->path() + ".",
          "Each tensor may be in one file only.");
    }
  }
}

WeightStore::WeightStore(std::map<std::string, at::Tensor> tensors) : memory_(std::move(tensors)) {
  for (const auto& entry : memory_) where_.emplace(entry.first, std::pair(-1, entry.first));
}

bool WeightStore::has(const std::string& name) const { return make_ || where_.count(name) != 0; }

at::Tensor WeightStore::stored(const std::string& name) {
  const auto found = where_.find(name);
  if (found == where_.end()) {
    throw Error(code::kModelInvalid,
                "The weights " + (files_.empty() ? "" : "in " + files_[0]->path() + " ") + "have no tensor " +
                    quoted_name(name) + ".",
                "The config requires it: check that config and weights belong to the same model.");
  }
  taken_.insert(name);
  const auto& [file, stored] = found->second;
  return file < 0 ? memory_.at(stored) : files_[file]->tensor(stored);
}

at::Tensor WeightStore::take(const std::string& name) {
  const at::Tensor out = stored(name);
  return adapt_ ? adapt_(name, out) : out;
}

at::Tensor WeightStore::take(const std::string& name, at::IntArrayRef shape) {
  const at::Tensor out = make_ ? make_(name, shape) : stored(name);
  if (out.sizes() != shape) {
    throw Error(code::kModelInvalid,
                "Tensor " + quoted_name(name) +
                    (files_.empty() ? "" : " in " + files_[std::max(0, where_.at(name).first)]->path()) +
                    " has the shape " + shape_text(out.sizes()) + ", the config requires " + shape_text(shape) + ".",
                "Check that config and weights belong to the same model.");
  }
  return adapt_ ? adapt_(name, out) : out;
}

void WeightStore::rename(const std::function<std::string(const std::string&)>& f) {
  std::map<std::string, std::pair<int, std::string>> renamed;
  for (const auto& [name, place] : where_) {
    const std::string now = f(name);
    if (!renamed.emplace(now, place).second) {
      throw Error(code::kModelInvalid, "Two tensors are " + quoted_name(now) + ", one of them under an older name.",
                  "Remove one of the two.");
    }
  }
  where_ = std::move(renamed);
}

void WeightStore::expect_all_taken(const std::vector<std::string>& ignored) const {
  std::string left;
  int count = 0;
  for (const auto& entry : where_) {
    const std::string& name = entry.first;
    const bool overlooked =
        std::any_of(ignored.begin(), ignored.end(), [&](const std::string& suffix) { return name.ends_with(suffix); });
    if (overlooked || taken_.count(name)) continue;
    if (count++ < 5) left += (left.empty() ? "" : ", ") + quoted_name(name);
  }
  if (count == 0) return;
  if (count > 5) left += " and " + std::to_string(count - 5) + " more";
  throw Error(code::kModelInvalid,
              "The weights " + (files_.empty() ? "" : "in " + files_[0]->path() + " ") +
                  "have unexpected tensors: " + left + ".",
              "Check that config and weights belong to the same model.");
}

uint64_t WeightStore::bytes() const {
  uint64_t sum = 0;
  for (const auto& file : files_) {
    for (const auto& entry : file->tensors()) sum += entry.second.end - entry.second.begin;
  }
  for (const auto& entry : memory_) sum += entry.second.nbytes();
  return sum;
}

std::vector<std::string> WeightStore::names() const {
  std::vector<std::string> out;
  for (const auto& entry : where_) out.push_back(entry.first);
  return out;
}

}  // namespace diffmine
