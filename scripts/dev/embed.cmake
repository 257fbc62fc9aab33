# embed.cmake: writes the Lua modules into one C file, as src/bind/modules.h declares them.
#
#   cmake -DROOT=folder -DLIST=file -DOUTPUT=file -P embed.cmake
#
# LIST holds a path a line. ROOT/nnlua/optim.lua becomes "nnlua.optim", and ROOT/nnlua/init.lua "nnlua".
file(STRINGS ${LIST} paths)

set(arrays "")
set(rows "")
set(count 0)
foreach(path IN LISTS paths)
  file(RELATIVE_PATH name ${ROOT} ${path})
  string(REGEX REPLACE "\\.lua$" "" name ${name})
  string(REGEX REPLACE "/init$" "" name ${name})
  string(REPLACE "/" "." name ${name})

  file(SIZE ${path} length)
  file(READ ${path} bytes HEX)
  string(REGEX REPLACE "(................................)" "\\1\n" bytes "${bytes}")
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
  string(APPEND arrays "static const unsigned char module_${count}[] = {\n${bytes}0x00};\n\n")
  string(APPEND rows "    {\"${name}\", (const char *)module_${count}, ${length}},\n")
  math(EXPR count "${count} + 1")
endforeach()

file(WRITE ${OUTPUT} "// Made by scripts/dev/embed.cmake from lua/.
#include \"bind/modules.h\"

${arrays}const nnl_lua_module nnl_lua_modules[] = {
${rows}    {NULL, NULL, 0},
};
")
