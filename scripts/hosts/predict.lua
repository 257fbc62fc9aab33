--- Predictions over HTTP, for any server that runs Lua: 784 bytes of a picture give ten probabilities as text.
--
--   local answer = require "predict".open("model.safetensors")      once a process
--   local status, text = answer(body)

local nn = require "nnlua"

local predict = {}

--- Load a model; returns a function of the bytes of one or more pictures that gives an HTTP status and a text, a line
-- of probabilities for each picture.
-- @param path string
-- @param size integer? bytes of a picture (784)
function predict.open(path, size)
  size = size or 784
  nn.set_num_threads(1) -- a server has a worker for each processor
  local model = assert(nn.load(path))
  model:eval()
  return function(body)
    if not body or #body == 0 or #body % size ~= 0 then
      return 400, ("expected pictures of %d bytes each\n"):format(size)
    end
    local lines = {}
    local x = nn.from_bytes(body, { #body / size, size }, "uint8"):float() / 255
    local rows = nn.no_grad(function() return model(x):softmax(-1) end):tolist()
    for i, row in ipairs(rows) do
      for k, probability in ipairs(row) do row[k] = ("%.4f"):format(probability) end
      lines[i] = table.concat(row, " ")
    end
    return 200, table.concat(lines, "\n") .. "\n"
  end
end

return predict
