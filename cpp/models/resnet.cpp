#include "models/resnet.h"

namespace diffmine {

ResnetBlock ResnetBlock::load(Loader& loader, const std::string& name, int64_t in, int64_t out, int64_t time_channels, int64_t groups, double eps, bool scale_shift) {
  ResnetBlock block;
  block.path = name;
  block.scale_shift = scale_shift;
  block.norm1 = GroupNorm::load(loader, name + ".norm1", in, groups, eps);
  block.conv1 = Conv2d::load(loader, name + ".conv1", in, out, 3);
  if (time_channels) block.time_proj = Linear::load(loader, name + ".time_emb_proj", time_channels, scale_shift ? 2 * out : out);
  block.norm2 = GroupNorm::load(loader, name + ".norm2", out, groups, eps);
  block.conv2 = Conv2d::load(loader, name + ".conv2", out, out, 3);
  if (in != out) {
    block.shortcut = Linear::load_conv1x1(loader, name + ".conv_shortcut", in, out);
    block.has_shortcut = true;
  }
  return block;
}

}  // namespace diffmine
