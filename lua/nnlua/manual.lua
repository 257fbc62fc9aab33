--- Documentation of what is written in C and declared by no record: one comment above each name, as in any module.
-- docs.lua reads this text; nobody runs it. tests/lua/help_spec.lua finds public names without an entry, and entries
-- without a name.

-- luacheck: push ignore 212 241
local nn, tensor, layer, optimizer = {}, {}, {}, {}

-- ---- making tensors. The last argument of each may be a table of options: dtype, requires_grad.

--- A tensor of the numbers in nested tables, or of one number: float32, or bool where they are booleans.
-- @param data nested tables, all of one length at each level; or a number or boolean: a tensor without dimensions
-- @param options table? dtype ("float32"), requires_grad (false)
-- @return tensor
function nn.tensor(data, options) end

--- A tensor of zeros.
-- @param sizes integers, or one table of them
-- @param options table? dtype ("float32"), requires_grad (false)
-- @return tensor
function nn.zeros(sizes, options) end

--- A tensor of ones.
-- @param sizes integers, or one table of them
-- @param options table? dtype ("float32"), requires_grad (false)
-- @return tensor
function nn.ones(sizes, options) end

--- A tensor whose elements are whatever was in its memory.
-- @param sizes integers, or one table of them
-- @param options table? dtype ("float32"), requires_grad (false)
-- @return tensor
function nn.empty(sizes, options) end

--- A tensor that holds one value everywhere.
-- @param shape table of sizes
-- @param value number or boolean
-- @param options table? dtype ("float32"), requires_grad (false)
-- @return tensor
function nn.full(shape, value, options) end

--- Random numbers, uniform from 0 to below 1.
-- @param sizes integers, or one table of them
-- @param options table? dtype ("float32"), requires_grad (false)
-- @return tensor
function nn.rand(sizes, options) end

--- Random numbers, normally distributed with mean 0 and variance 1.
-- @param sizes integers, or one table of them
-- @param options table? dtype ("float32"), requires_grad (false)
-- @return tensor
function nn.randn(sizes, options) end

--- Random whole numbers from low to below high.
-- @param low integer? 0 where left out
-- @param high integer
-- @param shape table of sizes
-- @param options table? dtype ("int64")
-- @return tensor
function nn.randint(low, high, shape, options) end

--- The numbers 1 to n in a random order.
-- @param n integer
-- @param options table? dtype ("int64")
-- @return tensor (n)
function nn.randperm(n, options) end

--- Numbers from `from` to below `to`, one every `step`.
-- @param from number? 0 where only `to` is given
-- @param to number, excluded
-- @param step number? 1
-- @param options table? dtype ("int64" for integers, "float32" otherwise), requires_grad (false)
-- @return tensor, one dimension
function nn.arange(from, to, step, options) end

--- Numbers from `from` to `to`, one every `step`, both ends included as in Lua's for.
-- @param from number
-- @param to number, included
-- @param step number? 1
-- @param options table? dtype ("float32"), requires_grad (false)
-- @return tensor, one dimension
function nn.range(from, to, step, options) end

--- Numbers at equal distances, both ends included.
-- @param from number
-- @param to number
-- @param count integer how many
-- @param options table? dtype ("float32"), requires_grad (false)
-- @return tensor (count)
function nn.linspace(from, to, count, options) end

--- The identity matrix: ones on the diagonal, zeros elsewhere.
-- @param rows integer
-- @param columns integer? as many as rows
-- @param options table? dtype ("float32"), requires_grad (false)
-- @return tensor (rows, columns)
function nn.eye(rows, columns, options) end

--- Zeros in the shape and dtype of another tensor.
-- @param like tensor
-- @param options table? dtype (that of the other), requires_grad (false)
-- @return tensor
function nn.zeros_like(like, options) end

--- Ones in the shape and dtype of another tensor.
-- @param like tensor
-- @param options table? dtype (that of the other), requires_grad (false)
-- @return tensor
function nn.ones_like(like, options) end

--- A tensor in the shape and dtype of another, its elements whatever was in its memory.
-- @param like tensor
-- @param options table? dtype (that of the other), requires_grad (false)
-- @return tensor
function nn.empty_like(like, options) end

--- One value everywhere, in the shape and dtype of another tensor.
-- @param like tensor
-- @param value number or boolean
-- @param options table? dtype (that of the other), requires_grad (false)
-- @return tensor
function nn.full_like(like, value, options) end

--- Random numbers from 0 to below 1, in the shape and dtype of another tensor.
-- @param like tensor
-- @param options table? dtype (that of the other), requires_grad (false)
-- @return tensor
function nn.rand_like(like, options) end

