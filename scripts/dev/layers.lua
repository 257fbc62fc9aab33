-- layers.lua: reads the includes of the C files it is given and reports those against the order of the folders, and
-- questions for Lua's version outside of the pair of files that answers them all.
--
--   lua5.4 scripts/dev/layers.lua src/base/alloc.c ...

-- Each folder may include itself and what stands left of it.
local ORDER = {"base", "kernel", "tensor", "grad", "nn", "optim", "io", "data", "bind", "app"}

local RANK = {}
for rank, folder in ipairs(ORDER) do
  RANK[folder] = rank
end

-- Headers with a place of their own: a header, and the Lua patterns of the paths that may include it.
local PLACES = {
  ["lua.h"] = {"^src/bind/", "^src/app/", "^src/nnlua%.h$"},
  ["cblas.h"] = {"^src/kernel/gemm%.c$"},
  ["setjmp.h"] = {"^src/io/guard%.c$"},
  ["png.h"] = {"^src/io/png%.c$"},
  ["jpeglib.h"] = {"^src/io/jpeg%.c$"},
}
PLACES["luaconf.h"] = PLACES["lua.h"]
PLACES["lauxlib.h"] = PLACES["lua.h"]
PLACES["lualib.h"] = PLACES["lua.h"]

local VERSIONS = "^src/bind/compat%.[ch]$"

local function in_place(header, path)
  local places = PLACES[header:match("[^/]*$")]
  if not places then
    return true
  end
  for _, pattern in ipairs(places) do
    if path:find(pattern) then
      return true
    end
  end
  return false
end

--- The folder that a header of ours belongs to; a name without a folder stands beside the file that includes it.
local function folder_of(header, own_folder)
  if header == "nnlua.h" then
    return "nnlua.h"
  end
  return header:match("^([^/]+)/") or own_folder
end

--- Why a file of `own_folder` may not include a header of ours; nil where it may.
local function objection(header, own_folder)
  local folder = folder_of(header, own_folder)
  if folder == own_folder then
    return nil
  end
  if folder == "nnlua.h" then
    return RANK[own_folder] < RANK.bind and "the embedding API is for bind and app" or nil
  end
  if own_folder == "app" then
    return "app uses nnlua.h alone"
  end
  if own_folder == "nnlua.h" then
    return "nnlua.h needs no header of ours"
  end
  if not RANK[folder] then
    return "no such folder"
  end
  return RANK[folder] > RANK[own_folder] and ("%s stands right of %s"):format(folder, own_folder) or nil
end

local complaints = 0

local function complain(path, line, header, why)
  complaints = complaints + 1
  print(('%s:%d: "%s": %s'):format(path, line, header, why))
end

local function check_file(path)
  local own_folder = path:match("^src/([^/]+)")
  if own_folder ~= "nnlua.h" and not RANK[own_folder] then
    return complain(path, 1, own_folder, "no such folder in the order")
  end
  local number = 0
  for line in io.lines(path) do
    number = number + 1
    if line:find "LUA_VERSION_NUM" and not path:find(VERSIONS) then
      complain(path, number, "LUA_VERSION_NUM", "bind/compat.h alone knows versions of Lua")
    end
    local quote, header = line:match('^%s*#%s*include%s*([<"])([^>"]+)')
    if header and not in_place(header, path) then
      complain(path, number, header, "has a place of its own, elsewhere")
    elseif quote == '"' and not PLACES[header] then
      local why = objection(header, own_folder)
      if why then
        complain(path, number, header, why)
      end
    end
  end
end

for _, path in ipairs(arg) do
  check_file(path)
end
print(("%d files, %d includes against the order %s"):format(#arg, complaints, table.concat(ORDER, " > ")))
os.exit(complaints == 0 and 0 or 1)
