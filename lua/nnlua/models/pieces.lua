--- The tokenizer of Llama's kind: pieces of text joined by rank, spaces written as U+2581, and a token for each byte
-- that no piece has (Kudo and Richardson 2018, as tokenizer.json tells it).

local core = require "nnlua.core"
local check = require "nnlua.check"
local compat = require "nnlua.compat"

local Pieces = {}
Pieces.__index = Pieces

local SPACE = "\226\150\129" -- U+2581
local CHARACTER = "[%z\1-\127\194-\244][\128-\191]*"

-- ---- reading

local function read_vocab(vocab)
  local ids, pieces = {}, {}
  if type(vocab) ~= "table" then return nil, "expected a vocab" end
  for piece, id in pairs(vocab) do
    if type(piece) ~= "string" or not compat.is_whole(id) or id < 0 then return nil, "the vocab is damaged" end
    id = compat.to_integer(id + 1)
    ids[piece], pieces[id] = id, piece
  end
  return ids, pieces
end

-- Ranks by "left right"; a merge is written so, or as a list of two.
local function read_merges(merges)
  local ranks = {}
  for i, merge in ipairs(type(merges) == "table" and merges or {}) do
    if type(merge) == "table" then merge = tostring(merge[1]) .. " " .. tostring(merge[2]) end
    if type(merge) ~= "string" then return nil end
    ranks[merge] = ranks[merge] or i
  end
  return ranks
end

-- What a token is when it is read as text; nil for special ones.
local function text_of(piece)
  local byte = piece:match("^<0x(%x%x)>$")
  if byte then return string.char(tonumber(byte, 16)) end
  return (piece:gsub(SPACE, " "))
end

--- From the table of a tokenizer.json; nil and a message where that is damaged.
function Pieces.new(record)
  local ids, pieces = read_vocab(record.model.vocab)
  if not ids then return nil, pieces end
  local ranks = read_merges(record.model.merges)
  if not ranks then return nil, "the merges are damaged" end
  local self = { ids = ids, pieces = pieces, ranks = ranks, texts = {}, special = {} }
  for id, piece in pairs(pieces) do self.texts[id] = text_of(piece) end
  for _, token in ipairs(type(record.added_tokens) == "table" and record.added_tokens or {}) do
    if type(token) == "table" and compat.is_whole(token.id) then
      local id = compat.to_integer(token.id + 1)
      self.special[id] = token.special == true
      pieces[id] = pieces[id] or token.content
    end
  end
  local unknown = record.model.unk_token
  self.unknown = type(unknown) == "string" and ids[unknown] or nil
  return setmetatable(self, Pieces)
end

-- ---- encoding. Symbols are a chain; a heap has the pairs that may join, the lowest rank first, then the leftmost.

local function before(a, b)
  return a.rank < b.rank or (a.rank == b.rank and a.left < b.left)
end

local function push(heap, item)
  local at = #heap + 1
  while at > 1 do
    local above = math.floor(at / 2)
    if not before(item, heap[above]) then break end
    heap[at] = heap[above]
    at = above
  end
  heap[at] = item
end

local function pop(heap)
  local first, last, n = heap[1], heap[#heap], #heap - 1
  heap[n + 1] = nil
  local at = 1
  while 2 * at <= n do
    local child = 2 * at
    if child < n and before(heap[child + 1], heap[child]) then child = child + 1 end
    if not before(heap[child], last) then break end
    heap[at] = heap[child]
    at = child
  end
  if n > 0 then heap[at] = last end
  return first
end

local function offer(self, heap, chain, left)
  local right = chain.next[left]
  if not right then return end
  local a, b = chain.text[left], chain.text[right]
  local rank = self.ranks[a .. " " .. b]
  if rank then push(heap, { rank = rank, left = left, right = right, a = a, b = b }) end
end

local function chain_of(text)
  local chain = { text = {}, next = {}, before = {} }
  local n, at = 0, 1
  while at <= #text do
    local symbol = text:match("^" .. CHARACTER, at) or text:sub(at, at)
    n = n + 1
    chain.text[n], chain.before[n] = symbol, n > 1 and n - 1 or nil
    if n > 1 then chain.next[n - 1] = n end
    at = at + #symbol
  end
  return chain, n
end

local function join(self, heap, chain, item)
  local left, right = item.left, item.right
  if chain.next[left] ~= right or chain.text[left] ~= item.a or chain.text[right] ~= item.b then return end
  chain.text[left] = item.a .. item.b
  chain.text[right] = nil
  local after = chain.next[right]
  chain.next[left] = after
  chain.next[right] = nil
  if after then chain.before[after] = left end
  if chain.before[left] then offer(self, heap, chain, chain.before[left]) end
  offer(self, heap, chain, left)
end

-- A symbol without a token falls apart into its bytes.
local function append(self, ids, symbol)
  if self.ids[symbol] then
    ids[#ids + 1] = self.ids[symbol]
    return
  end
  for i = 1, #symbol do
    ids[#ids + 1] = self.ids[("<0x%02X>"):format(symbol:byte(i))] or self.unknown
  end
end

--- A list of token ids, from 1. A space is put before the text, so that its first word is as any other.
function Pieces:encode(text)
  if type(text) ~= "string" then check.expect("tokenizer:encode", "argument 1", text, "a string") end
  local ids = {}
  if text == "" then return ids end
  local chain, n = chain_of(SPACE .. text:gsub(" ", SPACE))
  local heap = {}
  for left = 1, n - 1 do offer(self, heap, chain, left) end
  while #heap > 0 do join(self, heap, chain, pop(heap)) end
  local at = n > 0 and 1 or nil
  while at do
    append(self, ids, chain.text[at])
    at = chain.next[at]
  end
  return ids
end

-- ---- decoding

--- The text of one token; of the first one of a text without the space that encode puts there.
function Pieces:piece(id, first)
  local text = not self.special[id] and self.texts[id] or ""
  if first and text:sub(1, 1) == " " then return text:sub(2) end
  return text
end

--- The text of a list of token ids, or of a tensor of them. Special tokens have none.
function Pieces:decode(ids)
  if core.is_tensor(ids) then ids = ids:reshape(-1):tolist() end
  local parts, first = {}, true
  for i, id in ipairs(ids) do
    parts[i] = self:piece(id, first)
    if not self.special[id] then first = false end
  end
  return table.concat(parts)
end

return Pieces
