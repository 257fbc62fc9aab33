# find.cmake: finds the libraries that nnlua stands on, by pkg-config where it knows them, else by their files.
find_package(PkgConfig QUIET)

# nnl_find(target [OPTIONAL] PACKAGES... HEADER h [FOLDERS...] LIBRARIES... [INSTALL words]): an interface target with
# the headers and the library. Where they are missing: no target if OPTIONAL, else an error that says what to install.
function(nnl_find target)
  cmake_parse_arguments(arg "OPTIONAL" "HEADER;INSTALL" "PACKAGES;FOLDERS;LIBRARIES" ${ARGN})
  if(PKG_CONFIG_FOUND)
    pkg_search_module(${target}_package QUIET ${arg_PACKAGES})
  endif()
  find_path(${target}_HEADERS ${arg_HEADER} HINTS ${${target}_package_INCLUDE_DIRS} PATH_SUFFIXES ${arg_FOLDERS})
  find_library(${target}_LIBRARY NAMES ${arg_LIBRARIES} HINTS ${${target}_package_LIBRARY_DIRS}
               ${${target}_package_LIBDIR} PATH_SUFFIXES ${arg_FOLDERS})
  mark_as_advanced(${target}_HEADERS ${target}_LIBRARY)

  if(${target}_HEADERS AND ${target}_LIBRARY)
    add_library(${target} INTERFACE IMPORTED GLOBAL)
    target_include_directories(${target} SYSTEM INTERFACE ${${target}_HEADERS})
    target_link_libraries(${target} INTERFACE ${${target}_LIBRARY})
    message(STATUS "Found ${target}: ${${target}_LIBRARY}")
  elseif(NOT arg_OPTIONAL)
    list(GET arg_LIBRARIES 0 library)
    message(FATAL_ERROR "nnlua needs ${arg_INSTALL}. Not found: ${arg_HEADER} or lib${library}.")
  endif()
endfunction()

# nnl_link_whole_lua(program): Lua becomes part of the program where there is an archive of it, every object of it,
# since C modules use functions that the program does not. Otherwise the shared library serves.
function(nnl_link_whole_lua program)
  find_library(lua_ARCHIVE NAMES liblua5.4.a liblua-5.4.a)
  mark_as_advanced(lua_ARCHIVE)
  if(lua_ARCHIVE AND CMAKE_SYSTEM_NAME STREQUAL "Linux")
    target_include_directories(${program} SYSTEM PRIVATE ${lua_HEADERS})
    target_link_libraries(${program} PRIVATE -Wl,--whole-archive ${lua_ARCHIVE} -Wl,--no-whole-archive m
                          ${CMAKE_DL_LIBS})
  else()
    target_link_libraries(${program} PRIVATE lua)
  endif()
endfunction()
