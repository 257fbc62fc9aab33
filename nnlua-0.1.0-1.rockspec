rockspec_format = "3.0"
package = "nnlua"
version = "0.1.0-1"
source = {
  -- git archive --prefix=nnlua-0.1.0/ -o nnlua-0.1.0.tar.gz HEAD
  url = "file://nnlua-0.1.0.tar.gz",
  dir = "nnlua-0.1.0",
}
description = {
  summary = "Neural networks for Lua: tensors, automatic differentiation, layers, training",
  detailed = "An engine in C over OpenBLAS, which gives PyTorch's numbers, scripted with Keras's comfort.",
  license = "MIT",
}
dependencies = { "lua >= 5.1, < 5.5" }
external_dependencies = { OPENBLAS = { library = "openblas" } }
build = {
  type = "cmake",
  -- The headers say which Lua this is for. What is not the module comes with cmake --install.
  variables = {
    CMAKE_BUILD_TYPE = "Release",
    CMAKE_INSTALL_PREFIX = "$(PREFIX)",
    NNLUA_MODULE_ONLY = "ON",
    NNLUA_LUA_HEADERS = "$(LUA_INCDIR)",
    NNLUA_INSTALL_MODULE = "$(LIBDIR)",
  },
}
