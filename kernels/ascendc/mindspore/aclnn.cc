#include "kernels/ascendc/mindspore/aclnn.h"

#include <dlfcn.h>

namespace ifa::ascend {
namespace {

/// Looks functions up, and keeps the name of one that is missing.
class Symbols {
 public:
  explicit Symbols(void *library) : library_(library) {}

  template <typename Function>
  void Find(const char *name, Function **function) {
    *function = reinterpret_cast<Function *>(dlsym(library_, name));
    if (*function == nullptr) missing_ = name;
  }

  const std::string &missing() const { return missing_; }

 private:
  void *library_;
  std::string missing_;
};

}  // namespace

std::string Load(const std::string &operator_library, Aclnn *aclnn) {
  void *library = dlopen(operator_library.c_str(), RTLD_NOW);
  if (library == nullptr) return dlerror();
  Symbols symbols(library);
  symbols.Find("aclCreateTensor", &aclnn->create_tensor);
  symbols.Find("aclDestroyTensor", &aclnn->destroy_tensor);
  symbols.Find("aclCreateIntArray", &aclnn->create_int_array);
  symbols.Find("aclDestroyIntArray", &aclnn->destroy_int_array);
  symbols.Find("aclGetRecentErrMsg", &aclnn->recent_error);
  symbols.Find("aclnnIfaDecodeGetWorkspaceSize", &aclnn->plan);
  symbols.Find("aclnnIfaDecode", &aclnn->run);
  return symbols.missing().empty() ? "" : operator_library + " has no function " + symbols.missing();
}

}  // namespace ifa::ascend
