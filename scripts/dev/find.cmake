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
    nnl_plain_name(${${target}_LIBRARY} plain)
    set_target_properties(${target} PROPERTIES NNL_PLAIN "${plain}")
    message(STATUS "Found ${target}: ${${target}_LIBRARY}")
  elseif(NOT arg_OPTIONAL)
    list(GET arg_LIBRARIES 0 library)
    message(FATAL_ERROR "nnlua needs ${arg_INSTALL}. Not found: ${arg_HEADER} or lib${library}.")
  endif()
endfunction()

# A library as the linker of another machine finds it: -lopenblas for libopenblas.so in a usual folder, else its path.
function(nnl_plain_name path result)
  get_filename_component(name ${path} NAME)
  set(usual ${CMAKE_C_IMPLICIT_LINK_DIRECTORIES})
  foreach(folder IN LISTS usual)
    if(name MATCHES "^lib([^.]+)\\.(so|dylib|a)$" AND EXISTS ${folder}/${name})
      set(path -l${CMAKE_MATCH_1})
    endif()
  endforeach()
  set(${result} ${path} PARENT_SCOPE)
endfunction()

# nnl_link_for_hosts(library TARGETS...): links a library of ours with what nnl_find found, in such a way that its
# installed form needs no targets of this build.
function(nnl_link_for_hosts library)
  foreach(target IN LISTS ARGN)
    get_target_property(plain ${target} NNL_PLAIN)
    target_link_libraries(${library} PRIVATE $<BUILD_INTERFACE:${target}> $<INSTALL_INTERFACE:${plain}>)
  endforeach()
endfunction()

# ---- versions of Lua

set(LUA_PACKAGES_luajit luajit)
set(LUA_FOLDERS_luajit luajit-2.1 luajit-2.0)
set(LUA_INSTALL_luajit "LuaJIT (on Debian and Ubuntu: apt-get install libluajit-5.1-dev)")
foreach(lua IN ITEMS 5.1 5.3 5.4)
  string(REPLACE "." "" digits ${lua})
  set(LUA_PACKAGES_${lua} lua${lua} lua-${lua} lua${digits})
  set(LUA_FOLDERS_${lua} lua${lua} lua-${lua} lua${digits})
  set(LUA_INSTALL_${lua} "Lua ${lua} (on Debian and Ubuntu: apt-get install liblua${lua}-dev)")
endforeach()
set(LUA_INSTALL_5.1 "Lua 5.1 (on Debian and Ubuntu: apt-get install liblua5.1-0-dev)")

# nnl_lua_of_headers(folder result): which version of Lua the headers in a folder are of.
function(nnl_lua_of_headers folder result)
  if(EXISTS ${folder}/luajit.h)
    set(${result} luajit PARENT_SCOPE)
    return()
  endif()
  file(STRINGS ${folder}/lua.h line REGEX "define[ \t]+LUA_VERSION_NUM[ \t]+50[0-9]")
  string(REGEX MATCH "50([0-9])" number "${line}")
  set(${result} 5.${CMAKE_MATCH_1} PARENT_SCOPE)
endfunction()

# nnl_find_luas(): lua_VERSION_HEADERS for every version in NNLUA_LUA, and NNLUA_FIRST_LUA. Modules are not linked with
# Lua, so its headers suffice. NNLUA_LUA_HEADERS names the folder of one version's, which then says which it is.
function(nnl_find_luas)
  if(NNLUA_LUA_HEADERS)
    nnl_lua_of_headers(${NNLUA_LUA_HEADERS} NNLUA_LUA)
    set(lua_${NNLUA_LUA}_HEADERS ${NNLUA_LUA_HEADERS} CACHE PATH "Headers of Lua ${NNLUA_LUA}" FORCE)
  endif()
  foreach(lua IN LISTS NNLUA_LUA)
    if(NOT LUA_INSTALL_${lua})
      message(FATAL_ERROR "NNLUA_LUA: there is no '${lua}', only 5.4, 5.3, 5.1 and luajit, or several: \"5.4;luajit\".")
    endif()
    if(PKG_CONFIG_FOUND)
      pkg_search_module(lua_${lua}_package QUIET ${LUA_PACKAGES_${lua}})
    endif()
    find_path(lua_${lua}_HEADERS lauxlib.h HINTS ${lua_${lua}_package_INCLUDE_DIRS}
              PATH_SUFFIXES ${LUA_FOLDERS_${lua}})
    mark_as_advanced(lua_${lua}_HEADERS)
    if(NOT lua_${lua}_HEADERS)
      message(FATAL_ERROR "nnlua needs ${LUA_INSTALL_${lua}}. Not found: lauxlib.h.")
    endif()
    nnl_lua_of_headers(${lua_${lua}_HEADERS} found)
    if(NOT found STREQUAL lua)
      message(FATAL_ERROR "nnlua needs ${LUA_INSTALL_${lua}}. ${lua_${lua}_HEADERS} is of ${found}.")
    endif()
    message(STATUS "Found Lua ${lua}: ${lua_${lua}_HEADERS}")
  endforeach()
  set(NNLUA_LUA ${NNLUA_LUA} PARENT_SCOPE)
  list(GET NNLUA_LUA 0 first)
  set(NNLUA_FIRST_LUA ${first} PARENT_SCOPE)
endfunction()

# nnl_find_lua_library(lua result): the library of a version of Lua, empty where there is none.
function(nnl_find_lua_library lua result)
  set(names lua${lua} lua-${lua})
  if(lua STREQUAL luajit)
    set(names luajit-5.1)
  endif()
  find_library(lua_${lua}_LIBRARY NAMES ${names} HINTS ${lua_${lua}_package_LIBRARY_DIRS})
  mark_as_advanced(lua_${lua}_LIBRARY)
  set(${result} "" PARENT_SCOPE)
  if(lua_${lua}_LIBRARY)
    set(${result} ${lua_${lua}_LIBRARY} PARENT_SCOPE)
  endif()
endfunction()

# nnl_link_whole_lua(program): Lua 5.4 becomes part of the program where there is an archive of it, every object of it,
# since C modules use functions that the program does not. Otherwise the shared library serves.
function(nnl_link_whole_lua program)
  target_include_directories(${program} SYSTEM PRIVATE ${lua_5.4_HEADERS})
  find_library(lua_ARCHIVE NAMES liblua5.4.a liblua-5.4.a)
  nnl_find_lua_library(5.4 library)
  mark_as_advanced(lua_ARCHIVE)
  if(lua_ARCHIVE AND CMAKE_SYSTEM_NAME STREQUAL "Linux")
    target_link_libraries(${program} PRIVATE -Wl,--whole-archive ${lua_ARCHIVE} -Wl,--no-whole-archive m
                          ${CMAKE_DL_LIBS})
  elseif(library)
    target_link_libraries(${program} PRIVATE ${library})
  else()
    message(FATAL_ERROR "nnlua needs ${LUA_INSTALL_5.4}. Not found: liblua5.4.")
  endif()
endfunction()
