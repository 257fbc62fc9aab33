# Makes the samples here that come from other programs, with NumPy: they are kept, not made anew. The samples of our own
# were written by the version that their names tell.
import json
import struct

import numpy as np

f4 = np.array([[0.5, -1.25, 3e38], [np.inf, -np.inf, 1e-40]], "<f4")
np.save("numpy_float32.npy", f4)
np.save("numpy_fortran_big.npy", np.asfortranarray(np.arange(12, dtype=">f8").reshape(2, 3, 2)))
np.save("numpy_int16.npy", np.array([-32768, 0, 32767], ">i2"))
np.save("numpy_uint64.npy", np.array([0, 2**63 - 1], "<u8"))
np.save("numpy_uint64_large.npy", np.array([0, 2**63], "<u8"))
np.save("numpy_record.npy", np.zeros(2, [("a", "<i4"), ("b", "<f4")]))
np.save("numpy_complex.npy", np.zeros(2, "<c8"))
np.save("numpy_text.npy", np.array(["a", "bc"]))
np.save("numpy_object.npy", np.array([None]), allow_pickle=True)
values = dict(f=f4, h=np.array([1.5, -2], "<f2"), b=np.array([[True], [False]]), n=np.array(7, "<i4"), e=np.zeros((0, 2)))
np.savez("numpy_stored.npz", **values)
np.savez_compressed("numpy_deflated.npz", **values)

# safetensors of every dtype that the format knows.
pieces = [
    ("bool", "BOOL", [2], bytes([1, 0])),
    ("u8", "U8", [2], bytes([0, 255])),
    ("i8", "I8", [2], struct.pack("<2b", -128, 127)),
    ("i16", "I16", [2], struct.pack("<2h", -32768, 32767)),
    ("u16", "U16", [2], struct.pack("<2H", 0, 65535)),
    ("i32", "I32", [2], struct.pack("<2i", -(2**31), 2**31 - 1)),
    ("u32", "U32", [2], struct.pack("<2I", 0, 2**32 - 1)),
    ("i64", "I64", [2], struct.pack("<2q", -(2**63), 2**63 - 1)),
    ("u64", "U64", [2], struct.pack("<2Q", 0, 2**63 - 1)),
    ("f16", "F16", [2], np.array([1.5, -65504], "<f2").tobytes()),
    ("bf16", "BF16", [2], struct.pack("<2H", 0x3FC0, 0xFF80)),  # 1.5, -inf
    ("f32", "F32", [2], np.array([0.5, -1.25], "<f4").tobytes()),
    ("f64", "F64", [2], np.array([0.1, -1e300], "<f8").tobytes()),
    ("e4m3", "F8_E4M3", [6], bytes([0x00, 0x01, 0x38, 0x7E, 0xFE, 0x7F])),  # 0, 2^-9, 1, 448, -448, nan
    ("e5m2", "F8_E5M2", [6], bytes([0x80, 0x01, 0x3C, 0x7B, 0xFC, 0x7E])),  # -0, 2^-16, 1, 57344, -inf, nan
]
header, data = {"__metadata__": {"made by": "hand"}}, b""
for name, dtype, shape, content in pieces:
    header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
    data += content
text = json.dumps(header).encode()
with open("every_dtype.safetensors", "wb") as file:
    file.write(struct.pack("<Q", len(text)) + text + data)