--- Normally distributed random numbers, in the shape and dtype of another tensor.
-- @param like tensor
-- @param options table? dtype (that of the other), requires_grad (false)
-- @return tensor
function nn.randn_like(like, options) end

--- A tensor whose elements are the bytes of a string, in the order of the machine.
-- @param bytes string
-- @param shape table of sizes
-- @param dtype string
-- @return tensor
function nn.from_bytes(bytes, shape, dtype) end

-- ---- gradients

--- Run a function without recording a graph; the mode is as before afterwards, also after an error.
-- @param fn function
-- @param ... its arguments
-- @return what fn returns
function nn.no_grad(fn, ...) end

--- Run a function with the graph recorded, inside of no_grad.
-- @param fn function
-- @param ... its arguments
-- @return what fn returns
function nn.enable_grad(fn, ...) end

--- Whether operations are recorded for backward.
function nn.is_grad_enabled() end

--- Record operations for backward, or stop to. See nn.no_grad, which puts the mode back by itself.
-- @param enabled boolean
function nn.set_grad_enabled(enabled) end

--- Run a function in mixed precision: tensors stay what they are, but the products of matrices within linear layers,
-- matmul, attention, the inputs of recurrent layers and (where that is faster) convolutions are of operands rounded to
-- bfloat16, with sums in float32; so are those of backward through what was recorded here. Everything else is in
-- float32, gradients and weights too, and no scaling of the loss is needed. The mode is as before afterwards, also
-- after an error. Twice as fast for large products on processors with AVX512-BF16; on others the same, but no faster:
-- nn.build_info().bfloat16 is then "emulated".
-- @param options table? enabled (true), dtype ("bfloat16", the only one)
-- @param fn function
-- @param ... its arguments
-- @return what fn returns
function nn.autocast(options, fn, ...) end

--- Whether products are in mixed precision now.
function nn.is_autocast_enabled() end

--- The gradients of outputs with respect to inputs; `.grad` of leaves stays as it is.
-- @param outputs tensor or list
-- @param inputs tensor or list
-- @param options table? grad_outputs (ones), retain_graph (false), create_graph (false), allow_unused (false)
-- @return a tensor for each input
function nn.grad(outputs, inputs, options) end

-- ---- the state

--- Begin all random numbers anew: the same seed gives the same numbers, for any number of threads.
-- @param seed integer
function nn.manual_seed(seed) end

--- The state of the random numbers, for nn.set_rng_state.
-- @return string
function nn.get_rng_state() end

--- Continue with random numbers where nn.get_rng_state was called.
-- @param state string
function nn.set_rng_state(state) end

--- What the memory of tensors is: bytes that are `live`, `cached` for reuse and at the `peak`; the number of `tensors`
-- alive and of `allocations` from the system; the `limit`, if there is one.
-- @return table
function nn.memory() end

--- The peak that nn.memory() tells is from now on that of what comes.
function nn.reset_peak_memory() end

--- Let tensors take no more than so many bytes: beyond, Lua errors that can be caught.
-- @param bytes integer? without it there is no limit
function nn.set_memory_limit(bytes) end

--- How many threads compute. Results do not depend on it.
-- @param threads integer
function nn.set_num_threads(threads) end

--- How many threads compute.
-- @return integer
function nn.get_num_threads() end

--- What this nnlua was built with: a table with `kernels` (the instruction set), `bfloat16`
-- ("avx512_bf16" where products in it are faster than in float32, else "emulated"), `blas`, `compiler`, `processors`.
-- @return table
function nn.build_info() end

--- The time in seconds since some moment in the past: what passes between two calls.
-- @return number
function nn.clock() end

--- The declaration of a layer, loss, optimizer, initialiser or operation as a table, or nil.
-- @param name string such as "Dense"
-- @return table
function nn.describe(name) end

-- ---- output

--- Where progress, summaries and help go.
-- @param fn function of a string; without it standard output
function nn.set_output(fn) end

--- Write text where progress and summaries go.
-- @param text string
function nn.write(text) end

--- Whether output goes to a terminal.
-- @return boolean
function nn.is_terminal() end

--- Columns of the terminal; 80 where there is none.
-- @return integer
function nn.terminal_width() end

--- How tensors read as text. What is not named stays as it is; without a table all is as at the beginning.
-- @param options table? profile ("default", "short" or "full"), precision (4: digits behind the point), threshold
-- (1000: elements from which the middle is left out), edgeitems (3), linewidth (80), sci_mode (true, false or "auto")
function nn.set_print_options(options) end

