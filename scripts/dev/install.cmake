# install.cmake: what `cmake --install` lays down, and the Debian package that `cpack` makes of it.
#
#   cmake --install build --prefix FOLDER      (DESTDIR is honoured)
#   cd build && cpack                          nnlua_VERSION_ARCH.deb; configure with -DCMAKE_INSTALL_PREFIX=/usr
#
# Everything can be moved as a whole afterwards: nothing that is installed holds the prefix.
include(CMakePackageConfigHelpers)

# The module goes where Lua looks: LuaJIT looks where Lua 5.1 does, and the same module serves both.
set(NNLUA_INSTALL_MODULE "" CACHE STRING "Folder for the module; lib/lua/VERSION when empty")
foreach(lua IN LISTS NNLUA_LUA)
  string(REPLACE luajit 5.1 folder ${CMAKE_INSTALL_LIBDIR}/lua/${lua})
  if(NNLUA_INSTALL_MODULE)
    set(folder ${NNLUA_INSTALL_MODULE})
  endif()
  install(TARGETS nnlua_module_${lua} DESTINATION ${folder})
endforeach()
if(NNLUA_MODULE_ONLY)
  return()
endif()

# ---- for hosts

set(config_folder ${CMAKE_INSTALL_LIBDIR}/cmake/nnlua)
set(generated ${PROJECT_BINARY_DIR}/generated)

install(TARGETS nnlua_shared nnlua_static EXPORT nnlua)
install(EXPORT nnlua NAMESPACE nnlua:: DESTINATION ${config_folder} FILE nnluaTargets.cmake)
install(FILES src/nnlua.h TYPE INCLUDE)

configure_package_config_file(scripts/dev/nnluaConfig.cmake.in ${generated}/nnluaConfig.cmake
                              INSTALL_DESTINATION ${config_folder} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(${generated}/nnluaConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${generated}/nnluaConfig.cmake ${generated}/nnluaConfigVersion.cmake DESTINATION ${config_folder})

set(PC_LIBRARIES "")
foreach(library IN LISTS ENGINE_LIBRARIES)
  get_target_property(plain ${library} NNL_PLAIN)
  string(APPEND PC_LIBRARIES " ${plain}")
endforeach()
file(RELATIVE_PATH PC_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" PC_PREFIX "${PC_PREFIX}")
configure_file(scripts/dev/nnlua.pc.in ${generated}/nnlua.pc @ONLY)
install(FILES ${generated}/nnlua.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

# ---- for people

if(TARGET nnlua)
  install(TARGETS nnlua)
  if(EXISTS ${PROJECT_SOURCE_DIR}/src/app/nnlua.1)
    install(FILES src/app/nnlua.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
  endif()
endif()
install(FILES README.md LICENSE TYPE DOC)
install(DIRECTORY scripts/ DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples FILES_MATCHING PATTERN "*.lua" PATTERN "*.csv"
        PATTERN "README.md" PATTERN "*.conf" PATTERN dev EXCLUDE)

# ---- the Debian package: what it depends on is read from the libraries

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_CONTACT "the nnlua project <nnlua@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Neural networks for Lua")
set(CPACK_PACKAGE_DESCRIPTION "Tensors, automatic differentiation, layers and training for Lua: a program, a module for
stock Lua, and libraries for programs that host Lua.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION interpreters)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
include(CPack)
