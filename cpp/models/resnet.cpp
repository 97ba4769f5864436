#include "models/resnet.h"

#include <tuple>

namespace diffmine {

ResnetBlock ResnetBlock::load(Loader& loader, const std::string& name, int64_t in, int64_t out,
                              const ResnetOptions& options) {
  ResnetBlock block;
  block.path = name;
  block.scale_shift = options.scale_shift;
  block.norm1 = GroupNorm::load(loader, name + ".norm1", in, options.groups, options.eps);
  block.conv1 = Conv2d::load(loader, name + ".conv1", in, out, 3);
  if (options.time_channels)
    block.time_proj =
        Linear::load(loader, name + ".time_emb_proj", options.time_channels, options.scale_shift ? 2 * out : out);
  block.norm2 = GroupNorm::load(loader, name + ".norm2", out, options.groups, options.eps);
  block.conv2 = Conv2d::load(loader, name + ".conv2", out, out, 3);
  block.has_shortcut = in != out;
  block.takes_two = block.has_shortcut && options.first > 0 && !loader.differentiable();
  if (block.takes_two) {
    std::tie(block.shortcut, block.shortcut2) =
        Linear::load_conv1x1_of_two(loader, name + ".conv_shortcut", options.first, in, out);
  } else if (block.has_shortcut) {
    block.shortcut = Linear::load_conv1x1(loader, name + ".conv_shortcut", in, out);
  }
  // conv1's bias is added with the time embedding, or by the norm that follows.
  if (const auto bias = block.conv1.release_bias(); bias.defined()) {
    if (options.time_channels && !options.scale_shift) block.time_proj.add_bias(bias);
    else block.norm2.add_input(bias);
  }
  return block;
}

at::Tensor ResnetBlock::first_half(const std::vector<at::Tensor>& x) const {
  return conv1(x.size() == 2 ? norm1.silu(x[0], {.beside = x[1]}) : norm1.silu(x[0]));
}

at::Tensor ResnetBlock::residual(const std::vector<at::Tensor>& x) const {
  if (!has_shortcut) return x[0];
  if (x.size() == 1) return shortcut.channels(x[0]);
  return to_image(shortcut2.add_to(shortcut(to_tokens(x[0])), to_tokens(x[1])), x[0].size(2), x[0].size(3));
}

}  // namespace diffmine