--- The version of nnlua.
nn.version = nil

--- Callbacks for fit, evaluate and predict: tables with functions such as on_epoch_end(logs).
nn.callbacks = nil

--- Text to tensors and back: tokenizers and vocabularies (ids begin with 1), sequences of different lengths, what
-- decodes and measures. A tokenizer has the methods encode, encode_batch, decode, decode_batch, tokens, token, id,
-- size, save and to_table.
nn.text = nil

--- Functions of the same names as layers, whose weights are arguments.
nn.functional = nil

--- Initialisers: functions that fill a tensor and return it.
nn.init = nil

--- The gain for a nonlinearity, a factor for initialisers.
-- @param nonlinearity string such as "relu"
-- @param slope number? of leaky_relu (0.01)
-- @return number
function nn.init.calculate_gain(nonlinearity, slope) end

-- ---- questions

--- Whether a value is a tensor.
-- @return boolean
function nn.is_tensor(value) end

--- Whether a value is a layer or loss made by the engine.
-- @return boolean
function nn.is_layer(value) end

--- Whether a value is an optimizer made by the engine.
-- @return boolean
function nn.is_optimizer(value) end

-- ---- tensors

--- The sizes of all dimensions: a new table each time.
tensor.shape = nil

--- The type of the elements: "float32", "float64", "int64", "int32", "uint8", "bool", "bfloat16" or "float16".
tensor.dtype = nil

--- The number of dimensions.
tensor.ndim = nil

--- The gradient that backward left, a tensor or nil. May be assigned.
tensor.grad = nil

--- Whether operations on the tensor are recorded for backward.
tensor.requires_grad = nil

--- Whether the tensor is no result of a recorded operation: backward leaves gradients in leaves.
tensor.is_leaf = nil

--- Compute the gradients of this tensor with respect to all leaves it was made from, and add them to their `.grad`.
-- @param gradient tensor? of the result; needed unless it has one element
-- @param options table? retain_graph (false), create_graph (false)
function tensor:backward(gradient, options) end

--- The only element as a Lua number or boolean.
-- @return number or boolean
function tensor:item() end

--- The elements as nested tables.
-- @return table; a number of a tensor without dimensions
function tensor:tolist() end

--- The sizes of all dimensions, or one of them.
-- @param dim integer? from 1, or negative from the end
-- @return table or integer
function tensor:size(dim) end

--- The number of dimensions.
-- @return integer
function tensor:dim() end

--- The number of elements.
-- @return integer
function tensor:numel() end

--- Bytes of one element.
-- @return integer
function tensor:element_size() end

--- Whether the elements lie side by side in memory, in the order of the shape.
-- @return boolean
function tensor:is_contiguous() end

--- The same elements, outside of the graph.
-- @return tensor that shares the memory
function tensor:detach() end

--- Take the tensor itself out of the graph.
-- @return the tensor
function tensor:detach_() end

--- Copy the elements of another tensor, broadcast and converted, into this one.
-- @param source tensor
-- @return the tensor
function tensor:copy_(source) end

--- Set every element to one value.
-- @param value number or boolean
-- @return the tensor
function tensor:fill_(value) end

--- Set every element to 0.
-- @return the tensor
function tensor:zero_() end

--- Whether operations on this leaf are recorded from now on.
-- @param flag boolean? true
-- @return the tensor
function tensor:requires_grad_(flag) end

--- Keep the gradient of this result of an operation in `.grad`, as of a leaf.
function tensor:retain_grad() end

--- Call a function with the gradient once it is complete; what it returns, if not nil, takes its place.
-- @param fn function of a tensor
-- @return a handle; handle:remove() takes the function out
function tensor:register_hook(fn) end

--- The elements as the bytes of a string, in the order of the machine.
-- @return string
function tensor:to_bytes() end

-- ---- layers and optimizers

--- The result of a layer: the same as calling it.
-- @param ... tensors
function layer:forward(...) end

--- Update the parameters by their gradients.
-- @param closure function? computes the loss again, with backward, and returns it
-- @return what closure returned
function optimizer:step(closure) end

--- Let go of the gradients of all parameters.
function optimizer:zero_grad() end

--- One more group of parameters, with options of its own.
-- @param group table: params, and options such as lr
function optimizer:add_param_group(group) end

--- What has to be saved to go on later.
-- @return table
function optimizer:state_dict() end

--- Go on with what optimizer:state_dict gave.
-- @param state table
function optimizer:load_state_dict(state) end

-- luacheck: pop
