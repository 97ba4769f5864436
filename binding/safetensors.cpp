// safetensors files for JS: headers and small files. Weights go through loadModel.
#include "weights/safetensors.h"

#include "calls.h"
#include "convert.h"

namespace diffmine::binding {

Napi::Value read_safetensors_header(Info info) {
  const Napi::Env env = info.Env();
  const auto file = SafetensorsFile::open(Arg(info[0], "path").string());
  Napi::Object tensors = Napi::Object::New(env), metadata = Napi::Object::New(env), header = Napi::Object::New(env);
  for (const auto& [name, tensor] : file->tensors()) {
    Napi::Object entry = Napi::Object::New(env);
    entry["dtype"] = Napi::String::New(env, dtype_name(tensor.dtype));
    entry["shape"] = to_js(env, tensor.shape);
    entry["bytes"] = Napi::Number::New(env, static_cast<double>(tensor.end - tensor.begin));
    tensors.Set(name, entry);
  }
  for (const auto& [key, text] : file->metadata()) metadata.Set(key, Napi::String::New(env, text));
  header["tensors"] = tensors;
  header["metadata"] = metadata;
  return header;
}

Napi::Value read_safetensors(Info info) {
  const std::string path = Arg(info[0], "path").string();
  const Arg wanted(info[1], "names");
  std::vector<std::string> names;
  if (wanted.present()) names = wanted.strings();
  const auto file = SafetensorsFile::open(path);
  if (!wanted.present()) {
    for (const auto& entry : file->tensors()) names.push_back(entry.first);
  }

  Napi::Object tensors = Napi::Object::New(info.Env());
  for (const std::string& name : names) {
    if (!file->has(name))
      throw Error(code::kInvalidArgument, "The file " + path + " has no tensor named '" + name + "'.");
    // Always a copy: the mapped file is read-only memory, which JS must not get to write to.
    tensors.Set(name, to_js(info.Env(), file->tensor(name).clone(at::MemoryFormat::Contiguous)));
  }
  return tensors;
}

Napi::Value write_safetensors(Info info) {
  const std::string path = Arg(info[0], "path").string();
  const Arg tensors(info[1], "tensors"), metadata(info[2], "metadata");
  const auto keys = [](const Arg& object) {
    if (!object.value().IsObject()) object.fail("an object");
    return Arg(object.value().As<Napi::Object>().GetPropertyNames(), object.name()).strings();
  };
  std::vector<std::pair<std::string, at::Tensor>> content;
  for (const std::string& name : keys(tensors)) content.emplace_back(name, tensors[name.c_str()].tensor());
  std::map<std::string, std::string> notes;
  if (metadata.present()) {
    for (const std::string& key : keys(metadata)) notes[key] = metadata[key.c_str()].string();
  }
  diffmine::write_safetensors(path, content, notes);
  return info.Env().Undefined();
}

}  // namespace diffmine::binding
